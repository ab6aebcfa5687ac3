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
            Verdict::Holds => continue,
            Verdict::UnknownFile => "no tool showed you this file".into(),
            Verdict::UnseenLine(line) => format!("no tool showed you line {line}"),
            Verdict::TooWide => "it names too many lines".into(),
            Verdict::NoSuchQuote(quote) => format!("these lines do not say \"{quote}\""),
        };
        text.push_str(&format!("- {path}:{first}-{last}: {reason}\n"));
    }
    text.push_str(
        "Read the lines, or cite others that you have read, or leave the claim out and list it under `Not found:`. Then give \
         the whole answer again.",
    );
    text
}

/// The request to cite something.
pub(crate) const UNCITED: &str = "Your answer cites nothing. Read the documents with your tools, and give the whole answer \
                                  again with file:line after each claim. If the documents do not say it, list it under \
                                  `Not found:`.";

/// What the answer itself lists as not found.
pub(crate) fn not_found(answer: &str) -> Vec<String> {
    let is_head = |line: &str| {
        let bare = line.trim_matches(|c: char| "#*_: ".contains(c));
        bare.eq_ignore_ascii_case("not found")
    };
    let mut lines = answer.lines().skip_while(|line| !is_head(line));
    if lines.next().is_none() {
        return vec![];
    }
    let items = lines.map(|line| line.trim().trim_start_matches(['-', '*', '•']).trim());
    let items = items
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| !line.is_empty());
    let nothing = |line: &str| ["none", "nothing"].contains(&line.trim_end_matches('.').to_lowercase().as_str());
    items.filter(|line| !nothing(line)).map(str::to_owned).collect()
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
        assert!(not_found("It was not found.").is_empty());
        assert!(not_found("Not found:\nNone.").is_empty());
    }

    #[test]
    fn a_correction_names_each_problem() {
        let text = correction(&Checked::new("x.md:1 and y.md:2-3", &Sources::default()));
        assert!(
            text.contains("- x.md:1-1: no tool") && text.contains("- y.md:2-3: no tool"),
            "{text}"
        );
    }
}
