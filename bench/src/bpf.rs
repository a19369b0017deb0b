//! The kernel's interface to programs and maps, as far as the benchmark has programs of its own.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use aya_obj::generated::{bpf_attach_type, bpf_map_type, bpf_prog_type};
use fdtrace::{
    kernel::{
        KernelView,
        sys::bpf::{Program, attach_tracing, create_map, return_value},
    },
    plan::{Hook, Kind},
};

/// Where perf says what kind of event a kprobe is.
const KPROBE_KIND: &str = "/sys/bus/event_source/devices/kprobe/type";
/// The bit of a kprobe event's configuration that asks for its return.
const RETPROBE: u64 = 1;

/// `return 0`.
pub(crate) const NOTHING: [u64; 2] = return_value(0);

/// A program and what attaches it, until dropped.
pub(crate) type Attached = [OwnedFd; 2];

/// Attaches `instructions` where `hook` is.
pub(crate) fn attach(view: &KernelView, hook: &Hook, instructions: &[u64]) -> Result<Attached> {
    attach_to(view, hook, instructions)
        .with_context(|| format!("cannot attach a program to {}", hook.target))
}

fn attach_to(view: &KernelView, hook: &Hook, instructions: &[u64]) -> Result<Attached> {
    let no_id = || format!("{} has no BTF id", hook.target);
    let tracing = bpf_prog_type::BPF_PROG_TYPE_TRACING;
    let (kind, attach_type, id) = match hook.kind {
        Kind::Fentry => (
            tracing,
            bpf_attach_type::BPF_TRACE_FENTRY,
            view.types.function_id(hook.target).with_context(no_id)?,
        ),
        Kind::Fexit => (
            tracing,
            bpf_attach_type::BPF_TRACE_FEXIT,
            view.types.function_id(hook.target).with_context(no_id)?,
        ),
        Kind::BtfTracepoint => (
            tracing,
            bpf_attach_type::BPF_TRACE_RAW_TP,
            view.types.tracepoint_id(hook.target).with_context(no_id)?,
        ),
        Kind::RawTracepoint => return raw_tracepoint(hook, instructions),
        Kind::Kprobe | Kind::Kretprobe => return kprobe(hook, instructions),
    };
    let program = load(kind, Some(attach_type), id, instructions)?;
    let link = attach_tracing(&program, None)?;
    Ok([program, link])
}

fn raw_tracepoint(hook: &Hook, instructions: &[u64]) -> Result<Attached> {
    let kind = bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT;
    let program = load(kind, None, 0, instructions)?;
    let name = std::ffi::CString::new(hook.target)?;
    let link = attach_tracing(&program, Some(&name))?;
    Ok([program, link])
}

fn kprobe(hook: &Hook, instructions: &[u64]) -> Result<Attached> {
    let program = load(bpf_prog_type::BPF_PROG_TYPE_KPROBE, None, 0, instructions)?;
    let name = std::ffi::CString::new(hook.target)?;
    // `perf_event_attr` up to its first published size, as words: type and size, configuration,
    // and, in the eighth and ninth, a kprobe's function and offset.
    let kind: u32 = fs::read_to_string(KPROBE_KIND)?.trim().parse()?;
    let mut attr = [0_u64; 14];
    attr[0] = u64::from(kind) | (size_of_val(&attr) as u64) << 32;
    attr[1] = u64::from(hook.kind == Kind::Kretprobe) * RETPROBE;
    attr[7] = name.as_ptr() as u64;
    // SAFETY: the attribute is as long as it says, and the name outlives the call.
    let event =
        unsafe { libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), -1, 0, -1, 1 << 3) };
    if event < 0 {
        bail!(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    let event = unsafe { OwnedFd::from_raw_fd(i32::try_from(event)?) };
    let (set, enable) = (0x4004_2408, 0x2400); // PERF_EVENT_IOC_SET_BPF, _ENABLE
    // SAFETY: both take what is given here.
    let done = unsafe {
        libc::ioctl(event.as_raw_fd(), set, program.as_raw_fd()) == 0
            && libc::ioctl(event.as_raw_fd(), enable, 0) == 0
    };
    if !done {
        bail!(io::Error::last_os_error());
    }
    Ok([program, event])
}

/// A map: the size of its keys and its values, and how many it has room for.
pub(crate) fn map(kind: bpf_map_type, layout: [u32; 3]) -> Result<OwnedFd> {
    Ok(create_map(kind, c"", layout)?)
}

fn load(
    kind: bpf_prog_type,
    attach: Option<bpf_attach_type>,
    target: u32,
    instructions: &[u64],
) -> Result<OwnedFd> {
    let program = Program {
        kind,
        attach,
        target,
        instructions,
    };
    Ok(program.load()?)
}
