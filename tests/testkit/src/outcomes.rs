//! Made-up outcomes: nothing here comes from a kernel, so every oddity that one could produce can
//! be put in.

use std::{sync::Arc, time::Duration};

use fdtrace::{
    model::{
        Cause, Chain, Context, Earlier, End, Fate, FileDescription, FileIdentity, FilePath, Hop,
        HopSeen, Judged, Loss, Losses, Lost, Machine, Receiver, Sender, Socket, SocketType, Task,
        Transfer, Verdict,
    },
    plan::Attach,
    report::{Report, ScenarioRun, Start, Summary},
    verify::{Ended, Finding, Group, Judgement, ScenarioResult, Speaker, WitnessReport},
    witness::Witness,
};

use crate::kernels::plan_of;

/// Where the files here have their `struct file`, or a multiple of 0x100 behind it.
pub const FILE: u64 = 0xffff_8881_0427_0780;

/// A sighting of `file` at `hop`: by the sender at `queue`, else by the receiver.
pub fn hop(hop: Hop, t_ns: u64, file: u64, refs: Option<i64>) -> HopSeen {
    let (pid, comm) = match hop {
        Hop::Queue => (100, "stage"),
        _ => (200, "receiver"),
    };
    HopSeen {
        hop,
        t_ns,
        cpu: 1,
        pid,
        tid: pid + 1,
        comm: comm.into(),
        file,
        skb: 0xffff_8881_4e9e_6d00,
        list: 0xffff_8881_5337_7000,
        sender_sock: 0,
        receiver_sock: 0,
        refs,
    }
}

/// A regular file that went its way and was delivered.
pub fn delivered(id: u64, index: u16, count: u16) -> Judged {
    let file = FILE + 0x100 * u64::from(index);
    let begin = 1_000_000_000 + 10_000_000 * id;
    Judged {
        transfer: Transfer {
            id,
            message: 1,
            index,
            count,
            file: FileIdentity {
                ptr: file,
                ino: 4711,
                dev: 254 << 20 | 1,
                rdev: 0,
                mode: 0o100_644,
                flags: 0o2,
                magic: 0xef53,
                label: None,
            },
            sender: Some(Sender {
                pid: 100,
                tid: Some(101),
                comm: "stage".into(),
                fd: Some(9 + i32::from(index)),
                socket_fd: Some(3),
                t_ns: 1_000,
            }),
            socket: Socket {
                other: None,
                kind: Some(SocketType::Stream),
                path: None,
                sender_ino: Some(31),
                receiver_ino: Some(32),
            },
            end: End::Delivered(Receiver {
                pid: 200,
                tid: 201,
                comm: "receiver".into(),
                fd: Some(20 + i32::from(index)),
                cloexec: Some(false),
                fd_inferred: false,
            }),
            chain: Chain::Whole,
            doubt: None,
            wanted: false,
            peek: false,
            overdue: false,
            found_ns: None,
            failed_send: None,
            context: Context::default(),
            queued_ns: Some(41_250),
            total_ns: None,
            since_ns: None,
            hops: vec![
                hop(Hop::Queue, begin, file, Some(2)),
                hop(Hop::Dequeue, begin + 41_250, file, Some(2)),
                hop(Hop::Install, begin + 50_000, file, Some(3)),
            ],
        },
        verdict: Some(Verdict::Same),
        earlier: Earlier::default(),
    }
}

/// The same with all that is known of its file and ends; the numbers are more than a double holds.
fn described(mut judged: Judged) -> Judged {
    let task = |uid| Task {
        uid,
        cgroup: (1 << 53) + 1,
        ..Task::default()
    };
    judged.transfer.file.ino = u64::MAX;
    judged.transfer.context = Context {
        file: Some(Arc::new(FileDescription::Path(FilePath {
            text: "/run/a b".to_owned(),
            unlinked: true,
            rootless: false,
            cut: false,
            detached: false,
            mount_root: false,
            mount_id: 1,
        }))),
        missing: None,
        sender: Some(task(0)),
        receiver: Some(task(1000)),
    };
    judged
}

/// What a witness says.
pub fn witness(witness: Witness, verdict: Verdict, mistakable: bool) -> WitnessReport {
    WitnessReport {
        witness,
        verdict,
        mistakable,
    }
}

/// What the judge found of a scenario that passed.
pub fn judgement(name: &'static str, result: ScenarioResult) -> Judgement {
    Judgement {
        name,
        group: Group::Identity,
        result,
        findings: Vec::new(),
        lossy: false,
        transfers: Vec::new(),
        witnesses: Vec::new(),
        mistakable: Vec::new(),
        elapsed: Duration::from_micros(6100),
    }
}

