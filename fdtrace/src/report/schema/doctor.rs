//! What `fdtrace doctor` finds: all that is needed to understand a plan on a kernel that nobody has
//! tried, and nothing that tells whose machine it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    model::{Hop, PlanEntry},
    plan,
};

/// What stands where, and what stands in the way.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Doctor {
    /// Version of this contract.
    pub schema_version: u32,
    /// Version of fdtrace.
    pub fdtrace: String,
    /// Kernel release.
    pub kernel: String,
    /// How it was built, as `uname -v` says it; null where that is not visible.
    pub build: Option<String>,
    /// The distribution and its version, a container's in a container; null where none is named.
    pub distribution: Option<String>,
    /// Kind of machine, as `uname -m` says it.
    pub machine: String,
    /// Bytes of a page of memory.
    pub page_size: usize,
    /// Settings that decide on some kernel what may be attached, by their names for sysctl; those that
    /// this process may not read are left out.
    pub settings: BTreeMap<String, String>,
    /// How each hop is watched, or would be; empty where nothing can be planned.
    pub plan: Vec<PlanEntry>,
    /// Whether the self-test was made: then every hook in the plan was seen to fire, and an entry
    /// whose hook did not says so. Otherwise the plan is what types and symbols promise.
    pub tested: bool,
    /// The constants that the programs take, by name; empty where one of them is not to be had.
    pub offsets: BTreeMap<String, u32>,
    /// What this kernel has of each function and tracepoint that fdtrace knows of.
    pub places: Vec<Place>,
    /// Security modules in force; empty where that is not visible.
    pub lsms: Vec<String>,
    /// Lockdown mode; null where that is not visible.
    pub lockdown: Option<String>,
    /// `kernel.kptr_restrict`.
    pub kptr_restrict: u8,
    /// How functions under way get their names.
    pub functions: Functions,
    /// Why they get none; absent where they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions_hidden: Option<String>,
    /// Programs may read any address by a load (`bpf_rdonly_cast`).
    pub casts: bool,
    /// What this process may do.
    pub process: Process,
    /// What keeps fdtrace from running, and what to do about it; empty if nothing does.
    pub obstacles: Vec<String>,
    /// The last lines that the kernel's verifier wrote, without addresses, where it refused a program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verifier: Vec<String>,
}

/// How the functions that are under way as a list ends get their names.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Functions {
    /// By `/proc/kallsyms`.
    Symbols,
    /// That hides where they are from this process (`kernel.kptr_restrict`), and the kernel is asked for
    /// one name at a time.
    Asked,
    /// Not at all: how a list ended that nobody received is not known. `functions_hidden` says why.
    Hidden,
}

/// A function or tracepoint that shows a hop on some kernel.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Place {
    /// The hop.
    pub hop: Hop,
    /// What it is.
    pub kind: PlaceKind,
    /// Its name.
    pub target: String,
    /// What kallsyms has of a function: its name, and those of clones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub symbols: Vec<String>,
    /// What it takes and returns, in C, as BTF says; null where BTF does not describe it.
    pub prototype: Option<String>,
    /// Why nothing can be attached there; absent where it could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
}

/// What a place is.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// A function.
    Function,
    /// A tracepoint.
    Tracepoint,
}

/// What a process may do.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Process {
    /// The capabilities that it lacks, such as `CAP_BPF and CAP_PERFMON`; null if none.
    pub lacks: Option<String>,
    /// A seccomp filter looks at its system calls.
    pub seccomp: bool,
    /// Its user namespace is the machine's own.
    pub in_machine_user_namespace: bool,
    /// Its pid namespace is the machine's own.
    pub in_machine_pid_namespace: bool,
    /// The memory that it may lock, bytes; null if any.
    pub locked_memory: Option<u64>,
}

impl From<plan::Place> for Place {
    fn from(place: plan::Place) -> Self {
        let prototype = place.prototype.map(|prototype| {
            let params = prototype.params.iter().map(|param| match &param.name {
                Some(name) if param.ty.ends_with('*') => format!("{}{name}", param.ty),
                Some(name) => format!("{} {name}", param.ty),
                None => param.ty.clone(),
            });
            let params: Vec<String> = params.collect();
            format!("{} {}({})", prototype.ret, place.target, params.join(", "))
        });
        Self {
            hop: place.hop,
            kind: match place.is_tracepoint {
                true => PlaceKind::Tracepoint,
                false => PlaceKind::Function,
            },
            target: place.target.to_owned(),
            symbols: place.symbols,
            prototype,
            unfit: place.unfit,
        }
    }
}
