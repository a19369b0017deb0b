//! Numbers and addresses that come back at once, and tables that change under the kernel's hands.

use std::{
    collections::HashSet,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use nix::sys::socket::{MsgFlags, SockType};

use super::actor::{Actor, Came, Named, abandon, at_least, end, in_child, join_all, pair};
use crate::truth::Fact;

/// Below it another thread tries every number.
const DISTURBED: RawFd = 48;
/// Above all numbers that others may get.
const SAFE: RawFd = 200;
/// SCM_MAX_FD.
const LIST_MAX: usize = 253;

/// Files live for one message each, while other threads allocate and free them as fast as they
/// can: their addresses come back at once, for other files.
pub(crate) fn pointer_reuse(transfers: usize) -> Vec<Fact> {
    let (sender, receiver) = pair(SockType::Stream);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let files: Vec<Named> = (0..8).map(|_| Named::new()).collect();
                    drop(files);
                }
            });
        }
        let receiving = scope.spawn(|| {
            let mut actor = Actor::default();
            actor.receive_all(&receiver, 1, MsgFlags::empty());
            actor.facts
        });
        let mut actor = Actor::default();
        for _ in 0..transfers {
            actor.send(&sender, &[&Named::new()]);
        }
        end(&sender);
        let mut facts = receiving.join().expect("it received them");
        done.store(true, Ordering::Relaxed);
        facts.extend(actor.facts);
        facts
    })
}

/// Two pairs of threads share one table: each closes what it got, and the other gets the number.
pub(crate) fn number_reuse(transfers: usize) -> Vec<Fact> {
    let pairs = [pair(SockType::Datagram), pair(SockType::SeqPacket)];
    thread::scope(|scope| {
        let threads: Vec<_> = pairs
            .iter()
            .flat_map(|(sender, receiver)| {
                let receiving = scope.spawn(|| {
                    let mut actor = Actor::default();
                    actor.receive_all(receiver, 1, MsgFlags::empty());
                    actor.facts
                });
                let sending = scope.spawn(move || {
                    let mut actor = Actor::default();
                    for _ in 0..transfers / 2 {
                        actor.send(sender, &[&Named::new()]);
                    }
                    end(sender);
                    actor.facts
                });
                [receiving, sending]
            })
            .collect();
        join_all(threads)
    })
}

/// Another thread closes every number as soon as it is there, and opens other files under it.
pub(crate) fn receive_against_close(transfers: usize) -> Vec<Fact> {
    against(transfers, Actor::receive, |number| {
        // SAFETY: closing a number that may be anybody's is what this is about; all that this
        // process needs is at other numbers.
        unsafe { libc::close(number) };
        if number % 4 == 0 {
            // It takes the lowest number that is free, perhaps this one.
            abandon(vec![Named::new().fd]);
        }
    })
}

/// Another thread makes duplicates of every number as soon as it is there: more new descriptors
/// with the same file. Every other call of the receiver's is not the one whose control message is
/// looked at, and of what came by that no number can be known without functions.
pub(crate) fn receive_against_dup(transfers: usize) -> Vec<Fact> {
    against(transfers, receive_by_turns, |number| {
        // SAFETY: these take numbers, and fail where there is no such descriptor.
        unsafe {
            let copy = libc::dup(number);
            libc::close(number);
            libc::close(copy);
        }
    })
}

fn receive_by_turns(actor: &mut Actor, socket: &OwnedFd, room: usize, flags: MsgFlags) -> Came {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    if TURN.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
        actor.receive(socket, room, flags)
    } else {
        actor.receive_by_recvmmsg(socket, room, flags)
    }
}

/// Descriptors that the kernel installs beside those of the message, and that are no transfers: a
/// pidfd of the sender with each message (SCM_PIDFD, 6.5 and later), and what another thread gets
/// by `pidfd_getfd`.
pub(crate) fn other_descriptors(transfers: usize) -> Vec<Fact> {
    against(transfers, receive_with_pidfd, |number| {
        static ITSELF: OnceLock<OwnedFd> = OnceLock::new();
        let itself = ITSELF.get_or_init(|| {
            // SAFETY: both take numbers; what comes back is new and nobody else's.
            let pidfd = unsafe {
                let number = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0);
                OwnedFd::from_raw_fd(RawFd::try_from(number).expect("it is a number"))
            };
            at_least(&pidfd, SAFE)
        });
        // SAFETY: as in the cases above.
        unsafe {
            libc::close(number);
            libc::syscall(
                libc::SYS_pidfd_getfd,
                itself.as_raw_fd(),
                itself.as_raw_fd(),
                0,
            );
        }
    })
}

fn receive_with_pidfd(actor: &mut Actor, socket: &OwnedFd, room: usize, flags: MsgFlags) -> Came {
    const SO_PASSPIDFD: libc::c_int = 76;
    let on: libc::c_int = 1;
    // SAFETY: the option is an int. Kernels that do not know it say so, and send no pidfds.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSPIDFD,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
    // There is to be room for another control message.
    actor.receive(socket, room + 8, flags)
}

/// How a receiver receives.
type Receive = fn(&mut Actor, &OwnedFd, usize, MsgFlags) -> Came;

/// A receiver in a process of its own, where a second thread does something to every number that
/// the kernel may give to what it receives.
fn against(transfers: usize, receive: Receive, disturb: fn(RawFd)) -> Vec<Fact> {
    let (sender, receiver) = pair(SockType::Stream);
    let child = in_child(|| {
        let receiver = at_least(&receiver, SAFE);
        // What tells the parent is not for others to close.
        let keep = open_numbers();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    (0..DISTURBED)
                        .filter(|number| !keep.contains(number))
                        .for_each(disturb);
                }
            });
            let mut actor = Actor::blind();
            while let Came::Message(fds) = receive(&mut actor, &receiver, 2, MsgFlags::empty()) {
                let (theirs, own) = fds.into_iter().partition(|fd| fd.as_raw_fd() < DISTURBED);
                abandon(theirs);
                drop::<Vec<OwnedFd>>(own);
            }
            done.store(true, Ordering::Relaxed);
            actor.facts
        })
    });
    // If the child dies, sending fails instead of waiting for ever.
    drop(receiver);
    let mut actor = Actor::default();
    for _ in 0..transfers / 2 {
        actor.send(&sender, &[&Named::new(), &Named::new()]);
    }
    end(&sender);
    actor.facts.extend(child.join());
    actor.facts
}

fn open_numbers() -> HashSet<RawFd> {
    let numbers = std::fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    numbers
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Lists as long as they get, back to back, through two pairs at once. The same files again and
/// again, each time at other places.
pub(crate) fn full_lists(transfers: usize) -> Vec<Fact> {
    let pairs = [pair(SockType::Stream), pair(SockType::Datagram)];
    thread::scope(|scope| {
        let threads: Vec<_> = pairs
            .iter()
            .flat_map(|(sender, receiver)| {
                let receiving = scope.spawn(|| {
                    let mut actor = Actor::default();
                    actor.receive_all(receiver, LIST_MAX, MsgFlags::empty());
                    actor.facts
                });
                let sending = scope.spawn(move || {
                    let mut actor = Actor::default();
                    let files: Vec<Named> = (0..LIST_MAX).map(|_| Named::new()).collect();
                    let mut list: Vec<&Named> = files.iter().collect();
                    for _ in 0..(transfers / LIST_MAX / 2).max(1) {
                        actor.send(sender, &list);
                        list.rotate_left(7);
                    }
                    end(sender);
                    actor.facts
                });
                [receiving, sending]
            })
            .collect();
        join_all(threads)
    })
}
