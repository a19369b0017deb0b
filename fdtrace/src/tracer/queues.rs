//! Queues: walks the receive queues of all Unix sockets, without attaching anything.
//!
//! `iter/task_file` names the sockets that processes hold, and who holds them, and the kernel's own
//! tables those that nobody holds too ([`SocketWalk`]). From there a program reads one page of a
//! queue at a time, called by hand; sockets that are found in a queue are read in their turn.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::{
    Ebpf, Pod,
    maps::{Array, MapData},
};
use fdtrace_common::queues::{
    HolderSeen, NamespacesPage, PAGE_CHANGED, PAGE_END, PAGE_GONE, PathPage, QueuePage, Queued,
    SocketsPage, UserSeen,
};
use fdtrace_common::tables::{EndWanted, TableFilter};

use super::{
    Filter, ProbeError, SocketTables, TaskFiles,
    loaded::{Iterator, load_by_hand, run_by_hand, take_map},
    object,
    sockets::SocketWalk,
};
use crate::{
    kernel::Types,
    model::{FilePath, Gaps, Pass, Queue, QueuedFile, UnixSocket},
    plan::Offsets,
    wire::{self, holders},
};

const QUEUE: &str = "inflight_queue";
const PATH: &str = "inflight_path";
const HOLDERS: Iterator = Iterator {
    program: "inflight_holders",
    target: "iter/task_file",
};
const USERS: Iterator = Iterator {
    program: "inflight_users",
    target: "iter/task",
};
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
    /// [`ProbeError::Object`] if the maps cannot be made, [`ProbeError::Refused`] if the kernel does
    /// not take a program.
    pub fn open(
        offsets: &Offsets,
        types: &Types,
        tables: SocketTables,
    ) -> Result<Self, ProbeError> {
        let mut ebpf = object::load(
            object::Loader::new(),
            offsets,
            RING_BYTES,
            &Filter::default(),
        )?;
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
    /// [`ProbeError::Program`] if the kernel does not run a program, [`ProbeError::Iterator`] if an
    /// iterator breaks off.
    pub fn pass(&mut self) -> Result<Pass, ProbeError> {
        self.walk.pass(&mut self.ebpf)
    }

    /// The address of the inode behind a descriptor of this process, and its path; `None` if the
    /// kernel did not list it.
    ///
    /// # Errors
    /// Those of [`Queues::pass`].
    pub fn locate(&mut self, fd: BorrowedFd<'_>) -> Result<Option<(u64, FilePath)>, ProbeError> {
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
// SAFETY: plain integers without padding, of which any bytes are a value.
unsafe impl Pod for Raw<PathPage> {}
// SAFETY: plain integers without padding, of which any bytes are a value.
unsafe impl Pod for Raw<NamespacesPage> {}
// SAFETY: plain integers without padding, of which any bytes are a value.
unsafe impl Pod for Raw<SocketsPage> {}
// SAFETY: plain integers without padding, of which any bytes are a value.
unsafe impl Pod for Raw<TableFilter> {}
// SAFETY: plain integers without padding, of which any bytes are a value.
unsafe impl Pod for Raw<EndWanted> {}

/// Files in flight by the address of the user for whom the kernel counts them.
type Users = HashMap<u64, u64>;

impl Walk {
    pub(super) fn load(
        ebpf: &mut Ebpf,
        types: &Types,
        tables: SocketTables,
    ) -> Result<Self, ProbeError> {
        HOLDERS.load(ebpf, types)?;
        Ok(Self {
            queue_page: take_map(ebpf, QUEUE_PAGE)?,
            path_page: take_map(ebpf, PATH_PAGE)?,
            sockets: SocketWalk::load(ebpf, tables)?,
            reads: false,
            counts: false,
        })
    }

    /// From now on each pass says what the kernel itself counts by user.
    fn count_by_user(&mut self, ebpf: &mut Ebpf, types: &Types) -> Result<(), ProbeError> {
        USERS.load(ebpf, types)?;
        self.counts = true;
        Ok(())
    }

    /// Loads what reads a queue. It takes the verifier longer than all other programs together, and
    /// most of the time there is no queue with anything in it.
    fn prepare_to_read(&mut self, ebpf: &mut Ebpf) -> Result<(), ProbeError> {
        if self.reads {
            return Ok(());
        }
        for name in [QUEUE, PATH] {
            load_by_hand(ebpf, name)?;
        }
        self.reads = true;
        Ok(())
    }

    pub(super) fn pass(&mut self, ebpf: &mut Ebpf) -> Result<Pass, ProbeError> {
        let before = self.users(ebpf)?;
        let rows: Vec<HolderSeen> = HOLDERS.rows(ebpf)?;
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
    fn users(&self, ebpf: &mut Ebpf) -> Result<Option<Users>, ProbeError> {
        if !self.counts {
            return Ok(None);
        }
        let users: Vec<UserSeen> = USERS.rows(ebpf)?;
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
    ) -> Result<Option<Queue>, ProbeError> {
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
    ) -> Result<Attempt, ProbeError> {
        let mut socket: Option<UnixSocket> = None;
        let mut files = Vec::new();
        let mut connections = Vec::new();
        for number in 0..PAGES_MAX {
            run_by_hand(ebpf, QUEUE, &[sock, u64::from(number > 0)])?;
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

    fn file_of(&self, ebpf: &Ebpf, item: &Queued) -> Result<Option<QueuedFile>, ProbeError> {
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
    ) -> Result<Option<(PathPage, FilePath)>, ProbeError> {
        if run_by_hand(ebpf, PATH, &arguments)? != 0 {
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

pub(super) fn entry<T>(
    map: &Array<MapData, Raw<T>>,
    name: &'static str,
) -> Result<Raw<T>, ProbeError>
where
    Raw<T>: Pod,
{
    map.get(&0, 0).map_err(ProbeError::of_map(name))
}
