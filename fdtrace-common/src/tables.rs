//! What stands behind the numbers of processes, byte for byte: told by an iterator that walks through
//! all tables, and by a program that runs as a process ends.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Words of [`TableFilter::files`].
pub const FILE_WORDS: usize = 1 << 14;

/// Words of [`TableFilter::pids`].
pub const PID_WORDS: usize = 1 << 10;

/// Numbers in one word of a table's bitmap, and in one [`EndingPart`].
pub const NUMBERS_PER_WORD: usize = 64;

/// Words of an ending process's table that are looked at.
pub const ENDING_WORDS: u32 = 256;

/// What the iterator is to tell: a bit for each file and for each process that is asked about. What
/// shares a bit with them is told too, and is left to userspace.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TableFilter {
    /// By [`file_bit`]: told whoever has them.
    pub files: [u64; FILE_WORDS],
    /// By [`pid_bit`]: all that they have is told.
    pub pids: [u64; PID_WORDS],
}

/// The bit of a file's address: its word, and its place there.
#[must_use]
#[inline(always)]
pub fn file_bit(file: u64) -> (usize, u32) {
    bit(file, FILE_WORDS)
}

/// The bit of a process.
#[must_use]
#[inline(always)]
pub fn pid_bit(pid: u32) -> (usize, u32) {
    bit(pid as u64, PID_WORDS)
}

#[inline(always)]
fn bit(key: u64, words: usize) -> (usize, u32) {
    /// The golden ratio's bits, by which neighbours are spread.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let hash = key.wrapping_mul(SPREAD) >> 32;
    ((hash >> 6) as usize & (words - 1), hash as u32 & 63)
}

/// A number, and the open file that it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct OpenNumber {
    /// Address of the file.
    pub file: u64,
    /// Its inode number.
    pub ino: u64,
    /// Device of its file system, as the kernel encodes it.
    pub dev: u32,
    /// The number.
    pub fd: u32,
    /// 1 if the kernel made the file and its inode at once, as for a pipe; 0 if it was opened by a
    /// path, which can be done again, or where that is not known.
    pub made: u32,
    /// Its `f_flags`.
    pub flags: u32,
}

/// Whose table it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct TableOwner {
    /// When the process began: CLOCK_MONOTONIC in nanoseconds.
    pub start_ns: u64,
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// The process's name, NUL-padded.
    pub comm: [u8; 16],
}

/// One row of `iter/task_file`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct TableRow {
    /// Whose.
    pub owner: TableOwner,
    /// What.
    pub number: OpenNumber,
}

/// A process whose end is to be told.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct EndWanted {
    /// Address of the table that its first thread had as that ended; 0 before that.
    pub table: u64,
    /// Not zero if a thread has ended that had another one than that, or may have had.
    pub apart: u64,
}

/// What an ending process had open in one word of its table. After those that have any comes one
/// without, the last.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
#[repr(C)]
pub struct EndingPart {
    /// Whose.
    pub owner: TableOwner,
    /// CLOCK_MONOTONIC in nanoseconds, the same in all parts of one table.
    pub t_ns: u64,
    /// Numbers that follow; 0 in the last part.
    pub len: u32,
    /// Numbers in this part and in those before it.
    pub all: u32,
    /// Words that the table has.
    pub words: u32,
    /// 1 if another thread had a table of its own, or may have had.
    pub apart: u32,
    /// What stands behind them.
    pub numbers: [OpenNumber; NUMBERS_PER_WORD],
}

/// Bytes of an [`EndingPart`] before its numbers.
pub const ENDING_HEAD: usize = core::mem::offset_of!(EndingPart, numbers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_lies_in_the_filter_and_neighbours_have_others() {
        let mut bits: [(usize, u32); 64] = [(0, 0); 64];
        for (place, bit) in bits.iter_mut().enumerate() {
            *bit = file_bit(0xffff_8881_0000_0000 + place as u64 * 256);
            assert!(bit.0 < FILE_WORDS && bit.1 < 64);
            assert!(pid_bit(place as u32).0 < PID_WORDS);
        }
        bits.sort_unstable();
        let shared = bits.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(shared, 0);
    }
}
