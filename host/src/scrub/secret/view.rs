//! The squeezed view of a text: in lower case and without separators, so that one pattern finds `AB:CD`, `ab cd`, and
//! base64 or hex that is broken into lines.

use zeroize::Zeroizing;

/// The most separators in a row that are passed over, in bytes. More of them end a match.
const GAP: usize = 16;
/// How many bytes of text are squeezed between two notes of where that was.
const STEP: usize = 64;

/// What a byte is squeezed to; 0 for a separator. Cleaned text holds no such byte and no carriage return; in others both separate too.
const SQUEEZED: [u8; 256] = {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let separates = matches!(byte as u8, b' ' | b'\n' | b'\r' | b'\t' | b':' | b'-');
        table[byte] = if separates {
            0
        } else {
            (byte as u8).to_ascii_lowercase()
        };
        byte += 1;
    }
    table
};

/// A squeezed text.
#[derive(Debug, Default)]
pub(in crate::scrub) struct View {
    /// The squeezed text; from `squeezer.len` on, what is left over from a longer one.
    bytes: Vec<u8>,
    squeezer: Squeezer,
    /// The squeezer before each [`STEP`] bytes of the text.
    notes: Vec<Squeezer>,
}

/// How far squeezing has come.
#[derive(Debug, Default, Clone, Copy)]
struct Squeezer {
    len: usize,
    /// Separators since the last other byte.
    gap: usize,
}

impl Squeezer {
    /// Squeezes one byte into `out`, which must have room for it.
    #[inline]
    fn step(&mut self, byte: u8, out: &mut [u8]) {
        // Written first and counted after, without a branch: this sees every byte.
        let squeezed = SQUEEZED[usize::from(byte)];
        let keep = squeezed != 0;
        out[self.len] = squeezed;
        self.len += usize::from(keep);
        self.gap = if keep { 0 } else { self.gap + 1 };
        if self.gap == GAP + 1 {
            // Only a pattern with such a gap holds this.
            out[self.len] = b' ';
            self.len += 1;
        }
    }
}

impl View {
    /// Squeezes `text`, in place of what was squeezed before.
    pub(super) fn fill(&mut self, text: &[u8]) {
        self.bytes.resize(self.bytes.len().max(text.len()), 0);
        self.notes.clear();
        let (mut squeezer, out) = (Squeezer::default(), self.bytes.as_mut_slice());
        for step in text.chunks(STEP) {
            self.notes.push(squeezer);
            step.iter().for_each(|byte| squeezer.step(*byte, out));
        }
        self.squeezer = squeezer;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.squeezer.len]
    }

    /// Where the byte at `at` comes from in `text`, which is the one that was squeezed.
    pub(super) fn origin(&self, text: &[u8], at: usize) -> usize {
        let note = self.notes.partition_point(|note| note.len <= at) - 1;
        let (mut squeezer, mut room) = (self.notes[note], [0; STEP]);
        let base = squeezer.len;
        squeezer.len = 0;
        let step = text[note * STEP..].iter().take(STEP);
        let within = step.take_while(|byte| {
            squeezer.step(**byte, &mut room);
            squeezer.len <= at - base
        });
        note * STEP + within.count()
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    pub(in crate::scrub) fn held(&self) -> usize {
        self.bytes.capacity() + self.notes.capacity() * size_of::<Squeezer>()
    }
}

/// The longest stretch of text that a squeezed pattern of `len` bytes can match, in bytes.
pub(super) const fn span(len: usize) -> usize {
    len + len.saturating_sub(1) * GAP
}

/// `form` as a pattern for the view: what it is squeezed to wherever it stands.
pub(super) fn squeezed(form: &str) -> Zeroizing<Vec<u8>> {
    let mut view = View::default();
    view.fill(
        form.trim_matches(|c: char| c.is_ascii() && SQUEEZED[c as usize] == 0)
            .as_bytes(),
    );
    view.bytes.truncate(view.squeezer.len);
    Zeroizing::new(view.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_know_where_they_come_from() {
        for text in [
            ": Ab:cD\n\n  éf - g".to_owned(),
            "a b: -cé".repeat(50),
            "-".repeat(200) + "x y" + &" ".repeat(70) + "z",
        ] {
            let mut view = View::default();
            view.fill(text.as_bytes());
            let mut last = None;
            for (at, squeezed) in view.bytes().iter().enumerate() {
                let origin = view.origin(text.as_bytes(), at);
                let byte = text.as_bytes()[origin].to_ascii_lowercase();
                assert!(*squeezed == byte || *squeezed == b' ', "at {at} of {text:?}");
                assert!(last < Some(origin));
                last = Some(origin);
            }
        }
    }

    #[test]
    fn only_short_gaps_are_passed_over() {
        let mut view = View::default();
        view.fill(format!("a{}b", " ".repeat(GAP)).as_bytes());
        assert_eq!(view.bytes(), b"ab");
        view.fill(b"a\r\nb\rc");
        assert_eq!(view.bytes(), b"abc");
        view.fill(format!("a{}b", " ".repeat(GAP + 1)).as_bytes());
        assert_eq!(view.bytes(), b"a b");
        assert_eq!(*squeezed(&format!("- A{}b:C:", "-".repeat(GAP + 1))), b"a bc");
    }
}
