//! `bpf(2)`: programs that are a few instructions long, small maps, and what the kernel says of
//! programs that aya has loaded but does not show.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_map_info, bpf_map_type, bpf_prog_info, bpf_prog_type,
    bpf_stats_type,
};

/// The verifier gives way to signals; loading is tried again this often.
const LOAD_TRIES: u32 = 5;

/// One instruction (`struct bpf_insn`): opcode, destination and source register, offset, immediate.
#[must_use]
pub const fn instruction(code: u32, [to, from]: [u8; 2], offset: i16, immediate: i32) -> u64 {
    let (offset, immediate) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
    // The two registers are bit fields, which begin at the other end on a big-endian machine.
    let registers = match cfg!(target_endian = "little") {
        true => to | from << 4,
        false => to << 4 | from,
    };
    u64::from_ne_bytes([
        code as u8,
        registers,
        offset[0],
        offset[1],
        immediate[0],
        immediate[1],
        immediate[2],
        immediate[3],
    ])
}

/// `return value`.
#[must_use]
pub const fn return_value(value: i32) -> [u64; 2] {
    use aya_obj::generated::{BPF_ALU64, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV};
    [
        instruction(BPF_ALU64 | BPF_K | BPF_MOV, [0, 0], 0, value),
        instruction(BPF_JMP | BPF_EXIT, [0, 0], 0, 0),
    ]
}

/// A program to load, under a licence that all helper functions accept.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its type.
    pub kind: bpf_prog_type,
    /// How it will be attached, where its type leaves a choice.
    pub attach: Option<bpf_attach_type>,
    /// BTF id of the function or tracepoint that it attaches to; 0 for types that need none.
    pub target: u32,
    /// What it does.
    pub instructions: &'a [u64],
}

impl Program<'_> {
    /// Loads it. It is gone once nothing refers to it.
    ///
    /// # Errors
    /// The errno of `bpf(BPF_PROG_LOAD)`: EINVAL or EACCES where the verifier refuses the program,
    /// EPERM where this process may not load any.
    pub fn load(&self) -> io::Result<OwnedFd> {
        self.load_with(&mut [])
    }

    /// Loads it and writes the verifier's log to `log`, as far as it fits.
    ///
    /// # Errors
    /// Those of [`Program::load`], and ENOSPC if the log does not fit.
    pub fn load_with(&self, log: &mut [u8]) -> io::Result<OwnedFd> {
        let mut attr = empty();
        attr.__bindgen_anon_3.prog_type = self.kind as u32;
        attr.__bindgen_anon_3.insn_cnt = self.instructions.len() as u32;
        attr.__bindgen_anon_3.insns = self.instructions.as_ptr() as u64;
        attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
        attr.__bindgen_anon_3.expected_attach_type = self.attach.map_or(0, |kind| kind as u32);
        attr.__bindgen_anon_3.attach_btf_id = self.target;
        if !log.is_empty() {
            attr.__bindgen_anon_3.log_buf = log.as_mut_ptr() as u64;
            attr.__bindgen_anon_3.log_size = log.len() as u32;
            attr.__bindgen_anon_3.log_level = 1;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            // SAFETY: instructions, licence and log are as long as said and outlive the call.
            match unsafe { open(bpf_cmd::BPF_PROG_LOAD, &mut attr) } {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < LOAD_TRIES => {}
                loaded => return loaded,
            }
        }
    }
}

/// Attaches a program to the raw tracepoint `name`, or, without a name, to the function, tracepoint
/// or security hook that it was loaded for. It stays attached for as long as the result lives.
///
/// # Errors
/// The errno of `bpf(BPF_RAW_TRACEPOINT_OPEN)`.
pub fn attach_tracing(program: impl AsFd, name: Option<&CStr>) -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.raw_tracepoint.name = name.map_or(0, |name| name.as_ptr() as u64);
    attr.raw_tracepoint.prog_fd = number(&program);
    // SAFETY: the name, if there is one, outlives the call.
    unsafe { open(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr) }
}

/// Attaches a program to a map or a cgroup.
///
/// # Errors
/// The errno of `bpf(BPF_PROG_ATTACH)`.
pub fn attach_to(target: impl AsFd, program: impl AsFd, kind: bpf_attach_type) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_5.__bindgen_anon_1.target_fd = number(&target);
    attr.__bindgen_anon_5.attach_bpf_fd = number(&program);
    attr.__bindgen_anon_5.attach_type = kind as u32;
    // SAFETY: the command reads numbers only.
    unsafe { call(bpf_cmd::BPF_PROG_ATTACH, &mut attr) }.map(drop)
}

