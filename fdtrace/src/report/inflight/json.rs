//! JSON Lines: a line a file, and one for the whole.

use std::{borrow::Cow, collections::HashMap, io};

use super::{InFlightReport, Round};
use crate::{
    inflight::{Census, Holding, Part, Row, description},
    model::{DescriptionMissing, Digits, Holder, Identity, Pointers},
    report::{
        harmless::write_line,
        json::{file, span},
        schema,
    },
};

/// Writes a line for each file.
pub struct InFlightJson<W> {
    out: W,
    pointers: Pointers,
    /// The line under way.
    line: Vec<u8>,
}

impl<W: io::Write> InFlightJson<W> {
    /// Writes to `out`.
    pub fn new(out: W, pointers: Pointers) -> Self {
        Self {
            out,
            pointers,
            line: Vec::new(),
        }
    }

    fn line(&mut self, line: &schema::Line<'_>) -> io::Result<()> {
        write_line(&mut self.out, &mut self.line, line)
    }
}

impl<W: io::Write> InFlightReport for InFlightJson<W> {
    fn round(&mut self, round: &Round<'_>) -> io::Result<()> {
        let census = round.census;
        // All rows of a socket have the same receivers.
        let mut receivers: HashMap<usize, Vec<&Holder>> = HashMap::new();
        for line in &round.selection.lines {
            let Part::Row(number) = line.part else {
                continue;
            };
            let holding = &census.holdings[line.place];
            let heirs = receivers
                .entry(line.place)
                .or_insert_with(|| census.heirs_of(line.place));
            let age = round.sightings.age(holding, &holding.rows[number]);
            let mut row = in_flight(
                census,
                holding,
                &holding.rows[number],
                heirs,
                &mut self.pointers,
            );
            row.age_ns = age.map(|age| span(age.ns));
            row.age_from = age.map(|age| if age.at_least { "watched" } else { "timestamp" }.into());
            self.line(&schema::Line::InFlight(row))?;
        }
        self.line(&schema::Line::InFlightSummary(schema::InFlightSummary {
            schema_version: schema::SCHEMA_VERSION,
            wall_ns: Digits(round.wall_ns),
            matched: round.selection.matched,
            sockets: round.selection.sockets,
            files: census.files(),
            complete: census.is_complete(),
            scm_fds: census.counted_by_socket(),
            counted_by_user: census.counted_by_user,
            came: census.differences.came,
            went: census.differences.went,
            moved: census.differences.moved,
            gaps: schema::InFlightGaps {
                restless: census.gaps.restless,
                long_queues: census.gaps.long_queues,
                too_many_files: census.gaps.too_many_files,
                namespaces: census.gaps.namespaces,
                no_iterator: census.gaps.unlisted,
            },
            exit_code: round.exit_code,
        }))?;
        self.out.flush()
    }
}

fn in_flight<'a>(
    census: &Census,
    holding: &Holding,
    row: &'a Row,
    heirs: &[&Holder],
    pointers: &mut Pointers,
) -> schema::InFlight<'a> {
    let queued = &row.queued;
    let socket = &holding.socket;
    let identity = |identity: Identity| schema::InFlightIdentity {
        pid: identity.pid,
        comm: census
            .name_of(identity.pid)
            .filter(|_| identity.alive)
            .map(str::to_owned),
        alive: identity.alive,
        uid: identity.uid,
        gid: identity.gid,
    };
    let path = queued.path.as_ref();
    let description = description(queued);
    schema::InFlight {
        file: schema::File {
            path: path
                .filter(|path| !path.rootless)
                .map(|path| path.text.as_str()),
            description_missing: description.is_none().then_some(DescriptionMissing::Changed),
            description: description.map(Cow::from),
            deleted: path.map(|path| path.unlinked),
            ..file(&queued.file, pointers)
        },
        links: queued.links,
        refs: queued.refs,
        mount_id: path.map(|path| path.mount_id),
        socket: schema::InFlightSocket {
            kind: socket.kind,
            ino: socket.ino,
            path: socket.name.clone(),
            peer_ino: socket.peer_ino,
            peer_path: socket.peer_name.clone(),
            peer: socket.peer_creds.map(identity),
            unaccepted: holding.unaccepted,
            inside: holding
                .carriers
                .iter()
                .filter_map(|place| census.holdings[*place].socket.ino)
                .collect(),
            scm_fds: socket.scm_fds,
        },
        receivers: census
            .holders_of(socket.sock)
            .iter()
            .map(receiver)
            .chain(heirs.iter().map(|heir| schema::InFlightReceiver {
                fds: Vec::new(),
                ..receiver(heir)
            }))
            .collect(),
        sender: queued.sender.map(identity),
        sender_socket: schema::InFlightSenderSocket {
            ino: queued.sender_ino,
            holders: census
                .holders_of(queued.sender_sock)
                .iter()
                .map(receiver)
                .collect(),
        },
        position: queued.message,
        bytes_before: queued.bytes_before,
        index: queued.index,
        count: queued.count,
        age_ns: None,
        age_from: None,
        garbage: holding.garbage,
    }
}

fn receiver(holder: &Holder) -> schema::InFlightReceiver {
    schema::InFlightReceiver {
        pid: holder.pid,
        comm: holder.comm.clone(),
        fds: holder.fds.clone(),
    }
}
