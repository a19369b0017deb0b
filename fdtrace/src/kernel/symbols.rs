//! The kernel's functions as symbols: which exist under their own name, and which address is whose.
//!
//! The plan asks whether a function can be hooked by name ([`Symbols::exact`]); the tracer asks
//! which function an skb was freed from ([`Symbols::symbolize`]). Of the data symbols only
//! [`Symbols::unix_sockets`] is kept. Nothing here decides whether an address may be shown.

mod builder;

use std::{
    fs,
    io::{self, Read},
};

use builder::Builder;

use super::names::hash;

/// No function is this long, so an address further away belongs to no known one.
const MAX_FUNCTION_LEN: u64 = 1 << 20;

/// What the names of padding in front of functions start with (since 6.2). It is no function, no
/// call returns into it, and it makes up half of the symbols of a kernel that has it.
const PADDING: [&str; 2] = ["__pfx_", "__cfi_"];

/// The table of all Unix sockets, until each network namespace got one of its own (6.0).
const UNIX_SOCKETS: &str = "unix_socket_table";

/// The text symbols of a kernel and its modules.
///
/// A kernel has some hundred thousand, so they are stored tightly: sixteen bytes each, eight
/// for the index, and the name.
#[derive(Debug, Default)]
pub struct Symbols {
    /// By address; those of equal address in the order of kallsyms.
    entries: Vec<Entry>,
    /// Each symbol's type character followed by its name.
    names: String,
    /// `hash of the base name << 32 | entry`, sorted: a function and its clones are neighbours.
    by_base_name: Vec<u64>,
    modules: Vec<String>,
    unix_sockets: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    /// Where in `names` the type character is.
    at: u32,
    /// Length of the name alone.
    len: u16,
    /// One more than the index in `modules`; zero is the kernel itself.
    module: u16,
}

/// One function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name, with the compiler's suffix if it has one.
    pub name: &'a str,
    /// Its address; zero where the kernel hides addresses from this process.
    pub address: u64,
    /// Its type as `nm` writes it: `T` global, `t` static, `W` or `w` weak.
    pub kind: char,
    /// The module it is in; absent for the kernel itself.
    pub module: Option<&'a str>,
}

impl Symbols {
    /// Reads the running kernel's.
    ///
    /// # Errors
    ///
    /// When `/proc/kallsyms` cannot be read or is not in its usual form.
    pub fn live() -> io::Result<Self> {
        fs::File::open(super::KALLSYMS).and_then(Self::parse)
    }

    /// Reads text in the form of `/proc/kallsyms`, keeping no more of it than a block.
    ///
    /// # Errors
    ///
    /// Those of `text`, and [`io::ErrorKind::InvalidData`] for a line of another form.
    pub fn parse(mut text: impl Read) -> io::Result<Self> {
        let mut builder = Builder::default();
        let mut block = vec![0; 64 * 1024];
        let mut filled = 0;
        loop {
            if filled == block.len() {
                return Err(invalid(&block));
            }
            let read = match text.read(&mut block[filled..]) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                break;
            }
            let unseen = filled;
            filled += read;
            let Some(last) = block[unseen..filled].iter().rposition(|&it| it == b'\n') else {
                continue;
            };
            let complete = unseen + last + 1;
            builder.add_lines(&block[..complete])?;
            block.copy_within(complete..filled, 0);
            filled -= complete;
        }
        builder.add_lines(&block[..filled])?;
        Ok(builder.finish())
    }

    /// How many functions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Address of the table of all Unix sockets, where the kernel has one and shows where.
    #[must_use]
    pub fn unix_sockets(&self) -> Option<u64> {
        self.unix_sockets.filter(|address| *address != 0)
    }

    /// Whether there is none, as when `/proc/kallsyms` is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the kernel hides addresses from this process (`kernel.kptr_restrict`).
    #[must_use]
    pub fn addresses_hidden(&self) -> bool {
        self.entries
            .last()
            .is_none_or(|highest| highest.address == 0)
    }

    /// The function of exactly this name, the kernel's own before a module's.
    ///
    /// A suffixed clone does not count: it can be neither probed by this name nor attached to.
    #[must_use]
    pub fn exact(&self, name: &str) -> Option<Symbol<'_>> {
        let mut found = self.family(name).filter(|symbol| symbol.name == name);
        let first = found.next()?;
        if first.module.is_none() {
            return Some(first);
        }
        Some(
            found
                .find(|symbol| symbol.module.is_none())
                .unwrap_or(first),
        )
    }

    /// Names of the clones that the compiler made of a function, such as `scm_recv.constprop.0`.
    #[must_use]
    pub fn clones(&self, name: &str) -> Vec<&str> {
        self.family(name)
            .map(|symbol| symbol.name)
            .filter(|&clone| clone != name && base_name(clone) == name)
            .collect()
    }

    /// The function that `address` is in, and how far in.
    ///
    /// Of several names for one place this is the first, as in the kernel's own traces. `None` for
    /// an address below or far above every function, and where addresses are hidden.
    #[must_use]
    pub fn symbolize(&self, address: u64) -> Option<(&str, u64)> {
        let above = self
            .entries
            .partition_point(|entry| entry.address <= address);
        let nearest = self.entries[..above].last()?.address;
        let first = self
            .entries
            .partition_point(|entry| entry.address < nearest);
        let offset = address - nearest;
        (nearest != 0 && offset < MAX_FUNCTION_LEN)
            .then(|| (self.symbol(self.entries[first]).name, offset))
    }

    /// Functions that share the base name of `name`, and possibly others.
    fn family(&self, name: &str) -> impl Iterator<Item = Symbol<'_>> {
        let hash = u64::from(hash(base_name(name).as_bytes()));
        let start = self
            .by_base_name
            .partition_point(|&entry| entry >> 32 < hash);
        self.by_base_name[start..]
            .iter()
            .take_while(move |&&entry| entry >> 32 == hash)
            .map(|&entry| self.symbol(self.entries[entry as u32 as usize]))
    }

    fn symbol(&self, entry: Entry) -> Symbol<'_> {
        let at = entry.at as usize;
        Symbol {
            name: &self.names[at + 1..][..usize::from(entry.len)],
            address: entry.address,
            kind: char::from(self.names.as_bytes()[at]),
            module: usize::from(entry.module)
                .checked_sub(1)
                .map(|index| self.modules[index].as_str()),
        }
    }
}

/// A function's name without what the compiler appended: `.isra.0`, `.constprop.0`, `.part.0`,
/// `.cold`, `.llvm.123`, or several of them.
fn base_name(name: &str) -> &str {
    match name.split_once('.') {
        Some((base, _)) if !base.is_empty() => base,
        _ => name,
    }
}

fn invalid(line: &[u8]) -> io::Error {
    let start = &line[..line.len().min(80)];
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("no symbol in {:?}", String::from_utf8_lossy(start)),
    )
}

#[cfg(test)]
mod tests;
