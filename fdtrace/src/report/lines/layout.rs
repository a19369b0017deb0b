//! Layout: where on a line what stands. Both ends and how it ended are whole and come first; the file
//! is shortened in its middle, and the socket, the time in the queue and the file go in that order
//! where there is no room.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::{
    super::{
        fit::{HANG, JOINED, shortened},
        phrase::duration,
        text::DIM,
    },
    names::numbers,
    row::Row,
};

/// Narrower than this, a line has milliseconds and fewer numbers.
const NARROW: usize = 100;
/// Columns that a party may have for others to stand below each other.
const PARTY_MAX: usize = 26;
const FILE_MAX: usize = 36;
const SOCKET_MAX: usize = 24;
const TIME_WIDTH: usize = 8;
/// A file in fewer columns than this tells little.
const FILE_LEAST: usize = 12;
/// What a file should have, before others go.
const FILE_FAIR: usize = 30;

/// How wide columns are: as wide as what has been in them.
#[derive(Default)]
pub(super) struct Columns {
    sender: usize,
    receiver: usize,
    file: usize,
    socket: usize,
}

/// One row's text in pieces.
pub(super) struct Pieces {
    time: String,
    sender: String,
    receiver: String,
    file: Vec<String>,
    socket: (String, String),
    queued: String,
}

impl Pieces {
    /// `time_of_day` is `14:03:22.123456`.
    pub(super) fn of(row: &Row, time_of_day: &str, width: Option<usize>) -> Self {
        let narrow = width.is_some_and(|width| width < NARROW);
        let (time, list) = match narrow {
            true => (&time_of_day[..time_of_day.len() - 3], 12),
            false => (time_of_day, 24),
        };
        let party = |name: &str, list_of: &[String]| match list_of {
            [] => name.to_owned(),
            list_of => format!("{name}{JOINED}{}", numbers(list_of, list)),
        };
        let (kind, name) = &row.socket;
        let socket = match (*kind, name.as_str()) {
            ("", name) | (name, "") => name.to_owned(),
            (kind, name) => format!("{kind} {name}"),
        };
        Self {
            time: time.to_owned(),
            sender: party(&row.sender, &row.from),
            receiver: row
                .receiver
                .as_ref()
                .map_or("nobody".to_owned(), |name| party(name, &row.to)),
            file: row.files(),
            socket: (socket, (*kind).to_owned()),
            queued: row.queued_ns.map_or(String::new(), duration),
        }
    }
}

/// Files that a line without an end has by name.
const FILES_MAX: usize = 8;

impl Pieces {
    /// Its files, however many columns that takes.
    pub(super) fn files(&self) -> String {
        let shown = self.file.len().min(FILES_MAX);
        let text = self.file[..shown].join(", ");
        match self.file.len() - shown {
            0 => text,
            more => format!("{text}, +{more}"),
        }
    }

    /// What is said below the line, where its parties begin.
    pub(super) fn below(&self, text: &str) -> String {
        format!("{}{HANG}{text}", " ".repeat(self.time.width() + 3))
    }
}

impl Columns {
    /// Makes room for this, within reason.
    pub(super) fn widen(&mut self, pieces: &Pieces) {
        for (column, text, most) in [
            (&mut self.sender, &pieces.sender, PARTY_MAX),
            (&mut self.receiver, &pieces.receiver, PARTY_MAX),
            (&mut self.file, &pieces.files(), FILE_MAX),
            (&mut self.socket, &pieces.socket.0, SOCKET_MAX),
        ] {
            *column = (*column).max(text.width().min(most));
        }
    }

