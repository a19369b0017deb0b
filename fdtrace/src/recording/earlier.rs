//! What earlier versions wrote otherwise. Those versions are over, so these names and numbers are theirs
//! for good.
//!
//! Their headers have no coverage: the functions and tracepoints of their plan show what it was. They were
//! all made on x86-64 and do not say so, and their records have a system call's number where later ones
//! say what it is for.

use std::mem::offset_of;

use fdtrace_common::records::{Call, Head};

use serde::Deserialize;
use serde_json::{Value, json};

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

/// The one architecture of the versions that did not note it.
const ARCH: &str = "x86_64";

/// Adds the coverage and the architecture to a header that lacks them.
pub(super) fn complete(mut header: Value) -> serde_json::Result<Value> {
    if header.get("coverage").is_none() {
        let coverage = Evidence::deserialize(&header)?.coverage();
        let coverage = serde_json::to_value(coverage)?;
        // What is no object is no header either, which reading it finds out.
        if let Some(fields) = header.as_object_mut() {
            fields.insert("coverage".to_owned(), coverage);
        }
    }
    if header["machine"].get("arch").is_none()
        && let Some(fields) = header.as_object_mut()
    {
        let machine = fields.entry("machine").or_insert_with(|| json!({}));
        if let Some(machine) = machine.as_object_mut() {
            machine.insert("arch".to_owned(), ARCH.into());
        }
    }
    Ok(header)
}

/// Says in a record what the system call is for whose number it has.
pub(super) fn tell_call(record: &mut [u8]) {
    const AT: usize = offset_of!(Head, call);
    if let Some(field) = record.get_mut(AT..AT + size_of::<i32>())
        && let Ok(number) = <[u8; 4]>::try_from(&*field)
    {
        let call = call(i32::from_le_bytes(number)) as i32;
        field.copy_from_slice(&call.to_le_bytes());
    }
}

/// The call of this number. A 32-bit process has numbers of its own; one of those that stands for another
/// call in a 64-bit process is one that receives nothing there.
fn call(number: i32) -> Call {
    /// read, readv and recvfrom, then what 32-bit processes call them.
    const READS: [i32; 6] = [0, 19, 45, 3, 145, 371];
    const RECVMSG: i32 = 47;
    match number {
        number if number < 0 => Call::Unread,
        RECVMSG => Call::Recvmsg,
        number if READS.contains(&number) => Call::PlainRead,
        _ => Call::Other,
    }
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
    use zerocopy::{FromZeros as _, IntoBytes as _};

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
    fn what_does_not_name_its_architecture_is_of_x86() {
        let arch = |machine: Value| {
            let header = json!({ "coverage": { "hops": [] }, "machine": machine });
            complete(header).expect("it has a coverage")["machine"]["arch"].clone()
        };
        assert_eq!(arch(json!({ "host": "there" })), "x86_64");
        assert_eq!(arch(json!({ "arch": "aarch64" })), "aarch64");
        let without = complete(json!({ "plan": [] })).expect("it has a plan");
        assert_eq!(without["machine"]["arch"], "x86_64");
    }

    #[test]
    fn calls_are_told_by_their_numbers() {
        let told = |number: i32| {
            let mut head = Head::new_zeroed();
            head.call = number;
            tell_call(head.as_mut_bytes());
            head.call
        };
        assert_eq!(told(-1), Call::Unread as i32);
        assert_eq!(told(47), Call::Recvmsg as i32);
        assert_eq!([0, 19, 45, 3].map(told), [Call::PlainRead as i32; 4]);
        assert_eq!([1, 46, 426].map(told), [Call::Other as i32; 3]);
        // A record that is too short is told of where it is decoded.
        tell_call(&mut [0; 8]);
    }

    #[test]
    fn what_a_header_says_itself_stands() {
        let said = json!({ "plan": [entry("end", "kfree")], "coverage": { "hops": ["copy"] } });
        assert_eq!(coverage_of(said), Coverage::of([Hop::Copy]));
    }
}
