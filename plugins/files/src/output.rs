//! A result of bounded size.

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

/// A line of a file as text: without its end, bytes that are not UTF-8 replaced, a long one cut.
pub(crate) fn shown_line(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES + 4)]);
    if line.len() <= LINE_BYTES {
        return text.into_owned();
    }
    let kept = hermes_sdk::text::prefix(&text, LINE_BYTES);
    format!("{kept}… (+{} bytes)", line.len().saturating_sub(kept.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_characters() {
        assert_eq!(shown_line(b"a\r"), "a");
        assert_eq!(shown_line(&[b'a', 0xff]), "a\u{fffd}");
        let long = shown_line("ä€".repeat(1_000).as_bytes());
        assert!(long.starts_with("ä€") && long.ends_with(" bytes)") && long.len() < LINE_BYTES + 40);
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
