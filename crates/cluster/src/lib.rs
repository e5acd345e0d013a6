//! `cluster.toml` and everything that is rendered from it.
