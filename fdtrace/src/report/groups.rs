//! Groups: many transfers, or files in flight, as a table of a few rows.

use std::{collections::HashMap, io};

use unicode_width::UnicodeWidthStr as _;

use super::{
    fit::HANG,
    phrase::{duration, grouped},
    text::{BOLD, RED},
};

/// Rows that are counted one by one; those that come later are counted together.
const ROWS_MAX: usize = 16_384;

/// What makes one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The programs at both ends.
    Pair,
    /// The sending program.
    Program,
    /// The socket.
    Socket,
    /// The file.
    File,
    /// Fate and cause.
    Cause,
}

/// The order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Most first.
    Count,
    /// Most losses first.
    Lost,
    /// Longest in a queue first.
    Time,
    /// By name.
    Name,
}

/// How to make a table.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    /// What makes one row.
    pub by: GroupBy,
    /// The order of rows.
    pub sort: Sort,
}

/// A table under way.
pub(super) struct Groups {
    title: &'static str,
    sort: Sort,
    rows: HashMap<String, Counted>,
    others: Counted,
}

#[derive(Clone, Copy, Default)]
struct Counted {
    count: u64,
    lost: u64,
    longest_ns: Option<u64>,
}

impl Groups {
    pub(super) fn new(title: &'static str, sort: Sort) -> Self {
        Self {
            title,
            sort,
            rows: HashMap::new(),
            others: Counted::default(),
        }
    }

    /// Counts one of this name, that was so long in a queue.
    pub(super) fn add(&mut self, name: String, is_lost: bool, queued_ns: Option<u64>) {
        let row = if self.rows.len() < ROWS_MAX || self.rows.contains_key(&name) {
            self.rows.entry(name).or_default()
        } else {
            &mut self.others
        };
        row.count += 1;
        row.lost += u64::from(is_lost);
        row.longest_ns = row.longest_ns.max(queued_ns);
    }

    /// Writes the table: count, losses and the longest time in a queue where there are any, and name.
    pub(super) fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<(&str, Counted)> = self
            .rows
            .iter()
            .map(|(name, row)| (name.as_str(), *row))
            .collect();
        rows.sort_by(|(name, row), (other_name, other)| {
            let order = match self.sort {
                Sort::Count => other.count.cmp(&row.count),
                Sort::Lost => other.lost.cmp(&row.lost),
                Sort::Time => other.longest_ns.cmp(&row.longest_ns),
                Sort::Name => name.cmp(other_name),
            };
            order
                .then(other.count.cmp(&row.count))
                .then(name.cmp(other_name))
        });
        if self.others.count > 0 {
            rows.push(("others", self.others));
        }
        let any_lost = rows.iter().any(|(_, row)| row.lost > 0);
        let any_time = rows.iter().any(|(_, row)| row.longest_ns.is_some());
        let mut columns = vec![Column::of("count", &rows, |row| grouped(row.count))];
        if any_lost {
            columns.push(Column::of("lost", &rows, |row| match row.lost {
                0 => String::new(),
                lost => grouped(lost),
            }));
        }
        if any_time {
            columns.push(Column::of("longest", &rows, |row| {
                row.longest_ns.map_or(String::new(), duration)
            }));
        }
        let head: String = columns.iter().map(Column::title).collect();
        writeln!(out, "{BOLD}{head}{}{BOLD:#}", self.title)?;
        for (place, (name, row)) in rows.iter().enumerate() {
            let cells: String = columns.iter().map(|column| column.cell(place)).collect();
            let style = if row.lost > 0 {
                RED
            } else {
                anstyle::Style::new()
            };
            writeln!(out, "{style}{cells}{style:#}{HANG}{name}")?;
        }
        Ok(())
    }
}

impl GroupBy {
    /// What heads the names of rows.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Pair => "sender → receiver",
            Self::Program => "sender",
            Self::Socket => "socket",
            Self::File => "file",
            Self::Cause => "fate: cause",
        }
    }
}

/// Figures below each other.
struct Column {
    title: &'static str,
    cells: Vec<String>,
    width: usize,
}

impl Column {
    fn of(
        title: &'static str,
        rows: &[(&str, Counted)],
        cell: impl Fn(&Counted) -> String,
    ) -> Self {
        let cells: Vec<String> = rows.iter().map(|(_, row)| cell(row)).collect();
        let width = cells
            .iter()
            .map(|cell| cell.width())
            .chain([title.len()])
            .max();
        Self {
            title,
            cells,
            width: width.unwrap_or_default(),
        }
    }

    fn title(&self) -> String {
        format!("{:>1$}  ", self.title, self.width)
    }

    fn cell(&self, place: usize) -> String {
        format!("{:>1$}  ", self.cells[place], self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sort: Sort) -> String {
        let mut groups = Groups::new(GroupBy::Program.title(), sort);
        for number in 0..1200 {
            groups.add("many".to_owned(), false, Some(number));
        }
        groups.add("lossy".to_owned(), true, None);
        let mut out = Vec::new();
        groups.write(&mut out).expect("memory takes it");
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        String::from_utf8(text)
            .expect("it is text")
            .replace(HANG, "")
    }

    #[test]
    fn a_row_has_its_count_its_losses_and_its_longest_time() {
        assert_eq!(
            table(Sort::Count),
            "count  lost  longest  sender\n1,200         1.2 µs  many\n    1     1           lossy\n"
        );
        assert!(table(Sort::Lost).ends_with("many\n"));
        assert!(table(Sort::Name).ends_with("many\n"));
    }
}
