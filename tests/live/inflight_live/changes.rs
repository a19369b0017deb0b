//! Queues that change while they are looked at, and looks that are repeated.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use fdtrace::{
    kernel::KernelView,
    passing::receive,
    plan::{Attach, plan},
    tracer::{SocketTables, Tracer},
};
use fdtrace_testkit::{
    command::{fdtrace, is_emulated},
    take_turn,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{MsgFlags, SockType, setsockopt, sockopt},
    },
    unistd::Pid,
};
use serde_json::Value;

use super::looking::{Pair, census, file_in, ino, look, queues, scm_fds, scratch, this_process};

/// The adversary: queues, and names, that change all the time.
#[test]
fn no_row_is_ever_a_mixture() {
    let _turn = take_turn!(looking);
    let passes = if is_emulated() { 40 } else { 200 };
    let mut queues = queues();
    let folder = scratch();
    let (one, one_path) = file_in(folder.path(), "one");
    let (other, other_path) = file_in(folder.path(), "other");
    let paths: BTreeMap<u64, &Path> = [(&one, &one_path), (&other, &other_path)]
        .map(|(file, path)| (file.metadata().expect("it is open").ino(), path.as_path()))
        .into();
    let (restless, names) = file_in(folder.path(), "name-1");
    let renamed = folder.path().join("a-longer-name-2");
    let either = [&names, &renamed].map(|path| {
        let folder = folder.path().canonicalize().expect("it is there");
        let name = path.file_name().expect("it has a name");
        folder.join(name).to_str().expect("it is text").to_owned()
    });
    let busy = Pair::of(SockType::Stream);
    let still = Pair::of(SockType::Stream);
    still.send(b"x", &[restless.as_raw_fd()]);
    let (busy_ino, still_ino) = (ino(&busy.receiver), ino(&still.receiver));
    let over = AtomicBool::new(false);
    let mut seen = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (file, many) in [(&one, 1), (&other, 3), (&one, 7), (&other, 30)] {
                    busy.send(b"x", &vec![file.as_raw_fd(); many]);
                }
                for _ in 0..4 {
                    receive(busy.receiver.as_raw_fd(), 30, MsgFlags::empty()).expect("it is there");
                }
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                fs::rename(&names, &renamed).expect("it is there");
                fs::rename(&renamed, &names).expect("it is there");
            }
        });
        for _ in 0..passes {
            let census = census(&mut queues);
            for (holding, row) in census.rows() {
                let path = row.queued.path.as_ref().map(|path| path.text.as_str());
                if holding.socket.ino == Some(still_ino) {
                    assert!(
                        path.is_none_or(|path| either.iter().any(|name| name == path)),
                        "{path:?} is neither of {either:?}"
                    );
                } else if holding.socket.ino == Some(busy_ino) {
                    let expected = paths.get(&row.queued.file.ino);
                    assert!(expected.is_some(), "{row:?}");
                    assert!(
                        path.is_none() || path == expected.and_then(|path| path.to_str()),
                        "{row:?}"
                    );
                    seen += 1;
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("{seen} rows of the changing queue were confirmed in {passes} looks");
}

#[test]
fn every_queue_of_this_process_agrees_with_fdinfo() {
    let _turn = take_turn!(looking);
    let file = tempfile::tempfile().expect("there is room for a file");
    let pairs: Vec<Pair> = (0..5)
        .map(|number| {
            let pair = Pair::of(SockType::Datagram);
            for _ in 0..number {
                pair.send(b"x", &vec![file.as_raw_fd(); number]);
            }
            pair
        })
        .collect();
    let found = look(&[]);
    for pair in &pairs {
        assert_eq!(
            found.of(&pair.receiver).len() as u64,
            scm_fds(&pair.receiver)
        );
    }
    assert!(found.summary["files"].as_u64() >= Some(1 + 4 + 9 + 16));
}

#[test]
fn a_tracer_can_ask_what_was_queued_before_it() {
    let _turn = take_turn!(looking);
    let pair = Pair::of(SockType::Stream);
    let file = tempfile::tempfile().expect("there is room for a file");
    pair.send(b"x", &[file.as_raw_fd(), file.as_raw_fd()]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be had");
    let pass = runtime.block_on(async {
        let view = KernelView::live().expect("the kernel can be looked at");
        let plan = plan(&view, Attach::Auto).expect("something can be watched");
        let tables = SocketTables::of(&plan.offsets, &view.symbols);
        let mut tracer =
            Tracer::start(plan, 1 << 20, &view.types).expect("programs can be attached");
        tracer
            .prepare_queues(&view.types, tables)
            .expect("queues can be walked");
        tracer.queued().expect("queues can be walked")
    });
    let ours = Some(ino(&pair.receiver));
    let queue = pass.queues.iter().find(|queue| queue.socket.ino == ours);
    let files = &queue.expect("it is there").files;
    assert_eq!(files.len(), 2);
    for queued in files {
        assert_eq!(queued.sender_ino, Some(ino(&pair.sender)));
        assert!(queued.list != 0 && queued.list == files[0].list);
        assert_eq!(queued.file.ptr, files[0].file.ptr);
    }
}

#[test]
fn watching_tells_since_when_and_ends_when_asked() {
    let _turn = take_turn!(looking);
    let pair = Pair::of(SockType::Stream);
    let stamped = Pair::of(SockType::Datagram);
    setsockopt(&stamped.receiver, sockopt::ReceiveTimestamp, &true).expect("it can be asked for");
    let file = tempfile::tempfile().expect("there is room for a file");
    pair.send(b"x", &[file.as_raw_fd()]);
    stamped.send(b"x", &[file.as_raw_fd()]);
    let inos = [ino(&pair.receiver), ino(&stamped.receiver)];
    let pid = this_process().to_string();
    let mut child = fdtrace(&[
        "inflight", "--format", "json", "--watch", "0.01", "--pid", &pid,
    ])
    .stdout(Stdio::piped())
    .spawn()
    .expect("fdtrace can be started");
    let out = child.stdout.take().expect("it is a pipe");
    let mut rounds = 0;
    let mut ages: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for line in BufReader::new(out).lines() {
        let line: Value = serde_json::from_str(&line.expect("it is text")).expect("JSON");
        if line["type"] == "in_flight_summary" {
            rounds += 1;
            if rounds == 3 {
                let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
                kill(pid, Signal::SIGINT).expect("it is there");
            }
        } else if let Some(ino) = line["socket"]["ino"].as_u64()
            && inos.contains(&ino)
            && rounds < 3
        {
            let age = serde_json::json!([line["age_ns"].is_u64(), line["age_from"]]);
            ages.entry(ino).or_default().push(age);
        }
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let unknown = serde_json::json!([false, null]);
    let watched = serde_json::json!([true, "watched"]);
    let told = serde_json::json!([true, "timestamp"]);
    assert_eq!(ages[&inos[0]], [unknown, watched.clone(), watched]);
    assert_eq!(ages[&inos[1]], [told.clone(), told.clone(), told]);
}
