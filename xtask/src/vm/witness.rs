//! `cargo xtask witness`: `fdtrace inflight` against the kernel's memory.
//!
//! A VM fills its queues, has fdtrace tell what is in flight, and stands still. QEMU writes its memory
//! to a file, and drgn, which knows nothing of fdtrace, walks the same queues there. Both must have
//! found the same files at the same places, address by address.

use std::{
    cmp::Ordering,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use vm_init::{Frame, Job};

use super::{
    debug::{self, Debug},
    image::{self, Program},
    kernel::Choice,
    machine::{Machine, Then},
    monitor::Monitor,
    qemu::{Accelerator, Qemu},
};
use crate::{arch::Arch, process, workspace};

/// The one whose debugging package everybody can have for long: of Debian's oldstable.
const KERNEL: &str = "6.1";

/// What walks the dump.
const DRGN: &str = "drgn==0.3.0";
const SCRIPT: &str = "xtask/src/vm/inflight.py";

/// What puts descriptors in flight, and the line that it ends with once nothing moves any more.
const WORKLOAD: &str = "vm-inflight";
const STILL: &str = "\nstill ";

const TIMEOUT: Duration = Duration::from_secs(600);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs python3 with venv. Downloads Debian's kernel, its debugging package (280 MB) and drgn, once, to \
where `cargo xtask vm` keeps its kernels, and writes a gigabyte of dump, which it removes.")]
pub(crate) struct Args {
    /// A kernel series of Debian's whose modules are not compressed
    #[arg(long, value_name = "SERIES", default_value = KERNEL)]
    kernel: Choice,
    /// How to run the VM's instructions [default: kvm if it works here, else tcg]
    #[arg(long, value_enum)]
    accel: Option<Accelerator>,
    /// Look for newer packages than those in the cache
    #[arg(long)]
    refresh: bool,
    /// Keep the dump
    #[arg(long)]
    keep: bool,
}

/// Fails unless fdtrace and drgn agree.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Choice::Series(series) = &args.kernel else {
        bail!("only a series of Debian's has a debugging package");
    };
    let qemu = Qemu::find(Arch::X86_64, args.accel)?;
    let cache = workspace::cache().join("vm");
    let drgn = drgn(&cache)?;
    let kernel = args.kernel.kernel(Arch::X86_64, &cache, args.refresh)?;
    let debug = Debug::of(&kernel, series, &cache)?;
    let mut programs = image::build(Arch::X86_64, false, &[])?;
    programs.push(image::built(Arch::X86_64, WORKLOAD));
    programs.push(Program::new(debug::MODULE, debug.module.clone()));

    let name = format!("witness-{series}");
    let runs = cache.join("runs");
    let core = runs.join(format!("{name}-{}.core", std::process::id()));
    let machine = Machine {
        name: &name,
        qemu: &qemu,
        kernel: &kernel,
        programs: &programs,
        job: &job(),
        append: "",
        timeout: TIMEOUT,
        runs: &runs,
        monitored: true,
    };
    eprintln!("{name}: booting {}", kernel.origin);
    let done = dump(&machine, &core).and_then(|said| {
        let seen = walk(&drgn, &core, &debug.vmlinux)?;
        judge(&said, &seen)
    });
    if args.keep {
        eprintln!("the dump is {}", core.display());
    } else {
        // It may not have come that far.
        let _ = fs::remove_file(&core);
    }
    println!("{}", done?);
    Ok(ExitCode::SUCCESS)
}

fn job() -> Job {
    let command = [
        WORKLOAD,
        "fdtrace",
        "inflight",
        "--format",
        "json",
        "--pointers",
        "raw",
    ];
    Job {
        commands: vec![command.map(Into::into).into()],
        ..Job::default()
    }
}

/// A drgn in an environment of its own, which is made once.
fn drgn(cache: &Path) -> Result<PathBuf> {
    let dir = cache.join(DRGN.replace("==", "-"));
    let program = dir.join("bin/drgn");
    if !program.is_file() {
        process::run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        let mut pip = Command::new(dir.join("bin/pip"));
        process::run(pip.args(["--quiet", "install", DRGN]))?;
    }
    Ok(program)
}

