//! A run as one portable file: JSON Lines, a header first, then all that the store has of the run in the order in which it was written, and a last
//! line that says how many there are and their digest. `docs/run-file.md` has the format.

mod contents;
mod export;
mod import;
mod line;
mod redacted;

pub use export::{Exported, WithPlugins};
pub use import::ImportedRun;

/// Reads lines to the last one, or to what is wrong.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_lines(bytes: &[u8], limits: &crate::limits::Limits) {
    let mut reader = line::Reader::new(bytes, limits);
    if reader.header().is_ok() {
        while let Ok(line) = reader.next() {
            if matches!(line, line::Line::End(_)) {
                return;
            }
        }
    }
}

/// The format's version, the first thing in a file: it rises with what is encoded in its lines, as the database's does. `run::encoding` holds it to that.
pub(super) const VERSION: u64 = 2;

/// Bytes of a component in one line.
const PIECE: usize = 256 << 10;
