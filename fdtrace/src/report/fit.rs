//! Fit: lines that are no wider than a terminal, counted in its columns, whatever is in them.
//!
//! A report writes logical lines. [`HANG`] in one says where its continuation begins; without it that
//! is where its second column does, behind the first two blanks. [`JOINED`] is a blank at which it is
//! not broken. Neither can be in a sanitized name.

use std::io;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What does not fit continues below this place.
pub(super) const HANG: char = '\t';
/// A blank between what stays on one line.
pub(super) const JOINED: char = '\u{a0}';

/// Wraps lines between words, or within one that is too long. Styles take no room.
pub(crate) struct Fit<W> {
    out: W,
    width: Option<usize>,
    /// The line under way.
    line: Vec<u8>,
}

impl<W: io::Write> Fit<W> {
    /// Writes to `out`; without a width, lines are as long as they are.
    pub(crate) fn new(out: W, width: Option<usize>) -> Self {
        Self {
            out,
            // Narrower than this, nothing can be read.
            width: width.map(|width| width.max(20)),
            line: Vec::new(),
        }
    }

    /// Columns of a line, if it has an end.
    pub(super) fn width(&self) -> Option<usize> {
        self.width
    }

    /// What it writes to. Nothing of a line without an end is lost if it was flushed.
    pub(crate) fn into_inner(self) -> W {
        self.out
    }

    fn put(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        self.put_line(&String::from_utf8_lossy(&line))?;
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn put_line(&mut self, text: &str) -> io::Result<()> {
        match self.width {
            Some(width) if columns(text) > width => {
                let wrapped = Wrapper::new(width).wrap(text);
                self.out.write_all(wrapped.as_bytes())
            }
            _ if text.contains(HANG) || text.contains(JOINED) => {
                let plain = text.replace(HANG, "").replace(JOINED, " ");
                self.out.write_all(plain.as_bytes())
            }
            _ => self.out.write_all(text.as_bytes()),
        }
    }
}

impl<W: io::Write> Fit<W> {
    /// Writes whole lines, each of which ends with a newline.
    pub(super) fn write_lines(&mut self, lines: &str) -> io::Result<()> {
        if !self.line.is_empty() {
            return io::Write::write_all(self, lines.as_bytes());
        }
        for line in lines.lines() {
            self.put_line(line)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl<W: io::Write> io::Write for Fit<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', rest)) => {
                    self.line.extend_from_slice(rest);
                    self.put()?;
                    self.out.write_all(b"\n")?;
                }
                _ => self.line.extend_from_slice(piece),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.put()?;
        self.out.flush()
    }
}

/// Columns that this takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    // Without an early end, several bytes are looked at at once.
    let is_ordinary = text
        .bytes()
        .fold(true, |all, byte| all & matches!(byte, b' '..=b'~'));
    match is_ordinary {
        true => text.len(),
        false => text.width(),
    }
}

/// The same, styles not counted.
pub(super) fn columns(text: &str) -> usize {
    match text.contains(['\x1b', HANG]) {
        true => width(&unstyled(text).replace(HANG, "")),
        false => width(text),
    }
}

fn unstyled(text: &str) -> String {
    let mut pieces = text.split('\x1b');
    let first = pieces.next().unwrap_or_default();
    let others = pieces.map(|piece| piece.split_once('m').map_or(piece, |(_, text)| text));
    std::iter::once(first).chain(others).collect()
}

/// Where the text behind the first gap begins, if that is no further than `most`; else where the line
/// does.
fn second_column(line: &str, most: usize) -> usize {
    let begin = line.len() - line.trim_start_matches(' ').len();
    let text = &line[begin..];
    let column = text.find("  ").map(|gap| {
        let behind = text[gap..].trim_start_matches(' ');
        begin + text[..text.len() - behind.len()].width()
    });
    column.filter(|column| *column <= most).unwrap_or(begin)
}

/// The text in at most so many columns: of what is longer, the beginning and rather more of the end.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let head = taken(text.chars(), room.div_ceil(3));
    let head_width: usize = head.iter().filter_map(|char| char.width()).sum();
    let tail = taken(text.chars().rev(), room - head_width);
    head.into_iter()
        .chain((width > 0).then_some('…'))
        .chain(tail.into_iter().rev())
        .collect()
}

/// As many characters as there is room for.
fn taken(chars: impl Iterator<Item = char>, mut room: usize) -> Vec<char> {
    chars
        .take_while(|char| {
            let width = char.width().unwrap_or_default();
            let fits = width <= room;
            room = room.saturating_sub(width);
            fits
        })
        .collect()
}

