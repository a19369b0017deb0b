//! Expectations in one line: `delivered=3 kind=memfd to=child cloexec`.

use std::str::FromStr;

use super::{Each, Expectation, Pattern, SyntaxError, similar};
use crate::model::{Cause, Fate, FileKind};

/// Words that stand alone.
const FLAGS: [&str; 7] = [
    "cloexec",
    "inheritable",
    "once",
    "still-open",
    "closed",
    "closed-by-sender",
    "kept-by-sender",
];

/// Words that have a value, beside those of a pattern.
const KEYS: [&str; 3] = ["name", "delivered", "within"];

/// One word of a line, and where it begins: column of the word, and of its value.
struct Word {
    key: String,
    value: Option<String>,
    at: usize,
    value_at: usize,
}

/// Reads one line.
///
/// # Errors
/// [`SyntaxError`] with the column of what cannot be read.
pub fn parse(line: &str) -> Result<Expectation, SyntaxError> {
    let mut expectation = Expectation::default();
    let words = words(line)?;
    if words.is_empty() {
        return Err(error(1, "nothing is expected"));
    }
    for word in words {
        take(&mut expectation, &word)?;
    }
    match expectation.contradiction() {
        Some(why) => Err(error(1, format!("this can never hold: {why}"))),
        None => Ok(expectation),
    }
}

fn take(expectation: &mut Expectation, word: &Word) -> Result<(), SyntaxError> {
    let Some(value) = word.value.as_deref() else {
        return match word.key.as_str() {
            "cloexec" => set(&mut expectation.cloexec, true, word),
            "inheritable" => set(&mut expectation.cloexec, false, word),
            "still-open" => set(&mut expectation.still_open, true, word),
            "closed" => set(&mut expectation.still_open, false, word),
            "closed-by-sender" => set(&mut expectation.closed_by_sender, true, word),
            "kept-by-sender" => set(&mut expectation.closed_by_sender, false, word),
            "once" => set(&mut expectation.each, Each::Once, word),
            key if keys().any(|known| known == key) => {
                Err(error(word.at, format!("`{key}` has no value: {key}=…")))
            }
            key => Err(unknown(key, word.at)),
        };
    };
    let of = &mut expectation.of;
    match word.key.as_str() {
        "name" => set(&mut expectation.name, value.to_owned(), word),
        "delivered" => set(&mut expectation.delivered, read(value, word)?, word),
        "within" => set(&mut expectation.within, read(value, word)?, word),
        "from" => set(&mut of.from, value.to_owned(), word),
        "to" => set(&mut of.to, value.to_owned(), word),
        "path" => set(&mut of.path, value.to_owned(), word),
        "socket" => set(&mut of.socket, value.to_owned(), word),
        "kind" => {
            let kind = one_of(value, word, FileKind::ALL.map(FileKind::name))?;
            set(&mut of.kind, kind, word)
        }
        "fate" => {
            let fate = one_of(value, word, Fate::ALL.map(Fate::name))?;
            set(&mut of.fate, fate, word)
        }
        "cause" => match Cause::of_name(value) {
            Some(cause) => set(&mut of.cause, cause, word),
            None => Err(not_one_of(value, word, Cause::NAMED.map(Cause::name))),
        },
        key if FLAGS.contains(&key) => Err(error(
            word.at,
            format!("`{key}` stands alone, without a value"),
        )),
        key => Err(unknown(key, word.at)),
    }
}

fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().chain(Pattern::FIELDS)
}

fn set<T>(place: &mut Option<T>, value: T, word: &Word) -> Result<(), SyntaxError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(error(word.at, format!("`{}` is there twice", word.key))),
    }
}

fn read<T: FromStr<Err = String>>(value: &str, word: &Word) -> Result<T, SyntaxError> {
    value
        .parse()
        .map_err(|what: String| error(word.value_at, what))
}

fn one_of<T: FromStr>(
    value: &str,
    word: &Word,
    names: impl IntoIterator<Item = &'static str>,
) -> Result<T, SyntaxError> {
    value.parse().map_err(|_| not_one_of(value, word, names))
}

fn not_one_of(
    value: &str,
    word: &Word,
    names: impl IntoIterator<Item = &'static str>,
) -> SyntaxError {
    let names: Vec<_> = names.into_iter().collect();
    let instead = similar(value, names.iter().copied());
    // Without one that is meant, only all of them help.
    let all = match instead {
        Some(_) => String::new(),
        None => format!(": it is one of {}", names.join(", ")),
    };
    SyntaxError {
        instead,
        ..error(word.value_at, format!("`{value}` is no {}{all}", word.key))
    }
}

fn unknown(key: &str, at: usize) -> SyntaxError {
    SyntaxError {
        instead: similar(key, keys().chain(FLAGS)),
        ..error(at, format!("`{key}` is unknown"))
    }
}

fn error(column: usize, what: impl Into<String>) -> SyntaxError {
    SyntaxError {
        line: None,
        column,
        what: what.into(),
        instead: None,
    }
}

/// The words of a line; what is in double quotes may have blanks, and quotes behind a backslash.
fn words(line: &str) -> Result<Vec<Word>, SyntaxError> {
    let mut words: Vec<Word> = Vec::new();
    let mut chars = (1..).zip(line.chars()).peekable();
    while let Some(&(at, c)) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = Word {
            key: String::new(),
            value: None,
            at,
            value_at: at,
        };
        let mut quoted = None;
        while let Some(&(here, c)) = chars.peek() {
            if quoted.is_none() && c.is_whitespace() {
                break;
            }
            chars.next();
            let is_key = word.value.is_none();
            let text = word.value.as_mut().unwrap_or(&mut word.key);
            match (c, quoted) {
                ('=', None) if is_key => {
                    (word.value, word.value_at) = (Some(String::new()), here + 1);
                }
                ('"', None) => quoted = Some(here),
                ('"', Some(_)) => quoted = None,
                ('\\', Some(_)) => text.extend(chars.next().map(|(_, c)| c)),
                (c, _) => text.push(c),
            }
        }
        if let Some(begin) = quoted {
            return Err(error(begin, "the quote is not closed"));
        }
        words.push(word);
    }
    Ok(words)
}
