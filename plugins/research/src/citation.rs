//! Finding citations `file:line` and `file:line-line` in an answer, and the quotes that stand beside them.

/// A citation as it stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Citation {
    pub(crate) path: String,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Where it ends in the answer, in bytes.
    pub(crate) end: usize,
    /// Citations with nothing but signs between them are of one group: `(a.md:1; b.md:2-3,7)`.
    pub(crate) group: usize,
}

/// A text in quotation marks that stands beside a citation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quote {
    pub(crate) text: String,
    /// The group of citations before it in its line.
    pub(crate) before: Option<usize>,
    /// The group after it.
    pub(crate) after: Option<usize>,
}

/// What an answer cites.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) citations: Vec<Citation>,
    pub(crate) quotes: Vec<Quote>,
}

/// Quotes shorter than this, in characters, are words that are talked about rather than a text that is quoted.
const QUOTE_CHARS: usize = 16;

/// All citations of an answer and the quotes beside them, in order. `files` are those that were read: a name in which
/// words end, such as one with a blank, is only found by being known.
pub(crate) fn find<'a>(answer: &str, files: impl Iterator<Item = &'a str>) -> Found {
    let odd = files.filter(|file| file.contains(is_border) || is_bare(file.rsplit('/').next().unwrap_or_default()));
    let odd: Vec<&str> = odd.collect();
    let (mut found, mut offset) = (Found::default(), 0);
    for line in answer.split_inclusive('\n') {
        let mut from = 0;
        for (start, end, citations) in in_line(line, &odd) {
            let between = &line[from..start];
            let last = found.citations.last().map(|last| last.group);
            let before = last.filter(|_| from > 0);
            let group = match last {
                Some(last) if from > 0 && joins(between) => last,
                last => last.map_or(0, |last| last + 1),
            };
            found.quote(between, before, Some(group));
            found.citations.extend(citations.into_iter().map(|citation| Citation {
                end: citation.end + offset,
                group,
                ..citation
            }));
            from = end;
        }
        if from > 0 {
            let last = found.citations.last().map(|last| last.group);
            found.quote(&line[from..], last, None);
        }
        offset += line.len();
    }
    found
}

impl Found {
    fn quote(&mut self, text: &str, before: Option<usize>, after: Option<usize>) {
        let quotes = quotes(text).into_iter();
        self.quotes.extend(quotes.map(|text| Quote { text, before, after }));
    }
}

/// Whether what stands between two citations says nothing, so that both are for the same.
fn joins(between: &str) -> bool {
    ["", "and"].contains(&between.trim_matches(|c: char| !c.is_alphanumeric()))
}

/// The citations of a line, with the place of the word that holds them.
fn in_line(line: &str, odd: &[&str]) -> Vec<(usize, usize, Vec<Citation>)> {
    let (mut found, mut from) = (vec![], 0);
    for (start, colon) in known(line, odd) {
        if start < from {
            continue;
        }
        found.extend(plain(line, from, start));
        let citations = lines(&line[start..colon], &line[colon + 1..], colon + 1);
        from = citations.last().map_or(colon, |last| last.end);
        found.extend((!citations.is_empty()).then_some((start, from, citations)));
    }
    found.extend(plain(line, from, line.len()));
    found
}

/// The citations whose path is one word, in a part of a line.
fn plain(line: &str, from: usize, to: usize) -> impl Iterator<Item = (usize, usize, Vec<Citation>)> {
    words(&line[from..to]).into_iter().filter_map(move |(start, end)| {
        let (start, end) = (from + start, from + end);
        let word = &line[start..end];
        let (path, rest) = split(word)?;
        let citations = lines(path, rest, end - rest.len());
        (!citations.is_empty()).then_some((start, end, citations))
    })
}

