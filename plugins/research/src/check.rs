//! Checking an answer's citations against what was read, and marking those that do not hold.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::address::{self, Address};
use crate::citation::{self, Citation, Found, Quote};
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
    /// The file and all the lines were read, and what is quoted from them is there.
    Holds,
    /// Nothing could be read, and the task cites it.
    Given,
    /// No such file was read.
    UnknownFile,
    /// This line was never shown.
    UnseenLine(u64),
    /// These lines are empty.
    Blank,
    /// It names so many lines that it says nothing.
    TooWide,
    /// These words are not at these lines.
    NoSuchQuote(String),
}

/// What is known of a page that an answer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// It was fetched.
    Fetched,
    /// What was read or asked names it: no source, and no invention either.
    Mentioned,
    /// Nothing that was read names it.
    Unknown,
}

/// The citations of an answer and the pages that it names, with what checking them showed.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) citations: Vec<(Citation, Verdict)>,
    pub(crate) pages: Vec<(Address, Page)>,
}

impl Checked {
    pub(crate) fn new(answer: &str, sources: &Sources) -> Self {
        let Found { citations, quotes } = citation::find(answer, sources.names());
        let verdicts = citations.into_iter().map(|citation| {
            let verdict = judge(&citation, sources);
            (citation, verdict)
        });
        let pages = address::find(answer).into_iter().map(|address| {
            let page = sources.page(&address.url);
            (address, page)
        });
        let mut checked = Self {
            citations: verdicts.collect(),
            pages: pages.collect(),
        };
        for quote in quotes {
            checked.judge_quote(&quote, sources);
        }
        checked
    }

    /// A quote belongs to the citation before it or to the one after it. If neither bears it out, the nearest of them that
    /// holds otherwise, the one after it first, does not.
    fn judge_quote(&mut self, quote: &Quote, sources: &Sources) {
        let beside = |group: Option<usize>| move |citation: &Citation| group == Some(citation.group);
        let (before, after) = (beside(quote.before), beside(quote.after));
        let mut neighbours = self.citations.iter().filter(|(one, _)| before(one) || after(one));
        if neighbours.any(|(one, _)| bears_out(one, &quote.text, sources)) {
            return;
        }
        let (earlier, later): (Vec<_>, Vec<_>) = self
            .citations
            .iter_mut()
            .filter(|(one, verdict)| (before(one) || after(one)) && *verdict == Verdict::Holds)
            .partition(|(one, _)| before(one));
        if let Some((_, verdict)) = later.into_iter().next().or(earlier.into_iter().next_back()) {
            *verdict = Verdict::NoSuchQuote(quote.text.clone());
        }
    }

    /// Whether there is a source that was confirmed.
    pub(crate) fn has_source(&self) -> bool {
        let holds = |(_, verdict): &(Citation, Verdict)| *verdict == Verdict::Holds;
        self.citations.iter().any(holds) || self.pages.iter().any(|(_, page)| *page == Page::Fetched)
    }

    /// Whether there is a source that the task names: all that an agent has which can read nothing.
    pub(crate) fn has_given(&self) -> bool {
        let given = |(_, verdict): &(Citation, Verdict)| *verdict == Verdict::Given;
        self.citations.iter().any(given) || self.pages.iter().any(|(_, page)| *page == Page::Mentioned)
    }

    /// Whether anything is cited at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.citations.is_empty() && self.pages.iter().all(|(_, page)| *page == Page::Mentioned)
    }

    pub(crate) fn failing(&self) -> impl Iterator<Item = &(Citation, Verdict)> {
        let stands = |verdict: &Verdict| matches!(verdict, Verdict::Holds | Verdict::Given);
        self.citations.iter().filter(move |(_, verdict)| !stands(verdict))
    }

    /// Pages that nobody has seen, each once.
    pub(crate) fn unknown_pages(&self) -> BTreeSet<&str> {
        let unknown = self.pages.iter().filter(|(_, page)| *page == Page::Unknown);
        unknown.map(|(address, _)| address.url.as_str()).collect()
    }

    /// How many sources could not be confirmed.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.failing().count() + self.unknown_pages().len()
    }

    /// The answer, with a mark after each citation that does not hold and each page that nobody has seen.
    pub(crate) fn marked(&self, answer: &str) -> String {
        let mut marked = answer.to_owned();
        let unknown = self.pages.iter().filter(|(_, page)| *page == Page::Unknown);
        let pages = unknown.map(|(address, _)| address.end);
        let mut ends: Vec<_> = self.failing().map(|(citation, _)| citation.end).chain(pages).collect();
        ends.sort_unstable();
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
        let cited = self.pages.iter().filter(|(_, page)| *page != Page::Mentioned);
        let pages: BTreeMap<_, _> = cited
            .map(|(address, page)| (&address.url, *page == Page::Fetched))
            .collect();
        let pages = pages
            .iter()
            .map(|(url, verified)| json!({ "url": url, "verified": verified }));
        json!({ "citations": citations.collect::<Vec<_>>(), "pages": pages.collect::<Vec<_>>() })
    }
}

