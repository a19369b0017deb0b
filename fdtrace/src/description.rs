//! Description: what a file is, in the words of those who use it, and what separates one task from
//! another, as the kernel half read it at the time.

mod families;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use fdtrace_common::{
    descriptions::{About, PathDescribed, SocketAddresses},
    queues::BoundName,
    records::Head,
};
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

use crate::{
    lossless,
    path::FilePath,
    tracker::{FileIdentity, socket_name},
};

/// A file, as its readers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileDescription {
    /// By its path.
    Path(FilePath),
    /// By what `/proc/PID/fd` says of a file that is in no tree: `anon_inode:[eventfd]`.
    Rootless(String),
    /// A socket by its addresses.
    Socket(SocketDescription),
}

/// Why a file has no description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The record with it found no room.
    Lost,
    /// When it was looked up, another file was there.
    Changed,
    /// There is no file under the number that the sender gave.
    NoFile,
    /// Where its files would have been described, the message was not seen.
    NotSeen,
}

impl Missing {
    /// Its name in the output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Changed => "changed",
            Self::NoFile => "no-file",
            Self::NotSeen => "not-seen",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "whose description was lost",
            Self::Changed => "that changed as they were described",
            Self::NoFile => "with a number that is not open",
            Self::NotSeen => "not seen where files are described",
        })
    }
}

/// What one record says: which file of which list, and what that is.
#[derive(Clone, Debug)]
pub struct Described {
    /// Place in the list.
    pub index: u16,
    /// Address of the file; 0 in earlier recordings, which name neither file nor place.
    pub file: u64,
    /// Inode number.
    pub ino: u64,
    /// Device of its file system.
    pub dev: u32,
    /// What it is.
    pub description: FileDescription,
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VsockAddr {
    cid: Option<u32>,
    port: Option<u32>,
}

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_VSOCK: u16 = 40;
const LISTENS: u32 = 10;

impl Described {
    /// From the bytes of a [`PathDescribed`] and its names; `None` if they are too few.
    pub(crate) fn path(head: &Head, bytes: &[u8]) -> Option<Self> {
        let (described, names) = PathDescribed::read_from_prefix(bytes).ok()?;
        let path = FilePath::of(&described.path, names);
        let About { ino, dev, magic } = described.about;
        let description = FileDescription::of_path(path, u64::from(magic), ino);
        Some(Self {
            index: head.first,
            file: head.origin,
            ino,
            dev,
            description,
        })
    }

    /// From the bytes of a `SocketDescribed`, which may lack the names.
    pub(crate) fn socket(head: &Head, bytes: &[u8]) -> Option<Self> {
        let (about, bytes) = About::read_from_prefix(bytes).ok()?;
        let mut seen = SocketAddresses::new_zeroed();
        let len = bytes.len().min(size_of_val(&seen));
        if len < SocketAddresses::LEN_WITHOUT_NAMES {
            return None;
        }
        seen.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
        let description = if head.origin == 0 {
            SocketDescription::without_protocol(&seen)
        } else {
            SocketDescription::of(&seen)
        };
        Some(Self {
            index: head.first,
            file: head.origin,
            ino: about.ino,
            dev: about.dev,
            description: FileDescription::Socket(description),
        })
    }
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
            magic::PIPE if file.kind() == "pipe" => {
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
    /// What the kernel half saw.
    #[must_use]
    pub fn of(seen: &SocketAddresses) -> Self {
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
                    protocol: families::inet(seen.kind, seen.protocol),
                    local: address(seen.local, seen.local_port),
                    remote: (seen.remote_port != 0).then_some(remote),
                    listens,
                }
            }
            AF_VSOCK => {
                let remote = VsockAddr::of(seen.remote);
                Self::Vsock {
                    local: VsockAddr::of(seen.local),
                    remote: Some(remote).filter(|remote| remote.port.is_some()),
                    listens,
                }
            }
            family => Self::Other(families::other(family, seen.protocol)),
        }
    }

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

    /// Likewise where the protocol was not read.
    fn without_protocol(seen: &SocketAddresses) -> Self {
        match Self::of(seen) {
            Self::Inet {
                local,
                remote,
                listens,
                ..
            } => Self::Inet {
                protocol: families::inet(seen.kind, families::usual(seen.kind)),
                local,
                remote,
                listens,
            },
            Self::Vsock { .. } | Self::Other(_) => {
                Self::Other(families::name(seen.family).into_owned())
            }
            unix @ Self::Unix { .. } => unix,
        }
    }
}

