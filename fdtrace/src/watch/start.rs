//! Start: from the running kernel to attached programs, the way that every command goes that watches
//! it: privileges, plan, load and self-test, and a first look through the queues.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::{Live, Refusal, found::Found, live::Parts, looks, with_causes};
use crate::{
    kernel::{
        self, Broken, Capabilities, Confinement, KernelError, KernelView, Namer, Types, clock,
    },
    plan::{Attach, Plan, PlanError, Price, plan_at},
    recording::{FORMAT, Header},
    tracer::{Cgroup, Filter, Loader, ProbeError, SocketTables, Tracer},
};

/// What to watch, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// By which mechanism.
    pub attach: Attach,
    /// What it may cost those who pass no descriptors.
    pub price: Price,
    /// Size of the ring buffer, rounded up to a power of two.
    pub buffer_bytes: u32,
    /// Whose transfers to watch.
    pub filter: Filter,
    /// Whether to look through all queues as the trace begins, and as it ends.
    pub queues: bool,
    /// Whether snapshots of descriptor tables are wanted ([`Tracer::snapshot`]).
    pub snapshots: bool,
    /// Whether to follow what was delivered: to look through tables as the trace ends, and as processes
    /// that took part end.
    pub still_open: bool,
    /// Whether the kernel is to time the programs.
    pub timing: bool,
}

impl Default for Options {
    /// All of the machine, by the best mechanism, at the least cost.
    fn default() -> Self {
        Self {
            attach: Attach::Auto,
            price: Price::Least,
            buffer_bytes: 4 << 20,
            filter: Filter::default(),
            queues: false,
            snapshots: false,
            still_open: false,
            timing: false,
        }
    }
}

/// Why watching cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The kernel does not say what it is.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// This process may not trace.
    #[error("tracing needs {lacking}, which this process lacks")]
    Privileges {
        /// The capabilities that it lacks.
        lacking: String,
    },
    /// This process has its capabilities in a user namespace.
    #[error(
        "this process is in a user namespace of its own, where its capabilities count for nothing that \
         tracing needs"
    )]
    UserNamespace,
    /// This process does not see the machine's own process ids.
    #[error(
        "this process is in a pid namespace of its own, so the kernel's process ids are not those it \
         sees"
    )]
    PidNamespace,
    /// A process that is to be watched does not exist.
    #[error("there is no process {pid}")]
    NoProcess {
        /// Its id.
        pid: u32,
    },
    /// This is no cgroup of version 2.
    #[error("{} is not a cgroup v2 path", path.display())]
    NoCgroup {
        /// What was named.
        path: PathBuf,
    },
    /// A cgroup's folder cannot be read.
    #[error("cannot read {}", path.display())]
    Cgroup {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing can be planned here.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The programs cannot be loaded or attached, because somebody refuses it who has a name.
    #[error("{by}")]
    Refused {
        /// Who refuses.
        by: Refusal,
        /// What was refused.
        source: Box<ProbeError>,
    },
    /// The programs cannot be loaded or attached.
    #[error(transparent)]
    Tracer(ProbeError),
}

impl StartError {
    /// What the user can do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Kernel(error) => error.hint(),
            Self::Tracer(error) => error.hint(),
            Self::Privileges { .. } => Some("run it with sudo"),
            Self::UserNamespace => Some(
                "run it as the machine's root: outside of a rootless container, and of `unshare --user`",
            ),
            Self::Refused { by, .. } => Some(by.hint()),
            Self::PidNamespace => {
                Some("run the container with the host's pid namespace (--pid=host)")
            }
            Self::NoProcess { .. } => Some("`ps -e` shows those that there are"),
            Self::NoCgroup { .. } => Some("they are folders below /sys/fs/cgroup"),
            Self::Plan(PlanError::NothingToAttach { .. }) => {
                Some("`fdtrace doctor` shows what can be watched here")
            }
            Self::Plan(_) | Self::Cgroup { .. } => None,
        }
    }

    /// What the kernel's verifier said of a program that it refused.
    #[must_use]
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Self::Tracer(error) => error.verifier_log(),
            Self::Refused { source, .. } => source.verifier_log(),
            _ => None,
        }
    }
}

impl From<ProbeError> for StartError {
    fn from(source: ProbeError) -> Self {
        match Refusal::of(&source, &Confinement::current()) {
            Some(by) => Self::Refused {
                by,
                source: Box::new(source),
            },
            None => Self::Tracer(source),
        }
    }
}

/// What starting took, part by part.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// Reading the kernel's types and symbols.
    pub view: Duration,
    /// That, and loading, attaching and testing the programs.
    pub attach: Duration,
    /// The first look through the queues.
    pub look: Duration,
}

