//! A conversation as a provider's own API writes it: for people and programs that learn from recorded runs.

use serde_json::{Value, json};

use super::opaque::Owner;
use super::request::{Conversation, Request, no_options};
use super::{anthropic, openai};
use crate::bindings::{llm, types};
use crate::config::model::ProviderKind;
use crate::error::Refusal;
use crate::scrub::Secrets;

/// Whose form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenAI's chat completions: `messages` and `tools`.
    OpenAi,
    /// Anthropic's Messages: `system`, `messages` and `tools`.
    Anthropic,
}

/// What a provider of this form would be sent of a conversation: messages and tools, and nothing of a request's options nor of the fences
/// around results, whose mark is one run's. `provider` is the
/// name of the one that answered: what is opaque goes back to that one alone.
///
/// # Errors
/// Messages that the form has no words for.
pub fn conversation(
    form: Form,
    provider: &str,
    messages: Vec<llm::Message>,
    tools: Vec<types::ToolDef>,
) -> Result<Value, Refusal> {
    let request = Request {
        messages,
        tools,
        options: no_options(),
        max_output_tokens: 1,
        conversation: Conversation {
            session: String::new(),
            ordinal: 0,
        },
        mark: None,
        idempotency_key: String::new(),
        secrets: Secrets::none(),
    };
    let owner = |kind| Owner {
        kind,
        provider: provider.to_owned(),
    };
    let body = match form {
        Form::OpenAi => {
            let owner = owner(ProviderKind::Openai);
            let dialect = openai::Dialect {
                owner: &owner,
                model: "",
                output_limit: openai::OutputLimit::MaxTokens,
            };
            openai::body(&request, dialect)?
        }
        Form::Anthropic => anthropic::body(&request, &owner(ProviderKind::Anthropic), "")?,
    };
    let mut kept = json!({});
    for key in ["system", "messages", "tools"] {
        if let Some(value) = body.get(key).filter(|value| !value.is_null()) {
            kept[key] = value.clone();
        }
    }
    Ok(kept)
}
