//! Late senders: looks that found their list gone.

use crate::wire::{Sight, Sighting, Sights, Stamp};

/// A sender whose list was gone when its hook looked. Its numbers and the files behind them are
/// known; that they belong to this message is shown by socket, files and time.
#[derive(Clone)]
pub(crate) struct LateSender {
    pub(crate) stamp: Stamp,
    pub(crate) files: Sights,
    /// When that thread began; 0 if that is not known.
    pub(crate) began_ns: u64,
    /// When that thread had looked before, or 0: it sent this since.
    pub(crate) since: u64,
    /// By then it had left the queue.
    pub(crate) left_by: u64,
    /// Records were lost, and the read of its message may be among them.
    pub(crate) is_doubtful: bool,
}

impl LateSender {
    pub(crate) fn new(seen: &Sighting, began_ns: u64) -> Self {
        let stamp = seen.stamp;
        Self {
            stamp,
            files: seen.files.clone(),
            began_ns,
            since: 0,
            // One that went away while it was looked at has gone before the thread looks again.
            left_by: if stamp.list.is_none() {
                stamp.at.ns
            } else {
                u64::MAX
            },
            is_doubtful: false,
        }
    }

    /// Whether it names its files: of a batch it is not known which they are.
    pub(crate) fn names_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Whether it was for these files, in order.
    pub(crate) fn has_sent<'a>(
        &self,
        files: impl ExactSizeIterator<Item = Option<&'a Sight>>,
    ) -> bool {
        self.files.len() == files.len()
            && files.zip(&self.files).all(|(file, sent)| {
                file.is_some_and(|file| sent.file.ptr == sent.slot && file.is_of(sent))
            })
    }

    /// Leaves open which numbers those were.
    pub(crate) fn forget_numbers(&mut self) {
        self.stamp.socket_fd = None;
        self.files.iter_mut().for_each(|file| file.fd = None);
    }
}
