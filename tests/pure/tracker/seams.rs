//! One truth through both seams: who sent it, and what was installed, are seen exactly or guessed. What is
//! guessed may be less than what is seen, and never other.

use std::collections::BTreeMap;

use fdtrace::model::{Fate, Judged, Verdict};
use fdtrace_testkit::kernels::tracepoint_plan;
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::courses::{Course, Gone, Sent, Taken, Way, crowded_courses, gone, pairs_up};

/// A file's number on one side. No two files of a course have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Number {
    Sent(i32),
    Taken(i32),
}

/// What is true of a file of a message, and what became of it. A peek of a message is no end of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Truth {
    sender: Option<(u32, u32, i32)>,
    receiver: Option<(u32, Option<i32>)>,
    fate: Fate,
}

impl Truth {
    fn of(judged: &Judged) -> Self {
        let transfer = &judged.transfer;
        let sender = transfer.sender.as_ref();
        let receiver = transfer.receiver();
        Self {
            sender: sender.and_then(|it| Some((it.pid, it.tid?, it.fd?))),
            receiver: receiver.map(|it| (it.pid, it.fd)),
            fate: transfer.fate(),
        }
    }
}

/// What is said of a course that is seen in this way.
fn judged(course: &Course, way: Way, gone: &Gone) -> Vec<Judged> {
    course
        .seen(way)
        .judged(gone, tracepoint_plan(), |meanwhile| meanwhile)
}

/// What is true of it, by each number.
fn truths(course: &Course) -> BTreeMap<Number, Vec<Truth>> {
    let mut truths: BTreeMap<Number, Vec<Truth>> = BTreeMap::new();
    for judged in judged(course, Way::FUNCTIONS, &Gone::default()) {
        let truth = Truth::of(&judged);
        let sent = truth.sender.map(|(.., fd)| Number::Sent(fd));
        let taken = truth.receiver.and_then(|(_, fd)| fd).map(Number::Taken);
        for number in sent.into_iter().chain(taken) {
            truths.entry(number).or_default().push(truth.clone());
        }
    }
    truths
}

/// Why what is said of a file is not so; `None` if all that it says is.
fn what_is_wrong(judged: &Judged, truths: &BTreeMap<Number, Vec<Truth>>) -> Option<&'static str> {
    let transfer = &judged.transfer;
    let sender = transfer.sender.as_ref();
    let receiver = transfer.receiver();
    let sent = sender.and_then(|it| it.fd);
    let taken = receiver.and_then(|it| it.fd);
    if transfer.fate().installs() && receiver.is_none() {
        return Some("it arrived nowhere");
    }
    if sent.zip(taken).is_some() && !pairs_up(transfer) {
        return Some("two files are one");
    }
    let numbers = [sent.map(Number::Sent), taken.map(Number::Taken)];
    for number in numbers.into_iter().flatten() {
        let truths = truths.get(&number).map_or(&[][..], Vec::as_slice);
        let is_so = |truth: &Truth| {
            let (pid, tid, _) = truth.sender.unwrap_or_default();
            let is_sender =
                sender.is_none_or(|it| it.pid == pid && it.tid.is_none_or(|it| it == tid));
            let is_receiver =
                receiver.is_none_or(|it| truth.receiver.is_some_and(|(pid, _)| it.pid == pid));
            let is_fate = match transfer.fate() {
                Fate::Unknown | Fate::Queued => true,
                fate => fate == truth.fate,
            };
            is_sender && is_receiver && is_fate
        };
        if !truths.iter().any(is_so) {
            return Some("no file is so");
        }
    }
    // No file ever is another one here.
    (judged.verdict == Some(Verdict::Different)).then_some("it is another one")
}

/// Both seams in all ways that guess.
const GUESSES: [Way; 4] = [
    Way {
        sent: Sent::Look,
        taken: Taken::Table,
    },
    Way {
        sent: Sent::Look,
        taken: Taken::Install,
    },
    Way {
        sent: Sent::Copy,
        taken: Taken::Table,
    },
    Way {
        sent: Sent::Duplicate,
        taken: Taken::Table,
    },
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn a_guess_says_less_than_what_is_seen_and_nothing_else(course in crowded_courses()) {
        let (truths, fates) = (truths(&course), course.fates());
        let mut seen: BTreeMap<Fate, usize> = BTreeMap::new();
        for judged in judged(&course, Way::FUNCTIONS, &Gone::default()) {
            *seen.entry(judged.transfer.fate()).or_default() += 1;
        }
        prop_assert_eq!(&seen, &fates);
        for way in GUESSES {
            let guessed = judged(&course, way, &Gone::default());
            let mut counted: BTreeMap<Fate, usize> = BTreeMap::new();
            for judged in &guessed {
                prop_assert_eq!(what_is_wrong(judged, &truths), None, "{:?}: {:#?}", way, judged);
                *counted.entry(judged.transfer.fate()).or_default() += 1;
            }
            counted.remove(&Fate::Unknown);
            for (fate, count) in counted {
                let most = fates.get(&fate).copied().unwrap_or(0);
                prop_assert!(count <= most, "{way:?}: {count} are {fate}, and {most} were");
            }
        }
    }

    #[test]
    fn a_guess_is_no_other_for_what_goes_unseen(course in crowded_courses(), gone in gone()) {
        let truths = truths(&course);
        for way in GUESSES {
            for judged in judged(&course, way, &gone) {
                if judged.verdict == Some(Verdict::Same) {
                    let wrong = what_is_wrong(&judged, &truths);
                    prop_assert_eq!(wrong, None, "{:?}: {:#?}", way, judged);
                }
            }
        }
    }
}

/// The control: most guesses are as good as what is seen, and the courses have some that are not.
#[test]
fn guesses_are_mostly_as_good_as_what_is_seen() {
    let mut runner = TestRunner::deterministic();
    let (mut same, mut open) = (0, 0);
    for _ in 0..300 {
        let course = crowded_courses().new_tree(&mut runner).unwrap().current();
        for judged in judged(&course, GUESSES[0], &Gone::default()) {
            match judged.verdict {
                Some(Verdict::Same) => same += 1,
                Some(_) => open += 1,
                None => {}
            }
        }
    }
    assert!(
        open > 0 && same > open,
        "{same} are the same, {open} are left open"
    );
}
