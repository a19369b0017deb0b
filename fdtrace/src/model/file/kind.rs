//! What kind of file a `struct file` is, in a word, from what a hop read of it.

use super::{FileIdentity, named};
use crate::model::Sole;

const PIPEFS_MAGIC: u64 = 0x5049_5045;
const SOCKFS_MAGIC: u64 = 0x534f_434b;
const DMA_BUF_MAGIC: u64 = 0x444d_4142;
pub(super) const ANON_INODE_FS_MAGIC: u64 = 0x0904_1934;
pub(super) const PIDFS_MAGIC: u64 = 0x5049_4446;

named! { "kebab-case";
/// What kind of file it is.
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link, opened with O_PATH.
    Symlink,
    /// A socket.
    Socket,
    /// A pipe without a name.
    Pipe,
    /// A named pipe.
    Fifo,
    /// A terminal.
    Tty,
    /// Another character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A memfd.
    Memfd,
    /// A pidfd.
    Pidfd,
    /// An epoll instance.
    Epoll,
    /// An eventfd.
    Eventfd,
    /// A timerfd.
    Timerfd,
    /// A signalfd.
    Signalfd,
    /// An inotify instance.
    Inotify,
    /// A fanotify group.
    Fanotify,
    /// An io_uring.
    IoUring,
    /// A BPF map.
    BpfMap,
    /// A BPF program.
    BpfProg,
    /// A BPF link.
    BpfLink,
    /// A perf event.
    PerfEvent,
    /// A userfaultfd.
    Userfaultfd,
    /// Another file that is none of a file system's.
    AnonInode,
    /// A file of another type.
    Unknown,
}
}

/// What the kernel calls the files that have no inode of their own, as `readlink` of
/// `/proc/PID/fd/N` shows it behind `anon_inode:`.
const ANONYMOUS: [(&str, FileKind); 14] = [
    ("[eventpoll]", FileKind::Epoll),
    ("[eventfd]", FileKind::Eventfd),
    ("[timerfd]", FileKind::Timerfd),
    ("[signalfd]", FileKind::Signalfd),
    ("inotify", FileKind::Inotify),
    ("[fanotify]", FileKind::Fanotify),
    ("[io_uring]", FileKind::IoUring),
    ("bpf-map", FileKind::BpfMap),
    ("bpf-prog", FileKind::BpfProg),
    ("bpf_link", FileKind::BpfLink),
    ("bpf-link", FileKind::BpfLink),
    ("[perf_event]", FileKind::PerfEvent),
    ("[userfaultfd]", FileKind::Userfaultfd),
    // A file of its own file system since 6.9.
    ("[pidfd]", FileKind::Pidfd),
];

/// Major numbers of terminals: consoles and serial lines, /dev/tty and ptmx, pseudo-terminals.
const TTY_MAJORS: [u32; 10] = [4, 5, 136, 137, 138, 139, 140, 141, 142, 143];

pub(super) fn of(file: &FileIdentity) -> FileKind {
    const TYPE: u16 = 0o170_000;
    // Before the mode, which says nothing of the inode that they share.
    if file.magic == ANON_INODE_FS_MAGIC {
        let label = label(file);
        let known = ANONYMOUS
            .iter()
            .find(|(called, _)| called.as_bytes() == label);
        return known.map_or(FileKind::AnonInode, |(_, kind)| *kind);
    }
    match file.mode & TYPE {
        0o140_000 => FileKind::Socket,
        0o120_000 => FileKind::Symlink,
        0o100_000 if file.magic == PIDFS_MAGIC => FileKind::Pidfd,
        // A file of that name in a directory has no label.
        0o100_000 if label(file).starts_with(b"memfd:") => FileKind::Memfd,
        0o100_000 => FileKind::Regular,
        0o060_000 => FileKind::BlockDevice,
        0o040_000 => FileKind::Directory,
        0o020_000 if TTY_MAJORS.contains(&(file.rdev >> MINOR_BITS)) => FileKind::Tty,
        0o020_000 => FileKind::CharDevice,
        0o010_000 if file.magic == PIPEFS_MAGIC => FileKind::Pipe,
        0o010_000 => FileKind::Fifo,
        _ => FileKind::Unknown,
    }
}

/// The open flag of a file that is a place in a tree and nothing more.
pub(super) const O_PATH: u32 = 0o10_000_000;

/// Bits of the minor number in the kernel's own encoding of a device.
pub(super) const MINOR_BITS: u32 = 20;

