//! The image, as a container.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{is_the_program, said, works};
use crate::{
    arch::Arch,
    dist::{Release, VERSION, image},
    toolchain,
};

/// The most that it may take: a few megabytes.
const MOST_BYTES: u64 = 16 << 20;

pub(super) fn runs(release: &Release, arch: Arch, place: &Path) -> Result<()> {
    let file = image::file(release, arch);
    let size = file
        .metadata()
        .with_context(|| format!("no {}", file.display()))?
        .len();
    ensure!(size <= MOST_BYTES, "it takes {size} bytes");
    let podman = toolchain::find_or_install("podman", "podman")?;
    let runc = toolchain::find_or_install("runc", "runc")?;
    let storage = image::Storage::below(place)?;
    let podman = |arguments: &[&str]| {
        let mut command = Command::new(&podman);
        command
            .args(storage.options())
            .args(["--runtime"])
            .arg(&runc);
        // Without systemd there is no other one.
        command.arg("--cgroup-manager=cgroupfs").args(arguments);
        command
    };
    said(podman(&["load", "--quiet", "--input"]).arg(&file))?;
    let name = format!("localhost/fdtrace:{VERSION}");
    let mounted = said(&mut podman(&["image", "mount", &name]))?;
    is_the_program(
        &Path::new(mounted.trim()).join("usr/bin/fdtrace"),
        release,
        arch,
    )?;
    // As docs/install.md has it, but for limits, which podman would raise, and a network, which it would make.
    let limits = [
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1024:1024",
        "--network=none",
    ];
    works::here(arch, &|| {
        let mut run = podman(&["run", "--rm", "--privileged", "--pid=host"]);
        run.args(limits).arg(&name);
        run
    })
}
