//! Which transfers to show, and how.

use std::time::Duration;

use clap::{Args as ClapArgs, builder::ValueParser};

use super::{
    GroupBy, Sort,
    values::{Moment, cause, duration, one_of},
};
use crate::{
    model::{Cause, Fate, FileKind},
    recording::Header,
    report::{Grouping, LineStyle},
    watch::{Limits, Selection},
};

/// How to show transfers, and which; a recording has them all.
#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Show {
    /// Print a line for each descriptor, not one for each message.
    #[arg(long)]
    pub(in crate::cli) each: bool,
    /// Print every hop of every transfer.
    #[arg(long)]
    pub(in crate::cli) hops: bool,
    /// Print a table at the end, not a line for each message; those too with --each.
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "format")]
    pub(in crate::cli) group_by: Option<GroupBy>,
    /// The order of the table's rows.
    #[arg(long, value_enum, value_name = "ORDER", default_value_t = Sort::Count, requires = "group_by")]
    pub(in crate::cli) sort: Sort,
    /// Show transfers that ended so: `truncated,discarded`.
    #[arg(long, value_name = "FATE", value_delimiter = ',', value_parser = one_of::<Fate>(Fate::ALL.map(Fate::name)))]
    fate: Vec<Fate>,
    /// Show lost descriptors alone: truncated, refused, discarded, collected and failed ones.
    #[arg(long)]
    lost: bool,
    /// Show transfers that ended for this reason: `no-control-room,ebadf`.
    #[arg(long, value_name = "CAUSE", value_delimiter = ',', value_parser = ValueParser::new(cause))]
    cause: Vec<Cause>,
    /// Show transfers of this kind of file: `socket,regular`.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = one_of::<FileKind>(FileKind::ALL.map(FileKind::name)))]
    kind: Vec<FileKind>,
    /// Show transfers of this file, of what is below this folder, or of what is like this pattern:
    /// `/var/log`, `*.sock`.
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Show what goes through this Unix socket: its path, `@` and its abstract name, or its inode
    /// number.
    #[arg(long, value_name = "NAME|INODE", value_delimiter = ',')]
    socket: Vec<String>,
    /// Show what this user sends or receives.
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    uid: Vec<u32>,
    /// Show what was last seen at this time or later: `14:03:22`, or `+10s` from the beginning.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Show what was last seen before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Stop after N transfers.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true, value_parser = clap::value_parser!(u64).range(1..))]
    limit_events: u64,
    /// Show what is still queued after this time, before it ends: `500ms`, `2m`.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    stuck_after: Duration,
}

/// Who takes part in a transfer, at either end; a recording knows processes by number alone.
#[derive(Debug, ClapArgs)]
pub(in crate::cli) struct Ends {
    /// Show what these processes send or receive: `812,907`.
    #[arg(short, long, value_name = "PID", value_delimiter = ',')]
    pub(in crate::cli) pid: Vec<u32>,
    /// Show what tasks of these names send or receive: `nginx,haproxy`.
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    pub(in crate::cli) comm: Vec<String>,
}

impl Show {
    pub(in crate::cli) fn limits(&self) -> Limits {
        Limits {
            transfers: self.limit_events,
            overdue_ns: u64::try_from(self.stuck_after.as_nanos()).ok(),
        }
    }

    /// Which of the transfers that there are to show, of a trace that began so.
    pub(in crate::cli) fn selection(&self, header: &Header) -> Selection {
        let local_ns = i128::from(header.wall_ns) + i128::from(header.utc_offset_s) * 1_000_000_000;
        let at = |moment: Moment| moment.monotonic_ns(header.t_ns, local_ns);
        let lost = Fate::ALL
            .into_iter()
            .filter(|fate| self.lost && fate.has_cause());
        Selection {
            fates: self.fate.iter().copied().chain(lost).collect(),
            causes: self.cause.clone(),
            kinds: self.kind.clone(),
            paths: self.path.clone(),
            sockets: self.socket.clone(),
            uids: self.uid.clone(),
            since_ns: self.since.map(at),
            until_ns: self.until.map(at),
            ..Selection::default()
        }
    }

    /// How to write lines of so many columns.
    pub(in crate::cli) fn style(&self, width: Option<usize>, plain: bool) -> LineStyle {
        LineStyle {
            hops: self.hops,
            each: self.each,
            group: self.group_by.map(|by| Grouping {
                by: by.into(),
                sort: self.sort.into(),
            }),
            parted: !(self.kind.is_empty() && self.path.is_empty()),
            width,
            plain,
            buffer_kib: None,
        }
    }
}
