//! The packages: `.deb`, `.rpm`, and an archive to unpack anywhere, which cargo-binstall takes too. What
//! is in the first two stands in `fdtrace/Cargo.toml`.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use super::{Release, VERSION, compress, copy, program::Built, tools::Tools};
use crate::{arch::Arch, process, workspace};

/// As `fdtrace/Cargo.toml` has it.
const MAINTAINER: &str = "fdtrace contributors <fdtrace@users.noreply.github.com>";
/// Beside the program in the archive.
const TEXTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Builds all three for `arch`.
pub(super) fn build(release: &Release, tools: &Tools, arch: Arch, built: &Built) -> Result<()> {
    tell_changes(release, built)?;
    let mut deb = tools.cargo();
    deb.args([
        "deb",
        "--package",
        "fdtrace",
        "--no-build",
        "--no-strip",
        "--locked",
    ])
    .args(["--target", arch.target(), "--output"])
    .arg(&release.folder)
    .env("CARGO_TARGET_DIR", &built.target_dir);
    process::run(&mut deb)?;

    let mut rpm = tools.cargo();
    rpm.args([
        "generate-rpm",
        "--package",
        "fdtrace",
        "--auto-req",
        "disabled",
    ])
    .args([
        "--target",
        arch.target(),
        "--arch",
        arch.rpm(),
        "--target-dir",
    ])
    .arg(&built.target_dir)
    .args(["--source-date", &release.epoch, "--output"])
    .arg(&release.folder);
    process::run(&mut rpm)?;

    archive(release, arch, built)
}

/// Writes what Debian's tools want to know of this version; people read CHANGELOG.md, which is beside it.
fn tell_changes(release: &Release, built: &Built) -> Result<()> {
    let folder = built.folder.join("debian");
    let mut date = Command::new("date");
    date.args([
        "--utc",
        "--rfc-email",
        "--date",
        &format!("@{}", release.epoch),
    ]);
    let date = process::output(date.env("LC_ALL", "C")).context("date does not know the time")?;
    let changelog = folder.join("changelog");
    copy(&workspace::root().join("CHANGELOG.md"), &changelog)?;
    let debian = folder.join("changelog.Debian");
    let text = format!(
        "fdtrace ({VERSION}-1) unstable; urgency=medium\n\n  * Release {VERSION}.\n\n -- {MAINTAINER}  {date}\n"
    );
    fs::write(&debian, text).with_context(|| format!("cannot write {}", debian.display()))?;
    compress(&[changelog, debian])
}

/// `fdtrace-VERSION-TRIPLE.tar.gz`, with one folder of that name in it.
fn archive(release: &Release, arch: Arch, built: &Built) -> Result<()> {
    let name = format!("fdtrace-{VERSION}-{}", arch.target());
    let scratch = release.scratch.join("archive");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).context("cannot clear the archive's folder")?;
    }
    let folder = scratch.join(&name);
    copy(&built.program(), &folder.join("fdtrace"))?;
    for text in TEXTS {
        copy(&workspace::root().join(text), &folder.join(text))?;
    }
    process::run(Command::new("cp").arg("-r").arg(built.share()).arg(&folder))?;
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--gzip",
        "--sort=name",
        "--owner=0",
        "--group=0",
    ])
    .args(["--numeric-owner", "--mode=u=rwX,go=rX"])
    .arg(format!("--mtime=@{}", release.epoch))
    .arg("--file")
    .arg(release.folder.join(format!("{name}.tar.gz")))
    .arg("--directory")
    .arg(&scratch)
    .arg(&name);
    process::run(&mut tar)
}
