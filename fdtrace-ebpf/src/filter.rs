//! The filter: whose transfers are reported, decided here so that the rest never leaves the kernel.
//!
//! A transfer is wanted if either end is a wanted task. A sender's own records come before anybody
//! knows who will receive: those of an unwanted sender are *held*, by list, until a wanted task
//! reads the list or destroys it, and forgotten when another has. A list that is wanted is *marked*,
//! so that what others do with it is reported too.
//!
//! With tracepoints alone a sender is seen after its list was queued, and a receiver may have been
//! faster. So nothing is dropped there but what is known to come from an unwanted sender. What is
//! not known is reported, whoever reads it; userspace has the sender's look by then, and drops what
//! nobody wants. Of a socket that a wanted task has sent on, everything is reported: which of its
//! senders a message is of can be told only from all of them.
//!
//! A receive returns there after its list was freed, too, and the next one may be at the address by
//! then. So what is held is forgotten as the list is read, be it by a peek; a mark has the time
//! since which it holds.
//!
//! Without a filter all of this is a constant `false`, which the verifier cuts out.

pub(crate) mod held;
mod wanted;

use aya_ebpf::{
    macros::map,
    maps::{HashMap, LruHashMap},
};
use fdtrace_common::{
    counters::Counter,
    records::{FLAG_FIRST_SEEN, FLAG_LEFT, FLAG_OOB, FLAG_PEEK, FLAG_WANTED, Head, RecordKind},
};

use self::wanted::{is_current_wanted, is_suspended, is_wanted};
pub(crate) use self::wanted::{is_of_wanted_process, is_on};
use crate::{
    calls,
    kernel::Task,
    offsets::{BY_SLOT, INSTALL_BY_TABLE, SEEN_BEFORE_QUEUE},
    ring,
};

const SOCK_STREAM: u16 = 1;

/// Lists of wanted transfers, by address, while they live; since when they are known to be.
#[map]
static MARKED_LISTS: HashMap<u64, u64> = HashMap::with_max_entries(16384, 0);

/// Sockets that wanted tasks have sent on, by address. Those that were not used for longest make
/// room.
#[map]
static WANTED_SOCKS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(8192, 0);

/// What becomes of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is reported.
    Emit,
    /// It is kept until it is known whether anybody wants it.
    Hold,
    /// Nobody wants it.
    Drop,
}

/// Where in a list's life a hop is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// With its sender.
    Sending,
    /// A receiver begins to read it.
    Reading,
    /// With its receiver, or with whoever destroys it.
    Receiving,
}

impl Stage {
    /// The stage of the hop that counts its losses so.
    #[inline(always)]
    pub(crate) fn of(lost: Counter) -> Self {
        match lost {
            Counter::CopyLost | Counter::AttachLost | Counter::QueueLost => Self::Sending,
            Counter::DequeueLost => Self::Reading,
            _ => Self::Receiving,
        }
    }
}

/// Whether senders are seen only after their lists were queued.
#[inline(always)]
fn looks_come_late() -> bool {
    SEEN_BEFORE_QUEUE.load() == 0
}

/// Whether neither the current task nor the list that it reads is wanted: then nothing need be put
/// together. The list is on `skb`, which was sent on `sender`.
#[inline(always)]
pub(crate) fn passes_over(task: Task, list: u64, skb: u64, sender: u64) -> bool {
    if !is_on() || INSTALL_BY_TABLE.load() != 1 {
        return false;
    }
    if is_suspended()
        || is_current_wanted(task)
        || is_marked(list)
        // Where the verifier knows what an address points to, it is no number to hand over.
        || (looks_come_late() && (is_of_wanted_sock(sender) || !held::knows(list, skb)))
    {
        return false;
    }
    held::forget(list);
    true
}

/// The same, where nothing but the list is known of a message and senders are seen before they queue.
#[inline(always)]
pub(crate) fn passes_over_list(task: Task, list: u64) -> bool {
    if !is_on() || is_suspended() || is_marked(list) || is_current_wanted(task) {
        return false;
    }
    held::forget(list);
    true
}

/// Whether nobody wants what a receiver, or whoever destroys a list, does with it now.
#[inline(always)]
pub(crate) fn drops(head: &Head) -> bool {
    is_on()
        && !is_wanted(&head.comm)
        && !is_marked(head.list)
        && !(looks_come_late() && !is_unwanted(head.list, head.skb, head.sender_sock))
}

/// Whether the current task is wanted.
#[inline(always)]
pub(crate) fn wants_sender(task: Task) -> bool {
    is_on() && is_current_wanted(task)
}

/// Decides about a list's records, whose head is complete but for the run's own fields; notes in
/// the head whether the current task is wanted.
#[inline(always)]
pub(crate) fn way(head: &mut Head, stage: Stage) -> Way {
    if !is_on() {
        return Way::Emit;
    }
    let wanted = is_wanted(&head.comm);
    if wanted {
        head.flags |= FLAG_WANTED;
        if stage == Stage::Sending && looks_come_late() {
            note_sock(head);
        }
    }
    if head.list == 0 {
        // What nobody has received is nobody else's.
        if !wanted && is_of_sender_alone(head.kind) {
            return Way::Drop;
        }
        // A sender that was too late for its list. There are few, and any may be wanted.
        return Way::Emit;
    }
    let marked = is_marked(head.list) || (head.origin != 0 && is_marked(head.origin));
    match stage {
        Stage::Sending if wanted || marked => {
            if wanted && looks_come_late() {
                // Another thread may have taken the list for its own.
                held::release(head);
            }
            mark(head);
            Way::Emit
        }
        Stage::Sending if looks_come_late() && is_of_wanted_sock(head.sender_sock) => Way::Emit,
        // Of a peek, or of a send that tells more when the duplicate is on its skb.
        Stage::Sending if head.kind == RecordKind::ListDuplicated as u16 => Way::Drop,
        Stage::Sending => Way::Hold,
        _ if wanted && !marked && is_first_to_ask(head, stage) => {
            take_up(head);
            Way::Emit
        }
        _ if wanted || marked => Way::Emit,
        // There is a window only on a list that has not been passed over as it was read.
        Stage::Receiving if head.kind == RecordKind::ReceiveReturned as u16 => Way::Emit,
        _ if looks_come_late() && !is_unwanted(head.list, head.skb, head.sender_sock) => {
            held::release(head);
            Way::Emit
        }
        Stage::Reading if INSTALL_BY_TABLE.load() == 1 => {
            held::forget(head.list);
            Way::Drop
        }
        _ => Way::Drop,
    }
}

