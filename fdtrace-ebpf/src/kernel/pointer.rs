//! How memory is read: by a helper that takes any address, or by loads that the verifier lets
//! through, because it knows the type behind a pointer or has been told that any will do.
//!
//! A helper call costs more than ten loads. What makes a pointer [`Typed`] is where it comes from:
//! an argument of a trampoline or a BTF tracepoint, the current task, or a pointer member of
//! something typed. The verifier follows that through registers and the stack, not through maps,
//! and holds every load to the kernel's own BTF: a constant offset, within one member. What it
//! cannot know (a kprobe's arguments, a pointer out of a char array) is an address and no more.
//!
//! Newer kernels let a program [cast] such an address too: to a type of its own choice (6.2), or to none
//! at all (6.17), and load from anywhere. A fault yields zero there as it does from the helper, so who
//! reads need not know which way it went.

use core::mem::{MaybeUninit, transmute};

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user},
};
use fdtrace_common::offsets::CAST_MARKER;

use crate::offsets::{RDONLY_CAST, TYPE__WORDS};

/// Where an object of the kernel's is.
pub(crate) trait Pointer: Copy + Eq {
    /// Its address.
    fn address(self) -> u64;

    /// Reads a member `offset` bytes in; all zero when the address is not mapped. All-zero bytes
    /// must be a value of `T`, as they are of every type used here.
    fn read<T: Copy>(self, offset: u64) -> T;

    /// Reads a pointer to another object.
    fn follow(self, offset: u64) -> Self;

    /// Reads a pointer that is kept in a char array, so that nobody knows what it points to.
    fn read_bytes(self, offset: u64) -> u64;

    #[inline(always)]
    fn is_null(self) -> bool {
        self.address() == 0
    }
}

/// An address that may be anything.
impl Pointer for u64 {
    #[inline(always)]
    fn address(self) -> u64 {
        self
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: u64) -> T {
        read_at(self + offset)
    }

    #[inline(always)]
    fn follow(self, offset: u64) -> Self {
        read_at(self + offset)
    }

    #[inline(always)]
    fn read_bytes(self, offset: u64) -> u64 {
        read_at(self + offset)
    }
}

/// A pointer whose type the verifier knows. It need not be valid: a load that faults yields zero.
/// Where the kernel says that it may be null, the verifier insists on a test first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Typed(pub(crate) u64);

impl Pointer for Typed {
    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: u64) -> T {
        // SAFETY: the verifier proves that such a member is there, or refuses the program, and the
        // kernel turns a fault into zero. Volatile, so that loads stay as they are written.
        unsafe { ((self.0 + offset) as *const T).read_volatile() }
    }

    #[inline(always)]
    fn follow(self, offset: u64) -> Self {
        Self(self.read(offset))
    }

    #[inline(always)]
    fn read_bytes(self, offset: u64) -> u64 {
        if can_cast() {
            return read_at(self.0 + offset);
        }
        let mut value = 0;
        for byte in 0..8 {
            value |= u64::from(self.read::<u8>(offset + byte)) << (8 * byte);
        }
        value
    }
}

/// Reads the member at `offset` of the object at `base`.
#[inline(always)]
pub(super) fn read<T: Copy>(base: impl Pointer, offset: &Global<u32>) -> T {
    base.read(u64::from(offset.load()))
}

/// Reads a pointer member.
#[inline(always)]
pub(super) fn follow<P: Pointer>(base: P, offset: &Global<u32>) -> P {
    base.follow(u64::from(offset.load()))
}

/// Reads the member at `offset` of the object at `base` into `to`.
///
/// # Safety
/// `to` can be written.
#[inline(always)]
pub(super) unsafe fn read_to<T: Copy>(to: *mut T, base: impl Pointer, offset: &Global<u32>) {
    // SAFETY: the caller's promise.
    unsafe { to.write(read(base, offset)) };
}

/// Whether the kernel can [cast]. A constant to the verifier, so it follows one way only.
#[inline(always)]
pub(super) fn can_cast() -> bool {
    RDONLY_CAST.load() != 0
}

/// The same address, but loads through it are let through, wherever it points, as if the kernel's
/// structure with the BTF id `to` were there; with id 0, as if anything were. That costs a move.
///
/// A program calls such a function by a number that only the running kernel knows. What is called
/// here is a helper that no kernel has, for the loader to put that number in its place; where there
/// is none the call stays, and the verifier never gets to it.
#[inline(always)]
pub(super) fn cast(address: u64, to: &Global<u32>) -> Typed {
    // SAFETY: a number of this form is what a helper is called by; this one takes anything.
    Typed(unsafe {
        let cast: unsafe extern "C" fn(u64, u64) -> u64 = transmute(CAST_MARKER as usize);
        cast(address, u64::from(to.load()))
    })
}

const WORD: usize = size_of::<u64>();

/// More words than that are read by one call of the helper.
const WORDS_MAX: usize = 4;

