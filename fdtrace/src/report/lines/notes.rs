//! Notes: what a line says at its end, beside how its message ended.

use anstyle::Style;

use super::{
    super::{
        fit::width,
        phrase::{duration, push_number},
    },
    numbers::{Number, push_numbers},
    row::push_party,
};
use crate::model::{Again, Relay};

/// Columns for the ids of earlier transfers.
const IDS_WIDTH: usize = 12;

/// A word that holds for so many of a line's descriptors.
pub(super) struct Note {
    pub(super) style: Style,
    /// How many; `None` if it holds for all.
    count: Option<usize>,
    word: &'static str,
    /// What else there is to say, where there is room.
    more: String,
}

/// How much of its notes a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    InFull,
    InAWord,
    Not,
}

impl Note {
    /// A word that holds for `count` of `all`.
    pub(super) fn of(style: Style, count: usize, all: usize, word: &'static str) -> Option<Self> {
        let some = (count != all).then_some(count);
        (count > 0).then_some(Self {
            style,
            count: some,
            word,
            more: String::new(),
        })
    }

    /// The same with more to say where there is room.
    pub(super) fn with(self, more: String) -> Self {
        Self { more, ..self }
    }

    /// Whether it is worth shortening the file for.
    pub(super) fn says_more(&self) -> bool {
        !self.more.is_empty()
    }

    pub(super) fn width(&self, noted: Noted) -> usize {
        let digits = |count: usize| itoa::Buffer::new().format(count).len();
        let word = self.word.len() + self.count.map_or(0, |count| digits(count) + 1);
        match noted {
            Noted::InFull => word + width(&self.more),
            Noted::InAWord => word,
            Noted::Not => 0,
        }
    }

    pub(super) fn push(&self, text: &mut String, noted: Noted) {
        if let Some(count) = self.count {
            push_number(text, count);
            text.push(' ');
        }
        text.push_str(self.word);
        if noted == Noted::InFull {
            text.push_str(&self.more);
        }
    }
}

/// ` of 1,2 from client[811]`
pub(super) fn of_relays<'a, I: Iterator<Item = &'a Relay>>(relays: impl Fn() -> I) -> String {
    let mut text = of_transfers(relays().map(|relay| relay.transfer));
    if let Some(Some((comm, pid))) = the_one(relays().map(|relay| relay.from.as_ref())) {
        text.push_str(" from ");
        push_party(&mut text, comm, *pid);
    }
    text
}

/// ` of 1 after 17 ms`
pub(super) fn of_agains<I: Iterator<Item = Again>>(agains: impl Fn() -> I) -> String {
    let mut text = of_transfers(agains().map(|again| again.transfer));
    if let Some(after) = the_one(agains().map(|again| duration(again.after_ns))) {
        text.push_str(" after ");
        text.push_str(&after);
    }
    text
}

fn of_transfers(ids: impl Iterator<Item = u64>) -> String {
    let numbers: Vec<Number> = ids.map(Number::id).collect();
    let mut text = " of ".to_owned();
    push_numbers(&mut text, &numbers, IDS_WIDTH);
    text
}

/// What all of them are, if they are alike.
fn the_one<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}
