//! Expected: a transfer as a test describes it, field by field, so that a miss can say which of those
//! seen come nearest, and what differs.

use std::{
    cmp::Reverse,
    fmt::{self, Display, Write as _},
    net::SocketAddr,
};

use super::assert::line;
use crate::{
    model::{Cause, Fate, FileKind, Judged},
    report::sanitize,
};

/// Transfers that a miss lists, at most.
const LISTED: usize = 5;

/// What a transfer is expected to be, for [`Seen::one_like`](super::Seen::one_like).
///
/// Each method adds a field. A field holds if it was seen and has this value; one that was not seen
/// does not hold.
///
/// ```no_run
/// use fdtrace::{Expected, Fate};
///
/// # fn main() -> Result<(), fdtrace::Error> {
/// # let (seen, proxy) = (fdtrace::Watch::descendants_of(1).start()?.finish()?, 1);
/// let expected = Expected::new()
///     .sender(proxy)
///     .path("/run/app.sock")
///     .fate(Fate::Delivered);
/// seen.one_like(&expected)?.same_object()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Expected {
    fields: Vec<Field>,
}

struct Field {
    name: String,
    expected: String,
    look: Box<dyn Fn(&Judged) -> Look>,
}

/// What a transfer shows in a field.
struct Look {
    holds: bool,
    seen: String,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.expected)
    }
}

impl Expected {
    /// Any transfer, to be narrowed down.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process that sent it.
    pub fn sender(self, pid: u32) -> Self {
        self.field("sender", pid, |t| Some(t.sender.as_ref()?.pid))
    }

    /// The name of the thread that sent it.
    pub fn sender_comm(self, comm: impl Into<String>) -> Self {
        self.field("sender's name", comm.into(), |t| {
            Some(t.sender.as_ref()?.comm.to_string())
        })
    }

    /// The number that it was sent by.
    pub fn sender_fd(self, fd: i32) -> Self {
        self.field("sender's fd", fd, |t| t.sender.as_ref()?.fd)
    }

    /// The process that received it.
    pub fn receiver(self, pid: u32) -> Self {
        self.field("receiver", pid, |t| Some(t.receiver()?.pid))
    }

    /// The name of the thread that received it.
    pub fn receiver_comm(self, comm: impl Into<String>) -> Self {
        self.field("receiver's name", comm.into(), |t| {
            Some(t.receiver()?.comm.to_string())
        })
    }

    /// The new number that it was received as.
    pub fn receiver_fd(self, fd: i32) -> Self {
        self.field("receiver's fd", fd, |t| t.receiver()?.fd)
    }

    /// What kind of file it is.
    pub fn kind(self, kind: FileKind) -> Self {
        self.field("kind", kind, |t| Some(t.file.kind()))
    }

    /// The file's path.
    pub fn path(self, path: impl Into<String>) -> Self {
        self.field("path", path.into(), |t| t.path().map(str::to_owned))
    }

    /// The file's inode number. Two file systems may have the same.
    pub fn inode(self, ino: u64) -> Self {
        self.field("inode", ino, |t| Some(t.file.ino))
    }

    /// Its file is a socket that waits for connections at this address.
    pub fn listening_on(self, address: SocketAddr) -> Self {
        self.add("listening on", address, move |t| Look {
            holds: t.is_listening_on(address),
            seen: known(t.context.file.as_deref()),
        })
    }

    /// The path, or `@` and the abstract name, of the socket that it went through.
    pub fn socket(self, name: impl Into<String>) -> Self {
        self.field("socket", name.into(), |t| t.socket.path.clone())
    }

    /// How it ended.
    pub fn fate(self, fate: Fate) -> Self {
        self.field("fate", fate, |t| Some(t.fate()))
    }

    /// Why it ended so.
    pub fn cause(self, cause: Cause) -> Self {
        self.field("cause", cause, |t| t.cause())
    }

