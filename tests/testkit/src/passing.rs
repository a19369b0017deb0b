//! A message on its way, and the events that the kernel half would write of it.

mod whole;

use std::cell::Cell;

use fdtrace::{
    model::Task,
    wire::{AsideKind, Described, Record, decode},
};
use fdtrace_common::{
    descriptions::TaskDescribed,
    records::{
        CALLERS_MAX, Call, Callers, FILES_PER_RECORD, FLAG_CONTROL_SEEN, FLAG_RACED, FileSeen,
        Head, NOT_TOLD, ROOM_UNKNOWN, RecordKind, SocketName,
    },
};
use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::tracking::address_of;

/// A record, as the kernel half makes it. The tracker is given what [`decode`] makes of its bytes.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "`RecordKind` says what each is")]
pub enum Event {
    SocketNamed { head: Head, name: Vec<u8> },
    FileDescribed { head: Head, described: Described },
    TaskDescribed { head: Head, task: Task },
    Called { head: Head, addresses: Vec<u64> },
    SenderWanted(Head),
    QueuesRead(Head),
    ListCopied(Sighting),
    ListAttached(Sighting),
    ListQueued(Sighting),
    ListFound(Sighting),
    ListFoundLast(Sighting),
    ListDequeued(Sighting),
    ListDuplicated(Sighting),
    ListDetached(Sighting),
    FileReceived(Sighting),
    FdInstalled(Sighting),
    SendReturned(Sighting),
    RightsIgnored(Sighting),
    ListReleased(Sighting),
    ReceiveReturned(Sighting),
    ListDestroyed(Sighting),
    Sent(Sighting),
    Unsent(Sighting),
    Received(Sighting),
}

/// A record of a list, or of a part of it.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// What it begins with.
    pub head: Head,
    /// The files of this part.
    pub files: Vec<FileSeen>,
}

impl Event {
    fn kind(&self) -> RecordKind {
        match self {
            Self::SocketNamed { .. } => RecordKind::SocketNamed,
            Self::FileDescribed { .. } => RecordKind::PathDescribed,
            Self::TaskDescribed { .. } => RecordKind::TaskDescribed,
            Self::Called { .. } => RecordKind::Called,
            Self::SenderWanted(_) => RecordKind::SenderWanted,
            Self::QueuesRead(_) => RecordKind::QueuesRead,
            Self::ListCopied(_) => RecordKind::ListCopied,
            Self::ListAttached(_) => RecordKind::ListAttached,
            Self::ListQueued(_) => RecordKind::ListQueued,
            Self::ListFound(_) => RecordKind::ListFound,
            Self::ListFoundLast(_) => RecordKind::ListFoundLast,
            Self::ListDequeued(_) => RecordKind::ListDequeued,
            Self::ListDuplicated(_) => RecordKind::ListDuplicated,
            Self::ListDetached(_) => RecordKind::ListDetached,
            Self::FileReceived(_) => RecordKind::FileReceived,
            Self::FdInstalled(_) => RecordKind::FdInstalled,
            Self::SendReturned(_) => RecordKind::SendReturned,
            Self::RightsIgnored(_) => RecordKind::RightsIgnored,
            Self::ListReleased(_) => RecordKind::ListReleased,
            Self::ReceiveReturned(_) => RecordKind::ReceiveReturned,
            Self::ListDestroyed(_) => RecordKind::ListDestroyed,
            Self::Sent(_) => RecordKind::Sent,
            Self::Unsent(_) => RecordKind::Unsent,
            Self::Received(_) => RecordKind::Received,
        }
    }

    /// What its record begins with.
    pub fn head_mut(&mut self) -> &mut Head {
        match self {
            Self::SocketNamed { head, .. }
            | Self::FileDescribed { head, .. }
            | Self::TaskDescribed { head, .. }
            | Self::Called { head, .. }
            | Self::SenderWanted(head)
            | Self::QueuesRead(head) => head,
            Self::ListCopied(seen)
            | Self::ListAttached(seen)
            | Self::ListQueued(seen)
            | Self::ListFound(seen)
            | Self::ListFoundLast(seen)
            | Self::ListDequeued(seen)
            | Self::ListDuplicated(seen)
            | Self::ListDetached(seen)
            | Self::FileReceived(seen)
            | Self::FdInstalled(seen)
            | Self::SendReturned(seen)
            | Self::RightsIgnored(seen)
            | Self::ListReleased(seen)
            | Self::ReceiveReturned(seen)
            | Self::ListDestroyed(seen)
            | Self::Sent(seen)
            | Self::Unsent(seen)
            | Self::Received(seen) => &mut seen.head,
        }
    }

