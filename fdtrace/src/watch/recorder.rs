//! Recorder: writes what comes out of the ring buffer into a recording, with the names that a reader
//! elsewhere cannot look up.

use std::{collections::HashSet, fs::File, io};

use crate::{
    model::{Losses, QueueFact, TableLook},
    recording::{End, Writer},
    wire::{AsideKind, EventKind, Record, Symbolizer},
};

/// Code addresses that are remembered as named: those of a few functions come again and again.
const NAMED_MAX: usize = 4096;

/// A recording that is being written.
pub(super) struct Recorder {
    writer: Writer<File>,
    symbolize: Symbolizer,
    /// Code addresses that the recording has names for.
    named: HashSet<u64>,
}

impl Recorder {
    pub(super) fn new(writer: Writer<File>, symbolize: Symbolizer) -> Self {
        Self {
            writer,
            symbolize,
            named: HashSet::new(),
        }
    }

    /// Writes the names of the code addresses in a record, which is about to be written.
    pub(super) fn name(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Aside(_, AsideKind::Backtrace(addresses)) => addresses
                .iter()
                .try_for_each(|address| self.name_address(*address)),
            Record::Event(event) => match event.kind {
                EventKind::ListDestroyed {
                    freed_by: Some(address),
                    ..
                } => self.name_address(address),
                _ => Ok(()),
            },
            Record::Aside(..) => Ok(()),
        }
    }

    pub(super) fn record(&mut self, record: &[u8]) -> io::Result<()> {
        self.writer.event(record)
    }

    pub(super) fn found(&mut self, fact: &QueueFact) -> io::Result<()> {
        self.writer.found(fact)
    }

    pub(super) fn tables(&mut self, look: &TableLook) -> io::Result<()> {
        self.writer.tables(look)
    }

    pub(super) fn losses(&mut self, losses: &Losses) -> io::Result<()> {
        self.writer.losses(losses)
    }

    pub(super) fn pause(&mut self, t_ns: u64) -> io::Result<()> {
        self.writer.pause(t_ns)
    }

    /// Ends the recording properly, and sees to it that it is on the disk.
    pub(super) fn end(self, end: &End) -> io::Result<()> {
        let file = self.writer.end(end)?;
        // A pipe cannot be synchronised, and need not.
        match file.metadata().is_ok_and(|it| it.is_file()) {
            true => file.sync_all(),
            false => Ok(()),
        }
    }

    fn name_address(&mut self, address: u64) -> io::Result<()> {
        if address == 0 || self.named.contains(&address) {
            return Ok(());
        }
        if self.named.len() >= NAMED_MAX {
            self.named.clear();
        }
        self.named.insert(address);
        match (self.symbolize)(address) {
            Some(name) => self.writer.symbol(address, &name),
            None => Ok(()),
        }
    }
}
