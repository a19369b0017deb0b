//! Socket: the pair that a message goes through.

use schemars::JsonSchema;
use serde::Serialize;

use super::{lossless, named};

named! { "kebab-case";
/// Type of a Unix socket.
#[non_exhaustive]
pub enum SocketType {
    /// SOCK_STREAM.
    Stream,
    /// SOCK_DGRAM.
    Dgram,
    /// SOCK_SEQPACKET.
    Seqpacket,
}
}

impl SocketType {
    /// The type that the kernel has this number for.
    #[must_use]
    pub fn of(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Stream),
            2 => Some(Self::Dgram),
            5 => Some(Self::Seqpacket),
            _ => None,
        }
    }

    /// The kernel's number for it.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Stream => 1,
            Self::Dgram => 2,
            Self::Seqpacket => 5,
        }
    }
}

/// The sockets that a message goes through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Socket {
    /// Type; null if it was not seen in the queue, or is no Unix socket.
    #[serde(rename = "type")]
    pub kind: Option<SocketType>,
    /// Path that the receiver, or else the sender, is bound to; `@` and an abstract name. A path that
    /// begins with `@` is `./@` here.
    pub path: Option<String>,
    /// Inode number of the sender's socket.
    pub sender_ino: Option<u64>,
    /// Inode number of the receiver's socket; null before it is accepted.
    pub receiver_ino: Option<u64>,
    /// What it is, where it is no Unix socket: its protocol and addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
}

/// `sun_path` as users write it: up to the first NUL, or `@` and the name if it begins with one.
#[must_use]
pub fn socket_name(name: &[u8]) -> String {
    match name.split_first() {
        Some((0, rest)) => format!("@{}", lossless::text(rest)),
        _ => {
            let path = name.split(|byte| *byte == 0).next().unwrap_or_default();
            // A path that begins like an abstract name is told from one.
            let ahead = if path.starts_with(b"@") { "./" } else { "" };
            format!("{ahead}{}", lossless::text(path))
        }
    }
}
