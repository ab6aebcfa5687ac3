//! An answer in the form of Messages, as events or whole.

use serde_json::Value;

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
    /// Blocks that have begun and not ended: their index in the stream, and their part.
    open: Vec<(u64, usize)>,
    finish: Option<String>,
    model: Option<String>,
    reported: Reported,
    over: bool,
}

impl Decoder {
    pub(in crate::llm) fn new(owner: Owner, limits: &Limits) -> Self {
        Self {
            owner,
            draft: Draft::new(limits),
            open: Vec::new(),
            finish: None,
            model: None,
            reported: Reported::default(),
            over: false,
        }
    }

    fn message(&mut self, message: &Value) {
        self.model = message.get("model").and_then(Value::as_str).map(word);
        self.usage(message);
        self.stop_reason(message);
    }

    fn stop_reason(&mut self, value: &Value) {
        if let Some(reason) = value.get("stop_reason").and_then(Value::as_str) {
            self.finish = Some(reason.to_owned());
        }
    }

    /// Input comes with the first event, output with the last; numbers that come again are totals.
    fn usage(&mut self, value: &Value) {
        let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) else {
            return;
        };
        let reported = &mut self.reported;
        let fresh = reported.number(usage, "input_tokens");
        let cached = reported.number(usage, "cache_read_input_tokens");
        let written = reported.number(usage, "cache_creation_input_tokens");
        let before = reported
            .input
            .map(|input| input.saturating_sub(reported.cached + reported.cache_write));
        reported.cached = cached.unwrap_or(reported.cached);
        reported.cache_write = written.unwrap_or(reported.cache_write);
        // Input that is cached, either way, is not among the provider's `input_tokens`; the contract counts it in.
        reported.input = fresh
            .or(before)
            .map(|fresh| fresh + reported.cached + reported.cache_write);
        reported.output = reported.number(usage, "output_tokens").or(reported.output);
    }

    /// Begins a part for a block that may be empty yet.
    fn block(&mut self, block: &Value, tell: &Tell<'_>) -> Result<usize, Fault> {
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        match block.get("type").and_then(Value::as_str) {
            Some("text") => {
                show(tell, Delta::Text, &text("text"));
                self.draft.push(Slot::Text(text("text")))
            }
            Some("thinking") => {
                show(tell, Delta::Reasoning, &text("thinking"));
                let signature = Some(text("signature")).filter(|s| !s.is_empty()).map(Value::String);
                self.draft.push(Slot::Reasoning {
                    text: text("thinking"),
                    signature,
                })
            }
            Some("tool_use") => {
                let input = block
                    .get("input")
                    .filter(|input| input.as_object().is_none_or(|map| !map.is_empty()));
                let arguments = input
                    .filter(|input| !input.is_null())
                    .map(Value::to_string)
                    .unwrap_or_default();
                self.draft.push(Slot::Call {
                    id: text("id"),
                    name: text("name"),
                    arguments,
                })
            }
            _ => self.draft.push(Slot::Own(block.clone())),
        }
    }

    fn delta(&mut self, index: u64, delta: &Value, tell: &Tell<'_>) -> Result<(), Fault> {
        let Some(slot) = self.open.iter().find(|(i, _)| *i == index).map(|(_, slot)| *slot) else {
            return Err(Fault::Broken("it goes on with a part that never began".to_owned()));
        };
        let text = |key: &str| delta.get(key).and_then(Value::as_str).unwrap_or_default();
        let kind = delta.get("type").and_then(Value::as_str).unwrap_or_default();
        let fits = matches!(
            (kind, &self.draft.slots()[slot]),
            ("text_delta", Slot::Text(_))
                | ("thinking_delta" | "signature_delta", Slot::Reasoning { .. })
                | ("input_json_delta", Slot::Call { .. })
        );
        match kind {
            // Citations, and whatever the protocol will have later, is left out.
            _ if !fits => Ok(()),
            "text_delta" => {
                show(tell, Delta::Text, text("text"));
                self.draft.append(slot, text("text"))
            }
            "thinking_delta" => {
                show(tell, Delta::Reasoning, text("thinking"));
                self.draft.append(slot, text("thinking"))
            }
            "signature_delta" => self.draft.sign(slot, text("signature")),
            _ => self.draft.append(slot, text("partial_json")),
        }
    }
}