/// One line on its way to several.
struct Wrapper {
    width: usize,
    text: String,
    /// Columns in use on the last line.
    used: usize,
    /// Where the next line begins.
    hang: usize,
    /// Blanks before the word under way.
    blanks: usize,
    word: String,
    word_width: usize,
}

impl Wrapper {
    fn new(width: usize) -> Self {
        Self {
            width,
            text: String::new(),
            used: 0,
            hang: 0,
            blanks: 0,
            word: String::new(),
            word_width: 0,
        }
    }

    fn wrap(mut self, line: &str) -> String {
        self.hang_at(second_column(&unstyled(line), self.width / 3));
        let mut chars = line.chars();
        while let Some(char) = chars.next() {
            match char {
                '\x1b' => {
                    self.word.push(char);
                    self.word
                        .extend(chars.by_ref().take_while(|char| *char != 'm'));
                    self.word.push('m');
                }
                HANG => {
                    self.hang_at(self.used + self.blanks + self.word_width);
                    // The word under way may still be put on a line of its own.
                    self.hang = self.hang.min(self.width - self.word_width);
                }
                ' ' => {
                    self.end_word();
                    self.blanks += 1;
                }
                _ => {
                    let shown = if char == JOINED { ' ' } else { char };
                    let width = shown.width().unwrap_or_default();
                    if self.hang + self.word_width + width > self.width {
                        self.end_word();
                        self.begin_line();
                    }
                    self.word.push(shown);
                    self.word_width += width;
                }
            }
        }
        self.end_word();
        self.text
    }

    /// A continuation keeps half of the line at least.
    fn hang_at(&mut self, column: usize) {
        self.hang = match column {
            column if column <= self.width / 2 => column,
            _ => 4,
        };
    }

    fn begin_line(&mut self) {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', self.hang));
        (self.used, self.blanks) = (self.hang, 0);
    }

    fn end_word(&mut self) {
        if self.word_width > 0 && self.used + self.blanks + self.word_width > self.width {
            self.begin_line();
        }
        if self.word_width > 0 {
            let blanks = std::mem::take(&mut self.blanks);
            self.text.extend(std::iter::repeat_n(' ', blanks));
            self.used += blanks + self.word_width;
        }
        self.text.push_str(&self.word);
        self.word.clear();
        self.word_width = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn fit(width: usize, text: &str) -> String {
        let mut out = Vec::new();
        let mut fit = Fit::new(&mut out, Some(width));
        fit.write_all(text.as_bytes()).expect("memory takes it");
        fit.flush().expect("memory takes it");
        drop(fit);
        String::from_utf8(out).expect("what was text still is")
    }

    #[test]
    fn a_line_continues_below_its_mark_and_is_not_broken_at_joined_blanks() {
        assert_eq!(
            fit(20, "lost  \tone two three four\n"),
            "lost  one two three\n      four\n"
        );
        assert_eq!(
            fit(20, "lost  \tone two three\u{a0}four\n"),
            "lost  one two\n      three four\n"
        );
        assert_eq!(fit(20, "lost  \tone\u{a0}two\n"), "lost  one two\n");
        assert_eq!(
            fit(20, "\x1b[1mlost  one two three four\x1b[0m\n"),
            "\x1b[1mlost  one two three\n      four\x1b[0m\n"
        );
        assert_eq!(
            fit(20, "  one two three four five"),
            "  one two three four\n  five"
        );
        assert_eq!(fit(20, "no newline"), "no newline");
        // A mark behind a word that is as wide as a line.
        assert_eq!(
            fit(20, "one two_three_four_fiv\t six\n"),
            "one\n  two_three_four_fiv\n  six\n"
        );
    }

    #[test]
    fn styles_take_no_room_and_wide_characters_take_two() {
        let styled = "\x1b[1m01234567890123456789\x1b[0m\n";
        assert_eq!(fit(20, styled), styled);
        assert_eq!(
            fit(20, "日本日本日本 日本日本\n"),
            "日本日本日本\n日本日本\n"
        );
        assert_eq!(shortened("日本語テキスト", 7), "日…スト");
        assert_eq!(shortened("/a/long/path/to/a/file", 10), "/a/…a/file");
        assert_eq!(shortened("short", 10), "short");
        assert_eq!(columns("e\u{301}\x1b[31m\tx\x1b[0m"), 2);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_and_no_word_is_lost(
            text in "[a-z日é ,\t\u{a0}]{0,200}",
            width in 20_usize..90,
        ) {
            let shown = fit(width, &format!("{text}\n"));
            for line in shown.lines() {
                prop_assert!(columns(line) <= width, "{line:?}");
            }
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&shown), letters(&text));
        }
    }
}
