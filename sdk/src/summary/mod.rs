//! Summing up texts that are too long for a conversation, by ordinary completions of one of the session's models.
//!
//! What the host shortens it keeps whole on the blackboard, and says where in a line `[whole text: spill/KEY, N bytes]`:
//!
//! ```ignore
//! use hermes_sdk::summary::{Summary, spill_of};
//!
//! if let Some(spill) = spill_of(&report.summary) {
//!     let short = Summary::new(4_000).focus("What limits dendrite growth?").of_entry(&spill.name())?;
//! }
//! ```

mod reduce;
mod spill;

use crate::blackboard::Space;
use crate::llm::{self, Options};
use crate::{Error, ErrorKind, text};

use reduce::{Desk, Pieces, reduce};
pub use spill::{Spill, spill_of};

/// Characters of a summary where nobody says how long it may be.
const CHARS: usize = 4_000;
/// Completions that one summary takes at most, where nobody says.
const COMPLETIONS: usize = 12;
/// What a piece of a spill holds at most, in bytes; all but the last hold about as much.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that are read of one text, in an even spread: a session's record grows by all that it reads.
const MOST_PIECES: usize = 32;
/// What the words around the text take, in bytes.
const AROUND_BYTES: usize = 2_000;
/// What one question holds of the text at most, in bytes, however large the model's window.
const MOST_ROOM: usize = 256 * 1024;
/// And at least.
const LEAST_ROOM: usize = 1_000;

/// How a text is summed up: what for, how short, by which model, at what price.
///
/// A text that fits the model's window takes one completion. A longer one is summed up in parts, and then the parts' sums
/// together. One that would take more completions than allowed is read in that many even stretches, of which the
/// beginning and the end count.
#[derive(Debug, Clone)]
pub struct Summary {
    focus: Option<String>,
    chars: usize,
    model: Option<String>,
    completions: usize,
}

impl Default for Summary {
    fn default() -> Self {
        Self::new(CHARS)
    }
}

impl Summary {
    /// A summary of at most this many characters.
    pub fn new(chars: usize) -> Self {
        Self {
            focus: None,
            chars,
            model: None,
            completions: COMPLETIONS,
        }
    }

    /// Keeps what bears on this question.
    #[must_use]
    pub fn focus(mut self, question: impl Into<String>) -> Self {
        self.focus = Some(question.into());
        self
    }

    /// Asks another of the session's models, by its alias.
    #[must_use]
    pub fn model(mut self, alias: impl Into<String>) -> Self {
        self.model = Some(alias.into());
        self
    }

    /// Takes at most this many completions, each of which is an iteration; at least 2, where one does not do.
    #[must_use]
    pub fn completions(mut self, most: usize) -> Self {
        self.completions = most;
        self
    }

    /// Sums up what lies on the blackboard under `name`, which is `space/key`: one entry, or a spill in its pieces
    /// `key/0001`, `key/0002` and so on.
    ///
    /// # Errors
    /// `invalid-input` for a name without a `/`, `not-found` where nothing lies there, `denied` for a space that was not
    /// granted, and a model's refusal that came before anything was summed up. With something to show, the summary ends
    /// with a line that says what is missing.
    pub fn of_entry(&self, name: &str) -> Result<String, Error> {
        let (space, key) = name
            .split_once('/')
            .ok_or_else(|| Error::invalid_input(format!("`{name}` is not of the form space/key")))?;
        let missing = || {
            let message = format!("there is no entry `{key}` in space `{space}`");
            Error::new(ErrorKind::NotFound, message)
        };
        let space = Space::open(space)?;
        let keys = spill::pieces(key, space.keys(&format!("{key}/"), spill::MOST_KEYS)?);
        if keys.is_empty() {
            return self.of_text(&space.get_text(key)?.ok_or_else(missing)?);
        }
        let read = |place: usize| space.get_text(&keys[place])?.ok_or_else(missing);
        // All are as long as the first, but the last.
        let (count, first) = (keys.len(), read(0)?.len());
        let last = if count == 1 { first } else { read(count - 1)?.len() };
        self.reduce(&Pieces {
            places: spread(count),
            count,
            piece_bytes: (first * (count - 1) + last).div_ceil(count),
            read: &read,
        })
    }

    /// Sums up a text at hand.
    ///
    /// # Errors
    /// A model's refusal that came before anything was summed up.
    pub fn of_text(&self, whole: &str) -> Result<String, Error> {
        let pieces = text::pieces(whole, PIECE_BYTES);
        self.reduce(&Pieces {
            places: (0..pieces.len()).collect(),
            count: pieces.len(),
            piece_bytes: whole.len().div_ceil(pieces.len().max(1)),
            read: &|place| Ok(pieces[place].to_owned()),
        })
    }

    fn reduce(&self, pieces: &Pieces<'_>) -> Result<String, Error> {
        let desk = Live {
            model: self.model.clone(),
        };
        reduce(&desk, pieces, self.focus.as_deref(), self.chars, self.completions)
    }
}

/// Sums up what lies on the blackboard under `space/key`, a spill above all, in at most 4,000 characters by the session's
/// default model. [`Summary`] has a say in it.
///
/// # Errors
/// As for [`Summary::of_entry`].
pub fn summarize(name: &str) -> Result<String, Error> {
    Summary::default().of_entry(name)
}

/// Which of `count` pieces are read: all, or an even spread with the first and the last.
fn spread(count: usize) -> Vec<usize> {
    if count <= MOST_PIECES {
        return (0..count).collect();
    }
    (0..MOST_PIECES)
        .map(|step| step * (count - 1) / (MOST_PIECES - 1))
        .collect()
}

/// The model, asked through the host.
struct Live {
    model: Option<String>,
}

impl Desk for Live {
    fn room(&self) -> usize {
        // Some of the text is escaped on its way, so that it may not fill the room to the last byte.
        let room = llm::room(self.model.as_deref()).saturating_sub(AROUND_BYTES) / 5 * 4;
        room.clamp(LEAST_ROOM, MOST_ROOM)
    }

    fn ask(&self, question: &str) -> Result<String, Error> {
        let options = Options {
            model: self.model.clone(),
            ..Options::default()
        };
        let completion = llm::complete(&[llm::Message::user(question)], &[], Some(&options))?;
        Ok(llm::text(&completion))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_even_and_has_both_ends() {
        assert_eq!(spread(3), [0, 1, 2]);
        let places = spread(400);
        assert_eq!((places.len(), places[0], places[31]), (MOST_PIECES, 0, 399));
        assert!(places.windows(2).all(|pair| (12..=13).contains(&(pair[1] - pair[0]))));
    }
}
