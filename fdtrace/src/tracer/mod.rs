//! Tracer: loads the programs, tests them, attaches them and hands their records over. The only
//! phase that needs privileges, and the only one that holds anything in the kernel: dropping the
//! [`Tracer`] closes every program, map and link, as the kernel itself does when the process dies.

mod attaching;
mod counters;
mod error;
mod filter;
mod loaded;
mod object;
#[cfg(feature = "log")]
mod program_log;
mod queues;
mod returns;
mod self_test;
mod sockets;
mod switch;
mod tables;
mod task_files;
mod wanted;

use std::{
    cell::{Cell, OnceCell},
    collections::HashSet,
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, MapData, RingBuf},
};
use fdtrace_common::wake;
use tokio::{io::unix::AsyncFd, time::Instant};

use attaching::attach_tested;
pub use counters::Stats;
pub use error::ProbeError;
pub use filter::{Cgroup, Filter};
use loaded::take_map;
pub use object::Loader;
pub use queues::Queues;
use queues::Walk;
pub use sockets::SocketTables;
use switch::Switch;
use tables::Tables;
use task_files::TaskFiles;
pub use wanted::WantedProcesses;

use crate::{
    kernel::{Types, give_memory_back},
    model::{Coverage, Losses, Pass, ProgramCost, QueuedFile, Snapshot, Table, TableLook},
    plan::Plan,
    wire::{DecodeError, Record, decode},
};

/// How long records may gather before they are read. Whoever reads at once must be woken for each,
/// and a wake-up costs whoever passes the descriptor more than all the programs together.
const GATHER: Duration = Duration::from_millis(10);

/// How long the reader sleeps at most: a record that was being written as it asked to be woken wakes
/// nobody.
const SLEEP_MAX: Duration = Duration::from_millis(200);

/// Room for records that nobody reads: a page.
const REHEARSAL_BYTES: u32 = 4096;

/// Bytes in the ring buffer in front of each record.
const RECORD_HEAD: usize = 8;

/// Programs attached to the running kernel.
pub struct Tracer {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    /// The ring buffer's descriptor, registered with the runtime that waits for it.
    ready: OnceCell<AsyncFd<OwnedFd>>,
    /// The ring buffer's size.
    ring_bytes: usize,
    /// How long records gather.
    gather: Duration,
    /// When the programs wake the reader.
    wake: Array<MapData, u64>,
    /// When the records that are gathering now should be read; `None` if there are none, and the
    /// programs have been asked for a wake-up.
    due: Cell<Option<Instant>>,
    /// When to look even if nothing has woken the reader.
    wakes: Instant,
    plan: Plan,
    switch: Switch,
    start_times: StartTimes,
    filter: Filter,
    /// Messages that a last look has found of senders of whom not everything is held.
    unheld: u64,
    task_files: Option<TaskFiles>,
    queue_walk: Option<Walk>,
    tables: Option<Tables>,
    #[cfg(feature = "log")]
    program_log: Option<program_log::ProgramLog>,
}

/// What starting took, part by part.
#[derive(Clone, Copy, Debug)]
pub struct StartTimes {
    /// Reading the object, making its maps and having the kernel verify its programs.
    pub load: Duration,
    /// Attaching them.
    pub attach: Duration,
    /// Passing descriptors to itself, and detaching what did not fire.
    pub test: Duration,
}

impl Tracer {
    /// Loads and attaches every hook of the plan, and passes descriptors to itself to see whether each
    /// fires. The ring buffer gets `buffer_bytes`, rounded up to a power of two.
    ///
    /// # Errors
    /// [`ProbeError::Object`] or [`ProbeError::RingBuffer`] if the maps cannot be made,
    /// [`ProbeError::Refused`] if the verifier or a policy refuses a program,
    /// [`ProbeError::Broken`] if some cannot be attached or do not fire, so that the plan has to be made
    /// without them, [`ProbeError::NothingFired`] if it has none.
    pub fn start(plan: Plan, buffer_bytes: u32, types: &Types) -> Result<Self, ProbeError> {
        Self::start_filtered(plan, buffer_bytes, types, &Filter::default())
    }

    /// Starts as [`Tracer::start`] does, with a filter that lets no more than the wanted transfers out
    /// of the kernel.
    ///
    /// # Errors
    /// Those of [`Tracer::start`], [`ProbeError::NoCgroups`] if the filter asks for a cgroup and this
    /// kernel's types do not show it, and [`ProbeError::Map`] if the filter cannot be written.
    pub fn start_filtered(
        plan: Plan,
        buffer_bytes: u32,
        types: &Types,
        filter: &Filter,
    ) -> Result<Self, ProbeError> {
        Self::start_by(Loader::new(), plan, buffer_bytes, types, filter)
    }

