//! Expectations from a file in TOML.

use serde::Deserialize;

use super::{
    Allowance, Each, Expectation, Expectations, Pattern, SyntaxError, expectation::Within, similar,
};
use crate::model::{Cause, Hop};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    need: Vec<Hop>,
    defaults: Defaults,
    expect: Vec<toml::Spanned<Expectation>>,
    allow: Vec<toml::Spanned<Allowance>>,
}

/// What holds for every expectation that does not say otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Defaults {
    #[serde(rename = "where")]
    of: Pattern,
    each: Option<Each>,
    cloexec: Option<bool>,
    still_open: Option<bool>,
    closed_by_sender: Option<bool>,
    within: Option<Within>,
}

/// Reads a file of expectations.
///
/// # Errors
/// [`SyntaxError`] with the line and the column of what cannot be read.
pub fn parse(text: &str) -> Result<Expectations, SyntaxError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let what = error.message().lines().next().unwrap_or_default();
        SyntaxError {
            instead: meant(what),
            ..at_byte(text, at, what)
        }
    })?;
    let mut expect = Vec::new();
    for given in file.expect {
        let at = given.span().start;
        let given = given.into_inner();
        let expectation = Expectation {
            of: given.of.or(&file.defaults.of),
            each: given.each.or(file.defaults.each),
            cloexec: given.cloexec.or(file.defaults.cloexec),
            still_open: given.still_open.or(file.defaults.still_open),
            closed_by_sender: given.closed_by_sender.or(file.defaults.closed_by_sender),
            within: given.within.or(file.defaults.within),
            ..given
        };
        if let Some(why) = expectation.contradiction() {
            return Err(at_byte(text, at, &format!("this can never hold: {why}")));
        }
        expect.push(expectation);
    }
    let mut allow = Vec::new();
    for given in file.allow {
        if given.get_ref().of.is_empty() {
            let what = "this allows everything: say `where`";
            return Err(at_byte(text, given.span().start, what));
        }
        allow.push(given.into_inner());
    }
    Ok(Expectations {
        need: file.need,
        expect,
        allow,
    })
}

/// What may have been meant instead of the first name that a message of serde's quotes, of those that it
/// quotes after that.
fn meant(message: &str) -> Option<String> {
    // Errnos are causes too, so serde cannot list them all.
    if let Some(value) = message.strip_suffix(", expected the name of a cause") {
        let name = value.split('"').nth(1)?;
        return similar(name, Cause::NAMED.map(Cause::name));
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let name = quoted.next()?;
    similar(name, quoted)
}

fn at_byte(text: &str, at: usize, what: &str) -> SyntaxError {
    let before = text.get(..at).unwrap_or(text);
    let line_begins = before.rfind('\n').map_or(0, |end| end + 1);
    SyntaxError {
        line: Some(before.matches('\n').count() + 1),
        column: before[line_begins..].chars().count() + 1,
        what: what.to_owned(),
        instead: None,
    }
}
