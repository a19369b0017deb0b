//! Follows open files through Unix sockets, hop by hop. Each module is one phase of the data's way.

pub mod kernel;
