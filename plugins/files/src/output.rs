//! A result of bounded size.

use std::ops::Range;

/// What a result takes at most, in bytes; the host would cut the middle out of a longer one.
const RESULT_BYTES: usize = 44_000;
/// What a line of a file takes at most in a result, in bytes.
const LINE_BYTES: usize = 2_000;

/// Lines that are collected until the result is full.
#[derive(Debug, Default)]
pub(crate) struct Output {
    text: String,
}

/// Whether there was room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Taken,
    Full,
}

impl Output {
    /// Adds a line if it fits.
    pub(crate) fn line(&mut self, line: &str) -> Room {
        if self.text.len() + line.len() + 1 > RESULT_BYTES {
            return Room::Full;
        }
        self.text.push_str(line);
        self.text.push('\n');
        Room::Taken
    }

    /// The text with notes, each on a line of its own in brackets.
    pub(crate) fn finish(self, notes: &[String]) -> String {
        let mut text = self.text;
        for note in notes {
            text.push_str(&format!("[{note}]\n"));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// A line of a file as text: without its end, bytes that are not UTF-8 replaced, a long one cut. `length` is what the whole
/// line has, where `line` is only its beginning.
pub(crate) fn shown_line(line: &[u8], length: usize) -> String {
    cut(trimmed(line), length, 0)
}

/// The same for a line in which something was found: a long one is cut around that.
pub(crate) fn shown_around(line: &[u8], found: Range<usize>) -> String {
    let line = trimmed(line);
    // What was found stands in the first half, unless it is longer than that.
    let before = (LINE_BYTES / 2).saturating_sub(found.len()).max(LINE_BYTES / 8);
    let start = if found.end <= LINE_BYTES {
        0
    } else {
        found.start.saturating_sub(before).min(line.len() - LINE_BYTES)
    };
    // A character that is cut in two belongs to what is left out.
    let is_inside = |byte: &u8| byte & 0xc0 == 0x80;
    let start = start + line[start..].iter().take(3).take_while(|byte| is_inside(byte)).count();
    cut(&line[start..], line.len() - start, start)
}

/// As much of a line as a result shows, with what is missing before and after it.
fn cut(line: &[u8], length: usize, before: usize) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES + 4)]);
    let kept = if length <= LINE_BYTES {
        &text
    } else {
        hermes_sdk::text::prefix(&text, LINE_BYTES)
    };
    let mut shown = match before {
        0 => kept.to_owned(),
        before => format!("(+{before} bytes) …{kept}"),
    };
    if length > LINE_BYTES {
        shown.push_str(&format!("… (+{} bytes)", length.saturating_sub(kept.len())));
    }
    shown
}

/// A line without the `\r` before its end.
pub(crate) fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_characters() {
        assert_eq!(shown_line(b"a\r", 2), "a");
        assert_eq!(shown_line(&[b'a', 0xff], 2), "a\u{fffd}");
        let long = "ä€".repeat(1_000);
        let shown = shown_line(long.as_bytes(), long.len());
        assert!(shown.starts_with("ä€") && shown.ends_with("… (+3000 bytes)"), "{shown}");
        assert_eq!(
            shown_line("x".repeat(LINE_BYTES).as_bytes(), LINE_BYTES).len(),
            LINE_BYTES
        );
    }

    #[test]
    fn a_long_line_is_cut_around_what_was_found() {
        let line = format!("{}needle{}", "ä".repeat(5_000), "ö".repeat(5_000));
        let shown = shown_around(line.as_bytes(), 10_000..10_006);
        assert!(shown.contains("äneedleö") && shown.len() < LINE_BYTES + 60, "{shown}");
        assert!(
            shown.starts_with("(+9006 bytes) …ä") && shown.ends_with(" bytes)"),
            "{shown}"
        );
        assert!(!shown.contains('\u{fffd}'), "no character is cut in two");
        let total: usize = shown
            .split("(+")
            .skip(1)
            .map(|part| part.split(' ').next().unwrap().parse::<usize>().unwrap())
            .sum();
        assert_eq!(total + shown.matches(['ä', 'ö']).count() * 2 + 6, line.len());
        let end = format!("{}needle", "x".repeat(9_000));
        assert!(shown_around(end.as_bytes(), 9_000..9_006).ends_with("xneedle"));
        let near = format!("needle{}", "x".repeat(9_000));
        assert!(shown_around(near.as_bytes(), 0..6).starts_with("needlex"));
        assert!(shown_around(near.as_bytes(), 0..9_006).starts_with("needlex"));
        let odd = [&[0x80; 4_000][..], b"needle"].concat();
        assert!(shown_around(&odd, 4_000..4_006).ends_with("needle"));
    }

    #[test]
    fn a_result_is_bounded() {
        let mut output = Output::default();
        let mut lines = 0;
        while output.line(&"x".repeat(99)) == Room::Taken {
            lines += 1;
        }
        assert_eq!(lines, RESULT_BYTES / 100);
        assert!(output.finish(&["note".into()]).ends_with("\n[note]"));
    }
}