/// How far its inode tells an open file from all others.
pub(super) fn sole(file: &FileIdentity) -> Sole {
    match of(file) {
        // A path below /proc leads to anything, again and again, without opening it.
        _ if file.is_path() => Sole::Never,
        // A bound socket's place in a directory is another file system's.
        FileKind::Socket if file.magic == SOCKFS_MAGIC => Sole::Always,
        FileKind::Memfd | FileKind::Pipe => Sole::IfMade,
        _ if file.magic == DMA_BUF_MAGIC => Sole::IfMade,
        _ => Sole::Never,
    }
}

/// What the kernel calls a file outside of every directory; empty for another one.
fn label(file: &FileIdentity) -> &[u8] {
    let label = file.label.as_ref().map_or(&[][..], |label| label);
    label.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use fdtrace_common::records::LABEL_LEN;

    use super::*;

    fn file(mode: u16, magic: u64, name: &str) -> FileIdentity {
        let mut label = [0; LABEL_LEN];
        label[..name.len()].copy_from_slice(name.as_bytes());
        FileIdentity {
            ptr: 1,
            ino: 1,
            dev: 1,
            rdev: 0,
            mode,
            flags: 0,
            magic,
            label: Some(label),
        }
    }

    #[test]
    fn every_kind_is_one_that_files_have() {
        let magics = [0, PIPEFS_MAGIC, PIDFS_MAGIC, ANON_INODE_FS_MAGIC];
        let mut said: Vec<FileKind> = ANONYMOUS.map(|(_, kind)| kind).to_vec();
        for (kind, magic) in (0..16).flat_map(|kind| magics.map(|magic| (kind << 12, magic))) {
            said.extend(["", "memfd:x"].map(|name| of(&file(kind, magic, name))));
            let terminal = FileIdentity {
                rdev: TTY_MAJORS[0] << MINOR_BITS,
                ..file(kind, magic, "")
            };
            said.push(of(&terminal));
        }
        said.sort_unstable();
        said.dedup();
        assert_eq!(said, FileKind::ALL);
    }

    #[test]
    fn a_socket_has_one_open_file_and_places_that_lead_to_it() {
        let socket = file(0o140_777, SOCKFS_MAGIC, "");
        assert_eq!(sole(&socket), Sole::Always);
        let flags = O_PATH;
        assert_eq!(sole(&FileIdentity { flags, ..socket }), Sole::Never);
        let memfd = file(0o100_777, 0x0102_1994, "memfd:x");
        assert_eq!(sole(&memfd), Sole::IfMade);
        assert_eq!(sole(&FileIdentity { flags, ..memfd }), Sole::Never);
    }

    #[test]
    fn files_without_an_inode_are_told_by_their_label() {
        for mode in [0o600, 0o100_600] {
            for (name, kind) in ANONYMOUS {
                assert_eq!(of(&file(mode, ANON_INODE_FS_MAGIC, name)), kind);
            }
            let other = file(mode, ANON_INODE_FS_MAGIC, "[fscontext]");
            assert_eq!(of(&other), FileKind::AnonInode);
        }
        // What follows the first NUL is not part of it.
        let mut long = file(0o600, ANON_INODE_FS_MAGIC, "inotify");
        long.label.as_mut().unwrap()[8..].copy_from_slice(b"leftover");
        assert_eq!(of(&long), FileKind::Inotify);
    }

    #[test]
    fn a_file_of_a_file_system_that_is_called_so_is_none() {
        assert_eq!(of(&file(0o100_644, 0xef53, "[eventfd]")), FileKind::Regular);
    }

    #[test]
    fn memfds_pidfds_and_pipes_are_told_from_files_and_fifos() {
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        assert_eq!(
            of(&file(0o100_777, TMPFS_MAGIC, "memfd:x")),
            FileKind::Memfd
        );
        let mut in_a_directory = file(0o100_777, TMPFS_MAGIC, "memfd:x");
        in_a_directory.label = None;
        assert_eq!(of(&in_a_directory), FileKind::Regular);
        assert_eq!(of(&file(0o100_700, PIDFS_MAGIC, "")), FileKind::Pidfd);
        assert_eq!(of(&file(0o010_600, PIPEFS_MAGIC, "")), FileKind::Pipe);
        assert_eq!(of(&file(0o010_600, TMPFS_MAGIC, "")), FileKind::Fifo);
    }

    #[test]
    fn a_terminal_is_told_from_other_devices_by_its_major_number() {
        let device = |major: u32, minor| FileIdentity {
            rdev: major << MINOR_BITS | minor,
            ..file(0o020_620, 0, "")
        };
        assert_eq!(of(&device(136, 7)), FileKind::Tty);
        assert_eq!(of(&device(5, 2)), FileKind::Tty);
        assert_eq!(of(&device(1, 3)), FileKind::CharDevice);
    }
}
