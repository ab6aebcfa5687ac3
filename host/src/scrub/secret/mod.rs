//! The configured secrets, compiled into two searches: one through a text as it is, one through its squeezed view.

mod forms;
mod matcher;
mod view;

use std::ops::Range;

use zeroize::Zeroizing;

use self::forms::{Forms, LONGEST};
pub(super) use self::matcher::Match;
use self::matcher::Matcher;
pub(super) use self::view::View;
use super::clean::cleaned;
use super::reading::Reading;
use crate::json;

/// The most bytes that one form of any secret takes up in a text.
pub(super) const SPAN: usize = view::span(LONGEST);

/// All forms of all secrets. The values themselves are wiped once it is built; what the searches hold of them can't be.
pub(super) struct Forbidden {
    exact: Patterns,
    squeezed: Patterns,
    /// The values without backslashes, as [`Reading::bare`] reads them.
    bare: Patterns,
    /// The values in lower case, as a name of a host has them.
    folded: Patterns,
    span: usize,
}

/// Patterns, each with the index of the secret that it belongs to, and the search for them.
struct Patterns {
    all: Vec<(Zeroizing<Vec<u8>>, u32)>,
    matcher: Option<Matcher>,
}

impl Patterns {
    fn new(all: Vec<(Zeroizing<Vec<u8>>, u32)>) -> Self {
        Self {
            matcher: Matcher::new(&all),
            all,
        }
    }

    fn longest(&self) -> usize {
        self.all.iter().map(|(pattern, _)| pattern.len()).max().unwrap_or(0)
    }

    /// The longest end of `text` with which a pattern begins and goes on, in bytes.
    fn begun(&self, text: &[u8]) -> usize {
        let begun = self.all.iter().filter_map(|(pattern, _)| {
            let most = pattern.len().saturating_sub(1).min(text.len());
            (1..=most).rev().find(|n| text.ends_with(&pattern[..*n]))
        });
        begun.max().unwrap_or(0)
    }
}

impl Forbidden {
    /// From the values, in the order of their owners' indices.
    pub(super) fn new(values: &[Zeroizing<String>]) -> Self {
        let (mut exact, mut squeezed, mut folded, mut bare) = (vec![], vec![], vec![], vec![]);
        for (owner, value) in (0..).zip(values) {
            let mut forms = Forms::of(value, &Zeroizing::new(cleaned(value)));
            bare.extend(forms.bare.drain(..).map(|pattern| (pattern, owner)));
            exact.extend(forms.exact.drain(..).map(|pattern| (pattern, owner)));
            squeezed.extend(forms.squeezed.drain(..).map(|pattern| (pattern, owner)));
            folded.extend(forms.folded.drain(..).map(|pattern| (pattern, owner)));
        }
        let (exact, squeezed) = (Patterns::new(exact), Patterns::new(squeezed));
        Self {
            // As they are, or each character as an escape.
            span: (exact.longest() * json::WRITTEN).max(view::span(squeezed.longest())),
            exact,
            squeezed,
            bare: Patterns::new(bare),
            folded: Patterns::new(folded),
        }
    }

