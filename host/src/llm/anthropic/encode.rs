//! A request in the form of Messages.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::bindings::llm::ToolChoice;
use crate::bindings::types::Media;
use crate::error::Refusal;
use crate::llm::history::{Answered, Block, Piece, Turn, turns};
use crate::llm::media::{base64, note};
use crate::llm::opaque::Owner;
use crate::llm::protocol::{arguments, json, merge_options, temperature, tool_name, tools};
use crate::llm::request::Request;

/// Keys that change neither what is charged nor what is permitted; a thinking budget lies within the output limit.
const OPTIONS: [&str; 3] = ["thinking", "top_p", "top_k"];

/// The request's body.
pub(in crate::llm) fn body(request: &Request, owner: &Owner, model: &str) -> Result<Value, Refusal> {
    let options = &request.options;
    let turns = turns(&request.messages, owner, request.mark.as_deref());
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    body.insert("max_tokens".into(), request.max_output_tokens.into());
    body.insert("stream".into(), true.into());
    offer(&mut body, request, &turns)?;
    let (mut system, mut messages) = split(turns);
    if messages.is_empty() {
        return Err(Refusal::invalid("There is no message to send besides instructions."));
    }
    // The four break points of the prompt cache: tools (in `offer`), instructions, and the last two turns of the user.
    if let Some(last) = system.last_mut() {
        mark(last);
    }
    mark_last_turns(&mut messages);
    if !system.is_empty() {
        body.insert("system".into(), system.into());
    }
    body.insert("messages".into(), messages.into());
    if let Some(value) = options.temperature {
        body.insert("temperature".into(), temperature(value)?);
    }
    if !options.stop.is_empty() {
        body.insert("stop_sequences".into(), options.stop.clone().into());
    }
    if let Some(text) = &options.response_schema {
        let schema = json(text, "response-schema")?;
        body.insert(
            "output_config".into(),
            json!({ "format": { "type": "json_schema", "schema": schema } }),
        );
    }
    merge_options(
        &mut body,
        options.provider_options.as_deref(),
        &owner.provider,
        &OPTIONS,
    )?;
    Ok(Value::Object(body))
}

fn offer(body: &mut Map<String, Value>, request: &Request, turns: &[Turn<'_>]) -> Result<(), Refusal> {
    let offered = tools(&request.tools)?;
    let choice = request.options.tool_choice.as_ref();
    if offered.is_empty() {
        if matches!(choice, Some(ToolChoice::Required | ToolChoice::Tool(_))) {
            return Err(Refusal::invalid(
                "tool-choice asks for a tool call, but no tools are offered.",
            ));
        }
        // A history with calls is refused unless tools are defined, so their names are, and none may be called.
        let names: BTreeSet<Cow<'_, str>> = called(turns).map(tool_name).collect();
        if !names.is_empty() {
            let stub = |name| json!({ "name": name, "input_schema": { "type": "object" } });
            body.insert("tools".into(), names.into_iter().map(stub).collect());
            body.insert("tool_choice".into(), json!({ "type": "none" }));
        }
        return Ok(());
    }
    let choice = match choice {
        None | Some(ToolChoice::Auto) => None,
        Some(ToolChoice::NoTools) => Some(json!({ "type": "none" })),
        Some(ToolChoice::Required) => Some(json!({ "type": "any" })),
        Some(ToolChoice::Tool(name)) => {
            if !offered.iter().any(|tool| tool.name == name) {
                return Err(Refusal::invalid("tool-choice names a tool that is not offered."));
            }
            Some(json!({ "type": "tool", "name": name }))
        }
    };
    let mut tools: Vec<Value> = offered
        .into_iter()
        .map(|tool| json!({ "name": tool.name, "description": tool.description, "input_schema": tool.schema }))
        .collect();
    if let Some(last) = tools.last_mut() {
        mark(last);
    }
    body.insert("tools".into(), tools.into());
    body.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
    Ok(())
}

fn called<'a>(turns: &'a [Turn<'a>]) -> impl Iterator<Item = &'a str> {
    turns
        .iter()
        .filter_map(|turn| match turn {
            Turn::Assistant(pieces) => Some(pieces),
            _ => None,
        })
        .flatten()
        .filter_map(|piece| match piece {
            Piece::Call(call) => Some(call.name.as_str()),
            _ => None,
        })
}

/// Instructions apart, and turns of one role that follow each other as one.
fn split(turns: Vec<Turn<'_>>) -> (Vec<Value>, Vec<Value>) {
    let mut system = Vec::new();
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::new();
    for turn in turns {
        let (role, blocks) = match turn {
            Turn::System(text) => {
                system.extend(text_block(&text));
                continue;
            }
            Turn::User(blocks) => ("user", blocks.iter().filter_map(block).collect()),
            Turn::Assistant(pieces) => ("assistant", pieces.into_iter().filter_map(piece).collect::<Vec<_>>()),
            Turn::Tool(results) => ("user", results.iter().map(result).collect()),
        };
        match messages.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last, all)) if *last == role => all.extend(blocks),
            _ => messages.push((role, blocks)),
        }
    }
    let messages = messages
        .into_iter()
        .map(|(role, content)| json!({ "role": role, "content": content }));
    (system, messages.collect())
}

