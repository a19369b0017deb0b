//! Build and test tasks: `cargo xtask --help`.

mod fixture;

use clap::Parser;

#[derive(Parser)]
enum Task {
    Fixture(fixture::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Fixture(args) => fixture::run(&args),
    }
}
