//! The archive, unpacked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{Root, only, said, works};
use crate::{
    arch::Arch,
    dist::{ARCHITECTURES, Release, VERSION},
    fingerprint::sha256,
};

pub(super) fn runs(release: &Release, arch: Arch, place: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.arg("--extract")
        .arg("--file")
        .arg(archive(release, arch)?);
    said(tar.arg("--directory").arg(place))?;
    let program = place.join(program(arch));
    if arch != ARCHITECTURES[0] {
        return works::in_vm(arch, &program);
    }
    let root = place.join("root");
    fs::create_dir_all(root.join("bin")).context("cannot make a root")?;
    fs::copy(&program, root.join("bin/fdtrace"))
        .with_context(|| format!("cannot copy {}", program.display()))?;
    let root = Root::at(&root)?;
    works::here(arch, &|| root.command("fdtrace"))
}

/// The names of its manual pages.
pub(super) fn pages(release: &Release, arch: Arch) -> Result<impl Iterator<Item = String>> {
    let listed = said(
        Command::new("tar")
            .arg("--list")
            .arg("--file")
            .arg(archive(release, arch)?),
    )?;
    let pages: Vec<String> = listed
        .lines()
        .filter_map(|line| line.split_once("/share/man/"))
        .map(|(_, page)| page.to_owned())
        .filter(|page| !page.is_empty())
        .collect();
    ensure!(
        pages.iter().any(|page| page == "fdtrace-check.1.gz"),
        "it has no manual: {listed}"
    );
    Ok(pages.into_iter())
}

/// The sum of its program.
pub(super) fn program_sum(release: &Release, arch: Arch) -> Result<String> {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--to-stdout", "--file"]);
    let output = super::capture(tar.arg(archive(release, arch)?).arg(program(arch)))?;
    ensure!(
        output.status.success() && !output.stdout.is_empty(),
        "the archive has no program"
    );
    Ok(sha256(&output.stdout))
}

fn archive(release: &Release, arch: Arch) -> Result<PathBuf> {
    only(release, &format!("-{}.tar.gz", arch.target()))
}

/// Where it is in the archive: cargo-binstall looks there, by fdtrace/Cargo.toml.
fn program(arch: Arch) -> String {
    format!("fdtrace-{VERSION}-{}/fdtrace", arch.target())
}
