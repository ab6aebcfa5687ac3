//! What a model says, without secrets and keys: it may have read one in an error of its server, or be asked to say it.

use crate::bindings::llm::{Completion, FinishReason, Part};
use crate::scrub::Secrets;

/// The longest word for why an answer ended, in characters.
const WORD: usize = 64;
/// The longest name of a model, in characters.
const NAME: usize = 256;

/// The same with a placeholder for each secret in its texts, also for one that begins in one part and ends in another.
pub(super) fn cleaned(mut completion: Completion, secrets: &Secrets) -> Completion {
    let clean = |text: &mut String| *text = secrets.conceal_text(std::mem::take(text));
    let (mut texts, mut said, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for part in &mut completion.parts {
        match part {
            Part::Text(text) => {
                said.push(texts.len());
                all.push(texts.len());
                texts.push(text);
            }
            Part::Reasoning(text) => {
                all.push(texts.len());
                texts.push(text);
            }
            Part::Opaque(text) => clean(text),
            Part::ToolCall(call) => [&mut call.id, &mut call.name, &mut call.arguments]
                .into_iter()
                .for_each(clean),
            Part::Media(_) => {}
        }
    }
    // Whoever is given them reads the texts of an answer one behind the other, with the reasoning between them or without.
    secrets.conceal_texts(&mut texts, &[said, all]);
    // These are of a length that a name and a word may have, and without what can't be seen: it is taken out first, as it may split a secret.
    let line = |text: &str, most| secrets.line(&secrets.conceal_text(secrets.redact(text).into_owned()), most);
    if let FinishReason::Other(word) = &mut completion.finish_reason {
        *word = line(word, WORD);
    }
    completion.model = line(&completion.model, NAME);
    // No provider takes a text back of which nothing is left.
    completion
        .parts
        .retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    completion
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::types::ToolCall;
    use crate::llm::fuzzing::answer;

    const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";

    fn said(parts: Vec<Part>, word: &str, model: &str) -> Completion {
        let secrets = Secrets::new([("x".to_owned(), VALUE.to_owned())]);
        cleaned(answer(parts, word, model), &secrets)
    }

    #[test]
    fn a_secret_is_taken_out_of_a_word_before_that_is_cut() {
        for before in [0, 40, 60, 250] {
            let text = "f".repeat(before) + VALUE;
            let completion = said(Vec::new(), &text, &text);
            let FinishReason::Other(word) = &completion.finish_reason else {
                panic!("{completion:?}")
            };
            for (cut, most) in [(word, WORD), (&completion.model, NAME)] {
                assert!(!cut.contains(&VALUE[..4]) && cut.chars().count() <= most, "{cut}");
            }
        }
    }

    #[test]
    fn what_cant_be_seen_hides_no_secret_in_a_word_though_it_is_escaped() {
        let split = format!("K\0\\u00717{}", &VALUE[3..]);
        let completion = said(Vec::new(), &split, &split);
        assert_eq!(completion.finish_reason, FinishReason::Other("[secret x]".to_owned()));
        assert_eq!(completion.model, "[secret x]");
    }

    #[test]
    fn a_secret_over_texts_is_in_none_of_them() {
        let (a, b) = VALUE.split_at(20);
        let call = || {
            Part::ToolCall(ToolCall {
                id: "1".to_owned(),
                name: "echo".to_owned(),
                arguments: "{}".to_owned(),
            })
        };
        let parts = vec![
            Part::Reasoning("hm".to_owned()),
            Part::Text(format!("<{a}")),
            call(),
            Part::Text(b.to_owned()),
        ];
        let completion = said(parts, "stop", "m");
        assert_eq!(
            completion.parts,
            [
                Part::Reasoning("hm".to_owned()),
                Part::Text("<[secret x]".to_owned()),
                call()
            ]
        );
        let parts = vec![Part::Reasoning(a.to_owned()), Part::Text(format!("{b}>"))];
        let completion = said(parts, "stop", "m");
        assert_eq!(
            completion.parts,
            [Part::Reasoning("[secret x]".to_owned()), Part::Text(">".to_owned())]
        );
    }
}
