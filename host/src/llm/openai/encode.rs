//! A request in the form of chat completions.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::bindings::llm::ToolChoice;
use crate::bindings::types::Media;
use crate::error::Refusal;
use crate::llm::history::{Answered, Block, Piece, Turn, turns};
use crate::llm::media::{base64, data_url, note};
use crate::llm::opaque::Owner;
use crate::llm::protocol::{arguments_text, json, merge_options, temperature, tool_name, tools};
use crate::llm::request::Request;
use crate::llm::special::as_text;

/// Keys that change neither what is charged nor what is permitted.
const OPTIONS: [&str; 7] = [
    "reasoning_effort",
    "verbosity",
    "seed",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "parallel_tool_calls",
];

/// The name of the output limit: OpenAI's newer models take only the one, other servers know only the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::llm) enum OutputLimit {
    MaxTokens,
    MaxCompletionTokens,
}

/// Who is written to.
#[derive(Debug, Clone, Copy)]
pub(in crate::llm) struct Dialect<'a> {
    pub(in crate::llm) owner: &'a Owner,
    pub(in crate::llm) model: &'a str,
    pub(in crate::llm) output_limit: OutputLimit,
}

/// The request's body.
pub(in crate::llm) fn body(request: &Request, dialect: Dialect<'_>) -> Result<Value, Refusal> {
    let options = &request.options;
    let mut body = Map::new();
    body.insert("model".into(), dialect.model.into());
    body.insert("messages".into(), messages(request, dialect.owner)?);
    body.insert("stream".into(), true.into());
    body.insert("stream_options".into(), json!({ "include_usage": true }));
    let limit = match dialect.output_limit {
        OutputLimit::MaxTokens => "max_tokens",
        OutputLimit::MaxCompletionTokens => "max_completion_tokens",
    };
    body.insert(limit.into(), request.max_output_tokens.into());
    if let Some(value) = options.temperature {
        body.insert("temperature".into(), temperature(value)?);
    }
    if !options.stop.is_empty() {
        body.insert("stop".into(), options.stop.clone().into());
    }
    offer(&mut body, request)?;
    if let Some(text) = &options.response_schema {
        let schema = json(text, "response-schema")?;
        let strict = is_strict(&schema, 0);
        let format = json!({ "name": "answer", "schema": schema, "strict": strict });
        body.insert(
            "response_format".into(),
            json!({ "type": "json_schema", "json_schema": format }),
        );
    }
    merge_options(
        &mut body,
        options.provider_options.as_deref(),
        &dialect.owner.provider,
        &OPTIONS,
    )?;
    Ok(Value::Object(body))
}

fn offer(body: &mut Map<String, Value>, request: &Request) -> Result<(), Refusal> {
    let offered = tools(&request.tools)?;
    let choice = request.options.tool_choice.as_ref();
    if offered.is_empty() {
        return match choice {
            Some(ToolChoice::Required | ToolChoice::Tool(_)) => Err(Refusal::invalid(
                "tool-choice asks for a tool call, but no tools are offered.",
            )),
            _ => Ok(()),
        };
    }
    let choice = match choice {
        None | Some(ToolChoice::Auto) => None,
        Some(ToolChoice::NoTools) => Some("none".into()),
        Some(ToolChoice::Required) => Some("required".into()),
        Some(ToolChoice::Tool(name)) => {
            if !offered.iter().any(|tool| tool.name == name) {
                return Err(Refusal::invalid("tool-choice names a tool that is not offered."));
            }
            Some(json!({ "type": "function", "function": { "name": name } }))
        }
    };
    let tools = offered.into_iter().map(|tool| {
        let function = json!({ "name": tool.name, "description": tool.description, "parameters": tool.schema });
        json!({ "type": "function", "function": function })
    });
    body.insert("tools".into(), tools.collect());
    body.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
    Ok(())
}

fn messages(request: &Request, owner: &Owner) -> Result<Value, Refusal> {
    let mut messages = Vec::new();
    for turn in turns(&request.messages, owner, request.mark.as_deref()) {
        match turn {
            Turn::System(text) => messages.push(json!({ "role": "system", "content": text })),
            Turn::User(blocks) => messages.push(json!({ "role": "user", "content": content(&blocks) })),
            Turn::Assistant(pieces) => messages.push(assistant(pieces)),
            Turn::Tool(results) => results_as_messages(&results, &mut messages),
        }
    }
    if messages.is_empty() {
        return Err(Refusal::invalid("There is no message to send."));
    }
    Ok(Value::Array(messages))
}

