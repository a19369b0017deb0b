//! What plays are made of: files, sockets, messages in memory that others may change, threads and
//! processes that stand still in a call.
//!
//! Numbers are what plays are about, so they are bare numbers here, and nothing is closed but on
//! purpose: each play has a process of its own, which ends.

use std::{
    ffi::CString,
    fs, io, mem,
    os::fd::{IntoRawFd as _, RawFd},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, gettid},
};

use super::letter::Letter;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// What came of a play; the error is why this machine cannot play it.
pub(super) type Played = Result<(), String>;

/// A new file, whose name and inode number no other file has.
pub(super) fn file() -> RawFd {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let pid = std::process::id();
    let name = format!("play-{pid}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let fd = memfd_create(name.as_str(), MFdFlags::empty()).expect("there is memory");
    fd.into_raw_fd()
}

pub(super) fn files(count: usize) -> Vec<RawFd> {
    (0..count).map(|_| file()).collect()
}

/// A new file under this number.
pub(super) fn file_at(fd: RawFd) -> RawFd {
    let new = file();
    dup2(new, fd);
    close(new);
    fd
}

pub(super) fn inode_of(fd: RawFd) -> u64 {
    // SAFETY: any bytes are a stat, and the kernel fills it in.
    unsafe {
        let mut stat: libc::stat = mem::zeroed();
        check(libc::fstat(fd, &raw mut stat)).expect("it is open");
        stat.st_ino
    }
}

/// What `readlink` says of it now.
pub(super) fn link_of(fd: RawFd) -> Option<String> {
    let link = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    link.into_os_string().into_string().ok()
}

pub(super) fn is_open(fd: RawFd) -> bool {
    // SAFETY: it only asks.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

pub(super) fn dup(fd: RawFd) -> RawFd {
    // SAFETY: the new number is nobody's.
    check(unsafe { libc::dup(fd) }).expect("there are numbers left")
}

/// Duplicates it to a number from `least` on.
pub(super) fn dup_from(fd: RawFd, least: RawFd) -> RawFd {
    // SAFETY: the new number is nobody's.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD, least) }).expect("there are numbers left")
}

pub(super) fn dup2(fd: RawFd, to: RawFd) {
    // SAFETY: numbers are the play's own.
    check(unsafe { libc::dup2(fd, to) }).expect("it is open");
}

pub(super) fn close(fd: RawFd) {
    // SAFETY: numbers are the play's own.
    check(unsafe { libc::close(fd) }).expect("it is open");
}

/// Lets the table have numbers below this one.
pub(super) fn limit_numbers(limit: u64) {
    // SAFETY: the kernel writes one limit, and reads one.
    unsafe {
        let mut limits: libc::rlimit = mem::zeroed();
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits)).expect("there is a limit");
        limits.rlim_cur = limit;
        // As root, where the machine lets it.
        limits.rlim_max = limit.max(limits.rlim_max);
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits)).expect("it is allowed");
    }
}

pub(super) fn check(result: i32) -> nix::Result<i32> {
    Errno::result(result)
}

/// Two sockets.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) sender: RawFd,
    pub(super) receiver: RawFd,
}

pub(super) const KINDS: [SockType; 3] = [SockType::Stream, SockType::Datagram, SockType::SeqPacket];

impl Pair {
    pub(super) fn of(kind: SockType) -> Self {
        let (sender, receiver) = socketpair(AddressFamily::Unix, kind, None, SockFlag::empty())
            .expect("there are sockets");
        Self {
            sender: sender.into_raw_fd(),
            receiver: receiver.into_raw_fd(),
        }
    }

    pub(super) fn stream() -> Self {
        Self::of(SockType::Stream)
    }

    /// Of datagrams, whose queue is full after eleven.
    pub(super) fn datagram() -> Self {
        Self::of(SockType::Datagram)
    }

    /// Sends what needs no descriptors until no more fits.
    pub(super) fn fill(&self) {
        let data = [b'f'; 3000];
        while send_data(self.sender, &data, libc::MSG_DONTWAIT).is_ok() {}
    }

    /// Sends one file, and waits while there is no room.
    pub(super) fn send(&self, fd: RawFd) {
        self.send_all(&[fd]);
    }

    pub(super) fn send_all(&self, fds: &[RawFd]) {
        Letter::with(fds)
            .send(self.sender)
            .expect("somebody receives it");
    }

    /// The numbers of the next message that has any.
    pub(super) fn take(&self) -> Vec<RawFd> {
        self.take_with_data().1
    }

    /// The data byte and the numbers of the next message that has any.
    pub(super) fn take_with_data(&self) -> (u8, Vec<RawFd>) {
        loop {
            let letter = Letter::room(300);
            letter.receive(self.receiver, 0).expect("somebody sends");
            let numbers = letter.numbers();
            if !numbers.is_empty() {
                return (letter.data(), numbers);
            }
        }
    }

    /// Sends one file and receives it.
    pub(super) fn pass(&self, fd: RawFd) -> RawFd {
        self.send(fd);
        self.take()[0]
    }
}

pub(super) fn send_data(socket: RawFd, data: &[u8], flags: i32) -> nix::Result<usize> {
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads the data within its length.
    let sent = unsafe { libc::send(socket, data.as_ptr().cast(), data.len(), flags) };
    Errno::result(sent).map(isize::cast_unsigned)
}

