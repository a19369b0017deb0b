//! A sockmap with a verdict program that lets everything pass: the data of a socket in it is taken
//! off the queue in the sender's task and handed to the receiver in another way.
//!
//! The program has two instructions, which are written out here. Nothing is
//! pinned: when the map is closed the socket is out of it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use aya_obj::generated::{
    bpf_attach_type::BPF_SK_SKB_VERDICT, bpf_map_type::BPF_MAP_TYPE_SOCKMAP,
    bpf_prog_type::BPF_PROG_TYPE_SK_SKB,
};

use crate::kernel::sys::bpf::{self, Program, return_value};

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
        const FD_BYTES: u32 = size_of::<i32>() as u32;
        /// `r0 = SK_PASS`
        const PASS: i32 = 1;
        let map = bpf::create_map(BPF_MAP_TYPE_SOCKMAP, c"", [FD_BYTES, FD_BYTES, 1])?;
        let program = Program {
            kind: BPF_PROG_TYPE_SK_SKB,
            attach: Some(BPF_SK_SKB_VERDICT),
            target: 0,
            instructions: &return_value(PASS),
        };
        bpf::attach_to(&map, program.load()?, BPF_SK_SKB_VERDICT)?;
        bpf::update(&map, 0, &socket.as_fd().as_raw_fd().to_ne_bytes())?;
        Ok(Self { _map: map })
    }
}
