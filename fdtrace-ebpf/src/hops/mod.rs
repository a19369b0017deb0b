//! One module per hop. A program's name is `<hop>_<target>`, unique in its first 15 bytes, which
//! is all that the kernel keeps.

mod dequeue;
mod end;
mod install;
mod queue;
