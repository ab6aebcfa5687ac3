//! A model whose replies have no end, no measure or no sense.

use std::io::Result;
use std::sync::Arc;

use hermes_tests::model::Format;
use hermes_tests::output::{message, refusal};
use hermes_tests::program::ask;
use serde_json::{Value, json};

use super::{Case, Does};
use crate::raw::Answer;

/// `limits.reply` as it is where nobody set it.
pub(crate) const REPLY: u64 = 1 << 20;

/// How a server answers.
pub(crate) struct Replies {
    pub(crate) format: Format,
    pub(crate) answer: Arc<Write>,
    /// How many completions it is asked for.
    asks: usize,
    /// How many bytes it has written at most when the host has had its answers, or has broken them off.
    most: u64,
}

type Write = dyn Fn(&mut Answer) -> Result<()> + Send + Sync;

impl Replies {
    /// Panics when it was asked for one twice, or wrote on: how many have connected to it, and how many bytes it wrote.
    #[track_caller]
    pub(crate) fn fit(&self, case: &str, (connections, written): (usize, u64)) {
        assert_eq!(connections, self.asks, "{case}: none is asked for twice");
        assert!(written <= self.most, "{case} wrote {written} bytes");
    }
}

impl Case {
    /// Each of its steps is a completion of a model's server that answers so.
    pub(super) fn answered(
        mut self,
        format: Format,
        most: u64,
        answer: impl Fn(&mut Answer) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let Does::Steps(steps) = &self.does else {
            unreachable!("it asks by steps")
        };
        self.replies = Some(Replies {
            format,
            answer: Arc::new(answer),
            asks: steps.len(),
            most,
        });
        self
    }
}

/// One completion of such a model, whose answer `is_right` looks at.
fn case(
    name: &str,
    most: u64,
    answer: impl Fn(&mut Answer) -> Result<()> + Send + Sync + 'static,
    is_right: impl Fn(&Value) + Send + Sync + 'static,
) -> Case {
    let case = Case::steps(name, [ask("hi")]).answered(Format::OpenAi, most, answer);
    case.sees(move |seen| is_right(&seen[0]))
}

/// Panics unless the completion was refused for this.
fn refused(seen: &Value, names: &[&str]) {
    assert_eq!(refusal(seen).as_deref(), Some("upstream"), "{seen}");
    for name in names {
        assert!(message(seen).contains(name), "{name:?} is missing: {seen}");
    }
}

fn too_long(seen: &Value) {
    refused(seen, &["limits.reply"]);
}

/// A text of so many bytes, after which it says nothing of what it used.
fn text(bytes: u64) -> impl Fn(&mut Answer) -> Result<()> + Send + Sync {
    move |answer| {
        answer.streams()?;
        let text = "x".repeat(usize::try_from(bytes).unwrap());
        answer.event(&json!({ "role": "assistant", "content": text }), None)?;
        answer.event(&json!({}), Some("stop"))?;
        answer.say("data: [DONE]\n\n")
    }
}

/// A text to the last byte, and one more.
pub(crate) fn to_the_last_byte() -> [Case; 2] {
    let is_whole = |seen: &Value| assert_eq!(refusal(seen), None, "{}", message(seen));
    let is_refused = |seen: &Value| refused(seen, &["1048576 bytes", "limits.reply"]);
    [
        case("a reply to the last byte", 2 * REPLY, text(REPLY), is_whole),
        case("a reply with one byte more", 2 * REPLY, text(REPLY + 1), is_refused),
    ]
}

/// A gibibyte of text.
pub(crate) fn gibibyte() -> Case {
    let answer = |answer: &mut Answer| {
        answer.streams()?;
        let text = "x".repeat(1 << 14);
        for _ in 0..1 << 16 {
            answer.event(&json!({ "content": text }), None)?;
        }
        Ok(())
    };
    case("a gibibyte", 16 * REPLY, answer, too_long)
}

/// Deltas without end. Not a word in any of them: what surrounds them is counted too.
pub(crate) fn deltas() -> Case {
    let answer = |answer: &mut Answer| {
        answer.streams()?;
        loop {
            answer.event(&json!({ "content": "" }), None)?;
        }
    };
    case("deltas without end", 64 * REPLY, answer, too_long)
}

/// A million calls.
pub(crate) fn calls() -> Case {
    let answer = |answer: &mut Answer| {
        answer.streams()?;
        for n in 0..1_000_000 {
            let call = json!({ "index": n, "id": format!("c{n}"), "type": "function", "function": { "name": "x", "arguments": "{}" } });
            answer.event(&json!({ "tool_calls": [call] }), None)?;
        }
        answer.event(&json!({}), Some("tool_calls"))
    };
    // The calls are too many long before the reply is too long.
    case("a million calls", 64 * REPLY, answer, |seen| {
        assert_eq!(refusal(seen).as_deref(), Some("invalid-input"), "{seen}");
        assert!(
            message(seen).contains("more than 32 tool calls in one reply (limits.tool_calls)"),
            "{seen}"
        );
    })
}

/// An argument of a hundred megabytes.
pub(crate) fn argument() -> Case {
    let answer = |answer: &mut Answer| {
        answer.streams()?;
        let call =
            json!({ "index": 0, "id": "c", "type": "function", "function": { "name": "x", "arguments": "{\"a\":\"" } });
        answer.event(&json!({ "tool_calls": [call] }), None)?;
        let more = json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "x".repeat(1 << 16) } }] });
        for _ in 0..1600 {
            answer.event(&more, None)?;
        }
        Ok(())
    };
    case("an argument of a hundred megabytes", 16 * REPLY, answer, too_long)
}

/// Headers of ten megabytes.
pub(crate) fn headers() -> Case {
    let answer = |answer: &mut Answer| {
        answer.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")?;
        for n in 0..10_000 {
            answer.say(format!("x-{n}: {}\r\n", "y".repeat(1000)))?;
        }
        answer.say("\r\n")
    };
    case("headers of ten megabytes", 10_000_000, answer, |seen| {
        refused(seen, &["message head is too large"]);
    })
}

/// Usage that nobody can have used.
pub(crate) fn usage() -> [Case; 4] {
    [
        json!(-1),
        json!(9_223_372_036_854_775_808_u64),
        json!(1e300),
        json!("many"),
    ]
    .map(|used| {
        let name = format!("usage of {used}");
        let answer = move |answer: &mut Answer| {
            answer.streams()?;
            answer.event(&json!({ "role": "assistant", "content": "word ".repeat(2000) }), None)?;
            answer.event(&json!({}), Some("stop"))?;
            let usage = json!({ "prompt_tokens": used, "completion_tokens": used, "total_tokens": used });
            let last = json!({ "id": "x", "object": "chat.completion.chunk", "model": "model", "choices": [], "usage": usage });
            answer.say(format!("data: {last}\n\ndata: [DONE]\n\n"))
        };
        case(&name, REPLY, answer, |seen| assert_eq!(refusal(seen), None, "{seen}"))
    })
}
