//! A daemon that counts what becomes of descriptors on this machine, until Ctrl-C: a trace in a
//! task of tokio's. `cargo run --example daemon`, as root.

use std::{collections::BTreeMap, error::Error, time::Duration};

use fdtrace::{Item, Trace};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut trace = Trace::builder()
        .still_queued_after(Duration::from_secs(5))
        .start()?;
    println!("watching {:?}", trace.coverage().hops);

    let mut fates: BTreeMap<&str, u64> = BTreeMap::new();
    loop {
        let item = tokio::select! {
            _ = interrupts.recv() => break,
            item = trace.next() => item?,
        };
        match item {
            Item::Transfer(transfer) => *fates.entry(transfer.fate().name()).or_default() += 1,
            Item::StillQueued(transfer) => println!("stuck: a {}", transfer.file.kind()),
            Item::Lost(losses) => println!("not everything was seen: {losses:?}"),
            _ => {}
        }
    }
    for transfer in trace.finish()?.transfers {
        *fates.entry(transfer.fate().name()).or_default() += 1;
    }
    println!("{fates:?}");
    Ok(())
}
