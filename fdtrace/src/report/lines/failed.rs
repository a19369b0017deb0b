//! What is said of a send that failed, beside its errno.

use super::{
    super::{phrase::grouped, sanitize::push_sanitized},
    row::push_party,
};
use crate::model::{Cause, FailedSend};

/// Holders of a socket that are named.
const HOLDERS_SHOWN: usize = 3;

/// What a failed send had to do with, as far as its errno is about that and it still was so as the call
/// returned.
pub(super) fn failed_send(send: &FailedSend, cause: Cause) -> Option<String> {
    let to = receiver_of(send);
    let was_to_go = || to.as_ref().map(|to| format!("it was to go to {to}"));
    match cause {
        Cause::Errno(libc::EAGAIN) => match (send.queued, send.queue_limit) {
            (Some(queued), Some(limit)) if queued > limit => Some(match to {
                Some(to) => format!("{queued} of {limit} queued at {to}"),
                None => format!("{queued} of {limit} queued"),
            }),
            _ if send.unread >= send.unread_limit => {
                let full = format!(
                    "the sending socket's buffer is full, with {} of {} bytes",
                    grouped(send.unread.into()),
                    grouped(send.unread_limit.into())
                );
                Some(was_to_go().map_or_else(|| full.clone(), |it| format!("{full}; {it}")))
            }
            _ => was_to_go(),
        },
        Cause::Errno(libc::ETOOMANYREFS) => {
            let user = send.user.filter(|user| user.files > user.limit)?;
            Some(format!(
                "uid {} has {} descriptors in flight of {}",
                user.uid, user.files, user.limit
            ))
        }
        Cause::Errno(_) | Cause::Passrights => was_to_go(),
        _ => None,
    }
}

/// Where a failed send was to go: a path, processes, or both; `None` where neither is known.
fn receiver_of(send: &FailedSend) -> Option<String> {
    let mut to = String::new();
    if let Some(path) = &send.path {
        push_sanitized(&mut to, path);
    }
    for (place, holder) in send.holders.iter().take(HOLDERS_SHOWN).enumerate() {
        match place {
            0 if to.is_empty() => {}
            0 => to.push_str(" of "),
            _ => to.push_str(", "),
        }
        push_party(&mut to, &holder.comm, holder.pid);
    }
    (!to.is_empty()).then_some(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HeldBy, UserInFlight};

    fn full() -> FailedSend {
        let comm = "logd".into();
        FailedSend {
            path: Some("/run/log.sock".to_owned()),
            queued: Some(11),
            queue_limit: Some(10),
            unread: 8448,
            unread_limit: 212_992,
            holders: vec![HeldBy { pid: 9, comm }],
            ..FailedSend::default()
        }
    }

    #[test]
    fn what_refused_a_send_is_named_only_while_it_is_still_so() {
        let said = |send: &FailedSend| failed_send(send, Cause::Errno(libc::EAGAIN));
        let queue = full();
        let expected = "11 of 10 queued at /run/log.sock of logd[9]";
        assert_eq!(said(&queue).as_deref(), Some(expected));
        // What the socket has sent may lie anywhere.
        let buffer = FailedSend {
            queue_limit: None,
            unread: 213_504,
            ..full()
        };
        let expected = "the sending socket's buffer is full, with 213,504 of 212,992 bytes; \
                        it was to go to /run/log.sock of logd[9]";
        assert_eq!(said(&buffer).as_deref(), Some(expected));
        // There is room by now, of both.
        let room = FailedSend {
            queued: Some(10),
            ..full()
        };
        let expected = "it was to go to /run/log.sock of logd[9]";
        assert_eq!(said(&room).as_deref(), Some(expected));
        let unknown = FailedSend {
            path: None,
            holders: Vec::new(),
            ..room
        };
        assert_eq!(said(&unknown), None);
    }

    #[test]
    fn a_user_is_named_only_while_it_has_too_many_in_flight() {
        let said = |files| {
            let limit = 64;
            let user = Some(UserInFlight {
                uid: 1000,
                files,
                limit,
            });
            let send = FailedSend { user, ..full() };
            failed_send(&send, Cause::Errno(libc::ETOOMANYREFS))
        };
        let expected = "uid 1000 has 66 descriptors in flight of 64";
        assert_eq!(said(66).as_deref(), Some(expected));
        assert_eq!(said(64), None);
    }
}
