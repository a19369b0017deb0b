//! Folders of this machine, which nothing that is built may name: its bytes would be other ones in
//! another folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::workspace;

/// Those that a build comes across.
pub(crate) fn of_this_machine() -> Vec<PathBuf> {
    let mut folders = vec![workspace::root(), workspace::target()];
    folders.extend(workspace::cargo_home());
    folders.extend(workspace::home());
    folders
}

/// Flags for rustc that replace each by a name that is the same everywhere; `target` is where the build
/// writes, `rust_src` where it compiles the standard library from, if it does.
pub(crate) fn remaps(rust_src: Option<&Path>, target: &Path) -> Result<Vec<String>> {
    // Of two that match rustc takes the later, so inner folders follow outer ones.
    let mut renames: Vec<(PathBuf, &str)> = Vec::new();
    if let Some(cargo_home) = workspace::cargo_home() {
        let registries = cargo_home.join("registry/src");
        renames.push((cargo_home, "cargo"));
        // One folder per registry or mirror, with its host in the name.
        let folders = fs::read_dir(registries).into_iter().flatten().flatten();
        renames.extend(folders.map(|registry| (registry.path(), "crates")));
    }
    renames.extend(rust_src.map(|folder| (folder.to_path_buf(), "rust")));
    renames.push((workspace::root(), "fdtrace"));
    renames.push((target.to_path_buf(), "target"));
    let flag = |(folder, name): (PathBuf, &str)| {
        let folder = folder
            .to_str()
            .with_context(|| format!("{} is not UTF-8", folder.display()))?;
        Ok(format!("--remap-path-prefix={folder}={name}"))
    };
    renames.into_iter().map(flag).collect()
}
