//! From the running kernel to attached programs: the way that every command that watches it
//! goes. What a command does with the tracer is its own affair.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CannotRun, args::Common};
use crate::{
    kernel::{KernelView, Symbols, Types, inherited},
    model::Gaps,
    plan::{Price, plan_at},
    tracer::{Filter, SocketTables, Tracer},
    watch::{found::Found, looks},
};

/// Programs attached to this kernel, and what is known of it.
pub(super) struct Started {
    pub(super) tracer: Tracer,
    pub(super) symbols: Symbols,
    pub(super) kptr_restrict: u8,
    pub(super) types: Types,
}

/// Plans, loads, tests and attaches. `buffer_kib` is the size of the ring buffer; `filter` says
/// whose transfers to watch, and `price` what that may cost others.
///
/// # Errors
/// If fdtrace may not, or cannot, trace here.
pub(super) fn start(
    common: &Common,
    buffer_kib: u32,
    filter: &Filter,
    price: Price,
) -> Result<Started> {
    let begin = Instant::now();
    let view = KernelView::live()?;
    check_privileges(&view)?;
    let viewed = begin.elapsed();
    let plan = plan_at(&view, common.attach, price)?;
    let KernelView {
        types,
        symbols,
        kptr_restrict,
        ..
    } = view;
    let bytes = buffer_kib.saturating_mul(1024);
    let tracer = Tracer::start_filtered(plan, bytes, &types, filter)?;
    if common.verbose {
        eprintln!(
            "fdtrace: read the kernel's types and symbols in {} ms, attached after {} ms",
            viewed.as_millis(),
            begin.elapsed().as_millis()
        );
    }
    Ok(Started {
        tracer,
        symbols,
        kptr_restrict,
        types,
    })
}

impl Started {
    /// What is in queues already, with all that is attached, and what of it could not be read, which
    /// is said on stderr at once.
    pub(super) fn find_queued(&mut self, common: &Common) -> (Found, Option<String>) {
        let begin = Instant::now();
        let tables = SocketTables::of(&self.tracer.plan().offsets, &self.symbols);
        let looked = self
            .tracer
            .prepare_queues(&self.types, tables)
            .and_then(|()| looks::first(&mut self.tracer));
        let (found, gaps) = match looked {
            Ok((found, gaps)) => (found, Ok(gaps)),
            Err(error) => (Found::default(), Err(error.into())),
        };
        let unread = unread(gaps);
        if let Some(unread) = unread.as_ref().filter(|_| !common.quiet) {
            eprintln!("fdtrace: not all is known of what was queued before: {unread}");
        }
        if common.verbose {
            eprintln!(
                "fdtrace: looked through all queues in {} ms",
                begin.elapsed().as_millis()
            );
        }
        (found, unread)
    }

    /// Makes snapshots of descriptor tables ready, which only some commands need.
    ///
    /// # Errors
    /// If the kernel refuses the iterator.
    pub(super) fn prepare_snapshots(&mut self) -> Result<()> {
        Ok(self.tracer.prepare_snapshots(&self.types)?)
    }
}

/// In words, what a look through the queues could not read.
pub(super) fn unread(gaps: Result<Gaps>) -> Option<String> {
    match gaps {
        Ok(gaps) => gaps.described(),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Starting takes memory that tracing does not: what the allocator has kept of it goes back.
pub(super) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only gives back what nobody has allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

pub(super) fn check_privileges(view: &KernelView) -> Result<()> {
    if let Some(lacking) = view.capabilities.lacking_for_tracing() {
        return Err(CannotRun {
            what: format!("tracing needs {lacking}, which this process lacks"),
            hint: "run it with sudo",
        }
        .into());
    }
    if !view.init_pid_namespace {
        return Err(CannotRun {
            what: "this process is in a pid namespace of its own, so the kernel's process ids \
                   are not those it sees"
                .to_owned(),
            hint: "run the container with the host's pid namespace (--pid=host)",
        }
        .into());
    }
    Ok(())
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
        })
    }

    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.int.recv() => (),
            _ = self.term.recv() => (),
            Some(_) = async { self.hup.as_mut()?.recv().await } => (),
        }
    }
}
