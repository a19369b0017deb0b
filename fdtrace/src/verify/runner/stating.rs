//! What an actor states of a message beside the calls that it makes, and what it asks.

use std::{
    io::{self, Read as _},
    ops::Range,
    os::fd::{AsFd, AsRawFd as _, RawFd},
};

use anyhow::{Context as _, Result};

use super::{Answer, Fact, Runner, say, whoami};
use crate::model::{Cause, Fate, FileKind, Hop};

impl Runner {
    /// Lets the verifier count what is queued at `socket`.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn in_flight(&self, socket: &impl AsFd, expected: u64) -> Result<()> {
        let socket = socket.as_fd().as_raw_fd();
        self.checkpoint(&Fact::InFlight {
            actor: whoami()?,
            socket,
            expected,
        })?;
        Ok(())
    }

    /// Lets the verifier see that `fd` is not file `index` of `message`.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn mistakable(&self, fd: RawFd, message: &str, index: usize) -> Result<()> {
        self.checkpoint(&Fact::Mistakable {
            actor: whoami()?,
            fd,
            message: message.into(),
            index,
        })?;
        Ok(())
    }

    /// Says that this machine lacks what the scenario needs.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn skip(&self, why: &str) -> Result<()> {
        say(&Fact::Skipped {
            why: why.to_owned(),
        })
    }

    /// Waits until the verifier is done with every checkpoint asked for so far.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn settle(&self) -> Result<()> {
        self.turn.wait()?;
        self.turn.post()
    }

    /// Says what must become of these files of `message`; see [`Fact::Fate`] for what holds where
    /// nothing is said.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn fate(
        &self,
        message: &str,
        files: Range<usize>,
        fate: Fate,
        cause: Option<Cause>,
    ) -> Result<()> {
        say(&Fact::Fate {
            message: message.into(),
            files: (files.start, files.end),
            fate,
            cause,
        })
    }

    /// Says what kind of file the trace must call file `index` of `message`.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn kind(&self, message: &str, index: usize, kind: FileKind) -> Result<()> {
        say(&Fact::Kind {
            message: message.into(),
            index,
            kind,
        })
    }

    /// Says what a file's reference count must be at `hop`.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn refs(&self, message: &str, hop: Hop, refs: i64) -> Result<()> {
        say(&Fact::Refs {
            message: message.into(),
            hop,
            refs,
        })
    }

    /// Says that nobody else touches the reference counts of the message's files on its way.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn undisturbed(&self, message: &str) -> Result<()> {
        say(&Fact::Undisturbed {
            message: message.into(),
        })
    }

    /// Asks the verifier whether the files of the two messages had the same address.
    ///
    /// # Errors
    /// If the verifier is gone.
    pub fn address_reused(&self, first: &str, second: &str) -> Result<bool> {
        let answer = self.checkpoint(&Fact::AddressReused {
            messages: (first.into(), second.into()),
        })?;
        Ok(answer == Answer::Yes)
    }

    /// Waits for the verifier. One actor at a time: the answer is a byte that anyone could take.
    pub(super) fn checkpoint(&self, fact: &Fact) -> Result<Answer> {
        self.turn.wait()?;
        say(fact)?;
        let mut answer = [0];
        io::stdin()
            .read_exact(&mut answer)
            .context("the verifier is gone")?;
        self.turn.post()?;
        Ok(if answer[0] == Answer::Yes as u8 {
            Answer::Yes
        } else {
            Answer::GoOn
        })
    }
}
