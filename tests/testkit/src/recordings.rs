//! What a recording of made-up events begins with.

use fdtrace::{
    model::{Coverage, Hop, Machine, PlanEntry},
    recording::{FORMAT, Header},
};

/// The header of a recording by tracepoints alone, made at UTC.
pub fn header() -> Header {
    let (head_bytes, file_bytes) = Header::record_sizes();
    let hop = |(hop, target): (&str, &str)| PlanEntry {
        hop: hop.to_owned(),
        mechanism: Some("tracepoint".to_owned()),
        kind: Some("tp_btf".to_owned()),
        target: Some(target.to_owned()),
        skipped: false,
        why: None,
    };
    Header {
        format: FORMAT,
        fdtrace: "0.1.0".to_owned(),
        kernel: "6.18.0-test".to_owned(),
        wall_ns: 1_700_000_000_000_000_000,
        t_ns: 1000,
        utc_offset_s: 0,
        kptr_restrict: 2,
        machine: Machine::default(),
        filtered: false,
        coverage: Coverage::of([Hop::Queue, Hop::Dequeue, Hop::Install, Hop::End]),
        unread_at_start: None,
        plan: [
            ("queue", "sk_data_ready"),
            ("dequeue", "skb_copy_datagram_iovec"),
            ("install", "sock_recv_length"),
            ("end", "kfree_skb"),
        ]
        .map(hop)
        .to_vec(),
        head_bytes,
        file_bytes,
    }
}
