//! Replay: feeds the pipeline from a recording, so that it says what it would have said live.

use std::{cell::RefCell, collections::HashMap, io::Read, rc::Rc};

use super::{Ended, Pipeline};
use crate::{
    model::{Judged, Losses, TableLook, UnreadQueues},
    recording::{End, Header, Item, ReadError, Reader},
};

/// A recorded trace on its way through the pipeline.
pub struct Replay<R> {
    reader: Reader<R>,
    pipeline: Pipeline,
    /// Names of code addresses, as the recording gives them.
    names: Rc<RefCell<HashMap<u64, String>>>,
    /// What was lost by the next pause.
    losses: Option<Losses>,
    /// Looks through tables since the last pause.
    looks: Vec<TableLook>,
    /// CLOCK_MONOTONIC of the latest pause, nanoseconds.
    last_ns: u64,
    end: Option<End>,
    trouble: Option<ReadError>,
}

impl<R: Read> Replay<R> {
    /// Reads the recording's header.
    ///
    /// # Errors
    /// If this is no recording that this version can read.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let reader = Reader::new(input)?;
        let names = Rc::new(RefCell::new(HashMap::new()));
        let known: Rc<RefCell<HashMap<u64, String>>> = Rc::clone(&names);
        let symbolize = Box::new(move |address| known.borrow().get(&address).cloned());
        Ok(Self {
            pipeline: Pipeline::new(reader.header().coverage.clone(), symbolize),
            names,
            losses: None,
            looks: Vec::new(),
            last_ns: reader.header().t_ns,
            end: None,
            trouble: None,
            reader,
        })
    }

    /// The recording's header.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    /// Gives what has been in a queue for longer than `ns` nanoseconds before it ends; nothing if there is
    /// no such time.
    pub fn tell_overdue(&mut self, ns: Option<u64>) {
        self.pipeline.tell_overdue(ns);
    }

    /// What ended up to the next pause in the recording; `None` once there is no other, be it that
    /// the recording is over or cannot be read further.
    pub fn next_batch(&mut self) -> Option<Vec<Judged>> {
        loop {
            match self.reader.next_item() {
                Ok(Some(Item::Event(record))) => {
                    self.pipeline.record(&record, &mut |_| ());
                    self.reader.reuse(record);
                }
                Ok(Some(Item::Found(fact))) => self.pipeline.found(fact, &mut |_| ()),
                Ok(Some(Item::Symbol { address, name })) => {
                    self.names.borrow_mut().insert(address, name);
                }
                Ok(Some(Item::Tables(look))) => {
                    self.pipeline.looked(&look);
                    self.looks.push(look);
                }
                Ok(Some(Item::Losses(now))) => self.losses = Some(now),
                Ok(Some(Item::Pause { t_ns })) => return Some(self.pause(t_ns)),
                Ok(Some(Item::End(end))) => self.end = Some(end),
                Ok(None) => return None,
                Err(error) => {
                    self.trouble = Some(error);
                    return None;
                }
            }
        }
    }

    /// Takes over what looks through tables found that came before the latest batch.
    pub fn take_looks(&mut self) -> Vec<TableLook> {
        std::mem::take(&mut self.looks)
    }

    /// Takes back the memory of what [`Self::next_batch`] gave.
    pub fn reuse(&mut self, batch: Vec<Judged>) {
        self.pipeline.reuse(batch);
    }

    /// Takes over what is wrong with the recording, as far as it has been read.
    pub fn take_trouble(&mut self) -> Option<ReadError> {
        self.trouble.take()
    }

    /// Ends the replay where the recording has been read to.
    pub fn end(mut self) -> Ended {
        let End {
            t_ns,
            command_status,
            losses,
            unread_at_end,
        } = self.end.take().unwrap_or_else(|| End {
            t_ns: self.last_ns,
            losses: self.pipeline.losses().clone(),
            ..End::default()
        });
        self.pipeline.lost(&losses, t_ns);
        let mut transfers = self.pipeline.take_judged();
        self.pipeline.end();
        transfers.extend(self.pipeline.take_judged());
        let undecodable = self.pipeline.undecodable();
        let trouble = self.trouble.map(|error| error.to_string());
        let unknown = (undecodable > 0)
            .then(|| format!("{undecodable} records are of kinds that only a later fdtrace knows"));
        Ended {
            transfers,
            t_ns,
            command_status,
            incomplete: trouble.or(unknown),
            unread: UnreadQueues {
                at_start: self.reader.header().unread_at_start.clone(),
                at_end: unread_at_end,
            },
            losses,
            forgotten: self.pipeline.forgotten(),
            empty_rights: self.pipeline.empty_rights(),
            undecodable,
            programs: None,
        }
    }

    fn pause(&mut self, t_ns: u64) -> Vec<Judged> {
        self.last_ns = t_ns;
        if let Some(losses) = self.losses.take() {
            self.pipeline.lost(&losses, t_ns);
        }
        self.pipeline.settle(t_ns);
        let mut batch = self.pipeline.take_judged();
        batch.extend(self.pipeline.take_overdue(t_ns));
        batch
    }
}
