//! Selection: the part of a census that was asked for, in the order to show it.

use std::collections::HashSet;

use super::{Age, Census, Holding, Row, Sightings};

/// What was asked for. A row must be all of it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Sent by one of these processes, or to be received by it; by any if empty.
    pub pids: Vec<u32>,
    /// This file, or one of this mount or folder.
    pub path: Option<PathFilter>,
    /// One of these kinds, or of these descriptions (`eventfd`, `memfd`); any if empty.
    pub kinds: Vec<String>,
    /// In this socket's queue.
    pub socket: Option<SocketFilter>,
    /// Without a name.
    pub deleted: bool,
}

/// A place in the file system, as the kernel itself identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFilter {
    /// Address of its inode.
    pub inode: u64,
    /// The mount of which it is the root: then whatever was opened through that mount is meant.
    pub mount_id: Option<u32>,
    /// The path of the folder that it is, if it is one: then whatever is below is meant.
    pub below: Option<String>,
}

/// A socket, as users name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketFilter {
    /// By its inode number, or its peer's.
    Ino(u64),
    /// By the name that it or its peer is bound to: a path, or `@` and an abstract name.
    Name(String),
}

/// The order of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those with most files first.
    Count,
    /// Those with the oldest message first, as far as that is known.
    Age,
    /// By inode number.
    Socket,
}

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// From the top.
    pub lines: Vec<Line>,
    /// Files among them that match.
    pub matched: u64,
    /// Sockets that these are in.
    pub sockets: u64,
}

/// One thing to show, and how deep inside others it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// 0 for a socket that is in nothing else, or that is shown as if it were.
    pub depth: usize,
    /// Place of the holding.
    pub place: usize,
    /// Which part of it.
    pub part: Part,
}

/// Part of a holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The socket itself; its rows follow.
    Socket,
    /// The socket, which was shown above with all its rows.
    SocketAgain,
    /// The row of this number, which matches.
    Row(usize),
    /// The row of this number, which does not match, but carries a socket that holds some that do.
    Carrier(usize),
}

