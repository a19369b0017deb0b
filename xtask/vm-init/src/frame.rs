//! Frames from init to the host: what the commands print, byte for byte, and how they end.
//!
//! A frame is a tag, the length of what follows (four bytes, little endian), and that. The first
//! frame comes after [`PREAMBLE`]; whatever the machine said before it is skipped.

use std::fmt;

/// What goes before the first frame.
const PREAMBLE: &[u8] = b"\nvm-init 1\n";

/// No frame is longer: a longer one means that bytes were lost.
const LONGEST: usize = 1 << 20;

/// One thing that init says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Init runs, on the kernel of this release.
    Hello(String),
    /// The command wrote this to stdout.
    Out(Vec<u8>),
    /// The command wrote this to stderr.
    Err(Vec<u8>),
    /// The command has ended, with the status that a shell would report. The next one begins.
    Exit(u8),
    /// Init itself cannot do something.
    Trouble(String),
}

impl Frame {
    /// The bytes that go over the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (tag, body): (u8, &[u8]) = match self {
            Self::Hello(release) => (b'H', release.as_bytes()),
            Self::Out(bytes) => (b'O', bytes),
            Self::Err(bytes) => (b'E', bytes),
            Self::Exit(code) => (b'X', &[*code]),
            Self::Trouble(what) => (b'T', what.as_bytes()),
        };
        let mut wire = Vec::with_capacity(PREAMBLE.len() + 5 + body.len());
        if tag == b'H' {
            wire.extend(PREAMBLE);
        }
        wire.push(tag);
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        wire.extend(length.to_le_bytes());
        wire.extend(body);
        wire
    }

    fn decode(tag: u8, body: &[u8]) -> Result<Self, Garbled> {
        let text = || String::from_utf8_lossy(body).into_owned();
        match (tag, body) {
            (b'H', _) => Ok(Self::Hello(text())),
            (b'O', _) => Ok(Self::Out(body.to_vec())),
            (b'E', _) => Ok(Self::Err(body.to_vec())),
            (b'X', &[code]) => Ok(Self::Exit(code)),
            (b'T', _) => Ok(Self::Trouble(text())),
            _ => Err(Garbled),
        }
    }
}

/// The bytes are no frames: some were lost on the way, or something else writes to the port.
#[derive(Debug, PartialEq, Eq)]
pub struct Garbled;

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the VM's answers are garbled")
    }
}

impl std::error::Error for Garbled {}

/// Finds the frames in a stream of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    begun: bool,
    pending: Vec<u8>,
}

impl Decoder {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    ///
    /// When what follows cannot be a frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Garbled> {
        if !self.begun && !self.skip_to_preamble() {
            return Ok(None);
        }
        let Some((header, rest)) = self.pending.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let [tag, length @ ..] = *header;
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| Garbled)?;
        if length > LONGEST {
            return Err(Garbled);
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = Frame::decode(tag, body)?;
        self.pending.drain(..5 + length);
        Ok(Some(frame))
    }

    fn skip_to_preamble(&mut self) -> bool {
        let found = self
            .pending
            .windows(PREAMBLE.len())
            .position(|window| window == PREAMBLE);
        match found {
            Some(at) => drop(self.pending.drain(..at + PREAMBLE.len())),
            // Half of a preamble may be the last thing that has come.
            None => {
                let noise = self.pending.len().saturating_sub(PREAMBLE.len() - 1);
                self.pending.drain(..noise);
            }
        }
        self.begun = found.is_some();
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Vec<Frame> {
        vec![
            Frame::Hello("6.1.0-50-cloud-amd64".to_owned()),
            Frame::Out(b"one\r\ntwo\n\0\xff".to_vec()),
            Frame::Err(Vec::new()),
            Frame::Trouble("cannot mount bpf".to_owned()),
            Frame::Exit(3),
        ]
    }

    fn wire(frames: &[Frame]) -> Vec<u8> {
        frames.iter().flat_map(Frame::encode).collect()
    }

    fn decoded(decoder: &mut Decoder) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_the_bytes_are_cut() {
        let wire = wire(&conversation());
        for size in 1..wire.len() {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for chunk in wire.chunks(size) {
                decoder.push(chunk);
                frames.extend(decoded(&mut decoder));
            }
            assert_eq!(frames, conversation(), "in chunks of {size}");
        }
    }

    #[test]
    fn noise_before_the_first_frame_is_skipped() {
        let mut decoder = Decoder::default();
        decoder.push(b"SeaBIOS\r\n\nvm-init");
        assert_eq!(decoded(&mut decoder), []);
        decoder.push(b" 2\n\n");
        decoder.push(&wire(&conversation()));
        assert_eq!(decoded(&mut decoder), conversation());
    }

    #[test]
    fn lost_bytes_are_noticed() {
        let mut bytes = wire(&conversation()[..2]);
        // The tag of the second frame.
        let hello = conversation()[0].encode().len();
        bytes.remove(hello);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert!(decoder.next_frame().is_ok());
        assert_eq!(decoder.next_frame(), Err(Garbled));
    }

    #[test]
    fn an_exit_frame_carries_one_byte() {
        assert_eq!(Frame::decode(b'X', &[1, 2]), Err(Garbled));
        assert_eq!(Frame::decode(b'X', &[]), Err(Garbled));
        assert_eq!(Frame::decode(b'X', &[137]), Ok(Frame::Exit(137)));
    }
}
