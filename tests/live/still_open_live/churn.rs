//! A process that is handed open files and then does with them whatever processes do: closes and
//! duplicates numbers, opens the same inode anew, forks, executes. It knows itself what each of its
//! numbers stands for.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs::{self, File},
    io::Read as _,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use fdtrace::passing;
use nix::{
    sys::{
        eventfd::EventFd,
        memfd::{MFdFlags, memfd_create},
        signal::{Signal, kill},
        socket::MsgFlags,
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, dup, dup2_raw, fork, pause, pipe},
};

/// What one open file is called by the actor, in the order in which it made them.
pub(super) type Token = u64;

/// Numbers that the actor has at once, at most.
const NUMBERS_MAX: usize = 200;

/// Children that it has at once.
const CHILDREN_MAX: usize = 3;

/// Numbers below this are its own business.
const OWN: RawFd = 40;

/// What the actor knows at one moment: each delivery's number and open file, and what its numbers stand for
/// now.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) delivered: Vec<(RawFd, Token)>,
    pub(super) table: BTreeMap<RawFd, Token>,
    /// The originals that it has kept, likewise.
    pub(super) kept: BTreeMap<RawFd, Token>,
}

impl Truth {
    /// What a number of the actor's stands for.
    pub(super) fn at(&self, fd: RawFd) -> Option<Token> {
        self.table.get(&fd).or_else(|| self.kept.get(&fd)).copied()
    }

    /// A number of the actor's that stands for this.
    pub(super) fn number_of(&self, token: Token) -> Option<RawFd> {
        let mut all = self.table.iter().chain(&self.kept);
        all.find(|(_, other)| **other == token).map(|(fd, _)| *fd)
    }

    fn write(&self, path: &Path) {
        let mut text = String::new();
        for (fd, token) in &self.delivered {
            let _ = writeln!(text, "delivered {fd} {token}");
        }
        for (what, table) in [("open", &self.table), ("kept", &self.kept)] {
            for (fd, token) in table {
                let _ = writeln!(text, "{what} {fd} {token}");
            }
        }
        fs::write(path, text).unwrap();
    }

    pub(super) fn read(path: &Path) -> Self {
        let mut truth = Self::default();
        for line in fs::read_to_string(path).unwrap().lines() {
            let mut words = line.split(' ');
            let what = words.next();
            let mut number = || words.next().unwrap().parse::<u64>().unwrap();
            let (fd, token) = (number() as RawFd, number());
            match what {
                Some("delivered") => truth.delivered.push((fd, token)),
                Some("open") => assert_eq!(truth.table.insert(fd, token), None),
                _ => assert_eq!(truth.kept.insert(fd, token), None),
            }
        }
        truth
    }
}

/// The actor, and its answers.
pub(super) struct Actor {
    pub(super) child: Child,
    folder: PathBuf,
}

const JOB: &str = "STILL_OPEN_CHURN";
const AN_ACTOR: &str = "still_open_live::churn::an_actor";

impl Actor {
    /// One that is handed so many open files, by itself, in so many parts.
    pub(super) fn start(folder: &Path, deliveries: usize, parts: usize, seed: u64) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", AN_ACTOR, "--nocapture", "--test-threads=1"])
            .env(JOB, format!("{deliveries} {parts} {seed}"))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            folder: folder.to_owned(),
        }
    }

    /// What it knew as it had paused so often, once it has.
    pub(super) fn paused(&self, part: usize) -> Option<Truth> {
        let path = self.folder.join(format!("truth-{part}"));
        path.exists().then(|| Truth::read(&path))
    }

    /// Lets it go on.
    pub(super) fn go_on(&mut self) {
        use std::io::Write as _;
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(b"x").unwrap();
    }
}

/// What an actor does: it is this program again, with a job in a variable.
#[test]
fn an_actor() {
    let Ok(job) = env::var(JOB) else {
        return;
    };
    let words: Vec<u64> = job.split(' ').map(|word| word.parse().unwrap()).collect();
    let mut churn = Churn::new(words[2]);
    let (deliveries, parts) = (words[0] as usize, words[1] as usize);
    for part in 0..parts {
        for _ in 0..deliveries / parts {
            churn.step();
        }
        // The name is there when all is.
        churn.truth.kept = churn
            .originals
            .iter()
            .map(|(fd, token)| (fd.as_raw_fd(), *token))
            .collect();
        churn.truth.write(Path::new("writing"));
        // Nothing may be opened and closed after it: numbers are what is looked at.
        fs::rename("writing", format!("truth-{part}")).unwrap();
        let mut byte = [0];
        if std::io::stdin().read(&mut byte).unwrap() == 0 {
            break;
        }
    }
    for child in std::mem::take(&mut churn.children) {
        churn.end(child);
    }
}

struct Churn {
    random: u64,
    truth: Truth,
    next: Token,
    ours: UnixStream,
    theirs: UnixStream,
    /// Originals, by open file.
    originals: Vec<(OwnedFd, Token)>,
    children: Vec<Pid>,
}

