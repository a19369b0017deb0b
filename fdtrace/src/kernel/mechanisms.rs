//! Whether this kernel lets this process use trampolines and kprobes at all, and whether programs
//! may read any address by a plain load.
//!
//! Neither the version nor the configuration tells: some kernels have the code and refuse it by
//! policy. So the question is asked by doing it, with a program that does nothing on a function
//! that hardly ever runs.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};

use super::Types;

/// A function that every kernel with Unix sockets has and that only descriptor passing calls.
const FUNCTION: &str = "scm_fp_dup";

/// Present where perf can make kprobes.
const KPROBE_PMU: &str = "/sys/bus/event_source/devices/kprobe/type";

/// Why fentry and fexit do not work here; `None` if they do.
pub(super) fn no_trampolines(types: &Types) -> Option<String> {
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
    (!Path::new(KPROBE_PMU).exists()).then(|| "this kernel has no kprobes".to_owned())
}

/// BTF id of `bpf_rdonly_cast`, if a program may load from any address that it casts to no type
/// (6.17); an older one casts to types only, or is not there.
pub(super) fn rdonly_cast(types: &Types) -> Option<u32> {
    let id = types.function_id("bpf_rdonly_cast")?;
    let instructions = [
        0x0000_1000_0000_01b7,                       // r1 = 4096
        0x0000_0000_0000_02b7,                       // r2 = 0: no type
        0x0000_0000_0000_2085 | u64::from(id) << 32, // r0 = bpf_rdonly_cast(r1, r2)
        0x0000_0000_0008_0079,                       // r0 = *(r0 + 8)
        EXIT_ZERO[0],
        EXIT_ZERO[1],
    ];
    let mut attr = program(bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, &instructions);
    load(&mut attr).ok().map(|_| id)
}

/// `Operation not permitted`, without the number.
fn brief(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// r0 = 0; exit
const EXIT_ZERO: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

fn try_trampoline(function_id: u32) -> io::Result<()> {
    let mut attr = program(bpf_prog_type::BPF_PROG_TYPE_TRACING, &EXIT_ZERO);
    attr.__bindgen_anon_3.expected_attach_type = bpf_attach_type::BPF_TRACE_FENTRY as u32;
    attr.__bindgen_anon_3.attach_btf_id = function_id;
    let program = load(&mut attr)?;
    let mut attr = empty();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    // Attached for as long as it takes to close it again.
    bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)?;
    Ok(())
}

fn empty() -> bpf_attr {
    // SAFETY: a C union for which all-zero is the documented start.
    unsafe { std::mem::zeroed() }
}

/// What to load a program with, which must live as long as that.
fn program(kind: bpf_prog_type, instructions: &[u64]) -> bpf_attr {
    let mut attr = empty();
    attr.__bindgen_anon_3.prog_type = kind as u32;
    attr.__bindgen_anon_3.insn_cnt = instructions.len() as u32;
    attr.__bindgen_anon_3.insns = instructions.as_ptr() as u64;
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    attr
}

/// Loads a program; the verifier gives way to signals and asks for another try.
fn load(attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    const TRIES: u32 = 5;
    let mut tries = 0;
    loop {
        tries += 1;
        match bpf(bpf_cmd::BPF_PROG_LOAD, attr) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {}
            loaded => return loaded,
        }
    }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller has filled in what the command reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    let fd = i32::try_from(result).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this new descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
