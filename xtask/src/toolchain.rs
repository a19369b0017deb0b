//! The programs that build eBPF: a compiler with a `core` for BPF, and bpf-linker.
//!
//! Which LLVM bpf-linker works with decides the object as much as the compiler does. It loads the
//! first libLLVM it meets on LD_LIBRARY_PATH and PATH, often another toolchain's, so it is given a
//! folder with exactly one: the compiler's own.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    ebpf,
    fingerprint::Versions,
    process::{self, output},
};

/// The BPF target: little-endian, like every machine fdtrace runs on.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The bpf-linker that `--install` installs.
const LINKER_VERSION: &str = "0.10.4";
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// Where the compiler comes from, and so how Cargo is told to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Debian's compiler with Debian's precompiled `core`.
    Debian,
    /// A rustup nightly that compiles `core` from rust-src.
    Nightly,
}

/// Programs that together can build the object.
#[derive(Debug)]
pub(crate) struct Toolchain {
    source: Source,
    rustc: PathBuf,
    /// The standard library's sources, in case they show up in the object.
    rust_src: PathBuf,
    llvm: PathBuf,
    linker: PathBuf,
    versions: Versions,
}

impl Toolchain {
    /// What is installed here, or one line that says what to install.
    pub(crate) fn find() -> Result<Self> {
        let compiler = debian().or_else(nightly);
        let linker = linker();
        let mut missing = Vec::new();
        if compiler.is_none() {
            missing.push(format!(
                "Debian's packages {} (or `rustup toolchain install nightly --component rust-src`)",
                DEBIAN_PACKAGES.join(" and ")
            ));
        }
        if let Err(error) = &linker {
            missing.push(format!(
                "bpf-linker ({error}; `cargo install bpf-linker --version {LINKER_VERSION} --locked`)"
            ));
        }
        let (Some((source, rustc, sysroot)), Ok((linker, linker_version))) = (compiler, linker)
        else {
            bail!(
                "no eBPF toolchain: install {}; on Debian `cargo xtask ebpf --install` does",
                missing.join(" and ")
            );
        };

        let verbose =
            output(Command::new(&rustc).arg("-vV")).context("cannot ask rustc for its version")?;
        let said = |key: &str| {
            verbose
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap_or("unknown")
        };
        let cargo =
            output(cargo(source, &rustc).arg("-V")).context("cannot ask cargo for its version")?;
        let mut versions = BTreeMap::from([
            (
                "rustc".to_owned(),
                verbose.lines().next().unwrap_or("unknown").to_owned(),
            ),
            ("llvm".to_owned(), said("LLVM version: ").to_owned()),
            // Cargo and its host decide the hashes inside symbol names.
            ("host".to_owned(), said("host: ").to_owned()),
            ("cargo".to_owned(), cargo),
            ("bpf-linker".to_owned(), linker_version.to_string()),
        ]);
        if source == Source::Debian {
            // Debian builds one release of the compiler more than once.
            versions.extend(packages(said("LLVM version: "))?);
        }
        Ok(Self {
            source,
            llvm: llvm_of(&rustc, &sysroot)?,
            rust_src: sysroot.join("lib/rustlib/src/rust"),
            rustc,
            linker,
            versions: Versions(versions),
        })
    }

    pub(crate) fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Where the standard library's sources are.
    pub(crate) fn rust_src(&self) -> &Path {
        &self.rust_src
    }

    /// A `cargo build` for BPF that sees this toolchain and nothing else; `scratch` is for files
    /// that only steer the build.
    pub(crate) fn cargo_build(&self, scratch: &Path) -> Result<Command> {
        let llvm_only = scratch.join("llvm");
        // A leftover may hold the library of another toolchain.
        if llvm_only.exists() {
            fs::remove_dir_all(&llvm_only).context("cannot clear the LLVM folder")?;
        }
        fs::create_dir_all(&llvm_only).context("cannot make the LLVM folder")?;
        let name = self.llvm.file_name().context("libLLVM has no file name")?;
        symlink(&self.llvm, llvm_only.join(name)).context("cannot link to libLLVM")?;

        let linkers = self.linker.parent().map(Path::to_path_buf);
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(linkers.into_iter().chain(env::split_paths(&path)))
            .context("cannot put bpf-linker on PATH")?;

        let mut cargo = cargo(self.source, &self.rustc);
        cargo.arg("build").args(["--target", TARGET]);
        if self.source == Source::Nightly {
            cargo.arg("-Zbuild-std=core");
        }
        cargo
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            // Empty overrides what a configuration file may say.
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "")
            .env("CARGO_INCREMENTAL", "0")
            .env("LD_LIBRARY_PATH", &llvm_only)
            .env("PATH", path);
        Ok(cargo)
    }
}

