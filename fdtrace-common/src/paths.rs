//! A file's path as the kernel half reads it, byte for byte: the names from the file up to the
//! root, each ended by a NUL. Turning them round is userspace's work.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that a name and its NUL may take, to have ready behind a path's room.
pub const NAME_ROOM: usize = 256;

/// The name that the file was opened by is gone; `/proc` says ` (deleted)`.
pub const PATH_UNLINKED: u32 = 1;
/// The file is in no tree: the one name is what its file system calls it, such as `[eventfd]`; of a
/// namespace's file, the kind of namespace; of a dma-buf, the buffer's name.
pub const PATH_ROOTLESS: u32 = 1 << 1;
/// The path was longer or deeper than was read: the names nearest to the root are missing.
pub const PATH_CUT: u32 = 1 << 2;
/// The mount at the top is in no namespace (any more): the path begins at that mount's root.
pub const PATH_DETACHED: u32 = 1 << 3;
/// The file is the root of the mount that it was opened through.
pub const PATH_MOUNT_ROOT: u32 = 1 << 4;

/// What is known of a path beside its names.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct PathHead {
    /// Address of the dentry where the walk ended.
    pub dentry: u64,
    /// Address of the `vfsmount` where it ended.
    pub mount: u64,
    /// Address of the file's inode.
    pub inode: u64,
    /// Bytes that the names take.
    pub len: u64,
    /// `PATH_*` bits.
    pub flags: u32,
    /// Id of the mount that the file was opened through, as in `/proc/self/mountinfo`.
    pub mount_id: u32,
}
