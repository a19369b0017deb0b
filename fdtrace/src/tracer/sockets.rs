//! Sockets: finds every Unix socket that has anything in its receive queue, whoever holds it.
//!
//! The kernel keeps all Unix sockets in tables, for the sake of their names: one for each network
//! namespace, before 6.0 one for all. Programs go through them by address. `iter/unix` would show
//! the table of one namespace only, to somebody who may enter it, and not before 5.15; and a
//! namespace may have no process to enter it by.

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use fdtrace_common::queues::{
    NamespacesPage, PAGE_CHANGED, PAGE_END, PAGE_GONE, PAGE_MORE, SocketsPage,
};

use super::{
    ProbeError,
    loaded::{load_by_hand, run_by_hand, take_map},
    queues::{Raw, TRIES, entry},
};
use crate::{kernel::Symbols, model::Gaps, plan::Offsets};

const NAMESPACES: &str = "inflight_namespaces";
const SOCKETS: &str = "inflight_sockets";
const NAMESPACES_PAGE: &str = "NAMESPACES_PAGE";
const SOCKETS_PAGE: &str = "SOCKETS_PAGE";

/// Pages of one table, or of the list of namespaces: some millions of sockets.
const PAGES_MAX: usize = 1 << 14;

/// Where the kernel at hand keeps its Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketTables {
    /// In a table of each network namespace.
    ByNamespace,
    /// In the one table at this address.
    Global(u64),
    /// Nothing tells where: its types do not, and it shows no addresses to this process.
    Hidden,
}

impl SocketTables {
    /// Looks for them.
    #[must_use]
    pub fn of(offsets: &Offsets, symbols: &Symbols) -> Self {
        if offsets.show_socket_tables() {
            return Self::ByNamespace;
        }
        symbols.unix_sockets().map_or(Self::Hidden, Self::Global)
    }
}

/// A walk over the tables, with the programs of some loaded object.
pub(super) struct SocketWalk {
    namespaces_page: Array<MapData, Raw<NamespacesPage>>,
    sockets_page: Array<MapData, Raw<SocketsPage>>,
    tables: SocketTables,
}

impl SocketWalk {
    pub(super) fn load(ebpf: &mut Ebpf, tables: SocketTables) -> Result<Self, ProbeError> {
        match tables {
            SocketTables::ByNamespace => {
                load_by_hand(ebpf, NAMESPACES)?;
                load_by_hand(ebpf, SOCKETS)?;
            }
            SocketTables::Global(_) => load_by_hand(ebpf, SOCKETS)?,
            SocketTables::Hidden => {}
        }
        Ok(Self {
            namespaces_page: take_map(ebpf, NAMESPACES_PAGE)?,
            sockets_page: take_map(ebpf, SOCKETS_PAGE)?,
            tables,
        })
    }

    /// Addresses of the sockets, some perhaps more than once.
    pub(super) fn sockets(&self, ebpf: &Ebpf, gaps: &mut Gaps) -> Result<Vec<u64>, ProbeError> {
        let mut sockets = Vec::new();
        match self.tables {
            SocketTables::Hidden => gaps.unlisted = true,
            SocketTables::Global(table) => {
                gaps.namespaces += u64::from(!self.read_table(ebpf, 0, table, &mut sockets)?);
            }
            SocketTables::ByNamespace => {
                let Some(namespaces) = self.namespaces(ebpf)? else {
                    gaps.unlisted = true;
                    return Ok(sockets);
                };
                for namespace in namespaces {
                    let whole = self.read_table(ebpf, namespace, 0, &mut sockets)?;
                    gaps.namespaces += u64::from(!whole);
                }
            }
        }
        Ok(sockets)
    }

    /// The addresses of all network namespaces; `None` if the list changed each time it was read.
    fn namespaces(&self, ebpf: &Ebpf) -> Result<Option<Vec<u64>>, ProbeError> {
        'tries: for _ in 0..TRIES {
            let mut found = Vec::new();
            for number in 0..PAGES_MAX {
                run_by_hand(ebpf, NAMESPACES, &[u64::from(number > 0)])?;
                let Raw(page) = entry(&self.namespaces_page, NAMESPACES_PAGE)?;
                if page.state == PAGE_CHANGED {
                    continue 'tries;
                }
                found.extend(page.items.iter().take(page.len as usize));
                if page.state == PAGE_END {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Adds what is in the table of a namespace, or at an address; returns whether that is all.
    fn read_table(
        &self,
        ebpf: &Ebpf,
        namespace: u64,
        table: u64,
        sockets: &mut Vec<u64>,
    ) -> Result<bool, ProbeError> {
        let mut left = TRIES;
        let mut resume = 0;
        for _ in 0..PAGES_MAX {
            run_by_hand(ebpf, SOCKETS, &[namespace, table, resume])?;
            let Raw(page) = entry(&self.sockets_page, SOCKETS_PAGE)?;
            sockets.extend(page.items.iter().take(page.len as usize));
            match page.state {
                PAGE_MORE => resume = 1,
                PAGE_END => return Ok(page.missed == 0),
                PAGE_GONE => return Ok(true),
                // A neighbour in the list of namespaces came or went. If that does not end, it is
                // this one that has gone.
                _ if left > 0 => left -= 1,
                _ => return Ok(true),
            }
        }
        Ok(false)
    }
}
