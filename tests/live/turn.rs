//! Whose turn it is: one test at a time, where there is something to trace at all.

use std::{
    fs::{self, File},
    path::Path,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::unistd::geteuid;
use serde_json::Value;

use crate::command::{fdtrace, run, skip};

/// How long something may take that happens at once unless it never happens. Kernels up to 6.1 wait
/// for all tasks before they let go of each trampoline, which takes them minutes where the machine
/// is emulated.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// Why nothing here can run; `None` if it can.
fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    OBSTACLE
        .get_or_init(|| {
            if !geteuid().is_root() {
                return Some("not root".to_owned());
            }
            let btf = "/sys/kernel/btf/vmlinux";
            if let Err(error) = fs::metadata(btf) {
                return Some(format!("no kernel type information: {btf}: {error}"));
            }
            // In a process of its own, for what it reads would count as memory of this one's
            // children.
            let doctor = run(&mut fdtrace(&["doctor", "--format", "json"]));
            let findings: Value = serde_json::from_str(&doctor.stdout)
                .unwrap_or_else(|error| panic!("{error}: {doctor:?}"));
            if let Some(obstacle) = findings["obstacles"][0].as_str() {
                return Some(obstacle.to_owned());
            }
            let plan = findings["plan"].as_array().expect("the plan is a list");
            ["queue", "dequeue", "install"].into_iter().find_map(|hop| {
                let entry = plan.iter().find(|entry| entry["hop"] == hop)?;
                let why = entry["why"].as_str().unwrap_or_default();
                (entry["skipped"] == true).then(|| format!("{hop} is not watched: {why}"))
            })
        })
        .as_deref()
}

/// Holds this machine's turn until it is dropped.
pub(crate) struct Turn {
    _lock: File,
}

/// A test's turn, or `None` and a note of why it cannot run.
pub(crate) fn turn(test: &str) -> Option<Turn> {
    if let Some(why) = obstacle() {
        skip(test, why);
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // It need not be there where the tests were not built.
    let folder = if folder.is_dir() {
        folder.to_owned()
    } else {
        std::env::temp_dir()
    };
    let lock = File::create(folder.join("fdtrace-live.lock")).expect("there is room for a lock");
    lock.lock().expect("it can be locked");
    Some(Turn { _lock: lock })
}

/// Waits for the turn of the test it stands in, or ends that test.
macro_rules! turn {
    () => {{
        fn here() {}
        let path = std::any::type_name_of_val(&here);
        let test = path.rsplit("::").nth(1).unwrap_or(path);
        match $crate::turn::turn(test) {
            Some(turn) => turn,
            None => return,
        }
    }};
}

/// Waits until something is so.
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
