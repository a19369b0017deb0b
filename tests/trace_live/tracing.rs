//! A trace that is under way while a test does something.

use std::{
    fs,
    process::Child,
    sync::MutexGuard,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    command::{self, Run, fdtrace, run},
    contract::Schema,
};

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why nothing here can run; `None` if it can.
fn obstacle() -> Option<String> {
    let doctor = run(&mut fdtrace(&["doctor", "--format", "json"]));
    let findings: Value = serde_json::from_str(&doctor.stdout).ok()?;
    let plan = findings["plan"].as_array()?;
    let unwatched = ["queue", "dequeue", "install"].into_iter().find(|hop| {
        let entry = plan.iter().find(|entry| entry["hop"] == **hop);
        entry.is_some_and(|entry| entry["skipped"] == true)
    });
    findings["obstacles"][0]
        .as_str()
        .map(str::to_owned)
        .or(unwatched.map(|hop| format!("{hop} is not watched")))
}

/// One test at a time: they are threads of one process, which some of them trace.
pub(crate) fn turn(test: &str) -> Option<MutexGuard<'static, ()>> {
    command::turn(test, obstacle)
}

/// A test's turn, or its end.
macro_rules! turn {
    ($test:literal) => {
        match $crate::tracing::turn($test) {
            Some(turn) => turn,
            None => return,
        }
    };
}

/// `fdtrace trace` or `record`, attached.
pub(crate) struct Tracing {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
}

impl Tracing {
    pub(crate) fn start(args: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        let ready = folder.path().join("ready");
        // What others pass meanwhile must not crowd it out.
        let mut command = fdtrace(args);
        if !args.contains(&"--buffer") {
            command.args(["--buffer", "32768"]);
        }
        let child = command
            .arg("--ready-file")
            .arg(&ready)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let mut tracing = Self { child, folder };
        wait_until("it is ready", || {
            let ended = tracing.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?} {}", tracing.read("stderr"));
            ready.exists()
        });
        tracing
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.id().cast_signed())
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    pub(crate) fn stop(mut self) -> Run {
        kill(self.pid(), Signal::SIGINT).unwrap();
        let status = self.child.wait().unwrap();
        Run {
            code: status.code(),
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
        }
    }
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(
            begin.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        thread::yield_now();
    }
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    let schema = Schema::parse(&run(&mut fdtrace(&["schema"])).stdout);
    schema.assert_lines(text)
}

pub(crate) fn transfers(lines: &[Value]) -> Vec<&Value> {
    let transfers = lines.iter().filter(|line| line["type"] == "transfer");
    transfers.collect()
}
