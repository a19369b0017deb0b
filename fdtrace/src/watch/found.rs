//! Found: what was in the queues as the trace began, or as it ended, until its turn among the kernel
//! half's records has come.

use fdtrace_common::records::FILES_PER_RECORD;

use super::looks::messages;
use crate::{
    model::{FoundFile, Occasion, Pass, Queue, QueueFact, QueuedFile, QueuedPart},
    wire,
};

/// What a look at all queues found.
#[derive(Debug, Default)]
pub struct Found {
    t_ns: u64,
    findings: Vec<Finding>,
}

/// One thing that a look found.
#[derive(Clone, Debug)]
pub enum Finding {
    /// What was read there.
    Fact(QueueFact),
    /// A record that the kernel half had kept of an unwanted sender's message.
    Held(Vec<u8>),
}

impl Found {
    /// What a first look found that began at `t_ns`, CLOCK_MONOTONIC, with everything attached; the
    /// filter wants those messages of whose first file `is_wanted` says so.
    #[must_use]
    pub fn of(pass: &Pass, t_ns: u64, is_wanted: impl Fn(&QueuedFile) -> bool) -> Self {
        let mut found = Self::at(t_ns);
        for (queue, files) in messages(pass) {
            found.lies(Occasion::First, queue, files, is_wanted(&files[0]));
        }
        found
    }

    /// Nothing yet, of a look that began then.
    pub(super) fn at(t_ns: u64) -> Self {
        Self {
            t_ns,
            findings: Vec::new(),
        }
    }

    /// Adds what the kernel half has kept of a message.
    pub(super) fn held(&mut self, records: Vec<Vec<u8>>) {
        self.findings.extend(records.into_iter().map(Finding::Held));
    }

    /// Adds that a message that is known was in its queue at last.
    pub fn again(&mut self, queue: &Queue, files: &[QueuedFile], wanted: bool) {
        self.lies(Occasion::Last, queue, files, wanted);
    }

    /// Adds that a message is still in its queue, where a trace goes on.
    pub fn still(&mut self, queue: &Queue, files: &[QueuedFile]) {
        self.lies(Occasion::Meanwhile, queue, files, false);
    }

    /// Adds that this was all there was in queues, or all there was in those that could be read.
    pub fn end(&mut self, every: bool) {
        let t_ns = self.t_ns;
        let all = QueueFact::LookedThrough { t_ns, every };
        self.findings.push(Finding::Fact(all));
    }

    /// Hands it over ahead of the first record that was made after the look began: what came before
    /// that may have been queued and read by then, and what comes after is seen in any case.
    pub fn take_before(&mut self, record: &[u8]) -> Vec<Finding> {
        let t_ns = record.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        if t_ns.is_some_and(|t_ns| t_ns < self.t_ns) {
            return Vec::new();
        }
        self.take()
    }

    /// Hands it over now.
    pub fn take(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    fn lies(&mut self, occasion: Occasion, queue: &Queue, files: &[QueuedFile], wanted: bool) {
        let describes = occasion != Occasion::Meanwhile;
        let found = |file: &QueuedFile| FoundFile {
            file: file.file,
            refs: file.refs,
            description: wire::description(file).filter(|_| describes),
        };
        let socket = &queue.socket;
        let name = socket.name.as_ref().or(socket.peer_name.as_ref());
        // No fact is longer than a chunk of a recording may be.
        for part in files.chunks(FILES_PER_RECORD) {
            let first = &part[0];
            let part = QueuedPart {
                occasion,
                t_ns: self.t_ns,
                wanted,
                list: first.list,
                skb: first.skb,
                sender_sock: first.sender_sock,
                receiver_sock: socket.sock,
                sender_ino: first.sender_ino,
                receiver_ino: socket.ino,
                kind: socket.kind,
                socket_name: name.filter(|_| occasion == Occasion::First).cloned(),
                count: u16::try_from(first.count).unwrap_or(u16::MAX),
                first: first.index as u16,
                files: part.iter().map(found).collect(),
            };
            self.findings.push(Finding::Fact(QueueFact::Lies(part)));
        }
    }
}
