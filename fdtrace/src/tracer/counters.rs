//! The counters that the programs keep, and those that the kernel keeps about them.

use std::{
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData, PerCpuArray},
    programs::{Program, ProgramError, ProgramFd},
};
use aya_obj::generated::bpf_prog_info;
use fdtrace_common::counters::Counter;

use super::{ProbeError, loaded::map};
use crate::{
    kernel::sys::bpf,
    plan::{Hook, Hop, Kind, Plan},
};

/// What went unseen, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Losses {
    /// Records that found no room in the ring buffer, by hop.
    pub events: Vec<(Hop, u64)>,
    /// Runs that the kernel skipped, because the program was already running on that CPU, or because it
    /// followed too many calls to their returns already.
    pub recursion_misses: u64,
    /// Sends whose list had left the queue before it could be read.
    pub raced: u64,
    /// Sends that failed, and that may have passed descriptors: their numbers could not be read, for an
    /// io_uring of that task may have sent within the call.
    pub unread_sends: u64,
    /// Receives for which there was no room to remember them by.
    pub window_full: u64,
    /// What the filter wanted, or might have come to want, and had no room to note.
    pub filter_full: u64,
    /// Descriptions that found no room in the ring buffer: files and tasks that stay unnamed.
    pub descriptions: u64,
    /// CLOCK_MONOTONIC when all this had been read, nanoseconds; 0 where nobody noted it.
    pub read_ns: u64,
}

impl Losses {
    /// Whether anything was lost that could hide a transfer or break one up.
    #[must_use]
    pub fn any(&self) -> bool {
        self.recursion_misses > 0
            || self.window_full > 0
            || self.filter_full > 0
            || self.events.iter().any(|(_, count)| *count > 0)
    }

    /// Whether another reading says the same.
    #[must_use]
    pub fn counts_as(&self, other: &Self) -> bool {
        let read_ns = other.read_ns;
        Self {
            read_ns,
            ..self.clone()
        } == *other
    }

    /// Whether nothing was lost since `earlier` that could hide a transfer or break one up. A race
    /// that a receiver won is no loss: the rest of that message was seen, and says so.
    #[must_use]
    pub fn same_gaps(&self, earlier: &Self) -> bool {
        let lost = |losses: &Self, at: Hop| -> u64 {
            let events = losses.events.iter();
            events.filter(|(hop, _)| *hop == at).map(|(_, n)| n).sum()
        };
        Hop::ALL
            .into_iter()
            .all(|hop| lost(self, hop) == lost(earlier, hop))
            && self.recursion_misses == earlier.recursion_misses
            && self.window_full == earlier.window_full
            && self.filter_full == earlier.filter_full
    }
}

#[test]
fn that_nothing_has_been_lost_yet_is_no_loss() {
    let counted = Losses {
        events: Hop::ALL.map(|hop| (hop, 0)).to_vec(),
        ..Losses::default()
    };
    assert!(counted.same_gaps(&Losses::default()) && !counted.any());
    let lossy = Losses {
        events: vec![(Hop::Dequeue, 1)],
        ..Losses::default()
    };
    assert!(!lossy.same_gaps(&counted) && lossy.any());
}

/// Where the programs count.
const COUNTERS: &str = "COUNTERS";

fn value(map: &PerCpuArray<&MapData, u64>, counter: Counter) -> Result<u64, ProbeError> {
    let per_cpu = map.get(&(counter as u32), 0);
    let per_cpu = per_cpu.map_err(ProbeError::of_map(COUNTERS))?;
    Ok(per_cpu.iter().sum())
}

/// The hooks that have seen nothing so far, of those that would have counted it.
pub(super) fn silent(ebpf: &Ebpf, plan: &Plan) -> Result<Vec<&'static Hook>, ProbeError> {
    let map = map(ebpf, COUNTERS)?;
    let mut silent = Vec::new();
    for hook in plan.hooks() {
        if let Some(counter) = hook.fired
            && value(&map, counter)? == 0
        {
            silent.push(hook);
        }
    }
    Ok(silent)
}

pub(super) fn losses(ebpf: &Ebpf, plan: &Plan) -> Result<Losses, ProbeError> {
    let map = map(ebpf, COUNTERS)?;
    let mut events = Vec::new();
    for (hop, counter) in [
        (Hop::Copy, Counter::CopyLost),
        (Hop::Attach, Counter::AttachLost),
        (Hop::Queue, Counter::QueueLost),
        (Hop::Dequeue, Counter::DequeueLost),
        (Hop::Detach, Counter::DetachLost),
        (Hop::Receive, Counter::ReceiveLost),
        (Hop::Install, Counter::InstallLost),
        (Hop::End, Counter::EndLost),
    ] {
        events.push((hop, value(&map, counter)?));
    }
    let runs: u64 = costs(ebpf, plan)?
        .iter()
        .map(|cost| cost.recursion_misses)
        .sum();
    Ok(Losses {
        events,
        recursion_misses: runs + value(&map, Counter::ReturnSkipped)?,
        raced: value(&map, Counter::QueueRaced)?,
        unread_sends: value(&map, Counter::SendUnread)?,
        window_full: value(&map, Counter::WindowFull)?,
        filter_full: value(&map, Counter::HeldFull)?
            + value(&map, Counter::MarkedFull)?
            + value(&map, Counter::WantedFull)?,
        descriptions: value(&map, Counter::DescribeLost)?,
        read_ns: 0,
    })
}

