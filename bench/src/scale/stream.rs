//! Records as the programs write them, without a kernel: one message after the other, each queued,
//! dequeued and installed, as tracepoints show it.

use fdtrace_common::records::{Call, FileSeen, Head, RecordKind};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Lists that are reused in turn, as the kernel's allocator does.
const LISTS: u64 = 16;

/// Writes records over and over into the same room.
pub(crate) struct Stream {
    number: u64,
    records: [Vec<u8>; 3],
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self {
            number: 0,
            records: [Vec::new(), Vec::new(), Vec::new()],
        }
    }

    /// The records of the next transfer, in order.
    pub(crate) fn next_transfer(&mut self) -> [&[u8]; 3] {
        self.number += 1;
        let (number, begin) = (self.number, self.number * 1000);
        let file = 0xffff_8881_0000_0000 + (number % 1024) * 256;
        let kinds = [
            RecordKind::ListQueued,
            RecordKind::ListDequeued,
            RecordKind::ReceiveReturned,
        ];
        for (step, (kind, record)) in kinds.into_iter().zip(&mut self.records).enumerate() {
            let mut head = Head::new_zeroed();
            head.t_ns = begin + step as u64 * 300;
            head.list = 0xffff_8882_0000_0000 + (number % LISTS) * 4096;
            head.skb = 0xffff_8883_0000_0000 + (number % LISTS) * 256;
            head.sender_sock = 0xffff_8884_0000_0000;
            head.receiver_sock = 0xffff_8884_0000_1000;
            (head.pid, head.tid) = if step == 0 { (100, 100) } else { (200, 200) };
            head.socket_fd = if step == 0 { 3 } else { -1 };
            head.call = if step == 0 {
                Call::Other
            } else {
                Call::Recvmsg
            } as i32;
            head.kind = kind as u16;
            (head.count, head.files, head.total) = (1, 1, 1);
            head.socket_type = 1;
            head.comm[..5].copy_from_slice(b"bench");
            let mut seen = FileSeen::new_zeroed();
            seen.file = file;
            seen.refs = 2;
            seen.ino = number % 1024;
            seen.mode = 0o100_644;
            (seen.fd, seen.told) = (-1, -1);
            match kind {
                RecordKind::ListQueued => (seen.fd, seen.slot) = (9, file),
                RecordKind::ReceiveReturned => {
                    head.origin = begin + 300;
                    head.result = 1;
                    head.location = 1;
                    (seen.fd, seen.told, seen.slot) = (7, 7, file);
                }
                _ => {}
            }
            record.clear();
            record.extend_from_slice(head.as_bytes());
            record.extend_from_slice(seen.as_bytes());
        }
        self.records.each_ref().map(Vec::as_slice)
    }
}
