//! The program: static, without names of this machine, and what it writes of itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{Release, compress, files};
use crate::{
    arch::Arch,
    cross, elf,
    paths::{self, remaps},
    process, vm,
};

/// Where the shells look for completions below `share`, by whose name fdtrace knows them. An RPM's zsh
/// looks elsewhere than Debian's.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/fdtrace"),
    ("zsh", "zsh/_fdtrace"),
    ("fish", "fish/vendor_completions.d/fdtrace.fish"),
];

/// A program that is built, and where Cargo built it.
pub(super) struct Built {
    /// The folder of its target and profile, where packaging tools look for what they take.
    pub(super) folder: PathBuf,
    /// Cargo's target directory.
    pub(super) target_dir: PathBuf,
}

impl Built {
    pub(super) fn program(&self) -> PathBuf {
        self.folder.join("fdtrace")
    }

    /// Manual pages and completions.
    pub(super) fn share(&self) -> PathBuf {
        self.folder.join("share")
    }
}

/// Builds it for `arch`, with pages and completions beside it: its own, or those in `share`.
pub(super) fn build(release: &Release, arch: Arch, share: Option<&Path>) -> Result<Built> {
    // Of its own, for other flags, or another compiler, would build everything anew each time.
    let target_dir = release.scratch.join("build").join(arch.debian());
    let mut cargo = process::cargo();
    cargo
        .args(["build", "--release", "--locked", "-p", "fdtrace"])
        .arg("--target-dir")
        .arg(&target_dir);
    let mut flags = cross::aim(&mut cargo, arch)?;
    flags.extend(remaps(None, &target_dir)?);
    cargo
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_INCREMENTAL", "0");
    process::run(&mut cargo)?;
    let built = Built {
        folder: target_dir.join(arch.target()).join("release"),
        target_dir,
    };
    is_fit(&built.program())?;
    let to = built.share();
    if to.exists() {
        fs::remove_dir_all(&to).with_context(|| format!("cannot clear {}", to.display()))?;
    }
    match share {
        None => describe_itself(&built)?,
        Some(share) => process::run(Command::new("cp").arg("-r").arg(share).arg(&to))?,
    }
    Ok(built)
}

/// An error unless the program needs nothing of the machine it will run on, and names nothing of this one.
fn is_fit(program: &Path) -> Result<()> {
    let data = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    if let Some(linker) = vm::dynamic_linker(&data) {
        bail!(
            "{} is not static: it needs {}",
            program.display(),
            linker.display()
        );
    }
    elf::refuse_paths(&data, &paths::of_this_machine())
}

/// Has the program write its manual pages and completions.
fn describe_itself(built: &Built) -> Result<()> {
    let share = built.share();
    let pages = share.join("man");
    fs::create_dir_all(&pages).with_context(|| format!("cannot make {}", pages.display()))?;
    let mut man = Command::new(built.program());
    process::run(man.args(["man", "--all"]).arg(&pages))?;
    for (shell, path) in COMPLETIONS {
        let path = share.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut completions = Command::new(built.program());
        process::run(
            completions
                .args(["completions", shell, "--output"])
                .arg(&path),
        )?;
    }
    compress(&files(&pages)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_libraries_is_not_fit() {
        let error = is_fit(Path::new("/bin/sh")).unwrap_err().to_string();
        assert!(error.contains("is not static"), "{error}");
    }
}
