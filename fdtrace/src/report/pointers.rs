//! Kernel addresses, as the administrator's policy lets them be shown.

use std::collections::HashMap;

/// How to show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PointerStyle {
    /// As they are, unless `kernel.kptr_restrict` is 2.
    Auto,
    /// As they are.
    Raw,
    /// As `file#1`, `file#2`, …: alike where they are alike.
    Alias,
}

/// Turns addresses to text.
#[derive(Debug)]
pub struct Pointers {
    raw: bool,
    aliases: HashMap<(&'static str, u64), usize>,
    counts: HashMap<&'static str, usize>,
}

impl Pointers {
    /// Follows `style`, and the kernel's policy where that leaves it open.
    #[must_use]
    pub fn new(style: PointerStyle, kptr_restrict: u8) -> Self {
        const HIDDEN_FROM_EVERYBODY: u8 = 2;
        let raw = match style {
            PointerStyle::Auto => kptr_restrict < HIDDEN_FROM_EVERYBODY,
            PointerStyle::Raw => true,
            PointerStyle::Alias => false,
        };
        Self {
            raw,
            aliases: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    /// The address of a `kind` of object (`file`, `skb`, `list`).
    pub fn show(&mut self, kind: &'static str, address: u64) -> String {
        if self.raw {
            return format!("{address:#018x}");
        }
        let count = self.counts.entry(kind).or_default();
        let alias = self.aliases.entry((kind, address)).or_insert_with(|| {
            *count += 1;
            *count
        });
        format!("{kind}#{alias}")
    }
}