    /// Starts as [`Tracer::start_filtered`] does, by a loader that has been made already.
    ///
    /// # Errors
    /// Those of [`Tracer::start_filtered`].
    pub fn start_by(
        loader: Loader,
        plan: Plan,
        buffer_bytes: u32,
        types: &Types,
        filter: &Filter,
    ) -> Result<Self, ProbeError> {
        let begin = Instant::now();
        let mut ebpf = object::load(loader, &plan.offsets, buffer_bytes, filter)?;
        #[cfg(feature = "log")]
        let program_log = program_log::ProgramLog::open(&mut ebpf);
        filter.suspend(&mut ebpf)?;
        let start_times = attach_tested(&mut ebpf, &plan, types, begin)?;
        // Before the ring buffer is mapped, which counts twice.
        give_memory_back();
        let ring = take_map(&mut ebpf, object::RING)?;
        let wake = take_map(&mut ebpf, object::WAKE)?;
        let mut tracer = Self {
            ebpf,
            ring,
            ready: OnceCell::new(),
            wake,
            ring_bytes: object::ring_bytes(buffer_bytes) as usize,
            gather: GATHER,
            due: Cell::new(None),
            wakes: Instant::now(),
            switch: Switch::of(&plan),
            plan,
            start_times,
            filter: filter.clone(),
            unheld: 0,
            task_files: None,
            queue_walk: None,
            tables: None,
            #[cfg(feature = "log")]
            program_log,
        };
        // What the self-test left behind is nobody's transfer.
        tracer.drain(|_| ());
        filter.set(&mut tracer.ebpf, types)?;
        Ok(tracer)
    }

    /// Whether the plan would work. Nothing stays attached.
    ///
    /// # Errors
    /// Those of [`Tracer::start`].
    pub fn rehearse(plan: &Plan, types: &Types) -> Result<(), ProbeError> {
        let begin = Instant::now();
        let mut ebpf = object::load(
            Loader::new(),
            &plan.offsets,
            REHEARSAL_BYTES,
            &Filter::default(),
        )?;
        attach_tested(&mut ebpf, plan, types, begin).map(drop)
    }