    /// The line, of at most `width` columns where that can be; it continues at its [`HANG`] where a
    /// reader must have more than that. Also says whether all of its files are told in full.
    pub(super) fn line(&self, row: &Row, pieces: &Pieces, width: Option<usize>) -> (String, bool) {
        let (mark_style, mark) = row.mark();
        let endings = row.endings();
        let ending_width: usize = endings.iter().map(|(_, text)| text.width() + 3).sum();
        let begin = pieces.time.width() + 3;
        let plain = begin + pieces.sender.width() + 3 + pieces.receiver.width();
        let pad_sender = self.sender.saturating_sub(pieces.sender.width());
        let pad_receiver = self.receiver.saturating_sub(pieces.receiver.width());
        let (pad_sender, pad_receiver) = match width {
            Some(width) if plain + pad_sender + pad_receiver + ending_width + FILE_FAIR > width => {
                (0, 0)
            }
            _ => (pad_sender, pad_receiver),
        };
        let mut text = format!(
            "{DIM}{}{DIM:#} {mark_style}{mark}{mark_style:#} {HANG}{}{} → {}",
            pieces.time,
            joined(&pieces.sender),
            " ".repeat(pad_sender),
            joined(&pieces.receiver),
        );
        let mut used = plain + pad_sender;
        for (index, (style, ending)) in endings.iter().enumerate() {
            let comma = if index + 1 < endings.len() { "," } else { "" };
            let (gap, wide) = ("  ", ending.width() + comma.len());
            if width.is_some_and(|width| used + gap.len() + wide > width) {
                text += "\n";
                text.extend(std::iter::repeat_n(' ', begin));
                used = begin + wide;
            } else {
                text += gap;
                used += gap.len() + wide;
            }
            let _ = write!(text, "{style}{}{comma}{style:#}", joined(ending));
        }
        if endings.is_empty() {
            text.extend(std::iter::repeat_n(' ', pad_receiver));
            used += pad_receiver;
        }
        let room = width.map(|width| width.saturating_sub(used + 2));
        let (tail, whole) = self.tail(row, pieces, room);
        // The files that were lost are told in full below, if not here.
        if !tail.is_empty() && (whole || !row.is_loss()) {
            text += "  ";
            text += &tail;
        }
        (text.trim_end().to_owned(), whole)
    }

    /// File, socket, time in the queue and notes, in this room.
    fn tail(&self, row: &Row, pieces: &Pieces, room: Option<usize>) -> (String, bool) {
        let notes = row.notes();
        let full = pieces.files();
        let notes_width: usize = notes.iter().map(|(_, note)| note.width() + 2).sum();
        let room_left = room.unwrap_or(usize::MAX);
        let (socket, kind) = &pieces.socket;
        let queued = pieces.queued.as_str();
        let width_of = |text: &str| if text.is_empty() { 0 } else { text.width() + 1 };
        let choices = [
            (socket.as_str(), queued, true),
            (kind, queued, true),
            ("", queued, true),
            ("", "", true),
            ("", "", false),
        ];
        let beside = |(socket, queued, noted): &(&str, &str, bool)| {
            let time = if queued.is_empty() { 0 } else { TIME_WIDTH + 1 };
            width_of(socket) + time + if *noted { notes_width } else { 0 }
        };
        let fair = full.width().min(FILE_FAIR);
        let fits = |choice: &&(&str, &str, bool)| beside(choice).saturating_add(fair) <= room_left;
        let (socket, queued, noted) = choices.iter().find(fits).unwrap_or(&("", "", false));
        let for_file = room_left.saturating_sub(beside(&(socket, queued, *noted)));
        if for_file < full.width().min(FILE_LEAST) {
            return (String::new(), false);
        }
        let file = some_of(&pieces.file, for_file);
        let whole = file == full;
        let mut slack = room.map_or(usize::MAX, |_| for_file - file.width());
        let mut pad = |text: &str, column: usize| {
            let blanks = column.saturating_sub(text.width()).min(slack);
            slack -= blanks;
            " ".repeat(blanks)
        };
        let mut text = file.clone() + &pad(&file, self.file);
        if !socket.is_empty() || room.is_none() {
            text = format!("{text} {socket}{}", pad(socket, self.socket));
        }
        if !queued.is_empty() || room.is_none() {
            let queued = if queued.is_empty() { "–" } else { queued };
            text = format!("{text} {queued:>TIME_WIDTH$}");
        }
        for (style, note) in notes.iter().filter(|_| *noted) {
            let _ = write!(text, "  {style}{note}{style:#}");
        }
        (text, whole)
    }
}

/// As many of them as there is room for, and how many more there are.
fn some_of(texts: &[String], room: usize) -> String {
    for shown in (1..=texts.len().min(FILES_MAX)).rev() {
        let left = texts.len() - shown;
        let more = if left > 0 {
            format!(", +{left}")
        } else {
            String::new()
        };
        let text = texts[..shown].join(", ");
        if text.width() + more.width() <= room {
            return text + &more;
        }
        if shown == 1 {
            return shortened(&text, room.saturating_sub(more.width())) + &more;
        }
    }
    String::new()
}

/// The same, not to be broken.
fn joined(text: &str) -> String {
    text.replace(' ', &JOINED.to_string())
}
