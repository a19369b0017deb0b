//! Attaching: the plan's programs from the object into the kernel, and a test that each of them fires.

use std::{
    collections::HashMap,
    io,
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use aya::{
    Btf, Ebpf,
    programs::{Program, ProgramError},
};
use nix::errno::Errno;
use tokio::time::Instant;

use super::{
    ProbeError, StartTimes,
    loaded::{self, type_ids},
    self_test,
};
use crate::{
    kernel::{Broken, Types},
    plan::{Hook, Plan},
};

/// Said by the kernel, and by no system call's manual.
const ENOTSUPP: i32 = 524;

/// Loading is tried again this often when the kernel asks for it.
const LOAD_TRIES: u32 = 5;

fn failed(action: &'static str, hook: &Hook) -> impl Fn(ProgramError) -> ProbeError {
    ProbeError::of_program(action, hook.program, hook.target)
}

/// Loads the plan's programs, on all CPUs that there are: verifying them takes longer than all else. Gives
/// those whose place the kernel does not find, or lets nobody use.
fn load(ebpf: &mut Ebpf, plan: &Plan, btf: &Btf) -> Result<Vec<Broken>, ProbeError> {
    let mut programs: HashMap<&str, &mut Program> = ebpf.programs_mut().collect();
    let spare = plan.spare.iter().copied();
    let wanted = plan.hooks().chain(spare).map(|hook| {
        let name = hook.program;
        let program = programs.remove(name);
        Ok((hook, program.ok_or(ProbeError::Missing { name })?))
    });
    let left = Mutex::new(wanted.collect::<Result<Vec<_>, ProbeError>>()?.into_iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut broken = Vec::new();
        while let Some((hook, program)) = next() {
            let loaded = load_program(program, hook, btf).map_err(failed("load", hook));
            match loaded {
                // Whatever else it says is of the program.
                Err(error) if matches!(error.errno(), Some(libc::ENOENT | ENOTSUPP)) => {
                    broken.push(cannot_be_used(hook, error)?);
                }
                loaded => loaded?,
            }
        }
        Ok(broken)
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        others.fold(own, |all, more| {
            let mut all = all?;
            all.extend(more?);
            Ok(all)
        })
    })
}

fn load_program(program: &mut Program, hook: &Hook, btf: &Btf) -> Result<(), ProgramError> {
    for attempt in 1.. {
        let loaded = match program {
            Program::BtfTracePoint(program) => program.load(hook.target, btf),
            Program::RawTracePoint(program) => program.load(),
            Program::FEntry(program) => program.load(hook.target, btf),
            Program::FExit(program) => program.load(hook.target, btf),
            Program::KProbe(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        match loaded {
            // The verifier gives way to signals and asks for another try.
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == io::ErrorKind::WouldBlock && attempt < LOAD_TRIES =>
            {
                thread::sleep(Duration::from_millis(u64::from(attempt)));
            }
            done => return done,
        }
    }
    Ok(())
}

pub(super) fn attach(ebpf: &mut Ebpf, hook: &'static Hook) -> Result<(), ProbeError> {
    match loaded::program(ebpf, hook.program)? {
        Program::BtfTracePoint(program) => program.attach().map(drop),
        Program::RawTracePoint(program) => program.attach(hook.target).map(drop),
        Program::FEntry(program) => program.attach().map(drop),
        Program::FExit(program) => program.attach().map(drop),
        Program::KProbe(program) => program.attach(hook.target, 0).map(drop),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(failed("attach", hook))
}

/// What is wrong with the place of a hook, if the error that attaching there gave is the place's and not
/// this process's.
pub(super) fn cannot_be_used(hook: &Hook, error: ProbeError) -> Result<Broken, ProbeError> {
    const OF_THE_PLACE: [i32; 8] = [
        libc::ENODEV,
        libc::ENOENT,
        libc::EINVAL,
        libc::EBUSY,
        libc::E2BIG,
        libc::EOPNOTSUPP,
        libc::EADDRNOTAVAIL,
        ENOTSUPP,
    ];
    match error.errno() {
        Some(ENOTSUPP) => Ok(broken_at(
            hook,
            "cannot be attached to: ENOTSUPP".to_owned(),
        )),
        Some(errno) if OF_THE_PLACE.contains(&errno) => {
            let errno = Errno::from_raw(errno);
            Ok(broken_at(
                hook,
                format!("cannot be attached to: {}", errno.desc()),
            ))
        }
        _ => Err(error),
    }
}

/// Whether a silent hook is silent by itself: it is of the first hop that has one, for those of later hops may
/// rely on that, or nothing fires that is attached by its mechanism.
fn is_to_blame(hook: &Hook, plan: &Plan, silent: &[&'static Hook]) -> bool {
    let is_silent = |other: &Hook| silent.iter().any(|it| it.program == other.program);
    let first = plan
        .hops
        .iter()
        .find(|planned| planned.hooks.iter().any(|it| is_silent(it)));
    let is_of_first = first.is_some_and(|first| first.hooks.contains(&hook));
    let mechanism = hook.kind.mechanism();
    let mut likewise = plan
        .hooks()
        .filter(|other| other.fired.is_some() && other.kind.mechanism() == mechanism);
    is_of_first || likewise.all(is_silent)
}

fn broken_at(hook: &Hook, why: String) -> Broken {
    Broken {
        mechanism: hook.kind.mechanism(),
        target: hook.target,
        why,
    }
}

/// Attaches every hook of the plan, and has each fire by passing descriptors to itself.
pub(super) fn attach_tested(
    ebpf: &mut Ebpf,
    plan: &Plan,
    types: &Types,
    begin: Instant,
) -> Result<StartTimes, ProbeError> {
    let hooks = plan.hooks().chain(plan.spare.iter().copied());
    let targets: Vec<_> = hooks.filter_map(Hook::btf_target).collect();
    let mut broken = load(ebpf, plan, &type_ids(types, &targets)?)?;
    if !broken.is_empty() {
        return Err(ProbeError::Broken(broken));
    }
    let loaded = Instant::now();
    for hook in plan.hooks() {
        if let Err(error) = attach(ebpf, hook) {
            broken.push(cannot_be_used(hook, error)?);
        }
    }
    let attached = Instant::now();
    if broken.is_empty() {
        let silent = self_test::run(ebpf, plan)?;
        let to_blame = silent
            .iter()
            .filter(|hook| is_to_blame(hook, plan, &silent));
        broken.extend(to_blame.map(|hook| {
            broken_at(
                hook,
                "was attached and did not fire in the self-test".to_owned(),
            )
        }));
    }
    if !broken.is_empty() {
        return Err(ProbeError::Broken(broken));
    }
    if plan.hooks().next().is_none() {
        return Err(ProbeError::NothingFired);
    }
    Ok(StartTimes {
        load: loaded - begin,
        attach: attached - loaded,
        test: attached.elapsed(),
    })
}
