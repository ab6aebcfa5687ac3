//! Shortens a text to a budget of characters, as a stream: its head, its tail, and the lines of its middle that matter
//! most.

mod join;
mod lines;
mod pick;
mod salience;
mod tail;

use self::join::MARKER_MAX;
use self::lines::{Begins, Piece, Place, Splitter, cut_end, cut_start};
use self::pick::Picks;
use self::tail::Tail;

/// A budget below this, in characters, is spent on the head alone.
const SMALL: usize = 2 * MARKER_MAX;
/// What a head without a tail ends with: one character.
const ELLIPSIS: &str = "…";

/// A text within its budget, or too long for it.
pub(super) enum Reducer {
    /// So far it fits: the text, and its characters.
    Whole(String, usize, usize),
    /// It doesn't fit.
    Long(Box<Long>),
}

/// A text, shortened if need be.
pub(super) struct Reduced {
    pub(super) text: String,
    /// The whole text, in characters.
    pub(super) total: u64,
    /// Characters that are missing; 0 for a whole text.
    pub(super) left_out: u64,
}

impl Reducer {
    /// For a text of at most `budget` characters.
    pub(super) fn new(budget: usize) -> Self {
        Self::Whole(String::new(), 0, budget)
    }

    pub(super) fn push(&mut self, text: &str) {
        match self {
            Self::Long(long) => long.push(text),
            Self::Whole(whole, used, budget) => {
                *used += text.chars().count();
                if *used <= *budget {
                    return whole.push_str(text);
                }
                let mut long = Box::new(Long::new(*budget));
                long.push(whole);
                long.push(text);
                *self = Self::Long(long);
            }
        }
    }

    pub(super) fn finish(self) -> Reduced {
        match self {
            Self::Whole(text, chars, _) => Reduced {
                text,
                total: chars as u64,
                left_out: 0,
            },
            Self::Long(long) => long.finish(),
        }
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Whole(text, ..) => text.capacity(),
            Self::Long(long) => long.splitter.held() + long.parts.held(),
        }
    }
}

/// A text that doesn't fit.
pub(super) struct Long {
    splitter: Splitter,
    parts: Parts,
}

/// Its head, its middle and its tail.
struct Parts {
    head: Head,
    middle: usize,
    picks: Picks,
    tail: Tail,
    tail_max: usize,
}

#[derive(Default)]
struct Head {
    text: String,
    /// In characters.
    max: usize,
    end: Place,
    full: bool,
}

impl Long {
    fn new(budget: usize) -> Self {
        // Of 100 characters: 45 for the head, 35 for the tail, 20 for the middle and the markers.
        let (middle, head) = if budget < SMALL {
            (budget.min(1), budget.saturating_sub(1))
        } else {
            let middle = MARKER_MAX.max(budget / 5);
            (middle, (budget - middle) / 16 * 9)
        };
        Self {
            splitter: Splitter::new(),
            parts: Parts {
                head: Head {
                    max: head,
                    ..Head::default()
                },
                middle,
                picks: Picks::new(middle.saturating_sub(MARKER_MAX)),
                tail: Tail::default(),
                tail_max: budget - middle - head,
            },
        }
    }

    fn push(&mut self, text: &str) {
        self.splitter.push(text, &mut |piece| self.parts.push(piece));
    }

    fn finish(mut self) -> Reduced {
        self.splitter.finish(&mut |piece| self.parts.push(piece));
        self.parts.finish()
    }
}

impl Parts {
    fn push(&mut self, piece: Piece<'_>) {
        let Some(rest) = self.head.take(piece) else {
            self.picks.see(&piece);
            return;
        };
        self.tail.push(&rest);
        while let Some(first) = self.tail.first()
            && self.tail.chars() - first.chars >= self.tail_max
        {
            self.picks.offer(first);
            let (bytes, chars) = (first.text.len(), first.chars);
            self.tail.pop(bytes, chars);
        }
    }

    /// Cuts the tail to its size: between lines, if three quarters of it are left then.
    fn trim_tail(&mut self) {
        let Some(first) = self.tail.first().filter(|_| self.tail.chars() > self.tail_max) else {
            return;
        };
        let rest = self.tail.chars() - first.chars;
        let (at, chars) = if first.text.ends_with('\n') && rest >= self.tail_max / 4 * 3 {
            (first.text.len(), first.chars)
        } else {
            cut_start(first.text, first.chars, self.tail_max - rest)
        };
        self.picks.offer(first.split(at, chars).0);
        self.tail.pop(at, chars);
    }

    fn finish(mut self) -> Reduced {
        self.trim_tail();
        let (tail, tail_place) = self.tail.text();
        let head = self.head;
        let (middle, picked) = if self.middle < MARKER_MAX {
            (ELLIPSIS.repeat(self.middle), 0)
        } else {
            let best = self.picks.into_best();
            join::middle((&head.text, head.end), best, tail_place, self.middle)
        };
        Reduced {
            total: tail_place.chars + self.tail.chars() as u64,
            left_out: tail_place.chars - head.end.chars - picked,
            text: [&head.text, middle.as_str(), tail].concat(),
        }
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.head.text.capacity() + self.picks.held() + self.tail.held()
    }
}

impl Head {
    /// Takes `piece`, or as much of it as there is room for. Returns what isn't taken.
    fn take<'a>(&mut self, piece: Piece<'a>) -> Option<Piece<'a>> {
        if self.full {
            return Some(piece);
        }
        let room = self.max - self.end.chars as usize;
        let (at, chars) = match () {
            () if piece.chars <= room => (piece.text.len(), piece.chars),
            // Between lines, if three quarters of the head are filled.
            () if piece.begins != Begins::Nothing && room <= self.max / 4 => (0, 0),
            () => cut_end(piece.text, room),
        };
        let (first, rest) = piece.split(at, chars);
        self.text.push_str(first.text);
        self.end = first.end();
        self.full = !rest.text.is_empty();
        self.full.then_some(rest)
    }
}
