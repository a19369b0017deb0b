//! Trackers for made-up events, and the code addresses that these name.

use fdtrace::{model::Transfer, track::Tracker, wire};

/// A tracker that knows the addresses of [`address_of`], and the constants here, for code.
pub fn tracker() -> Tracker {
    Tracker::new(Box::new(symbolize))
}

/// Like [`tracker`], with room for so many files.
pub fn tracker_with_room(files: usize) -> Tracker {
    Tracker::with_room(files, Box::new(symbolize))
}

/// What a tracker makes of these events, and of their end.
pub fn track(events: impl IntoIterator<Item = impl Into<wire::Event>>) -> Vec<Transfer> {
    let mut tracker = tracker();
    for event in events {
        tracker.apply(event);
    }
    tracker.close_open();
    tracker.take_closed()
}

fn symbolize(address: u64) -> Option<String> {
    let name = match address {
        UNIX_RELEASE_SOCK => "unix_release_sock",
        UNIX_GC => "__unix_gc",
        SKB_QUEUE_PURGE => "skb_queue_purge_reason",
        _ => {
            let index = address.checked_sub(FUNCTIONS_AT)?;
            *FUNCTIONS.get(usize::try_from(index).ok()?)?
        }
    };
    Some(name.to_owned())
}

/// An address in `unix_release_sock`.
pub const UNIX_RELEASE_SOCK: u64 = 0xffff_ffff_8100_0000;
/// An address in `__unix_gc`.
pub const UNIX_GC: u64 = 0xffff_ffff_8100_1000;
/// An address in `skb_queue_purge_reason`.
pub const SKB_QUEUE_PURGE: u64 = 0xffff_ffff_8100_2000;

/// Functions that tests name by [`address_of`].
const FUNCTIONS: [&str; 20] = [
    "unix_gc",
    "__unix_gc",
    "unix_release_sock",
    "unix_dgram_disconnected",
    "unix_stream_read_generic",
    "__unix_dgram_recvmsg",
    "unix_stream_sendmsg",
    "unix_dgram_sendmsg",
    "sk_psock_verdict_recv",
    "unix_stream_splice_read",
    "sock_read_iter",
    "____sys_recvmsg",
    "io_recv",
    "io_recvmsg",
    "unix_release",
    "kfree_skb_reason.part.0",
    "unix_destruct_scm",
    "unix_dgram_connect",
    "skb_queue_purge",
    "io_sendmsg",
];
const FUNCTIONS_AT: u64 = 0xffff_ffff_8200_0000;

/// An address in this function.
pub fn address_of(function: &str) -> u64 {
    let known = FUNCTIONS.iter().position(|name| *name == function);
    FUNCTIONS_AT + known.expect("the test tracker knows the function") as u64
}
