//! A model that knows the truth: courses of several messages at once, by tracepoints and by functions,
//! what may go unseen of them, and whether what is said of them is so.
//!
//! Every number is one file's in one message, so that a wrong pairing shows, while addresses are few
//! and come back all the time. What one program tells in one run stands or falls together, and what
//! the kernel half itself does not know for a run that it missed is left out too.

use std::{cell::Cell, collections::BTreeMap, collections::VecDeque, rc::Rc};

use fdtrace::{
    judge::{Meanwhile, Unseen},
    model::{Fate, Hop, Judged, Losses, Transfer, Verdict},
    plan::Plan,
};
use fdtrace_common::records::{FLAG_INSTALLED_UNSEEN, FLAG_PEEK, RecordKind};
use fdtrace_testkit::{
    Event, OTHER_CALL, PLAIN_READ, Passing, RECVMSG, UNIX_RELEASE_SOCK, head_mut, tracker,
};
use proptest::prelude::*;

/// How it is seen who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// By a look at the queue.
    Look,
    /// As the numbers are copied.
    Copy,
    /// Likewise, where the skb gets a duplicate of the sender's list, up to 6.9.
    Duplicate,
}

/// How it is seen what was installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// By a look at the receiver's table.
    Table,
    /// File by file.
    Install,
}

/// How a course is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) sent: Sent,
    pub(crate) taken: Taken,
}

impl Way {
    const TRACEPOINTS: Self = Self {
        sent: Sent::Look,
        taken: Taken::Table,
    };
    /// The way that guesses nothing.
    pub(crate) const FUNCTIONS: Self = Self {
        sent: Sent::Copy,
        taken: Taken::Install,
    };
    const DUPLICATING: Self = Self {
        sent: Sent::Duplicate,
        taken: Taken::Install,
    };
}

/// When a sender looks for its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    BeforeTheRead,
    AfterTheRead,
    AfterTheReturn,
    /// After the read, and it finds nothing.
    InVain,
}

/// How a message ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Delivered,
    PeekedThenDelivered,
    Truncated,
    Read,
    Destroyed,
}

#[derive(Clone, Debug)]
struct Message {
    files: Vec<u64>,
    end: End,
    looks: Looks,
    /// Which of its process's threads sends it.
    thread: u32,
    lane: usize,
    skb: u64,
}

/// Messages, and in what order their runs come.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    way: Way,
    messages: Vec<Message>,
    turns: Vec<usize>,
    /// Runs between two times that the ring buffer is emptied and the counters are read.
    drained_every: usize,
}

/// What goes unseen, by its place among the runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone {
    pub(crate) skipped: Vec<prop::sample::Index>,
    pub(crate) lost: Vec<prop::sample::Index>,
}

const LANES: usize = 3;
/// From the sender's number of a file to the receiver's.
pub(crate) const APART: i32 = 4000;

/// Any end, a delivery as often as all others.
pub(crate) fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => Just(End::Delivered),
        1 => Just(End::PeekedThenDelivered),
        1 => Just(End::Truncated),
        1 => Just(End::Read),
        1 => Just(End::Destroyed),
    ]
}

/// How many files should come to each fate, of messages of so many files.
pub(crate) fn fates(messages: impl IntoIterator<Item = (usize, End)>) -> BTreeMap<Fate, usize> {
    let mut fates = BTreeMap::new();
    for (n, end) in messages {
        let mut add = |fate: Fate, count: usize| *fates.entry(fate).or_insert(0) += count;
        match end {
            End::Delivered => add(Fate::Delivered, n),
            End::PeekedThenDelivered => {
                add(Fate::Peeked, n);
                add(Fate::Delivered, n);
            }
            End::Truncated => {
                add(Fate::Delivered, n / 2);
                add(Fate::Truncated, n - n / 2);
            }
            End::Read | End::Destroyed => add(Fate::Discarded, n),
        }
    }
    fates.retain(|_, count| *count > 0);
    fates
}

/// Courses in which nothing has to be left open: one thread sends on each socket, and each look finds
/// its list.
pub(crate) fn courses() -> impl Strategy<Value = Course> {
    let looks = prop_oneof![Just(Looks::BeforeTheRead), Just(Looks::AfterTheRead)];
    courses_with(looks, Just(0))
}

/// Courses in which looks come late, and several threads send on a socket.
pub(crate) fn crowded_courses() -> impl Strategy<Value = Course> {
    let looks = prop_oneof![
        2 => Just(Looks::BeforeTheRead),
        1 => Just(Looks::AfterTheRead),
        1 => Just(Looks::AfterTheReturn),
        2 => Just(Looks::InVain),
    ];
    let thread = prop_oneof![3 => Just(0), 1 => Just(1_u32)];
    courses_with(looks, thread)
}

