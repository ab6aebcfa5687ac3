//! What the model is told about its answer, and what people are told about what it lacks.

use crate::check::{Checked, Verdict};

/// Problems that one message names at most.
const PROBLEMS: usize = 20;

/// The request to mend citations that do not hold.
pub(crate) fn correction(checked: &Checked) -> String {
    let mut text = String::from("These citations could not be confirmed:\n");
    for (citation, verdict) in checked.failing().take(PROBLEMS) {
        let (path, first, last) = (&citation.path, citation.first, citation.last);
        let reason = match verdict {
            Verdict::Holds | Verdict::Given => continue,
            Verdict::UnknownFile => "no tool showed you this file".into(),
            Verdict::UnseenLine(line) => format!("no tool showed you line {line}"),
            Verdict::Blank => "there is nothing on these lines".into(),
            Verdict::TooWide => "it names too many lines".into(),
            Verdict::NoSuchQuote(quote) => format!("these lines do not say \"{quote}\""),
        };
        text.push_str(&format!("- {path}:{first}-{last}: {reason}\n"));
    }
    for url in checked.unknown_pages().into_iter().take(PROBLEMS) {
        text.push_str(&format!(
            "- {url}: no tool fetched this page, and nothing that you read names it\n"
        ));
    }
    text.push_str(
        "Read the lines, or cite others that you have read, or leave the claim out and list it under `Not found:`. Then give \
         the whole answer again.",
    );
    text
}

/// The request for a plan, behind the first note that is taken without one.
pub(crate) const NO_PLAN: &str = "you have no plan yet, so call make_plan with what is left to do";

/// The request to cite something.
pub(crate) const UNCITED: &str = "Your answer cites nothing. Read the documents with your tools, and give the whole answer \
                                  again with file:line after each claim. If the documents do not say it, list it under \
                                  `Not found:`.";

/// What the answer itself lists as not found: below a line `Not found:`, or behind it in the same line.
pub(crate) fn not_found(answer: &str) -> Vec<String> {
    let (mut found, mut place) = (vec![], Place::Outside);
    for line in answer.lines() {
        let line = line.trim();
        if let Some(rest) = after_head(line) {
            place = if rest.is_empty() { Place::Section } else { Place::List };
            found.push(rest);
            continue;
        }
        let item = line.trim_start_matches(['-', '*', '•']);
        let is_item = item.len() < line.len() && item.starts_with(' ');
        match place {
            Place::Section if !line.starts_with('#') => found.push(item.trim()),
            Place::List if is_item => found.push(item.trim()),
            _ => place = Place::Outside,
        }
    }
    let nothing = ["", "none", "nothing"];
    found.retain(|line| !nothing.contains(&line.trim_end_matches('.').to_lowercase().as_str()));
    found.into_iter().map(str::to_owned).collect()
}

/// Where a line of the answer stands.
enum Place {
    Outside,
    /// Below the head alone: all lines up to the next heading.
    Section,
    /// Below a head with something behind it: further items of a list.
    List,
}

/// What stands behind `Not found:` at the beginning of a line, in whatever Markdown; none if the line begins otherwise.
fn after_head(line: &str) -> Option<&str> {
    const HEAD: &str = "not found";
    let bare = line.trim_start_matches(['#', '*', '_', '-', ' ']);
    let (head, rest) = bare.split_at_checked(HEAD.len())?;
    let rest = rest.trim_start_matches(['*', '_', ' ']);
    let is_head = head.eq_ignore_ascii_case(HEAD) && (rest.is_empty() || rest.starts_with(':'));
    is_head.then(|| rest.trim_start_matches([':', '*', '_', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Sources;

    #[test]
    fn what_was_not_found_is_read_from_the_answer() {
        assert_eq!(
            not_found("Yes a.md:1.\n\n**Not found:**\n- the rate\n- the *cost*\n"),
            ["the rate", "the *cost*"]
        );
        assert!(not_found("It was not found.").is_empty() && not_found("Not found in a.md:1.").is_empty());
        assert_eq!(
            not_found("Yes a.md:1.\nNot found: the growth rate.\n\nSo it is."),
            ["the growth rate."]
        );
        assert_eq!(
            not_found("**Not found:** the rate\n- the cost\nEnd.\n### Not found\nthe *end*\n# More\nx"),
            ["the rate", "the cost", "the *end*"]
        );
        assert!(not_found("Not found: none.").is_empty());
        assert!(not_found("Not found:\nNone.").is_empty());
    }

    #[test]
    fn a_correction_names_each_problem() {
        let text = correction(&Checked::new(
            "x.md:1 and y.md:2-3, https://x.org/a, https://x.org/a",
            &Sources::default(),
        ));
        for problem in [
            "- x.md:1-1: no tool",
            "- y.md:2-3: no tool",
            "- https://x.org/a: no tool",
        ] {
            assert_eq!(text.matches(problem).count(), 1, "{text}");
        }
    }
}
