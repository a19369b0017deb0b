//! Census: what two passes agree on, and what follows from it: which sockets carry which, who can
//! still receive what, and what nobody can.

use std::collections::{HashMap, HashSet};

use crate::model::{Gaps, Holder, Pass, QueuedFile, UnixSocket};
use crate::wire::socket;

/// All that is in flight.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Every socket whose queue holds a file or a connection, in the order of the walk.
    pub holdings: Vec<Holding>,
    /// What the passes did not agree on, and so is not in here.
    pub differences: Differences,
    /// What the second pass could not read.
    pub gaps: Gaps,
    /// How many files the kernel counts as in flight for all users that are known; `None` where it
    /// does not show it, or something changed meanwhile.
    pub counted_by_user: Option<u64>,
    holders: HashMap<u64, Vec<Holder>>,
    /// Names of processes that hold any Unix socket.
    names: HashMap<u32, String>,
    /// Places in `holdings` by the address of the `sock`.
    places: HashMap<u64, usize>,
}

/// How two passes differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Files that only the second one saw.
    pub came: u64,
    /// Files that only the first one saw.
    pub went: u64,
    /// Files whose path was another, or could not be read, in one of them.
    pub moved: u64,
}

/// A socket and what waits in its queue.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The socket.
    pub socket: UnixSocket,
    /// The files, in the order of the queue.
    pub rows: Vec<Row>,
    /// Places of the holdings of connections that wait to be accepted here.
    pub connections: Vec<usize>,
    /// Where this socket itself is: the holdings in whose queue it waits, as a file or as a
    /// connection.
    pub carriers: Vec<usize>,
    /// Whether it waits in its listener's queue to be accepted.
    pub unaccepted: bool,
    /// How often this socket is itself in a queue.
    pub times_queued: u64,
    /// Nothing but queues of sockets like itself holds it, so nobody can receive what is in it. When
    /// the kernel's garbage collector takes it is another question: it may have passed it over.
    pub garbage: bool,
}

/// A file in flight.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was read.
    pub queued: QueuedFile,
    /// Place of the holding of the socket that the file is, if that has any.
    pub carries: Option<usize>,
}

/// What makes a row of two passes the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    sock: u64,
    socket_ino: Option<u64>,
    skb: u64,
    list: u64,
    index: u32,
    file: u64,
    ino: u64,
    dev: u32,
}

impl Key {
    pub(super) fn of(socket: &UnixSocket, queued: &QueuedFile) -> Self {
        Self {
            sock: socket.sock,
            socket_ino: socket.ino,
            skb: queued.skb,
            list: queued.list,
            index: queued.index,
            file: queued.file.ptr,
            ino: queued.file.ino,
            dev: queued.file.dev,
        }
    }
}

impl Census {
    /// Takes from `second` what `first` confirms.
    #[must_use]
    pub fn of(first: &Pass, second: Pass) -> Self {
        let mut before: HashMap<Key, &QueuedFile> = HashMap::new();
        for queue in &first.queues {
            for file in &queue.files {
                before.insert(Key::of(&queue.socket, file), file);
            }
        }
        let mut differences = Differences::default();
        let mut holdings = Vec::new();
        let mut waiting = Vec::new();
        for queue in second.queues {
            let mut rows = Vec::new();
            for mut queued in queue.files {
                let Some(earlier) = before.remove(&Key::of(&queue.socket, &queued)) else {
                    differences.came += 1;
                    continue;
                };
                if earlier.path != queued.path || queued.path.is_none() {
                    differences.moved += 1;
                    queued.path = None;
                }
                // Compared as addresses: the bytes that they are read from have more than those.
                let addresses = |file: &QueuedFile| file.socket.as_ref().map(socket);
                if addresses(earlier) != addresses(&queued) {
                    queued.socket = None;
                }
                rows.push(Row {
                    queued,
                    carries: None,
                });
            }
            if rows.is_empty() && queue.connections.is_empty() {
                continue;
            }
            waiting.push(queue.connections);
            holdings.push(Holding {
                socket: queue.socket,
                rows,
                connections: Vec::new(),
                carriers: Vec::new(),
                unaccepted: false,
                times_queued: 0,
                garbage: false,
            });
        }
        differences.went = before.len() as u64;
        let still = differences.came == 0 && differences.went == 0;
        let places = holdings
            .iter()
            .enumerate()
            .map(|(place, holding)| (holding.socket.sock, place))
            .collect();
        let names = second
            .holders
            .values()
            .flatten()
            .map(|holder| (holder.pid, holder.comm.clone()))
            .collect();
        let mut census = Self {
            holdings,
            differences,
            gaps: second.gaps,
            counted_by_user: second.counted_by_user.filter(|_| still),
            holders: second.holders,
            names,
            places,
        };
        census.connect(waiting);
        census.mark_garbage();
        census
    }

