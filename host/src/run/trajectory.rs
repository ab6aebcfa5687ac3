//! What agents said and did, as data to learn from: each conversation of a run, in the form of ShareGPT or of a provider.

use serde_json::{Value, json};

use crate::bindings::{llm, types};
use crate::config::model::ProviderKind;
use crate::ids::RunId;
use crate::llm::{Form, conversation};
use crate::run::conversations::{Changed, Conversation, body, conversations, messages_of};
use crate::run::{Host, HostError};
use crate::scrub::Secrets;
use crate::session::codec;
use crate::store::{SessionRow, Store};
use crate::supervisor::start::{RunStart, StartBody};

/// How to write a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrajectoryForm {
    /// ShareGPT: `conversations` of `from` and `value`.
    ShareGpt,
    /// As the model's provider writes it.
    Provider,
}

/// A conversation that grew turn by turn.
struct Dialogue {
    messages: Vec<llm::Message>,
    tools: Vec<types::ToolDef>,
    model: String,
    changed: Vec<Changed>,
}

impl Host {
    /// Every conversation of a run with a model, one object each: those of the root first, then those of its children. Secrets, known keys and the
    /// shapes of keys are redacted.
    ///
    /// # Errors
    /// There is no such run, or its journal or the secrets can't be read.
    pub async fn trajectories(&self, run: &str, form: TrajectoryForm) -> Result<Vec<Value>, HostError> {
        let store = self.store_to_read()?;
        let id = store.find_run(run)?;
        let shared = shared(&store, &id)?;
        let secrets = self.known_secrets()?;
        let mut all = Vec::new();
        for session in store.sessions(&id)? {
            for (at, conversation) in conversations(&store, &session)?.into_iter().enumerate() {
                let mut dialogue = Dialogue::read(&store, conversation)?;
                if let Some(alias) = shared.as_ref().and_then(|shared| shared.aliases.get(&dialogue.model)) {
                    dialogue.model.clone_from(&alias.model);
                }
                let provider = dialogue.model.split('/').next().unwrap_or_default();
                let anthropic = match self.config.models.providers.get(provider) {
                    Some(configured) => configured.kind == ProviderKind::Anthropic,
                    None => provider == "anthropic",
                };
                let object = match form {
                    TrajectoryForm::ShareGpt => share_gpt(&session, at, &dialogue),
                    TrajectoryForm::Provider => {
                        let form = if anthropic { Form::Anthropic } else { Form::OpenAi };
                        as_provider(&session, at, form, dialogue)
                    }
                };
                all.push(redacted(object, &secrets));
            }
        }
        Ok(all)
    }
}

/// What all agents of the run share, as its root's first record has it.
fn shared(store: &Store, run: &RunId) -> Result<Option<RunStart>, HostError> {
    let start = store.start(&run.root(), 1)?;
    let body = start.and_then(|start| codec::decode::<StartBody>(&start.body).ok());
    Ok(body.and_then(|body| body.run))
}

impl Dialogue {
    fn read(store: &Store, conversation: Conversation) -> Result<Self, HostError> {
        let Conversation {
            intent,
            answer,
            changed,
        } = conversation;
        let said = messages_of(&intent);
        let mut messages = Vec::with_capacity(said.len() + 1);
        for digest in said {
            messages.push(body(store, &intent, digest)?);
        }
        messages.push(answer);
        let tools = match intent.request.get(said.len()) {
            Some(tools) => body(store, &intent, tools)?,
            None => Vec::new(),
        };
        Ok(Self {
            messages,
            tools,
            model: intent.name,
            changed,
        })
    }
}

fn heading(session: &SessionRow, at: usize, dialogue: &Dialogue) -> Value {
    json!({
        "id": format!("{}-{}", session.session, at + 1),
        "run": session.session.run,
        "session": session.session.to_string(),
        "parent": session.parent.as_ref().map(|p| p.session.to_string()),
        "role": session.role,
        "strategy": session.strategy,
        "model": dialogue.model,
        "outcome": session.outcome,
        "exit": session.exit,
        "changed": changed(&dialogue.changed),
    })
}

/// What the model said and the agent gave back as something else. Where only reasoning or a provider's own data were left out, it is the same.
fn changed(changed: &[Changed]) -> Value {
    let both = changed
        .iter()
        .map(|changed| (turns(&changed.said), turns(&changed.given_back)));
    both.filter(|(said, given_back)| said != given_back)
        .map(|(said, given_back)| json!({ "said": said, "given_back": given_back }))
        .collect()
}

fn share_gpt(session: &SessionRow, at: usize, dialogue: &Dialogue) -> Value {
    let tools = dialogue.tools.iter().map(|tool| {
        json!({
            "name": tool.name,
            "description": tool.description,
            "parameters": serde_json::from_str::<Value>(&tool.input_schema).unwrap_or_default(),
        })
    });
    let mut object = heading(session, at, dialogue);
    object["conversations"] = dialogue.messages.iter().flat_map(turns).collect();
    object["tools"] = tools.collect();
    object
}

fn turns(message: &llm::Message) -> Vec<Value> {
    match message {
        llm::Message::System(text) => vec![turn("system", text)],
        llm::Message::User(content) => vec![turn("human", &words(content))],
        llm::Message::Assistant(parts) => said(parts),
        llm::Message::Tool(results) => results
            .iter()
            .map(|result| turn("observation", &words(&result.output.content)))
            .collect(),
    }
}

fn turn(from: &str, value: &str) -> Value {
    json!({ "from": from, "value": value })
}

/// An answer's words and its calls, each a turn.
fn said(parts: &[llm::Part]) -> Vec<Value> {
    let mut turns = Vec::new();
    let text: String = parts
        .iter()
        .filter_map(|part| match part {
            llm::Part::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    if !text.is_empty() {
        turns.push(turn("gpt", &text));
    }
    for part in parts {
        if let llm::Part::ToolCall(call) = part {
            let arguments = serde_json::from_str(&call.arguments).unwrap_or(Value::String(call.arguments.clone()));
            let call = json!({ "name": call.name, "arguments": arguments });
            turns.push(turn("function_call", &call.to_string()));
        }
    }
    turns
}

fn words(content: &[types::Content]) -> String {
    let blocks = content.iter().map(|block| match block {
        types::Content::Text(text) | types::Content::Other(text) => text.clone(),
        types::Content::Media(media) => format!("[{}, {} bytes]", media.media_type, media.data.len()),
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn as_provider(session: &SessionRow, at: usize, form: Form, dialogue: Dialogue) -> Value {
    let mut object = heading(session, at, &dialogue);
    let provider = dialogue.model.split('/').next().unwrap_or_default().to_owned();
    match conversation(form, &provider, dialogue.messages, dialogue.tools) {
        Ok(Value::Object(conversation)) => {
            for (key, value) in conversation {
                object[key] = value;
            }
        }
        Ok(_) => {}
        Err(refusal) => object["error"] = refusal.message.into(),
    }
    object
}

/// Every text in it without keys.
fn redacted(value: Value, secrets: &Secrets) -> Value {
    match value {
        Value::String(text) => Value::String(secrets.redact(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(|item| redacted(item, secrets)).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (key, redacted(value, secrets)))
            .collect(),
        other => other,
    }
}