    /// The plan as it came out of the self-test.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the events of that plan show.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        let mut coverage = self.plan.coverage();
        coverage.descriptions = self.filter.describe;
        coverage
    }

    /// What starting took.
    #[must_use]
    pub fn start_times(&self) -> StartTimes {
        self.start_times
    }

    /// Lets records gather for so long from now on, instead of 10 ms.
    pub fn gather_for(&mut self, gather: Duration) {
        self.gather = gather;
    }

    /// Waits until there may be records worth reading: some milliseconds after the first one, or as
    /// soon as the ring buffer fills up. Cancel-safe.
    ///
    /// # Errors
    /// If the ring buffer cannot be waited for.
    ///
    /// # Panics
    /// Outside of a runtime with I/O and time.
    pub async fn readable(&self) -> io::Result<()> {
        let ring = self.registered()?;
        let due = match self.due.get() {
            Some(due) => due,
            None => {
                tokio::select! {
                    () = tokio::time::sleep_until(self.wakes) => {}
                    ready = ring.readable() => ready?.clear_ready(),
                }
                let due = Instant::now() + self.gather;
                self.due.set(Some(due));
                due
            }
        };
        // From here on only a program that finds the ring buffer half full makes it ready again.
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            ready = ring.readable() => ready?.clear_ready(),
        }
        Ok(())
    }

    /// In what time there may be records worth reading, without anything waking whoever waits for the
    /// ring buffer's descriptor.
    #[must_use]
    pub fn next_read_in(&self) -> Duration {
        let next = self.due.get().unwrap_or(self.wakes);
        next.saturating_duration_since(Instant::now())
    }

    fn registered(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let Some(registered) = self.ready.get() {
            return Ok(registered);
        }
        let ring = self.as_fd().try_clone_to_owned()?;
        // SAFETY: a descriptor that is owned stays open until it is dropped.
        let registered = unsafe { AsyncFd::register(ring) }?;
        Ok(self.ready.get_or_init(|| registered))
    }

    /// Hands over every record that is in the ring buffer now. Where others write as fast as this
    /// reads, there is always one more: it leaves off after a whole buffer, with which it has had
    /// what was there when it began.
    ///
    /// Records are committed before the system call that caused them returns, so after a process
    /// has been reaped this finds everything it did.
    pub fn drain(&mut self, mut take: impl FnMut(Result<Record, DecodeError>)) {
        self.drain_records(|record| take(decode(record)));
    }

    /// Hands over the same records as they are.
    pub fn drain_records(&mut self, mut take: impl FnMut(&[u8])) {
        #[cfg(feature = "log")]
        if let Some(log) = &mut self.program_log {
            log.flush();
        }
        let mut left = self.ring_bytes;
        self.read(&mut left, &mut take);
        if left == self.ring_bytes && self.wake.set(0, wake::BY_NEXT, 0).is_ok() {
            // What came before that has woken nobody.
            self.read(&mut left, &mut take);
        }
        let more_in = match left {
            0 => Some(Duration::ZERO),
            left if left == self.ring_bytes => None,
            _ => {
                // If that fails it comes by itself all the same, and may be late.
                let _ = self.wake.set(0, wake::WHEN_HALF_FULL, 0);
                Some(self.gather)
            }
        };
        let now = Instant::now();
        self.switch.look_at(now);
        self.due.set(more_in.map(|wait| now + wait));
        self.wakes = now + SLEEP_MAX;
    }

    /// Hands over what there is, as long as some of `left` bytes of the ring buffer are left.
    fn read(&mut self, left: &mut usize, take: &mut impl FnMut(&[u8])) {
        while *left > 0
            && let Some(record) = self.ring.next()
        {
            take(&record);
            *left = left.saturating_sub(RECORD_HEAD + record.len().next_multiple_of(RECORD_HEAD));
        }
    }

    /// What has been lost so far.
    ///
    /// # Errors
    /// [`ProbeError::Map`] if the counters cannot be read.
    pub fn losses(&self) -> Result<Losses, ProbeError> {
        let mut losses = counters::losses(&self.ebpf, &self.plan)?;
        losses.filter_full += self.unheld;
        self.switch.look();
        losses.recursion_misses += self.switch.found_off();
        if !self.filter.pids.is_empty() {
            losses.recursion_misses += counters::skipped(&self.ebpf, filter::FORKS)?;
        }
        Ok(losses)
    }

    /// Whether it was found meanwhile that nothing runs that is attached to functions, though the plan needs
    /// that.
    #[must_use]
    pub fn was_switched_off(&self) -> bool {
        self.switch.found_off() > 0
    }

    /// What has gone unseen as tracing ends: of some returns that shows only now.
    ///
    /// # Errors
    /// [`ProbeError::Map`] if the counters cannot be read.
    pub fn losses_at_end(&self) -> Result<Losses, ProbeError> {
        let mut losses = self.losses()?;
        losses.recursion_misses += counters::passed_over(&self.ebpf, &self.plan)?;
        Ok(losses)
    }

    /// Has the kernel time every program, of everybody, for as long as the result lives. That
    /// costs each run some 40 ns more.
    ///
    /// # Errors
    /// [`ProbeError::System`] before Linux 5.8.
    pub fn time_programs(&self) -> Result<Stats, ProbeError> {
        Stats::enable()
    }

    /// What each program has cost so far: its runs and their time, while somebody has had the
    /// kernel [count](Tracer::time_programs), and the runs that it skipped.
    ///
    /// # Errors
    /// [`ProbeError::System`] if the kernel does not say.
    pub fn costs(&self) -> Result<Vec<ProgramCost>, ProbeError> {
        counters::costs(&self.ebpf, &self.plan)
    }

    /// Makes [`Tracer::snapshot`] ready.
    ///
    /// # Errors
    /// [`ProbeError::Refused`] or [`ProbeError::Types`] if this kernel has no such iterator.
    pub fn prepare_snapshots(&mut self, types: &Types) -> Result<(), ProbeError> {
        self.task_files = Some(TaskFiles::load(&mut self.ebpf, types)?);
        Ok(())
    }

    /// Makes [`Tracer::queued`] ready.
    ///
    /// # Errors
    /// [`ProbeError::Refused`] or [`ProbeError::Types`] if the kernel does not take a program.
    pub fn prepare_queues(
        &mut self,
        types: &Types,
        tables: SocketTables,
    ) -> Result<(), ProbeError> {
        self.queue_walk = Some(Walk::load(&mut self.ebpf, types, tables)?);
        Ok(())
    }

    /// Makes [`Tracer::tables`] and [`Tracer::ended_tables`] ready.
    ///
    /// # Errors
    /// [`ProbeError::Refused`] or [`ProbeError::Types`] if the kernel does not take a program.
    pub fn prepare_tables(&mut self, types: &Types) -> Result<(), ProbeError> {
        let tells_ends = self.plan.offsets.show_live_threads();
        self.tables = Some(Tables::load(&mut self.ebpf, types, tells_ends)?);
        Ok(())
    }

    /// What the numbers of these processes stand for, and which numbers of any process stand for one of
    /// these files; `None` before [`Tracer::prepare_tables`]. Others may be among them.
    ///
    /// # Errors
    /// [`ProbeError::Map`] if the kernel half cannot be told, [`ProbeError::Iterator`] if the iterator
    /// breaks off.
    pub fn tables(
        &mut self,
        pids: &HashSet<u32>,
        files: &HashSet<u64>,
    ) -> Result<Option<Vec<Table>>, ProbeError> {
        match &mut self.tables {
            Some(tables) => tables.look(&mut self.ebpf, pids, files).map(Some),
            None => Ok(None),
        }
    }

    /// Has the end of a process told from now on. Where the filter goes by processes, that of each that it
    /// wants is told anyway.
    pub fn tell_end_of(&mut self, pid: u32) {
        if let Some(tables) = &mut self.tables {
            tables.tell_end_of(pid);
        }
    }

    /// The tables of processes that have ended since, each in a look of its own.
    pub fn ended_tables(&mut self) -> Vec<TableLook> {
        self.tables.as_mut().map_or_else(Vec::new, Tables::ended)
    }

    /// What is in receive queues at this moment: messages that were sent before anything was
    /// attached, each with the address of its list, its files and its sender's socket. Taken with
    /// everything attached, it may have messages whose events come too, under the same list.
    ///
    /// # Errors
    /// [`ProbeError::Unprepared`] before [`Tracer::prepare_queues`]; [`ProbeError::Program`] if the
    /// kernel does not run a program, [`ProbeError::Iterator`] if an iterator breaks off.
    pub fn queued(&mut self) -> Result<Pass, ProbeError> {
        self.queue_walk
            .as_mut()
            .ok_or(ProbeError::Unprepared {
                action: "walk over queues",
            })?
            .pass(&mut self.ebpf)
    }

    /// Whom the filter wants at this moment; `None` if there is no filter.
    ///
    /// # Errors
    /// [`ProbeError::Map`] if the filter cannot be read.
    pub fn wanted_processes(&self) -> Result<Option<WantedProcesses>, ProbeError> {
        let is_on = self.filter.is_on();
        is_on
            .then(|| WantedProcesses::of(&self.filter, &self.ebpf))
            .transpose()
    }

    /// Has the filter let through all that is done from now on, at `t_ns`, with the list at this
    /// address.
    ///
    /// # Errors
    /// [`ProbeError::Map`] if that cannot be noted.
    pub fn mark_list(&mut self, list: u64, t_ns: u64) -> Result<(), ProbeError> {
        wanted::mark(&mut self.ebpf, list, t_ns)
    }

    /// The records of the queued message that `file` is in, if the filter keeps them because it
    /// does not want its sender. Counts a loss if it had no room for all of them.
    ///
    /// # Errors
    /// [`ProbeError::Map`] if what it keeps cannot be read.
    pub fn held_records(&mut self, file: &QueuedFile) -> Result<Vec<Vec<u8>>, ProbeError> {
        if wanted::is_unheld(&self.ebpf, file)? {
            self.unheld += 1;
        }
        wanted::held(&self.ebpf, file)
    }

    /// The files that `processes` have open at this moment, in the kernel's own words
    /// (`iter/task_file`).
    ///
    /// # Errors
    /// [`ProbeError::Unprepared`] before [`Tracer::prepare_snapshots`]; [`ProbeError::Program`] or
    /// [`ProbeError::Iterator`] if the kernel does not run the iterator, or not to its end.
    pub fn snapshot(&mut self, processes: &[u32]) -> Result<Snapshot, ProbeError> {
        let task_files = self.task_files.as_mut().ok_or(ProbeError::Unprepared {
            action: "take a snapshot of descriptor tables",
        })?;
        task_files.snapshot(&mut self.ebpf, processes)
    }
}

/// The ring buffer: readable when a program wakes whoever waits for it.
impl AsFd for Tracer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring buffer keeps its descriptor until it is dropped.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}
