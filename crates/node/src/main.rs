//! bramble-node
fn main() {}
