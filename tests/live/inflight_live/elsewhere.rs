//! What lies where no process leads: in sockets that no table has, in network namespaces that nobody
//! is in and that fdtrace may not enter.

use std::{
    collections::BTreeSet,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    process::Command,
    thread,
    time::{Duration, Instant},
};

use fdtrace::{
    inflight::Census,
    kernel::KernelView,
    plan::Offsets,
    tracer::{Queues, SocketTables},
};
use fdtrace_testkit::{
    command::{fdtrace, run, skip},
    take_turn,
};
use io_uring::IoUring;
use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket},
    },
};

use super::looking::{Pair, census, file_in, holdings, ino, look, scratch, tables, this_process};

/// The other ends of sockets with something in their queue, the sockets' inode numbers, and the ring
/// that alone refers to them. Nothing but that is in a table, and the collector takes none of it.
struct Rung {
    inos: BTreeSet<u64>,
    senders: Vec<OwnedFd>,
    _ring: IoUring,
}

impl Rung {
    /// Gives the sockets that are to hold `file` to a ring; `Err` where there is none to be had.
    fn of(pairs: Vec<Pair>, file: RawFd) -> io::Result<Self> {
        let ring = IoUring::new(2)?;
        let receivers: Vec<RawFd> = pairs.iter().map(|pair| pair.receiver.as_raw_fd()).collect();
        ring.submitter().register_files(&receivers)?;
        let inos = pairs.iter().map(|pair| ino(&pair.receiver)).collect();
        for pair in &pairs {
            pair.send(b"x", &[file]);
        }
        let senders = pairs.into_iter().map(|pair| pair.sender).collect();
        Ok(Self {
            inos,
            senders,
            _ring: ring,
        })
    }

    /// Which of them are found with one file each.
    fn found(&self, census: &Census) -> BTreeSet<u64> {
        let holdings = census.holdings.iter();
        holdings
            .filter(|holding| holding.rows.len() == 1)
            .filter_map(|holding| holding.socket.ino)
            .filter(|ino| self.inos.contains(ino))
            .collect()
    }
}

/// Does `work` in a network namespace of its own, which has no process any more when it is done.
fn in_a_namespace_of_its_own<T: Send>(
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            work()
        });
        there.join().expect("it does not panic")
    })
}

/// The same without CAP_SYS_ADMIN, that is, without the right to enter a namespace.
fn confined(args: &[&str]) -> Command {
    const CAP_SYS_ADMIN: libc::c_ulong = 21;
    let mut command = fdtrace(args);
    // SAFETY: the child makes one system call, which takes numbers; executing a program keeps to the
    // bounding set.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_ADMIN) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    };
    command
}

#[test]
fn a_namespace_without_a_process_is_looked_into_by_who_may_not_enter_it() {
    let test = "a_namespace_without_a_process_is_looked_into_by_who_may_not_enter_it";
    let _turn = take_turn!(looking);
    let folder = scratch();
    let (file, path) = file_in(folder.path(), "far away");
    let there = || Rung::of(vec![Pair::of(SockType::Stream)], file.as_raw_fd());
    let rung = match in_a_namespace_of_its_own(there) {
        Ok(rung) => rung,
        Err(error) => return skip(test, &format!("no namespace or no io_uring: {error}")),
    };
    // The sending end is in this process's table, and leads nowhere by itself.
    let args = ["inflight", "--format", "json"];
    let alone = run(&mut confined(&args));
    let lines: Vec<serde_json::Value> = alone
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let ours: Vec<_> = lines
        .iter()
        .filter(|line| line["file"]["path"].as_str() == path.to_str())
        .collect();
    assert_eq!(ours.len(), 1, "{alone:?}");
    let ino = ours[0]["socket"]["ino"].as_u64().expect("it has a number");
    assert!(rung.inos.contains(&ino));
    assert_eq!(ours[0]["receivers"], serde_json::json!([]));
    assert_eq!(ours[0]["garbage"], false);
    let gaps = &lines.last().expect("there is a summary")["gaps"];
    assert_eq!(
        (&gaps["namespaces"], &gaps["no_iterator"]),
        (&0.into(), &false.into())
    );
}

#[test]
fn who_cannot_list_sockets_says_at_least() {
    let test = "who_cannot_list_sockets_says_at_least";
    let _turn = take_turn!(looking);
    let file = tempfile::tempfile().expect("there is room for a file");
    let rung = match Rung::of(vec![Pair::of(SockType::Datagram)], file.as_raw_fd()) {
        Ok(rung) => rung,
        Err(error) => return skip(test, &format!("no io_uring: {error}")),
    };
    let view = KernelView::live().expect("the kernel can be looked at");
    let offsets = Offsets::resolve(&view).expect("its structures are known");
    let open = |tables| Queues::open(&offsets, &view.types, tables).expect("they can be walked");
    let blind = census(&mut open(SocketTables::Hidden));
    assert!(blind.gaps.unlisted && !blind.is_complete());
    // Before 6.8 a ring was itself a socket that such a walk does not find either.
    assert_eq!(rung.found(&blind), BTreeSet::new());
    let tables = SocketTables::of(&offsets, &view.symbols);
    assert_ne!(tables, SocketTables::Hidden);
    let whole = census(&mut open(tables));
    assert!(!whole.gaps.unlisted);
    assert_eq!(rung.found(&whole), rung.inos);
}

