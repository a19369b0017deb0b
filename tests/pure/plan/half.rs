//! The kernel half as a model: what the hooks of a plan write of a few messages whose course is known.
//!
//! Each step of the path writes a record if the plan has the hook for it, and if what that hook relies on
//! was seen: an install is told of while a list is being detached, a failed send if its list was seen at `copy`.

use std::cell::Cell;

use fdtrace::{
    model::{Cause, Fate},
    plan::Plan,
};
use fdtrace_common::records::{
    FLAG_CONTROL_SEEN, FLAG_DESTRUCTED, FLAG_INSTALLED_UNSEEN, FLAG_PEEK, FLAG_TABLE_FULL,
    NO_CONTROL, ROOM_UNKNOWN,
};
use fdtrace_testkit::{Event, OTHER_CALL, PLAIN_READ, Passing, RECVMSG, head_mut};

/// How a file ended, and why.
pub(super) type End = (Fate, Option<Cause>);

/// What becomes of a message of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Delivered,
    PeekedThenDelivered,
    /// The receiver has no control buffer.
    NoRoom,
    /// Its table is full.
    TableFull,
    PlainRead,
    ReceiverCloses,
    Queued,
    /// The peer was gone before anything was attached to an skb.
    SendFailsEarly,
    /// The queue was full, and the skb is freed again.
    SendFailsLate,
    SendsNothing,
}

impl Course {
    pub(super) const ALL: [Self; 10] = [
        Self::Delivered,
        Self::PeekedThenDelivered,
        Self::NoRoom,
        Self::TableFull,
        Self::PlainRead,
        Self::ReceiverCloses,
        Self::Queued,
        Self::SendFailsEarly,
        Self::SendFailsLate,
        Self::SendsNothing,
    ];

    /// Each end that its file has.
    pub(super) fn truth(self) -> Vec<End> {
        let delivered = (Fate::Delivered, None);
        match self {
            Self::Delivered => vec![delivered],
            Self::PeekedThenDelivered => vec![delivered, (Fate::Peeked, None)],
            Self::NoRoom => vec![(Fate::Truncated, Some(Cause::NoControlRoom))],
            Self::TableFull => vec![(Fate::Truncated, Some(Cause::RlimitNofile))],
            Self::PlainRead => vec![(Fate::Discarded, Some(Cause::PlainRead))],
            Self::ReceiverCloses => vec![(Fate::Discarded, Some(Cause::ReceiverClosed))],
            Self::Queued => vec![(Fate::Queued, None)],
            Self::SendFailsEarly => vec![(Fate::Failed, Some(Cause::Errno(libc::EPIPE)))],
            Self::SendFailsLate => vec![(Fate::Failed, Some(Cause::Errno(libc::EAGAIN)))],
            Self::SendsNothing => vec![(Fate::Discarded, Some(Cause::ZeroLength))],
        }
    }
}

/// How far a receive is, as far as the programs know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unseen,
    Reading,
    Installing,
    InstallingUnseen,
}

/// Bytes of a control message with one number.
const ROOM_FOR_ONE: u64 = 24;

pub(super) struct Half<'a> {
    plan: &'a Plan,
    /// The skb gets a duplicate of the sender's list, as up to 6.9.
    duplicates: bool,
    t_ns: u64,
    events: Vec<Event>,
    stage: Stage,
    /// When the list was copied that the thread sends, and whether that was given back.
    sending: Option<(u64, bool)>,
}

impl<'a> Half<'a> {
    pub(super) fn new(plan: &'a Plan, duplicates: bool) -> Self {
        Self {
            plan,
            duplicates,
            t_ns: 1000,
            events: Vec::new(),
            stage: Stage::Unseen,
            sending: None,
        }
    }

    /// The records of this course of the `n`th message, of which each has files and numbers of its own and
    /// all have the same lists.
    pub(super) fn play(&mut self, course: Course, n: u64) -> Vec<Event> {
        let passing = |list: u64| Passing {
            list: 0xffff_8882_0000_0000 + list * 0x1000,
            files: vec![0xffff_8881_2000_0000 + n * 256],
            sender_fd: 10 + n as i32,
            receiver_fd: 50 + n as i32,
            read_at: Cell::new(0),
            ..Passing::one()
        };
        let own = passing(0);
        let queued = if self.duplicates {
            passing(1)
        } else {
            passing(0)
        };
        match course {
            Course::SendFailsEarly => self.fails_early(&own, -libc::EPIPE),
            Course::SendsNothing => self.fails_early(&own, 0),
            Course::SendFailsLate => self.fails_late(&own, &queued),
            _ => self.sends(&own, &queued),
        }
        match course {
            Course::Delivered => self.receives(&queued, Some(1), queued.receiver_fd),
            Course::NoRoom => self.receives(&queued, None, 0),
            Course::TableFull => self.receives(&queued, Some(1), -libc::EMFILE),
            Course::PeekedThenDelivered => {
                self.peeks(&queued, &passing(2));
                self.receives(&queued, Some(1), queued.receiver_fd);
            }
            Course::PlainRead => self.reads(&queued),
            Course::ReceiverCloses => self.frees(&queued, 300, &["unix_release_sock"]),
            _ => {}
        }
        std::mem::take(&mut self.events)
    }