impl Options {
    /// Attaches to the running kernel. Everything that happens from then on is seen.
    ///
    /// # Errors
    /// A [`StartError`]: if this process may not trace, or this kernel cannot be traced as is asked for.
    pub fn start(&self) -> Result<Live, StartError> {
        let begin = Instant::now();
        for pid in &self.filter.pids {
            if !Path::new(&format!("/proc/{pid}")).exists() {
                return Err(StartError::NoProcess { pid: *pid });
            }
        }
        // First, for what it takes it gives back before anything else takes memory.
        let loader = Loader::new();
        let mut view = KernelView::live()?;
        check_privileges(&view)?;
        let view_took = begin.elapsed();
        let filter = &self.filter;
        let mut loader = Some(loader);
        let mut tracer = what_works(&mut view, self.attach, self.price, |plan, types| {
            let loader = loader.take().unwrap_or_default();
            Tracer::start_by(loader, plan, self.buffer_bytes, types, filter)
        })?;
        let KernelView {
            types,
            symbols,
            naming,
            kptr_restrict,
            ..
        } = view;
        if self.filter.is_on() {
            // Who asks about few processes wants to know why any send of theirs failed, the first as well.
            tracer.watch_returns()?;
        }
        let attach_took = begin.elapsed();
        let begin = Instant::now();
        let (found, unread_at_start) = if self.queues {
            let tables = SocketTables::of(&tracer.plan().offsets, &symbols);
            let looked = tracer.prepare_queues(&types, tables);
            match looked.and_then(|()| looks::first(&mut tracer)) {
                Ok((found, gaps)) => (found, gaps.described()),
                Err(error) => (Found::default(), Some(with_causes(&error))),
            }
        } else {
            (Found::default(), None)
        };
        let look_took = begin.elapsed();
        if self.snapshots {
            tracer.prepare_snapshots(&types)?;
        }
        // A kernel that does not take these programs can be traced all the same.
        let tables_refused = match self.still_open {
            true => tracer.prepare_tables(&types).err(),
            false => None,
        };
        let namer = Namer::new(symbols, naming);
        drop(types);
        kernel::give_memory_back();
        let timing = self.timing.then(|| tracer.time_programs()).transpose()?;
        let wall_ns = clock::wall_ns();
        let (head_bytes, file_bytes) = Header::record_sizes();
        let header = Header {
            format: FORMAT,
            fdtrace: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: tracer.plan().release.clone(),
            wall_ns,
            t_ns: clock::now_ns(),
            utc_offset_s: clock::utc_offset_s(wall_ns),
            kptr_restrict,
            plan: tracer.plan().entries(),
            machine: kernel::machine(),
            coverage: tracer.coverage(),
            filtered: self.filter.is_on(),
            unread_at_start,
            head_bytes,
            file_bytes,
        };
        Ok(Live::new(Parts {
            tracer,
            namer: Rc::new(namer),
            found,
            header,
            timing,
            tables_refused: tables_refused.map(|error| with_causes(&error)),
            took: Took {
                view: view_took,
                attach: attach_took,
                look: look_took,
            },
        }))
    }
}

/// Plans for the kernel that `view` shows and tries it, and plans anew without what does not work until
/// all of a plan does. What that is, `view` knows from then on.
///
/// # Errors
/// Those of the plan, and those of trying it.
pub fn what_works<T>(
    view: &mut KernelView,
    attach: Attach,
    price: Price,
    mut try_it: impl FnMut(Plan, &Types) -> Result<T, ProbeError>,
) -> Result<T, StartError> {
    loop {
        let plan = plan_at(view, attach, price)?;
        let known = view.broken.len();
        match try_it(plan, &view.types) {
            Err(ProbeError::Broken(broken)) => {
                let is_new = |it: &Broken| view.broken(it.mechanism, it.target).is_none();
                let new: Vec<Broken> = broken.iter().filter(|it| is_new(it)).cloned().collect();
                view.broken.extend(new);
                if view.broken.len() == known {
                    return Err(ProbeError::Broken(broken).into());
                }
            }
            done => return Ok(done?),
        }
    }
}

/// Whether this process may trace the kernel that `view` shows.
///
/// # Errors
/// [`StartError::UserNamespace`], [`StartError::Privileges`] or [`StartError::PidNamespace`].
pub fn check_privileges(view: &KernelView) -> Result<(), StartError> {
    obstacles(view).into_iter().next().map_or(Ok(()), Err)
}

/// All that this process lacks to trace the kernel that `view` shows.
#[must_use]
pub fn obstacles(view: &KernelView) -> Vec<StartError> {
    lacking(
        &view.capabilities,
        view.init_user_namespace,
        view.init_pid_namespace,
    )
}

/// Whether this process may trace at all.
///
/// # Errors
/// [`StartError::UserNamespace`], [`StartError::Privileges`] or [`StartError::PidNamespace`], and
/// [`StartError::Kernel`] if it cannot find out.
pub fn check_own_privileges() -> Result<(), StartError> {
    let capabilities = Capabilities::current().map_err(KernelError::Capabilities)?;
    let lacking = lacking(
        &capabilities,
        kernel::is_in_init_user_namespace(),
        kernel::is_in_init_pid_namespace(),
    );
    lacking.into_iter().next().map_or(Ok(()), Err)
}

fn lacking(
    capabilities: &Capabilities,
    init_user_namespace: bool,
    init_pid_namespace: bool,
) -> Vec<StartError> {
    let lacking = capabilities.lacking_for_tracing();
    [
        (!init_user_namespace).then_some(StartError::UserNamespace),
        lacking.map(|lacking| StartError::Privileges { lacking }),
        (!init_pid_namespace).then_some(StartError::PidNamespace),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The cgroup (version 2) of this name: a folder, or a path as `/proc/PID/cgroup` has it.
///
/// # Errors
/// [`StartError::NoCgroup`] if there is none, [`StartError::Cgroup`] if it cannot be read.
pub fn find_cgroup(path: &Path) -> Result<Cgroup, StartError> {
    const MOUNTED: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let below = path.strip_prefix("/").unwrap_or(path);
    let candidates = MOUNTED.map(|mounted| Path::new(mounted).join(below));
    let found = [path.to_owned()]
        .into_iter()
        .chain(candidates)
        .find(|path| {
            statfs(path).is_ok_and(|system| system.filesystem_type() == CGROUP2_SUPER_MAGIC)
        });
    let Some(found) = found else {
        let path = path.to_owned();
        return Err(StartError::NoCgroup { path });
    };
    match fs::metadata(&found) {
        Ok(metadata) => Ok(Cgroup {
            id: metadata.ino(),
            path: found,
        }),
        Err(source) => Err(StartError::Cgroup {
            path: found,
            source,
        }),
    }
}
