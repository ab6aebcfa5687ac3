//! What of a run leaves this machine: without the keys of configured providers and without what has the shape of a key. Where that changes
//! anything, the run is not what was recorded any more.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::{delegation, llm, types};
use crate::ids::Digest;
use crate::scrub::Secrets;
use crate::session::codec;
use crate::session::emitted::Emitted;
use crate::session::op::OpBody;
use crate::store::{Answer, Note, NoteKind, OpKind, Record, RunRow, SessionUpdate, Start, StoredEntry, Transition};
use crate::supervisor::start::StartBody;

/// Takes secrets out, and remembers whether there were any.
pub(super) struct Redaction {
    secrets: Secrets,
    changed: bool,
}

impl Redaction {
    pub(super) fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            changed: false,
        }
    }

    /// Whether anything was taken out so far.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// The run's row.
    pub(super) fn row(&mut self, row: RunRow) -> RunRow {
        self.value(&row).unwrap_or(row)
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) -> String {
        let clean = self.secrets.without_secrets(text);
        self.changed |= matches!(clean, std::borrow::Cow::Owned(_));
        clean.into_owned()
    }

    /// A body of an operation's request: one of its messages, its tools, its options, or all of it.
    pub(super) fn body(&mut self, kind: OpKind, bytes: Vec<u8>) -> Vec<u8> {
        if !self.holds_one(&bytes) {
            return bytes;
        }
        let clean = match kind {
            OpKind::Completion => self
                .encoded::<llm::Message>(&bytes)
                .or_else(|| self.encoded::<Vec<types::ToolDef>>(&bytes))
                .or_else(|| self.encoded::<llm::Options>(&bytes)),
            OpKind::ToolCall => self.encoded::<types::ToolCall>(&bytes),
            OpKind::Child => self.encoded::<delegation::ChildSpec>(&bytes),
            OpKind::Write => None,
        };
        self.changed = true;
        clean.unwrap_or_default()
    }

    /// A record, its bodies included.
    pub(super) fn record(&mut self, record: Record) -> Record {
        match record {
            Record::Session(new) => Record::Session(self.value(&new).unwrap_or(new)),
            Record::Update(update) => Record::Update(self.update(update)),
            Record::Start(start) => Record::Start(self.start(start)),
            Record::Intent(mut intent) => {
                intent.name = self.text(&intent.name);
                Record::Intent(intent)
            }
            Record::Outcome(mut outcome) => {
                outcome.body = self.typed::<OpBody>(outcome.body);
                Record::Outcome(outcome)
            }
            Record::Observation(mut seen) => {
                if let Answer::Body(bytes) = &mut seen.answer
                    && self.holds_one(bytes)
                {
                    self.changed = true;
                    bytes.clear();
                }
                Record::Observation(seen)
            }
            Record::Note(note) => Record::Note(self.note(note)),
            other @ (Record::Body(..) | Record::Refund(..) | Record::Resent(..) | Record::Spill(_)) => other,
        }
    }

    /// An entry of a space.
    pub(super) fn entry(&mut self, mut entry: StoredEntry) -> StoredEntry {
        entry.key = self.text(&entry.key);
        if self.holds_one(&entry.data) {
            let text = String::from_utf8_lossy(&entry.data).into_owned();
            entry.data = self.text(&text).into_bytes();
        }
        entry
    }

    fn update(&mut self, mut update: SessionUpdate) -> SessionUpdate {
        if let Transition::Ended(end) = &mut update.transition {
            end.error = end.error.as_deref().map(|text| self.text(text));
            end.result = self.typed::<types::RunResult>(std::mem::take(&mut end.result));
        }
        update
    }

    fn start(&mut self, mut start: Start) -> Start {
        start.body = self.typed::<StartBody>(start.body);
        start
    }

    fn note(&mut self, mut note: Note) -> Note {
        note.body = match note.kind {
            NoteKind::Checkpoint => self.typed::<types::Report>(note.body),
            NoteKind::Audit => self.audited(note.body),
            NoteKind::Emit => self.emitted(Emitted::read(&note.body)),
            _ if self.holds_one(&note.body) => self.text(&String::from_utf8_lossy(&note.body)).into_bytes(),
            _ => note.body,
        };
        note
    }

    /// A piece of what was emitted, which counts as much as before.
    fn emitted(&mut self, mut piece: Emitted) -> Vec<u8> {
        piece.told = self.text(&piece.told);
        piece.body()
    }

    /// A record of the audit, which stays one.
    fn audited(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if !self.holds_one(&bytes) {
            return bytes;
        }
        self.changed = true;
        let value = serde_json::from_slice::<Value>(&bytes).ok();
        value.map_or_else(Vec::new, |value| self.json(&value).to_string().into_bytes())
    }

    /// An encoded body of this type. One that can't be read without its secrets is left out.
    fn typed<T: Serialize + DeserializeOwned>(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if !self.holds_one(&bytes) {
            return bytes;
        }
        self.changed = true;
        self.encoded::<T>(&bytes).unwrap_or_default()
    }

    fn encoded<T: Serialize + DeserializeOwned>(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let value: T = codec::decode(bytes).ok()?;
        let whole = codec::encode(&value) == bytes;
        let clean = self.value(&value).filter(|_| whole)?;
        Some(codec::encode(&clean))
    }

    /// A value with every text in it clean; none where there is nothing to take out.
    fn value<T: Serialize + DeserializeOwned>(&mut self, value: &T) -> Option<T> {
        let value = serde_json::to_value(value).ok()?;
        let clean = self.json(&value);
        if clean == value {
            return None;
        }
        self.changed = true;
        serde_json::from_value(clean).ok()
    }

    fn json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.secrets.without_secrets(text).into_owned()),
            Value::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.clone(), self.json(value)))
                .collect(),
            other => other.clone(),
        }
    }

    /// Whether bytes hold a secret, whatever else they are.
    fn holds_one(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        matches!(self.secrets.without_secrets(&text), std::borrow::Cow::Owned(_))
    }
}

/// Bodies that have another digest now.
#[derive(Debug, Default)]
pub(super) struct Renamed(std::collections::HashMap<Digest, Digest>);

impl Renamed {
    /// A body is called otherwise now.
    pub(super) fn keep(&mut self, before: Digest, now: Digest) {
        if before != now {
            self.0.insert(before, now);
        }
    }

    /// A request in the names of today.
    pub(super) fn request(&self, request: &mut [Digest]) {
        for digest in request {
            if let Some(now) = self.0.get(digest) {
                *digest = *now;
            }
        }
    }
}