/// Boots, and writes the VM's memory to `core` when it stands still. Returns what fdtrace said.
fn dump(machine: &Machine<'_>, core: &Path) -> Result<String> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut dumped = None;
    machine.run_until(|frame, _, monitor| {
        match frame {
            Frame::Out(bytes) => out.extend(bytes),
            Frame::Err(bytes) => err.extend(bytes),
            _ => {}
        }
        let text = String::from_utf8_lossy(&out);
        let still = text
            .rsplit_once(STILL)
            .filter(|(_, end)| end.ends_with('\n'));
        if still.is_none() {
            return Then::GoOn;
        }
        dumped = Some(Monitor::connect(monitor).and_then(|mut monitor| {
            monitor.stop()?;
            monitor.dump(core)
        }));
        Then::End
    })?;
    let text = String::from_utf8_lossy(&out).into_owned();
    let Some(dumped) = dumped else {
        bail!(
            "nothing was put in flight: {}",
            String::from_utf8_lossy(&err)
        );
    };
    dumped?;
    match text.rsplit_once(STILL) {
        Some((said, end)) if end.trim() == "0" => Ok(said.to_owned()),
        _ => bail!("fdtrace failed: {}", String::from_utf8_lossy(&err)),
    }
}

/// What drgn finds in the dump.
fn walk(drgn: &Path, core: &Path, vmlinux: &Path) -> Result<Value> {
    let mut command = Command::new(drgn);
    command.arg("-q").arg("-c").arg(core).arg("-s").arg(vmlinux);
    command.arg(workspace::root().join(SCRIPT));
    eprintln!("$ {}", process::shown(&command));
    let output = command.output().context("cannot run drgn")?;
    if !output.status.success() {
        bail!("drgn: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("drgn's answer is no JSON")
}

/// A file in a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    /// Inode number of the socket; `None` if it has none.
    socket: Option<u64>,
    position: u64,
    index: u64,
    count: u64,
    /// Address of the `struct file`.
    file: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            socket,
            position,
            index,
            count,
            file,
        } = self;
        match socket {
            Some(ino) => write!(f, "socket:[{ino}]")?,
            None => f.write_str("a connection that nobody has accepted")?,
        }
        write!(f, " {position}.{index} of {count}: {file}")
    }
}

impl Row {
    fn of(value: &Value, socket: &Value, file: &Value) -> Option<Self> {
        Some(Self {
            socket: socket.as_u64(),
            position: value["position"].as_u64()?,
            index: value["index"].as_u64()?,
            count: value["count"].as_u64()?,
            file: file.as_str()?.to_owned(),
        })
    }
}

/// Compares; an error says in what they differ, and success what they agree on.
fn judge(said: &str, seen: &Value) -> Result<String> {
    let mut lines = Vec::new();
    for line in said.lines().filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_str(line).context("fdtrace's answer is no JSON")?;
        lines.push(line);
    }
    let summary = lines.pop().context("fdtrace said nothing")?;
    let rows: Option<Vec<Row>> = lines
        .iter()
        .map(|line| Row::of(line, &line["socket"]["ino"], &line["file"]["ptr"]))
        .collect();
    let rows = rows.context("a line of fdtrace's lacks something")?;
    let found = seen["rows"].as_array().context("drgn says nothing")?;
    let found: Option<Vec<Row>> = found
        .iter()
        .map(|row| Row::of(row, &row["socket"], &row["file"]))
        .collect();
    let found = found.context("a line of drgn's lacks something")?;

    let mut wrong = differences(&rows, &found);
    for (what, ours, theirs) in [
        ("files", &summary["files"], &Value::from(found.len())),
        (
            "the count by socket",
            &summary["scm_fds"],
            &seen["counted_by_socket"],
        ),
        (
            "the count by user",
            &summary["counted_by_user"],
            &seen["counted_by_user"],
        ),
        ("being complete", &summary["complete"], &Value::from(true)),
        (
            "sockets in slabs but not in tables",
            &Value::from(0),
            &seen["not_in_tables"],
        ),
        (
            "sockets in tables but not in slabs",
            &Value::from(0),
            &seen["not_in_slabs"],
        ),
    ] {
        if ours != theirs {
            wrong.push(format!("{what}: fdtrace {ours}, drgn {theirs}"));
        }
    }
    if !wrong.is_empty() {
        bail!("fdtrace and drgn differ:\n{}", wrong.join("\n"));
    }
    if let Some(lie) = unnoticed(&rows, &found) {
        bail!("nobody would notice {lie}");
    }
    Ok(format!(
        "{}: {} files in flight at the same places and addresses by fdtrace and by drgn, which looked at {} sockets; the kernel's counts agree",
        seen["release"].as_str().unwrap_or("?"),
        rows.len(),
        seen["sockets"],
    ))
}

