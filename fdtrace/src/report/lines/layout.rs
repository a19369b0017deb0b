//! Layout: where on a line what stands. Both ends and how it ended are whole and come first; the file
//! is shortened in its middle, and the socket, the time in the queue and the file go in that order
//! where there is no room.

use std::fmt::Write as _;

use anstyle::Style;
use smallvec::SmallVec;

use super::{
    super::{
        fit::{HANG, JOINED, shortened, width},
        phrase::{push_duration, push_number},
        text::DIM,
    },
    notes::{Note, Noted},
    numbers::{Number, push_numbers},
    row::Row,
    texts::{Piece, Texts},
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
/// What it should have where it is known whence it came.
const FILE_SHORT: usize = 18;
/// Files that a line without an end has by name.
const FILES_MAX: usize = 8;
/// A time of day, and how much of it a narrow line has.
const TIME_LEN: usize = "14:03:22.123456".len();
const SHORT_TIME_LEN: usize = TIME_LEN - 3;

/// What lines are written on.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// Columns of a line, if it has an end.
    pub(super) width: Option<usize>,
    /// Nobody sees styles.
    pub(super) plain: bool,
}

impl Page {
    fn is_narrow(self) -> bool {
        self.width.is_some_and(|width| width < NARROW)
    }

    fn time_len(self) -> usize {
        if self.is_narrow() {
            SHORT_TIME_LEN
        } else {
            TIME_LEN
        }
    }

    /// Appends what is not to be broken.
    fn joined(self, line: &mut String, text: &str) {
        match self.width {
            Some(_) => line.extend(
                text.chars()
                    .map(|char| if char == ' ' { JOINED } else { char }),
            ),
            None => line.push_str(text),
        }
    }

    fn styled(self, line: &mut String, style: Style, write: impl FnOnce(&mut String)) {
        if self.plain {
            return write(line);
        }
        // A string takes whatever is written.
        let _ = write!(line, "{style}");
        write(line);
        let _ = write!(line, "{style:#}");
    }

    /// What is said below a line, where its parties begin.
    pub(super) fn below(self, text: &str) -> String {
        format!("{}{HANG}{text}", " ".repeat(self.time_len() + 3))
    }
}

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
    sender: Piece,
    receiver: Piece,
    each_file: SmallVec<[Piece; 1]>,
    /// All of them, however many columns that takes.
    pub(super) files: Piece,
    socket: Piece,
    kind: &'static str,
    queued: Piece,
}

impl Pieces {
    pub(super) fn of(row: &Row, texts: &mut Texts, page: Page) -> Self {
        let list = if page.is_narrow() { 12 } else { 24 };
        let mut party = |name: Piece, numbers: &[Number]| match numbers {
            [] => name,
            numbers => texts.extend(name, |text| {
                text.push(' ');
                push_numbers(text, numbers, list);
            }),
        };
        let (sender, receiver) = (party(row.sender, &row.from), party(row.receiver, &row.to));
        let (kind, name) = row.socket;
        let socket = match (kind, name.is_empty()) {
            ("", _) => name,
            (kind, true) => texts.add(|text| text.push_str(kind)),
            (kind, false) => {
                let kind = texts.add(|text| text.push_str(kind));
                texts.join(&[kind, name], " ")
            }
        };
        let each_file = row.files(texts);
        let shown = &each_file[..each_file.len().min(FILES_MAX)];
        let files = texts.join(shown, ", ");
        let files = match each_file.len() - shown.len() {
            0 => files,
            more => texts.extend(files, |text| {
                text.push_str(", +");
                push_number(text, more);
            }),
        };
        Self {
            sender,
            receiver,
            files,
            each_file,
            socket,
            kind,
            queued: match row.queued_ns {
                Some(ns) => texts.add(|text| push_duration(text, ns)),
                None => Piece::default(),
            },
        }
    }
}

impl Columns {
    /// Makes room for this, within reason.
    pub(super) fn widen(&mut self, pieces: &Pieces) {
        for (column, piece, most) in [
            (&mut self.sender, pieces.sender, PARTY_MAX),
            (&mut self.receiver, pieces.receiver, PARTY_MAX),
            (&mut self.file, pieces.files, FILE_MAX),
            (&mut self.socket, pieces.socket, SOCKET_MAX),
        ] {
            *column = (*column).max(piece.width.min(most));
        }
    }

