//! Makes foreign text safe to show: what a plugin, a model or the web wrote may not steer a terminal, reorder a line or
//! hide in it. Every sink that a person reads goes through here.

use std::borrow::Cow;

/// Which white space survives cleaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One line: line breaks and tabs become spaces.
    Line,
    /// Many lines: `\n` and `\t` stay.
    Block,
}

/// `text` without control, bidirectional-override and invisible characters, each replaced by U+FFFD, except the white
/// space that `shape` allows.
pub fn clean(text: &str, shape: Shape) -> Cow<'_, str> {
    if text.chars().all(|c| verdict(c, shape) == Verdict::Keep) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match verdict(c, shape) {
            Verdict::Keep => out.push(c),
            Verdict::Space => out.push(' '),
            Verdict::Replace => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    Cow::Owned(out)
}

/// One cleaned line of at most `max` characters, an ellipsis among them when it was cut.
pub fn line(text: &str, max: usize) -> String {
    let cleaned = clean(text, Shape::Line);
    if cleaned.chars().count() <= max {
        return cleaned.into_owned();
    }
    let mut cut: String = cleaned.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The longest prefix of `text` that has at most `max` bytes and ends at a character.
pub fn prefix(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// `text` cut to `max` bytes at a character, with `…[+N]` telling how many bytes are missing.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let kept = prefix(text, max);
    Cow::Owned(format!("{kept}…[+{}]", text.len() - kept.len()))
}

/// The candidate nearest to `name` by edit distance, if one is near enough to be a slip of the fingers.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = prefix(name, 128);
    candidates
        .into_iter()
        .map(|candidate| (distance(name, prefix(candidate, 128)), candidate))
        .min_by_key(|(d, _)| *d)
        .filter(|(d, candidate)| *d <= 1 + candidate.chars().count() / 3)
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[derive(PartialEq)]
enum Verdict {
    Keep,
    Space,
    Replace,
}

fn verdict(c: char, shape: Shape) -> Verdict {
    match c {
        '\n' | '\t' if shape == Shape::Block => Verdict::Keep,
        '\n' | '\t' | '\r' => Verdict::Space,
        c if c.is_control() => Verdict::Replace,
        // Bidirectional marks, embeddings, overrides and isolates (Unicode TR9), which can make a line read as another.
        '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => Verdict::Replace,
        // Invisible: zero-width characters, line and paragraph separators, interlinear marks, tags, variation selectors.
        '\u{00AD}' | '\u{180E}' | '\u{200B}'..='\u{200D}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2064}' => {
            Verdict::Replace
        }
        '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}' => Verdict::Replace,
        _ => Verdict::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_lose_their_power() {
        let hostile = "a\u{1b}[31mb\u{7}c\u{202e}d\u{9b}e\rf\u{e0041}g\u{200b}h";
        let line = clean(hostile, Shape::Line);
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
        assert_eq!(line, "a\u{fffd}[31mb\u{fffd}c\u{fffd}d\u{fffd}e f\u{fffd}g\u{fffd}h");
        assert_eq!(clean("x\n\ty", Shape::Block), "x\n\ty");
        assert_eq!(clean("x\n\ty", Shape::Line), "x  y");
    }

    #[test]
    fn cuts_fall_between_characters() {
        assert_eq!(prefix("aé", 2), "a");
        assert_eq!(cut("aéb", 2), "a…[+3]");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(line("abcdef", 4), "abc…");
        assert_eq!(line("abcd", 4), "abcd");
    }

    #[test]
    fn nearest_finds_slips_only() {
        assert_eq!(
            nearest("serch_files", ["read_file", "search_files"]),
            Some("search_files")
        );
        assert_eq!(nearest("zzz", ["read_file", "search_files"]), None);
    }
}
