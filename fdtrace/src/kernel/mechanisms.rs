//! Whether this kernel lets this process use trampolines and kprobes at all.
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

/// `Operation not permitted`, without the number.
fn brief(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn try_trampoline(function_id: u32) -> io::Result<()> {
    // r0 = 0; exit
    const INSTRUCTIONS: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    const TRIES: u32 = 5;
    // SAFETY: a C union for which all-zero is the documented start.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_3.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
    attr.__bindgen_anon_3.insn_cnt = INSTRUCTIONS.len() as u32;
    attr.__bindgen_anon_3.insns = INSTRUCTIONS.as_ptr() as u64;
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    attr.__bindgen_anon_3.expected_attach_type = bpf_attach_type::BPF_TRACE_FENTRY as u32;
    attr.__bindgen_anon_3.attach_btf_id = function_id;
    let mut tries = 0;
    let program = loop {
        tries += 1;
        match bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {}
            loaded => break loaded?,
        }
    };
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    // Attached for as long as it takes to close it again.
    bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)?;
    Ok(())
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
