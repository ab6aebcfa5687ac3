//! Makes foreign text safe to show: what a plugin, a model or the web wrote may not steer a terminal, reorder a line or
//! hide in it. Every sink that a person reads goes through here.

use std::borrow::Cow;
use std::path::Path;

/// Which white space survives cleaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One line: line breaks and tabs become spaces.
    Line,
    /// Many lines: `\n` and `\t` stay.
    Block,
}

/// `text` without control, bidirectional-override and invisible characters, each replaced by U+FFFD, except the white
/// space that `shape` allows, and the selector that makes a picture of the symbol before it.
pub fn clean(text: &str, shape: Shape) -> Cow<'_, str> {
    let before = || std::iter::once('\0').chain(text.chars());
    let judged = || {
        before()
            .zip(text.chars())
            .map(|(before, c)| (c, verdict(before, c, shape)))
    };
    if judged().all(|(_, verdict)| verdict == Verdict::Keep) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for (c, verdict) in judged() {
        match verdict {
            Verdict::Keep => out.push(c),
            Verdict::Space => out.push(' '),
            Verdict::Replace => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    Cow::Owned(out)
}

/// One cleaned line of at most `max` characters, an ellipsis among them when it was cut.
pub fn line(text: &str, max: usize) -> String {
    // No more is looked at than one character needs that is not shown: none has more than 4 bytes.
    let looked_at = prefix(text, max.saturating_add(1).saturating_mul(4));
    let cleaned = clean(looked_at, Shape::Line);
    if cleaned.chars().count() <= max {
        return cleaned.into_owned();
    }
    let mut cut: String = cleaned.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A path as one clean line: a folder may be called anything, also what looks like more lines of a message.
pub fn path(path: &Path) -> String {
    clean(&path.to_string_lossy(), Shape::Line).into_owned()
}

/// A word as a shell reads it back: whoever chose it, it is one, and cleaning changes nothing of it. What is not shown stands there by its bytes.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if clean(word, Shape::Line) == word {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut out = "$'".to_owned();
    for c in word.chars() {
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            c if verdict('\0', c, Shape::Line) == Verdict::Keep => out.push(c),
            // Three octal digits end where they end, in each shell that reads any.
            c => c
                .encode_utf8(&mut [0; 4])
                .bytes()
                .for_each(|byte| out.push_str(&format!("\\{byte:03o}"))),
        }
    }
    out.push('\'');
    out
}

/// The longest prefix of `text` that has at most `max` bytes and ends at a character.
pub fn prefix(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// `text` cut to `max` bytes at a character, with `…[+N]` telling how many bytes are missing.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    let kept = prefix(text, max);
    with_missing(Cow::Borrowed(kept), text.len() - kept.len())
}

