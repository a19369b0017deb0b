//! The kernel's functions as symbols: which exist under their own name, and which address is whose.
//!
//! The plan asks whether a function can be hooked by name ([`Symbols::exact`]); the tracer asks
//! which function an skb was freed from ([`Symbols::symbolize`]). Of the data symbols only
//! [`Symbols::unix_sockets`] is kept. Nothing here decides whether an address may be shown.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read},
};

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

#[derive(Default)]
struct Builder {
    symbols: Symbols,
    module_numbers: HashMap<String, u16>,
}

impl Builder {
    /// Adds complete lines.
    fn add_lines(&mut self, text: &[u8]) -> io::Result<()> {
        let text = str::from_utf8(text).map_err(|_| invalid(text))?;
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            self.add(line).ok_or_else(|| invalid(line.as_bytes()))?;
        }
        Ok(())
    }

    /// Adds the symbol of one line: `address type name`, and `[module]` after a tab.
    ///
    /// Relies on the fixed width of addresses and looks at names as little as it can: it runs a
    /// hundred thousand times before anything else can start.
    fn add(&mut self, line: &str) -> Option<()> {
        let (digits, rest) = line.as_bytes().split_first_chunk::<16>()?;
        let [b' ', kind, b' ', ..] = rest else {
            return None;
        };
        let address = hexadecimal(digits)?;
        let name = line.get(19..)?;
        if !matches!(kind, b'T' | b't' | b'W' | b'w') {
            if name == UNIX_SOCKETS {
                self.symbols.unix_sockets = Some(address);
            }
            return Some(());
        }
        if PADDING.iter().any(|prefix| name.starts_with(prefix)) {
            return Some(());
        }
        let (name, module) = if name.ends_with(']') {
            let (name, module) = name.split_once('\t')?;
            (name, self.module_number(module)?)
        } else {
            (name, 0)
        };
        let symbols = &mut self.symbols;
        symbols.entries.push(Entry {
            address,
            at: u32::try_from(symbols.names.len()).ok()?,
            len: u16::try_from(name.len()).ok()?,
            module,
        });
        symbols.names.push(char::from(*kind));
        symbols.names.push_str(name);
        Some(())
    }

    fn module_number(&mut self, bracketed: &str) -> Option<u16> {
        let name = bracketed.strip_prefix('[')?.strip_suffix(']')?;
        if let Some(&number) = self.module_numbers.get(name) {
            return Some(number);
        }
        self.symbols.modules.push(name.to_owned());
        let number = u16::try_from(self.symbols.modules.len()).ok()?;
        self.module_numbers.insert(name.to_owned(), number);
        Some(number)
    }

    fn finish(self) -> Symbols {
        let mut symbols = self.symbols;
        // Modules follow the kernel and lie below it; the sort is stable, which keeps aliases in
        // the order that the kernel prefers.
        symbols.entries.sort_by_key(|entry| entry.address);
        symbols.by_base_name = symbols
            .entries
            .iter()
            .zip(0u64..)
            .map(|(&entry, index)| {
                let name = symbols.symbol(entry).name;
                u64::from(hash(base_name(name).as_bytes())) << 32 | index
            })
            .collect();
        symbols.by_base_name.sort_unstable();
        symbols.entries.shrink_to_fit();
        symbols.names.shrink_to_fit();
        symbols
    }
}

