//! `cargo xtask ebpf`: the kernel half of fdtrace as an object file that is committed, so that
//! `cargo build` needs no eBPF toolchain.
//!
//! The build must give the same bytes in any folder and for any user: every path is remapped, the
//! toolchain is closed off from the caller's settings, and [`elf::refuse_paths`] checks it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{
    elf,
    fingerprint::{Fingerprint, Inputs},
    paths::{self, remaps},
    process,
    toolchain::{self, TARGET, Toolchain},
    workspace::{self, FINGERPRINT, OBJECT},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say whether the committed object is up to date; needs no eBPF toolchain.
    #[arg(long, conflicts_with_all = ["install", "log", "reproduce"])]
    check: bool,
    /// Build it anew with the compiler that built the committed object: any other compiler, and any
    /// other byte, is a failure.
    #[arg(long, conflicts_with_all = ["install", "log"])]
    reproduce: bool,
    /// Only install what is missing to build it (Debian, as root or with sudo).
    #[arg(long, conflicts_with = "log")]
    install: bool,
    /// Build with log statements, into the target directory instead of the tree.
    #[arg(long)]
    log: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        println!("{}", check()?);
        return Ok(());
    }
    if args.install {
        return toolchain::install();
    }
    if args.reproduce {
        println!("{}", reproduce()?);
        return Ok(());
    }
    let toolchain = Toolchain::find()?;
    let object = build(&toolchain, args.log)?;
    let root = workspace::root();
    let written = if args.log {
        let path = workspace::target().join("ebpf/fdtrace-log.bpf.o");
        write(&path, &object)?;
        path.display().to_string()
    } else {
        let inputs = Inputs::of(&root)?;
        let record = Fingerprint::new(inputs, &object, toolchain.versions().clone());
        write(&root.join(OBJECT), &object)?;
        write(&root.join(FINGERPRINT), record.to_toml().as_bytes())?;
        OBJECT.to_owned()
    };
    println!("{written}: {}", elf::describe(&object)?);
    Ok(())
}

/// The record that is committed next to the object.
pub(crate) fn committed() -> Result<Fingerprint> {
    let text = fs::read_to_string(workspace::root().join(FINGERPRINT))
        .with_context(|| format!("{OBJECT} is stale: run `cargo xtask ebpf` (no {FINGERPRINT})"))?;
    Fingerprint::from_toml(&text).with_context(|| format!("cannot read {FINGERPRINT}"))
}

/// Says that the committed object is up to date; an error when it is not.
pub(crate) fn check() -> Result<String> {
    let record = committed()?;
    let root = workspace::root();
    let object = fs::read(root.join(OBJECT))
        .with_context(|| format!("{OBJECT} is stale: run `cargo xtask ebpf` (no object)"))?;
    if let Some(changed) = record.stale(&Inputs::of(&root)?, &object) {
        bail!("{OBJECT} is stale: run `cargo xtask ebpf` (changed: {changed})");
    }
    Ok(format!("{OBJECT} is up to date"))
}

/// Says that the committed object was built anew, byte by byte; an error when it was not.
pub(crate) fn reproduce() -> Result<String> {
    check()?;
    let recorded = committed()?.toolchain;
    let toolchain = Toolchain::find()?;
    if let Some(other) = recorded.other(toolchain.versions()) {
        bail!(
            "{OBJECT} cannot be built anew here: {other}; {}",
            toolchain::how_to_get(&recorded)
        );
    }
    // What an earlier run left would be no build.
    let left = workspace::target().join("ebpf").join(TARGET);
    if left.exists() {
        fs::remove_dir_all(&left).with_context(|| format!("cannot clear {}", left.display()))?;
    }
    if !is_reproduced(&build(&toolchain, false)?)? {
        bail!("the same toolchain built another object: run `cargo xtask ebpf`");
    }
    Ok(format!(
        "{OBJECT} was built anew, with the same bytes, by {recorded}"
    ))
}

/// Whether a fresh build has the bytes of the committed object.
pub(crate) fn is_reproduced(fresh: &[u8]) -> Result<bool> {
    let committed = fs::read(workspace::root().join(OBJECT))
        .with_context(|| format!("cannot read {OBJECT}"))?;
    Ok(fresh == committed)
}

/// Builds the object from the tree's sources; writes below the target directory only.
pub(crate) fn build(toolchain: &Toolchain, log: bool) -> Result<Vec<u8>> {
    // Of its own, for the two compilers would evict each other's host artefacts.
    let target = workspace::target().join("ebpf");
    let mut cargo = toolchain.cargo_build(&target)?;
    cargo
        .args(["--locked", "-p", "fdtrace-ebpf", "--profile", "bpf"])
        .arg("--target-dir")
        .arg(&target);
    if log {
        cargo.args(["--features", "log"]);
    }
    let mut flags: Vec<String> = ["-Clinker=bpf-linker", "-Clink-arg=--btf", "-Cdebuginfo=2"]
        .map(str::to_owned)
        .into();
    flags.extend(remaps(Some(toolchain.rust_src()), &target)?);
    // The encoded form alone survives a space in a path.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    process::run(&mut cargo)?;

    let linked = target.join(TARGET).join("bpf/fdtrace-ebpf");
    let linked = fs::read(&linked).with_context(|| format!("cannot read {}", linked.display()))?;
    let object = elf::strip(&linked)?;
    elf::describe(&object)?;
    elf::refuse_paths(&object, &paths::of_this_machine())?;
    Ok(object)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