/// A text block; blocks of white space alone are refused by the provider.
fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({ "type": "text", "text": text }))
}

fn block(block: &Block<'_>) -> Option<Value> {
    match block {
        Block::Text(text) => text_block(text),
        Block::Media(media) => Some(media_block(media)),
    }
}

fn media_block(media: &Media) -> Value {
    let source = || json!({ "type": "base64", "media_type": media.media_type, "data": base64(&media.data) });
    match media.media_type.as_str() {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => json!({ "type": "image", "source": source() }),
        "application/pdf" => json!({ "type": "document", "source": source() }),
        _ => json!({ "type": "text", "text": note(media) }),
    }
}

fn piece(piece: Piece<'_>) -> Option<Value> {
    match piece {
        Piece::Text(text) => text_block(&text),
        Piece::Signed { text, signature } => signature
            .as_str()
            .map(|signature| json!({ "type": "thinking", "thinking": text, "signature": signature })),
        Piece::Call(call) => {
            let (name, input) = (tool_name(&call.name), arguments(&call.arguments));
            Some(json!({ "type": "tool_use", "id": call.id, "name": name, "input": input }))
        }
        Piece::Media(media) => Some(media_block(media)),
        Piece::Own(data) => own(&data),
    }
}

/// Of the provider's own blocks only hidden reasoning, and of it only what the provider checks itself: a guest can forge an
/// envelope, and other blocks fetch, run or cost something.
fn own(data: &Value) -> Option<Value> {
    let hidden = data["data"].as_str().filter(|_| data["type"] == "redacted_thinking")?;
    Some(json!({ "type": "redacted_thinking", "data": hidden }))
}

fn result(result: &Answered<'_>) -> Value {
    let media = result.media.iter().map(|media| media_block(media));
    let blocks: Vec<Value> = text_block(&result.text).into_iter().chain(media).collect();
    let mut value = json!({ "type": "tool_result", "tool_use_id": result.call_id });
    if !blocks.is_empty() {
        value["content"] = blocks.into();
    }
    if result.failed {
        value["is_error"] = true.into();
    }
    value
}

fn mark_last_turns(messages: &mut [Value]) {
    for message in messages
        .iter_mut()
        .rev()
        .filter(|message| message["role"] == "user")
        .take(2)
    {
        if let Some(last) = message["content"].as_array_mut().and_then(|blocks| blocks.last_mut()) {
            mark(last);
        }
    }
}

