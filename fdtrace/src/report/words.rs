//! What a word of the output means, as text for people.

use std::io::{self, Write as _};

use super::{fit::Fit, text::BOLD};
use crate::explain::words::{Sort, Word};

/// Where what is said of a word begins.
const INDENT: usize = 12;

/// Writes what there is to say of each of these words.
///
/// # Errors
/// What writing says.
pub fn write_words(
    out: &mut impl io::Write,
    words: &[Word],
    width: Option<usize>,
) -> io::Result<()> {
    const WIDEST: usize = 100;
    let out = &mut Fit::new(out, Some(width.unwrap_or(WIDEST).min(WIDEST)));
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{BOLD}{}{BOLD:#}, {}", word.name, word.sort)?;
        writeln!(out)?;
        let mut part = |title: &str, text: &str| writeln!(out, "  {title:<INDENT$}{text}");
        part("means", &format!("{}.", capitalized(&word.means)))?;
        if let Some(cure) = word.cure {
            part("what helps", &format!("{}.", capitalized(cure)))?;
        }
        if let Some((first, others)) = word.scenarios.split_first() {
            part("see it", &format!("fdtrace explain {first}"))?;
            if !others.is_empty() {
                part("", &format!("fdtrace verify {}", others.join(" ")))?;
            }
        }
        match word.sort {
            Sort::Fate => part("find it", &format!("fdtrace trace --fate {}", word.name))?,
            Sort::Cause | Sort::Errno => {
                part("find it", &format!("fdtrace trace --cause {}", word.name))?;
            }
            _ => {}
        }
    }
    out.flush()
}

/// Writes every word with what it means, sort by sort.
///
/// # Errors
/// What writing says.
pub fn write_all_words(
    out: &mut impl io::Write,
    words: &[Word],
    width: Option<usize>,
) -> io::Result<()> {
    let out = &mut Fit::new(out, width);
    let longest = words.iter().map(|word| word.name.len()).max();
    let longest = longest.unwrap_or_default();
    for sort in Sort::ALL {
        writeln!(out, "{BOLD}{}{BOLD:#}", sort.title())?;
        for word in words.iter().filter(|word| word.sort == sort) {
            writeln!(out, "  {:<longest$}  {}", word.name, word.means)?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "`fdtrace why WORD` says what helps, and which scenario shows it."
    )?;
    out.flush()
}

fn capitalized(text: &str) -> String {
    // A name of the kernel's is written as it is.
    let first = text.split_whitespace().next().unwrap_or_default();
    if first.contains(['_', '(', '`']) || first == "sendmsg" {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
