//! Which transfers to show.

use fast_glob::glob_match;

use crate::model::{Cause, Fate, FileKind, Socket, Transfer};

/// What the user asked to see. Within one list any will do; every list that is not empty must
/// agree.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only what the filter in the kernel wanted, of what it let through.
    pub wanted: bool,
    /// Processes; one end is of them, and has one of the names.
    pub pids: Vec<u32>,
    /// Names of tasks.
    pub comms: Vec<String>,
    /// How it ended.
    pub fates: Vec<Fate>,
    /// Why it ended so.
    pub causes: Vec<Cause>,
    /// What kind of file it is.
    pub kinds: Vec<FileKind>,
    /// Its file's path, a folder that it is in, or a pattern.
    pub paths: Vec<String>,
    /// The name of a socket that it went through, or its inode number.
    pub sockets: Vec<String>,
    /// Users; one end is of them.
    pub uids: Vec<u32>,
    /// When it was last seen, at the earliest: CLOCK_MONOTONIC, nanoseconds.
    pub since_ns: Option<u64>,
    /// When it was last seen before.
    pub until_ns: Option<u64>,
}

impl Selection {
    /// Whether to show this transfer.
    #[must_use]
    pub fn accepts(&self, transfer: &Transfer) -> bool {
        let sender = transfer.sender.as_ref();
        let sender = sender.map(|sender| (sender.pid, sender.comm.as_str()));
        let receiver = transfer.receiver();
        let receiver = receiver.map(|receiver| (receiver.pid, receiver.comm.as_str()));
        let tasks = [transfer.context.sender, transfer.context.receiver];
        let mut uids = tasks.iter().flatten().map(|task| task.uid);
        let t_ns = transfer.last_ns();
        (!self.wanted || transfer.wanted)
            && (self.accepts_anyone()
                || [sender, receiver]
                    .into_iter()
                    .flatten()
                    .any(|(pid, comm)| self.accepts_end(pid, comm)))
            && any(&self.fates, |fate| *fate == transfer.fate())
            && any(&self.causes, |cause| Some(*cause) == transfer.cause())
            && any(&self.kinds, |kind| *kind == transfer.file.kind())
            && any(&self.paths, |wanted| {
                transfer.path().is_some_and(|path| is_at(path, wanted))
            })
            && any(&self.sockets, |wanted| {
                goes_through(&transfer.socket, wanted)
            })
            && (self.uids.is_empty() || uids.any(|uid| self.uids.contains(&uid)))
            && self.since_ns.is_none_or(|since| t_ns >= since)
            && self.until_ns.is_none_or(|until| t_ns < until)
    }

    fn accepts_anyone(&self) -> bool {
        self.pids.is_empty() && self.comms.is_empty()
    }

    fn accepts_end(&self, pid: u32, comm: &str) -> bool {
        (self.pids.is_empty() || self.pids.contains(&pid))
            && (self.comms.is_empty() || self.comms.iter().any(|wanted| wanted == comm))
    }
}

/// Whether one of them will do, or any is as good.
fn any<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is)
}

/// Whether a path is this one, below it, or like this pattern; a pattern without a slash is for the
/// last part alone.
fn is_at(path: &str, wanted: &str) -> bool {
    let folder = wanted.strip_suffix('/').unwrap_or(wanted);
    let is_below = path
        .strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let tried = match wanted.contains('/') {
        true => path,
        false => path.rsplit('/').next().unwrap_or(path),
    };
    is_below || glob_match(wanted, tried)
}

fn goes_through(socket: &Socket, wanted: &str) -> bool {
    let ino = wanted.parse().ok();
    socket.path.as_deref() == Some(wanted)
        || ino.is_some() && [socket.sender_ino, socket.receiver_ino].contains(&ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_meant_by_itself_by_its_folders_and_by_patterns() {
        let path = "/var/log/app/access.log";
        for wanted in [path, "/var/log", "/var/log/", "*.log", "/var/**/*.log", "/"] {
            assert!(is_at(path, wanted), "{wanted}");
        }
        for wanted in [
            "/var/lo",
            "/var/log/app/access",
            "*.txt",
            "/var/*.log",
            "log",
        ] {
            assert!(!is_at(path, wanted), "{wanted}");
        }
    }

    #[test]
    fn a_socket_is_meant_by_its_name_and_by_either_inode() {
        let socket = Socket {
            path: Some("@bus".to_owned()),
            sender_ino: Some(70),
            receiver_ino: Some(71),
            ..Socket::default()
        };
        for wanted in ["@bus", "70", "71"] {
            assert!(goes_through(&socket, wanted), "{wanted}");
        }
        for wanted in ["bus", "7", ""] {
            assert!(!goes_through(&socket, wanted), "{wanted}");
        }
    }
}