    /// Its bytes in the ring buffer; of a description all but what is described.
    pub fn bytes(&self) -> Vec<u8> {
        let mut event = self.clone();
        let kind = self.kind();
        let files = files_mut(&mut event).len() as u16;
        let mut head = *event.head_mut();
        (head.kind, head.files) = (kind as u16, files);
        let mut bytes = head.as_bytes().to_vec();
        match self {
            Self::SocketNamed { name, .. } => {
                let mut seen = SocketName::new_zeroed();
                seen.len = name.len() as u32;
                seen.name[..name.len()].copy_from_slice(name);
                bytes.extend_from_slice(seen.as_bytes());
            }
            Self::TaskDescribed { task, .. } => {
                let seen = TaskDescribed {
                    user_ns: task.user_ns,
                    pid_ns: task.pid_ns,
                    mount_ns: task.mount_ns,
                    cgroup: task.cgroup,
                    uid: task.uid,
                    gid: 0,
                };
                bytes.extend_from_slice(seen.as_bytes());
            }
            Self::Called { addresses, .. } => {
                let mut callers = Callers::new_zeroed();
                let len = addresses.len().min(CALLERS_MAX);
                callers.len = len as u32;
                callers.addresses[..len].copy_from_slice(&addresses[..len]);
                bytes.extend_from_slice(callers.as_bytes());
            }
            _ => {
                for file in files_mut(&mut event) {
                    bytes.extend_from_slice(file.as_bytes());
                }
            }
        }
        bytes
    }
}

impl From<Event> for Record {
    fn from(event: Event) -> Self {
        let record = |event: &Event| decode(&event.bytes()).expect("the record is whole");
        match event {
            Event::FileDescribed { head, described } => match record(&Event::SenderWanted(head)) {
                Self::Event(bare) => Self::Aside(bare.seen.stamp, AsideKind::File(described)),
                Self::Aside(..) => unreachable!("a wanted sender is no aside"),
            },
            event => record(&event),
        }
    }
}

/// A call without a place for descriptors, as records have it.
pub const PLAIN_READ: i32 = Call::PlainRead as i32;
/// recvmsg, likewise.
pub const RECVMSG: i32 = Call::Recvmsg as i32;
/// Another call.
pub const OTHER_CALL: i32 = Call::Other as i32;

/// A message and what each side calls its files.
#[derive(Clone, Debug)]
pub struct Passing {
    /// Address of its file list.
    pub list: u64,
    /// Address of its skb.
    pub skb: u64,
    /// The process that sends it, and its only thread.
    pub sender: u32,
    /// The process that receives it, and its only thread.
    pub receiver: u32,
    /// Addresses of the files, in order.
    pub files: Vec<u64>,
    /// First of the sender's numbers; the others follow.
    pub sender_fd: i32,
    /// First of the receiver's numbers.
    pub receiver_fd: i32,
    /// When it was last read, which a returning receive refers to.
    pub read_at: Cell<u64>,
}

impl Passing {
    /// One file from process 100 to process 200.
    pub fn one() -> Self {
        Self {
            list: 0xffff_8881_0000_0000,
            skb: 0xffff_8881_1000_0000,
            sender: 100,
            receiver: 200,
            files: vec![0xffff_8881_2000_0000],
            sender_fd: 4,
            receiver_fd: 9,
            // Where a test makes the return before the dequeue, it reads at 2.
            read_at: Cell::new(2),
        }
    }

