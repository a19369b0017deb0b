//! Calls that pass descriptors in other ways than `sendmsg` and `recvmsg` of a 64-bit process.

use std::{
    fs,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use fdtrace::passing;
use fdtrace_testkit::{
    command::{FDTRACE, fdtrace, run, skip},
    take_turn,
};
use nix::sys::socket::MsgFlags;
use serde_json::Value;
use tempfile::TempDir;

use super::tracing::{Tracing, lines, transfers};

/// What identifies a transfer: both threads with their numbers, and how it ended.
fn ends(transfer: &Value) -> String {
    let parts = [
        &transfer["sender"]["tid"],
        &transfer["sender"]["fd"],
        &transfer["receiver"]["tid"],
        &transfer["receiver"]["fd"],
        &transfer["fate"],
        &transfer["cause"],
    ];
    format!("{parts:?}")
}

/// `verify` drives these calls and judges what it sees by what they returned; a trace of it sees
/// the same.
fn traces_what_verify_proves(test: &str, scenario: &str) {
    let folder = TempDir::new().unwrap();
    let proven = folder.path().join("proven");
    let mut command = fdtrace(&["trace", "--format", "json", "--buffer", "32768", "--"]);
    command.arg(FDTRACE.as_str()).args([
        "verify",
        "--format",
        "json",
        "-o",
        proven.to_str().unwrap(),
        scenario,
    ]);
    let run = run(&mut command);
    assert_eq!(run.code, Some(0), "{run:?}");
    let proven = lines(&fs::read_to_string(proven).unwrap());
    let result = proven.iter().find(|line| line["type"] == "scenario");
    let result = result.unwrap();
    assert_ne!(result["result"], "fail", "{result}");
    let mut expected: Vec<String> = transfers(&proven).into_iter().map(ends).collect();
    if expected.is_empty() {
        return skip(test, &result["reason"].to_string());
    }
    // The inner fdtrace passes descriptors to itself, too, to see that its programs fire.
    let itself = |transfer: &Value| transfer["sender"]["comm"] == "fdtrace";
    let lines = lines(&run.stdout);
    let mut seen: Vec<String> = transfers(&lines)
        .into_iter()
        .filter(|transfer| !itself(transfer))
        .map(ends)
        .collect();
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
}

#[test]
fn several_messages_in_one_call_are_traced() {
    let _turn = take_turn!(tracing);
    traces_what_verify_proves(
        "several_messages_in_one_call_are_traced",
        "sendmmsg-recvmmsg",
    );
}

#[test]
fn io_uring_is_traced_at_both_ends() {
    let _turn = take_turn!(tracing);
    traces_what_verify_proves("io_uring_is_traced_at_both_ends", "io-uring");
}

#[test]
fn the_32_bit_calls_of_a_64_bit_process_are_traced() {
    let _turn = take_turn!(tracing);
    traces_what_verify_proves(
        "the_32_bit_calls_of_a_64_bit_process_are_traced",
        "compat-32",
    );
}

/// The 32-bit program: who has no compiler for it, as in a VM, may have brought it along.
fn pass32(folder: &Path) -> Option<PathBuf> {
    let brought = PathBuf::from("/bin/pass32");
    if brought.exists() {
        return Some(brought);
    }
    let source = folder.join("pass.c");
    fs::write(&source, include_str!("pass32.c")).unwrap();
    let program = folder.join("pass32");
    let mut compiler = if cfg!(target_arch = "aarch64") {
        Command::new("arm-linux-gnueabihf-gcc")
    } else {
        Command::new("cc")
    };
    if cfg!(target_arch = "x86_64") {
        compiler.arg("-m32");
    }
    let built = compiler
        .args(["-nostdlib", "-static", "-ffreestanding", "-no-pie"])
        .args(["-fno-pie", "-fno-stack-protector", "-O1", "-o"])
        .args([&program, &source])
        .stderr(Stdio::null())
        .status();
    built.is_ok_and(|built| built.success()).then_some(program)
}

#[test]
fn a_32_bit_process_is_traced_at_either_end() {
    let _turn = take_turn!(tracing);
    let folder = TempDir::new().unwrap();
    let Some(program) = pass32(folder.path()) else {
        return skip(
            "a_32_bit_process_is_traced_at_either_end",
            "no compiler for 32-bit programs",
        );
    };
    let file = fs::File::open("/etc/passwd").unwrap();
    let (ours, its) = UnixStream::pair().unwrap();
    let its = OwnedFd::from(its);
    let mut sender = Command::new(&program);
    sender
        .stdin(its.try_clone().unwrap())
        .stderr(file.try_clone().unwrap());
    let mut receiver = Command::new(&program);
    receiver.arg("receive").stdin(its).stdout(Stdio::piped());

    // Not by this process: its other tests' children would be shown too.
    let tracing = Tracing::start(&["trace", "--format", "json", "--comm", "pass32"]);
    let sent = sender.status();
    if sent
        .as_ref()
        .is_err_and(|error| error.raw_os_error() == Some(libc::ENOEXEC))
    {
        return skip(
            "a_32_bit_process_is_traced_at_either_end",
            "this kernel runs no 32-bit programs",
        );
    }
    assert!(sent.unwrap().success());
    let received = passing::receive(ours.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
    passing::send(ours.as_raw_fd(), b"y", &[&[file.as_raw_fd()]]).unwrap();
    let output = receiver.output().unwrap();
    assert!(output.status.success());
    let run = tracing.stop();
    assert_eq!(run.code, Some(0), "{run:?}");

    let number: i64 = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    let lines = lines(&run.stdout);
    let [from, to] = transfers(&lines)[..] else {
        panic!("{run:?}");
    };
    for transfer in [from, to] {
        assert_eq!(transfer["fate"], "delivered", "{transfer}");
        assert_eq!(transfer["verdict"], "same", "{transfer}");
        assert_eq!(transfer["file"]["path"], "/etc/passwd");
    }
    assert_eq!(from["sender"]["comm"], "pass32");
    assert_eq!(from["sender"]["fd"], 2);
    assert_eq!(from["receiver"]["fd"], received.fds[0].as_raw_fd());
    assert_eq!(to["sender"]["fd"], file.as_raw_fd());
    assert_eq!(to["receiver"]["comm"], "pass32");
    assert_eq!(to["receiver"]["fd"], number);
}
