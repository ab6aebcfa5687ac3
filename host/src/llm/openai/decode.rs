//! An answer in the form of chat completions, in chunks or whole.

use serde_json::Value;

use super::encode::is_reasoning_field;
use crate::bindings::llm::FinishReason;
use crate::limits::Limits;
use crate::llm::draft::{Draft, Slot};
use crate::llm::fault::Fault;
use crate::llm::opaque::Owner;
use crate::llm::protocol::{Answer, Decode, Tell, error_in, parse, word};
use crate::llm::request::Delta;
use crate::llm::sse::Event;
use crate::llm::usage::Reported;

/// Reads one answer.
pub(in crate::llm) struct Decoder {
    owner: Owner,
    draft: Draft,
    /// The part that each call's index in the stream stands for.
    calls: Vec<(u64, usize)>,
    finish: Option<String>,
    refused: bool,
    model: Option<String>,
    reported: Reported,
    over: bool,
}

impl Decoder {
    pub(in crate::llm) fn new(owner: Owner, limits: &Limits) -> Self {
        Self {
            owner,
            draft: Draft::new(limits),
            calls: Vec::new(),
            finish: None,
            refused: false,
            model: None,
            reported: Reported::default(),
            over: false,
        }
    }

    /// A chunk has a `delta` where a whole body has a `message`; else they are alike.
    fn take(&mut self, value: &Value, key: &str, tell: &Tell<'_>) -> Result<(), Fault> {
        if let Some(fault) = error_in(value, 200) {
            return Err(Fault::Status(fault));
        }
        if let Some(model) = value
            .get("model")
            .and_then(Value::as_str)
            .filter(|model| !model.is_empty())
        {
            self.model.get_or_insert_with(|| word(model));
        }
        if let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) {
            self.usage(usage);
        }
        let choices = value.get("choices").and_then(Value::as_array);
        // One choice was asked for: others would mix into it.
        let first = |choice: &&Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
        for choice in choices.into_iter().flatten().filter(first) {
            if let Some(delta) = choice.get(key) {
                self.delta(delta, tell)?;
            }
            if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
                self.finish = Some(reason.to_owned());
            }
        }
        Ok(())
    }

    fn delta(&mut self, delta: &Value, tell: &Tell<'_>) -> Result<(), Fault> {
        let text = |key: &str| delta.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        for field in ["reasoning_content", "reasoning"] {
            debug_assert!(is_reasoning_field(field), "what is read can be sent back");
            if let Some(more) = text(field) {
                self.draft.reasoning(more, &field.into())?;
                tell(Delta::Reasoning(more.to_owned()));
                // Servers that send both send the same in both.
                break;
            }
        }
        // Some servers send what is said in parts.
        let parts = delta.get("content").and_then(Value::as_array);
        let in_parts = parts.into_iter().flatten();
        let in_parts: String = in_parts.filter_map(|part| part.get("text")?.as_str()).collect();
        let content = text("content").unwrap_or(&in_parts);
        for (more, refused) in [(content, false), (text("refusal").unwrap_or_default(), true)] {
            if !more.is_empty() {
                self.refused |= refused;
                self.draft.text(more)?;
                tell(Delta::Text(more.to_owned()));
            }
        }
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        for (position, call) in calls.into_iter().flatten().enumerate() {
            self.call(call, position as u64)?;
        }
        Ok(())
    }

    fn call(&mut self, call: &Value, position: u64) -> Result<(), Fault> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let function = call.get("function").unwrap_or(&Value::Null);
        let (id, name) = (text(call.get("id")), text(function.get("name")));
        let arguments = match function.get("arguments") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            // Some servers send the arguments as the object that they are.
            Some(object) => object.to_string(),
        };
        let index = call.get("index").and_then(Value::as_u64).unwrap_or(position);
        let known = self
            .calls
            .iter()
            .rev()
            .find(|(i, _)| *i == index)
            .map(|(_, slot)| *slot);
        let Some(slot) = known.filter(|slot| !self.is_another(*slot, &id)) else {
            let slot = self.draft.push(Slot::Call { id, name, arguments })?;
            self.calls.push((index, slot));
            return Ok(());
        };
        self.draft.name_call(slot, id, name)?;
        self.draft.append(slot, &arguments)
    }

    /// True where `id` shows that a new call begins under an index that is taken: some servers number all calls 0.
    fn is_another(&self, slot: usize, id: &str) -> bool {
        matches!(&self.draft.slots()[slot], Slot::Call { id: old, .. } if !id.is_empty() && !old.is_empty() && old != id)
    }

    fn usage(&mut self, usage: &Value) {
        let mut reported = Reported::default();
        reported.input = reported.number(usage, "prompt_tokens");
        reported.output = reported.number(usage, "completion_tokens");
        if let Some(details) = usage.get("prompt_tokens_details") {
            reported.cached = reported.number(details, "cached_tokens").unwrap_or(0);
        }
        self.reported = reported;
    }
}

