//! Names: each pass has the name that its file has then, in words of `readlink` or, of a socket, in
//! fdtrace's own; not that of another file, of another time, or of another way to the same file.

use std::{fs, mem, net, os::fd::IntoRawFd as _, ptr};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::socket::SockType,
    unistd::getpid,
};

use super::{
    Play,
    ends::{address, bind, connect, listen, socket},
    plays,
    stage::{
        Pair, Played, check, child, close, file, files, go_to_new_folder, join, link_of, open,
        open_there, pidfd, pipe,
    },
    truth::Sent,
};

pub(super) const PLAYS: &[Play] = plays![
    inode_numbers_come_back,
    renamed_and_unlinked,
    folder_renamed,
    two_links_of_one_file,
    two_mounts_of_one_file,
    seen_from_another_root,
    anonymous_inodes,
    anonymous_inodes_of_two_processes,
    namespaces,
    pidfds,
    files_of_all_kinds,
    a_hundred_at_once,
    full_list_of_files,
    sockets_by_their_states,
    unix_sockets_by_their_states,
    short_connections,
    listeners_all_at_once,
];

/// Sends these, whose names are due, receives them, and closes what came.
fn pass_as(pair: Pair, list: &[(i32, String)]) {
    let sent: Vec<Sent> = list
        .iter()
        .map(|(fd, name)| match Sent::under(*fd) {
            // A pipe is told by its kind and its inode's number.
            sent if name.starts_with("pipe:[") => sent,
            sent => sent.named(name),
        })
        .collect();
    let fds: Vec<i32> = list.iter().map(|(fd, _)| *fd).collect();
    pair.send_all(&fds);
    for (sent, came) in sent.into_iter().zip(pair.take()) {
        sent.delivered(came);
        close(came);
    }
}

/// Passes these files; each must have the name that `readlink` gives it now.
fn pass_all(pair: Pair, list: &[i32]) {
    let named = |fd: &i32| (*fd, link_of(*fd).expect("it has a name"));
    pass_as(pair, &list.iter().map(named).collect::<Vec<_>>());
}

/// Each file is unlinked before the next is made, so that it may have its inode.
fn inode_numbers_come_back() -> Played {
    go_to_new_folder();
    let pair = Pair::stream();
    for turn in 0..10 {
        let name = format!("spool-{turn}");
        let spool = open(&name, libc::O_RDWR);
        pass_all(pair, &[spool]);
        close(spool);
        fs::remove_file(name).expect("it is there");
    }
    Ok(())
}

fn renamed_and_unlinked() -> Played {
    go_to_new_folder();
    let (pair, document) = (Pair::stream(), open("document.new", libc::O_RDWR));
    pass_all(pair, &[document]);
    fs::rename("document.new", "document").expect("it is there");
    pass_all(pair, &[document]);
    fs::remove_file("document").expect("it is there");
    pass_all(pair, &[document]);
    pass_all(pair, &[document]);
    Ok(())
}

fn folder_renamed() -> Played {
    go_to_new_folder();
    fs::create_dir("before").expect("it is not there");
    let (pair, document) = (Pair::stream(), open("before/document", libc::O_RDWR));
    pass_all(pair, &[document]);
    fs::rename("before", "after").expect("it is there");
    pass_all(pair, &[document]);
    Ok(())
}

fn two_links_of_one_file() -> Played {
    go_to_new_folder();
    let first = open("public", libc::O_RDWR);
    fs::hard_link("public", "secret").expect("it is not there");
    let list = [first, open_there("secret", libc::O_RDWR)];
    let pair = Pair::stream();
    pass_all(pair, &list);
    (0..4).for_each(|turn| pass_all(pair, &[list[turn % 2]]));
    Ok(())
}

/// Goes where mounts are nobody else's affair.
fn leave_the_mounts() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("no mounts of its own: {errno}"))?;
    let nothing: Option<&str> = None;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .map_err(|errno| format!("mounts are shared: {errno}"))
}

fn bind_mount() -> Result<(), String> {
    let nothing: Option<&str> = None;
    fs::create_dir_all("one/sub").expect("there is room");
    fs::create_dir("two").expect("there is room");
    mount(Some("one"), "two", nothing, MsFlags::MS_BIND, nothing)
        .map_err(|errno| format!("no bind mounts: {errno}"))
}

