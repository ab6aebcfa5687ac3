//! What a model says, without secrets and keys: it may have read one in an error of its server, or be asked to say it.

use crate::bindings::llm::{Completion, FinishReason, Part};
use crate::scrub::Secrets;

/// The same with a placeholder for each secret in its texts, also for one that begins in one part and ends in another.
pub(super) fn cleaned(mut completion: Completion, secrets: &Secrets) -> Completion {
    let clean = |text: &mut String| *text = secrets.conceal_text(std::mem::take(text));
    for part in &mut completion.parts {
        match part {
            Part::Text(text) | Part::Reasoning(text) | Part::Opaque(text) => clean(text),
            Part::ToolCall(call) => [&mut call.id, &mut call.name, &mut call.arguments]
                .into_iter()
                .for_each(clean),
            Part::Media(_) => {}
        }
    }
    if let FinishReason::Other(word) = &mut completion.finish_reason {
        clean(word);
    }
    clean(&mut completion.model);
    // Whoever is given them reads the texts of an answer one behind the other, with the reasoning between them or without.
    secrets.conceal_over_edges(&mut texts(&mut completion.parts, false));
    secrets.conceal_over_edges(&mut texts(&mut completion.parts, true));
    // No provider takes a text back of which nothing is left.
    completion
        .parts
        .retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    completion
}

fn texts(parts: &mut [Part], with_reasoning: bool) -> Vec<&mut String> {
    let texts = parts.iter_mut().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        Part::Reasoning(text) if with_reasoning => Some(text),
        _ => None,
    });
    texts.collect()
}
