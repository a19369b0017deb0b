//! Writes a recording, chunk by chunk.

use std::io::{self, BufWriter, Write};

use super::{Chunk, End, Header, MAGIC, checksum, tables};
use crate::model::{Losses, QueueFact, TableLook};

/// Writes chunks to `W`. What was written before the last [`Writer::pause`] is readable however
/// the process ends.
pub struct Writer<W: Write> {
    out: BufWriter<W>,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self {
            out: BufWriter::with_capacity(1 << 16, out),
        };
        writer.out.write_all(MAGIC)?;
        writer.json(Chunk::Header, header)?;
        writer.out.flush()?;
        Ok(writer)
    }

    /// A record as it came out of the ring buffer.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn event(&mut self, record: &[u8]) -> io::Result<()> {
        self.chunk(Chunk::Event, &[record])
    }

    /// What a look through the queues found.
    ///
    /// # Errors
    /// What writing says.
    pub fn found(&mut self, fact: &QueueFact) -> io::Result<()> {
        self.json(Chunk::Found, fact)
    }

    /// What a look through the tables of processes found.
    ///
    /// # Errors
    /// What writing says.
    pub fn tables(&mut self, look: &TableLook) -> io::Result<()> {
        tables::parts(look)
            .iter()
            .try_for_each(|part| self.json(Chunk::Tables, part))
    }

    /// The name of a code address.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn symbol(&mut self, address: u64, name: &str) -> io::Result<()> {
        self.chunk(Chunk::Symbol, &[&address.to_le_bytes(), name.as_bytes()])
    }

    /// Every record up to `t_ns` has been written.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn pause(&mut self, t_ns: u64) -> io::Result<()> {
        self.chunk(Chunk::Pause, &[&t_ns.to_le_bytes()])?;
        self.out.flush()
    }

    /// Something was lost.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn losses(&mut self, losses: &Losses) -> io::Result<()> {
        self.json(Chunk::Losses, losses)
    }

    /// Ends the recording; gives back what it was written to.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end(mut self, end: &End) -> io::Result<W> {
        self.json(Chunk::End, end)?;
        self.out.flush()?;
        self.out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
    }

    fn json(&mut self, kind: Chunk, value: &impl serde::Serialize) -> io::Result<()> {
        let payload = serde_json::to_vec(value)?;
        self.chunk(kind, &[&payload])
    }

    fn chunk(&mut self, kind: Chunk, parts: &[&[u8]]) -> io::Result<()> {
        let joined;
        let payload = match parts {
            [one] => *one,
            _ => {
                joined = parts.concat();
                &joined
            }
        };
        let kind = kind as u16;
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&0_u16.to_le_bytes())?;
        self.out.write_all(&checksum(kind, payload).to_le_bytes())?;
        self.out.write_all(payload)
    }
}