/// What is kept of a text, with `…[+N]` telling how many bytes are missing, where any are.
pub fn with_missing(kept: Cow<'_, str>, missing: usize) -> Cow<'_, str> {
    match missing {
        0 => kept,
        missing => Cow::Owned(format!("{kept}…[+{missing}]")),
    }
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

/// What becomes of `c` behind `before`.
fn verdict(before: char, c: char, shape: Shape) -> Verdict {
    match c {
        '\n' | '\t' if shape == Shape::Block => Verdict::Keep,
        '\n' | '\t' | '\r' => Verdict::Space,
        '\u{FE0F}' if matches!(before, '\u{2190}'..='\u{2BFF}' | '\u{1F000}'..='\u{1FAFF}') => Verdict::Keep,
        c if c.is_control() || is_bidirectional(c) || is_invisible(c) => Verdict::Replace,
        _ => Verdict::Keep,
    }
}

/// Bidirectional marks, embeddings, overrides and isolates (Unicode TR9), which can make a line read as another.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// What takes no room or looks like nothing: words can hide in it, or differ by it alone. All that Unicode calls default-ignorable
/// (`DerivedCoreProperties.txt`) is among it, but for the bidirectional.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        // Soft hyphen, combining joiner, Hangul fillers, Khmer and Mongolian signs.
        '\u{00AD}' | '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            // Zero-width characters, line and paragraph separators, invisible operators, deprecated controls.
            | '\u{200B}'..='\u{200D}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206A}'..='\u{206F}'
            // Variation selectors, byte order mark, specials without a sign and interlinear marks.
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFF0}'..='\u{FFFB}'
            // Controls of shorthand and of musical notes, tags.
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
    )
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
    fn nothing_invisible_stays() {
        let hidden = "\u{ad}\u{34f}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\u{200d}\u{2028}\u{2060}\u{206a}\u{206f}\
                      \u{3164}\u{fe00}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{e0041}\u{e0100}\u{e01ef}";
        for c in hidden.chars() {
            assert_eq!(
                clean(&format!("a{c}b"), Shape::Block),
                "a\u{fffd}b",
                "{:x}",
                u32::from(c)
            );
        }
    }

    #[test]
    fn nothing_that_unicode_calls_default_ignorable_stays() {
        // `Default_Ignorable_Code_Point` of Unicode 16 and 17.
        let ignorable = [
            '\u{AD}'..='\u{AD}',
            '\u{34F}'..='\u{34F}',
            '\u{61C}'..='\u{61C}',
            '\u{115F}'..='\u{1160}',
            '\u{17B4}'..='\u{17B5}',
            '\u{180B}'..='\u{180F}',
            '\u{200B}'..='\u{200F}',
            '\u{202A}'..='\u{202E}',
            '\u{2060}'..='\u{206F}',
            '\u{3164}'..='\u{3164}',
            '\u{FE00}'..='\u{FE0F}',
            '\u{FEFF}'..='\u{FEFF}',
            '\u{FFA0}'..='\u{FFA0}',
            '\u{FFF0}'..='\u{FFF8}',
            '\u{1BCA0}'..='\u{1BCA3}',
            '\u{1D173}'..='\u{1D17A}',
            '\u{E0000}'..='\u{E0FFF}',
        ];
        for c in ignorable.into_iter().flatten() {
            assert_eq!(
                clean(&format!("a{c}b"), Shape::Block),
                "a\u{fffd}b",
                "{:x}",
                u32::from(c)
            );
        }
    }

    #[test]
    fn a_picture_stays_one_and_hides_nothing() {
        for picture in ["❤\u{fe0f}", "🌶\u{fe0f}!"] {
            assert_eq!(clean(picture, Shape::Line), picture);
        }
        assert_eq!(clean("❤\u{fe0f}\u{fe0f}", Shape::Line), "❤\u{fe0f}\u{fffd}");
        assert_eq!(clean("a\u{fe0f}", Shape::Line), "a\u{fffd}");
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
    fn a_line_is_the_same_however_many_bytes_its_characters_have() {
        for c in ["a", "é", "\u{202e}", "🌶"] {
            let shown = clean(c, Shape::Line).into_owned();
            assert_eq!(line(&c.repeat(20), 20), shown.repeat(20));
            for more in [21, 22, 1000] {
                assert_eq!(line(&c.repeat(more), 20), format!("{}…", shown.repeat(19)));
            }
        }
    }

    #[test]
    fn a_shell_reads_a_word_back() {
        assert_eq!(shell_word("./plugins/x-1.wasm"), "./plugins/x-1.wasm");
        assert_eq!(shell_word("net:GET@http://x.org:8080"), "net:GET@http://x.org:8080");
        assert_eq!(shell_word("my tools/it's.wasm"), r"'my tools/it'\''s.wasm'");
        assert_eq!(shell_word("net:*"), "'net:*'");
        assert_eq!(shell_word("x; rm '~'"), r"'x; rm '\''~'\'''");
        assert_eq!(shell_word(""), "''");
        // What is not shown is written so that a shell reads the very same.
        assert_eq!(shell_word("fs:/a\u{200b}b's\\1"), r"$'fs:/a\342\200\213b\'s\\1'");
        assert_eq!(shell_word("a\nb\u{1b}[2J7"), r"$'a\012b\033[2J7'");
        for word in [
            "a\u{200b}b",
            "\u{202e}x",
            "\t",
            "\u{2600}\u{fe0f}",
            "x\u{fe0f}\u{200b}\u{2600}\u{fe0f}",
        ] {
            let quoted = shell_word(word);
            assert_eq!(clean(&quoted, Shape::Line), quoted, "{word:?}");
        }
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
