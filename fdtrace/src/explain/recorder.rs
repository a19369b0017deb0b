//! The recorder: observes a scenario as it runs, and keeps what a story is made of.
//!
//! At each checkpoint, where an actor stands still, it keeps of the scenario's processes (a
//! [`Checkpoint`]) what the kernel's own list of descriptors says (`iter/task_file`) and what /proc
//! shows at that moment. Interpreting it is [`super::story`]'s part.

use std::{
    collections::HashMap,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt},
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

use crate::{
    model::{OpenFile, lossless},
    tracer::Tracer,
    verify::{Observer, fact::Fact},
    wire::Record,
    witness::{self, Birth},
};

/// The scenario's processes at a checkpoint, where an actor is held.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub t_ns: u64,
    /// What the actor who is held has reported.
    pub fact: Fact,
    /// In the order in which they joined.
    pub processes: Vec<Process>,
}

/// One process at a checkpoint.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its table.
    pub descriptors: Vec<Descriptor>,
}

/// One row of a process's table.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// The number.
    pub fd: i32,
    /// Address of the file behind it.
    pub file: u64,
    /// The file's reference count.
    pub refs: i64,
    /// What /proc/PID/fd shows.
    pub link: String,
    /// Inode number of the file, where /proc shows it.
    pub ino: Option<u64>,
    /// What distinguishes its inode from earlier ones of that number, where the file system has that.
    pub birth: Option<Birth>,
    /// For a Unix socket: how many descriptors fdinfo says are in its queue.
    pub queued: Option<u64>,
}

/// What was recorded of a scenario's run: for a story, and to be tracked again.
#[derive(Clone, Debug, Default)]
pub struct RunLog {
    /// In order of time.
    pub checkpoints: Vec<Checkpoint>,
    /// Everything that the actors reported.
    pub facts: Vec<Fact>,
    /// Every record, if somebody stops at checkpoints.
    pub records: Vec<Record>,
}

/// Is called at each checkpoint with everything up to it, while the actor stands still.
pub type AtCheckpoint = Box<dyn FnMut(&RunLog)>;

/// Records a scenario's run.
#[derive(Default)]
pub struct Recorder {
    recording: RunLog,
    /// Which processes take part, and the names under which they were last seen.
    actors: Vec<(u32, String)>,
    at_checkpoint: Option<AtCheckpoint>,
    /// Why a checkpoint could not be kept.
    trouble: Option<String>,
}

impl Recorder {
    /// A recorder that lets somebody look at each checkpoint.
    #[must_use]
    pub fn stopping(at_checkpoint: AtCheckpoint) -> Self {
        Self {
            at_checkpoint: Some(at_checkpoint),
            ..Self::default()
        }
    }

    /// What was recorded so far, and the first thing that went wrong in it.
    #[must_use]
    pub fn take(&mut self) -> (RunLog, Option<String>) {
        (std::mem::take(&mut self.recording), self.trouble.take())
    }

    fn take_checkpoint(&mut self, fact: &Fact, tracer: &mut Tracer) -> Option<Checkpoint> {
        let now: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?.into();
        let pids: Vec<u32> = self.actors.iter().map(|(pid, _)| *pid).collect();
        let rows = match tracer.snapshot(&pids) {
            Ok(rows) => rows,
            Err(error) => {
                self.trouble.get_or_insert_with(|| error.to_string());
                return None;
            }
        };
        let mut tables: HashMap<u32, Vec<Descriptor>> = HashMap::new();
        for ((pid, fd), file) in rows {
            let descriptor = describe(pid, fd, file);
            tables.entry(pid).or_default().push(descriptor);
        }
        let mut processes = Vec::new();
        for (pid, comm) in &mut self.actors {
            // Who has ended has no table.
            let Some(mut descriptors) = tables.remove(pid) else {
                continue;
            };
            descriptors.sort_by_key(|descriptor| descriptor.fd);
            if let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm")) {
                name.trim_end_matches('\n').clone_into(comm);
            }
            processes.push(Process {
                pid: *pid,
                comm: comm.clone(),
                descriptors,
            });
        }
        Some(Checkpoint {
            t_ns: u64::try_from(now.as_nanos()).ok()?,
            fact: fact.clone(),
            processes,
        })
    }
}

fn describe(pid: u32, fd: i32, file: OpenFile) -> Descriptor {
    /// The iterator's, while it looks.
    const OF_THE_ITERATOR: i64 = 1;
    let path = format!("/proc/{pid}/fd/{fd}");
    let link = fs::read_link(&path)
        .map(|link| lossless::text(link.as_os_str().as_bytes()))
        .unwrap_or_default();
    let metadata = fs::metadata(&path).ok();
    let is_socket = link.starts_with("socket:");
    Descriptor {
        fd,
        file: file.ptr,
        refs: file.refs - OF_THE_ITERATOR,
        ino: metadata.as_ref().map(MetadataExt::ino),
        birth: metadata.and_then(|metadata| Birth::of(pid, fd, &metadata)),
        queued: is_socket
            .then(|| witness::queued_descriptors(pid, fd))
            .flatten(),
        link,
    }
}

impl Observer for Recorder {
    fn on_record(&mut self, record: &Record) {
        if self.at_checkpoint.is_some() {
            self.recording.records.push(record.clone());
        }
    }

    fn on_fact(&mut self, _play: u64, fact: &Fact, tracer: &mut Tracer) {
        if let Fact::Joined { actor } = fact {
            self.actors.push((actor.pid, String::new()));
        }
        self.recording.facts.push(fact.clone());
        if !fact.is_checkpoint() {
            return;
        }
        if let Some(checkpoint) = self.take_checkpoint(fact, tracer) {
            self.recording.checkpoints.push(checkpoint);
        }
        if let Some(at_checkpoint) = &mut self.at_checkpoint {
            at_checkpoint(&self.recording);
        }
    }

    /// A story's reference counts are those of the path alone.
    fn allows_duplicates(&self) -> bool {
        false
    }
}
