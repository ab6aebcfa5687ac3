//! A model whose turns are written down in a file: for tests and for the demo without a network. It is strict: a request
//! that is not what its turn expects ends `upstream`, and the refusal shows what was expected and what came.

mod format;
mod turn;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::estimate;
use super::model::Model;
use super::price::Tokens;
use super::protocol::Tell;
use super::request::{Delta, Failure, Reply, Request};
use super::usage::Charged;
use crate::bindings::llm::{Completion, FinishReason, Message, Part};
use crate::bindings::types::{Content, ToolCall};
use crate::error::Refusal;
use crate::limits::{Unit, show};
use crate::text;
use turn::{Captures, Turn, first_user_text};

/// The largest script that is read, in bytes.
const SCRIPT_MAX: u64 = 4 * 1024 * 1024;

/// A script, checked: its patterns are compiled.
pub(super) struct Script {
    pub(super) model: String,
    pub(super) context_tokens: Option<u32>,
    pub(super) max_output_tokens: Option<u32>,
    conversations: Vec<Conversation>,
    /// What earlier turns captured, by session.
    captured: Mutex<HashMap<String, Captures>>,
}

struct Conversation {
    when: Option<regex::Regex>,
    turns: Vec<Turn>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({}, {} conversations)", self.model, self.conversations.len())
    }
}

/// A script that can't be used, in words that name the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScriptError(pub(super) String);

impl Script {
    /// Reads the script at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, ScriptError> {
        let failed = |error: std::io::Error| ScriptError(error.to_string());
        let meta = std::fs::metadata(path).map_err(failed)?;
        if meta.is_dir() {
            return Err(ScriptError("it is a folder; a script is a file".to_owned()));
        }
        if !meta.is_file() {
            return Err(ScriptError("it is no regular file".to_owned()));
        }
        if meta.len() > SCRIPT_MAX {
            let most = show(SCRIPT_MAX, Unit::Bytes);
            return Err(ScriptError(format!("it is longer than {most}, which no key changes")));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(failed)?)
    }

    /// Reads the text of a script.
    pub(super) fn parse(text: &str) -> Result<Self, ScriptError> {
        let file: format::File = toml::from_str(text).map_err(|error| ScriptError(error.to_string()))?;
        let conversations = match (file.turn.is_empty(), file.conversation.is_empty()) {
            (true, true) => return Err(ScriptError("it has no [[turn]] and no [[conversation]]".to_owned())),
            (false, false) => return Err(ScriptError("it has both [[turn]] and [[conversation]]".to_owned())),
            (false, true) => vec![format::Conversation {
                when: None,
                turn: file.turn,
            }],
            (true, false) => file.conversation,
        };
        let conversations = conversations.into_iter().enumerate().map(|(n, conversation)| {
            let place = format!("conversation {}", n + 1);
            let when = conversation
                .when
                .map(|pattern| turn::pattern(&pattern, &place))
                .transpose()?;
            let turns = conversation.turn.into_iter().enumerate();
            let turns = turns.map(|(t, turn)| Turn::new(turn, &format!("{place}, turn {}", t + 1)));
            Ok(Conversation {
                when,
                turns: turns.collect::<Result<_, _>>()?,
            })
        });
        Ok(Self {
            model: file.model.unwrap_or_else(|| "scripted".to_owned()),
            context_tokens: file.context_tokens,
            max_output_tokens: file.max_output_tokens,
            conversations: conversations.collect::<Result<_, ScriptError>>()?,
            captured: Mutex::new(HashMap::new()),
        })
    }

    /// Answers `request` with the turn that its ordinal names.
    pub(super) fn complete(&self, model: &Model, request: &Request, tell: &Tell<'_>) -> Result<Reply, Failure> {
        let (parts, turn) = self.answer(request).map_err(|refusal| Failure {
            tries: 1,
            ..Failure::unsent(refusal)
        })?;
        for part in &parts {
            match part {
                Part::Text(text) => tell(Delta::Text(text.clone())),
                Part::Reasoning(text) => tell(Delta::Reasoning(text.clone())),
                _ => {}
            }
        }
        let calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        let default = if calls {
            FinishReason::ToolCalls
        } else {
            FinishReason::Stop
        };
        let completion = Completion {
            finish_reason: turn.finish.clone().unwrap_or(default),
            usage: usage(turn, request, &parts).usage(model.price),
            parts,
            model: self.model.clone(),
        };
        Ok(Reply {
            completion,
            tries: 1,
            wire_bytes: 0,
        })
    }

    fn answer(&self, request: &Request) -> Result<(Vec<Part>, &Turn), Refusal> {
        let first = first_user_text(&request.messages);
        let matches = |c: &&Conversation| c.when.as_ref().is_none_or(|when| when.is_match(&first));
        let Some(conversation) = self.conversations.iter().find(matches) else {
            let first = text::line(&first, 200);
            return Err(mismatch(&format!(
                "no conversation is for a first user message like {first:?}"
            )));
        };
        let ordinal = request.conversation.ordinal as usize;
        let Some(turn) = conversation.turns.get(ordinal) else {
            let turns = match conversation.turns.len() {
                1 => "1 turn".to_owned(),
                n => format!("{n} turns"),
            };
            return Err(mismatch(&format!(
                "its conversation has {turns}, and this is completion {}",
                ordinal + 1
            )));
        };
        turn.check(request, ordinal)?;
        let captures = self.captures(request, conversation, ordinal)?;
        let before: usize = conversation.turns[..ordinal].iter().map(Turn::calls).sum();
        Ok((parts(turn, &captures, before)?, turn))
    }

    /// What this turn and those before it captured. A session that this process has not seen yet goes on from its
    /// history, which holds the messages that earlier turns met.
    fn captures(&self, request: &Request, conversation: &Conversation, ordinal: usize) -> Result<Captures, Refusal> {
        let mut sessions = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        let captures = sessions.entry(request.conversation.session.clone()).or_insert_with(|| {
            let mut captures = BTreeMap::new();
            let assistants = request
                .messages
                .iter()
                .enumerate()
                .filter(|(_, m)| matches!(m, Message::Assistant(_)));
            for ((at, _), turn) in assistants.zip(&conversation.turns[..ordinal]) {
                // What no longer matches was cut from the history; a reply that needs it says so.
                let _ = turn.capture(&request.messages[..at], &mut captures);
            }
            captures
        });
        conversation.turns[ordinal].capture(&request.messages, captures)?;
        Ok(captures.clone())
    }
}