    /// Something else, which `words` names.
    pub fn that(self, words: impl Into<String>, holds: impl Fn(&Judged) -> bool + 'static) -> Self {
        self.add(words, "yes", move |t| match holds(t) {
            true => Look {
                holds: true,
                seen: "yes".to_owned(),
            },
            false => Look {
                holds: false,
                seen: "no".to_owned(),
            },
        })
    }

    fn field<T: PartialEq + Display + 'static>(
        self,
        name: &str,
        expected: T,
        seen: impl Fn(&Judged) -> Option<T> + 'static,
    ) -> Self {
        self.add(name, known(Some(&expected)), move |t| {
            let seen = seen(t);
            Look {
                holds: seen.as_ref() == Some(&expected),
                seen: known(seen.as_ref()),
            }
        })
    }

    fn add(
        mut self,
        name: impl Into<String>,
        expected: impl Display,
        look: impl Fn(&Judged) -> Look + 'static,
    ) -> Self {
        self.fields.push(Field {
            name: name.into(),
            expected: expected.to_string(),
            look: Box::new(look),
        });
        self
    }

    pub(super) fn is(&self, judged: &Judged) -> bool {
        self.fields.iter().all(|field| (field.look)(judged).holds)
    }

    /// A table of what was expected and, under it, the transfers that agree in the most fields. A tie goes
    /// to the one whose fields the fewest others agree in: an inode number says more than a fate.
    pub(super) fn nearest(&self, transfers: &[Judged]) -> String {
        let rows: Vec<Vec<Look>> = transfers
            .iter()
            .map(|judged| self.fields.iter().map(|it| (it.look)(judged)).collect())
            .collect();
        let agreeing = |field: usize| rows.iter().filter(|row| row[field].holds).count();
        let common: Vec<usize> = (0..self.fields.len()).map(agreeing).collect();
        let held = |row: &[Look]| row.iter().filter(|look| look.holds).count();
        let company = |row: &[Look]| -> usize {
            let held = row.iter().zip(&common).filter(|(look, _)| look.holds);
            held.map(|(_, others)| others).sum()
        };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|at| {
            let row = &rows[*at];
            (Reverse(held(row)), company(row), Reverse(*at))
        });

        let mut table = vec![self.heading(), self.wish()];
        let mut whole = vec![String::new(), String::new()];
        for at in order.into_iter().take(LISTED) {
            table.push(self.row(&rows[at], held(&rows[at])));
            whole.push(line(&transfers[at]));
        }
        let rest = transfers.len().saturating_sub(LISTED);
        let mut text = beside(&table, &whole);
        if rest > 0 {
            let _ = write!(text, "\n  ({rest} more are further off)");
        }
        text
    }

    fn heading(&self) -> Vec<String> {
        let names = self.fields.iter().map(|field| sanitize(&field.name));
        std::iter::once(String::new()).chain(names).collect()
    }

    fn wish(&self) -> Vec<String> {
        let expected = self.fields.iter().map(|field| field.expected.clone());
        std::iter::once("expected".to_owned())
            .chain(expected)
            .collect()
    }

    fn row(&self, looks: &[Look], held: usize) -> Vec<String> {
        let agreement = format!("{held} of {} agree", self.fields.len());
        let seen = looks.iter().map(|look| match look.holds {
            true => look.seen.clone(),
            false => format!("≠ {}", look.seen),
        });
        std::iter::once(agreement).chain(seen).collect()
    }
}

/// A value that the traced system may have chosen, or `?`.
fn known(value: Option<&impl Display>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| sanitize(&value.to_string()))
}

/// The rows as a table, each followed by its transfer in a line.
fn beside(rows: &[Vec<String>], whole: &[String]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for (row, whole) in rows.iter().zip(whole) {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .chain((!whole.is_empty()).then(|| format!("│ {whole}")))
            .collect();
        let _ = write!(text, "\n  {}", cells.join("  ").trim_end());
    }
    text
}
