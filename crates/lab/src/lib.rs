//! Emulated machines and the network between them.
