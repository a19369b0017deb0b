//! The one table of kernel offsets.
//!
//! Rust eBPF programs carry no CO-RE relocations, so every offset is resolved from the running
//! kernel's BTF at start-up and handed to the programs as a constant of the same name
//! (`sk_buff.sk` becomes `SK_BUFF__SK`). [`for_each_offset`] is that table; each half expands it
//! with a macro of its own, so a name cannot exist on one side only.

/// Calls `$each! { NAME "type.member.path" SIZE; … }` with every offset the programs read.
///
/// `SIZE` is the member's expected size in bytes. A member of another size means that its type
/// changed under the programs, which is an error, not something to read anyway. 0 stands for a
/// member of which only the place matters: a flexible array, or a struct with a lock in it, whose
/// size depends on the kernel's configuration (PREEMPT_RT).
#[macro_export]
macro_rules! for_each_offset {
    ($each:ident) => {
        $each! {
            SK_BUFF__PREV "sk_buff.prev" 8;
            SK_BUFF__SK "sk_buff.sk" 8;
            SK_BUFF__CB "sk_buff.cb" 48;
            SK_BUFF_HEAD__PREV "sk_buff_head.prev" 8;
            UNIX_SKB_PARMS__FP "unix_skb_parms.fp" 8;
            SCM_COOKIE__FP "scm_cookie.fp" 8;
            MSGHDR__NAME "msghdr.msg_name" 8;
            MSGHDR__NAMELEN "msghdr.msg_namelen" 4;
            MSGHDR__ITER "msghdr.msg_iter" 0;
            MSGHDR__ITER__COUNT "msghdr.msg_iter.count" 8;
            MSGHDR__CONTROL "msghdr.msg_control" 8;
            MSGHDR__CONTROLLEN "msghdr.msg_controllen" 8;
            MSGHDR__FLAGS "msghdr.msg_flags" 4;
            SCM_FP_LIST__COUNT "scm_fp_list.count" 2;
            SCM_FP_LIST__FP "scm_fp_list.fp" 2024;
            SOCK__FAMILY "sock.__sk_common.skc_family" 2;
            SOCK__TYPE "sock.sk_type" 2;
            SOCK__PROTOCOL "sock.sk_protocol" 2;
            SOCK__SOCKET "sock.sk_socket" 8;
            SOCK__RECEIVE_QUEUE "sock.sk_receive_queue" 0;
            SOCK__DATA_READY "sock.sk_data_ready" 8;
            UNIX_SOCK__ADDR "unix_sock.addr" 8;
            UNIX_ADDRESS__LEN "unix_address.len" 4;
            UNIX_ADDRESS__NAME "unix_address.name" 0;
            SOCKET__SK "socket.sk" 8;
            FILE__FLAGS "file.f_flags" 4;
            FILE__INODE "file.f_inode" 8;
            FILE__PRIVATE_DATA "file.private_data" 8;
            INODE__MODE "inode.i_mode" 2;
            INODE__RDEV "inode.i_rdev" 4;
            INODE__SB "inode.i_sb" 8;
            INODE__INO "inode.i_ino" 8;
            INODE__PRIVATE "inode.i_private" 8;
            SUPER_BLOCK__DEV "super_block.s_dev" 4;
            SUPER_BLOCK__MAGIC "super_block.s_magic" 8;
            TASK_STRUCT__FILES "task_struct.files" 8;
            TASK_STRUCT__TGID "task_struct.tgid" 4;
            TASK_STRUCT__PID "task_struct.pid" 4;
            TASK_STRUCT__START_TIME "task_struct.start_time" 8;
            TASK_STRUCT__SIGNAL "task_struct.signal" 8;
            TASK_STRUCT__REAL_PARENT "task_struct.real_parent" 8;
            SIGNAL_STRUCT__RLIM "signal_struct.rlim" 256;
            TASK_STRUCT__CRED "task_struct.cred" 8;
            TASK_STRUCT__THREAD_PID "task_struct.thread_pid" 8;
            TASK_STRUCT__NSPROXY "task_struct.nsproxy" 8;
            CRED__USER_NS "cred.user_ns" 8;
            PID__LEVEL "pid.level" 4;
            UPID__NS "upid.ns" 8;
            SOCK__NUM "sock.__sk_common.skc_num" 2;
            SOCK__DPORT "sock.__sk_common.skc_dport" 2;
            SOCK__RCV_SADDR "sock.__sk_common.skc_rcv_saddr" 4;
            SOCK__DADDR "sock.__sk_common.skc_daddr" 4;
            FILES_STRUCT__FDT "files_struct.fdt" 8;
            FILES_STRUCT__COUNT "files_struct.count" 4;
            FILES_STRUCT__NEXT_FD "files_struct.next_fd" 4;
            FDTABLE__MAX_FDS "fdtable.max_fds" 4;
            FDTABLE__FD "fdtable.fd" 8;
            FDTABLE__CLOSE_ON_EXEC "fdtable.close_on_exec" 8;
            FDTABLE__OPEN_FDS "fdtable.open_fds" 8;
            TASK_STRUCT__COMM "task_struct.comm" 16;
            SK_BUFF__NEXT "sk_buff.next" 8;
            SK_BUFF__LEN "sk_buff.len" 4;
            SK_BUFF__TSTAMP "sk_buff.tstamp" 8;
            SK_BUFF_HEAD__QLEN "sk_buff_head.qlen" 4;
            UNIX_SKB_PARMS__PID "unix_skb_parms.pid" 8;
            UNIX_SKB_PARMS__UID "unix_skb_parms.uid" 4;
            UNIX_SKB_PARMS__GID "unix_skb_parms.gid" 4;
            UNIX_SKB_PARMS__CONSUMED "unix_skb_parms.consumed" 4;
            SOCK__MAX_ACK_BACKLOG "sock.sk_max_ack_backlog" 4;
            SOCK__SNDBUF "sock.sk_sndbuf" 4;
            SOCK__WMEM_ALLOC "sock.sk_wmem_alloc" 4;
            SOCK__ERR "sock.sk_err" 4;
            SOCK__STATE "sock.__sk_common.skc_state" 1;
            SOCK__PEER_PID "sock.sk_peer_pid" 8;
            SOCK__PEER_CRED "sock.sk_peer_cred" 8;
            UNIX_SOCK__PEER "unix_sock.peer" 8;
            UNIX_SOCK__SCM_FDS "unix_sock.scm_stat.nr_fds" 4;
            SOCKET__FILE "socket.file" 8;
            SOCK__NODE__NEXT "sock.__sk_common.skc_node.next" 8;
            SOCK__NODE__PPREV "sock.__sk_common.skc_node.pprev" 8;
            PID__NUMBERS "pid.numbers" 0;
            PID__TASKS "pid.tasks" 0;
            UPID__NR "upid.nr" 4;
            CRED__EUID "cred.euid" 4;
            CRED__EGID "cred.egid" 4;
            FILE__DENTRY "file.f_path.dentry" 8;
            FILE__MNT "file.f_path.mnt" 8;
            INODE__NLINK "inode.i_nlink" 4;
            DENTRY__PARENT "dentry.d_parent" 8;
            DENTRY__NAME__LEN "dentry.d_name.len" 4;
            DENTRY__NAME__NAME "dentry.d_name.name" 8;
            DENTRY__HASH__PPREV "dentry.d_hash.pprev" 8;
            VFSMOUNT__ROOT "vfsmount.mnt_root" 8;
            MOUNT__MNT "mount.mnt" 0;
            MOUNT__PARENT "mount.mnt_parent" 8;
            MOUNT__MOUNTPOINT "mount.mnt_mountpoint" 8;
            MOUNT__ID "mount.mnt_id" 4;
            MOUNT__NS "mount.mnt_ns" 8;
        }
    };
}

