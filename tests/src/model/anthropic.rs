//! Anthropic Messages on the wire.

use serde_json::{Value, json};

use super::script::{Delivery, Part, Turn, Usage};
use super::wire::{named, pieces};

/// The events of a streamed answer. The last ones end it.
pub(super) fn events(turn: &Turn, model: &str) -> Vec<String> {
    let mut message = envelope(model, &json!([]));
    message["stop_reason"] = Value::Null;
    message["usage"] = usage(turn.usage, 1);
    let mut events = vec![
        named(&json!({ "type": "message_start", "message": message })),
        named(&json!({ "type": "ping" })),
    ];
    for (index, part) in turn.parts.iter().enumerate() {
        let (start, deltas) = streamed(part, turn.delivery);
        events.push(named(
            &json!({ "type": "content_block_start", "index": index, "content_block": start }),
        ));
        events.extend(
            deltas
                .iter()
                .map(|delta| named(&json!({ "type": "content_block_delta", "index": index, "delta": delta }))),
        );
        events.push(named(&json!({ "type": "content_block_stop", "index": index })));
    }
    let mut last = json!({ "type": "message_delta", "delta": { "stop_reason": finish(turn), "stop_sequence": null } });
    if let Some(used) = turn.usage {
        last["usage"] = json!({ "output_tokens": used.output });
    }
    events.push(named(&last));
    events.push(named(&json!({ "type": "message_stop" })));
    events
}

/// A whole answer.
pub(super) fn whole(turn: &Turn, model: &str) -> Value {
    let content: Vec<Value> = turn.parts.iter().map(block).collect();
    let mut message = envelope(model, &content.into());
    message["stop_reason"] = finish(turn).into();
    if let Some(used) = turn.usage {
        message["usage"] = usage(Some(used), used.output);
    }
    message
}

/// The body of an error.
pub(super) fn error(status: u16, key: &str) -> Value {
    let (kind, message) = match status {
        401 => ("authentication_error", format!("invalid x-api-key: {key}")),
        403 => ("permission_error", "Your API key may not use this model.".to_owned()),
        429 => (
            "rate_limit_error",
            "This request would exceed your rate limit.".to_owned(),
        ),
        529 => ("overloaded_error", "Overloaded".to_owned()),
        400..=499 => ("invalid_request_error", "The request is malformed.".to_owned()),
        _ => ("api_error", "Internal server error".to_owned()),
    };
    json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": "req_test" })
}

/// The body of the refusal of a conversation that is too long.
pub(super) fn too_long() -> Value {
    let error =
        json!({ "type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum" });
    json!({ "type": "error", "error": error, "request_id": "req_test" })
}

/// An error in a stream that began well.
pub(super) fn error_event() -> String {
    named(&error(529, ""))
}

fn streamed(part: &Part, delivery: Delivery) -> (Value, Vec<Value>) {
    let deltas = |text: &str, kind: &str, field: &str| -> Vec<Value> {
        pieces(text, delivery)
            .into_iter()
            .map(|piece| json!({ "type": kind, field: piece }))
            .collect()
    };
    match part {
        Part::Text(text) => (
            json!({ "type": "text", "text": "" }),
            deltas(text, "text_delta", "text"),
        ),
        Part::Reasoning { text, signature } => {
            let mut all = deltas(text, "thinking_delta", "thinking");
            all.extend(
                signature
                    .iter()
                    .map(|signature| json!({ "type": "signature_delta", "signature": signature })),
            );
            (json!({ "type": "thinking", "thinking": "", "signature": "" }), all)
        }
        Part::Redacted(data) => (json!({ "type": "redacted_thinking", "data": data }), Vec::new()),
        Part::Call { id, name, arguments } => {
            let start = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
            (start, deltas(arguments, "input_json_delta", "partial_json"))
        }
    }
}

fn block(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Reasoning { text, signature } => json!({ "type": "thinking", "thinking": text, "signature": signature }),
        Part::Redacted(data) => json!({ "type": "redacted_thinking", "data": data }),
        Part::Call { id, name, arguments } => {
            let input: Value = serde_json::from_str(arguments).unwrap_or_default();
            json!({ "type": "tool_use", "id": id, "name": name, "input": input })
        }
    }
}

fn envelope(model: &str, content: &Value) -> Value {
    json!({
        "id": "msg_test",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_sequence": null,
    })
}

fn finish(turn: &Turn) -> &str {
    turn.finish
        .as_deref()
        .unwrap_or(if turn.calls() { "tool_use" } else { "end_turn" })
}

fn usage(used: Option<Usage>, output: u64) -> Value {
    match used {
        Some(used) => json!({
            "input_tokens": used.input - used.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": used.cached,
            "output_tokens": output,
        }),
        None => json!({}),
    }
}
