//! The little that scenarios need of bpf(2): a map to pass, and a security program that refuses
//! to let a marked file in. Without aya, for neither has anything to do with the programs that trace;
//! both are gone when the process that made them is.

use std::{ffi::CStr, fs, io, os::fd::OwnedFd};

use anyhow::{Context as _, Result};
use aya_obj::generated::{
    bpf_attach_type::BPF_LSM_MAC, bpf_map_type::BPF_MAP_TYPE_ARRAY,
    bpf_prog_type::BPF_PROG_TYPE_LSM,
};

use crate::kernel::{
    Types,
    sys::bpf::{self, Program, instruction},
};

/// An array of one 64-bit value.
pub(super) struct ArrayMap(OwnedFd);

impl ArrayMap {
    /// Makes an array whose value is 0.
    ///
    /// # Errors
    /// What `bpf` says.
    pub(super) fn new(name: &CStr) -> io::Result<Self> {
        let (key, value) = (size_of::<u32>() as u32, size_of::<u64>() as u32);
        bpf::create_map(BPF_MAP_TYPE_ARRAY, name, [key, value, 1]).map(Self)
    }

    /// Puts a value in.
    ///
    /// # Errors
    /// What `bpf` says.
    pub(super) fn set(&self, value: u64) -> io::Result<()> {
        bpf::update(&self.0, 0, &value.to_ne_bytes())
    }

    /// Takes the value out.
    ///
    /// # Errors
    /// What `bpf` says.
    pub(super) fn get(&self) -> io::Result<u64> {
        let mut value = [0; size_of::<u64>()];
        bpf::look_up(&self.0, 0, &mut value)?;
        Ok(u64::from_ne_bytes(value))
    }
}

impl From<OwnedFd> for ArrayMap {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<ArrayMap> for OwnedFd {
    fn from(map: ArrayMap) -> Self {
        map.0
    }
}

/// Open flags that mark a file as one that [`Refusal`] refuses. Nobody opens files like that.
pub(super) const MARK: i32 = libc::O_DSYNC | libc::O_NOATIME | libc::O_NONBLOCK;

/// A program on the hook `file_receive`, which says EACCES whenever a process of this one's id
/// would get a file with all of [`MARK`]'s flags.
pub(super) struct Refusal {
    _link: OwnedFd,
}

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The hook's trampoline, which is a function of the kernel's.
const HOOK: &str = "bpf_lsm_file_receive";

impl Refusal {
    /// Loads and attaches it.
    ///
    /// # Errors
    /// If this kernel refuses it.
    pub(super) fn begin(tgid: u32) -> Result<Self> {
        let types = fs::read(BTF).with_context(|| format!("cannot read {BTF}"))?;
        let types = Types::from_bytes(&types)?;
        let hook = types
            .function_id(HOOK)
            .with_context(|| format!("this kernel has no {HOOK}"))?;
        let flags = types.member("file.f_flags")?;
        let instructions = refuse_marked(tgid, flags.offset);
        let program = Program {
            kind: BPF_PROG_TYPE_LSM,
            attach: Some(BPF_LSM_MAC),
            target: hook,
            instructions: &instructions,
        };
        let mut log = vec![0_u8; 1 << 16];
        let loaded = program.load_with(&mut log).with_context(|| {
            let log = String::from_utf8_lossy(&log);
            let last = log.trim_end_matches('\0').trim_end().lines().last();
            format!(
                "cannot load a security program: {}",
                last.unwrap_or_default()
            )
        })?;
        let link = bpf::attach_tracing(&loaded, None);
        Ok(Self {
            _link: link.context("cannot attach a security program")?,
        })
    }
}

/// ```c
/// int refuse_marked(struct file *file, int ret) {
///     if (bpf_get_current_pid_tgid() >> 32 == tgid && (file->f_flags & MARK) == MARK)
///         return -EACCES;
///     return ret;
/// }
/// ```
fn refuse_marked(tgid: u32, flags_offset: u32) -> Vec<u64> {
    use aya_obj::generated::{
        BPF_ALU64, BPF_AND, BPF_CALL, BPF_DW, BPF_EXIT, BPF_JMP, BPF_JNE, BPF_K, BPF_LDX, BPF_MEM,
        BPF_MOV, BPF_RSH, BPF_W, BPF_X, bpf_func_id::BPF_FUNC_get_current_pid_tgid,
    };
    const CONTEXT: u8 = 1;
    const FILE: u8 = 6;
    const RET: u8 = 7;
    const VALUE: u8 = 0;
    let insn = |code, to, from, offset, immediate| instruction(code, [to, from], offset, immediate);
    let load = |size: u32, dst, src, off| insn(BPF_LDX | BPF_MEM | size, dst, src, off, 0);
    let operate = |op: u32, dst, imm| insn(BPF_ALU64 | BPF_K | op, dst, 0, 0, imm);
    let unless = |value, skip| insn(BPF_JMP | BPF_K | BPF_JNE, VALUE, 0, skip, value);
    vec![
        load(BPF_DW, FILE, CONTEXT, 0),
        load(BPF_DW, RET, CONTEXT, 8),
        insn(
            BPF_JMP | BPF_CALL,
            0,
            0,
            0,
            BPF_FUNC_get_current_pid_tgid as i32,
        ),
        operate(BPF_RSH, VALUE, 32),
        unless(tgid.cast_signed(), 5),
        load(BPF_W, VALUE, FILE, flags_offset as i16),
        operate(BPF_AND, VALUE, MARK),
        unless(MARK, 2),
        operate(BPF_MOV, VALUE, -libc::EACCES),
        insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
        insn(BPF_ALU64 | BPF_X | BPF_MOV, VALUE, RET, 0, 0),
        insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    ]
}