fn hexadecimal(digits: &[u8; 16]) -> Option<u64> {
    digits.iter().try_fold(0, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

fn invalid(line: &[u8]) -> io::Error {
    let start = &line[..line.len().min(80)];
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("no symbol in {:?}", String::from_utf8_lossy(start)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81001000 t scm_recv.constprop.0
ffffffff81001100 T sock_sendmsg
ffffffff81001200 t sock_sendmsg.cold
ffffffff81001280 t sock_sendmsg.part.0.isra.0
ffffffff810012f0 t __pfx_arch_weak
ffffffff81001300 W arch_weak
ffffffff82000000 D init_task
ffffffff82000008 B unix_socket_table
ffffffff82000010 r .LC0
0000000000004000 A fixed_percpu_data
ffffffffc0002000 t unix_gc\t[unix]
ffffffffc0001000 T fd_install\t[strange]
ffffffffc0003000 t fd_install\t[unix]
ffffffff81002000 T fd_install
";

    fn symbols() -> Symbols {
        Symbols::parse(TEXT.as_bytes()).expect("the text is well formed")
    }

    #[test]
    fn the_table_of_sockets_is_known_unless_it_is_hidden() {
        assert_eq!(symbols().unix_sockets(), Some(0xffff_ffff_8200_0008));
        let hidden = "0000000000000000 B unix_socket_table\n";
        let hidden = Symbols::parse(hidden.as_bytes()).expect("the text is well formed");
        assert_eq!(hidden.unix_sockets(), None);
        assert_eq!(Symbols::default().unix_sockets(), None);
    }

    #[test]
    fn a_clone_is_not_the_function() {
        let symbols = symbols();
        assert_eq!(symbols.exact("scm_recv"), None);
        assert_eq!(symbols.clones("scm_recv"), ["scm_recv.constprop.0"]);
        assert_eq!(
            symbols.exact("sock_sendmsg").map(|symbol| symbol.address),
            Some(0xffff_ffff_8100_1100)
        );
        assert_eq!(
            symbols.clones("sock_sendmsg"),
            ["sock_sendmsg.cold", "sock_sendmsg.part.0.isra.0"]
        );
        assert_eq!(symbols.clones("fd_install"), Vec::<&str>::new());
        assert_eq!(
            symbols
                .exact("scm_recv.constprop.0")
                .map(|symbol| symbol.kind),
            Some('t')
        );
    }

    #[test]
    fn the_kernel_comes_before_its_modules() {
        let symbols = symbols();
        let fd_install = symbols.exact("fd_install").expect("it is listed");
        assert_eq!((fd_install.kind, fd_install.module), ('T', None));
        let unix_gc = symbols.exact("unix_gc").expect("it is listed");
        assert_eq!((unix_gc.kind, unix_gc.module), ('t', Some("unix")));
    }

    #[test]
    fn an_address_belongs_to_the_nearest_function_below() {
        let symbols = symbols();
        let at = |address| symbols.symbolize(address);
        assert_eq!(at(0xffff_ffff_8100_1100), Some(("sock_sendmsg", 0)));
        assert_eq!(at(0xffff_ffff_8100_11ff), Some(("sock_sendmsg", 0xff)));
        assert_eq!(at(0xffff_ffff_8100_1300), Some(("arch_weak", 0)));
        let before_padding = ("sock_sendmsg.part.0.isra.0", 0x7f);
        assert_eq!(at(0xffff_ffff_8100_12ff), Some(before_padding));
        assert_eq!(at(0xffff_ffff_c000_2fff), Some(("unix_gc", 0xfff)));
        assert_eq!(at(0xffff_ffff_8100_0008), Some(("_stext", 8)));
    }

    #[test]
    fn an_address_far_from_every_function_belongs_to_none() {
        let symbols = symbols();
        assert_eq!(symbols.symbolize(0), None);
        assert_eq!(symbols.symbolize(0xffff_ffff_8000_0000), None);
        assert_eq!(symbols.symbolize(0xffff_ffff_8200_0008), None, "data");
        assert_eq!(symbols.symbolize(u64::MAX), None);
    }

    #[test]
    fn hidden_addresses_name_no_function() {
        let text = "0000000000000000 T __scm_send\n0000000000000000 t unix_gc\n";
        let symbols = Symbols::parse(text.as_bytes()).expect("the text is well formed");
        assert!(symbols.addresses_hidden());
        assert!(symbols.exact("unix_gc").is_some(), "names are still known");
        assert_eq!(symbols.symbolize(0), None);
        assert_eq!(symbols.symbolize(0x10), None);
        assert_eq!(symbols.symbolize(0xffff_ffff_8100_1100), None);
        assert!(!self::symbols().addresses_hidden());
        assert!(Symbols::default().addresses_hidden());
    }

    /// Hands out a few bytes at a time, as procfs cuts its text anywhere.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = self.0.len().min(buf.len()).min(7);
            let (now, later) = self.0.split_at(len);
            buf[..len].copy_from_slice(now);
            self.0 = later;
            Ok(len)
        }
    }

    #[test]
    fn lines_may_arrive_in_pieces() {
        let pieces = Symbols::parse(Dribble(TEXT.as_bytes())).expect("the text is well formed");
        assert_eq!(pieces.len(), symbols().len());
        assert_eq!(pieces.names, symbols().names);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "hello\n",
            "zzzz T name\n",
            "ffffffff81000000 T name [unix]\n",
            "ffffffff81000000 TT name\n",
            "ffffffff81000000\n",
        ] {
            assert!(Symbols::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        let endless = "x".repeat(200_000);
        assert!(Symbols::parse(endless.as_bytes()).is_err());
        assert!(Symbols::parse(&[0xff, 0xfe, b'\n'][..]).is_err());
    }
}
