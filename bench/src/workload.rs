//! What is measured: small loops in one process on one CPU, where a microsecond more shows most.
//! Two processes that wait for each other would hide it behind their context switches.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    sync::mpsc,
};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
        wait::waitpid,
    },
    unistd::{ForkResult, fork},
};

/// Runs so many times.
pub(crate) type Loop = Box<dyn FnMut(u64) -> Result<()>>;

/// One loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Pass one descriptor over a stream socket, receive it, close it.
    PassStream,
    /// The same over a datagram socket.
    PassDgram,
    /// Pass 16 descriptors in a message, and close them.
    Pass16,
    /// Pass 253 descriptors in a message, and close them.
    Pass253,
    /// Pass one descriptor over 10 pairs of sockets in turn.
    PassOver10,
    /// Pass one descriptor over 1,000 pairs of sockets in turn.
    PassOver1000,
    /// Pass one descriptor over 10,000 pairs of sockets in turn.
    PassOver10000,
    /// Write a byte to a Unix stream and read it.
    UnixBytes,
    /// The same by `sendmsg` and `recvmsg`, without descriptors.
    UnixMessages,
    /// Open a file and close it.
    OpenClose,
    /// Start a process that runs a program, and wait for it.
    ForkExec,
    /// Write a byte to a TCP connection over loopback and read it.
    Tcp,
    /// Map, touch and unmap memory, with many small system calls.
    Busy,
}

impl Workload {
    pub(crate) const ALL: [Self; 13] = [
        Self::PassStream,
        Self::PassDgram,
        Self::Pass16,
        Self::Pass253,
        Self::PassOver10,
        Self::PassOver1000,
        Self::PassOver10000,
        Self::UnixBytes,
        Self::UnixMessages,
        Self::OpenClose,
        Self::ForkExec,
        Self::Tcp,
        Self::Busy,
    ];

    pub(crate) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self)
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// How many descriptors a turn passes, in a message.
    pub(crate) fn descriptors(self) -> u64 {
        match self {
            Self::PassStream
            | Self::PassDgram
            | Self::PassOver10
            | Self::PassOver1000
            | Self::PassOver10000 => 1,
            Self::Pass16 => 16,
            Self::Pass253 => 253,
            Self::UnixBytes
            | Self::UnixMessages
            | Self::OpenClose
            | Self::ForkExec
            | Self::Tcp
            | Self::Busy => 0,
        }
    }

    /// Whether it passes descriptors.
    pub(crate) fn passes(self) -> bool {
        self.descriptors() > 0
    }

    /// Makes ready what the loop needs; what comes back runs it so many times.
    pub(crate) fn prepare(self) -> Result<Loop> {
        Ok(match self {
            Self::PassStream => passing(SockType::Stream, 1, 1)?,
            Self::PassDgram => passing(SockType::Datagram, 1, 1)?,
            Self::Pass16 => passing(SockType::Stream, 1, 16)?,
            Self::Pass253 => passing(SockType::Stream, 1, 253)?,
            Self::PassOver10 => passing(SockType::Stream, 10, 1)?,
            Self::PassOver1000 => passing(SockType::Stream, 1000, 1)?,
            Self::PassOver10000 => shared_out(10, || passing(SockType::Stream, 1000, 1))?,
            Self::UnixBytes => {
                let (sender, receiver) = pair(SockType::Stream)?;
                let (mut sender, mut receiver) =
                    (std::fs::File::from(sender), std::fs::File::from(receiver));
                Box::new(move |times| {
                    let mut byte = [0];
                    for _ in 0..times {
                        sender.write_all(&byte)?;
                        receiver.read_exact(&mut byte)?;
                    }
                    Ok(())
                })
            }
            Self::UnixMessages => {
                let (sender, receiver) = pair(SockType::Stream)?;
                let mut message = Message::new(0);
                Box::new(move |times| {
                    for _ in 0..times {
                        message.send(sender.as_raw_fd())?;
                        message.receive(receiver.as_raw_fd())?;
                    }
                    Ok(())
                })
            }
            Self::OpenClose => Box::new(|times| {
                for _ in 0..times {
                    drop(std::fs::File::open("/proc/version")?);
                }
                Ok(())
            }),
            Self::ForkExec => Box::new(|times| {
                for _ in 0..times {
                    fork_exec()?;
                }
                Ok(())
            }),
            Self::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let mut client = TcpStream::connect(listener.local_addr()?)?;
                let (mut server, _) = listener.accept()?;
                client.set_nodelay(true)?;
                Box::new(move |times| {
                    let mut byte = [0];
                    for _ in 0..times {
                        client.write_all(&byte)?;
                        server.read_exact(&mut byte)?;
                    }
                    Ok(())
                })
            }
            Self::Busy => Box::new(|times| {
                for _ in 0..times {
                    busy()?;
                }
                Ok(())
            }),
        })
    }
}