/// Cargo without any variable that could choose another compiler, target, profile or flag.
fn cargo(source: Source, rustc: &Path) -> Command {
    const HARMLESS: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_BUILD_JOBS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    let mut command = match source {
        Source::Debian => process::cargo(),
        // Not through rustup, which would put its own libraries before the one we choose.
        Source::Nightly => process::cargo_at(&rustc.with_file_name("cargo")),
    };
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let steers =
            text.starts_with("CARGO") || text.starts_with("RUSTC") || text.ends_with("RUSTFLAGS");
        if (steers && !HARMLESS.iter().any(|prefix| text.starts_with(prefix)))
            || text == "RUSTUP_TOOLCHAIN"
            || text == "LD_LIBRARY_PATH"
        {
            command.env_remove(&name);
        }
    }
    command
}

type Compiler = (Source, PathBuf, PathBuf);

fn debian() -> Option<Compiler> {
    let sysroot = PathBuf::from(output(
        Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]),
    )?);
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let has_core = fs::read_dir(libraries).ok()?.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("libcore-")
    });
    has_core.then(|| (Source::Debian, PathBuf::from(DEBIAN_RUSTC), sysroot))
}

fn nightly() -> Option<Compiler> {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "rustc", "--print", "sysroot"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    let sysroot = PathBuf::from(output(&mut command)?);
    let has_source = sysroot.join("lib/rustlib/src/rust/library/core").is_dir();
    has_source.then(|| (Source::Nightly, sysroot.join("bin/rustc"), sysroot))
}

/// The LLVM library that `rustc` itself uses: Debian's is a system library, rustup's is its own.
fn llvm_of(rustc: &Path, sysroot: &Path) -> Result<PathBuf> {
    let own = fs::read_dir(sysroot.join("lib"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    // The file that ends in .so is a linker script that names the other.
    let mut own = own.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libLLVM.so.")
    });
    if let Some(library) = own.next() {
        return Ok(library);
    }
    let mut ldd = Command::new("ldd");
    ldd.arg(rustc).env_remove("LD_LIBRARY_PATH");
    output(&mut ldd)
        .and_then(|libraries| linked_llvm(&libraries))
        .ok_or_else(|| anyhow!("cannot find the LLVM library of {}", rustc.display()))
}

/// The libLLVM among the lines of `ldd`.
fn linked_llvm(libraries: &str) -> Option<PathBuf> {
    let line = libraries
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("libLLVM"))?;
    let (_, path) = line.split_once(" => ")?;
    path.split_whitespace()
        .next()
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
}

/// The versions of the packages that the compiler is made of, with an LLVM of this version.
fn packages(llvm: &str) -> Result<BTreeMap<String, String>> {
    let major = llvm.split('.').next().unwrap_or(llvm);
    let names = DEBIAN_PACKAGES.map(str::to_owned).into_iter();
    names
        .chain([format!("libllvm{major}")])
        .map(|name| {
            let mut query = Command::new("dpkg-query");
            query.args(["--show", "--showformat=${Version}", &name]);
            let version = output(&mut query)
                .with_context(|| format!("dpkg-query does not know the version of {name}"))?;
            Ok((name, version))
        })
        .collect()
}

/// How to get the toolchain that is recorded, in words.
pub(crate) fn how_to_get(recorded: &Versions) -> String {
    let packages = pinned(recorded).join(" ");
    format!(
        "install that with `apt-get install --allow-downgrades {packages}` if Debian's archive still has it, \
         or build the object with what is here (`cargo xtask ebpf`), test it and commit it"
    )
}

/// The packages that are recorded, as apt-get takes them with their versions.
fn pinned(recorded: &Versions) -> Vec<String> {
    let is_package = |name: &str| DEBIAN_PACKAGES.contains(&name) || name.starts_with("libllvm");
    let packages = recorded.0.iter().filter(|(name, _)| is_package(name));
    packages
        .map(|(name, version)| format!("{name}={version}"))
        .collect()
}

fn linker() -> Result<(PathBuf, LinkerVersion)> {
    let path = process::find("bpf-linker").context("it is not installed")?;
    let said = output(Command::new(&path).arg("--version")).context("it does not start")?;
    let version =
        LinkerVersion::parse(&said).with_context(|| format!("it calls itself `{said}`"))?;
    version.usable()?;
    Ok((path, version))
}

/// A release of bpf-linker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LinkerVersion([u16; 3]);

impl LinkerVersion {
    /// From what `bpf-linker --version` prints.
    fn parse(said: &str) -> Option<Self> {
        let version = said.trim().strip_prefix("bpf-linker ")?;
        // A pre-release is not one of the releases we know.
        let numbers: Vec<u16> = version
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        numbers.try_into().ok().map(Self)
    }

