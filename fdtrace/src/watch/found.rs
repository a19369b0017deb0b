//! Found: what was in the queues as the trace began, or as it ended, in the form of the kernel half's
//! records, so that it goes the way of all others: into the recording, the tracker and the reports.

use fdtrace_common::{
    descriptions::{About, PathDescribed},
    paths::{PATH_CUT, PATH_DETACHED, PATH_MOUNT_ROOT, PATH_ROOTLESS, PATH_UNLINKED, PathHead},
    records::{
        FILES_PER_RECORD, FLAG_DESCRIBED, FLAG_WANTED, FileSeen, Head, NOT_TOLD, RecordKind,
        SocketName,
    },
};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::looks::messages;
use crate::model::{FileIdentity, FilePath, Pass, Queue, QueuedFile, SocketType, lossless};

/// What a look at all queues found, until its turn among the kernel half's records has come.
#[derive(Debug, Default)]
pub struct Found {
    t_ns: u64,
    records: Vec<Vec<u8>>,
}

impl Found {
    /// What a first look found that began at `t_ns`, CLOCK_MONOTONIC, with everything attached; the
    /// filter wants those messages of whose first file `is_wanted` says so.
    #[must_use]
    pub fn of(pass: &Pass, t_ns: u64, is_wanted: impl Fn(&QueuedFile) -> bool) -> Self {
        let mut found = Self::at(t_ns);
        for (queue, files) in messages(pass) {
            found.push(queue, files, is_wanted(&files[0]));
        }
        found
    }

    /// Nothing yet, of a look that began then.
    pub(super) fn at(t_ns: u64) -> Self {
        Self {
            t_ns,
            records: Vec::new(),
        }
    }

    /// Adds what the kernel half has kept of a message.
    pub(super) fn held(&mut self, records: Vec<Vec<u8>>) {
        self.records.extend(records);
    }

    /// Adds that a message that is known was in its queue at last.
    pub fn again(&mut self, queue: &Queue, files: &[QueuedFile], wanted: bool) {
        let mut head = self.head(queue, &files[0], wanted);
        self.describe(&mut head, files);
        head.kind = RecordKind::ListFoundLast as u16;
        self.push_files(head, files);
    }

    /// Adds that a message is still in its queue, where a trace goes on.
    pub fn still(&mut self, queue: &Queue, files: &[QueuedFile]) {
        let mut head = self.head(queue, &files[0], false);
        (head.kind, head.result) = (RecordKind::ListFoundLast as u16, 1);
        self.push_files(head, files);
    }

    /// Adds that this was all there was in queues, or all there was in those that could be read.
    pub fn end(&mut self, every: bool) {
        let mut head = Head::new_zeroed();
        head.t_ns = self.t_ns;
        head.kind = RecordKind::QueuesRead as u16;
        head.result = i32::from(every);
        self.records.push(head.as_bytes().to_vec());
    }

    /// Hands it over ahead of the first record that was made after the look began: what came before
    /// that may have been queued and read by then, and what comes after is seen in any case.
    pub fn take_before(&mut self, record: &[u8]) -> Vec<Vec<u8>> {
        let t_ns = record.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        if t_ns.is_some_and(|t_ns| t_ns < self.t_ns) {
            return Vec::new();
        }
        self.take()
    }

