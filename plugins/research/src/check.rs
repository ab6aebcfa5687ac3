//! Checking an answer's citations against what was read, and marking those that do not hold.

use serde_json::{Value, json};

use crate::citation::{self, Citation};
use crate::sources::Sources;

/// What stands after a citation that could not be confirmed.
const MARK: &str = " [unverified]";
/// How far around the cited lines a quote may reach.
const MARGIN: u64 = 2;
/// The longest range that says where something is.
const RANGE: u64 = 400;

/// What checking one citation showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The file and all the lines were read, and the quote is there.
    Holds,
    /// No such file was read.
    UnknownFile,
    /// This line was never shown.
    UnseenLine(u64),
    /// It names so many lines that it says nothing.
    TooWide,
    /// These words are not at these lines.
    NoSuchQuote(String),
}

/// The citations of an answer with their verdicts, and the pages that it names.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) citations: Vec<(Citation, Verdict)>,
    /// Addresses, and whether each was fetched.
    pub(crate) pages: Vec<(String, bool)>,
}

impl Checked {
    pub(crate) fn new(answer: &str, sources: &Sources) -> Self {
        let citations = citation::find(answer).into_iter().map(|citation| {
            let verdict = judge(&citation, sources);
            (citation, verdict)
        });
        let pages = citation::urls(answer).into_iter().map(|url| {
            let fetched = sources.has_page(&url);
            (url, fetched)
        });
        Self {
            citations: citations.collect(),
            pages: pages.collect(),
        }
    }

    /// Whether there is a source that was confirmed.
    pub(crate) fn has_source(&self) -> bool {
        self.citations.iter().any(|(_, verdict)| *verdict == Verdict::Holds) || self.pages.iter().any(|(_, ok)| *ok)
    }

    /// Whether anything is cited at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.citations.is_empty() && self.pages.is_empty()
    }

    pub(crate) fn failing(&self) -> impl Iterator<Item = &(Citation, Verdict)> {
        self.citations.iter().filter(|(_, verdict)| *verdict != Verdict::Holds)
    }

    /// The answer, with a mark after each citation that does not hold.
    pub(crate) fn marked(&self, answer: &str) -> String {
        let mut marked = answer.to_owned();
        let ends: Vec<_> = self.failing().map(|(citation, _)| citation.end).collect();
        for end in ends.into_iter().rev() {
            // A model that repeats its marked answer needs no second mark.
            if !marked[end..].starts_with(MARK) {
                marked.insert_str(end, MARK);
            }
        }
        marked
    }

    /// For programs: what is cited, and whether it was confirmed.
    pub(crate) fn json(&self) -> Value {
        let citations = self.citations.iter().map(|(citation, verdict)| {
            let verified = *verdict == Verdict::Holds;
            json!({ "path": citation.path, "first": citation.first, "last": citation.last, "verified": verified })
        });
        let pages = self
            .pages
            .iter()
            .map(|(url, fetched)| json!({ "url": url, "verified": fetched }));
        json!({ "citations": citations.collect::<Vec<_>>(), "pages": pages.collect::<Vec<_>>() })
    }
}

/// The best verdict over all files that the path may mean.
fn judge(citation: &Citation, sources: &Sources) -> Verdict {
    if citation.last - citation.first >= RANGE {
        return Verdict::TooWide;
    }
    let mut best = Verdict::UnknownFile;
    for (_, lines) in sources.files(&citation.path) {
        let unseen = (citation.first..=citation.last).find(|line| !lines.contains_key(line));
        let verdict = if let Some(line) = unseen {
            Verdict::UnseenLine(line)
        } else {
            let around = citation.first.saturating_sub(MARGIN)..=citation.last + MARGIN;
            let text = plain(
                &lines
                    .range(around)
                    .map(|(_, line)| line.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
            );
            let missing = citation.quotes.iter().find(|quote| !holds(&text, quote));
            missing.map_or(Verdict::Holds, |quote| Verdict::NoSuchQuote(quote.clone()))
        };
        match verdict {
            Verdict::Holds => return Verdict::Holds,
            quote @ Verdict::NoSuchQuote(_) => best = quote,
            other if best == Verdict::UnknownFile => best = other,
            _ => {}
        }
    }
    best
}

/// Whether each part of a quote, between ellipses, is in the text, in order.
fn holds(text: &str, quote: &str) -> bool {
    let quote = plain(&quote.replace("[...]", "…").replace("[…]", "…").replace("...", "…"));
    let mut rest = text;
    for part in quote.split('…').map(|part| part.trim().trim_end_matches(['.', ','])) {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Lower case, one kind of white space and of quotation marks, without the signs of Markdown.
fn plain(text: &str) -> String {
    let kept = text
        .chars()
        .filter(|c| !"*_`\"“”«»".contains(*c))
        .map(|c| if c == '’' { '\'' } else { c });
    kept.collect::<String>()
        .to_lowercase()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let mut sources = Sources::default();
        sources.read("[/d/a.md, lines 1-4 of 9]\n1: # Growth\n2: Dendrites **grow** along\n3: the field’s lines.\n4:");
        sources
    }

    fn verdict(answer: &str) -> Verdict {
        Checked::new(answer, &sources()).citations[0].1.clone()
    }

    #[test]
    fn only_what_was_read_holds() {
        assert_eq!(verdict("They grow a.md:2-3."), Verdict::Holds);
        assert_eq!(verdict("They grow b.md:2."), Verdict::UnknownFile);
        assert_eq!(verdict("They grow a.md:3-6."), Verdict::UnseenLine(5));
        assert_eq!(verdict("They grow a.md:1-900."), Verdict::TooWide);
    }

    #[test]
    fn quotes_must_be_there() {
        assert_eq!(
            verdict("\"dendrites grow along the field's lines\" a.md:2-3"),
            Verdict::Holds
        );
        assert_eq!(verdict("“Dendrites … the field's lines.” a.md:2"), Verdict::Holds);
        assert_eq!(
            verdict("\"dendrites shrink in the cold\" a.md:2"),
            Verdict::NoSuchQuote("dendrites shrink in the cold".into())
        );
    }

    #[test]
    fn what_does_not_hold_is_marked_once() {
        let answer = "Yes (a.md:2), and no (x.md:1); see x.md:2.";
        let marked = Checked::new(answer, &sources()).marked(answer);
        assert_eq!(
            marked,
            "Yes (a.md:2), and no (x.md:1 [unverified]); see x.md:2 [unverified]."
        );
        assert_eq!(Checked::new(&marked, &sources()).marked(&marked), marked);
    }
}
