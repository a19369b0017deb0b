//! The story: what was recorded, in order of time, beside what the source says happens there. Pure.
//!
//! It has two kinds of acts. A [`Scene`] is a moment at which an actor was held: both tables and
//! what /proc showed. A [`Passage`] is a call through the kernel, function by function; it cannot be
//! stopped, so it is told from the records.

mod model;
mod names;
mod scenes;

use super::{
    Path,
    endings::{ending, turn},
    functions::{DROP, Function, RECEIVE, SEND, When},
    path::Standing,
    recorder::Recording,
};
use crate::{
    ledger,
    plan::{Hop, Kind, Plan, PlannedHop},
    report::Pointers,
    tracker::{Cause, Chain, Fate, HopSeen, SocketType, Transfer},
    verify::{Scenario, fact::Fact},
};

pub use model::*;
use names::Names;

/// Files of a message that are told of one by one.
const FILES_TOLD: usize = 3;
/// Messages that are told function by function; of more, only their hops are.
const MESSAGES_TOLD: usize = 2;
/// Messages that are told of at all.
const MESSAGES_MAX: usize = 12;

/// Tells stories of what one kernel did.
pub struct Teller<'a> {
    /// What there is to see on this kernel.
    pub plan: &'a Plan,
    /// The functions it has.
    pub path: &'a Path,
}

impl Teller<'_> {
    /// Makes a story of what was recorded of a scenario and what a tracker made of it.
    #[must_use]
    pub fn tell(
        &self,
        scenario: &Scenario,
        recording: &Recording,
        transfers: &[Transfer],
        pointers: &mut Pointers,
    ) -> Story {
        let messages = messages(transfers);
        let names = Names::of_play(
            &recording.stills,
            messages.iter().flat_map(|message| &message.transfers),
        );
        let mut writer = Writer {
            teller: self,
            recording,
            names: &names,
            pointers,
        };
        let mut acts: Vec<Act> = Vec::new();
        let told = &messages[..messages.len().min(MESSAGES_MAX)];
        for (place, message) in told.iter().enumerate() {
            acts.extend(writer.passages(message, place < MESSAGES_TOLD));
        }
        let end = match messages.get(MESSAGES_MAX) {
            Some(left_out) => left_out.first_seen(),
            None => u64::MAX,
        };
        let scenes = recording.stills.iter().filter(|still| still.t_ns < end);
        acts.extend(scenes.map(|still| Act::Scene(writer.scene(still, &messages))));
        acts.sort_by_key(Act::t_ns);
        Story {
            scenario: scenario.name.to_owned(),
            about: scenario.summary.to_owned(),
            kernel: self.plan.release.clone(),
            watched: self
                .plan
                .hops
                .iter()
                .filter(|planned| planned.is_watched())
                .map(|planned| planned.hop.name().to_owned())
                .collect(),
            blind_because: blind_because(self.plan),
            endings: told
                .iter()
                .flat_map(|message| writer.endings(message))
                .collect(),
            messages_left_out: messages.len() - told.len(),
            files: names.list(writer.pointers),
            reason: None,
            acts,
        }
    }
}

/// Transfers of one list: a message, or what MSG_PEEK made of one.
struct Message<'a> {
    /// Its place in time, from 1.
    number: u64,
    transfers: Vec<&'a Transfer>,
    /// Nothing was told of its sending yet.
    is_first: bool,
}

