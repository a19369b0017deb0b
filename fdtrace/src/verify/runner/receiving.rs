//! The receiving side of the runner: what is offered to a message, and what came.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::MsgFlags;
use rustix::pipe::{SpliceFlags, splice};

use super::{Runner, is_cloexec, now_ns, whoami};
use crate::{
    kernel::passing::{self, Received, Room},
    verify::fact::Fact,
};

/// A receive of a message: its name within the scenario, and what is offered to it.
pub struct Incoming<'a> {
    runner: &'a Runner,
    name: &'a str,
    socket: BorrowedFd<'a>,
    room: Room,
    truncates: bool,
}

impl Runner {
    /// Receives message `name` with exactly `count` descriptors, and waits until the verifier has
    /// looked at them.
    ///
    /// # Errors
    /// What `recvmsg` says, or if other descriptors or other data came.
    pub fn receive(&self, name: &str, socket: &impl AsFd, count: usize) -> Result<Received> {
        let received = self.receive_with(name, socket, count, MsgFlags::empty())?;
        ensure!(
            received.data == name.as_bytes(),
            "{name} came with the data {:?}",
            String::from_utf8_lossy(&received.data)
        );
        Ok(received)
    }

    /// [`Runner::receive`], with flags and whatever data.
    ///
    /// # Errors
    /// What `recvmsg` says, or if other descriptors came.
    pub fn receive_with(
        &self,
        name: &str,
        socket: &impl AsFd,
        count: usize,
        flags: MsgFlags,
    ) -> Result<Received> {
        let received = self
            .receiving(name, socket)
            .room_for(count.max(1))
            .flags(flags)
            .take()?;
        ensure!(
            received.fds.len() == count,
            "{name} came with {} descriptors instead of {count}",
            received.fds.len()
        );
        Ok(received)
    }

    /// Begins a receive of message `name`, with room for a full list and 4096 bytes.
    pub fn receiving<'a>(&'a self, name: &'a str, socket: &'a impl AsFd) -> Incoming<'a> {
        const LIST_MAX: usize = 253;
        Incoming {
            runner: self,
            name,
            socket: socket.as_fd(),
            room: Room::for_fds(LIST_MAX),
            truncates: false,
        }
    }
}

impl Incoming<'_> {
    /// Offers control room for `count` descriptors.
    #[must_use]
    pub fn room_for(self, count: usize) -> Self {
        self.control(passing::space(count * size_of::<RawFd>()))
    }

    /// Offers `bytes` of control room.
    #[must_use]
    pub fn control(mut self, bytes: usize) -> Self {
        self.room.control = Some(bytes);
        self
    }

    /// Offers no control buffer.
    #[must_use]
    pub fn no_control(mut self) -> Self {
        self.room.control = None;
        self
    }

    /// Offers `bytes` of room for data.
    #[must_use]
    pub fn data(mut self, bytes: usize) -> Self {
        self.room.data = bytes;
        self
    }

    /// Receives with flags.
    #[must_use]
    pub fn flags(mut self, flags: MsgFlags) -> Self {
        self.room.flags = flags;
        self
    }

    /// MSG_CTRUNC must be set although no fate of the message's files says so: credentials that
    /// had no room, or a peek with less room than files.
    #[must_use]
    pub fn truncated(mut self) -> Self {
        self.truncates = true;
        self
    }

    /// Receives with `recvmsg`, and waits until the verifier has looked at what came.
    ///
    /// # Errors
    /// What `recvmsg` says.
    pub fn take(self) -> Result<Received> {
        let (socket, room) = (self.socket.as_raw_fd(), self.room);
        self.by(|| passing::receive_into(socket, room))
    }

    /// Receives with `read`, which has no place for descriptors.
    ///
    /// # Errors
    /// What `read` says.
    pub fn read(self) -> Result<Vec<u8>> {
        let socket = self.socket;
        self.data_by(|data| nix::unistd::read(socket, data))
    }

    /// Receives with `recv`, which has no place for descriptors, and the flags that were given.
    ///
    /// # Errors
    /// What `recv` says.
    pub fn recv(self) -> Result<Vec<u8>> {
        let (socket, flags) = (self.socket.as_raw_fd(), self.room.flags);
        self.data_by(|data| nix::sys::socket::recv(socket, data, flags))
    }

    /// Lets `receive` fill a buffer by whatever call that has no place for descriptors.
    ///
    /// # Errors
    /// What `receive` says.
    pub fn data_by(self, receive: impl FnOnce(&mut [u8]) -> nix::Result<usize>) -> Result<Vec<u8>> {
        let mut data = vec![0; self.room.data];
        let begin = now_ns()?;
        let len = receive(&mut data).with_context(|| format!("receive of {}", self.name))?;
        data.truncate(len);
        self.without_control(begin)?;
        Ok(data)
    }

    /// Receives with `splice` into a pipe, which has no place for descriptors. Gives how many bytes
    /// went.
    ///
    /// # Errors
    /// What `splice` says.
    pub fn splice(self, pipe: &impl AsFd) -> Result<usize> {
        let begin = now_ns()?;
        let room = self.room.data;
        let moved = splice(self.socket, None, pipe, None, room, SpliceFlags::empty())
            .with_context(|| format!("splice of {}", self.name))?;
        self.without_control(begin)?;
        Ok(moved)
    }

    /// Lets `receive` receive the message, by whatever call that is.
    ///
    /// # Errors
    /// What `receive` says.
    pub fn by(self, receive: impl FnOnce() -> nix::Result<Received>) -> Result<Received> {
        let begin = now_ns()?;
        let received = receive().with_context(|| format!("recvmsg of {}", self.name))?;
        let span = (begin, now_ns()?);
        self.came(&received, span)?;
        Ok(received)
    }

    /// Says what came in a receive that spanned this time, such as one of several in a call.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn came(&self, received: &Received, span: (u64, u64)) -> Result<()> {
        let mut new = received.fds.iter();
        let mut cloexec = Vec::with_capacity(received.slots.len());
        for slot in &received.slots {
            cloexec.push(match (*slot >= 0).then(|| new.next()).flatten() {
                Some(fd) => is_cloexec(fd)?,
                None => false,
            });
        }
        self.say(
            received.slots.clone(),
            cloexec,
            span,
            Some(received.truncated),
        )
    }

    fn without_control(&self, begin: u64) -> Result<()> {
        self.say(Vec::new(), Vec::new(), (begin, now_ns()?), None)
    }

    fn say(
        &self,
        fds: Vec<RawFd>,
        cloexec: Vec<bool>,
        span: (u64, u64),
        truncated: Option<bool>,
    ) -> Result<()> {
        self.runner.checkpoint(&Fact::Received {
            actor: whoami()?,
            message: self.name.into(),
            fds,
            span,
            cloexec,
            truncated,
            truncates: self.truncates,
            peek: self.room.flags.contains(MsgFlags::MSG_PEEK),
        })?;
        Ok(())
    }
}