fn two_mounts_of_one_file() -> Played {
    go_to_new_folder();
    leave_the_mounts()?;
    bind_mount()?;
    let list = [
        open("one/file", libc::O_RDWR),
        open_there("two/file", libc::O_RDWR),
    ];
    let pair = Pair::stream();
    pass_all(pair, &list);
    (0..4).for_each(|turn| pass_all(pair, &[list[turn % 2]]));
    Ok(())
}

/// A path is told from the root of the mounts, whatever the root of the process.
fn seen_from_another_root() -> Played {
    go_to_new_folder();
    let (pair, outer) = (Pair::stream(), open("file", libc::O_RDWR));
    let name = link_of(outer).expect("it has a name");
    nix::unistd::chroot(".").map_err(|errno| format!("no other root: {errno}"))?;
    let inner = open_there("/file", libc::O_RDWR);
    pass_as(pair, &[(outer, name.clone()), (inner, name)]);
    Ok(())
}

fn eventfd() -> i32 {
    // SAFETY: it makes a new number.
    check(unsafe { libc::eventfd(0, 0) }).expect("there are numbers left")
}

fn timerfd() -> i32 {
    // SAFETY: it makes a new number.
    check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, 0) }).expect("there is a clock")
}

/// They share one inode, or have one each, as the kernel likes.
fn anonymous_inodes() -> Played {
    // SAFETY: each makes a new number.
    let (signalfd, others) = unsafe {
        let mut signals: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        let tmpfs = libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0);
        let others = [
            libc::epoll_create1(0),
            libc::inotify_init1(0),
            i32::try_from(tmpfs).expect("a number, or an error"),
        ];
        (libc::signalfd(-1, &raw const signals, 0), others)
    };
    let mut list = vec![
        eventfd(),
        timerfd(),
        check(signalfd).expect("it is allowed"),
    ];
    list.extend(others.into_iter().filter(|fd| *fd >= 0));
    let pair = Pair::stream();
    pass_all(pair, &list);
    list.iter().rev().for_each(|fd| pass_all(pair, &[*fd]));
    Ok(())
}

fn anonymous_inodes_of_two_processes() -> Played {
    let processes = [eventfd as fn() -> i32, timerfd].map(|make| {
        child(|| {
            let pair = Pair::stream();
            for _ in 0..10 {
                let fd = make();
                pass_all(pair, &[fd]);
                close(fd);
            }
        })
    });
    processes.into_iter().for_each(join);
    Ok(())
}

fn namespaces() -> Played {
    let of = |name: &str| open_there(&format!("/proc/self/ns/{name}"), libc::O_RDONLY);
    pass_all(
        Pair::stream(),
        &["net", "user", "mnt", "pid", "uts"].map(of),
    );
    Ok(())
}

fn pidfds() -> Played {
    let pair = Pair::stream();
    pass_all(pair, &[pidfd(getpid())]);
    let other = child(|| ());
    pass_all(pair, &[pidfd(other), pidfd(getpid())]);
    join(other);
    Ok(())
}

fn files_of_all_kinds() -> Played {
    go_to_new_folder();
    let (reader, writer) = pipe();
    let unnamed = libc::O_TMPFILE | libc::O_RDWR;
    let mut list = vec![
        open_there("/proc/self/status", libc::O_RDONLY),
        open_there("/dev/null", libc::O_RDWR),
        reader,
        writer,
        open_there("/sys/kernel", libc::O_DIRECTORY),
        open_there("/", libc::O_PATH),
        eventfd(),
        file(),
    ];
    // SAFETY: it makes a new number, where the file system has such files.
    let unnamed = unsafe { libc::open(c".".as_ptr(), unnamed, 0o600) };
    list.extend((unnamed >= 0).then_some(unnamed));
    pass_all(Pair::stream(), &list);
    Ok(())
}

fn a_hundred_at_once() -> Played {
    go_to_new_folder();
    let pair = Pair::stream();
    let list: Vec<i32> = (0..100)
        .map(|at| open(&format!("file-{at}"), libc::O_RDWR))
        .collect();
    pass_all(pair, &list);
    pass_all(pair, &list);
    Ok(())
}

fn full_list_of_files() -> Played {
    pass_all(Pair::stream(), &files(253));
    Ok(())
}

/// Passes a socket of the Internet as what it is now.
fn pass_inet(pair: Pair, fd: i32, protocol: &str, state: &str) {
    let local = inet_name(fd, libc::getsockname).expect("it is a socket");
    let remote = inet_name(fd, libc::getpeername);
    let remote = remote.map_or(String::new(), |remote| format!(" ↔ {remote}"));
    pass_as(pair, &[(fd, format!("{protocol} {local}{remote}{state}"))]);
}

