//! Looks through tables in parts: no chunk is longer than a reader takes.

use serde::{Deserialize, Serialize};

use crate::model::{Table, TableLook};

/// Numbers and processes in one part.
const PART_MAX: usize = 4096;

/// Part of a look.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    /// Another part of the same look follows.
    more: bool,
    look: TableLook,
}

/// A look in parts.
pub(super) fn parts(look: &TableLook) -> Vec<Part> {
    let empty = || TableLook {
        tables: Vec::new(),
        ..*look
    };
    let mut parts = vec![empty()];
    let mut room = PART_MAX;
    for table in &look.tables {
        let mut left = &table.numbers[..];
        loop {
            if room < 2 {
                parts.push(empty());
                room = PART_MAX;
            }
            let (now, later) = left.split_at(left.len().min(room - 1));
            if let Some(part) = parts.last_mut() {
                part.tables.push(Table {
                    numbers: now.to_vec(),
                    comm: table.comm.clone(),
                    ..*table
                });
            }
            room -= now.len() + 1;
            left = later;
            if left.is_empty() {
                break;
            }
        }
    }
    let last = parts.len() - 1;
    let parts = parts.into_iter().enumerate();
    parts
        .map(|(place, look)| Part {
            more: place < last,
            look,
        })
        .collect()
}

/// Puts parts together.
#[derive(Default)]
pub(super) struct Join(Option<TableLook>);

impl Join {
    /// Takes a part in; gives the look when it is whole.
    pub(super) fn take(&mut self, part: Part) -> Option<TableLook> {
        let mut look = match self.0.take() {
            Some(before) if before.t_ns == part.look.t_ns => before,
            _ => TableLook {
                tables: Vec::new(),
                ..part.look
            },
        };
        for table in part.look.tables {
            match look.tables.last_mut() {
                Some(last) if last.pid == table.pid => last.numbers.extend(table.numbers),
                _ => look.tables.push(table),
            }
        }
        match part.more {
            true => {
                self.0 = Some(look);
                None
            }
            false => {
                // Whoever wrote it may have had them in another order.
                for table in &mut look.tables {
                    table.numbers.sort_unstable();
                }
                Some(look)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LookedAt, OpenNumber};

    #[test]
    fn a_look_of_any_size_comes_back_whole() {
        for sizes in [
            &[][..],
            &[0],
            &[1, 0, 3],
            &[PART_MAX - 1, 1],
            &[3 * PART_MAX, 0, 5000],
        ] {
            let table = |(place, size): (usize, &usize)| Table {
                pid: place as u32 + 1,
                start_ns: 7,
                parent: 1,
                comm: format!("comm {place}"),
                numbers: (0..*size as i32)
                    .map(|fd| OpenNumber {
                        fd,
                        file: u64::MAX - fd as u64,
                        ino: 9,
                        dev: 3,
                        path: fd % 3 == 0,
                        made: fd % 2 == 0,
                    })
                    .collect(),
            };
            let look = TableLook {
                t_ns: 5,
                at: LookedAt::Last,
                below: Some(4),
                lost: false,
                apart: true,
                tables: sizes.iter().enumerate().map(table).collect(),
            };
            let mut join = Join::default();
            let mut whole = Vec::new();
            for part in parts(&look) {
                let json = serde_json::to_vec(&part).unwrap();
                assert!(json.len() < super::super::PAYLOAD_MAX as usize);
                whole.extend(join.take(serde_json::from_slice(&json).unwrap()));
            }
            assert_eq!(whole, [look]);
        }
    }
}
