//! Running other programs: what is run is shown, what fails is named.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{IsTerminal as _, stdin},
    os::unix::{fs::MetadataExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// The Cargo that runs this task, in the workspace, without what `cargo run` told us about xtask.
pub(crate) fn cargo() -> Command {
    cargo_at(&env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from))
}

/// The same with another `cargo`.
pub(crate) fn cargo_at(cargo: &Path) -> Command {
    let mut command = Command::new(cargo);
    command.current_dir(workspace::root());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Shows and runs `command`; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Shows and runs `command`, which may fail.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    eprintln!("$ {}", shown(command));
    command
        .status()
        .with_context(|| format!("cannot run `{}`", shown(command)))
}

/// What `command` prints to stdout; `None` when it does not exist or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether `command` runs and succeeds; it prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    output(command).is_some()
}

/// The number that a shell would report for `status`.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

/// A program's name and arguments as one line.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut line = name.to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// The first `program` on PATH, among Cargo's installed programs, or where Debian has its servers,
/// which is not on everybody's PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = workspace::cargo_home().map(|home| home.join("bin"));
    env::split_paths(&path)
        .chain(installed)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// Whether this process is root. Procfs gives a process's own folder to its effective user.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Whether sudo works here, asking for a password at most once and only at a terminal.
pub(crate) fn sudo_works() -> bool {
    succeeds(Command::new("sudo").args(["-n", "true"]))
        || (stdin().is_terminal()
            && Command::new("sudo")
                .arg("-v")
                .status()
                .is_ok_and(|status| status.success()))
}

/// `program`, run as root: directly when we are, else through sudo.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let program = OsString::from(program.as_ref());
    if find("sudo").is_none() {
        bail!(
            "{} needs root, and there is no sudo",
            program.to_string_lossy()
        );
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg(program);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_follows_the_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn shown_leaves_out_where_the_program_lives() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["build", "-p", "x"]);
        assert_eq!(shown(&command), "cargo build -p x");
    }
}
