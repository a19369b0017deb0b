//! The RPM package, in a root that has nothing else.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{Root, is_complete, is_the_program, only, said, works};
use crate::{
    arch::Arch,
    dist::{ARCHITECTURES, Release},
    process, toolchain,
};

const COMPLETIONS: [&str; 3] = [
    "/usr/share/bash-completion/completions/fdtrace",
    "/usr/share/zsh/site-functions/_fdtrace",
    "/usr/share/fish/vendor_completions.d/fdtrace.fish",
];
const OTHERS: [&str; 4] = [
    "/usr/share/doc/fdtrace/CHANGELOG.md",
    "/usr/share/doc/fdtrace/README.md",
    "/usr/share/licenses/fdtrace/LICENSE-APACHE",
    "/usr/share/licenses/fdtrace/LICENSE-MIT",
];

pub(super) fn installs_and_runs(release: &Release, arch: Arch, place: &Path) -> Result<()> {
    let package = only(release, &format!(".{}.rpm", arch.rpm()))?;
    let program = toolchain::find_or_install("rpm", "rpm")?;
    let root = place.join("root");
    fs::create_dir_all(&root).context("cannot make a root")?;
    let rpm = |arguments: &[&str], package: &Path| {
        let mut rpm = Command::new(&program);
        rpm.arg("--root").arg(&root).args(arguments).arg(package);
        rpm
    };
    // Nobody has signed it: SHA256SUMS are what is signed.
    said(&mut rpm(&["--checksig", "--nosignature"], &package))?;
    let listed = said(&mut rpm(&["--query", "--list", "--package"], &package))?;
    is_complete(
        &listed.lines().collect::<Vec<_>>(),
        &COMPLETIONS,
        &OTHERS,
        release,
        arch,
    )?;
    let needed = said(&mut rpm(&["--query", "--requires", "--package"], &package))?;
    let needed: Vec<_> = needed
        .lines()
        .filter(|line| !line.starts_with("rpmlib("))
        .collect();
    ensure!(needed.is_empty(), "a static program needs {needed:?}");
    if let Some(rpmlint) = process::find("rpmlint") {
        println!("{}", said(Command::new(rpmlint).arg(&package))?);
    }
    spoiled_is_refused(&rpm, &package, place)?;

    let foreign: &[&str] = match arch == ARCHITECTURES[0] {
        true => &[],
        false => &["--ignorearch"],
    };
    said(&mut rpm(&[&["--install"], foreign].concat(), &package))?;
    is_the_program(&root.join("usr/bin/fdtrace"), release, arch)?;
    let root = Root::at(&root)?;
    works::here(arch, &|| root.command("fdtrace"))
}

/// Negative control: one byte of the payload is another, and rpm says so.
fn spoiled_is_refused(
    rpm: &dyn Fn(&[&str], &Path) -> Command,
    package: &Path,
    place: &Path,
) -> Result<()> {
    let spoiled = place.join("spoiled.rpm");
    let mut content = fs::read(package).context("cannot read the package")?;
    let last = content.len() / 2;
    content[last] ^= 1;
    fs::write(&spoiled, content).context("cannot write a spoiled package")?;
    let check = said(&mut rpm(&["--checksig", "--nosignature"], &spoiled));
    ensure!(check.is_err(), "rpm takes a spoiled package");
    Ok(())
}