    fn has(&self, program: &str) -> bool {
        self.plan.hooks().any(|hook| {
            let name = hook.program;
            // `_f`, `_k` and `_r` are the same by fentry or fexit, kprobe, and kretprobe.
            name == program || name.strip_prefix(program).is_some_and(|end| end.len() == 2)
        })
    }

    fn compares_tables(&self) -> bool {
        self.has("install_sock_recv_length")
    }

    fn tell(&mut self, events: impl FnOnce(u64) -> Vec<Event>) {
        self.t_ns += 10;
        self.events.extend(events(self.t_ns));
    }

    fn copies(&mut self, own: &Passing) {
        if self.has("copy_scm_send") {
            self.tell(|t_ns| own.copied(t_ns));
            self.sending = Some((self.t_ns, false));
        }
    }

    /// The list gets onto the skb.
    fn attaches(&mut self, own: &Passing, queued: &Passing) {
        let origin = if self.duplicates { own.list } else { 0 };
        if self.duplicates && self.has("attach_dup") {
            self.tell(|t_ns| queued.duplicated(t_ns, origin));
        }
        if self.has("attach_to_skb") || self.has("attach_fds") {
            self.tell(|t_ns| queued.attached(t_ns, origin));
        }
    }

    fn sends(&mut self, own: &Passing, queued: &Passing) {
        self.copies(own);
        self.attaches(own, queued);
        if self.has("queue_sk_data_ready") {
            self.tell(|t_ns| queued.queued(t_ns));
        } else if self.has("queue_edges") || self.has("queue_tail") {
            self.tell(|t_ns| queued.edged(t_ns));
        }
        if self.duplicates {
            self.sender_releases(own);
        }
        self.send_returns(own, 1);
    }

    fn sender_releases(&mut self, own: &Passing) {
        self.releases(own, own.sender, OTHER_CALL, &["unix_stream_sendmsg"]);
        self.note_released();
    }

    fn note_released(&mut self) {
        let is_seen = self.has("end_release");
        if let Some((_, released)) = &mut self.sending {
            *released = is_seen;
        }
    }

    fn send_returns(&mut self, own: &Passing, result: i32) {
        if self.has("end_stream")
            && let Some((copied_at, released)) = self.sending.take()
            && (result < 0 || released)
        {
            self.tell(|t_ns| own.send_returned(t_ns, copied_at, result));
        }
        if self.has("end_sock_send_length") && result <= 0 {
            self.tell(|t_ns| own.send_failed(t_ns, result));
        }
    }

    fn fails_early(&mut self, own: &Passing, result: i32) {
        self.copies(own);
        self.sender_releases(own);
        self.send_returns(own, result);
    }

    fn fails_late(&mut self, own: &Passing, queued: &Passing) {
        self.copies(own);
        self.attaches(own, queued);
        self.frees(queued, queued.sender, &["unix_stream_sendmsg"]);
        if self.duplicates {
            self.sender_releases(own);
        } else {
            self.note_released();
        }
        self.send_returns(own, -libc::EAGAIN);
    }

    fn reads_skb(&mut self, queued: &Passing) {
        if self.has("dequeue_skb_copy_datagram_iovec") || self.has("dequeue_iter") {
            self.tell(|t_ns| queued.dequeued(t_ns));
            if !self.compares_tables() {
                self.stage = Stage::Reading;
            }
        }
    }

    fn detaches(&mut self, list: &Passing) {
        if self.has("detach_fds") {
            self.tell(|t_ns| list.detached(t_ns));
            self.stage = Stage::Installing;
        }
    }