impl Decode for Decoder {
    fn event(&mut self, event: &Event, tell: &Tell<'_>) -> Result<(), Fault> {
        if self.over {
            return Ok(());
        }
        if event.data.trim() == "[DONE]" {
            self.over = true;
            return Ok(());
        }
        self.take(&parse(&event.data)?, "delta", tell)
    }

    fn body(&mut self, body: &Value, tell: &Tell<'_>) -> Result<(), Fault> {
        self.take(body, "message", tell)?;
        self.over = true;
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn draft(&self) -> &Draft {
        &self.draft
    }

    fn reported(&self) -> Reported {
        self.reported
    }

    fn finish(mut self: Box<Self>) -> Result<Answer, Fault> {
        let Some(finish) = self.finish.take() else {
            return Err(Fault::Broken("its end never came".to_owned()));
        };
        let nameless = |slot: &Slot| matches!(slot, Slot::Call { name, .. } if name.is_empty());
        if finish == "length" {
            self.draft.drop_half_calls();
        }
        if self.draft.slots().iter().any(nameless) {
            return Err(Fault::Broken("it has a tool call without a name".to_owned()));
        }
        let finish_reason = match finish.as_str() {
            "stop" | "tool_calls" | "function_call" if self.draft.has_calls() => FinishReason::ToolCalls,
            _ if self.refused => FinishReason::ContentFilter,
            "stop" | "tool_calls" | "function_call" => FinishReason::Stop,
            "length" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            other => FinishReason::Other(word(other)),
        };
        Ok(Answer {
            parts: self.draft.finish(&self.owner),
            finish_reason,
            model: self.model,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bindings::llm::Part;
    use crate::bindings::types::ToolCall;
    use crate::config::model::ProviderKind;

    fn decoder() -> Box<Decoder> {
        let owner = Owner {
            kind: ProviderKind::Openai,
            provider: "p".into(),
        };
        Box::new(Decoder::new(owner, &Limits::default()))
    }

    fn read(chunks: &[Value]) -> (Reported, Result<Answer, Fault>) {
        let mut decoder = decoder();
        for chunk in chunks {
            let event = Event {
                name: String::new(),
                data: chunk.to_string(),
            };
            if let Err(fault) = decoder.event(&event, &|_| {}) {
                return (decoder.reported(), Err(fault));
            }
        }
        (decoder.reported(), decoder.finish())
    }

    fn chunk(delta: &Value) -> Value {
        json!({ "model": "m-1", "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
    }

    fn end(reason: &str) -> Value {
        json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
    }

    fn call(id: &str, name: &str, arguments: &str) -> Part {
        Part::ToolCall(ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        })
    }

    fn fragment(index: u64, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
        json!({ "tool_calls": [{ "index": index, "id": id, "function": { "name": name, "arguments": arguments } }] })
    }

    #[test]
    fn text_reasoning_and_usage_are_joined() {
        let usage = json!({ "choices": [], "usage": {
            "prompt_tokens": 12, "completion_tokens": 7, "prompt_tokens_details": { "cached_tokens": 5 } } });
        let (reported, answer) = read(&[
            chunk(&json!({ "role": "assistant", "content": "" })),
            chunk(&json!({ "reasoning_content": "hm" })),
            chunk(&json!({ "content": "Hel" })),
            chunk(&json!({ "content": [{ "type": "text", "text": "lo" }, { "type": "reference" }] })),
            end("stop"),
            usage,
        ]);
        let answer = answer.expect("whole");
        assert_eq!(answer.parts[0], Part::Reasoning("hm".into()));
        assert!(matches!(answer.parts[1], Part::Opaque(_)));
        assert_eq!(answer.parts[2], Part::Text("Hello".into()));
        assert_eq!(
            (answer.finish_reason, answer.model.as_deref()),
            (FinishReason::Stop, Some("m-1"))
        );
        assert_eq!(
            (reported.input, reported.output, reported.cached),
            (Some(12), Some(7), 5)
        );
    }

    #[test]
    fn calls_in_fragments_out_of_order_and_under_one_index_stay_apart() {
        let (_, answer) = read(&[
            chunk(&fragment(0, Some("a"), Some("f"), "{\"x\"")),
            chunk(&fragment(1, Some("b"), Some("g"), "")),
            chunk(&fragment(0, None, None, ":1}")),
            chunk(&fragment(1, None, None, "not json")),
            chunk(&fragment(1, Some("c"), Some("h"), "")),
            end("tool_calls"),
        ]);
        let answer = answer.expect("whole");
        assert_eq!(
            answer.parts,
            [
                call("a", "f", "{\"x\":1}"),
                call("b", "g", "not json"),
                call("c", "h", "{}")
            ]
        );
        assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
    }

    #[test]
    fn an_answer_without_its_end_is_none() {
        let (_, answer) = read(&[chunk(&fragment(0, Some("a"), Some("f"), "{}"))]);
        assert!(matches!(answer, Err(Fault::Broken(_))));
        let (_, answer) = read(&[chunk(&fragment(0, Some("a"), None, "{}")), end("tool_calls")]);
        assert!(matches!(answer, Err(Fault::Broken(_))));
        let (_, answer) = read(&[chunk(&fragment(0, Some("a"), Some("f"), "{\"x")), end("length")]);
        let answer = answer.expect("whole");
        assert_eq!((answer.parts, answer.finish_reason), (vec![], FinishReason::Length));
    }

    #[test]
    fn an_error_at_status_200_is_an_error() {
        let (_, answer) = read(&[
            chunk(&json!({ "content": "x" })),
            json!({ "error": { "code": "rate_limit_exceeded" } }),
        ]);
        assert!(matches!(answer, Err(Fault::Status(fault)) if fault.status == 429));
    }

    #[test]
    fn a_whole_body_reads_as_a_stream_does() {
        let mut decoder = decoder();
        let message = json!({ "content": "hi", "tool_calls": [
            { "id": "a", "function": { "name": "f", "arguments": { "x": 1 } } },
            { "id": "b", "function": { "name": "g", "arguments": "" } } ] });
        let body = json!({ "model": "m", "choices": [{ "message": message, "finish_reason": "stop" }] });
        decoder.body(&body, &|_| {}).expect("reads");
        let answer = decoder.finish().expect("whole");
        assert_eq!(
            answer.parts,
            [
                Part::Text("hi".into()),
                call("a", "f", "{\"x\":1}"),
                call("b", "g", "{}")
            ]
        );
        assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
    }

    #[test]
    fn other_choices_and_what_follows_the_end_are_ignored() {
        let mut decoder = decoder();
        let mut feed = |data: String| {
            decoder.event(
                &Event {
                    name: String::new(),
                    data,
                },
                &|_| {},
            )
        };
        feed(chunk(&json!({ "content": "a" })).to_string()).expect("reads");
        feed(json!({ "choices": [{ "index": 1, "delta": { "content": "z" } }] }).to_string()).expect("reads");
        feed(end("stop").to_string()).expect("reads");
        feed("[DONE]".into()).expect("reads");
        feed("[DONE]".into()).expect("reads");
        feed("junk".into()).expect("reads");
        assert_eq!(decoder.finish().expect("whole").parts, [Part::Text("a".into())]);
    }
}
