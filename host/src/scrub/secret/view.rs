//! The squeezed view of a text: in lower case and without separators, so that one pattern finds `AB:CD`, `ab cd`, and
//! base64 or hex that is broken into lines.

use zeroize::Zeroizing;

/// The most separators in a row that are passed over, in bytes. More of them end a match.
const GAP: usize = 16;

/// A squeezed text, and where each of its bytes comes from.
#[derive(Debug, Default)]
pub(in crate::scrub) struct View {
    bytes: Vec<u8>,
    /// From this position in `bytes` on, a byte comes from this many bytes further on in the text.
    shifts: Vec<(u32, u32)>,
}

impl View {
    /// Squeezes `text`, in place of what was squeezed before.
    pub(super) fn fill(&mut self, text: &str) {
        self.bytes.clear();
        self.shifts.clear();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let word = rest.iter().position(|b| separates(*b)).unwrap_or(rest.len());
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&rest[..word]);
            self.bytes[start..].make_ascii_lowercase();
            rest = &rest[word..];
            let gap = rest.iter().position(|b| !separates(*b)).unwrap_or(rest.len());
            rest = &rest[gap..];
            if gap > GAP {
                // No pattern holds a separator.
                self.bytes.push(b' ');
            }
            self.shift(text.len() - rest.len());
        }
    }

    /// Notes that what follows comes from `origin` on.
    fn shift(&mut self, origin: usize) {
        let at = self.bytes.len();
        self.shifts.push((narrow(at), narrow(origin - at)));
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the byte at `at` stands in the text.
    pub(super) fn origin(&self, at: usize) -> usize {
        let later = self.shifts.partition_point(|(from, _)| *from as usize <= at);
        at + later.checked_sub(1).map_or(0, |index| self.shifts[index].1 as usize)
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    pub(in crate::scrub) fn held(&self) -> usize {
        self.bytes.capacity() + self.shifts.capacity() * size_of::<(u32, u32)>()
    }
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).expect("a window is smaller than 4 GiB")
}

/// The longest stretch of text that a squeezed pattern of `len` bytes can match, in bytes.
pub(super) fn span(len: usize) -> usize {
    len + len.saturating_sub(1) * GAP
}

/// `bytes` as a pattern for the view.
pub(super) fn squeezed(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len()));
    out.extend(bytes.iter().filter(|b| !separates(**b)).map(u8::to_ascii_lowercase));
    out
}

fn separates(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | b':' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_know_where_they_come_from() {
        let text = ": Ab:cD\n\n  éf - g";
        let mut view = View::default();
        view.fill(text);
        assert_eq!(view.bytes(), "abcdéfg".as_bytes());
        for at in 0..view.bytes().len() {
            let byte = text.as_bytes()[view.origin(at)];
            assert_eq!(view.bytes()[at], byte.to_ascii_lowercase(), "at {at}");
        }
    }

    #[test]
    fn only_short_gaps_are_passed_over() {
        let mut view = View::default();
        view.fill(&format!("a{}b", " ".repeat(GAP)));
        assert_eq!(view.bytes(), b"ab");
        view.fill(&format!("a{}b", " ".repeat(GAP + 1)));
        assert_eq!(view.bytes(), b"a b");
    }
}
