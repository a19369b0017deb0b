//! A sockmap with a verdict program that lets everything pass: the data of a socket in it is taken
//! off the queue in the sender's task and handed to the receiver in another way.
//!
//! Two instructions are no reason for an object file, so they are here as they are. Nothing is
//! pinned: when the map is closed the socket is out of it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_map_type, bpf_prog_type};

/// A sockmap; sockets leave it when it is dropped.
pub(in crate::verify) struct Sockmap {
    _map: OwnedFd,
}

impl Sockmap {
    /// A map with `socket` in it.
    ///
    /// # Errors
    /// What the kernel said: EINVAL before there were such verdicts (5.13), EOPNOTSUPP before Unix
    /// sockets could be in sockmaps (5.15).
    pub(in crate::verify) fn around(socket: &impl AsFd) -> io::Result<Self> {
        let mut attr = empty();
        attr.__bindgen_anon_1.map_type = bpf_map_type::BPF_MAP_TYPE_SOCKMAP as u32;
        attr.__bindgen_anon_1.key_size = size_of::<u32>() as u32;
        attr.__bindgen_anon_1.value_size = size_of::<u32>() as u32;
        attr.__bindgen_anon_1.max_entries = 1;
        let map = owned(bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr)?);
        let program = pass_all()?;

        let mut attr = empty();
        attr.__bindgen_anon_5.__bindgen_anon_1.target_fd = map.as_raw_fd().cast_unsigned();
        attr.__bindgen_anon_5.attach_bpf_fd = program.as_raw_fd().cast_unsigned();
        attr.__bindgen_anon_5.attach_type = bpf_attach_type::BPF_SK_SKB_VERDICT as u32;
        bpf(bpf_cmd::BPF_PROG_ATTACH, &mut attr)?;

        let (key, value) = (0_u32, socket.as_fd().as_raw_fd());
        let mut attr = empty();
        attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
        attr.__bindgen_anon_2.key = (&raw const key) as u64;
        attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw const value) as u64;
        bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr)?;
        Ok(Self { _map: map })
    }
}

/// The program: `r0 = SK_PASS; exit`.
fn pass_all() -> io::Result<OwnedFd> {
    const INSTRUCTIONS: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
    let mut attr = empty();
    attr.__bindgen_anon_3.prog_type = bpf_prog_type::BPF_PROG_TYPE_SK_SKB as u32;
    attr.__bindgen_anon_3.insn_cnt = INSTRUCTIONS.len() as u32;
    attr.__bindgen_anon_3.insns = INSTRUCTIONS.as_ptr() as u64;
    attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
    attr.__bindgen_anon_3.expected_attach_type = bpf_attach_type::BPF_SK_SKB_VERDICT as u32;
    bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).map(owned)
}

fn empty() -> bpf_attr {
    // SAFETY: a C union for which all-zero is the documented start.
    unsafe { std::mem::zeroed() }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the caller has filled in what the command reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    match i32::try_from(result) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: only called with descriptors that the kernel has just returned to us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