    /// Appends the line, of at most as many columns as there are where that can be; it continues at its
    /// [`HANG`] where a reader must have more than that. Says whether all of its files are told in full.
    pub(super) fn line(
        &self,
        line: &mut String,
        (row, pieces): (&Row, &Pieces),
        (time_of_day, texts): (&str, &Texts),
        page: Page,
    ) -> bool {
        let (mark_style, mark) = row.mark();
        let endings = row.endings();
        let ending_width: usize = endings.iter().map(|(_, text)| width(text) + 3).sum();
        let begin = page.time_len() + 3;
        let plain = begin + pieces.sender.width + 3 + pieces.receiver.width;
        let pad_sender = self.sender.saturating_sub(pieces.sender.width);
        let pad_receiver = self.receiver.saturating_sub(pieces.receiver.width);
        let (pad_sender, pad_receiver) = match page.width {
            Some(width) if plain + pad_sender + pad_receiver + ending_width + FILE_FAIR > width => {
                (0, 0)
            }
            _ => (pad_sender, pad_receiver),
        };
        page.styled(line, DIM, |line| {
            line.push_str(&time_of_day[..page.time_len()]);
        });
        line.push(' ');
        page.styled(line, mark_style, |line| line.push_str(mark));
        line.push(' ');
        if page.width.is_some() {
            line.push(HANG);
        }
        page.joined(line, texts.of(pieces.sender));
        pad(line, pad_sender);
        line.push_str(" → ");
        page.joined(line, texts.of(pieces.receiver));
        let mut used = plain + pad_sender;
        for (index, (style, ending)) in endings.iter().enumerate() {
            let comma = if index + 1 < endings.len() { "," } else { "" };
            let (gap, wide) = ("  ", width(ending) + comma.len());
            if page
                .width
                .is_some_and(|width| used + gap.len() + wide > width)
            {
                line.push('\n');
                pad(line, begin);
                used = begin + wide;
            } else {
                line.push_str(gap);
                used += gap.len() + wide;
            }
            page.styled(line, *style, |line| {
                page.joined(line, ending);
                line.push_str(comma);
            });
        }
        if endings.is_empty() {
            pad(line, pad_receiver);
            used += pad_receiver;
        }
        let room = page.width.map(|width| width.saturating_sub(used + 2));
        let whole = self.tail(line, (row, pieces), texts, page, room);
        line.truncate(line.trim_end().len());
        whole
    }

    /// Appends file, socket, time in the queue and notes, in this room.
    fn tail(
        &self,
        line: &mut String,
        (row, pieces): (&Row, &Pieces),
        texts: &Texts,
        page: Page,
        room: Option<usize>,
    ) -> bool {
        let notes = row.notes();
        let full = pieces.files.width;
        let notes_width = |noted| -> usize {
            let each = notes.iter().filter(|_| noted != Noted::Not);
            each.map(|note| note.width(noted) + 2).sum()
        };
        let room_left = room.unwrap_or(usize::MAX);
        let (socket, kind) = (texts.of(pieces.socket), pieces.kind);
        let queued = texts.of(pieces.queued);
        let width_of = |text: &str| if text.is_empty() { 0 } else { width(text) + 1 };
        let choices = [
            (socket, queued, Noted::InFull),
            (kind, queued, Noted::InFull),
            ("", queued, Noted::InFull),
            ("", "", Noted::InFull),
            ("", "", Noted::InAWord),
            ("", "", Noted::Not),
        ];
        let beside = |(socket, queued, noted): &(&str, &str, Noted)| {
            let time = if queued.is_empty() { 0 } else { TIME_WIDTH + 1 };
            width_of(socket) + time + notes_width(*noted)
        };
        let fair = match notes.iter().any(Note::says_more) {
            true => full.min(FILE_SHORT),
            false => full.min(FILE_FAIR),
        };
        let fits = |choice: &&(&str, &str, Noted)| beside(choice).saturating_add(fair) <= room_left;
        let &(socket, queued, noted) = choices.iter().find(fits).unwrap_or(&("", "", Noted::Not));
        let for_file = room_left.saturating_sub(beside(&(socket, queued, noted)));
        if for_file < full.min(FILE_LEAST) {
            return false;
        }
        let whole = full <= for_file;
        // The files that were lost are told in full below, if not here.
        if !whole && row.is_loss() {
            return false;
        }
        line.push_str("  ");
        let file_width = if whole {
            line.push_str(texts.of(pieces.files));
            full
        } else {
            let each = pieces.each_file.iter().map(|file| texts.of(*file));
            let some = some_of(&each.collect::<Vec<_>>(), for_file);
            line.push_str(&some);
            width(&some)
        };
        let mut slack = room.map_or(usize::MAX, |_| for_file - file_width);
        let mut fill = |line: &mut String, used: usize, column: usize| {
            let blanks = column.saturating_sub(used).min(slack);
            slack -= blanks;
            pad(line, blanks);
        };
        fill(line, file_width, self.file);
        if !socket.is_empty() || room.is_none() {
            line.push(' ');
            line.push_str(socket);
            fill(line, width(socket), self.socket);
        }
        if !queued.is_empty() || room.is_none() {
            let queued = if queued.is_empty() { "–" } else { queued };
            line.push(' ');
            pad(line, TIME_WIDTH.saturating_sub(width(queued)));
            line.push_str(queued);
        }
        for note in notes.iter().filter(|_| noted != Noted::Not) {
            line.push_str("  ");
            page.styled(line, note.style, |line| note.push(line, noted));
        }
        whole
    }
}

fn pad(line: &mut String, blanks: usize) {
    line.extend(std::iter::repeat_n(' ', blanks));
}

/// As many of them as there is room for, and how many more there are.
fn some_of(texts: &[&str], room: usize) -> String {
    for shown in (1..=texts.len().min(FILES_MAX)).rev() {
        let left = texts.len() - shown;
        let more = if left > 0 {
            format!(", +{left}")
        } else {
            String::new()
        };
        let text = texts[..shown].join(", ");
        if width(&text) + more.len() <= room {
            return text + &more;
        }
        if shown == 1 {
            return shortened(&text, room.saturating_sub(more.len())) + &more;
        }
    }
    String::new()
}
