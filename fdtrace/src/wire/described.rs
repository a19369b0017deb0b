//! What the kernel half says of files, sockets and paths, as the model has it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use fdtrace_common::{
    descriptions::{About, PathDescribed, SocketAddresses},
    paths::{PATH_CUT, PATH_DETACHED, PATH_MOUNT_ROOT, PATH_ROOTLESS, PATH_UNLINKED, PathHead},
    queues::BoundName,
    records::Head,
};
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

use super::{Recent, families};
use crate::model::{
    FileDescription, FilePath, SocketDescription, VsockAddr, lossless, socket_name,
};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_VSOCK: u16 = 40;
const LISTENS: u32 = 10;

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

/// Descriptions by the bytes that they were made of. Nothing else goes into one, so the same bytes are the same
/// description, whatever file they are of.
pub(super) type Known = Recent<Box<[u8]>, Arc<FileDescription>>;

/// What was made of these bytes before, or else what `make` makes.
fn known_or(
    known: &mut Known,
    bytes: &[u8],
    make: impl FnOnce() -> FileDescription,
) -> Arc<FileDescription> {
    if let Some(known) = known.get(bytes) {
        return Arc::clone(known);
    }
    let made = Arc::new(make());
    known.insert(bytes.into(), Arc::clone(&made));
    made
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
    pub description: Arc<FileDescription>,
}

impl Described {
    /// From the bytes of a [`PathDescribed`] and its names; `None` if they are too few.
    pub(super) fn path(head: &Head, bytes: &[u8], known: &mut Known) -> Option<Self> {
        let (described, names) = PathDescribed::read_from_prefix(bytes).ok()?;
        let About { ino, dev, magic } = described.about;
        let description = known_or(known, bytes, || {
            let path = path(&described.path, names);
            FileDescription::of_path(path, u64::from(magic), ino)
        });
        Some(Self {
            index: head.first,
            file: head.origin,
            ino,
            dev,
            description,
        })
    }

    /// From the bytes of a `SocketDescribed`, which may lack the names.
    pub(super) fn socket(head: &Head, bytes: &[u8], known: &mut Known) -> Option<Self> {
        let (about, bytes) = About::read_from_prefix(bytes).ok()?;
        let mut seen = SocketAddresses::new_zeroed();
        let len = bytes.len().min(size_of_val(&seen));
        if len < SocketAddresses::LEN_WITHOUT_NAMES {
            return None;
        }
        seen.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
        let described = FileDescription::Socket;
        let description = if head.origin == 0 {
            described(without_protocol(&seen)).into()
        } else {
            known_or(known, bytes, || described(socket(&seen)))
        };
        Some(Self {
            index: head.first,
            file: head.origin,
            ino: about.ino,
            dev: about.dev,
            description,
        })
    }
}

/// A socket, as the kernel half saw it.
#[must_use]
pub fn socket(seen: &SocketAddresses) -> SocketDescription {
    let listens = seen.state == LISTENS;
    match seen.family {
        AF_UNIX => SocketDescription::Unix {
            name: bound(&seen.name),
            peer: bound(&seen.peer_name),
            listens,
        },
        AF_INET | AF_INET6 => {
            let address = |bytes: [u8; 16], port| SocketAddr::new(ip(seen.family, bytes), port);
            let remote = address(seen.remote, seen.remote_port);
            SocketDescription::Inet {
                protocol: families::inet(seen.kind, seen.protocol),
                local: address(seen.local, seen.local_port),
                remote: (seen.remote_port != 0).then_some(remote),
                listens,
            }
        }
        AF_VSOCK => {
            let remote = vsock(seen.remote);
            SocketDescription::Vsock {
                local: vsock(seen.local),
                remote: Some(remote).filter(|remote| remote.port.is_some()),
                listens,
            }
        }
        family => SocketDescription::Other(families::other(family, seen.protocol)),
    }
}

/// A socket whose protocol was not read, as earlier versions recorded it.
fn without_protocol(seen: &SocketAddresses) -> SocketDescription {
    match socket(seen) {
        SocketDescription::Inet {
            local,
            remote,
            listens,
            ..
        } => SocketDescription::Inet {
            protocol: families::inet(seen.kind, families::usual(seen.kind)),
            local,
            remote,
            listens,
        },
        SocketDescription::Vsock { .. } | SocketDescription::Other(_) => {
            SocketDescription::Other(families::name(seen.family).into_owned())
        }
        unix @ SocketDescription::Unix { .. } => unix,
    }
}

fn vsock(bytes: [u8; 16]) -> VsockAddr {
    const ANY: u32 = u32::MAX;
    let number = |at: usize| {
        let bytes = bytes[at..at + 4].try_into().unwrap_or_default();
        Some(u32::from_ne_bytes(bytes)).filter(|number| *number != ANY)
    };
    VsockAddr {
        port: number(0),
        cid: number(4),
    }
}

