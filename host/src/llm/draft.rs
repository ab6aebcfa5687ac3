//! An answer while it comes in, held to the caps: what has arrived of each part, and how much of it there is.

use serde_json::Value;

use super::estimate;
use super::fault::Fault;
use super::opaque::Owner;
use crate::bindings::llm::Part;
use crate::bindings::types::ToolCall;
use crate::error::Refusal;
use crate::json;
use crate::limits::Limits;

/// Parts of an answer at most, beside tool calls: each costs something, also where it is empty.
const PARTS: u64 = 1024;

/// A part that may still grow.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Slot {
    Text(String),
    Reasoning {
        text: String,
        signature: Option<Value>,
    },
    Call {
        id: String,
        name: String,
        arguments: String,
    },
    Own(Value),
}

/// The parts so far.
#[derive(Debug)]
pub(super) struct Draft {
    slots: Vec<Slot>,
    bytes: u64,
    /// Tokens of what came and found no room: it was read, and is charged.
    refused: u64,
    calls: u64,
    max_bytes: u64,
    max_calls: u64,
}

impl Draft {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            slots: Vec::new(),
            bytes: 0,
            refused: 0,
            calls: 0,
            max_bytes: limits.reply,
            max_calls: limits.tool_calls,
        }
    }

    /// Begins a part and returns its number.
    pub(super) fn push(&mut self, slot: Slot) -> Result<usize, Fault> {
        if let Err(fault) = self.admit(&slot) {
            self.refused = self.refused.saturating_add(tokens_of(&slot));
            return Err(fault);
        }
        self.slots.push(slot);
        Ok(self.slots.len() - 1)
    }

    fn admit(&mut self, slot: &Slot) -> Result<(), Fault> {
        self.grow(match slot {
            Slot::Text(text) => text.len(),
            Slot::Reasoning { text, signature } => text.len() + signature.as_ref().map_or(0, |s| s.to_string().len()),
            Slot::Call { id, name, arguments } => id.len() + name.len() + arguments.len(),
            Slot::Own(data) => data.to_string().len(),
        })?;
        if matches!(slot, Slot::Call { .. }) {
            self.calls += 1;
            if self.calls > self.max_calls {
                return Err(Fault::Refused(Refusal::invalid(format!(
                    "The model made more than {} tool calls in one reply (limits.tool_calls), so none of them counts.",
                    self.max_calls
                ))));
            }
        }
        if self.slots.len() as u64 >= self.max_calls.saturating_add(PARTS) {
            return Err(Fault::Refused(Refusal::upstream(format!(
                "The model's reply has more than {} parts; it was cut off and is refused.",
                self.max_calls.saturating_add(PARTS)
            ))));
        }
        Ok(())
    }

    /// Gives the call that part `index` is its id and its name, where it began without.
    pub(super) fn name_call(&mut self, index: usize, id: String, name: String) -> Result<(), Fault> {
        let Slot::Call {
            id: old_id,
            name: old_name,
            ..
        } = &mut self.slots[index]
        else {
            return Ok(());
        };
        let mut more = 0;
        for (old, new) in [(old_id, id), (old_name, name)] {
            if old.is_empty() {
                more += new.len();
                *old = new;
            }
        }
        self.grow(more)
    }

    /// Appends to the text, reasoning or arguments of part `index`.
    pub(super) fn append(&mut self, index: usize, more: &str) -> Result<(), Fault> {
        if let Err(fault) = self.grow(more.len()) {
            self.refused = self.refused.saturating_add(estimate::count(more));
            return Err(fault);
        }
        match &mut self.slots[index] {
            Slot::Text(text) | Slot::Reasoning { text, .. } => text.push_str(more),
            Slot::Call { arguments, .. } => arguments.push_str(more),
            Slot::Own(_) => {}
        }
        Ok(())
    }

    /// Appends to the last part if it is text, else begins one.
    pub(super) fn text(&mut self, more: &str) -> Result<(), Fault> {
        match self.slots.last() {
            Some(Slot::Text(_)) => self.append(self.slots.len() - 1, more),
            _ => self.push(Slot::Text(more.to_owned())).map(drop),
        }
    }

    /// Appends to the last part if it is reasoning, else begins one, to be signed by `signature`.
    pub(super) fn reasoning(&mut self, more: &str, signature: &Value) -> Result<(), Fault> {
        match self.slots.last() {
            Some(Slot::Reasoning { .. }) => self.append(self.slots.len() - 1, more),
            _ => self
                .push(Slot::Reasoning {
                    text: more.to_owned(),
                    signature: Some(signature.clone()),
                })
                .map(drop),
        }
    }

    /// Appends to the signature of part `index`, which is reasoning.
    pub(super) fn sign(&mut self, index: usize, more: &str) -> Result<(), Fault> {
        // It is handed on as JSON, in which it may take six times the room.
        self.grow(Value::String(more.to_owned()).to_string().len())?;
        if let Slot::Reasoning { signature, .. } = &mut self.slots[index] {
            match signature {
                Some(Value::String(text)) => text.push_str(more),
                _ => *signature = Some(Value::String(more.to_owned())),
            }
        }
        Ok(())
    }

    /// All parts.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// True where nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Drops calls whose arguments are no whole JSON: the answer was cut at its token limit within them.
    pub(super) fn drop_half_calls(&mut self) {
        self.slots.retain(|slot| match slot {
            Slot::Call { arguments, .. } => json::is_json(arguments),
            _ => true,
        });
    }

    /// True where there is a tool call.
    pub(super) fn has_calls(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Call { .. }))
    }

    /// Tokens that what has come probably is, with what found no room.
    pub(super) fn tokens(&self) -> u64 {
        let kept: u64 = self.slots.iter().map(tokens_of).sum();
        kept.saturating_add(self.refused)
    }

    /// The parts as the guest gets them: empty ones left out, every call with an id of its own.
    pub(super) fn finish(self, owner: &Owner) -> Vec<Part> {
        let mut ids: Vec<String> = Vec::new();
        let mut parts = Vec::with_capacity(self.slots.len());
        for slot in self.slots {
            match slot {
                Slot::Text(text) if text.is_empty() => {}
                Slot::Text(text) => parts.push(Part::Text(text)),
                Slot::Reasoning { text, signature } => {
                    let opaque = signature.map(|signature| owner.seal(signature, Some(&text)));
                    parts.push(Part::Reasoning(text));
                    parts.extend(opaque.map(Part::Opaque));
                }
                Slot::Call { id, name, arguments } => {
                    let id = unique(id, &ids);
                    ids.push(id.clone());
                    let arguments = if arguments.trim().is_empty() {
                        "{}".to_owned()
                    } else {
                        arguments
                    };
                    parts.push(Part::ToolCall(ToolCall { id, name, arguments }));
                }
                Slot::Own(data) => parts.push(Part::Opaque(owner.seal(data, None))),
            }
        }
        parts
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > self.max_bytes {
            return Err(too_large(self.max_bytes));
        }
        Ok(())
    }
}