fn show(tell: &Tell<'_>, delta: fn(String) -> Delta, text: &str) {
    if !text.is_empty() {
        tell(delta(text.to_owned()));
    }
}

impl Decode for Decoder {
    fn event(&mut self, event: &Event, tell: &Tell<'_>) -> Result<(), Fault> {
        if self.over {
            return Ok(());
        }
        let value = parse(&event.data)?;
        if let Some(fault) = error_in(&value, 200) {
            return Err(Fault::Status(fault));
        }
        let index = value.get("index").and_then(Value::as_u64).unwrap_or(0);
        let inner = |key: &str| value.get(key).unwrap_or(&Value::Null);
        match value.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => self.message(inner("message")),
            "content_block_start" => {
                let slot = self.block(inner("content_block"), tell)?;
                self.open.retain(|(i, _)| *i != index);
                self.open.push((index, slot));
            }
            "content_block_delta" => self.delta(index, inner("delta"), tell)?,
            "content_block_stop" => self.open.retain(|(i, _)| *i != index),
            "message_delta" => {
                self.stop_reason(inner("delta"));
                self.usage(&value);
            }
            "message_stop" => self.over = true,
            // `ping`, and events that the protocol may yet get.
            _ => {}
        }
        Ok(())
    }

    fn body(&mut self, body: &Value, tell: &Tell<'_>) -> Result<(), Fault> {
        if let Some(fault) = error_in(body, 200) {
            return Err(Fault::Status(fault));
        }
        self.message(body);
        for block in body.get("content").and_then(Value::as_array).into_iter().flatten() {
            self.block(block, tell)?;
        }
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
        let finish = self.finish.take().filter(|_| self.over);
        let Some(finish) = finish.filter(|finish| self.open.is_empty() || finish == "max_tokens") else {
            return Err(Fault::Broken("its end never came".to_owned()));
        };
        let cut = matches!(finish.as_str(), "max_tokens" | "model_context_window_exceeded");
        if cut {
            self.draft.drop_half_calls();
        }
        let nameless = |slot: &Slot| matches!(slot, Slot::Call { name, .. } if name.is_empty());
        if self.draft.slots().iter().any(nameless) {
            return Err(Fault::Broken("it has a tool call without a name".to_owned()));
        }
        let finish_reason = match finish.as_str() {
            _ if cut => FinishReason::Length,
            "end_turn" | "stop_sequence" | "tool_use" if self.draft.has_calls() => FinishReason::ToolCalls,
            "end_turn" | "stop_sequence" | "tool_use" => FinishReason::Stop,
            "refusal" => FinishReason::ContentFilter,
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
    use crate::llm::opaque::Opened;

    fn owner() -> Owner {
        Owner {
            kind: ProviderKind::Anthropic,
            provider: "p".into(),
        }
    }

    fn read(events: &[Value]) -> (Reported, Result<Answer, Fault>) {
        let mut decoder = Box::new(Decoder::new(owner(), &Limits::default()));
        for event in events {
            let event = Event {
                name: String::new(),
                data: event.to_string(),
            };
            if let Err(fault) = decoder.event(&event, &|_| {}) {
                return (decoder.reported(), Err(fault));
            }
        }
        (decoder.reported(), decoder.finish())
    }

    fn start() -> Value {
        let usage = json!({ "input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 5, "output_tokens": 1 });
        json!({ "type": "message_start", "message": { "model": "claude-x", "usage": usage } })
    }

    fn block(index: u64, block: &Value, deltas: &[Value]) -> Vec<Value> {
        let mut events = vec![json!({ "type": "content_block_start", "index": index, "content_block": block })];
        events.extend(
            deltas
                .iter()
                .map(|d| json!({ "type": "content_block_delta", "index": index, "delta": d })),
        );
        events.push(json!({ "type": "content_block_stop", "index": index }));
        events
    }

    fn end(reason: &str) -> [Value; 2] {
        let delta =
            json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": { "output_tokens": 42 } });
        [delta, json!({ "type": "message_stop" })]
    }

    #[test]
    fn thinking_text_calls_and_usage_are_read() {
        let mut events = vec![start(), json!({ "type": "ping" })];
        events.extend(block(
            0,
            &json!({ "type": "thinking", "thinking": "" }),
            &[
                json!({ "type": "thinking_delta", "thinking": "wh" }),
                json!({ "type": "thinking_delta", "thinking": "y" }),
                json!({ "type": "signature_delta", "signature": "sig" }),
            ],
        ));
        events.extend(block(1, &json!({ "type": "redacted_thinking", "data": "x" }), &[]));
        events.extend(block(
            2,
            &json!({ "type": "text", "text": "" }),
            &[json!({ "type": "text_delta", "text": "hi" })],
        ));
        events.extend(block(
            3,
            &json!({ "type": "tool_use", "id": "t1", "name": "f", "input": {} }),
            &[
                json!({ "type": "input_json_delta", "partial_json": "" }),
                json!({ "type": "input_json_delta", "partial_json": "{\"a\"" }),
                json!({ "type": "input_json_delta", "partial_json": ":1}" }),
            ],
        ));
        events.extend(block(
            4,
            &json!({ "type": "tool_use", "id": "t2", "name": "g", "input": {} }),
            &[],
        ));
        events.extend(end("tool_use"));
        let (reported, answer) = read(&events);
        let answer = answer.expect("whole");
        let [
            Part::Reasoning(why),
            Part::Opaque(signature),
            Part::Opaque(redacted),
            text,
            f,
            g,
        ] = &answer.parts[..]
        else {
            panic!("{:?}", answer.parts)
        };
        assert_eq!(owner().open(signature, Some(why)), Opened::Signature("sig".into()));
        assert_eq!(
            owner().open(redacted, None),
            Opened::Own(json!({ "type": "redacted_thinking", "data": "x" }))
        );
        assert_eq!(*text, Part::Text("hi".into()));
        let call = |id: &str, name: &str, arguments: &str| {
            Part::ToolCall(ToolCall {
                id: id.into(),
                name: name.into(),
                arguments: arguments.into(),
            })
        };
        assert_eq!((f, g), (&call("t1", "f", "{\"a\":1}"), &call("t2", "g", "{}")));
        assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
        assert_eq!(answer.model.as_deref(), Some("claude-x"));
        assert_eq!(
            (reported.input, reported.cached, reported.cache_write, reported.output),
            (Some(115), 100, 5, Some(42))
        );
    }

    #[test]
    fn an_answer_cut_short_anywhere_is_none() {
        let mut events = vec![start()];
        events.extend(block(
            0,
            &json!({ "type": "tool_use", "id": "t", "name": "f", "input": {} }),
            &[json!({ "type": "input_json_delta", "partial_json": "{}" })],
        ));
        events.extend(end("tool_use"));
        for cut in 0..events.len() {
            assert!(matches!(read(&events[..cut]).1, Err(Fault::Broken(_))), "{cut}");
        }
        assert!(read(&events).1.is_ok());
    }

    #[test]
    fn errors_and_stop_reasons_are_mapped() {
        let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "busy" } });
        assert!(matches!(read(&[start(), error]).1, Err(Fault::Status(fault)) if fault.status == 529));
        for (reason, want) in [
            ("end_turn", FinishReason::Stop),
            ("stop_sequence", FinishReason::Stop),
            ("max_tokens", FinishReason::Length),
            ("model_context_window_exceeded", FinishReason::Length),
            ("refusal", FinishReason::ContentFilter),
            ("pause_turn", FinishReason::Other("pause_turn".into())),
        ] {
            let mut events = vec![start()];
            events.extend(end(reason));
            assert_eq!(read(&events).1.map(|answer| answer.finish_reason), Ok(want));
        }
    }

    #[test]
    fn a_whole_body_reads_as_a_stream_does() {
        let mut decoder = Box::new(Decoder::new(owner(), &Limits::default()));
        let body = json!({ "model": "c", "stop_reason": "tool_use", "usage": { "input_tokens": 3, "output_tokens": 4 },
            "content": [{ "type": "text", "text": "hi" }, { "type": "tool_use", "id": "1", "name": "f", "input": { "a": 1 } }] });
        decoder.body(&body, &|_| {}).expect("reads");
        assert_eq!(
            (decoder.reported().input, decoder.reported().output),
            (Some(3), Some(4))
        );
        let answer = decoder.finish().expect("whole");
        assert_eq!(answer.parts.len(), 2);
        assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
    }
}
