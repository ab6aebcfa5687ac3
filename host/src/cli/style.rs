//! Colour, columns and numbers for people. Text from elsewhere is cleaned before it comes here.

use std::time::Duration;

use unicode_width::UnicodeWidthChar as _;

use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::text;

/// What a piece of a line means; the terminal decides how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// A name or a heading.
    Bold,
    /// What matters less.
    Dim,
    /// It went well.
    Good,
    /// It needs a look.
    Warn,
    /// It went wrong.
    Bad,
}

/// Whether lines are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// With colour.
    Colour,
    /// Without.
    Plain,
}

impl Paint {
    /// `text` in `ink`.
    pub(super) fn ink(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Good => "32",
            Ink::Warn => "33",
            Ink::Bad => "31",
        };
        match self {
            Self::Colour if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// How many columns a terminal gives to `text`. Where terminals differ it errs on the wide side.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// What happened, without what stands below it: a crash has its stack there.
pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// One clean line of at most `max` columns, with an ellipsis where it was cut.
pub(super) fn fit(text: &str, max: usize) -> String {
    let line = text::clean(text, text::Shape::Line);
    if width(&line) <= max && !piled(&line) {
        return line.into_owned();
    }
    let mut out = String::new();
    let (mut used, mut marks) = (0, 0);
    for c in line.chars() {
        let wide = columns(c);
        marks = if wide == 0 { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            continue;
        }
        if used + wide > max.saturating_sub(1) {
            out.push('…');
            return if max == 0 { String::new() } else { out };
        }
        used += wide;
        out.push(c);
    }
    out
}

/// The end of `text` in at most `max` columns, one clean line.
pub(super) fn tail(text: &str, max: usize) -> String {
    let line = text::clean(text, text::Shape::Line);
    let line = line.trim_end();
    if width(line) <= max {
        return fit(line, max);
    }
    let mut used = 1;
    let start = line.char_indices().rev().take_while(|(_, c)| {
        used += columns(*c);
        used <= max
    });
    let start = start.last().map_or(line.len(), |(at, _)| at);
    fit(&format!("…{}", &line[start..]), max)
}

/// `text` in exactly `columns`, cut or filled with spaces behind it.
pub(super) fn left(text: &str, columns: usize) -> String {
    let fitted = fit(text, columns);
    let space = columns.saturating_sub(width(&fitted));
    format!("{fitted}{:space$}", "")
}

/// `text` in at least `columns`, filled with spaces before it.
pub(super) fn right(text: &str, columns: usize) -> String {
    let space = columns.saturating_sub(width(text));
    format!("{:space$}{text}", "")
}

/// Millionths of a dollar: `$0.041`, `$12.30`.
pub(super) fn usd(micro: u64) -> String {
    match micro {
        0 => "$0".to_owned(),
        1..1_000 => "<$0.001".to_owned(),
        1_000..1_000_000 => format!("$0.{:03}", micro / 1_000),
        _ => format!("${}.{:02}", micro / 1_000_000, micro % 1_000_000 / 10_000),
    }
}

/// So many of something that has its plural with an `s`: `1 token`, `12.4k tokens`.
pub(super) fn number(n: u64, one: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{} {one}{ending}", count(n))
}

/// How many calls were sent again because a crash lost their answer, and what that may have cost beside what was spent.
pub(super) fn sent_again(resent: u64, lost: &Amounts) -> String {
    let calls = number(resent, "call");
    let (tokens, cost) = (lost.get(Dimension::Tokens), lost.get(Dimension::CostMicroUsd));
    if (tokens, cost) == (0, 0) {
        return format!("{calls} sent again");
    }
    format!(
        "{calls} sent again (lost: up to {}, {})",
        number(tokens, "token"),
        usd(cost)
    )
}

/// `text` with its lines broken between words where they are longer than `max` columns, below where their own words begin. What is
/// preformatted stays: code between fences, and rows of a table.
pub(super) fn flow(text: &str, max: usize) -> String {
    let mut code = false;
    let mut out = String::new();
    for line in text.lines() {
        let words = line.trim_start_matches([' ', '-', '*', '>']);
        let fence = words.starts_with("```");
        code ^= fence;
        let indent = width(line) - width(words);
        if code || fence || words.starts_with('|') || width(line) <= max || indent >= max {
            out.push_str(line);
        } else {
            let hang = format!("\n{:indent$}", "");
            out.push_str(&line[..line.len() - words.len()]);
            out.push_str(&wrap(words, max - indent).join(&hang));
        }
        out.push('\n');
    }
    out
}

/// Clean lines of at most `max` columns, broken between words. A word that is longer stays whole: it may be there to be copied.
pub(super) fn wrap(text: &str, max: usize) -> Vec<String> {
    let text = text::clean(text, text::Shape::Line);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= max => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `head`, which has so many columns, and clean `text` behind it in lines of at most `max` columns, all its lines below each other.
pub(super) fn hung(head: &str, columns: usize, text: &str, max: usize) -> String {
    let hang = format!("\n{:columns$}", "");
    let lines = wrap(text, max.saturating_sub(columns)).join(&hang);
    format!("{head}{lines}").trim_end().to_owned()
}

/// A large count: `870`, `12.4k`, `3.1M`, `10.0G`.
pub(super) fn count(n: u64) -> String {
    let (unit, name) = match n {
        0..1_000 => return n.to_string(),
        1_000..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    };
    format!("{}.{}{name}", n / unit, n % unit / (unit / 10))
}

/// A size: `870 B`, `64 KiB`, `12.4 MiB`, `3.1 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_024 => return format!("{bytes} B"),
        1_024..1_048_576 => (1 << 10, "KiB"),
        1_048_576..1_073_741_824 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    match bytes % unit {
        0 => format!("{} {name}", bytes / unit),
        rest => format!("{}.{} {name}", bytes / unit, rest * 10 / unit),
    }
}

/// How long something may take: `250 ms`, `8 min`, `8 min 19 s`.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match (seconds, seconds / 60, seconds / 3_600) {
        (0, ..) => format!("{ms} ms"),
        (seconds, 0, _) => format!("{seconds} s"),
        (seconds, minutes, 0) if seconds % 60 == 0 => format!("{minutes} min"),
        (seconds, minutes, 0) => format!("{minutes} min {} s", seconds % 60),
        (_, minutes, hours) if minutes % 60 == 0 => format!("{hours} h"),
        (_, minutes, hours) => format!("{hours} h {} min", minutes % 60),
    }
}

