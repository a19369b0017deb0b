//! The floor: a program that does nothing on every hook that fdtrace would use. What it adds is
//! what the kernel asks for calling a program at all, and nobody who uses these hooks pays less.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};
use fdtrace::{
    kernel::KernelView,
    plan::{Attach, Hook, Kind, plan},
};

/// Where perf says what kind of event a kprobe is.
const KPROBE_KIND: &str = "/sys/bus/event_source/devices/kprobe/type";
/// The bit of a kprobe event's configuration that asks for its return.
const RETPROBE: u64 = 1;

/// Attached until dropped.
pub(crate) struct Floor {
    _programs: Vec<OwnedFd>,
}

impl Floor {
    pub(crate) fn attach(how: Attach) -> Result<Self> {
        let view = KernelView::live()?;
        let plan = plan(&view, how)?;
        let mut programs = Vec::new();
        for hook in plan.hooks() {
            programs.extend(
                attach(&view, hook)
                    .with_context(|| format!("cannot attach nothing to {}", hook.target))?,
            );
        }
        Ok(Self {
            _programs: programs,
        })
    }
}

fn attach(view: &KernelView, hook: &Hook) -> Result<Vec<OwnedFd>> {
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
        Kind::RawTracepoint => return raw_tracepoint(hook),
        Kind::Kprobe | Kind::Kretprobe => return kprobe(hook),
    };
    let program = load(kind, attach_type as u32, id)?;
    // SAFETY: a C union for which all-zero is the documented start.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    let link = bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)?;
    Ok(vec![program, link])
}

fn raw_tracepoint(hook: &Hook) -> Result<Vec<OwnedFd>> {
    let program = load(bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0)?;
    let name = std::ffi::CString::new(hook.target)?;
    // SAFETY: a C union for which all-zero is the documented start.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.raw_tracepoint.name = name.as_ptr() as u64;
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    let link = bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)?;
    Ok(vec![program, link])
}

fn kprobe(hook: &Hook) -> Result<Vec<OwnedFd>> {
    let program = load(bpf_prog_type::BPF_PROG_TYPE_KPROBE, 0, 0)?;
    let name = std::ffi::CString::new(hook.target)?;
    // `perf_event_attr` up to its first published size, as words: type and size, configuration,
    // and, in the eighth and ninth, a kprobe's function and offset.
    let kind: u32 = fs::read_to_string(KPROBE_KIND)?.trim().parse()?;
    let mut attr = [0_u64; 14];
    attr[0] = u64::from(kind) | (size_of_val(&attr) as u64) << 32;
    attr[1] = u64::from(hook.kind == Kind::Kretprobe) * RETPROBE;
    attr[7] = name.as_ptr() as u64;
    // SAFETY: the attribute is as long as it says, and the name outlives the call.
    let event = owned(unsafe {
        libc::syscall(libc::SYS_perf_event_open, attr.as_ptr(), -1, 0, -1, 1 << 3)
    })?;
    let (set, enable) = (0x4004_2408, 0x2400); // PERF_EVENT_IOC_SET_BPF, _ENABLE
    // SAFETY: both take what is given here.
    let done = unsafe {
        libc::ioctl(event.as_raw_fd(), set, program.as_raw_fd()) == 0
            && libc::ioctl(event.as_raw_fd(), enable, 0) == 0
    };
    if !done {
        bail!(io::Error::last_os_error());
    }
    Ok(vec![program, event])
}

/// `return 0`.
fn load(kind: bpf_prog_type, attach_type: u32, id: u32) -> Result<OwnedFd> {
    const INSTRUCTIONS: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_3.prog_type = kind as u32;
    attr.__bindgen_anon_3.insn_cnt = INSTRUCTIONS.len() as u32;
    attr.__bindgen_anon_3.insns = INSTRUCTIONS.as_ptr() as u64;
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    attr.__bindgen_anon_3.expected_attach_type = attach_type;
    attr.__bindgen_anon_3.attach_btf_id = id;
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> Result<OwnedFd> {
    // SAFETY: the caller has filled in what the command reads.
    owned(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    })
}

fn owned(result: libc::c_long) -> Result<OwnedFd> {
    if result < 0 {
        bail!(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(result)?) })
}
