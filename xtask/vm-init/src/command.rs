//! One command: its output goes to the host while it runs, and nothing of it outlives it.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        wait::{WaitStatus, wait},
    },
    unistd::{Pid, setsid},
};
use vm_init::{Frame, Job};

use crate::port::Port;

/// What a shell reports for a program that it cannot start.
pub(crate) const CANNOT_START: u8 = 127;

const PATH: &str = "/bin";

/// Runs `argv` and returns its status as a shell would report it.
pub(crate) fn run(argv: &[OsString], job: &Job, port: &Port) -> Result<u8> {
    let (program, args) = argv.split_first().context("a command without a program")?;
    let mut command = Command::new(program);
    command.args(args).env_clear().current_dir("/tmp");
    command.env("PATH", PATH).env("HOME", "/tmp");
    for variable in &job.env {
        let variable = variable.to_string_lossy();
        let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
        command.env(name, value);
    }
    let name = program.to_string_lossy();
    match job.terminal {
        Some(size) => at_terminal(&mut command, &name, size, port),
        None => piped(&mut command, &name, port),
    }
}

fn piped(command: &mut Command, name: &str, port: &Port) -> Result<u8> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        scope.spawn(|| out.map(|out| forward(out, Frame::Out, port)));
        scope.spawn(|| err.map(|err| forward(err, Frame::Err, port)));
        let code = reap(pid);
        // They hold the pipes open, and would spoil the next command.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        code
    })
}

fn at_terminal(
    command: &mut Command,
    name: &str,
    (rows, columns): (u16, u16),
    port: &Port,
) -> Result<u8> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let OpenptyResult { master, slave } =
        openpty(Some(&size), None).context("cannot make a terminal")?;
    let copy = |slave: &OwnedFd| slave.try_clone().context("cannot copy the terminal");
    command
        .stdin(copy(&slave)?)
        .stdout(copy(&slave)?)
        .stderr(slave);
    // SAFETY: both are system calls that are safe between fork and exec.
    unsafe { command.pre_exec(take_terminal) };
    let pid = command
        .spawn()
        .with_context(|| format!("cannot start {name}"))?
        .id();
    // Its copies of the terminal's other end would keep it open.
    *command = Command::new("true");

    let screen = File::from(master);
    let mut keyboard = screen.try_clone().context("cannot copy the terminal")?;
    thread::scope(|scope| {
        scope.spawn(|| forward(&screen, Frame::Out, port));
        // Sits in a read until the VM ends, so nobody waits for it.
        let typed = port.input()?;
        thread::spawn(move || io::copy(&mut &typed, &mut keyboard));
        let code = reap(Pid::from_raw(pid.cast_signed()));
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        code
    })
}

fn take_terminal() -> io::Result<()> {
    setsid()?;
    // SAFETY: stdin is the terminal, and the call takes a number.
    if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends all that comes out of `from`. A terminal whose last user is gone reads as an error.
fn forward(mut from: impl Read, frame: fn(Vec<u8>) -> Frame, port: &Port) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if let Err(error) = port.send(&frame(buffer[..count].to_vec())) {
            eprintln!("vm-init: {error:#}");
            return;
        }
    }
}

/// Waits for `pid`, and buries every orphan on the way.
fn reap(pid: Pid) -> Result<u8> {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(dead, code)) if dead == pid => {
                return Ok(u8::try_from(code).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(dead, signal, _)) if dead == pid => {
                return Ok(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the command"),
        }
    }
}
