//! `--all` and `--every`: the same commands on every kernel, and one table of what came out.
//!
//! A kernel that fails does not stop the others: one run has to show all that is wrong.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};

use crate::arch::Arch;

use super::{
    Session,
    cell::{self, Cell, Ended},
    image::Tests,
    kernel::Choice,
    machine::Up,
    page,
    table::Table,
};

/// The ways to attach that fdtrace has, the best first: each is a column.
const AUTO: &str = "auto";
const MECHANISMS: [&str; 4] = [AUTO, "trampoline", "kprobe", "tracepoint"];

/// What is enough for a kernel of `--every`: the best that it has, and what is guessed most.
const OUTERMOST: [&str; 2] = [AUTO, "tracepoint"];

/// The same with every filter there is, whose code is not in the programs otherwise: one more column
/// for each.
const FILTERED: [(&str, &str); 3] = [
    ("filtered trampoline", "trampoline"),
    ("filtered kprobe", "kprobe"),
    ("filtered tracepoint", "tracepoint"),
];

/// What runs on every kernel.
pub(crate) enum Columns {
    /// `fdtrace verify`, once for each mechanism, a trace with filters likewise, and then these
    /// tests.
    Verify {
        tests: Vec<Tests>,
    },
    /// `fdtrace verify` alone, with the best mechanism and with tracepoints.
    Outermost,
    Command(Vec<OsString>),
}

impl Columns {
    pub(crate) fn commands(&self) -> Vec<Vec<OsString>> {
        let verify = |mechanism: &str| {
            let args = [
                "fdtrace", "verify", "--format", "json", "--attach", mechanism,
            ];
            args.map(OsString::from).to_vec()
        };
        let filtered = |(_, mechanism): (&str, &str)| {
            let filters = "--pid 1 --comm init --cgroup /sys/fs/cgroup";
            let command = format!("fdtrace trace --duration 0.1 --attach {mechanism} {filters}");
            command.split(' ').map(OsString::from).collect()
        };
        match self {
            Self::Verify { tests } => {
                let verify = MECHANISMS.map(verify).into_iter();
                let filtered = FILTERED.map(filtered).into_iter();
                verify
                    .chain(filtered)
                    .chain(tests.iter().map(Tests::command))
                    .collect()
            }
            Self::Outermost => OUTERMOST.map(verify).into(),
            Self::Command(command) => vec![command.clone()],
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Verify { tests } => {
                let mechanisms = MECHANISMS.map(str::to_owned).into_iter();
                let filtered = FILTERED.map(|(name, _)| name.to_owned()).into_iter();
                mechanisms
                    .chain(filtered)
                    .chain(tests.iter().map(ToString::to_string))
                    .collect()
            }
            Self::Outermost => OUTERMOST.map(str::to_owned).into(),
            Self::Command(command) => {
                let program = command.first().cloned().unwrap_or_default();
                vec![program.to_string_lossy().into_owned()]
            }
        }
    }

    fn cell(&self, name: &str, ended: &Ended) -> Cell {
        match self {
            Self::Outermost => Cell::of_verify(ended, name == AUTO),
            Self::Verify { .. } if MECHANISMS.contains(&name) => {
                Cell::of_verify(ended, name == AUTO)
            }
            Self::Verify { .. } if FILTERED.iter().any(|(filtered, _)| *filtered == name) => {
                Cell::of_filtered(ended)
            }
            Self::Verify { .. } => Cell::of_test(ended),
            Self::Command(_) => Cell::of_command(ended),
        }
    }
}

/// What one kernel showed.
struct Row {
    kernel: String,
    up: Option<Up>,
    cells: Vec<Cell>,
    /// Why there is not a result in every cell.
    error: Option<String>,
}