/// Returns that the kernel passed over, of threads that have ended since. The next call of a thread
/// would have shown it; of those that make none, what was kept for the return is here still.
pub(super) fn passed_over(ebpf: &Ebpf, plan: &Plan) -> Result<u64, ProbeError> {
    /// The inode number of the first pid namespace (PROC_PID_INIT_INO), whose numbers the programs use.
    const FIRST_PID_NAMESPACE: u64 = 0xeffffffc;
    let numbers = std::fs::metadata("/proc/self/ns/pid").map(|pids| pids.ino());
    let sees_returns = plan.hooks().any(|hook| hook.kind == Kind::Kretprobe);
    if !sees_returns || numbers.ok() != Some(FIRST_PID_NAMESPACE) {
        return Ok(0);
    }
    let has_ended = |tid: u32| !Path::new("/proc").join(tid.to_string()).exists();
    let mut ended = 0;
    for key in keys::<u64, [u64; 4]>(ebpf, "CALLS")? {
        ended += u64::from(has_ended((key >> 32) as u32));
    }
    for tid in keys::<u32, [u64; 4]>(ebpf, "SENDING")? {
        ended += u64::from(has_ended(tid));
    }
    Ok(ended)
}

fn keys<K: Pod, V: Pod>(ebpf: &Ebpf, name: &'static str) -> Result<Vec<K>, ProbeError> {
    let map: HashMap<_, K, V> = map(ebpf, name)?;
    // What changes while it is read is under way.
    Ok(map.keys().filter_map(Result::ok).collect())
}

/// What one program has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// The program.
    pub program: &'static str,
    /// How often it ran.
    pub runs: u64,
    /// How long that took in all, in nanoseconds.
    pub run_ns: u64,
    /// Runs that the kernel skipped because the program was already running on that CPU.
    pub recursion_misses: u64,
}

impl ProgramCost {
    /// What a run took on average, nanoseconds; `None` if there was none.
    #[must_use]
    pub fn ns_per_run(&self) -> Option<u64> {
        self.run_ns.checked_div(self.runs)
    }
}

pub(super) fn costs(ebpf: &Ebpf, plan: &Plan) -> Result<Vec<ProgramCost>, ProbeError> {
    let mut costs = Vec::new();
    for hook in plan.hooks() {
        let info = info(ebpf, hook.program, hook.target)?;
        costs.push(ProgramCost {
            program: hook.program,
            runs: info.run_cnt,
            run_ns: info.run_time_ns,
            // 5.12 and later; zero before.
            recursion_misses: info.recursion_misses,
        });
    }
    Ok(costs)
}

/// Runs that the kernel skipped of a program that no plan names.
pub(super) fn skipped(
    ebpf: &Ebpf,
    (name, target): (&'static str, &'static str),
) -> Result<u64, ProbeError> {
    Ok(info(ebpf, name, target)?.recursion_misses)
}

fn info(
    ebpf: &Ebpf,
    name: &'static str,
    target: &'static str,
) -> Result<bpf_prog_info, ProbeError> {
    let program = ebpf.program(name).ok_or(ProbeError::Missing { name })?;
    let fd = program_fd(program).map_err(ProbeError::of_program("inspect", name, target))?;
    bpf::program_info(fd).map_err(|source| ProbeError::System {
        action: "ask the kernel about a program",
        source,
    })
}

/// Keeps the kernel timing programs until it is dropped.
#[derive(Debug)]
pub struct Stats {
    _enabled: OwnedFd,
}

impl Stats {
    pub(super) fn enable() -> Result<Self, ProbeError> {
        let enabled = bpf::time_programs().map_err(|source| ProbeError::System {
            action: "have the kernel time programs",
            source,
        })?;
        Ok(Self { _enabled: enabled })
    }
}

fn program_fd(program: &Program) -> Result<&ProgramFd, ProgramError> {
    match program {
        Program::BtfTracePoint(program) => program.fd(),
        Program::RawTracePoint(program) => program.fd(),
        Program::FEntry(program) => program.fd(),
        Program::FExit(program) => program.fd(),
        Program::KProbe(program) => program.fd(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
