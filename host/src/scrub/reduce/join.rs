//! Puts the parts of a shortened text together, with a marker for each gap.

use std::fmt::Write as _;

use super::lines::Place;
use super::pick::Picked;

/// The longest marker with the line feeds around it, in characters: with two numbers of 20 digits.
pub(super) const MARKER_MAX: usize = 74;

/// The picked lines with markers around them, in at most `max` characters (and at least [`MARKER_MAX`]), to be put
/// between a head and a tail. The worst lines go first where they don't all fit. Also returns the characters picked.
pub(super) fn middle(head: (&str, Place), mut best: Vec<Picked>, tail: Place, max: usize) -> (String, u64) {
    loop {
        let mut lines: Vec<&Picked> = best.iter().collect();
        lines.sort_unstable_by_key(|line| line.place);
        let text = join(head, &lines, tail);
        if best.is_empty() || text.chars().count() <= max {
            return (text, best.iter().map(|line| line.chars as u64).sum());
        }
        best.pop();
    }
}

fn join((head, mut from): (&str, Place), lines: &[&Picked], tail: Place) -> String {
    let (mut out, mut at_line) = (String::new(), head.is_empty() || head.ends_with('\n'));
    for line in lines {
        gap(&mut out, at_line, from, line.place);
        out.push_str(&line.text);
        at_line = out.ends_with('\n');
        from = line.end();
    }
    gap(&mut out, at_line, from, tail);
    out
}

/// Writes the marker for what is missing between two places, on a line of its own.
fn gap(out: &mut String, at_line: bool, from: Place, to: Place) {
    let (chars, lines) = (to.chars - from.chars, to.lines - from.lines);
    if chars == 0 {
        return;
    }
    let start = if at_line { "" } else { "\n" };
    let lines = if lines == 0 {
        String::new()
    } else {
        format!("{lines} lines, ")
    };
    writeln!(out, "{start}[… {lines}{chars} characters left out]").expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_never_longer_than_its_limit() {
        let mut out = String::new();
        let end = Place {
            chars: u64::MAX,
            lines: u64::MAX,
        };
        gap(&mut out, false, Place::default(), end);
        assert_eq!(out.chars().count(), MARKER_MAX);
    }
}
