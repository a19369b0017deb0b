//! Wire: bytes of the ring buffer become events here, once. Nothing behind this knows how the kernel
//! half lays out its records.

mod control;
mod decode;
mod described;
mod event;
mod families;
mod found;
mod queues;
mod sighted;

pub use control::Control;
pub use decode::{DecodeError, decode};
pub use described::{Described, path, socket};
pub use event::{
    Actor, At, Call, Ends, Errno, Event, Fd, Given, List, Look, Refusal, Return, SendReturn, Sight,
    Sighting, Skb, Sock, Stamp, Table,
};
pub use found::{description, found};
pub use queues::{holders, queued_file, unix_socket};
pub(crate) use sighted::{hop_seen, receiver, sender, sockets};
