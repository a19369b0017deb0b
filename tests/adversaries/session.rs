//! One adversary against one mechanism: rounds of its workload, each traced and checked.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use fdtrace::{
    judge::Meanwhile,
    kernel::KernelView,
    model::{Hop, Losses, Transfer, Verdict},
    plan::{Attach, Plan, PlanError, plan},
    watch::{Live, Options},
};
use libtest_mimic::Failed;

use crate::{
    WORKLOAD,
    check::{Tally, Truth, Wrong},
    control::Control,
    truth::Fact,
    workload::ROUND_IS_OVER,
};
use fdtrace_testkit::command::skip;

/// Transfers between two looks at what the trace says of them.
const ROUND: usize = 3000;
/// The trace of two rounds fits, should nobody empty it meanwhile.
const BUFFER: u32 = 32 << 20;
/// How often the buffer is emptied while a round is on.
const DRAIN: Duration = Duration::from_millis(2);

/// Lets `adversary` pass about `transfers` descriptors.
pub(crate) fn run(
    test: &str,
    adversary: &str,
    attach: Attach,
    transfers: usize,
) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _guard = runtime.enter();
    let mut live = match start(attach)? {
        Ok(live) => live,
        Err(why) => {
            skip(test, &why);
            return Ok(());
        }
    };
    let mut workload = Workload::start(adversary)?;
    let mut tally = Tally::default();
    let mut took = Duration::ZERO;
    let mut gaps = Gaps::default();
    let mut control = None;
    let rounds = transfers.div_ceil(ROUND);
    for _ in 0..rounds {
        live.begin_anew();
        live.read_losses()?;
        let before = live.losses().clone();
        let mut closed = Vec::new();
        let begin = Instant::now();
        let facts = workload.round(transfers / rounds, || take_in(&mut live, &mut closed))?;
        took += begin.elapsed();
        take_in(&mut live, &mut closed)?;
        live.pipeline_mut().end();
        take_in(&mut live, &mut closed)?;
        live.read_losses()?;
        let losses = live.losses();
        gaps.add(&before, losses);
        if !losses.same_gaps(&before) {
            for (_, meanwhile) in &mut closed {
                if *meanwhile == Meanwhile::AllSeen {
                    *meanwhile = Meanwhile::RecordsLost;
                }
            }
        }
        let truth = Truth::of(facts);
        closed.retain(|(transfer, _)| truth.concerns(transfer));
        let plan = live.tracer().plan();
        tally.add(truth.check(&closed, plan));
        control = control.or_else(|| Control::with(&truth, &closed, plan));
    }
    workload.end()?;
    report(test, &tally, &gaps, took);
    let mut kinds: BTreeMap<&str, Vec<&Wrong>> = BTreeMap::new();
    for wrong in &tally.wrong {
        kinds.entry(&wrong.what).or_default().push(wrong);
    }
    for (what, wrong) in kinds {
        println!("{} times: {what}, as in {}", wrong.len(), wrong[0].transfer);
    }
    if !tally.wrong.is_empty() {
        return Err(format!("{} are wrong", tally.wrong.len()).into());
    }
    if !is_followed(adversary, attach, &tally) {
        return Err("nothing was followed".into());
    }
    match control {
        Some(control) if control.overlooked.is_empty() => Ok(()),
        Some(control) => Err(format!("nobody would notice {:?}", control.overlooked).into()),
        // Some adversaries leave hardly anything that can be followed, and so to tamper with.
        None if (tally.verdict(Verdict::Same) - tally.doubted) * 2 < tally.arrived => Ok(()),
        None => Err("there are no two transfers to tamper with".into()),
    }
}

/// Takes over what has ended, with what was seen while it was on its way.
fn take_in(live: &mut Live, closed: &mut Vec<(Transfer, Meanwhile)>) -> Result<(), Failed> {
    live.take_in(&mut |_| ())?;
    if live.pipeline().asks_for_losses() {
        live.read_losses()?;
    }
    assert_eq!(live.pipeline().undecodable(), 0, "records are whole");
    closed.extend(live.pipeline_mut().take_ended());
    Ok(())
}