pub(crate) fn pair(kind: SockType) -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)
        .context("cannot make sockets")
}

fn passing(kind: SockType, pairs: usize, fds: usize) -> Result<Loop> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let pairs: Vec<_> = (0..pairs)
        .map(|_| pair(kind))
        .collect::<Result<_>>()
        .context("too many descriptors for this workload")?;
    let mut message = Message::new(fds);
    let mut turn = 0;
    Ok(Box::new(move |times| {
        for _ in 0..times {
            let (sender, receiver) = &pairs[turn % pairs.len()];
            turn += 1;
            message.send(sender.as_raw_fd())?;
            message.receive(receiver.as_raw_fd())?;
        }
        Ok(())
    }))
}

/// A loop in each of some threads, one after the other. Each thread has a table of descriptors of
/// its own, so that all together may have more open than a process may.
fn shared_out(threads: u64, prepare: fn() -> Result<Loop>) -> Result<Loop> {
    let (answers, answered) = mpsc::channel();
    let threads: Vec<mpsc::Sender<u64>> = (0..threads)
        .map(|_| {
            let (commands, commanded) = mpsc::channel();
            let answers = answers.clone();
            std::thread::spawn(move || {
                let prepared = unshare(CloneFlags::CLONE_FILES)
                    .context("cannot have a table of descriptors of its own")
                    .and_then(|()| prepare());
                let (mut body, ready) = match prepared {
                    Ok(body) => (Some(body), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                // Nobody listens any more when the worker ends.
                let _ = answers.send(ready);
                while let (Some(body), Ok(times)) = (&mut body, commanded.recv()) {
                    let _ = answers.send(body(times));
                }
            });
            commands
        })
        .collect();
    for _ in &threads {
        answered.recv().context("a thread ended")??;
    }
    let mut turn = 0;
    Ok(Box::new(move |times| {
        let count = threads.len() as u64;
        for nth in 0..count.min(times) {
            // What is left over goes to others each time.
            let thread = &threads[((turn + nth) % count) as usize];
            thread.send(times / count + u64::from(nth < times % count))?;
            answered.recv().context("a thread ended")??;
        }
        turn = (turn + times) % count;
        Ok(())
    }))
}

/// A message of one byte and some copies of stderr, and the room to receive it.
pub(crate) struct Message {
    fds: usize,
    send_control: Vec<u64>,
    receive_control: Vec<u64>,
    space: usize,
}

impl Message {
    pub(crate) fn new(fds: usize) -> Self {
        let bytes = (fds * size_of::<RawFd>()) as u32;
        // SAFETY: both only compute.
        let (space, len) = unsafe { (libc::CMSG_SPACE(bytes), libc::CMSG_LEN(bytes)) };
        let words = (space as usize).div_ceil(size_of::<u64>());
        let mut send_control = vec![0_u64; words];
        if fds > 0 {
            send_control[0] = u64::from(len);
            send_control[1] = u64::from(libc::SOL_SOCKET.cast_unsigned())
                | u64::from(libc::SCM_RIGHTS.cast_unsigned()) << 32;
            let two = 2 | 2 << 32;
            for (index, word) in send_control[2..].iter_mut().enumerate() {
                *word = if index * 2 + 1 < fds { two } else { 2 };
            }
        }
        Self {
            fds,
            send_control,
            receive_control: vec![0; words],
            space: space as usize,
        }
    }

    pub(crate) fn send(&mut self, socket: RawFd) -> Result<()> {
        let mut byte = [0_u8];
        let mut data = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let mut header = header(&mut data, &mut self.send_control, self.space, self.fds);
        // SAFETY: the header describes buffers that live until the call is over.
        let sent = unsafe { libc::sendmsg(socket, &raw mut header, 0) };
        anyhow::ensure!(sent == 1, "sendmsg: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// What goes with the next message instead of stderr, if it is one.
    pub(crate) fn carry(&mut self, fd: RawFd) {
        self.send_control[2] = u64::from(fd.cast_unsigned());
    }

    /// Receives a message and closes what came with it.
    pub(crate) fn receive(&mut self, socket: RawFd) -> Result<()> {
        self.receive_into(socket, drop)
    }

    /// Receives a message and hands over what came with it.
    pub(crate) fn receive_into(
        &mut self,
        socket: RawFd,
        mut take: impl FnMut(OwnedFd),
    ) -> Result<()> {
        let mut byte = [0_u8];
        let mut data = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let mut header = header(&mut data, &mut self.receive_control, self.space, self.fds);
        // SAFETY: likewise.
        let received = unsafe { libc::recvmsg(socket, &raw mut header, 0) };
        anyhow::ensure!(
            received == 1,
            "recvmsg: {}",
            std::io::Error::last_os_error()
        );
        for index in 0..self.fds {
            let fd = (self.receive_control[2 + index / 2] >> (32 * (index % 2))) as RawFd;
            // SAFETY: the kernel has just put it there, and nobody else knows it.
            take(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        Ok(())
    }
}

fn header(data: &mut libc::iovec, control: &mut [u64], space: usize, fds: usize) -> libc::msghdr {
    // SAFETY: a zeroed msghdr is an empty one.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = data;
    header.msg_iovlen = 1;
    if fds > 0 {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = space;
    }
    header
}

fn fork_exec() -> Result<()> {
    // SAFETY: the worker has one thread, and the child only executes a program.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            waitpid(child, None)?;
        }
        ForkResult::Child => {
            let me = c"/proc/self/exe";
            let arguments = [me.as_ptr(), c"--version".as_ptr(), std::ptr::null()];
            // SAFETY: NUL-terminated strings in a null-terminated array. It prints its version to
            // a stdout that is closed, and exits.
            unsafe {
                libc::close(1);
                libc::execv(me.as_ptr(), arguments.as_ptr());
                libc::_exit(127);
            }
        }
    }
    Ok(())
}

fn busy() -> Result<()> {
    const BYTES: usize = 1 << 16;
    let mut kept = Vec::new();
    for size in [64, 4096, BYTES] {
        kept.push(vec![1_u8; size]);
    }
    std::hint::black_box(&kept);
    // SAFETY: a private mapping of our own, unmapped before anybody else could see it.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        anyhow::ensure!(
            at != libc::MAP_FAILED,
            "mmap: {}",
            std::io::Error::last_os_error()
        );
        at.cast::<u8>().write_volatile(1);
        libc::munmap(at, BYTES);
        for _ in 0..4 {
            libc::syscall(libc::SYS_getppid);
            libc::syscall(libc::SYS_getuid);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, read_dir},
        sync::atomic::{AtomicU64, Ordering},
    };

    use super::*;

    #[test]
    fn what_is_shared_out_is_all_done_and_no_table_has_all_that_is_open() {
        const FILES: usize = 500;
        static TURNS: AtomicU64 = AtomicU64::new(0);
        fn prepare() -> Result<Loop> {
            let files = (0..FILES).map(|_| File::open("/dev/null"));
            let files = files.collect::<std::io::Result<Vec<_>>>()?;
            Ok(Box::new(move |times| {
                let open = read_dir("/proc/thread-self/fd")?.count();
                anyhow::ensure!((files.len()..2 * FILES).contains(&open), "{open} are open");
                TURNS.fetch_add(times, Ordering::SeqCst);
                Ok(())
            }))
        }
        let mut body = shared_out(3, prepare).expect("threads can be started");
        for times in [1, 2, 7, 30] {
            body(times).expect("it runs");
        }
        assert_eq!(TURNS.load(Ordering::SeqCst), 40);
    }

    #[test]
    fn a_thread_that_cannot_says_why() {
        let failed = shared_out(2, || anyhow::bail!("no sockets"));
        assert_eq!(
            failed.map(|_| ()).map_err(|error| error.to_string()),
            Err("no sockets".to_owned())
        );
    }
}
