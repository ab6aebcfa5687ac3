//! A text as somebody else reads it: with escapes as what they mean, or without what can't be seen. Each stretch of it is one of the text.

use std::ops::Range;

use super::clean::seen;
use crate::json;

/// What is read, and where it stands in the text.
pub(super) struct Reading {
    /// What is read.
    pub(super) text: String,
    pieces: Vec<Piece>,
}

/// A piece that is read from one of the text: byte by byte where both are as long, else as a whole.
struct Piece {
    at: usize,
    from: Range<usize>,
}

impl Reading {
    /// With each escape of JSON as what it means.
    pub(super) fn unescaped(text: &str) -> Self {
        Self::of(text, json::escapes(text.as_bytes()).map(|(place, c)| (place, Some(c))))
    }

    /// Without backslashes, so that it is the same however deep it lies in strings of JSON; none where there are none. It hangs on what is near it alone:
    /// see [`json::bare`].
    pub(super) fn bare(text: &str) -> Option<Self> {
        memchr::memchr(b'\\', text.as_bytes())?;
        Some(Self::all_bare(text))
    }

    /// The same, though there be none.
    pub(super) fn all_bare(text: &str) -> Self {
        Self::of(text, json::bare(text.as_bytes()))
    }

    /// Without what can't be seen; none where all of it can.
    pub(super) fn visible(text: &str) -> Option<Self> {
        let mut odd = text
            .char_indices()
            .filter(|(at, c)| seen(&text[*at..]) != Some(*c))
            .peekable();
        odd.peek()?;
        Some(Self::of(
            text,
            odd.map(|(at, c)| (at..at + c.len_utf8(), seen(&text[at..]))),
        ))
    }

    /// With these stretches of the text, in order, as one character or as nothing.
    fn of(text: &str, signs: impl Iterator<Item = (Range<usize>, Option<char>)>) -> Self {
        let mut reading = Self {
            text: String::with_capacity(text.len()),
            pieces: Vec::new(),
        };
        let mut from = 0;
        for (place, sign) in signs {
            reading.push(from..place.start, &text[from..place.start]);
            from = place.end;
            if let Some(sign) = sign {
                reading.push(place, sign.encode_utf8(&mut [0; 4]));
            }
        }
        reading.push(from..text.len(), &text[from..]);
        reading
    }

    fn push(&mut self, from: Range<usize>, read: &str) {
        if !read.is_empty() {
            let at = self.text.len();
            self.pieces.push(Piece { at, from });
            self.text.push_str(read);
        }
    }

    /// Where in the text a stretch of it stands that is not empty.
    pub(super) fn place(&self, stretch: Range<usize>) -> Range<usize> {
        let first = self.byte(stretch.start);
        let last = self.byte(stretch.end.saturating_sub(1));
        first.start..last.end
    }

    /// What is read of a stretch of the text: what begins in it.
    pub(super) fn begun_in(&self, stretch: Range<usize>) -> Range<usize> {
        let at = |place: usize| {
            let number = self.pieces.partition_point(|piece| piece.from.end <= place);
            let Some(piece) = self.pieces.get(number) else {
                return self.text.len();
            };
            let end = self.pieces.get(number + 1).map_or(self.text.len(), |next| next.at);
            match place.saturating_sub(piece.from.start) {
                0 => piece.at,
                inside if piece.from.len() == end - piece.at => piece.at + inside,
                _ => end,
            }
        };
        at(stretch.start)..at(stretch.end)
    }

    fn byte(&self, at: usize) -> Range<usize> {
        let number = self.pieces.partition_point(|piece| piece.at <= at).saturating_sub(1);
        let Some(piece) = self.pieces.get(number) else {
            return 0..0;
        };
        let end = self.pieces.get(number + 1).map_or(self.text.len(), |next| next.at);
        if piece.from.len() == end - piece.at {
            let at = piece.from.start + (at - piece.at);
            return at..at + 1;
        }
        piece.from.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(reading: &Reading, text: &str) -> Vec<(String, String)> {
        let signs = reading.text.char_indices();
        let read = signs.map(|(at, c)| (c.to_string(), text[reading.place(at..at + c.len_utf8())].to_owned()));
        read.collect()
    }

    #[test]
    fn each_sign_of_an_escape_is_read_where_it_stands() {
        let text = r"é\u004b\\u\n\ud83d\ude00\q\/";
        let reading = Reading::unescaped(text);
        assert_eq!(reading.text, "éK\\u\n😀\\q/");
        let places = places(&reading, text);
        let expected = [
            ("é", "é"),
            ("K", r"\u004b"),
            ("\\", r"\\"),
            ("u", "u"),
            ("\n", r"\n"),
            ("😀", r"\ud83d\ude00"),
            ("\\", "\\"),
            ("q", "q"),
            ("/", r"\/"),
        ];
        assert_eq!(places, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(reading.place(2..4), 2..10);
    }

    #[test]
    fn what_begins_in_a_stretch_is_read_of_it() {
        let text = r"é\u004b\/\\u00e9-";
        let reading = Reading::bare(text).expect("there are escapes");
        assert_eq!(reading.text, "éK/é-");
        let all = 0..text.len();
        for (start, read) in [
            (0, "éK/é-"),
            (2, "K/é-"),
            (3, "/é-"),
            (8, "/é-"),
            (9, "/é-"),
            (10, "é-"),
            (11, "-"),
            (17, "-"),
            (18, ""),
        ] {
            assert_eq!(&reading.text[reading.begun_in(start..all.end)], read, "{start}");
            let before = reading.text.strip_suffix(read).expect("it is its end");
            assert_eq!(&reading.text[reading.begun_in(0..start)], before, "{start}");
        }
        assert!(Reading::bare("a\n\"").is_none());
    }

    #[test]
    fn what_can_not_be_seen_lies_between_what_is_read() {
        let text = "a\u{200b}b\r\nc\rd\u{1b}";
        let reading = Reading::visible(text).expect("some of it can't be seen");
        assert_eq!(reading.text, "ab\nc\nd");
        assert_eq!(&text[reading.place(0..2)], "a\u{200b}b");
        assert_eq!(&text[reading.place(0..6)], "a\u{200b}b\r\nc\rd");
        assert!(Reading::visible("a\n\té").is_none());
    }
}