fn parts(turn: &Turn, captures: &Captures, calls_before: usize) -> Result<Vec<Part>, Refusal> {
    let mut parts = Vec::new();
    if let Some(reasoning) = &turn.reasoning {
        parts.push(Part::Reasoning(turn::fill(reasoning, captures)?));
    }
    if let Some(text) = &turn.text {
        parts.push(Part::Text(turn::fill(text, captures)?));
    }
    for (n, call) in turn.call_list().iter().enumerate() {
        let arguments = turn::fill_json(&call.arguments, captures)?.to_string();
        let id = format!("call-{}", calls_before + n + 1);
        parts.push(Part::ToolCall(ToolCall {
            id,
            name: call.name.clone(),
            arguments,
        }));
    }
    Ok(parts)
}

fn usage(turn: &Turn, request: &Request, parts: &[Part]) -> Charged {
    if let Some(usage) = &turn.usage {
        let tokens = Tokens {
            input: usage.input,
            cached: usage.cached,
            cache_write: 0,
            output: usage.output,
        };
        return Charged {
            tokens,
            estimated: false,
        };
    }
    let count = |part: &Part| match part {
        Part::Text(text) | Part::Reasoning(text) | Part::Opaque(text) => estimate::count(text),
        Part::ToolCall(call) => estimate::count(&call.name) + estimate::count(&call.arguments),
        Part::Media(_) => 0,
    };
    let tokens = Tokens {
        input: estimate::input_estimate(request),
        output: parts.iter().map(count).sum(),
        ..Tokens::default()
    };
    Charged {
        tokens,
        estimated: true,
    }
}

fn mismatch(what: &str) -> Refusal {
    Refusal::upstream(format!("The script does not fit: {what}."))
}

/// The text blocks of some content, joined.
fn text_of(content: &[Content]) -> String {
    let texts = content.iter().filter_map(|block| match block {
        Content::Text(text) | Content::Other(text) => Some(text.as_str()),
        Content::Media(_) => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
