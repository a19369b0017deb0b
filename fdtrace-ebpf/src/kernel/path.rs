//! The name of an open file, found as the kernel's own `d_path` finds it: from the file's dentry
//! up to the root of its mount, from there on from the place where that is mounted, and so on.
//!
//! Nothing is locked, so a rename in the middle can mix two names: whoever needs the name for
//! certain reads it twice. Dentries and mounts are freed by RCU, and programs run within it, so
//! what is read was such an object at the time.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use fdtrace_common::paths::{
    NAME_ROOM, PATH_CUT, PATH_DETACHED, PATH_MOUNT_ROOT, PATH_ROOTLESS, PATH_UNLINKED, PathHead,
};

use super::{File, file::DENTRY_WORDS, pointer::Room, read};
use crate::offsets::*;

/// The most bytes of a name that one component has.
const NAME_MAX: u32 = 255;

const NSFS_MAGIC: u64 = 0x6e73_6673;
const DMA_BUF_MAGIC: u64 = 0x444d_4142;

/// Writes the names on the way from `file` to the root of its mount namespace to `names`, which
/// has `ROOM + NAME_ROOM` bytes, the last one first and each ended by a NUL; `head` tells how many
/// bytes that took and what is odd about them.
///
/// It takes at most `STEPS` steps, each a name or a mount. `head` is in a map, so that the
/// verifier, which does not follow what is in there, takes all ways through a step for one.
///
/// # Safety
/// `head` and `names` can be written, and `names` has the room.
#[inline(always)]
pub(crate) unsafe fn walk<const STEPS: usize, const ROOM: u64>(
    file: File,
    head: *mut PathHead,
    names: *mut u8,
    room: &mut Room,
) {
    // SAFETY: the caller's promise.
    let head = unsafe { &mut *head };
    head.dentry = read(file.0, &FILE__DENTRY);
    head.mount = read(file.0, &FILE__MNT);
    head.inode = read(file.0, &FILE__INODE);
    head.len = 0;
    head.flags = 0;
    head.mount_id = read(mount(head.mount), &MOUNT__ID);
    let hashed: u64 = read(head.dentry, &DENTRY__HASH__PPREV);
    // A root is never hashed, and never unlinked.
    if hashed == 0 && head.dentry != read(head.dentry, &DENTRY__PARENT) {
        head.flags |= PATH_UNLINKED;
    }
    if head.dentry == read(head.mount, &VFSMOUNT__ROOT) {
        head.flags |= PATH_MOUNT_ROOT;
    }
    // SAFETY: the caller's promise.
    unsafe {
        climb::<STEPS, ROOM>(head, names, room);
        if head.flags & PATH_ROOTLESS != 0 {
            name_by_type(file, head, names);
        }
    }
}

/// # Safety
/// As for [`walk`].
#[inline(always)]
unsafe fn climb<const STEPS: usize, const ROOM: u64>(
    head: &mut PathHead,
    names: *mut u8,
    room: &mut Room,
) {
    let mut root: u64 = read(head.mount, &VFSMOUNT__ROOT);
    for _ in 0..STEPS {
        if head.dentry == root {
            let mount = mount(head.mount);
            let above: u64 = read(mount, &MOUNT__PARENT);
            if above == mount || above == 0 {
                // The top of a namespace, or of what was taken out of one.
                let namespace: u64 = read(mount, &MOUNT__NS);
                if namespace == 0 {
                    head.flags |= PATH_DETACHED;
                }
                return;
            }
            head.dentry = read(mount, &MOUNT__MOUNTPOINT);
            head.mount = above + u64::from(MOUNT__MNT.load());
            root = read(head.mount, &VFSMOUNT__ROOT);
            continue;
        }
        let at = head.len;
        if at > ROOM {
            break;
        }
        let dentry = room.fetch::<DENTRY_WORDS>(head.dentry, &TYPE__DENTRY);
        let parent: u64 = dentry.member(&DENTRY__PARENT);
        let mut len: u32 = dentry.member(&DENTRY__NAME__LEN);
        if len > NAME_MAX {
            len = NAME_MAX;
            head.flags |= PATH_CUT;
        }
        let name: u64 = dentry.member(&DENTRY__NAME__NAME);
        // SAFETY: `at` is at most ROOM, and a name and its NUL take no more than NAME_ROOM.
        unsafe {
            let to = names.add(at as usize);
            bpf_probe_read_kernel(to.cast(), len, name as *const _);
            *to.add((len & NAME_MAX) as usize) = 0;
        }
        head.len = at + u64::from(len) + 1;
        if parent == head.dentry || parent == 0 {
            // The only one of its tree, without a place in any: a pipe, a socket, an eventfd.
            head.flags |= PATH_ROOTLESS;
            return;
        }
        head.dentry = parent;
    }
    head.flags |= PATH_CUT;
}

/// Puts in the place of the name, where that is the same for all files of its file system, what
/// tells them apart: the kind of a namespace, the name that a dma-buf was given.
///
/// # Safety
/// As for [`walk`].
#[inline(always)]
unsafe fn name_by_type(file: File, head: &mut PathHead, names: *mut u8) {
    let magic = file.magic();
    let name: u64 = if magic == NSFS_MAGIC && NS_COMMON__OPS.load() != 0 {
        let namespace: u64 = read(file.inode(), &INODE__PRIVATE);
        let operations: u64 = read(namespace, &NS_COMMON__OPS);
        read(operations, &PROC_NS_OPERATIONS__NAME)
    } else if magic == DMA_BUF_MAGIC && DMA_BUF__NAME.load() != 0 {
        let buffer: u64 = read(file.0, &FILE__PRIVATE_DATA);
        read(buffer, &DMA_BUF__NAME)
    } else {
        return;
    };
    // SAFETY: a name takes no more than NAME_ROOM.
    unsafe {
        *names = 0;
        let len = bpf_probe_read_kernel_str(names.cast(), NAME_ROOM as u32, name as *const _);
        head.len = if len > 0 { len as u64 } else { 1 };
    }
}

/// The `struct mount` around a `struct vfsmount`.
#[inline(always)]
fn mount(vfsmount: u64) -> u64 {
    vfsmount - u64::from(MOUNT__MNT.load())
}

const _: () = assert!(NAME_MAX as usize + 1 <= NAME_ROOM);
