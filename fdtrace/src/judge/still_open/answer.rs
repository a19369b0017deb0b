//! Answer: what a look through tables says of one number.

use crate::model::{FileKey, OpenNumber, Sole, StillOpen, StillOpenMissing, Table, TableLook};

/// A number, and what it stood for when that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The number, if it is known.
    pub fd: Option<i32>,
    /// The file.
    pub key: FileKey,
    /// How far its inode tells it from others.
    pub sole: Sole,
    /// When the number stood for it: CLOCK_MONOTONIC, nanoseconds.
    pub since_ns: u64,
}

impl Asked {
    /// Whether this is that open file for certain.
    pub(super) fn is_certainly(&self, number: &OpenNumber) -> bool {
        let is_sole = match self.sole {
            Sole::Always => true,
            Sole::IfMade => number.made,
            Sole::Never => false,
        };
        is_sole && self.may_be(number)
    }

    /// Whether nothing speaks against it.
    fn may_be(&self, number: &OpenNumber) -> bool {
        FileKey::from(number) == self.key
    }
}

/// What became of a number, by what `look` found of its process: `None` if there is no such process any
/// more, or it has nothing open.
#[must_use]
pub fn answer(
    asked: &Asked,
    table: Option<&Table>,
    look: &TableLook,
) -> (StillOpen, Option<StillOpenMissing>) {
    let unknown = |why| (StillOpen::Unknown, Some(why));
    // A process of that number which began later is another.
    let table = table.filter(|table| table.start_ns <= asked.since_ns);
    let Some(table) = table else {
        return match look.lost {
            true => unknown(StillOpenMissing::Lost),
            false => (StillOpen::Ended, None),
        };
    };
    let all = || table.numbers.iter();
    let at_number = || {
        let fd = asked.fd.unwrap_or(-1);
        let first = table.numbers.partition_point(|number| number.fd < fd);
        let from_there = table.numbers[first..].iter();
        from_there.take_while(move |number| number.fd == fd)
    };
    if at_number().any(|number| asked.is_certainly(number)) {
        return (StillOpen::Open, None);
    }
    if asked.sole != Sole::Never && all().any(|number| asked.is_certainly(number)) {
        return (StillOpen::Moved, None);
    }
    if at_number().any(|number| asked.may_be(number)) {
        return unknown(StillOpenMissing::MayBeAnother);
    }
    if look.lost {
        return unknown(StillOpenMissing::Lost);
    }
    let is_beyond = |fd| look.below.is_some_and(|below| fd >= below);
    if is_beyond(asked.fd.unwrap_or(i32::MAX)) {
        return unknown(StillOpenMissing::TableTooLong);
    }
    if asked.fd.is_none() && all().any(|number| asked.may_be(number)) {
        return unknown(StillOpenMissing::NoNumber);
    }
    match at_number().next() {
        Some(_) => (StillOpen::Replaced, None),
        None => (StillOpen::Closed, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LookedAt;

    const KEY: FileKey = FileKey {
        file: 0xf00,
        ino: 7,
        dev: 8,
    };

    fn asked(sole: Sole) -> Asked {
        Asked {
            fd: Some(5),
            key: KEY,
            sole,
            since_ns: 100,
        }
    }

    fn number(fd: i32) -> OpenNumber {
        OpenNumber {
            fd,
            file: KEY.file,
            ino: KEY.ino,
            dev: KEY.dev,
            made: true,
        }
    }

    fn said(asked: Asked, numbers: &[OpenNumber]) -> (StillOpen, Option<StillOpenMissing>) {
        said_by(asked, numbers, |_| ())
    }

    fn said_by(
        asked: Asked,
        numbers: &[OpenNumber],
        change: impl Fn(&mut TableLook),
    ) -> (StillOpen, Option<StillOpenMissing>) {
        let table = Table {
            pid: 1,
            start_ns: 50,
            parent: 0,
            comm: "one".to_owned(),
            numbers: numbers.to_vec(),
        };
        let mut look = TableLook {
            t_ns: 200,
            at: LookedAt::Last,
            below: None,
            lost: false,
            tables: vec![table],
        };
        change(&mut look);
        answer(&asked, look.tables.first(), &look)
    }

    #[test]
    fn a_match_is_certain_where_the_inode_has_one_such_file() {
        let opened = OpenNumber {
            made: false,
            ..number(5)
        };
        let may_be = (StillOpen::Unknown, Some(StillOpenMissing::MayBeAnother));
        for (sole, made, otherwise) in [
            (
                Sole::Always,
                (StillOpen::Open, None),
                (StillOpen::Open, None),
            ),
            (Sole::IfMade, (StillOpen::Open, None), may_be),
            (Sole::Never, may_be, may_be),
        ] {
            assert_eq!(said(asked(sole), &[number(5)]), made);
            assert_eq!(said(asked(sole), &[opened]), otherwise);
        }
    }

    #[test]
    fn a_number_that_was_reused_is_never_the_old_one() {
        let next = |change: fn(&mut OpenNumber)| {
            let mut number = number(5);
            change(&mut number);
            said(asked(Sole::Always), &[number]).0
        };
        assert_eq!(next(|it| it.file += 256), StillOpen::Replaced);
        // The address came back, and another inode with it.
        assert_eq!(next(|it| it.ino += 1), StillOpen::Replaced);
        assert_eq!(next(|it| it.dev += 1), StillOpen::Replaced);
        assert_eq!(next(|it| it.fd += 1), StillOpen::Moved);
        assert_eq!(said(asked(Sole::Always), &[]).0, StillOpen::Closed);
        // Of a kind that can be opened again, another number tells nothing.
        assert_eq!(said(asked(Sole::Never), &[number(6)]).0, StillOpen::Closed);
    }

    #[test]
    fn a_process_that_began_later_is_another() {
        let later = |look: &mut TableLook| look.tables[0].start_ns = 101;
        let gone = |look: &mut TableLook| look.tables.clear();
        let of = asked(Sole::Always);
        assert_eq!(said_by(of, &[number(5)], later).0, StillOpen::Ended);
        assert_eq!(said_by(of, &[], gone).0, StillOpen::Ended);
    }

    #[test]
    fn what_was_not_looked_at_is_not_closed() {
        let of = asked(Sole::Always);
        let lost = |look: &mut TableLook| look.lost = true;
        let cut = |look: &mut TableLook| look.below = Some(5);
        let none = |look: &mut TableLook| (look.lost, look.tables) = (true, Vec::new());
        let unknown = |why| (StillOpen::Unknown, Some(why));
        assert_eq!(said_by(of, &[], lost), unknown(StillOpenMissing::Lost));
        assert_eq!(said_by(of, &[], none), unknown(StillOpenMissing::Lost));
        assert_eq!(
            said_by(of, &[], cut),
            unknown(StillOpenMissing::TableTooLong)
        );
        // What is seen there is there.
        assert_eq!(said_by(of, &[number(5)], lost).0, StillOpen::Open);
        assert_eq!(said_by(of, &[number(5)], cut).0, StillOpen::Open);
    }

    #[test]
    fn without_a_number_the_process_is_asked() {
        let of = |sole| Asked {
            fd: None,
            ..asked(sole)
        };
        assert_eq!(said(of(Sole::Always), &[number(9)]).0, StillOpen::Moved);
        assert_eq!(said(of(Sole::Always), &[]).0, StillOpen::Closed);
        assert_eq!(
            said(of(Sole::Never), &[number(9)]).1,
            Some(StillOpenMissing::NoNumber)
        );
    }
}
