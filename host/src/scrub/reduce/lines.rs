//! Splits a stream into lines, and long lines into pieces; finds the place for a cut.

/// A longer line is treated in pieces of this many characters, its line feed included.
pub(super) const PIECE_MAX: usize = 2_000;
/// How far from its place a cut looks for white space, in characters.
const NEAR: usize = 40;

/// A line with its line feed, or a piece of a long line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) chars: usize,
    pub(super) place: Place,
    pub(super) begins: Begins,
}

/// A place in the whole text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    /// Characters before it.
    pub(super) chars: u64,
    /// Line feeds before it.
    pub(super) lines: u64,
}

/// What a piece is the beginning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Nothing,
    Line,
    /// A line after a blank one, or the first.
    Paragraph,
}

impl Place {
    /// The place after `text`, which has so many characters and at most one line feed, its last.
    pub(super) fn after(self, text: &str, chars: usize) -> Self {
        Self {
            chars: self.chars + chars as u64,
            lines: self.lines + u64::from(text.ends_with('\n')),
        }
    }
}

impl<'a> Piece<'a> {
    /// The piece before and after a cut at byte `at`, which is `chars` characters from its beginning.
    pub(super) fn split(self, at: usize, chars: usize) -> (Self, Self) {
        let (text, rest) = self.text.split_at(at);
        let first = Self { text, chars, ..self };
        let second = Self {
            text: rest,
            chars: self.chars - chars,
            place: self.place.after(text, chars),
            begins: if chars == 0 { self.begins } else { Begins::Nothing },
        };
        (first, second)
    }

    pub(super) fn end(&self) -> Place {
        self.place.after(self.text, self.chars)
    }
}

/// Splits a stream into pieces.
#[derive(Debug)]
pub(super) struct Splitter {
    /// The beginning of a piece.
    held: String,
    place: Place,
    next: Begins,
}

impl Splitter {
    pub(super) fn new() -> Self {
        Self {
            held: String::new(),
            place: Place::default(),
            next: Begins::Paragraph,
        }
    }

    /// Hands out the pieces that are complete.
    pub(super) fn push(&mut self, mut text: &str, out: &mut impl FnMut(Piece<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', text.as_bytes()) {
            let (line, rest) = text.split_at(end + 1);
            text = rest;
            if self.held.is_empty() {
                self.line(line, out);
            } else {
                self.hold(line, out);
                let held = std::mem::take(&mut self.held);
                self.line(&held, out);
                self.held = held;
                self.held.clear();
            }
        }
        self.hold(text, out);
    }

    /// Hands out what is left.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(Piece<'_>)) {
        let held = std::mem::take(&mut self.held);
        self.line(&held, out);
    }

    /// Adds `text` to what is held, and hands out full pieces of it.
    fn hold(&mut self, mut text: &str, out: &mut impl FnMut(Piece<'_>)) {
        while !text.is_empty() {
            // By steps, so that what is held stays small.
            let step = crate::text::prefix(text, 4 * PIECE_MAX);
            text = &text[step.len()..];
            self.held.push_str(step);
            if self.held.len() > PIECE_MAX {
                let held = std::mem::take(&mut self.held);
                let rest = self.full(&held, out);
                self.held = rest.to_owned();
            }
        }
    }

    /// Hands out `line` in pieces.
    fn line(&mut self, line: &str, out: &mut impl FnMut(Piece<'_>)) {
        let rest = self.full(line, out);
        if !rest.is_empty() {
            self.piece(rest, rest.chars().count(), out);
        }
    }

    /// Hands out pieces of `text`, which has a line feed at its end only, while it is too long for one; returns the rest.
    fn full<'t>(&mut self, mut text: &'t str, out: &mut impl FnMut(Piece<'_>)) -> &'t str {
        while text.len() > PIECE_MAX
            && let Some((end, _)) = text.char_indices().nth(PIECE_MAX)
        {
            let (end, chars) = whole(text, end, PIECE_MAX);
            self.piece(&text[..end], chars, out);
            text = &text[end..];
        }
        text
    }

    fn piece(&mut self, text: &str, chars: usize, out: &mut impl FnMut(Piece<'_>)) {
        let piece = Piece {
            text,
            chars,
            place: self.place,
            begins: self.next,
        };
        let blank = text.len() == 1 || text.trim_ascii().is_empty();
        self.next = match (text.ends_with('\n'), blank) {
            (false, _) => Begins::Nothing,
            (true, true) => Begins::Paragraph,
            (true, false) => Begins::Line,
        };
        self.place = piece.end();
        out(piece);
    }

    /// Memory held, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.capacity()
    }
}

/// The byte where `text` is cut so that at most `max` characters stand before it, and their number: after white space if
/// some is near, and never between a letter and its accents.
pub(super) fn cut_end(text: &str, max: usize) -> (usize, usize) {
    let Some((end, _)) = text.char_indices().nth(max) else {
        return (text.len(), text.chars().count());
    };
    let mut back = text[..end].char_indices().rev().take(NEAR).enumerate();
    match back.find(|(_, (_, c))| c.is_whitespace()) {
        Some((beyond, (space, c))) => (space + c.len_utf8(), max - beyond),
        None => whole(text, end, max),
    }
}

/// The byte where `text` is cut so that at most `max` characters stand after it, and the number of those before it.
pub(super) fn cut_start(text: &str, chars: usize, max: usize) -> (usize, usize) {
    let mut skip = chars.saturating_sub(max);
    let mut at = text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at);
    if skip > 0 {
        let space = text[at..].chars().take(NEAR).position(char::is_whitespace);
        let ahead = match space {
            Some(space) => space + 1,
            None => text[at..].chars().take_while(|c| combines(*c)).count(),
        };
        at += text[at..].chars().take(ahead).map(char::len_utf8).sum::<usize>();
        skip += ahead;
    }
    (at, skip)
}

/// The cut at byte `end`, after so many characters, or a little before it where it would part a letter from its accents.
fn whole(text: &str, end: usize, chars: usize) -> (usize, usize) {
    const ACCENTS: usize = 16;
    if !text[end..].starts_with(combines) {
        return (end, chars);
    }
    let base = text[..end]
        .char_indices()
        .rev()
        .take(ACCENTS)
        .enumerate()
        .find(|(_, (_, c))| !combines(*c));
    match base {
        Some((index, (at, _))) if at > 0 => (at, chars - index - 1),
        _ => (end, chars),
    }
}

/// Whether `c` changes the character before it: the blocks of combining marks, and skin tones.
fn combines(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36F}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5BD}' | '\u{64B}'..='\u{65F}'
        | '\u{93A}'..='\u{93C}' | '\u{93E}'..='\u{94F}' | '\u{E31}' | '\u{E34}'..='\u{E3A}' | '\u{E47}'..='\u{E4E}'
        | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{3099}' | '\u{309A}'
        | '\u{FE20}'..='\u{FE2F}' | '\u{1F3FB}'..='\u{1F3FF}')
}
