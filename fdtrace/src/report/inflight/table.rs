//! Files in flight as a table of a few rows.

use super::{
    Round,
    text::{connection, process, title},
};
use crate::{
    inflight::{Census, Holding, Part, Row, description},
    model::{Fate, Holder, Identity},
    report::{
        groups::{GroupBy, Groups, Sort},
        sanitize,
    },
};

/// Processes of one row that are named.
const NAMED: usize = 3;

/// What makes one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalBy {
    /// What makes one of transfers too.
    Transfers(GroupBy),
    /// The processes that hold the socket in whose queue it is.
    Holder,
    /// The process that sent it, by the best evidence there is.
    Sender,
    /// The user that sent it.
    User,
}

/// Files that match, as a table.
pub(super) fn table(round: &Round<'_>, by: TotalBy) -> Groups {
    let census = round.census;
    let title = match by {
        TotalBy::Transfers(by) => by.title(),
        TotalBy::Holder => "holder of the socket",
        TotalBy::Sender => "sender",
        TotalBy::User => "sent by user",
    };
    let mut groups = Groups::new(title, Sort::Count);
    for line in &round.selection.lines {
        let (Part::Row(number) | Part::Carrier(number)) = line.part else {
            continue;
        };
        let holding = &census.holdings[line.place];
        let row = &holding.rows[number];
        let name = match by {
            TotalBy::Transfers(by) => name_of(by, census, holding, row),
            TotalBy::Holder => holder(census, line.place),
            TotalBy::Sender => sender(census, holding, row),
            TotalBy::User => user(holding, row),
        };
        let age = round.sightings.age(holding, row).map(|age| age.ns);
        groups.add(name, false, age);
    }
    groups
}

fn name_of(by: GroupBy, census: &Census, holding: &Holding, row: &Row) -> String {
    let sender = || sender_comm(census, row).map_or("?".to_owned(), sanitize);
    match by {
        GroupBy::Pair => {
            let holder = census.holders_of(holding.socket.sock).first();
            let holder = holder.map_or("nobody".to_owned(), |holder| sanitize(&holder.comm));
            format!("{} → {holder}", sender())
        }
        GroupBy::Program => sender(),
        GroupBy::Socket => format!("{}{}", title(holding), connection(holding)),
        GroupBy::File => match description(&row.queued) {
            Some(description) => sanitize(&description),
            None => "its path changed while it was read".to_owned(),
        },
        // What is in flight has not ended.
        GroupBy::Cause => Fate::Queued.to_string(),
    }
}

/// The name of the program that sent it, where it still is.
fn sender_comm<'a>(census: &'a Census, row: &Row) -> Option<&'a str> {
    match row.queued.sender {
        Some(sender) => census.name_of(sender.pid).filter(|_| sender.alive),
        None => {
            let holder = census.holders_of(row.queued.sender_sock).first()?;
            Some(&holder.comm)
        }
    }
}

/// Who holds the socket, or can get it out of another one's queue.
fn holder(census: &Census, place: usize) -> String {
    let holding = &census.holdings[place];
    let holders = census.holders_of(holding.socket.sock);
    if !holders.is_empty() {
        return processes(holders.iter());
    }
    let heirs = census.heirs_of(place);
    match (heirs.is_empty(), holding.garbage) {
        (false, _) => format!("none yet; {} can get at it", processes(heirs.into_iter())),
        (true, true) => "none: garbage".to_owned(),
        (true, false) => "in no process's table".to_owned(),
    }
}

/// Who sent it, by the best evidence there is.
fn sender(census: &Census, holding: &Holding, row: &Row) -> String {
    let queued = &row.queued;
    if let Some(sender) = queued.sender {
        let name = census.name_of(sender.pid).filter(|_| sender.alive);
        let gone = if sender.alive { "" } else { ", which is gone" };
        return format!(
            "{}[{}]{gone}",
            sanitize(name.unwrap_or_default()),
            sender.pid
        );
    }
    let holders = census.holders_of(queued.sender_sock);
    if !holders.is_empty() {
        return format!("{}, holding the sending socket", processes(holders.iter()));
    }
    match peer(holding, row) {
        Some(peer) => format!("[{}], the peer by SO_PEERCRED", peer.pid),
        None => "not known".to_owned(),
    }
}

/// Which user sent it: the message says so, or else whose the peer was as the connection was made.
fn user(holding: &Holding, row: &Row) -> String {
    if let Some(sender) = row.queued.sender {
        return format!("uid {}", sender.uid);
    }
    match peer(holding, row) {
        Some(peer) => format!("uid {}, the peer by SO_PEERCRED", peer.uid),
        None => "not known".to_owned(),
    }
}

/// Who made the connection, if it came over that which the socket has, or had.
fn peer(holding: &Holding, row: &Row) -> Option<Identity> {
    let socket = &holding.socket;
    let is_its = socket.peer == row.queued.sender_sock || socket.peer == 0;
    socket.peer_creds.filter(|_| is_its)
}

fn processes<'a>(holders: impl ExactSizeIterator<Item = &'a Holder>) -> String {
    let more = holders.len().saturating_sub(NAMED);
    let named: Vec<String> = holders.take(NAMED).map(process).collect();
    match more {
        0 => named.join(", "),
        more => format!("{}, +{more}", named.join(", ")),
    }
}
