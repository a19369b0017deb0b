//! What sits in receive queues: programs that userspace calls, and iterators that tell it where
//! to look. Nothing here is attached to anything, and nothing is written but the maps.
//!
//! The two `inflight_` programs for raw tracepoints are never attached: userspace runs them one
//! call at a time (BPF_PROG_TEST_RUN), with addresses that an iterator or an earlier call gave it.
//! Each address is checked against what surrounds it before and after it is used, for nothing is
//! locked: a receiver may take a message apart at any moment.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_seq_write,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use fdtrace_common::{
    queues::{
        HolderSeen, PAGE_CHANGED, PAGE_END, PAGE_GONE, PAGE_ITEMS, PAGE_MORE, PATH_ROOM, PathPage,
        QueuePage, Queued,
    },
    records::LIST_MAX,
};

use crate::{
    kernel::{self, File, List, Room, Skb, Sock, namespace::User, path},
    snapshot::Visit,
};

/// Messages and files that one call looks at.
const STEPS: usize = 256;

/// Names and mounts that one path has: more than 4096 bytes of path that anyone has made.
const PATH_STEPS: usize = 256;

/// The page that was read last. Only one process uses this map, one call at a time.
#[map]
static QUEUE_PAGE: Array<QueuePage> = Array::with_max_entries(1, 0);

/// The path that was read last.
#[map]
static PATH_PAGE: Array<PathPage> = Array::with_max_entries(1, 0);

/// Room to read a file in, likewise.
#[map]
static FILE_ROOM: Array<Room> = Array::with_max_entries(1, 0);

/// Reads the next page of the receive queue of a socket: its `sock`, and 1 to go on from the page
/// before or 0 to begin.
#[raw_tracepoint(tracepoint = "inflight_queue")]
pub(crate) fn inflight_queue(ctx: RawTracePointContext) -> i32 {
    let sock: Sock = Sock(ctx.arg(0));
    let resume: u64 = ctx.arg(1);
    let Some(page) = QUEUE_PAGE.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the map's only entry, and the kernel runs this program once at a time.
    let page = unsafe { &mut *page };
    page.len = 0;
    if !sock.is_unix() {
        page.state = PAGE_GONE;
        return 0;
    }
    // SAFETY: it can be written.
    unsafe { sock.describe(&raw mut page.socket) };
    let head = sock.queue_head();
    if resume == 0 {
        page.skb = head.0;
        page.prev = head.prev().0;
        page.list = 0;
        page.bytes_before = 0;
        page.bytes = 0;
        page.message = 0;
        page.count = 0;
        page.index = 0;
    }
    page.state = PAGE_MORE;
    read_page(page, head);
    0
}

#[inline(always)]
fn read_page(page: &mut QueuePage, head: Skb) {
    for _ in 0..STEPS {
        let skb = Skb(page.skb);
        let list = List(page.list);
        if page.index < page.count {
            if page.len >= PAGE_ITEMS as u32 {
                return;
            }
            put_file(page, skb, list);
            // What was read is of this list only if the list was still there, and the message
            // still in its place, when it had been read.
            if skb.list() != list || skb.prev().0 != page.prev {
                page.state = PAGE_CHANGED;
                return;
            }
            page.index += 1;
            continue;
        }
        let next = skb.next();
        if next == head {
            page.state = PAGE_END;
            return;
        }
        if next.0 == 0 || next.prev() != skb {
            page.state = PAGE_CHANGED;
            return;
        }
        page.bytes_before += page.bytes;
        page.bytes = next.unread();
        page.prev = skb.0;
        page.skb = next.0;
        page.message += 1;
        page.index = 0;
        page.count = 0;
        if page.socket.listens != 0 {
            // The connection's own socket has sent what waits here, and its list is its own.
            page.list = 0;
            page.count = 1;
            continue;
        }
        let list = next.list();
        page.list = list.0;
        if list.0 != 0 {
            page.count = u32::from(list.count());
            if page.count > LIST_MAX as u32 {
                page.state = PAGE_CHANGED;
                return;
            }
        }
    }
}

