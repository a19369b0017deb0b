//! The offsets that programs read kernel structures with, resolved from BTF.

use fdtrace_common::arch::Arch;

use crate::kernel::{self, KernelView, TypeError, Types};

/// A constant for the programs: an offset in bytes, or a yes or no.
pub type Fact = (&'static str, u32);

/// Why an offset cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OffsetError {
    /// The member is missing, ambiguous, or not at a whole byte.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The registers are those of an architecture that the programs do not know.
    #[error("struct pt_regs is that of neither x86-64 nor arm64")]
    OtherArchitecture,
    /// Neither form of the file's reference count exists.
    #[error("struct file has neither f_ref nor f_count")]
    NoFileRefs,
}

/// Every constant that the programs take, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets(Vec<Fact>);

const RDONLY_CAST: &str = "RDONLY_CAST";
/// Structures that addresses are cast to.
const CAST_TO: [(&str, &str); 5] = [
    ("TYPE__WORDS", kernel::WORDS),
    ("TYPE__FILE", "file"),
    ("TYPE__INODE", "inode"),
    ("TYPE__SUPER_BLOCK", "super_block"),
    ("TYPE__DENTRY", "dentry"),
];

/// The way from a task to its cgroups, for a filter only: a kernel may be built without. If one is
/// missing, all are 0.
const CGROUPS: [(&str, &str); 6] = [
    (TASK_CGROUPS, "task_struct.cgroups"),
    ("CSS_SET__DFL_CGRP", "css_set.dfl_cgrp"),
    ("CGROUP__SELF__PARENT", "cgroup.self.parent"),
    ("CGROUP_SUBSYS_STATE__CGROUP", "cgroup_subsys_state.cgroup"),
    ("CGROUP__KN", "cgroup.kn"),
    ("KERNFS_NODE__ID", "kernfs_node.id"),
];
/// The way from a task to all network namespaces, and to the Unix sockets of each; likewise.
const SOCKET_TABLES: [(&str, &str); 5] = [
    ("NSPROXY__NET_NS", "nsproxy.net_ns"),
    ("NET__LIST__NEXT", "net.list.next"),
    ("NET__LIST__PREV", "net.list.prev"),
    ("NET__NS__OPS", "net.ns.ops"),
    (UNIX_SOCKETS, "net.unx.table.buckets"),
];
const UNIX_SOCKETS: &str = "NET__UNX__TABLE__BUCKETS";

/// The way from a task and from a message to the user for whom the kernel counts what is in flight;
/// likewise.
const USERS: [(&str, &str); 4] = [
    ("CRED__USER", "cred.user"),
    (IN_FLIGHT, "user_struct.unix_inflight"),
    ("SCM_FP_LIST__USER", "scm_fp_list.user"),
    ("USER_STRUCT__UID", "user_struct.uid"),
];
const IN_FLIGHT: &str = "USER_STRUCT__UNIX_INFLIGHT";

pub(super) const BY_SLOT: &str = "BY_SLOT";

/// What tells more of what a process still has open; each 0 where it is missing.
const STILL_OPEN: [(&str, &str); 5] = [
    (LIVE_THREADS, "signal_struct.live"),
    ("SIGNAL_STRUCT__THREAD_HEAD", "signal_struct.thread_head"),
    ("TASK_STRUCT__THREAD_NODE", "task_struct.thread_node"),
    ("TASK_STRUCT__GROUP_LEADER", "task_struct.group_leader"),
    ("FILE__RA__PREV_POS", "file.f_ra.prev_pos"),
];
const LIVE_THREADS: &str = "SIGNAL_STRUCT__LIVE";

const TASK_CGROUPS: &str = "TASK_STRUCT__CGROUPS";

macro_rules! offset_table {
    ($($name:ident $path:literal $size:literal;)*) => {
        const TABLE: &[(&str, &str, u32)] = &[$((stringify!($name), $path, $size)),*];
    };
}
fdtrace_common::for_each_offset!(offset_table);