fn courses_with(
    looks: impl Strategy<Value = Looks>,
    thread: impl Strategy<Value = u32>,
) -> impl Strategy<Value = Course> {
    let file = (1..4_u64).prop_map(|file| 0xffff_8881_0000_0000 + file * 256);
    let files = prop_oneof![
        3 => prop::collection::vec(file.clone(), 1..4),
        1 => prop::collection::vec(file, 15..20),
    ];
    let message = (files, ends(), looks, thread, 0..LANES, 0..2_u64).prop_map(
        |(files, end, looks, thread, lane, skb)| Message {
            files,
            end,
            looks,
            thread,
            lane,
            skb: 0xffff_8883_0000_0000 + skb * 256,
        },
    );
    let way = prop_oneof![
        2 => Just(Way::TRACEPOINTS),
        1 => Just(Way::FUNCTIONS),
        1 => Just(Way::DUPLICATING),
    ];
    let turns = prop::collection::vec(0..LANES, 1..16);
    (
        way,
        prop::collection::vec(message, 1..10),
        turns,
        1..12_usize,
    )
        .prop_map(|(way, messages, turns, drained_every)| Course {
            way,
            messages,
            turns,
            drained_every,
        })
}

pub(crate) fn gone() -> impl Strategy<Value = Gone> {
    let places = || prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (places(), places()).prop_map(|(skipped, lost)| Gone { skipped, lost })
}

/// One run of one program at a time that it is given.
type Run = Box<dyn Fn(u64) -> Vec<Event>>;

impl Course {
    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// The same course seen in another way.
    pub(crate) fn seen(&self, way: Way) -> Self {
        Self {
            way,
            ..self.clone()
        }
    }

    /// How many files should come to each fate.
    pub(crate) fn fates(&self) -> BTreeMap<Fate, usize> {
        let messages = self.messages.iter();
        fates(messages.map(|message| (message.files.len(), message.end)))
    }

    /// Each lane's runs in turn: sender and receiver, with sockets of their own, take one message
    /// after the other.
    fn runs(&self) -> Vec<(usize, Run)> {
        let mut lanes: [VecDeque<Run>; LANES] = Default::default();
        let mut number = 0;
        for message in &self.messages {
            let runs = &mut lanes[message.lane];
            runs.extend(message.runs(self.way, number));
            number += message.files.len() as i32;
        }
        let mut turn = self.turns.iter().cycle();
        let mut mixed = Vec::new();
        while lanes.iter().any(|lane| !lane.is_empty()) {
            let first = *turn.next().expect("there are turns");
            let mut next = (0..LANES).map(|offset| (first + offset) % LANES);
            let lane = next.find(|lane| !lanes[*lane].is_empty());
            let lane = lane.expect("one is not empty");
            mixed.extend(lanes[lane].pop_front().map(|run| (lane, run)));
        }
        mixed
    }

    /// What is said of each file in spite of what goes unseen, in the order in which it ends.
    pub(crate) fn judged(
        &self,
        gone: &Gone,
        plan: &Plan,
        meanwhile: impl Fn(Meanwhile) -> Meanwhile,
    ) -> Vec<Judged> {
        let runs = self.runs();
        let places = |of: &[prop::sample::Index]| -> Vec<usize> {
            of.iter().map(|place| place.index(runs.len())).collect()
        };
        let (skipped, lost) = (places(&gone.skipped), places(&gone.lost));
        let mut tracker = tracker();
        let (mut unseen, mut losses) = (Unseen::default(), Losses::default());
        let mut judged = Vec::new();
        let mut lost_at: Vec<u64> = Vec::new();
        let mut lanes = [Lane::default(); LANES];
        let last = runs.len() - 1;
        for (place, (lane, run)) in runs.into_iter().enumerate() {
            let t_ns = 1000 + 10 * place as u64;
            let mut events = run(t_ns);
            for event in &mut events {
                // As its program saw it that began then, whenever its record comes.
                let head = head_mut(event);
                let before = lost_at.iter().rfind(|lost| **lost < head.t_ns);
                head.epoch = before.copied().unwrap_or(0);
            }
            let is_skipped = skipped.contains(&place);
            losses.recursion_misses += u64::from(is_skipped);
            lanes[lane].see(&mut events, is_skipped);
            if !is_skipped && lost.contains(&place) {
                lost_at.push(t_ns);
                losses.window_full += 1;
            } else if !is_skipped {
                events.into_iter().for_each(|event| tracker.apply(event));
            }
            if place == last {
                tracker.close_open();
            }
            if place % self.drained_every == 0 || place == last {
                unseen.read(&losses, t_ns + 5);
                judged.extend(tracker.take_closed().into_iter().map(|transfer| {
                    let seen = meanwhile(unseen.meanwhile(&transfer));
                    Judged::of(transfer, |hop: Hop| plan.watches(hop), seen)
                }));
            }
        }
        judged
    }
}

