//! Whose turn it is: one test at a time, where there is something to look at.

use std::{
    env,
    fs::{self, File},
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
pub const DEADLINE: Duration = Duration::from_secs(180);

/// The turn of one test. Another has it when this is dropped.
pub struct Turn {
    folder: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Closing would not do: a child of the test may still have the file.
        self.folder.unlock().expect("it is locked");
    }
}

/// Waits for a test's turn, which is one for all test programs in the same folder. None, and a note
/// of why, where there is an `obstacle`. That is asked for in the turn too: it may start an fdtrace,
/// which a test that follows this process would see passing descriptors to itself.
pub fn turn(test: &str, obstacle: impl FnOnce() -> Option<String>) -> Option<Turn> {
    let program = env::current_exe().expect("/proc is mounted");
    let folder = program.parent().expect("a program is in a folder");
    let folder = File::open(folder).expect("the folder is there");
    folder.lock().expect("a folder can be locked");
    let turn = Turn { folder };
    if let Some(why) = obstacle() {
        skip(test, &why);
        return None;
    }
    Some(turn)
}

/// Why queues cannot be looked at here; `None` if they can.
pub fn looking() -> Option<String> {
    if !geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let btf = "/sys/kernel/btf/vmlinux";
    fs::metadata(btf)
        .err()
        .map(|error| format!("no kernel type information: {btf}: {error}"))
}

/// Why nothing can be attached here; `None` if something can. Asked once, for that takes a second.
pub fn attaching() -> Option<String> {
    findings().obstacle.clone()
}

/// Why no whole transfer can be traced here; `None` if one can.
pub fn tracing() -> Option<String> {
    attaching().or_else(|| findings().unwatched.clone())
}

/// What `fdtrace doctor` found.
struct Findings {
    obstacle: Option<String>,
    unwatched: Option<String>,
}

fn findings() -> &'static Findings {
    static FINDINGS: OnceLock<Findings> = OnceLock::new();
    FINDINGS.get_or_init(|| {
        if let Some(why) = looking() {
            return Findings {
                obstacle: Some(why),
                unwatched: None,
            };
        }
        // In a process of its own, for what it reads would count as memory of this one's children.
        let doctor = run(&mut fdtrace(&["doctor", "--format", "json"]));
        let found: Value = serde_json::from_str(&doctor.stdout)
            .unwrap_or_else(|error| panic!("{error}: {doctor:?}"));
        let plan = found["plan"].as_array().expect("the plan is a list");
        let unwatched = ["queue", "dequeue", "install"].into_iter().find_map(|hop| {
            let entry = plan.iter().find(|entry| entry["hop"] == hop)?;
            let why = entry["why"].as_str().unwrap_or_default();
            (entry["skipped"] == true).then(|| format!("{hop} is not watched: {why}"))
        });
        Findings {
            obstacle: found["obstacles"][0].as_str().map(str::to_owned),
            unwatched,
        }
    })
}

/// Waits for the turn of the test it stands in, or ends that test where there is an obstacle, which a
/// function of this module names.
#[macro_export]
macro_rules! take_turn {
    ($obstacle:ident) => {{
        fn here() {}
        let path = std::any::type_name_of_val(&here);
        // Without the test program, and without what was made up for this.
        let path = path.strip_suffix("::here").unwrap_or(path);
        let test = path.split_once("::").map_or(path, |(_, test)| test);
        match $crate::turn::turn(test, $crate::turn::$obstacle) {
            Some(turn) => turn,
            None => return,
        }
    }};
}

/// Waits until something is so. It looks once a millisecond, for what it waits for needs a CPU too.
///
/// # Panics
/// If it is not so within [`DEADLINE`].
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(
            begin.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        thread::sleep(Duration::from_millis(1));
    }
}
