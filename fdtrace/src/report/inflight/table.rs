//! Files in flight as a table of a few rows.

use super::{
    Round,
    text::{connection, title},
};
use crate::{
    inflight::{Census, Part, Row, description},
    model::Fate,
    report::{
        groups::{GroupBy, Grouping, Groups},
        sanitize,
    },
};

/// Files that match, as a table.
pub(super) fn table(round: &Round<'_>, grouping: Grouping) -> Groups {
    let census = round.census;
    let mut groups = Groups::new(grouping);
    for line in &round.selection.lines {
        let (Part::Row(number) | Part::Carrier(number)) = line.part else {
            continue;
        };
        let holding = &census.holdings[line.place];
        let row = &holding.rows[number];
        let sender = sender_comm(census, row).map_or("?".to_owned(), sanitize);
        let holder = census.holders_of(holding.socket.sock).first();
        let name = match grouping.by {
            GroupBy::Pair => {
                let holder = holder.map_or("nobody".to_owned(), |holder| sanitize(&holder.comm));
                format!("{sender} → {holder}")
            }
            GroupBy::Program => sender,
            GroupBy::Socket => format!("{}{}", title(holding), connection(holding)),
            GroupBy::File => match description(&row.queued) {
                Some(description) => sanitize(&description),
                None => "its path changed while it was read".to_owned(),
            },
            // What is in flight has not ended.
            GroupBy::Cause => Fate::Queued.to_string(),
        };
        let age = round.sightings.age(holding, row).map(|age| age.ns);
        groups.add(name, false, age);
    }
    groups
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
