//! Whether this kernel lets this process use trampolines and kprobes at all, and whether programs
//! may read any address by a plain load.
//!
//! Neither the version nor the configuration is enough: some kernels have the code and refuse it by
//! policy. So the question is asked by doing it, with a program that does nothing on a function
//! that hardly ever runs.

use std::{fs, io, path::Path};

use aya_obj::generated::{
    BPF_ALU64, BPF_ATOMIC, BPF_CALL, BPF_CMPXCHG, BPF_DW, BPF_JMP, BPF_K, BPF_LDX, BPF_MEM,
    BPF_MOV, BPF_PSEUDO_KFUNC_CALL, BPF_ST, BPF_STX,
    bpf_attach_type::BPF_TRACE_FENTRY,
    bpf_prog_type::{BPF_PROG_TYPE_RAW_TRACEPOINT, BPF_PROG_TYPE_TRACING},
};

use crate::model::Mechanism;

use super::{
    Types,
    sys::{
        bpf::{Program, attach_tracing, instruction, return_value},
        perf,
    },
};

/// A function that every kernel with Unix sockets has and that only descriptor passing calls.
const FUNCTION: &str = "scm_fp_dup";

/// How little perf is for everybody.
const PERF_PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

/// Whether the kernel patches calls into functions as they are entered.
const FTRACE_ENABLED: &str = "/proc/sys/kernel/ftrace_enabled";

/// Present where perf can make kprobes.
const KPROBE_PMU: &str = "/sys/bus/event_source/devices/kprobe/type";

/// A structure that begins with two numbers of 8 bytes.
pub(crate) const WORDS: &str = "pt_regs";

/// A kernel's function that lets programs load from any address (6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// BTF id of the function.
    pub function: u32,
    /// It casts to types only. From 6.17 on it casts to none too, and then everything may be loaded.
    pub needs_type: bool,
}

/// Why nothing runs at this moment that this mechanism has attached to functions; `None` if it does.
#[must_use]
pub fn functions_off(mechanism: Mechanism) -> Option<&'static str> {
    let is_by_ftrace = match mechanism {
        Mechanism::Trampoline => true,
        // On arm64 they are breakpoints.
        Mechanism::Kprobe => cfg!(target_arch = "x86_64"),
        Mechanism::Tracepoint => false,
    };
    if !is_by_ftrace {
        return None;
    }
    let enabled = fs::read_to_string(FTRACE_ENABLED).ok()?;
    (enabled.trim() == "0").then_some("ftrace is switched off (kernel.ftrace_enabled = 0)")
}

/// Why fentry and fexit do not work here; `None` if they do.
pub(super) fn no_trampolines(types: &Types) -> Option<String> {
    if let Some(off) = functions_off(Mechanism::Trampoline) {
        return Some(off.to_owned());
    }
    let Some(id) = types.function_id(FUNCTION) else {
        return Some(format!(
            "BTF does not describe {FUNCTION}, so trampolines cannot be tried"
        ));
    };
    match try_trampoline(id) {
        Ok(()) => None,
        Err(error) => Some(format!(
            "this kernel refuses fentry programs: {}",
            brief(&error)
        )),
    }
}

/// Why kprobes do not work here; `None` if they may.
pub(super) fn no_kprobes() -> Option<String> {
    if !Path::new(KPROBE_PMU).exists() {
        return Some("this kernel has no kprobes".to_owned());
    }
    if let Some(off) = functions_off(Mechanism::Kprobe) {
        return Some(off.to_owned());
    }
    let error = perf::open_dummy().err()?;
    let level = fs::read_to_string(PERF_PARANOID).unwrap_or_default();
    // Above 2 it is a patch of distributions', which asks for CAP_SYS_ADMIN.
    Some(format!(
        "this process may not use perf_event_open, nor kprobes (CAP_SYS_ADMIN; \
         kernel.perf_event_paranoid {}): {}",
        level.trim(),
        brief(&error)
    ))
}

/// `bpf_rdonly_cast`, if a program may load from any address that it casts.
pub(super) fn rdonly_cast(types: &Types) -> Option<Cast> {
    let function = types.function_id("bpf_rdonly_cast")?;
    let needs_type = match (types.structure_id(WORDS), casts(function, 0)) {
        (_, true) => false,
        (Some(words), false) if casts(function, words) => true,
        _ => return None,
    };
    Some(Cast {
        function,
        needs_type,
    })
}

/// Whether a program may load from an address that `function` casts to the type with this BTF id, or
/// with 0 to none.
fn casts(function: u32, to: u32) -> bool {
    let set = |register, value| instruction(BPF_ALU64 | BPF_K | BPF_MOV, [register, 0], 0, value);
    let [zero, exit] = return_value(0);
    let instructions = [
        set(1, 4096),
        set(2, to.cast_signed()),
        instruction(
            BPF_JMP | BPF_CALL,
            [0, BPF_PSEUDO_KFUNC_CALL as u8],
            0,
            function.cast_signed(),
        ),
        instruction(BPF_LDX | BPF_MEM | BPF_DW, [0, 0], 8, 0),
        zero,
        exit,
    ];
    takes(&instructions)
}

/// Whether a program may exchange a number in memory for another in one step (5.12).
pub(crate) fn exchanges() -> bool {
    const FRAME: u8 = 10;
    let [zero, exit] = return_value(0);
    takes(&[
        zero,
        instruction(BPF_ST | BPF_MEM | BPF_DW, [FRAME, 0], -8, 0),
        instruction(
            BPF_STX | BPF_ATOMIC | BPF_DW,
            [FRAME, 0],
            -8,
            BPF_CMPXCHG.cast_signed(),
        ),
        exit,
    ])
}

/// Whether the kernel takes a program of these instructions.
fn takes(instructions: &[u64]) -> bool {
    let program = Program {
        kind: BPF_PROG_TYPE_RAW_TRACEPOINT,
        attach: None,
        target: 0,
        instructions,
    };
    program.load().is_ok()
}

/// `Operation not permitted`, without the number.
fn brief(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn try_trampoline(function_id: u32) -> io::Result<()> {
    let program = Program {
        kind: BPF_PROG_TYPE_TRACING,
        attach: Some(BPF_TRACE_FENTRY),
        target: function_id,
        instructions: &return_value(0),
    };
    // Attached for as long as it takes to close it again.
    attach_tracing(program.load()?, None).map(drop)
}
