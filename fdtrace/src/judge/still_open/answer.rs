//! Answer: what a look through tables says of the numbers of one process.

use std::collections::{HashMap, HashSet};

use crate::model::{
    FileKey, OpenNumber, Side, Sole, StillOpen, StillOpenMissing, Table, TableLook,
};

/// A number, and what it stood for when that was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The number, if it is known.
    pub(super) fd: Option<i32>,
    /// The file.
    pub(super) key: FileKey,
    /// How far its inode tells it from others.
    pub(super) sole: Sole,
    /// When the number stood for it: CLOCK_MONOTONIC, nanoseconds.
    pub(super) since_ns: u64,
}

/// One process, by one look.
///
/// Which of its numbers were received or sent is needed for every answer: that it has an open file under
/// another number says nothing of this one, if that number came there by itself.
pub(super) struct Process<'a> {
    table: Option<&'a Table>,
    look: &'a TableLook,
    files: HashMap<FileKey, Known>,
    /// All numbers that it received or sent are among those that were asked about.
    is_whole: bool,
}

/// One file of a process.
#[derive(Default)]
struct Known {
    /// The numbers that stand for it.
    numbers: HashSet<i32>,
    /// The kernel made it with its inode.
    made: bool,
    /// Those that stood for it when it was passed.
    asked: HashSet<i32>,
    /// How many of these still do.
    standing: usize,
    /// How often it was passed under a number that is not known.
    unnumbered: usize,
    /// The process sent it, so it may have had it before it received it.
    was_sent: bool,
}

impl Known {
    /// Whether a match is that open file for certain.
    fn is_sole(&self, sole: Sole) -> bool {
        match sole {
            Sole::Always => true,
            Sole::IfMade => self.made,
            Sole::Never => false,
        }
    }

    /// How many numbers stand for it that were not passed.
    fn others(&self) -> usize {
        self.numbers.len() - self.standing
    }

    /// How many of those that were passed stand for it no more.
    fn displaced(&self) -> usize {
        self.asked.len() - self.standing
    }
}

impl<'a> Process<'a> {
    /// By `look`, with `table` what that found of the process: `None` if it is not there any more.
    /// `asked` is all that was passed, at both ends; `is_whole` unless some of it was forgotten.
    pub(super) fn of(
        table: Option<&'a Table>,
        look: &'a TableLook,
        asked: impl IntoIterator<Item = (Side, Asked)>,
        is_whole: bool,
    ) -> Self {
        let mut files: HashMap<FileKey, Known> = HashMap::new();
        let start_ns = table.map_or(0, |table| table.start_ns);
        for (side, asked) in asked {
            // An earlier process of that number, or a later one.
            if asked.since_ns < start_ns || asked.since_ns > look.t_ns {
                continue;
            }
            let known = files.entry(asked.key).or_default();
            known.was_sent |= side == Side::Sender;
            match asked.fd {
                Some(fd) => drop(known.asked.insert(fd)),
                None => known.unnumbered += 1,
            }
        }
        for number in table.iter().flat_map(|table| &table.numbers) {
            if let Some(known) = files.get_mut(&FileKey::from(number)) {
                known.numbers.insert(number.fd);
                known.made |= number.made;
            }
        }
        for known in files.values_mut() {
            known.standing = known.asked.intersection(&known.numbers).count();
        }
        Self {
            table,
            look,
            files,
            is_whole,
        }
    }

