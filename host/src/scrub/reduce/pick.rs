//! The best lines of the middle, as many as fit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::lines::{self, Piece, Place};
use super::salience;

/// How many lines are remembered to know a repeated one.
const SEEN: usize = 4_096;
/// The longest part of a line that is picked, in characters.
const LINE_MAX: usize = 400;
/// What the marker before a picked line costs, in characters; a longer one is rare, and seen to at the end.
const MARKER: usize = 48;

/// A picked line. The order is that of worth.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Picked {
    points: i32,
    /// Where points are equal, lines from anywhere in the text are picked, and not just early ones.
    tie: u64,
    pub(super) place: Place,
    pub(super) chars: usize,
    pub(super) text: Box<str>,
}

impl Picked {
    pub(super) fn end(&self) -> Place {
        self.place.after(&self.text, self.chars)
    }

    fn cost(&self) -> usize {
        self.chars + MARKER
    }
}

/// Lines with the most points, within a budget of characters.
#[derive(Debug)]
pub(super) struct Picks {
    heap: BinaryHeap<Reverse<Picked>>,
    cost: usize,
    budget: usize,
    /// Hashes of lines; a line has one place, where it displaces another.
    seen: Box<[u64]>,
}

impl Picks {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            cost: 0,
            budget,
            seen: vec![0; SEEN].into(),
        }
    }

    /// Remembers `piece`, so that a repetition of it isn't picked. Returns its hash, and whether it is one itself.
    pub(super) fn see(&mut self, piece: &Piece<'_>) -> (u64, bool) {
        let hash = hash(piece.text.trim_ascii().as_bytes());
        let slot = &mut self.seen[hash as usize % SEEN];
        (hash, std::mem::replace(slot, hash) == hash)
    }

    /// Picks `piece` if it is worth more than what it displaces.
    pub(super) fn offer(&mut self, piece: Piece<'_>) {
        if self.budget <= MARKER || piece.text.trim_ascii().is_empty() {
            return;
        }
        let (hash, repeated) = self.see(&piece);
        if repeated {
            return;
        }
        let points = salience::points(&piece);
        let max = LINE_MAX.min(self.budget / 3);
        let cost = piece.chars.min(max) + MARKER;
        let worst = self.heap.peek().map(|Reverse(worst)| (worst.points, worst.tie));
        if self.cost + cost > self.budget && worst.is_none_or(|worst| worst >= (points, hash)) {
            return;
        }
        let (at, chars) = lines::cut_end(piece.text, max);
        self.heap.push(Reverse(Picked {
            points,
            tie: hash,
            place: piece.place,
            chars,
            text: piece.text[..at].into(),
        }));
        self.cost += chars + MARKER;
        while self.cost > self.budget {
            self.drop_worst();
        }
    }

    /// Drops the line with the fewest points.
    fn drop_worst(&mut self) {
        self.cost -= self.heap.pop().map_or(self.cost, |Reverse(worst)| worst.cost());
    }

    /// What was picked, the best first.
    pub(super) fn into_best(self) -> Vec<Picked> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|Reverse(picked)| picked).collect()
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let text: usize = self.heap.iter().map(|Reverse(picked)| picked.text.len()).sum();
        text + self.heap.capacity() * size_of::<Picked>() + self.seen.len() * size_of::<u64>()
    }
}

/// FNV-1a, eight bytes at a time: the same on each machine and in each release.
fn hash(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0100_0000_01B3;
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, word| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(29)
    });
    rest.iter()
        .fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
