//! Builder: symbols as they are read, line by line.

use std::{collections::HashMap, io};

use super::{Entry, PADDING, Symbols, UNIX_SOCKETS, base_name, hash, invalid};

#[derive(Default)]
pub(super) struct Builder {
    symbols: Symbols,
    module_numbers: HashMap<String, u16>,
}

impl Builder {
    /// Adds complete lines.
    pub(super) fn add_lines(&mut self, text: &[u8]) -> io::Result<()> {
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

    pub(super) fn finish(self) -> Symbols {
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
