//! What a play itself knows: who sent which file under which number, who got it under which, and
//! how it ended. A line each, appended to one file by all processes of a play.

use std::{
    env,
    fs::{File, OpenOptions},
    io::Write as _,
    os::fd::RawFd,
    sync::OnceLock,
};

use nix::unistd::getpid;
use serde::{Deserialize, Serialize};

use super::stage::{inode_of, link_of};

/// Names the file that the lines go to.
pub(crate) const TRUTH: &str = "FDTRACE_PLAYS_TRUTH";

/// A line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Line {
    /// The play of this name begins, CLOCK_MONOTONIC.
    Began {
        play: String,
        t_ns: u64,
    },
    Passed(Pass),
    /// This machine cannot play it.
    Skipped(String),
    /// A thread or process of the play panicked.
    Broke(String),
    Ended {
        well: bool,
    },
}

/// A process, and a number in its table.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) pid: i32,
    pub(crate) fd: RawFd,
}

/// What the trace has to say, where it may not leave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Due {
    Fate,
    Cause,
    Sender,
    Receiver,
    Name,
}

/// One file in one message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pass {
    pub(crate) ino: u64,
    /// `None`: one of several, and only the kernel knows which.
    pub(crate) sender: Option<Place>,
    /// `None`: nobody got it.
    pub(crate) receiver: Option<Place>,
    /// Any of these is true.
    pub(crate) fates: Vec<String>,
    /// Any of these is true; empty where there is none to tell, or none is certain.
    pub(crate) causes: Vec<String>,
    /// The file's name at the time, in words of `readlink` or, of a socket, in fdtrace's.
    pub(crate) name: Option<String>,
    pub(crate) due: Vec<Due>,
    /// It need not be told.
    pub(crate) optional: bool,
}

/// A file that is about to be sent, as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sent(Pass);

impl Sent {
    /// By this process, under this number.
    pub(super) fn under(fd: RawFd) -> Self {
        Self::of(inode_of(fd), link_of(fd), fd)
    }

    /// By this process, under this number, where that may mean another file by now.
    pub(super) fn of(ino: u64, link: Option<String>, fd: RawFd) -> Self {
        Self(Pass {
            ino,
            sender: Some(Place {
                pid: getpid().as_raw(),
                fd,
            }),
            receiver: None,
            fates: Vec::new(),
            causes: Vec::new(),
            // A socket has its addresses for a name.
            name: link.filter(|link| !link.starts_with("socket:[")),
            due: Vec::new(),
            optional: false,
        })
    }

    /// By a child.
    pub(super) fn by(mut self, pid: i32) -> Self {
        self.0.sender = self.0.sender.map(|place| Place { pid, ..place });
        self
    }

    /// Under one of several numbers.
    pub(super) fn by_anyone(mut self) -> Self {
        self.0.sender = None;
        self
    }

    /// The file has this name, and the trace is to tell it.
    pub(super) fn named(mut self, name: impl Into<String>) -> Self {
        self.0.name = Some(name.into());
        self.due(Due::Name)
    }

    /// The trace may not leave this out.
    pub(super) fn due(mut self, due: Due) -> Self {
        self.0.due.push(due);
        self
    }

    /// The trace need not tell it.
    pub(super) fn optional(mut self) -> Self {
        self.0.optional = true;
        self
    }

    pub(super) fn delivered(self, fd: RawFd) {
        self.delivered_to(getpid().as_raw(), fd);
    }

    pub(super) fn delivered_to(mut self, pid: i32, fd: RawFd) {
        self.0.receiver = Some(Place { pid, fd });
        self.ended("delivered", &[]);
    }

    pub(super) fn peeked(mut self, fd: RawFd) {
        let pid = getpid().as_raw();
        self.0.receiver = Some(Place { pid, fd });
        self.ended("peeked", &[]);
    }

    /// It failed with this errno, of which fdtrace says so much.
    pub(super) fn failed(self, cause: &str) {
        self.due(Due::Fate)
            .due(Due::Cause)
            .ended("failed", &[cause]);
    }

    /// It ended so; fates of which each is true are separated by `|`.
    pub(super) fn ended(mut self, fates: &str, causes: &[&str]) {
        self.0.fates = fates.split('|').map(str::to_owned).collect();
        self.0.causes = causes.iter().map(|&cause| cause.to_owned()).collect();
        tell(&Line::Passed(self.0));
    }
}

/// Appends a line. One write, so that those of other processes cannot get in between; to a file that
/// is open from the beginning, so that it takes no number of the play's, nor makes its table grow.
pub(super) fn tell(line: &Line) {
    static FILE: OnceLock<File> = OnceLock::new();
    let mut file = FILE.get_or_init(|| {
        let path = env::var_os(TRUTH).expect("a play has a file for its truth");
        let file = OpenOptions::new().append(true).open(path);
        file.expect("the truth can be told")
    });
    let text = serde_json::to_string(line).expect("it can be written") + "\n";
    file.write_all(text.as_bytes())
        .expect("the truth can be told");
}
