//! A difference as people and programs read it: what the record has, what came, and of a completion the first part that differs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::bindings::{delegation, llm, types};
use crate::error::{Dimension, Refusal};
use crate::ids::{RunId, SessionId};
use crate::interfaces::recorded_effect;
use crate::run::HostError;
use crate::session::codec;
use crate::session::met::Met;
use crate::session::op::OpBody;
use crate::store::{Answer, Effect, EffectResult, Observation, OperationRow, Store};
use crate::supervisor::replay::{Difference, Ending, Expected, Got};

/// Operations by whose number a wait's digest is looked for beyond those recorded.
const NUMBERS: u32 = 1024;

/// The first difference of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferenceView {
    /// Whose.
    pub session: SessionId,
    /// The agent's role.
    pub role: String,
    /// The attempt.
    pub attempt: u32,
    /// The tool call inside of which it is: `7`, or `7.2`.
    pub scope: Option<String>,
    /// The number of the observation.
    pub observation: u64,
    /// Which part of the two differs, where both are the same call.
    pub part: Option<String>,
    /// What the record has.
    pub expected: SideView,
    /// What came.
    pub got: SideView,
}

/// One side of a difference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideView {
    /// The call, or how it ended.
    pub call: String,
    /// Its arguments, or the part of them that differs; none where they are not known.
    pub text: Option<String>,
}

/// One side, before it is compared with the other.
enum Side {
    /// A completion: its messages, then the tools and the options.
    Completion(Vec<Vec<u8>>),
    /// Anything else.
    Text(Option<String>),
}

impl DifferenceView {
    /// Reads what the record says of it.
    pub(super) fn of(store: &Store, difference: &Difference) -> Result<Self, HostError> {
        let stream = &difference.stream;
        let (expected_call, expected) = match &difference.expected {
            Expected::Observation(seen) => (seen.call.clone(), told(store, seen)?),
            Expected::End(ending) => (ending.exit.clone(), of_end(ending)),
        };
        let (got_call, got) = match &difference.got {
            Got::Call(met) => (met.call.to_owned(), came(met)),
            Got::End(ending) => (ending.exit.clone(), of_end(ending)),
        };
        let (part, expected, got) = match (expected, got) {
            (Side::Completion(expected), Side::Completion(got)) => completions(&expected, &got),
            (expected, got) => (None, expected.text(), got.text()),
        };
        Ok(Self {
            session: stream.session.clone(),
            role: difference.role.clone(),
            attempt: stream.attempt,
            scope: (!stream.scope.is_root()).then(|| stream.scope.to_string()),
            observation: difference.observation,
            part,
            expected: SideView {
                call: expected_call,
                text: expected,
            },
            got: SideView {
                call: got_call,
                text: got,
            },
        })
    }
}

impl Side {
    /// By itself: of a completion its last message.
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => text,
            Self::Completion(bodies) => {
                let messages = bodies.len().saturating_sub(2);
                bodies[..messages].last().map(|body| message(body))
            }
        }
    }
}

fn of_end(ending: &Ending) -> Side {
    Side::Text(Some(ending.words.clone()))
}

/// What the record has of a call.
fn told(store: &Store, seen: &Observation) -> Result<Side, HostError> {
    let operations = store.operations(&seen.stream)?;
    if let Some(row) = begun(&operations, seen) {
        return request(store, seen, row);
    }
    if let Answer::Body(body) = &seen.answer
        && is_operation(&seen.call)
    {
        // It was refused before it began, so that nothing of it is kept.
        return Ok(Side::Text(refusal(body).map(|refusal| format!("refused: {refusal}"))));
    }
    let last = operations.last().map_or(0, |row| row.intent.op);
    Ok(Side::Text(guessed(seen, last)))
}

