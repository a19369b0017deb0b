//! Assembler: from records to events.
//!
//! What the kernel half sees at a hop takes several records: a list of 253 files is in parts, and what
//! files, sockets and tasks are, and which functions were under way, is written ahead of the hop's own
//! record. The records of several CPUs come mixed. Here they become one event each.

use std::mem::{self, Discriminant};

use super::{
    Backtrace, Recent,
    event::{Aside, Event, EventKind, List, Stamp},
    record::{AsideKind, Record},
};
use crate::model::Task;

/// Names the kernel function that an address lies in.
pub type Symbolizer = Box<dyn Fn(u64) -> Option<String>>;

/// Hops whose own record is still to come, of which something is known. It comes at once, unless it was
/// lost.
const ASIDES_MAX: usize = 1024;

/// Backtraces whose list has still to end. It ends at once, unless its record was lost.
const BACKTRACES_MAX: usize = 1024;

/// Tasks that are remembered; what is still in use is described again within a second.
const TASKS_MAX: usize = 16_384;

/// Events of which some parts are still to come.
const BEGUN_MAX: usize = 4096;

/// Between two records of one run a program is preempted at most: no longer than this, nanoseconds.
const PREEMPTED_MAX_NS: u64 = 1_000_000_000;

/// Which run of a program: its list, time and thread.
type Run = (Option<List>, u64, u32);

fn run(of: &Stamp) -> Run {
    (of.list, of.at.ns, of.by.tid)
}

/// What the parts of one event have in common: list, thread and kind.
type Key = (Option<List>, u32, Discriminant<EventKind>);

fn key(event: &Event) -> Key {
    let stamp = &event.seen.stamp;
    (stamp.list, stamp.by.tid, mem::discriminant(&event.kind))
}

/// Whose end a backtrace is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum EndOf {
    List(List),
    /// The call of a thread, where there is no list.
    CallOf(u32),
}

impl EndOf {
    fn of(stamp: &Stamp) -> Self {
        stamp.list.map_or(Self::CallOf(stamp.by.tid), Self::List)
    }

    fn of_event(event: &Event) -> Option<Self> {
        let stamp = &event.seen.stamp;
        match event.kind {
            EventKind::ListDestroyed { .. }
            | EventKind::ListReleased(_)
            | EventKind::ReceiveReturned(_) => Some(Self::of(stamp)),
            // Its list has gone.
            EventKind::SendReturned(_) => Some(Self::CallOf(stamp.by.tid)),
            _ => None,
        }
    }
}

/// Joins records to events.
pub struct Assembler {
    symbolize: Symbolizer,
    asides: Recent<Run, Aside>,
    backtraces: Recent<EndOf, Vec<u64>>,
    tasks: Recent<u32, Task>,
    /// Events of which parts are still to come. An interrupt may bring other lists into the same thread.
    begun: Recent<Key, Event>,
}

impl Assembler {
    /// An assembler that names code addresses with `symbolize`.
    #[must_use]
    pub fn new(symbolize: Symbolizer) -> Self {
        Self {
            symbolize,
            asides: Recent::new(ASIDES_MAX),
            backtraces: Recent::new(BACKTRACES_MAX),
            tasks: Recent::new(TASKS_MAX),
            begun: Recent::new(BEGUN_MAX),
        }
    }

    /// Takes in one record, and calls `emit` with each event that is whole by then, or of which the rest
    /// was lost.
    pub fn take(&mut self, record: Record, emit: &mut impl FnMut(&mut Event)) {
        let event = match record {
            Record::Aside(of, aside) => return self.note(&of, aside),
            Record::Event(event) => event,
        };
        let key = key(&event);
        let mut whole = event;
        if let Some(mut begun) = self.begun.remove(&key) {
            match begun.append(whole) {
                Ok(()) => whole = begun,
                Err(next) => {
                    self.hand_over(begun, emit);
                    whole = *next;
                }
            }
        }
        self.end_parts_of(&key, emit);
        if whole.is_whole() {
            self.hand_over(whole, emit);
        } else if let Some(oldest) = self.begun.insert(key, whole) {
            self.hand_over(oldest, emit);
        }
    }

