//! JSON Lines, by the contract in [`super::schema`].

use std::io;

use super::{Report, ScenarioRun, Start, Summary, programs, schema, write_json};
use crate::{
    explain::Story,
    judge::{
        ledger::{self, Entry},
        missing_hops,
    },
    model::{
        Cause, DescriptionMissing, Fate, Hop, Judged, Losses, Mark, PlanEntry, Pointers,
        SocketType, Tally, Transfer, Verdict,
    },
    plan::Plan,
    verify::{Scenario, ScenarioResult},
    watch::{TraceEnd, TraceReport, TraceStart},
};

/// Writes a line as soon as it is known.
pub struct Json<W> {
    out: W,
    pointers: Pointers,
    hops: bool,
}

impl<W: io::Write> Json<W> {
    /// Writes to `out`; with `hops`, a line for every hop of every transfer too.
    pub fn new(out: W, pointers: Pointers, hops: bool) -> Self {
        Self {
            out,
            pointers,
            hops,
        }
    }

    fn line(&mut self, line: &schema::Line) -> io::Result<()> {
        write_json(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        if self.hops {
            for entry in ledger::entries(&judged.transfer) {
                let hop = hop(&judged.transfer, &entry, &mut self.pointers);
                self.line(&schema::Line::Hop(hop))?;
            }
        }
        let transfer = transfer(judged, &mut self.pointers);
        self.line(&schema::Line::Transfer(transfer))
    }
}

impl<W: io::Write> Report for Json<W> {
    fn start(&mut self, start: &Start<'_>) -> io::Result<()> {
        self.line(&schema::Line::Start(schema::Start {
            schema_version: schema::SCHEMA_VERSION,
            fdtrace: start.version.to_owned(),
            kernel: start.plan.release.clone(),
            wall_ns: start.wall_ns,
            plan: plan(start.plan),
        }))?;
        self.out.flush()
    }

    fn scenario(&mut self, run: &ScenarioRun) -> io::Result<()> {
        for judged in &run.judgement.transfers {
            self.transfer(judged)?;
        }
        self.line(&schema::Line::Scenario(scenario(run)))?;
        if let Some(story) = &run.story {
            self.line(&schema::Line::Story(Story::clone(story)))?;
        }
        self.out.flush()
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let mut scenarios = std::collections::BTreeMap::new();
        for (result, count) in &summary.scenarios {
            *scenarios
                .entry(result_name(*result).to_owned())
                .or_insert(0) += count;
        }
        self.line(&schema::Line::Summary(schema::Summary {
            scenarios,
            fates: named(&summary.fates, Fate::name),
            verdicts: named(&summary.verdicts, Verdict::name),
            lost_events: named(&summary.losses.events, Hop::name),
            recursion_misses: summary.losses.recursion_misses,
            raced: summary.losses.raced,
            unread_sends: summary.losses.unread_sends,
            window_full: summary.losses.window_full,
            filter_full: summary.losses.filter_full,
            lost_descriptions: summary.losses.descriptions,
            undescribed: None,
            forgotten: None,
            pairs: None,
            other_pairs: None,
            queue_time: None,
            unread_queues: None,
            command_status: None,
            programs: summary.programs.as_deref().map(programs::entries),
            interrupted: summary.interrupted,
            unplayed: summary.unplayed,
            exit_code: summary.exit_code,
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
            wall_ns: start.wall_ns,
            plan: start.plan.to_vec(),
        }))?;
        self.out.flush()
    }

    fn transfer(&mut self, judged: &Judged) -> io::Result<()> {
        Json::transfer(self, judged)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn summary(&mut self, tally: &Tally, losses: &Losses, end: &TraceEnd) -> io::Result<()> {
        let pairs = tally.pairs().into_iter();
        self.line(&schema::Line::Summary(schema::Summary {
            scenarios: std::collections::BTreeMap::new(),
            fates: named(tally.fates(), Fate::name),
            verdicts: named(tally.verdicts(), Verdict::name),
            lost_events: named(&losses.events, Hop::name),
            recursion_misses: losses.recursion_misses,
            raced: losses.raced,
            unread_sends: losses.unread_sends,
            window_full: losses.window_full,
            filter_full: losses.filter_full,
            lost_descriptions: losses.descriptions,
            undescribed: Some(named(tally.undescribed(), DescriptionMissing::name))
                .filter(|undescribed| !undescribed.is_empty()),
            forgotten: Some(tally.forgotten()),
            pairs: Some(
                pairs
                    .map(|((sender, receiver), transfers)| schema::Pair {
                        sender: sender.clone(),
                        receiver: receiver.clone(),
                        transfers,
                    })
                    .collect(),
            ),
            other_pairs: Some(tally.other_pairs()),
            queue_time: tally.queue_time(),
            unread_queues: Some(end.unread.clone()).filter(|unread| *unread != Default::default()),
            command_status: end.command_status,
            programs: end.programs.as_deref().map(programs::entries),
            interrupted: false,
            unplayed: 0,
            exit_code: end.exit_code,
        }))
    }
}

/// The scenarios as `--list` has them.
pub(crate) fn catalogue(scenarios: &[&Scenario]) -> schema::Line {
    let listed = |scenario: &&Scenario| schema::Listed {
        name: scenario.name.to_owned(),
        group: scenario.group.name().to_owned(),
        summary: scenario.summary.to_owned(),
        needs: scenario.needs.iter().map(|&need| need.to_owned()).collect(),
    };
    schema::Line::Catalogue(schema::Catalogue {
        schema_version: schema::SCHEMA_VERSION,
        scenarios: scenarios.iter().map(listed).collect(),
    })
}

fn named<T: Copy>(
    counts: &[(T, u64)],
    name: impl Fn(T) -> &'static str,
) -> std::collections::BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(kind, count)| (name(*kind).to_owned(), *count))
        .collect()
}