    fn head(&self, kind: RecordKind, t_ns: u64, pid: u32) -> Head {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"test");
        Head {
            t_ns,
            epoch: 0,
            list: self.list,
            origin: 0,
            skb: self.skb,
            receiver_sock: 0xffff_8881_3000_0000,
            sender_sock: 0xffff_8881_3000_1000,
            receiver_ino: 71,
            sender_ino: 70,
            location: 0,
            pid,
            tid: pid,
            cpu: 0,
            socket_fd: -1,
            result: 1,
            call: Call::Unread as i32,
            kind: kind as u16,
            flags: 0,
            count: self.files.len() as u16,
            first: 0,
            files: 0,
            socket_type: 1,
            total: 0,
            room: 0,
            comm,
        }
    }

    fn seen(&self, index: usize, fd: i32) -> FileSeen {
        FileSeen {
            file: self.files[index],
            slot: if fd < 0 { 0 } else { self.files[index] },
            refs: 2,
            ino: self.files[index] >> 4,
            magic: 0xef53,
            dentry: 1,
            parent: 2,
            name: [0; 16],
            dev: 254 << 20,
            rdev: 0,
            flags: 0o100_002,
            fd,
            told: NOT_TOLD,
            mode: 0o100_644,
            cloexec: 0,
        }
    }

    /// The sender's list is in the queue.
    pub fn queued(&self, t_ns: u64) -> Vec<Event> {
        let mut head = self.head(RecordKind::ListQueued, t_ns, self.sender);
        (head.call, head.socket_fd) = (OTHER_CALL, 3);
        let files =
            (0..self.files.len()).map(|index| self.seen(index, self.sender_fd + index as i32));
        runs(head, files.collect(), Event::ListQueued)
    }

    /// The sender's hook looked, and the list had left the queue.
    pub fn raced(&self, t_ns: u64) -> Vec<Event> {
        let mut events = self.queued(t_ns);
        for event in &mut events {
            let head = head_mut(event);
            head.flags |= FLAG_RACED;
            (head.list, head.skb) = (0, 0);
        }
        events
    }

    /// It was in its queue when a trace began.
    pub fn found(&self, t_ns: u64) -> Vec<Event> {
        let head = self.head(RecordKind::ListFound, t_ns, 0);
        self.bare(head, Event::ListFound)
    }

    /// It was in its queue when the trace ended.
    pub fn found_last(&self, t_ns: u64) -> Vec<Event> {
        let mut head = self.head(RecordKind::ListFoundLast, t_ns, 0);
        head.result = 0;
        self.bare(head, Event::ListFoundLast)
    }

    /// All queues have been looked through as the trace ended, or as many as could be read.
    pub fn queues_read(&self, t_ns: u64, every: bool) -> Vec<Event> {
        let mut head = self.head(RecordKind::QueuesRead, t_ns, 0);
        (head.list, head.result) = (0, every.into());
        vec![Event::QueuesRead(head)]
    }

    /// A receiver reads it.
    pub fn dequeued(&self, t_ns: u64) -> Vec<Event> {
        self.read_at.set(t_ns);
        let head = self.head(RecordKind::ListDequeued, t_ns, self.receiver);
        let files = (0..self.files.len()).map(|index| self.seen(index, -1));
        runs(head, files.collect(), Event::ListDequeued)
    }

    /// The receive returned with the first `delivered` of the files.
    pub fn returned(&self, t_ns: u64, delivered: usize) -> Vec<Event> {
        let files: Vec<FileSeen> = (0..delivered).map(|index| self.gained(index)).collect();
        self.returned_with(t_ns, RECVMSG, 0, files)
    }

    /// What the table says of file `index` after delivery.
    pub fn gained(&self, index: usize) -> FileSeen {
        let fd = self.receiver_fd + index as i32;
        FileSeen {
            told: fd,
            ..self.seen(index, fd)
        }
    }

    /// The receive returned, and the receiver's table gained `files`.
    pub fn returned_with(
        &self,
        t_ns: u64,
        syscall: i32,
        flags: u16,
        files: Vec<FileSeen>,
    ) -> Vec<Event> {
        let mut head = self.head(RecordKind::ReceiveReturned, t_ns, self.receiver);
        head.origin = self.read_at.get();
        head.call = syscall;
        head.flags = flags;
        runs(head, files, Event::ReceiveReturned)
    }

    /// The same, and the kernel's own message header was found: so many bytes are left of the
    /// control buffer, and what was written ends there behind a multiple of eight.
    pub fn returned_leaving(
        &self,
        (left, flags): (u64, i32),
        syscall: i32,
        files: Vec<FileSeen>,
    ) -> Vec<Event> {
        let mut events = self.returned_with(30, syscall, FLAG_CONTROL_SEEN, files);
        for event in &mut events {
            let head = head_mut(event);
            head.location = left | (flags as u64) << 32;
            head.room = ROOM_UNKNOWN;
        }
        events
    }

    /// The skb was freed from code at `location` by `pid`.
    pub fn destroyed(&self, t_ns: u64, location: u64, pid: u32) -> Vec<Event> {
        let mut head = self.head(RecordKind::ListDestroyed, t_ns, pid);
        head.location = location;
        let files = (0..self.files.len()).map(|index| self.seen(index, -1));
        runs(head, files.collect(), Event::ListDestroyed)
    }

    /// The sender's numbers have become a list.
    pub fn copied(&self, t_ns: u64) -> Vec<Event> {
        let mut head = self.head(RecordKind::ListCopied, t_ns, self.sender);
        head.socket_fd = 3;
        head.skb = 0;
        let files =
            (0..self.files.len()).map(|index| self.seen(index, self.sender_fd + index as i32));
        runs(head, files.collect(), Event::ListCopied)
    }

    /// The list is on its skb; `origin` is the list it was duplicated from, or 0.
    pub fn attached(&self, t_ns: u64, origin: u64) -> Vec<Event> {
        let mut head = self.head(RecordKind::ListAttached, t_ns, self.sender);
        head.origin = origin;
        self.bare(head, Event::ListAttached)
    }

    /// The list was made from `origin`.
    pub fn duplicated(&self, t_ns: u64, origin: u64) -> Vec<Event> {
        let mut head = self.head(RecordKind::ListDuplicated, t_ns, self.sender);
        head.origin = origin;
        runs(head, Vec::new(), Event::ListDuplicated)
    }

    /// The list is in the queue, seen by a function that knows no numbers and no skb.
    pub fn edged(&self, t_ns: u64) -> Vec<Event> {
        let mut head = self.head(RecordKind::ListQueued, t_ns, self.sender);
        head.skb = 0;
        self.bare(head, Event::ListQueued)
    }

    /// The list is about to be installed, all of it.
    pub fn detached(&self, t_ns: u64) -> Vec<Event> {
        self.detached_into(t_ns, self.files.len())
    }

    /// The same with room for so many.
    pub fn detached_into(&self, t_ns: u64, room: usize) -> Vec<Event> {
        let mut head = self.head(RecordKind::ListDetached, t_ns, self.receiver);
        (head.skb, head.room) = (0, room as u16);
        self.bare(head, Event::ListDetached)
    }

    /// File `index` is received and installed with `result`, as the function returns it.
    pub fn installed(&self, t_ns: u64, index: usize, result: i32) -> Vec<Event> {
        let mut head = self.head(RecordKind::FileReceived, t_ns, self.receiver);
        (head.skb, head.first, head.files, head.total) = (0, index as u16, 1, 1);
        let received = Sighting {
            head,
            files: vec![self.seen(index, -1)],
        };
        head.t_ns = t_ns + 1;
        head.kind = RecordKind::FdInstalled as u16;
        head.result = result;
        let file = FileSeen {
            told: result,
            ..self.seen(index, result)
        };
        vec![
            Event::FileReceived(received),
            Event::FdInstalled(Sighting {
                head,
                files: vec![file],
            }),
        ]
    }

    /// A call of `pid` is done with the list.
    pub fn released(&self, t_ns: u64, pid: u32, syscall: i32) -> Vec<Event> {
        let mut head = self.head(RecordKind::ListReleased, t_ns, pid);
        head.skb = 0;
        head.call = syscall;
        self.bare(head, Event::ListReleased)
    }

    /// The list's end, in the next record, is in these functions, innermost first.
    pub fn called(&self, functions: &[&str]) -> Vec<Event> {
        let head = self.head(RecordKind::Called, 0, 0);
        let addresses = functions.iter().map(|name| address_of(name)).collect();
        vec![Event::Called { head, addresses }]
    }

    /// The send that was copied at `copied_at` returned without a queued list.
    pub fn send_returned(&self, t_ns: u64, copied_at: u64, result: i32) -> Vec<Event> {
        let mut head = self.head(RecordKind::SendReturned, t_ns, self.sender);
        (head.skb, head.origin, head.result) = (0, copied_at, result);
        runs(head, Vec::new(), Event::SendReturned)
    }

    /// A send of which nothing else was seen returned; it tells its numbers itself.
    pub fn send_failed(&self, t_ns: u64, result: i32) -> Vec<Event> {
        let mut head = self.head(RecordKind::SendReturned, t_ns, self.sender);
        (head.skb, head.list, head.result) = (0, 0, result);
        let files =
            (0..self.files.len()).map(|index| self.seen(index, self.sender_fd + index as i32));
        runs(head, files.collect(), Event::SendReturned)
    }

    /// It was sent on a socket that is no Unix socket, under its sender's numbers.
    pub fn ignored(&self, t_ns: u64) -> Vec<Event> {
        let mut head = self.head(RecordKind::RightsIgnored, t_ns, self.sender);
        (head.skb, head.list, head.socket_type) = (0, 0, 0);
        let files =
            (0..self.files.len()).map(|index| self.seen(index, self.sender_fd + index as i32));
        runs(head, files.collect(), Event::RightsIgnored)
    }

    fn bare(&self, head: Head, wrap: fn(Sighting) -> Event) -> Vec<Event> {
        let files = (0..self.files.len()).map(|index| self.seen(index, -1));
        runs(head, files.collect(), wrap)
    }

    /// The whole way of a delivered message.
    pub fn delivered(&self, t_ns: u64) -> Vec<Event> {
        let mut events = self.queued(t_ns);
        events.extend(self.dequeued(t_ns + 10));
        events.extend(self.returned(t_ns + 20, self.files.len()));
        events
    }
}

