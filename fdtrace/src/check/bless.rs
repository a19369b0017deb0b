//! Expectations that a good run meets, to be kept in a file.

use std::collections::BTreeMap;

use super::{Count, Expectation, Expectations, Pattern, Seen, judge::judge};
use crate::{
    check::Answer,
    model::{Fate, Judged},
};

/// What tells transfers apart that are counted together: who to whom, and what kind. Of names only those
/// of paths and memfds stay the same from run to run.
type Group = (Option<String>, Option<String>, &'static str, Option<String>);

/// The file for a run in which nothing was lost; `None` if it was no good run.
#[must_use]
pub fn bless(seen: Seen<'_>) -> Option<String> {
    let good = judge(&Expectations::default(), seen);
    if good.iter().any(|checked| checked.answer != Answer::Holds) {
        return None;
    }
    let mut groups: BTreeMap<Group, Vec<&Judged>> = BTreeMap::new();
    let delivered = seen
        .transfers
        .iter()
        .filter(|judged| judged.fate() == Fate::Delivered);
    for judged in delivered {
        let from = judged.sender.as_ref().map(|sender| sender.comm.to_string());
        let to = judged.receiver().map(|receiver| receiver.comm.to_string());
        let group = (
            from,
            to,
            judged.file.kind().name(),
            judged.path().map(str::to_owned),
        );
        groups.entry(group).or_default().push(judged);
    }
    let expect = groups.into_iter().map(|((from, to, _, path), transfers)| {
        let all = |set: bool| {
            let mut known = transfers.iter().map(|it| it.receiver()?.cloexec);
            known.all(|cloexec| cloexec == Some(set))
        };
        Expectation {
            of: Pattern {
                from: from.map(|name| literal(&name)),
                to: to.map(|name| literal(&name)),
                kind: transfers.first().map(|judged| judged.file.kind()),
                path: path.map(|path| literal(&path)),
                ..Pattern::default()
            },
            delivered: Some(Count::exactly(transfers.len() as u64)),
            cloexec: if all(true) {
                Some(true)
            } else if all(false) {
                Some(false)
            } else {
                None
            },
            ..Expectation::default()
        }
    });
    let expectations = Expectations {
        expect: expect.collect(),
        ..Expectations::default()
    };
    toml::to_string(&expectations).ok()
}

/// A pattern that means this name alone.
fn literal(name: &str) -> String {
    let mut pattern = String::new();
    for c in name.chars() {
        if "*?[]{}!\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
