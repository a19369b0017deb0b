//! `fdtrace explain`: plays a scenario and tells what the kernel did.

use std::{cell::RefCell, io::Write as _, rc::Rc, time::Duration};

use anyhow::{Result, bail};

use super::{
    CannotRun, EXIT_OK, Output,
    args::{Common, Explain, Format},
    startup,
};
use crate::{
    explain::{self, Path, Recorder, Story, Teller},
    kernel::KernelView,
    report::{Pointers, schema},
    tracer::Filter,
    tracker::Tracker,
    verify::{self, Scenario, Verifier},
};

/// Room for the records of one scenario.
const BUFFER_KIB: u32 = 4096;
/// Time that a scenario may take.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn run(args: &Explain, common: &Common) -> Result<u8> {
    let scenario = find(&args.scenario)?;
    startup::block_on(async {
        let mut out = Output::open(common.output.as_deref())?;
        let mut theatre = Theatre::open(common)?;
        let story = theatre.play(scenario).await?;
        match args.format {
            Format::Text => explain::tell(&mut out, &story)?,
            Format::Json => {
                serde_json::to_writer(&mut out, &schema::Line::Story(story))?;
                writeln!(out)?;
            }
        }
        out.finish()?;
        Ok(EXIT_OK)
    })
}

fn find(name: &str) -> Result<&'static Scenario> {
    verify::find(name).ok_or_else(|| {
        CannotRun {
            what: format!("there is no scenario {name:?}"),
            hint: "`fdtrace verify --list` shows them all",
        }
        .into()
    })
}

/// What it takes to play scenarios and to tell of them.
struct Theatre {
    verifier: Verifier,
    path: Path,
    pointers: Pointers,
}

impl Theatre {
    fn open(common: &Common) -> Result<Self> {
        let path = Path::of(&KernelView::live()?)?;
        let mut started = startup::start(common, BUFFER_KIB, &Filter::default())?;
        started.prepare_snapshots()?;
        let symbols = started.symbols;
        let tracker = Tracker::new(Box::new(move |address| {
            symbols.symbolize(address).map(|(name, _)| name.to_owned())
        }));
        Ok(Self {
            verifier: Verifier::new(started.tracer, tracker, LIMIT),
            path,
            pointers: Pointers::new(common.pointers, started.kptr_restrict),
        })
    }

    async fn play(&mut self, scenario: &'static Scenario) -> Result<Story> {
        let recorder = Rc::new(RefCell::new(Recorder::default()));
        self.verifier.show_to(Box::new(Rc::clone(&recorder)));
        self.verifier.begin(scenario)?;
        let Some((_, outcome)) = self.verifier.next().await? else {
            bail!("the scenario did not end");
        };
        let (recording, trouble) = recorder.borrow_mut().take();
        if let Some(trouble) = trouble {
            bail!("cannot take a still of the scenario's processes: {trouble}");
        }
        let transfers: Vec<_> = outcome
            .transfers
            .iter()
            .map(|judged| judged.transfer.clone())
            .collect();
        let teller = Teller {
            plan: self.verifier.plan(),
            path: &self.path,
        };
        Ok(teller.tell(scenario, &recording, &transfers, &mut self.pointers))
    }
}
