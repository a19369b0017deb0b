//! Reads a recording up to its end or its first damage. Every byte may be anybody's.

use std::{
    io::{self, Read},
    mem,
};

use super::{
    CHUNK_HEAD, Chunk, End, FORMAT, Header, MAGIC, PAYLOAD_MAX, checksum, earlier, layout,
    tables::{Join, Part},
};
use crate::model::{Losses, QueueFact, TableLook};

/// Gives what a recording holds, in the order in which it was written.
pub struct Reader<R> {
    input: R,
    header: Header,
    /// Bytes read so far.
    offset: u64,
    /// Nothing more is to be had: the end, or damage.
    done: bool,
    /// A look through tables of which not all parts have come.
    join: Join,
    /// Memory for the next record.
    room: Vec<u8>,
}

/// One thing in a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A record of the ring buffer, in this version's form.
    Event(Vec<u8>),
    /// What a look through the queues found.
    Found(QueueFact),
    /// What a look through the tables of processes found.
    Tables(TableLook),
    /// The name of a code address.
    Symbol {
        /// The address.
        address: u64,
        /// Name of the function that it lies in.
        name: String,
    },
    /// Every record up to this CLOCK_MONOTONIC time has come.
    Pause {
        /// Nanoseconds.
        t_ns: u64,
    },
    /// What had been lost by now.
    Losses(Losses),
    /// The recording's proper end.
    End(End),
}

/// Why a recording cannot be read, or no further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Another kind of file.
    #[error("not an fdtrace recording")]
    NotARecording,
    /// A format that this version does not know.
    #[error("the recording has format {found}; this fdtrace reads up to {FORMAT}")]
    NewerFormat {
        /// Its format.
        found: u32,
    },
    /// The file ends within a chunk, or before the recording did.
    #[error("the recording breaks off after {offset} bytes")]
    BreaksOff {
        /// Where what can be read ends.
        offset: u64,
    },
    /// A chunk is not what was written.
    #[error("the recording is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the chunk begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read the recording")]
    Io(#[from] io::Error),
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// If this is no recording that this version can read.
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let mut magic = [0; MAGIC.len()];
        if read_full(&mut input, &mut magic)? < magic.len() || magic != *MAGIC {
            return Err(ReadError::NotARecording);
        }
        let mut offset = MAGIC.len() as u64;
        let Some((kind, payload)) = chunk(&mut input, &mut offset, Vec::new())? else {
            return Err(ReadError::BreaksOff { offset });
        };
        let damaged = |what| ReadError::Damaged {
            offset: MAGIC.len() as u64,
            what,
        };
        if kind != Chunk::Header as u16 {
            return Err(damaged("there is no header"));
        }
        let form: Format =
            serde_json::from_slice(&payload).map_err(|_| damaged("its header says nothing"))?;
        if form.format > FORMAT {
            return Err(ReadError::NewerFormat { found: form.format });
        }
        let header: Header = serde_json::from_slice(&payload)
            .and_then(earlier::complete)
            .and_then(serde_json::from_value)
            .map_err(|_| damaged("its header is incomplete"))?;
        if !layout::is_usable(header.head_bytes, header.file_bytes) {
            return Err(damaged("its records have impossible sizes"));
        }
        Ok(Self {
            input,
            header,
            offset,
            done: false,
            join: Join::default(),
            room: Vec::new(),
        })
    }

    /// What the recording is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next item; `None` after the end.
    ///
    /// # Errors
    /// Where the recording is damaged, breaks off, or cannot be read. There is nothing after that.
    pub fn next_item(&mut self) -> Result<Option<Item>, ReadError> {
        while !self.done {
            match self.read_item() {
                Ok(Some(item)) => {
                    self.done = matches!(item, Item::End(_));
                    return Ok(Some(item));
                }
                // A chunk of a kind that a later version knows, or a part of something.
                Ok(None) => {}
                Err(error) => {
                    self.done = true;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Takes back the memory of an [`Item::Event`].
    pub fn reuse(&mut self, record: Vec<u8>) {
        self.room = record;
    }

    fn read_item(&mut self) -> Result<Option<Item>, ReadError> {
        let begin = self.offset;
        let room = mem::take(&mut self.room);
        let damaged = |what| ReadError::Damaged {
            offset: begin,
            what,
        };
        let Some((kind, payload)) = chunk(&mut self.input, &mut self.offset, room)? else {
            return Err(ReadError::BreaksOff { offset: begin });
        };
        let number = |bytes: &[u8]| {
            let first: Option<[u8; 8]> = bytes.get(..8).and_then(|bytes| bytes.try_into().ok());
            first
                .map(u64::from_le_bytes)
                .ok_or(damaged("a chunk is too short"))
        };
        let unclear = |_: serde_json::Error| damaged("a chunk says nothing");
        let item = match kind {
            _ if kind == Chunk::Event as u16 => {
                let (head, file) = (self.header.head_bytes, self.header.file_bytes);
                let mut record =
                    layout::convert(payload, head, file).ok_or(damaged("a record is too short"))?;
                if self.header.format < CALLS_ARE_TOLD {
                    earlier::tell_call(&mut record);
                }
                Item::Event(record)
            }
            _ if kind == Chunk::Symbol as u16 => Item::Symbol {
                address: number(&payload)?,
                name: String::from_utf8_lossy(&payload[8..]).into_owned(),
            },
            _ if kind == Chunk::Pause as u16 => Item::Pause {
                t_ns: number(&payload)?,
            },
            _ if kind == Chunk::Found as u16 => {
                Item::Found(serde_json::from_slice(&payload).map_err(unclear)?)
            }
            _ if kind == Chunk::Tables as u16 => {
                let part: Part = serde_json::from_slice(&payload).map_err(unclear)?;
                match self.join.take(part) {
                    Some(look) => Item::Tables(look),
                    None => return Ok(None),
                }
            }
            _ if kind == Chunk::Losses as u16 => {
                Item::Losses(serde_json::from_slice(&payload).map_err(unclear)?)
            }
            _ if kind == Chunk::End as u16 => {
                Item::End(serde_json::from_slice(&payload).map_err(unclear)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(item))
    }
}

/// The first format in which records say what a system call is for, and not its number.
const CALLS_ARE_TOLD: u32 = 4;

/// What every header of every format has.
#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

/// One chunk's kind and payload, which is put into `payload`; `None` at the file's end, if that is between
/// two chunks.
fn chunk(
    input: &mut impl Read,
    offset: &mut u64,
    mut payload: Vec<u8>,
) -> Result<Option<(u16, Vec<u8>)>, ReadError> {
    let begin = *offset;
    let mut head = [0; CHUNK_HEAD];
    match read_full(input, &mut head)? {
        0 => return Ok(None),
        CHUNK_HEAD => {}
        _ => return Err(ReadError::BreaksOff { offset: begin }),
    }
    let [l0, l1, l2, l3, k0, k1, z0, z1, c0, c1, c2, c3] = head;
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    let kind = u16::from_le_bytes([k0, k1]);
    let damaged = |what| ReadError::Damaged {
        offset: begin,
        what,
    };
    if len > PAYLOAD_MAX || (z0, z1) != (0, 0) {
        return Err(damaged("this is no chunk"));
    }
    payload.resize(len as usize, 0);
    if read_full(input, &mut payload)? < payload.len() {
        return Err(ReadError::BreaksOff { offset: begin });
    }
    if checksum(kind, &payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(damaged("the checksum is wrong"));
    }
    *offset += (CHUNK_HEAD + payload.len()) as u64;
    Ok(Some((kind, payload)))
}

/// Fills `buffer` as far as the input goes; returns how far that is.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