    /// What became of one of the numbers that were asked about, at this end.
    #[must_use]
    pub(super) fn answer(
        &self,
        asked: &Asked,
        side: Side,
    ) -> (StillOpen, Option<StillOpenMissing>) {
        let unknown = |why| (StillOpen::Unknown, Some(why));
        // A process of that number which began later is another.
        let table = self.table.filter(|table| table.start_ns <= asked.since_ns);
        let Some(table) = table else {
            return match self.look.lost {
                true => unknown(StillOpenMissing::Lost),
                false => (StillOpen::Ended, None),
            };
        };
        let none = Known::default();
        let known = self.files.get(&asked.key).unwrap_or(&none);
        let is_sole = known.is_sole(asked.sole);
        if asked.fd.is_some_and(|fd| known.numbers.contains(&fd)) {
            return match is_sole {
                true => (StillOpen::Open, None),
                false => unknown(StillOpenMissing::MayBeAnother),
            };
        }
        // What was not looked at may be what was asked for.
        if self.look.lost {
            return unknown(StillOpenMissing::Lost);
        }
        if self.look.apart {
            return unknown(StillOpenMissing::OwnTables);
        }
        if self.look.below.is_some() {
            return unknown(StillOpenMissing::TableTooLong);
        }
        let others = known.others();
        match asked.fd {
            None if known.numbers.is_empty() => (StillOpen::Closed, None),
            None => {
                // Each of these numbers is one that was not known.
                let is_one_of_them = known.displaced() == 0 && known.unnumbered <= others;
                match is_sole && is_one_of_them && self.is_theirs(known, side) {
                    true => (StillOpen::Open, None),
                    false => unknown(StillOpenMissing::NoNumber),
                }
            }
            Some(_) if others > 0 => {
                let is_one_of_them = known.unnumbered == 0 && known.displaced() <= others;
                match (is_sole, is_one_of_them && self.is_theirs(known, side)) {
                    (true, true) => (StillOpen::Moved, None),
                    (true, false) => unknown(StillOpenMissing::OtherNumber),
                    (false, _) => unknown(StillOpenMissing::MayBeAnother),
                }
            }
            Some(fd) => match has(&table.numbers, fd) {
                true => (StillOpen::Replaced, None),
                false => (StillOpen::Closed, None),
            },
        }
    }

    /// Whether the process can have a file under other numbers only by what was passed at this end.
    fn is_theirs(&self, known: &Known, side: Side) -> bool {
        self.is_whole && (side == Side::Sender || !known.was_sent)
    }
}

