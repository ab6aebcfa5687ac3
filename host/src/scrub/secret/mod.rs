//! The configured secrets, compiled into two searches: one through a text as it is, one through its squeezed view.

mod forms;
mod matcher;
mod view;

use std::ops::Range;

use zeroize::Zeroizing;

use self::forms::Forms;
pub(super) use self::matcher::Match;
use self::matcher::Matcher;
pub(super) use self::view::View;
use super::clean::cleaned;

/// All forms of all secrets. The values themselves are wiped once it is built; what the searches hold of them can't be.
pub(super) struct Forbidden {
    exact: Option<Matcher>,
    squeezed: Option<Matcher>,
    span: usize,
}

impl Forbidden {
    /// From the values, in the order of their owners' indices.
    pub(super) fn new(values: &[Zeroizing<String>]) -> Self {
        let (mut exact, mut squeezed) = (vec![], vec![]);
        for (owner, value) in (0..).zip(values) {
            let mut forms = Forms::of(value, &Zeroizing::new(cleaned(value)));
            exact.extend(forms.exact.drain(..).map(|pattern| (pattern, owner)));
            squeezed.extend(forms.squeezed.drain(..).map(|pattern| (pattern, owner)));
        }
        let longest = |patterns: &[(Zeroizing<Vec<u8>>, u32)]| patterns.iter().map(|(p, _)| p.len()).max().unwrap_or(0);
        Self {
            span: longest(&exact).max(view::span(longest(&squeezed))),
            exact: Matcher::new(&exact),
            squeezed: Matcher::new(&squeezed),
        }
    }

    /// The longest match, in bytes.
    pub(super) fn span(&self) -> usize {
        self.span
    }

    /// All matches in `text` that begin in `decided`. Where some of one search overlap, it is one that covers them and
    /// has the first one's owner: there may be one at each byte. `view` is scratch.
    pub(super) fn find(&self, text: &str, decided: &Range<usize>, view: &mut View, mut found: impl FnMut(Match)) {
        if let Some(matcher) = &self.exact {
            let mut joined = Joined::new(decided, &mut found);
            matcher.find(text.as_bytes(), |hit| joined.add(hit));
            joined.flush();
        }
        if let Some(matcher) = &self.squeezed {
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
