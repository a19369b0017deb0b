//! Workloads that make it as hard as they can to tell one descriptor from another.
//!
//! Each runs in a process of its own that has one thread between rounds, so that it may fork. It
//! does nothing for fdtrace's sake and knows nothing of it.

mod actor;
mod crowds;
mod deaths;
mod numbers;

use std::io::{BufRead as _, BufWriter, Write as _, stdin, stdout};

use crate::truth::Fact;

/// A way to be hard to follow.
pub(crate) struct Adversary {
    pub(crate) name: &'static str,
    /// Does about that many transfers, and reports all that was sent and received.
    round: fn(usize) -> Vec<Fact>,
}

pub(crate) const ALL: [Adversary; 17] = [
    Adversary {
        name: "pointer_reuse",
        round: numbers::pointer_reuse,
    },
    Adversary {
        name: "number_reuse",
        round: numbers::number_reuse,
    },
    Adversary {
        name: "receive_against_close",
        round: numbers::receive_against_close,
    },
    Adversary {
        name: "receive_against_dup",
        round: numbers::receive_against_dup,
    },
    Adversary {
        name: "other_descriptors",
        round: numbers::other_descriptors,
    },
    Adversary {
        name: "full_lists",
        round: numbers::full_lists,
    },
    Adversary {
        name: "many_senders",
        round: crowds::many_senders,
    },
    Adversary {
        name: "one_socket_for_all",
        round: crowds::one_socket_for_all,
    },
    Adversary {
        name: "one_file_for_all",
        round: crowds::one_file_for_all,
    },
    Adversary {
        name: "one_stream_for_all",
        round: crowds::one_stream_for_all,
    },
    Adversary {
        name: "one_file_for_processes",
        round: crowds::one_file_for_processes,
    },
    Adversary {
        name: "busy_poll",
        round: crowds::busy_poll,
    },
    Adversary {
        name: "one_file_again",
        round: crowds::one_file_again,
    },
    Adversary {
        name: "one_file_by_turns",
        round: crowds::one_file_by_turns,
    },
    Adversary {
        name: "peek_race",
        round: crowds::peek_race,
    },
    Adversary {
        name: "forks",
        round: deaths::forks,
    },
    Adversary {
        name: "deaths",
        round: deaths::deaths,
    },
];

/// Says that all of a round has been told.
pub(crate) const ROUND_IS_OVER: &str = ".";

/// Plays `name` until its stdin ends: each line asks for a round of that many transfers.
pub(crate) fn play(name: &str) {
    let adversary = ALL
        .iter()
        .find(|adversary| adversary.name == name)
        .expect("there is such an adversary");
    let mut out = BufWriter::new(stdout());
    for line in stdin().lock().lines() {
        let line = line.expect("it can be read");
        let facts = (adversary.round)(line.parse().expect("it is a number"));
        for fact in facts {
            serde_json::to_writer(&mut out, &fact).expect("somebody listens");
            out.write_all(b"\n").expect("somebody listens");
        }
        writeln!(out, "{ROUND_IS_OVER}").expect("somebody listens");
        out.flush().expect("somebody listens");
    }
}
