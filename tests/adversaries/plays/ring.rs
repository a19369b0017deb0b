//! io_uring: calls that the kernel makes later, in whatever the thread does then or in a worker.

use std::os::fd::RawFd;

use io_uring::{IoUring, opcode, squeue, types};

use super::{letter::Letter, stage::check};

/// A ring. What its calls point to is never freed.
pub(super) struct Ring(IoUring);

impl Ring {
    /// # Errors
    /// If this machine allows none.
    pub(super) fn new(entries: u32) -> Result<Self, String> {
        let ring = IoUring::new(entries).map_err(|error| format!("io_uring: {error}"))?;
        Ok(Self(ring))
    }

    /// One whose calls a thread of the kernel's makes, on `sockets` by their places.
    pub(super) fn polled(entries: u32, sockets: &[RawFd]) -> Result<Self, String> {
        let ring = IoUring::builder().setup_sqpoll(50).build(entries);
        let ring = ring.map_err(|error| format!("io_uring with SQPOLL: {error}"))?;
        let registered = ring.submitter().register_files(sockets);
        registered.map_err(|error| format!("registered files: {error}"))?;
        Ok(Self(ring))
    }

    /// What becomes readable when one of its calls ends.
    pub(super) fn notification(&self) -> Notification {
        // SAFETY: it makes a new number.
        let event = check(unsafe { libc::eventfd(0, 0) }).expect("there are numbers left");
        let registered = self.0.submitter().register_eventfd(event);
        registered.expect("rings take one");
        Notification(event)
    }

    pub(super) fn submit(&mut self, entry: &squeue::Entry) {
        // SAFETY: plays free nothing that an entry points to.
        unsafe { self.0.submission().push(entry) }.expect("there is room");
        self.0.submit().expect("it can be submitted");
    }

    /// Submits all at once.
    pub(super) fn submit_all(&mut self, entries: &[squeue::Entry]) {
        // SAFETY: plays free nothing that an entry points to.
        unsafe { self.0.submission().push_multiple(entries) }.expect("there is room");
        self.0.submit().expect("it can be submitted");
    }

    pub(super) fn send(&mut self, letter: Letter, socket: RawFd) {
        self.submit(&send_entry(letter, socket));
    }

    pub(super) fn receive(&mut self, letter: Letter, socket: RawFd) {
        self.submit(&receive_entry(letter, socket));
    }

    pub(super) fn receive_by_worker(&mut self, letter: Letter, socket: RawFd) {
        self.submit(&receive_entry(letter, socket).flags(squeue::Flags::ASYNC));
    }

    /// Waits for one call, and gives its result.
    pub(super) fn end(&mut self) -> i32 {
        self.end_of().1
    }

    /// Waits for one call, and gives its entry's user data, its result and its flags.
    pub(super) fn end_of(&mut self) -> (u64, i32, u32) {
        loop {
            if let Some(ended) = self.0.completion().next() {
                return (ended.user_data(), ended.result(), ended.flags());
            }
            match self.0.submit_and_wait(1) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    panic!("cannot wait for the ring: {error}");
                }
                _ => {}
            }
        }
    }
}

/// Says that a call of a ring has ended, to other processes too.
#[derive(Clone, Copy)]
pub(super) struct Notification(RawFd);

impl Notification {
    pub(super) fn wait(self) {
        let mut count = 0_u64;
        // SAFETY: there is room for the count.
        let got = unsafe { libc::read(self.0, (&raw mut count).cast(), 8) };
        assert_eq!(got, 8);
    }
}

pub(super) fn send_entry(letter: Letter, socket: RawFd) -> squeue::Entry {
    opcode::SendMsg::new(types::Fd(socket), letter.header())
        .flags(libc::MSG_NOSIGNAL.cast_unsigned())
        .build()
}

pub(super) fn receive_entry(letter: Letter, socket: RawFd) -> squeue::Entry {
    opcode::RecvMsg::new(types::Fd(socket), letter.header()).build()
}
