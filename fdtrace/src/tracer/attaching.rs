//! Attaching: the plan's programs from the object into the kernel, and out again what does not fire.

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
use tokio::time::Instant;

use super::{
    ProbeError, StartTimes,
    loaded::{self, type_ids},
    self_test,
};
use crate::{
    kernel::Types,
    plan::{Hook, Plan},
};

/// Loading is tried again this often when the kernel asks for it.
const LOAD_TRIES: u32 = 5;

fn failed(action: &'static str, hook: &Hook) -> impl Fn(ProgramError) -> ProbeError {
    ProbeError::of_program(action, hook.program, hook.target)
}

/// Loads the plan's programs, on all CPUs that there are: verifying them takes longer than all else.
fn load(ebpf: &mut Ebpf, plan: &Plan, btf: &Btf) -> Result<(), ProbeError> {
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
        while let Some((hook, program)) = next() {
            load_program(program, hook, btf).map_err(failed("load", hook))?;
        }
        Ok(())
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
        others.fold(own, Result::and)
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

/// Attaches every hook of the plan and strikes out of it what does not fire when fdtrace passes
/// descriptors to itself.
pub(super) fn attach_tested(
    ebpf: &mut Ebpf,
    plan: &mut Plan,
    types: &Types,
    begin: Instant,
) -> Result<StartTimes, ProbeError> {
    let hooks = plan.hooks().chain(plan.spare.iter().copied());
    let targets: Vec<_> = hooks.filter_map(Hook::btf_target).collect();
    load(ebpf, plan, &type_ids(types, &targets)?)?;
    let loaded = Instant::now();
    for hook in plan.hooks() {
        attach(ebpf, hook)?;
    }
    let attached = Instant::now();
    let silent = self_test::run(ebpf, plan)?;
    for hook in silent {
        // With its partner, if it is half of a kprobe and a kretprobe.
        for partner in plan
            .hooks()
            .filter(|other| other.target == hook.target)
            .collect::<Vec<_>>()
        {
            detach(ebpf, partner)?;
        }
        plan.strike_out(hook, "was attached and did not fire in the self-test");
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

fn detach(ebpf: &mut Ebpf, hook: &'static Hook) -> Result<(), ProbeError> {
    match loaded::program(ebpf, hook.program)? {
        Program::BtfTracePoint(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(failed("detach", hook))
}
