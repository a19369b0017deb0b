//! Row: what is told of one message in one line; of one descriptor, where each has a line of its own.

use std::fmt::Write as _;

use anstyle::Style;
use smallvec::SmallVec;

use super::{
    super::{
        phrase::{ended, push_number, receiver},
        sanitize::push_sanitized,
        text::{DIM, RED, YELLOW},
    },
    failed::failed_send,
    names::push_file,
    notes::{Note, of_agains, of_relays},
    numbers::Number,
    texts::{Piece, Texts},
};
use crate::{
    explain::words,
    model::{
        Cause, CauseMissing, Earlier, Fate, Judged, Mark, Marks, SocketType, Transfer, Verdict,
    },
};

/// Transfers that are told together.
pub(super) struct Row {
    key: Key,
    /// When the last of them was last seen.
    pub(super) t_ns: u64,
    pub(super) sender: Piece,
    pub(super) from: SmallVec<[Number; 2]>,
    pub(super) receiver: Piece,
    pub(super) to: SmallVec<[Number; 2]>,
    /// The socket's type, and its name.
    pub(super) socket: (&'static str, Piece),
    pub(super) queued_ns: Option<u64>,
    entries: SmallVec<[Entry; 1]>,
    /// How many files the message has.
    count: u16,
    /// Not all of them may be here.
    parted: bool,
}

/// What is alike of transfers that have one row.
#[derive(PartialEq, Eq)]
pub(super) struct Key {
    message: u64,
    /// One descriptor alone.
    index: Option<u16>,
    sender: Option<u32>,
    receiver: Option<u32>,
    peek: bool,
    overdue: bool,
}

struct Entry {
    index: u16,
    file: Piece,
    fate: Fate,
    cause: Option<Cause>,
    /// Nobody was watching yet for what would have told the cause.
    not_yet_watched: bool,
    verdict: Option<Verdict>,
    marks: Marks,
    earlier: Earlier,
    /// Who closed the receiving socket with it, where that was seen.
    closed_by: Option<Piece>,
    /// What its send had to do with, which failed.
    failed_send: Option<Piece>,
}

impl Row {
    pub(super) fn new(key: Key, judged: &Judged, parted: bool, texts: &mut Texts) -> Self {
        let transfer = &judged.transfer;
        let socket = &transfer.socket;
        let mut row = Self {
            parted: parted || key.index.is_some(),
            key,
            t_ns: 0,
            sender: match &transfer.sender {
                Some(sender) => texts.add(|text| push_party(text, &sender.comm, sender.pid)),
                None => texts.add(|text| text.push('?')),
            },
            from: SmallVec::new(),
            receiver: match transfer.receiver() {
                Some(receiver) => texts.add(|text| push_party(text, &receiver.comm, receiver.pid)),
                None => texts.add(|text| text.push_str("nobody")),
            },
            to: SmallVec::new(),
            socket: (
                socket.kind.map_or("", SocketType::name),
                texts.add(|text| {
                    let name = socket.path.as_deref().or(socket.other.as_deref());
                    push_sanitized(text, name.unwrap_or_default());
                }),
            ),
            queued_ns: transfer.queued_ns,
            entries: SmallVec::new(),
            count: transfer.count,
        };
        row.add(judged, texts);
        row
    }

    /// Whether transfers with this key belong here.
    pub(super) fn is_of(&self, key: &Key) -> bool {
        self.key == *key
    }

    /// Takes in a transfer that belongs here.
    pub(super) fn add(&mut self, judged: &Judged, texts: &mut Texts) {
        let transfer = &judged.transfer;
        self.t_ns = self.t_ns.max(transfer.last_ns());
        if let Some(sender) = &transfer.sender {
            self.from.push(Number::of(sender.fd));
        }
        if let Some(receiver) = transfer.receiver() {
            self.to.push(match receiver.fd {
                None if transfer.fate().has_cause() => Number::Lost,
                fd => Number::of(fd),
            });
        }
        let closed_by = receiver(transfer).filter(|_| transfer.receiver().is_none());
        self.entries.push(Entry {
            index: transfer.index,
            file: texts.add(|text| push_file(text, transfer)),
            fate: transfer.fate(),
            cause: transfer.cause(),
            not_yet_watched: transfer.cause_missing() == Some(CauseMissing::NotYetWatched),
            verdict: judged.verdict,
            marks: judged.marks(),
            earlier: judged.earlier.clone(),
            failed_send: transfer
                .failed_send
                .as_deref()
                .zip(transfer.cause())
                .and_then(|(send, cause)| failed_send(send, cause))
                .map(|said| texts.add(|text| text.push_str(&said))),
            closed_by: closed_by.map(|(pid, comm)| texts.add(|text| push_party(text, comm, pid))),
        });
    }

