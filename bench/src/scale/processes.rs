//! Many processes that pass descriptors: a chain in which each receives one from the process before
//! it and sends it to the next. Who passed what to whom is known, so the trace is held against it.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use fdtrace::plan::Attach;
use nix::{
    errno::Errno,
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::SockType,
        wait::waitpid,
    },
    time::{clock_getcpuclockid, clock_gettime},
    unistd::{ForkResult, Pid, fork},
};
use serde::Serialize;
use serde_json::Value;

use super::{fdtrace_command, memory, told};
use crate::{
    state::{self, Program},
    workload::{Message, pair},
};

/// Processes in a chain.
pub(super) const LENGTHS: [usize; 4] = [1, 10, 1_000, 10_000];
/// Transfers that are made at least; each chain is gone through as often as that takes.
const TRANSFERS: usize = 20_000;
/// How long a process waits before it sends on what it has received, so that the rate is modest
/// whatever the length.
const NAP: Duration = Duration::from_micros(50);
/// How long a reader may be behind.
const BEHIND: Duration = Duration::from_millis(500);

/// What a chain came to.
#[derive(Debug, Serialize)]
pub(super) struct Chain {
    processes: usize,
    /// Why there are not as many as were asked for.
    short: Option<String>,
    transfers_per_second: f64,
    transfers: Told,
    lost_events: u64,
    /// Of fdtrace: resident before the first transfer and after the last, and a CPU's time for each.
    before_kib: u64,
    after_kib: u64,
    cpu_us: f64,
}

/// What the trace makes of the transfers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Told {
    made: u64,
    /// Delivered, the same file, with the two processes that it was passed between.
    right: u64,
    /// Said to be something that they were not.
    wrong: u64,
}

impl Chain {
    pub(super) fn is_short(&self) -> bool {
        self.short.is_some()
    }
}

pub(super) fn measure(fdtrace: &Path, attach: Attach, length: usize) -> Result<Chain> {
    let (_folder, folder) = state::folder()?;
    let (ready, out) = (folder.join("ready"), folder.join("out"));
    let processes = Processes::start(length)?;
    let mut program = Program::start("fdtrace", fdtrace_command(fdtrace, attach, &ready, &out))?;
    program.wait_until(|| ready.exists())?;
    let before_kib = memory(program.pid(), "VmRSS:")?;
    let cpu_begin = on_cpu(program.pid())?;

    let steps = processes.steps();
    let rounds = TRANSFERS.div_ceil(steps.len());
    let mut made = Made::default();
    let mut message = Message::new(1);
    let begin = Instant::now();
    for _ in 0..rounds {
        let file = File::from(memfd_create(c"chain", MFdFlags::MFD_CLOEXEC)?);
        processes.pass(&mut message, &file)?;
        made.passed(file.metadata()?.ino(), &steps);
    }
    let took = begin.elapsed().as_secs_f64();

    std::thread::sleep(BEHIND);
    let after_kib = memory(program.pid(), "VmRSS:")?;
    let cpu = on_cpu(program.pid())?.saturating_sub(cpu_begin);
    program.stop()?;
    let (length, short) = (processes.pids.len(), processes.short.clone());
    processes.end()?;

    let lost_events = told(&out, |transfer| made.hear(transfer))?;
    let transfers = made.told;
    Ok(Chain {
        processes: length,
        short,
        transfers_per_second: transfers.made as f64 / took,
        transfers,
        lost_events,
        before_kib,
        after_kib,
        cpu_us: cpu.as_secs_f64() * 1e6 / transfers.made as f64,
    })
}

/// A CPU's time that the process has had.
fn on_cpu(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
    Ok(clock_gettime(clock)?.into())
}

/// Processes that wait for something to pass on.
struct Processes {
    /// Where the chain begins, and where it ends.
    first: OwnedFd,
    last: OwnedFd,
    pids: Vec<Pid>,
    short: Option<String>,
}