/// Arguments that are known by their digest, as there are few that they can be.
fn guessed(seen: &Observation, last: u32) -> Option<String> {
    let call = seen.call.as_str();
    let is = |digest| seen.args == digest;
    if is(codec::digest(call, &())) {
        return Some(String::new());
    }
    if let Some(numbered) = numbered(call) {
        let n = (0..=last.saturating_add(NUMBERS)).find(|n| is(codec::digest(call, n)))?;
        return Some(format!("{numbered} {n}"));
    }
    let of_budget = Dimension::ALL.into_iter().filter(|_| call.starts_with("budget."));
    let mut asked = of_budget.filter(|dimension| is(codec::digest(call, dimension)));
    asked.next().map(|dimension| dimension.name().to_owned())
}

/// What the number is that a call names.
fn numbered(call: &str) -> Option<&'static str> {
    match call {
        "wasi.wait" => Some("timer"),
        "llm.wait" | "llm.cancel" | "tools.wait" | "tools.cancel" => Some("operation"),
        "delegation.join" | "delegation.cancel" | "delegation.id" | "delegation.status" => Some("operation"),
        _ => None,
    }
}

fn is_operation(call: &str) -> bool {
    matches!(call, "llm.complete" | "tools.call" | "delegation.spawn")
}

fn begun<'a>(operations: &'a [OperationRow], seen: &Observation) -> Option<&'a OperationRow> {
    let (Answer::Started(op) | Answer::Delivered(op)) = seen.answer else {
        return None;
    };
    let starts = is_operation(&seen.call) || seen.call.starts_with("blackboard.");
    operations.iter().find(|row| starts && row.intent.op == op)
}

fn request(store: &Store, seen: &Observation, row: &OperationRow) -> Result<Side, HostError> {
    let mut bodies = Vec::new();
    for digest in &row.intent.request {
        bodies.push(store.body(&seen.stream.session.run, digest)?);
    }
    Ok(side(&seen.call, bodies))
}

/// The refusal that an observation told, if it told one.
pub(in crate::run) fn refusal(body: &[u8]) -> Option<Refusal> {
    let of_wait = whole::<OpBody>(body).and_then(|ended| ended.refusal());
    of_wait.or_else(|| whole::<Refusal>(body))
}

/// The same of a change of the blackboard.
pub(in crate::run) fn refusal_of_write(body: &[u8]) -> Option<Refusal> {
    whole::<Result<EffectResult, Refusal>>(body).and_then(Result::err)
}

/// A body that is just this and nothing else.
fn whole<T: Serialize + DeserializeOwned>(body: &[u8]) -> Option<T> {
    let value: T = codec::decode(body).ok()?;
    (codec::encode(&value) == body).then_some(value)
}

/// What came.
fn came(met: &Met) -> Side {
    if met.request.is_empty() {
        let shown = shown(&met.arguments);
        let numbered = numbered(met.call).map(|what| format!("{what} {shown}"));
        return Side::Text(Some(numbered.unwrap_or(shown)));
    }
    let bodies = met.request.iter().map(|(_, body)| body.clone()).collect();
    side(met.call, bodies)
}

fn side(call: &str, bodies: Vec<Vec<u8>>) -> Side {
    let first = bodies.first().map(Vec::as_slice).unwrap_or_default();
    match call {
        "llm.complete" => Side::Completion(bodies),
        "tools.call" => Side::Text(
            codec::decode::<types::ToolCall>(first)
                .ok()
                .map(|call| format!("{} {}", call.name, call.arguments)),
        ),
        "delegation.spawn" => Side::Text(
            codec::decode::<delegation::ChildSpec>(first)
                .ok()
                .map(|spec| as_json(&spec)),
        ),
        _ if call.starts_with("blackboard.") => Side::Text(written(first)),
        _ => Side::Text(None),
    }
}

/// A write's arguments, in the form in which a call that came shows them.
fn written(arguments: &[u8]) -> Option<String> {
    let media = |media_type: String, data: Vec<u8>| json!({ "media_type": media_type, "data": data });
    let shown = match recorded_effect(&RunId::random(), arguments)? {
        Effect::Put {
            space,
            key,
            media_type,
            data,
            if_version,
        } => json!({ "space": space.name, "key": key, "value": media(media_type, data), "if_version": if_version }),
        Effect::Append {
            space,
            prefix,
            media_type,
            data,
        } => json!({ "space": space.name, "prefix": prefix, "value": media(media_type, data) }),
        Effect::Delete { space, key, if_version } => {
            json!({ "space": space.name, "key": key, "if_version": if_version })
        }
    };
    Some(self::shown(&shown))
}