pub(super) fn read_data(socket: RawFd, flags: i32) -> nix::Result<usize> {
    let mut data = [0_u8; 4096];
    // SAFETY: the kernel writes within its length.
    let got = unsafe { libc::recv(socket, data.as_mut_ptr().cast(), data.len(), flags) };
    Errno::result(got).map(isize::cast_unsigned)
}

/// A call that another thread makes.
pub(super) struct Call<T> {
    tid: i32,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Call<T> {
    pub(super) fn begin(act: impl FnOnce() -> T + Send + 'static) -> Self {
        let (tell, tid) = mpsc::channel();
        let thread = thread::spawn(move || {
            tell.send(gettid().as_raw()).expect("somebody listens");
            act()
        });
        let tid = tid.recv().expect("it tells");
        Self { tid, thread }
    }

    /// Begins it and waits until it sleeps in the system call of this number.
    pub(super) fn blocked_in(number: i64, act: impl FnOnce() -> T + Send + 'static) -> Self {
        let call = Self::begin(act);
        wait_until_blocked(call.tid, number);
        call
    }

    pub(super) fn end(self) -> T {
        self.thread.join().expect("it plays its part")
    }
}

/// Waits until that thread sleeps in the system call of this number.
pub(super) fn wait_until_blocked(tid: i32, number: i64) {
    wait_until("it sleeps in its call", || {
        let read = |name| fs::read_to_string(format!("/proc/{tid}/{name}")).unwrap_or_default();
        let is_in = |text: &str| text.split(' ').next() == Some(&number.to_string());
        let sleeps = |stat: &str| {
            stat.rsplit(") ")
                .next()
                .is_some_and(|it| it.starts_with('S'))
        };
        is_in(&read("syscall")) && sleeps(&read("stat"))
    });
}

pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < DEADLINE, "not in time: {what}");
        thread::yield_now();
    }
}

/// A process that does this and ends.
pub(super) fn child(act: impl FnOnce()) -> Pid {
    // SAFETY: the child uses nothing that another thread may hold: plays fork before they start
    // threads, or do system calls alone.
    match unsafe { fork() }.expect("there are processes") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            die_with_parent();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            // SAFETY: ends this process and nothing else.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
    }
}

/// A play that breaks off leaves nobody behind.
fn die_with_parent() {
    // SAFETY: it is about this process alone.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

pub(super) fn join(pid: Pid) {
    waitpid(pid, None).expect("it is a child");
}

/// A process that has this one's memory and, with CLONE_FILES, its table.
pub(super) fn relative(flags: i32, act: impl FnOnce() + 'static) -> Pid {
    extern "C" fn run(act: *mut libc::c_void) -> i32 {
        // SAFETY: made below, for this call alone.
        let act = unsafe { Box::from_raw(act.cast::<Box<dyn FnOnce()>>()) };
        die_with_parent();
        act();
        // SAFETY: ends this process, and leaves the memory to those who share it.
        unsafe { libc::_exit(0) }
    }
    let stack = Box::leak(Box::new([0_u128; 8192]));
    let act: Box<Box<dyn FnOnce()>> = Box::new(Box::new(act));
    // SAFETY: the stack grows down from its end, and is never freed.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        let act = Box::into_raw(act).cast();
        libc::clone(run, top.cast(), flags | libc::SIGCHLD, act)
    };
    Pid::from_raw(check(pid).expect("there are processes"))
}

/// A new folder, where this process goes.
pub(super) fn go_to_new_folder() {
    // Below the show's own, which goes with it.
    let folder = tempfile::Builder::new().prefix("play-").tempdir_in(".");
    let folder = folder.expect("there is room").keep();
    std::env::set_current_dir(folder).expect("it is there");
}

/// Opens a file in this folder, and makes it if need be.
pub(super) fn open(path: &str, flags: i32) -> RawFd {
    let path = CString::new(path).expect("it is a path");
    // SAFETY: the path outlives the call.
    check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CREAT, 0o600) }).expect("as root")
}

/// Opens what is there.
pub(super) fn open_there(path: &str, flags: i32) -> RawFd {
    let path = CString::new(path).expect("it is a path");
    // SAFETY: the path outlives the call.
    check(unsafe { libc::open(path.as_ptr(), flags) }).expect("it is there")
}

/// A pipe: the end to read, the end to write.
pub(super) fn pipe() -> (RawFd, RawFd) {
    let (reader, writer) = io::pipe().expect("there are pipes");
    (reader.into_raw_fd(), writer.into_raw_fd())
}

/// Waits for a byte, or the end.
pub(super) fn await_byte(reader: RawFd) {
    let mut byte = 0_u8;
    // SAFETY: one byte has room.
    unsafe { libc::read(reader, (&raw mut byte).cast(), 1) };
}

pub(super) fn give_byte(writer: RawFd) {
    // SAFETY: one byte is read.
    unsafe { libc::write(writer, b"x".as_ptr().cast(), 1) };
}

/// A descriptor of that process.
pub(super) fn pidfd(pid: Pid) -> RawFd {
    // SAFETY: it makes a new number.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    check(fd as i32).expect("there is such a process")
}
