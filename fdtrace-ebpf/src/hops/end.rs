//! `end`: an skb goes away with its list still on it, so nobody will receive these files.
//!
//! `kfree_skb` and `consume_skb` fire for every packet of the machine; the first two reads tell
//! whether it is a Unix socket's. The list of a normal receive was detached before its skb is
//! consumed, so it does not show up here.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use fdtrace_common::{counters::Counter, records::RecordKind};

use crate::{
    emit::{self, Program, Slot},
    kernel::Skb,
    offsets::CONSUME_SKB_HAS_LOCATION,
    ring,
};

#[raw_tracepoint(tracepoint = "kfree_skb")]
pub(crate) fn end_kfree_skb(ctx: RawTracePointContext) -> i32 {
    freed(
        Skb(ctx.arg(0)),
        || ctx.arg(1),
        Program::EndKfree,
        Counter::EndKfreeFired,
    );
    0
}

#[raw_tracepoint(tracepoint = "consume_skb")]
pub(crate) fn end_consume_skb(ctx: RawTracePointContext) -> i32 {
    let location = || {
        if CONSUME_SKB_HAS_LOCATION.load() == 1 {
            ctx.arg(1)
        } else {
            0
        }
    };
    freed(
        Skb(ctx.arg(0)),
        location,
        Program::EndConsume,
        Counter::EndConsumeFired,
    );
    0
}

#[inline(always)]
fn freed(skb: Skb, location: impl Fn() -> u64, program: Program, fired: Counter) {
    let sender = skb.sock();
    if !sender.is_unix() {
        return;
    }
    let list = skb.list();
    if list.0 == 0 {
        return;
    }
    ring::count(fired);
    let Some(scratch) = emit::begin(program, RecordKind::ListDestroyed) else {
        return;
    };
    let count = list.count();
    scratch.head.list = list.0;
    scratch.head.skb = skb.0;
    scratch.head.sender_sock = sender.0;
    scratch.head.location = location();
    scratch.head.count = count;
    emit::files(
        scratch,
        u32::from(count),
        Counter::EndLost,
        |_, index| (list.file(index), Slot::UNKNOWN),
        || 0,
    );
}
