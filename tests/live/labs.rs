//! The labs in docs/labs, and docs/explain.md: every command does what is printed there, on the kernel at hand.
//!
//! Needs root. Numbers that are the machine's own (processes, descriptors, addresses, times) may
//! differ from what is printed; counts of references, of messages and of lines may not.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use fdtrace_testkit::{
    command::{FDTRACE, skip},
    take_turn,
};

const LABS: [(&str, &str); 6] = [
    ("explain", include_str!("../../docs/explain.md")),
    ("1-number", include_str!("../../docs/labs/1-number.md")),
    (
        "2-in-flight",
        include_str!("../../docs/labs/2-in-flight.md"),
    ),
    ("3-handoff", include_str!("../../docs/labs/3-handoff.md")),
    ("4-lost", include_str!("../../docs/labs/4-lost.md")),
    ("5-garbage", include_str!("../../docs/labs/5-garbage.md")),
];

/// A command of a lab, and what it prints there.
struct Step {
    command: String,
    output: Vec<String>,
}

/// The steps of every console block that is at root's prompt.
fn steps(lab: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in lab.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match line.strip_prefix("# ") {
                Some(command) => steps.push(Step {
                    command: command.to_owned(),
                    output: Vec::new(),
                }),
                None => steps.last_mut().unwrap().output.push(line.to_owned()),
            },
        }
    }
    steps
}

/// A line without what is the machine's own: every number becomes `N`, but for those that count
/// something.
fn normalized(line: &str) -> String {
    const COUNTS_BEFORE: [&str; 3] = [" reference", " more", "  runner"];
    const COUNTS_AFTER: [&str; 3] = ["message ", "scm_fds: ", "references "];
    let mut normal = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|char: char| char.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        normal.push_str(before);
        let is_hex = from.starts_with("0x");
        let end = from
            .find(|char: char| {
                !(char.is_ascii_digit() || is_hex && (char == 'x' || char.is_ascii_hexdigit()))
            })
            .unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        let counts = normal.is_empty() && after.is_empty()
            || normal.is_empty() && after.starts_with(". ")
            || COUNTS_BEFORE.iter().any(|word| after.starts_with(word))
            || COUNTS_AFTER.iter().any(|word| normal.ends_with(word));
        normal.push_str(if counts { number } else { "N" });
        rest = after;
    }
    normal.push_str(rest);
    // How long something took, in whatever unit.
    match normal.split_once(" in N") {
        Some((what, _)) if what.starts_with("transfers ") => format!("{what} in N"),
        _ => normal,
    }
}

#[test]
fn every_command_of_every_lab_does_what_is_printed() {
    let _turn = take_turn!(tracing);
    if Command::new("sh").args(["-c", "true"]).output().is_err() {
        return skip(
            "every_command_of_every_lab_does_what_is_printed",
            "no shell",
        );
    }
    // `fdtrace` is a command there, as it is to a student.
    let bin = tempfile::tempdir().unwrap();
    let program = fs::canonicalize(FDTRACE.as_str()).unwrap();
    symlink(program, bin.path().join("fdtrace")).unwrap();
    let path = format!(
        "{}:{}",
        bin.path().display(),
        env::var("PATH").unwrap_or_default()
    );
    let mut wrong = Vec::new();
    for (lab, text) in LABS {
        let steps = steps(text);
        assert!(!steps.is_empty(), "{lab} has no command");
        for step in steps {
            let output = Command::new("sh")
                .args(["-c", &step.command])
                .env("PATH", &path)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            let found: Vec<String> = printed.lines().map(normalized).collect();
            let expected: Vec<String> = step.output.iter().map(|it| normalized(it)).collect();
            if found != expected {
                wrong.push(format!(
                    "{lab}: {}\n  printed there: {expected:#?}\n  printed here: {found:#?}\n  {}",
                    step.command,
                    String::from_utf8_lossy(&output.stderr)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn numbers_that_count_stay_and_others_do_not() {
    for (line, normal) in [
        (
            "   /proc: A is /proc/107/fd/9, with 1 reference",
            "   /proc: A is /proc/N/fd/N, with 1 reference",
        ),
        (
            "message 1: A 12 → 13 delivered:",
            "message 1: A N → N delivered:",
        ),
        ("A is a file at 0xffff888128095300", "A is a file at N"),
        (
            "2. runner 107 sends message 1: A",
            "2. runner N sends message 1: A",
        ),
        ("10", "10"),
        ("transfers  none in 12.1 ms", "transfers  none in N"),
        ("transfers  none in 812 µs", "transfers  none in N"),
    ] {
        assert_eq!(normalized(line), normal);
    }
    assert_ne!(
        normalized("with 1 reference"),
        normalized("with 2 references")
    );
}

#[test]
fn every_lab_is_whole_and_in_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/labs");
    if !folder.is_dir() {
        return skip(
            "every_lab_is_whole_and_in_the_list",
            "the sources are not here",
        );
    }
    let list = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut labs = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        labs += 1;
        assert!(list.contains(&format!("({name})")), "{name}");
        let lab = fs::read_to_string(folder.join(&name)).unwrap();
        for part in [
            "**Goal:**",
            "```console",
            "## Questions",
            "<summary>Answers</summary>",
        ] {
            assert!(lab.contains(part), "{name} has no {part}");
        }
    }
    assert_eq!(labs, 6);
}