/// A table has hundreds of chains, and what hangs from each is found, whether it has a name or not.
#[test]
fn every_chain_of_the_table_is_gone_through() {
    let test = "every_chain_of_the_table_is_gone_through";
    let _turn = take_turn!(looking);
    const EACH: usize = 400;
    // Two sockets for each pair, and some more.
    let room = 4 * EACH as u64 + 100;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    if hard < room {
        return skip(
            test,
            &format!("it needs {room} descriptors, and {hard} are allowed"),
        );
    }
    if soft < room {
        setrlimit(Resource::RLIMIT_NOFILE, room, hard).expect("it is below the hard limit");
    }
    let file = tempfile::tempfile().expect("there is room for a file");
    let nameless = (0..EACH).map(|_| Pair::of(SockType::Stream));
    let named = (0..EACH).map(|number| {
        let name = format!("fdtrace-chain-{}-{number}", this_process());
        let address = UnixAddr::new_abstract(name.as_bytes()).expect("a short name");
        let one = |kind| {
            socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
                .expect("sockets can be had")
        };
        let (sender, receiver) = (one(SockType::Datagram), one(SockType::Datagram));
        bind(receiver.as_raw_fd(), &address).expect("the name is free");
        nix::sys::socket::connect(sender.as_raw_fd(), &address).expect("it is bound");
        Pair { sender, receiver }
    });
    let rung = match Rung::of(nameless.chain(named).collect(), file.as_raw_fd()) {
        Ok(rung) => rung,
        Err(error) => return skip(test, &format!("no io_uring: {error}")),
    };
    assert_eq!(rung.senders.len(), 2 * EACH);
    let (mut queues, _) = tables();
    assert_eq!(rung.found(&census(&mut queues)), rung.inos);
}

/// Others may be sending on the same machine: then the counts are not compared, and the next look
/// is another chance.
#[test]
fn the_kernels_count_by_user_is_what_was_found() {
    let _turn = take_turn!(looking);
    let pair = Pair::of(SockType::Stream);
    let file = tempfile::tempfile().expect("there is room for a file");
    pair.send(b"x", &[file.as_raw_fd(); 3]);
    let begin = Instant::now();
    loop {
        let found = look(&[]);
        assert_eq!(found.of(&pair.receiver).len(), 3);
        let summary = &found.summary;
        if summary["complete"] == true && summary["counted_by_user"].is_u64() {
            assert_eq!(summary["counted_by_user"], summary["files"], "{summary}");
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{summary}");
    }
}

/// A socket changes its chain when it gets a name, and a walk that is just there must not be led astray.
#[test]
fn sockets_that_are_bound_meanwhile_hide_no_others() {
    let test = "sockets_that_are_bound_meanwhile_hide_no_others";
    let _turn = take_turn!(looking);
    let file = tempfile::tempfile().expect("there is room for a file");
    let pairs = (0..100).map(|_| Pair::of(SockType::Stream)).collect();
    let rung = match Rung::of(pairs, file.as_raw_fd()) {
        Ok(rung) => rung,
        Err(error) => return skip(test, &format!("no io_uring: {error}")),
    };
    let (mut queues, _) = tables();
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let restless: Vec<OwnedFd> = (0..64)
                    .map(|_| {
                        socket(
                            AddressFamily::Unix,
                            SockType::Datagram,
                            SockFlag::SOCK_CLOEXEC,
                            None,
                        )
                        .expect("sockets can be had")
                    })
                    .collect();
                for socket in &restless {
                    number += 1;
                    let name = format!("fdtrace-restless-{}-{number}", this_process());
                    let address = UnixAddr::new_abstract(name.as_bytes()).expect("a short name");
                    bind(socket.as_raw_fd(), &address).expect("the name is free");
                }
            }
        });
        for _ in 0..50 {
            let census = census(&mut queues);
            let found = rung.found(&census);
            // What was not found for certain is said to be missing.
            assert!(
                found == rung.inos || census.gaps.namespaces > 0,
                "{} of {} found, {:?}",
                found.len(),
                rung.inos.len(),
                census.gaps
            );
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_cycle_in_a_namespace_that_only_its_sockets_keep_is_seen() {
    let test = "a_cycle_in_a_namespace_that_only_its_sockets_keep_is_seen";
    let _turn = take_turn!(looking);
    let (mut queues, _) = tables();
    let begin = Instant::now();
    // Anybody may close a Unix socket meanwhile, which calls the garbage collector.
    loop {
        let there = || {
            let (one, other) = (Pair::of(SockType::Stream), Pair::of(SockType::Stream));
            one.send(b"x", &[other.receiver.as_raw_fd()]);
            other.send(b"x", &[one.receiver.as_raw_fd()]);
            let inos = [ino(&one.receiver), ino(&other.receiver)];
            Ok((inos, [one.sender, other.sender]))
        };
        let (inos, _senders) = match in_a_namespace_of_its_own(there) {
            Ok(made) => made,
            Err(error) => return skip(test, &format!("no network namespace: {error}")),
        };
        let census = census(&mut queues);
        let found = holdings(&census, inos);
        assert!(found.iter().all(|holding| holding.garbage), "{found:?}");
        if found.len() == 2 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "never seen");
    }
}
