//! Debian's archive, any suite of it, through apt and without touching the machine's own state.
//!
//! Each suite gets a folder with a source list, package lists and a cache of its own. The address
//! is the one that this machine's apt already uses, with its proxies; apt checks every signature
//! against Debian's own keys. Nothing is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::series::Package;
use crate::{arch::Arch, process, toolchain};

/// Where Debian's package of its keys puts them, and where it will once the old name is gone.
const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Which of Debian's two archives holds `suite`, in the words of its Release file.
fn label(suite: &str) -> &'static str {
    if suite.ends_with("-security") {
        "Debian-Security"
    } else {
        "Debian"
    }
}

/// One suite, with its package lists at hand.
pub(crate) struct Suite {
    name: String,
    arch: Arch,
    dir: PathBuf,
}

impl Suite {
    /// Fetches the package lists of the suite `name` for this architecture into a folder below `cache`.
    pub(crate) fn fetch(name: &str, arch: Arch, cache: &Path) -> Result<Self> {
        let suite = Self {
            name: name.to_owned(),
            arch,
            dir: match arch {
                Arch::X86_64 => cache.join(name),
                Arch::Arm64 => cache.join(format!("{name}-{}", arch.debian())),
            },
        };
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = suite.dir.join(part);
            fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
        }
        let list = suite.source_list();
        fs::write(
            &list,
            source(arch, &address(label(name))?, name, keyring()?),
        )
        .with_context(|| format!("cannot write {}", list.display()))?;
        eprintln!("fetching the package lists of {name}");
        quietly(suite.apt("apt-get").args(["-qq", "update"]))?;
        Ok(suite)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The packages of this suite whose names begin with `prefix`.
    pub(crate) fn packages(&self, prefix: &str) -> Result<Vec<Package>> {
        let names = process::output(self.apt("apt-cache").args(["pkgnames", prefix]))
            .with_context(|| format!("cannot list the packages of {}", self.name))?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let versions = process::output(
            self.apt("apt-cache")
                .arg("madison")
                .args(names.lines().map(str::trim)),
        )
        .with_context(|| format!("cannot list the versions in {}", self.name))?;
        Ok(versions.lines().filter_map(Package::from_madison).collect())
    }

    /// Downloads `package` into the folder `into` and unpacks it there.
    pub(crate) fn unpack(&self, package: &Package, into: &Path) -> Result<()> {
        // apt-get downloads to where it runs.
        let downloads = into.join("deb");
        fs::create_dir_all(&downloads)
            .with_context(|| format!("cannot make {}", downloads.display()))?;
        eprintln!("downloading {package} from {}", self.name);
        quietly(
            self.apt("apt-get")
                .current_dir(&downloads)
                .args(["-qq", "download"])
                .arg(format!("{}={}", package.name, package.version)),
        )?;
        for deb in files(&downloads)? {
            quietly(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(into))?;
        }
        fs::remove_dir_all(&downloads)
            .with_context(|| format!("cannot remove {}", downloads.display()))
    }

    fn source_list(&self) -> PathBuf {
        self.dir.join("sources.list")
    }

    /// `program` of apt's, for this suite alone.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut option = |name: &str, value: &Path| {
            command.arg(format!("-o{name}={}", value.display()));
        };
        option("Dir::Etc::SourceList", &self.source_list());
        option("Dir::Etc::SourceParts", Path::new("/dev/null"));
        option("Dir::Etc::Preferences", Path::new("/dev/null"));
        option("Dir::Etc::PreferencesParts", Path::new("/dev/null"));
        option("Dir::State::Lists", &self.dir.join("lists"));
        option("Dir::Cache", &self.dir.join("cache"));
        // As on a machine of that architecture: names of packages are that one's.
        let arch = self.arch.debian();
        command.arg(format!("-oAPT::Architecture={arch}"));
        command.arg(format!("-oAPT::Architectures={arch}"));
        let mut option = |name: &str, value: &str| {
            command.arg(format!("-o{name}={value}"));
        };
        // Without this a suite that cannot be fetched would be a warning.
        option("APT::Update::Error-Mode", "any");
        option("Acquire::Languages", "none");
        // apt's own user cannot write to a folder in somebody's home.
        option("APT::Sandbox::User", "root");
        command
    }
}

/// Runs `command`, whose arguments say nothing to anybody; what it said when it failed does.
fn quietly(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} ended with {}: {}", output.status, said.trim());
    }
    Ok(())
}

/// The one line of a source list.
fn source(arch: Arch, address: &str, suite: &str, keyring: &str) -> String {
    let arch = arch.debian();
    format!("deb [arch={arch} targets=Packages signed-by={keyring}] {address} {suite} main\n")
}

fn keyring() -> Result<&'static str> {
    KEYRINGS
        .iter()
        .find(|path| Path::new(path).is_file())
        .copied()
        .context("Debian's keys are missing: install debian-archive-keyring")
}

/// Where this machine's apt gets packages of the archive with this label from.
pub(crate) fn address(label: &str) -> Result<String> {
    if let Some(address) = configured(label) {
        return Ok(address);
    }
    // The label stands in what the archive has signed, which a fresh container has not fetched.
    if process::is_root() && process::find("apt-get").is_some() {
        toolchain::apt_get(&["update"])?;
    }
    configured(label).with_context(|| {
        format!("apt is not set up here for the archive labelled {label}; run `apt-get update` on a Debian, or give a kernel's path")
    })
}

fn configured(label: &str) -> Option<String> {
    let targets = process::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        "Origin: Debian",
        &format!("Label: {label}"),
    ]))?;
    targets.lines().next().map(str::to_owned)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    if files.is_empty() {
        bail!("apt-get downloaded nothing");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_its_keys_and_turns_no_check_off() {
        let source = source(
            Arch::X86_64,
            "http://archive.invalid/debian/",
            "sid",
            "/keys.gpg",
        );
        assert_eq!(
            source,
            "deb [arch=amd64 targets=Packages signed-by=/keys.gpg] http://archive.invalid/debian/ sid main\n"
        );
        assert!(!source.contains("trusted"));
    }

    #[test]
    fn security_suites_live_in_an_archive_of_their_own() {
        assert_eq!(label("bookworm-security"), "Debian-Security");
        assert_eq!(label("bookworm-backports"), "Debian");
    }
}