impl Message<'_> {
    fn first_seen(&self) -> u64 {
        let seen = self.transfers[0].hops.first();
        seen.map_or(u64::MAX, |seen| seen.t_ns)
    }

    fn has(&self, hop: Hop) -> bool {
        self.at(hop).is_some()
    }

    fn at(&self, hop: Hop) -> Option<&HopSeen> {
        self.transfers
            .iter()
            .flat_map(|transfer| &transfer.hops)
            .find(|seen| seen.hop == hop)
    }

    fn any(&self, fate: Fate) -> bool {
        self.transfers.iter().any(|transfer| transfer.fate == fate)
    }

    /// The first of its causes.
    fn cause(&self) -> Option<Cause> {
        self.transfers.iter().find_map(|transfer| transfer.cause)
    }

    fn cause_is(&self, names: &[&str]) -> bool {
        self.cause()
            .is_some_and(|cause| names.contains(&cause.name()))
    }

    fn was_queued(&self) -> bool {
        !self.any(Fate::Failed) && !self.cause_is(&["zero-length"])
    }

    fn was_duplicated(&self) -> bool {
        matches!(
            (self.at(Hop::Copy), self.at(Hop::Attach)),
            (Some(copied), Some(attached)) if copied.list != attached.list
        )
    }

    fn was_read(&self) -> bool {
        self.has(Hop::Dequeue) || self.has(Hop::Detach) || self.transfers[0].receiver.is_some()
    }
}

/// The messages in order of time.
fn messages(transfers: &[Transfer]) -> Vec<Message<'_>> {
    let mut messages: Vec<(u64, Message<'_>)> = Vec::new();
    for transfer in transfers
        .iter()
        .filter(|transfer| !transfer.hops.is_empty())
    {
        let is_peek = transfer.fate == Fate::Peeked;
        let same = messages.iter_mut().find(|(id, message)| {
            *id == transfer.message
                && (message.transfers[0].fate == Fate::Peeked) == is_peek
                && (!is_peek
                    || message.transfers[0].hops.last().map(|seen| seen.list)
                        == transfer.hops.last().map(|seen| seen.list))
        });
        match same {
            Some((_, message)) => message.transfers.push(transfer),
            None => {
                let is_first = messages.iter().all(|(id, _)| *id != transfer.message);
                messages.push((
                    transfer.message,
                    Message {
                        number: 0,
                        transfers: vec![transfer],
                        is_first,
                    },
                ));
            }
        }
    }
    for (_, message) in &mut messages {
        message.transfers.sort_by_key(|transfer| transfer.index);
    }
    messages.sort_by_key(|(_, message)| message.first_seen());
    let mut ids: Vec<u64> = Vec::new();
    messages
        .into_iter()
        .map(|(id, message)| {
            let place = ids
                .iter()
                .position(|known| *known == id)
                .unwrap_or_else(|| {
                    ids.push(id);
                    ids.len() - 1
                });
            Message {
                number: place as u64 + 1,
                ..message
            }
        })
        .collect()
}

/// How a message went, for the conditions that functions have.
struct Course {
    holds: Vec<When>,
    turn: Option<(&'static str, &'static str)>,
    /// Where another file was seen than before. What comes after is not told: it is not known whose
    /// it is.
    wrong: Option<Hop>,
}

impl Course {
    fn is(&self, when: When) -> bool {
        self.holds.contains(&when)
    }
}

struct Writer<'a> {
    teller: &'a Teller<'a>,
    recording: &'a Recording,
    names: &'a Names,
    pointers: &'a mut Pointers,
}