/// Whether the trace told of the transfers at all, and did not merely say nothing wrong.
fn is_followed(adversary: &str, attach: Attach, tally: &Tally) -> bool {
    let same = tally.verdict(Verdict::Same);
    if (adversary, attach) == ("one_file_for_processes", Attach::Tracepoint) {
        // Every sender has the file, and the look at the queue names none where it may be another's:
        // `same` is only what came before a second one was noticed, which may be nothing.
        return (same + tally.verdict(Verdict::Unverified)) * 2 >= tally.arrived;
    }
    same > 0
}

/// What the programs know that they did not see, of all the machine.
#[derive(Default)]
struct Gaps {
    raced: u64,
    lost: u64,
    skipped: u64,
}

impl Gaps {
    fn add(&mut self, before: &Losses, after: &Losses) {
        let lost = |losses: &Losses| losses.events.iter().map(|(_, lost)| lost).sum::<u64>();
        self.raced += after.raced - before.raced;
        self.lost += lost(after) - lost(before) + after.window_full - before.window_full;
        self.skipped += after.recursion_misses - before.recursion_misses;
    }
}

fn report(test: &str, tally: &Tally, gaps: &Gaps, took: Duration) {
    println!(
        "{test}: {} arrived: {} same ({} without their thread), {} unverified, {} lost, {} unknown, {} untold, {} wrong; \
         {} not delivered; {} overtook the sender's hook, {} records lost, {} runs skipped; \
         {:.0} per second",
        tally.arrived,
        tally.verdict(Verdict::Same),
        tally.doubted,
        tally.verdict(Verdict::Unverified),
        tally.verdict(Verdict::Lost),
        tally.unknown,
        tally.untold,
        tally.wrong.len(),
        tally.undelivered,
        gaps.raced,
        gaps.lost,
        gaps.skipped,
        tally.arrived as f64 / took.as_secs_f64(),
    );
}

/// Attaches by this mechanism alone, or says why that shows nothing here.
fn start(attach: Attach) -> Result<Result<Live, String>, Failed> {
    Ok(match planned(attach)? {
        Ok(_) => {
            let options = Options {
                attach,
                buffer_bytes: BUFFER,
                ..Options::default()
            };
            Ok(options.start()?)
        }
        Err(why) => Err(why),
    })
}

/// What this mechanism alone would watch, or why that shows nothing here.
pub(crate) fn planned(attach: Attach) -> Result<Result<(KernelView, Plan), String>, Failed> {
    let view = match KernelView::live() {
        Ok(view) => view,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if let Some(lacking) = view.capabilities.lacking_for_tracing() {
        return Ok(Err(format!("no {lacking}")));
    }
    let planned = match plan(&view, attach) {
        Ok(planned) => planned,
        Err(error @ PlanError::NothingToAttach { .. }) => return Ok(Err(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    for hop in [Hop::Queue, Hop::Dequeue, Hop::Install] {
        if !planned.watches(hop) {
            return Ok(Err(format!("{} is not watched", hop.name())));
        }
    }
    Ok(Ok((view, planned)))
}

/// The workload's process.
struct Workload {
    child: Child,
    said: Receiver<String>,
}

impl Workload {
    fn start(adversary: &str) -> Result<Self, Failed> {
        let mut child = Command::new(env::current_exe()?)
            .env(WORKLOAD, adversary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = BufReader::new(child.stdout.take().ok_or("it has a stdout")?);
        let (tell, said) = mpsc::channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| {
                // Nobody listens any more when the test has failed.
                let _ = tell.send(line);
            });
        });
        Ok(Self { child, said })
    }

    /// One round; `meanwhile` is called again and again until all of it has been told.
    fn round(
        &mut self,
        transfers: usize,
        mut meanwhile: impl FnMut() -> Result<(), Failed>,
    ) -> Result<Vec<Fact>, Failed> {
        let stdin = self.child.stdin.as_mut().ok_or("it has a stdin")?;
        writeln!(stdin, "{transfers}")?;
        let mut facts = Vec::new();
        loop {
            match self.said.recv_timeout(DRAIN) {
                Ok(line) if line == ROUND_IS_OVER => return Ok(facts),
                Ok(line) => facts.push(serde_json::from_str(&line)?),
                Err(RecvTimeoutError::Timeout) => meanwhile()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the workload broke off".into());
                }
            }
        }
    }

    fn end(mut self) -> Result<(), Failed> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the workload ended with {status}").into())
        }
    }
}
