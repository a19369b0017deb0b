//! Numbers: descriptors' numbers on a line, in few columns.

use super::super::phrase::push_number;

/// A descriptor's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Fd(i64),
    Unknown,
    /// There is none, for the file was lost.
    Lost,
}

impl Number {
    pub(super) fn of(fd: Option<i32>) -> Self {
        fd.map_or(Self::Unknown, |fd| Self::Fd(fd.into()))
    }

    /// That of a transfer.
    pub(super) fn id(id: u64) -> Self {
        i64::try_from(id).map_or(Self::Unknown, Self::Fd)
    }

    fn push(self, text: &mut String) {
        match self {
            Self::Fd(fd) => push_number(text, fd),
            Self::Unknown => text.push('?'),
            Self::Lost => text.push('✗'),
        }
    }
}

/// Numbers in a row: all alike, or each one more than the one before.
struct Run {
    first: Number,
    last: Number,
    len: usize,
}

impl Run {
    /// Takes in the next number if it goes on with it.
    fn takes(&mut self, next: Number) -> bool {
        let goes_on = match (self.last, next) {
            (Number::Fd(last), Number::Fd(next)) => {
                last + 1 == next && (self.len == 1 || self.first != self.last)
            }
            _ => false,
        };
        let same = next == self.first && self.first == self.last;
        if goes_on || same {
            (self.last, self.len) = (next, self.len + 1);
        }
        goes_on || same
    }

    fn texts(&self) -> Vec<String> {
        // Fewer are shorter, or plainer, one by one.
        const SHORTEST: usize = 5;
        let text = |write: &dyn Fn(&mut String)| {
            let mut text = String::new();
            write(&mut text);
            text
        };
        match (self.first, self.first == self.last) {
            (Number::Fd(first), false) if self.len < SHORTEST => (first..)
                .take(self.len)
                .map(|fd| text(&|text| push_number(text, fd)))
                .collect(),
            (first, _) if self.len < SHORTEST => vec![text(&|text| first.push(text)); self.len],
            (first, true) => vec![text(&|text| {
                first.push(text);
                text.push('×');
                push_number(text, self.len);
            })],
            (first, false) => vec![text(&|text| {
                first.push(text);
                text.push('–');
                self.last.push(text);
            })],
        }
    }
}

/// Appends numbers in at most so many columns: `4,5,6`, `4–19`, `3,✗×12`.
pub(super) fn push_numbers(text: &mut String, numbers: &[Number], width: usize) {
    if let [one] = numbers {
        return one.push(text);
    }
    let mut runs: Vec<Run> = Vec::new();
    for &number in numbers {
        if !runs.last_mut().is_some_and(|run| run.takes(number)) {
            let (first, last, len) = (number, number, 1);
            runs.push(Run { first, last, len });
        }
    }
    let begin = text.len();
    let mut texts = runs.iter().flat_map(Run::texts).peekable();
    while let Some(run) = texts.next() {
        let comma = if text.len() == begin { "" } else { "," };
        // What is left out must be said.
        let more = if texts.peek().is_some() {
            ",…".chars().count()
        } else {
            0
        };
        let so_far = text[begin..].chars().count();
        let len = so_far + comma.len() + run.chars().count() + more;
        if text.len() > begin && len > width {
            return text.push_str(",…");
        }
        text.push_str(comma);
        text.push_str(&run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_numbers_are_told_as_such() {
        for (list, told) in [
            ("4", "4"),
            ("4 5 6 7", "4,5,6,7"),
            ("3 5 ✗ ✗", "3,5,✗,✗"),
            ("4 5 6 7 8 12", "4–8,12"),
            ("3 ✗ ✗ ✗ ✗ ✗", "3,✗×5"),
            ("7 7 8 9", "7,7,8,9"),
            ("100 200 300 400", "100,200,…"),
            ("? 5", "?,5"),
        ] {
            let number = |text: &str| match text {
                "✗" => Number::Lost,
                fd => Number::of(fd.parse().ok()),
            };
            let list: Vec<Number> = list.split(' ').map(number).collect();
            let mut text = String::new();
            push_numbers(&mut text, &list, 12);
            assert_eq!(text, told);
        }
    }
}
