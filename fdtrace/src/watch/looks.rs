//! Looks: through all queues, as a trace begins and as it ends.
//!
//! A message that nobody reads makes no events. The first look finds what was sent before there was
//! anybody to see it, the last one what is still there. Where there is a filter, neither has a
//! receiver to go by: what lies in a queue is wanted if a wanted process holds the socket that it
//! was sent to, or the one that it was sent from.

use std::collections::{HashMap, HashSet};

use super::{Pipeline, found::Found};
use crate::{
    kernel::clock::now_ns,
    model::{Gaps, Pass, Queue, QueuedFile},
    tracer::{ProbeError, Tracer, WantedProcesses},
};

/// What a look found, and what it could not read.
pub(super) type Look = Result<(Found, Gaps), ProbeError>;

/// As a trace begins, with everything attached.
///
/// # Errors
/// If the kernel refuses to be asked.
pub(super) fn first(tracer: &mut Tracer) -> Look {
    let (pass, t_ns) = pass(tracer)?;
    let Some(wanted) = tracer.wanted_processes()? else {
        return Ok((Found::of(&pass, t_ns, |_| false), pass.gaps));
    };
    let holders = Holders::new(&wanted, &pass);
    let lists: HashSet<(u64, u64)> = messages(&pass)
        .filter(|(queue, files)| holders.want(queue, &files[0]))
        .map(|(_, files)| (files[0].list, files[0].skb))
        .collect();
    for (list, _) in &lists {
        tracer.mark_list(*list, now_ns())?;
    }
    // An unwanted process may have read one of them before it was marked, and no event showed that.
    // What is there still will show.
    let (pass, t_ns) = match lists.is_empty() {
        true => (pass, t_ns),
        false => self::pass(tracer)?,
    };
    let is_marked = |file: &QueuedFile| lists.contains(&(file.list, file.skb));
    Ok((Found::of(&pass, t_ns, is_marked), pass.gaps))
}

/// As it ends, with every record taken in; `None` if there is nothing to look for.
///
/// # Errors
/// If the kernel refuses to be asked.
pub(super) fn last(tracer: &mut Tracer, pipeline: &Pipeline) -> Option<Look> {
    let wanted = tracer.wanted_processes().transpose();
    (wanted.is_some() || pipeline.asks_for_queues()).then(|| {
        let wanted = wanted.transpose()?;
        let (pass, t_ns) = pass(tracer)?;
        let holders = wanted.as_ref().map(|wanted| Holders::new(wanted, &pass));
        let mut found = Found::at(t_ns);
        for (queue, files) in messages(&pass) {
            let holders = holders.as_ref();
            let wanted = holders.is_some_and(|holders| holders.want(queue, &files[0]));
            if wanted {
                // From here on the kernel half reports it by itself.
                tracer.mark_list(files[0].list, t_ns)?;
                found.held(tracer.held_records(&files[0])?);
            }
            if wanted || pipeline.follows(files[0].list) {
                found.again(queue, files, wanted);
            }
        }
        found.end(pass.gaps.described().is_none());
        Ok((found, pass.gaps))
    })
}

/// While it goes on, for what has been in a queue for long.
///
/// # Errors
/// If the kernel refuses to be asked.
pub(super) fn overdue(tracer: &mut Tracer, pipeline: &Pipeline) -> Result<Found, ProbeError> {
    let (pass, t_ns) = pass(tracer)?;
    let mut found = Found::at(t_ns);
    for (queue, files) in messages(&pass) {
        if pipeline.follows(files[0].list) {
            found.still(queue, files);
        }
    }
    Ok(found)
}

/// What is in all queues, and when the look began.
fn pass(tracer: &mut Tracer) -> Result<(Pass, u64), ProbeError> {
    let t_ns = now_ns();
    Ok((tracer.queued()?, t_ns))
}

/// The messages of all queues, each with its files, of which there is at least one.
pub(super) fn messages(pass: &Pass) -> impl Iterator<Item = (&Queue, &[QueuedFile])> {
    pass.queues.iter().flat_map(|queue| {
        let messages = queue.files.chunk_by(|one, two| one.message == two.message);
        messages.map(move |files| (queue, files))
    })
}

/// Judges messages by who holds their sockets.
struct Holders<'a> {
    wanted: &'a WantedProcesses,
    pass: &'a Pass,
    /// The listener of each connection that is not accepted yet.
    listeners: HashMap<u64, u64>,
}

impl<'a> Holders<'a> {
    fn new(wanted: &'a WantedProcesses, pass: &'a Pass) -> Self {
        let waiting = pass.queues.iter().flat_map(|queue| {
            let connections = queue.connections.iter();
            connections.map(|connection| (*connection, queue.socket.sock))
        });
        Self {
            wanted,
            pass,
            listeners: waiting.collect(),
        }
    }

    /// Whether a wanted process holds either socket of the message in `queue` that `file` is in.
    fn want(&self, queue: &Queue, file: &QueuedFile) -> bool {
        let sock = queue.socket.sock;
        let sockets = [
            Some(&sock),
            Some(&file.sender_sock),
            self.listeners.get(&sock),
        ];
        let holders = sockets
            .into_iter()
            .flatten()
            .filter_map(|sock| self.pass.holders.get(sock));
        holders.flatten().any(|holder| self.wanted.is(holder))
    }
}
