//! Build and test tasks: `cargo xtask --help`.
fn main() {}