type GetName = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn inet_name(fd: i32, get: GetName) -> Option<net::SocketAddrV4> {
    // SAFETY: the kernel writes within the length.
    let address = unsafe {
        let mut address: libc::sockaddr_in = mem::zeroed();
        let mut len = size_of_val(&address) as u32;
        check(get(fd, (&raw mut address).cast(), &raw mut len)).ok()?;
        address
    };
    let ip = net::Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    Some(net::SocketAddrV4::new(ip, u16::from_be(address.sin_port)))
}

fn inet(kind: i32) -> i32 {
    // SAFETY: it makes a new number.
    check(unsafe { libc::socket(libc::AF_INET, kind, 0) }).expect("there are sockets")
}

/// Calls `bind` or `connect` with this port of this machine.
fn inet_call(
    call: unsafe extern "C" fn(i32, *const libc::sockaddr, libc::socklen_t) -> libc::c_int,
    fd: i32,
    port: u16,
) {
    // SAFETY: the kernel reads the address within its length.
    unsafe {
        let mut address: libc::sockaddr_in = mem::zeroed();
        address.sin_family = libc::AF_INET as u16;
        address.sin_addr.s_addr = u32::from(net::Ipv4Addr::LOCALHOST).to_be();
        address.sin_port = port.to_be();
        let len = size_of_val(&address) as u32;
        check(call(fd, ptr::from_ref(&address).cast(), len)).expect("this machine has itself");
    }
}

fn port_of(fd: i32) -> u16 {
    inet_name(fd, libc::getsockname)
        .expect("it is a socket")
        .port()
}

/// Unbound, bound, listening, connected, accepted: each time it is passed as what it is by then.
fn sockets_by_their_states() -> Played {
    let (pair, listener) = (Pair::stream(), inet(libc::SOCK_STREAM));
    pass_inet(pair, listener, "tcp", "");
    inet_call(libc::bind, listener, 0);
    pass_inet(pair, listener, "tcp", "");
    listen(listener);
    pass_inet(pair, listener, "tcp", " listening");
    let connecting = inet(libc::SOCK_STREAM);
    pass_inet(pair, connecting, "tcp", "");
    inet_call(libc::connect, connecting, port_of(listener));
    pass_inet(pair, connecting, "tcp", "");
    pass_inet(pair, accept(listener), "tcp", "");
    let datagrams = inet(libc::SOCK_DGRAM);
    pass_inet(pair, datagrams, "udp", "");
    inet_call(libc::connect, datagrams, port_of(listener));
    pass_inet(pair, datagrams, "udp", "");
    Ok(())
}

fn accept(listener: i32) -> i32 {
    // SAFETY: nobody asks for the address.
    check(unsafe { libc::accept(listener, ptr::null_mut(), ptr::null_mut()) }).expect("it comes")
}

fn unix_sockets_by_their_states() -> Played {
    let (pair, listener) = (Pair::stream(), socket(SockType::Stream));
    let pass = |fd: i32, name: String| pass_as(pair, &[(fd, name)]);
    let name = format!("@play-{}-named", getpid());
    pass(listener, "unix".to_owned());
    let address = address("named");
    bind(listener, address);
    listen(listener);
    pass(listener, format!("unix {name} listening"));
    let connecting = socket(SockType::Stream);
    connect(connecting, address);
    pass(connecting, format!("unix ↔ {name}"));
    pass(accept(listener), format!("unix {name}"));
    Ok(())
}

/// Each connection is gone before the next is made, with its socket's place in memory.
fn short_connections() -> Played {
    let pair = Pair::stream();
    let listener = net::TcpListener::bind("127.0.0.1:0").expect("this machine has itself");
    let listener = listener.into_raw_fd();
    for _ in 0..100 {
        let connecting = inet(libc::SOCK_STREAM);
        inet_call(libc::connect, connecting, port_of(listener));
        let accepted = accept(listener);
        pass_inet(pair, accepted, "tcp", "");
        close(accepted);
        close(connecting);
    }
    Ok(())
}

/// As a proxy hands them over when it is replaced.
fn listeners_all_at_once() -> Played {
    let pair = Pair::stream();
    for _ in 0..3 {
        let list = (0..200).map(|_| {
            let listener = net::TcpListener::bind("127.0.0.1:0").expect("there are ports");
            let name = listener.local_addr().expect("it is bound");
            (listener.into_raw_fd(), format!("tcp {name} listening"))
        });
        pass_as(pair, &list.collect::<Vec<_>>());
    }
    Ok(())
}
