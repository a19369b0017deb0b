//! Fate and cause: how a transfer ended, and why.

use std::{borrow::Cow, fmt, sync::LazyLock};

use nix::errno::Errno;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected},
};

use super::named;

named! { "kebab-case";
/// How a transfer ended.
#[non_exhaustive]
pub enum Fate {
    /// It has a new number at the receiver.
    Delivered,
    /// A duplicate was installed by MSG_PEEK; the message stayed.
    Peeked,
    /// The receiver took the message and not this file, for want of room, or because it could not
    /// be installed (MSG_CTRUNC).
    Truncated,
    /// The receiver's kernel refused to install it.
    Refused,
    /// The list went away without a receiver for it.
    Discarded,
    /// The garbage collector took the sockets that held it.
    Collected,
    /// It never got into a queue.
    Failed,
    /// It is still in the queue.
    Queued,
    /// Its end was not seen.
    Unknown,
}
}

impl Fate {
    /// Whether there is a reason to ask for: neither where it arrived, nor where it has not ended.
    #[must_use]
    pub fn has_cause(self) -> bool {
        matches!(
            self,
            Self::Truncated | Self::Refused | Self::Discarded | Self::Collected | Self::Failed
        )
    }

    /// Whether it came with a new number at a receiver.
    #[must_use]
    pub fn installs(self) -> bool {
        matches!(self, Self::Delivered | Self::Peeked)
    }
}

/// Why a transfer ended as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// The control buffer was too small, or there was none.
    NoControlRoom,
    /// The receiver has as many descriptors as it may.
    RlimitNofile,
    /// A security module, or another check at the receiver, said no.
    Lsm,
    /// The send failed with this errno, or writing the number to the receiver did.
    #[strum(disabled)]
    Errno(i32),
    /// The receiver takes no descriptors (SO_PASSRIGHTS is off): EPERM at the sender.
    Passrights,
    /// More than 253 descriptors in one message: EINVAL at the sender.
    TooManyFds,
    /// A stream message without data carries nothing, and the send succeeds.
    ZeroLength,
    /// It was sent on a socket that is no Unix socket: those pass none, and the send may succeed.
    NotUnix,
    /// The data was taken by a call that cannot take descriptors.
    PlainRead,
    /// The data was spliced, and a pipe takes no descriptors.
    Splice,
    /// It came with an out-of-band byte, which does not bring its descriptors.
    Oob,
    /// A sockmap program took the data in the sender's task.
    Sockmap,
    /// The receive failed after it had taken the message.
    ReceiveFailed,
    /// The receiving socket was closed.
    ReceiverClosed,
    /// The connection was not accepted before its listener was closed.
    ListenerClosed,
    /// The datagram socket was connected to another peer.
    Reconnect,
    /// Only sockets in flight referred to each other.
    GarbageCollector,
    /// The kernel dropped the skb somewhere that fdtrace has no name for.
    Dropped,
}

impl Cause {
    /// Every cause that is not an errno, in the order of declaration.
    pub const NAMED: [Self; 17] = [
        Self::NoControlRoom,
        Self::RlimitNofile,
        Self::Lsm,
        Self::Passrights,
        Self::TooManyFds,
        Self::ZeroLength,
        Self::NotUnix,
        Self::PlainRead,
        Self::Splice,
        Self::Oob,
        Self::Sockmap,
        Self::ReceiveFailed,
        Self::ReceiverClosed,
        Self::ListenerClosed,
        Self::Reconnect,
        Self::GarbageCollector,
        Self::Dropped,
    ];

    /// Its name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Errno(errno) => errno_name(errno),
            named => named.into(),
        }
    }

    /// The cause with this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let errno = || ERRNOS.iter().position(|known| known == name);
        let named = name.parse().ok();
        named.or_else(|| Some(Self::Errno(i32::try_from(errno()?).ok()?)))
    }
}

/// The largest errno that a system call returns (MAX_ERRNO).
const ERRNO_MAX: usize = 4095;

/// Every errno's name in lower case, or its number where it has none.
static ERRNOS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let name = |errno: usize| match Errno::from_raw(errno as i32) {
        Errno::UnknownErrno => format!("errno-{errno}"),
        known => format!("{known:?}").to_lowercase(),
    };
    (0..=ERRNO_MAX).map(name).collect()
});

fn errno_name(errno: i32) -> &'static str {
    let name = usize::try_from(errno).ok().and_then(|at| ERRNOS.get(at));
    name.map_or("no-errno", String::as_str)
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::of_name(&name)
            .ok_or_else(|| Error::invalid_value(Unexpected::Str(&name), &"the name of a cause"))
    }
}

impl JsonSchema for Cause {
    fn schema_name() -> Cow<'static, str> {
        "Cause".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Why a transfer ended as it did: one of these names, or the errno that \
                            the call failed with, in lower case.",
            "anyOf": [
                { "enum": Self::NAMED.map(Self::name) },
                { "type": "string", "pattern": "^(e[a-z0-9]+|errno-[0-9]+)$" },
            ],
        })
    }
}

named! { "kebab-case";
/// Why a fate that has a cause is shown without it.
#[derive(Default)]
#[non_exhaustive]
pub enum CauseMissing {
    /// Nothing that this kernel lets fdtrace watch shows it.
    NotWatched,
    /// What sends return is watched from the first one on that fails, and this was it.
    NotYetWatched,
    /// What would have shown it did not.
    #[default]
    NotSeen,
    /// A signal interrupted the send, or io_uring put it off, and it was not seen again: what the
    /// program was told, and whether it was told anything, is not known.
    Interrupted,
    /// Records were lost or programs skipped that may have told otherwise.
    Lost,
}
}