    /// Whether there is nothing to look for.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.matcher.is_none() && self.squeezed.matcher.is_none()
    }

    /// The longest match, in bytes.
    pub(super) fn span(&self) -> usize {
        self.span
    }

    /// All matches in `text` that begin in `decided`. Where some of one search overlap, it is one that covers them and
    /// has the first one's owner: there may be one at each byte. `view` is scratch.
    pub(super) fn find(&self, text: &[u8], decided: &Range<usize>, view: &mut View, mut found: impl FnMut(Match)) {
        self.search(&self.exact, text, decided, view, &mut found);
    }

    /// The same in a text that is read without backslashes.
    pub(super) fn find_bare(&self, text: &[u8], decided: &Range<usize>, view: &mut View, mut found: impl FnMut(Match)) {
        self.search(&self.bare, text, decided, view, &mut found);
    }

    /// All matches of these patterns, and of those that are looked for in the squeezed view.
    fn search(
        &self,
        patterns: &Patterns,
        text: &[u8],
        decided: &Range<usize>,
        view: &mut View,
        mut found: &mut impl FnMut(Match),
    ) {
        if let Some(matcher) = &patterns.matcher {
            let mut joined = Joined::new(decided, &mut found);
            matcher.find(text, |hit| joined.add(hit));
            joined.flush();
        }
        if let Some(matcher) = &self.squeezed.matcher {
            view.fill(text);
            let mut joined = Joined::new(decided, &mut found);
            matcher.find(view.bytes(), |hit| {
                joined.add(Match {
                    start: view.origin(text, hit.start),
                    end: view.origin(text, hit.end - 1) + 1,
                    owner: hit.owner,
                });
            });
            joined.flush();
        }
    }

    /// The owner of a secret that a host's name holds, which is in lower case.
    pub(super) fn find_folded(&self, host: &[u8]) -> Option<u32> {
        let mut owner = None;
        let matcher = self.folded.matcher.as_ref()?;
        matcher.find(host, |hit| owner = owner.or(Some(hit.owner)));
        owner
    }

    /// How many bytes at the end of `text` may be the beginning of a match that goes on behind it: see [`Coming::decide_settled`](super::Coming::decide_settled).
    pub(super) fn begun(&self, text: &str, view: &mut View) -> usize {
        if self.is_empty() {
            return 0;
        }
        let text = &text[text.floor_char_boundary(text.len().saturating_sub(self.span))..];
        let (whole, escape) = text.split_at(text.len() - json::begun(text.as_bytes()));
        let written = match text.contains('\\') {
            false => 0,
            true => {
                let read = Reading::all_bare(whole);
                match self.begun_in(&self.bare, read.text.as_bytes(), view) {
                    0 => 0,
                    n => whole.len() - read.place(read.text.len() - n..read.text.len()).start,
                }
            }
        };
        self.begun_in(&self.exact, text.as_bytes(), view)
            .max(written + escape.len())
    }

    fn begun_in(&self, patterns: &Patterns, text: &[u8], view: &mut View) -> usize {
        view.fill(text);
        let squeezed = match self.squeezed.begun(view.bytes()) {
            0 => 0,
            n => text.len() - view.origin(text, view.bytes().len() - n),
        };
        patterns.begun(text).max(squeezed)
    }
}

/// Joins matches that overlap.
struct Joined<'a, F: FnMut(Match)> {
    decided: &'a Range<usize>,
    last: Option<Match>,
    found: F,
}

impl<'a, F: FnMut(Match)> Joined<'a, F> {
    fn new(decided: &'a Range<usize>, found: F) -> Self {
        Self {
            decided,
            last: None,
            found,
        }
    }

    fn add(&mut self, hit: Match) {
        if !self.decided.contains(&hit.start) {
            return;
        }
        if let Some(last) = &mut self.last
            && hit.start < last.end
        {
            last.end = last.end.max(hit.end);
        } else {
            self.flush();
            self.last = Some(hit);
        }
    }

    fn flush(&mut self) {
        if let Some(last) = self.last.take() {
            (self.found)(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_any_secret_takes_more_than_the_longest() {
        let span = |value: &str| Forbidden::new(&[Zeroizing::new(value.to_owned())]).span();
        for c in ['a', '/', '"', '\'', '`', '=', '<', '\u{7f}', 'é', '€', '\u{10ffff}'] {
            for before in 0..4 {
                for len in [4, 128, 300] {
                    let value = "x".repeat(before) + &c.to_string().repeat(len);
                    assert!(span(&value) <= SPAN, "{c:?} {before} {len}: {}", span(&value));
                }
            }
        }
        assert!(
            span(&"\"".repeat(128)) > SPAN - SPAN / 20,
            "nor is it much more than that"
        );
    }
}
