//! Drops what can hide in a text or steer its reader, as a stream. Dropped and not replaced, unlike in `crate::text`: a
//! secret that such characters split is whole again, and found.

use crate::text::{Shape, clean};

/// Makes a picture of the symbol before it, where `crate::text` lets it through: here it could still split a secret unseen.
const SELECTOR: char = '\u{FE0F}';

/// A cleaner that remembers whether the last character was a carriage return.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    after_return: bool,
}

impl Cleaner {
    /// Hands out `text` in pieces, without control (except `\n` and `\t`), bidirectional and invisible characters;
    /// `\r\n` and a lone `\r` become `\n`.
    pub(super) fn push(&mut self, text: &str, out: &mut impl FnMut(&str)) {
        let mut rest = text;
        if self.after_return && !rest.is_empty() {
            self.after_return = false;
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        }
        while !rest.is_empty() {
            let plain = plain(rest.as_bytes());
            if plain > 0 {
                out(&rest[..plain]);
                rest = &rest[plain..];
            }
            rest = self.odd(rest, out);
        }
    }

    /// Handles the run of unusual characters that `text` begins with, and returns what follows it.
    fn odd<'a>(&mut self, text: &'a str, out: &mut impl FnMut(&str)) -> &'a str {
        let wide = text.len() - text.trim_start_matches(|c: char| !c.is_ascii()).len();
        if wide > 0 {
            visible(&text[..wide], out);
            return &text[wide..];
        }
        let Some(rest) = text.strip_prefix('\r') else {
            return text.get(1..).unwrap_or_default();
        };
        out("\n");
        self.after_return = rest.is_empty();
        rest.strip_prefix('\n').unwrap_or(rest)
    }
}

/// The length in bytes of the printable ASCII, line feeds and tabs that `bytes` begins with.
fn plain(bytes: &[u8]) -> usize {
    const BLOCK: usize = 32;
    // Whole blocks first: the compiler turns this into vector instructions.
    let blocks = bytes
        .chunks_exact(BLOCK)
        .take_while(|block| block.iter().fold(true, |all, b| all & is_plain(*b)));
    let start = blocks.count() * BLOCK;
    let more = bytes[start..].iter().take_while(|b| is_plain(**b)).count();
    start + more
}

fn is_plain(byte: u8) -> bool {
    (b' '..0x7F).contains(&byte) | (byte == b'\n') | (byte == b'\t')
}

/// Hands out the characters of `run`, which holds no ASCII, that can be seen.
fn visible(run: &str, out: &mut impl FnMut(&str)) {
    if matches!(clean(run, Shape::Block), std::borrow::Cow::Borrowed(_)) && !run.contains(SELECTOR) {
        return out(run);
    }
    for c in run.chars().filter(|c| is_visible(*c)) {
        out(c.encode_utf8(&mut [0; 4]));
    }
}

/// Whether a character beyond ASCII can be seen by itself.
fn is_visible(c: char) -> bool {
    let mut buffer = [0; 4];
    let one: &str = c.encode_utf8(&mut buffer);
    clean(one, Shape::Block) == one
}

/// What a [`Cleaner`] leaves of the character that `text` begins with.
pub(super) fn seen(text: &str) -> Option<char> {
    let c = text.chars().next()?;
    match c {
        '\r' => (!text.starts_with("\r\n")).then_some('\n'),
        _ if c.is_ascii() => u8::try_from(c).is_ok_and(is_plain).then_some(c),
        _ => is_visible(c).then_some(c),
    }
}

/// The whole of `text`, cleaned.
pub(super) fn cleaned(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    Cleaner::default().push(text, &mut |piece| out.push_str(piece));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_become_one_kind() {
        assert_eq!(cleaned("a\r\nb\rc\n\rd\r\r\n\te\r"), "a\nb\nc\n\nd\n\n\te\n");
    }

    #[test]
    fn what_hides_or_steers_is_dropped() {
        assert_eq!(
            cleaned("a\u{1b}[31mb\0\u{7}\u{9b}c\u{202e}é\u{200b}\u{feff}ж\u{e0041}d\u{7f}"),
            "a[31mbcéжd"
        );
        assert_eq!(cleaned("sk\u{200d}-\u{fe0f}key\u{34f}"), "sk-key");
    }

    #[test]
    fn every_character_that_text_replaces_is_dropped() {
        for c in '\0'..=char::MAX {
            let one = c.to_string();
            let kept = cleaned(&one);
            if clean(&one, Shape::Block) != one.as_str() && c != '\r' {
                assert_eq!(kept, "", "{c:?}");
            } else if c != '\r' {
                assert_eq!(kept, one, "{c:?}");
            }
        }
    }

    #[test]
    fn what_is_seen_of_each_character_is_what_is_left_of_it() {
        for sample in [
            "a\r\nb\rc\n\rd\r\r\n\te\r",
            "a\u{1b}[31mb\0\u{202e}é\u{200b}ж\u{7f}\u{fe0f}",
        ] {
            let left: String = sample
                .char_indices()
                .filter_map(|(at, _)| seen(&sample[at..]))
                .collect();
            assert_eq!(left, cleaned(sample));
        }
    }

    #[test]
    fn each_split_gives_what_the_whole_gives() {
        let sample = "\r\n\ra\r\nж\u{200b}ж\r\u{200b}\nb\u{1b}[0m\r";
        let whole = cleaned(sample);
        for (cut, _) in sample.char_indices() {
            let (mut cleaner, mut out) = (Cleaner::default(), String::new());
            cleaner.push(&sample[..cut], &mut |piece| out.push_str(piece));
            cleaner.push(&sample[cut..], &mut |piece| out.push_str(piece));
            assert_eq!(out, whole, "cut at {cut}");
        }
    }
}