    /// Finds out which socket waits in whose queue.
    fn connect(&mut self, waiting: Vec<Vec<u64>>) {
        for place in 0..self.holdings.len() {
            for row in 0..self.holdings[place].rows.len() {
                let sock = self.holdings[place].rows[row].queued.sock;
                let Some(&inner) = self.places.get(&sock).filter(|_| sock != 0) else {
                    continue;
                };
                self.holdings[place].rows[row].carries = Some(inner);
                self.holdings[inner].carriers.push(place);
                self.holdings[inner].times_queued += 1;
            }
        }
        for (place, connections) in waiting.into_iter().enumerate() {
            for sock in connections {
                // A connection with nothing in its queue is of no interest.
                let Some(&inner) = self.places.get(&sock) else {
                    continue;
                };
                self.holdings[place].connections.push(inner);
                self.holdings[inner].carriers.push(place);
                self.holdings[inner].unaccepted = true;
            }
        }
    }

    /// Marks what cannot be reached from a socket that something else than a queue refers to, as
    /// the kernel's own collector would.
    fn mark_garbage(&mut self) {
        let mut reached: HashSet<usize> = HashSet::new();
        let mut next: Vec<usize> = (0..self.holdings.len())
            .filter(|place| self.is_held(*place))
            .collect();
        while let Some(place) = next.pop() {
            if !reached.insert(place) {
                continue;
            }
            let holding = &self.holdings[place];
            next.extend(holding.rows.iter().filter_map(|row| row.carries));
            next.extend(&holding.connections);
        }
        for (place, holding) in self.holdings.iter_mut().enumerate() {
            holding.garbage = !reached.contains(&place);
        }
    }

    /// Whether anything but queues refers to the socket: a table, a call in progress, the kernel.
    fn is_held(&self, place: usize) -> bool {
        let holding = &self.holdings[place];
        if !self.holders_of(holding.socket.sock).is_empty() {
            return true;
        }
        match holding.socket.ino {
            Some(_) => u64::try_from(holding.socket.file_refs)
                .is_ok_and(|refs| refs > holding.times_queued),
            // Without a file it is its listener's, or else its peer has just seen it close.
            None => holding.carriers.is_empty(),
        }
    }

    /// Files in flight.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.rows().count() as u64
    }

    /// How many files the kernel counts in the queues of these sockets.
    #[must_use]
    pub fn counted_by_socket(&self) -> u64 {
        self.holdings
            .iter()
            .map(|holding| u64::from(holding.socket.scm_fds))
            .sum()
    }

    /// Whether this is all: every queue was read, nothing came meanwhile, and the kernel knows of no
    /// more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let files = self.files();
        !self.gaps.any()
            && self.differences.came == 0
            && self.counted_by_socket() <= files
            && self.counted_by_user.is_none_or(|counted| counted <= files)
    }

    /// The processes that have this socket in their tables.
    #[must_use]
    pub fn holders_of(&self, sock: u64) -> &[Holder] {
        self.holders.get(&sock).map_or(&[], Vec::as_slice)
    }

    /// A process's name, if it holds any Unix socket.
    #[must_use]
    pub fn name_of(&self, pid: u32) -> Option<&str> {
        self.names.get(&pid).map(String::as_str)
    }

    /// The processes that can get at the queue of the holding at `place` by receiving, or
    /// accepting, one or more sockets first; not those that hold it already.
    #[must_use]
    pub fn heirs_of(&self, place: usize) -> Vec<&Holder> {
        let mut seen = HashSet::from([place]);
        let mut next = self.holdings[place].carriers.clone();
        let mut heirs: Vec<&Holder> = Vec::new();
        while let Some(carrier) = next.pop() {
            if !seen.insert(carrier) {
                continue;
            }
            heirs.extend(self.holders_of(self.holdings[carrier].socket.sock));
            next.extend(&self.holdings[carrier].carriers);
        }
        let direct = self.holders_of(self.holdings[place].socket.sock);
        heirs.retain(|heir| !direct.iter().any(|holder| holder.pid == heir.pid));
        heirs.sort_by_key(|heir| heir.pid);
        heirs.dedup_by_key(|heir| heir.pid);
        heirs
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = (&Holding, &Row)> {
        self.holdings
            .iter()
            .flat_map(|holding| holding.rows.iter().map(move |row| (holding, row)))
    }
}
