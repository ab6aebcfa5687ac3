//! What an agent or a tool wrote, made fit for another agent's model and for the journal: cleaned, without secrets, and
//! shortened to a budget. It is a stream with bounded memory, and its result doesn't depend on how the input was cut
//! into chunks.
//!
//! The stages, in the order in which a text passes them:
//!
//! - `decode`, `clean`: bytes to text, without what hides or steers.
//! - `redact`: secrets and keys replaced, with what `secret` makes of the configured values.
//! - `spill`: the whole text to a sink, in pieces.
//! - `reduce`: head, tail, and what matters of the middle.
//!
//! Beside them: `coming`, a text whose pieces are redacted as they come; `secrets`, the values and short texts; `conceal`, bytes that pass as they are but for the values; `fence`, the mark
//! around a text that isn't trusted.

mod clean;
mod coming;
mod conceal;
mod decode;
mod fence;
mod reading;
mod redact;
mod reduce;
mod secret;
mod secrets;
mod spill;

#[cfg(test)]
pub(crate) mod tests;

use self::clean::Cleaner;
pub use self::coming::Coming;
pub use self::fence::{TAG_BYTES, Titles, fence, without_fences};
pub use self::secrets::{BEHIND, Known, Secrets};

use self::decode::Decoder;
use self::redact::Redactor;
use self::reduce::Reducer;
use self::spill::Spill;
use crate::blocking;

/// Bytes from which on looking for secrets may take milliseconds.
const LARGE: usize = 64 * 1024;

/// Does work that goes through so many bytes: where they are many, other tasks of this thread go on in another one meanwhile.
fn through<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    match bytes < LARGE {
        true => work(),
        false => blocking::in_place(work),
    }
}

/// How much of a text is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The longest result, in characters, markers included.
    pub chars: usize,
    /// How much of the whole text the sink gets, in bytes.
    pub spill: usize,
    /// The size of the sink's pieces, in bytes, at least 4. All but the last are less than a character shorter.
    pub piece: usize,
}

/// A text that passes all stages.
///
/// Memory is bounded whatever the input's size: half a mebibyte as a rule and three for hostile text, a piece, and up to
/// 16 bytes for each character of the result's budget.
pub struct Scrubber<S: FnMut(&str)> {
    secrets: Secrets,
    decoder: Decoder,
    cleaner: Cleaner,
    redactor: Redactor,
    outlet: Outlet<S>,
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrubbed {
    /// The text, or what is kept of it, with a marker line for each gap. Never longer than the budget.
    pub text: String,
    /// Whether something was left out.
    pub shortened: bool,
    /// How many stretches were replaced by a placeholder, in the whole text.
    pub redactions: u64,
    /// The whole text, cleaned and redacted, in characters.
    pub total_chars: u64,
    /// The whole text, cleaned and redacted, in bytes.
    pub total_bytes: u64,
    /// What of it the sink got, in bytes. `total_bytes - spilled_bytes` were not kept.
    pub spilled_bytes: u64,
    /// What of it isn't in `text`, in characters.
    pub left_out_chars: u64,
}

impl<S: FnMut(&str)> Scrubber<S> {
    /// A scrubber for one text, whose whole goes to `sink` in pieces.
    pub fn new(secrets: &Secrets, budget: Budget, sink: S) -> Self {
        Self::with_window(secrets, budget, sink, redact::WINDOW)
    }

    /// With a window of at least so many bytes: the result doesn't depend on it.
    fn with_window(secrets: &Secrets, budget: Budget, sink: S, window: usize) -> Self {
        Self {
            decoder: Decoder::default(),
            cleaner: Cleaner::default(),
            redactor: Redactor::new(secrets.rules(), window),
            outlet: Outlet {
                spill: Spill::new(budget.piece, budget.spill, sink),
                reducer: Reducer::new(budget.chars),
                bytes: 0,
                max: budget.chars,
            },
            secrets: secrets.clone(),
        }
    }

    /// Adds the next bytes of the text. Invalid UTF-8 becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) {
        let Self {
            secrets,
            decoder,
            cleaner,
            redactor,
            outlet,
        } = self;
        through(bytes.len(), || {
            decoder.push(bytes, &mut |text| {
                cleaner.push(text, &mut |text| {
                    redactor.push(secrets.rules(), text, &mut |text| outlet.push(text));
                });
            });
        });
    }

    /// Ends the text.
    pub fn finish(self) -> Scrubbed {
        let Self {
            secrets,
            mut decoder,
            mut cleaner,
            mut redactor,
            mut outlet,
        } = self;
        let rules = secrets.rules();
        decoder.finish(&mut |text| {
            cleaner.push(text, &mut |text| {
                redactor.push(rules, text, &mut |text| outlet.push(text));
            });
        });
        redactor.finish(rules, &mut |text| outlet.push(text));
        outlet.finish(&secrets, redactor.count())
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.redactor.held() + self.outlet.spill.held() + self.outlet.reducer.held()
    }
}

/// Where the redacted text goes.
struct Outlet<S> {
    spill: Spill<S>,
    reducer: Reducer,
    bytes: u64,
    max: usize,
}

impl<S: FnMut(&str)> Outlet<S> {
    fn push(&mut self, text: &str) {
        self.bytes += text.len() as u64;
        self.spill.push(text);
        self.reducer.push(text);
    }

    fn finish(self, secrets: &Secrets, redactions: u64) -> Scrubbed {
        let reduced = self.reducer.finish();
        // Two halves of a secret may have met where something between them was left out.
        let text = secrets.redact(&reduced.text);
        Scrubbed {
            text: secrets.rules().prefix(&text, self.max).to_owned(),
            shortened: reduced.left_out > 0,
            redactions,
            total_chars: reduced.total,
            total_bytes: self.bytes,
            spilled_bytes: self.spill.finish(),
            left_out_chars: reduced.left_out,
        }
    }
}
