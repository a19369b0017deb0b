//! The counters that the programs keep, and those that the kernel keeps about them.

use std::{
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData, PerCpuArray},
    programs::{Program, ProgramError, ProgramFd},
};
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info, bpf_stats_type};
use fdtrace_common::counters::Counter;

use super::TracerError;
use crate::{
    model::{Hop, Losses, ProgramCost},
    plan::{Hook, Kind, Plan},
};

fn map(ebpf: &Ebpf) -> Result<PerCpuArray<&MapData, u64>, TracerError> {
    let map = ebpf
        .map("COUNTERS")
        .ok_or(TracerError::Missing("map COUNTERS"))?;
    PerCpuArray::try_from(map).map_err(|source| TracerError::Map {
        name: "COUNTERS",
        source,
    })
}

fn value(map: &PerCpuArray<&MapData, u64>, counter: Counter) -> Result<u64, TracerError> {
    let per_cpu = map
        .get(&(counter as u32), 0)
        .map_err(|source| TracerError::Map {
            name: "COUNTERS",
            source,
        })?;
    Ok(per_cpu.iter().sum())
}

/// The hooks that have seen nothing so far, of those that would have counted it.
pub(super) fn silent(ebpf: &Ebpf, plan: &Plan) -> Result<Vec<&'static Hook>, TracerError> {
    let map = map(ebpf)?;
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

pub(super) fn losses(ebpf: &Ebpf, plan: &Plan) -> Result<Losses, TracerError> {
    let map = map(ebpf)?;
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
pub(super) fn passed_over(ebpf: &Ebpf, plan: &Plan) -> Result<u64, TracerError> {
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

fn keys<K: Pod, V: Pod>(ebpf: &Ebpf, name: &'static str) -> Result<Vec<K>, TracerError> {
    let map = ebpf.map(name).ok_or(TracerError::Missing("a map"))?;
    let map: HashMap<_, K, V> =
        HashMap::try_from(map).map_err(|source| TracerError::Map { name, source })?;
    // What changes while it is read is under way.
    Ok(map.keys().filter_map(Result::ok).collect())
}

pub(super) fn costs(ebpf: &Ebpf, plan: &Plan) -> Result<Vec<ProgramCost>, TracerError> {
    let mut costs = Vec::new();
    for hook in plan.hooks() {
        let program = ebpf
            .program(hook.program)
            .ok_or(TracerError::Missing(hook.program))?;
        let fd = program_fd(program).map_err(|source| TracerError::Load {
            program: hook.program,
            target: hook.target,
            source: Box::new(source),
        })?;
        let info = program_info(fd).map_err(|source| TracerError::System {
            action: "ask about a program",
            source,
        })?;
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
) -> Result<u64, TracerError> {
    let program = ebpf.program(name).ok_or(TracerError::Missing(name))?;
    let fd = program_fd(program).map_err(|source| TracerError::Load {
        program: name,
        target,
        source: Box::new(source),
    })?;
    let info = program_info(fd).map_err(|source| TracerError::System {
        action: "ask about a program",
        source,
    })?;
    Ok(info.recursion_misses)
}

/// `bpf_prog_info`, of which aya does not show the parts wanted here.
fn program_info(program: &ProgramFd) -> io::Result<bpf_prog_info> {
    // SAFETY: both are plain C structures for which all-zero is the documented start.
    let (mut info, mut attr): (bpf_prog_info, bpf_attr) = unsafe { std::mem::zeroed() };
    attr.info.bpf_fd = program.as_fd().as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// Keeps the kernel timing programs until it is dropped.
#[derive(Debug)]
pub struct Stats {
    _enabled: OwnedFd,
}

impl Stats {
    pub(super) fn enable() -> Result<Self, TracerError> {
        // SAFETY: a plain C structure for which all-zero is the documented start.
        let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
        attr.enable_stats.type_ = bpf_stats_type::BPF_STATS_RUN_TIME as u32;
        let fd =
            bpf(bpf_cmd::BPF_ENABLE_STATS, &mut attr).map_err(|source| TracerError::System {
                action: "have the kernel time programs",
                source,
            })?;
        Ok(Self {
            // SAFETY: the kernel just made it, and nobody else knows it.
            _enabled: unsafe { OwnedFd::from_raw_fd(fd) },
        })
    }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the attribute is as large as said, and filled in for this command by the caller.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
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
