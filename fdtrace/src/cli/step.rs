//! Step by step: the story while it happens, with the scenario's processes held at each checkpoint
//! until the reader goes on.
//!
//! The kernel cannot be held in the middle of a call. What happened in one is told when the next
//! checkpoint is reached, from the records, hop by hop, and is called a recording.

use std::{
    io::{self, BufRead as _, Write},
    rc::Rc,
};

use anstyle::{AnsiColor, Style};

use crate::{
    explain::{
        Explainer, KernelPath, RunLog, Story,
        story::{Call, Part},
    },
    model::{Pointers, Transfer},
    plan::Plan,
    report::{Fit, story},
    verify::{Scenario, fact::Fact},
    watch::Pipeline,
};

const CYAN: Style = AnsiColor::Cyan.on_default();

/// Tells a scenario's story as far as it has come.
pub(super) struct Stepper<W: Write> {
    /// Where the story goes; what is asked of the reader goes to stderr.
    pub out: Fit<W>,
    /// The scenario.
    pub scenario: &'static Scenario,
    /// What there is to see on this kernel.
    pub plan: Plan,
    /// The functions it has.
    pub path: KernelPath,
    /// How to show addresses.
    pub pointers: Pointers,
    /// Names code addresses.
    pub symbolize: Rc<dyn Fn(u64) -> Option<String>>,
    /// Parts that have been told.
    pub told: usize,
    /// The reader has no more to say, so nothing stops any more.
    pub at_end_of_input: bool,
}

impl<W: Write> Stepper<W> {
    /// Tells what is new, while the actor stands still.
    pub(super) fn stop(&mut self, recording: &RunLog) {
        // A reader who has gone away is found out when the story ends.
        let _ = self.write_new(recording);
    }

    fn write_new(&mut self, recording: &RunLog) -> io::Result<()> {
        let story = self.story(recording);
        if self.told == 0 {
            story::begin(&mut self.out, &story)?;
        }
        for (place, part) in story.parts.iter().enumerate().skip(self.told) {
            self.told = place + 1;
            match part {
                Part::Moment(_) => {
                    story::write_part(&mut self.out, place, part)?;
                    self.wait("the processes are held here until you press Enter")?;
                }
                Part::Call(call) => self.write_call(place, call)?,
            }
        }
        Ok(())
    }

    /// Tells a call from one hop to the next.
    fn write_call(&mut self, place: usize, call: &Call) -> io::Result<()> {
        writeln!(self.out)?;
        story::title(&mut self.out, place, &call.title)?;
        for step in &call.steps {
            story::write_step(&mut self.out, step)?;
            if step.hop.is_some() {
                self.wait(
                    "replay: a running system call cannot be paused. Press Enter for the next hop",
                )?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, what: &str) -> io::Result<()> {
        self.out.flush()?;
        if self.at_end_of_input {
            return Ok(());
        }
        let mut stderr = anstream::stderr().lock();
        write!(stderr, "{CYAN}[{what}]{CYAN:#} ")?;
        stderr.flush()?;
        drop(stderr);
        let mut line = String::new();
        self.at_end_of_input = io::stdin().lock().read_line(&mut line)? == 0;
        Ok(())
    }

    /// The story so far: what is on its way counts as queued.
    fn story(&mut self, recording: &RunLog) -> Story {
        let symbolize = Rc::clone(&self.symbolize);
        let mut coverage = self.plan.coverage();
        // Nothing has left its queue unseen yet, and what leaves it later is told of later.
        (coverage.every_end, coverage.failed_sends) = (true, false);
        let mut pipeline = Pipeline::new(coverage, Box::new(move |address| symbolize(address)));
        for record in &recording.records {
            pipeline.take_in(record.clone(), &mut |_| ());
        }
        pipeline.end();
        let pids: Vec<u32> = recording
            .facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Joined { actor } => Some(actor.pid),
                _ => None,
            })
            .collect();
        let transfers: Vec<Transfer> = pipeline
            .take_ended()
            .into_iter()
            .map(|(transfer, _)| transfer)
            .filter(|transfer| transfer.is_of(|pid| pids.contains(&pid)))
            .collect();
        let explainer = Explainer {
            plan: &self.plan,
            path: &self.path,
        };
        explainer.explain(self.scenario, recording, &transfers, &mut self.pointers)
    }

    /// Tells what came after the last checkpoint, and how it ended.
    ///
    /// # Errors
    /// What writing says.
    pub(super) fn finish(&mut self, story: &Story) -> io::Result<()> {
        if self.told == 0 {
            story::begin(&mut self.out, story)?;
        }
        for (place, part) in story.parts.iter().enumerate().skip(self.told) {
            match part {
                Part::Moment(_) => story::write_part(&mut self.out, place, part)?,
                Part::Call(call) => self.write_call(place, call)?,
            }
        }
        story::end(&mut self.out, story)
    }
}