    /// What stands in front of it, so that a loss is seen without colour.
    pub(super) fn mark(&self) -> (Style, &'static str) {
        let any = |is: fn(&Entry) -> bool| self.entries.iter().any(is);
        if any(|entry| entry.verdict == Some(Verdict::Different)) {
            (RED, "!")
        } else if any(|entry| entry.fate.has_cause()) {
            (RED, "✗")
        } else if any(|entry| entry.fate == Fate::Unknown) {
            (YELLOW, "?")
        } else if any(|entry| entry.fate == Fate::Queued) {
            (YELLOW, "…")
        } else {
            (DIM, " ")
        }
    }

    /// How those that were not delivered ended: `truncated: room for 2 of 4`.
    pub(super) fn endings(&self) -> Vec<(Style, String)> {
        let arrived = |entry: &Entry| {
            entry.fate == Fate::Delivered && entry.verdict != Some(Verdict::Different)
        };
        if self.entries.iter().all(arrived) {
            return Vec::new();
        }
        let mut endings: Vec<(&Entry, usize)> = Vec::new();
        for entry in &self.entries {
            let alike = |(other, _): &&mut (&Entry, usize)| {
                (other.fate, other.cause) == (entry.fate, entry.cause)
            };
            match endings.iter_mut().find(alike) {
                Some((_, count)) => *count += 1,
                None => endings.push((entry, 1)),
            }
        }
        let several = endings
            .iter()
            .filter(|(entry, _)| entry.fate != Fate::Delivered)
            .count()
            > 1;
        let endings = endings.into_iter().filter_map(|(entry, count)| {
            let style = match entry.fate {
                Fate::Delivered => return None,
                fate if fate.has_cause() => RED,
                _ => YELLOW,
            };
            let count = if several {
                format!("{count} ")
            } else {
                String::new()
            };
            let ended = match (entry.cause, self.room()) {
                (Some(Cause::NoControlRoom), Some(room)) => {
                    format!("{}: room for {room} of {}", entry.fate, self.count)
                }
                (Some(cause), _) => format!("{}: {cause}", entry.fate),
                (None, _) => ended(entry.fate, None),
            };
            Some((style, count + &ended))
        });
        let mut endings: Vec<_> = endings.collect();
        if self
            .entries
            .iter()
            .any(|entry| entry.verdict == Some(Verdict::Different))
        {
            endings.push((RED, "DIFFERENT FILE".to_owned()));
        }
        endings
    }

    /// How many descriptors the control buffer had room for. The kernel installs from the first on, so
    /// that is the place of the first one that had none.
    pub(super) fn room(&self) -> Option<u16> {
        let without = |entry: &&Entry| entry.cause == Some(Cause::NoControlRoom);
        let places = self.entries.iter().filter(without).map(|entry| entry.index);
        places.min().filter(|room| *room == 0 || !self.parted)
    }

    /// Each cause with what helps, in the figures of this message where there are any.
    pub(super) fn cures(&self, texts: &Texts) -> Vec<String> {
        let mut cures = Vec::new();
        for entry in &self.entries {
            let cure = match entry.cause {
                Some(cause) => self.cure(entry, cause, texts),
                None => entry.not_yet_watched.then(not_yet_watched),
            };
            cures.extend(cure.filter(|cure| !cures.contains(cure)));
        }
        cures
    }

