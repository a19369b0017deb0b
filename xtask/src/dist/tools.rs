//! The programs that build packages: Cargo's, from crates.io at one version each, in a folder of their
//! own; the others are Debian's, and found or installed where they are needed.

use std::{env, ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{process, workspace};

/// Subcommands of Cargo's, and their versions: another one may build other bytes.
const SUBCOMMANDS: [(&str, &str); 3] = [
    ("cargo-deb", "3.8.0"),
    ("cargo-generate-rpm", "0.21.1"),
    ("cargo-cyclonedx", "0.5.9"),
];

/// They are there.
pub(super) struct Tools {
    path: OsString,
    epoch: String,
}

impl Tools {
    /// Installs those that are missing; they write `epoch` where a time has to be.
    pub(super) fn find_or_install(epoch: &str) -> Result<Self> {
        for (name, version) in SUBCOMMANDS {
            if !folder(name, version).join("bin").join(name).is_file() {
                install(name, version)?;
            }
        }
        let folders = SUBCOMMANDS.map(|(name, version)| folder(name, version).join("bin"));
        let path = env::var_os("PATH").unwrap_or_default();
        Ok(Self {
            path: env::join_paths(folders.into_iter().chain(env::split_paths(&path)))
                .context("cannot put the packaging tools on PATH")?,
            epoch: epoch.to_owned(),
        })
    }

    /// Cargo, with them among its subcommands.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = process::cargo();
        cargo
            .env("PATH", &self.path)
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        cargo
    }
}

/// A folder for each version, so that another checkout with another one does not replace it.
fn folder(name: &str, version: &str) -> PathBuf {
    workspace::cache()
        .join("dist")
        .join(format!("{name}-{version}"))
}

fn install(name: &str, version: &str) -> Result<()> {
    let mut cargo = process::cargo();
    // The flags of the caller's builds are none of theirs.
    cargo
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["install", name, "--version", version, "--locked", "--root"])
        .arg(folder(name, version));
    process::run(&mut cargo)
}
