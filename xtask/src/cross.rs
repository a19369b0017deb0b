//! Static binaries for either architecture, built on x86-64.
//!
//! For arm64 that takes a linker and the standard library's arm64 half. Where Cargo's own compiler has
//! that (`rustup target add`), it is used. Else Debian's compiler is, with the package of its library for
//! arm64, which is unpacked below the cache and nowhere else: installed, it would stand in the way of
//! that for this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arch::Arch,
    process,
    toolchain::{self, DEBIAN_RUSTC},
    vm::archive::Suite,
    workspace,
};

const LINKER: &str = "aarch64-linux-gnu-gcc";
/// It, and what it links with.
const LINKER_PACKAGES: [&str; 2] = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];

/// Debian's compiler, and its standard library.
const COMPILER_PACKAGE: &str = "rustc-web";
const LIBRARY_PACKAGE: &str = "libstd-rust-web-dev";

/// Has `cargo` build static programs for `arch`. Returns the compiler's flags for that, which are the
/// caller's to pass on, with those of its own.
pub(crate) fn aim(cargo: &mut Command, arch: Arch) -> Result<Vec<String>> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    // Cargo would otherwise build macros with these flags.
    cargo.args(["--target", arch.target()]);
    if arch == Arch::Arm64 {
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", linker()?);
        if !knows_target(Path::new("rustc"), arch) {
            cargo.env("RUSTC", DEBIAN_RUSTC);
            flags.push(format!("--sysroot={}", library(arch)?.display()));
        }
    }
    Ok(flags)
}

fn linker() -> Result<PathBuf> {
    let installable = process::is_root() && process::find("apt-get").is_some();
    if process::find(LINKER).is_none() && installable {
        toolchain::apt_get(&["update"])?;
        let mut install = vec!["install", "-y", "--no-install-recommends"];
        install.extend(LINKER_PACKAGES);
        toolchain::apt_get(&install)?;
    }
    let packages = LINKER_PACKAGES.join(" and ");
    process::find(LINKER).with_context(|| {
        format!("no {LINKER}: install {packages}, on Debian with `apt-get install`")
    })
}

/// Whether this compiler has the standard library for the architecture.
fn knows_target(rustc: &Path, arch: Arch) -> bool {
    let mut command = Command::new(rustc);
    command.current_dir(workspace::root());
    command.args(["--print", "target-libdir", "--target", arch.target()]);
    process::output(&mut command).is_some_and(|directory| has_std(Path::new(&directory)))
}

fn has_std(directory: &Path) -> bool {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.any(|name| name.starts_with("libstd-") && name.ends_with(".rlib"))
}

/// The folder below which Debian's compiler finds its standard library for the architecture; fetched once
/// for each version of it.
fn library(arch: Arch) -> Result<PathBuf> {
    let version = compiler_version()?;
    let name = format!(
        "rust-{}-{}",
        arch.debian(),
        version.replace([':', '~'], "-")
    );
    let directory = workspace::cache().join(name);
    let sysroot = directory.join("usr");
    let libraries = sysroot.join("lib/rustlib").join(arch.target()).join("lib");
    if has_std(&libraries) {
        return Ok(sysroot);
    }
    let unpacked = directory.with_extension(format!("new-{}", std::process::id()));
    let done = unpack(arch, &version, &unpacked).and_then(|()| {
        // What an interrupted run left; mostly there is nothing.
        let _ = fs::remove_dir_all(&directory);
        fs::rename(&unpacked, &directory).context("cannot move it into place")
    });
    if done.is_err() {
        let _ = fs::remove_dir_all(&unpacked);
    }
    done.with_context(|| format!("cannot fetch {LIBRARY_PACKAGE} for {}", arch.debian()))?;
    if !has_std(&libraries) {
        bail!(
            "{LIBRARY_PACKAGE} has no library in {}",
            libraries.display()
        );
    }
    Ok(sysroot)
}

/// That of Debian's compiler, which its library must be of too.
fn compiler_version() -> Result<String> {
    let installed = || {
        let mut query = Command::new("dpkg-query");
        process::output(query.args(["-W", "-f", "${Version}", COMPILER_PACKAGE]))
            .filter(|version| !version.is_empty())
    };
    if installed().is_none() && process::is_root() && process::find("apt-get").is_some() {
        toolchain::apt_get(&["update"])?;
        toolchain::apt_get(&["install", "-y", "--no-install-recommends", COMPILER_PACKAGE])?;
    }
    installed().with_context(|| {
        format!(
            "no Rust for arm64: `rustup target add {}`, or install Debian's {COMPILER_PACKAGE}",
            Arch::Arm64.target()
        )
    })
}

/// Unpacks Debian's package of this version from whichever suite of this machine's release has it.
fn unpack(arch: Arch, version: &str, into: &Path) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release has no VERSION_CODENAME")?;
    let suites = workspace::cache().join("vm/suites");
    for name in [codename.to_owned(), format!("{codename}-security")] {
        let suite = Suite::fetch(&name, arch, &suites)?;
        let packages = suite.packages(LIBRARY_PACKAGE)?;
        let mut of_version = packages
            .iter()
            .filter(|package| package.name == LIBRARY_PACKAGE && package.version == version);
        if let Some(package) = of_version.next() {
            return suite.unpack(package, into);
        }
    }
    bail!("neither {codename} nor {codename}-security has version {version}")
}
