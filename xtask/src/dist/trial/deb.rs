//! The Debian package, in a Debian that has just been made.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{Root, is_complete, is_the_program, only, said, works};
use crate::{
    arch::Arch,
    dist::{Release, VERSION},
    toolchain, vm,
};

const COMPLETIONS: [&str; 3] = [
    "/usr/share/bash-completion/completions/fdtrace",
    "/usr/share/zsh/vendor-completions/_fdtrace",
    "/usr/share/fish/vendor_completions.d/fdtrace.fish",
];
const OTHERS: [&str; 4] = [
    "/usr/share/doc/fdtrace/changelog.Debian.gz",
    "/usr/share/doc/fdtrace/changelog.gz",
    "/usr/share/doc/fdtrace/copyright",
    "/usr/share/lintian/overrides/fdtrace",
];

pub(super) fn installs_and_runs(release: &Release, arch: Arch, place: &Path) -> Result<()> {
    let package = only(release, &format!("_{}.deb", arch.debian()))?;
    let lintian = toolchain::find_or_install("lintian", "lintian")?;
    // No error, and no warning either.
    let mut lintian = Command::new(lintian);
    lintian.args(["--allow-root", "--fail-on", "error,warning"]);
    said(lintian.arg(&package))?;

    let root = place.join("root");
    bootstrap(&root)?;
    let root = Root::at(&root)?;
    fs::copy(&package, root.0.join("fdtrace.deb")).context("cannot copy the package")?;
    said(
        root.command("dpkg")
            .args(["--add-architecture", arch.debian()]),
    )?;
    said(root.command("dpkg").args(["--install", "/fdtrace.deb"]))?;
    let listed = said(root.command("dpkg").args(["--listfiles", "fdtrace"]))?;
    let files: Vec<&str> = listed
        .lines()
        .filter(|line| root.0.join(line.trim_start_matches('/')).is_file())
        .collect();
    is_complete(&files, &COMPLETIONS, &OTHERS, release, arch)?;
    is_the_program(&root.0.join("usr/bin/fdtrace"), release, arch)?;
    said(root.command("dpkg").args(["--verify", "fdtrace"]))?;
    let version =
        said(
            root.command("dpkg-query")
                .args(["--show", "--showformat=${Version}", "fdtrace"]),
        )?;
    ensure!(
        version == format!("{VERSION}-1"),
        "Debian calls it {version}"
    );
    works::here(arch, &|| root.command("fdtrace"))?;
    said(root.command("dpkg").args(["--purge", "fdtrace"]))?;
    let left: Vec<_> = files
        .iter()
        .filter(|file| root.0.join(file.trim_start_matches('/')).exists())
        .collect();
    ensure!(left.is_empty(), "removing it leaves {left:?}");
    Ok(())
}

/// Makes the smallest Debian of this machine's release, from the archive that its apt uses.
fn bootstrap(root: &Path) -> Result<()> {
    let debootstrap = toolchain::find_or_install("debootstrap", "debootstrap")?;
    let about = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let suite = about
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release does not name this release")?;
    let mut command = Command::new(debootstrap);
    command.args(["--variant=minbase", suite]);
    said(command.arg(root).arg(vm::archive::address("Debian")?)).map(drop)
}
