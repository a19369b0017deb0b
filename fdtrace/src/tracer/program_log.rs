//! What the programs log, on stderr. Only with the feature `log`, and only if the object was built
//! with `cargo xtask ebpf --log`.

use std::io::Write as _;

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// The programs' log, to be flushed now and then. The programs need its map for as long as they
/// run, so it lives as long as the tracer.
pub(super) struct ProgramLog(EbpfLogger<Stderr>);

impl ProgramLog {
    /// `None` for an object without log statements.
    pub(super) fn open(ebpf: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init_with_logger(ebpf, Stderr).ok().map(Self)
    }

    /// Prints what has come since the last time.
    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Nobody to tell that stderr is closed.
        let _ = writeln!(
            std::io::stderr(),
            "fdtrace: in the kernel: {}",
            record.args()
        );
    }

    fn flush(&self) {}
}
