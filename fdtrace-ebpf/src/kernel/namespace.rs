//! Network namespaces, the table of Unix sockets that each has, and users: what leads to sockets
//! and counts of which no process knows.
//!
//! Lists are walked without a lock, as their readers in the kernel do under RCU. What they hold may
//! come and go meanwhile, so each step has a test of whether it was still in its place.

use aya_ebpf::helpers::generated::bpf_get_current_task;

use super::{List, Sock, read, read_at};
use crate::offsets::*;

/// A `struct net *`, or what a member of the list of all of them would be if it were one: the head
/// of that list is in no namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Net(pub(crate) u64);

impl Net {
    /// The one that the current task is in.
    #[inline(always)]
    pub(crate) fn of_current() -> Self {
        // SAFETY: takes nothing and always succeeds.
        let task = unsafe { bpf_get_current_task() };
        let nsproxy: u64 = read(task, &TASK_STRUCT__NSPROXY);
        Self(read(nsproxy, &NSPROXY__NET_NS))
    }

    #[inline(always)]
    pub(crate) fn next(self) -> Self {
        Self(read::<u64>(self.0, &NET__LIST__NEXT) - u64::from(NET__LIST__NEXT.load()))
    }

    #[inline(always)]
    pub(crate) fn prev(self) -> Self {
        Self(read::<u64>(self.0, &NET__LIST__PREV) - u64::from(NET__LIST__NEXT.load()))
    }

    /// Whether the list leads to it, and back.
    #[inline(always)]
    pub(crate) fn is_listed(self) -> bool {
        self.next().prev() == self
    }

    /// What all network namespaces have in common, and nothing else has at this place.
    #[inline(always)]
    pub(crate) fn operations(self) -> u64 {
        read(self.0, &NET__NS__OPS)
    }

    /// Its table of Unix sockets.
    #[inline(always)]
    pub(crate) fn unix_sockets(self) -> u64 {
        read(self.0, &NET__UNX__TABLE__BUCKETS)
    }
}

/// Where a pointer to a socket is, or to nothing, in a chain of a table of sockets: in a
/// `struct hlist_head`, which is nothing but that, or in the socket before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link(pub(crate) u64);

impl Link {
    /// The first one of a chain.
    #[inline(always)]
    pub(crate) fn first(table: u64, chain: u32) -> Self {
        Self(table + u64::from(chain) * 8)
    }

    /// The one from this socket to the next.
    #[inline(always)]
    pub(crate) fn from(sock: Sock) -> Self {
        Self(sock.0 + u64::from(SOCK__NODE__NEXT.load()))
    }

    /// The socket that it is in, if it is in one.
    #[inline(always)]
    pub(crate) fn socket(self) -> Sock {
        Sock(self.0 - u64::from(SOCK__NODE__NEXT.load()))
    }

    /// The socket that it leads to; a null one at the end of the chain.
    #[inline(always)]
    pub(crate) fn follow(self) -> Sock {
        let node: u64 = read_at(self.0);
        if node == 0 {
            return Sock(0);
        }
        Sock(node - u64::from(SOCK__NODE__NEXT.load()))
    }

    /// Whether it is the one that leads to this socket.
    #[inline(always)]
    pub(crate) fn leads_to(self, sock: Sock) -> bool {
        read::<u64>(sock.0, &SOCK__NODE__PPREV) == self.0
    }
}

/// A `struct user_struct *`, or a null one where the kernel's types do not tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct User(pub(crate) u64);

impl User {
    /// The one whose limits the task at this address is held to.
    #[inline(always)]
    pub(crate) fn of_task(task: u64) -> Self {
        if USER_STRUCT__UNIX_INFLIGHT.load() == 0 {
            return Self(0);
        }
        let cred: u64 = read(task, &TASK_STRUCT__CRED);
        Self(read(cred, &CRED__USER))
    }

    /// The one that a message's files are counted for.
    #[inline(always)]
    pub(crate) fn of_list(list: List) -> Self {
        if USER_STRUCT__UNIX_INFLIGHT.load() == 0 || list.0 == 0 {
            return Self(0);
        }
        Self(read(list.0, &SCM_FP_LIST__USER))
    }

    /// Its id, in the initial user namespace.
    #[inline(always)]
    pub(crate) fn uid(self) -> u32 {
        if self.0 == 0 {
            return 0;
        }
        read(self.0, &USER_STRUCT__UID)
    }

    /// How many files the kernel counts as in flight for it.
    #[inline(always)]
    pub(crate) fn in_flight(self) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        read(self.0, &USER_STRUCT__UNIX_INFLIGHT)
    }
}