/// The contract knows three results; what could not be answered is no answer, so it is a skip,
/// marked, and the exit code tells.
fn result_name(result: ScenarioResult) -> &'static str {
    match result {
        ScenarioResult::Pass => "pass",
        ScenarioResult::Fail => "fail",
        ScenarioResult::Skip | ScenarioResult::Inconclusive => "skip",
    }
}

/// The plan as the contract has it: an entry per hook, or one for a hop without any.
pub(crate) fn plan(plan: &Plan) -> Vec<PlanEntry> {
    let mut entries = Vec::new();
    for planned in &plan.hops {
        let entry = PlanEntry {
            hop: planned.hop.name().to_owned(),
            mechanism: None,
            kind: None,
            target: None,
            skipped: !planned.is_watched(),
            why: planned.why.clone(),
        };
        if !planned.is_watched() {
            entries.push(entry);
            continue;
        }
        for hook in &planned.hooks {
            entries.push(PlanEntry {
                hop: entry.hop.clone(),
                mechanism: Some(hook.kind.mechanism().name().to_owned()),
                kind: Some(hook.kind.name().to_owned()),
                target: Some(hook.target.to_owned()),
                skipped: false,
                why: entry.why.clone(),
            });
        }
    }
    entries
}

fn hop(transfer: &Transfer, entry: &Entry<'_>, pointers: &mut Pointers) -> schema::Hop {
    let seen = entry.seen;
    schema::Hop {
        transfer: transfer.id,
        hop: seen.hop.name().to_owned(),
        t_ns: seen.t_ns,
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

fn transfer(judged: &Judged, pointers: &mut Pointers) -> schema::Transfer {
    let Transfer {
        file,
        sender,
        receiver,
        socket,
        ..
    } = &judged.transfer;
    let described = judged.transfer.context.file.as_deref();
    schema::Transfer {
        id: judged.transfer.id,
        message: judged.transfer.message,
        index: judged.transfer.index,
        count: judged.transfer.count,
        t_ns: judged.transfer.last_ns(),
        file: schema::File {
            ptr: pointers.file(file),
            kind: file.kind().name(),
            dev: file.device(),
            ino: file.ino,
            path: described.and_then(|it| it.path().map(|path| path.text.clone())),
            flags: file.flags,
            mode: file.mode,
        },
        description: described.map(ToString::to_string),
        description_missing: judged.transfer.context.missing.map(Into::into),
        deleted: described.and_then(|it| it.path().map(|path| path.unlinked)),
        sender: sender.as_ref().map(|sender| schema::Sender {
            pid: sender.pid,
            tid: sender.tid,
            comm: sender.comm.clone(),
            fd: sender.fd,
            socket_fd: sender.socket_fd,
        }),
        receiver: receiver.as_ref().map(|receiver| schema::Receiver {
            pid: receiver.pid,
            tid: receiver.tid,
            comm: receiver.comm.clone(),
            fd: receiver.fd,
            cloexec: receiver.cloexec,
            fd_inferred: receiver.fd_inferred,
        }),
        socket: schema::Socket {
            kind: socket.kind.map(SocketType::name),
            path: socket.path.clone(),
            sender_ino: socket.sender_ino,
            receiver_ino: socket.receiver_ino,
        },
        fate: judged.transfer.fate.name(),
        cause: judged.transfer.cause.map(Cause::name),
        cause_missing: judged.transfer.cause_missing,
        verdict: judged.verdict.map(Verdict::name),
        doubt: judged.doubt(),
        queued_ns: judged.transfer.queued_ns,
        total_ns: judged.transfer.total_ns,
        hops: judged
            .transfer
            .hops
            .iter()
            .map(|seen| seen.hop.name())
            .collect(),
        missing: missing_hops(&judged.transfer)
            .iter()
            .map(|hop| hop.name())
            .collect(),
        marks: Mark::of(&judged.transfer)
            .into_iter()
            .map(Mark::name)
            .collect(),
    }
}

fn scenario(run: &ScenarioRun) -> schema::Scenario {
    let judgement = &run.judgement;
    let about = |mistakable| if mistakable { "mistakable" } else { "passed" }.to_owned();
    let traced = judgement.mistakable.iter().map(|verdict| schema::Witness {
        name: "trace".to_owned(),
        verdict: verdict.name().to_owned(),
        about: about(true),
    });
    let heard = judgement.witnesses.iter().map(|report| schema::Witness {
        name: report.witness.name().to_owned(),
        verdict: report.verdict.name().to_owned(),
        about: about(report.mistakable),
    });
    schema::Scenario {
        name: judgement.name.to_owned(),
        group: judgement.group.name().to_owned(),
        round: run.round,
        result: result_name(judgement.result).to_owned(),
        reason: judgement.reason.clone(),
        inconclusive: judgement.result == ScenarioResult::Inconclusive,
        retried: run.retried.clone(),
        transfers: judgement
            .transfers
            .iter()
            .map(|judged| judged.transfer.id)
            .collect(),
        witnesses: traced.chain(heard).collect(),
        elapsed_ns: u64::try_from(judgement.elapsed.as_nanos()).unwrap_or(u64::MAX),
    }
}
