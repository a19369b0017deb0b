//! Calls that take the bytes and have no place for the descriptors.

use anyhow::{Result, ensure};
use nix::sys::socket::SockType;

use super::{TYPES, exchange, expect_nothing, send_watched};
use crate::verify::{scenarios::scenarios, stage::Stage};

scenarios! { Framing:
    "zero-length-receive" zero_length_receive,
        "a receive without room for data takes the list and leaves a stream's data";
}

fn zero_length_receive(stage: &Stage) -> Result<()> {
    for (name, kind) in TYPES {
        exchange(
            stage,
            kind,
            |sender, receiver| {
                let watch = send_watched(stage, name, sender, b"data")?;
                stage.in_flight(receiver, 1)?;
                Ok(vec![watch])
            },
            |receiver| {
                let received = stage.receiving(name, receiver).data(0).take()?;
                ensure!(received.data.is_empty(), "data without room for it");
                ensure!(received.fds.len() == 1, "{name}: no descriptor came");
                if kind == SockType::Stream {
                    let rest = stage.receiving(name, receiver).take()?;
                    ensure!(rest.data == b"data", "{:?} was left", rest.data);
                    ensure!(rest.slots.is_empty(), "the descriptor came twice");
                }
                expect_nothing(receiver)
            },
        )?;
    }
    Ok(())
}
