//! What a model says in the streams of both protocols, and the pieces in which a server sends it.

use std::io::Result;

use serde_json::{Value, json};

use crate::raw::Answer;

/// What an answer that streams begins with.
pub(crate) const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";

/// A piece of it.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Sends the head of a stream, and these pieces of it, each in a chunk of its own.
pub(super) fn stream(answer: &mut Answer, pieces: &[&[u8]]) -> Result<()> {
    answer.say(STREAM)?;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        answer.say(chunk(piece))?;
    }
    answer.say("0\r\n\r\n")
}

/// One event of OpenAI's stream.
pub(crate) fn delta(delta: &Value) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": delta }] }))
}

pub(crate) fn finish(reason: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
    )
}

pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// Part of a tool call.
pub(super) fn part(index: i64, id: &str, name: &str, arguments: &str) -> String {
    let function = json!({ "name": name, "arguments": arguments });
    delta(&json!({ "tool_calls": [{ "index": index, "id": id, "function": function }] }))
}

/// A text with characters of two to four bytes, and a call whose arguments come in two parts.
pub(super) fn openai() -> String {
    [
        delta(&json!({ "content": "né 東" })),
        delta(&json!({ "content": "京🌍" })),
        part(0, "c1", "echo", "{\"text\":"),
        part(0, "", "", "\"é\"}"),
        finish("tool_calls"),
        DONE.to_owned(),
    ]
    .concat()
}

/// The same of Anthropic's.
pub(super) fn anthropic() -> String {
    let events = [
        json!({ "type": "message_start", "message": { "model": "m", "usage": { "input_tokens": 1, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "né 東" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "京🌍" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "tool_use", "id": "c1", "name": "echo", "input": {} } }),
        json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "input_json_delta", "partial_json": "{\"text\":" } }),
        json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "input_json_delta", "partial_json": "\"é\"}" } }),
        json!({ "type": "content_block_stop", "index": 1 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": 2 } }),
        json!({ "type": "message_stop" }),
    ];
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect()
}

/// What both say.
pub(super) fn said() -> Value {
    let call = json!({ "id": "c1", "name": "echo", "arguments": "{\"text\":\"é\"}" });
    json!([{ "Text": "né 東京🌍" }, { "ToolCall": call }])
}

/// An answer in one piece.
pub(crate) fn whole(kind: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes()
}

/// The head of an answer that ends with its connection.
pub(super) fn head(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\nconnection: close\r\n\r\n").into_bytes()
}

/// What every packed body begins with.
pub(super) const PACKED: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";
