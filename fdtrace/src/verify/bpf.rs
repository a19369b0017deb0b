//! The little that scenarios need of bpf(2): a map to pass, and a security program that refuses
//! to let a marked file in. By the system call itself, for neither has anything to do with the
//! programs that trace; both are gone when the process that made them is.

use std::{
    ffi::CStr,
    fs, io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{
    bpf_attach_type::BPF_LSM_MAC,
    bpf_attr,
    bpf_cmd::{self, BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM},
    bpf_insn,
    bpf_map_type::BPF_MAP_TYPE_ARRAY,
    bpf_prog_type::BPF_PROG_TYPE_LSM,
};

use crate::kernel::Types;

/// bpf(2).
fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    let size = size_of::<bpf_attr>();
    // SAFETY: the kernel reads and writes `attr` within `size`; what it points to outlives the
    // call, which the callers see to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}

fn empty() -> bpf_attr {
    // SAFETY: all zero is what the kernel takes for "not given".
    unsafe { mem::zeroed() }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just returned this new descriptor to us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// An array of one 64-bit value.
pub(super) struct ArrayMap(OwnedFd);

impl ArrayMap {
    /// Makes one.
    ///
    /// # Errors
    /// What `bpf` says.
    pub(super) fn new(name: &CStr) -> io::Result<Self> {
        let mut attr = empty();
        // SAFETY: the fields of BPF_MAP_CREATE.
        let map = unsafe { &mut attr.__bindgen_anon_1 };
        map.map_type = BPF_MAP_TYPE_ARRAY as u32;
        map.key_size = size_of::<u32>() as u32;
        map.value_size = size_of::<u64>() as u32;
        map.max_entries = 1;
        for (to, from) in map.map_name.iter_mut().zip(name.to_bytes()) {
            *to = from.cast_signed();
        }
        bpf(BPF_MAP_CREATE, &mut attr).map(|fd| Self(owned(fd)))
    }

    /// Puts a value in.
    ///
    /// # Errors
    /// What `bpf` says.
    pub(super) fn set(&self, mut value: u64) -> io::Result<()> {
        self.element(BPF_MAP_UPDATE_ELEM, &mut value)
    }

    /// Takes the value out.
    ///
    /// # Errors
    /// What `bpf` says.
    pub(super) fn get(&self) -> io::Result<u64> {
        let mut value = 0;
        self.element(BPF_MAP_LOOKUP_ELEM, &mut value)?;
        Ok(value)
    }

    fn element(&self, command: bpf_cmd, value: &mut u64) -> io::Result<()> {
        let key = 0_u32;
        let mut attr = empty();
        // SAFETY: the fields of BPF_MAP_*_ELEM; key and value are as long as the map says.
        let element = unsafe { &mut attr.__bindgen_anon_2 };
        element.map_fd = self.0.as_raw_fd().cast_unsigned();
        element.key = ptr::from_ref(&key) as u64;
        element.__bindgen_anon_1.value = ptr::from_mut(value) as u64;
        bpf(command, &mut attr).map(drop)
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
        let program = refuse_marked(tgid, flags.offset);
        let licence = c"Dual MIT/GPL";
        let mut log = vec![0_u8; 1 << 16];
        let mut attr = empty();
        // SAFETY: the fields of BPF_PROG_LOAD.
        let load = unsafe { &mut attr.__bindgen_anon_3 };
        load.prog_type = BPF_PROG_TYPE_LSM as u32;
        load.expected_attach_type = BPF_LSM_MAC as u32;
        load.insn_cnt = program.len() as u32;
        load.insns = program.as_ptr() as u64;
        load.license = licence.as_ptr() as u64;
        load.attach_btf_id = hook;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = log.len() as u32;
        load.log_level = 1;
        let loaded = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).map(owned);
        let loaded = loaded.with_context(|| {
            let log = String::from_utf8_lossy(&log);
            let last = log.trim_end_matches('\0').trim_end().lines().last();
            format!(
                "cannot load a security program: {}",
                last.unwrap_or_default()
            )
        })?;
        let mut attr = empty();
        // Without a name it attaches a security program.
        attr.raw_tracepoint.prog_fd = loaded.as_raw_fd().cast_unsigned();
        let link = bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr).map(owned);
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
fn refuse_marked(tgid: u32, flags_offset: u32) -> Vec<bpf_insn> {
    use aya_obj::generated::{
        BPF_ALU64, BPF_AND, BPF_CALL, BPF_DW, BPF_EXIT, BPF_JMP, BPF_JNE, BPF_K, BPF_LDX, BPF_MEM,
        BPF_MOV, BPF_RSH, BPF_W, BPF_X, bpf_func_id::BPF_FUNC_get_current_pid_tgid,
    };
    const CONTEXT: u8 = 1;
    const FILE: u8 = 6;
    const RET: u8 = 7;
    const VALUE: u8 = 0;
    let insn = |code: u32, dst: u8, src: u8, off: i16, imm: i32| {
        // SAFETY: all zero is an instruction; the fields follow.
        let mut insn: bpf_insn = unsafe { mem::zeroed() };
        insn.code = code as u8;
        insn.set_dst_reg(dst);
        insn.set_src_reg(src);
        insn.off = off;
        insn.imm = imm;
        insn
    };
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
