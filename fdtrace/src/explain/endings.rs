//! What each end of a transfer means, and in which function it goes that way.

use super::words::{of_cause, of_errno_sentence, of_fate};
use crate::model::{Cause, Fate};

/// What became of a file, in a sentence without a full stop.
pub(super) fn ending(fate: Fate, cause: Option<Cause>) -> String {
    match cause {
        None => of_fate(fate).means.to_owned(),
        Some(Cause::Errno(errno)) => of_errno_sentence(errno),
        Some(cause) => of_cause(cause).means.to_owned(),
    }
}

/// Where a message's way turned from the way of one that arrives.
pub(super) struct Turn {
    /// Whether that was in the sender's call.
    pub(super) in_send: bool,
    /// The functions in which it shows, whichever of them takes part.
    functions: &'static [&'static str],
    /// What happened there this time.
    pub(super) note: String,
}

impl Turn {
    pub(super) fn is_in(&self, function: &str) -> bool {
        self.functions.contains(&function)
    }
}

/// The calls in which a socket's type sends.
const SENDMSG: &[&str] = &["unix_stream_sendmsg", "unix_dgram_sendmsg"];
/// Where a list ends that nobody had.
const DESTROY: &[&str] = &["scm_destroy"];

/// Where a cause shows on the path; `None` if it is not known in which function.
pub(super) fn turn(cause: Cause) -> Option<Turn> {
    type Place = (bool, &'static [&'static str], String);
    let of_send = |functions, note: &str| -> Place { (true, functions, note.to_owned()) };
    let of_rest = |functions, note: &str| -> Place { (false, functions, note.to_owned()) };
    let (in_send, functions, note) = match cause {
        Cause::NoControlRoom => of_rest(&["scm_detach_fds"], "here the room came to an end"),
        Cause::RlimitNofile => of_rest(&["get_unused_fd_flags"], "here it did not: EMFILE"),
        Cause::Lsm => of_rest(&["security_file_receive"], "here one said no"),
        Cause::PlainRead => of_rest(DESTROY, "here every descriptor of the message was lost"),
        Cause::ReceiverClosed => of_rest(
            &["unix_release_sock"],
            "here the message was still in the queue",
        ),
        Cause::ListenerClosed => of_rest(
            &["unix_release_sock"],
            "here the connection was still waiting to be accepted",
        ),
        Cause::Reconnect => of_rest(
            &["unix_dgram_disconnected"],
            "here the message was still in the queue",
        ),
        Cause::ReceiveFailed => of_rest(
            &["skb_copy_datagram_iter"],
            "here the call failed, when the message was in no queue any more",
        ),
        Cause::GarbageCollector => of_rest(&["unix_gc", "__unix_gc"], "here it found these"),
        Cause::Splice => of_rest(DESTROY, "here, because a pipe carries bytes alone"),
        Cause::Sockmap => of_rest(DESTROY, "here, because a sockmap moves bytes alone"),
        Cause::Oob => of_rest(
            &["skb_copy_datagram_iter"],
            "here the out-of-band byte was read, and the list stayed behind",
        ),
        Cause::Errno(libc::EBADF) => of_send(
            &["fget_raw"],
            "here one number had nothing behind it: EBADF",
        ),
        Cause::TooManyFds => of_send(&["scm_fp_copy"], "here there were more than 253: EINVAL"),
        Cause::Errno(libc::ETOOMANYREFS) => of_send(
            &["unix_attach_fds"],
            "here the sender's user had too many in flight: ETOOMANYREFS",
        ),
        Cause::Passrights => of_send(
            SENDMSG,
            "here it found that the receiving socket wants no descriptors: EPERM",
        ),
        Cause::Errno(libc::EPIPE) => {
            of_send(SENDMSG, "here it found nobody at the other end: EPIPE")
        }
        Cause::Errno(libc::EAGAIN) => {
            of_send(SENDMSG, "here it found no room in the queue: EAGAIN")
        }
        Cause::ZeroLength => of_send(
            DESTROY,
            "here, because without a byte there is no skb to hang the list on",
        ),
        // None of the path's functions is called.
        Cause::NotUnix => return None,
        // Of the rest it is known that the call failed, and not how far it had come.
        Cause::Errno(libc::EFAULT) | Cause::Dropped => return None,
        Cause::Errno(_) => (
            true,
            SENDMSG,
            format!("here it failed: {}", cause.name().to_uppercase()),
        ),
    };
    Some(Turn {
        in_send,
        functions,
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::functions::{DROP, Function, Name, RECEIVE, SEND};
    use crate::explain::words::reason;

    fn causes() -> impl Iterator<Item = Cause> {
        Cause::NAMED
            .into_iter()
            .chain([Cause::Errno(libc::EMSGSIZE)])
    }

    fn names(functions: &[Function], into: &mut Vec<&'static str>) {
        for function in functions {
            match function.name {
                Name::Always(name) | Name::Where(name) => into.push(name),
                Name::FirstOf(names) => into.extend(names),
                Name::BySocket(stream, packets) => into.extend([stream, packets]),
                Name::OfReceive => {}
            }
            names(function.calls, into);
        }
    }

    #[test]
    fn every_cause_has_words_of_its_own() {
        let mut said: Vec<String> = causes()
            .map(|cause| ending(Fate::Failed, Some(cause)))
            .collect();
        said.extend(Fate::ALL.map(|fate| ending(fate, None)));
        let all = said.len();
        said.sort();
        said.dedup();
        assert_eq!(said.len(), all, "{said:#?}");
    }

    #[test]
    fn every_send_that_fails_says_its_errno_and_why() {
        for errno in [
            libc::EBADF,
            libc::EMSGSIZE,
            libc::ENOTCONN,
            libc::ECONNREFUSED,
        ] {
            let cause = Cause::Errno(errno);
            let said = ending(Fate::Failed, Some(cause));
            assert!(said.contains(&cause.name().to_uppercase()), "{said}");
            assert!(!said.ends_with(reason(0)), "{said}");
        }
    }

    #[test]
    fn every_way_turns_in_a_function_that_is_on_it() {
        let (mut send, mut rest) = (Vec::new(), Vec::new());
        names(SEND, &mut send);
        names(RECEIVE, &mut rest);
        names(DROP, &mut rest);
        for cause in causes() {
            let Some(turn) = turn(cause) else {
                assert!(matches!(cause, Cause::Dropped | Cause::NotUnix), "{cause}");
                continue;
            };
            let way = if turn.in_send { &send } else { &rest };
            for function in turn.functions {
                assert!(way.contains(function), "{cause}: {function}");
            }
        }
    }
}
