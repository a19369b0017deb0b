//! Messages: all that are on their way, each in one phase, where its phase says that it is found.
//!
//! What was seen of a message is in [`Message`]. Its phase says where the next event finds it, and
//! so what becomes of it if none comes. A message leaves its phase for another one by
//! [`Messages::enter`], and for good by [`Messages::remove`]; there is no other way.

use std::{
    cell::Cell,
    collections::VecDeque,
    hash::{Hash, Hasher},
};

use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;
use slab::Slab;

use super::{Ending, message::Message};
use crate::wire::{Fd, List, Sock, Stamp};

/// A message that is on its way. It is another one's as soon as this one is removed.
pub(super) type Id = usize;

/// What a message does, as far as events tell.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// Its list is alive, at this address. How far it has come is its [`Message::step`], which late looks
    /// and peeks move in both directions.
    Listed(List),
    /// It is being received, and its list's address is another's by now.
    Returning { by: u32 },
    /// A thread was reading it when another began to: it only peeks, unless the second reads another
    /// message at the same address.
    Overtaken { by: u32 },
    /// What a peek made of a message that stays where it is, at `origin`.
    PeekOf { origin: List, at: List },
    /// It did not get into a queue, and what its sender's call returns says why.
    AwaitingReturn { by: u32 },
    /// Its send may come back. `passed_ns` is when its thread was seen with another send, which may be
    /// a signal handler's.
    PutOff {
        key: Key,
        last: Stamp,
        passed_ns: Option<u64>,
    },
    /// It was received, and a look that is still to come may tell who sent it.
    AwaitingSender { returned_ns: u64, ending: Ending },
}

/// By what a message is found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// The address of its list.
    List(List),
    /// The address of the duplicate that a peek made.
    Peek(List),
    /// The thread that receives it.
    Returning(u32),
    /// The thread that was reading it first.
    Overtaken(u32),
    /// The thread whose send has still to return.
    Send(u32),
    /// The thread whose send a signal interrupted.
    Interrupted(u32),
    /// The process, socket and first number of a send that io_uring put off.
    Uring(u32, Option<Sock>, Option<Fd>),
}

/// How many kinds of keys there are.
const KINDS: usize = 7;

impl Key {
    fn kind(self) -> usize {
        match self {
            Self::List(_) => 0,
            Self::Peek(_) => 1,
            Self::Returning(_) => 2,
            Self::Overtaken(_) => 3,
            Self::Send(_) => 4,
            Self::Interrupted(_) => 5,
            Self::Uring(..) => 6,
        }
    }
}

impl Hash for Key {
    /// One word is enough to tell most apart: lists are aligned, and threads have few messages.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(match *self {
            Self::List(list) => list.address(),
            Self::Peek(list) => list.address() + 1,
            Self::Returning(tid) => u64::from(tid) << 3,
            Self::Overtaken(tid) => u64::from(tid) << 3 | 1,
            Self::Send(tid) => u64::from(tid) << 3 | 2,
            Self::Interrupted(tid) => u64::from(tid) << 3 | 3,
            Self::Uring(pid, ..) => u64::from(pid) << 3 | 4,
        });
    }
}

impl Phase {
    fn key(&self) -> Option<Key> {
        Some(match *self {
            Self::Listed(list) => Key::List(list),
            Self::Returning { by } => Key::Returning(by),
            Self::Overtaken { by } => Key::Overtaken(by),
            Self::PeekOf { at, .. } => Key::Peek(at),
            Self::AwaitingReturn { by } => Key::Send(by),
            Self::PutOff { key, .. } => key,
            Self::AwaitingSender { .. } => return None,
        })
    }

    /// In which order messages end where all do.
    pub(super) fn rank(&self) -> (u8, u64) {
        match self {
            Self::AwaitingSender { returned_ns, .. } => (0, *returned_ns),
            Self::Listed(_) | Self::Returning { .. } => (1, 0),
            Self::AwaitingReturn { .. } => (2, 0),
            Self::PutOff { .. } => (3, 0),
            Self::PeekOf { .. } | Self::Overtaken { .. } => (4, 0),
        }
    }
}

/// A message in its phase.
pub(super) struct Entry {
    pub(super) message: Box<Message>,
    pub(super) phase: Phase,
}

/// The messages that are on their way, no more than there is room for.
pub(super) struct Messages {
    all: Slab<Entry>,
    /// Those that are found by a key, in the order in which they got it.
    by_key: LinkedHashMap<Key, Id, RandomState>,
    /// How many keys of each kind there are: of most kinds mostly none.
    keys: [usize; KINDS],
    /// What was found last, as long as it is there: one event asks for it several times.
    latest: Cell<Option<(Key, Id)>>,
    /// Those that await their sender, in the order in which they were received.
    awaiting: VecDeque<Id>,
    /// What those with a key take in memory, counted in files.
    weight: usize,
    room: usize,
    /// Too much has come, and more than that has to go.
    is_full: bool,
}

impl Messages {
    /// Room for messages that have `room` files together, each message counting as one more.
    pub(super) fn with_room(room: usize) -> Self {
        Self {
            all: Slab::new(),
            by_key: LinkedHashMap::default(),
            keys: [0; KINDS],
            latest: Cell::new(None),
            awaiting: VecDeque::new(),
            weight: 0,
            room,
            is_full: false,
        }
    }

