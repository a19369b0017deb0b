//! The little that scenarios need of bpf(2): a map to pass. By the system call itself, for it has
//! nothing to do with the programs that trace; it is gone when the process that made it is.

use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use aya_obj::generated::{
    bpf_attr,
    bpf_cmd::{self, BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM},
    bpf_map_type::BPF_MAP_TYPE_ARRAY,
};

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