fn tokens_of(slot: &Slot) -> u64 {
    match slot {
        Slot::Text(text) | Slot::Reasoning { text, .. } => estimate::count(text),
        Slot::Call { name, arguments, .. } => estimate::count(name) + estimate::count(arguments),
        Slot::Own(data) => estimate::count(&data.to_string()),
    }
}

/// The fault of an answer over `limits.reply`.
pub(super) fn too_large(max: u64) -> Fault {
    Fault::Refused(Refusal::upstream(format!(
        "The model's reply is larger than {max} bytes (limits.reply); it was cut off and is refused."
    )))
}

/// `id`, or a new one where it is empty or taken.
fn unique(id: String, taken: &[String]) -> String {
    if !id.is_empty() && !taken.contains(&id) {
        return id;
    }
    let mut n = taken.len() + 1;
    loop {
        let id = format!("call-{n}");
        if !taken.contains(&id) {
            return id;
        }
        n += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::ProviderKind;

    fn draft(reply: u64, tool_calls: u64) -> Draft {
        Draft::new(&Limits {
            reply,
            tool_calls,
            ..Limits::default()
        })
    }

    fn call(id: &str, arguments: &str) -> Slot {
        Slot::Call {
            id: id.into(),
            name: "f".into(),
            arguments: arguments.into(),
        }
    }

    #[test]
    fn the_reply_cap_is_exact() {
        let mut draft = draft(10, 32);
        assert!(draft.text("12345").is_ok());
        assert!(draft.text("67890").is_ok());
        assert!(matches!(draft.text("1"), Err(Fault::Refused(r)) if r.message.contains("limits.reply")));
    }

    #[test]
    fn what_finds_no_room_was_read_and_is_counted() {
        let mut at_once = draft(10, 1);
        assert!(at_once.text("123456789012").is_err());
        assert_eq!((at_once.tokens(), at_once.slots().len()), (3, 0));
        let mut in_pieces = draft(10, 1);
        assert!(in_pieces.text("12345678").is_ok() && in_pieces.text("9012").is_err());
        assert_eq!(in_pieces.tokens(), 3);
        let mut calls = draft(100, 1);
        assert!(calls.push(call("1", "{\"a\": 1}")).is_ok() && calls.push(call("2", "{\"a\": 2}")).is_err());
        assert_eq!(calls.tokens(), 2 * (1 + 2));
    }

    #[test]
    fn what_comes_late_of_a_call_counts_as_well() {
        let mut draft = draft(10, 32);
        let call = draft.push(call("", "")).expect("fits");
        assert!(draft.name_call(call, "1234".into(), String::new()).is_ok());
        assert!(draft.name_call(call, "no more than once".into(), "g".into()).is_ok());
        assert!(draft.append(call, "67890").is_ok());
        assert!(draft.append(call, "1").is_err());
        let mut draft = Draft::new(&Limits {
            reply: 10,
            ..Limits::default()
        });
        let call = draft.push(Slot::Call {
            id: String::new(),
            name: String::new(),
            arguments: String::new(),
        });
        assert!(
            draft
                .name_call(call.expect("fits"), "12345".into(), "123456".into())
                .is_err()
        );
    }

    #[test]
    fn the_cap_on_parts_is_exact() {
        let mut draft = draft(10, 1);
        for _ in 0..=PARTS {
            assert!(draft.push(Slot::Text(String::new())).is_ok());
        }
        assert!(draft.push(Slot::Text(String::new())).is_err());
    }

    #[test]
    fn the_cap_on_tool_calls_is_exact() {
        let mut draft = draft(1_000, 2);
        assert!(draft.push(call("1", "")).is_ok() && draft.push(call("2", "")).is_ok());
        assert!(matches!(draft.push(call("3", "")), Err(Fault::Refused(r)) if r.kind.name() == "invalid-input"));
    }

    #[test]
    fn every_call_has_an_id_of_its_own_and_arguments() {
        let mut draft = draft(1_000, 32);
        for id in ["", "a", "a", "call-3"] {
            draft.push(call(id, " ")).expect("fits");
        }
        let owner = Owner {
            kind: ProviderKind::Openai,
            provider: "p".into(),
        };
        let ids: Vec<String> = draft
            .finish(&owner)
            .into_iter()
            .map(|part| match part {
                Part::ToolCall(call) if call.arguments == "{}" => call.id,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 4, "{ids:?}");
        assert_eq!(ids[1], "a");
    }

    #[test]
    fn half_calls_are_no_calls() {
        let mut draft = draft(1_000, 32);
        draft.push(call("1", "{}")).expect("fits");
        draft.push(call("2", "{\"a\":")).expect("fits");
        draft.drop_half_calls();
        assert_eq!(draft.slots(), [call("1", "{}")]);
    }
}