#[inline(always)]
fn put_file(page: &mut QueuePage, skb: Skb, list: List) {
    let at = page.len as usize;
    if at >= PAGE_ITEMS {
        return;
    }
    let Some(room) = FILE_ROOM.get_ptr_mut(0) else {
        return;
    };
    let index = page.index;
    // SAFETY: the page has that many items.
    let item = unsafe { &mut *(&raw mut page.items).cast::<Queued>().add(at) };
    item.list = list.0;
    item.skb = skb.0;
    item.message = page.message - 1;
    item.index = index;
    item.count = page.count;
    item.bytes_before = page.bytes_before;
    let sender = skb.sock();
    item.sender = sender.0;
    item.sender_ino = sender.ino();
    item.stamped_ns = skb.stamp();
    // SAFETY: it can be written.
    unsafe { skb.describe_sender(&raw mut item.creds) };
    // A null list has a null file, and that all zeros.
    let file = if list.0 == 0 {
        File(0)
    } else {
        list.file(index as usize % 256)
    };
    // SAFETY: it can be written, and one call at a time has the room.
    unsafe { file.describe(&raw mut item.file, true, &mut *room) };
    item.file.slot = 0;
    item.file.fd = -1;
    item.file.told = -1;
    item.file.cloexec = 0;
    item.inode = file.inode();
    item.links = file.links();
    let user = User::of_list(list);
    item.user = user.0;
    item.user_in_flight = user.in_flight();
    item.sock = if list.0 == 0 {
        sender.0
    } else {
        file.unix_sock().0
    };
    page.len += 1;
}

/// Reads the path of a file: its address and its inode's, and, so that it be known to be alive,
/// the skb, the list and the place in it; with no list, whoever calls must hold it.
///
/// Returns 0 if it could be read, 1 if the file was no longer there.
#[raw_tracepoint(tracepoint = "inflight_path")]
pub(crate) fn inflight_path(ctx: RawTracePointContext) -> i32 {
    let file: File = File(ctx.arg(0));
    let inode: u64 = ctx.arg(1);
    let skb: Skb = Skb(ctx.arg(2));
    let list: List = List(ctx.arg(3));
    let index: u64 = ctx.arg(4);
    let (Some(page), Some(room)) = (PATH_PAGE.get_ptr_mut(0), FILE_ROOM.get_ptr_mut(0)) else {
        return 1;
    };
    // SAFETY: as in `inflight_queue`; the names have PATH_ROOM and a name's room.
    unsafe {
        path::walk::<PATH_STEPS, PATH_ROOM>(
            file,
            &raw mut (*page).head,
            (&raw mut (*page).names).cast(),
            &mut *room,
        );
        (*page).socket.family = 0;
        if file.is_socket() {
            file.describe_socket(&raw mut (*page).socket);
        }
        if inode != 0 && (*page).head.inode != inode {
            return 1;
        }
    }
    if list.0 != 0 && (skb.list() != list || list.file(index as usize % 256) != file) {
        return 1;
    }
    0
}

/// Writes a [`HolderSeen`] for every descriptor that is a Unix socket.
///
/// # Safety
/// Called by the kernel with its own context.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub(crate) unsafe extern "C" fn inflight_holders(visit: *const Visit) -> i32 {
    // SAFETY: as above.
    unsafe {
        let (task, file) = ((*visit).task, (*visit).file);
        if task == 0 || file == 0 {
            return 0;
        }
        let sock = File(file).unix_sock();
        if sock.0 == 0 {
            return 0;
        }
        let row = HolderSeen {
            sock: sock.0,
            pid: kernel::task_pid(task),
            fd: (*visit).fd,
            queued: sock.queued(),
            reserved: 0,
            comm: kernel::task_comm(task),
        };
        bpf_seq_write(
            (*(*visit).meta).seq,
            (&raw const row).cast::<c_void>().cast_mut(),
            size_of::<HolderSeen>() as u32,
        );
    }
    0
}
