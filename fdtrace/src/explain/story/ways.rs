//! Ways: how one file goes on from process to process, by several messages.

use super::{
    Station, Way,
    messages::Message,
    names::{Names, UNNAMED},
};
use crate::model::{Fate, Hop};

/// Ways that are told.
const WAYS_MAX: usize = 8;

/// The ways of files that a receiver handed on, in the order in which they began.
pub(super) fn ways(messages: &[Message<'_>], names: &Names) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for message in messages {
        for transfer in &message.transfers {
            let file = names.of(transfer);
            let (Some(sender), Some(receiver)) = (&transfer.sender, transfer.receiver()) else {
                continue;
            };
            // A peek's message is received again.
            if transfer.fate() != Fate::Delivered || file == UNNAMED {
                continue;
            }
            let last = Station {
                pid: receiver.pid,
                comm: receiver.comm.to_string(),
                message: Some(message.number),
                received_fd: receiver.fd,
                sent_fd: None,
            };
            let here = |station: &Station| {
                station.pid == sender.pid
                    && (messages.iter())
                        .filter(|earlier| station.message == Some(earlier.number))
                        .any(|earlier| was_received(earlier, message.first_seen()))
            };
            let so_far = ways.iter().rev().filter(|way| way.file == file);
            let mut led_here = so_far.filter_map(|way| {
                let at = way.stations.iter().rposition(here)?;
                Some(way.stations[..=at].to_vec())
            });
            let mut stations = led_here.next().unwrap_or_else(|| {
                vec![Station {
                    pid: sender.pid,
                    comm: sender.comm.to_string(),
                    message: None,
                    received_fd: None,
                    sent_fd: None,
                }]
            });
            if let Some(sending) = stations.last_mut() {
                sending.sent_fd = sender.fd;
            }
            // What goes on from there is one way with what led there.
            let goes_on =
                |way: &Way| {
                    way.file == file
                        && way.stations.len() == stations.len()
                        && way.stations.iter().zip(&stations).all(|(one, other)| {
                            (one.pid, one.message) == (other.pid, other.message)
                        })
                };
            ways.retain(|way| !goes_on(way));
            stations.push(last);
            ways.push(Way { file, stations });
        }
    }
    ways.retain(|way| way.stations.len() > 2);
    ways.truncate(WAYS_MAX);
    ways
}

/// Whether a message was received by then, and not peeked at.
fn was_received(message: &Message<'_>, t_ns: u64) -> bool {
    let install = message.at(Hop::Install);
    install.is_some_and(|seen| seen.t_ns < t_ns) && !message.any(Fate::Peeked)
}
