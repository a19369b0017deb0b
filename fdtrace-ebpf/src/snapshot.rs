//! `iter/task_file`: the kernel walks its own descriptor tables and tells, for the processes
//! asked about, which file is behind each number. A witness beside the hops, not one of them.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_seq_write, macros::map, maps::HashMap};
use fdtrace_common::records::TaskFile;

use crate::kernel::{self, File};

/// Processes to report, by pid.
#[map]
static SNAPSHOT_PIDS: HashMap<u32, u8> = HashMap::with_max_entries(1024, 0);

/// `struct bpf_iter__task_file`, whose members the kernel aligns to 8 bytes each.
#[repr(C)]
pub(crate) struct Visit {
    pub(crate) meta: *const Meta,
    pub(crate) task: u64,
    pub(crate) fd: u32,
    _pad: u32,
    pub(crate) file: u64,
}

/// `struct bpf_iter_meta`.
#[repr(C)]
pub(crate) struct Meta {
    pub(crate) seq: *mut aya_ebpf::bindings::seq_file,
}

/// Writes one [`TaskFile`] for every descriptor of a process in `SNAPSHOT_PIDS`.
///
/// # Safety
/// Called by the kernel with its own context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub(crate) unsafe extern "C" fn snapshot_task_file(visit: *const Visit) -> i32 {
    // SAFETY: the context is the kernel's; its pointers are null once the walk is over.
    unsafe {
        let (task, file) = ((*visit).task, (*visit).file);
        if task == 0 || file == 0 {
            return 0;
        }
        let pid = kernel::task_pid(task);
        if SNAPSHOT_PIDS.get(&pid).is_none() {
            return 0;
        }
        let row = TaskFile {
            file,
            refs: File(file).refs(),
            pid,
            fd: (*visit).fd,
        };
        bpf_seq_write(
            (*(*visit).meta).seq,
            (&raw const row).cast::<c_void>().cast_mut(),
            size_of::<TaskFile>() as u32,
        );
    }
    0
}