impl VsockAddr {
    fn of(bytes: [u8; 16]) -> Self {
        const ANY: u32 = u32::MAX;
        let number = |at: usize| {
            let bytes = bytes[at..at + 4].try_into().unwrap_or_default();
            Some(u32::from_ne_bytes(bytes)).filter(|number| *number != ANY)
        };
        Self {
            port: number(0),
            cid: number(4),
        }
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

#[cfg(test)]
mod tests {
    use fdtrace_common::{
        descriptions::SocketDescribed,
        paths::{PATH_ROOTLESS, PATH_UNLINKED, PathHead},
    };

    use super::*;

    fn addresses(change: impl FnOnce(&mut SocketAddresses)) -> SocketDescribed {
        let mut seen = SocketDescribed::new_zeroed();
        (seen.about.dev, seen.about.ino) = (8, 77);
        change(&mut seen.addresses);
        seen
    }

    fn head(file: u64) -> Head {
        let mut head = Head::new_zeroed();
        (head.origin, head.first) = (file, 3);
        head
    }

    fn socket(change: impl FnOnce(&mut SocketAddresses)) -> String {
        let seen = addresses(change);
        let described = Described::socket(&head(9), seen.as_bytes()).expect("it is whole");
        let is_of = (
            described.index,
            described.file,
            described.dev,
            described.ino,
        );
        assert_eq!(is_of, (3, 9, 8, 77));
        // Only a Unix socket's record has the names.
        if seen.addresses.family != AF_UNIX {
            let short = size_of::<About>() + SocketAddresses::LEN_WITHOUT_NAMES;
            let cut = Described::socket(&head(9), &seen.as_bytes()[..short]).expect("likewise");
            assert_eq!(cut.description, described.description);
            assert!(Described::socket(&head(9), &seen.as_bytes()[..short - 1]).is_none());
        }
        described.description.to_string()
    }

    #[test]
    fn sockets_are_told_by_their_addresses() {
        let listener = socket(|seen| {
            (seen.family, seen.kind, seen.state, seen.protocol) = (AF_INET, 1, LISTENS, 6);
            seen.local_port = 80;
            seen.local[..4].copy_from_slice(&[127, 0, 0, 1]);
        });
        assert_eq!(listener, "tcp 127.0.0.1:80 listening");
        let mapped = socket(|seen| {
            (seen.family, seen.kind, seen.state, seen.protocol) = (AF_INET6, 1, 1, 262);
            seen.local = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
            seen.remote = Ipv6Addr::LOCALHOST.octets();
            (seen.local_port, seen.remote_port) = (443, 5000);
        });
        assert_eq!(mapped, "mptcp 10.0.0.1:443 ↔ [::1]:5000");
        let unix = socket(|seen| {
            seen.family = AF_UNIX;
            seen.peer_name.len = 4;
            seen.peer_name.name[..4].copy_from_slice(b"/a/b");
        });
        assert_eq!(unix, "unix ↔ /a/b");
    }

    #[test]
    fn families_and_protocols_have_names() {
        let of =
            |family, protocol| socket(|seen| (seen.family, seen.protocol) = (family, protocol));
        assert_eq!(of(16, 0), "netlink route");
        assert_eq!(of(16, 77), "netlink protocol 77");
        assert_eq!(of(17, 768), "packet");
        assert_eq!(of(31, 3), "bluetooth rfcomm");
        assert_eq!(of(200, 1), "socket of family 200");
        let vsock = socket(|seen| {
            (seen.family, seen.state) = (AF_VSOCK, LISTENS);
            seen.local[..4].copy_from_slice(&22_u32.to_ne_bytes());
            seen.local[4..8].fill(0xff);
            seen.remote[..8].fill(0xff);
        });
        assert_eq!(vsock, "vsock *:22 listening");
    }

    #[test]
    fn what_an_earlier_version_wrote_has_no_protocol() {
        let old = |family, kind| {
            let seen = addresses(|seen| (seen.family, seen.kind) = (family, kind));
            let described = Described::socket(&head(0), seen.as_bytes()).expect("it is whole");
            described.description.to_string()
        };
        assert_eq!(old(AF_INET, 1), "tcp 0.0.0.0:0");
        assert_eq!(old(AF_INET, 2), "udp 0.0.0.0:0");
        // Zero would be NETLINK_ROUTE.
        assert_eq!(old(16, 3), "netlink");
    }

    fn path(flags: u32, magic: u32, names: &[u8]) -> FileDescription {
        let mut seen = PathDescribed::new_zeroed();
        (seen.about.ino, seen.about.magic) = (77, magic);
        (seen.path.flags, seen.path.len) = (flags, names.len() as u64);
        let bytes = [seen.as_bytes(), names].concat();
        let described = Described::path(&head(9), &bytes).expect("it is whole");
        assert!(Described::path(&head(9), &bytes[..size_of::<PathHead>()]).is_none());
        described.description
    }

    #[test]
    fn files_in_no_tree_are_called_what_readlink_calls_them() {
        let of = |magic, name: &[u8]| path(PATH_ROOTLESS, magic, name);
        for (magic, name, called) in [
            (0x0904_1934, &b"[eventfd]\0"[..], "anon_inode:[eventfd]"),
            (0x5049_4446, b"/\0", "anon_inode:[pidfd]"),
            (0x6e73_6673, b"net\0", "net:[77]"),
            (0x5049_5045, b"\0", "pipe:[77]"),
            (0x534f_434b, b"TCP\0", "socket:[77]"),
            (0x444d_4142, b"camera\0", "/dmabuf:camera"),
            (0x0102_1994, b"memfd:x\0", "/memfd:x (deleted)"),
        ] {
            let described = of(magic, name);
            assert_eq!(described.to_string(), called);
            assert!(described.path().is_none());
        }
        let file = path(PATH_UNLINKED, 0xef53, b"x\0tmp\0");
        assert_eq!(file.to_string(), "/tmp/x (deleted)");
        assert_eq!(file.path().map(|path| &*path.text), Some("/tmp/x"));
    }
}
