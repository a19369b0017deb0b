//! A trace in an event loop without a runtime: it is readable when there may be something, and
//! `try_next` takes that out. Ends after ten transfers. `cargo run --example event_loop`, as root.

use std::{error::Error, os::fd::AsFd as _};

use fdtrace::{Item, Trace};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn main() -> Result<(), Box<dyn Error>> {
    let mut trace = Trace::builder().start()?;
    println!("watching");
    let mut left = 10;
    while left > 0 {
        let mut waits = [PollFd::new(trace.as_fd(), PollFlags::POLLIN)];
        poll(&mut waits, PollTimeout::NONE)?;
        while let Some(item) = trace.try_next()? {
            if let Item::Transfer(transfer) = item {
                println!("{} of a {}", transfer.fate(), transfer.file.kind());
                left -= 1;
            }
        }
    }
    Ok(())
}