/// Number of the helper, which no kernel has, that the programs call where they mean
/// `bpf_rdonly_cast`. The loader replaces the call.
pub const CAST_MARKER: u32 = 0x7fda_ca57;

/// Constants that are not a member's offset, resolved from the same BTF.
///
/// `FILE__REFS` is where a file's reference count is (`f_ref` since 6.13, `f_count` before), and
/// `FILE_REFS_BIAS` what to add to the raw value: `file_ref_t` counts from zero.
/// `CONSUME_SKB_HAS_LOCATION` is 1 where that tracepoint passes its caller as a second argument.
/// `RECEIVE_FD_FIRST_IS_NUMBER` is 1 where the function that installs a descriptor takes a number
/// before the file (`__receive_fd` of 5.10).
/// `ARCH` is the number of an [`Arch`](crate::arch::Arch). Those of `PT_REGS__` are where its system calls
/// have their number and their arguments, the first of a 32-bit process's apart.
/// `HAS_TASK_PT_REGS` is 1 where that helper exists (5.15). `INSTALL_BY_TABLE` is 1 where new
/// descriptors are found by comparing the receiver's table before and after. `LIST_END_BY_FREE` is
/// 1 where the end of a list is seen by its memory being given back. `SEEN_BEFORE_QUEUE` is 1 where
/// a list is seen before that hop.
/// `BY_SLOT` is 1 where two records tell of a message.
/// `SOCK__SCM_RECV_FLAGS` and `SOCK__SCM_RIGHTS_MASK` are the byte and the bit that SO_PASSRIGHTS
/// clears (6.16), 0 where there is no such option.
/// `RDONLY_CAST` is the BTF id of `bpf_rdonly_cast` (6.2), else 0. Those of `TYPE__` are the ids of what
/// it casts to: structures of these names, `WORDS` one that begins with two numbers of 8 bytes. They are 0
/// where it casts to no type at all (6.17).
/// `SOCK__V6_RCV_SADDR`, `SOCK__V6_DADDR`, `NSPROXY__MNT_NS` and those from `NS_COMMON__OPS` to
/// `VSOCK_SOCK__REMOTE_ADDR` are offsets that only descriptions need, 0 where there is no such member
/// (`PROC_NS_OPERATIONS__NAME` is 0 on every kernel). `TASK_STRUCT__IO_URING` is 0 where the kernel has no
/// io_uring; from `TASK_STRUCT__CGROUPS` on likewise, where it has no cgroups. From `NSPROXY__NET_NS`
/// on all are 0 where network namespaces have no tables of Unix sockets (before 6.0), and from
/// `CRED__USER` on where the kernel does not count by user what is in flight. From
/// `SIGNAL_STRUCT__LIVE` to `FILE__RA__PREV_POS` they tell what a process still has open; 0 where there is
/// no such member.
#[macro_export]
macro_rules! for_each_fact {
    ($each:ident) => {
        $each! { ARCH; PT_REGS__NUMBER; PT_REGS__FIRST; PT_REGS__SECOND; PT_REGS__THIRD; PT_REGS__COMPAT_FIRST;
        FILE__REFS; FILE_REFS_BIAS; CONSUME_SKB_HAS_LOCATION; RECEIVE_FD_FIRST_IS_NUMBER;
        HAS_TASK_PT_REGS; RDONLY_CAST; TYPE__WORDS; TYPE__FILE; TYPE__INODE; TYPE__SUPER_BLOCK; TYPE__DENTRY;
        SOCK__SCM_RECV_FLAGS; SOCK__SCM_RIGHTS_MASK; SOCK__V6_RCV_SADDR; SOCK__V6_DADDR; NSPROXY__MNT_NS;
        NS_COMMON__OPS; PROC_NS_OPERATIONS__NAME; DMA_BUF__NAME; VSOCK_SOCK__LOCAL_ADDR; VSOCK_SOCK__REMOTE_ADDR;
        TASK_STRUCT__IO_URING; TASK_STRUCT__CGROUPS; CSS_SET__DFL_CGRP; CGROUP__SELF__PARENT; CGROUP_SUBSYS_STATE__CGROUP;
        CGROUP__KN; KERNFS_NODE__ID;
        NSPROXY__NET_NS; NET__LIST__NEXT; NET__LIST__PREV; NET__NS__OPS; NET__UNX__TABLE__BUCKETS;
        CRED__USER; USER_STRUCT__UNIX_INFLIGHT; SCM_FP_LIST__USER; USER_STRUCT__UID;
        SIGNAL_STRUCT__LIVE; SIGNAL_STRUCT__THREAD_HEAD; TASK_STRUCT__THREAD_NODE; TASK_STRUCT__GROUP_LEADER;
        FILE__RA__PREV_POS;
        INSTALL_BY_TABLE; LIST_END_BY_FREE; SEEN_BEFORE_QUEUE; BY_SLOT; }
    };
}

/// What the user asked for, and not what the kernel is: zero unless it is switched on.
///
/// `DESCRIBE` is 1 where files and tasks are to be described. `FILTER_BY_PID`, `FILTER_BY_COMM` and
/// `FILTER_BY_CGROUP` are 1 where transfers are filtered so; the others are the halves of the
/// cgroup's id.
#[macro_export]
macro_rules! for_each_switch {
    ($each:ident) => {
        $each! { DESCRIBE; FILTER_BY_PID; FILTER_BY_COMM; FILTER_BY_CGROUP;
        FILTER_CGROUP_LOW; FILTER_CGROUP_HIGH; }
    };
}
