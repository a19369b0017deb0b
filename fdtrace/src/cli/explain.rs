//! `fdtrace explain`: runs a scenario and tells what the kernel did.

use std::{
    cell::RefCell,
    collections::HashMap,
    io::{self, Write as _},
    rc::Rc,
    time::Duration,
};

use anyhow::{Result, bail};

use super::{
    CannotRun, EXIT_OK, Output,
    args::{Common, Explain, Format},
    browser, startup,
    step::Stepper,
    suggest::nearest,
};
use crate::{
    explain::{Explainer, KernelPath, Recorder, RunLog, Story},
    kernel::{KernelView, clock::now_ns},
    model::{Judged, PointerStyle, Pointers, Transfer},
    plan::{Plan, Price},
    report::{self, Fit, Html, ScenarioRun, schema, write_json},
    tracer::Tracer,
    verify::{self, Judgement, Observer, Scenario, ScenarioResult, Verifier, fact::Fact},
    watch::{Ended, Limits, Options, Selection, Session},
};

/// Room for the records of one scenario.
const BUFFER_KIB: u32 = 4096;
/// Time that a scenario may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Time that it may take where a reader goes on when they like: some years.
const NO_LIMIT: Duration = Duration::from_secs(1 << 28);

pub(super) fn run(args: &Explain, common: &Common) -> Result<u8> {
    let scenario = find(&args.scenario)?;
    let other = args.against.as_deref().map(find).transpose()?;
    startup::block_on(async {
        let mut out = Output::open(common.output.as_deref())?;
        if args.step {
            let mut setup = Setup::open(common, NO_LIMIT)?;
            out = setup.step(scenario, out, common).await?;
            out.finish()?;
            return Ok(EXIT_OK);
        }
        let mut setup = Setup::open(common, LIMIT)?;
        let (story, transfers) = setup.run(scenario, Recorder::default()).await?;
        if args.open {
            let first = transfers
                .first()
                .map_or(String::new(), |it| format!("#t{}", it.id));
            let path = browser::show(|out| setup.write_page(&transfers, out), &first)?;
            if !common.quiet {
                eprintln!("fdtrace: {}", path.display());
            }
            return Ok(EXIT_OK);
        }
        let other = match other {
            Some(other) => Some(setup.run(other, Recorder::default()).await?.0),
            None => None,
        };
        match (args.format, other) {
            _ if args.c => out.write_all(source(scenario, &plain(&transfers))?.as_bytes())?,
            (Format::Text, Some(other)) => {
                let width = common.width(&out);
                report::write_comparison(&mut out, &story, &other, width)?;
            }
            (Format::Text, None) => {
                let width = common.width(&out);
                report::write_story(&mut out, &story, width)?;
            }
            (Format::Json, other) => {
                for story in [Some(story), other].into_iter().flatten() {
                    write_json(&mut out, &schema::Line::Story(story))?;
                    writeln!(out)?;
                }
            }
        }
        out.finish()?;
        Ok(EXIT_OK)
    })
}

fn find(name: &str) -> Result<&'static Scenario> {
    verify::find(name).ok_or_else(|| {
        let like = nearest(name, verify::all().map(|scenario| scenario.name));
        let like = like.map_or(String::new(), |like| format!("; did you mean {like:?}?"));
        CannotRun {
            what: format!("there is no scenario {name:?}{like}"),
            hint: "`fdtrace verify --list` shows them all",
        }
        .into()
    })
}

fn source(scenario: &Scenario, transfers: &[Transfer]) -> Result<String> {
    crate::explain::source(scenario, transfers).map_err(|error| {
        CannotRun {
            what: error.to_string(),
            hint: "what one sender and one receiver do can be had in C, such as that of stream-one-fd",
        }
        .into()
    })
}

/// What it takes to run scenarios and to tell of them.
struct Setup {
    verifier: Verifier,
    path: KernelPath,
    pointers: Pointers,
}

impl Setup {
    fn open(common: &Common, limit: Duration) -> Result<Self> {
        let path = KernelPath::of(&KernelView::live()?)?;
        let options = Options {
            price: Price::Any,
            snapshots: true,
            ..startup::options(common, BUFFER_KIB)
        };
        let live = startup::start(&options, common)?;
        Ok(Self {
            path,
            pointers: common.pointers(live.header().kptr_restrict),
            verifier: Verifier::new(live, limit),
        })
    }

    /// Runs a scenario before a recorder.
    async fn run(
        &mut self,
        scenario: &'static Scenario,
        recorder: Recorder,
    ) -> Result<(Story, Vec<Judged>)> {
        let recorder = Rc::new(RefCell::new(recorder));
        self.verifier.set_observer(Box::new(Rc::clone(&recorder)));
        self.verifier.begin(scenario)?;
        let Some((_, judgement)) = self.verifier.next().await? else {
            bail!("the scenario did not end");
        };
        let (recording, trouble) = recorder.borrow_mut().take();
        if let Some(trouble) = trouble {
            bail!("cannot look at the scenario's processes: {trouble}");
        }
        let plan = self.verifier.plan();
        let pointers = &mut self.pointers;
        Ok(story(
            scenario, &judgement, &recording, plan, &self.path, pointers,
        ))
    }