    pub(super) fn find(&self, key: Key) -> Option<Id> {
        if let Some((latest, id)) = self.latest.get()
            && latest == key
        {
            return Some(id);
        }
        if self.keys[key.kind()] == 0 {
            return None;
        }
        let id = *self.by_key.get(&key)?;
        self.latest.set(Some((key, id)));
        Some(id)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Message> {
        self.at(self.find(key)?)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Message> {
        self.at_mut(self.find(key)?)
    }

    pub(super) fn at(&self, id: Id) -> Option<&Message> {
        self.all.get(id).map(|entry| &*entry.message)
    }

    pub(super) fn at_mut(&mut self, id: Id) -> Option<&mut Message> {
        self.all.get_mut(id).map(|entry| &mut *entry.message)
    }

    pub(super) fn entry_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.all.get_mut(self.find(key)?)
    }

    /// Takes in a new message; gives the one that was found where this one is now.
    pub(super) fn add(&mut self, message: Box<Message>, phase: Phase) -> Option<Entry> {
        let id = self.all.insert(Entry { message, phase });
        self.index(id)
    }

    /// Lets a message go on to another phase; gives the one that was found where this one is now.
    pub(super) fn enter(&mut self, id: Id, phase: Phase) -> Option<Entry> {
        self.forget_place(id);
        self.all.get_mut(id)?.phase = phase;
        self.index(id)
    }

    fn index(&mut self, id: Id) -> Option<Entry> {
        let entry = self.all.get(id)?;
        let Some(key) = entry.phase.key() else {
            self.awaiting.push_back(id);
            return None;
        };
        let weight = entry.message.weight();
        let displaced = self.take(key);
        self.by_key.insert(key, id);
        self.keys[key.kind()] += 1;
        self.weight += weight;
        displaced
    }

    fn forget_place(&mut self, id: Id) {
        self.latest.set(None);
        let Some(entry) = self.all.get(id) else {
            return;
        };
        match entry.phase.key() {
            Some(key) => {
                if self.by_key.remove(&key).is_some() {
                    self.keys[key.kind()] -= 1;
                    self.weight -= entry.message.weight();
                }
            }
            None => self.awaiting.retain(|other| *other != id),
        }
    }

    /// Takes a message out for good.
    pub(super) fn remove(&mut self, id: Id) -> Option<Entry> {
        self.forget_place(id);
        self.all.try_remove(id)
    }

    /// Takes out for good what is found by `key`.
    pub(super) fn take(&mut self, key: Key) -> Option<Entry> {
        self.remove(self.find(key)?)
    }

    /// Takes out for good what came first, if there is more than room for, and then at once an eighth of
    /// the room, so that this is rare. The latest one always stays.
    pub(super) fn excess(&mut self) -> Option<Entry> {
        self.is_full |= self.weight > self.room;
        let enough = self.room - if self.is_full { self.room / 8 } else { 0 };
        self.is_full = self.weight > enough && self.by_key.len() > 1;
        let first = self.is_full.then(|| self.by_key.front()).flatten();
        self.remove(*first?.1)
    }

    /// Takes out for good all of whom this is true, in the order in which they end.
    pub(super) fn take_all(&mut self, is_meant: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let meant = self.all.iter().filter(|(_, entry)| is_meant(entry));
        let meant: Vec<Id> = meant.map(|(id, _)| id).collect();
        let mut taken: Vec<Entry> = meant.into_iter().filter_map(|id| self.remove(id)).collect();
        taken.sort_by_key(|entry| (entry.phase.rank(), entry.message.id));
        taken
    }

    /// Those whose list is alive.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Message> {
        self.all.iter().filter_map(|(_, entry)| match entry.phase {
            Phase::Listed(_) => Some(&*entry.message),
            _ => None,
        })
    }

    /// The same, to be changed.
    pub(super) fn listed_mut(&mut self) -> impl Iterator<Item = &mut Message> {
        self.all
            .iter_mut()
            .filter_map(|(_, entry)| match entry.phase {
                Phase::Listed(_) => Some(&mut *entry.message),
                _ => None,
            })
    }

    /// Those that await their sender, the first to be received first.
    pub(super) fn awaiting(&self) -> impl Iterator<Item = (Id, &Message)> {
        let ids = self.awaiting.iter();
        ids.filter_map(|id| Some((*id, self.at(*id)?)))
    }

    /// When the first of them was received.
    pub(super) fn longest_awaiting(&self) -> Option<u64> {
        Some(self.awaits_since(*self.awaiting.front()?)?.0)
    }

    /// Takes out for good the first of them, if there are more than `most` or it was received before
    /// `t_ns`.
    pub(super) fn take_awaiting(
        &mut self,
        most: usize,
        t_ns: u64,
    ) -> Option<(Box<Message>, Ending)> {
        let id = *self.awaiting.front()?;
        let is_old = self.awaits_since(id).is_some_and(|(since, _)| since < t_ns);
        if !is_old && self.awaiting.len() <= most {
            return None;
        }
        let entry = self.remove(id)?;
        match entry.phase {
            Phase::AwaitingSender { ending, .. } => Some((entry.message, ending)),
            _ => None,
        }
    }

    /// When one of them was received, and how that returned.
    pub(super) fn awaits_since(&self, id: Id) -> Option<(u64, Ending)> {
        match self.all.get(id)?.phase {
            Phase::AwaitingSender {
                returned_ns,
                ending,
            } => Some((returned_ns, ending)),
            _ => None,
        }
    }
}