impl PathFilter {
    fn matches(&self, row: &Row) -> bool {
        if row.queued.inode == self.inode {
            return true;
        }
        let Some(path) = &row.queued.path else {
            return false;
        };
        if let Some(mount_id) = self.mount_id {
            return path.mount_id == mount_id;
        }
        self.below.as_ref().is_some_and(|folder| {
            !path.rootless
                && path
                    .text
                    .strip_prefix(folder.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        })
    }
}

impl SocketFilter {
    fn matches(&self, holding: &Holding) -> bool {
        let socket = &holding.socket;
        match self {
            Self::Ino(ino) => [socket.ino, socket.peer_ino].contains(&Some(*ino)),
            Self::Name(name) => [&socket.name, &socket.peer_name]
                .into_iter()
                .flatten()
                .any(|bound| bound == name),
        }
    }
}

impl Wanted {
    fn matches(&self, census: &Census, place: usize, row: &Row) -> bool {
        let holding = &census.holdings[place];
        let queued = &row.queued;
        let kind = |wanted: &String| {
            queued.file.kind().name() == wanted
                || queued.path.as_ref().is_some_and(|path| {
                    path.rootless
                        && (path.text.trim_matches(['[', ']']) == wanted
                            || path.text.split(':').next() == Some(wanted))
                })
        };
        (!self.deleted || queued.is_deleted())
            && (self.kinds.is_empty() || self.kinds.iter().any(kind))
            && self
                .socket
                .as_ref()
                .is_none_or(|socket| socket.matches(holding))
            && self.path.as_ref().is_none_or(|path| path.matches(row))
            && (self.pids.is_empty()
                || self
                    .pids
                    .iter()
                    .any(|pid| concerns(*pid, census, place, row)))
    }
}

/// Whether a process sent the row's file or can get it.
fn concerns(pid: u32, census: &Census, place: usize, row: &Row) -> bool {
    let holds = |sock| {
        census
            .holders_of(sock)
            .iter()
            .any(|holder| holder.pid == pid)
    };
    row.queued.sender.is_some_and(|sender| sender.pid == pid)
        || holds(row.queued.sender_sock)
        || holds(census.holdings[place].socket.sock)
        || census.heirs_of(place).iter().any(|heir| heir.pid == pid)
}

/// Picks from `census` what is `wanted`, in this order. `sightings` knows how old what is.
#[must_use]
pub fn select(census: &Census, wanted: &Wanted, order: Order, sightings: &Sightings) -> Selection {
    let matching: Vec<Vec<bool>> = census
        .holdings
        .iter()
        .enumerate()
        .map(|(place, holding)| {
            let matches = |row| wanted.matches(census, place, row);
            holding.rows.iter().map(matches).collect()
        })
        .collect();
    let count = |place: usize| matching[place].iter().filter(|is| **is).count() as u64;
    let places = 0..census.holdings.len();

    // Those with a match, and all that these are in.
    let mut shown: HashSet<usize> = HashSet::new();
    let mut next: Vec<usize> = places.clone().filter(|place| count(*place) > 0).collect();
    let sockets = next.len() as u64;
    while let Some(place) = next.pop() {
        if shown.insert(place) {
            next.extend(&census.holdings[place].carriers);
        }
    }

    let age = |place: usize| -> Option<Age> {
        let rows = census.holdings[place].rows.iter().zip(&matching[place]);
        rows.filter(|(_, matches)| **matches)
            .filter_map(|(row, _)| sightings.age(&census.holdings[place], row))
            .max_by_key(|age| age.ns)
    };
    let mut tops: Vec<usize> = places.filter(|place| shown.contains(place)).collect();
    tops.sort_by_cached_key(|&place| {
        let within = within(census, place, &shown);
        let weight = match order {
            Order::Count => within.iter().map(|place| count(*place)).sum(),
            Order::Age => within
                .iter()
                .filter_map(|place| age(*place))
                .map(|age| age.ns)
                .max()
                .unwrap_or_default(),
            Order::Socket => 0,
        };
        (std::cmp::Reverse(weight), census.holdings[place].socket.ino)
    });
    // What is in nothing else first; then cycles, each from any of its sockets.
    let carried = |place: &usize| !census.holdings[*place].carriers.is_empty();
    let (inner, outer): (Vec<_>, Vec<_>) = tops.into_iter().partition(carried);

    let mut tree = Tree {
        census,
        matching: &matching,
        shown: &shown,
        done: HashSet::new(),
        lines: Vec::new(),
    };
    for place in outer.into_iter().chain(inner) {
        if !tree.done.contains(&place) {
            tree.grow(place);
        }
    }
    Selection {
        lines: tree.lines,
        matched: matching.iter().flatten().filter(|is| **is).count() as u64,
        sockets,
    }
}

/// The holdings in and below one, each once.
fn within(census: &Census, place: usize, shown: &HashSet<usize>) -> HashSet<usize> {
    let mut within = HashSet::new();
    let mut next = vec![place];
    while let Some(place) = next.pop() {
        if shown.contains(&place) && within.insert(place) {
            let holding = &census.holdings[place];
            next.extend(holding.rows.iter().filter_map(|row| row.carries));
            next.extend(&holding.connections);
        }
    }
    within
}

struct Tree<'a> {
    census: &'a Census,
    matching: &'a [Vec<bool>],
    shown: &'a HashSet<usize>,
    done: HashSet<usize>,
    lines: Vec<Line>,
}

impl Tree<'_> {
    /// Puts down the holding at `place` and what is in it. Nesting has no bound, so neither has
    /// this a stack of its own.
    fn grow(&mut self, place: usize) {
        let line = |depth, place, part| Line { depth, place, part };
        let mut next = vec![line(0, place, Part::Socket)];
        while let Some(Line { depth, place, part }) = next.pop() {
            if part != Part::Socket {
                self.lines.push(line(depth, place, part));
                continue;
            }
            if !self.done.insert(place) {
                self.lines.push(line(depth, place, Part::SocketAgain));
                continue;
            }
            self.lines.push(line(depth, place, Part::Socket));
            let holding = &self.census.holdings[place];
            let mut below = Vec::new();
            for (number, row) in holding.rows.iter().enumerate() {
                let carries = row.carries.filter(|inner| self.shown.contains(inner));
                if self.matching[place][number] {
                    below.push(line(depth + 1, place, Part::Row(number)));
                } else if carries.is_some() {
                    below.push(line(depth + 1, place, Part::Carrier(number)));
                }
                below.extend(carries.map(|inner| line(depth + 2, inner, Part::Socket)));
            }
            let connections = holding
                .connections
                .iter()
                .filter(|inner| self.shown.contains(inner));
            below.extend(connections.map(|inner| line(depth + 1, *inner, Part::Socket)));
            next.extend(below.into_iter().rev());
        }
    }
}