impl Offsets {
    /// Resolves the whole table.
    ///
    /// # Errors
    /// Names the member that is missing, ambiguous or of another size than the programs read.
    pub fn resolve(view: &KernelView) -> Result<Self, OffsetError> {
        let types = &view.types;
        let mut facts = Vec::with_capacity(TABLE.len() + 3);
        for (name, path, size) in TABLE {
            let member = types.member_of_size(path, *size)?;
            facts.push((*name, member.offset));
        }
        facts.extend(registers(types)?);
        let (refs, bias) = file_refs(types)?;
        facts.push(("FILE__REFS", refs));
        facts.push(("FILE_REFS_BIAS", bias));
        let location = types
            .tracepoint("consume_skb")?
            .is_some_and(|prototype| prototype.params.len() > 1);
        facts.push(("CONSUME_SKB_HAS_LOCATION", u32::from(location)));
        let number_first = types.function("__receive_fd")?.is_some_and(|prototype| {
            prototype
                .params
                .first()
                .is_some_and(|param| param.ty == "int")
        });
        facts.push(("RECEIVE_FD_FIRST_IS_NUMBER", u32::from(number_first)));
        let pt_regs = view.symbols.exact("bpf_task_pt_regs").is_some();
        facts.push(("HAS_TASK_PT_REGS", u32::from(pt_regs)));
        facts.extend(casts(view));
        let (flags, mask) = scm_rights(types)?.unwrap_or_default();
        facts.push(("SOCK__SCM_RECV_FLAGS", flags));
        facts.push(("SOCK__SCM_RIGHTS_MASK", mask));
        for (name, path) in [
            ("SOCK__V6_RCV_SADDR", "sock.__sk_common.skc_v6_rcv_saddr"),
            ("SOCK__V6_DADDR", "sock.__sk_common.skc_v6_daddr"),
            ("NSPROXY__MNT_NS", "nsproxy.mnt_ns"),
            ("NS_COMMON__OPS", "ns_common.ops"),
            ("PROC_NS_OPERATIONS__NAME", "proc_ns_operations.name"),
            ("DMA_BUF__NAME", "dma_buf.name"),
            ("VSOCK_SOCK__LOCAL_ADDR", "vsock_sock.local_addr"),
            ("VSOCK_SOCK__REMOTE_ADDR", "vsock_sock.remote_addr"),
            ("TASK_STRUCT__IO_URING", "task_struct.io_uring"),
        ] {
            // What a kernel may be built without: then nothing is described by it, or uses it.
            facts.push((name, types.member(path).map_or(0, |member| member.offset)));
        }
        facts.extend(way(types, &CGROUPS));
        facts.extend(way(types, &SOCKET_TABLES));
        facts.extend(way(types, &USERS));
        for (name, path) in STILL_OPEN {
            facts.push((name, types.member(path).map_or(0, |member| member.offset)));
        }
        Ok(Self(facts))
    }

    /// Whether the fact is known, of those that are 0 where they are not.
    fn has(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(fact, value)| *fact == name && *value != 0)
    }

    /// Sets a fact that only the plan knows.
    pub(super) fn set(&mut self, name: &'static str, value: u32) {
        self.0.push((name, value));
    }

    /// The BTF id of the function that casts any address to memory which may be read, where the
    /// kernel has it.
    #[must_use]
    pub fn rdonly_cast(&self) -> Option<u32> {
        let fact = self.0.iter().find(|(name, _)| *name == RDONLY_CAST);
        fact.map(|(_, id)| *id).filter(|id| *id != 0)
    }

    /// Whether programs note what they know of a thread's list in a slot, as two records a message need it.
    #[must_use]
    pub fn use_slots(&self) -> bool {
        self.has(BY_SLOT)
    }

    /// Whether programs can tell which cgroups a task is in.
    #[must_use]
    pub fn show_cgroups(&self) -> bool {
        self.has(TASK_CGROUPS)
    }

    /// Whether programs find the Unix sockets of every network namespace.
    #[must_use]
    pub fn show_socket_tables(&self) -> bool {
        self.has(UNIX_SOCKETS)
    }

    /// Whether programs can tell how many files are in flight for a user.
    #[must_use]
    pub fn show_users(&self) -> bool {
        self.has(IN_FLIGHT)
    }

    /// Whether programs can tell that a thread is the last of its process to end.
    #[must_use]
    pub fn show_live_threads(&self) -> bool {
        self.has(LIVE_THREADS)
    }

    /// The constants, in the order of the table.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.0
    }
}

