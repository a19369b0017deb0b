//! The story: what was recorded, in order of time, beside what the source says happens there. Pure.
//!
//! It has two kinds of parts. A [`Moment`] is the state at a checkpoint, where an actor was held: both
//! tables and what /proc showed. A [`Call`] is a call through the kernel, function by function; it
//! cannot be stopped, so it is made from the records.

mod course;
mod hops;
mod messages;
mod model;
mod moments;
mod names;
mod ways;

use super::{
    KernelPath,
    endings::ending,
    functions::{DROP, Function, RECEIVE, SEND, When},
    path::Standing,
    recorder::RunLog,
};
use crate::{
    model::{Chain, Digits, Fate, Hop, Pointers, Transfer},
    plan::Plan,
    verify::Scenario,
};

use course::Course;
use hops::blind_because;
use messages::{Message, messages};
pub use model::*;
use names::Names;
pub(crate) use names::UNNAMED;

/// Files of a message that are shown one by one.
const FILES_SHOWN: usize = 3;
/// Messages that are shown function by function; of further ones only the hops are.
const MESSAGES_IN_FULL: usize = 2;
/// Messages that are shown at all.
const MESSAGES_MAX: usize = 12;

/// Makes stories of what one kernel did.
pub struct Explainer<'a> {
    /// What there is to see on this kernel.
    pub plan: &'a Plan,
    /// The functions it has.
    pub path: &'a KernelPath,
}

impl Explainer<'_> {
    /// Makes a story of what was recorded of a scenario and what a tracker made of it.
    #[must_use]
    pub fn explain(
        &self,
        scenario: &Scenario,
        recording: &RunLog,
        transfers: &[Transfer],
        pointers: &mut Pointers,
    ) -> Story {
        let messages = messages(transfers);
        let names = Names::of_play(
            &recording.checkpoints,
            messages.iter().flat_map(|message| &message.transfers),
        );
        let mut writer = Writer {
            explainer: self,
            recording,
            names: &names,
            pointers,
        };
        let mut parts: Vec<Part> = Vec::new();
        let shown = &messages[..messages.len().min(MESSAGES_MAX)];
        for (place, message) in shown.iter().enumerate() {
            parts.extend(writer.calls(message, place < MESSAGES_IN_FULL));
        }
        let end = match messages.get(MESSAGES_MAX) {
            Some(left_out) => left_out.first_seen(),
            None => u64::MAX,
        };
        let moments = recording
            .checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.t_ns < end);
        parts.extend(moments.map(|checkpoint| Part::Moment(writer.moment(checkpoint, &messages))));
        parts.sort_by_key(Part::t_ns);
        Story {
            scenario: scenario.name.to_owned(),
            about: scenario.summary.to_owned(),
            kernel: self.plan.release.clone(),
            watched: self
                .plan
                .hops
                .iter()
                .filter(|planned| planned.is_watched())
                .map(|planned| planned.hop)
                .collect(),
            blind_because: blind_because(self.plan),
            endings: shown
                .iter()
                .flat_map(|message| writer.endings(message))
                .collect(),
            ways: ways::ways(&messages, &names),
            messages_left_out: messages.len() - shown.len(),
            files: names.list(writer.pointers),
            result: None,
            reason: None,
            parts,
        }
    }
}

struct Writer<'a> {
    explainer: &'a Explainer<'a>,
    recording: &'a RunLog,
    names: &'a Names,
    pointers: &'a mut Pointers,
}

impl Writer<'_> {
    /// The calls that a message went through.
    fn calls(&mut self, message: &Message<'_>, in_full: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut add = |writer: &mut Self, kind, title, t_ns, way| {
            let course = writer.course(message, kind);
            let mut steps = Vec::new();
            writer.steps(way, 0, message, &course, &mut steps);
            if !in_full {
                steps.retain(|step: &Step| step.hop.is_some() || step.turn.is_some());
                steps.iter_mut().for_each(|step| step.depth = 0);
            }
            parts.push(Part::Call(Call {
                part: "call",
                t_ns: Digits(t_ns),
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
        if let (Some(seen), true) = (read, message.is_received()) {
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
        parts
    }

    fn send_title(&self, message: &Message<'_>) -> (String, u64) {
        let transfer = message.transfers[0];
        let Some(sender) = &transfer.sender else {
            // Nobody was seen sending, so when it was is not known, only that it was before this.
            return (
                format!("somebody sends message {}", message.number),
                message.first_seen(),
            );
        };
        let files: Vec<String> = message
            .transfers
            .iter()
            .take(FILES_SHOWN)
            .map(|transfer| {
                let name = self.names.of(transfer);
                match transfer.sender.as_ref().and_then(|sender| sender.fd) {
                    Some(fd) if name == UNNAMED => format!("what its {fd} stands for"),
                    Some(fd) => format!("{name} (its {fd})"),
                    None if name == UNNAMED => "a number that was not read".to_owned(),
                    None => name,
                }
            })
            .collect();
        let more = match message.transfers.len().saturating_sub(FILES_SHOWN) {
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
            sender.t_ns.min(message.first_seen()),
        )
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
            let went_wrong = |step: &Step| step.hop.as_ref().map(|hop| hop.hop) == course.wrong;
            if course.wrong.is_some() && steps.iter().any(went_wrong) {
                return;
            }
            if !function.when.iter().all(|when| course.is(*when)) {
                continue;
            }
            let is_there = function.wraps_if.is_none_or(|when| course.is(when));
            let found = self
                .explainer
                .path
                .find(function.name, course.is(When::Stream));
            let Some((name, standing)) = found.filter(|_| is_there) else {
                self.steps(function.calls, depth, message, course, steps);
                continue;
            };
            // One way turns once, though a function may be called twice on it.
            let turn = course
                .turn
                .as_ref()
                .filter(|turn| turn.is_in(name) && steps.iter().all(|step| step.turn.is_none()));
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
                    _ => turn.map(|turn| turn.note.clone()),
                },
                hop: function.hop.map(|hop| self.hop(hop, message)),
            });
            self.steps(function.calls, depth + 1, message, course, steps);
        }
    }

    fn endings(&self, message: &Message<'_>) -> Vec<Ending> {
        message
            .transfers
            .iter()
            .map(|transfer| Ending {
                message: message.number,
                file: self.names.of(transfer),
                sender_fd: transfer.sender.as_ref().and_then(|sender| sender.fd),
                receiver_fd: transfer.receiver().and_then(|receiver| receiver.fd),
                fate: transfer.fate(),
                cause: transfer.cause(),
                means: match transfer.chain {
                    Chain::Differs { .. } => "what came out is not what went in".to_owned(),
                    _ => ending(transfer.fate(), transfer.cause()),
                },
            })
            .collect()
    }
}
