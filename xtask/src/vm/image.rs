//! What a VM boots into: programs with the libraries that they need, and the job for the first
//! process.
//!
//! The binaries come from one Cargo run with a target directory of its own, because other flags
//! than usual would make Cargo build everything anew each time.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt, fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use vm_init::{JOB, Job};

use super::{cpio::Archive, libraries};
use crate::{arch::Arch, cross, process, toolchain, workspace};

/// The users of a VM: root, and those that servers give it up for.
const USERS: [(&str, &str); 2] = [
    (
        "etc/passwd",
        "root:x:0:0::/tmp:/bin/sh\n\
         www-data:x:33:33::/tmp:/bin/false\n\
         nobody:x:65534:65534::/tmp:/bin/false\n",
    ),
    (
        "etc/group",
        "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\nnobody:x:65533:\n",
    ),
];

/// The program that is most of a VM's commands.
pub(crate) const BUSYBOX: &str = "busybox";

/// A program that the VM will have in /bin.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    name: String,
    path: PathBuf,
}

impl Program {
    pub(crate) fn new(name: &str, path: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            path,
        }
    }

    /// `NAME=FILE`, or a file that keeps its name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = Path::new(text.split_once('=').map_or(text, |(_, path)| path));
        let own = path.file_name().map(|name| name.to_string_lossy());
        let name = match text.split_once('=') {
            Some((name, _)) if !name.contains('/') => name.to_owned(),
            Some(_) => return Err(format!("{text}: a program's name has no slash")),
            None => own.ok_or("it names no file")?.into_owned(),
        };
        Ok(Self::new(&name, path.to_owned()))
    }
}

/// One of fdtrace's test programs, or those of its tests that a module has.
#[derive(Clone, Debug)]
pub(crate) struct Tests {
    program: String,
    module: Option<String>,
}

impl fmt::Display for Tests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.module
            .as_ref()
            .map_or(Ok(()), |module| write!(f, "::{module}"))
    }
}

impl From<&str> for Tests {
    /// Of `PROGRAM`, or `PROGRAM::MODULE`.
    fn from(text: &str) -> Self {
        let (program, module) = match text.split_once("::") {
            Some((program, module)) => (program, Some(module.to_owned())),
            None => (text, None),
        };
        Self {
            program: program.to_owned(),
            module,
        }
    }
}

impl Tests {
    /// Runs them one after the other: what they measure is the machine's.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let module = self.module.as_ref().map(|module| format!("{module}::"));
        [self.program.clone(), "--test-threads=1".to_owned()]
            .into_iter()
            .chain(module)
            .map(OsString::from)
            .collect()
    }
}

/// Builds fdtrace, init, the benchmark if that is wanted, and the programs of `tests`, all static.
pub(crate) fn build(arch: Arch, bench: bool, tests: &[Tests]) -> Result<Vec<Program>> {
    let mut names = vec!["fdtrace", "vm-init"];
    names.extend(bench.then_some("fdtrace-bench"));
    let packages = names.iter().flat_map(|name| ["-p", name]);
    process::run(cargo(arch, "build")?.args(packages))?;
    let mut programs: Vec<Program> = names.into_iter().map(|name| built(arch, name)).collect();
    for name in tests
        .iter()
        .map(|tests| &tests.program)
        .collect::<BTreeSet<_>>()
    {
        programs.push(Program::new(name, build_test(arch, name)?));
    }
    Ok(programs)
}

/// Builds init alone.
pub(crate) fn init(arch: Arch) -> Result<Program> {
    let name = "vm-init";
    process::run(cargo(arch, "build")?.args(["-p", name]))?;
    Ok(built(arch, name))
}

/// A program that [`build`] builds by the way.
pub(crate) fn built(arch: Arch, name: &str) -> Program {
    let folder = directory(arch).join(arch.target()).join(profile(arch));
    Program::new(name, folder.join(name))
}

fn build_test(arch: Arch, name: &str) -> Result<PathBuf> {
    let mut cargo = cargo(arch, "test")?;
    cargo.args(["-p", "fdtrace"]);
    find_test(cargo, name)
}

/// One of fdtrace's test programs as this machine runs it, which is built for it anyway.
pub(crate) fn test_of_this_machine(name: &str) -> Result<Program> {
    let mut cargo = process::cargo();
    cargo.args(["test", "--workspace"]);
    Ok(Program::new(name, find_test(cargo, name)?))
}

/// Builds it. Its name has a hash in it, so Cargo has to say where it is.
fn find_test(mut cargo: Command, name: &str) -> Result<PathBuf> {
    cargo
        .args(["--no-run", "--test", name])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    eprintln!("$ {}", process::shown(&cargo));
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cannot build the test {name}");
    }
    executable(&String::from_utf8_lossy(&output.stdout), name)
        .with_context(|| format!("cargo did not say where the test {name} is"))
}

fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let named = message["target"]["name"] == name && message["target"]["kind"][0] == "test";
        let path = message["executable"].as_str().filter(|_| named)?;
        Some(PathBuf::from(path))
    })
}

/// One for each architecture: the compiler may be another, and Cargo would build everything anew.
fn directory(arch: Arch) -> PathBuf {
    workspace::target().join(match arch {
        Arch::X86_64 => "vm",
        Arch::Arm64 => "vm-arm64",
    })
}

fn profile(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "release",
        Arch::Arm64 => "emulated",
    }
}

fn cargo(arch: Arch, subcommand: &str) -> Result<Command> {
    let mut cargo = process::cargo();
    cargo.args([subcommand, "--profile", profile(arch), "--target-dir"]);
    cargo.arg(directory(arch));
    let flags = cross::aim(&mut cargo, arch)?;
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    Ok(cargo)
}

/// Writes the initramfs with these programs and this job to `path`.
pub(crate) fn write(path: &Path, programs: &[Program], job: &Job) -> Result<()> {
    let file = fs::File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    for dir in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        archive.directory(dir)?;
    }
    // Without these a program begins with no stdout, or ends before its first line.
    archive.device("dev/console", 0o600, (5, 1))?;
    archive.device("dev/null", 0o666, (1, 3))?;
    for (path, text) in USERS {
        archive.file(path, 0o644, text.as_bytes())?;
    }
    let mut needed = BTreeSet::new();
    for program in programs {
        let data = fs::read(&program.path)
            .with_context(|| format!("cannot read {}", program.path.display()))?;
        needed.extend(libraries::of(&program.path, &data)?);
        archive.file(&format!("bin/{}", program.name), 0o755, &data)?;
    }
    add_libraries(&mut archive, &needed)?;
    archive.symlink("init", "bin/vm-init")?;
    if let Some(busybox) = programs.iter().find(|program| program.name == BUSYBOX) {
        for applet in applets(&busybox.path)? {
            if programs.iter().all(|program| program.name != applet) {
                archive.symlink(&format!("bin/{applet}"), "busybox")?;
            }
        }
    }
    archive.file(JOB.trim_start_matches('/'), 0o644, &job.encode())?;
    archive
        .finish()
        .and_then(|mut out| out.flush())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Puts them where the programs look for them, each below folders of its own.
fn add_libraries(archive: &mut Archive<impl Write>, needed: &BTreeSet<PathBuf>) -> Result<()> {
    let mut folders = BTreeSet::new();
    for path in needed {
        let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.strip_prefix("/").unwrap_or(path);
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.retain(|folder| *folder != Path::new(""));
        for folder in above.into_iter().rev() {
            if folders.insert(folder.to_owned()) {
                archive.directory(&folder.to_string_lossy())?;
            }
        }
        archive.file(&path.to_string_lossy(), 0o755, &data)?;
    }
    Ok(())
}

/// The commands that a busybox can be called as, but for itself.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let list = process::output(Command::new(busybox).arg("--list"))
        .with_context(|| format!("{} does not say what it can do", busybox.display()))?;
    let names = list.lines().filter(|name| *name != BUSYBOX);
    Ok(names.map(str::to_owned).collect())
}

/// The busybox that gives a VM its shell.
pub(crate) fn busybox() -> Result<Program> {
    let path = toolchain::find_or_install(BUSYBOX, "busybox-static")?;
    Ok(Program::new(BUSYBOX, path))
}

/// Starts a shell.
pub(crate) fn shell() -> Vec<OsString> {
    ["sh", "-l"].map(OsString::from).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_keeps_its_name_unless_it_gets_another() {
        let program = Program::parse("target/debug/live-0123").unwrap();
        assert_eq!(program.name, "live-0123");
        let program = Program::parse("live=target/debug/live-0123").unwrap();
        assert_eq!(
            (program.name.as_str(), program.path.to_str()),
            ("live", Some("target/debug/live-0123"))
        );
        assert!(Program::parse("a/b=c").is_err());
        assert!(Program::parse("/").is_err());
    }

    #[test]
    fn a_module_of_a_test_program_is_run_alone() {
        let command = |text: &str| Tests::from(text).command();
        assert_eq!(command("live"), ["live", "--test-threads=1"]);
        let module = command("live::trace_live");
        assert_eq!(module, ["live", "--test-threads=1", "trace_live::"]);
        let named = Tests::from("live::trace_live");
        assert_eq!(named.to_string(), "live::trace_live");
    }

    #[test]
    fn cargo_says_where_a_test_is() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"live"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"fdtrace"},"executable":"/t/fdtrace"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"live"},"executable":"/t/live-01"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages, "live"), Some("/t/live-01".into()));
        assert_eq!(executable(messages, "kernel"), None);
    }
}
