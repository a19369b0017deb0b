//! The records of a message of which two tell.

use fdtrace_common::records::RecordKind;

use super::{Event, Passing, Sighting, head_mut, runs};

impl Passing {
    /// The list was copied and got into a queue, in one record.
    pub fn sent_whole(&self, copied_ns: u64, t_ns: u64) -> Vec<Event> {
        self.of_sender(RecordKind::Sent, copied_ns, t_ns, Event::Sent)
    }

    /// The list was copied and given back, and was in no queue; what its call returns will be told or not.
    pub fn unsent(&self, copied_ns: u64, t_ns: u64, return_told: bool) -> Vec<Event> {
        let mut events = self.of_sender(RecordKind::Unsent, copied_ns, t_ns, Event::Unsent);
        for event in &mut events {
            head_mut(event).result = return_told.into();
        }
        events
    }

    fn of_sender(
        &self,
        kind: RecordKind,
        copied_ns: u64,
        t_ns: u64,
        event: fn(Sighting) -> Event,
    ) -> Vec<Event> {
        let mut head = self.head(kind, t_ns, self.sender);
        (head.origin, head.socket_fd, head.skb) = (copied_ns, 3, 0);
        let files = 0..self.files.len();
        let files = files.map(|index| self.seen(index, self.sender_fd + index as i32));
        runs(head, files.collect(), event)
    }

    /// The list was detached and given back, in one record. Each file that had its turn got the number that
    /// is there, or was refused with a negative errno.
    pub fn received_whole(&self, detached_ns: u64, t_ns: u64, told: &[i32]) -> Vec<Event> {
        let mut head = self.head(RecordKind::Received, t_ns, self.receiver);
        (head.origin, head.room, head.location) = (detached_ns, 253, told.len() as u64);
        (head.skb, head.sender_sock, head.receiver_sock) = (0, 0, 0);
        let files = (0..self.files.len()).map(|index| {
            let mut seen = self.seen(index, -1);
            if let Some(told) = told.get(index) {
                (seen.fd, seen.told, seen.slot) = (*told, *told, self.files[index]);
            }
            seen
        });
        runs(head, files.collect(), Event::Received)
    }
}