/// Attaches an iterator's program to the elements of a map. Each [`iterate`] goes through them anew.
///
/// # Errors
/// The errno of `bpf(BPF_LINK_CREATE)`.
pub fn attach_to_elements(map: impl AsFd, program: impl AsFd) -> io::Result<OwnedFd> {
    // `union bpf_iter_link_info`, of which a map takes the first four bytes.
    let about = number(&map);
    let mut attr = empty();
    attr.link_create.__bindgen_anon_1.prog_fd = number(&program);
    attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
    // SAFETY: a union of numbers, none of which was set before.
    let iterator = unsafe { &mut attr.link_create.__bindgen_anon_3.__bindgen_anon_1 };
    iterator.iter_info = (&raw const about) as u64;
    iterator.iter_info_len = size_of_val(&about) as u32;
    // SAFETY: what the iterator goes over is as long as said and outlives the call.
    unsafe { open(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}

/// What an attached iterator writes, from the first thing that it goes over.
///
/// # Errors
/// The errno of `bpf(BPF_ITER_CREATE)`.
pub fn iterate(link: impl AsFd) -> io::Result<File> {
    let mut attr = empty();
    attr.iter_create.link_fd = number(&link);
    // SAFETY: the command reads numbers only.
    unsafe { open(bpf_cmd::BPF_ITER_CREATE, &mut attr) }.map(File::from)
}

/// Makes a map: the size of its keys and values in bytes, and how many entries it has room for.
///
/// # Errors
/// The errno of `bpf(BPF_MAP_CREATE)`: EINVAL where this kernel has no such map.
pub fn create_map(
    kind: bpf_map_type,
    name: &CStr,
    [key_bytes, value_bytes, entries]: [u32; 3],
) -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.__bindgen_anon_1.map_type = kind as u32;
    attr.__bindgen_anon_1.key_size = key_bytes;
    attr.__bindgen_anon_1.value_size = value_bytes;
    attr.__bindgen_anon_1.max_entries = entries;
    let mut place = [0; 16];
    // The kernel wants a NUL at the end.
    for (to, from) in place.iter_mut().take(15).zip(name.to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    attr.__bindgen_anon_1.map_name = place;
    // SAFETY: the command reads no other memory.
    unsafe { open(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
}

/// Puts a value into an array or a sockmap.
///
/// # Errors
/// The errno of `bpf(BPF_MAP_UPDATE_ELEM)`, and EINVAL if the map's values have another size.
pub fn update(map: impl AsFd, key: u32, value: &[u8]) -> io::Result<()> {
    let mut attr = element(&map, &key, value.len())?;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    // SAFETY: key and value are as long as those of the map, and are only read.
    unsafe { call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Reads a value of an array.
///
/// # Errors
/// The errno of `bpf(BPF_MAP_LOOKUP_ELEM)`, and EINVAL if the map's values have another size.
pub fn look_up(map: impl AsFd, key: u32, value: &mut [u8]) -> io::Result<()> {
    let mut attr = element(&map, &key, value.len())?;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    // SAFETY: key and value are as long as those of the map; the value may be written to.
    unsafe { call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
}

/// What names an entry of a map whose keys and values have these sizes.
fn element(map: &impl AsFd, key: &u32, value_bytes: usize) -> io::Result<bpf_attr> {
    // Other maps, such as those with a value for each CPU, take more memory than their values' size.
    const KINDS: [bpf_map_type; 2] = [
        bpf_map_type::BPF_MAP_TYPE_ARRAY,
        bpf_map_type::BPF_MAP_TYPE_SOCKMAP,
    ];
    let about: bpf_map_info = info(map)?;
    let is_one = KINDS.iter().any(|kind| *kind as u32 == about.type_);
    let fits = about.key_size as usize == size_of_val(key);
    if !is_one || !fits || about.value_size as usize != value_bytes {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = number(map);
    attr.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
    Ok(attr)
}

/// What the kernel says of a program: its runs, their time, and the runs that it skipped.
///
/// # Errors
/// The errno of `bpf(BPF_OBJ_GET_INFO_BY_FD)`.
pub fn program_info(program: impl AsFd) -> io::Result<bpf_prog_info> {
    info(&program)
}

/// `bpf_prog_info` or `bpf_map_info`.
trait Info: Copy {
    /// All zero.
    const EMPTY: Self;
}

impl Info for bpf_prog_info {
    // SAFETY: plain integers; null for a pointer tells the kernel to leave it out.
    const EMPTY: Self = unsafe { std::mem::zeroed() };
}

impl Info for bpf_map_info {
    // SAFETY: plain integers.
    const EMPTY: Self = unsafe { std::mem::zeroed() };
}

fn info<T: Info>(object: &impl AsFd) -> io::Result<T> {
    let mut found = T::EMPTY;
    let mut attr = empty();
    attr.info.bpf_fd = number(object);
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = (&raw mut found) as u64;
    // SAFETY: the kernel writes up to the length that it is given.
    unsafe { call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(found)
}

/// Has the kernel time all programs, of everybody, for as long as the result lives.
///
/// # Errors
/// The errno of `bpf(BPF_ENABLE_STATS)`: EINVAL before 5.8.
pub fn time_programs() -> io::Result<OwnedFd> {
    let mut attr = empty();
    attr.enable_stats.type_ = bpf_stats_type::BPF_STATS_RUN_TIME as u32;
    // SAFETY: the command reads a number only.
    unsafe { open(bpf_cmd::BPF_ENABLE_STATS, &mut attr) }
}

fn number(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

fn empty() -> bpf_attr {
    // SAFETY: a C union of integers; the kernel takes zero for "not given".
    unsafe { std::mem::zeroed() }
}

/// # Safety
/// The command returns a new descriptor; what `attr` points to is as [`call`] wants it.
unsafe fn open(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { call(command, attr) }?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attr` is filled in for the command, and all memory that it points to is there for the call, as
/// large as the command takes it to be.
unsafe fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    let size = size_of::<bpf_attr>();
    // SAFETY: the kernel reads and writes `attr` within its size; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_as_the_kernel_writes_them_down() {
        let [set, exit] = return_value(1);
        assert_eq!(set.to_ne_bytes(), [0xb7, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(exit.to_ne_bytes(), [0x95, 0, 0, 0, 0, 0, 0, 0]);
        #[cfg(target_endian = "little")]
        assert_eq!(instruction(0x79, [6, 1], -2, 0), 0x0000_0000_fffe_1679);
    }
}
