//! Description: what a file is, in the words of those who use it, and what separates one task from
//! another, as the kernel half read it at the time.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use fdtrace_common::{
    descriptions::{About, PathDescribed, SocketDescribed},
    queues::BoundName,
};
use zerocopy::FromBytes as _;

use crate::{path::FilePath, tracker::socket_name};

/// What identifies a file until it is described anew: device and inode number.
pub type FileKey = (u32, u64);

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileDescription {
    /// By its path, or its one name if it is in no tree.
    Path(FilePath),
    /// A socket by its addresses.
    Socket(SocketDescription),
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketDescription {
    /// Of the Internet.
    Inet {
        /// `tcp` or `udp`, or another type's number.
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
    /// Of another family, by its number.
    Other(u16),
}

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const LISTENS: u32 = 10;

impl FileDescription {
    /// From the bytes of a [`PathDescribed`]; `None` if they are too few.
    pub(crate) fn of_path(bytes: &[u8]) -> Option<(FileKey, Self)> {
        let (described, _) = PathDescribed::read_from_prefix(bytes).ok()?;
        let path = FilePath::of(&described.path, &described.names);
        Some((key(&described.about), Self::Path(path)))
    }

    /// From the bytes of a [`SocketDescribed`].
    pub(crate) fn of_socket(bytes: &[u8]) -> Option<(FileKey, Self)> {
        let (described, _) = SocketDescribed::read_from_prefix(bytes).ok()?;
        let socket = SocketDescription::of(&described);
        Some((key(&described.about), Self::Socket(socket)))
    }

    /// Its path, if it is in a tree.
    #[must_use]
    pub fn path(&self) -> Option<&FilePath> {
        match self {
            Self::Path(path) if !path.rootless => Some(path),
            _ => None,
        }
    }
}

fn key(about: &About) -> FileKey {
    (about.dev, about.ino)
}

impl SocketDescription {
    fn of(seen: &SocketDescribed) -> Self {
        let listens = seen.state == LISTENS;
        match seen.family {
            AF_UNIX => Self::Unix {
                name: bound(&seen.name),
                peer: bound(&seen.peer_name),
                listens,
            },
            AF_INET | AF_INET6 => {
                let address = |bytes: [u8; 16], port| SocketAddr::new(ip(seen.family, bytes), port);
                let remote = address(seen.remote, seen.remote_port);
                Self::Inet {
                    protocol: match seen.kind {
                        1 => "tcp".to_owned(),
                        2 => "udp".to_owned(),
                        other => format!("type {other}"),
                    },
                    local: address(seen.local, seen.local_port),
                    remote: (seen.remote_port != 0).then_some(remote),
                    listens,
                }
            }
            other => Self::Other(other),
        }
    }
}

fn bound(name: &BoundName) -> Option<String> {
    let bytes = name.name.get(..name.len as usize)?;
    (!bytes.is_empty()).then(|| socket_name(bytes))
}

fn ip(family: u16, bytes: [u8; 16]) -> IpAddr {
    if family == AF_INET {
        let [a, b, c, d, ..] = bytes;
        return Ipv4Addr::new(a, b, c, d).into();
    }
    // An IPv4 peer of an IPv6 socket is written as what it is.
    Ipv6Addr::from(bytes).to_canonical()
}

impl fmt::Display for FileDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
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
                match remote {
                    Some(remote) => write!(f, " ↔ {remote}"),
                    None if *listens => f.write_str(" listening"),
                    None => Ok(()),
                }
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
            Self::Other(family) => write!(f, "socket of family {family}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use fdtrace_common::paths::{PATH_ROOTLESS, PATH_UNLINKED};
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    fn socket(change: impl FnOnce(&mut SocketDescribed)) -> String {
        let mut seen = SocketDescribed::new_zeroed();
        (seen.about.dev, seen.about.ino) = (8, 77);
        change(&mut seen);
        let (key, description) = FileDescription::of_socket(seen.as_bytes()).expect("it is whole");
        assert_eq!(key, (8, 77));
        description.to_string()
    }

    #[test]
    fn sockets_are_told_by_their_addresses() {
        let listener = socket(|seen| {
            (seen.family, seen.kind, seen.state) = (AF_INET, 1, LISTENS);
            seen.local_port = 80;
            seen.local[..4].copy_from_slice(&[127, 0, 0, 1]);
        });
        assert_eq!(listener, "tcp 127.0.0.1:80 listening");
        let mapped = socket(|seen| {
            (seen.family, seen.kind, seen.state) = (AF_INET6, 1, 1);
            seen.local = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
            seen.remote = Ipv6Addr::LOCALHOST.octets();
            (seen.local_port, seen.remote_port) = (443, 5000);
        });
        assert_eq!(mapped, "tcp 10.0.0.1:443 ↔ [::1]:5000");
        let unix = socket(|seen| {
            seen.family = AF_UNIX;
            seen.peer_name.len = 4;
            seen.peer_name.name[..4].copy_from_slice(b"/a/b");
        });
        assert_eq!(unix, "unix ↔ /a/b");
        assert_eq!(socket(|seen| seen.family = 16), "socket of family 16");
    }

    #[test]
    fn a_name_that_is_no_path_is_none() {
        let mut seen = PathDescribed::new_zeroed();
        seen.path.flags = PATH_ROOTLESS | PATH_UNLINKED;
        seen.names[..8].copy_from_slice(b"memfd:x\0");
        seen.path.len = 8;
        let (_, memfd) = FileDescription::of_path(seen.as_bytes()).expect("it is whole");
        assert!(memfd.path().is_none());
        assert_eq!(memfd.to_string(), "memfd:x (deleted)");
        seen.path.flags = 0;
        let (_, file) = FileDescription::of_path(seen.as_bytes()).expect("it is whole");
        assert!(file.path().is_some());
        assert!(FileDescription::of_path(&seen.as_bytes()[1..]).is_none());
    }
}
