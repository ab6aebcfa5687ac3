//! What goes into a completion and what comes out of it, independent of the provider.

use crate::bindings::{llm, types};
use crate::error::{Dimension, Refusal};
use crate::scrub::Secrets;

/// One completion to make. Cheap to keep for a second try: nothing in it changes.
#[derive(Debug, Clone)]
pub struct Request {
    /// The conversation, as the guest gave it.
    pub messages: Vec<llm::Message>,
    /// The tools offered to the model.
    pub tools: Vec<types::ToolDef>,
    /// The guest's options. `model` and `max-output-tokens` in it are not read: the caller has settled both.
    pub options: llm::Options,
    /// The most tokens that the answer may have.
    pub max_output_tokens: u32,
    /// Whose completion this is.
    pub conversation: Conversation,
    /// What fences the results of tools where it is sent: eight digits that nobody else knows. None leaves them as they are.
    pub mark: Option<String>,
    /// The same for every try of this completion, also after a restart of the host.
    pub idempotency_key: String,
    /// What is taken out of whatever the provider says, its errors too.
    pub secrets: Secrets,
}

/// A stable name of a completion: what a script goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The session's id, with the scope of a tool call where one asks.
    pub session: String,
    /// How many completions that session or call began before this one; refused ones have not begun.
    pub ordinal: u32,
}

/// What people see while a completion runs. Never the only place of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// Text of the answer.
    Text(String),
    /// Reasoning that the provider shows.
    Reasoning(String),
    /// A try broke off and starts again: what came so far is void.
    Restarted {
        /// Why, in words.
        reason: String,
    },
}

/// Whether a try may follow others: asked with all that these used and did not get an answer for, which the reservation of
/// one try does not cover. The dimension is the one without room for it.
pub type Spare<'a> = dyn Fn(&llm::Usage) -> Result<(), Dimension> + Send + Sync + 'a;

/// A completion that was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The answer. Its usage covers the tries that broke off, too.
    pub completion: llm::Completion,
    /// Tries made, this one included.
    pub tries: u32,
    /// Bytes of all answers' bodies, as they came over the wire.
    pub wire_bytes: u64,
}

/// A completion that was not answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What the guest hears.
    pub refusal: Refusal,
    /// What was used until then: reported or counted, whichever is more; `estimated` unless it is nothing.
    pub spent: llm::Usage,
    /// Whether any try may have reached the provider.
    pub sent: bool,
    /// Tries made.
    pub tries: u32,
}

impl Failure {
    /// A refusal before anything was sent.
    pub(super) fn unsent(refusal: Refusal) -> Self {
        Self {
            refusal,
            spent: no_usage(),
            sent: false,
            tries: 0,
        }
    }
}

/// Usage of nothing.
pub(super) const fn no_usage() -> llm::Usage {
    llm::Usage {
        input_tokens: 0,
        cached_input_tokens: 0,
        output_tokens: 0,
        cost_micro_usd: 0,
        estimated: false,
    }
}

/// Options that ask for nothing.
pub fn no_options() -> llm::Options {
    llm::Options {
        model: None,
        temperature: None,
        max_output_tokens: None,
        stop: Vec::new(),
        tool_choice: None,
        response_schema: None,
        provider_options: None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::llm) fn request(messages: Vec<llm::Message>) -> Request {
        Request {
            messages,
            tools: Vec::new(),
            options: no_options(),
            max_output_tokens: 100,
            conversation: Conversation {
                session: "s.0".into(),
                ordinal: 0,
            },
            mark: None,
            idempotency_key: "key-1".into(),
            secrets: Secrets::none(),
        }
    }

    pub(in crate::llm) fn tool(name: &str) -> types::ToolDef {
        types::ToolDef {
            name: name.into(),
            title: None,
            description: "does it".into(),
            input_schema: r#"{"type":"object"}"#.into(),
            output_schema: None,
            annotations: None,
            meta: None,
        }
    }
}
