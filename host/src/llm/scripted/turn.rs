//! One turn of a script: what it expects of a request, what it captures, and what it replies.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::{ScriptError, format, mismatch, text_of};
use crate::bindings::llm::{FinishReason, Message, Part};
use crate::error::Refusal;
use crate::llm::history::result_text;
use crate::llm::request::Request;
use crate::text;

/// Captured texts by name.
pub(super) type Captures = BTreeMap<String, String>;

/// The most characters of a message that a mismatch shows.
const SHOWN: usize = 300;

/// A turn whose patterns are compiled.
pub(super) struct Turn {
    expect: format::Expect,
    capture: Vec<(String, Regex)>,
    calls: Vec<format::Call>,
    pub(super) text: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) finish: Option<FinishReason>,
    pub(super) usage: Option<format::Usage>,
}

impl Turn {
    /// Checks a turn as it is written; `place` is for the error.
    pub(super) fn new(turn: format::Turn, place: &str) -> Result<Self, ScriptError> {
        let capture = turn.capture.into_iter().map(|(name, text)| {
            let pattern = pattern(&text, place)?;
            if pattern.captures_len() != 2 {
                return Err(ScriptError(format!(
                    "{place}: the capture {name} must have exactly one group"
                )));
            }
            Ok((name, pattern))
        });
        Ok(Self {
            capture: capture.collect::<Result<_, _>>()?,
            expect: turn.expect,
            calls: turn.reply.calls,
            text: turn.reply.text,
            reasoning: turn.reply.reasoning,
            finish: turn.reply.finish.map(finish_reason),
            usage: turn.reply.usage,
        })
    }

    /// How many tools it calls.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The tools that it calls.
    pub(super) fn call_list(&self) -> &[format::Call] {
        &self.calls
    }

    /// Holds `request` against what is expected.
    pub(super) fn check(&self, request: &Request, ordinal: usize) -> Result<(), Refusal> {
        let turn = ordinal + 1;
        let (role, text) = last(&request.messages);
        if let Some(expected) = self.expect.last.filter(|expected| Some(*expected) != role) {
            let got = role.map_or("none", role_name);
            let expected = role_name(expected);
            return Err(mismatch(&format!(
                "turn {turn} expects a last message of role {expected}, got {got}"
            )));
        }
        for expected in &self.expect.contains {
            if !text.contains(expected.as_str()) {
                let got = text::line(&text, SHOWN);
                return Err(mismatch(&format!(
                    "turn {turn} expects the last message to contain {expected:?}, got {got:?}"
                )));
            }
        }
        if let Some(expected) = &self.expect.tools {
            let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
            let got: BTreeSet<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
            if expected != got {
                return Err(mismatch(&format!(
                    "turn {turn} expects the tools {expected:?}, got {got:?}"
                )));
            }
        }
        Ok(())
    }

    /// Adds what the last of `messages` gives to `captures`.
    pub(super) fn capture(&self, messages: &[Message], captures: &mut Captures) -> Result<(), Refusal> {
        let (_, text) = last(messages);
        for (name, pattern) in &self.capture {
            let Some(group) = pattern.captures(&text).and_then(|found| found.get(1)) else {
                let got = text::line(&text, SHOWN);
                return Err(mismatch(&format!(
                    "the capture {name} expects a match of {:?}, got {got:?}",
                    pattern.as_str()
                )));
            };
            captures.insert(name.clone(), group.as_str().to_owned());
        }
        Ok(())
    }
}

/// A compiled pattern; `place` is for the error.
pub(super) fn pattern(text: &str, place: &str) -> Result<Regex, ScriptError> {
    Regex::new(text).map_err(|error| ScriptError(format!("{place}: {error}")))
}

/// `template` with each `{{name}}` replaced by what was captured under that name.
pub(super) fn fill(template: &str, captures: &Captures) -> Result<String, Refusal> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else {
            break;
        };
        filled.push_str(before);
        let Some(value) = captures.get(name.trim()) else {
            return Err(mismatch(&format!(
                "its reply uses {{{{{}}}}}, which no turn so far captured",
                name.trim()
            )));
        };
        filled.push_str(value);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// [`fill`] on every string in `value`.
pub(super) fn fill_json(value: &Value, captures: &Captures) -> Result<Value, Refusal> {
    Ok(match value {
        Value::String(text) => Value::String(fill(text, captures)?),
        Value::Array(items) => items
            .iter()
            .map(|item| fill_json(item, captures))
            .collect::<Result<_, _>>()?,
        Value::Object(map) => {
            let filled = map
                .iter()
                .map(|(key, value)| Ok((key.clone(), fill_json(value, captures)?)));
            Value::Object(filled.collect::<Result<_, Refusal>>()?)
        }
        other => other.clone(),
    })
}

/// The text of the first message of the user.
pub(super) fn first_user_text(messages: &[Message]) -> String {
    let user = messages.iter().find_map(|message| match message {
        Message::User(content) => Some(text_of(content)),
        _ => None,
    });
    user.unwrap_or_default()
}

/// Role and text of the last message.
fn last(messages: &[Message]) -> (Option<format::Role>, String) {
    let Some(message) = messages.last() else {
        return (None, String::new());
    };
    let (role, text) = match message {
        Message::System(text) => (format::Role::System, text.clone()),
        Message::User(content) => (format::Role::User, text_of(content)),
        Message::Assistant(parts) => (format::Role::Assistant, text_of_parts(parts)),
        Message::Tool(results) => (
            format::Role::Tool,
            results.iter().map(result_text).collect::<Vec<_>>().join("\n"),
        ),
    };
    (Some(role), text)
}

fn text_of_parts(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

const fn role_name(role: format::Role) -> &'static str {
    match role {
        format::Role::System => "system",
        format::Role::User => "user",
        format::Role::Assistant => "assistant",
        format::Role::Tool => "tool",
    }
}

fn finish_reason(name: String) -> FinishReason {
    match name.as_str() {
        "stop" => FinishReason::Stop,
        "tool-calls" => FinishReason::ToolCalls,
        "length" => FinishReason::Length,
        "content-filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other(name),
    }
}
