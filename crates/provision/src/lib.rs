//! Resources: check, diff, apply.
