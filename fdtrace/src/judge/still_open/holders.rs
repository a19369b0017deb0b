//! Holders: which processes have an open file, by one look.

use std::collections::HashMap;

use super::answer::Asked;
use crate::model::{FileHolder, FileKey, Sole, StillOpen, Table, TableLook};

/// Processes that are named for each number, and numbers of each. One file may be behind thousands of
/// numbers, and each of these has a line.
const HOLDERS_MAX: usize = 64;
const NUMBERS_MAX: usize = 64;

/// What a look found, by file.
pub(super) struct Holders<'a>(HashMap<FileKey, Vec<Held<'a>>>);

/// One file in one table.
struct Held<'a> {
    table: &'a Table,
    /// The numbers that stand for it, in order.
    numbers: Vec<i32>,
    /// Those of them that the kernel made with its inode.
    made: Vec<i32>,
}

impl<'a> Holders<'a> {
    pub(super) fn by(look: &'a TableLook) -> Self {
        let mut files: HashMap<FileKey, Vec<Held<'a>>> = HashMap::new();
        for table in &look.tables {
            for number in &table.numbers {
                let held = files.entry(FileKey::from(number)).or_default();
                if held.last().is_none_or(|held| held.table.pid != table.pid) {
                    held.push(Held {
                        table,
                        numbers: Vec::new(),
                        made: Vec::new(),
                    });
                }
                let Some(held) = held.last_mut() else {
                    continue;
                };
                held.numbers.push(number.fd);
                if number.made {
                    held.made.push(number.fd);
                }
            }
        }
        for held in files.values_mut().flatten() {
            for numbers in [&mut held.numbers, &mut held.made] {
                numbers.sort_unstable();
                numbers.dedup();
            }
        }
        Self(files)
    }

    /// Who has the file of a number of process `pid` of which the look says `state`; `None` if it cannot be
    /// told from another.
    pub(super) fn of(
        &self,
        asked: &Asked,
        pid: u32,
        state: StillOpen,
    ) -> Option<(Vec<FileHolder>, u64)> {
        if asked.sole == Sole::Never {
            return None;
        }
        let held = self.0.get(&asked.key).map_or(&[][..], Vec::as_slice);
        let certain = held.iter().filter_map(|held| {
            let numbers = match asked.sole {
                Sole::Always => &held.numbers,
                Sole::IfMade | Sole::Never => &held.made,
            };
            (!numbers.is_empty()).then_some((held.table, numbers))
        });
        let mut holders = Vec::new();
        let mut more = 0;
        for (table, numbers) in certain {
            if holders.len() == HOLDERS_MAX {
                more += 1;
                continue;
            }
            // Its table is a copy of its parent's, which had it under that number all the time.
            let inherited = state == StillOpen::Open
                && table.parent == pid
                && table.start_ns > asked.since_ns
                && asked
                    .fd
                    .is_some_and(|fd| numbers.binary_search(&fd).is_ok());
            holders.push(FileHolder {
                pid: table.pid,
                comm: table.comm.clone(),
                fds: numbers.iter().take(NUMBERS_MAX).copied().collect(),
                fds_more: numbers.len().saturating_sub(NUMBERS_MAX) as u64,
                inherited,
            });
        }
        Some((holders, more))
    }
}