    fn installs(&mut self, list: &Passing, result: i32) {
        let programs = ["install_one", "install_fd", "install_num"];
        let (received, installed) = (
            self.has("receive_fd"),
            programs.iter().any(|program| self.has(program)),
        );
        if !received && !installed {
            return;
        }
        match self.stage {
            Stage::Installing => {
                let both = list.installed(self.t_ns + 10, 0, result).into_iter();
                let told = [received, installed];
                let seen = both
                    .zip(told)
                    .filter(|(_, told)| *told)
                    .map(|(event, _)| event);
                let seen = seen.collect();
                self.tell(|_| seen);
                self.t_ns += 10;
            }
            Stage::Unseen => {}
            _ => self.stage = Stage::InstallingUnseen,
        }
    }

    /// A call gives its list back.
    fn releases(&mut self, list: &Passing, pid: u32, call: i32, within: &[&str]) {
        if !self.has("end_release") {
            return;
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Unseen);
        if stage != Stage::Installing {
            self.events.extend(list.called(within));
        }
        self.tell(|t_ns| list.released(t_ns, pid, call));
        if stage == Stage::InstallingUnseen
            && let Some(released) = self.events.last_mut()
        {
            head_mut(released).flags |= FLAG_INSTALLED_UNSEEN;
        }
    }

    /// A receive returns that has gained the file or not. Its control buffer has so many bytes left.
    fn receive_returns(&mut self, queued: &Passing, call: i32, flags: u16, got: bool, left: u64) {
        const MSG_CTRUNC: u64 = 8;
        if !self.compares_tables() {
            return;
        }
        let gained = got.then(|| queued.gained(0));
        self.tell(|t_ns| {
            let mut events = queued.returned_with(t_ns, call, flags, gained.into_iter().collect());
            if !got && call == RECVMSG {
                let head = head_mut(&mut events[0]);
                head.flags |= FLAG_CONTROL_SEEN;
                head.location = MSG_CTRUNC << 32 | left;
                head.room = ROOM_UNKNOWN;
                if left != NO_CONTROL {
                    head.flags |= FLAG_TABLE_FULL;
                }
            }
            events
        });
    }

    /// With a control buffer for so many files, of which the one gets this number or errno.
    fn receives(&mut self, queued: &Passing, room: Option<usize>, result: i32) {
        self.reads_skb(queued);
        if room.is_some() {
            self.detaches(queued);
            self.installs(queued, result);
        }
        self.releases(queued, queued.receiver, RECVMSG, &["____sys_recvmsg"]);
        let left = room.map_or(NO_CONTROL, |_| ROOM_FOR_ONE);
        self.receive_returns(queued, RECVMSG, 0, room.is_some() && result >= 0, left);
    }

    fn peeks(&mut self, queued: &Passing, duplicate: &Passing) {
        self.reads_skb(queued);
        if self.has("attach_dup") {
            self.tell(|t_ns| {
                let mut events = duplicate.duplicated(t_ns, queued.list);
                for event in &mut events {
                    let head = head_mut(event);
                    (head.pid, head.tid) = (queued.receiver, queued.receiver);
                }
                events
            });
        }
        self.detaches(duplicate);
        self.installs(duplicate, queued.receiver_fd);
        self.releases(duplicate, queued.receiver, RECVMSG, &["____sys_recvmsg"]);
        self.receive_returns(queued, RECVMSG, FLAG_PEEK, true, 0);
    }

    fn reads(&mut self, queued: &Passing) {
        self.reads_skb(queued);
        self.releases(queued, queued.receiver, PLAIN_READ, &["sock_read_iter"]);
        self.receive_returns(queued, PLAIN_READ, 0, false, NO_CONTROL);
    }

    /// Its skb is freed with the list on it.
    fn frees(&mut self, queued: &Passing, pid: u32, within: &[&str]) {
        let by_skb = |innermost: &[&'static str]| -> Vec<&str> {
            innermost
                .iter()
                .copied()
                .chain(within.iter().copied())
                .collect()
        };
        if self.has("end_kfree_skb") {
            self.events.extend(queued.called(within));
            self.tell(|t_ns| queued.destroyed(t_ns, 0, pid));
        }
        if self.has("end_destruct") {
            self.events
                .extend(queued.called(&by_skb(&["kfree_skb_reason.part.0"])));
            self.tell(|t_ns| {
                let mut events = queued.destroyed(t_ns, 0, pid);
                for event in &mut events {
                    head_mut(event).flags |= FLAG_DESTRUCTED;
                }
                events
            });
        }
        let names = by_skb(&["unix_destruct_scm", "kfree_skb_reason.part.0"]);
        self.releases(queued, pid, OTHER_CALL, &names);
    }
}
