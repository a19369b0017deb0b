//! The container image: nothing but the program and its licences.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{Release, VERSION, copy, program::Built};
use crate::{arch::Arch, process, toolchain, workspace};

/// What the image says of itself.
const LABELS: [(&str, &str); 4] = [
    ("org.opencontainers.image.title", "fdtrace"),
    (
        "org.opencontainers.image.description",
        env!("CARGO_PKG_DESCRIPTION"),
    ),
    (
        "org.opencontainers.image.licenses",
        env!("CARGO_PKG_LICENSE"),
    ),
    (
        "org.opencontainers.image.source",
        env!("CARGO_PKG_REPOSITORY"),
    ),
];

/// The image's file: an archive in the OCI's layout.
pub(super) fn file(release: &Release, arch: Arch) -> PathBuf {
    release
        .folder
        .join(format!("fdtrace-{VERSION}-oci-{}.tar", arch.oci()))
}

/// Where images and containers are kept, whatever this machine has of its own.
pub(super) struct Storage {
    folder: PathBuf,
    /// Elsewhere, for podman takes no name of more than 50 characters here.
    run: TempDir,
}

impl Storage {
    pub(super) fn below(folder: &Path) -> Result<Self> {
        Ok(Self {
            folder: folder.join("store"),
            run: tempfile::tempdir().context("cannot make a folder for containers")?,
        })
    }

    /// The options that buildah and podman take for it.
    pub(super) fn options(&self) -> [String; 3] {
        [
            // No other driver works everywhere: overlayfs does not lie on overlayfs.
            "--storage-driver=vfs".to_owned(),
            format!("--root={}", self.folder.display()),
            format!("--runroot={}", self.run.path().display()),
        ]
    }
}

/// Builds it for `arch`.
pub(super) fn build(release: &Release, arch: Arch, built: &Built) -> Result<()> {
    let program = toolchain::find_or_install("buildah", "buildah")?;
    let scratch = release.scratch.join("image");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).context("cannot clear the image's folder")?;
    }
    let root = scratch.join("root");
    copy(&built.program(), &root.join("usr/bin/fdtrace"))?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let to = root.join("usr/share/doc/fdtrace").join(licence);
        copy(&workspace::root().join(licence), &to)?;
    }
    // Scenarios of `fdtrace verify` pass files that they make there.
    let tmp = root.join("tmp");
    fs::create_dir_all(&tmp).with_context(|| format!("cannot make {}", tmp.display()))?;

    let storage = Storage::below(&scratch)?;
    let buildah = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(storage.options()).args(arguments);
        command
    };
    let container = process::output(&mut buildah(&["from", "scratch"]))
        .context("buildah cannot begin an image")?;
    process::run(
        buildah(&["copy", "--quiet", &container])
            .arg(&root)
            .arg("/"),
    )?;
    let mut config = buildah(&["config", "--entrypoint", r#"["/usr/bin/fdtrace"]"#]);
    config.args(["--os", "linux", "--arch", arch.oci()]);
    for (label, value) in LABELS {
        config.args(["--label", &format!("{label}={value}")]);
    }
    config.args([
        "--label",
        &format!("org.opencontainers.image.version={VERSION}"),
    ]);
    process::run(config.arg(&container))?;
    let file = file(release, arch);
    let to = format!("oci-archive:{}:fdtrace:{VERSION}", file.display());
    process::run(&mut buildah(&[
        "commit",
        "--quiet",
        "--rm",
        "--disable-compression=false",
        "--timestamp",
        &release.epoch,
        &container,
        &to,
    ]))
}
