//! The arguments of `fdtrace inflight`.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use clap::Args as ClapArgs;

use super::{
    Format, Order, TotalBy,
    values::{duration, one_of},
};
use crate::{inflight::SocketFilter, model::FileKind};

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Exits with 0 if a file matches, 1 if none does, 2 if it cannot tell.")]
pub(in crate::cli) struct InFlight {
    /// Only what this process sent or can receive; may be repeated.
    #[arg(short, long, value_name = "PID", value_delimiter = ',')]
    pub(in crate::cli) pid: Vec<u32>,
    /// Only this file, or what was opened in this folder or through this mount.
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) path: Option<PathBuf>,
    /// Only files of this kind; may be repeated.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = one_of::<FileKind>(FileKind::ALL.map(FileKind::name)))]
    pub(in crate::cli) kind: Vec<FileKind>,
    /// Only what is in the queue of this socket: its path, `@` and its abstract name, or its
    /// inode number.
    #[arg(long, value_name = "NAME|INODE", value_parser = socket)]
    pub(in crate::cli) socket: Option<SocketFilter>,
    /// Only files without a name any more.
    #[arg(long)]
    pub(in crate::cli) deleted: bool,
    /// The order of sockets.
    #[arg(long, value_enum, default_value_t = Order::Count)]
    pub(in crate::cli) sort: Order,
    /// Count files in a table, not one by one.
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "format")]
    pub(in crate::cli) group_by: Option<TotalBy>,
    /// List each file, below the table of --group-by too.
    #[arg(long, requires = "group_by")]
    pub(in crate::cli) each: bool,
    /// Look again this often, until interrupted: `2s`, `500ms`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(in crate::cli) watch: Option<Duration>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub(in crate::cli) format: Format,
}

impl InFlight {
    /// Whether everything is asked for.
    pub(in crate::cli) fn is_unfiltered(&self) -> bool {
        self.pid.is_empty()
            && self.path.is_none()
            && self.kind.is_empty()
            && self.socket.is_none()
            && !self.deleted
    }
}

fn socket(text: &str) -> Result<SocketFilter, Infallible> {
    Ok(match text.parse() {
        Ok(ino) => SocketFilter::Ino(ino),
        Err(_) => SocketFilter::Name(text.to_owned()),
    })
}
