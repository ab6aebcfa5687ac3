//! The last pieces of a text, in one buffer.

use std::collections::VecDeque;

use super::lines::{Begins, Piece, Place};

/// Pieces in the order of the text; the first may be taken off.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The text of all pieces, after some that is gone.
    text: String,
    /// How much of `text` is gone, in bytes.
    gone: usize,
    pieces: VecDeque<Mark>,
    chars: usize,
    /// Where the first piece stands.
    place: Place,
}

/// A piece without its text.
#[derive(Debug, Clone, Copy)]
struct Mark {
    bytes: u16,
    chars: u16,
    begins: Begins,
}

impl Mark {
    fn of(piece: &Piece<'_>) -> Self {
        let small = |number: usize| u16::try_from(number).expect("a piece has at most 2,000 characters");
        Self {
            bytes: small(piece.text.len()),
            chars: small(piece.chars),
            begins: piece.begins,
        }
    }
}

impl Tail {
    pub(super) fn push(&mut self, piece: &Piece<'_>) {
        if self.pieces.is_empty() {
            self.place = piece.place;
        }
        self.pieces.push_back(Mark::of(piece));
        self.text.push_str(piece.text);
        self.chars += piece.chars;
    }

    /// The number of characters in all pieces.
    pub(super) fn chars(&self) -> usize {
        self.chars
    }

    pub(super) fn first(&self) -> Option<Piece<'_>> {
        self.pieces.front().map(|mark| Piece {
            text: &self.text[self.gone..self.gone + usize::from(mark.bytes)],
            chars: usize::from(mark.chars),
            place: self.place,
            begins: mark.begins,
        })
    }

    /// Takes the first `bytes` bytes, which are `chars` characters, off the first piece.
    pub(super) fn pop(&mut self, bytes: usize, chars: usize) {
        let Some(first) = self.first() else { return };
        let (taken, rest) = first.split(bytes, chars);
        let (place, mark) = (taken.end(), Mark::of(&rest));
        self.pieces.pop_front();
        if mark.bytes > 0 {
            self.pieces.push_front(mark);
        }
        (self.gone, self.chars, self.place) = (self.gone + bytes, self.chars - chars, place);
        // At half, so that each byte is moved about once.
        if self.gone > self.text.len() / 2 {
            self.text.drain(..self.gone);
            self.gone = 0;
        }
    }

    /// All pieces as one text, and where it stands.
    pub(super) fn text(&self) -> (&str, Place) {
        (&self.text[self.gone..], self.place)
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.text.capacity() + self.pieces.capacity() * size_of::<Mark>()
    }
}