/// Splits a hop's files into records as the programs do.
fn runs(head: Head, files: Vec<FileSeen>, wrap: fn(Sighting) -> Event) -> Vec<Event> {
    let total = files.len() as u16;
    if files.is_empty() {
        return vec![wrap(Sighting {
            head: Head { total, ..head },
            files,
        })];
    }
    let room = if files.len() == 1 {
        1
    } else {
        FILES_PER_RECORD
    };
    files
        .chunks(room)
        .enumerate()
        .map(|(run, files)| {
            let head = Head {
                first: (run * room) as u16,
                files: files.len() as u16,
                total,
                ..head
            };
            wrap(Sighting {
                head,
                files: files.to_vec(),
            })
        })
        .collect()
}

/// The head of any event.
pub fn head_mut(event: &mut Event) -> &mut Head {
    event.head_mut()
}

/// The files of any event.
pub fn files_mut(event: &mut Event) -> &mut [FileSeen] {
    match event {
        Event::SocketNamed { .. }
        | Event::SenderWanted(_)
        | Event::QueuesRead(_)
        | Event::TaskDescribed { .. }
        | Event::Called { .. }
        | Event::FileDescribed { .. } => &mut [],
        Event::ListQueued(seen)
        | Event::ListFound(seen)
        | Event::ListFoundLast(seen)
        | Event::ListDequeued(seen)
        | Event::ListCopied(seen)
        | Event::ListAttached(seen)
        | Event::ListDuplicated(seen)
        | Event::ListDetached(seen)
        | Event::FileReceived(seen)
        | Event::FdInstalled(seen)
        | Event::ListReleased(seen)
        | Event::ReceiveReturned(seen)
        | Event::SendReturned(seen)
        | Event::RightsIgnored(seen)
        | Event::Sent(seen)
        | Event::Unsent(seen)
        | Event::Received(seen)
        | Event::ListDestroyed(seen) => &mut seen.files,
    }
}
