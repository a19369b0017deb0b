//! Wire: bytes of the ring buffer become records here, and records events, once. Nothing behind this knows how the kernel
//! half lays out its records.

mod assembler;
mod backtrace;
mod control;
mod decode;
mod described;
mod event;
mod failed_send;
mod families;
mod found;
mod queues;
mod recent;
mod record;
mod sighted;

pub use assembler::{Assembler, Symbolizer};
pub use backtrace::Backtrace;
pub use control::Control;
pub use decode::{DecodeError, Decoder, decode};
pub use described::{Described, path, socket};
pub use event::{
    Actor, Aside, At, Call, Description, Ends, Errno, Event, EventKind, Fd, Given, List, Look,
    Received, Refusal, Return, SendReturn, Sight, Sighting, Sights, Skb, Sock, Stamp, Table,
    Unsent,
};
pub use found::{description, found};
pub use queues::{holders, queued_file, unix_socket};
pub(crate) use recent::Recent;
pub use record::{AsideKind, Record};
pub(crate) use sighted::{hop_seen, receiver, sender, sockets};
