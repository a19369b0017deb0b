//! What every command that watches this kernel has in common: the options that lead there, and what is
//! said of it on stderr; a runtime; and how it is interrupted.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::Common;
use crate::{
    kernel::inherited,
    watch::{Live, Options},
};

/// What the common arguments ask for, with a ring buffer of `buffer_kib` KiB.
pub(super) fn options(common: &Common, buffer_kib: u32) -> Options {
    Options {
        attach: common.attach.into(),
        buffer_bytes: buffer_kib.saturating_mul(1024),
        ..Options::default()
    }
}

/// Attaches, and says on stderr how long that took and what could not be read.
///
/// # Errors
/// If fdtrace may not, or cannot, trace here.
pub(super) fn start(options: &Options, common: &Common) -> Result<Live> {
    let notice = Notice::show(common);
    let live = options.start();
    drop(notice);
    let live = live?;
    let took = live.took();
    if common.verbose {
        eprintln!(
            "fdtrace: read the kernel's types and symbols in {} ms, attached after {} ms",
            took.view.as_millis(),
            took.attach.as_millis()
        );
    }
    if let Some(why) = &live.tracer().plan().unnamed
        && !common.quiet
    {
        eprintln!("fdtrace: how a list ends that nobody receives is not known here: {why}");
    }
    if let Some(unread) = &live.header().unread_at_start
        && !common.quiet
    {
        eprintln!("fdtrace: not all is known of what was queued before: {unread}");
    }
    if options.queues && common.verbose {
        eprintln!(
            "fdtrace: looked through all queues in {} ms",
            took.look.as_millis()
        );
    }
    Ok(live)
}

/// A word on the terminal while there is nothing else to see.
struct Notice(Option<io::Stderr>);

impl Notice {
    fn show(common: &Common) -> Self {
        let stderr = io::stderr();
        let is_seen = stderr.is_terminal() && !common.quiet;
        if is_seen {
            // Nobody to tell that stderr is closed.
            let _ = write!(&stderr, "fdtrace: attaching to the kernel…");
        }
        Self(is_seen.then_some(stderr))
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        if let Some(stderr) = &self.0 {
            // To the line's beginning, and nothing left of it.
            let _ = write!(&*stderr, "\r\x1b[K");
        }
    }
}

/// Runs what a command does on a runtime of one thread.
///
/// # Errors
/// Those of `work`, and if the runtime cannot be had.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)
}

/// Ctrl-C, SIGTERM, and the end of the terminal, unless that is to be outlived.
pub(super) struct Interrupt {
    int: Signal,
    term: Signal,
    hup: Option<Signal>,
    by: Option<SignalKind>,
}

impl Interrupt {
    pub(super) fn new() -> Result<Self> {
        let handle = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            int: handle(SignalKind::interrupt())?,
            term: handle(SignalKind::terminate())?,
            hup: match inherited::ignores_hangup() {
                true => None,
                false => Some(handle(SignalKind::hangup())?),
            },
            by: None,
        })
    }

    pub(super) async fn received(&mut self) {
        self.by = Some(tokio::select! {
            _ = self.int.recv() => SignalKind::interrupt(),
            _ = self.term.recv() => SignalKind::terminate(),
            Some(_) = async { self.hup.as_mut()?.recv().await } => SignalKind::hangup(),
        });
    }

    /// What a shell expects of what a signal has ended: 130 after Ctrl-C.
    pub(super) fn exit_code(&self) -> u8 {
        let signal = self.by.unwrap_or(SignalKind::interrupt()).as_raw_value();
        u8::try_from(128 + signal).unwrap_or(super::EXIT_INCONCLUSIVE)
    }
}
