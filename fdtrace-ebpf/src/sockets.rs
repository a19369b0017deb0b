//! Where sockets are looked for, whoever holds them: programs that userspace calls, as it does those
//! of [`inflight`](crate::inflight). They go through the kernel's list of network namespaces, and
//! through the table of Unix sockets that each has. So a namespace needs neither a process nor
//! anybody who may enter it.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_seq_write,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use fdtrace_common::queues::{
    NAMESPACES_ROOM, NamespacesPage, PAGE_CHANGED, PAGE_END, PAGE_GONE, PAGE_MORE, SOCKET_CHAINS,
    SOCKETS_ROOM, SocketsPage, UserSeen,
};

use crate::{
    kernel::namespace::{Link, Net, User},
    snapshot::Meta,
};

/// Chains and sockets that one call looks at.
const STEPS: usize = 1024;

/// How often a chain is begun anew that changes all the time.
const TRIES: u32 = 64;

/// What was read last. Only one process uses these maps, one call at a time.
#[map]
static NAMESPACES_PAGE: Array<NamespacesPage> = Array::with_max_entries(1, 0);

#[map]
static SOCKETS_PAGE: Array<SocketsPage> = Array::with_max_entries(1, 0);

/// Reads the next page of the list of network namespaces; 0 to begin, with the caller's own, or 1 to
/// go on.
#[raw_tracepoint(tracepoint = "inflight_namespaces")]
pub(crate) fn inflight_namespaces(ctx: RawTracePointContext) -> i32 {
    let resume: u64 = ctx.arg(0);
    let Some(page) = NAMESPACES_PAGE.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the map's only entry, and the kernel runs this program once at a time.
    let page = unsafe { &mut *page };
    page.len = 0;
    page.state = PAGE_MORE;
    if resume == 0 {
        let own = Net::of_current();
        page.own = own.0;
        page.operations = own.operations();
        page.at = own.0;
        put_namespace(page, own);
    }
    for _ in 0..NAMESPACES_ROOM {
        if step_namespaces() != 0 {
            break;
        }
    }
    0
}

/// Goes one namespace on; returns 1 if there is nothing more to do. A global function, so that the
/// kernel verifies it once and not for each step.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step_namespaces() -> u64 {
    let Some(page) = NAMESPACES_PAGE.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: as above.
    let page = unsafe { &mut *page };
    if page.len as usize >= NAMESPACES_ROOM {
        return 1;
    }
    let at = Net(page.at);
    let next = at.next();
    if !at.is_listed() {
        page.state = PAGE_CHANGED;
        return 1;
    }
    if next.0 == page.own {
        page.state = PAGE_END;
        return 1;
    }
    // All but the list's head. A kernel that has but one namespace may leave that out.
    if page.operations != 0 && next.operations() == page.operations {
        put_namespace(page, next);
    }
    page.at = next.0;
    0
}

#[inline(always)]
fn put_namespace(page: &mut NamespacesPage, net: Net) {
    let at = page.len as usize;
    if at < NAMESPACES_ROOM {
        page.items[at] = net.0;
        page.len += 1;
    }
}

/// Reads the next page of sockets with something in their receive queue: of a namespace, or if that
/// is null of the table at the second address; 0 to begin or 1 to go on.
#[raw_tracepoint(tracepoint = "inflight_sockets")]
pub(crate) fn inflight_sockets(ctx: RawTracePointContext) -> i32 {
    let net = Net(ctx.arg(0));
    let table: u64 = ctx.arg(1);
    let resume: u64 = ctx.arg(2);
    let Some(page) = SOCKETS_PAGE.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as above.
    let page = unsafe { &mut *page };
    page.len = 0;
    page.state = PAGE_MORE;
    let table = if net.0 == 0 {
        table
    } else {
        if !net.is_listed() {
            page.state = PAGE_CHANGED;
            return 0;
        }
        net.unix_sockets()
    };
    if resume == 0 {
        page.table = table;
        page.missed = 0;
        page.chain = 0;
        page.tries = 0;
        page.link = Link::first(table, 0).0;
        page.before = 0;
    } else if page.table != table {
        // It is another namespace by now.
        page.state = PAGE_GONE;
        return 0;
    }
    for _ in 0..STEPS {
        if step_sockets() != 0 {
            break;
        }
    }
    0
}

/// Goes one socket on, or one chain; returns 1 if there is nothing more to do.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step_sockets() -> u64 {
    let Some(page) = SOCKETS_PAGE.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: as above.
    let page = unsafe { &mut *page };
    if page.chain >= SOCKET_CHAINS {
        page.state = PAGE_END;
        return 1;
    }
    if page.len as usize >= SOCKETS_ROOM {
        return 1;
    }
    let link = Link(page.link);
    let sock = link.follow();
    // A socket that is bound moves to another chain. Who went on from there would take that chain's
    // end for this one's.
    let lost = page.before != 0 && !Link(page.before).leads_to(link.socket());
    if lost || (sock.0 != 0 && !link.leads_to(sock)) {
        page.tries += 1;
        if page.tries <= TRIES {
            begin_chain(page);
            return 0;
        }
        page.missed += 1;
    } else if sock.0 != 0 {
        if sock.is_unix() && sock.queued() != 0 {
            let at = page.len as usize;
            if at < SOCKETS_ROOM {
                page.items[at] = sock.0;
                page.len += 1;
            }
        }
        page.before = link.0;
        page.link = Link::from(sock).0;
        return 0;
    }
    page.chain += 1;
    page.tries = 0;
    begin_chain(page);
    0
}

#[inline(always)]
fn begin_chain(page: &mut SocketsPage) {
    page.link = Link::first(page.table, page.chain).0;
    page.before = 0;
}

/// `struct bpf_iter__task`, whose members the kernel aligns to 8 bytes each.
#[repr(C)]
pub(crate) struct TaskVisit {
    meta: *const Meta,
    task: u64,
}

/// Writes a [`UserSeen`] for every task.
///
/// # Safety
/// Called by the kernel with its own context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub(crate) unsafe extern "C" fn inflight_users(visit: *const TaskVisit) -> i32 {
    // SAFETY: the context is the kernel's; its pointers are null once the walk is over.
    unsafe {
        let task = (*visit).task;
        if task == 0 {
            return 0;
        }
        let user = User::of_task(task);
        let row = UserSeen {
            user: user.0,
            in_flight: user.in_flight(),
        };
        bpf_seq_write(
            (*(*visit).meta).seq,
            (&raw const row).cast::<c_void>().cast_mut(),
            size_of::<UserSeen>() as u32,
        );
    }
    0
}