/// The best verdict over all files that the path may mean, quotes apart.
fn judge(citation: &Citation, sources: &Sources) -> Verdict {
    if citation.last - citation.first >= RANGE {
        return Verdict::TooWide;
    }
    if sources.is_given(citation) {
        return Verdict::Given;
    }
    let mut best = Verdict::UnknownFile;
    for (_, lines) in sources.files(&citation.path) {
        match (citation.first..=citation.last).find(|line| !lines.contains_key(line)) {
            None => {
                let mut cited = lines.range(citation.first..=citation.last);
                if cited.any(|(_, line)| !line.trim().is_empty()) {
                    return Verdict::Holds;
                }
                best = Verdict::Blank;
            }
            Some(line) if best == Verdict::UnknownFile => best = Verdict::UnseenLine(line),
            Some(_) => {}
        }
    }
    best
}

/// Whether the lines of a citation, in any file that it may mean, say what is quoted.
fn bears_out(citation: &Citation, quote: &str, sources: &Sources) -> bool {
    let around = citation.first.saturating_sub(MARGIN)..=citation.last.saturating_add(MARGIN);
    sources.files(&citation.path).iter().any(|(_, lines)| {
        let text: Vec<_> = lines.range(around.clone()).map(|(_, line)| line.as_str()).collect();
        holds(&plain(&text.join(" ")), quote)
    })
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
        sources.read(
            "[/d/a.md, lines 1-4 of 9]\n1: # Growth\n2: Dendrites **grow** along\n3: the field’s lines.\n4: They end.",
        );
        sources.read("[/d/blank.md, lines 1-2 of 2]\n1:\n2: Dendrites");
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
        assert_eq!(verdict("They grow blank.md:1."), Verdict::Blank);
        assert_eq!(verdict("They grow blank.md:1-2."), Verdict::Holds);
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
    fn a_quote_may_stand_on_either_side_of_its_citation() {
        let all = |answer: &str| {
            Checked::new(answer, &sources())
                .citations
                .into_iter()
                .map(|(_, verdict)| verdict)
                .collect::<Vec<_>>()
        };
        let good = "\"dendrites grow along the field\"";
        let bad = "\"dendrites shrink in the cold\"";
        let no = Verdict::NoSuchQuote("dendrites shrink in the cold".into());
        assert_eq!(all(&format!("As a.md:2-3 says: {good}.")), [Verdict::Holds]);
        assert_eq!(all(&format!("As a.md:2-3 says: {bad}.")), vec![no.clone()]);
        // Between two citations either may be its source; if none is, the one after it is blamed.
        assert_eq!(
            all(&format!("a.md:1 names it, {good}, a.md:2-3.")),
            [Verdict::Holds, Verdict::Holds]
        );
        assert_eq!(
            all(&format!("a.md:2-3: {good}, and see a.md:4.")),
            [Verdict::Holds, Verdict::Holds]
        );
        assert_eq!(
            all(&format!("a.md:2-3 says {bad}, and see a.md:4.")),
            [Verdict::Holds, no.clone()]
        );
        assert_eq!(
            all(&format!("a.md:2-3 says {bad} b.md:1.")),
            [no.clone(), Verdict::UnknownFile]
        );
        assert_eq!(
            all(&format!("{good} (b.md:1; a.md:3)")),
            [Verdict::UnknownFile, Verdict::Holds]
        );
    }

    #[test]
    fn a_page_is_fetched_mentioned_or_invented() {
        let mut sources = sources();
        sources.fetched(
            "https://x.org/a",
            "[https://x.org/final \"T\", characters 0-9 of 9]\nsee [b](https://x.org/b)",
        );
        let answer = "Yes a.md:2, [p](https://y.org/q), https://x.org/a, https://x.org/b and https://x.org/final#part.";
        let checked = Checked::new(answer, &sources);
        let pages: Vec<_> = checked.pages.iter().map(|(_, page)| *page).collect();
        assert_eq!(pages, [Page::Unknown, Page::Fetched, Page::Mentioned, Page::Fetched]);
        assert_eq!((checked.unconfirmed(), checked.has_source()), (1, true));
        let marked = checked.marked(answer);
        assert_eq!(
            marked,
            "Yes a.md:2, [p](https://y.org/q) [unverified], https://x.org/a, https://x.org/b and https://x.org/final#part."
        );
        assert_eq!(Checked::new(&marked, &sources).marked(&marked), marked);
        assert_eq!(
            checked.json()["pages"].as_array().unwrap().len(),
            3,
            "a mention is no source"
        );
        assert!(Checked::new("see https://x.org/b", &sources).is_empty());
    }

    #[test]
    fn names_with_blanks_and_brackets_can_be_verified() {
        let mut sources = Sources::default();
        sources.read("[/d/my notes/Li [2024] (a).md, lines 1-2 of 2]\n1: one\n2: two");
        for answer in [
            "one (/d/my notes/Li [2024] (a).md:1)",
            "one `Li [2024] (a).md:1-2`",
            "d/my notes/Li [2024] (a).md:2",
        ] {
            let checked = Checked::new(answer, &sources);
            assert_eq!(checked.citations.len(), 1, "{answer}");
            assert_eq!(checked.unconfirmed(), 0, "{answer}");
        }
        let wrong = "one Li [2024] (a).md:7.";
        let checked = Checked::new(wrong, &sources);
        assert_eq!(checked.marked(wrong), "one Li [2024] (a).md:7 [unverified].");
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