    /// Hands it over now.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.records)
    }

    fn head(&self, queue: &Queue, first: &QueuedFile, wanted: bool) -> Head {
        let mut head = Head::new_zeroed();
        head.t_ns = self.t_ns;
        head.flags = if wanted { FLAG_WANTED } else { 0 };
        head.list = first.list;
        head.skb = first.skb;
        head.receiver_sock = queue.socket.sock;
        head.receiver_ino = queue.socket.ino.unwrap_or(0);
        head.sender_sock = first.sender_sock;
        head.sender_ino = first.sender_ino.unwrap_or(0);
        head.socket_fd = -1;
        head.syscall = -1;
        head.count = u16::try_from(first.count).unwrap_or(u16::MAX);
        head.total = head.count;
        head.socket_type = queue.socket.kind.map_or(0, SocketType::number);
        head
    }

    /// Describes the files, as the kernel half does ahead of a hop.
    fn describe(&mut self, head: &mut Head, files: &[QueuedFile]) {
        for file in files {
            let mut head = *head;
            head.first = file.index as u16;
            head.origin = file.file.ptr;
            if let Some(addresses) = file.socket {
                head.kind = RecordKind::SocketDescribed as u16;
                let about = about(&file.file);
                self.records
                    .push([head.as_bytes(), about.as_bytes(), addresses.as_bytes()].concat());
            } else if let Some(path) = &file.path {
                head.kind = RecordKind::PathDescribed as u16;
                self.records
                    .push([head.as_bytes(), &described(&file.file, path)].concat());
            }
        }
        head.flags |= FLAG_DESCRIBED;
    }

    fn push(&mut self, queue: &Queue, files: &[QueuedFile], wanted: bool) {
        let mut head = self.head(queue, &files[0], wanted);
        self.describe(&mut head, files);
        let name = queue
            .socket
            .name
            .as_ref()
            .or(queue.socket.peer_name.as_ref());
        if let Some(name) = name {
            head.kind = RecordKind::SocketNamed as u16;
            self.records
                .push([head.as_bytes(), socket_name(name).as_bytes()].concat());
        }
        head.kind = RecordKind::ListFound as u16;
        self.push_files(head, files);
    }

    fn push_files(&mut self, mut head: Head, files: &[QueuedFile]) {
        for run in files.chunks(FILES_PER_RECORD) {
            head.first = run.first().map_or(0, |file| file.index as u16);
            head.files = run.len() as u16;
            let mut record = head.as_bytes().to_vec();
            for file in run {
                record.extend_from_slice(seen(file).as_bytes());
            }
            self.records.push(record);
        }
    }
}

fn seen(queued: &QueuedFile) -> FileSeen {
    let FileIdentity {
        ptr,
        ino,
        dev,
        rdev,
        mode,
        flags,
        magic,
        label,
    } = queued.file.clone();
    let mut seen = FileSeen::new_zeroed();
    seen.file = ptr;
    seen.refs = queued.refs;
    (seen.ino, seen.dev, seen.rdev) = (ino, dev, rdev);
    (seen.mode, seen.flags, seen.magic) = (mode, flags, magic);
    (seen.fd, seen.told) = (-1, NOT_TOLD);
    match label {
        // In no directory: its own parent, wherever that is.
        Some(label) => (seen.dentry, seen.parent, seen.name) = (1, 1, label),
        None => (seen.dentry, seen.parent) = (1, 2),
    }
    seen
}

fn about(file: &FileIdentity) -> About {
    About {
        ino: file.ino,
        dev: file.dev,
        magic: file.magic as u32,
    }
}

/// The path in the order in which the kernel half finds it, from the file up.
fn described(file: &FileIdentity, path: &FilePath) -> Vec<u8> {
    let mut flags = 0;
    for (is, flag) in [
        (path.unlinked, PATH_UNLINKED),
        (path.rootless, PATH_ROOTLESS),
        (path.cut, PATH_CUT),
        (path.detached, PATH_DETACHED),
        (path.mount_root, PATH_MOUNT_ROOT),
    ] {
        if is {
            flags |= flag;
        }
    }
    let mut names: Vec<&str> = if path.rootless {
        vec![&path.text]
    } else {
        let text = path.text.trim_start_matches('…');
        text.split('/').filter(|name| !name.is_empty()).collect()
    };
    names.reverse();
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend_from_slice(&lossless::bytes(name));
        bytes.push(0);
    }
    let described = PathDescribed {
        about: about(file),
        path: PathHead {
            len: bytes.len() as u64,
            flags,
            mount_id: path.mount_id,
            ..PathHead::new_zeroed()
        },
    };
    [described.as_bytes(), &bytes].concat()
}

/// `sun_path` of a name as users write it.
fn socket_name(name: &str) -> SocketName {
    let mut seen = SocketName::new_zeroed();
    let mut bytes = lossless::bytes(name);
    if let Some(first @ b'@') = bytes.first_mut() {
        *first = 0;
    }
    bytes.truncate(seen.name.len());
    seen.name[..bytes.len()].copy_from_slice(&bytes);
    seen.len = bytes.len() as u32;
    seen
}