/// Three files arrived, and every witness says so.
pub fn passed() -> ScenarioRun {
    Judgement {
        transfers: vec![delivered(1, 0, 3), delivered(2, 1, 3), delivered(3, 2, 3)],
        witnesses: vec![
            witness(Witness::TaskFile, Verdict::Same, false),
            witness(Witness::Kcmp, Verdict::Same, false),
            witness(Witness::Offset, Verdict::Same, false),
            witness(Witness::ScmFds, Verdict::Same, false),
        ],
        ..judgement("three-fds", ScenarioResult::Pass)
    }
    .into()
}

/// What passed when it was played for the third time.
pub fn retried() -> ScenarioRun {
    ScenarioRun {
        retried: vec![
            "m's 10 → 21 not in the trace from end to end".to_owned(),
            "the trace says unknown of m's 11 where delivered is true".to_owned(),
        ],
        ..Judgement {
            transfers: vec![described(delivered(14, 0, 1))],
            witnesses: vec![witness(Witness::TaskFile, Verdict::Same, false)],
            ..judgement("relay", ScenarioResult::Pass)
        }
        .into()
    }
}

/// One file is distinguished from another that looks like it.
pub fn told_apart() -> ScenarioRun {
    Judgement {
        transfers: vec![delivered(4, 0, 1)],
        witnesses: vec![
            witness(Witness::TaskFile, Verdict::Same, false),
            witness(Witness::TaskFile, Verdict::Different, true),
            witness(Witness::Kcmp, Verdict::Different, true),
        ],
        mistakable: vec![Verdict::Different],
        ..judgement("reopened-path", ScenarioResult::Pass)
    }
    .into()
}

/// The file that arrived is another one than was sent.
pub fn failed() -> ScenarioRun {
    let mut different = delivered(5, 0, 1);
    different.verdict = Some(Verdict::Different);
    different.transfer.chain = Chain::Differs { hop: Hop::Install };
    different.transfer.hops[2].file = FILE + 0x4000;
    Judgement {
        findings: vec![Finding::Verdict {
            who: Speaker::Trace("m".into()),
            found: Verdict::Different,
            truth: Verdict::Same,
        }],
        transfers: vec![different],
        witnesses: vec![
            witness(Witness::TaskFile, Verdict::Same, false),
            witness(Witness::Kcmp, Verdict::Unverified, false),
        ],
        ..judgement("stream-one-fd", ScenarioResult::Fail)
    }
    .into()
}

/// A scenario that cannot be played here.
pub fn skipped() -> ScenarioRun {
    Judgement {
        findings: vec![Finding::Lacking(
            "a pid namespace cannot be made here: EPERM".to_owned(),
        )],
        ..judgement("pid-namespace", ScenarioResult::Skip)
    }
    .into()
}

/// Two of three transfers broke off where records were lost; of one not even the sender is known.
pub fn inconclusive() -> ScenarioRun {
    let mut transfers = vec![delivered(6, 0, 3), delivered(7, 1, 3), delivered(8, 2, 3)];
    for judged in &mut transfers[1..] {
        judged.verdict = Some(Verdict::Lost);
        judged.transfer.end = End::Unknown(Some(without_number(judged)));
        judged.transfer.chain = Chain::LossBetween;
        judged.transfer.hops.truncate(2);
    }
    transfers[2].transfer.sender = None;
    transfers[2].transfer.queued_ns = None;
    transfers[2].transfer.socket = Socket::default();
    transfers[2].transfer.hops.remove(0);
    Judgement {
        findings: vec![Finding::Missing {
            message: "m".into(),
            fd: 10,
            number: Some(21),
            more: 1,
            expected: Ended {
                fate: Fate::Delivered,
                cause: None,
            },
        }],
        transfers,
        witnesses: vec![witness(Witness::TaskFile, Verdict::Same, false)],
        ..judgement("max-fds", ScenarioResult::Inconclusive)
    }
    .into()
}

/// Who received it.
fn receiver(judged: &Judged) -> Receiver {
    judged.receiver().expect("it has one").clone()
}

/// The same, who got no number.
fn without_number(judged: &Judged) -> Receiver {
    Receiver {
        fd: None,
        cloexec: None,
        ..receiver(judged)
    }
}