/// A duration: `0:38`, `1:02:07`.
pub(super) fn clock(elapsed: Duration) -> String {
    let s = elapsed.as_secs();
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    if h > 0 {
        format!("{h}:{m:02}:{s:02}")
    } else {
        format!("{m}:{s:02}")
    }
}

/// The time since then, in its largest unit: `40 s`, `5 min`, `3 h`, `12 d`; `?` where it is not known.
pub(super) fn age(then_ms: u64, now_ms: u64) -> String {
    if then_ms == 0 {
        return "?".to_owned();
    }
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Marks that may pile up on one character before the rest is dropped.
const MAX_MARKS: usize = 2;

fn piled(line: &str) -> bool {
    let mut marks = 0;
    line.chars().any(|c| {
        marks = if columns(c) == 0 { marks + 1 } else { 0 };
        marks > MAX_MARKS
    })
}

/// How many columns a character takes (UAX 11); one for what a terminal may show in whichever way.
fn columns(c: char) -> usize {
    c.width().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("漢字漢字", 5), "漢字…");
        assert_eq!(fit("漢字", 4), "漢字");
        assert_eq!(tail("abcdef\n", 4), "…def");
        assert_eq!(tail("漢字漢字", 5), "…漢字");
        assert_eq!(left("ab", 4), "ab  ");
        assert_eq!(right("ab", 4), "  ab");
        assert_eq!(fit("abc", 0), "");
        assert_eq!((width("✅⚡⭐"), width("é́")), (6, 1));
        let piled = format!("a{}b", "\u{301}".repeat(10_000));
        assert_eq!(fit(&piled, 10), "a\u{301}\u{301}b");
        assert!(tail(&piled, 10).chars().count() < 10);
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(
            wrap("one two  three\u{1b} four", 9),
            ["one two", "three\u{fffd}", "four"]
        );
        assert_eq!(wrap("a /very/long/path b", 6), ["a", "/very/long/path", "b"]);
        assert_eq!(wrap("漢字 漢字", 9), ["漢字 漢字"]);
        assert_eq!(wrap(" ", 9), Vec::<String>::new());
        assert_eq!(hung("acted ", 6, "one two three", 13), "acted one two\n      three");
        assert_eq!(hung("acted ", 6, "", 13), "acted");
        let answer = "- one two three\n```\nlet long = code;\n```\n| a | long | row |\n\none two";
        let flown = "- one two\n  three\n```\nlet long = code;\n```\n| a | long | row |\n\none two\n";
        assert_eq!(flow(answer, 10), flown);
    }

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> = [0, 41_400, 500, 12_300_000].map(usd).into();
        assert_eq!(shown, ["$0", "$0.041", "<$0.001", "$12.30"]);
        let shown: Vec<String> = [870, 12_449, 3_150_000, 999_999_999, 10_006_300_000].map(count).into();
        assert_eq!(shown, ["870", "12.4k", "3.1M", "999.9M", "10.0G"]);
        let shown: Vec<String> = [0, 1_023, 1_024, 300_000, 64 << 20, (3 << 30) + 1].map(size).into();
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "292.9 KiB", "64 MiB", "3.0 GiB"]);
        for (ms, told) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (30_000, "30 s"),
            (499_999, "8 min 19 s"),
            (600_000, "10 min"),
            (90_000, "1 min 30 s"),
            (5_430_000, "1 h 30 min"),
            (7_200_000, "2 h"),
        ] {
            assert_eq!(duration(ms), told);
        }
        assert_eq!(
            [0, 1, 1_200].map(|n| number(n, "call")),
            ["0 calls", "1 call", "1.2k calls"]
        );
        assert_eq!(clock(Duration::from_secs(38)), "0:38");
        assert_eq!(clock(Duration::from_secs(3_727)), "1:02:07");
    }
}
