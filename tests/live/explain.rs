//! Stories of what this kernel does.

use serde_json::Value;

use crate::{
    command::{self, Run, fdtrace},
    run::Lines,
};

fn explain(args: &[&str]) -> Run {
    let run = command::run(fdtrace(&["explain"]).args(args));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    run
}

/// The acts of one kind.
fn acts<'a>(story: &'a Value, kind: &'a str) -> Vec<&'a Value> {
    let acts = story["acts"].as_array().expect("a list");
    acts.iter().filter(|act| act["act"] == kind).collect()
}

#[test]
fn a_story_shows_the_file_at_one_end_then_in_flight_then_at_both() {
    let _turn = turn!();
    let run = explain(&["stream-one-fd", "--format", "json"]);
    let lines = Lines::of(&run);
    let story = lines.of_type("story").next().expect("a story");
    let scenes = acts(story, "scene");
    assert_eq!(scenes.len(), 3, "{story}");
    let places = |scene: usize| {
        let whereabouts = &scenes[scene]["whereabouts"][0];
        let descriptors = whereabouts["descriptors"].as_array().expect("a list");
        (descriptors.len(), whereabouts["refs"].as_i64())
    };
    let queued = |scene: usize| scenes[scene]["queues"][0]["files"].as_array().map(Vec::len);
    assert_eq!((places(0), queued(0)), ((1, Some(1)), Some(0)), "{story}");
    assert_eq!((places(1), queued(1)), ((1, Some(2)), Some(1)), "{story}");
    assert_eq!((places(2), queued(2)), ((2, Some(2)), Some(0)), "{story}");
    // Kernels that tell how many descriptors a socket has queued tell the same.
    let told: Vec<Option<u64>> = scenes
        .iter()
        .map(|scene| scene["queues"][0]["scm_fds"].as_u64())
        .collect();
    assert!(
        told == [Some(0), Some(1), Some(0)] || told == [None; 3],
        "{told:?}"
    );
    let ending = &story["endings"][0];
    assert_eq!(ending["fate"], "delivered");
    let kinds: Vec<&Value> = acts(story, "passage")
        .iter()
        .map(|passage| &passage["kind"])
        .collect();
    assert_eq!(kinds, ["send", "receive"]);
}

#[test]
fn every_hop_that_is_watched_is_seen_in_its_function_and_no_other_is_claimed() {
    let _turn = turn!();
    let run = explain(&["stream-one-fd", "--format", "json"]);
    let lines = Lines::of(&run);
    let story = lines.of_type("story").next().expect("a story");
    let hops: Vec<&Value> = acts(story, "passage")
        .iter()
        .flat_map(|passage| passage["steps"].as_array().expect("a list"))
        .map(|step| &step["hop"])
        .filter(|hop| !hop.is_null())
        .collect();
    let names: Vec<&Value> = hops.iter().map(|hop| &hop["hop"]).collect();
    assert_eq!(
        names,
        [
            "copy", "attach", "queue", "dequeue", "detach", "receive", "install", "end"
        ]
    );
    let watched = story["watched"].as_array().expect("a list");
    for hop in hops {
        let is_watched = watched.contains(&hop["hop"]);
        assert_eq!(hop["is_watched"], is_watched, "{hop}");
        // Tracepoints show the end of a message that nobody received, which this one is not.
        if hop["hop"] != "end" {
            assert_eq!(!hop["seen"].is_null(), is_watched, "{hop}");
        }
        for file in hop["seen"]["files"].as_array().into_iter().flatten() {
            assert_eq!(file["unaccounted"], 0, "{hop}");
        }
    }
}

#[test]
fn every_scenario_makes_a_story() {
    let _turn = turn!();
    for scenario in ["dgram-one-fd", "max-fds", "relay", "number-as-data"] {
        let run = explain(&[scenario]);
        assert!(run.stdout.starts_with(scenario), "{run:?}");
        assert!(run.stdout.contains("delivered"), "{run:?}");
    }
}
