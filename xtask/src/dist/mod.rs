//! `cargo xtask dist`: everything that a release has, in one folder, and a trial of it.
//!
//! First the eBPF object is built anew, for all that follows carries it. What is built holds neither
//! paths of this machine nor today's time, so that the same commit gives the same files. Nothing is
//! uploaded: `.github/workflows/release.yml` does that, with what lies in the folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    arch::Arch,
    ebpf, process,
    workspace::{self, OBJECT},
};

mod image;
mod packages;
mod program;
mod sbom;
mod sums;
mod tools;
mod trial;

use tools::Tools;

/// The machines that a release is for. The first is the one that builds: programs write their own manual
/// pages, and only its own run here.
const ARCHITECTURES: [Arch; 2] = [Arch::X86_64, Arch::Arm64];

/// The version that is released: all of the workspace's packages have it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Instead of building it, install and run what is there; as root, on Debian.
    #[arg(long)]
    test: bool,
    /// Refuse to build anything but the release that this tag is for.
    #[arg(long, conflicts_with = "test")]
    tag: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let release = Release::here()?;
    if args.test {
        return trial::run(&release);
    }
    if let Some(tag) = &args.tag {
        is_for(tag)?;
    }
    release.build()
}

/// The files of a release, and what they have in common.
struct Release {
    /// Where they are.
    folder: PathBuf,
    /// Where everything that leads to them is.
    scratch: PathBuf,
    /// The time of the commit, in seconds: that of all files within packages.
    epoch: String,
}

impl Release {
    fn here() -> Result<Self> {
        let scratch = workspace::target().join("dist");
        let mut log = Command::new("git");
        log.args(["log", "-1", "--format=%ct"])
            .current_dir(workspace::root());
        Ok(Self {
            folder: scratch.join(format!("fdtrace-{VERSION}")),
            scratch,
            epoch: process::output(&mut log).context("git does not say when HEAD was committed")?,
        })
    }

    fn build(&self) -> Result<()> {
        println!("{}", ebpf::reproduce()?);
        let tools = Tools::find_or_install(&self.epoch)?;
        // What an earlier version left would be taken for this one's.
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("cannot clear {}", self.folder.display()))?;
        }
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        copy(
            &workspace::root().join(OBJECT),
            &self.folder.join("fdtrace.bpf.o"),
        )?;
        let mut pages = None;
        for arch in ARCHITECTURES {
            let built = program::build(self, arch, pages.as_deref())?;
            pages.get_or_insert_with(|| built.share());
            packages::build(self, &tools, arch, &built)?;
            image::build(self, arch, &built)?;
            sbom::write(self, &tools, arch)?;
        }
        sums::write(&self.folder)?;
        let signed = sums::sign(&self.folder)?;
        for file in files(&self.folder)? {
            let size = fs::metadata(&file).map_or(0, |about| about.len());
            println!("{size:>10}  {}", file.display());
        }
        if !signed {
            println!("not signed: {} names no key", sums::KEY);
        }
        Ok(())
    }
}

/// An error unless `tag` is this version's, the changelog tells of it, and all is committed.
fn is_for(tag: &str) -> Result<()> {
    if tag != format!("v{VERSION}") {
        bail!("the tag {tag} is not v{VERSION}, which is what Cargo.toml says");
    }
    let changelog = workspace::root().join("CHANGELOG.md");
    let text = fs::read_to_string(&changelog)
        .with_context(|| format!("cannot read {}", changelog.display()))?;
    if !text
        .lines()
        .any(|line| line.starts_with(&format!("## [{VERSION}]")))
    {
        bail!("CHANGELOG.md has no section for {VERSION}");
    }
    let mut status = Command::new("git");
    status
        .args(["status", "--porcelain"])
        .current_dir(workspace::root());
    match process::output(&mut status).context("git does not say what has changed")? {
        changed if changed.is_empty() => Ok(()),
        changed => bail!("not everything is committed: {changed}"),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Puts `files` into gzip's form, without names and times.
fn compress(files: &[PathBuf]) -> Result<()> {
    let mut gzip = Command::new("gzip");
    process::run(gzip.args(["-9", "--no-name", "--force"]).args(files))
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_versions_tag_is_released() {
        let error = is_for("v0.0.0").unwrap_err().to_string();
        assert!(error.contains(&format!("is not v{VERSION}")), "{error}");
        assert!(is_for(VERSION).is_err());
    }
}