/// Sets a break point of the prompt cache behind `block`.
fn mark(block: &mut Value) {
    block["cache_control"] = json!({ "type": "ephemeral" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::llm::{Message, Part};
    use crate::bindings::types::{Error, ErrorKind};
    use crate::config::model::ProviderKind;
    use crate::llm::history::tests::{call, result, user};
    use crate::llm::request::tests::{request, tool};

    fn owner() -> Owner {
        Owner {
            kind: ProviderKind::Anthropic,
            provider: "p".into(),
        }
    }

    fn encode(request: &Request) -> Result<Value, Refusal> {
        body(request, &owner(), "m")
    }

    fn history() -> Vec<Message> {
        let signature = owner().seal("sig".into(), Some("why"));
        let redacted = owner().seal(json!({ "type": "redacted_thinking", "data": "x" }), None);
        let mut failed = result("2", "broken");
        failed.error = Some(Error {
            kind: ErrorKind::Upstream,
            message: "broken".into(),
            retry_after_ms: None,
        });
        vec![
            Message::System("s".into()),
            user("u"),
            Message::Assistant(vec![
                Part::Reasoning("why".into()),
                Part::Opaque(signature),
                Part::Opaque(redacted),
                call("1"),
                call("2"),
            ]),
            Message::Tool(vec![result("1", "ok"), failed]),
            user("more"),
        ]
    }

    #[test]
    fn a_conversation_is_encoded_with_thinking_results_and_break_points() {
        let mut request = request(history());
        request.tools = vec![tool("f")];
        request.options.tool_choice = Some(ToolChoice::Required);
        let got = encode(&request).expect("encodes");
        let mark = json!({ "type": "ephemeral" });
        assert_eq!(
            got["system"],
            json!([{ "type": "text", "text": "s", "cache_control": mark }])
        );
        assert_eq!(
            got["messages"],
            json!([
                { "role": "user", "content": [{ "type": "text", "text": "u", "cache_control": mark }] },
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "why", "signature": "sig" },
                    { "type": "redacted_thinking", "data": "x" },
                    { "type": "tool_use", "id": "1", "name": "f", "input": {} },
                    { "type": "tool_use", "id": "2", "name": "f", "input": {} },
                ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "1", "content": [{ "type": "text", "text": "ok" }] },
                    { "type": "tool_result", "tool_use_id": "2", "content": [{ "type": "text", "text": "Error: broken" }], "is_error": true },
                    { "type": "text", "text": "more", "cache_control": mark },
                ] },
            ])
        );
        assert_eq!(got["tools"][0]["cache_control"], mark);
        assert_eq!(got["tool_choice"], json!({ "type": "any" }));
        assert_eq!(got["max_tokens"], 100);
    }

    #[test]
    fn a_closing_call_after_tool_calls_defines_them_and_allows_none() {
        let got = encode(&request(history())).expect("encodes");
        assert_eq!(
            got["tools"],
            json!([{ "name": "f", "input_schema": { "type": "object" } }])
        );
        assert_eq!(got["tool_choice"], json!({ "type": "none" }));
        let got = encode(&request(vec![user("u")])).expect("encodes");
        assert_eq!(got.get("tools"), None);
    }

    #[test]
    fn parts_of_another_provider_are_not_sent() {
        let other = Owner {
            kind: ProviderKind::Anthropic,
            provider: "q".into(),
        };
        let parts = vec![
            Part::Reasoning("why".into()),
            Part::Opaque(other.seal("sig".into(), Some("why"))),
            Part::Text("t".into()),
        ];
        let got = encode(&request(vec![user("u"), Message::Assistant(parts)])).expect("encodes");
        assert_eq!(got["messages"][1]["content"], json!([{ "type": "text", "text": "t" }]));
    }

    #[test]
    fn a_forged_envelope_smuggles_nothing() {
        let own = |data: Value| Part::Opaque(owner().seal(data, None));
        let marked =
            json!({ "type": "redacted_thinking", "data": "x", "cache_control": { "type": "ephemeral", "ttl": "1h" } });
        let fetched = json!({ "type": "document", "source": { "type": "url", "url": "https://evil.example/" } });
        let signed = owner().seal(json!({ "cache_control": 1 }), Some("why"));
        let parts = vec![
            own(marked),
            own(fetched),
            own(json!({ "type": "redacted_thinking", "data": { "x": 1 } })),
            Part::Reasoning("why".into()),
            Part::Opaque(signed),
        ];
        let got = encode(&request(vec![user("u"), Message::Assistant(parts)])).expect("encodes");
        assert_eq!(
            got["messages"][1]["content"],
            json!([{ "type": "redacted_thinking", "data": "x" }])
        );
    }

    #[test]
    fn invented_names_are_made_to_fit_alike_in_calls_and_definitions() {
        let invented = Part::ToolCall(crate::bindings::types::ToolCall {
            id: "1".into(),
            name: "find file".into(),
            arguments: "{}".into(),
        });
        let messages = vec![
            user("u"),
            Message::Assistant(vec![invented]),
            Message::Tool(vec![result("1", "x")]),
        ];
        let got = encode(&request(messages)).expect("encodes");
        assert_eq!(got["messages"][1]["content"][0]["name"], "find_file");
        assert_eq!(got["tools"][0]["name"], "find_file");
    }

    #[test]
    fn a_schema_becomes_the_output_format_and_odd_options_are_refused() {
        let mut request = request(vec![user("u")]);
        request.options.response_schema = Some(r#"{"type":"object"}"#.into());
        let got = encode(&request).expect("encodes");
        assert_eq!(
            got["output_config"]["format"],
            json!({ "type": "json_schema", "schema": { "type": "object" } })
        );
        request.options.provider_options = Some(r#"{"service_tier":"priority"}"#.into());
        assert!(encode(&request).expect_err("refused").message.contains("service_tier"));
    }

    #[test]
    fn arguments_that_are_no_object_are_sent_as_one() {
        let bad = Part::ToolCall(crate::bindings::types::ToolCall {
            id: "1".into(),
            name: "f".into(),
            arguments: "nope".into(),
        });
        let messages = vec![
            user("u"),
            Message::Assistant(vec![bad]),
            Message::Tool(vec![result("1", "x")]),
        ];
        let got = encode(&request(messages)).expect("encodes");
        assert_eq!(got["messages"][1]["content"][0]["input"], json!({ "invalid": "nope" }));
    }
}
