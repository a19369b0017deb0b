//! Open files.

use fdtrace_common::records::{FileSeen, LABEL_LEN};

use super::{
    Pointer, Room, Sock, copy_from_kernel,
    pointer::{can_cast, cast, follow, read, read_to, read_words},
};
use crate::offsets::*;

/// A `struct file *`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct File<P = u64>(pub(crate) P);

impl File {
    /// Writes what the file looks like at this moment, straight into a record, and if `labelled`
    /// what its dentry is called and whether it is in a directory: that is for userspace to see
    /// from two addresses.
    ///
    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    pub(crate) unsafe fn describe(self, seen: *mut FileSeen, labelled: bool, room: &mut Room) {
        // SAFETY: the caller's promise.
        unsafe {
            if can_cast() {
                self.describe_by_loads(seen, labelled);
            } else {
                self.describe_by_calls(seen, labelled, room);
            }
        }
    }

    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    unsafe fn describe_by_loads(self, seen: *mut FileSeen, labelled: bool) {
        let file = cast(self.0, &TYPE__FILE);
        // SAFETY: the caller's promise; every member fits its field.
        unsafe {
            (*seen).file = self.0;
            (*seen).refs = File(file).refs();
            read_to(&raw mut (*seen).flags, file, &FILE__FLAGS);
            let inode = cast(follow(file, &FILE__INODE).address(), &TYPE__INODE);
            read_to(&raw mut (*seen).ino, inode, &INODE__INO);
            read_to(&raw mut (*seen).rdev, inode, &INODE__RDEV);
            read_to(&raw mut (*seen).mode, inode, &INODE__MODE);
            let sb = cast(follow(inode, &INODE__SB).address(), &TYPE__SUPER_BLOCK);
            read_to(&raw mut (*seen).dev, sb, &SUPER_BLOCK__DEV);
            read_to(&raw mut (*seen).magic, sb, &SUPER_BLOCK__MAGIC);
            if !labelled {
                leave_out_label(seen);
                return;
            }
            let dentry = follow(file, &FILE__DENTRY);
            (*seen).dentry = dentry.address();
            let dentry = cast(dentry.address(), &TYPE__DENTRY);
            (*seen).parent = follow(dentry, &DENTRY__PARENT).address();
            let name = follow(dentry, &DENTRY__NAME__NAME).address();
            read_words((&raw mut (*seen).name).cast(), LABEL_LEN / 8, name);
        }
    }

    /// # Safety
    /// `seen` can be written.
    #[inline(always)]
    unsafe fn describe_by_calls(self, seen: *mut FileSeen, labelled: bool, room: &mut Room) {
        let file = room.fetch::<FILE_WORDS>(self.0, &TYPE__FILE);
        let refs: i64 = file.member(&FILE__REFS);
        let (inode, dentry): (u64, u64) = (file.member(&FILE__INODE), file.member(&FILE__DENTRY));
        // SAFETY: the caller's promise; every member fits its field.
        unsafe {
            (*seen).file = self.0;
            (*seen).refs = refs.wrapping_add(i64::from(FILE_REFS_BIAS.load()));
            (*seen).flags = file.member(&FILE__FLAGS);
            let inode = room.fetch::<INODE_WORDS>(inode, &TYPE__INODE);
            (*seen).ino = inode.member(&INODE__INO);
            (*seen).rdev = inode.member(&INODE__RDEV);
            (*seen).mode = inode.member(&INODE__MODE);
            let sb = inode.member(&INODE__SB);
            let sb = room.fetch::<SUPER_BLOCK_WORDS>(sb, &TYPE__SUPER_BLOCK);
            (*seen).dev = sb.member(&SUPER_BLOCK__DEV);
            (*seen).magic = sb.member(&SUPER_BLOCK__MAGIC);
            let name = (&raw mut (*seen).name).cast::<u8>();
            if labelled {
                (*seen).dentry = dentry;
                let dentry = room.fetch::<DENTRY_WORDS>(dentry, &TYPE__DENTRY);
                (*seen).parent = dentry.member(&DENTRY__PARENT);
                copy_from_kernel(name, LABEL_LEN as u32, dentry.member(&DENTRY__NAME__NAME));
            } else {
                leave_out_label(seen);
            }
        }
    }
}

/// # Safety
/// `seen` can be written.
#[inline(always)]
unsafe fn leave_out_label(seen: *mut FileSeen) {
    // SAFETY: the caller's promise. Volatile: the compiler would call a function that goes byte by byte.
    unsafe {
        (&raw mut (*seen).dentry).write_volatile(0);
        (&raw mut (*seen).parent).write_volatile(0);
        let name = (&raw mut (*seen).name).cast::<u64>();
        for word in 0..LABEL_LEN / size_of::<u64>() {
            name.add(word).write_volatile(0);
        }
    }
}

/// How much of an object is read at once, in words: what is wanted lies within on the kernels that
/// were looked at, and no object of its kind is smaller.
const FILE_WORDS: usize = 23;
const INODE_WORDS: usize = 10;
const SUPER_BLOCK_WORDS: usize = 13;
pub(super) const DENTRY_WORDS: usize = 8;

impl<P: Pointer> File<P> {
    /// The reference count as `file_count()` would give it. It may change right after.
    #[inline(always)]
    pub(crate) fn refs(self) -> i64 {
        read::<i64>(self.0, &FILE__REFS).wrapping_add(i64::from(FILE_REFS_BIAS.load()))
    }

    /// Address of its inode.
    #[inline(always)]
    pub(crate) fn inode(self) -> u64 {
        read(self.0, &FILE__INODE)
    }

    /// Names that its inode has.
    #[inline(always)]
    pub(crate) fn links(self) -> u32 {
        read(follow(self.0, &FILE__INODE), &INODE__NLINK)
    }

    /// The `sock` behind the file if that is a Unix socket, or a null one. A socket's place in a
    /// directory, opened with O_PATH, is none: its inode is of another file system.
    #[inline(always)]
    pub(crate) fn unix_sock(self) -> Sock {
        const SOCKFS_MAGIC: u64 = 0x534f_434b;
        let sb = follow(follow(self.0, &FILE__INODE), &INODE__SB);
        if read::<u64>(sb, &SUPER_BLOCK__MAGIC) != SOCKFS_MAGIC {
            return Sock(0);
        }
        let sock = self.sock();
        if sock.is_unix() { sock } else { Sock(0) }
    }

    /// The `sock` behind a socket's file. The caller knows that it is a socket.
    #[inline(always)]
    pub(crate) fn sock(self) -> Sock {
        let socket: u64 = read(self.0, &FILE__PRIVATE_DATA);
        Sock(read(socket, &SOCKET__SK))
    }
}