    fn cure(&self, entry: &Entry, cause: Cause, texts: &Texts) -> Option<String> {
        let closed_by = entry.closed_by.map(|by| texts.of(by));
        let cure = match (cause, self.room(), closed_by) {
            (Cause::NoControlRoom, Some(room), _) => {
                let (needed, more) = (control_space(self.count), control_len(room + 1));
                let count = self.count;
                format!(
                    "room for {room}, {count} came: CMSG_SPACE({count} × sizeof(int)) is {needed} \
                     bytes, less than {more} were left (in a 64-bit program)"
                )
            }
            (Cause::PlainRead, ..) => {
                "taken by a plain read() or recv(): use recvmsg, with a control buffer".to_owned()
            }
            (Cause::RlimitNofile, ..) => {
                "no number left below RLIMIT_NOFILE: raise it (ulimit -n, LimitNOFILE=), or close \
                 what the receiver leaks"
                    .to_owned()
            }
            (Cause::ReceiverClosed, _, Some(by)) => {
                format!("{by} closed the receiving socket without having read it")
            }
            (cause, ..) => match (entry.failed_send, words::cure(cause)) {
                (Some(said), Some(cure)) => format!("{}; {cure}", texts.of(said)),
                (Some(said), None) => texts.of(said).to_owned(),
                (None, cure) => cure?.to_owned(),
            },
        };
        Some(format!("{cause}: {cure}"))
    }

    /// Whether a descriptor was lost.
    pub(super) fn is_loss(&self) -> bool {
        self.entries.iter().any(|entry| entry.fate.has_cause())
    }

    /// Which files it is about, each once: the lost ones, if any are.
    pub(super) fn files(&self, texts: &mut Texts) -> SmallVec<[Piece; 1]> {
        let any_lost = self.is_loss();
        let told = self
            .entries
            .iter()
            .filter(|entry| entry.fate.has_cause() || !any_lost);
        let mut files: SmallVec<[(Piece, usize); 1]> = SmallVec::new();
        for entry in told {
            let name = texts.of(entry.file);
            match files.iter_mut().find(|(file, _)| texts.of(*file) == name) {
                Some((_, count)) => *count += 1,
                None => files.push((entry.file, 1)),
            }
        }
        let files = files.into_iter().map(|(file, count)| match count {
            1 => file,
            _ => texts.extend(file, |text| {
                let _ = write!(text, " ×{count}");
            }),
        });
        files.collect()
    }

    /// What else there is to say.
    pub(super) fn notes(&self) -> SmallVec<[Note; 2]> {
        let mut notes = SmallVec::new();
        for verdict in [Verdict::Lost, Verdict::Unverified] {
            let with = |entry: &&Entry| entry.verdict == Some(verdict);
            let judged = self.entries.iter().filter(|entry| entry.verdict.is_some());
            let count = self.entries.iter().filter(with).count();
            notes.extend(Note::of(DIM, count, judged.count(), verdict.name()));
        }
        for mark in Mark::ALL {
            let earlier = || self.entries.iter().map(|entry| &entry.earlier);
            let relays = || earlier().filter_map(|earlier| earlier.relay.as_ref());
            let agains = || earlier().filter_map(|earlier| earlier.again);
            let with = |entry: &&Entry| entry.marks.contains(&mark);
            let count = self.entries.iter().filter(with).count();
            let all = match mark {
                Mark::Inheritable => self
                    .entries
                    .iter()
                    .filter(|entry| entry.fate.installs())
                    .count(),
                _ => self.entries.len(),
            };
            let note = Note::of(YELLOW, count, all, mark.name());
            notes.extend(note.map(|note| match mark {
                Mark::Relay => note.with(of_relays(relays)),
                Mark::Again => note.with(of_agains(agains)),
                _ => note,
            }));
        }
        notes
    }
}

/// `nginx[812]`
pub(super) fn push_party(text: &mut String, comm: &str, pid: u32) {
    push_sanitized(text, comm);
    text.push('[');
    push_number(text, pid);
    text.push(']');
}

/// CMSG_LEN of so many descriptors, in a 64-bit program.
fn control_len(count: u16) -> usize {
    const HEADER: usize = 16;
    HEADER + usize::from(count) * size_of::<i32>()
}

/// CMSG_SPACE of so many descriptors, in a 64-bit program.
fn control_space(count: u16) -> usize {
    control_len(count).next_multiple_of(8)
}

impl Key {
    pub(super) fn of(transfer: &Transfer, each: bool) -> Self {
        Self {
            message: transfer.message,
            index: each.then_some(transfer.index),
            sender: transfer.sender.as_ref().map(|sender| sender.pid),
            receiver: transfer.receiver().map(|receiver| receiver.pid),
            peek: transfer.peek || transfer.fate() == Fate::Peeked,
            overdue: transfer.overdue,
        }
    }
}

/// Beneath the first send that fails: what sends return is not watched before one does.
fn not_yet_watched() -> String {
    "why is not known: what tells that is watched from this failed send on, and from the start with --hops"
        .to_owned()
}
