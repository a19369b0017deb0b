//! The sending side of the runner: what goes out, in whatever form the kernel may be given it.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, sys::socket::MsgFlags};

use super::{Runner, now_ns, say, whoami};
use crate::{
    kernel::passing,
    verify::{
        fact::{Fact, MessageName},
        ways::batch,
    },
};

/// A message on its way: its name within the scenario, and the socket to send it on.
pub struct Outgoing<'a> {
    runner: &'a Runner,
    name: &'a str,
    socket: BorrowedFd<'a>,
    data: &'a [u8],
    flags: MsgFlags,
    hold: bool,
}

impl Runner {
    /// Begins a message; its data is its name.
    pub fn send<'a>(&'a self, name: &'a str, socket: &'a impl AsFd) -> Outgoing<'a> {
        Outgoing {
            runner: self,
            name,
            socket: socket.as_fd(),
            data: name.as_bytes(),
            flags: MsgFlags::empty(),
            hold: true,
        }
    }

    /// Sends several messages in one `sendmmsg`, each with its name for data and these descriptors.
    ///
    /// # Errors
    /// What `sendmmsg` says, or if it sent fewer.
    pub fn send_many(&self, socket: &impl AsFd, messages: &[(&str, &[RawFd])]) -> Result<()> {
        let actor = whoami()?;
        for (name, fds) in messages {
            self.sending(name, fds, true)?;
        }
        let begin = now_ns()?;
        let sent = batch::send(socket.as_fd().as_raw_fd(), messages);
        let span = (begin, now_ns()?);
        let sent = sent.context("sendmmsg")?;
        ensure!(sent == messages.len(), "sendmmsg sent {sent} messages");
        for (name, fds) in messages {
            say(&Fact::Sent {
                actor,
                message: (*name).into(),
                fds: fds.to_vec(),
                span,
            })?;
        }
        Ok(())
    }

    fn sending(&self, name: &str, fds: &[RawFd], hold: bool) -> Result<()> {
        self.checkpoint(&Fact::Sending {
            actor: whoami()?,
            message: name.into(),
            fds: fds.to_vec(),
            hold,
        })?;
        Ok(())
    }
}

impl<'a> Outgoing<'a> {
    /// Sends other data than the message's name, or none.
    #[must_use]
    pub fn data(self, data: &'a [u8]) -> Self {
        Self { data, ..self }
    }

    /// Sends with flags.
    #[must_use]
    pub fn flags(self, flags: MsgFlags) -> Self {
        Self { flags, ..self }
    }

    /// Lets the message hold the only reference: the verifier keeps no duplicate.
    #[must_use]
    pub fn unheld(self) -> Self {
        Self {
            hold: false,
            ..self
        }
    }

    /// Sends the descriptors in one control message.
    ///
    /// # Errors
    /// What `sendmsg` says.
    pub fn fds(self, fds: &[RawFd]) -> Result<()> {
        self.parts(&[fds])
    }

    /// Sends each part in a control message of its own.
    ///
    /// # Errors
    /// What `sendmsg` says.
    pub fn parts(self, parts: &[&[RawFd]]) -> Result<()> {
        self.control(&parts.concat(), &passing::rights(parts))
    }

    /// Sends `control`, in which the kernel finds the descriptors `fds`.
    ///
    /// # Errors
    /// What `sendmsg` says.
    pub fn control(self, fds: &[RawFd], control: &[u8]) -> Result<()> {
        let (socket, data, flags) = (self.socket.as_raw_fd(), self.data, self.flags);
        self.by(fds, || passing::send_with(socket, data, control, flags))
            .map(drop)
    }

    /// Sends each part in a control message of its own, which must fail with exactly `errno`.
    ///
    /// # Errors
    /// If it succeeds or fails in another way.
    pub fn failing(self, parts: &[&[RawFd]], errno: Errno) -> Result<()> {
        self.control_failing(&parts.concat(), &passing::rights(parts), errno)
    }

    /// Sends `control`, in which the kernel finds the descriptors `fds`, which must fail with
    /// exactly `errno`.
    ///
    /// # Errors
    /// If it succeeds or fails in another way.
    pub fn control_failing(self, fds: &[RawFd], control: &[u8], errno: Errno) -> Result<()> {
        let (socket, data, flags) = (self.socket.as_raw_fd(), self.data, self.flags);
        self.failing_by(fds, errno, || {
            passing::send_with(socket, data, control, flags)
        })
    }

    /// Lets `send` send the descriptors `fds`, by whatever call that is.
    ///
    /// # Errors
    /// What `send` says.
    pub fn by<T>(self, fds: &[RawFd], send: impl FnOnce() -> nix::Result<T>) -> Result<T> {
        let message = MessageName::from(self.name);
        let (sent, span) = self.run(fds, send)?;
        let sent = sent.with_context(|| format!("sendmsg of {message}"))?;
        say(&Fact::Sent {
            actor: whoami()?,
            message,
            fds: fds.to_vec(),
            span,
        })?;
        Ok(sent)
    }

    /// Lets `send` send the descriptors `fds`, which must fail with exactly `errno`.
    ///
    /// # Errors
    /// If it succeeds or fails in another way.
    pub fn failing_by<T>(
        self,
        fds: &[RawFd],
        errno: Errno,
        send: impl FnOnce() -> nix::Result<T>,
    ) -> Result<()> {
        let message = MessageName::from(self.name);
        let (sent, span) = self.run(fds, send)?;
        let found = sent.err();
        ensure!(
            found == Some(errno),
            "sendmsg of {message} gave {} instead of {errno}",
            found.map_or("success".to_owned(), |found| found.to_string()),
        );
        say(&Fact::SendFailed {
            actor: whoami()?,
            message,
            fds: fds.to_vec(),
            span,
            errno: errno as i32,
        })
    }

    fn run<T>(
        &self,
        fds: &[RawFd],
        send: impl FnOnce() -> nix::Result<T>,
    ) -> Result<(nix::Result<T>, (u64, u64))> {
        self.runner.sending(self.name, fds, self.hold)?;
        let begin = now_ns()?;
        let sent = send();
        Ok((sent, (begin, now_ns()?)))
    }
}
