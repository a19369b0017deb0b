//! Kernel addresses, as the administrator's policy lets them be shown.

use std::{collections::HashMap, fmt};

use serde::{Serialize, Serializer};

use super::{FileIdentity, HopSeen, Transfer};

/// How to show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerStyle {
    /// As they are, unless `kernel.kptr_restrict` is 2.
    Auto,
    /// As they are.
    Raw,
    /// As `file#1`, `file#2`, …: alike where they are alike.
    Alias,
}

/// What an alias stands for: a kind of object, its address, and for files the inode and device,
/// because a file's address is another's as soon as it is gone.
type Key = (&'static str, u64, (u64, u32));

/// Aliases that are known at once. One that comes again after that gets another number: none is
/// ever given twice.
const ALIASES_MAX: usize = 1 << 18;

/// An address as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// As it is.
    Raw(u64),
    /// What stands for it: the kind of object, and its number.
    Alias(&'static str, usize),
}

/// Bytes of `0xffff888100000000`.
const HEX_LEN: usize = 18;

/// An address as `{:#018x}` has it. Each transfer has one.
fn hex(address: u64, text: &mut [u8; HEX_LEN]) -> &str {
    text[..2].copy_from_slice(b"0x");
    for (place, byte) in text[2..].chunks_exact_mut(2).zip(address.to_be_bytes()) {
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        place.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    // It is ASCII.
    str::from_utf8(text).unwrap_or_default()
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(address) => f.write_str(hex(*address, &mut [0; HEX_LEN])),
            Self::Alias(kind, number) => write!(f, "{kind}#{number}"),
        }
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(address) => serializer.serialize_str(hex(*address, &mut [0; HEX_LEN])),
            Self::Alias(..) => serializer.collect_str(self),
        }
    }
}

/// Says how addresses are shown.
#[derive(Debug)]
pub struct Pointers {
    raw: bool,
    aliases: HashMap<Key, usize>,
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

    /// The address of a transfer's file.
    pub fn file(&mut self, file: &FileIdentity) -> Pointer {
        self.alias(("file", file.ptr, (file.ino, file.dev)))
    }

    /// The address of the file that was seen at a hop, which is the transfer's but for a fault.
    pub fn file_at(&mut self, transfer: &Transfer, seen: &HopSeen) -> Pointer {
        if seen.file == transfer.file.ptr {
            self.file(&transfer.file)
        } else {
            self.show("file", seen.file)
        }
    }

    /// The address of a `kind` of object (`skb`, `list`).
    pub fn show(&mut self, kind: &'static str, address: u64) -> Pointer {
        self.alias((kind, address, (0, 0)))
    }

    fn alias(&mut self, key: Key) -> Pointer {
        let (kind, address, _) = key;
        if self.raw {
            return Pointer::Raw(address);
        }
        if self.aliases.len() >= ALIASES_MAX {
            self.aliases.clear();
        }
        let count = self.counts.entry(kind).or_default();
        let alias = self.aliases.entry(key).or_insert_with(|| {
            *count += 1;
            *count
        });
        Pointer::Alias(kind, *alias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_ever() {
        for address in [0, 1, 0xffff_8881_0000_0000, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(
                Pointer::Raw(address).to_string(),
                format!("{address:#018x}")
            );
        }
    }
}