impl Processes {
    /// So many, or as many as there is room for.
    fn start(length: usize) -> Result<Self> {
        let (first, mut last) = pair(SockType::Stream)?;
        let (mut pids, mut short) = (Vec::with_capacity(length), None);
        while pids.len() < length {
            let (to, next) = pair(SockType::Stream)?;
            // SAFETY: the child does nothing but receive and send, and leaves without a destructor.
            match unsafe { fork() } {
                Ok(ForkResult::Parent { child }) => pids.push(child),
                Ok(ForkResult::Child) => {
                    // Or nobody would see the end of the others.
                    drop((first, next));
                    pass_on(&last, &to)
                }
                Err(error @ (Errno::EAGAIN | Errno::ENOMEM)) => {
                    short = Some(error.to_string());
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            last = next;
        }
        Ok(Self {
            first,
            last,
            pids,
            short,
        })
    }

    /// Passes a file through the whole chain.
    fn pass(&self, message: &mut Message, file: &File) -> Result<()> {
        message.carry(file.as_raw_fd());
        message.send(self.first.as_raw_fd())?;
        message.receive(self.last.as_raw_fd())
    }

    /// Who passes to whom.
    fn steps(&self) -> Vec<Step> {
        let own = [Pid::this()];
        let stations = [&own, &self.pids[..], &own].concat();
        let number = |pid: Pid| u64::from(pid.as_raw().unsigned_abs());
        let steps = stations.windows(2);
        steps
            .map(|step| [number(step[0]), number(step[1])])
            .collect()
    }

    fn end(self) -> Result<()> {
        drop((self.first, self.last));
        for pid in self.pids {
            waitpid(pid, None)?;
        }
        Ok(())
    }
}

/// Passes on what is received, until the process before this one has ended.
fn pass_on(from: &OwnedFd, to: &OwnedFd) -> ! {
    let mut message = Message::new(1);
    let mut received = None;
    while message
        .receive_into(from.as_raw_fd(), |fd| received = Some(fd))
        .is_ok()
    {
        std::thread::sleep(NAP);
        let Some(fd) = received.take() else { break };
        message.carry(fd.as_raw_fd());
        if message.send(to.as_raw_fd()).is_err() {
            break;
        }
    }
    // SAFETY: what else this process was forked with is not its own.
    unsafe { libc::_exit(0) }
}

/// A sender and a receiver.
type Step = [u64; 2];

/// Transfers that were made, and what has been told of them.
#[derive(Default)]
struct Made {
    /// Whether each has been told, by the file's inode number, which is each file's own.
    transfers: HashMap<(u64, Step), bool>,
    files: HashSet<u64>,
    senders: HashSet<u64>,
    told: Told,
}

impl Made {
    fn passed(&mut self, ino: u64, steps: &[Step]) {
        self.files.insert(ino);
        for step in steps {
            self.senders.insert(step[0]);
            self.transfers.insert((ino, *step), false);
            self.told.made += 1;
        }
    }

    fn hear(&mut self, transfer: &Value) {
        let number = |pointer| transfer.pointer(pointer).and_then(Value::as_u64);
        let ino = transfer.pointer("/file/ino").and_then(Value::as_str);
        let ino = ino.and_then(|digits| digits.parse().ok());
        let sender = number("/sender/pid");
        let is_ours = ino.is_some_and(|ino| self.files.contains(&ino))
            || sender.is_some_and(|sender| self.senders.contains(&sender));
        let is_same = transfer["fate"] == "delivered" && transfer["verdict"] == "same";
        // Where the trace claims nothing, nothing is wrong: it is missing.
        if !is_ours || !is_same && transfer["verdict"] != "different" {
            return;
        }
        let made = match (ino, sender, number("/receiver/pid")) {
            (Some(ino), Some(sender), Some(receiver)) if is_same => {
                self.transfers.get_mut(&(ino, [sender, receiver]))
            }
            _ => None,
        };
        match made {
            Some(told) if !*told => {
                *told = true;
                self.told.right += 1;
            }
            _ => self.told.wrong += 1,
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { made, right, wrong } = self.transfers;
        write!(
            f,
            "{} processes in a chain, {:.0} transfers/s: {right} of {made} right, {wrong} wrong, \
             {} events lost; resident {:.1} MiB, then {:.1}; {:.1} µs on a CPU for each",
            self.processes,
            self.transfers_per_second,
            self.lost_events,
            self.before_kib as f64 / 1024.0,
            self.after_kib as f64 / 1024.0,
            self.cpu_us,
        )?;
        if let Some(why) = &self.short {
            write!(f, "; no room for more: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn transfer(ino: u64, [sender, receiver]: Step, fate: &str, verdict: &str) -> Value {
        json!({
            "file": {"ino": ino.to_string()},
            "sender": {"pid": sender},
            "receiver": {"pid": receiver},
            "fate": fate,
            "verdict": verdict,
        })
    }

    /// What is made of one transfer, if 10 passed file 7 to 11, and 11 to 12.
    fn told(transfers: &[Value]) -> [u64; 2] {
        let mut made = Made::default();
        made.passed(7, &[[10, 11], [11, 12]]);
        for transfer in transfers {
            made.hear(transfer);
        }
        assert_eq!(made.told.made, 2);
        [made.told.right, made.told.wrong]
    }

    #[test]
    fn a_transfer_is_right_once() {
        let right = transfer(7, [10, 11], "delivered", "same");
        assert_eq!(told(std::slice::from_ref(&right)), [1, 0]);
        assert_eq!(told(&[right.clone(), right]), [1, 1]);
    }

    #[test]
    fn another_receiver_file_or_sender_is_wrong() {
        for (ino, step) in [(7, [10, 12]), (8, [10, 11]), (7, [12, 11])] {
            assert_eq!(told(&[transfer(ino, step, "delivered", "same")]), [0, 1]);
        }
        let different = transfer(7, [10, 11], "delivered", "different");
        assert_eq!(told(&[different]), [0, 1]);
    }

    #[test]
    fn what_is_not_claimed_is_missing_and_what_others_pass_is_theirs() {
        let lost = transfer(7, [10, 11], "lost", "lost");
        assert_eq!(told(&[lost]), [0, 0]);
        let foreign = transfer(9, [20, 21], "delivered", "same");
        assert_eq!(told(&[foreign]), [0, 0]);
    }

    #[test]
    fn a_chain_passes_through_all_its_processes_and_ends() {
        let processes = Processes::start(3).expect("three processes can be started");
        let steps = processes.steps();
        assert_eq!(steps.len(), 4);
        assert!(steps.windows(2).all(|pair| pair[0][1] == pair[1][0]));
        let (mut message, file) = (
            Message::new(1),
            File::open("/dev/null").expect("it is there"),
        );
        for _ in 0..5 {
            processes.pass(&mut message, &file).expect("it comes out");
        }
        processes.end().expect("they end");
    }
}