/// Reads a `T` for which all-zero bytes are a value at any address.
#[inline(always)]
pub(super) fn read_at<T: Copy>(address: u64) -> T {
    if can_cast() && matches!(size_of::<T>(), 1 | 2 | 4 | 8) {
        return cast(address, &TYPE__WORDS).read(0);
    }
    let mut value = MaybeUninit::<T>::uninit();
    if can_cast() && size_of::<T>() % WORD == 0 && size_of::<T>() <= WORDS_MAX * WORD {
        // SAFETY: the value is that long.
        unsafe { read_words(value.as_mut_ptr().cast(), size_of::<T>() / WORD, address) };
        // SAFETY: the whole value was written.
        return unsafe { value.assume_init() };
    }
    // SAFETY: the helper takes any address; it fills the whole value, with zeros if that is bad.
    // Not asking which it was keeps the verifier from following every read down two paths.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        value.assume_init()
    }
}

/// Reads so many words, each by a load. Only where the kernel can [cast].
///
/// # Safety
/// `to` has as many.
#[inline(always)]
pub(super) unsafe fn read_words(to: *mut u64, words: usize, address: u64) {
    for word in 0..words {
        // Each by itself: the type that is cast to need not have more.
        let bytes: u64 = cast(address + (word * WORD) as u64, &TYPE__WORDS).read(0);
        // SAFETY: the caller's promise. Volatile, so that it stays a store.
        unsafe { to.add(word).write_volatile(bytes) };
    }
}

/// Room for the first bytes of an object, in a map: it is more than a stack has to spare. Only for
/// kernels that cannot [cast].
#[repr(C)]
pub(crate) struct Room([u64; Self::WORDS]);

impl Room {
    const WORDS: usize = 24;

    /// Reads the first `WORDS` words of an object by one call, instead of one for each member. The
    /// object must have as many: if one byte is not mapped, all are zero. Where the kernel can [cast],
    /// that is to the structure with the BTF id `to`, and nothing is read yet.
    #[inline(always)]
    pub(super) fn fetch<const WORDS: usize>(
        &mut self,
        address: u64,
        to: &Global<u32>,
    ) -> Fetched<'_, WORDS> {
        const { assert!(WORDS <= Self::WORDS) };
        let mut object = Typed(address);
        if can_cast() {
            object = cast(address, to);
        } else {
            // SAFETY: there is room for the length.
            unsafe {
                bpf_probe_read_kernel(
                    self.0.as_mut_ptr().cast(),
                    size_of::<[u64; WORDS]>() as u32,
                    address as *const _,
                );
            }
        }
        Fetched {
            object,
            words: &self.0,
        }
    }
}

/// What was fetched last.
pub(super) struct Fetched<'a, const WORDS: usize> {
    object: Typed,
    words: &'a [u64; Room::WORDS],
}

impl<const WORDS: usize> Fetched<'_, WORDS> {
    /// A member of the object, read by itself if it lies farther behind, or if that costs nothing.
    #[inline(always)]
    pub(super) fn member<T: Copy>(&self, offset: &Global<u32>) -> T {
        let offset = u64::from(offset.load());
        // Constants to the verifier, which follows one way only.
        if can_cast() {
            return self.object.read(offset);
        }
        if offset + size_of::<T>() as u64 <= size_of::<[u64; WORDS]>() as u64 {
            let member = self
                .words
                .as_ptr()
                .cast::<u8>()
                .wrapping_add(offset as usize);
            // SAFETY: within what was fetched; members are aligned, as the words are.
            unsafe { member.cast::<T>().read_volatile() }
        } else {
            read_at(self.object.0 + offset)
        }
    }
}

/// Reads a `T` of the current task's user memory; `None` if that cannot be read, which does not mean
/// that nothing is there: the page may be swapped out.
#[inline(always)]
pub(crate) fn read_user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper takes any address; it fills the whole value, with zeros if that is bad.
    unsafe {
        let result = bpf_probe_read_user(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        let value = value.assume_init();
        (result == 0).then_some(value)
    }
}

/// Reads a `T` of the kernel's memory that is laid out like user memory, such as its copy of a
/// control message.
#[inline(always)]
pub(crate) fn read_copied<T: Copy>(address: u64) -> T {
    read_at(address)
}

/// Copies `len` bytes of the kernel's memory, which must fit at `to`.
///
/// # Safety
/// `to` has `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_from_kernel(to: *mut u8, len: u32, address: u64) {
    // SAFETY: the caller's promise.
    unsafe { bpf_probe_read_kernel(to.cast(), len, address as *const _) };
}

/// Copies `len` bytes of the current task's user memory, which must fit at `to`; says whether they
/// could be read.
///
/// # Safety
/// `to` has `len` bytes.
#[inline(always)]
pub(crate) unsafe fn copy_from_user(to: *mut u8, len: u32, address: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { bpf_probe_read_user(to.cast(), len, address as *const _) == 0 }
}

/// Copies a value between two of the programs' own maps in one helper call, where the compiler
/// would emit a byte-wise loop for the verifier to walk each time.
///
/// # Safety
/// `to` can be written.
#[inline(always)]
pub(crate) unsafe fn copy<T: Copy>(to: *mut T, from: &T) {
    // SAFETY: the caller's promise; `from` is readable, so the copy cannot fail.
    unsafe {
        bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, (from as *const T).cast());
    }
}
