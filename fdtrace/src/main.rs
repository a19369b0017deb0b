//! The `fdtrace` command.

fn main() {}
