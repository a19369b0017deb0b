//! What this kernel is: its types, symbols, security policy, and what this process may do with it.
//!
//! First phase of the data flow, between the configuration and the plan. A [`KernelView`] is a
//! snapshot taken once at start-up, of the running kernel ([`KernelView::live`]) or of a recorded
//! one ([`KernelView::fixture`]); everything downstream asks the view and cannot tell them apart.
//!
//! Nothing here loads a program, attaches a hook, mounts a file system or changes a setting of the
//! kernel, and nothing here decides what to trace: that is the plan's business. It judges no kernel by
//! its version either, only by what it contains.
//!
//! Three modules are about this process and its kernel: [`inherited`] has what the process was
//! started with, [`clock`] the time, and [`passing`] the system calls that pass descriptors.

mod capabilities;
pub mod clock;
mod confinement;
mod fixture;
pub mod inherited;
mod mechanisms;
mod namer;
mod names;
#[allow(unsafe_code)]
pub mod passing;
pub mod settings;
mod symbols;
#[allow(unsafe_code)]
pub mod sys;
mod types;

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

use thiserror::Error;

use crate::model::{Machine, Mechanism};

pub(crate) use self::mechanisms::{WORDS, exchanges};
pub use self::{
    capabilities::Capabilities,
    confinement::{Confinement, is_in_init_user_namespace},
    mechanisms::{Cast, functions_off},
    namer::{Namer, Naming},
    symbols::{Symbol, Symbols},
    types::{Member, Param, Prototype, Target, TypeError, Types},
};

/// Where the kernel exposes its own types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
const KALLSYMS: &str = "/proc/kallsyms";
const OSRELEASE: &str = "/proc/sys/kernel/osrelease";
const KPTR_RESTRICT: &str = "/proc/sys/kernel/kptr_restrict";
const LSM: &str = "/sys/kernel/security/lsm";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const PID_NAMESPACE: &str = "/proc/self/ns/pid";

/// `PROC_PID_INIT_INO`: the inode of the first pid namespace, the same on every kernel.
const INIT_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Everything the plan and the tracer need to know about a kernel.
#[derive(Debug)]
pub struct KernelView {
    /// What `uname -r` says.
    pub release: String,
    /// Struct layouts and function prototypes, from the kernel's BTF.
    pub types: Types,
    /// The functions that exist as symbols.
    pub symbols: Symbols,
    /// What this process may do.
    pub capabilities: Capabilities,
    /// Active security modules in calling order. Empty also when securityfs is not mounted, so
    /// that a name in the list is evidence and an absent one is not.
    pub lsms: Vec<String>,
    /// `kernel.kptr_restrict`; 2, the strictest, when it cannot be read.
    pub kptr_restrict: u8,
    /// The lockdown mode in force: `none`, `integrity` or `confidentiality`; absent when unknown.
    pub lockdown: Option<String>,
    /// Whether process ids here are the ones that the kernel's programs see.
    pub init_pid_namespace: bool,
    /// Whether the capabilities are the machine's, and not those of a user namespace.
    pub init_user_namespace: bool,
    /// Why fentry and fexit cannot be used; `None` if they can.
    pub no_trampolines: Option<String>,
    /// Why kprobes cannot be used; `None` if they can.
    pub no_kprobes: Option<String>,
    /// How functions under way are named.
    pub naming: Naming,
    /// `bpf_rdonly_cast`, where a program may read any address through it.
    pub rdonly_cast: Option<Cast>,
    /// What was tried here and does not work.
    pub broken: Vec<Broken>,
}

/// A function or tracepoint that programs cannot use here, as was found out by trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// By which mechanism.
    pub mechanism: Mechanism,
    /// Its name.
    pub target: &'static str,
    /// What is wrong, behind its name in a sentence: `did not fire`.
    pub why: String,
}

impl Broken {
    /// All of them in one line.
    #[must_use]
    pub fn list(all: &[Self]) -> String {
        let all: Vec<String> = all.iter().map(Self::to_string).collect();
        all.join("; ")
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.target, self.why)
    }
}

impl KernelView {
    /// Takes the view of the running kernel.
    ///
    /// # Errors
    ///
    /// When the kernel exposes no BTF, or `/proc` cannot be read.
    pub fn live() -> Result<Self, KernelError> {
        // Producing kallsyms takes the kernel about as long as all the rest takes us.
        let (symbols, types) = thread::scope(|scope| {
            let symbols = scope.spawn(Symbols::live);
            let types = live_types();
            let symbols = symbols
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (symbols, types)
        });

        let types = types?;
        let symbols = symbols.map_err(unreadable(KALLSYMS))?;
        let capabilities = Capabilities::current().map_err(KernelError::Capabilities)?;
        let lacking = capabilities.lacking_for_tracing();
        Ok(Self {
            no_trampolines: match &lacking {
                None => mechanisms::no_trampolines(&types),
                Some(lacking) => Some(format!("fentry programs cannot be tried without {lacking}")),
            },
            no_kprobes: mechanisms::no_kprobes(),
            rdonly_cast: mechanisms::rdonly_cast(&types),
            broken: Vec::new(),
            release: read(OSRELEASE)?.trim().to_owned(),
            naming: Naming::live(&symbols, &types, lacking.as_deref()),
            types,
            symbols,
            capabilities,
            lsms: read(LSM).map(|list| split_lsms(&list)).unwrap_or_default(),
            kptr_restrict: read(KPTR_RESTRICT)
                .ok()
                .and_then(|level| level.trim().parse().ok())
                .unwrap_or(2),
            lockdown: confinement::lockdown(),
            init_pid_namespace: is_in_init_pid_namespace(),
            init_user_namespace: is_in_init_user_namespace(),
        })
    }