/// The function that casts, and what to: structures, where the kernel casts to no less.
fn casts(view: &KernelView) -> Vec<Fact> {
    let found = view.rdonly_cast.and_then(|cast| {
        let types = CAST_TO.iter().map(|(name, structure)| {
            let id = match cast.needs_type {
                true => view.types.structure_id(structure)?,
                false => 0,
            };
            Some((*name, id))
        });
        let function = std::iter::once(Some((RDONLY_CAST, cast.function)));
        function.chain(types).collect()
    });
    let names = [RDONLY_CAST].into_iter();
    let names = names.chain(CAST_TO.iter().map(|(name, _)| *name));
    found.unwrap_or_else(|| names.map(|name| (name, 0)).collect())
}

/// Offsets of which each is of no use without the others: if one is missing, all are 0.
fn way(types: &Types, members: &[(&'static str, &str)]) -> Vec<Fact> {
    let found = members
        .iter()
        .map(|(name, path)| Some((*name, types.member(path).ok()?.offset)));
    let found: Option<Vec<Fact>> = found.collect();
    found.unwrap_or_else(|| members.iter().map(|(name, _)| (*name, 0)).collect())
}

/// The byte and the bit in it that say whether a socket takes descriptors, where it can refuse them
/// (SO_PASSRIGHTS, 6.16).
fn scm_rights(types: &Types) -> Result<Option<(u32, u32)>, OffsetError> {
    match types.bit("sock.sk_scm_rights") {
        Ok(bit) => Ok(Some((bit / 8, 1 << (bit % 8)))),
        Err(TypeError::NoSuchMember { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Which architecture it is, and where a system call's registers are: its number is in a member that no
/// other architecture has.
fn registers(types: &Types) -> Result<[Fact; 6], OffsetError> {
    let has = |path| match types.member(path) {
        Ok(_) => Ok(true),
        Err(TypeError::NoSuchMember { .. }) => Ok(false),
        Err(error) => Err(error),
    };
    let register = |name: &str| {
        let member = types.member_of_size(&format!("pt_regs.{name}"), 8)?;
        Ok::<_, TypeError>(member.offset)
    };
    let (arch, number, [first, second, third, compat_first]) = if has("pt_regs.orig_ax")? {
        let arguments = ["di", "si", "dx", "bx"].map(register);
        (Arch::X86_64, register("orig_ax")?, arguments)
    } else if has("pt_regs.syscallno")? {
        // The result takes the first argument's register, which is kept apart; a 32-bit process's too.
        let first = || register("orig_x0");
        let other =
            |number: u32| Ok(types.member_of_size("pt_regs.regs", 31 * 8)?.offset + number * 8);
        let number = types.member_of_size("pt_regs.syscallno", 4)?.offset;
        (
            Arch::Aarch64,
            number,
            [first(), other(1), other(2), first()],
        )
    } else {
        return Err(OffsetError::OtherArchitecture);
    };
    Ok([
        ("ARCH", arch as u32),
        ("PT_REGS__NUMBER", number),
        ("PT_REGS__FIRST", first?),
        ("PT_REGS__SECOND", second?),
        ("PT_REGS__THIRD", third?),
        ("PT_REGS__COMPAT_FIRST", compat_first?),
    ])
}

/// Where a file's reference count is, and what to add to the raw value.
///
/// `f_count` holds the count itself; `f_ref` (6.13 and later) holds one less, so that the count's
/// end is a sign change.
fn file_refs(types: &Types) -> Result<(u32, u32), OffsetError> {
    const COUNTER_BYTES: u32 = 8;
    for (path, bias) in [("file.f_ref", 1), ("file.f_count", 0)] {
        match types.member(path) {
            Ok(member) if member.size == COUNTER_BYTES => return Ok((member.offset, bias)),
            Ok(member) => {
                return Err(TypeError::Resized {
                    path: path.to_owned(),
                    expected: COUNTER_BYTES,
                    found: member.size,
                }
                .into());
            }
            Err(TypeError::NoSuchMember { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(OffsetError::NoFileRefs)
}