/// Whether a number stands for anything.
fn has(numbers: &[OpenNumber], fd: i32) -> bool {
    let first = numbers.partition_point(|number| number.fd < fd);
    numbers.get(first).is_some_and(|number| number.fd == fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LookedAt;

    type Said = (StillOpen, Option<StillOpenMissing>);

    const KEY: FileKey = FileKey {
        file: 0xf00,
        ino: 7,
        dev: 8,
        path: false,
    };

    fn asked(sole: Sole) -> Asked {
        Asked {
            fd: Some(5),
            key: KEY,
            sole,
            since_ns: 100,
        }
    }

    fn without_number(sole: Sole) -> Asked {
        Asked {
            fd: None,
            ..asked(sole)
        }
    }

    fn number(fd: i32) -> OpenNumber {
        OpenNumber {
            fd,
            file: KEY.file,
            ino: KEY.ino,
            dev: KEY.dev,
            path: false,
            made: true,
        }
    }

    fn look(numbers: &[OpenNumber]) -> TableLook {
        TableLook {
            t_ns: 200,
            at: LookedAt::Last,
            below: None,
            lost: false,
            apart: false,
            tables: vec![Table {
                pid: 1,
                start_ns: 50,
                parent: 0,
                comm: "one".to_owned(),
                numbers: numbers.to_vec(),
            }],
        }
    }

    /// What is said of the first of these.
    fn said_of(all: &[(Side, Asked)], numbers: &[OpenNumber]) -> Said {
        let look = look(numbers);
        let process = Process::of(look.tables.first(), &look, all.iter().copied(), true);
        process.answer(&all[0].1, all[0].0)
    }

    fn said(asked: Asked, numbers: &[OpenNumber]) -> Said {
        said_of(&[(Side::Receiver, asked)], numbers)
    }

    fn said_by(asked: Asked, numbers: &[OpenNumber], change: impl Fn(&mut TableLook)) -> Said {
        let mut look = look(numbers);
        change(&mut look);
        let all = [(Side::Receiver, asked)];
        Process::of(look.tables.first(), &look, all, true).answer(&asked, Side::Receiver)
    }

    fn unknown(why: StillOpenMissing) -> Said {
        (StillOpen::Unknown, Some(why))
    }

    #[test]
    fn a_match_is_certain_where_the_inode_has_one_such_file() {
        let opened = OpenNumber {
            made: false,
            ..number(5)
        };
        let may_be = unknown(StillOpenMissing::MayBeAnother);
        let open = (StillOpen::Open, None);
        for (sole, made, otherwise) in [
            (Sole::Always, open, open),
            (Sole::IfMade, open, may_be),
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
        // Both came back: the inode is still there, and somebody opened its place.
        assert_eq!(next(|it| it.path = true), StillOpen::Replaced);
        assert_eq!(next(|it| it.fd += 1), StillOpen::Moved);
        assert_eq!(said(asked(Sole::Always), &[]).0, StillOpen::Closed);
    }

    #[test]
    fn what_may_be_open_under_another_number_is_not_closed() {
        let may_be = unknown(StillOpenMissing::MayBeAnother);
        assert_eq!(said(asked(Sole::Never), &[number(6)]), may_be);
        let opened = OpenNumber {
            made: false,
            ..number(6)
        };
        assert_eq!(said(asked(Sole::IfMade), &[opened]), may_be);
        assert_eq!(said(asked(Sole::Never), &[]).0, StillOpen::Closed);
    }

    #[test]
    fn a_number_that_was_passed_itself_is_no_place_to_move_to() {
        for sole in [Sole::Always, Sole::IfMade, Sole::Never] {
            for side in Side::ALL {
                let of = asked(sole);
                let other = (side, Asked { fd: Some(9), ..of });
                let all = [(Side::Receiver, of), other];
                assert_eq!(said_of(&all, &[number(9)]).0, StillOpen::Closed);
            }
        }
    }

    #[test]
    fn what_a_process_may_have_had_before_did_not_move() {
        let of = asked(Sole::Always);
        let sent = Asked { fd: Some(9), ..of };
        let other = unknown(StillOpenMissing::OtherNumber);
        // What it sent from 9 may have been at 12 before.
        let both = [number(9), number(12)];
        assert_eq!(
            said_of(&[(Side::Receiver, of), (Side::Sender, sent)], &both),
            other
        );
        let sender = [(Side::Sender, sent), (Side::Receiver, of)];
        assert_eq!(
            said_of(&sender, &[number(5), number(12)]).0,
            StillOpen::Moved
        );
        // Of two that were received, one has moved.
        let two = [
            (Side::Receiver, of),
            (Side::Receiver, Asked { fd: Some(6), ..of }),
        ];
        assert_eq!(said_of(&two, &[number(12)]), other);
        assert_eq!(said_of(&two, &[number(12), number(13)]).0, StillOpen::Moved);
        // Of what else there was nobody knows.
        let look = look(&[number(12)]);
        let process = Process::of(look.tables.first(), &look, [two[0]], false);
        assert_eq!(process.answer(&of, Side::Receiver), other);
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
    fn what_was_not_looked_at_is_neither_closed_nor_moved() {
        let of = asked(Sole::Always);
        let none = |look: &mut TableLook| (look.lost, look.tables) = (true, Vec::new());
        assert_eq!(said_by(of, &[], none), unknown(StillOpenMissing::Lost));
        let cases: [(fn(&mut TableLook), _); 3] = [
            (|look| look.lost = true, StillOpenMissing::Lost),
            (|look| look.apart = true, StillOpenMissing::OwnTables),
            (|look| look.below = Some(64), StillOpenMissing::TableTooLong),
        ];
        for (change, why) in cases {
            for of in [of, without_number(Sole::Always)] {
                assert_eq!(said_by(of, &[], change), unknown(why));
                assert_eq!(said_by(of, &[number(6)], change), unknown(why));
            }
            // What is seen there is there.
            assert_eq!(said_by(of, &[number(5)], change).0, StillOpen::Open);
        }
    }

    #[test]
    fn without_a_number_the_process_is_asked() {
        let of = without_number(Sole::Always);
        let no_number = unknown(StillOpenMissing::NoNumber);
        assert_eq!(said(of, &[number(9)]).0, StillOpen::Open);
        assert_eq!(said(of, &[]).0, StillOpen::Closed);
        let never = without_number(Sole::Never);
        assert_eq!(said(never, &[number(9)]), no_number);
        assert_eq!(said(never, &[]).0, StillOpen::Closed);
        // It may be one of those that were passed under a number that is known, or be gone.
        let known = (Side::Receiver, asked(Sole::Always));
        let of = (Side::Receiver, of);
        assert_eq!(said_of(&[of, known], &[number(5)]), no_number);
        assert_eq!(said_of(&[of, known], &[number(9)]), no_number);
        assert_eq!(said_of(&[of, of], &[number(9)]), no_number);
        let other = unknown(StillOpenMissing::OtherNumber);
        assert_eq!(said_of(&[known, of], &[number(9)]), other);
    }
}
