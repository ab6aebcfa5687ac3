//! Hands the whole text to a sink, in pieces of one size, up to a cap.

/// The smallest piece, in bytes: any character fits.
const PIECE_MIN: usize = 4;

/// Text on its way to a sink.
pub(super) struct Spill<S> {
    sink: S,
    piece: String,
    size: usize,
    /// What may still be handed over, in bytes.
    left: usize,
    /// What was handed over, in bytes.
    spilled: u64,
    full: bool,
}

impl<S: FnMut(&str)> Spill<S> {
    /// Pieces of at most `size` bytes, and of as many as characters allow; `cap` bytes in all.
    pub(super) fn new(size: usize, cap: usize, sink: S) -> Self {
        Self {
            sink,
            piece: String::new(),
            size: size.max(PIECE_MIN),
            left: cap,
            spilled: 0,
            full: false,
        }
    }

    pub(super) fn push(&mut self, mut text: &str) {
        while !self.full && !text.is_empty() {
            let fitting = crate::text::prefix(text, self.size - self.piece.len());
            self.piece.push_str(fitting);
            text = &text[fitting.len()..];
            if !text.is_empty() {
                self.flush();
            }
        }
    }

    /// Hands over the last piece; returns the number of bytes that were handed over in all.
    pub(super) fn finish(mut self) -> u64 {
        self.flush();
        self.spilled
    }

    fn flush(&mut self) {
        let piece = crate::text::prefix(&self.piece, self.left);
        self.full = piece.len() < self.piece.len();
        self.left -= piece.len();
        self.spilled += piece.len() as u64;
        if !piece.is_empty() {
            (self.sink)(piece);
        }
        self.piece.clear();
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.piece.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spill(size: usize, cap: usize, chunks: &[&str]) -> (Vec<String>, u64) {
        let mut pieces = vec![];
        let mut spill = Spill::new(size, cap, |piece: &str| pieces.push(piece.to_owned()));
        chunks.iter().for_each(|chunk| spill.push(chunk));
        let spilled = spill.finish();
        (pieces, spilled)
    }

    #[test]
    fn pieces_are_the_same_however_the_text_comes() {
        assert_eq!(
            spill(6, 99, &["abcdéfghijk"]),
            spill(6, 99, &["abc", "", "d", "éfgh", "ijk"])
        );
        assert_eq!(
            spill(6, 99, &["abcdéfghij", "k"]),
            (["abcdé", "fghijk"].map(str::to_owned).to_vec(), 12)
        );
        assert_eq!(spill(5, 99, &["abcd", "éfghi", "jk"]).0, ["abcd", "éfgh", "ijk"]);
    }

    #[test]
    fn nothing_comes_after_the_cap() {
        assert_eq!(
            spill(4, 6, &["abcdefgh"]),
            (["abcd", "ef"].map(str::to_owned).to_vec(), 6)
        );
        assert_eq!(
            spill(4, 8, &["abcdefgh"]),
            (["abcd", "efgh"].map(str::to_owned).to_vec(), 8)
        );
        assert_eq!(
            spill(4, 5, &["abcdéfgh", "i"]),
            (["abcd"].map(str::to_owned).to_vec(), 4)
        );
        assert_eq!(spill(4, 0, &["abcd", "efgh"]), (vec![], 0));
        assert_eq!(
            spill(0, 9, &["éa", "é😀"]),
            (["éa", "é", "😀"].map(str::to_owned).to_vec(), 9)
        );
    }
}
