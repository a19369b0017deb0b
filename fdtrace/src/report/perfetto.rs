//! Trace events in JSON, for Perfetto and `chrome://tracing`.
//!
//! Every process is a lane of its own, and the receive queues together are one more: a descriptor is
//! a slice at its sender, another in the queue, and a third at its receiver, with an arrow from one
//! to the next. Times are microseconds since the trace began.

use std::{collections::BTreeMap, io};

use serde_json::{Value, json};

use super::{sanitize, write_json};
use crate::{
    model::{Cause, Hop, HopSeen, Judged, Losses, Tally, Transfer},
    watch::{TraceEnd, TraceReport, TraceStart},
};

/// The lane of the receive queues; no process has this id.
const QUEUES: u32 = 0;

/// Writes one JSON object, an event a line.
pub struct Perfetto<W> {
    out: W,
    begin_ns: u64,
    written: bool,
    /// Names of processes and of their threads.
    names: BTreeMap<(u32, u32), String>,
}

impl<W: io::Write> Perfetto<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            begin_ns: 0,
            written: false,
            names: BTreeMap::new(),
        }
    }

    fn event(&mut self, event: &Value) -> io::Result<()> {
        self.out
            .write_all(if self.written { b",\n" } else { b"\n" })?;
        self.written = true;
        write_json(&mut self.out, event)
    }

    fn us(&self, t_ns: u64) -> f64 {
        t_ns.saturating_sub(self.begin_ns) as f64 / 1000.0
    }

    /// A slice over these hops, all in one thread.
    fn slice(&mut self, transfer: &Transfer, hops: &[&HopSeen]) -> io::Result<Option<f64>> {
        let (Some(first), Some(last)) = (hops.first(), hops.last()) else {
            return Ok(None);
        };
        self.names
            .insert((first.pid, first.tid), sanitize(&first.comm));
        let ts = self.us(first.t_ns);
        let names: Vec<&str> = hops.iter().map(|seen| seen.hop.name()).collect();
        self.event(&json!({
            "name": names.join(" "),
            "cat": "fdtrace",
            "ph": "X",
            "ts": ts,
            // Perfetto draws no slice without a length.
            "dur": self.us(last.t_ns).max(ts + 0.001) - ts,
            "pid": first.pid,
            "tid": first.tid,
            "args": {
                "transfer": transfer.id,
                "message": transfer.message,
                "index": transfer.index,
                "kind": transfer.file.kind(),
                "ino": transfer.file.ino,
                "sender_fd": transfer.sender.as_ref().and_then(|sender| sender.fd),
                "receiver_fd": transfer.receiver().and_then(|receiver| receiver.fd),
                "fate": transfer.fate().name(),
                "cause": transfer.cause().map(Cause::name),
                "refs": last.refs,
            },
        }))?;
        Ok(Some(ts))
    }
}

impl<W: io::Write> TraceReport for Perfetto<W> {
    fn start(&mut self, start: &TraceStart<'_>) -> io::Result<()> {
        self.begin_ns = start.t_ns;
        let about = json!({
            "fdtrace": start.version,
            "kernel": start.kernel,
            "wall_ns": start.wall_ns.to_string(),
        });
        write!(
            self.out,
            "{{\"displayTimeUnit\":\"ns\",\"otherData\":{about},\"traceEvents\":["
        )
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        let transfer = &judged.transfer;
        let (sent, taken): (Vec<&HopSeen>, Vec<&HopSeen>) = transfer
            .hops
            .iter()
            .partition(|seen| seen.hop <= Hop::Queue);
        let from = self.slice(transfer, &sent)?;
        let to = self.slice(transfer, &taken)?;
        let name = format!("{} {}", transfer.file.kind(), transfer.file.ino);
        if let (Some(from), Some(to)) = (from, to) {
            for (ph, at, ts) in [("s", sent[0], from), ("f", taken[0], to)] {
                self.event(&json!({
                    "name": "passed", "cat": "fdtrace", "ph": ph, "bp": "e", "id": transfer.id,
                    "ts": ts, "pid": at.pid, "tid": at.tid,
                }))?;
            }
        }
        let queued = sent.last().map(|seen| self.us(seen.t_ns));
        let left = taken.first().map(|seen| self.us(seen.t_ns));
        if let (Some(queued), Some(left)) = (queued, left) {
            for (ph, ts) in [("b", queued), ("e", left.max(queued))] {
                self.event(&json!({
                    "name": name, "cat": "queue", "ph": ph, "id": transfer.id,
                    "ts": ts, "pid": QUEUES, "tid": QUEUES,
                }))?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn summary(&mut self, _: &Tally, losses: &Losses, end: &TraceEnd) -> io::Result<()> {
        let mut lanes = vec![((QUEUES, QUEUES), "receive queues, in the kernel".to_owned())];
        lanes.extend(std::mem::take(&mut self.names));
        for ((pid, tid), name) in lanes {
            for what in ["process_name", "thread_name"] {
                if what == "process_name" && pid != tid {
                    continue;
                }
                self.event(&json!({
                    "name": what, "ph": "M", "ts": 0, "pid": pid, "tid": tid,
                    "args": { "name": name },
                }))?;
            }
        }
        let lost: u64 = losses.events.iter().map(|(_, count)| count).sum();
        if lost > 0 {
            self.event(&json!({
                "name": format!("{lost} records were lost"), "cat": "fdtrace", "ph": "i", "s": "g",
                "ts": self.us(end.t_ns), "pid": QUEUES, "tid": QUEUES,
            }))?;
        }
        self.out.write_all(b"\n]}\n")
    }
}
