//! Text for people: the sockets, a line a file in each, and sockets within sockets further in.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

use super::{
    InFlightReport, Round,
    table::{TotalBy, table},
};
use crate::{
    inflight::{Age, Census, Holding, Line, Part, Row, description},
    model::{Holder, SocketType},
    report::{
        fit::{Fit, HANG},
        phrase::{count, duration},
        sanitize,
    },
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Spaces for each level.
const INDENT: usize = 2;

/// Deeper levels are shown as this one.
const DEEPEST: usize = 24;

/// Writes styled text; the writer strips the styles where there is no terminal.
pub struct InFlightText<W: io::Write> {
    out: Fit<W>,
    /// Whether each round starts on a clear screen.
    redraw: bool,
    /// A table ahead of the files, and whether they follow it.
    group: Option<(TotalBy, bool)>,
}

impl<W: io::Write> InFlightText<W> {
    /// Writes to `out`; with `redraw`, which is for terminals, each round in place of the last.
    pub fn new(out: W, redraw: bool) -> Self {
        Self {
            out: Fit::new(out, None),
            redraw,
            group: None,
        }
    }

    /// Writes a table first, and the files only if `each` is asked for.
    #[must_use]
    pub fn group(self, by: Option<TotalBy>, each: bool) -> Self {
        Self {
            group: by.map(|by| (by, each)),
            ..self
        }
    }

    /// The same on a terminal of so many columns, if it is one.
    #[must_use]
    pub fn fit(self, width: Option<usize>) -> Self {
        Self {
            out: Fit::new(self.out.into_inner(), width),
            ..self
        }
    }

    fn socket(&mut self, census: &Census, line: &Line, again: bool) -> io::Result<()> {
        let holding = &census.holdings[line.place];
        let indent = indent(line.depth);
        let style = if holding.garbage { YELLOW } else { BOLD };
        let note = if again { ", shown above" } else { "" };
        writeln!(
            self.out,
            "{:indent$}{style}{}{style:#}{}{note}",
            "",
            title(holding),
            connection(holding),
        )?;
        if again {
            return Ok(());
        }
        let indent = indent + INDENT;
        writeln!(
            self.out,
            "{:indent$}{DIM}{}{DIM:#}",
            "",
            who_can_receive(census, line.place)
        )?;
        let (read, counted) = (holding.rows.len() as u64, holding.socket.scm_fds);
        if read != u64::from(counted) {
            writeln!(
                self.out,
                "{:indent$}{YELLOW}the kernel counts {} here, {read} could be read{YELLOW:#}",
                "",
                count(u64::from(counted), "file"),
            )?;
        }
        Ok(())
    }

    fn row(&mut self, census: &Census, line: &Line, row: &Row, age: Option<Age>) -> io::Result<()> {
        let holding = &census.holdings[line.place];
        let queued = &row.queued;
        let indent = indent(line.depth);
        let place = format!("{}.{}", queued.message, queued.index);
        let description = match description(queued) {
            Some(description) => sanitize(&description),
            None => "its path changed while it was read".to_owned(),
        };
        let age = match age {
            Some(Age { ns, at_least: true }) => format!(", for at least {}", duration(ns)),
            Some(Age { ns, .. }) => format!(", for {}", duration(ns)),
            None => String::new(),
        };
        writeln!(
            self.out,
            "{:indent$}{place:<5} +{:<6} {:<10} {HANG}{description}  {DIM}dev {} ino {} {} refs {}  {}{age}{DIM:#}",
            "",
            format!("{} B", queued.bytes_before),
            queued.file.kind(),
            queued.file.device(),
            queued.file.ino,
            open_flags(queued.file.flags),
            queued.refs,
            sent_by(census, holding, row),
        )
    }

    fn end(&mut self, round: &Round<'_>) -> io::Result<()> {
        let census = round.census;
        let (all, matched) = (census.files(), round.selection.matched);
        if !round.selection.lines.is_empty() {
            writeln!(self.out)?;
        }
        let (at_least, there) = match census.is_complete() {
            true => ("", ""),
            false => ("at least ", " where fdtrace could look"),
        };
        let all_files = count(all, "file");
        let found = match (matched, round.unfiltered) {
            (0, true) => format!("nothing is in flight{there}"),
            (0, false) => {
                format!("nothing that matches is in flight{there}, of {at_least}{all_files} in all")
            }
            (_, true) => format!(
                "{at_least}{} in flight in {}",
                count(matched, "file"),
                count(round.selection.sockets, "socket")
            ),
            (_, false) => format!(
                "{at_least}{} in {} match, of {at_least}{all_files} in flight",
                count(matched, "file"),
                count(round.selection.sockets, "socket")
            ),
        };
        let counted = census.counted_by_socket();
        if counted == all {
            let agrees = match (census.is_complete(), census.counted_by_user) {
                (true, Some(by_user)) if by_user == all => "the kernel's own count agrees",
                (true, _) => "the kernel's own count of these sockets agrees",
                (false, _) => "the kernel counts as many in these sockets",
            };
            writeln!(self.out, "{found}; {agrees}")?;
        } else {
            writeln!(
                self.out,
                "{found}; {YELLOW}the kernel itself counts {counted} in these sockets, and {all} could be read{YELLOW:#}"
            )?;
        }
        if let Some(by_user) = census.counted_by_user.filter(|by_user| *by_user != all) {
            writeln!(
                self.out,
                "{YELLOW}files that the kernel counts as in flight for its users, wherever they are: {by_user}{YELLOW:#}"
            )?;
        }
        let gaps = &census.gaps;
        let differences = &census.differences;
        for (lacking, what) in [
            (
                differences.came,
                "files that came while this was read, and are not listed",
            ),
            (
                differences.went,
                "files that went while this was read, and are not listed",
            ),
            (
                differences.moved,
                "files without a path here, because it changed while this was read",
            ),
            (
                gaps.restless,
                "sockets left out, because their queue changed each time it was read",
            ),
            (gaps.long_queues, "sockets with a longer queue than is read"),
            (
                gaps.too_many_files,
                "sockets left out, because there are too many files",
            ),
            (
                gaps.namespaces,
                "network namespaces of which not all sockets are known, because they changed each time",
            ),
        ] {
            if lacking > 0 {
                writeln!(self.out, "{YELLOW}{what}: {lacking}{YELLOW:#}")?;
            }
        }
        if gaps.unlisted {
            writeln!(
                self.out,
                "{YELLOW}the kernel does not show where its sockets are: those that no process holds are seen only in the queues of others{YELLOW:#}"
            )?;
        }
        Ok(())
    }
}

impl<W: io::Write> InFlightReport for InFlightText<W> {
    fn round(&mut self, round: &Round<'_>) -> io::Result<()> {
        if self.redraw {
            // To the upper left corner, and nothing left of what was there.
            write!(self.out, "\x1b[H\x1b[2J")?;
        }
        let census = round.census;
        let each = self.group.is_none_or(|(_, each)| each);
        if let Some((by, _)) = self.group {
            table(round, by).write(&mut self.out)?;
        }
        let lines = round.selection.lines.iter().filter(|_| each);
        for line in lines {
            let holding = &census.holdings[line.place];
            match line.part {
                Part::Socket => self.socket(census, line, false)?,
                Part::SocketAgain => self.socket(census, line, true)?,
                Part::Row(number) | Part::Carrier(number) => {
                    let row = &holding.rows[number];
                    self.row(census, line, row, round.sightings.age(holding, row))?;
                }
            }
        }
        self.end(round)?;
        self.out.flush()
    }
}

fn indent(depth: usize) -> usize {
    depth.min(DEEPEST) * INDENT
}

/// `stream socket:[71]`.
pub(super) fn title(holding: &Holding) -> String {
    let kind = holding.socket.kind.map_or("unknown", SocketType::name);
    match holding.socket.ino {
        Some(ino) if holding.socket.listens => format!("listening {kind} socket:[{ino}]"),
        Some(ino) => format!("{kind} socket:[{ino}]"),
        None if holding.unaccepted => format!("{kind} connection that nobody has accepted"),
        None => format!("{kind} socket that is being closed"),
    }
}

/// ` at /run/x.sock`, ` to /run/x.sock`, ` to socket:[70]`.
pub(super) fn connection(holding: &Holding) -> String {
    let socket = &holding.socket;
    match (&socket.name, &socket.peer_name, socket.peer_ino) {
        (Some(name), _, Some(peer)) => format!(" at {}, peer socket:[{peer}]", sanitize(name)),
        (Some(name), _, None) => format!(" at {}", sanitize(name)),
        (None, Some(peer), _) => format!(", peer {}", sanitize(peer)),
        (None, None, Some(peer)) => format!(", peer socket:[{peer}]"),
        (None, None, None) => String::new(),
    }
}

fn who_can_receive(census: &Census, place: usize) -> String {
    let holding = &census.holdings[place];
    let holders = census.holders_of(holding.socket.sock);
    let heirs = census.heirs_of(place);
    let named: Vec<String> = holders
        .iter()
        .map(|holder| {
            let fds: Vec<String> = holder.fds.iter().map(u32::to_string).collect();
            format!("{} as {}", process(holder), fds.join(", "))
        })
        .collect();
    let mut text = match (named.is_empty(), holding.garbage) {
        (false, _) => format!("held by {}", named.join("; ")),
        (true, true) => {
            return "garbage: only queues of sockets like it hold it, so nobody can receive it; \
                    whether the kernel collects it is not known"
                .to_owned();
        }
        (true, false) => "in no process's table".to_owned(),
    };
    if !heirs.is_empty() {
        let heirs: Vec<String> = heirs.into_iter().map(process).collect();
        let how = if holding.unaccepted {
            "accept"
        } else {
            "receive"
        };
        text += &format!("; {} can still {how} it", heirs.join(", "));
    }
    text
}

pub(super) fn process(holder: &Holder) -> String {
    format!("{}[{}]", sanitize(&holder.comm), holder.pid)
}

/// Who sent it, by the best evidence there is.
fn sent_by(census: &Census, holding: &Holding, row: &Row) -> String {
    let queued = &row.queued;
    if let Some(sender) = queued.sender {
        let name = census.name_of(sender.pid).filter(|_| sender.alive);
        let gone = if sender.alive { "" } else { ", which is gone" };
        let name = sanitize(name.unwrap_or_default());
        return format!("from {name}[{}] uid {}{gone}", sender.pid, sender.uid);
    }
    let holders = census.holders_of(queued.sender_sock);
    if let Some(ino) = queued.sender_ino {
        return if holders.is_empty() {
            format!("from socket:[{ino}], which no process holds")
        } else {
            let holders: Vec<String> = holders.iter().map(process).collect();
            format!("from socket:[{ino}] of {}", holders.join(", "))
        };
    }
    match holding.socket.peer_creds {
        Some(peer) if holding.socket.peer == queued.sender_sock || holding.socket.peer == 0 => {
            let gone = if peer.alive { "" } else { ", which is gone" };
            format!(
                "from a closed socket, connected by [{}] uid {}{gone}",
                peer.pid, peer.uid
            )
        }
        _ => "from a closed socket".to_owned(),
    }
}

/// `O_RDWR|O_APPEND`.
fn open_flags(flags: u32) -> String {
    let flags = flags.cast_signed();
    let mut names = vec![match flags & libc::O_ACCMODE {
        libc::O_RDONLY => "O_RDONLY",
        libc::O_WRONLY => "O_WRONLY",
        libc::O_RDWR => "O_RDWR",
        _ => "O_ACCMODE",
    }];
    if flags & libc::O_PATH != 0 {
        names = vec!["O_PATH"];
    }
    for (flag, name) in [
        (libc::O_APPEND, "O_APPEND"),
        (libc::O_NONBLOCK, "O_NONBLOCK"),
        (libc::O_DIRECT, "O_DIRECT"),
        (libc::O_DIRECTORY, "O_DIRECTORY"),
        (libc::O_SYNC, "O_SYNC"),
    ] {
        if flags & flag == flag {
            names.push(name);
        }
    }
    names.join("|")
}