    /// A page of what was passed.
    fn write_page(&mut self, transfers: &[Judged], out: &mut dyn io::Write) -> Result<()> {
        let losses = self.verifier.losses()?;
        let header = self.verifier.live().header();
        let pointers = Pointers::new(PointerStyle::Auto, header.kptr_restrict);
        let page = Box::new(Html::new(out, pointers));
        let selection = Selection::default();
        let mut session = Session::begin(selection, Limits::NONE, page, header)?;
        session.show(transfers)?;
        let ended = Ended {
            losses,
            t_ns: now_ns(),
            ..Ended::default()
        };
        session.end(ended, |_, _| EXIT_OK)?;
        Ok(())
    }

    /// Runs a scenario, and goes on from each checkpoint when the reader does.
    async fn step(
        &mut self,
        scenario: &'static Scenario,
        out: Output,
        common: &Common,
    ) -> Result<Output> {
        let live = self.verifier.live();
        let width = common.width(&out);
        let stepper = Rc::new(RefCell::new(Stepper {
            out: Fit::new(out, width),
            scenario,
            plan: self.verifier.plan().clone(),
            path: self.path.clone(),
            pointers: common.pointers(live.header().kptr_restrict),
            symbolize: Rc::from(live.symbolizer()),
            told: 0,
            at_end_of_input: false,
        }));
        let at_checkpoint = Rc::clone(&stepper);
        let recorder = Recorder::stopping(Box::new(move |recording| {
            at_checkpoint.borrow_mut().stop(recording);
        }));
        let (story, _) = self.run(scenario, recorder).await?;
        // The recorder goes, and with it the other hold on the stepper.
        self.verifier.set_observer(Box::new(()));
        let Ok(stepper) = Rc::try_unwrap(stepper) else {
            bail!("the story is still being told");
        };
        let mut stepper = stepper.into_inner();
        stepper.finish(&story)?;
        Ok(stepper.out.into_inner())
    }
}

/// Makes a story of one run.
fn story(
    scenario: &Scenario,
    judgement: &Judgement,
    recording: &RunLog,
    plan: &Plan,
    path: &KernelPath,
    pointers: &mut Pointers,
) -> (Story, Vec<Judged>) {
    let judged = judgement.transfers.clone();
    let transfers = plain(&judged);
    let explainer = Explainer { plan, path };
    let story = Story {
        result: Some(judgement.result),
        reason: judgement.reason(),
        ..explainer.explain(scenario, recording, &transfers, pointers)
    };
    (story, judged)
}

fn plain(transfers: &[Judged]) -> Vec<Transfer> {
    transfers
        .iter()
        .map(|judged| judged.transfer.clone())
        .collect()
}

/// What `verify` tells of the scenarios that fail: it records every one.
pub(super) struct Stories {
    path: KernelPath,
    recorders: Recorders,
    pointers: Pointers,
}

impl Stories {
    /// Records what this verifier runs from now on.
    ///
    /// # Errors
    /// If this kernel's types or symbols cannot be read.
    pub(super) fn begin(verifier: &mut Verifier, pointers: Pointers) -> Result<Self> {
        let stories = Self {
            path: KernelPath::of(&KernelView::live()?)?,
            recorders: Recorders::default(),
            pointers,
        };
        verifier.set_observer(Box::new(stories.recorders.clone()));
        Ok(stories)
    }

    /// Adds its story to a run that is over, if it failed. One that ended before anybody reported is
    /// short.
    pub(super) fn explain(&mut self, number: u64, run: ScenarioRun, plan: &Plan) -> ScenarioRun {
        let recorder = self.recorders.0.borrow_mut().remove(&number);
        let failed = run.judgement.result == ScenarioResult::Fail;
        let Some(scenario) = verify::find(run.judgement.name).filter(|_| failed) else {
            return run;
        };
        let (recording, _) = recorder.unwrap_or_default().take();
        let judgement = &run.judgement;
        let pointers = &mut self.pointers;
        let (story, _) = story(scenario, judgement, &recording, plan, &self.path, pointers);
        ScenarioRun {
            story: Some(Box::new(story)),
            ..run
        }
    }
}

/// A recorder for each run that is under way.
#[derive(Clone, Default)]
struct Recorders(Rc<RefCell<HashMap<u64, Recorder>>>);

impl Observer for Recorders {
    fn on_fact(&mut self, run: u64, fact: &Fact, tracer: &mut Tracer) {
        let mut recorders = self.0.borrow_mut();
        recorders.entry(run).or_default().on_fact(run, fact, tracer);
    }
}
