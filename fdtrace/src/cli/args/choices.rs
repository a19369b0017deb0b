//! Choices that other layers make types of, as they are typed.

use clap::ValueEnum;

use crate::{inflight, model, plan, report};

/// By which mechanism to watch.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Attach {
    /// The best that this kernel allows, hop by hop.
    Auto,
    /// fentry and fexit alone.
    Trampoline,
    /// kprobes and kretprobes alone.
    Kprobe,
    /// Raw tracepoints alone.
    Tracepoint,
}

impl From<Attach> for plan::Attach {
    fn from(attach: Attach) -> Self {
        match attach {
            Attach::Auto => Self::Auto,
            Attach::Trampoline => Self::Trampoline,
            Attach::Kprobe => Self::Kprobe,
            Attach::Tracepoint => Self::Tracepoint,
        }
    }
}

/// How to show kernel addresses.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum PointerStyle {
    /// As they are, unless `kernel.kptr_restrict` is 2.
    Auto,
    /// As they are.
    Raw,
    /// As `file#1`, `file#2`, …: alike where they are alike.
    Alias,
}

impl From<PointerStyle> for model::PointerStyle {
    fn from(style: PointerStyle) -> Self {
        match style {
            PointerStyle::Auto => Self::Auto,
            PointerStyle::Raw => Self::Raw,
            PointerStyle::Alias => Self::Alias,
        }
    }
}

/// The order of sockets.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Order {
    /// Those with most files first.
    Count,
    /// Those with the oldest message first, as far as that is known.
    Age,
    /// By inode number.
    Socket,
}

impl From<Order> for inflight::Order {
    fn from(order: Order) -> Self {
        match order {
            Order::Count => Self::Count,
            Order::Age => Self::Age,
            Order::Socket => Self::Socket,
        }
    }
}

/// What of transfers, or of files in flight, makes one row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum GroupBy {
    /// The programs at both ends.
    Pair,
    /// The sending program.
    Program,
    /// The socket they go through.
    Socket,
    /// The file.
    File,
    /// How they ended, and why.
    Cause,
}

impl From<GroupBy> for report::GroupBy {
    fn from(by: GroupBy) -> Self {
        match by {
            GroupBy::Pair => Self::Pair,
            GroupBy::Program => Self::Program,
            GroupBy::Socket => Self::Socket,
            GroupBy::File => Self::File,
            GroupBy::Cause => Self::Cause,
        }
    }
}

/// What of files in flight makes one row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum TotalBy {
    /// The programs at both ends.
    Pair,
    /// The sending program.
    Program,
    /// The socket in whose queue they are.
    Socket,
    /// The file.
    File,
    /// How they ended, and why.
    Cause,
    /// The processes that hold the socket.
    Holder,
    /// The process that sent them.
    Sender,
    /// The user that sent them.
    User,
}

impl From<TotalBy> for report::TotalBy {
    fn from(by: TotalBy) -> Self {
        Self::Transfers(match by {
            TotalBy::Pair => report::GroupBy::Pair,
            TotalBy::Program => report::GroupBy::Program,
            TotalBy::Socket => report::GroupBy::Socket,
            TotalBy::File => report::GroupBy::File,
            TotalBy::Cause => report::GroupBy::Cause,
            TotalBy::Holder => return Self::Holder,
            TotalBy::Sender => return Self::Sender,
            TotalBy::User => return Self::User,
        })
    }
}

/// The order of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Sort {
    /// Most first.
    Count,
    /// Most losses first.
    Lost,
    /// Longest in a queue first.
    Time,
    /// By name.
    Name,
}

impl From<Sort> for report::Sort {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Count => Self::Count,
            Sort::Lost => Self::Lost,
            Sort::Time => Self::Time,
            Sort::Name => Self::Name,
        }
    }
}
