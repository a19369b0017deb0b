//! The sums and their signature: they hold, and one byte more or less breaks them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::said;
use crate::dist::{
    Release, copy, files,
    sums::{SUMS, minisign, sign_with},
};

pub(super) fn hold(release: &Release, place: &Path) -> Result<()> {
    // A copy, for it will be spoiled; the eBPF object is among them.
    let folder = place.join("copy");
    for file in files(&release.folder)? {
        copy(&file, &folder.join(file.file_name().unwrap_or_default()))?;
    }
    let sums = folder.join(SUMS);
    let text = fs::read_to_string(&sums).context("cannot read the sums")?;
    ensure!(
        text.contains("  fdtrace.bpf.o\n"),
        "the eBPF object has no sum"
    );
    check(&folder)?;
    for file in files(&folder)? {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(SUMS) {
            continue;
        }
        ensure!(text.contains(&format!("  {name}\n")), "{name} has no sum");
        spoiled(&file, || ensure_refused(&check(&folder), &name))?;
    }

    let key = |name: &str| -> Result<(PathBuf, PathBuf)> {
        let (secret, public) = (place.join(name), place.join(format!("{name}.pub")));
        said(
            minisign()?
                .args(["-G", "-W", "-s"])
                .arg(&secret)
                .arg("-p")
                .arg(&public),
        )?;
        Ok((secret, public))
    };
    let ((secret, public), (_, another)) = (key("ours")?, key("another")?);
    sign_with(&secret, &folder)?;
    verify(&sums, &public)?;
    ensure_refused(&verify(&sums, &another), "another's key")?;
    spoiled(&sums, || ensure_refused(&verify(&sums, &public), SUMS))?;
    verify(&sums, &public)
}

fn check(folder: &Path) -> Result<()> {
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.args(["--check", "--strict", "--quiet", SUMS]);
    said(sha256sum.current_dir(folder)).map(drop)
}

fn verify(file: &Path, public: &Path) -> Result<()> {
    said(
        minisign()?
            .args(["-V", "-q", "-p"])
            .arg(public)
            .arg("-m")
            .arg(file),
    )
    .map(drop)
}

/// Does `what` while one byte of `file` is another.
fn spoiled(file: &Path, what: impl FnOnce() -> Result<()>) -> Result<()> {
    let whole = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut other = whole.clone();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    let write = |content: &[u8]| {
        fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))
    };
    write(&other)?;
    what()?;
    write(&whole)
}

fn ensure_refused(answer: &Result<()>, what: &str) -> Result<()> {
    ensure!(
        answer.is_err(),
        "nobody notices that {what} is not what it was"
    );
    Ok(())
}
