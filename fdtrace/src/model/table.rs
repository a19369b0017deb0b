//! Table: which file is behind each descriptor of a process, at one moment.

use std::collections::HashMap;

/// Files by process and descriptor.
pub type Snapshot = HashMap<(u32, i32), OpenFile>;

/// What the iterator says of the file behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Its address.
    pub ptr: u64,
    /// Its reference count, with what the iterator itself holds while it looks.
    pub refs: i64,
}
