//! Calls as a 32-bit process makes them, through `int $0x80`. fdtrace's own actors know `sendmsg` and
//! `recvmsg` alone; here are the other ways, which differ in where the message is.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{RECEIVES, SENDS, receive, send, try_call};

#[cfg(not(target_arch = "x86_64"))]
pub(super) use other::{RECEIVES, SENDS, receive, send, try_call};

#[cfg(not(target_arch = "x86_64"))]
mod other {
    pub(in super::super) const SENDS: [(); 0] = [];
    pub(in super::super) const RECEIVES: [(); 0] = [];

    pub(in super::super) fn try_call() -> Result<(), String> {
        Err("on this architecture only a 32-bit program can make a 32-bit call".to_owned())
    }

    pub(in super::super) fn send(_: (), _: i32, _: i32) {}

    pub(in super::super) fn receive(_: (), _: i32) -> i32 {
        -1
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    use super::super::{fault::Pages, stage};

    /// A call, and by which number of `socketcall` if by that.
    #[derive(Clone, Copy)]
    pub(in super::super) enum Way {
        Call(u32),
        Batch(u32),
        Socketcall(u32),
    }

    pub(in super::super) const SENDS: [Way; 4] = [
        Way::Call(370),
        Way::Batch(345),
        Way::Socketcall(16),
        Way::Socketcall(20),
    ];
    pub(in super::super) const RECEIVES: [Way; 3] =
        [Way::Call(372), Way::Batch(337), Way::Socketcall(17)];

    const GETPID: u32 = 20;
    const SOCKETCALL: u32 = 102;
    const SENDMMSG_OF_SOCKETCALL: u32 = 20;

    // Where things are in the page, in words.
    const HEADER: usize = 0;
    const IOV: usize = 16;
    const DATA: usize = 20;
    const CONTROL: usize = 64;
    const ARGUMENTS: usize = 128;

    /// A page that a 32-bit pointer reaches.
    struct Page(*mut u32);

    impl Page {
        /// With a message of one byte and a control buffer of this many bytes.
        fn new(control_len: u32) -> Self {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
            let page = Self(Pages::mapped(1, flags, -1).at(0).cast());
            // name, its length, iov, how many, control, its length, flags, and the length of what was
            // sent or received, for a batch.
            let header = [0, 0, page.at(IOV), 1, page.at(CONTROL), control_len, 0, 0];
            page.set(HEADER, &header);
            page.set(IOV, &[page.at(DATA), 1]);
            page
        }

        fn at(&self, word: usize) -> u32 {
            self.0.wrapping_add(word) as u32
        }

        fn set(&self, word: usize, values: &[u32]) {
            for (at, value) in values.iter().enumerate() {
                // SAFETY: the page is the play's own, and large enough.
                unsafe { self.0.add(word + at).write_volatile(*value) };
            }
        }

        fn get(&self, word: usize) -> u32 {
            // SAFETY: the page is the play's own, and large enough.
            unsafe { self.0.add(word).read_volatile() }
        }

        fn call(&self, way: Way, socket: i32) {
            let socket = socket.cast_unsigned();
            let result = match way {
                Way::Call(number) => int80(number, socket, self.at(HEADER), 0, 0),
                Way::Batch(number) => int80(number, socket, self.at(HEADER), 1, 0),
                Way::Socketcall(call) => {
                    let third = u32::from(call == SENDMMSG_OF_SOCKETCALL);
                    self.set(ARGUMENTS, &[socket, self.at(HEADER), third, 0]);
                    int80(SOCKETCALL, call, self.at(ARGUMENTS), 0, 0)
                }
            };
            assert!(result > 0, "errno {}", -result);
        }
    }

    /// Sends one descriptor.
    pub(in super::super) fn send(way: Way, socket: i32, fd: i32) {
        let page = Page::new(16);
        let rights = [16, libc::SOL_SOCKET, libc::SCM_RIGHTS, fd];
        page.set(CONTROL, &rights.map(i32::cast_unsigned));
        page.call(way, socket);
    }

    /// Receives one.
    pub(in super::super) fn receive(way: Way, socket: i32) -> i32 {
        let page = Page::new(16);
        page.call(way, socket);
        assert_eq!(page.get(CONTROL), 16);
        page.get(CONTROL + 3).cast_signed()
    }

    pub(in super::super) fn try_call() -> Result<(), String> {
        // A kernel that takes none answers with a signal, which a child gets.
        let child = stage::child(|| assert!(int80(GETPID, 0, 0, 0, 0) > 0));
        match nix::sys::wait::waitpid(child, None) {
            Ok(nix::sys::wait::WaitStatus::Exited(_, 0)) => Ok(()),
            _ => Err("this kernel takes no 32-bit calls".to_owned()),
        }
    }

    fn int80(number: u32, first: u32, second: u32, third: u32, fourth: u32) -> i32 {
        let result: u64;
        // SAFETY: what the arguments point to is laid out by the callers. rbx is not to be named as an
        // operand, so it is swapped in.
        unsafe {
            asm!(
                "xchg rbx, {first}",
                "int 0x80",
                "xchg rbx, {first}",
                first = inout(reg) u64::from(first) => _,
                inout("rax") u64::from(number) => result,
                in("rcx") u64::from(second),
                in("rdx") u64::from(third),
                in("rsi") u64::from(fourth),
                in("rdi") 0_u64,
                // Cleared by some kernels on the way back.
                lateout("r8") _,
                lateout("r9") _,
                lateout("r10") _,
                lateout("r11") _,
            );
        }
        result as i32
    }
}