/// The first part in which two completions differ: its name, and both of it.
fn completions(expected: &[Vec<u8>], got: &[Vec<u8>]) -> (Option<String>, Option<String>, Option<String>) {
    let (ours, theirs) = (expected.len().saturating_sub(2), got.len().saturating_sub(2));
    let none = |of: usize| Some(format!("none: it has {of}"));
    for at in 0..ours.max(theirs) {
        let (one, other) = (expected[..ours].get(at), got[..theirs].get(at));
        if one != other {
            let part = format!("message {}", at + 1);
            let show = |body: Option<&Vec<u8>>, of| body.map_or_else(|| none(of), |body| Some(message(body)));
            return (Some(part), show(one, ours), show(other, theirs));
        }
    }
    let rest = |bodies: &[Vec<u8>], at: usize| bodies.get(at).cloned().unwrap_or_default();
    let (tools, offered) = (rest(expected, ours), rest(got, theirs));
    if tools != offered {
        return (Some("tools".to_owned()), tools_shown(&tools), tools_shown(&offered));
    }
    let options = |body: &[u8]| {
        codec::decode::<llm::Options>(body)
            .ok()
            .map(|options| as_json(&options))
    };
    let (one, other) = (rest(expected, ours + 1), rest(got, theirs + 1));
    (Some("options".to_owned()), options(&one), options(&other))
}

fn tools_shown(body: &[u8]) -> Option<String> {
    let tools = codec::decode::<Vec<types::ToolDef>>(body).ok()?;
    Some(tools.iter().map(as_json).collect::<Vec<_>>().join("\n"))
}

/// A message as people read it.
fn message(body: &[u8]) -> String {
    match codec::decode::<llm::Message>(body) {
        Ok(llm::Message::System(text)) => format!("system: {text}"),
        Ok(llm::Message::User(content)) => format!("user: {}", words(&content)),
        Ok(llm::Message::Assistant(parts)) => format!("assistant: {}", said(&parts)),
        Ok(llm::Message::Tool(results)) => {
            let results = results.iter().map(|result| words(&result.output.content));
            format!("tool: {}", results.collect::<Vec<_>>().join("\n"))
        }
        Err(error) => error.to_string(),
    }
}

fn said(parts: &[llm::Part]) -> String {
    let shown = parts.iter().map(|part| match part {
        llm::Part::Text(text) => text.clone(),
        llm::Part::ToolCall(call) => format!("{} {}", call.name, call.arguments),
        other => as_json(other),
    });
    shown.collect::<Vec<_>>().join("\n")
}

fn words(content: &[types::Content]) -> String {
    let blocks = content.iter().map(|block| match block {
        types::Content::Text(text) | types::Content::Other(text) => text.clone(),
        types::Content::Media(media) => format!("[{}, {} bytes]", media.media_type, media.data.len()),
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn as_json<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).map_or_else(|e| e.to_string(), |value| shown(&value))
}

/// Arguments as JSON, bytes among them as the text that they are.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => readable(other).to_string(),
    }
}

fn readable(value: &Value) -> Value {
    match value {
        Value::Array(items) => match bytes(items) {
            Some(bytes) => match String::from_utf8(bytes) {
                Ok(text) => text.into(),
                Err(e) => format!("{} bytes", e.as_bytes().len()).into(),
            },
            None => items.iter().map(readable).collect(),
        },
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), readable(value)))
            .collect(),
        other => other.clone(),
    }
}

/// Numbers that are bytes, as more than a few of them in a row are.
fn bytes(items: &[Value]) -> Option<Vec<u8>> {
    const FEW: usize = 4;
    let byte = |item: &Value| u8::try_from(item.as_u64()?).ok();
    (items.len() > FEW).then(|| items.iter().map(byte).collect()).flatten()
}
