//! What a run may take: time and memory.
//!
//! Loose bounds, for a machine that does other things too: they are there to notice a mistake of
//! another order, such as reading all of the kernel's symbols once for each scenario.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use fdtrace_testkit::{
    command::{fdtrace, is_emulated, most_memory_kib, run, skip},
    take_turn,
};

use super::run::{TRANSFERS, identities, names};

/// Unoptimised builds get more.
fn bound(release: u64, debug: u64) -> u64 {
    if cfg!(debug_assertions) {
        debug
    } else {
        release
    }
}

#[test]
fn identity_is_verified_in_seconds() {
    let _turn = take_turn!(tracing);
    if is_emulated() {
        return skip(
            "identity_is_verified_in_seconds",
            "this CPU is emulated, and as slow as that",
        );
    }
    let begin = Instant::now();
    let run = run(fdtrace(&["verify", "-v"]).args(names()));
    let took = begin.elapsed();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stdout
            .contains(&format!("{} passed, 0 failed", TRANSFERS.len())),
        "{run:?}"
    );
    assert!(took < Duration::from_secs(5), "{took:?}");

    // On an idle machine it is under 200 ms, most of it the kernel's own work.
    let line = run.stderr.lines().next().expect("-v says something");
    let attached = line
        .rsplit_once("attached after ")
        .and_then(|(_, rest)| rest.strip_suffix(" ms"));
    let attached: u64 = attached
        .and_then(|ms| ms.parse().ok())
        .expect("it says how long");
    assert!(attached <= bound(1000, 3000), "{line}");
}

fn uses_trampolines() -> bool {
    let start = identities().of_type("start").next();
    let start = start.expect("it comes first");
    let plan = start["plan"].as_array().expect("the plan is a list");
    plan.iter().any(|entry| entry["mechanism"] == "trampoline")
}

#[test]
fn memory_stays_within_bounds() {
    let _turn = take_turn!(tracing);
    let mut child = fdtrace(&["verify"])
        .args(names())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("fdtrace can be started");
    // Asked at each line, for at its end there is nobody left to ask.
    let stdout = BufReader::new(child.stdout.take().expect("it has one"));
    let mut most = 0;
    for line in stdout.lines() {
        line.expect("it can be read");
        most = most_memory_kib(child.id()).unwrap_or(most);
    }
    assert!(child.wait().expect("it ends").success());
    assert!(most > 4 * 1024, "{most} KiB cannot be all");
    // For trampolines aya parses all of the kernel's types into memory.
    let types = if uses_trampolines() { 40 * 1024 } else { 0 };
    assert!(most <= types + bound(40 * 1024, 80 * 1024), "{most} KiB");
}