impl Churn {
    fn new(seed: u64) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        fs::write("shared", "x").unwrap();
        // The first numbers are left to the rest of the process.
        let low: Vec<File> = std::iter::repeat_with(|| File::open("/dev/null").unwrap())
            .take_while(|file| file.as_raw_fd() < OWN)
            .collect();
        std::mem::forget(low);
        Self {
            random: seed * 2 + 1,
            truth: Truth::default(),
            next: 0,
            ours,
            theirs,
            originals: Vec::new(),
            children: Vec::new(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        self.next
    }

    /// An open file of its own.
    fn make(&mut self) -> OwnedFd {
        match self.below(6) {
            0 | 1 => memfd_create(c"churn", MFdFlags::empty()).unwrap(),
            2 => UnixStream::pair().unwrap().0.into(),
            3 => pipe().unwrap().1,
            4 => File::open("shared").unwrap().into(),
            _ => OwnedFd::from(EventFd::new().unwrap()),
        }
    }

    fn step(&mut self) {
        self.deliver();
        for _ in 0..self.below(3) {
            self.change();
        }
        while self.truth.table.len() > NUMBERS_MAX {
            self.close_any();
        }
    }

    fn deliver(&mut self) {
        if self.originals.is_empty() || self.below(4) > 0 {
            let token = self.token();
            let made = self.make();
            self.originals.push((made, token));
        }
        let place = self.below(self.originals.len());
        let (original, token) = &self.originals[place];
        let (fd, token) = (original.as_raw_fd(), *token);
        passing::send(self.ours.as_raw_fd(), b"x", &[&[fd]]).unwrap();
        let received = passing::receive(self.theirs.as_raw_fd(), 1, MsgFlags::empty()).unwrap();
        let received = received.fds.into_iter().next().unwrap().into_raw_fd();
        self.truth.delivered.push((received, token));
        assert_eq!(self.truth.table.insert(received, token), None);
        if self.below(4) > 0 || self.originals.len() > 8 {
            self.originals.swap_remove(place);
        }
    }

    fn any(&mut self) -> Option<(RawFd, Token)> {
        let len = self.truth.table.len();
        let place = self.below(len.max(1));
        self.truth
            .table
            .iter()
            .nth(place)
            .map(|(fd, token)| (*fd, *token))
    }

    fn close_any(&mut self) {
        if let Some((fd, _)) = self.any() {
            self.close(fd);
        }
    }

    fn close(&mut self, fd: RawFd) {
        self.truth.table.remove(&fd).unwrap();
        // SAFETY: the number is this actor's own, as its table says.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }

    fn change(&mut self) {
        match self.below(24) {
            0..=9 => self.close_any(),
            10 | 11 => self.duplicate(),
            12 | 13 => self.replace(),
            14..=17 => self.open_anew(),
            18..=20 => self.close_and_make(),
            21 if self.below(20) == 0 => self.fork(),
            22 if self.below(20) == 0 => self.execute(),
            _ => {}
        }
    }

    fn duplicate(&mut self) {
        let Some((fd, token)) = self.any() else {
            return;
        };
        // SAFETY: as above, and it is forgotten again.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let other = dup(&file).unwrap();
        std::mem::forget(file);
        self.truth.table.insert(other.into_raw_fd(), token);
        if self.below(2) == 0 {
            self.close(fd);
        }
    }

    /// By `dup2`, onto a number that stands for something else.
    fn replace(&mut self) {
        let (Some((from, token)), Some((to, _))) = (self.any(), self.any()) else {
            return;
        };
        if from == to {
            return;
        }
        // SAFETY: as above.
        let file = unsafe { OwnedFd::from_raw_fd(from) };
        // SAFETY: the number is closed by this, and is this actor's own.
        std::mem::forget(unsafe { dup2_raw(&file, to) }.unwrap());
        std::mem::forget(file);
        self.truth.table.insert(to, token);
    }

    /// Closes a number, and opens the same inode, which may get the number and the address.
    fn open_anew(&mut self) {
        let Some((fd, _)) = self.any() else {
            return;
        };
        let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
        // By another number, so that the inode stays.
        let kept = File::options().read(true).write(true).open(&path);
        let Ok(kept) = kept else {
            return;
        };
        self.close(fd);
        let again = PathBuf::from(format!("/proc/self/fd/{}", kept.as_raw_fd()));
        let again = File::options().read(true).write(true).open(again).unwrap();
        drop(kept);
        let token = self.token();
        self.truth.table.insert(again.into_raw_fd(), token);
    }

    /// Closes a number, and makes something of any kind.
    fn close_and_make(&mut self) {
        self.close_any();
        let token = self.token();
        let made = self.make();
        self.truth.table.insert(made.into_raw_fd(), token);
    }

    fn fork(&mut self) {
        self.make_room_for_a_child();
        // SAFETY: the child makes system calls alone.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => self.children.push(child),
            ForkResult::Child => {
                if self.below(2) == 0 {
                    // It closes some of what it has inherited.
                    for fd in self.truth.table.keys().step_by(2) {
                        // SAFETY: takes a number alone.
                        unsafe { libc::close(*fd) };
                    }
                }
                loop {
                    pause();
                }
            }
        }
    }

    #[expect(clippy::zombie_processes, reason = "it is waited for by its number")]
    fn execute(&mut self) {
        self.make_room_for_a_child();
        let child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.children.push(Pid::from_raw(child.id().cast_signed()));
    }

    fn make_room_for_a_child(&mut self) {
        if self.children.len() >= CHILDREN_MAX {
            let oldest = self.children.remove(0);
            self.end(oldest);
        }
    }

    fn end(&mut self, child: Pid) {
        kill(child, Signal::SIGKILL).unwrap();
        waitpid(child, None).unwrap();
    }
}
