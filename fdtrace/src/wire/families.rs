//! What families of sockets and their protocols are called, as commands call them.

use std::borrow::Cow;

const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;

/// Protocols by number.
type Protocols = &'static [(u32, &'static str)];

/// Protocols of the Internet.
const INET: [(u32, &str); 9] = [
    (1, "icmp"),
    (6, TCP),
    (17, UDP),
    (33, "dccp"),
    (58, "icmpv6"),
    (115, "l2tp"),
    (132, "sctp"),
    (136, "udplite"),
    (262, "mptcp"),
];
const TCP: &str = "tcp";
const UDP: &str = "udp";

const NETLINK: [(u32, &str); 20] = [
    (0, "route"),
    (2, "usersock"),
    (3, "firewall"),
    (4, "sock_diag"),
    (5, "nflog"),
    (6, "xfrm"),
    (7, "selinux"),
    (8, "iscsi"),
    (9, "audit"),
    (10, "fib_lookup"),
    (11, "connector"),
    (12, "netfilter"),
    (13, "ip6_fw"),
    (14, "dnrtmsg"),
    (15, "kobject_uevent"),
    (16, "generic"),
    (18, "scsitransport"),
    (19, "ecryptfs"),
    (20, "rdma"),
    (21, "crypto"),
];

const BLUETOOTH: [(u32, &str); 9] = [
    (0, "l2cap"),
    (1, "hci"),
    (2, "sco"),
    (3, "rfcomm"),
    (4, "bnep"),
    (5, "cmtp"),
    (6, "hidp"),
    (7, "avdtp"),
    (8, "iso"),
];

const CAN: [(u32, &str); 4] = [(1, "raw"), (2, "bcm"), (6, "isotp"), (7, "j1939")];

/// Families, with those of their protocols that have a name.
const FAMILIES: [(u16, &str, Protocols); 27] = [
    (3, "ax25", &[]),
    (4, "ipx", &[]),
    (5, "appletalk", &[]),
    (9, "x25", &[]),
    (15, "key", &[]),
    (16, "netlink", &NETLINK),
    (17, "packet", &[]),
    (20, "atmsvc", &[]),
    (21, "rds", &[]),
    (24, "pppox", &[]),
    (26, "llc", &[]),
    (27, "infiniband", &[]),
    (28, "mpls", &[]),
    (29, "can", &CAN),
    (30, "tipc", &[]),
    (31, "bluetooth", &BLUETOOTH),
    (33, "rxrpc", &[]),
    (35, "phonet", &[]),
    (36, "ieee802154", &[]),
    (38, "alg", &[]),
    (39, "nfc", &[]),
    (40, "vsock", &[]),
    (41, "kcm", &[]),
    (42, "qipcrtr", &[]),
    (43, "smc", &[]),
    (44, "xdp", &[]),
    (45, "mctp", &[]),
];

/// A socket of AF_INET or AF_INET6.
pub(super) fn inet(kind: u16, protocol: u32) -> String {
    if kind == SOCK_RAW {
        return "raw".to_owned();
    }
    let known = INET.iter().find(|(number, _)| *number == protocol);
    known.map_or_else(
        || format!("protocol {protocol}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// The protocol that a socket of this type has if nobody asks for another.
pub(super) fn usual(kind: u16) -> u32 {
    let name = match kind {
        SOCK_STREAM => TCP,
        SOCK_DGRAM => UDP,
        _ => return 0,
    };
    let known = INET.iter().find(|(_, called)| *called == name);
    known.map_or(0, |(number, _)| *number)
}

/// A family.
pub(super) fn name(family: u16) -> Cow<'static, str> {
    let known = FAMILIES.iter().find(|(number, ..)| *number == family);
    known.map_or_else(
        || format!("socket of family {family}").into(),
        |(_, name, _)| (*name).into(),
    )
}

/// A socket of another family than those whose addresses are known.
pub(super) fn other(family: u16, protocol: u32) -> String {
    let name = name(family);
    let known = FAMILIES.iter().find(|(number, ..)| *number == family);
    match known {
        Some((_, _, protocols)) if !protocols.is_empty() => {
            let protocol = protocols
                .iter()
                .find(|(number, _)| *number == protocol)
                .map_or_else(
                    || Cow::from(format!("protocol {protocol}")),
                    |(_, name)| (*name).into(),
                );
            format!("{name} {protocol}")
        }
        _ => name.into_owned(),
    }
}
