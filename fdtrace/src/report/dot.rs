//! Who hands what to whom, as a graph for Graphviz.

use std::{collections::BTreeMap, io};

use super::{
    lines::file_name,
    phrase::{count, ended, receiver},
    sanitize,
};
use crate::{
    model::{Judged, Losses, Tally, Transfer, Verdict},
    watch::{TraceEnd, TraceReport, TraceStart},
};

/// A process at one end, or what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Process(u32, String),
    /// Nobody was seen sending.
    Unseen,
    /// Nobody received: how it ended instead.
    Nobody(String),
}

/// What went one way.
#[derive(Default)]
struct Edge {
    count: u64,
    different: u64,
    files: BTreeMap<String, u64>,
}

impl Edge {
    /// Which files, or of many, how many.
    fn label(&self) -> String {
        const SHOWN: usize = 4;
        let files = self
            .files
            .iter()
            .take(SHOWN)
            .map(|(file, count)| match count {
                1 => file.clone(),
                count => format!("{file} ×{count}"),
            });
        let mut label = files.collect::<Vec<_>>().join("\n");
        if self.files.len() > SHOWN {
            label += &format!("\n+{} more", self.files.len() - SHOWN);
        }
        if self.different > 0 {
            label += &format!("\n{} DIFFERENT", self.different);
        }
        label
    }
}

/// Writes the graph when all is known.
pub struct Dot<W> {
    out: W,
    /// What arrived, or how it ended instead, from one to another.
    edges: BTreeMap<(End, End, Option<String>), Edge>,
    kernel: String,
}

impl<W: io::Write> Dot<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            edges: BTreeMap::new(),
            kernel: String::new(),
        }
    }
}

fn ends(transfer: &Transfer) -> (End, End) {
    let sender = transfer.sender.as_ref();
    let from = sender.map_or(End::Unseen, |sender| {
        End::Process(sender.pid, sender.comm.to_string())
    });
    // Whoever took the message, or closed its socket, has lost what was in it.
    let to = match receiver(transfer) {
        Some((pid, comm)) => End::Process(pid, comm.to_owned()),
        None => End::Nobody(ended(transfer.fate(), transfer.cause())),
    };
    (from, to)
}

impl<W: io::Write> TraceReport for Dot<W> {
    fn start(&mut self, start: &TraceStart<'_>) -> io::Result<()> {
        start.kernel.clone_into(&mut self.kernel);
        Ok(())
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        let transfer = &judged.transfer;
        let (from, to) = ends(transfer);
        let lost = transfer.fate().has_cause();
        let lost = lost.then(|| ended(transfer.fate(), transfer.cause()));
        let edge = self.edges.entry((from, to, lost)).or_default();
        edge.count += 1;
        edge.different += u64::from(judged.verdict == Some(Verdict::Different));
        *edge.files.entry(file_name(transfer)).or_default() += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, tally: &Tally, _: &Losses, _: &TraceEnd) -> io::Result<()> {
        let mut nodes: Vec<&End> = self
            .edges
            .keys()
            .flat_map(|(from, to, _)| [from, to])
            .collect();
        nodes.sort();
        nodes.dedup();
        let number = |end: &End| nodes.binary_search(&end).unwrap_or_default();
        let out = &mut self.out;
        writeln!(out, "digraph fdtrace {{")?;
        let transfers = count(tally.transfers(), "transfer");
        let title = format!("{transfers} on Linux {}", sanitize(&self.kernel));
        writeln!(out, "  graph [rankdir=LR, label={}];", quoted(&title))?;
        writeln!(out, "  node [shape=box, fontname=\"sans-serif\"];")?;
        writeln!(out, "  edge [fontname=\"sans-serif\"];")?;
        for (index, end) in nodes.iter().enumerate() {
            let (label, style) = match end {
                End::Process(pid, comm) => (format!("{} {pid}", sanitize(comm)), "solid"),
                End::Unseen => ("not seen".to_owned(), "dashed"),
                End::Nobody(fate) => (fate.clone(), "dashed"),
            };
            writeln!(out, "  n{index} [label={}, style={style}];", quoted(&label))?;
        }
        for ((from, to, lost), edge) in &self.edges {
            let mut label = edge.label();
            if let Some(how) = lost {
                label = format!("{how}: {label}");
            }
            // One more of width for ten times as many.
            let width = 1.0 + (edge.count as f64).log10();
            let style = match lost {
                Some(_) => ", color=red, fontcolor=red, arrowhead=tee",
                None => "",
            };
            writeln!(
                out,
                "  n{} -> n{} [label={}, penwidth={width:.2}{style}];",
                number(from),
                number(to),
                quoted(&label)
            )?;
        }
        writeln!(out, "}}")?;
        out.flush()
    }
}

/// A string in double quotes, from what is no harm to read. Graphviz reads a backslash as the beginning
/// of an escape even there.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n"))
}
