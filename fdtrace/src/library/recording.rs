//! A recorded trace, read by another program.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use super::{Error, Seen};
use crate::{
    model::{Coverage, Judged},
    watch::{Ended, Replay, Selection},
};

/// A recorded trace, as `fdtrace record` writes it. Reading it needs no privileges.
///
/// ```
/// # fn main() -> Result<(), fdtrace::Error> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/recordings/reload.fdt");
/// # if !std::path::Path::new(path).exists() { return Ok(()) }
/// let recording = fdtrace::Recording::open(path)?;
/// println!("of Linux {}", recording.kernel());
/// for transfer in recording.transfers() {
///     let transfer = transfer?;
///     println!("{} ended as {}", transfer.file.kind(), transfer.fate);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Recording {
    replay: Replay<Box<dyn Read>>,
}

impl Recording {
    /// Opens a recording.
    ///
    /// # Errors
    /// [`Error::Open`] if the file cannot be opened, [`Error::Recording`] if it is no recording that
    /// this version can read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::read(BufReader::new(file))
    }

    /// Reads a recording from any reader.
    ///
    /// # Errors
    /// [`Error::Recording`] if it is no recording that this version can read.
    pub fn read(input: impl Read + 'static) -> Result<Self, Error> {
        let input: Box<dyn Read> = Box::new(input);
        let replay = Replay::new(input)?;
        Ok(Self { replay })
    }

    /// Release of the kernel that was traced.
    #[must_use]
    pub fn kernel(&self) -> &str {
        &self.replay.header().kernel
    }

    /// Wall-clock time of the start, nanoseconds since 1970.
    #[must_use]
    pub fn wall_ns(&self) -> u64 {
        self.replay.header().wall_ns
    }

    /// What could be seen on that kernel: nothing follows from the absence of what could not.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.replay.header().coverage
    }

    /// The transfers, in the order in which they ended.
    #[must_use]
    pub fn transfers(self) -> Transfers {
        Transfers {
            selection: Selection {
                wanted: self.replay.header().filtered,
                ..Selection::default()
            },
            replay: Some(self.replay),
            ready: VecDeque::new(),
            trouble: None,
            ended: Ended::default(),
        }
    }

    /// Reads the recording to its end, for assertions on it.
    ///
    /// # Errors
    /// [`Error::Recording`] if it is damaged or breaks off, [`Error::UnknownRecords`] if a later
    /// version wrote it.
    pub fn seen(self) -> Result<Seen, Error> {
        let coverage = self.coverage().clone();
        let mut transfers = self.transfers();
        let all = transfers.by_ref().collect::<Result<_, _>>()?;
        Ok(Seen::new(all, coverage, &transfers.ended))
    }
}

/// The transfers of a recording.
///
/// What is wrong with a recording that is damaged or breaks off comes last, as an error, after all
/// that could be read of it.
pub struct Transfers {
    selection: Selection,
    /// Until it is over.
    replay: Option<Replay<Box<dyn Read>>>,
    ready: VecDeque<Judged>,
    trouble: Option<Error>,
    ended: Ended,
}

impl Iterator for Transfers {
    type Item = Result<Judged, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(judged) = self.ready.pop_front() {
                return Some(Ok(judged));
            }
            let Some(mut replay) = self.replay.take() else {
                return self.trouble.take().map(Err);
            };
            match replay.next_batch() {
                Some(batch) => {
                    self.replay = Some(replay);
                    self.add(batch);
                }
                None => self.end(replay),
            }
        }
    }
}

impl Transfers {
    fn add(&mut self, batch: Vec<Judged>) {
        let selection = &self.selection;
        let wanted = |judged: &Judged| !judged.overdue && selection.accepts(judged);
        self.ready.extend(batch.into_iter().filter(wanted));
    }

    fn end(&mut self, mut replay: Replay<Box<dyn Read>>) {
        self.trouble = replay.take_trouble().map(Error::from);
        self.ended = replay.end();
        let count = self.ended.undecodable;
        if count > 0 {
            self.trouble.get_or_insert(Error::UnknownRecords { count });
        }
        let last = std::mem::take(&mut self.ended.transfers);
        self.add(last);
    }
}