/// What the kernel half remembers of a lane's receive under way.
#[derive(Clone, Copy, Default)]
struct Lane {
    /// The run was skipped without which the rest of the receive is not looked at.
    is_blind: bool,
    /// Installs that it does not know of.
    behind: u16,
}

impl Lane {
    fn see(&mut self, events: &mut Vec<Event>, is_skipped: bool) {
        events.retain_mut(|event| {
            let head = head_mut(event);
            let is = |kind: RecordKind| head.kind == kind as u16;
            if is(RecordKind::ListDequeued) || is(RecordKind::ListDetached) {
                *self = Self {
                    is_blind: is_skipped,
                    behind: 0,
                };
            } else if is(RecordKind::FileReceived) || is(RecordKind::FdInstalled) {
                head.first -= self.behind;
                self.behind += u16::from(is_skipped && is(RecordKind::FdInstalled));
                return !self.is_blind;
            } else if is(RecordKind::ReceiveReturned) {
                return !self.is_blind;
            } else if is(RecordKind::ListReleased) && self.is_blind {
                head.flags |= FLAG_INSTALLED_UNSEEN;
            }
            true
        });
    }
}

impl Message {
    fn runs(&self, way: Way, number: i32) -> Vec<Run> {
        let lane = self.lane as u64;
        let passing = |list: u64| Passing {
            list: 0xffff_8882_0000_0000 + lane * 0x1_0000 + list * 0x1000,
            skb: self.skb,
            sender: 100 + 10 * self.lane as u32,
            receiver: 200 + 10 * self.lane as u32,
            files: self.files.clone(),
            sender_fd: 1000 + number,
            receiver_fd: 1000 + APART + number,
            read_at: Cell::new(0),
        };
        let message = Rc::new(passing(0));
        let mut runs = Runs::default();
        match way.sent {
            Sent::Look => runs.looked_for(self.looks, &message),
            Sent::Copy => runs.copied(&message, passing(0)),
            Sent::Duplicate => runs.copied(&message, passing(1)),
        }
        match way.taken {
            Taken::Table => runs.by_table(self, &message),
            Taken::Install => runs.by_install(self, &message, passing(2)),
        }
        runs.look_late(self.looks, way, &message);
        let (sender, thread) = (message.sender, self.thread);
        let on_its_socket = move |run: Run| -> Run {
            Box::new(move |t_ns| {
                let mut events = run(t_ns);
                for event in &mut events {
                    let head = head_mut(event);
                    head.sender_sock += lane * 0x10_0000;
                    head.receiver_sock += lane * 0x10_0000;
                    if head.pid == sender {
                        head.tid += thread;
                    }
                    head.sender_ino += lane * 100;
                    head.receiver_ino += lane * 100;
                }
                events
            })
        };
        runs.0.into_iter().map(on_its_socket).collect()
    }
}

#[derive(Default)]
struct Runs(Vec<Run>);

impl Runs {
    fn add(&mut self, of: &Rc<Passing>, run: impl Fn(&Passing, u64) -> Vec<Event> + 'static) {
        let of = Rc::clone(of);
        self.0.push(Box::new(move |t_ns| run(&of, t_ns)));
    }

    /// The sender's look at the queue, at the time at which it should come.
    fn looked_for(&mut self, looks: Looks, passing: &Rc<Passing>) {
        match looks {
            Looks::InVain => self.add(passing, Passing::raced),
            _ => self.add(passing, Passing::queued),
        }
    }

    /// The sender's call, up to the queue.
    fn copied(&mut self, passing: &Rc<Passing>, own: Passing) {
        let origin = own.list;
        let is_duplicated = origin != passing.list;
        let own = Rc::new(own);
        self.add(&own, Passing::copied);
        if is_duplicated {
            self.add(passing, move |it, t_ns| it.duplicated(t_ns, origin));
        }
        self.add(passing, move |it, t_ns| {
            it.attached(t_ns, if is_duplicated { origin } else { 0 })
        });
        self.add(passing, Passing::edged);
        if is_duplicated {
            self.add(&own, |it, t_ns| it.released(t_ns, it.sender, OTHER_CALL));
        }
    }

