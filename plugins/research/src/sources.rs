//! What the tools really returned: the lines of files, by number, and the addresses of pages.

use std::collections::{BTreeMap, BTreeSet};

/// What is kept of one line, in bytes: enough to find a quote in it.
const LINE_BYTES: usize = 1_000;
/// What is kept in all, in bytes; the lines that came first stay.
const TOTAL_BYTES: usize = 16 * 1024 * 1024;
/// What a line costs besides its text.
const LINE_COST: usize = 64;

/// Everything that was read.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: BTreeMap<String, BTreeMap<u64, String>>,
    pages: BTreeSet<String>,
    bytes: usize,
}

impl Sources {
    /// Keeps the lines of a result of `read_file`: a head that names the file, then `number: text`.
    pub(crate) fn read(&mut self, result: &str) {
        let mut path = None;
        for line in result.lines() {
            if let Some(head) = line
                .trim_start()
                .strip_prefix('[')
                .and_then(|head| head.split_once(", lines "))
            {
                path = Some(head.0.to_owned());
            } else if let (Some(path), Some((number, text))) = (&path, numbered(line, ':')) {
                self.keep(path, number, text);
            }
        }
    }

    /// Keeps the lines of a result of `search_files`: `path:number: text`, and `path:number- text` for lines around.
    pub(crate) fn searched(&mut self, result: &str) {
        for line in result.lines() {
            // The first `:number:` ends the path: what follows is the file's own text.
            let parts = line.match_indices(':').find_map(|(at, _)| {
                let rest = &line[at + 1..];
                numbered(rest, ':')
                    .or_else(|| numbered(rest, '-'))
                    .map(|(number, text)| (&line[..at], number, text))
            });
            if let Some((path, number, text)) = parts {
                self.keep(path, number, text);
            }
        }
    }

    /// Remembers that a page was fetched.
    pub(crate) fn fetched(&mut self, url: &str) {
        self.pages.insert(bare(url).to_owned());
    }

    pub(crate) fn has_page(&self, url: &str) -> bool {
        self.pages.contains(bare(url))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.pages.is_empty()
    }

    /// The files that a path in an answer may mean: the same, or one that ends with it or begins after it.
    pub(crate) fn files(&self, path: &str) -> Vec<(&str, &BTreeMap<u64, String>)> {
        let wanted = path.trim_start_matches("./").trim_start_matches('/');
        let ends = |whole: &str, end: &str| {
            whole
                .strip_suffix(end)
                .is_some_and(|head| head.is_empty() || head.ends_with('/'))
        };
        let files = self.files.iter().map(|(name, lines)| (name.as_str(), lines));
        files
            .filter(|(name, _)| ends(name, wanted) || ends(wanted, name.trim_start_matches('/')))
            .collect()
    }

    fn keep(&mut self, path: &str, number: u64, text: &str) {
        let text = hermes_sdk::text::prefix(text, LINE_BYTES);
        if self.bytes + text.len() + LINE_COST > TOTAL_BYTES {
            return;
        }
        let lines = self.files.entry(path.to_owned()).or_default();
        // A search may show less of a long line than a reading does; the longer one holds the other.
        let known = lines.get(&number).map_or(0, |line| line.len() + LINE_COST);
        if known < text.len() + LINE_COST {
            self.bytes += text.len() + LINE_COST - known;
            lines.insert(number, text.to_owned());
        }
    }
}

/// `12: text` or `12:`, with this mark.
fn numbered(line: &str, mark: char) -> Option<(u64, &str)> {
    let (number, text) = line.split_once(mark)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = if text.is_empty() { text } else { text.strip_prefix(' ')? };
    Some((number.parse().ok()?, text))
}

/// An address without what names a place in the page.
fn bare(url: &str) -> &str {
    url.split('#').next().unwrap_or(url).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_lines_are_kept_under_their_file() {
        let mut sources = Sources::default();
        sources.read(
            "<data 7f>\n[/d/a.md, lines 3-5 of 9]\n3: three: 3\n4:\n5: /x/y.md:7: no\n[go on with start=6]\n</data 7f>",
        );
        let files = sources.files("a.md");
        assert_eq!(files.len(), 1);
        assert_eq!(
            files[0].1.iter().map(|(n, t)| (*n, t.as_str())).collect::<Vec<_>>(),
            [(3, "three: 3"), (4, ""), (5, "/x/y.md:7: no")]
        );
        assert!(sources.files("y.md").is_empty(), "a file's own text makes no source");
    }

    #[test]
    fn search_results_are_kept() {
        let mut sources = Sources::default();
        sources.searched("/d/a.md:6: see b.md:1: x\n/d/a.md:7- after\n[no match]");
        assert_eq!(sources.files("/d/a.md")[0].1.len(), 2);
        assert!(sources.files("b.md").is_empty());
    }

    #[test]
    fn paths_match_by_whole_parts() {
        let mut sources = Sources::default();
        sources.searched("/docs/sub/a.md:1: x");
        for path in [
            "a.md",
            "sub/a.md",
            "/docs/sub/a.md",
            "./docs/sub/a.md",
            "/home/me/docs/sub/a.md",
        ] {
            assert_eq!(sources.files(path).len(), 1, "{path}");
        }
        assert!(sources.files("b/a.md").is_empty() && sources.files(".md").is_empty());
        sources.fetched("https://x.org/a/");
        assert!(sources.has_page("https://x.org/a#b") && !sources.has_page("https://x.org/b"));
    }
}
