//! Programs that are there already, on another kernel than this machine's: an fdtrace that was built for a
//! release, and real programs, which is the part of `cargo xtask test` that boots a VM. These are the ones of
//! `tests/live/programs` that are small enough to carry, and need no files beside themselves: tmux wants a locale.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    DEFAULT_KERNEL, Session,
    cell::{self, Cell, Ended},
    image::{self, Program, Tests},
    kernel::Choice,
    qemu::{self, Qemu},
};
use crate::{
    arch::Arch,
    process,
    test::Outcome::{self, Passed, Skipped},
};

/// The test program, and the module of it that has their tests.
const TESTS: (&str, &str) = ("live", "programs");
/// What they are held to.
const RECORDER: &str = "strace";
/// What they trace: the names of their tests begin with it.
const TRACED: [&str; 1] = ["nginx"];

/// It takes some 30 s under TCG where nothing else runs.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Runs commands of the fdtrace at `program` on the kernel of Debian's stable release for that architecture.
pub(crate) fn played(
    arch: Arch,
    program: &Path,
    commands: Vec<Vec<OsString>>,
) -> Result<Vec<Ended>> {
    let kernel: Choice = DEFAULT_KERNEL.parse().map_err(anyhow::Error::msg)?;
    let mut session = Session::new(Qemu::find(arch, None)?, TIMEOUT);
    session.programs = vec![
        image::init(arch)?,
        Program::new("fdtrace", program.to_owned()),
    ];
    session.job.commands = commands;
    let mut all = Vec::new();
    let (_, ran) = session.run_each(&kernel, |ended| all.push(ended));
    ran.map(|()| all)
}

/// Runs their tests on the kernel of Debian's stable release; a skip names what is not here.
pub(crate) fn test() -> Result<Outcome> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(Skipped("the VMs are for x86_64".to_owned()));
    }
    let mut carried = Vec::new();
    for name in [RECORDER, image::BUSYBOX].iter().chain(&TRACED) {
        let Some(path) = process::find(name) else {
            return Ok(Skipped(format!("no {name}")));
        };
        carried.push(Program::new(name, path));
    }
    if process::find(qemu::program(Arch::X86_64)).is_none() {
        return Ok(Skipped(format!("no {}", qemu::program(Arch::X86_64))));
    }
    let kernel: Choice = DEFAULT_KERNEL.parse().map_err(anyhow::Error::msg)?;
    let mut session = Session::new(Qemu::find(Arch::X86_64, None)?, TIMEOUT);
    if let Err(error) = kernel.kernel(Arch::X86_64, &session.cache, session.refresh) {
        return Ok(Skipped(format!("no kernel to boot: {error:#}")));
    }
    let (program, module) = TESTS;
    session.programs = image::build(Arch::X86_64, false, &[])?;
    session.programs.push(image::test_of_this_machine(program)?);
    session.programs.extend(carried);
    let mut command = Tests::from(program).command();
    command.extend(TRACED.map(|name| format!("{module}::{name}").into()));
    session.job.commands = vec![command];

    let mut last = None;
    let (up, ran) = session.run_each(&kernel, |ended| last = Some(ended));
    ran?;
    let (up, ended) = up.zip(last).context("the VM ran nothing")?;
    let cell = Cell::of_test(&ended);
    let what = format!("{} on {}: {}", TRACED.join(" and "), up.release, cell.text);
    if cell.result == cell::Result::Passed && cell.notes.is_empty() {
        return Ok(Passed(what));
    }
    let Ended { out, err, .. } = ended;
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(&out).and_then(|()| stderr.write_all(&err));
    bail!("{what}")
}
