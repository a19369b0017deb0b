//! `SHA256SUMS`, and its signature: what tells a release from what somebody put in its place.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{VERSION, files};
use crate::{fingerprint::sha256, process, toolchain};

/// Names the file with minisign's secret key. If that has a password, minisign asks for it, or reads it
/// from its stdin.
pub(super) const KEY: &str = "FDTRACE_SIGNING_KEY";

pub(super) const SUMS: &str = "SHA256SUMS";

/// Writes the sums of all files of `folder`, as `sha256sum --check` reads them.
pub(super) fn write(folder: &Path) -> Result<()> {
    let mut sums = String::new();
    for file in files(folder)? {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(sums, "{}  {name}", sha256(&content));
    }
    let path = folder.join(SUMS);
    fs::write(&path, sums).with_context(|| format!("cannot write {}", path.display()))
}

/// Signs them with the key that the environment names; says whether it names one.
pub(super) fn sign(folder: &Path) -> Result<bool> {
    let Some(key) = env::var_os(KEY).filter(|key| !key.is_empty()) else {
        return Ok(false);
    };
    sign_with(&PathBuf::from(key), folder)?;
    Ok(true)
}

pub(super) fn sign_with(key: &Path, folder: &Path) -> Result<()> {
    if !key.is_file() {
        bail!("{KEY} names {}, which is no file", key.display());
    }
    let mut minisign = minisign()?;
    minisign
        .args(["-S", "-s"])
        .arg(key)
        .args(["-t", &format!("fdtrace {VERSION}"), "-m"])
        .arg(folder.join(SUMS));
    process::run(&mut minisign)
}

pub(super) fn minisign() -> Result<Command> {
    toolchain::find_or_install("minisign", "minisign").map(Command::new)
}
