//! From the bytes of a `SendRefused`.

use fdtrace_common::refused::{NO_LIMIT, SendRefused};
use zerocopy::FromBytes as _;

use crate::model::{FailedSend, SocketType, UserInFlight, socket_name};

/// What a failed send had to do with; `None` if the bytes are too few.
pub(super) fn failed_send(bytes: &[u8]) -> Option<FailedSend> {
    let (seen, _) = SendRefused::read_from_prefix(bytes).ok()?;
    let name = seen.name.name.get(..seen.name.len as usize)?;
    let is_known = seen.receiver_sock != 0;
    let is_limited =
        SocketType::of(seen.kind) != Some(SocketType::Stream) && seen.queue_limit != NO_LIMIT;
    Some(FailedSend {
        receiver_sock: seen.receiver_sock,
        receiver_ino: Some(seen.receiver_ino).filter(|ino| *ino != 0),
        path: (!name.is_empty()).then(|| socket_name(name)),
        queued: is_known.then_some(seen.queued),
        queue_limit: (is_known && is_limited).then_some(seen.queue_limit),
        unread: seen.unread,
        unread_limit: seen.unread_limit,
        user: (seen.user_read != 0).then_some(UserInFlight {
            uid: seen.uid,
            files: seen.in_flight,
            limit: seen.in_flight_limit,
        }),
        holders: Vec::new(),
    })
}
