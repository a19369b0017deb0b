//! What fdtrace is made of, for those who have to know: a CycloneDX file for each architecture.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{Release, VERSION, tools::Tools};
use crate::{arch::Arch, elf, paths, process, workspace};

/// Writes `fdtrace-VERSION-TRIPLE.cdx.json`.
pub(super) fn write(release: &Release, tools: &Tools, arch: Arch) -> Result<()> {
    // cargo-cyclonedx writes beside every manifest of the workspace: into a copy, then.
    let sources = release.scratch.join("sources");
    if sources.exists() {
        fs::remove_dir_all(&sources).context("cannot clear the copy of the sources")?;
    }
    let mut clone = Command::new("git");
    clone.args(["clone", "--quiet", "--shared"]);
    process::run(clone.arg(workspace::root()).arg(&sources))?;
    let name = format!("fdtrace-{VERSION}-{}.cdx", arch.target());
    let mut cyclonedx = tools.cargo();
    cyclonedx
        .args([
            "cyclonedx",
            "--quiet",
            "--format",
            "json",
            "--spec-version",
            "1.5",
        ])
        // What only builds it is not in it.
        .args(["--no-build-deps", "--target", arch.target()])
        .args(["--override-filename", &name, "--manifest-path"])
        .arg(sources.join("fdtrace/Cargo.toml"));
    process::run(&mut cyclonedx)?;

    let name = format!("{name}.json");
    let written = sources.join("fdtrace").join(&name);
    let text = fs::read_to_string(&written)
        .with_context(|| format!("cannot read {}", written.display()))?;
    let text = text.replace(&sources.display().to_string(), "/fdtrace");
    elf::refuse_paths(text.as_bytes(), &paths::of_this_machine())?;
    for part in ["aya", "btf-rs", "fdtrace-common"] {
        ensure!(
            text.contains(&format!("\"name\": \"{part}\"")),
            "{name} does not name {part}"
        );
    }
    let path = release.folder.join(&name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
