//! sparse-accelerate: the command line.
fn main() {}
