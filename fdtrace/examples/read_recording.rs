//! Reads a recording that `fdtrace record` wrote, and lists what did not arrive.
//! `cargo run --example read_recording FILE`; needs no privileges.

use std::{env, error::Error};

use fdtrace::Recording;

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args_os().nth(1).ok_or("which recording?")?;
    let recording = Recording::open(path)?;
    println!("of Linux {}", recording.kernel());
    for transfer in recording.transfers() {
        let transfer = transfer?;
        if !transfer.fate().installs() {
            let cause = transfer
                .cause()
                .map_or("for no known cause", |cause| cause.name());
            println!(
                "a {} was {}, {cause}",
                transfer.file.kind(),
                transfer.fate()
            );
        }
    }
    Ok(())
}
