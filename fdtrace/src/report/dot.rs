//! Who hands what to whom, as a graph for Graphviz.

use std::{collections::BTreeMap, io};

use super::{
    phrase::{count, ended},
    sanitize,
};
use crate::{
    model::{FileKind, Judged, Losses, Tally, Transfer, Verdict},
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
    kinds: BTreeMap<FileKind, u64>,
}

/// Writes the graph when all is known.
pub struct Dot<W> {
    out: W,
    edges: BTreeMap<(End, End), Edge>,
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
        End::Process(sender.pid, sender.comm.clone())
    });
    let to = match &transfer.receiver {
        Some(receiver) if transfer.fate.installs() => {
            End::Process(receiver.pid, receiver.comm.clone())
        }
        _ => End::Nobody(ended(transfer.fate, transfer.cause)),
    };
    (from, to)
}

impl<W: io::Write> TraceReport for Dot<W> {
    fn start(&mut self, start: &TraceStart<'_>) -> io::Result<()> {
        start.kernel.clone_into(&mut self.kernel);
        Ok(())
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        let edge = self.edges.entry(ends(&judged.transfer)).or_default();
        edge.count += 1;
        edge.different += u64::from(judged.verdict == Some(Verdict::Different));
        *edge.kinds.entry(judged.transfer.file.kind()).or_default() += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, tally: &Tally, _: &Losses, _: &TraceEnd) -> io::Result<()> {
        let mut nodes: Vec<&End> = self
            .edges
            .keys()
            .flat_map(|(from, to)| [from, to])
            .collect();
        nodes.sort();
        nodes.dedup();
        let number = |end: &End| nodes.binary_search(&end).unwrap_or_default();
        let out = &mut self.out;
        writeln!(out, "digraph fdtrace {{")?;
        let transfers = count(tally.transfers(), "transfer");
        let title = format!("{transfers} on Linux {}", self.kernel);
        writeln!(out, "  graph [rankdir=LR, label={}];", quoted(&title))?;
        writeln!(out, "  node [shape=box, fontname=\"sans-serif\"];")?;
        writeln!(out, "  edge [fontname=\"sans-serif\"];")?;
        for (index, end) in nodes.iter().enumerate() {
            let (label, style) = match end {
                End::Process(pid, comm) => (format!("{comm} {pid}"), "solid"),
                End::Unseen => ("not seen".to_owned(), "dashed"),
                End::Nobody(fate) => (fate.clone(), "dashed"),
            };
            writeln!(out, "  n{index} [label={}, style={style}];", quoted(&label))?;
        }
        for ((from, to), edge) in &self.edges {
            let kinds: Vec<String> = edge
                .kinds
                .iter()
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            let mut label = kinds.join(", ");
            if edge.different > 0 {
                label += &format!("; {} DIFFERENT", edge.different);
            }
            // One more of width for ten times as many.
            let width = 1.0 + (edge.count as f64).log10();
            writeln!(
                out,
                "  n{} -> n{} [label={}, penwidth={width:.2}];",
                number(from),
                number(to),
                quoted(&label)
            )?;
        }
        writeln!(out, "}}")?;
        out.flush()
    }
}

/// A string in double quotes. Graphviz reads a backslash as the beginning of an escape even there.
fn quoted(text: &str) -> String {
    let text = sanitize(text).replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}