impl Writer<'_> {
    /// The calls that a message went through.
    fn passages(&mut self, message: &Message<'_>, in_full: bool) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut add = |writer: &mut Self, kind, title, t_ns, way| {
            let course = writer.course(message, kind);
            let mut steps = Vec::new();
            writer.steps(way, 0, message, &course, &mut steps);
            if !in_full {
                steps.retain(|step: &Step| step.hop.is_some());
                steps.iter_mut().for_each(|step| step.depth = 0);
            }
            acts.push(Act::Passage(Passage {
                act: "passage",
                t_ns,
                message: message.number,
                kind,
                title,
                steps,
            }));
        };
        if message.is_first {
            let (title, t_ns) = self.send_title(message);
            add(self, "send", title, t_ns, SEND);
        }
        let read = [Hop::Dequeue, Hop::Detach, Hop::Receive, Hop::Install]
            .into_iter()
            .find_map(|hop| message.at(hop));
        if let (Some(seen), true) = (read, message.was_read() && message.was_queued()) {
            let kind = if message.any(Fate::Peeked) {
                "peek"
            } else {
                "receive"
            };
            let title = format!(
                "{} {} receives message {}",
                seen.comm, seen.pid, message.number
            );
            add(self, kind, title, seen.t_ns, RECEIVE);
        } else if let (Some(seen), true) = (message.at(Hop::End), message.was_queued()) {
            let title = format!(
                "message {} ends unread, in {} {}",
                message.number, seen.comm, seen.pid
            );
            add(self, "drop", title, seen.t_ns, DROP);
        }
        acts
    }

    fn send_title(&self, message: &Message<'_>) -> (String, u64) {
        let transfer = message.transfers[0];
        let seen = &transfer.hops[0];
        let Some(sender) = &transfer.sender else {
            // Nobody was seen sending, so when it was is not known, only that it was before this.
            return (
                format!("somebody sends message {}", message.number),
                seen.t_ns,
            );
        };
        let files: Vec<String> = message
            .transfers
            .iter()
            .take(FILES_TOLD)
            .map(|transfer| {
                let name = self.names.of(&transfer.file);
                match transfer.sender.as_ref().and_then(|sender| sender.fd) {
                    Some(fd) => format!("{name} (its {fd})"),
                    None => name,
                }
            })
            .collect();
        let more = match message.transfers.len().saturating_sub(FILES_TOLD) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let socket = match sender.socket_fd {
            Some(fd) => format!(" into its socket {fd}"),
            None => String::new(),
        };
        (
            format!(
                "{} {} sends message {}: {}{more}{socket}",
                sender.comm,
                sender.pid,
                message.number,
                files.join(", "),
            ),
            sender.t_ns.min(seen.t_ns),
        )
    }

    fn course(&self, message: &Message<'_>, kind: &str) -> Course {
        let mut holds = Vec::new();
        let kinds = match message.transfers[0].socket.kind {
            Some(SocketType::Stream) => &[When::Stream][..],
            Some(SocketType::Dgram) => &[When::Packets][..],
            Some(SocketType::Seqpacket) => &[When::Packets, When::Seqpacket][..],
            None => &[],
        };
        holds.extend(kinds);
        let pid = match kind {
            "send" => message.transfers[0]
                .sender
                .as_ref()
                .map(|sender| sender.pid),
            _ => message.transfers[0]
                .receiver
                .as_ref()
                .map(|receiver| receiver.pid),
        };
        if self.recording.facts.iter().any(|fact| match (fact, kind) {
            (Fact::Sent { actor, .. } | Fact::SendFailed { actor, .. }, "send") => {
                Some(actor.pid) == pid
            }
            // Calls that are not recvmsg have no flags to tell of truncation with.
            (
                Fact::Received {
                    actor, truncated, ..
                },
                "receive" | "peek",
            ) => Some(actor.pid) == pid && truncated.is_some(),
            _ => false,
        }) {
            holds.push(When::SystemCall);
        }
        holds.push(if message.was_queued() {
            When::Queued
        } else {
            When::NotQueued
        });
        if message.was_duplicated() {
            holds.push(When::Duplicated);
        }
        holds.push(if kind == "peek" {
            When::Peeked
        } else {
            When::Taken
        });
        let control = message.any(Fate::Delivered)
            || message.any(Fate::Peeked)
            || message.any(Fate::Refused)
            || message.has(Hop::Detach)
            || message.cause_is(&["rlimit-nofile"]);
        holds.push(if control {
            When::Control
        } else {
            When::NoControl
        });
        if message.cause_is(&["receiver-closed"]) {
            holds.push(When::Closed);
        }
        if message.any(Fate::Collected) {
            holds.push(When::Collected);
        }
        holds.push(When::Dropped);
        let turn = message
            .cause()
            .and_then(turn)
            .map(|(function, note, _)| (function, note));
        let wrong = message
            .transfers
            .iter()
            .find_map(|transfer| match transfer.chain {
                Chain::Differs { hop } => Some(hop),
                _ => None,
            });
        Course { holds, turn, wrong }
    }

    fn steps(
        &mut self,
        functions: &[Function],
        depth: usize,
        message: &Message<'_>,
        course: &Course,
        steps: &mut Vec<Step>,
    ) {
        for function in functions {
            let went_wrong =
                |step: &Step| step.hop.as_ref().map(|hop| hop.hop) == course.wrong.map(Hop::name);
            if course.wrong.is_some() && steps.iter().any(went_wrong) {
                return;
            }
            if !function.when.iter().all(|when| course.is(*when)) {
                continue;
            }
            let is_there = function.wraps_if.is_none_or(|when| course.is(when));
            let found = self
                .teller
                .path
                .find(function.name, course.is(When::Stream));
            let Some((name, standing)) = found.filter(|_| is_there) else {
                self.steps(function.calls, depth, message, course, steps);
                continue;
            };
            let turn = course.turn.filter(|(turning, _)| {
                *turning == name || matches!(*turning, "unix_gc") && name == "__unix_gc"
            });
            steps.push(Step {
                depth,
                function: name.to_owned(),
                standing: match standing {
                    Standing::Function => "function",
                    Standing::Clone(_) => "clone",
                    Standing::Inlined => "inlined",
                },
                clone: match standing {
                    Standing::Clone(clone) => Some(clone),
                    _ => None,
                },
                does: function.does.to_owned(),
                turn: match (course.wrong, function.hop) {
                    (Some(wrong), Some(hop)) if wrong == hop => {
                        Some("here it went wrong: this is another file than before".to_owned())
                    }
                    _ => turn.map(|(_, note)| note.to_owned()),
                },
                hop: function.hop.map(|hop| self.hop(hop, message)),
            });
            self.steps(function.calls, depth + 1, message, course, steps);
        }
    }

    fn hop(&mut self, hop: Hop, message: &Message<'_>) -> HopTold {
        HopTold {
            hop: hop.name(),
            is_watched: self.teller.plan.watches(hop),
            watched: self.watched(hop),
            next: (hop == Hop::End && message.at(hop).is_some())
                .then_some("the list's reference goes next"),
            seen: message.at(hop).map(|seen| self.sighting(seen, message)),
        }
    }

    /// Where the plan watches a hop, or why it does not.
    fn watched(&self, hop: Hop) -> String {
        let planned = self.teller.plan.hops.iter().find(|it| it.hop == hop);
        let Some(planned) = planned else {
            return "not in the plan".to_owned();
        };
        let hook = planned
            .hooks
            .iter()
            .find(|hook| hook.fired.is_some())
            .or(planned.hooks.first());
        match hook {
            Some(hook) => match hook.kind {
                Kind::Fentry | Kind::Kprobe => {
                    format!("as {} began ({})", hook.target, hook.kind.name())
                }
                Kind::Fexit | Kind::Kretprobe => {
                    format!("as {} returned ({})", hook.target, hook.kind.name())
                }
                Kind::BtfTracepoint | Kind::RawTracepoint => {
                    format!("at the tracepoint {}", hook.target)
                }
            },
            None => {
                let common = blind_because(self.teller.plan).len();
                let reasons: Vec<&str> = reasons(planned).skip(common).collect();
                reasons.join("; ")
            }
        }
    }

    fn sighting(&mut self, seen: &HopSeen, message: &Message<'_>) -> Sighting {
        let known = |address: u64| (address != 0).then_some(address);
        let mut files = Vec::new();
        for transfer in message.transfers.iter().take(FILES_TOLD) {
            files.extend(self.file_told(seen.hop, transfer));
        }
        Sighting {
            t_ns: seen.t_ns,
            after_ns: seen.t_ns.saturating_sub(message.first_seen()),
            cpu: seen.cpu,
            pid: seen.pid,
            tid: seen.tid,
            comm: seen.comm.clone(),
            list: self.pointers.show("list", seen.list),
            skb: known(seen.skb).map(|skb| self.pointers.show("skb", skb)),
            sender_sock: known(seen.sender_sock).map(|sock| self.pointers.show("sock", sock)),
            receiver_sock: known(seen.receiver_sock).map(|sock| self.pointers.show("sock", sock)),
            more_files: message.transfers.len().saturating_sub(FILES_TOLD),
            files,
        }
    }

    fn file_told(&mut self, hop: Hop, transfer: &Transfer) -> Option<FileTold> {
        let entries: Vec<_> = ledger::entries(transfer).collect();
        let place = entries.iter().position(|entry| entry.seen.hop == hop)?;
        let entry = &entries[place];
        let refs_before = match place.checked_sub(1) {
            Some(before) => entries[before].seen.refs,
            None => self.refs_before(transfer, entry.seen.t_ns),
        };
        let changed: i64 = entry.changes.iter().map(|change| change.by).sum();
        let unaccounted = match (refs_before, entry.seen.refs) {
            (Some(before), Some(now)) => now - before - changed,
            _ => 0,
        };
        let sender = transfer.sender.as_ref().and_then(|sender| sender.fd);
        let receiver = transfer.receiver.as_ref().and_then(|receiver| receiver.fd);
        Some(FileTold {
            name: self.names.of(&transfer.file),
            file: self.pointers.file_at(transfer, entry.seen),
            fd: match hop {
                Hop::Copy => sender,
                Hop::Queue if place == 0 => sender,
                Hop::Install => receiver,
                _ => None,
            },
            refs_before,
            refs: entry.seen.refs,
            changes: entry
                .changes
                .iter()
                .map(|change| Moved {
                    by: change.by,
                    whose: change.whose,
                })
                .collect(),
            unaccounted,
        })
    }

    /// The file's count when an actor was last held.
    fn refs_before(&self, transfer: &Transfer, t_ns: u64) -> Option<i64> {
        let still = self
            .recording
            .stills
            .iter()
            .rev()
            .find(|still| still.t_ns < t_ns)?;
        still
            .processes
            .iter()
            .flat_map(|process| &process.descriptors)
            .find(|row| {
                row.file == transfer.file.ptr && row.ino.is_none_or(|ino| ino == transfer.file.ino)
            })
            .map(|row| row.refs)
    }

    fn endings(&self, message: &Message<'_>) -> Vec<Ending> {
        message
            .transfers
            .iter()
            .map(|transfer| Ending {
                message: message.number,
                file: self.names.of(&transfer.file),
                sender_fd: transfer.sender.as_ref().and_then(|sender| sender.fd),
                receiver_fd: transfer.receiver.as_ref().and_then(|receiver| receiver.fd),
                fate: transfer.fate.name(),
                cause: transfer.cause.map(Cause::name),
                means: match transfer.chain {
                    Chain::Differs { .. } => "what came out is not what went in",
                    _ => ending(transfer.fate, transfer.cause),
                },
            })
            .collect()
    }
}

fn reasons(planned: &PlannedHop) -> impl Iterator<Item = &str> {
    planned.why.iter().flat_map(|why| why.split("; "))
}

/// The reasons that every hop has that is not watched, which a story need not tell each time.
fn blind_because(plan: &Plan) -> Vec<String> {
    let blind = || plan.hops.iter().filter(|planned| !planned.is_watched());
    let Some(first) = blind().next() else {
        return Vec::new();
    };
    if blind().count() < 2 {
        return Vec::new();
    }
    let shared = |place: usize, reason: &str| {
        blind().all(|planned| reasons(planned).nth(place) == Some(reason))
    };
    reasons(first)
        .enumerate()
        .take_while(|(place, reason)| shared(*place, reason))
        .map(|(_, reason)| reason.to_owned())
        .collect()
}