/// What only one of them has.
fn differences(said: &[Row], seen: &[Row]) -> Vec<String> {
    let (mut said, mut seen) = (said.to_vec(), seen.to_vec());
    said.sort();
    seen.sort();
    let (mut said, mut seen) = (said.iter().peekable(), seen.iter().peekable());
    let mut wrong = Vec::new();
    loop {
        let order = match (said.peek(), seen.peek()) {
            (Some(ours), Some(theirs)) => ours.cmp(theirs),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return wrong,
        };
        let (ours, theirs) = match order {
            Ordering::Less => (said.next(), None),
            Ordering::Equal => (said.next(), seen.next()),
            Ordering::Greater => (None, seen.next()),
        };
        match (ours, theirs) {
            (Some(row), None) => wrong.push(format!("fdtrace alone: {row}")),
            (None, Some(row)) => wrong.push(format!("drgn alone: {row}")),
            _ => {}
        }
    }
}

/// The control: the first lie about what was found that makes no difference.
fn unnoticed(said: &[Row], seen: &[Row]) -> Option<&'static str> {
    type Lie = fn(&mut Vec<Row>);
    let lies: [(&str, Lie); 4] = [
        ("another address", |rows| rows[0].file.push('0')),
        ("another place", |rows| rows[0].index += 1),
        ("a file too few", |rows| rows.truncate(rows.len() - 1)),
        ("a file told twice", |rows| rows.push(rows[0].clone())),
    ];
    if said.is_empty() {
        return Some("nothing at all");
    }
    lies.into_iter().find_map(|(lie, change)| {
        let mut rows = said.to_vec();
        change(&mut rows);
        differences(&rows, seen).is_empty().then_some(lie)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SAID: &str = r#"
{"type":"in_flight","file":{"ptr":"0xff10"},"socket":{"ino":7},"position":1,"index":0,"count":1}
{"type":"in_flight","file":{"ptr":"0xff10"},"socket":{"ino":null},"position":0,"index":0,"count":1}
{"type":"in_flight_summary","files":2,"scm_fds":2,"counted_by_user":2,"complete":true}
"#;

    fn seen() -> Value {
        let row = |socket: Value, position: u64| json!({"socket": socket, "position": position, "index": 0, "count": 1, "file": "0xff10"});
        json!({
            "release": "6.1", "sockets": 9, "not_in_tables": 0, "not_in_slabs": 0,
            "rows": [row(Value::Null, 0), row(7.into(), 1)],
            "counted_by_socket": 2, "counted_by_user": 2,
        })
    }

    #[test]
    fn the_same_files_in_another_order_agree() {
        let agreed = judge(SAID, &seen()).unwrap();
        assert!(agreed.starts_with("6.1: 2 files in flight"), "{agreed}");
    }

    #[test]
    fn whatever_is_different_is_told() {
        type Change = fn(&mut Value);
        let changes: [(Change, &str); 6] = [
            (
                |seen| seen["rows"][1]["file"] = "0xff11".into(),
                "fdtrace alone: socket:[7] 1.0 of 1: 0xff10\ndrgn alone: socket:[7] 1.0 of 1: 0xff11",
            ),
            (
                |seen| drop(seen["rows"].as_array_mut().unwrap().pop()),
                "files: fdtrace 2, drgn 1",
            ),
            (
                |seen| seen["counted_by_user"] = 3.into(),
                "the count by user: fdtrace 2, drgn 3",
            ),
            (
                |seen| seen["counted_by_socket"] = 1.into(),
                "the count by socket: fdtrace 2, drgn 1",
            ),
            (
                |seen| seen["not_in_tables"] = 1.into(),
                "not in tables: fdtrace 0, drgn 1",
            ),
            (
                |seen| seen["rows"][0]["position"] = 4.into(),
                "drgn alone: a connection that nobody has accepted 4.0",
            ),
        ];
        for (change, why) in changes {
            let mut seen = seen();
            change(&mut seen);
            let error = judge(SAID, &seen).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn nothing_proves_nothing() {
        let mut seen = seen();
        seen["rows"] = json!([]);
        seen["counted_by_socket"] = 0.into();
        seen["counted_by_user"] = 0.into();
        let said = r#"{"files":0,"scm_fds":0,"counted_by_user":0,"complete":true}"#;
        let error = judge(said, &seen).unwrap_err().to_string();
        assert_eq!(error, "nobody would notice nothing at all");
    }
}
