//! One VM from its first to its last moment.
//!
//! A boot is watched from two sides: init's frames say how far the job is, the kernel's log says
//! whether there is still a kernel. Emulated kernels crash in early boot now and then, for reasons
//! that are QEMU's, so a boot that never reached init is tried once more. Anything later is a
//! result, and is reported as it is.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::{prctl::set_pdeathsig, signal::Signal};
use vm_init::{Decoder, Frame, Garbled, Job};

use super::{
    image::{self, Program},
    kernel::Kernel,
    qemu::{Boot, Qemu},
    trouble,
};

/// How often the kernel's log is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a kernel in trouble may go on to describe it.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// A boot takes a few seconds under TCG, on a slow and busy machine many times that.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// How much of the kernel's log is shown when something went wrong.
const TAIL: usize = 40;

/// A VM that can be run.
pub(crate) struct Machine<'a> {
    /// What to call it in messages, and in its folder's name.
    pub(crate) name: &'a str,
    pub(crate) qemu: &'a Qemu,
    pub(crate) kernel: &'a Kernel,
    pub(crate) programs: &'a [Program],
    pub(crate) job: &'a Job,
    pub(crate) append: &'a str,
    pub(crate) timeout: Duration,
    /// Below it the initramfs and the log get a folder.
    pub(crate) runs: &'a Path,
    /// Whether QEMU is to listen at a monitor.
    pub(crate) monitored: bool,
}

/// What is to become of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    GoOn,
    /// All is known that was wanted.
    End,
}

/// How a VM that reached init came up.
#[derive(Clone, Debug)]
pub(crate) struct Up {
    pub(crate) release: String,
    pub(crate) after: Duration,
}

/// Why a boot came to nothing.
enum End {
    /// Before init: nothing was tested yet.
    Early(String),
    Late(String),
}

