//! bramble-search
fn main() {}