    /// Calls `emit` with what has begun at this list's address and is followed by something else: its
    /// rest was lost, or comes later by itself. A receive returns when its list has been freed, so
    /// whatever follows there says nothing of its parts.
    fn end_parts_of(&mut self, next: &Key, emit: &mut impl FnMut(&mut Event)) {
        let is_of = |event: &&Event| {
            let returns = matches!(event.kind, EventKind::ReceiveReturned(_));
            event.seen.stamp.list == next.0 && next.0.is_some() && !returns
        };
        let others: Vec<Key> = self.begun.values().filter(is_of).map(key).collect();
        for other in others {
            if let Some(begun) = self.begun.remove(&other) {
                self.hand_over(begun, emit);
            }
        }
    }

    /// Says that every record up to `t_ns` (CLOCK_MONOTONIC) has come: calls `emit` with the events whose
    /// last parts were lost.
    pub fn settle(&mut self, t_ns: u64, emit: &mut impl FnMut(&mut Event)) {
        let until = t_ns.saturating_sub(PREEMPTED_MAX_NS);
        while let Some(begun) = self.begun.take_first(|it| it.seen.stamp.at.ns < until) {
            self.hand_over(begun, emit);
        }
    }

    /// Says that no record is to come: calls `emit` with what there is.
    pub fn end(&mut self, emit: &mut impl FnMut(&mut Event)) {
        self.settle(u64::MAX, emit);
        self.asides.clear();
        self.backtraces.clear();
    }

    fn note(&mut self, of: &Stamp, aside: AsideKind) {
        match aside {
            AsideKind::SocketName(name) => self.aside(of).socket_name = Some(name),
            AsideKind::File(described) => self.aside(of).described.push(described),
            AsideKind::FailedSend(it) => self.aside(of).failed_send = Some(it),
            AsideKind::Task(task) => drop(self.tasks.insert(of.by.tid, task)),
            AsideKind::Backtrace(addresses) => {
                self.backtraces.insert(EndOf::of(of), addresses);
            }
        }
    }

    fn aside(&mut self, of: &Stamp) -> &mut Aside {
        self.asides.get_or_insert(run(of), Aside::default)
    }

    fn hand_over(&mut self, mut event: Event, emit: &mut impl FnMut(&mut Event)) {
        self.complete(&mut event);
        emit(&mut event);
    }

    /// Joins what other records say of an event.
    fn complete(&mut self, event: &mut Event) {
        let backtrace = self.backtrace_of(event);
        let stamp = &event.seen.stamp;
        let aside = &mut event.seen.aside;
        if let Some(known) = self.asides.remove(&run(stamp)) {
            aside.described.extend(known.described);
            aside.socket_name = known.socket_name.or(aside.socket_name.take());
            aside.failed_send = known.failed_send;
        }
        aside.task = self.tasks.get(&stamp.by.tid).copied();
        aside.backtrace = backtrace;
    }

    fn backtrace_of(&mut self, event: &Event) -> Backtrace {
        let addresses = EndOf::of_event(event).and_then(|end| self.backtraces.remove(&end));
        match (addresses, event.kind) {
            (Some(addresses), _) => Backtrace::new(addresses.into_iter().map(&self.symbolize)),
            (
                None,
                EventKind::ListDestroyed {
                    freed_by: Some(address),
                    ..
                },
            ) => Backtrace::by((self.symbolize)(address)),
            (None, _) => Backtrace::default(),
        }
    }
}

impl Event {
    fn is_whole(&self) -> bool {
        usize::from(self.seen.first) + self.seen.files.len() >= usize::from(self.seen.total)
    }

    /// Takes in the next part of this event; gives back what is no such part.
    fn append(&mut self, part: Self) -> Result<(), Box<Self>> {
        let (seen, next) = (&mut self.seen, &part.seen);
        let is_next = run(&seen.stamp) == run(&next.stamp)
            && seen.stamp.skb == next.stamp.skb
            && usize::from(seen.first) + seen.files.len() == usize::from(next.first);
        if !is_next {
            return Err(Box::new(part));
        }
        // What was found out meanwhile, such as that the list has left its queue, holds for all parts.
        self.kind = part.kind;
        seen.files.extend(part.seen.files);
        seen.aside.described.extend(part.seen.aside.described);
        Ok(())
    }
}
