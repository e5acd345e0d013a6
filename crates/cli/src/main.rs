//! bramble-cli
fn main() {}