/// A path, from the names that the kernel half found on the way up. `names` is what was read, of which `head.len` bytes count.
#[must_use]
pub fn path(head: &PathHead, names: &[u8]) -> FilePath {
    let used = usize::try_from(head.len).map_or(names.len(), |len| len.min(names.len()));
    let is = |flag: u32| head.flags & flag != 0;
    let mut parts: Vec<&[u8]> = names[..used].split(|byte| *byte == 0).collect();
    // What follows the last NUL is nothing.
    parts.pop();
    parts.reverse();
    let joined = parts.join(&b'/');
    let joined = lossless::text(&joined);
    let text = if is(PATH_ROOTLESS) {
        joined
    } else if is(PATH_CUT) {
        format!("…/{joined}")
    } else {
        format!("/{joined}")
    };
    FilePath {
        text,
        unlinked: is(PATH_UNLINKED),
        rootless: is(PATH_ROOTLESS),
        cut: is(PATH_CUT),
        detached: is(PATH_DETACHED),
        mount_root: is(PATH_MOUNT_ROOT),
        mount_id: head.mount_id,
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

    fn told_socket(head: &Head, bytes: &[u8]) -> Option<Described> {
        Described::socket(head, bytes, &mut Known::new(1))
    }

    fn told_path(head: &Head, bytes: &[u8]) -> Option<Described> {
        Described::path(head, bytes, &mut Known::new(1))
    }

    fn socket(change: impl FnOnce(&mut SocketAddresses)) -> String {
        let seen = addresses(change);
        let described = told_socket(&head(9), seen.as_bytes()).expect("it is whole");
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
            let cut = told_socket(&head(9), &seen.as_bytes()[..short]).expect("likewise");
            assert_eq!(cut.description, described.description);
            assert!(told_socket(&head(9), &seen.as_bytes()[..short - 1]).is_none());
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
            let described = told_socket(&head(0), seen.as_bytes()).expect("it is whole");
            described.description.to_string()
        };
        assert_eq!(old(AF_INET, 1), "tcp 0.0.0.0:0");
        assert_eq!(old(AF_INET, 2), "udp 0.0.0.0:0");
        // Zero would be NETLINK_ROUTE.
        assert_eq!(old(16, 3), "netlink");
    }

    fn path(flags: u32, magic: u32, names: &[u8]) -> Arc<FileDescription> {
        let mut seen = PathDescribed::new_zeroed();
        (seen.about.ino, seen.about.magic) = (77, magic);
        (seen.path.flags, seen.path.len) = (flags, names.len() as u64);
        let bytes = [seen.as_bytes(), names].concat();
        let described = told_path(&head(9), &bytes).expect("it is whole");
        assert!(told_path(&head(9), &bytes[..size_of::<PathHead>()]).is_none());
        described.description
    }

    #[test]
    fn what_is_known_is_what_would_be_made_of_the_same_bytes() {
        const SOCK_STREAM: u16 = 1;
        const MPTCP: u32 = 262;
        let mut known = Known::new(2);
        let mut told = |head: &Head, port: u16| {
            let seen = addresses(|seen| {
                (seen.family, seen.kind, seen.protocol) = (AF_INET, SOCK_STREAM, MPTCP);
                seen.local_port = port;
            });
            let described = Described::socket(head, seen.as_bytes(), &mut known).expect("whole");
            assert_eq!((described.index, described.file), (3, head.origin));
            let alone = told_socket(head, seen.as_bytes()).expect("it is whole");
            assert_eq!(described.description, alone.description);
            described.description
        };
        let first = told(&head(9), 1);
        let again = told(&head(10), 1);
        assert!(Arc::ptr_eq(&first, &again));
        // Of an earlier version the same bytes say less.
        assert_ne!(told(&head(0), 1), first);
        told(&head(9), 2);
        told(&head(9), 3);
        assert!(!Arc::ptr_eq(&first, &told(&head(9), 1)), "it was forgotten");
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

    fn file_path(flags: u32, names: &[u8]) -> FilePath {
        let head = PathHead {
            dentry: 0,
            mount: 0,
            inode: 0,
            len: names.len() as u64,
            flags,
            mount_id: 21,
        };
        // What an earlier and longer path left there does not count.
        super::path(&head, &[names, b"left over\0"].concat())
    }

    #[test]
    fn names_are_read_from_the_root_down() {
        assert_eq!(file_path(0, b"log\0var\0").text, "/var/log");
        assert_eq!(file_path(0, b"").text, "/");
        assert_eq!(file_path(0, b"log\0").mount_id, 21);
    }

    #[test]
    fn what_is_odd_about_a_path_is_said() {
        let deleted = file_path(PATH_UNLINKED, b"x\0tmp\0");
        assert_eq!(deleted.to_string(), "/tmp/x (deleted)");
        assert_eq!(
            file_path(PATH_DETACHED, b"x\0").to_string(),
            "/x (in a detached mount)"
        );
        assert_eq!(file_path(PATH_CUT, b"c\0b\0").text, "…/b/c");
        let eventfd = file_path(PATH_ROOTLESS, b"[eventfd]\0");
        assert_eq!(eventfd.to_string(), "[eventfd]");
        assert!(eventfd.rootless);
        assert_eq!(file_path(PATH_ROOTLESS, b"\0").text, "");
    }

    #[test]
    fn a_length_that_cannot_be_is_no_panic() {
        let head = PathHead {
            dentry: 0,
            mount: 0,
            inode: 0,
            len: u64::MAX,
            flags: 0,
            mount_id: 0,
        };
        assert_eq!(super::path(&head, b"a\0b\0").text, "/b/a");
        assert_eq!(super::path(&head, b"").text, "/");
    }
}
