//! How much a line is worth where not all can be kept. Blank lines and lines that were there before are worth nothing;
//! of the others, points are added up:
//!
//! | what | points |
//! |---|---|
//! | a Markdown heading | 6 |
//! | a word such as error, warning, failed, result, conclusion, therefore, must, important, total, summary | 5 |
//! | each further such word, up to two | 1 |
//! | a number with a unit or a percent sign | 3 |
//! | a place in a file such as `main.rs:12`, or a URL | 3 |
//! | a list item | 2 |
//! | the beginning of a paragraph | 2 |
//! | fewer than four letters and digits | −4 |

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::lines::{Begins, Piece};

/// What words that carry a finding begin with.
const WORDS: [&str; 28] = [
    "error",
    "warn",
    "fail",
    "fatal",
    "panic",
    "exception",
    "traceback",
    "denied",
    "refused",
    "timeout",
    "timed out",
    "result",
    "conclu",
    "therefore",
    "must",
    "important",
    "total",
    "summar",
    "finding",
    "recommend",
    "decid",
    "decision",
    "caused",
    "root cause",
    "fixed",
    "broken",
    "critical",
    "vulnerab",
];

/// Units that make a number a measurement.
const UNITS: [&str; 40] = [
    "ms", "us", "ns", "s", "sec", "second", "seconds", "min", "minutes", "h", "hours", "days", "b", "kb", "mb", "gb",
    "tb", "kib", "mib", "gib", "bytes", "x", "hz", "mhz", "ghz", "fps", "rps", "qps", "tokens", "usd", "eur", "tests",
    "passed", "failed", "errors", "warnings", "lines", "files", "requests", "times",
];

static SEARCH: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .ascii_case_insensitive(true)
        .build(WORDS)
        .expect("the table is small")
});

/// The points of `piece`.
pub(super) fn points(piece: &Piece<'_>) -> i32 {
    let line = piece.text.trim_ascii();
    let bytes = line.as_bytes();
    let mut points = 0;
    if piece.begins != Begins::Nothing {
        points += if is_heading(bytes) {
            6
        } else {
            2 * i32::from(is_item(bytes))
        };
    }
    points += 2 * i32::from(piece.begins == Begins::Paragraph);
    points += match words(line) {
        0 => 0,
        count => 4 + count,
    };
    points += 3 * i32::from(has_measure(bytes)) + 3 * i32::from(has_place(bytes));
    let telling = line.chars().filter(|c| c.is_alphanumeric()).take(4).count();
    points - 4 * i32::from(telling < 4)
}

/// How many telling words there are, up to three.
fn words(line: &str) -> i32 {
    let bytes = line.as_bytes();
    let begins = |at: usize| at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
    let found = SEARCH.find_iter(line).filter(|hit| begins(hit.start()));
    found.take(3).fold(0, |count, _| count + 1)
}

fn is_heading(line: &[u8]) -> bool {
    let level = line.iter().take_while(|b| **b == b'#').count();
    (1..=6).contains(&level) && line.get(level) == Some(&b' ')
}

fn is_item(line: &[u8]) -> bool {
    let digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
    match &line[digits..] {
        [b'-' | b'*' | b'+', b' ', ..] => digits == 0,
        [b'.' | b')', b' ', ..] => digits > 0,
        rest => rest.starts_with("• ".as_bytes()),
    }
}

/// Whether there is a number with a unit.
fn has_measure(line: &[u8]) -> bool {
    let mut ends = line
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0].is_ascii_digit() && !pair[1].is_ascii_digit());
    ends.any(|(at, _)| {
        let rest = &line[at + 1..];
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let word = rest.iter().take(9).take_while(|b| b.is_ascii_alphabetic()).count();
        rest.starts_with(b"%")
            || UNITS
                .iter()
                .any(|unit| rest[..word].eq_ignore_ascii_case(unit.as_bytes()))
    })
}

/// Whether there is a URL or a line in a file.
fn has_place(line: &[u8]) -> bool {
    memchr::memchr_iter(b':', line).any(|at| {
        let (before, after) = (&line[..at], &line[at + 1..]);
        let suffix = before
            .iter()
            .rev()
            .take(5)
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        let named = (1..=4).contains(&suffix) && before.len() > suffix + 1 && before[at - suffix - 1] == b'.';
        after.starts_with(b"//") || named && after.first().is_some_and(u8::is_ascii_digit)
    })
}

#[cfg(test)]
mod tests {
    use super::super::lines::Place;
    use super::*;

    fn of(text: &str, begins: Begins) -> i32 {
        points(&Piece {
            text,
            chars: text.chars().count(),
            place: Place::default(),
            begins,
        })
    }

    #[test]
    fn the_table_holds() {
        for (line, expected) in [
            ("## Heading\n", 6),
            ("##no heading\n", 0),
            ("the parser has an Error here\n", 5),
            ("terror and subtotal\n", 0),
            ("error: must fail, total\n", 7),
            ("it takes 12 ms\n", 3),
            ("it takes 12MiB, 30 %\n", 3),
            ("about 12 apples\n", 0),
            ("see src/main.rs:12\n", 3),
            ("at 12:30 or a.b: c\n", 0),
            ("see https://example.org\n", 3),
            ("- an item\n", 2),
            ("12. an item\n", 2),
            ("12 - no item\n", 0),
            ("---\n", -4),
            ("\n", -4),
        ] {
            assert_eq!(of(line, Begins::Line), expected, "{line}");
        }
        assert_eq!(of("plain text", Begins::Paragraph), 2);
        assert_eq!(of("# middle of a line", Begins::Nothing), 0);
    }
}
