//! The first process of a test VM: makes the kernel's file systems appear, runs the commands of
//! the job one after the other, and sends what they print and how they end to the host.
//!
//! It must know nothing of fdtrace. Whatever it cannot do it says, and goes on: an old kernel may
//! lack what a new one has, and the command under test is the judge of that.

mod command;
mod port;
mod system;

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
};

use anyhow::{Context as _, Result};
use nix::sys::reboot::{RebootMode, reboot};
use vm_init::{Frame, JOB, Job};

use port::Port;

fn main() {
    // Process 1 must not return: the kernel would panic, and that is a verdict of its own.
    if let Err(error) = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(Ok(())) {
        eprintln!("vm-init: {error:#}");
    }
    let error = reboot(RebootMode::RB_AUTOBOOT);
    eprintln!("vm-init: cannot end the VM: {error:?}");
}

fn run() -> Result<()> {
    let troubles = system::prepare();
    let port = Port::open()?;
    port.send(&Frame::Hello(system::release()?))?;
    for trouble in troubles {
        port.send(&Frame::Trouble(format!("{trouble:#}")))?;
    }
    let job = fs::read(JOB).with_context(|| format!("cannot read {JOB}"))?;
    let job = Job::decode(&job).with_context(|| format!("cannot read {JOB}"))?;
    for command in &job.commands {
        let code = command::run(command, &job, &port).or_else(|error| {
            port.send(&Frame::Trouble(format!("{error:#}")))?;
            anyhow::Ok(command::CANNOT_START)
        })?;
        port.send(&Frame::Exit(code))?;
    }
    port.drain()
}
