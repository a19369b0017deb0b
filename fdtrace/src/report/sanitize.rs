//! Sanitize: text that the traced system controls, made harmless to look at, and so that no two
//! names look alike for what cannot be seen in them.

use std::fmt::Write as _;

use crate::model::lossless::{Part, parts};

/// A name or a sentence with all that a reader would not see, or that would do something to the
/// terminal, written by its code: `\u{202e}` for a character, `\xff` for a byte that is not UTF-8,
/// `\x20` for a blank at an end or beside another, and `\\` for a backslash, so that none of these
/// can be a name's own letters.
pub(crate) fn sanitize(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    push_sanitized(&mut safe, text);
    safe
}

/// Appends such a name.
pub(super) fn push_sanitized(safe: &mut String, text: &str) {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    if text.bytes().all(plain) {
        return safe.push_str(text);
    }
    let mut all = parts(text).peekable();
    let mut after_blank = true;
    while let Some(part) = all.next() {
        // A string takes whatever is written.
        let _ = match part {
            Part::Byte(byte) => write!(safe, "\\x{byte:02x}"),
            Part::Char(' ') if after_blank || all.peek().is_none() => safe.write_str("\\x20"),
            Part::Char('\\') => safe.write_str("\\\\"),
            Part::Char(char) if is_unseen(char) => write!(safe, "{}", char.escape_unicode()),
            Part::Char(char) => safe.write_char(char),
        };
        after_blank = part == Part::Char(' ');
    }
}

/// Whether a reader cannot see this character, or not what it is.
pub(crate) fn is_unseen(char: char) -> bool {
    if char.is_ascii() {
        return char.is_ascii_control();
    }
    is_unprintable(char) || is_invisible(char) || is_an_addition(char)
}

/// Whether it is a control or format character, a separator, for private use, or none at all: all
/// that Rust's own `Debug` of a string would escape.
fn is_unprintable(char: char) -> bool {
    // After a first letter, Debug leaves marks alone that other scripts need to be read.
    let mut bytes = [b'a'; 5];
    let len = char.encode_utf8(&mut bytes[1..]).len();
    let Ok(text) = str::from_utf8(&bytes[..=len]) else {
        return true;
    };
    text.escape_debug().nth(1) != Some(char)
}

/// Letters and marks that are printed as nothing, and what replaces others.
fn is_invisible(char: char) -> bool {
    matches!(
        char,
        // Fillers.
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{16fe4}' | '\u{1d159}'
        | '\u{17b4}' | '\u{17b5}' | '\u{2800}'
        // What chooses between variants of the character before.
        | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}'
        // What stands for what could not be read.
        | '\u{fffd}'
    )
}

/// Marks that are printed over any letter: with one, `e` looks like the one character `é`.
fn is_an_addition(char: char) -> bool {
    matches!(
        char,
        '\u{300}'..='\u{36f}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{model::lossless, report::write_json};

    #[test]
    fn what_cannot_be_seen_is_written_by_its_code() {
        for (name, shown) in [
            ("plain-name_1.txt", "plain-name_1.txt"),
            ("a b", "a b"),
            ("naïve 日本 ไทย हिन्दी", "naïve 日本 ไทย हिन्दी"),
            ("\"quoted' name\"", "\"quoted' name\""),
            (r"a\b", r"a\\b"),
            ("a\x1b[31m", r"a\u{1b}[31m"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\u{7f}", r"a\u{7f}"),
            ("a\u{202e}b", r"a\u{202e}b"),
            ("a\u{2028}", r"a\u{2028}"),
            (
                "a\u{200b}\u{200d}\u{2060}\u{feff}",
                r"a\u{200b}\u{200d}\u{2060}\u{feff}",
            ),
            ("a\u{ad}", r"a\u{ad}"),
            ("a\u{fffe}\u{ffff}\u{fdd0}", r"a\u{fffe}\u{ffff}\u{fdd0}"),
            (
                "a\u{e0041}\u{10ffff}\u{e000}\u{378}",
                r"a\u{e0041}\u{10ffff}\u{e000}\u{378}",
            ),
            ("a\u{fe0f}\u{e0100}", r"a\u{fe0f}\u{e0100}"),
            ("a\u{3164}\u{a0}\u{2003}", r"a\u{3164}\u{a0}\u{2003}"),
            ("e\u{301}", r"e\u{301}"),
            ("é", "é"),
            (" a  b ", r"\x20a \x20b\x20"),
        ] {
            assert_eq!(sanitize(name), shown, "{name:?}");
        }
    }

    #[test]
    fn bytes_are_not_letters() {
        assert_eq!(sanitize(&lossless::text(b"a\xff")), r"a\xff");
        assert_eq!(sanitize(&lossless::text(br"a\xff")), r"a\\xff");
        assert_eq!(
            sanitize(&lossless::text("\u{fffd}ff".as_bytes())),
            r"\u{fffd}ff"
        );
    }

    fn hostile_name() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|char| char.to_string().into_bytes()),
            prop::sample::select(vec![
                "\\", "x", "ff", "u{202e}", "\u{202e}", "\u{fffd}", " ", "x20", "u{5c}",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    /// What a reader makes of a sanitized name.
    fn read_back(shown: &str) -> Vec<u8> {
        let mut name = Vec::new();
        let mut rest = shown;
        while let Some(char) = rest.chars().next() {
            rest = &rest[char.len_utf8()..];
            if char != '\\' {
                name.extend_from_slice(char.to_string().as_bytes());
                continue;
            }
            let (kind, after) = rest.split_at(1);
            match kind {
                "\\" => (name.push(b'\\'), rest = after).1,
                "x" => {
                    name.push(u8::from_str_radix(&after[..2], 16).expect("two digits"));
                    rest = &after[2..];
                }
                "u" => {
                    let end = after.find('}').expect("it has an end");
                    let code = u32::from_str_radix(&after[1..end], 16).expect("a number");
                    let char = char::from_u32(code).expect("a character");
                    name.extend_from_slice(char.to_string().as_bytes());
                    rest = &after[end + 1..];
                }
                other => panic!("\\{other} in {shown:?}"),
            }
        }
        name
    }

    proptest! {
        #[test]
        fn no_two_names_look_alike(name in hostile_name()) {
            let shown = sanitize(&lossless::text(&name));
            prop_assert!(!shown.contains(is_unseen), "{shown:?}");
            prop_assert_eq!(read_back(&shown), name);
        }

        #[test]
        fn json_is_the_same_value_and_has_nothing_unseen(name in hostile_name()) {
            let value = serde_json::json!({ "name": lossless::text(&name), "list": [1, null] });
            let mut json = Vec::new();
            write_json(&mut json, &value).expect("there is room");
            let json = String::from_utf8(json).expect("it is UTF-8");
            prop_assert!(
                !json.contains(|char| char != '\u{fffd}' && is_unseen(char)),
                "{json:?}"
            );
            let back: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
            prop_assert_eq!(back, value);
        }
    }
}