/// The page that the tables are put into.
#[derive(Clone, Copy)]
pub(crate) enum Page<'a> {
    /// Those of `--all`.
    Matrix(&'a Path),
    /// That of `--every`, whose scenarios would have too many columns.
    Others(&'a Path),
}

/// Boots each of `kernels`, up to `jobs` at a time, and prints the table; `page` gets it too,
/// between its marks.
pub(crate) fn run(
    session: &Session,
    kernels: &[Choice],
    columns: &Columns,
    jobs: usize,
    page: Option<Page<'_>>,
) -> Result<ExitCode> {
    let waiting = Mutex::new(kernels.iter().enumerate());
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.next()
    };
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, kernels.len().max(1)) {
            scope.spawn(|| {
                while let Some((index, kernel)) = next() {
                    let row = row(session, kernel, columns);
                    let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                    rows.push((index, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(index, _)| *index);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();

    let results = session.cache.join("results");
    print!("{}", table(&rows, &columns.names()));
    for line in notes(&rows, &columns.names()) {
        println!("{line}");
    }
    println!("\nwhat the commands printed: {}", results.display());
    if let Some(page) = page {
        let names = columns.names();
        let place = |name| match session.qemu.arch {
            Arch::X86_64 => String::from(name),
            arch => format!("{name} of {}", arch.debian()),
        };
        let table = table(&rows, &names).markdown();
        match page {
            Page::Others(path) => page::write(path, &place(page::OTHERS), &table)?,
            Page::Matrix(path) => {
                page::write(path, &place(page::MATRIX), &table)?;
                let scenarios = page::scenarios(&played(&rows, &names));
                page::write(path, &place(page::SCENARIOS), &scenarios)?;
            }
        }
    }
    Ok(ExitCode::from(exit_code(&rows)))
}

/// Each kernel with the mechanisms that show anything there; `auto` is one of the others.
fn played<'a>(rows: &'a [Row], names: &'a [String]) -> Vec<page::Kernel<'a>> {
    let kernel = |row: &'a Row| {
        let cells = names.iter().zip(&row.cells);
        let shown = cells.filter(|(name, cell)| *name != AUTO && !cell.scenarios.is_empty());
        page::Kernel {
            name: &row.kernel,
            mechanisms: shown
                .map(|(name, cell)| (name.as_str(), &cell.scenarios[..]))
                .collect(),
        }
    };
    rows.iter().map(kernel).collect()
}

fn row(session: &Session, choice: &Choice, columns: &Columns) -> Row {
    let kernel = session.label(choice);
    let names = columns.names();
    let results = session.cache.join("results").join(&kernel);
    // Those of another run would look like this one's; there may be none.
    let _ = fs::remove_dir_all(&results);
    let mut cells = Vec::new();
    let (up, ran) = session.run_each(choice, |ended| {
        let Some(name) = names.get(cells.len()) else {
            return;
        };
        let cell = columns.cell(name, &ended);
        eprintln!("{kernel}: {name}: {}", cell.text);
        if let Err(error) = keep(&results, name, &ended) {
            eprintln!("{error:#}");
        }
        cells.push(cell);
    });
    let error = ran.err().map(|error| format!("{error:#}"));
    if let Some(error) = &error {
        eprintln!("{kernel}: {error}");
    }
    cells.resize(names.len(), Cell::none());
    Row {
        kernel,
        up,
        cells,
        error,
    }
}

/// Writes what a command printed to files, which nobody reads unless something is wrong.
fn keep(dir: &Path, name: &str, ended: &Ended) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (suffix, bytes) in [("out", &ended.out), ("err", &ended.err)] {
        let path = dir.join(format!("{}.{suffix}", name.replace('/', "-")));
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn table(rows: &[Row], names: &[String]) -> Table {
    let fixed = ["kernel", "release", "boot"].map(str::to_owned);
    let mut table = Table::new(fixed.into_iter().chain(names.iter().cloned()));
    for row in rows {
        let (release, boot) = match &row.up {
            Some(up) => (up.release.clone(), format!("{} s", up.after.as_secs())),
            None => ("?".to_owned(), "-".to_owned()),
        };
        let cells = row.cells.iter().map(|cell| cell.text.clone());
        let fixed = [row.kernel.clone(), release, boot];
        table.row(fixed.into_iter().chain(cells).collect());
    }
    table
}

/// All that is not a pass, in the order of the table. What several cells have to say alike is said
/// once.
fn notes(rows: &[Row], names: &[String]) -> Vec<String> {
    let mut said: Vec<(&Cell, Vec<String>)> = Vec::new();
    for row in rows {
        for (name, cell) in names.iter().zip(&row.cells) {
            let place = format!("{} {name}", row.kernel);
            match said.iter_mut().find(|(other, _)| *other == cell) {
                Some((_, places)) => places.push(place),
                // The reason of a missing result is the row's.
                None if cell.notes.is_empty() => {}
                None => said.push((cell, vec![place])),
            }
        }
    }
    let mut notes = Vec::new();
    for (cell, places) in said {
        notes.push(format!("\n{}: {}", places.join(", "), cell.text));
        notes.extend(cell.notes.iter().map(|note| format!("  {note}")));
    }
    for row in rows {
        if let Some(error) = &row.error {
            notes.push(format!("\n{}: {error}", row.kernel));
        }
    }
    notes
}

/// A failure outweighs an open question; a mechanism that a kernel lacks is neither.
fn exit_code(rows: &[Row]) -> u8 {
    let worst = rows.iter().map(|row| {
        let cells = row.cells.iter().map(|cell| cell.result).max();
        match row.error {
            Some(_) => cell::Result::Failed,
            None => cells.unwrap_or(cell::Result::Failed),
        }
    });
    match worst.max() {
        Some(cell::Result::Passed | cell::Result::Cannot) => 0,
        Some(cell::Result::Inconclusive) => 3,
        Some(cell::Result::Failed) | None => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cell(result: cell::Result, text: &str, notes: &[&str]) -> Cell {
        Cell {
            result,
            text: text.to_owned(),
            notes: notes.iter().map(|&note| note.to_owned()).collect(),
            scenarios: Vec::new(),
        }
    }

    fn rows() -> Vec<Row> {
        let passed = cell(cell::Result::Passed, "28 passed", &[]);
        let cannot = cell(cell::Result::Cannot, "cannot", &["fdtrace: no hop"]);
        vec![
            Row {
                kernel: "6.12".to_owned(),
                up: Some(Up {
                    release: "6.12.95".to_owned(),
                    after: Duration::from_millis(12_900),
                }),
                cells: vec![passed, cannot],
                error: None,
            },
            Row {
                kernel: "7.3".to_owned(),
                up: None,
                cells: vec![Cell::none(), Cell::none()],
                error: Some("Kernel panic".to_owned()),
            },
        ]
    }

    #[test]
    fn every_kernel_is_in_the_table_and_what_is_wrong_below_it() {
        let names = ["auto", "kprobe"].map(str::to_owned);
        assert_eq!(
            table(&rows(), &names).to_string(),
            "kernel  release  boot  auto       kprobe\n\
             6.12    6.12.95  12 s  28 passed  cannot\n\
             7.3     ?        -     no result  no result\n"
        );
        assert_eq!(
            notes(&rows(), &names),
            [
                "\n6.12 kprobe: cannot",
                "  fdtrace: no hop",
                "\n7.3: Kernel panic"
            ]
        );
    }

    #[test]
    fn what_two_kernels_say_alike_is_said_once() {
        let mut rows = rows();
        rows[1].cells = rows[0].cells.clone();
        rows[1].error = None;
        let names = ["auto", "kprobe"].map(str::to_owned);
        assert_eq!(
            notes(&rows, &names),
            ["\n6.12 kprobe, 7.3 kprobe: cannot", "  fdtrace: no hop"]
        );
    }

    #[test]
    fn the_worst_cell_is_the_exit_code() {
        let mut rows = rows();
        assert_eq!(exit_code(&rows), 1);
        rows.pop();
        assert_eq!(exit_code(&rows), 0);
        rows[0].cells[0].result = cell::Result::Inconclusive;
        assert_eq!(exit_code(&rows), 3);
        assert_eq!(exit_code(&[]), 1);
    }
}
