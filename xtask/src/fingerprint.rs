//! What the committed eBPF object was built from, so that a machine without an eBPF toolchain can
//! tell whether it is stale.
//!
//! Pure text in, pure text out, but for [`Inputs::of`], which reads the tree.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// Sources by folder or file, relative to the workspace.
const SOURCES: [&str; 4] = [
    "fdtrace-common/Cargo.toml",
    "fdtrace-common/src",
    "fdtrace-ebpf/Cargo.toml",
    "fdtrace-ebpf/src",
];

/// Tables of the root manifest that reach the compiler. The package version does too: Cargo
/// hashes it into symbol names.
const MANIFEST_TABLES: [&str; 3] = ["workspace.package", "profile.release", "profile.bpf"];

/// Everything in the tree that decides what the object looks like: a name and a hash or version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inputs(BTreeMap<String, String>);

impl Inputs {
    /// Reads the inputs below the workspace `root`.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        let mut inputs = Self::default();
        for source in SOURCES {
            inputs.add(root, source)?;
        }
        let manifest = read(&root.join("Cargo.toml"))?;
        for name in MANIFEST_TABLES {
            inputs.0.insert(
                format!("Cargo.toml [{name}]"),
                sha256(table(&manifest, name).as_bytes()),
            );
        }
        for (name, version) in locked(&read(&root.join("Cargo.lock"))?) {
            if name == "aya-ebpf" || name.starts_with("aya-ebpf-") {
                inputs
                    .0
                    .insert(format!("Cargo.lock {name}"), version.to_owned());
            }
        }
        Ok(inputs)
    }

    fn add(&mut self, root: &Path, source: &str) -> Result<()> {
        let path = root.join(source);
        if path.is_dir() {
            let entries = fs::read_dir(&path).with_context(|| format!("cannot list {source}"))?;
            for entry in entries {
                let name = entry?.file_name();
                self.add(root, &format!("{source}/{}", name.to_string_lossy()))?;
            }
        } else {
            let content = fs::read(&path).with_context(|| format!("cannot read {source}"))?;
            self.0.insert(source.to_owned(), sha256(&content));
        }
        Ok(())
    }

    /// One hash over names and contents, in the order of the names.
    fn digest(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            // Neither a name nor a value has a line break, so no two inputs read alike.
            let _ = writeln!(text, "{name}\n{value}");
        }
        sha256(text.as_bytes())
    }

    /// The names whose value is not the same in both, in order.
    fn differing<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let mut names: Vec<_> = self
            .0
            .keys()
            .chain(other.0.keys())
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| self.0.get(*name) != other.0.get(*name));
        names
    }
}

/// The programs that built an object, by what they say of themselves; never where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Versions(pub(crate) BTreeMap<String, String>);

impl Versions {
    /// The first program of which `here` has another version, or none, in words.
    pub(crate) fn other(&self, here: &Self) -> Option<String> {
        let missing = "missing".to_owned();
        self.0.iter().find_map(|(name, recorded)| {
            let found = here.0.get(name).unwrap_or(&missing);
            (found != recorded).then(|| format!("{name} was {recorded}, and is {found}"))
        })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self
            .0
            .iter()
            .map(|(name, version)| format!("{name} = {version}"))
            .collect();
        f.write_str(&words.join(", "))
    }
}

/// The record that is committed next to the object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    sources: String,
    object: String,
    pub(crate) toolchain: Versions,
    inputs: Inputs,
}

impl Fingerprint {
    pub(crate) fn new(inputs: Inputs, object: &[u8], toolchain: Versions) -> Self {
        Self {
            sources: inputs.digest(),
            object: sha256(object),
            toolchain,
            inputs,
        }
    }

    /// What no longer fits this record, in words; `None` when everything does.
    pub(crate) fn stale(&self, inputs: &Inputs, object: &[u8]) -> Option<String> {
        let mut changed = inputs.differing(&self.inputs);
        if changed.is_empty() && inputs.digest() != self.sources {
            changed.push("the record's own source hash");
        }
        if sha256(object) != self.object {
            changed.push("the object itself");
        }
        (!changed.is_empty()).then(|| changed.join(", "))
    }

    /// The file's content: the part of TOML that a line-by-line reader understands.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Written by `cargo xtask ebpf`; compared with the tree by `cargo xtask ebpf --check`.\n",
        );
        let _ = writeln!(
            text,
            "sources = \"{}\"\nobject = \"{}\"",
            self.sources, self.object
        );
        for (table, entries) in [("toolchain", &self.toolchain.0), ("inputs", &self.inputs.0)] {
            let _ = writeln!(text, "\n[{table}]");
            for (name, value) in entries {
                let _ = writeln!(text, "\"{name}\" = \"{value}\"");
            }
        }
        text
    }

    /// Reads what [`Self::to_toml`] wrote.
    pub(crate) fn from_toml(text: &str) -> Result<Self> {
        let mut fingerprint = Self::default();
        let mut table = "";
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                table = name;
                continue;
            }
            let Some((name, value)) = line.split_once(" = ") else {
                bail!("line {} is not `name = \"value\"`", index + 1);
            };
            let (name, value) = (
                name.trim_matches('"').to_owned(),
                value.trim_matches('"').to_owned(),
            );
            match (table, name.as_str()) {
                ("", "sources") => fingerprint.sources = value,
                ("", "object") => fingerprint.object = value,
                ("toolchain", _) => drop(fingerprint.toolchain.0.insert(name, value)),
                ("inputs", _) => drop(fingerprint.inputs.0.insert(name, value)),
                _ => bail!("line {} has an unknown name: {name}", index + 1),
            }
        }
        Ok(fingerprint)
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// The settings of one table of a manifest, without comments and blank lines.
fn table(manifest: &str, name: &str) -> String {
    let header = format!("[{name}]");
    let settings = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    settings.collect::<Vec<_>>().join("\n")
}

/// The packages of a lock file: name and version.
fn locked(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    lock.split("[[package]]").filter_map(|package| {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        Some((value("name")?, value("version")?))
    })
}

#[cfg(test)]
mod tests;
