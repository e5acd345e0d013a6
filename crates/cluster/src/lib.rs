//! `cluster.toml` and everything that is rendered from it.
//!
//! [`spec`] reads the file and says all that is wrong with it, line by line; [`render`](mod@render) turns a good
//! one into the files that nodes, routers and other tools want. Nothing here touches the network or a disk.

pub mod render;
pub mod spec;
