//! Plans for kernels that lack functions: what the hooks of such a plan tell is right, or is not said, and is
//! never less than what tracepoints alone would tell.

use std::collections::BTreeSet;

use fdtrace::{
    kernel::{Broken, KernelView},
    model::{Fate, Judged, Mechanism, Transfer, Verdict},
    plan::{Attach, Plan, places, plan},
    verify,
};
use fdtrace_testkit::{
    kernels::{KERNELS, fixture},
    tracker_covering,
};

use super::half::{Course, End, Half};

/// What is said of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Right,
    /// Something is not known.
    Open(String),
    Wrong(String),
}

/// What this plan's hooks tell of each course, one after the other.
fn answers(plan: &Plan, duplicates: bool) -> Vec<Answer> {
    let mut half = Half::new(plan, duplicates);
    let mut tracker = tracker_covering(plan.coverage());
    let mut transfers: Vec<Transfer> = Vec::new();
    for (n, course) in (0..).zip(Course::ALL) {
        for event in half.play(course, n) {
            tracker.apply(event);
        }
        // Nothing else comes to lie where this one is.
        if course == Course::Queued {
            tracker.close_open();
        }
        transfers.extend(tracker.take_closed());
    }
    tracker.close_open();
    transfers.extend(tracker.take_closed());
    let judged: Vec<Judged> = transfers
        .into_iter()
        .map(|transfer| Judged::of(transfer, |hop| plan.watches(hop), true))
        .collect();
    let courses = (0..).zip(Course::ALL);
    courses
        .map(|(n, course)| {
            let file = 0xffff_8881_2000_0000 + n * 256;
            let told = judged.iter().filter(|it| it.transfer.file.ptr == file);
            answer(course, n, &told.collect::<Vec<_>>())
        })
        .collect()
}

fn answer(course: Course, n: u64, told: &[&Judged]) -> Answer {
    let mut left = course.truth();
    let (mut is_wrong, mut is_open) = (false, false);
    let mut said = Vec::new();
    for judged in told {
        let transfer = &judged.transfer;
        let sent = transfer.sender.as_ref().and_then(|sender| sender.fd);
        let end = (transfer.fate(), transfer.cause());
        said.push(format!("{end:?} {sent:?} {:?}", judged.verdict));
        is_wrong |= sent.is_some_and(|sent| sent != 10 + n as i32);
        is_wrong |= judged.verdict == Some(Verdict::Different);
        let exact = left.iter().position(|truth| *truth == end);
        let less = |truth: &End| end.1.is_none() && [truth.0, Fate::Unknown].contains(&end.0);
        is_open |= exact.is_none() || sent.is_none();
        is_open |= judged.verdict == Some(Verdict::Unverified);
        match exact.or_else(|| left.iter().position(less)) {
            Some(place) => drop(left.remove(place)),
            None => is_wrong = true,
        }
    }
    is_open |= !left.is_empty();
    let said = format!("{course:?}: {said:?}");
    match (is_wrong, is_open) {
        (true, _) => Answer::Wrong(said),
        (_, true) => Answer::Open(said),
        _ => Answer::Right,
    }
}

fn lacking(view: &mut KernelView, functions: &[&'static str]) {
    view.broken = [Mechanism::Trampoline, Mechanism::Kprobe]
        .into_iter()
        .flat_map(|mechanism| functions.iter().map(move |target| (mechanism, *target)))
        .map(|(mechanism, target)| Broken {
            mechanism,
            target,
            why: "is inlined".to_owned(),
        })
        .collect();
}

/// Each function of the table that this kernel has: alone, and each two of them.
fn subsets(view: &KernelView) -> Vec<Vec<&'static str>> {
    let places = places(view).expect("its types can be read");
    let functions: BTreeSet<&'static str> = places
        .into_iter()
        .filter(|place| !place.is_tracepoint && view.symbols.exact(place.target).is_some())
        .map(|place| place.target)
        .collect();
    let functions: Vec<_> = functions.into_iter().collect();
    let mut subsets = vec![Vec::new()];
    for (at, one) in functions.iter().enumerate() {
        subsets.push(vec![*one]);
        subsets.extend(functions[..at].iter().map(|other| vec![*other, *one]));
    }
    subsets
}

#[test]
fn without_any_function_or_any_two_nothing_is_told_that_is_not_so() {
    let mut wrong = Vec::new();
    for kernel in KERNELS {
        let mut view = fixture(kernel);
        if view.no_trampolines.is_some() && view.no_kprobes.is_some() {
            // It has nothing to do without.
            continue;
        }
        // Since 6.10 the list itself moves.
        let duplicates = ["5.10", "6.1"].contains(&kernel);
        let floor = plan(&view, Attach::Tracepoint).map(|plan| answers(&plan, duplicates));
        let floor = floor.unwrap_or_default();
        for functions in subsets(&view) {
            lacking(&mut view, &functions);
            // Pairs take their time.
            let forced = [Attach::Trampoline, Attach::Kprobe].into_iter();
            let forced = forced.filter(|_| functions.len() < 2);
            for attach in [Attach::Auto].into_iter().chain(forced) {
                let Ok(plan) = plan(&view, attach) else {
                    continue;
                };
                let answers = answers(&plan, duplicates);
                for (place, answer) in answers.iter().enumerate() {
                    let is_worse = attach == Attach::Auto
                        && *answer != Answer::Right
                        && floor.get(place) == Some(&Answer::Right);
                    let course = Course::ALL[place];
                    let is_explained = || {
                        course
                            .truth()
                            .iter()
                            .any(|(fate, cause)| verify::unseen(&plan, *fate, *cause).is_some())
                    };
                    match answer {
                        Answer::Wrong(_) => wrong.push(format!("{kernel} {attach} without {functions:?}: {answer:?}")),
                        _ if is_worse => wrong.push(format!("{kernel} {attach} without {functions:?}: worse than tracepoints: {answer:?}")),
                        Answer::Open(_) if !is_explained() => wrong.push(format!("{kernel} {attach} without {functions:?}: not explained: {answer:?}")),
                        _ => {}
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(60)].join("\n")
    );
}