/// A peek, a file without room, one still queued, and one that died with its socket.
pub fn other_fates() -> ScenarioRun {
    let mut peeked = delivered(9, 0, 1);
    peeked.transfer.end = End::Peeked(Receiver {
        fd_inferred: true,
        cloexec: Some(true),
        ..receiver(&peeked)
    });

    let mut truncated = delivered(10, 1, 2);
    truncated.verdict = None;
    truncated.transfer.end = End::Lost(Lost {
        how: Loss::Truncated,
        why: Ok(Cause::NoControlRoom),
        receiver: Some(without_number(&truncated)),
    });
    truncated.transfer.hops.truncate(2);

    let mut queued = delivered(11, 0, 1);
    queued.verdict = None;
    queued.transfer.end = End::Queued;
    queued.transfer.queued_ns = None;
    queued.transfer.hops.truncate(1);

    let mut dropped = delivered(12, 0, 1);
    dropped.verdict = None;
    dropped.transfer.end = End::Lost(Lost {
        how: Loss::Discarded,
        why: Ok(Cause::ReceiverClosed),
        receiver: None,
    });
    dropped.transfer.queued_ns = None;
    dropped.transfer.hops.truncate(1);
    dropped
        .transfer
        .hops
        .push(hop(Hop::End, 1_130_000_000, FILE, None));
    Judgement {
        transfers: vec![peeked, truncated, queued, dropped],
        ..judgement("peek", ScenarioResult::Pass)
    }
    .into()
}

/// One of each kind.
pub fn all_outcomes() -> Vec<ScenarioRun> {
    vec![
        passed(),
        told_apart(),
        failed(),
        skipped(),
        inconclusive(),
        other_fates(),
        retried(),
    ]
}

/// Some of everything that can be lost.
pub fn losses() -> Losses {
    Losses {
        events: vec![
            (Hop::Queue, 13),
            (Hop::Dequeue, 0),
            (Hop::Install, 16),
            (Hop::End, 0),
        ],
        recursion_misses: 2,
        raced: 1,
        unread_sends: 0,
        window_full: 3,
        filter_full: 0,
        descriptions: 0,
        read_ns: 0,
    }
}

/// Has `report` show a whole run on a recorded kernel.
pub fn write(mut report: impl Report, kernel: &str, runs: &[ScenarioRun], losses: Losses) {
    let plan = plan_of(kernel, Attach::Tracepoint);
    let start = Start {
        version: "0.0.0",
        wall_ns: 1_700_000_000_000_000_001,
        mono_ns: 9_007_199_254_740_993,
        machine: &Machine {
            arch: Some("x86_64".to_owned()),
            host: Some("there".to_owned()),
            boot_id: Some("5dbb4b47-9b0e-4e1e-9c0d-7a0f2d6a9f11".to_owned()),
        },
        plan,
    };
    report.start(&start).expect("memory takes it");
    let mut summary = Summary {
        losses,
        elapsed_ns: 174_000_000,
        exit_code: 1,
        ..Summary::default()
    };
    for run in runs {
        summary.add(run);
        report.scenario(run).expect("memory takes it");
    }
    report.summary(&summary).expect("memory takes it");
}

/// Everything that a traced process can choose, chosen to harm: it ends lines, moves the cursor,
/// sets the terminal's title, looks like a style of ours, and turns the direction of writing.
pub const HOSTILE: &str =
    "\x1b[31m\x1b[2J\x1b]0;t\x07\r\n\t\u{9b}1m\u{7f}\u{202e}\u{2066}\u{61c}\u{200f}\u{2028}\0x";

/// An outcome in which whatever can be named is called [`HOSTILE`].
pub fn hostile() -> ScenarioRun {
    let mut judged = delivered(13, 0, 1);
    let transfer = &mut judged.transfer;
    for seen in &mut transfer.hops {
        seen.comm = HOSTILE.into();
    }
    transfer.sender.as_mut().expect("it has one").comm = HOSTILE.into();
    transfer.end.receiver_mut().expect("it has one").comm = HOSTILE.into();
    transfer.socket.path = Some(format!("@{HOSTILE}"));
    ScenarioRun {
        retried: vec![format!("it had said {HOSTILE}")],
        ..Judgement {
            findings: vec![Finding::Trouble(format!("an actor said {HOSTILE}"))],
            transfers: vec![judged],
            ..judgement("stream-one-fd", ScenarioResult::Fail)
        }
        .into()
    }
}

/// The outcome of [`hostile`] with harmless names.
pub fn harmless() -> ScenarioRun {
    let mut harmless = hostile();
    for seen in &mut harmless.judgement.transfers[0].transfer.hops {
        seen.comm = "x".into();
    }
    harmless.judgement.findings = vec![Finding::Trouble("an actor said x".to_owned())];
    harmless.retried = vec!["it had said x".to_owned()];
    harmless
}
