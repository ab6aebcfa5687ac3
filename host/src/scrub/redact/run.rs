//! Runs of characters of one class: what is dropped after the beginning of a key, however long it is.

use std::ops::Range;

/// A class of ASCII characters. None holds `[`, so that no run enters a placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// One part of a JWT: base64url.
    Word,
    /// A key with whatever may be stuck to it.
    Token,
    /// The value of a header. It holds all of [`Class::Token`].
    Value,
}

impl Class {
    pub(super) fn has(self, byte: u8) -> bool {
        match self {
            Self::Word => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Token => Self::Word.has(byte) || matches!(byte, b'.' | b'+' | b'/' | b'=' | b'~'),
            Self::Value => byte.is_ascii_graphic() && !b"\"'`,;<>()[]{}\\".contains(&byte),
        }
    }

    /// The end of the run in `text` that begins at `start`.
    pub(super) fn end(self, text: &[u8], start: usize) -> usize {
        let run = text[start..].iter().position(|b| !self.has(*b));
        run.map_or(text.len(), |len| start + len)
    }
}

/// The ends of runs in one text. It remembers the last run of each class: many keys in one run cost no more than one.
#[derive(Debug, Default)]
pub(super) struct Runs {
    last: [Range<usize>; 3],
}

impl Runs {
    /// As [`Class::end`]; all calls must be for the same text.
    pub(super) fn end(&mut self, class: Class, text: &[u8], start: usize) -> usize {
        let last = &mut self.last[class as usize];
        if !(last.start <= start && start < last.end) {
            *last = start..class.end(text, start);
        }
        last.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_run_ends_where_it_ends() {
        let text = b"ab.c d-e+ f";
        let mut runs = Runs::default();
        for _ in 0..2 {
            for start in 0..=text.len() {
                for class in [Class::Word, Class::Token, Class::Value] {
                    assert_eq!(
                        runs.end(class, text, start),
                        class.end(text, start),
                        "{class:?} {start}"
                    );
                }
            }
        }
    }

    #[test]
    fn classes_hold_one_another_and_no_bracket() {
        for byte in 0..=u8::MAX {
            assert!(!Class::Word.has(byte) || Class::Token.has(byte), "{byte}");
            assert!(!Class::Token.has(byte) || Class::Value.has(byte), "{byte}");
            assert!(!Class::Value.has(byte) || (byte.is_ascii() && byte != b'['), "{byte}");
        }
    }
}
