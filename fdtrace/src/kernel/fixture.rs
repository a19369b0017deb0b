//! Reads a recorded kernel from a directory, so that plans can be made without running it.
//!
//! `cargo xtask fixture` writes what this reads. The view that comes out says nothing about the
//! machine that reads it: not its capabilities, not its policy.

use std::{fs, path::Path};

use caps::Capability;
use serde::Deserialize;

use super::{Capabilities, KernelError, KernelView, Naming, Symbols, Types, unreadable};

/// `kernel.json`: what is neither a type nor a symbol.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    release: String,
    capabilities: Held,
    #[serde(default)]
    lsms: Vec<String>,
    #[serde(default)]
    kptr_restrict: u8,
    #[serde(default)]
    lockdown: Option<String>,
    #[serde(default = "yes")]
    init_pid_namespace: bool,
    #[serde(default)]
    no_trampolines: Option<String>,
    #[serde(default)]
    no_kprobes: Option<String>,
}

/// `"all"`, `"none"`, or a list of capability names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Held {
    Summary(Summary),
    Listed(Vec<Named>),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Summary {
    All,
    None,
}

/// A capability by its kernel name, such as `CAP_BPF`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Named(Capability);

impl TryFrom<String> for Named {
    type Error = caps::errors::CapsError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse().map(Self)
    }
}

fn yes() -> bool {
    true
}

pub(super) fn load(dir: &Path) -> Result<KernelView, KernelError> {
    let path = dir.join("kernel.json");
    let json = fs::read(&path).map_err(unreadable(&path))?;
    let description: Description =
        serde_json::from_slice(&json).map_err(|source| KernelError::Fixture { path, source })?;

    let path = dir.join("btf");
    let btf = fs::read(&path).map_err(|source| KernelError::NoBtf { path, source })?;

    let path = dir.join("kallsyms");
    let symbols = fs::File::open(&path)
        .and_then(Symbols::parse)
        .map_err(unreadable(path))?;

    Ok(KernelView {
        release: description.release,
        types: Types::from_bytes(&btf).map_err(KernelError::Types)?,
        naming: Naming::recorded(&symbols),
        symbols,
        capabilities: match description.capabilities {
            Held::Summary(Summary::All) => Capabilities::all(),
            Held::Summary(Summary::None) => Capabilities::none(),
            Held::Listed(list) => Capabilities::of(list.into_iter().map(|Named(it)| it)),
        },
        lsms: description.lsms,
        kptr_restrict: description.kptr_restrict,
        lockdown: description.lockdown,
        no_trampolines: description.no_trampolines,
        no_kprobes: description.no_kprobes,
        rdonly_cast: None,
        broken: Vec::new(),
        init_pid_namespace: description.init_pid_namespace,
        init_user_namespace: true,
    })
}