    /// Puts a look where it comes late, if a receiver was there before: behind the first read, or, as
    /// far as its record goes, behind the return from that.
    fn look_late(&mut self, looks: Looks, way: Way, of: &Rc<Passing>) {
        let is_read = self.0.len() > 2;
        if way.sent != Sent::Look || looks == Looks::BeforeTheRead || !is_read {
            return;
        }
        if looks == Looks::AfterTheReturn && way.taken == Taken::Table && self.0.len() == 3 {
            drop(self.0.remove(0));
            // The program was preempted after it had found the list.
            self.add(of, |it, _| it.queued(it.read_at.get() - 1));
        } else {
            let look = self.0.remove(0);
            self.0.insert(1, look);
        }
    }

    fn by_table(&mut self, message: &Message, passing: &Rc<Passing>) {
        let count = message.files.len();
        match message.end {
            End::Destroyed => self.destroyed(passing),
            End::PeekedThenDelivered => {
                self.add(passing, Passing::dequeued);
                self.add(passing, move |it, t_ns| {
                    let gained = (0..count).map(|index| it.gained(index));
                    it.returned_with(t_ns, RECVMSG, FLAG_PEEK, gained.collect())
                });
                self.add(passing, Passing::dequeued);
                self.add(passing, move |it, t_ns| it.returned(t_ns, count));
            }
            end => {
                self.add(passing, Passing::dequeued);
                self.add(passing, move |it, t_ns| match end {
                    End::Truncated => it.returned(t_ns, count / 2),
                    End::Read => it.returned_with(t_ns, PLAIN_READ, 0, Vec::new()),
                    _ => it.returned(t_ns, count),
                });
            }
        }
    }

    fn by_install(&mut self, message: &Message, passing: &Rc<Passing>, peek: Passing) {
        let count = message.files.len();
        let peek = Rc::new(peek);
        let room = match message.end {
            End::Destroyed => return self.destroyed(passing),
            End::Read => {
                self.add(passing, Passing::dequeued);
                self.add(passing, |it, t_ns| {
                    it.released(t_ns, it.receiver, PLAIN_READ)
                });
                return;
            }
            End::PeekedThenDelivered => {
                let origin = passing.list;
                self.add(passing, Passing::dequeued);
                self.add(&peek, move |it, t_ns| {
                    let mut events = it.duplicated(t_ns, origin);
                    for event in &mut events {
                        let head = head_mut(event);
                        (head.pid, head.tid) = (it.receiver, it.receiver);
                    }
                    events
                });
                self.taken(&peek, count);
                count
            }
            End::Truncated => count / 2,
            End::Delivered => count,
        };
        self.add(passing, Passing::dequeued);
        self.taken(passing, room);
    }

    fn destroyed(&mut self, passing: &Rc<Passing>) {
        self.add(passing, |it, t_ns| {
            it.destroyed(t_ns, UNIX_RELEASE_SOCK, 300)
        });
    }

    /// Installs as many of its files as there is room for.
    fn taken(&mut self, passing: &Rc<Passing>, room: usize) {
        self.add(passing, move |it, t_ns| it.detached_into(t_ns, room));
        for index in 0..room {
            let fd = move |it: &Passing| it.receiver_fd + index as i32;
            self.add(passing, move |it, t_ns| {
                it.installed(t_ns, index, fd(it)).drain(..1).collect()
            });
            // Its record says a moment later.
            self.add(passing, move |it, t_ns| {
                it.installed(t_ns - 1, index, fd(it)).drain(1..).collect()
            });
        }
        self.add(passing, |it, t_ns| it.released(t_ns, it.receiver, RECVMSG));
    }
}

/// Whether sender's and receiver's numbers are of the same file in the same message.
pub(crate) fn pairs_up(transfer: &Transfer) -> bool {
    let sender = transfer.sender.as_ref().and_then(|sender| sender.fd);
    let receiver = transfer.receiver().and_then(|receiver| receiver.fd);
    matches!((sender, receiver), (Some(sent), Some(received)) if sent + APART == received)
}

/// What is said that is not so: no file ever is another one here.
pub(crate) fn is_wrong(judged: &Judged) -> bool {
    match judged.verdict {
        Some(Verdict::Same) => !pairs_up(&judged.transfer),
        Some(Verdict::Different) => true,
        _ => false,
    }
}