/// Whether nothing before this record of a receiver, or of whoever gives a list back, has asked who is wanted.
#[inline(always)]
fn is_first_to_ask(head: &Head, stage: Stage) -> bool {
    stage == Stage::Reading
        || head.kind == RecordKind::Received as u16
        // Where each hop is watched, its read has.
        || (BY_SLOT.load() == 1 && head.kind == RecordKind::ListReleased as u16)
}

/// Whether such a record is of a send that gets nowhere.
#[inline(always)]
fn is_of_sender_alone(kind: u16) -> bool {
    kind == RecordKind::SendReturned as u16
        || kind == RecordKind::RightsIgnored as u16
        || kind == RecordKind::RightsEmpty as u16
}

/// The current task destroys a list that nobody has read, or duplicates one: if it is wanted, so is the list,
/// with what was kept of its sender.
#[inline(always)]
pub(crate) fn takes(head: &Head) {
    if is_on() && is_wanted(&head.comm) && !is_marked(head.list) {
        take_up(head);
    }
}

/// The current task has got a duplicate of a list, which the head is of. If it is wanted, so is what was
/// kept of the original's sender, where no hop before has asked.
#[inline(always)]
pub(crate) fn duplicates(head: &mut Head) {
    if BY_SLOT.load() == 1 {
        let duplicate = core::mem::replace(&mut head.list, head.origin);
        takes(head);
        head.list = duplicate;
    }
}

/// A send of this list has failed, so nobody will receive it.
#[inline(always)]
pub(crate) fn failed(list: u64) {
    if is_on() {
        held::forget(list);
    }
}

/// A hop's records have gone their way: what was kept for the list goes when the list does.
#[inline(always)]
pub(crate) fn done(head: &Head, way: Way, stage: Stage) {
    if !is_on() || stage != Stage::Receiving {
        return;
    }
    let ends = head.kind == RecordKind::ListReleased as u16
        || head.kind == RecordKind::Received as u16
        || head.kind == RecordKind::Unsent as u16
        || head.kind == RecordKind::ListDestroyed as u16
        || (head.kind == RecordKind::ReceiveReturned as u16
            && head.flags & (FLAG_PEEK | FLAG_OOB | FLAG_LEFT) == 0
            // A receive from a stream that fails leaves what it read.
            && (head.result >= 0 || head.socket_type != SOCK_STREAM));
    if !ends {
        return;
    }
    let returned = head.kind == RecordKind::ReceiveReturned as u16;
    if way == Way::Drop {
        // Up to 6.9 every sender gives its own list back, and a duplicate of it is in the queue.
        let lives_on = head.kind == RecordKind::ListReleased as u16 && calls::is_sending(head.list);
        if !returned && !lives_on {
            held::forget(head.list);
        }
        return;
    }
    // What was queued at its address since it was read is another list.
    let until = if returned { head.origin } else { u64::MAX };
    // SAFETY: the entry is a number, and stays one whoever writes it.
    if unsafe { MARKED_LISTS.get(&head.list) }.is_some_and(|since| *since <= until) {
        let _ = MARKED_LISTS.remove(&head.list);
    }
}

#[inline(always)]
fn is_marked(list: u64) -> bool {
    // SAFETY: only the presence of the entry counts.
    unsafe { MARKED_LISTS.get(&list) }.is_some()
}

#[inline(always)]
fn mark(head: &Head) {
    if MARKED_LISTS.insert(&head.list, &head.t_ns, 0).is_err() {
        ring::count(Counter::MarkedFull);
    }
}

/// From now on this list is wanted, with what was kept of its sender.
#[inline(always)]
fn take_up(head: &Head) {
    held::release(head);
    mark(head);
}

/// Whether it is known that this list was sent by a task that is not wanted, on a socket that no
/// wanted task sends on. A global function, verified once for all who ask.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_unwanted_list(list: u64, skb: u64, sender: u64) -> u64 {
    u64::from(!is_of_wanted_sock(sender) && held::knows(list, skb))
}

#[inline(always)]
fn is_unwanted(list: u64, skb: u64, sender: u64) -> bool {
    is_unwanted_list(list, skb, sender) != 0
}

/// Whether a wanted task has sent on this socket.
#[inline(always)]
pub(crate) fn is_of_wanted_sock(sock: u64) -> bool {
    // SAFETY: only the presence of the entry counts.
    unsafe { WANTED_SOCKS.get(&sock) }.is_some()
}

/// From now on everything is reported that is sent on the socket of this record. What others have
/// sent on it until now was not.
#[inline(always)]
fn note_sock(head: &mut Head) {
    if head.sender_sock != 0 && !is_of_wanted_sock(head.sender_sock) {
        head.flags |= FLAG_FIRST_SEEN;
        let _ = WANTED_SOCKS.insert(&head.sender_sock, &1, 0);
    }
}
