//! Queues: walks the receive queues of all Unix sockets, without attaching anything.
//!
//! `iter/task_file` names the sockets that processes hold, and who holds them, and the kernel's own
//! tables those that nobody holds too ([`SocketWalk`]). From there a program reads one page of a
//! queue at a time, called by hand; sockets that are found in a queue are read in their turn.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read as _},
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::{
    Ebpf, Pod,
    maps::{Array, MapData, MapError},
    programs::{
        Iter, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _, iter::IterLink,
    },
};
use fdtrace_common::queues::{
    HolderSeen, NamespacesPage, PAGE_CHANGED, PAGE_END, PAGE_GONE, PathPage, QueuePage, Queued,
    SocketsPage, UserSeen,
};
use zerocopy::FromBytes;

use super::{
    Filter, SnapshotError, SocketTables, TaskFiles, TracerError, object, sockets::SocketWalk,
    type_ids,
};
use crate::{
    kernel::{Target, Types},
    model::{FilePath, Gaps, Pass, Queue, QueuedFile, UnixSocket},
    plan::Offsets,
    wire::{self, holders},
};

const QUEUE: &str = "inflight_queue";
const PATH: &str = "inflight_path";
const HOLDERS: &str = "inflight_holders";
const USERS: &str = "inflight_users";
const QUEUE_PAGE: &str = "QUEUE_PAGE";
const PATH_PAGE: &str = "PATH_PAGE";

/// How often something is read that keeps changing.
pub(super) const TRIES: usize = 32;

/// Pages of one queue, each of 64 files or 256 messages.
const PAGES_MAX: usize = 4096;

/// Files of one pass.
const FILES_MAX: usize = 1 << 18;

/// A page of the ring buffer is the least there is; the walk does not use it.
const RING_BYTES: u32 = 4096;

