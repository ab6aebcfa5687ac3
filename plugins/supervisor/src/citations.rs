//! Sources in the answer that no sub-agent gave.

/// The citations `file:line` and the addresses in an answer that stand in none of the reports, each once.
pub(crate) fn unknown<'a>(answer: &'a str, reports: &[&str]) -> Vec<&'a str> {
    let mut unknown: Vec<_> = words(answer)
        .filter(|word| is_source(word) && !reports.iter().any(|report| gives(report, word)))
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown
}

/// Pieces of text without white space, brackets and quotation marks, and without the signs that end a sentence.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let border = |c: char| c.is_whitespace() || "()[]{}<>`\"'“”«»*;|,".contains(c);
    let words = text.split(border);
    words
        .map(|word| word.trim_end_matches(['.', ':', '!', '?']))
        .filter(|word| !word.is_empty())
}

fn is_source(word: &str) -> bool {
    if word.starts_with("https://") || word.starts_with("http://") {
        return true;
    }
    place(word).is_some()
}

/// A file and its line, of `papers/a.md:12-14`. `12:30` and `Note:3` are no files.
fn place(word: &str) -> Option<(&str, &str)> {
    let (file, lines) = word.rsplit_once(':')?;
    let is_file = (file.contains('.') || file.contains('/')) && file.chars().any(char::is_alphabetic);
    let digits = lines.len() - lines.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    (is_file && digits > 0 && !word.contains("://")).then(|| (file, &lines[..digits]))
}

/// Whether a report gives this source: the same address, or the same file with a citation that begins at that line or holds it.
fn gives(report: &str, source: &str) -> bool {
    let Some((file, line)) = place(source) else {
        return report.contains(source);
    };
    let file = bare(file);
    let wanted: u64 = line.parse().unwrap_or(0);
    words(report).any(|word| {
        let Some((other, _)) = place(word) else { return false };
        let other = bare(other);
        (ends(other, file) || ends(file, other)) && holds(&word[word.rfind(':').map_or(0, |at| at + 1)..], wanted)
    })
}

/// Whether `12`, `12-14` or `12–14` holds a line.
fn holds(lines: &str, wanted: u64) -> bool {
    let mut ends = lines
        .split(['-', '–'])
        .map(|end| end.trim_start_matches('L').parse::<u64>());
    let Some(Ok(first)) = ends.next() else { return false };
    let last = ends.next().and_then(Result::ok).unwrap_or(first);
    (first..=last.max(first)).contains(&wanted)
}

/// Whether a path ends with another one, whole parts of it.
fn ends(path: &str, end: &str) -> bool {
    path.strip_suffix(end)
        .is_some_and(|head| head.is_empty() || head.ends_with('/'))
}

fn bare(file: &str) -> &str {
    file.trim_start_matches("./").trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_report_gave_is_known() {
        let reports = [
            "It grows (/papers/a.md:12-14). See https://x.org/y.",
            "No: `b.md:3`, 7:30.",
        ];
        let answer = "It grows (papers/a.md:12-14, a.md:13) at 12:30, not b.md:3; https://x.org/y.";
        assert!(unknown(answer, &reports).is_empty(), "{:?}", unknown(answer, &reports));
        let invented = "c.md:1 and a.md:99, c.md:1, .md:3 (https://x.org/z)";
        assert_eq!(
            unknown(invented, &reports),
            [".md:3", "a.md:99", "c.md:1", "https://x.org/z"]
        );
    }

    #[test]
    fn odd_words_are_no_sources() {
        for text in ["Note:3", "12:30", "a.md:", "std::io", "1.5:3", ":", ""] {
            assert!(unknown(text, &[]).is_empty(), "{text}");
        }
    }
}
