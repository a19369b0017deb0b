//! Runs the fdtrace command and looks at what it leaves: exit code, stdout, stderr.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, ExitStatus, Output, Stdio},
    sync::LazyLock,
};

/// The command under test: the one that Cargo built with the tests, one folder above them, or the one
/// that `FDTRACE_BIN` names.
pub static FDTRACE: LazyLock<String> = LazyLock::new(|| {
    env::var("FDTRACE_BIN").unwrap_or_else(|_| {
        let test = env::current_exe().expect("/proc is mounted");
        let built = test.ancestors().nth(2).expect("it is in a folder");
        built.join("fdtrace").display().to_string()
    })
});

/// Whether QEMU runs this machine's instructions one by one.
pub fn is_emulated() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").expect("/proc is mounted");
    cpu.lines()
        .any(|line| line.starts_with("model name") && line.contains("TCG"))
}

/// The most memory that a process has had at once, KiB, while it is there to ask. What wait4 says
/// would count the process that it was started from too.
pub fn most_memory_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// What a run left.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote to its stdout.
    pub stdout: String,
    /// All that it wrote to its stderr.
    pub stderr: String,
}

/// The command, as a script would start it.
pub fn fdtrace(args: &[&str]) -> Command {
    at(Path::new(FDTRACE.as_str()), args)
}

/// Another copy of the command, as a script would start it.
pub fn at(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        // A panic that prints its backtrace is harder to overlook.
        .env("RUST_BACKTRACE", "1")
        .env_remove("CLICOLOR_FORCE");
    command
}

/// Runs it to its end. It must end by itself, and never by a panic.
pub fn run(command: &mut Command) -> Run {
    // Files and no pipes: whatever it left behind would keep a pipe open, and this waiting.
    let (mut stdout, mut stderr) = (file(), file());
    let status = command
        .stdout(stdout.try_clone().expect("it is open"))
        .stderr(stderr.try_clone().expect("it is open"))
        .status()
        .expect("fdtrace can be started");
    Run::ended(status, written(&mut stdout), written(&mut stderr))
}

fn file() -> File {
    tempfile::tempfile().expect("there is room for a file")
}

/// All that was written to a file.
pub fn written(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().expect("it is a file");
    file.read_to_string(&mut text)
        .expect("fdtrace writes UTF-8");
    text
}

impl Run {
    /// From what the standard library collected of it.
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("fdtrace writes UTF-8");
        Self::ended(output.status, text(&output.stdout), text(&output.stderr))
    }

    fn ended(status: ExitStatus, stdout: String, stderr: String) -> Self {
        let run = Self {
            code: status.code(),
            stdout,
            stderr,
        };
        assert_eq!(status.signal(), None, "{run:?}");
        for sign in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
            assert!(!run.stderr.contains(sign), "{}", run.stderr);
        }
        run
    }

    /// It cannot do this, and says so in one line on stderr, with a hint in a second one where
    /// the user can do something about it.
    pub fn assert_complaint(&self, what: &str, hint: Option<&str>) {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let mut lines = self.stderr.lines();
        let first = lines.next().expect("it says something");
        assert!(first.starts_with("fdtrace: "), "{self:?}");
        assert!(first.contains(what), "{what:?} is not in {self:?}");
        assert!(!first.ends_with('.'), "{self:?}");
        let second = lines.next();
        match hint {
            Some(hint) => assert!(
                second.is_some_and(|line| line.starts_with("hint: ") && line.contains(hint)),
                "{hint:?} is not in {self:?}"
            ),
            None => assert_eq!(second, None, "{self:?}"),
        }
        assert_eq!(lines.next(), None, "{self:?}");
    }
}

/// Says that a test cannot run here, to whoever reads its output and to `cargo xtask test`.
pub fn skip(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
    if let Some(log) = env::var_os("FDTRACE_SKIP_LOG") {
        let mut log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(log)
            .expect("the log of skipped tests can be written");
        // One write, so that tests of other threads cannot get in between.
        log.write_all(format!("skipped: {test}: {why}\n").as_bytes())
            .expect("the log of skipped tests can be written");
    }
}
