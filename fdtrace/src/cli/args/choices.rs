//! Choices that other layers make types of, as they are typed.

use clap::ValueEnum;

use crate::{inflight, model, plan};

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
