//! Where things are: the workspace, its target directory, and the committed eBPF object.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The committed object, relative to the workspace.
pub(crate) const OBJECT: &str = "fdtrace/bpf/fdtrace.bpf.o";
/// What the committed object was built from, relative to the workspace.
pub(crate) const FINGERPRINT: &str = "fdtrace/bpf/fingerprint.toml";

/// The workspace's folder. Asked at run time first, so that an xtask binary outlives a move.
pub(crate) fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask
        .parent()
        .map_or_else(|| xtask.clone(), Path::to_path_buf)
}

/// Cargo's target directory for this workspace.
pub(crate) fn target() -> PathBuf {
    let root = root();
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    }
}

/// The user's home directory.
pub(crate) fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| home.is_absolute())
}

/// Where Cargo keeps downloaded crates and installed programs.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| home().map(|home| home.join(".cargo")))
}

/// Where downloads are kept: the folder that `FDTRACE_CACHE` names, which may outlive the checkout,
/// or one in the checkout.
pub(crate) fn cache() -> PathBuf {
    env::var_os("FDTRACE_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from)
}
