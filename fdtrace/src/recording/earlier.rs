//! Headers of earlier versions, which have no coverage: the functions and tracepoints of their plan
//! show what it was. Those versions are over, so these names are theirs for good.

use serde::Deserialize;
use serde_json::Value;

use crate::model::{Coverage, Hop, PlanEntry};

/// Targets of hooks by which the end of every list showed.
const EVERY_END: [&str; 2] = ["__scm_destroy", "kfree"];
/// Targets by which it showed what a send returned whose list did not get into a queue.
const FAILED_SENDS: [&str; 2] = ["unix_stream_sendmsg", "sock_send_length"];

/// What an earlier version's header has instead.
#[derive(Deserialize)]
struct Evidence {
    plan: Vec<PlanEntry>,
    /// Whether the files of each message are described; versions before that described some.
    #[serde(default)]
    described: bool,
}

/// Adds the coverage to a header that lacks it.
pub(super) fn complete(mut header: Value) -> serde_json::Result<Value> {
    if header.get("coverage").is_none() {
        let coverage = Evidence::deserialize(&header)?.coverage();
        let coverage = serde_json::to_value(coverage)?;
        // What is no object is no header either, which reading it finds out.
        if let Some(fields) = header.as_object_mut() {
            fields.insert("coverage".to_owned(), coverage);
        }
    }
    Ok(header)
}

impl Evidence {
    fn coverage(&self) -> Coverage {
        let watched = |hop: &Hop| {
            let mut entries = self.plan.iter();
            entries.any(|entry| entry.hop == hop.name() && !entry.skipped)
        };
        let has = |targets: &[&str]| {
            let mut hooks = self.plan.iter().filter_map(|entry| entry.target.as_deref());
            hooks.any(|target| targets.contains(&target))
        };
        let mut coverage = Coverage::of(Hop::ALL.into_iter().filter(watched));
        coverage.every_end = has(&EVERY_END);
        coverage.failed_sends = has(&FAILED_SENDS);
        coverage.descriptions = self.described;
        coverage
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(hop: &str, target: &str) -> Value {
        json!({ "hop": hop, "mechanism": "tracepoint", "kind": "tp_btf", "target": target })
    }

    fn coverage_of(header: Value) -> Coverage {
        let completed = complete(header).expect("it has a plan");
        serde_json::from_value(completed["coverage"].clone()).expect("it is a coverage")
    }

    #[test]
    fn what_a_plan_shows_is_told_by_its_targets() {
        let plan = [
            entry("queue", "sk_data_ready"),
            json!({ "hop": "copy", "skipped": true, "why": "it is inlined" }),
            entry("end", "sock_send_length"),
        ];
        let some = coverage_of(json!({ "plan": plan }));
        assert_eq!(some.hops, [Hop::Queue, Hop::End]);
        assert!(some.failed_sends && !some.every_end && !some.descriptions);

        let all = json!({ "plan": [entry("end", "kfree")], "described": true });
        let all = coverage_of(all);
        assert!(all.every_end && !all.failed_sends && all.descriptions);
    }

    #[test]
    fn what_a_header_says_itself_stands() {
        let said = json!({ "plan": [entry("end", "kfree")], "coverage": { "hops": ["copy"] } });
        assert_eq!(coverage_of(said), Coverage::of([Hop::Copy]));
    }
}
