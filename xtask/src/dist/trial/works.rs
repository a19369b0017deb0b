//! What an installed fdtrace is asked, and what it has to answer: on the kernel at hand, or in a VM where the
//! program is for another machine.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Result, ensure};

use super::capture;
use crate::{
    arch::Arch,
    dist::{ARCHITECTURES, VERSION},
    process::exit_code,
    vm::{self, Ended},
};

/// One command, without its program.
struct Asked {
    arguments: Vec<&'static str>,
    code: u8,
    /// Whether that is the answer.
    answers: fn(&str) -> bool,
}

/// What hands a descriptor over in an empty root is fdtrace itself, which tries itself first.
const PLAY: [&str; 4] = ["--", "fdtrace", "verify", "stream-one-fd"];

fn all() -> Vec<Asked> {
    let asked = |arguments: &[&'static str], code, answers| Asked {
        arguments: arguments.to_vec(),
        code,
        answers,
    };
    let check = |expected: &'static str, code| {
        let own = ["check", "--expect", expected, "--expect"];
        let arguments = [&own[..], &["fate=discarded from=fdtrace"], &PLAY].concat();
        asked(&arguments, code, |_| true)
    };
    let trace = [&["trace", "--format", "json"], &PLAY[..]].concat();
    vec![
        asked(&["--version"], 0, |out| {
            out.trim() == format!("fdtrace {VERSION}")
        }),
        asked(&["doctor", "--require", "install"], 0, |_| true),
        asked(&["verify", "stream-one-fd"], 0, |_| true),
        asked(&trace, 0, |out| {
            let handed_over = |line: &&str| {
                line.contains(r#""comm":"receiver""#) && line.contains(r#""fate":"delivered""#)
            };
            out.lines().filter(handed_over).count() == 1
        }),
        check("delivered=1 to=receiver", 0),
        check("delivered=2 to=receiver", 1),
    ]
}

/// Has an installed fdtrace answer everything; `start` is how it is run. What is for another machine is not.
pub(super) fn here(arch: Arch, start: &dyn Fn() -> Command) -> Result<()> {
    if arch != ARCHITECTURES[0] {
        return Ok(());
    }
    for asked in all() {
        let output = capture(start().args(&asked.arguments))?;
        asked.holds(&Ended {
            code: exit_code(output.status),
            out: output.stdout,
            err: output.stderr,
        })?;
    }
    Ok(())
}

/// The same of `program` in a VM of its own kind.
pub(super) fn in_vm(arch: Arch, program: &Path) -> Result<()> {
    let command = |asked: &Asked| {
        let fdtrace = ["fdtrace"].iter().chain(&asked.arguments);
        fdtrace.map(OsString::from).collect()
    };
    let all = all();
    let ended = vm::played(arch, program, all.iter().map(command).collect())?;
    ensure!(ended.len() == all.len(), "the VM did not run everything");
    let mut answered = all.iter().zip(&ended);
    answered.try_for_each(|(asked, ended)| asked.holds(ended))
}

impl Asked {
    fn holds(&self, ended: &Ended) -> Result<()> {
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (said(&ended.out), said(&ended.err));
        ensure!(
            ended.code == self.code && (self.answers)(&out),
            "`fdtrace {}` ended with {}, and {} was expected: {out}{}",
            self.arguments.join(" "),
            ended.code,
            self.code,
            err.trim()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_status_or_answer_is_refused() {
        let version = &all()[0];
        let ended = |code, out: &str| Ended {
            code,
            out: out.into(),
            err: Vec::new(),
        };
        let right = format!("fdtrace {VERSION}\n");
        assert!(version.holds(&ended(0, &right)).is_ok());
        assert!(version.holds(&ended(1, &right)).is_err());
        assert!(version.holds(&ended(0, "fdtrace 0.0.0\n")).is_err());
    }
}
