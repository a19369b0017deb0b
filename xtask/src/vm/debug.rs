//! What a debugger needs of one of Debian's kernels: its program with DWARF in it, and the module
//! that tells QEMU where the kernel's notes are. Fetched once for each kernel; the package has some
//! 280 MB.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;

use super::{
    archive::Suite,
    kernel::Kernel,
    series::{Package, Series},
};

const VMLINUX: &str = "vmlinux";
pub(super) const MODULE: &str = "qemu_fw_cfg.ko";
const ORIGIN: &str = "origin";

/// Where they are.
pub(super) struct Debug {
    pub(super) vmlinux: PathBuf,
    pub(super) module: PathBuf,
}

impl Debug {
    /// Finds those of `kernel`, which is of this series; they are kept below `cache`.
    pub(super) fn of(kernel: &Kernel, series: &Series, cache: &Path) -> Result<Self> {
        let dir = cache.join("debug").join(series.to_string());
        let known = fs::read_to_string(dir.join(ORIGIN)).unwrap_or_default();
        if known != kernel.origin {
            fetch(kernel, series, cache, &dir)
                .with_context(|| format!("cannot fetch what belongs to {}", kernel.origin))?;
        }
        Ok(Self {
            vmlinux: dir.join(VMLINUX),
            module: dir.join(MODULE),
        })
    }
}

/// Puts them into `dir`, whole or not at all.
fn fetch(kernel: &Kernel, series: &Series, cache: &Path, dir: &Path) -> Result<()> {
    let (image, suite) = origin(&kernel.origin).context("it is not from Debian's archive")?;
    let named = series.suites().iter().find(|name| **name == suite);
    let suite = Suite::fetch(
        named.context("its suite is unknown")?,
        Arch::X86_64,
        &cache.join("suites"),
    )?;
    let debug = Package {
        name: format!("{}-dbg", image.name),
        ..image.clone()
    };
    let unpacked = dir.with_extension(format!("new-{}", process::id()));
    let package = unpacked.join("package");
    let done = (|| {
        suite.unpack(&debug, &package)?;
        let boot = package.join("usr/lib/debug/boot");
        let vmlinux = only(&boot, |name| name.starts_with("vmlinux-"))?;
        fs::rename(vmlinux, unpacked.join(VMLINUX)).context("cannot move vmlinux")?;
        suite.unpack(&image, &package)?;
        let release = only(&package.join("lib/modules"), |_| true)?;
        let module = release.join("kernel/drivers/firmware").join(MODULE);
        fs::rename(&module, unpacked.join(MODULE))
            .with_context(|| format!("{image} has no {MODULE}"))?;
        fs::remove_dir_all(&package).context("cannot remove the rest")?;
        fs::write(unpacked.join(ORIGIN), &kernel.origin).context("cannot note where it is from")?;
        if dir.exists() {
            fs::remove_dir_all(dir).context("cannot remove the old ones")?;
        }
        fs::rename(&unpacked, dir).context("cannot move them into place")
    })();
    if done.is_err() {
        // It is no more than what an interrupted download leaves.
        let _ = fs::remove_dir_all(&unpacked);
    }
    done
}

/// The package and the suite that a kernel's origin names.
fn origin(origin: &str) -> Option<(Package, &str)> {
    let (package, suite) = origin.split_once(" from ")?;
    let (name, version) = package.split_once(' ')?;
    let package = Package {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    Some((package, suite))
}

/// The one entry of a folder whose name is such.
fn only(dir: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut found = entries
        .flatten()
        .filter(|entry| is_wanted(&entry.file_name().to_string_lossy()));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.path()),
        _ => bail!("{} has not the one file that was looked for", dir.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_package_version_and_suite() {
        let (package, suite) = origin("linux-image-6.1.0-50 6.1.176-1 from bookworm").unwrap();
        assert_eq!(package.to_string(), "linux-image-6.1.0-50 6.1.176-1");
        assert_eq!(suite, "bookworm");
        assert!(origin("/boot/vmlinuz").is_none());
    }
}
