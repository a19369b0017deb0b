//! Out-of-band bytes. A list travels with the first byte of its message, and where the message is
//! one byte, that byte is the one out of band: whoever takes it leaves the list behind.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, SockType, send, setsockopt, sockopt},
    unistd::write,
};

use super::{CONTENT, exchange, expect_nothing};
use crate::verify::{
    scenarios::scenarios,
    stage::{Stage, expect_content},
};

scenarios! { Framing:
    "oob-inline" oob_inline,
        "with SO_OOBINLINE the byte is data like other data, and brings its list", needs "MSG_OOB on Unix sockets";
}

/// Says that a kernel without out-of-band bytes on Unix sockets lacks them.
fn is_missing(stage: &Stage) -> Result<bool> {
    let (sender, _receiver) = stage.socketpair(SockType::Stream)?;
    let missing = send(sender.as_raw_fd(), b"x", MsgFlags::MSG_OOB) == Err(Errno::EOPNOTSUPP);
    if missing {
        stage.skip("this kernel's Unix sockets have no MSG_OOB")?;
    }
    Ok(missing)
}

fn oob_inline(stage: &Stage) -> Result<()> {
    if is_missing(stage)? {
        return Ok(());
    }
    exchange(
        stage,
        SockType::Stream,
        |sender, receiver| {
            setsockopt(receiver, sockopt::OobInline, &true)?;
            write(sender.as_fd(), b"before")?;
            let file = stage.file(CONTENT)?;
            let message = stage.send("m", sender).data(b"x").flags(MsgFlags::MSG_OOB);
            message.fds(&[file.as_raw_fd()])?;
            write(sender.as_fd(), b"after")?;
            stage.in_flight(receiver, 1)?;
            Ok(Vec::new())
        },
        |receiver| {
            // The mark ends a receive before it, and the list one behind it.
            for (data, fds) in [(&b"before"[..], 0), (b"x", 1), (b"after", 0)] {
                let received = stage.receiving("m", receiver).take()?;
                ensure!(received.data == data, "{:?} came", received.data);
                ensure!(received.fds.len() == fds, "{:?} came", received.slots);
                let files = &received.fds;
                files
                    .iter()
                    .try_for_each(|fd| expect_content(fd, CONTENT))?;
            }
            expect_nothing(receiver)
        },
    )
}
