//! Still open: what became of numbers after the hand-over, by looks through the tables of processes.
//!
//! A [`Book`] has every descriptor that was delivered, at both ends, until it is known to be closed. A look
//! ([`TableLook`]) says what stands behind numbers at one time, and [`answer`] whether that is the open file
//! which was passed. The kernel gives an address to the next file as soon as one is closed, and often the
//! number too, so address and number alone say nothing. What is said:
//!
//! - *open* where the inode is of one open file alone. A socket's is. A memfd's and a pipe's are, of the
//!   files that the kernel made with them: any other was opened by a path below `/proc`, and is told by that.
//! - *moved* where that file has a number that was not passed itself.
//! - *closed* where the number stands for nothing, *replaced* where it stands for another file, if no other
//!   number may stand for the file that was not passed itself. That the number was given away again is no
//!   proof: threads may have tables of their own, and processes the same number, one after the other.
//! - *unknown* of any other match.

mod answer;
mod book;
mod holders;
mod names;
mod party;

pub use book::Book;
