//! JSON Lines, by the contract in [`super::schema`].

use std::{collections::BTreeMap, io};

use super::{
    Report, ScenarioRun, Start, Summary, harmless::write_line, programs, schema, still_open,
};
use crate::{
    judge::{
        ledger::{self, Entry},
        missing_hops,
    },
    model::{
        Counts, Digits, EXACT_MAX, Fate, FileDescription, FileIdentity, Judged, Losses, PlanEntry,
        Pointers, Tally, Task, Transfer, Verdict, Way,
    },
    plan::Plan,
    verify::Scenario,
    watch::{Looked, TraceEnd, TraceReport, TraceStart},
};

/// Writes a line as soon as it is known.
pub struct Json<W> {
    out: W,
    pointers: Pointers,
    hops: bool,
    /// The line under way.
    line: Vec<u8>,
}

impl<W: io::Write> Json<W> {
    /// Writes to `out`; with `hops`, a line for every hop of every transfer too.
    pub fn new(out: W, pointers: Pointers, hops: bool) -> Self {
        Self {
            out,
            pointers,
            hops,
            line: Vec::new(),
        }
    }

    fn line(&mut self, line: &schema::Line<'_>) -> io::Result<()> {
        write_line(&mut self.out, &mut self.line, line)
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        if self.hops {
            for entry in ledger::entries(&judged.transfer) {
                let hop = hop(&judged.transfer, &entry, &mut self.pointers);
                self.line(&schema::Line::Hop(hop))?;
            }
        }
        let transfer = transfer(judged, &mut self.pointers);
        self.line(&schema::Line::Transfer(Box::new(transfer)))
    }
}

impl<W: io::Write> Report for Json<W> {
    fn start(&mut self, start: &Start<'_>) -> io::Result<()> {
        self.line(&schema::Line::Start(schema::Start {
            schema_version: schema::SCHEMA_VERSION,
            fdtrace: start.version.to_owned(),
            kernel: start.plan.release.clone(),
            arch: start.machine.arch.clone(),
            host: start.machine.host.clone(),
            boot_id: start.machine.boot_id.clone(),
            wall_ns: Digits(start.wall_ns),
            mono_ns: Digits(start.mono_ns),
            plan: plan(start.plan),
            functions_unnamed: start.plan.unnamed.is_some(),
        }))?;
        self.out.flush()
    }

    fn scenario(&mut self, run: &ScenarioRun) -> io::Result<()> {
        for judged in &run.judgement.transfers {
            self.transfer(judged)?;
        }
        self.line(&schema::Line::Scenario(scenario(run)))?;
        #[cfg(feature = "explain")]
        if let Some(story) = &run.story {
            self.line(&schema::Line::Story((**story).clone()))?;
        }
        self.out.flush()
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.line(&schema::Line::Summary(schema::Summary {
            scenarios: named(&summary.scenarios),
            programs: summary.programs.as_deref().map(programs::entries),
            interrupted: summary.interrupted,
            not_run: summary.not_run,
            exit_code: summary.exit_code,
            ..counted(&summary.fates, &summary.verdicts, &summary.losses)
        }))?;
        self.out.flush()
    }
}

impl<W: io::Write> TraceReport for Json<W> {
    fn start(&mut self, start: &TraceStart<'_>) -> io::Result<()> {
        self.line(&schema::Line::Start(schema::Start {
            schema_version: schema::SCHEMA_VERSION,
            fdtrace: start.version.to_owned(),
            kernel: start.kernel.to_owned(),
            arch: start.machine.arch.clone(),
            host: start.machine.host.clone(),
            boot_id: start.machine.boot_id.clone(),
            wall_ns: Digits(start.wall_ns),
            mono_ns: Digits(start.t_ns),
            plan: start.plan.to_vec(),
            functions_unnamed: start.functions_unnamed,
        }))?;
        self.out.flush()
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        Json::transfer(self, judged)
    }

    fn looked(&mut self, looked: &Looked<'_>) -> io::Result<()> {
        let mut lines = looked
            .later
            .iter()
            .map(|later| still_open::line(later, looked));
        lines.try_for_each(|line| self.line(&schema::Line::StillOpen(line)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn summary(&mut self, tally: &Tally, losses: &Losses, end: &TraceEnd) -> io::Result<()> {
        let pairs = tally.pairs().into_iter();
        let pairs = pairs.map(|((sender, receiver), transfers)| schema::Pair {
            sender: sender.as_deref().map(str::to_owned),
            receiver: receiver.as_deref().map(str::to_owned),
            transfers,
        });
        self.line(&schema::Line::Summary(schema::Summary {
            undescribed: Some(named(tally.undescribed()))
                .filter(|undescribed| !undescribed.is_empty()),
            forgotten: Some(tally.forgotten()),
            pairs: Some(pairs.collect()),
            other_pairs: Some(tally.other_pairs()),
            queue_time: tally.queue_time(),
            unread_queues: Some(end.unread.clone()).filter(|unread| *unread != Default::default()),
            still_open: Some(still_open::summary(&end.holdings)),
            empty_rights: Some(end.empty_rights.clone()).filter(|empty| !empty.is_empty()),
            incomplete: end.incomplete.clone(),
            command_status: end.command_status,
            programs: end.programs.as_deref().map(programs::entries),
            exit_code: end.exit_code,
            ..counted(tally.fates(), tally.verdicts(), losses)
        }))
    }
}

/// What the summaries of all commands have.
fn counted(fates: &Counts<Fate>, verdicts: &Counts<Verdict>, losses: &Losses) -> schema::Summary {
    let lost = losses.events.iter();
    schema::Summary {
        fates: named(fates),
        verdicts: named(verdicts),
        lost_events: lost.map(|(hop, count)| (hop.to_string(), *count)).collect(),
        recursion_misses: losses.recursion_misses,
        raced: losses.raced,
        unread_sends: losses.unread_sends,
        window_full: losses.window_full,
        filter_full: losses.filter_full,
        lost_descriptions: losses.descriptions,
        ..schema::Summary::default()
    }
}

/// The scenarios as `--list` has them.
pub(crate) fn catalogue(scenarios: &[&Scenario]) -> schema::Line<'static> {
    let listed = |scenario: &&Scenario| schema::Listed {
        name: scenario.name.to_owned(),
        group: scenario.group,
        summary: scenario.summary.to_owned(),
        needs: scenario.needs.iter().map(|&need| need.to_owned()).collect(),
    };
    schema::Line::Catalogue(schema::Catalogue {
        schema_version: schema::SCHEMA_VERSION,
        scenarios: scenarios.iter().map(listed).collect(),
    })
}

fn named<T: Copy + PartialEq + ToString>(counts: &Counts<T>) -> BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(what, count)| (what.to_string(), count))
        .collect()
}