/// Why queues cannot be walked.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The kernel refuses a program.
    #[error("cannot load program {name}")]
    Load {
        /// The program.
        name: &'static str,
        /// The kernel's answer.
        source: Box<ProgramError>,
    },
    /// The kernel does not run a program.
    #[error("cannot run program {name}")]
    Run {
        /// The program.
        name: &'static str,
        /// The kernel's answer.
        source: Box<ProgramError>,
    },
    /// Reading an iterator failed.
    #[error("cannot read iterator {name}")]
    Read {
        /// Its program.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A map is not what the programs declare.
    #[error("cannot use the map {name}")]
    Map {
        /// The map.
        name: &'static str,
        /// Why.
        source: MapError,
    },
    /// The object is not the one this fdtrace was built with.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
    /// The object cannot be loaded.
    #[error(transparent)]
    Object(#[from] TracerError),
    /// This process's own descriptors cannot be looked up.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Walks queues, with an eBPF object of its own.
pub struct Queues {
    ebpf: Ebpf,
    walk: Walk,
    task_files: TaskFiles,
}

impl Queues {
    /// Loads what walking takes.
    ///
    /// # Errors
    /// If the object or a program cannot be loaded.
    pub fn open(
        offsets: &Offsets,
        types: &Types,
        tables: SocketTables,
    ) -> Result<Self, QueueError> {
        let mut ebpf = object::load(offsets, RING_BYTES, &Filter::default())?;
        let mut walk = Walk::load(&mut ebpf, types, tables)?;
        if offsets.show_users() {
            walk.count_by_user(&mut ebpf, types)?;
        }
        let task_files = TaskFiles::load(&mut ebpf, types)?;
        Ok(Self {
            ebpf,
            walk,
            task_files,
        })
    }

    /// Walks all queues once.
    ///
    /// # Errors
    /// If the kernel refuses to run a program, or an iterator breaks off.
    pub fn pass(&mut self) -> Result<Pass, QueueError> {
        self.walk.pass(&mut self.ebpf)
    }

    /// The address of the inode behind a descriptor of this process, and its path; `None` if the
    /// kernel did not list it.
    ///
    /// # Errors
    /// As [`Queues::pass`].
    pub fn locate(&mut self, fd: BorrowedFd<'_>) -> Result<Option<(u64, FilePath)>, QueueError> {
        let pid = std::process::id();
        let files = self.task_files.snapshot(&mut self.ebpf, &[pid])?;
        let Some(file) = files.get(&(pid, fd.as_raw_fd())) else {
            return Ok(None);
        };
        self.walk.prepare_to_read(&mut self.ebpf)?;
        let path = self.walk.path(&self.ebpf, [file.ptr, 0, 0, 0, 0])?;
        Ok(path.map(|(page, path)| (page.head.inode, path)))
    }
}

/// A walk over the queues, with the programs of some loaded object.
pub(super) struct Walk {
    queue_page: Array<MapData, Raw<QueuePage>>,
    path_page: Array<MapData, Raw<PathPage>>,
    sockets: SocketWalk,
    /// Whether what reads a queue is loaded.
    reads: bool,
    /// Whether the kernel is asked how many files it counts for each user.
    counts: bool,
}

/// What a map holds.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Raw<T>(pub(super) T);

// SAFETY: all are plain integers without padding, of which any bytes are a value.
unsafe impl Pod for Raw<QueuePage> {}
// SAFETY: likewise.
unsafe impl Pod for Raw<PathPage> {}
// SAFETY: likewise.
unsafe impl Pod for Raw<NamespacesPage> {}
// SAFETY: likewise.
unsafe impl Pod for Raw<SocketsPage> {}

/// Files in flight by the address of the user for whom the kernel counts them.
type Users = HashMap<u64, u64>;

impl Walk {
    pub(super) fn load(
        ebpf: &mut Ebpf,
        types: &Types,
        tables: SocketTables,
    ) -> Result<Self, QueueError> {
        load_iterator(ebpf, types, HOLDERS, "task_file", "bpf_iter_task_file")?;
        Ok(Self {
            queue_page: take(ebpf, QUEUE_PAGE)?,
            path_page: take(ebpf, PATH_PAGE)?,
            sockets: SocketWalk::load(ebpf, tables)?,
            reads: false,
            counts: false,
        })
    }

    /// From now on each pass says what the kernel itself counts by user.
    fn count_by_user(&mut self, ebpf: &mut Ebpf, types: &Types) -> Result<(), QueueError> {
        load_iterator(ebpf, types, USERS, "task", "bpf_iter_task")?;
        self.counts = true;
        Ok(())
    }

    /// Loads what reads a queue. It takes the verifier longer than all other programs together, and
    /// most of the time there is no queue with anything in it.
    fn prepare_to_read(&mut self, ebpf: &mut Ebpf) -> Result<(), QueueError> {
        if self.reads {
            return Ok(());
        }
        for name in [QUEUE, PATH] {
            load_called(ebpf, name)?;
        }
        self.reads = true;
        Ok(())
    }

    pub(super) fn pass(&mut self, ebpf: &mut Ebpf) -> Result<Pass, QueueError> {
        let before = self.users(ebpf)?;
        let rows = read(ebpf, HOLDERS)?;
        let rows: Vec<HolderSeen> = rows_of(&rows);
        let mut next: Vec<u64> = rows
            .iter()
            .filter(|row| row.queued != 0)
            .map(|row| row.sock)
            .collect();
        let mut pass = Pass {
            holders: holders(&rows),
            ..Pass::default()
        };
        drop(rows);
        next.extend(self.sockets.sockets(ebpf, &mut pass.gaps)?);
        if !next.is_empty() {
            self.prepare_to_read(ebpf)?;
        }
        // Last come, first read; a queue's own sockets right after it.
        next.reverse();
        let mut seen = HashSet::new();
        let mut files = 0;
        let mut users = Users::new();
        while let Some(sock) = next.pop() {
            if !seen.insert(sock) {
                continue;
            }
            let room = FILES_MAX - files;
            let Some(queue) = self.read_queue(ebpf, sock, room, &mut pass.gaps, &mut users)? else {
                continue;
            };
            files += queue.files.len();
            next.extend(queue.connections.iter().rev());
            let carried = queue.files.iter().map(|file| file.sock);
            next.extend(carried.rev().filter(|sock| *sock != 0));
            if !queue.files.is_empty() || !queue.connections.is_empty() {
                pass.queues.push(queue);
            }
        }
        let after = self.users(ebpf)?;
        // What the counts were meanwhile is only known if they are what they were.
        let still = after.filter(|after| before.as_ref() == Some(after));
        pass.counted_by_user = still.map(|by_task| {
            // Those that have no process any more.
            users.extend(by_task);
            users.values().sum()
        });
        Ok(pass)
    }

    /// What the kernel counts for each user that has a process.
    fn users(&self, ebpf: &mut Ebpf) -> Result<Option<Users>, QueueError> {
        if !self.counts {
            return Ok(None);
        }
        let rows = read(ebpf, USERS)?;
        let users = rows_of::<UserSeen>(&rows);
        let users = users.into_iter().map(|row| (row.user, row.in_flight));
        let some = users.filter(|(user, in_flight)| *user != 0 && *in_flight != 0);
        Ok(Some(some.collect()))
    }

    /// Reads the whole queue of a socket, in one piece or not at all.
    fn read_queue(
        &self,
        ebpf: &Ebpf,
        sock: u64,
        room: usize,
        gaps: &mut Gaps,
        users: &mut Users,
    ) -> Result<Option<Queue>, QueueError> {
        for _ in 0..TRIES {
            match self.try_queue(ebpf, sock, room, users)? {
                Attempt::Read(queue, cut) => {
                    gaps.long_queues += u64::from(cut);
                    return Ok(Some(queue));
                }
                Attempt::Full => {
                    gaps.too_many_files += 1;
                    return Ok(None);
                }
                Attempt::Gone => return Ok(None),
                Attempt::Changed => {}
            }
        }
        gaps.restless += 1;
        Ok(None)
    }

    fn try_queue(
        &self,
        ebpf: &Ebpf,
        sock: u64,
        room: usize,
        users: &mut Users,
    ) -> Result<Attempt, QueueError> {
        let mut socket: Option<UnixSocket> = None;
        let mut files = Vec::new();
        let mut connections = Vec::new();
        for number in 0..PAGES_MAX {
            run(ebpf, QUEUE, &[sock, u64::from(number > 0)])?;
            let Raw(page) = entry(&self.queue_page, QUEUE_PAGE)?;
            match page.state {
                PAGE_GONE => return Ok(Attempt::Gone),
                PAGE_CHANGED => return Ok(Attempt::Changed),
                _ => {}
            }
            let seen = wire::unix_socket(&page.socket);
            // Nothing pins the socket between two pages: its address could be another's by now.
            if let Some(before) = &socket
                && (before.ino, before.kind, &before.name) != (seen.ino, seen.kind, &seen.name)
            {
                return Ok(Attempt::Changed);
            }
            let items = page.items.iter().take(page.len as usize);
            for item in items {
                if page.socket.listens != 0 {
                    connections.push(item.sock);
                } else if files.len() >= room {
                    return Ok(Attempt::Full);
                } else {
                    let Some(file) = self.file_of(ebpf, item)? else {
                        return Ok(Attempt::Changed);
                    };
                    if item.user != 0 {
                        users.insert(item.user, item.user_in_flight);
                    }
                    files.push(file);
                }
            }
            let whole = page.state == PAGE_END;
            if whole || number + 1 == PAGES_MAX {
                let queue = Queue {
                    socket: seen,
                    files,
                    connections,
                };
                return Ok(Attempt::Read(queue, !whole));
            }
            socket = Some(seen);
        }
        Ok(Attempt::Changed)
    }

    fn file_of(&self, ebpf: &Ebpf, item: &Queued) -> Result<Option<QueuedFile>, QueueError> {
        let arguments = [
            item.file.file,
            item.inode,
            item.skb,
            item.list,
            u64::from(item.index),
        ];
        Ok(self.path(ebpf, arguments)?.map(|(page, path)| {
            let socket = (page.socket.family != 0).then_some(page.socket);
            wire::queued_file(item, Some(path), socket)
        }))
    }

    fn path(
        &self,
        ebpf: &Ebpf,
        arguments: [u64; 5],
    ) -> Result<Option<(PathPage, FilePath)>, QueueError> {
        if run(ebpf, PATH, &arguments)? != 0 {
            return Ok(None);
        }
        let Raw(page) = entry(&self.path_page, PATH_PAGE)?;
        let path = wire::path(&page.head, &page.names);
        Ok(Some((page, path)))
    }
}

/// What came of reading a queue.
enum Attempt {
    /// It was read; true if not to its end.
    Read(Queue, bool),
    /// It changed meanwhile.
    Changed,
    /// There is no such socket any more.
    Gone,
    /// There is no room for what is in it.
    Full,
}

pub(super) fn take<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<Array<MapData, Raw<T>>, QueueError>
where
    Raw<T>: Pod,
{
    let map = ebpf.take_map(name).ok_or(QueueError::Missing(name))?;
    Array::try_from(map).map_err(|source| QueueError::Map { name, source })
}

pub(super) fn entry<T>(
    map: &Array<MapData, Raw<T>>,
    name: &'static str,
) -> Result<Raw<T>, QueueError>
where
    Raw<T>: Pod,
{
    map.get(&0, 0)
        .map_err(|source| QueueError::Map { name, source })
}

/// Loads a program that is called by hand.
pub(super) fn load_called(ebpf: &mut Ebpf, name: &'static str) -> Result<(), QueueError> {
    let program: &mut RawTracePoint = ebpf
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(QueueError::Missing(name))?;
    program.load().map_err(|source| QueueError::Load {
        name,
        source: Box::new(source),
    })
}

fn load_iterator(
    ebpf: &mut Ebpf,
    types: &Types,
    name: &'static str,
    target: &str,
    function: &str,
) -> Result<(), QueueError> {
    let btf = type_ids(types, &[Target::Function(function)])?;
    iter(ebpf, name)?
        .load(target, &btf)
        .map_err(|source| QueueError::Load {
            name,
            source: Box::new(source),
        })
}

/// Calls a program once; returns what it returned.
pub(super) fn run(ebpf: &Ebpf, name: &'static str, arguments: &[u64]) -> Result<u32, QueueError> {
    let program: &RawTracePoint = ebpf
        .program(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(QueueError::Missing(name))?;
    let mut options = RawTracePointRunOptions::new();
    for (slot, argument) in options.args.iter_mut().zip(arguments) {
        *slot = *argument;
    }
    let result = program
        .test_run(options)
        .map_err(|source| QueueError::Run {
            name,
            source: Box::new(source),
        })?;
    Ok(result.return_value)
}

/// Reads an iterator to its end.
fn read(ebpf: &mut Ebpf, name: &'static str) -> Result<Vec<u8>, QueueError> {
    let link = link(ebpf, name)?;
    read_link(link).map_err(|source| QueueError::Read { name, source })
}

fn link(ebpf: &mut Ebpf, name: &'static str) -> Result<IterLink, QueueError> {
    let failed = |source: ProgramError| QueueError::Run {
        name,
        source: Box::new(source),
    };
    let program = iter(ebpf, name)?;
    let link = program.attach().map_err(failed)?;
    program.take_link(link).map_err(failed)
}

fn read_link(link: IterLink) -> io::Result<Vec<u8>> {
    let mut rows = Vec::new();
    let mut file: File = link
        .into_file()
        .map_err(|error| io::Error::other(error.to_string()))?;
    loop {
        match file.read_to_end(&mut rows) {
            // After a million visits without a row the kernel wants to be asked again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done.map(|_| rows),
        }
    }
}

fn rows_of<T: FromBytes>(bytes: &[u8]) -> Vec<T> {
    bytes
        .chunks_exact(size_of::<T>())
        .filter_map(|row| T::read_from_bytes(row).ok())
        .collect()
}

fn iter<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Iter, QueueError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(QueueError::Missing(name))
}
