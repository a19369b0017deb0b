//! Network namespaces other than this process's own. `iter/unix` shows the sockets of the
//! namespace of whoever opens it, so it is opened by a thread that has gone there.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    thread,
};

use nix::sched::{CloneFlags, setns};

/// One of each network namespace that a process is in, but for this one's.
///
/// A namespace that no process is in is not found: one that is only mounted somewhere, or held
/// by a descriptor.
pub(super) fn others() -> io::Result<Vec<File>> {
    let own = fs::metadata("/proc/self/ns/net")?;
    let mut seen = BTreeSet::from([own.ino()]);
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let path = process?.path().join("ns/net");
        // No process, or one that has ended meanwhile.
        let Ok(namespace) = File::open(path) else {
            continue;
        };
        if seen.insert(namespace.metadata()?.ino()) {
            found.push(namespace);
        }
    }
    Ok(found)
}

/// Does `work` in that namespace. The calling thread stays where it is.
pub(super) fn inside<T: Send>(
    namespace: &File,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        there
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