    /// Why this function or tracepoint cannot be used by this mechanism though it is there; `None` if
    /// nothing is known against it.
    #[must_use]
    pub fn broken(&self, mechanism: Mechanism, target: &str) -> Option<String> {
        let mut broken = self.broken.iter();
        let found = broken.find(|it| (it.mechanism, it.target) == (mechanism, target))?;
        Some(found.to_string())
    }

    /// Takes the view of a recorded kernel: `btf`, `kallsyms` and `kernel.json` in `dir`.
    ///
    /// # Errors
    ///
    /// When a file is missing or is not what its name says.
    pub fn fixture(dir: &Path) -> Result<Self, KernelError> {
        fixture::load(dir)
    }
}

/// Why no view of the kernel could be taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The kernel exposes no type information.
    #[error("kernel type information is missing at {}", path.display())]
    NoBtf {
        /// Where it was looked for.
        path: PathBuf,
        /// What opening it said.
        source: io::Error,
    },
    /// There is type information, but it cannot be used.
    #[error("kernel type information is unusable")]
    Types(#[source] TypeError),
    /// A file that every kernel has cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What reading it said.
        source: io::Error,
    },
    /// This process's own capabilities cannot be read.
    #[error("cannot read the capabilities of this process")]
    Capabilities(#[source] caps::errors::CapsError),
    /// A recorded kernel's description is not one.
    #[error("malformed kernel description in {}", path.display())]
    Fixture {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl KernelError {
    /// What the user can do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoBtf { .. } => Some(
                "run a kernel built with CONFIG_DEBUG_INFO_BTF=y, and mount sysfs where fdtrace runs",
            ),
            Self::Types(error) => error.hint(),
            Self::Unreadable { .. } => {
                Some("run fdtrace as root, where /proc is mounted and not masked")
            }
            Self::Capabilities(_) => Some("run fdtrace where /proc is mounted"),
            Self::Fixture { .. } => Some("write the fixture again with `cargo xtask fixture`"),
        }
    }
}

/// Whether process ids here are the ones that the kernel's programs see.
#[must_use]
pub fn is_in_init_pid_namespace() -> bool {
    fs::metadata(PID_NAMESPACE).is_ok_and(|namespace| namespace.ino() == INIT_PID_NAMESPACE)
}

/// The machine that this process runs on, and which of its boots it is; what cannot be read is absent.
#[must_use]
pub fn machine() -> Machine {
    let read = |path: &str| {
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim_end().to_owned())
    };
    Machine {
        arch: Some(std::env::consts::ARCH.to_owned()),
        host: read("/proc/sys/kernel/hostname"),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
    }
}

/// Reading a kernel's types takes memory that tracing does not: what the allocator has kept of it goes
/// back to the kernel.
pub fn give_memory_back() {
    sys::give_heap_back();
}

fn live_types() -> Result<Types, KernelError> {
    let bytes = fs::read(BTF).map_err(|source| KernelError::NoBtf {
        path: BTF.into(),
        source,
    })?;
    Types::of_kernel(Path::new(BTF), &bytes).map_err(KernelError::Types)
}

fn read(path: &str) -> Result<String, KernelError> {
    fs::read_to_string(path).map_err(unreadable(path))
}

fn unreadable(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> KernelError {
    move |source| KernelError::Unreadable {
        path: path.into(),
        source,
    }
}

fn split_lsms(list: &str) -> Vec<String> {
    list.trim()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The bracketed word of a line such as `none [integrity] confidentiality`.
fn selected_mode(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('[')?;
    let (mode, _) = rest.split_once(']')?;
    Some(mode.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lockdown_mode_is_the_bracketed_one() {
        let line = "none [integrity] confidentiality\n";
        assert_eq!(selected_mode(line).as_deref(), Some("integrity"));
        assert_eq!(selected_mode("none integrity"), None);
    }

    #[test]
    fn an_unmounted_securityfs_means_no_known_security_module() {
        assert_eq!(split_lsms(""), Vec::<String>::new());
        assert_eq!(split_lsms("lockdown,bpf\n"), ["lockdown", "bpf"]);
    }

    #[test]
    fn a_kernel_without_type_information_comes_with_advice() {
        let error = KernelError::NoBtf {
            path: BTF.into(),
            source: io::ErrorKind::NotFound.into(),
        };
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("CONFIG_DEBUG_INFO_BTF"))
        );
    }
}