    /// 0.10.0 breaks `Global<T>` in fentry programs; from 0.11 on it needs an LLVM of its own.
    fn usable(self) -> Result<()> {
        match self.0 {
            [0, 10, patch] if patch > 0 => Ok(()),
            _ => bail!("it is {self}, which is not 0.10.1 or a later 0.10"),
        }
    }
}

impl fmt::Display for LinkerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Whether [`install`] has a chance: a Debian on which we are or can become root.
pub(crate) fn installable() -> bool {
    process::find("apt-get").is_some() && (process::is_root() || process::sudo_works())
}

/// Installs what [`Toolchain::find`] misses.
pub(crate) fn install() -> Result<()> {
    if debian().or_else(nightly).is_none() {
        if process::find("apt-get").is_none() {
            bail!("no apt-get here: run `rustup toolchain install nightly --component rust-src`");
        }
        apt_get(&["update"])?;
        let install = |packages: &[&str]| {
            let options = ["install", "-y", "--no-install-recommends"];
            apt_get(&[&options, packages].concat())
        };
        // What built the committed object builds it again.
        let pinned = ebpf::committed().map_or_else(|_| Vec::new(), |it| pinned(&it.toolchain));
        let pinned: Vec<&str> = pinned.iter().map(String::as_str).collect();
        if pinned.is_empty() || install(&pinned).is_err() {
            install(&DEBIAN_PACKAGES)?;
        }
    }
    if let Err(error) = linker() {
        eprintln!("bpf-linker: {error}");
        let install = |locked: Option<&str>| {
            let mut cargo = process::cargo();
            // The flags of the caller's builds are none of bpf-linker's business.
            cargo
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS");
            cargo
                .args([
                    "install",
                    "bpf-linker",
                    "--force",
                    "--version",
                    LINKER_VERSION,
                ])
                .args(locked);
            process::run(&mut cargo)
        };
        install(Some("--locked")).or_else(|error| {
            eprintln!("{error:#}; trying without --locked");
            install(None)
        })?;
    }
    Toolchain::find().map(drop)
}

/// Runs Debian's apt-get as root, asking nothing.
pub(crate) fn apt_get(args: &[&str]) -> Result<()> {
    let mut command = process::as_root("env")?;
    command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
        .args(args)
        .stdin(Stdio::null());
    process::run(&mut command)
}

/// The program's path; as root on Debian, its package is installed first when it is missing.
pub(crate) fn find_or_install(program: &str, package: &str) -> Result<PathBuf> {
    let installable = process::is_root() && process::find("apt-get").is_some();
    if process::find(program).is_none() && installable {
        apt_get(&["update"])?;
        apt_get(&["install", "-y", "--no-install-recommends", package])?;
    }
    match process::find(program) {
        Some(path) => Ok(path),
        None => {
            bail!("no {program}: install {package}, on Debian with `apt-get install {package}`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linker_versions_are_read_as_printed() {
        assert_eq!(
            LinkerVersion::parse("bpf-linker 0.10.4\n"),
            Some(LinkerVersion([0, 10, 4]))
        );
        for said in [
            "",
            "bpf-linker",
            "bpf-linker 0.10",
            "bpf-linker 0.10.4-rc1",
            "ld 0.10.4",
        ] {
            assert_eq!(LinkerVersion::parse(said), None, "{said}");
        }
    }

    #[test]
    fn only_known_good_linkers_are_used() {
        let usable = |numbers| LinkerVersion(numbers).usable().is_ok();
        assert!(usable([0, 10, 4]) && usable([0, 10, 1]));
        assert!(
            !usable([0, 10, 0])
                && !usable([0, 9, 15])
                && !usable([0, 11, 0])
                && !usable([1, 10, 4])
        );
    }

    #[test]
    fn recorded_packages_are_what_apt_is_asked_for() {
        let recorded = [
            ("cargo", "1"),
            ("libllvm22", "1:22"),
            ("rustc-web", "1.96+x"),
        ];
        let recorded = recorded.map(|(name, version)| (name.to_owned(), version.to_owned()));
        assert_eq!(
            pinned(&Versions(recorded.into())),
            ["libllvm22=1:22", "rustc-web=1.96+x"]
        );
    }

    #[test]
    fn ldd_names_the_llvm_library() {
        let libraries =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibLLVM.so.22.1 => /usr/lib/libLLVM.so.22.1 (0x7f)\n";
        assert_eq!(
            linked_llvm(libraries),
            Some(PathBuf::from("/usr/lib/libLLVM.so.22.1"))
        );
        assert_eq!(
            linked_llvm("\tlibLLVM.so.22.1 => not found\n\tlibc.so.6"),
            None
        );
    }
}
