//! The pages of docs/runners, each with the tool that it is about: its files are written out, its commands
//! run, once as they are and once for each thing that a check is there to find.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use fdtrace_testkit::{
    command::{FDTRACE, Run, run, skip},
    turn::{tracing, turn},
};
use tempfile::TempDir;

/// A runner, and what its page's project becomes.
struct Runner {
    /// The page's name.
    page: &'static str,
    /// Programs that it needs.
    programs: &'static [&'static str],
    /// A receiver that has room for two: what to put in whose place.
    smaller: [&'static str; 2],
    /// One that forgets close-on-exec.
    inheriting: [&'static str; 2],
    /// What a failed check, and one without an answer, end it with.
    failed: i32,
    unanswered: i32,
}

const PYTHON: ([&str; 2], [&str; 2]) = (["(3 * 4)", "(2 * 4)"], [", socket.MSG_CMSG_CLOEXEC", ""]);
const C: ([&str; 2], [&str; 2]) = (["ROOM = 3", "ROOM = 2"], ["MSG_CMSG_CLOEXEC", "0"]);
const RUST: ([&str; 2], [&str; 2]) = (
    ["RawFd; 3", "RawFd; 2"],
    ["MsgFlags::MSG_CMSG_CLOEXEC", "MsgFlags::empty()"],
);

#[test]
fn pytest() {
    Runner {
        page: "pytest",
        programs: &["python3", "pytest"],
        smaller: PYTHON.0,
        inheriting: PYTHON.1,
        failed: 1,
        unanswered: 3,
    }
    .holds();
}

#[test]
fn bats() {
    Runner {
        page: "bats",
        programs: &["python3", "bats"],
        smaller: PYTHON.0,
        inheriting: PYTHON.1,
        failed: 1,
        unanswered: 3,
    }
    .holds();
}

#[test]
fn go_test() {
    Runner {
        page: "go",
        programs: &["go"],
        smaller: ["CmsgSpace(3*4)", "CmsgSpace(2*4)"],
        inheriting: ["syscall.MSG_CMSG_CLOEXEC", "0"],
        failed: 1,
        unanswered: 1,
    }
    .holds();
}

#[test]
fn ctest() {
    Runner {
        page: "ctest",
        programs: &["cmake", "ctest", "cc"],
        smaller: C.0,
        inheriting: C.1,
        failed: 8,
        unanswered: 8,
    }
    .holds();
}

#[test]
fn meson() {
    Runner {
        page: "meson",
        programs: &["meson", "ninja", "cc"],
        smaller: C.0,
        inheriting: C.1,
        failed: 1,
        unanswered: 1,
    }
    .holds();
}

#[test]
fn cargo_test() {
    Runner {
        page: "cargo",
        programs: &["cargo"],
        smaller: RUST.0,
        inheriting: RUST.1,
        failed: 1,
        unanswered: 3,
    }
    .holds();
}

#[test]
fn cargo_nextest() {
    Runner {
        page: "nextest",
        programs: &["cargo", "cargo-nextest"],
        smaller: RUST.0,
        inheriting: RUST.1,
        failed: 100,
        unanswered: 100,
    }
    .holds();
}

impl Runner {
    fn holds(&self) {
        let test = format!("runners::{}", self.page);
        let Some(_turn) = turn(&test, tracing) else {
            return;
        };
        if let Some(missing) = self.programs.iter().find(|program| !is_there(program)) {
            return skip(&test, &format!("no {missing}"));
        }
        let page = Page::read(self.page);
        let folder = TempDir::new().unwrap();
        let script = page.script.replace("sudo;-E;", "").replace("sudo -E ", "");
        let with = |files: &[(String, String)], blind: bool| {
            write_out(folder.path(), files, blind);
            let check = if blind {
                "check --attach tracepoint"
            } else {
                "check"
            };
            let command = |text: &str| {
                text.replace("fdtrace check", &format!("{} {check}", *FDTRACE))
                    .replace(
                        "fdtrace;check",
                        &format!("{};{}", *FDTRACE, check.replace(' ', ";")),
                    )
            };
            let config = folder.path().join(".config/nextest.toml");
            if let Ok(text) = fs::read_to_string(&config) {
                fs::write(&config, command(&text.replace("sudo -E ", ""))).unwrap();
            }
            in_folder(folder.path(), &command(&script))
        };

        let right = with(&page.files, false);
        assert_eq!(right.code, Some(0), "{test}: {right:?}");
        for (edit, said) in [
            (self.smaller, "truncated (no-control-room)"),
            (self.inheriting, "close-on-exec is not set"),
        ] {
            let wrong = with(&page.edited(edit), false);
            assert_eq!(wrong.code, Some(self.failed), "{test}, {said}: {wrong:?}");
            assert!(wrong.says(said), "{test}: {wrong:?}");
        }
        // By tracepoints nobody sees a copy.
        let blind = with(&page.files, true);
        if blind.says("this kernel has no such tracepoints") {
            return;
        }
        assert_eq!(blind.code, Some(self.unanswered), "{test}: {blind:?}");
        assert!(
            blind.says("no answer is possible here"),
            "{test}: {blind:?}"
        );
    }
}

trait Says {
    fn says(&self, what: &str) -> bool;
}

impl Says for Run {
    /// Runners mix what their tests wrote as they like.
    fn says(&self, what: &str) -> bool {
        self.stdout.contains(what) || self.stderr.contains(what)
    }
}

/// What a page has: its files, and the commands of its shell blocks.
struct Page {
    files: Vec<(String, String)>,
    script: String,
}

impl Page {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/runners/{name}.md"));
        let text = fs::read_to_string(path).unwrap();
        let mut page = Self {
            files: Vec::new(),
            script: String::new(),
        };
        // What is within fences is every second part; the paragraph before it names the file.
        let parts: Vec<&str> = text.split("```").collect();
        for pair in parts.chunks_exact(2) {
            let (language, block) = pair[1].split_once('\n').unwrap();
            let paragraph = pair[0].trim().rsplit("\n\n").next().unwrap();
            if language == "sh" {
                page.script.push_str(block);
            } else if let Some(file) = paragraph.rsplit('`').nth(1) {
                page.files.push((file.to_owned(), block.to_owned()));
            }
        }
        assert!(page.files.len() >= 2 && !page.script.is_empty(), "{name}");
        page
    }

    /// Its files with `new` in the place of `old`.
    fn edited(&self, [old, new]: [&str; 2]) -> Vec<(String, String)> {
        let files = self.files.iter().cloned();
        let files: Vec<_> = files
            .map(|(name, text)| (name, text.replace(old, new)))
            .collect();
        assert_ne!(files, self.files, "nothing has {old}");
        files
    }
}

fn write_out(folder: &Path, files: &[(String, String)], blind: bool) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let needs = blind && name == "fdtrace.toml";
        let need = if needs { "need = [\"copy\"]\n" } else { "" };
        fs::write(path, format!("{need}{text}")).unwrap();
    }
}

/// Runs a script in a folder, which is its home as well, and away from this test's own Cargo.
fn in_folder(folder: &Path, script: &str) -> Run {
    let mut command = Command::new("sh");
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let is_ours =
            name.starts_with("CARGO") || name.starts_with("NEXTEST") || name == "RUSTFLAGS";
        if is_ours && name != "CARGO_HOME" {
            command.env_remove(name.as_ref());
        }
    }
    // What a test of this workspace was built with is here already.
    command
        .env("CARGO_NET_OFFLINE", "true")
        .env("GOPROXY", "off");
    command.env("GOCACHE", folder.join("go-cache"));
    command.env("CARGO_TARGET_DIR", folder.join("target"));
    run(command.args(["-euc", script]).current_dir(folder))
}

fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = env::split_paths(&path);
    folders.any(|folder: PathBuf| folder.join(program).exists())
}
