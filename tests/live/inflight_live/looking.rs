//! What is queued, and what a look at the queues finds.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::OnceLock,
};

use fdtrace::{
    inflight::{Census, Holding},
    kernel::KernelView,
    passing::send,
    plan::Offsets,
    tracer::{Queues, SocketTables},
};
use fdtrace_testkit::{
    command::{Run, fdtrace, run},
    contract::Schema,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde_json::Value;
use tempfile::TempDir;

/// Files in one full message.
pub(crate) const FULL: usize = 253;

/// Two ends of a Unix socket.
pub(crate) struct Pair {
    pub(crate) sender: OwnedFd,
    pub(crate) receiver: OwnedFd,
}

impl Pair {
    pub(crate) fn of(kind: SockType) -> Self {
        let (sender, receiver) =
            socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)
                .expect("sockets can be had");
        Self { sender, receiver }
    }

    pub(crate) fn send(&self, data: &[u8], fds: &[RawFd]) {
        send(self.sender.as_raw_fd(), data, &[fds]).expect("it can be sent");
    }
}

pub(crate) fn ino(fd: &OwnedFd) -> u64 {
    let file = File::from(fd.try_clone().expect("there is a number left"));
    file.metadata().expect("it is open").ino()
}

/// What a look found.
pub(crate) struct Found {
    pub(crate) rows: Vec<Value>,
    pub(crate) summary: Value,
    pub(crate) run: Run,
}

impl Found {
    /// Rows of the queue of one socket.
    pub(crate) fn of(&self, socket: &OwnedFd) -> Vec<&Value> {
        let ino = ino(socket);
        self.rows
            .iter()
            .filter(|row| row["socket"]["ino"] == ino)
            .collect()
    }
}

pub(crate) fn look(args: &[&str]) -> Found {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| Schema::parse(&run(&mut fdtrace(&["schema"])).stdout));
    let run = run(fdtrace(&["inflight", "--format", "json"]).args(args));
    assert_eq!(run.stderr, "", "{run:?}");
    let mut rows = schema.assert_lines(&run.stdout);
    let summary = rows.pop().expect("there is a last line");
    assert_eq!(summary["type"], "in_flight_summary");
    assert_eq!(summary["exit_code"].as_i64(), run.code.map(i64::from));
    assert_eq!(summary["matched"], rows.len());
    assert_eq!(run.code, Some(i32::from(rows.is_empty())));
    Found { rows, summary, run }
}

/// The kernel's own figure for one of this process's sockets.
pub(crate) fn scm_fds(socket: &OwnedFd) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_raw_fd()))
        .expect("it is open");
    let line = text.lines().find_map(|line| line.strip_prefix("scm_fds:"));
    let count = line.unwrap_or_else(|| panic!("no scm_fds in {text}"));
    count.trim().parse().expect("a number")
}

pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir().expect("there is room for a folder")
}

pub(crate) fn file_in(folder: &Path, name: &str) -> (File, PathBuf) {
    let path = folder.join(name);
    let file = File::create(&path).expect("there is room for a file");
    let path = path.canonicalize().expect("it is there");
    (file, path)
}

/// The processes that can receive a row's file, and the numbers they have the socket at.
pub(crate) fn receivers(row: &Value) -> BTreeMap<u64, Vec<i64>> {
    let receivers = row["receivers"].as_array().expect("a list");
    receivers
        .iter()
        .map(|receiver| {
            let fds = receiver["fds"].as_array().expect("a list");
            let fds = fds.iter().filter_map(Value::as_i64).collect();
            (receiver["pid"].as_u64().expect("a number"), fds)
        })
        .collect()
}

pub(crate) fn this_process() -> u64 {
    u64::from(std::process::id())
}

/// What walks queues, and where it finds those that nobody holds.
pub(crate) fn tables() -> (Queues, SocketTables) {
    let view = KernelView::live().expect("the kernel can be looked at");
    let offsets = Offsets::resolve(&view).expect("its structures are known");
    let tables = SocketTables::of(&offsets, &view.symbols);
    let queues = Queues::open(&offsets, &view.types, tables).expect("queues can be walked");
    (queues, tables)
}

pub(crate) fn queues() -> Queues {
    tables().0
}

pub(crate) fn census(queues: &mut Queues) -> Census {
    let first = queues.pass().expect("it can be walked");
    Census::of(&first, queues.pass().expect("it can be walked"))
}

pub(crate) fn holdings(census: &Census, inos: [u64; 2]) -> Vec<&Holding> {
    census
        .holdings
        .iter()
        .filter(|holding| inos.map(Some).contains(&holding.socket.ino))
        .collect()
}
