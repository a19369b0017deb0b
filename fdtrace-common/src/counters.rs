//! The per-CPU counters that eBPF programs keep beside their records: what fired, and what was
//! lost where. Loss that is not counted cannot weaken a verdict, so every way to lose a record
//! has a slot here.

/// Index of a counter in the `COUNTERS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// A list was found on its way into a receive queue.
    QueueFired,
    /// A list was found while its skb's data was copied to a receiver.
    DequeueFired,
    /// A receive that took a list returned.
    InstallFired,
    /// An skb was freed with its list still on it (kfree_skb).
    EndKfreeFired,
    /// An skb was consumed with its list still on it (consume_skb).
    EndConsumeFired,
    /// `__scm_send` returned with a list.
    CopyFired,
    /// A list was put on an skb.
    AttachFired,
    /// A list was duplicated.
    DuplicateFired,
    /// A list was detached to be installed.
    DetachFired,
    /// A file was about to be installed.
    ReceiveFired,
    /// A list was released.
    ReleaseFired,
    /// An skb was destructed with its list still on it.
    DestructFired,
    /// A send over a stream socket returned without its list in a queue.
    SentStreamFired,
    /// A send over a datagram or seqpacket socket did.
    SentDgramFired,
    /// A send was seen to return so by the tracepoint that all sockets share.
    SentFired,
    /// The memory of a list was given back.
    FreeFired,
    /// No room in the ring buffer for a copy record.
    CopyLost,
    /// No room in the ring buffer for an attach record.
    AttachLost,
    /// No room in the ring buffer for a detach record.
    DetachLost,
    /// No room in the ring buffer for a receive record.
    ReceiveLost,
    /// No room in the ring buffer for a queue record.
    QueueLost,
    /// No room in the ring buffer for a dequeue record.
    DequeueLost,
    /// No room in the ring buffer for an install record.
    InstallLost,
    /// No room in the ring buffer for an end record.
    EndLost,
    /// A sender passed rights, but its list had left the queue before the program looked.
    QueueRaced,
    /// More receives at once than the window table holds: their installs go unseen.
    WindowFull,
    /// Records of senders that the filter does not want, for which there was no room to wait for a
    /// receiver that it does.
    HeldFull,
    /// Lists that the filter wants and that there was no room to mark.
    MarkedFull,
    /// Processes that the filter wants and that there was no room to note.
    WantedFull,
    /// No room in the ring buffer for a description: a file or a task stays unnamed.
    DescribeLost,
    /// A call whose return the kernel did not follow, as the thread's next call shows.
    ReturnSkipped,
    /// A send failed whose numbers could not be read: it may have passed descriptors, or not.
    SendUnread,
}

impl Counter {
    /// Every counter, in map order.
    pub const ALL: [Self; 32] = [
        Self::QueueFired,
        Self::DequeueFired,
        Self::InstallFired,
        Self::EndKfreeFired,
        Self::EndConsumeFired,
        Self::CopyFired,
        Self::AttachFired,
        Self::DuplicateFired,
        Self::DetachFired,
        Self::ReceiveFired,
        Self::ReleaseFired,
        Self::DestructFired,
        Self::SentStreamFired,
        Self::SentDgramFired,
        Self::SentFired,
        Self::FreeFired,
        Self::CopyLost,
        Self::AttachLost,
        Self::DetachLost,
        Self::ReceiveLost,
        Self::QueueLost,
        Self::DequeueLost,
        Self::InstallLost,
        Self::EndLost,
        Self::QueueRaced,
        Self::WindowFull,
        Self::HeldFull,
        Self::MarkedFull,
        Self::WantedFull,
        Self::DescribeLost,
        Self::ReturnSkipped,
        Self::SendUnread,
    ];
}
