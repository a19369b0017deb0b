//! A sequence diagram in Mermaid, for a page of Markdown.

use std::{fmt::Write as _, io};

use super::{
    phrase::{duration, ended, number},
    sanitize,
};
use crate::{
    model::{Fate, Judged, Losses, Tally, Verdict},
    watch::{TraceEnd, TraceReport, TraceStart},
};

/// Transfers that a diagram shows: more is unreadable, and Mermaid refuses more than 50,000 bytes.
const SHOWN: usize = 200;

/// Writes the diagram when all is known.
pub struct Mermaid<W> {
    out: W,
    /// Processes in the order in which they were seen.
    lanes: Vec<(u32, String)>,
    arrows: Vec<String>,
    left_out: u64,
}

impl<W: io::Write> Mermaid<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            lanes: Vec::new(),
            arrows: Vec::new(),
            left_out: 0,
        }
    }

    fn lane(&mut self, pid: u32, comm: &str) -> String {
        let found = self
            .lanes
            .iter()
            .position(|(known, name)| *known == pid && name == comm);
        let lane = found.unwrap_or_else(|| {
            self.lanes.push((pid, comm.to_owned()));
            self.lanes.len() - 1
        });
        format!("p{lane}")
    }

    fn arrows_of(&mut self, judged: &Judged) {
        let transfer = &judged.transfer;
        let kind = transfer.file.kind();
        if let Some(sender) = &transfer.sender {
            let lane = self.lane(sender.pid, &sender.comm);
            let what = format!("{kind}, its {}", number(sender.fd));
            self.arrows
                .push(format!("{lane}->>queue: {}", inert(&what)));
        }
        let after = transfer
            .queued_ns
            .map_or(String::new(), |ns| format!(" after {}", duration(ns)));
        let end = match (&transfer.receiver, transfer.fate) {
            (Some(receiver), Fate::Delivered | Fate::Peeked) => {
                let lane = self.lane(receiver.pid, &receiver.comm);
                let mut what = format!("{kind}, now {}{after}", number(receiver.fd));
                if transfer.fate == Fate::Peeked {
                    what += " (peeked)";
                }
                if judged.verdict == Some(Verdict::Different) {
                    what += ": ANOTHER FILE";
                }
                format!("queue->>{lane}: {}", inert(&what))
            }
            _ => format!(
                "queue-xqueue: {}",
                inert(&ended(transfer.fate, transfer.cause))
            ),
        };
        self.arrows.push(end);
    }
}

impl<W: io::Write> TraceReport for Mermaid<W> {
    fn start(&mut self, _: &TraceStart<'_>) -> io::Result<()> {
        Ok(())
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        if self.arrows.len() < 2 * SHOWN {
            self.arrows_of(judged);
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
        writeln!(out, "    participant queue as receive queues")?;
        for (index, (pid, comm)) in self.lanes.iter().enumerate() {
            writeln!(
                out,
                "    participant p{index} as {}",
                inert(&format!("{comm} {pid}"))
            )?;
        }
        for arrow in &self.arrows {
            writeln!(out, "    {arrow}")?;
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
    for char in sanitize(text).chars() {
        if char.is_alphanumeric() || matches!(char, ' ' | ',' | '.' | '-' | '_' | '(' | ')' | '/') {
            safe.push(char);
        } else {
            let _ = write!(safe, "#{};", u32::from(char));
        }
    }
    // Mermaid's own word, with which a block ends.
    safe.replace("end", "#101;nd")
}
