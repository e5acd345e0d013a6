//! The compute kernel: rng, fill policies, verifier, range search.
