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

use super::{ProbeError, error::TIME_PROGRAMS, loaded::map};
use crate::{
    kernel::sys::bpf,
    model::{Hop, Losses, ProgramCost},
    plan::{Hook, Kind, Plan},
};

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
            action: TIME_PROGRAMS,
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