impl Machine<'_> {
    /// Runs the job to its end, or until `hear`, which gets every frame and the monitor's place, has
    /// heard enough. An error is a VM that did not finish.
    pub(crate) fn run_until(&self, mut hear: impl FnMut(&Frame, &Up, &Path) -> Then) -> Result<()> {
        let dir = RunDir::new(self.runs, self.name)?;
        let monitor = dir.monitor();
        let end = self.boot_twice(&dir, &mut |frame, up| hear(frame, up, &monitor));
        // A failed run leaves logs, not megabytes.
        dir.remove_initramfs();
        let end = end?;
        let (Err(End::Early(why)) | Err(End::Late(why))) = end else {
            return dir.remove();
        };
        let log = dir.log();
        eprint!("{}", read_lossy(&dir.said()));
        eprintln!("{}: end of the kernel's log:", self.name);
        eprintln!("{}", trouble::tail(&read_lossy(&log), TAIL));
        bail!("{why} (the kernel's log: {})", log.display())
    }

    fn boot_twice(
        &self,
        dir: &RunDir,
        hear: &mut impl FnMut(&Frame, &Up) -> Then,
    ) -> Result<Result<(), End>> {
        image::write(&dir.initramfs(), self.programs, self.job)?;
        let end = self.boot(dir, hear)?;
        let Err(End::Early(why)) = &end else {
            return Ok(end);
        };
        eprintln!(
            "{}: the boot crashed before its first line ({why}); trying once more",
            self.name
        );
        self.boot(dir, hear)
    }

    fn boot(
        &self,
        dir: &RunDir,
        hear: &mut impl FnMut(&Frame, &Up) -> Then,
    ) -> Result<Result<(), End>> {
        let log = dir.log();
        fs::write(&log, "").with_context(|| format!("cannot make {}", log.display()))?;
        let monitor = dir.monitor();
        let mut command = self.qemu.command(&Boot {
            kernel: &self.kernel.image,
            initramfs: &dir.initramfs(),
            large_pages: self.kernel.large_pages,
            log: &log,
            append: self.append,
            monitor: self.monitored.then_some(monitor.as_path()),
        });
        let said = File::create(dir.said()).context("cannot make a file for what QEMU says")?;
        let mut vm = Running::start(&mut command, said)?;
        Ok(self.watch(&mut vm, dir, hear))
    }

    fn watch(
        &self,
        vm: &mut Running,
        dir: &RunDir,
        hear: &mut impl FnMut(&Frame, &Up) -> Then,
    ) -> Result<(), End> {
        let mut progress = Progress::default();
        let mut logs = Logs::new(dir);
        loop {
            let gone = match vm.heard.recv_timeout(LOOK) {
                Ok(bytes) => {
                    progress.decoder.push(&bytes);
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let heard = progress.listen(vm.started, hear);
            let done = progress.enough || progress.exits == self.job.commands.len();
            logs.look(gone || done);
            if done && logs.trouble.is_none() {
                return Ok(());
            }
            let up = progress.up.is_some();
            // Earlier, the port would lose what is typed.
            if up && self.job.terminal.is_some() {
                vm.give_keyboard();
            }
            let over = match (heard, &logs.trouble) {
                (_, Some((line, since))) if gone || since.elapsed() >= LAST_WORDS => line.clone(),
                (Err(garbled), None) => garbled.to_string(),
                (Ok(()), None) if gone => "QEMU ended".to_owned(),
                _ => match self.overdue(vm, up) {
                    Some(why) => why,
                    None => continue,
                },
            };
            return Err(if up {
                End::Late(over)
            } else {
                End::Early(over)
            });
        }
    }

    fn overdue(&self, vm: &Running, up: bool) -> Option<String> {
        // Nobody has to type within a time.
        if up && self.job.terminal.is_some() {
            return None;
        }
        let limit = if up {
            self.timeout
        } else {
            self.timeout.min(BOOT_LIMIT)
        };
        let what = if up { "the command" } else { "the boot" };
        (vm.started.elapsed() >= limit)
            .then(|| format!("{what} has not ended after {} s", limit.as_secs()))
    }
}

/// How far init says that the job is.
#[derive(Default)]
struct Progress {
    decoder: Decoder,
    up: Option<Up>,
    exits: usize,
    enough: bool,
}

impl Progress {
    /// Hands every frame that has come to `hear`.
    fn listen(
        &mut self,
        started: Instant,
        hear: &mut impl FnMut(&Frame, &Up) -> Then,
    ) -> Result<(), Garbled> {
        while let Some(frame) = self.decoder.next_frame()? {
            if let Frame::Hello(release) = &frame {
                self.up = Some(Up {
                    release: release.clone(),
                    after: started.elapsed(),
                });
            }
            self.exits += usize::from(matches!(frame, Frame::Exit(_)));
            if let Some(up) = &self.up {
                self.enough |= hear(&frame, up) == Then::End;
            }
        }
        Ok(())
    }
}

/// What the kernel and QEMU complain about.
struct Logs {
    files: [PathBuf; 2],
    looked: Instant,
    /// The first line that is trouble, and when it was seen.
    trouble: Option<(String, Instant)>,
}

impl Logs {
    fn new(dir: &RunDir) -> Self {
        Self {
            files: [dir.log(), dir.said()],
            looked: Instant::now(),
            trouble: None,
        }
    }

    /// Looks into the files, at most once in a while unless `now` is set.
    fn look(&mut self, now: bool) {
        if self.trouble.is_some() || !(now || self.looked.elapsed() >= LOOK) {
            return;
        }
        self.looked = Instant::now();
        self.trouble = self
            .files
            .iter()
            .find_map(|file| trouble::find(&read_lossy(file)).map(str::to_owned))
            .map(|line| (line, self.looked));
    }
}

/// A QEMU, which does not outlive this value.
struct Running {
    child: Child,
    keyboard: Option<ChildStdin>,
    heard: Receiver<Vec<u8>>,
    started: Instant,
}

impl Running {
    fn start(command: &mut Command, said: File) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said);
        // SAFETY: prctl is a system call that is safe between fork and exec.
        unsafe {
            // When this process is killed, nobody else would end the VM.
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        let started = Instant::now();
        let mut child = command.spawn().context("cannot start QEMU")?;
        let keyboard = child.stdin.take();
        let mut port = child.stdout.take().context("QEMU without a stdout")?;
        let (sender, heard) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Ok(count @ 1..) = port.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            keyboard,
            heard,
            started,
        })
    }

    /// Sends what comes from stdin to the VM, and the end of it as Ctrl-D on a line of its own.
    /// Once is enough.
    fn give_keyboard(&mut self) {
        let Some(mut keyboard) = self.keyboard.take() else {
            return;
        };
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut keyboard);
            let _ = keyboard
                .write_all(b"\n\x04")
                .and_then(|()| keyboard.flush());
            // Closed, it would be the end of the VM's port in both directions.
            loop {
                thread::park();
            }
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of one run, which stays only if the run went wrong.
struct RunDir(PathBuf);

impl RunDir {
    fn new(runs: &Path, name: &str) -> Result<Self> {
        let dir = runs.join(format!("{name}-{}", process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(dir))
    }

    fn initramfs(&self) -> PathBuf {
        self.0.join("initramfs.cpio")
    }

    fn log(&self) -> PathBuf {
        self.0.join("console.log")
    }

    /// Where QEMU's monitor listens.
    fn monitor(&self) -> PathBuf {
        self.0.join("monitor")
    }

    /// QEMU's own words.
    fn said(&self) -> PathBuf {
        self.0.join("qemu.log")
    }

    fn remove_initramfs(&self) {
        // It may not have come that far.
        let _ = fs::remove_file(self.initramfs());
        let _ = fs::remove_dir(&self.0);
    }

    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.0).with_context(|| format!("cannot remove {}", self.0.display()))
    }
}

fn read_lossy(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
