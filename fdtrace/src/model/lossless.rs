//! Lossless: names that need not be UTF-8, as text that is, and no two of them as the same text.
//!
//! A file, a socket or a task may be called by any bytes. What is UTF-8 stays as it is, so an
//! ordinary name is itself. A byte that is not is written as U+FFFD and its two hexadecimal
//! digits, and U+FFFD itself, which no ordinary name has, twice. So the name can be had back from
//! the text, by who reads JSON too. Reports for people show the byte as `\xNN`.

use std::fmt::Write as _;

use smol_str::SmolStr;

/// What stands before the digits of a byte, and before itself.
const MARK: char = char::REPLACEMENT_CHARACTER;

/// The text of a name.
#[must_use]
pub fn text(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char == MARK {
                text.push(MARK);
            }
            text.push(char);
        }
        for byte in chunk.invalid() {
            // A string takes whatever is written.
            let _ = write!(text, "{MARK}{byte:02x}");
        }
    }
    text
}

/// The text of a short name. An ordinary one of a task takes no memory of its own.
#[must_use]
pub fn short(name: &[u8]) -> SmolStr {
    match str::from_utf8(name) {
        Ok(ordinary) if ordinary.is_ascii() => SmolStr::new(ordinary),
        _ => text(name).into(),
    }
}

/// A part of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A character.
    Char(char),
    /// A byte that is not UTF-8.
    Byte(u8),
}

/// The parts of the name with this text. A mark that [`text`] did not make is a character.
pub fn parts(text: &str) -> impl Iterator<Item = Part> {
    let mut chars = text.chars();
    std::iter::from_fn(move || {
        let char = chars.next()?;
        if char != MARK {
            return Some(Part::Char(char));
        }
        let mut ahead = chars.clone();
        let first = ahead.next();
        if first == Some(MARK) {
            chars = ahead;
            return Some(Part::Char(MARK));
        }
        let digit = |char: Option<char>| char.and_then(|char| char.to_digit(16));
        match (digit(first), digit(ahead.next())) {
            (Some(high), Some(low)) => {
                chars = ahead;
                // Two digits of 16 are a byte.
                Some(Part::Byte((high * 16 + low) as u8))
            }
            _ => Some(Part::Char(MARK)),
        }
    })
}

/// The name with this text.
#[must_use]
pub fn bytes(text: &str) -> Vec<u8> {
    let mut name = Vec::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Char(char) => name.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Part::Byte(byte) => name.push(byte),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_name_is_itself() {
        for ordinary in ["/tmp/a b", "naïve", r"a\xffb", "日本", ""] {
            assert_eq!(text(ordinary.as_bytes()), ordinary);
        }
    }

    #[test]
    fn a_byte_that_is_not_utf8_is_written_by_its_digits() {
        assert_eq!(text(b"a\xff\xc3b"), "a\u{fffd}ff\u{fffd}c3b");
        assert_eq!(text("\u{fffd}ff".as_bytes()), "\u{fffd}\u{fffd}ff");
    }

    #[test]
    fn a_mark_of_somebody_elses_is_a_character() {
        let lone: Vec<Part> = parts("\u{fffd}zz").collect();
        assert_eq!(lone, [MARK, 'z', 'z'].map(Part::Char));
    }

    proptest! {
        #[test]
        fn a_name_can_be_had_back(
            pieces in prop::collection::vec(
                prop_oneof![
                    any::<u8>().prop_map(|byte| vec![byte]),
                    Just("\u{fffd}".as_bytes().to_vec()),
                    Just(b"ff".to_vec()),
                ],
                0..12,
            )
        ) {
            let name = pieces.concat();
            prop_assert_eq!(bytes(&text(&name)), name);
        }
    }
}
