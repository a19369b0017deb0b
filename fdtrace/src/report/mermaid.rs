//! A sequence diagram in Mermaid, for a page of Markdown.

use std::{fmt::Write as _, io};

use super::{
    lines::file_name,
    phrase::{duration, ended, number, receiver},
    sanitize,
};
use crate::{
    model::{Fate, Judged, Losses, Tally, Verdict},
    watch::{TraceEnd, TraceReport, TraceStart},
};

/// Messages that a diagram shows: more is unreadable, and Mermaid refuses more than 50,000 bytes.
const SHOWN: usize = 200;

/// Writes the diagram when all is known.
pub struct Mermaid<W> {
    out: W,
    /// Processes in the order in which they were seen at either end.
    senders: Vec<(u32, String)>,
    receivers: Vec<(u32, String)>,
    messages: Vec<Message>,
    left_out: u64,
}

/// What one message carries from one to another.
struct Message {
    number: u64,
    sender: Option<usize>,
    receiver: Option<usize>,
    from: Vec<String>,
    to: Vec<String>,
    files: Vec<String>,
    /// How those ended that were not delivered.
    endings: Vec<String>,
    is_lost: bool,
    queued_ns: Option<u64>,
    is_peeked: bool,
    different: bool,
}

impl<W: io::Write> Mermaid<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            senders: Vec::new(),
            receivers: Vec::new(),
            messages: Vec::new(),
            left_out: 0,
        }
    }

    fn add(&mut self, judged: &Judged) {
        let transfer = &judged.transfer;
        let sender = transfer.sender.as_ref();
        let sender = sender.map(|it| lane(&mut self.senders, it.pid, &it.comm));
        let receiver = receiver(transfer);
        let receiver = receiver.map(|(pid, comm)| lane(&mut self.receivers, pid, comm));
        let is_peeked = transfer.fate() == Fate::Peeked;
        let alike = |message: &&mut Message| {
            (
                message.number,
                message.sender,
                message.receiver,
                message.is_peeked,
            ) == (transfer.message, sender, receiver, is_peeked)
        };
        let last = self.messages.last_mut().filter(alike);
        let message = match last {
            Some(message) => message,
            None => {
                self.messages.push(Message {
                    number: transfer.message,
                    sender,
                    receiver,
                    from: Vec::new(),
                    to: Vec::new(),
                    files: Vec::new(),
                    endings: Vec::new(),
                    is_lost: false,
                    queued_ns: transfer.queued_ns,
                    is_peeked,
                    different: false,
                });
                let last = self.messages.len() - 1;
                &mut self.messages[last]
            }
        };
        let of_sender = transfer.sender.as_ref().and_then(|sender| sender.fd);
        message.from.push(number(of_sender));
        message
            .to
            .push(match (transfer.receiver(), transfer.fate().has_cause()) {
                (_, true) => "✗".to_owned(),
                (receiver, false) => number(receiver.as_ref().and_then(|receiver| receiver.fd)),
            });
        add_once(&mut message.files, file_name(transfer));
        if transfer.fate() != Fate::Delivered {
            add_once(
                &mut message.endings,
                ended(transfer.fate(), transfer.cause()),
            );
        }
        message.is_lost |= transfer.fate().has_cause();
        message.different |= judged.verdict == Some(Verdict::Different);
    }
}

/// Where a process has its line.
fn lane(lanes: &mut Vec<(u32, String)>, pid: u32, comm: &str) -> usize {
    let found = lanes
        .iter()
        .position(|(known, name)| *known == pid && name == comm);
    found.unwrap_or_else(|| {
        lanes.push((pid, comm.to_owned()));
        lanes.len() - 1
    })
}

fn add_once(texts: &mut Vec<String>, text: String) {
    if !texts.contains(&text) {
        texts.push(text);
    }
}

/// The first few of them.
fn some(texts: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = texts[..texts.len().min(SHOWN)].join(", ");
    match texts.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl Message {
    fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        if let Some(sender) = self.sender {
            let what = format!("{} ({})", some(&self.from), some(&self.files));
            writeln!(out, "    s{sender}->>queue: {}", inert(&what))?;
        }
        let after = self
            .queued_ns
            .map_or(String::new(), |ns| format!(" after {}", duration(ns)));
        let mut what = match self.receiver {
            Some(_) => some(&self.to) + &after,
            None => String::new(),
        };
        if !self.endings.is_empty() {
            let gap = if what.is_empty() { "" } else { ", " };
            what = format!("{what}{gap}{}", self.endings.join(", "));
        }
        if self.different {
            what += ", ANOTHER FILE";
        }
        let arrow = if self.is_lost { "-x" } else { "->>" };
        let to = self
            .receiver
            .map_or("queue".to_owned(), |receiver| format!("r{receiver}"));
        writeln!(out, "    queue{arrow}{to}: {}", inert(&what))
    }
}

impl<W: io::Write> TraceReport for Mermaid<W> {
    fn start(&mut self, _: &TraceStart<'_>) -> io::Result<()> {
        Ok(())
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        if self.messages.len() < SHOWN {
            self.add(judged);
        } else {
            self.left_out += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, _: &Tally, _: &Losses, _: &TraceEnd) -> io::Result<()> {
        let out = &mut self.out;
        writeln!(out, "sequenceDiagram")?;
        let participants = |out: &mut W, side: &str, lanes: &[(u32, String)]| {
            for (index, (pid, comm)) in lanes.iter().enumerate() {
                let name = inert(&format!("{} {pid}", sanitize(comm)));
                writeln!(out, "    participant {side}{index} as {name}")?;
            }
            io::Result::Ok(())
        };
        // Senders left, the queues in the middle, receivers right.
        participants(out, "s", &self.senders)?;
        writeln!(out, "    participant queue as receive queues")?;
        participants(out, "r", &self.receivers)?;
        for message in &self.messages {
            message.write(out)?;
        }
        if self.left_out > 0 {
            writeln!(
                out,
                "    Note over queue: and {} more transfers",
                self.left_out
            )?;
        }
        out.flush()
    }
}

/// Text that means nothing to Mermaid: what is more than a letter or a number goes by its code.
fn inert(text: &str) -> String {
    let mut safe = String::new();
    for char in text.chars() {
        if char.is_alphanumeric() || matches!(char, ' ' | ',' | '.' | '-' | '_' | '(' | ')' | '/') {
            safe.push(char);
        } else {
            let _ = write!(safe, "#{};", u32::from(char));
        }
    }
    // Mermaid's own word, with which a block ends.
    safe.replace("end", "#101;nd")
}
