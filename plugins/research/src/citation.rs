//! Finding citations `file:line` and `file:line-line` in an answer, with the quotes that belong to them.

/// A citation as it stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Citation {
    pub(crate) path: String,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Where it ends in the answer, in bytes.
    pub(crate) end: usize,
    /// Texts in quotation marks before it, back to the citation before or the line's beginning.
    pub(crate) quotes: Vec<String>,
}

/// Quotes shorter than this, in characters, are words that are talked about rather than a text that is quoted.
const QUOTE_CHARS: usize = 16;

/// All citations of an answer, in order.
pub(crate) fn find(answer: &str) -> Vec<Citation> {
    let (mut found, mut offset) = (vec![], 0);
    for line in answer.split_inclusive('\n') {
        let mut from = 0;
        for (start, end) in words(line) {
            for mut citation in parse(&line[start..end]) {
                citation.end += offset + start;
                // Further lines in the same word share its words; their quotes were taken with the first.
                citation.quotes = line.get(from..start).map(quotes).unwrap_or_default();
                from = end;
                found.push(citation);
            }
        }
        offset += line.len();
    }
    found
}

/// The addresses of pages that an answer names.
pub(crate) fn urls(answer: &str) -> Vec<String> {
    let words = words(answer).into_iter().map(|(start, end)| &answer[start..end]);
    let urls = words.filter(|word| word.starts_with("https://") || word.starts_with("http://"));
    let mut urls: Vec<_> = urls
        .map(|url| url.trim_end_matches(['.', ':', '!', '?']).to_owned())
        .collect();
    urls.sort();
    urls.dedup();
    urls
}

/// Pieces of text without white space, brackets, quotation marks and the like.
fn words(text: &str) -> Vec<(usize, usize)> {
    let border = |c: char| c.is_whitespace() || "()[]{}<>`\"'“”«»*;|".contains(c);
    let (mut words, mut start) = (vec![], None);
    for (at, c) in text.char_indices() {
        match (border(c), start) {
            (true, Some(begin)) => {
                words.push((begin, at));
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words.extend(start.map(|begin| (begin, text.len())));
    words
}

/// The citations in one word: `a.md:3`, `a.md:3-5`, `a.md:3,8-9`.
fn parse(word: &str) -> Vec<Citation> {
    if word.contains("://") {
        return vec![];
    }
    let Some((path, lines)) = split(word) else {
        return vec![];
    };
    let (mut found, mut at, mut rest) = (vec![], word.len() - lines.len(), lines);
    while let Some((first, after)) = number(rest) {
        let dash = after.strip_prefix('-').or(after.strip_prefix('–'));
        let (last, after) = dash
            .and_then(|tail| number(tail.trim_start_matches('L')))
            .unwrap_or((first, after));
        at += rest.len() - after.len();
        found.push(Citation {
            path: path.to_owned(),
            first,
            last: last.max(first),
            end: at,
            quotes: vec![],
        });
        let Some(next) = after.strip_prefix(',') else { break };
        at += 1;
        rest = next;
    }
    found
}

/// A path and what follows its colon, where that begins with a digit.
fn split(word: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    while let Some(at) = word[from..].find(':').map(|at| at + from) {
        let (path, lines) = (&word[..at], &word[at + 1..]);
        // `12:30` and `Note:3` are no files.
        let is_path = path.contains('.') || path.contains('/');
        let is_name = path.chars().any(char::is_alphabetic);
        if is_path && is_name && lines.starts_with(|c: char| c.is_ascii_digit()) {
            return Some((path, lines));
        }
        from = at + 1;
    }
    None
}

fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let value = text[..digits].parse().ok().filter(|line| *line > 0)?;
    Some((value, &text[digits..]))
}

fn quotes(text: &str) -> Vec<String> {
    let mut quotes = vec![];
    for (open, close) in [('"', '"'), ('“', '”'), ('«', '»')] {
        let mut rest = text;
        while let Some((_, after)) = rest.split_once(open) {
            let Some((quote, after)) = after.split_once(close) else {
                break;
            };
            if quote.trim().chars().count() >= QUOTE_CHARS {
                quotes.push(quote.trim().to_owned());
            }
            rest = after;
        }
    }
    quotes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(answer: &str) -> Vec<(String, u64, u64)> {
        find(answer).into_iter().map(|c| (c.path, c.first, c.last)).collect()
    }

    #[test]
    fn citations_are_found_in_prose() {
        let one = |path: &str, first, last| (path.to_owned(), first, last);
        assert_eq!(found("It grows (see /d/a.md:12-14)."), [one("/d/a.md", 12, 14)]);
        assert_eq!(
            found("**x** `b.txt:3`, [c/d:4](y) and e.md:5–7."),
            [one("b.txt", 3, 3), one("c/d", 4, 4), one("e.md", 5, 7)]
        );
        assert_eq!(found("a.md:3,8-9, more"), [one("a.md", 3, 3), one("a.md", 8, 9)]);
        assert_eq!(found("a.md:7:"), [one("a.md", 7, 7)]);
        for none in [
            "at 12:30",
            "Note:3",
            "http://x.org:80/a",
            "a.md:",
            "a.md:0",
            "1.5:3",
            "std::io",
        ] {
            assert_eq!(found(none), [], "{none}");
        }
    }

    #[test]
    fn a_citation_knows_its_end_and_its_quotes() {
        let answer = "Ä \"not this one here\" x.md:1 but “dendrites grow in the dark” y.md:2-3, z";
        let citations = find(answer);
        assert_eq!(&answer[..citations[1].end], &answer[..answer.find(", z").unwrap()]);
        assert_eq!(citations[0].quotes, ["not this one here"]);
        assert_eq!(citations[1].quotes, ["dendrites grow in the dark"]);
    }

    #[test]
    fn urls_are_listed_once() {
        assert_eq!(
            urls("(https://x.org/a), https://x.org/a. http://y.z"),
            ["http://y.z", "https://x.org/a"]
        );
    }
}
