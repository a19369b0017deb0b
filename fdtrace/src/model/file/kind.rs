//! What kind of file a `struct file` is, in a word, from what a hop read of it.

use super::FileIdentity;

const PIPEFS_MAGIC: u64 = 0x5049_5045;
pub(super) const ANON_INODE_FS_MAGIC: u64 = 0x0904_1934;
pub(super) const PIDFS_MAGIC: u64 = 0x5049_4446;

/// What the kernel calls the files that have no inode of their own, as `readlink` of
/// `/proc/PID/fd/N` shows it behind `anon_inode:`.
const ANONYMOUS: [(&str, &str); 14] = [
    ("[eventpoll]", "epoll"),
    ("[eventfd]", "eventfd"),
    ("[timerfd]", "timerfd"),
    ("[signalfd]", "signalfd"),
    ("inotify", "inotify"),
    ("[fanotify]", "fanotify"),
    ("[io_uring]", "io-uring"),
    ("bpf-map", "bpf-map"),
    ("bpf-prog", "bpf-prog"),
    ("bpf_link", "bpf-link"),
    ("bpf-link", "bpf-link"),
    ("[perf_event]", "perf-event"),
    ("[userfaultfd]", "userfaultfd"),
    // A file of its own file system since 6.9.
    ("[pidfd]", "pidfd"),
];

/// Every word that [`of`] has.
pub(super) const KINDS: [&str; 25] = [
    "regular",
    "directory",
    "symlink",
    "socket",
    "pipe",
    "fifo",
    "tty",
    "char-device",
    "block-device",
    "memfd",
    "pidfd",
    "epoll",
    "eventfd",
    "timerfd",
    "signalfd",
    "inotify",
    "fanotify",
    "io-uring",
    "bpf-map",
    "bpf-prog",
    "bpf-link",
    "perf-event",
    "userfaultfd",
    "anon-inode",
    "unknown",
];

/// Major numbers of terminals: consoles and serial lines, /dev/tty and ptmx, pseudo-terminals.
const TTY_MAJORS: [u32; 10] = [4, 5, 136, 137, 138, 139, 140, 141, 142, 143];

pub(super) fn of(file: &FileIdentity) -> &'static str {
    const TYPE: u16 = 0o170_000;
    // Before the mode, which says nothing of the inode that they share.
    if file.magic == ANON_INODE_FS_MAGIC {
        let label = label(file);
        let known = ANONYMOUS
            .iter()
            .find(|(called, _)| called.as_bytes() == label);
        return known.map_or("anon-inode", |(_, kind)| kind);
    }
    match file.mode & TYPE {
        0o140_000 => "socket",
        0o120_000 => "symlink",
        0o100_000 if file.magic == PIDFS_MAGIC => "pidfd",
        // A file of that name in a directory has no label.
        0o100_000 if label(file).starts_with(b"memfd:") => "memfd",
        0o100_000 => "regular",
        0o060_000 => "block-device",
        0o040_000 => "directory",
        0o020_000 if TTY_MAJORS.contains(&(file.rdev >> MINOR_BITS)) => "tty",
        0o020_000 => "char-device",
        0o010_000 if file.magic == PIPEFS_MAGIC => "pipe",
        0o010_000 => "fifo",
        _ => "unknown",
    }
}

/// Bits of the minor number in the kernel's own encoding of a device.
pub(super) const MINOR_BITS: u32 = 20;

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
    fn every_word_is_in_the_list() {
        let magics = [0, PIPEFS_MAGIC, PIDFS_MAGIC, ANON_INODE_FS_MAGIC];
        let mut said: Vec<&str> = ANONYMOUS.map(|(_, kind)| kind).to_vec();
        for (kind, magic) in (0..16).flat_map(|kind| magics.map(|magic| (kind << 12, magic))) {
            said.extend(["", "memfd:x"].map(|name| of(&file(kind, magic, name))));
            let terminal = FileIdentity {
                rdev: TTY_MAJORS[0] << MINOR_BITS,
                ..file(kind, magic, "")
            };
            said.push(of(&terminal));
        }
        let mut listed = KINDS.to_vec();
        for words in [&mut said, &mut listed] {
            words.sort_unstable();
            words.dedup();
        }
        assert_eq!(said, listed);
        assert_eq!(listed.len(), KINDS.len());
    }

    #[test]
    fn files_without_an_inode_are_told_by_their_label() {
        for mode in [0o600, 0o100_600] {
            for (name, kind) in ANONYMOUS {
                assert_eq!(of(&file(mode, ANON_INODE_FS_MAGIC, name)), kind);
            }
            let other = file(mode, ANON_INODE_FS_MAGIC, "[fscontext]");
            assert_eq!(of(&other), "anon-inode");
        }
        // What follows the first NUL is not part of it.
        let mut long = file(0o600, ANON_INODE_FS_MAGIC, "inotify");
        long.label.as_mut().unwrap()[8..].copy_from_slice(b"leftover");
        assert_eq!(of(&long), "inotify");
    }

    #[test]
    fn a_file_of_a_file_system_that_is_called_so_is_none() {
        assert_eq!(of(&file(0o100_644, 0xef53, "[eventfd]")), "regular");
    }

    #[test]
    fn memfds_pidfds_and_pipes_are_told_from_files_and_fifos() {
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        assert_eq!(of(&file(0o100_777, TMPFS_MAGIC, "memfd:x")), "memfd");
        let mut in_a_directory = file(0o100_777, TMPFS_MAGIC, "memfd:x");
        in_a_directory.label = None;
        assert_eq!(of(&in_a_directory), "regular");
        assert_eq!(of(&file(0o100_700, PIDFS_MAGIC, "")), "pidfd");
        assert_eq!(of(&file(0o010_600, PIPEFS_MAGIC, "")), "pipe");
        assert_eq!(of(&file(0o010_600, TMPFS_MAGIC, "")), "fifo");
    }

    #[test]
    fn a_terminal_is_told_from_other_devices_by_its_major_number() {
        let device = |major: u32, minor| FileIdentity {
            rdev: major << MINOR_BITS | minor,
            ..file(0o020_620, 0, "")
        };
        assert_eq!(of(&device(136, 7)), "tty");
        assert_eq!(of(&device(5, 2)), "tty");
        assert_eq!(of(&device(1, 3)), "char-device");
    }
}
