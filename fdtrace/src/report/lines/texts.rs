//! Texts: the pieces of all lines under way in one place, so that none of them takes memory of its own.

use super::super::fit::width;

/// Pieces, one behind the other.
#[derive(Default)]
pub(super) struct Texts(String);

/// One piece.
#[derive(Clone, Copy, Default)]
pub(super) struct Piece {
    begin: usize,
    end: usize,
    /// Columns that it takes.
    pub(super) width: usize,
}

impl Piece {
    pub(super) fn is_empty(self) -> bool {
        self.begin == self.end
    }
}

impl Texts {
    /// Adds what `write` appends.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut String)) -> Piece {
        let begin = self.0.len();
        write(&mut self.0);
        self.measured(begin)
    }

    /// Adds the pieces, with this between them.
    pub(super) fn join(&mut self, pieces: &[Piece], between: &str) -> Piece {
        if let [one] = pieces {
            return *one;
        }
        let begin = self.0.len();
        for (place, piece) in pieces.iter().enumerate() {
            if place > 0 {
                self.0.push_str(between);
            }
            self.0.extend_from_within(piece.begin..piece.end);
        }
        self.measured(begin)
    }

    /// Adds a piece again, and what `write` appends to it.
    pub(super) fn extend(&mut self, piece: Piece, write: impl FnOnce(&mut String)) -> Piece {
        let begin = self.0.len();
        self.0.extend_from_within(piece.begin..piece.end);
        write(&mut self.0);
        self.measured(begin)
    }

    pub(super) fn of(&self, piece: Piece) -> &str {
        &self.0[piece.begin..piece.end]
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn measured(&self, begin: usize) -> Piece {
        Piece {
            begin,
            end: self.0.len(),
            width: width(&self.0[begin..]),
        }
    }
}
