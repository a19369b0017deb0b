//! `cargo xtask dist --test`: what was built, installed and run as a user would, in roots that have
//! nothing else.
//!
//! All of it happens below mounts that only this process and its children see, and that are gone with
//! them. What is installed is run on the kernel at hand. Another machine's packages are installed as well;
//! they must have the archive's program, and that is run in a VM. Each claim has its negative control.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::{ARCHITECTURES, Release};
use crate::{arch::Arch, fingerprint::sha256, process};

mod archive;
mod deb;
mod image;
mod rpm;
mod sums;
mod works;

/// One thing that is tried.
type Trial = fn(&Release, Arch, &Path) -> Result<()>;

const TRIALS: [(&str, Trial); 4] = [
    ("archive", archive::runs),
    (".deb", deb::installs_and_runs),
    (".rpm", rpm::installs_and_runs),
    ("image", image::runs),
];

pub(super) fn run(release: &Release) -> Result<()> {
    ensure!(
        release.folder.is_dir(),
        "there is no {}: run `cargo xtask dist` first",
        release.folder.display()
    );
    ensure!(
        process::is_root(),
        "packages are installed by root: run it with sudo"
    );
    let room = Room::open(&release.scratch.join("trial"))?;
    let mut failed = Vec::new();
    let mut hold = |name: String, trial: &dyn Fn(&Path) -> Result<()>| -> Result<()> {
        let place = room.0.join(name.replace(' ', "-"));
        fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
        println!("==> {name}");
        match trial(&place) {
            Ok(()) => println!("ok: {name}"),
            Err(error) => {
                println!("failed: {error:#}");
                failed.push(name);
            }
        }
        Ok(())
    };
    hold("sums and signature".to_owned(), &|place| {
        sums::hold(release, place)
    })?;
    for arch in ARCHITECTURES {
        for (name, trial) in TRIALS {
            let name = format!("{name} for {}", arch.debian());
            hold(name, &|place| trial(release, arch, place))?;
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// A place in memory, with this process's mounts its own.
struct Room(PathBuf);

impl Room {
    fn open(path: &Path) -> Result<Self> {
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).context("cannot get mounts of its own")?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).context("cannot keep mounts apart")?;
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=3G,mode=755"),
        )
        .with_context(|| format!("cannot mount a tmpfs on {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

/// A folder that is somebody's `/`, with the kernel's file systems in it.
struct Root<'a>(&'a Path);

impl<'a> Root<'a> {
    fn at(path: &'a Path) -> Result<Self> {
        for name in ["proc", "sys", "dev", "tmp"] {
            let to = path.join(name);
            fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
            if name != "tmp" {
                let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
                mount(
                    Some(&Path::new("/").join(name)),
                    &to,
                    None::<&str>,
                    bind,
                    None::<&str>,
                )
                .with_context(|| format!("cannot show /{name} in {}", path.display()))?;
            }
        }
        Ok(Self(path))
    }

    /// `program` in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.0).arg(program);
        // Nothing of this machine's own settings.
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C.UTF-8");
        command
    }
}

/// Runs it, and keeps what it says.
fn capture(command: &mut Command) -> Result<Output> {
    eprintln!("$ {}", process::shown(command));
    let output = command.output();
    output.with_context(|| format!("cannot run `{}`", process::shown(command)))
}

/// What it prints; an error unless it succeeds.
fn said(command: &mut Command) -> Result<String> {
    let output = capture(command)?;
    let all =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(
        output.status.success(),
        "`{}` ended with {}: {}",
        process::shown(command),
        output.status,
        all.concat().trim()
    );
    Ok(all.concat())
}

/// The release's one file that ends so.
fn only(release: &Release, ending: &str) -> Result<PathBuf> {
    let mut files = super::files(&release.folder)?;
    files.retain(|file| file.to_string_lossy().ends_with(ending));
    match <[PathBuf; 1]>::try_from(files) {
        Ok([file]) => Ok(file),
        Err(files) => bail!("{} files end with {ending}, not one", files.len()),
    }
}

/// An error unless all that belongs to a package is among `installed`, and nothing else is.
fn is_complete(
    installed: &[&str],
    completions: &[&str],
    others: &[&str],
    release: &Release,
    arch: Arch,
) -> Result<()> {
    let mut expected: Vec<String> = [&["/usr/bin/fdtrace"], completions, others]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    expected
        .extend(archive::pages(release, arch)?.map(|page| format!("/usr/share/man/man1/{page}")));
    expected.sort();
    let mut installed = installed.to_vec();
    installed.sort_unstable();
    let missing: Vec<_> = expected
        .iter()
        .filter(|it| !installed.contains(&it.as_str()))
        .collect();
    let surplus: Vec<_> = installed
        .iter()
        .filter(|it| !expected.iter().any(|other| other == *it))
        .collect();
    ensure!(
        missing.is_empty() && surplus.is_empty(),
        "missing: {missing:?}, and nobody expects: {surplus:?}"
    );
    Ok(())
}

/// An error unless this is the program of the archive.
fn is_the_program(program: &Path, release: &Release, arch: Arch) -> Result<()> {
    let content =
        fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    ensure!(
        sha256(&content) == archive::program_sum(release, arch)?,
        "{} is another program than the archive's",
        program.display()
    );
    Ok(())
}