/// A plain string where there is only text, which is all that some servers take.
fn content(blocks: &[Block<'_>]) -> Value {
    if let [Block::Text(text)] = blocks {
        return text.as_ref().into();
    }
    blocks.iter().map(block).collect()
}

fn block(block: &Block<'_>) -> Value {
    match block {
        Block::Text(text) => json!({ "type": "text", "text": text }),
        Block::Media(media) => media_block(media),
    }
}

fn media_block(media: &Media) -> Value {
    let kind = media.media_type.as_str();
    let audio = |format: &str| json!({ "type": "input_audio", "input_audio": { "data": base64(&media.data), "format": format } });
    match kind {
        _ if kind.starts_with("image/") => json!({ "type": "image_url", "image_url": { "url": data_url(media) } }),
        "audio/wav" | "audio/x-wav" => audio("wav"),
        "audio/mpeg" | "audio/mp3" => audio("mp3"),
        _ => json!({ "type": "text", "text": note(media) }),
    }
}

fn assistant(pieces: Vec<Piece<'_>>) -> Value {
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    let mut text = String::new();
    let mut calls = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(more) => text.push_str(&more),
            Piece::Call(call) => {
                let (name, arguments) = (tool_name(&call.name), arguments_text(&call.arguments));
                let function = json!({ "name": name, "arguments": arguments });
                calls.push(json!({ "id": call.id, "type": "function", "function": function }));
            }
            // The field in which this server showed its reasoning, and wants it back.
            Piece::Signed {
                text,
                signature: Value::String(field),
            } if is_reasoning_field(&field) => match message.entry(field).or_insert_with(|| "".into()) {
                Value::String(all) => all.push_str(text),
                other => *other = text.into(),
            },
            Piece::Media(media) => text.push_str(&note(media)),
            Piece::Signed { .. } | Piece::Own(_) => {}
        }
    }
    let content = if text.is_empty() && !calls.is_empty() {
        Value::Null
    } else {
        text.into()
    };
    message.insert("content".into(), content);
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    Value::Object(message)
}

/// True for the two fields in which servers show reasoning.
pub(super) fn is_reasoning_field(field: &str) -> bool {
    matches!(field, "reasoning_content" | "reasoning")
}

