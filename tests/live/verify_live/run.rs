//! What one run of `verify` printed, and the one run that most tests only look at.

use std::{collections::BTreeSet, sync::OnceLock};

use fdtrace_testkit::{
    command::{self, Run, fdtrace},
    contract::Schema,
};
use serde_json::Value;

/// Every scenario of identity, with the number of transfers that it makes. `None`: as many as it takes.
pub(crate) const TRANSFERS: [(&str, Option<usize>); 27] = [
    ("stream-one-fd", Some(1)),
    ("dgram-one-fd", Some(1)),
    ("seqpacket-one-fd", Some(1)),
    ("child-to-parent-file", Some(2)),
    ("unrelated-path", Some(1)),
    ("unrelated-abstract", Some(1)),
    ("two-fds", Some(2)),
    ("three-fds", Some(3)),
    ("max-fds", Some(253)),
    ("same-fd-twice", Some(2)),
    ("sender-keeps", Some(1)),
    ("sender-closes-first", Some(2)),
    ("sender-socket-closed-first", Some(2)),
    ("two-messages", Some(2)),
    ("two-cmsgs-merge", Some(3)),
    ("shared-offset", Some(1)),
    ("relay", Some(2)),
    ("concurrent-receive", Some(1)),
    ("pid-namespace", Some(1)),
    ("libuv-handle", Some(1)),
    ("accept-handoff", Some(4)),
    ("sibling-broadcast", Some(10)),
    ("reopened-path", Some(1)),
    ("number-as-data", Some(1)),
    ("pipe-cannot", Some(1)),
    ("reused-number", Some(1)),
    ("reused-pointer", None),
];

pub(crate) const ALL_HOPS: [&str; 8] = [
    "copy", "attach", "queue", "dequeue", "detach", "receive", "install", "end",
];

/// JSON Lines of a run, each as the schema says.
pub(crate) struct Lines(pub(crate) Vec<Value>);

impl Lines {
    pub(crate) fn of(run: &Run) -> Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        let schema = SCHEMA.get_or_init(|| {
            let schema = command::run(&mut fdtrace(&["schema"]));
            Schema::parse(&schema.stdout)
        });
        Self(schema.assert_lines(&run.stdout))
    }

    pub(crate) fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |line| line["type"] == kind)
    }

    pub(crate) fn scenario(&self, name: &str) -> &Value {
        let mut found = self.of_type("scenario").filter(|line| line["name"] == name);
        let scenario = found.next();
        assert!(found.next().is_none(), "{name} is there twice");
        scenario.unwrap_or_else(|| panic!("{name} is not there"))
    }

    /// The scenario's transfers, in the order of their ids.
    pub(crate) fn transfers(&self, name: &str) -> Vec<&Value> {
        let ids = self.scenario(name)["transfers"].as_array().expect("ids");
        let mut transfers: Vec<&Value> = self
            .of_type("transfer")
            .filter(|line| ids.contains(&line["id"]))
            .collect();
        transfers.sort_by_key(|line| line["id"].as_u64());
        assert_eq!(transfers.len(), ids.len(), "{name}");
        transfers
    }

    pub(crate) fn summary(&self) -> &Value {
        let last = self.0.last().expect("there is a line");
        assert_eq!(last["type"], "summary");
        last
    }

    pub(crate) fn lost(&self) -> u64 {
        let counts = self.summary()["lost_events"].as_object().expect("counts");
        counts.values().filter_map(Value::as_u64).sum()
    }
}

pub(crate) fn verify(args: &[&str]) -> Run {
    command::run(fdtrace(&["verify", "--format", "json"]).args(args))
}

/// One run of all of these, for the tests that only look at it.
pub(crate) fn identities() -> &'static Lines {
    static IDENTITIES: OnceLock<Lines> = OnceLock::new();
    IDENTITIES.get_or_init(|| {
        let run = verify(&names().collect::<Vec<_>>());
        assert_eq!(
            (run.code, run.stderr.as_str()),
            (Some(0), ""),
            "{}",
            run.stdout
        );
        Lines::of(&run)
    })
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TRANSFERS.iter().map(|(name, _)| *name)
}

/// Names of a list of names, whatever their order.
pub(crate) fn set(list: &Value) -> BTreeSet<&str> {
    list.as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect()
}
