//! Bytes to text as a stream: what `String::from_utf8_lossy` makes of the whole, wherever the chunks are cut.

/// The longest UTF-8 sequence that can still be incomplete, in bytes.
const PENDING: usize = 3;

/// A decoder that holds back a sequence cut by a chunk's end.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    pending: [u8; PENDING + 1],
    held: usize,
}

impl Decoder {
    /// Decodes `bytes` and hands out the text in pieces. Each invalid sequence becomes one U+FFFD.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut impl FnMut(&str)) {
        while self.held > 0 {
            let Some((&byte, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            self.complete(byte, out);
        }
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            if !chunk.valid().is_empty() {
                out(chunk.valid());
            }
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && incomplete(invalid) {
                self.pending[..invalid.len()].copy_from_slice(invalid);
                self.held = invalid.len();
            } else if !invalid.is_empty() {
                out("\u{FFFD}");
            }
        }
    }

    /// Ends the text: a sequence that is still incomplete is invalid.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(&str)) {
        if self.held > 0 {
            self.held = 0;
            out("\u{FFFD}");
        }
    }

    /// Adds one byte to the sequence held back.
    fn complete(&mut self, byte: u8, out: &mut impl FnMut(&str)) {
        self.pending[self.held] = byte;
        self.held += 1;
        match str::from_utf8(&self.pending[..self.held]) {
            Ok(text) => {
                out(text);
                self.held = 0;
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => {
                // All but the new byte were the beginning of a sequence; the new byte may begin another.
                self.held = 0;
                out("\u{FFFD}");
                self.push(&[byte], out);
            }
        }
    }
}

/// Whether `bytes` may be the beginning of a sequence.
fn incomplete(bytes: &[u8]) -> bool {
    !bytes.is_empty() && str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> String {
        let (mut decoder, mut text) = (Decoder::default(), String::new());
        for chunk in chunks {
            decoder.push(chunk, &mut |piece| text.push_str(piece));
        }
        decoder.finish(&mut |piece| text.push_str(piece));
        text
    }

    #[test]
    fn each_split_gives_what_the_whole_gives() {
        let samples: [&[u8]; 6] = [
            "aé€😀z".as_bytes(),
            b"\xf0\x9f\x98",
            b"\xe2\x82\xe2\x82\xac\xff\xc3",
            b"\xf0\x80\x80\x41\xed\xa0\x80",
            b"\xc3\xc3\xc3\xa9\xf4\x90\x80\x80",
            b"\xf0\x9f\xf0\x9f\x98\x80\xe2",
        ];
        for sample in samples {
            let whole = String::from_utf8_lossy(sample);
            for first in 0..=sample.len() {
                for second in first..=sample.len() {
                    let chunks = [&sample[..first], &sample[first..second], &sample[second..]];
                    assert_eq!(decode(&chunks), whole, "{sample:?} at {first} and {second}");
                }
            }
            let single: Vec<&[u8]> = sample.chunks(1).collect();
            assert_eq!(decode(&single), whole, "{sample:?} byte by byte");
        }
    }
}
