//! What the tools really returned: the lines of files, by number, and the addresses of pages.

use std::collections::{BTreeMap, BTreeSet};

use crate::address;
use crate::check::Page;
use crate::citation::{self, Citation};

/// What is kept of one showing of a line, in bytes: all that the tools show of one, and how much they say is missing.
const LINE_BYTES: usize = 2_100;
/// What is kept of one line, in bytes, where several parts of it were shown.
const LINE_TOTAL: usize = 16 * 1024;
/// What is kept in all, in bytes; the lines that came first stay.
const TOTAL_BYTES: usize = 16 * 1024 * 1024;
/// What a line costs besides its text.
const LINE_COST: usize = 64;

/// Everything that was read.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: BTreeMap<String, BTreeMap<u64, String>>,
    pages: BTreeSet<String>,
    /// Addresses that what was read or asked names.
    mentioned: BTreeSet<String>,
    /// Lines that the task cites, where nothing can be read: whoever wrote it has seen them.
    given: Vec<Citation>,
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

    /// Remembers that a page was fetched: under the address that was asked for, and under the one that the result's head
    /// names, which redirects may have led to.
    pub(crate) fn fetched(&mut self, url: &str, result: &str) {
        let head = result
            .lines()
            .find_map(|line| line.trim_start().strip_prefix('[')?.rsplit_once(", characters "));
        let shown = head.and_then(|(head, _)| head.split(' ').next());
        let pages = [Some(url), shown].into_iter().flatten();
        self.pages.extend(pages.map(address::normal));
        self.mention(result);
    }

    /// Remembers the addresses in a text that somebody else wrote: naming them invents nothing.
    pub(crate) fn mention(&mut self, text: &str) {
        for address in address::find(text) {
            let url = address::normal(&address.url);
            if self.bytes + url.len() + LINE_COST > TOTAL_BYTES {
                return;
            }
            let cost = url.len() + LINE_COST;
            if self.mentioned.insert(url) {
                self.bytes += cost;
            }
        }
    }

    /// Keeps the citations of a task for who can read nothing.
    pub(crate) fn give(&mut self, task: &str) {
        self.given = citation::find(task, std::iter::empty()).citations;
    }

    /// Whether the task cites these lines.
    pub(crate) fn is_given(&self, citation: &Citation) -> bool {
        self.given.iter().any(|given| {
            let within = given.first <= citation.first && citation.last <= given.last;
            within && is_same_file(&given.path, &citation.path)
        })
    }

    pub(crate) fn page(&self, url: &str) -> Page {
        let url = address::normal(url);
        if self.pages.contains(&url) {
            Page::Fetched
        } else if self.mentioned.contains(&url) {
            Page::Mentioned
        } else {
            Page::Unknown
        }
    }

    /// The names of the files that were read.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.pages.is_empty()
    }

    /// The files that a path in an answer may mean: the same, or one that ends with it or begins after it.
    pub(crate) fn files(&self, path: &str) -> Vec<(&str, &BTreeMap<u64, String>)> {
        let files = self.files.iter().map(|(name, lines)| (name.as_str(), lines));
        files.filter(|(name, _)| is_same_file(name, path)).collect()
    }

    fn keep(&mut self, path: &str, number: u64, text: &str) {
        self.mention(text);
        let text = hermes_sdk::text::prefix(text, LINE_BYTES);
        if self.bytes + text.len() + LINE_COST > TOTAL_BYTES {
            return;
        }
        let lines = self.files.entry(path.to_owned()).or_default();
        let Some(line) = lines.get_mut(&number) else {
            self.bytes += text.len() + LINE_COST;
            lines.insert(number, text.to_owned());
            return;
        };
        // Of a long line each tool shows the part that was asked for.
        if text.contains(line.as_str()) {
            self.bytes += text.len() - line.len();
            text.clone_into(line);
        } else if !line.contains(text) && line.len() + text.len() < LINE_TOTAL {
            self.bytes += text.len() + 1;
            line.push('\n');
            line.push_str(text);
        }
    }
}

/// Whether a path may mean the file of this name: it is the same, or one ends with the other.
fn is_same_file(name: &str, path: &str) -> bool {
    let wanted = path.trim_start_matches("./").trim_start_matches('/');
    let ends = |whole: &str, end: &str| {
        whole
            .strip_suffix(end)
            .is_some_and(|head| head.is_empty() || head.ends_with('/'))
    };
    ends(name, wanted) || ends(wanted, name.trim_start_matches('/'))
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
    }

    #[test]
    fn pages_are_known_by_what_was_asked_for_and_by_where_it_led() {
        let mut sources = Sources::default();
        sources.fetched(
            "x.org/a/",
            "<data 7f>\n[https://x.org/b \"A, characters B\", characters 0-3 of 3]\nsee\n</data 7f>",
        );
        for fetched in ["https://x.org/a#b", "https://x.org/b"] {
            assert_eq!(sources.page(fetched), Page::Fetched, "{fetched}");
        }
        sources.searched("/d/a.md:1: see https://x.org/c.");
        assert_eq!(sources.page("https://x.org/c"), Page::Mentioned);
        assert_eq!(sources.page("https://x.org/d"), Page::Unknown);
    }

    #[test]
    fn all_that_was_shown_of_a_line_is_kept() {
        let mut sources = Sources::default();
        let head = format!("{} head… (+9 bytes)", "h".repeat(1_980));
        sources.read(&format!("[/d/a.md, lines 1-1 of 1]\n1: {head}"));
        sources.searched("/d/a.md:1: (+7 bytes) …tail");
        sources.searched("/d/a.md:1: (+7 bytes) …tail");
        let files = sources.files("a.md");
        assert_eq!(files[0].1[&1], format!("{head}\n(+7 bytes) …tail"));
    }
}
