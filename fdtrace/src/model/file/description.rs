//! Description: what a file is called, in the words of `readlink /proc/PID/fd/N`, and for a socket its
//! addresses.

use std::{borrow::Cow, fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{FileIdentity, FileKind, FilePath, lossless, named};

/// A file, as its readers know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileDescription {
    /// By its path.
    Path(FilePath),
    /// By what `/proc/PID/fd` says of a file that is in no tree: `anon_inode:[eventfd]`.
    Rootless(String),
    /// A socket by its addresses.
    Socket(SocketDescription),
}

named! { "kebab-case";
/// Why a file has no description.
#[non_exhaustive]
pub enum DescriptionMissing {
    /// Its record found no room in the ring buffer.
    Lost,
    /// It was not the same twice: of files in flight their path in two passes; of a send that failed,
    /// the file behind the sender's number.
    Changed,
    /// There is no file: the sender gave a number that is not open.
    NoFile,
    /// The message was not seen where files are described: it lies in its queue unread, the record of
    /// its receive was lost, or it ended where this kernel shows nothing.
    NotSeen,
}
}

impl DescriptionMissing {
    /// What such files are, for people: `3 that changed as they were described`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Lost => "whose description was lost",
            Self::Changed => "that changed as they were described",
            Self::NoFile => "with a number that is not open",
            Self::NotSeen => "not seen where files are described",
        }
    }
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SocketDescription {
    /// Of the Internet.
    Inet {
        /// `tcp`, `udp` and the like, or a number.
        protocol: String,
        /// Address on this side.
        local: SocketAddr,
        /// Address on the other; `None` if it is not connected.
        remote: Option<SocketAddr>,
        /// It waits for connections.
        listens: bool,
    },
    /// A Unix socket.
    Unix {
        /// The name that it is bound to.
        name: Option<String>,
        /// Its peer's.
        peer: Option<String>,
        /// It waits for connections.
        listens: bool,
    },
    /// Between a virtual machine and its host, by context id and port.
    Vsock {
        /// This side.
        local: VsockAddr,
        /// The other side, if it is connected.
        remote: Option<VsockAddr>,
        /// It waits for connections.
        listens: bool,
    },
    /// Of another family, by what that and the protocol are called.
    Other(String),
}

/// Context id and port; `None` where that is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockAddr {
    /// Context id.
    pub cid: Option<u32>,
    /// Port.
    pub port: Option<u32>,
}

/// Magic numbers of file systems whose files are in no tree.
mod magic {
    pub(super) const ANON_INODE: u64 = 0x0904_1934;
    pub(super) const PIPE: u64 = 0x5049_5045;
    pub(super) const SOCKET: u64 = 0x534f_434b;
    pub(super) const NAMESPACE: u64 = 0x6e73_6673;
    pub(super) const PIDFD: u64 = 0x5049_4446;
    pub(super) const DMA_BUF: u64 = 0x444d_4142;
}

impl FileDescription {
    /// A file with this path in a file system with this magic number, 0 if that is not known.
    #[must_use]
    pub fn of_path(path: FilePath, magic: u64, ino: u64) -> Self {
        if !path.rootless {
            return Self::Path(path);
        }
        let name = &path.text;
        Self::Rootless(match magic {
            0 => path.to_string(),
            magic::ANON_INODE => format!("anon_inode:{name}"),
            magic::PIPE => format!("pipe:[{ino}]"),
            magic::SOCKET => format!("socket:[{ino}]"),
            magic::PIDFD => "anon_inode:[pidfd]".to_owned(),
            magic::NAMESPACE => format!("{name}:[{ino}]"),
            magic::DMA_BUF => format!("/dmabuf:{name}"),
            _ => format!("/{name} (deleted)"),
        })
    }

    /// What a hop sees of the file itself, where that says it all.
    #[must_use]
    pub fn of_identity(file: &FileIdentity) -> Option<Self> {
        match file.magic {
            magic::PIPE if file.kind() == FileKind::Pipe => {
                Some(Self::Rootless(format!("pipe:[{}]", file.ino)))
            }
            magic::PIDFD => Some(Self::Rootless("anon_inode:[pidfd]".to_owned())),
            magic::ANON_INODE => {
                let label = file.label?;
                // Without an end it is cut.
                let end = label.iter().position(|byte| *byte == 0)?;
                let name = lossless::text(&label[..end]);
                Some(Self::Rootless(format!("anon_inode:{name}")))
            }
            _ => None,
        }
    }

    /// It as text: what its `Display` writes.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Path(path) if !path.unlinked && !path.detached => Cow::from(&path.text),
            Self::Rootless(name) => Cow::from(name),
            _ => Cow::from(self.to_string()),
        }
    }

    /// Its path, if it is in a tree.
    #[must_use]
    pub fn path(&self) -> Option<&FilePath> {
        match self {
            Self::Path(path) => Some(path),
            _ => None,
        }
    }
}

impl SocketDescription {
    /// Whether it says more than that it is a socket: it is bound or connected, or no Unix socket.
    #[must_use]
    pub fn is_addressed(&self) -> bool {
        !matches!(
            self,
            Self::Unix {
                name: None,
                peer: None,
                ..
            }
        )
    }
}

impl fmt::Display for VsockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (before, number) in [("", self.cid), (":", self.port)] {
            match number {
                Some(number) => write!(f, "{before}{number}")?,
                None => write!(f, "{before}*")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for FileDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Rootless(name) => f.write_str(name),
            Self::Socket(socket) => socket.fmt(f),
        }
    }
}

impl fmt::Display for SocketDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet {
                protocol,
                local,
                remote,
                listens,
            } => {
                write!(f, "{protocol} {local}")?;
                connected(f, remote.as_ref(), *listens)
            }
            Self::Vsock {
                local,
                remote,
                listens,
            } => {
                write!(f, "vsock {local}")?;
                connected(f, remote.as_ref(), *listens)
            }
            Self::Unix {
                name,
                peer,
                listens,
            } => {
                f.write_str("unix")?;
                if let Some(name) = name {
                    write!(f, " {name}")?;
                }
                if let Some(peer) = peer {
                    write!(f, " ↔ {peer}")?;
                }
                if *listens {
                    f.write_str(" listening")?;
                }
                Ok(())
            }
            Self::Other(name) => f.write_str(name),
        }
    }
}

fn connected(
    f: &mut fmt::Formatter<'_>,
    remote: Option<&impl fmt::Display>,
    listens: bool,
) -> fmt::Result {
    match remote {
        Some(remote) => write!(f, " ↔ {remote}"),
        None if listens => f.write_str(" listening"),
        None => Ok(()),
    }
}
