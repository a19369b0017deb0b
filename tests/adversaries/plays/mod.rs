//! Plays: small courses of events, each of which attacks one thing that the trace says.
//!
//! A play knows for each file in each message who sent it under which number, who got it under
//! which, how it ended and, where that is certain, why; and what the file was called. What the trace
//! says of it has to be so. It may say that it does not know, unless the play says that an answer is
//! due; it may leave out nothing, unless it counts losses; and it may tell nothing that was not played.
//!
//! The plays of one theme are one command of one `fdtrace trace`, each in a process of its own.

mod agreement;
mod batches;
mod compat;
mod ends;
mod fault;
mod letter;
mod limits;
mod memory;
mod names;
mod peeks;
mod ring;
mod rings;
mod sends;
mod show;
mod stage;
mod tables;
mod truth;

use std::{
    env,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::{
    sys::wait::{WaitStatus, waitpid},
    time::{ClockId, clock_gettime},
    unistd::{ForkResult, alarm, fork},
};

use crate::MECHANISMS;
use fdtrace_testkit::command::skip;
use show::Show;
use stage::Played;
use truth::{Line, tell};

/// Makes this program the runner of the plays that it names, so many times each.
pub(crate) const PLAYS: &str = "FDTRACE_PLAYS";
const ROUNDS: &str = "FDTRACE_PLAYS_ROUNDS";
/// How long a play may take, in seconds.
const TIME: u32 = 60;

/// A course of events.
struct Play {
    name: &'static str,
    act: fn() -> Played,
}

/// The plays of these names, which are functions.
macro_rules! plays {
    ($($name:ident,)*) => {
        &[$($crate::plays::Play { name: stringify!($name), act: $name },)*]
    };
}
use plays;

const THEMES: [&[Play]; 9] = [
    memory::PLAYS,
    batches::PLAYS,
    rings::PLAYS,
    tables::PLAYS,
    peeks::PLAYS,
    ends::PLAYS,
    sends::PLAYS,
    limits::PLAYS,
    names::PLAYS,
];

/// A trial for each play by each mechanism.
pub(crate) fn trials(arguments: &Arguments, rounds: usize) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (mechanism, attach) in MECHANISMS {
        for theme in THEMES {
            let trial = |play: &Play| format!("{mechanism}::play::{}", play.name);
            let wanted = theme
                .iter()
                .filter(|play| is_wanted(arguments, &trial(play)));
            let names: Arc<[&str]> = wanted.map(|play| play.name).collect();
            // Whoever comes first plays for all.
            let show = Arc::new(OnceLock::new());
            trials.extend(theme.iter().map(|play| {
                let (test, name) = (trial(play), play.name);
                let (names, show) = (Arc::clone(&names), Arc::clone(&show));
                Trial::test(test.clone(), move || {
                    let show = show.get_or_init(|| Show::run(attach, &names, rounds));
                    judge(&test, name, show)
                })
            }));
        }
    }
    trials
}

/// As libtest-mimic chooses, so that a play that is asked for by its name is traced by itself.
fn is_wanted(arguments: &Arguments, trial: &str) -> bool {
    let chosen = arguments.filter.as_deref().is_none_or(|filter| {
        if arguments.exact {
            trial == filter
        } else {
            trial.contains(filter)
        }
    });
    chosen && !arguments.skip.iter().any(|skip| trial.contains(skip))
}

fn judge(test: &str, play: &str, show: &Result<Show, String>) -> Result<(), Failed> {
    let show = match show {
        Ok(show) => show,
        Err(why) => return Err(why.as_str().into()),
    };
    if let Some(why) = show.obstacle(play) {
        skip(test, why);
        return Ok(());
    }
    let shown = show.of(play)?;
    let tally = &shown.tally;
    println!(
        "{test}: {} passes: {} same, {} doubted, {} of them unknown; {} lost; {} strange; {} wrong",
        tally.passes,
        tally.same,
        tally.doubted,
        tally.unknown,
        tally.lost,
        tally.strange,
        tally.wrong.len(),
    );
    tally
        .wrong
        .iter()
        .take(4)
        .for_each(|wrong| println!("  {wrong}"));
    if !tally.wrong.is_empty() {
        return Err(format!("{} are wrong", tally.wrong.len()).into());
    }
    if !shown.overlooked.is_empty() {
        return Err(format!("nobody would notice {:?}", shown.overlooked).into());
    }
    Ok(())
}

/// Plays those that [`PLAYS`] names, one after the other.
pub(crate) fn play(names: &str) {
    // What it says goes to the test that this program is for.
    panic::set_hook(Box::new(|panic| tell(&Line::Broke(panic.to_string()))));
    tables::receive_if_asked();
    let rounds = env::var(ROUNDS).map_or(1, |rounds| rounds.parse().expect("it is a number"));
    let all = || THEMES.iter().copied().flatten();
    for name in names.split(',') {
        let play = all()
            .find(|play| play.name == name)
            .expect("there is such a play");
        for _ in 0..rounds {
            play_once(play);
        }
    }
}

fn play_once(play: &Play) {
    tell(&Line::Began {
        play: play.name.to_owned(),
        t_ns: now(),
    });
    // SAFETY: the runner has one thread, so the child may do what it likes.
    let well = match unsafe { fork() }.expect("there are processes") {
        ForkResult::Parent { child } => {
            waitpid(child, None).expect("it is a child") == WaitStatus::Exited(child, 0)
        }
        ForkResult::Child => {
            alarm::set(TIME);
            let played = catch_unwind(AssertUnwindSafe(play.act));
            if let Ok(Err(why)) = &played {
                tell(&Line::Skipped(why.clone()));
            }
            // SAFETY: ends this process, with all that the play has left open.
            unsafe { libc::_exit(i32::from(played.is_err())) }
        }
    };
    tell(&Line::Ended { well });
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a clock");
    now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
}
