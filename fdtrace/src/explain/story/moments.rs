//! Moments: the state at each checkpoint.

use super::{FILES_SHOWN, Message, Moment, Place, Queue, Row, Table, UNNAMED, Whereabouts, Writer};
use crate::{
    explain::recorder::Checkpoint,
    model::{Digits, Fate, Hop},
    verify::fact::Fact,
};

impl Writer<'_> {
    pub(super) fn moment(&self, checkpoint: &Checkpoint, messages: &[Message<'_>]) -> Moment {
        let sockets: Vec<u64> = messages
            .iter()
            .flat_map(|message| {
                let socket = &message.transfers[0].socket;
                [socket.sender_ino, socket.receiver_ino]
            })
            .flatten()
            .collect();
        let mut tables = Vec::new();
        for process in &checkpoint.processes {
            // Not every kernel shows the inode of a sender's socket, but its number for it; and some
            // show neither, so that it may be any.
            let may_send_on = |fd: i32| {
                messages
                    .iter()
                    .map(|message| message.transfers[0])
                    .any(|transfer| {
                        let sender = transfer.sender.as_ref();
                        sender.is_some_and(|sender| {
                            sender.pid == process.pid
                                && match sender.socket_fd {
                                    Some(socket) => socket == fd,
                                    None => transfer.socket.sender_ino.is_none(),
                                }
                        })
                    })
            };
            let rows: Vec<Row> = process
                .descriptors
                .iter()
                .map(|row| Row {
                    fd: row.fd,
                    file: self.names.behind(row, checkpoint.t_ns),
                    link: row.link.clone(),
                })
                .filter(|row| {
                    let ino = socket_ino(&row.link);
                    row.file.is_some()
                        || is_mistakable(checkpoint, process.pid, row.fd)
                        // Nothing was sent yet: any of them may be the one.
                        || ino.is_some() && sockets.is_empty()
                        || ino.is_some_and(|ino| sockets.contains(&ino))
                        || ino.is_some() && may_send_on(row.fd)
                })
                .collect();
            tables.push(Table {
                pid: process.pid,
                comm: process.comm.clone(),
                others: process.descriptors.len() - rows.len(),
                rows,
            });
        }
        Moment {
            part: "moment",
            t_ns: Digits(checkpoint.t_ns),
            title: title(checkpoint),
            tables,
            queues: self.queues(checkpoint, messages),
            whereabouts: self.whereabouts(checkpoint, messages),
        }
    }

    /// Every receiving socket that is not known to be empty.
    fn queues(&self, checkpoint: &Checkpoint, messages: &[Message<'_>]) -> Vec<Queue> {
        let mut queues: Vec<Queue> = Vec::new();
        for message in messages {
            let Some(ino) = message.transfers[0].socket.receiver_ino else {
                continue;
            };
            let files: Vec<String> = if is_in_flight(message, checkpoint.t_ns) {
                let names = message.transfers.iter();
                names.map(|transfer| self.names.of(transfer)).collect()
            } else {
                Vec::new()
            };
            if let Some(queue) = queues.iter_mut().find(|queue| queue.socket_ino == ino) {
                queue.files.extend(files);
                continue;
            }
            let holder = checkpoint.processes.iter().find_map(|process| {
                let row = process
                    .descriptors
                    .iter()
                    .find(|row| socket_ino(&row.link) == Some(ino))?;
                Some((process.pid, row))
            });
            queues.push(Queue {
                socket_ino: ino,
                held_by: holder.map(|(pid, row)| Place { pid, fd: row.fd }),
                files,
                scm_fds: holder.and_then(|(_, row)| row.queued),
            });
        }
        queues
    }

    fn whereabouts(&self, checkpoint: &Checkpoint, messages: &[Message<'_>]) -> Vec<Whereabouts> {
        let shown = messages
            .iter()
            .flat_map(|message| message.transfers.iter().take(FILES_SHOWN))
            .map(|transfer| self.names.of(transfer))
            .filter(|name| name != UNNAMED);
        let mut files: Vec<String> = Vec::new();
        for name in shown {
            if !files.contains(&name) {
                files.push(name);
            }
        }
        if messages.is_empty() {
            // In a story that goes step by step, what is about to be sent is in a table already.
            let rows = checkpoint
                .processes
                .iter()
                .flat_map(|process| &process.descriptors);
            files.extend(rows.filter_map(|row| self.names.behind(row, checkpoint.t_ns)));
            files.sort();
            files.dedup();
            files.truncate(FILES_SHOWN);
        }
        files
            .into_iter()
            .map(|file| {
                let rows: Vec<_> = checkpoint
                    .processes
                    .iter()
                    .flat_map(|process| process.descriptors.iter().map(|row| (process.pid, row)))
                    .filter(|(_, row)| {
                        self.names.behind(row, checkpoint.t_ns).as_ref() == Some(&file)
                    })
                    .collect();
                Whereabouts {
                    file,
                    refs: rows.first().map(|(_, row)| row.refs),
                    descriptors: rows
                        .iter()
                        .map(|(pid, row)| Place {
                            pid: *pid,
                            fd: row.fd,
                        })
                        .collect(),
                }
            })
            .collect()
    }
}

/// Whether a message was under way: sent before, and not yet taken by anybody.
fn is_in_flight(message: &Message<'_>, t_ns: u64) -> bool {
    let sent = message.transfers[0]
        .sender
        .as_ref()
        .map(|sender| sender.t_ns);
    let left = [Hop::Dequeue, Hop::Install, Hop::End]
        .into_iter()
        .filter_map(|hop| message.at(hop))
        .map(|seen| seen.t_ns)
        .min();
    message.was_queued()
        && !message.any(Fate::Peeked)
        && sent.is_some_and(|sent| sent < t_ns)
        && left.is_none_or(|left| left > t_ns)
}

fn socket_ino(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Whether this descriptor is the one that an actor is held for, because somebody might take it for
/// a passed one.
fn is_mistakable(checkpoint: &Checkpoint, pid: u32, number: i32) -> bool {
    matches!(&checkpoint.fact, Fact::Mistakable { actor, fd, .. } if (actor.pid, *fd) == (pid, number))
}

/// Why the actor is held.
fn title(checkpoint: &Checkpoint) -> String {
    let who = |pid: u32| {
        let process = checkpoint
            .processes
            .iter()
            .find(|process| process.pid == pid);
        process.map_or_else(
            || pid.to_string(),
            |process| format!("{} {pid}", process.comm),
        )
    };
    match &checkpoint.fact {
        Fact::Sending { actor, .. } => format!("{} is held right before it sends", who(actor.pid)),
        Fact::InFlight { expected: 0, .. } => "nothing is in flight".to_owned(),
        Fact::InFlight { .. } => "in flight: sent, and not yet received".to_owned(),
        Fact::Received { actor, .. } => {
            format!("{} is held right after it received", who(actor.pid))
        }
        Fact::Mistakable { actor, fd, .. } => {
            format!(
                "{} is held with its {fd}, which only looks like what was passed",
                who(actor.pid)
            )
        }
        _ => "an actor is held".to_owned(),
    }
}
