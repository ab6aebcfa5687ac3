//! OpenAI chat completions on the wire.

use serde_json::{Value, json};

use super::script::{Part, Turn, Usage};
use super::wire::{data, pieces};

/// The events of a streamed answer. The last ones end it.
pub(super) fn events(turn: &Turn, model: &str, usage_asked: bool) -> Vec<String> {
    let mut events = vec![delta(model, &json!({ "role": "assistant", "content": "" }))];
    let mut calls = 0;
    for part in &turn.parts {
        match part {
            Part::Text(text) => {
                events.extend(
                    pieces(text, turn.delivery)
                        .iter()
                        .map(|piece| delta(model, &json!({ "content": piece }))),
                );
            }
            Part::Reasoning { text, .. } => {
                let piece = |piece: &String| delta(model, &json!({ "reasoning_content": piece }));
                events.extend(pieces(text, turn.delivery).iter().map(piece));
            }
            Part::Redacted(_) => {}
            Part::Call { id, name, arguments } => {
                let function = json!({ "name": name, "arguments": "" });
                let call = json!({ "index": calls, "id": id, "type": "function", "function": function });
                events.push(delta(model, &json!({ "tool_calls": [call] })));
                events.extend(pieces(arguments, turn.delivery).iter().map(|piece| {
                    let call = json!({ "index": calls, "function": { "arguments": piece } });
                    delta(model, &json!({ "tool_calls": [call] }))
                }));
                calls += 1;
            }
        }
    }
    events.push(data(&chunk(
        model,
        &json!([{ "index": 0, "delta": {}, "finish_reason": finish(turn) }]),
    )));
    if let Some(used) = turn.usage.filter(|_| usage_asked) {
        let mut last = chunk(model, &json!([]));
        last["usage"] = usage(used);
        events.push(data(&last));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// A whole answer.
pub(super) fn whole(turn: &Turn, model: &str) -> Value {
    let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
    for part in &turn.parts {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::Reasoning { text, .. } => reasoning.push_str(text),
            Part::Redacted(_) => {}
            Part::Call { id, name, arguments } => {
                calls.push(
                    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }),
                );
            }
        }
    }
    let mut message = json!({ "role": "assistant", "content": text });
    if !reasoning.is_empty() {
        message["reasoning_content"] = reasoning.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let choices = json!([{ "index": 0, "message": message, "logprobs": null, "finish_reason": finish(turn) }]);
    let mut body = json!({ "id": "chatcmpl-test", "object": "chat.completion", "created": 1_700_000_000, "model": model, "choices": choices });
    if let Some(used) = turn.usage {
        body["usage"] = usage(used);
    }
    body
}

/// The body of an error.
pub(super) fn error(status: u16, key: &str) -> Value {
    let (message, kind, code) = match status {
        401 => (
            format!("Incorrect API key provided: {key}."),
            "invalid_request_error",
            "invalid_api_key",
        ),
        403 => (
            "Your organization may not use this model.".to_owned(),
            "permission_error",
            "forbidden",
        ),
        429 => (
            "Rate limit reached for requests.".to_owned(),
            "requests",
            "rate_limit_exceeded",
        ),
        400..=499 => (
            "The request is malformed.".to_owned(),
            "invalid_request_error",
            "bad_request",
        ),
        _ => (
            "The server had an error while processing your request.".to_owned(),
            "server_error",
            "server_error",
        ),
    };
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}

/// The body of the refusal of a conversation that is too long.
pub(super) fn too_long() -> Value {
    let message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.";
    json!({ "error": { "message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded" } })
}

/// An error in a stream that began well.
pub(super) fn error_event() -> String {
    data(&error(500, ""))
}

fn delta(model: &str, delta: &Value) -> String {
    data(&chunk(
        model,
        &json!([{ "index": 0, "delta": delta, "finish_reason": null }]),
    ))
}

fn chunk(model: &str, choices: &Value) -> Value {
    json!({ "id": "chatcmpl-test", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model, "choices": choices })
}

fn finish(turn: &Turn) -> &str {
    turn.finish
        .as_deref()
        .unwrap_or(if turn.calls() { "tool_calls" } else { "stop" })
}

fn usage(used: Usage) -> Value {
    json!({
        "prompt_tokens": used.input,
        "completion_tokens": used.output,
        "total_tokens": used.input + used.output,
        "prompt_tokens_details": { "cached_tokens": used.cached },
    })
}
