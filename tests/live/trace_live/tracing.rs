//! A trace that is under way while a test does something.

use std::{
    fs,
    process::{Child, Command},
};

use fdtrace_testkit::{
    command::{Run, fdtrace, run},
    contract::Schema,
    turn::wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

/// `fdtrace trace` or `record`, attached.
pub(crate) struct Tracing {
    pub(crate) child: Child,
    pub(crate) folder: TempDir,
}

impl Tracing {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_as(args, |_| ())
    }

    /// With the command changed before it runs.
    pub(crate) fn start_as(args: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        let ready = folder.path().join("ready");
        // What others pass meanwhile must not crowd it out.
        let mut command = fdtrace(args);
        change(&mut command);
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

/// A test that fails leaves nothing attached.
impl Drop for Tracing {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
