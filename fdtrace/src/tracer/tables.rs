//! Tables: what the numbers of processes stand for, by an iterator at any time, and by a program as a
//! process ends.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    os::fd::{AsFd, AsRawFd as _},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap as BpfHashMap, MapData, PerCpuArray, RingBuf},
    programs::RawTracePoint,
};
use fdtrace_common::tables::{
    ENDING_HEAD, ENDING_WORDS, EndWanted, EndingPart, FILE_WORDS, NUMBERS_PER_WORD,
    OpenNumber as Seen, PID_WORDS, TableFilter, TableOwner, TableRow, file_bit, pid_bit,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use zerocopy::FromBytes as _;

use super::{
    ProbeError,
    loaded::{Iterator, program, take_map},
    queues::Raw,
};
use crate::{
    kernel::Types,
    model::{LookedAt, OpenNumber, Table, TableLook, lossless},
};

const ROWS: Iterator = Iterator {
    program: "tables_row",
    target: "iter/task_file",
};
const END: (&str, &str) = ("tables_end", "sched_process_exit");
const FILTER: &str = "TABLE_FILTER";
const ENDS_WANTED: &str = "ENDS_WANTED";
const ENDS: &str = "ENDS";
const ENDS_LOST: &str = "ENDS_LOST";

/// Reads tables.
pub(super) struct Tables {
    filter: Array<MapData, Raw<TableFilter>>,
    ends_wanted: BpfHashMap<MapData, u32, Raw<EndWanted>>,
    ends: RingBuf<MapData>,
    ends_lost: PerCpuArray<MapData, u64>,
    /// Parts that were lost, when that was read last.
    lost: u64,
    /// Of tables whose last part has not come, by process and time: two threads of one may both find that no
    /// other lives.
    parts: HashMap<(u32, u64), Vec<OpenNumber>>,
    /// What the kernel half says of how a file was made was seen to be right.
    tells_made: bool,
}

impl Tables {
    /// `tells_ends`: whether programs can see that a process ends, and not a thread.
    pub(super) fn load(
        ebpf: &mut Ebpf,
        types: &Types,
        tells_ends: bool,
    ) -> Result<Self, ProbeError> {
        ROWS.load(ebpf, types)?;
        if tells_ends {
            let (name, target) = END;
            let failed = |action| ProbeError::of_program(action, name, target);
            let program: &mut RawTracePoint =
                program(ebpf, name)?.try_into().map_err(failed("load"))?;
            program.load().map_err(failed("load"))?;
            program.attach(target).map_err(failed("attach"))?;
        }
        let mut tables = Self {
            filter: take_map(ebpf, FILTER)?,
            ends_wanted: take_map(ebpf, ENDS_WANTED)?,
            ends: take_map(ebpf, ENDS)?,
            ends_lost: take_map(ebpf, ENDS_LOST)?,
            lost: 0,
            parts: HashMap::new(),
            tells_made: true,
        };
        tables.tells_made = tables.is_right_about_made(ebpf)?;
        Ok(tables)
    }

    /// Asks about files of this process of which it is known how they were made.
    fn is_right_about_made(&mut self, ebpf: &mut Ebpf) -> Result<bool, ProbeError> {
        let Ok(files) = known_files() else {
            // Without descriptors to spare nothing is known.
            return Ok(false);
        };
        let own = std::process::id();
        let found = self.look(ebpf, &HashSet::from([own]), &HashSet::new())?;
        let numbers = || {
            let own = found.iter().filter(|table| table.pid == own);
            own.flat_map(|table| &table.numbers)
        };
        let is_right = |(file, made): &(File, bool)| {
            let fd = file.as_fd().as_raw_fd();
            numbers().any(|number| number.fd == fd && number.made == *made)
        };
        Ok(files.iter().all(is_right))
    }

    /// What the numbers of these processes stand for, and which numbers stand for one of these files.
    pub(super) fn look(
        &mut self,
        ebpf: &mut Ebpf,
        pids: &HashSet<u32>,
        files: &HashSet<u64>,
    ) -> Result<Vec<Table>, ProbeError> {
        let mut filter = Box::new(Raw(TableFilter {
            files: [0; FILE_WORDS],
            pids: [0; PID_WORDS],
        }));
        for file in files {
            let (word, place) = file_bit(*file);
            filter.0.files[word] |= 1 << place;
        }
        for pid in pids {
            let (word, place) = pid_bit(*pid);
            filter.0.pids[word] |= 1 << place;
        }
        let set = self.filter.set(0, filter.as_ref(), 0);
        set.map_err(ProbeError::of_map(FILTER))?;
        let rows: Vec<TableRow> = ROWS.rows(ebpf)?;
        let mut tables: Vec<Table> = Vec::new();
        let mut places: HashMap<u32, usize> = HashMap::new();
        for row in rows {
            let pid = row.owner.pid;
            if !pids.contains(&pid) && !files.contains(&row.number.file) {
                continue;
            }
            let place = *places.entry(pid).or_insert_with(|| {
                tables.push(table_of(&row.owner));
                tables.len() - 1
            });
            tables[place]
                .numbers
                .push(number(&row.number, self.tells_made));
        }
        for table in &mut tables {
            // Before 5.11 the kernel lists a table once for each thread that shares it.
            table.numbers.sort_unstable();
            table.numbers.dedup();
        }
        // A process may be there and have nothing open. If the number is another's by now, that one does
        // not have it open either.
        for pid in pids.iter().filter(|pid| !places.contains_key(pid)) {
            if is_alive(*pid) {
                tables.push(Table {
                    pid: *pid,
                    start_ns: 0,
                    parent: 0,
                    comm: String::new(),
                    numbers: Vec::new(),
                });
            }
        }
        Ok(tables)
    }

    /// Has the end of a process told.
    pub(super) fn tell_end_of(&mut self, pid: u32) {
        // If there is no room, its end goes unseen, and what it had is told as such.
        const BPF_NOEXIST: u64 = 1;
        let wanted = Raw(EndWanted::default());
        let _ = self.ends_wanted.insert(pid, wanted, BPF_NOEXIST);
    }

    /// What has come of processes that have ended.
    pub(super) fn ended(&mut self) -> Vec<TableLook> {
        let mut looks = Vec::new();
        while let Some(record) = self.ends.next() {
            let Some(part) = part(&record) else {
                continue;
            };
            let key = (part.owner.pid, part.t_ns);
            let numbers = self.parts.entry(key).or_default();
            let known = part.numbers.iter().take(part.len as usize);
            numbers.extend(known.map(|seen| number(seen, self.tells_made)));
            if part.len > 0 {
                continue;
            }
            let numbers = self.parts.remove(&key).unwrap_or_default();
            let lost = numbers.len() != part.all as usize;
            let below = (part.words > ENDING_WORDS)
                .then_some(ENDING_WORDS as i32 * NUMBERS_PER_WORD as i32);
            let pid = part.owner.pid;
            let _ = self.ends_wanted.remove(&pid);
            looks.push(TableLook {
                t_ns: part.t_ns,
                at: LookedAt::ProcessEnd,
                below,
                lost,
                apart: part.apart != 0,
                tables: vec![Table {
                    numbers,
                    ..table_of(&part.owner)
                }],
            });
        }
        let lost = self
            .ends_lost
            .get(&0, 0)
            .map(|per_cpu| per_cpu.iter().sum());
        if lost.is_ok_and(|lost: u64| std::mem::replace(&mut self.lost, lost) != lost) {
            // Among what was lost may be the last parts of these.
            self.parts.clear();
        }
        looks
    }
}

/// Whether there is such a process, and it has not ended: its first thread may have, before the others.
fn is_alive(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().any(|thread| {
        let Ok(stat) = fs::read(thread.path().join("stat")) else {
            return false;
        };
        // Behind the name, which may be anything in parentheses.
        let state = stat.iter().rposition(|byte| *byte == b')');
        let state = state.and_then(|end| stat.get(end + 2));
        !matches!(state, None | Some(b'Z' | b'X'))
    })
}

/// A part of a table, with zeros for the numbers that it does not have.
fn part(record: &[u8]) -> Option<EndingPart> {
    let mut bytes = [0; size_of::<EndingPart>()];
    bytes.get_mut(..record.len())?.copy_from_slice(record);
    (record.len() >= ENDING_HEAD)
        .then(|| EndingPart::read_from_bytes(&bytes).ok())
        .flatten()
}

fn table_of(owner: &TableOwner) -> Table {
    let comm = owner.comm.split(|byte| *byte == 0).next();
    Table {
        pid: owner.pid,
        start_ns: owner.start_ns,
        parent: owner.parent,
        comm: lossless::text(comm.unwrap_or_default()),
        numbers: Vec::new(),
    }
}

fn number(seen: &Seen, tells_made: bool) -> OpenNumber {
    let is_path = seen.flags & libc::O_PATH.cast_unsigned() != 0;
    OpenNumber {
        fd: seen.fd.cast_signed(),
        file: seen.file,
        ino: seen.ino,
        dev: seen.dev,
        path: is_path,
        made: seen.made != 0 && tells_made && !is_path,
    }
}

/// Files, and whether the kernel made them with their inodes: a memfd and a pipe, and the same opened by
/// path.
fn known_files() -> std::io::Result<Vec<(File, bool)>> {
    let memfd = memfd_create(c"fdtrace", MFdFlags::MFD_CLOEXEC)?;
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let made = [memfd, read, write].map(|made| (File::from(made), true));
    let mut files: Vec<(File, bool)> = Vec::new();
    for (file, made) in made {
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        // Both directions, so that a pipe's end does not wait for the other.
        let opened = File::options().read(true).write(true).open(path)?;
        files.extend([(file, made), (opened, false)]);
    }
    Ok(files)
}
