//! One search for many patterns that finds the longest match at every position, overlapping ones too.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use zeroize::Zeroizing;

/// Up to this many bytes of patterns, the search takes up to 512 bytes of memory for each of them, one step for each byte of a text whatever stands in it,
/// and is several times as fast. It takes about 40 for each where there are more.
const DENSE_MAX: usize = 32 * 1024;

/// Patterns, and which secret each belongs to.
pub(super) struct Matcher {
    search: AhoCorasick,
    owners: Vec<u32>,
}

/// A match: the bytes from `start` to `end` are a form of the secret with index `owner`.
#[derive(Debug, Clone, Copy)]
pub(in crate::scrub) struct Match {
    pub(in crate::scrub) start: usize,
    pub(in crate::scrub) end: usize,
    pub(in crate::scrub) owner: u32,
}

impl Matcher {
    /// `None` where there are no patterns. Of equal patterns, the first one's owner counts.
    pub(super) fn new(patterns: &[(Zeroizing<Vec<u8>>, u32)]) -> Option<Self> {
        if patterns.is_empty() {
            return None;
        }
        let bytes: usize = patterns.iter().map(|(pattern, _)| pattern.len()).sum();
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // One leaps over what begins no pattern: by the time of a search a plugin could tell how far its guess goes on like a secret.
            .prefilter(false)
            .kind((bytes <= DENSE_MAX).then_some(AhoCorasickKind::DFA))
            .build(patterns.iter().map(|(pattern, _)| pattern.as_slice()))
            .expect("an automaton takes 2 GiB of patterns");
        let owners = patterns.iter().map(|(_, owner)| *owner).collect();
        Some(Self { search, owners })
    }

    /// All matches in `text`, by where they begin; the longest one for each beginning.
    pub(super) fn find(&self, text: &[u8], mut found: impl FnMut(Match)) {
        let mut from = 0;
        while let Some(hit) = self.search.find(Input::new(text).range(from..)) {
            from = hit.start() + 1;
            found(Match {
                start: hit.start(),
                end: hit.end(),
                owner: self.owners[hit.pattern().as_usize()],
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_matches_are_all_found() {
        let patterns = [("abcd", 0), ("cdef", 1), ("abc", 2), ("cdef", 3)];
        let patterns = patterns.map(|(text, owner)| (Zeroizing::new(text.as_bytes().to_vec()), owner));
        let matcher = Matcher::new(&patterns).expect("there are patterns");
        let mut found = vec![];
        matcher.find(b"xabcdefabc", |hit| found.push((hit.start, hit.end, hit.owner)));
        assert_eq!(found, [(1, 5, 0), (3, 7, 1), (7, 10, 2)]);
        assert!(Matcher::new(&[]).is_none());
    }
}