/// One message for each result. Images can't be in these, so they follow in one message of the user.
fn results_as_messages(results: &[Answered<'_>], messages: &mut Vec<Value>) {
    let mut shown = Vec::new();
    for result in results {
        messages.push(json!({ "role": "tool", "tool_call_id": result.call_id, "content": result.text }));
        for media in &result.media {
            shown.push(json!({ "type": "text", "text": format!("From the result of {}:", as_text(result.call_id)) }));
            shown.push(media_block(media));
        }
    }
    if !shown.is_empty() {
        messages.push(json!({ "role": "user", "content": shown }));
    }
}

/// Whether a schema is one that the strict mode takes: every object closed, and all of its properties required.
fn is_strict(schema: &Value, depth: u32) -> bool {
    let Value::Object(map) = schema else { return true };
    if depth > 64 {
        return false;
    }
    let closed = map
        .get("properties")
        .and_then(Value::as_object)
        .is_none_or(|properties| {
            let required = map.get("required").and_then(Value::as_array).into_iter().flatten();
            let required: HashSet<&str> = required.filter_map(Value::as_str).collect();
            map.get("additionalProperties") == Some(&Value::Bool(false))
                && properties.keys().all(|key| required.contains(key.as_str()))
                && properties.values().all(|inner| is_strict(inner, depth + 1))
        });
    let open_object = map.get("type").is_some_and(|t| t == "object") && !map.contains_key("properties");
    let inner = ["items", "anyOf", "$defs", "definitions"]
        .iter()
        .filter_map(|key| map.get(*key));
    let nested = |value: &Value| match value {
        Value::Array(all) => all.iter().all(|inner| is_strict(inner, depth + 1)),
        Value::Object(all) if !all.contains_key("type") => all.values().all(|inner| is_strict(inner, depth + 1)),
        other => is_strict(other, depth + 1),
    };
    closed && !open_object && inner.into_iter().all(nested)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::llm::{Message, Part};
    use crate::bindings::types::{Content, Error, ErrorKind};
    use crate::config::model::ProviderKind;
    use crate::llm::history::tests::{call, result, user};
    use crate::llm::request::tests::{request, tool};

    fn owner() -> Owner {
        Owner {
            kind: ProviderKind::Openai,
            provider: "p".into(),
        }
    }

    fn encode(request: &Request) -> Result<Value, Refusal> {
        body(
            request,
            Dialect {
                owner: &owner(),
                model: "m",
                output_limit: OutputLimit::MaxTokens,
            },
        )
    }

    #[test]
    fn a_conversation_with_tools_is_encoded_in_order() {
        let mut failed = result("2", "no file x");
        failed.error = Some(Error {
            kind: ErrorKind::NotFound,
            message: "no file x".into(),
            retry_after_ms: None,
        });
        let sealed = owner().seal("reasoning_content".into(), Some("why"));
        let messages = vec![
            Message::System("s".into()),
            user("u"),
            Message::Assistant(vec![
                Part::Reasoning("why".into()),
                Part::Opaque(sealed),
                call("1"),
                call("2"),
            ]),
            Message::Tool(vec![result("1", "ok"), failed]),
        ];
        let mut request = request(messages);
        request.tools = vec![tool("f")];
        request.options.tool_choice = Some(ToolChoice::Tool("f".into()));
        request.options.temperature = Some(0.7);
        let got = encode(&request).expect("encodes");
        assert_eq!(
            got["messages"],
            json!([
                { "role": "system", "content": "s" },
                { "role": "user", "content": "u" },
                { "role": "assistant", "reasoning_content": "why", "content": null, "tool_calls": [
                    { "id": "1", "type": "function", "function": { "name": "f", "arguments": "{}" } },
                    { "id": "2", "type": "function", "function": { "name": "f", "arguments": "{}" } },
                ] },
                { "role": "tool", "tool_call_id": "1", "content": "ok" },
                { "role": "tool", "tool_call_id": "2", "content": "Error: no file x" },
            ])
        );
        assert_eq!(got["tools"][0]["function"]["parameters"], json!({ "type": "object" }));
        assert_eq!(
            got["tool_choice"],
            json!({ "type": "function", "function": { "name": "f" } })
        );
        assert_eq!(got["temperature"].to_string(), "0.7");
        assert_eq!(got["max_tokens"], 100);
        assert_eq!(got["stream_options"], json!({ "include_usage": true }));
    }

    #[test]
    fn reasoning_of_others_and_unsigned_is_not_sent() {
        let other = Owner {
            kind: ProviderKind::Openai,
            provider: "q".into(),
        };
        let sealed = other.seal("reasoning_content".into(), Some("why"));
        let parts = vec![
            Part::Reasoning("why".into()),
            Part::Opaque(sealed),
            Part::Text("t".into()),
        ];
        let got = encode(&request(vec![user("u"), Message::Assistant(parts)])).expect("encodes");
        assert_eq!(got["messages"][1], json!({ "role": "assistant", "content": "t" }));
    }

    #[test]
    fn what_a_model_made_up_is_sent_in_a_form_that_servers_take() {
        let call = |id: &str, name: &str, arguments: &str| {
            Part::ToolCall(crate::bindings::types::ToolCall {
                id: id.into(),
                name: name.into(),
                arguments: arguments.into(),
            })
        };
        let calls = vec![
            call("1", "find file", "{\"a\": \"x"),
            call("2", "f", "[1]"),
            call("3", "f", "{ \"a\": 1 }"),
        ];
        let results = ["1", "2", "3"].map(|id| result(id, "x")).to_vec();
        let got = encode(&request(vec![
            user("u"),
            Message::Assistant(calls),
            Message::Tool(results),
        ]))
        .expect("encodes");
        let sent: Vec<_> = (0..3)
            .map(|n| &got["messages"][1]["tool_calls"][n]["function"])
            .collect();
        assert_eq!(sent[0]["name"], "find_file");
        let arguments: Vec<_> = sent
            .iter()
            .map(|function| function["arguments"].as_str().expect("text"))
            .collect();
        let kept = "{ \"a\": 1 }";
        assert_eq!(
            arguments,
            [r#"{"invalid":"{\"a\": \"x"}"#, r#"{"invalid":"[1]"}"#, kept]
        );
        assert_eq!(got["messages"][2]["tool_call_id"], "1");
    }

    #[test]
    fn images_are_data_urls_and_those_of_tools_follow() {
        let media = Media {
            media_type: "image/png".into(),
            data: b"foo".to_vec(),
        };
        let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,Zm9v" } });
        let mut shot = result("1", "done");
        shot.output.content.push(Content::Media(media.clone()));
        let messages = vec![
            Message::User(vec![Content::Text("see".into()), Content::Media(media)]),
            Message::Assistant(vec![call("1")]),
            Message::Tool(vec![shot]),
        ];
        let got = encode(&request(messages)).expect("encodes");
        assert_eq!(got["messages"][0]["content"][1], image);
        assert_eq!(got["messages"][2]["content"], "done");
        assert_eq!(got["messages"][3]["content"][1], image);
    }

    #[test]
    fn odd_requests_are_refused() {
        let refused = |change: &dyn Fn(&mut Request)| {
            let mut request = request(vec![user("u")]);
            change(&mut request);
            encode(&request).expect_err("refused").kind.to_string()
        };
        let changes: [&dyn Fn(&mut Request); 8] = [
            &|r| r.messages.clear(),
            &|r| r.tools = vec![tool("f"), tool("f")],
            &|r| r.tools = vec![tool("a b")],
            &|r| r.tools = vec![tool("")],
            &|r| r.options.tool_choice = Some(ToolChoice::Required),
            &|r| r.options.temperature = Some(f32::NAN),
            &|r| r.options.provider_options = Some(r#"{"n":2}"#.into()),
            &|r| r.options.response_schema = Some("{".into()),
        ];
        for change in changes {
            assert_eq!(refused(change), "invalid-input");
        }
    }

    #[test]
    fn strict_mode_is_asked_for_only_where_the_schema_takes_it() {
        let closed = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"], "additionalProperties": false });
        assert!(is_strict(&closed, 0));
        assert!(is_strict(&json!({ "type": "array", "items": closed }), 0));
        assert!(!is_strict(&json!({ "type": "object", "properties": { "a": {} } }), 0));
        assert!(!is_strict(
            &json!({ "type": "array", "items": { "type": "object" } }),
            0
        ));
    }
}
