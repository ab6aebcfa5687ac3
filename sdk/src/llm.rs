//! Asking language models.

use crate::bindings::llm as host;
use crate::{Content, Error, ToolCall, ToolDef};

pub use host::{Completion, FinishReason, Message, Model, Options, Part, PendingCompletion, ToolChoice, Usage};

/// The models that this session may use, its default first.
pub fn models() -> Vec<Model> {
    host::models()
}

/// Asks a model and waits for its answer. Costs one iteration.
///
/// # Errors
/// What the host refused or what failed; see the error's kind. After `exhausted(iterations)` one more completion with no
/// tools is let through, to sum up.
pub fn complete(messages: &[Message], tools: &[ToolDef], options: Option<&Options>) -> Result<Completion, Error> {
    host::complete(messages, tools, options)
}

/// The same without waiting, to ask several models at once.
pub fn start(messages: &[Message], tools: &[ToolDef], options: Option<&Options>) -> PendingCompletion {
    host::start(messages, tools, options)
}

/// One question, one answer, without tools.
///
/// # Errors
/// As for [`complete`].
pub fn ask(question: &str) -> Result<String, Error> {
    complete(&[Message::user(question)], &[], None).map(|completion| text(&completion))
}

/// The bytes of conversation, as [`context::size`](crate::context::size) counts them, that a model takes with room left
/// for its answer: the one of this alias, else the session's default.
pub fn room(model: Option<&str>) -> usize {
    crate::agent::room(&models(), model)
}

/// The text of an answer, reasoning and calls left out.
pub fn text(completion: &Completion) -> String {
    let texts = completion.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// The tool calls of an answer, in order.
pub fn tool_calls(completion: &Completion) -> Vec<ToolCall> {
    let calls = completion.parts.iter().filter_map(|part| match part {
        Part::ToolCall(call) => Some(call.clone()),
        _ => None,
    });
    calls.collect()
}

impl Message {
    /// A user's message of one text.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User(vec![Content::Text(text.into())])
    }
}

#[allow(clippy::derivable_impls)] // the type is generated
impl Default for Options {
    fn default() -> Self {
        Self {
            model: None,
            temperature: None,
            max_output_tokens: None,
            stop: vec![],
            tool_choice: None,
            response_schema: None,
            provider_options: None,
        }
    }
}
