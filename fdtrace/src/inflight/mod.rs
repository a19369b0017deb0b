//! Inflight: what sits in the receive queues of Unix sockets, and who can still get it.
//!
//! A [`Pass`](crate::model::Pass) is what one walk over all queues found. Queues change while they are
//! walked, so two passes make a [`Census`], which holds what both agree on and says how they differ; a
//! [`Selection`] is the part of it that was asked for. The walking itself is
//! [`Queues`](crate::tracer::Queues)' part, which needs privileges; nothing here does any I/O or
//! reads a clock.

mod census;
mod selection;
mod sightings;

pub use census::{Census, Differences, Holding, Row};
pub use selection::{Line, Order, Part, PathFilter, Selection, SocketFilter, Wanted, select};
pub use sightings::{Age, Sightings};

use crate::{
    model::{FileDescription, FileIdentity, QueuedFile, SocketDescription},
    wire,
};

/// What a file in a queue is: a socket's addresses if it has any, else what `/proc/PID/fd` would show;
/// `None` if that is not known.
#[must_use]
pub fn description(file: &QueuedFile) -> Option<String> {
    let socket = file.socket.map(|addresses| wire::socket(&addresses));
    if let Some(socket) = socket.filter(SocketDescription::is_addressed) {
        return Some(socket.to_string());
    }
    let FileIdentity { magic, ino, .. } = file.file;
    let known = match file.path.clone() {
        Some(path) => Some(FileDescription::of_path(path, magic, ino)),
        // What its inode says cannot have changed.
        None => FileDescription::of_identity(&file.file),
    };
    known.map(|known| known.to_string())
}