/// A time span as the contract has it: see [`schema`].
pub(super) fn span(ns: u64) -> u64 {
    ns.min(EXACT_MAX)
}

/// The plan as the contract has it.
pub(crate) fn plan(plan: &Plan) -> Vec<PlanEntry> {
    plan.entries()
}

fn hop(transfer: &Transfer, entry: &Entry<'_>, pointers: &mut Pointers) -> schema::HopSeen {
    let seen = entry.seen;
    schema::HopSeen {
        transfer: transfer.id,
        hop: seen.hop,
        t_ns: Digits(seen.t_ns),
        cpu: seen.cpu,
        pid: seen.pid,
        tid: seen.tid,
        comm: seen.comm.clone(),
        file: pointers.file_at(transfer, seen),
        skb: pointers.show("skb", seen.skb),
        fpl: pointers.show("list", seen.list),
        refs: seen.refs,
        expected_refs: entry.expected,
    }
}

fn transfer<'a>(judged: &'a Judged, pointers: &mut Pointers) -> schema::Transfer<'a> {
    let transfer = &judged.transfer;
    let Transfer {
        sender,
        socket,
        context,
        ..
    } = transfer;
    let described = context.file.as_deref();
    let path = described.and_then(FileDescription::path);
    schema::Transfer {
        id: transfer.id,
        message: transfer.message,
        index: transfer.index,
        count: transfer.count,
        t_ns: Digits(transfer.last_ns()),
        way: Way::ScmRights,
        file: schema::File {
            path: path.map(|path| path.text.as_str()),
            description: described.map(FileDescription::text),
            description_missing: context.missing,
            deleted: path.map(|path| path.unlinked),
            ..file(&transfer.file, pointers)
        },
        sender: sender.as_ref().map(|seen| schema::Sender {
            seen,
            task: task(context.sender),
        }),
        receiver: transfer.receiver().map(|seen| schema::Receiver {
            seen,
            task: task(context.receiver),
        }),
        socket,
        fate: transfer.fate(),
        cause: transfer.cause(),
        cause_missing: transfer.cause_missing(),
        failed_send: transfer.failed_send.as_deref(),
        verdict: judged.verdict,
        doubt: judged.doubt(),
        queued_ns: transfer.queued_ns.map(span),
        total_ns: transfer.total_ns.map(span),
        hops: &transfer.hops,
        missing: missing_hops(transfer),
        marks: judged.marks(),
        same_object_as: judged.earlier.transfer(),
        relay: (judged.earlier.relay.as_ref()).map(|it| earlier(it.transfer, it.after_ns)),
        again: (judged.earlier.again).map(|it| earlier(it.transfer, it.after_ns)),
        still_open: None,
        holders: None,
    }
}

fn earlier(transfer: u64, after_ns: u64) -> schema::Earlier {
    schema::Earlier {
        transfer,
        after_ns: span(after_ns),
    }
}

/// A file without its description.
pub(super) fn file(file: &FileIdentity, pointers: &mut Pointers) -> schema::File<'static> {
    schema::File {
        ptr: pointers.file(file),
        kind: file.kind(),
        dev: file.device(),
        ino: Digits(file.ino),
        path: None,
        description: None,
        description_missing: None,
        deleted: None,
        flags: file.flags,
        mode: file.mode,
    }
}

fn task(task: Option<Task>) -> schema::Task {
    let cgroup = task.map_or(0, |task| task.cgroup);
    schema::Task {
        uid: task.map(|task| task.uid),
        cgroup_id: (cgroup != 0).then_some(Digits(cgroup)),
        ..schema::Task::default()
    }
}

fn scenario(run: &ScenarioRun) -> schema::Scenario {
    let judgement = &run.judgement;
    let about = |mistakable| if mistakable { "mistakable" } else { "passed" }.to_owned();
    let traced = judgement.mistakable.iter().map(|verdict| schema::Witness {
        name: "trace".to_owned(),
        verdict: *verdict,
        about: about(true),
    });
    let heard = judgement.witnesses.iter().map(|report| schema::Witness {
        name: report.witness.name().to_owned(),
        verdict: report.verdict,
        about: about(report.mistakable),
    });
    schema::Scenario {
        name: judgement.name.to_owned(),
        group: judgement.group,
        round: run.round,
        result: judgement.result,
        reason: judgement.reason(),
        retried: run.retried.clone(),
        transfers: judgement
            .transfers
            .iter()
            .map(|judged| judged.transfer.id)
            .collect(),
        witnesses: traced.chain(heard).collect(),
        elapsed_ns: span(u64::try_from(judgement.elapsed.as_nanos()).unwrap_or(u64::MAX)),
    }
}
