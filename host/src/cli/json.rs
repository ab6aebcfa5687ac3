//! JSON for programs: the objects that `--output json` prints, written so that no terminal is steered by them.

use serde_json::{Map, Value, json};

use super::denied;
use super::errors::{Problem, STOPPED};
use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::event::{EventKind, RunEvent};
use crate::run::RunOutcome;
use crate::text::{Shape, clean};

/// `value` on one line. What would act on a terminal is written as `\u` escapes, so nothing is lost.
pub(super) fn line(value: &Value) -> String {
    let json = value.to_string();
    if matches!(clean(&json, Shape::Line), std::borrow::Cow::Borrowed(_)) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if matches!(
            clean(c.encode_utf8(&mut [0; 4]), Shape::Line),
            std::borrow::Cow::Borrowed(_)
        ) {
            out.push(c);
        } else {
            c.encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// A dimension as a key: the contract's name, written as all keys are.
fn key(dimension: Dimension) -> String {
    dimension.name().replace('-', "_")
}

/// Every dimension by its key.
pub(super) fn amounts(spent: &Amounts) -> Map<String, Value> {
    Dimension::ALL
        .into_iter()
        .map(|dimension| (key(dimension), spent.get(dimension).into()))
        .collect()
}

/// An event, its amounts by their keys.
pub(super) fn event(event: &RunEvent) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    let named = match &event.kind {
        EventKind::RunStarted(of) | EventKind::Resumed { of, .. } => vec![("budget", limits(&of.budget))],
        EventKind::CompletionEnded { charged, .. } => vec![("charged", amounts(charged))],
        EventKind::Spent { spent, remaining, .. } => vec![("spent", amounts(spent)), ("remaining", limits(remaining))],
        EventKind::SessionEnded { spent, .. } => vec![("spent", amounts(spent))],
        _ => Vec::new(),
    };
    named.into_iter().for_each(|(name, map)| value[name] = map.into());
    value
}

/// The dimensions that have a limit, by their keys.
pub(super) fn limits(limits: &[(Dimension, u64)]) -> Map<String, Value> {
    limits
        .iter()
        .map(|&(dimension, value)| (key(dimension), value.into()))
        .collect()
}

/// How many calls were sent again, and what these may have cost before.
const RESENT: [&str; 3] = ["resent", "resent_tokens", "resent_cost_micro_usd"];

/// A run that ended.
pub(super) fn outcome(outcome: &RunOutcome) -> Value {
    let mut spent = amounts(&outcome.spent);
    spent.insert("closing".to_owned(), outcome.closing.into());
    spent.insert("refunded".to_owned(), outcome.refunded.into());
    let resent = [
        outcome.resent,
        outcome.lost.get(Dimension::Tokens),
        outcome.lost.get(Dimension::CostMicroUsd),
    ];
    for (name, value) in RESENT.into_iter().zip(resent) {
        spent.insert(name.to_owned(), value.into());
    }
    let agents: Vec<Value> = outcome
        .agents
        .iter()
        .map(|agent| {
            json!({
                "id": agent.id.to_string(),
                "parent": agent.parent.as_ref().map(ToString::to_string),
                "role": agent.role,
                "status": agent.status,
                "outcome": agent.outcome,
                "exit": agent.exit,
                "error": agent.error,
                "attempts": agent.attempts,
                "spent": amounts(&agent.spent),
            })
        })
        .collect();
    json!({
        "run": outcome.run,
        "outcome": outcome.outcome,
        "exit": outcome.exit,
        "answer": outcome.answer,
        "checkpoint": outcome.checkpoint,
        "result": outcome.result.as_deref().map(parsed),
        "artifacts": outcome.artifacts,
        "spent": spent,
        "agents": agents,
        "error": outcome.error.as_ref().map(|(kind, message)| json!({ "kind": kind, "message": message })),
        "denied": denied::array(&outcome.denials),
    })
}

/// An error of any command, in the same form: a run that did not begin, that the host failed in, or something else that could not be done.
pub(super) fn failure(problem: &Problem) -> Value {
    let mut spent = amounts(&Amounts::ZERO);
    for name in ["closing", "refunded"].into_iter().chain(RESENT) {
        spent.insert(name.to_owned(), 0.into());
    }
    let exit = if problem.code == STOPPED { "cancelled" } else { "failed" };
    json!({
        "run": problem.run,
        "outcome": "not-achieved",
        "exit": exit,
        "answer": null,
        "checkpoint": null,
        "result": null,
        "artifacts": [],
        "spent": spent,
        "agents": [],
        "error": { "kind": problem.kind, "message": problem.message },
        "denied": [],
    })
}

/// JSON text as the value that it holds; text that is none stays text.
pub(super) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_are_escaped_and_come_back() {
        let odd = json!({ "a\u{202e}": "x\u{9b}31m\u{e0041}\u{200d}é\n\u{1b}" });
        let text = line(&odd);
        assert!(
            text.chars()
                .all(|c| !c.is_control() && c != '\u{202e}' && c != '\u{e0041}'),
            "{text}"
        );
        assert!(text.contains("é") && text.contains("\\udb40\\udc41"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), odd);
    }

    #[test]
    fn a_run_that_did_not_begin_has_the_same_keys() {
        let keys: Vec<String> = failure(&Problem::usage("x"))
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(
            keys,
            [
                "run",
                "outcome",
                "exit",
                "answer",
                "checkpoint",
                "result",
                "artifacts",
                "spent",
                "agents",
                "error",
                "denied"
            ]
        );
    }
}
