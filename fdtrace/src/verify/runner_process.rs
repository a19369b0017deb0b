//! The verifier's end of a runner: the process, what it says, and the answers that it waits for.

use std::{io, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    task::JoinHandle,
};

use super::{REAP_LIMIT, RUNNER_ARGUMENT, VerifyError, fact::Answer};

/// A line of a runner's output, or `None` at its end: every actor has closed it.
pub(super) struct Said {
    /// Which runner.
    pub(super) number: u64,
    /// The line, or why there is none.
    pub(super) line: io::Result<Option<String>>,
}

/// The processes of one scenario. They die with this.
pub(super) struct RunnerProcess {
    child: Child,
    answers: ChildStdin,
    listener: JoinHandle<()>,
}

impl RunnerProcess {
    /// Starts a scenario's actors; what they say goes to `said`, under `number`.
    pub(super) fn start(
        scenario: &str,
        number: u64,
        said: mpsc::Sender<Said>,
    ) -> Result<Self, VerifyError> {
        let failed = |action| move |source| VerifyError::Runner { action, source };
        let mut child = Command::new(Path::new("/proc/self/exe"))
            .arg(RUNNER_ARGUMENT)
            .arg(scenario)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Of its own, so that a Ctrl-C at the terminal is the verifier's to handle.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed("start fdtrace again as a runner"))?;
        match (child.stdout.take(), child.stdin.take()) {
            (Some(facts), Some(answers)) => Ok(Self {
                child,
                answers,
                listener: tokio::spawn(listen(facts, number, said)),
            }),
            _ => Err(failed("talk to the runner")(
                io::ErrorKind::BrokenPipe.into(),
            )),
        }
    }

    /// Answers the actor that is at a checkpoint. One that died meanwhile will never read it.
    pub(super) async fn answer(&mut self, answer: Answer) {
        let _ = self.answers.write_all(&[answer as u8]).await;
    }

    /// Kills the runner, and with it all of its actors, as each dies with its parent. Then nobody holds
    /// the pipe for facts any more, and its end is read.
    pub(super) fn kill(&mut self) {
        // Fails if it is gone already.
        let _ = self.child.start_kill();
    }

    /// Waits until the process is gone. It closes its output as it ends, so this takes a moment at most.
    pub(super) async fn end(&mut self) {
        self.kill();
        let _ = tokio::time::timeout(REAP_LIMIT, self.child.wait()).await;
    }
}

impl Drop for RunnerProcess {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(facts: ChildStdout, number: u64, said: mpsc::Sender<Said>) {
    let mut lines = BufReader::new(facts).lines();
    loop {
        let line = lines.next_line().await;
        let last = !matches!(line, Ok(Some(_)));
        // Fails when the verifier is gone.
        if said.send(Said { number, line }).await.is_err() || last {
            return;
        }
    }
}