/// Where a known name that is no single word stands before a line's number: its beginning, and its colon.
fn known(line: &str, odd: &[&str]) -> Vec<(usize, usize)> {
    if odd.is_empty() {
        return vec![];
    }
    let colons = line
        .match_indices(':')
        .filter(|(at, _)| line[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let found = colons.filter_map(|(colon, _)| {
        let before = &line[..colon];
        let longest = odd.iter().filter_map(|name| tail(before, name)).max()?;
        Some((colon - longest, colon))
    });
    found.collect()
}

/// How much of a path's end stands at the end of `text`, in whole parts; none if a single word is a path by its looks or if the text goes
/// on before it with a part of another name.
fn tail(text: &str, path: &str) -> Option<usize> {
    let pairs = text.bytes().rev().zip(path.bytes().rev());
    let from = path.ceil_char_boundary(path.len() - pairs.take_while(|(a, b)| a == b).count());
    let begins_part = from == 0 || path.as_bytes()[from - 1] == b'/';
    let name = if begins_part {
        &path[from..]
    } else {
        path[from..].split_once('/')?.1
    };
    let before = text[..text.len() - name.len()].chars().next_back();
    let begins = before.is_none_or(|c| is_border(c) || "/,:".contains(c)) || name.starts_with('/');
    (begins && (name.contains(is_border) || is_bare(name))).then_some(name.len())
}

/// A name that is a file's only because such a file was read: `LICENSE`.
fn is_bare(name: &str) -> bool {
    !name.contains(['.', '/'])
}

/// Where a word ends: white space, brackets, quotation marks and the like.
fn is_border(c: char) -> bool {
    c.is_whitespace() || "()[]{}<>`\"'“”«»*;|".contains(c)
}

/// Pieces of text without any border.
fn words(text: &str) -> Vec<(usize, usize)> {
    let (mut words, mut start) = (vec![], None);
    for (at, c) in text.char_indices() {
        match (is_border(c), start) {
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

/// A path and what follows its colon, where that begins with a digit.
fn split(word: &str) -> Option<(&str, &str)> {
    if word.contains("://") {
        return None;
    }
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

/// The citations of a path by the lines that follow its colon, `3`, `3-5`, `3,8-9`; `at` is where these begin.
fn lines(path: &str, lines: &str, mut at: usize) -> Vec<Citation> {
    let (mut found, mut rest) = (vec![], lines);
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
            group: 0,
        });
        let Some(next) = after.strip_prefix(',') else { break };
        at += 1;
        rest = next;
    }
    found
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
        among(answer, &[])
    }

    fn among(answer: &str, files: &[&str]) -> Vec<(String, u64, u64)> {
        let citations = find(answer, files.iter().copied()).citations;
        citations.into_iter().map(|c| (c.path, c.first, c.last)).collect()
    }

    fn one(path: &str, first: u64, last: u64) -> (String, u64, u64) {
        (path.to_owned(), first, last)
    }

    #[test]
    fn citations_are_found_in_prose() {
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
    fn names_that_are_no_single_word_are_found_by_being_known() {
        let files = [
            "/d/my notes/Li [2024] (final).md",
            "/d/my notes/b.md",
            "/d/O'Hara \"x\".txt",
            "/d/final).md",
        ];
        let is =
            |answer: &str, expected: &[(String, u64, u64)]| assert_eq!(among(answer, &files), expected, "{answer}");
        is(
            "It grows (/d/my notes/Li [2024] (final).md:3-5) and (Li [2024] (final).md:7,9).",
            &[
                one("/d/my notes/Li [2024] (final).md", 3, 5),
                one("Li [2024] (final).md", 7, 7),
                one("Li [2024] (final).md", 9, 9),
            ],
        );
        is(
            "d/my notes/b.md:2 and b.md:3",
            &[one("d/my notes/b.md", 2, 2), one("b.md", 3, 3)],
        );
        is("/home/me/d/my notes/b.md:2", &[one("/d/my notes/b.md", 2, 2)]);
        is("see `O'Hara \"x\".txt:4`", &[one("O'Hara \"x\".txt", 4, 4)]);
        // Words that only end like a known name are what they are.
        is("dummy notes/b.md:2", &[one("notes/b.md", 2, 2)]);
        is("ä notes/b.md:2", &[one("notes/b.md", 2, 2)]);
        // The last byte of both first letters is the same.
        assert_eq!(among("ä b.md:2", &["Ĥ b.md"]), [one("b.md", 2, 2)]);
        is("at 12:30 in Li [2024] (final).md:0", &[]);
    }

    #[test]
    fn a_bare_name_is_a_file_where_such_a_file_was_read() {
        let files = ["/d/LICENSE", "/d/a.md"];
        let is =
            |answer: &str, expected: &[(String, u64, u64)]| assert_eq!(among(answer, &files), expected, "{answer}");
        is(
            "As is (LICENSE:3), see /d/LICENSE:5-6.",
            &[one("LICENSE", 3, 3), one("/d/LICENSE", 5, 6)],
        );
        is("Note:3 and at 12:30, MYLICENSE:4", &[]);
    }

    #[test]
    fn a_citation_knows_its_end_and_a_quote_its_neighbours() {
        let answer = "Ä \"not this one here\" x.md:1 but “dendrites grow in the dark” y.md:2-3, z \"and in the last place\"\n\
                      \"on a line of its own\"";
        let Found { citations, quotes } = find(answer, [].into_iter());
        assert_eq!(&answer[..citations[1].end], &answer[..answer.find(", z").unwrap()]);
        let neighbours: Vec<_> = quotes.iter().map(|quote| (quote.before, quote.after)).collect();
        assert_eq!(neighbours, [(None, Some(0)), (Some(0), Some(1)), (Some(1), None)]);
        assert_eq!(quotes[1].text, "dendrites grow in the dark");
    }

    #[test]
    fn citations_for_one_thing_are_one_group() {
        let groups = |answer: &str| -> Vec<usize> {
            let citations = find(answer, [].into_iter()).citations;
            citations.iter().map(|citation| citation.group).collect()
        };
        assert_eq!(groups("(a.md:1,3; b.md:2 and c.md:4) but d.md:5"), [0, 0, 0, 0, 1]);
        assert_eq!(groups("a.md:1\nb.md:2"), [0, 1], "lines are apart");
    }
}
