//! What of a run leaves this machine: without the keys of configured providers and without what has the shape of a key. Where that changes
//! anything, the run is not what was recorded any more.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::{delegation, llm, types};
use crate::ids::{Digest, StreamId};
use crate::scrub::Secrets;
use crate::session::codec;
use crate::session::emitted::Emitted;
use crate::session::op::OpBody;
use crate::store::{
    Answer, Note, NoteKind, Numbered, OpKind, Record, RunRow, SessionUpdate, Start, StoredEntry, Transition,
};
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
        self.changed |= matches!(clean, Cow::Owned(_));
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
        entry.media_type = self.text(&entry.media_type);
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
            NoteKind::Emit => self.piece(Emitted::read(&note.body)),
            _ if self.holds_one(&note.body) => self.text(&String::from_utf8_lossy(&note.body)).into_bytes(),
            _ => note.body,
        };
        note
    }

    /// What the instances of a session emitted, by the numbers of all its notes of that: the body of each note of an instance in whose text there was anything
    /// to take out, and none for the others. A text is searched whole, as the notes end anywhere in it. Each counts as much as before.
    pub(super) fn emitted(&mut self, notes: Vec<Numbered<Note>>) -> HashMap<u64, Option<Vec<u8>>> {
        let mut streams: HashMap<StreamId, Vec<Numbered<Emitted>>> = HashMap::new();
        for (number, note) in notes {
            let pieces = streams.entry(note.stream).or_default();
            pieces.push((number, Emitted::read(&note.body)));
        }
        let pieces = streams.into_values().flat_map(|pieces| self.joined(pieces));
        pieces.collect()
    }

    /// The same of one instance.
    fn joined(&mut self, pieces: Vec<Numbered<Emitted>>) -> Vec<Numbered<Option<Vec<u8>>>> {
        let told: String = pieces.iter().map(|(_, piece)| piece.told.as_str()).collect();
        let Cow::Owned(clean) = self.secrets.without_secrets(&told) else {
            return pieces.into_iter().map(|(number, _)| (number, None)).collect();
        };
        self.changed = true;
        let (mut rest, count) = (clean.as_str(), pieces.len());
        let piece = |(at, (number, mut piece)): (usize, Numbered<Emitted>)| {
            let end = match at + 1 < count {
                true => rest.floor_char_boundary(piece.told.len()),
                false => rest.len(),
            };
            let (told, behind) = rest.split_at(end);
            piece.told = told.to_owned();
            rest = behind;
            (number, Some(piece.body()))
        };
        pieces.into_iter().enumerate().map(piece).collect()
    }

    /// A piece of what was emitted by itself, which counts as much as before.
    fn piece(&mut self, mut piece: Emitted) -> Vec<u8> {
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
        matches!(self.secrets.without_secrets(&text), Cow::Owned(_))
    }
}

/// Bodies that have another digest now.
#[derive(Debug, Default)]
pub(super) struct Renamed(HashMap<Digest, Digest>);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Scope, SessionId};

    const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";

    fn redaction() -> Redaction {
        Redaction::new(Secrets::new([("x".to_owned(), VALUE.to_owned())]))
    }

    fn emits(attempt: u32, told: &str, counted: u32) -> Note {
        let session = SessionId {
            run: "0123456789".parse().expect("an id"),
            number: 0,
        };
        let emitted = Emitted {
            told: told.to_owned(),
            counted,
        };
        Note {
            stream: StreamId {
                session,
                attempt,
                scope: Scope::ROOT,
            },
            kind: NoteKind::Emit,
            body: emitted.body(),
            at_ms: 0,
        }
    }

    #[test]
    fn a_secret_that_goes_over_the_ends_of_notes_is_taken_out_of_all_of_them() {
        let (a, b) = VALUE.split_at(9);
        let (b, c) = b.split_at(4);
        let notes = vec![
            (3, emits(1, &format!("é{a}"), 20)),
            (4, emits(2, c, 19)),
            (6, emits(1, b, 14)),
            (7, emits(1, &format!("{c}."), 0)),
        ];
        let mut redaction = redaction();
        let clean = redaction.emitted(notes);
        assert!(redaction.changed());
        let told = |number: u64| clean[&number].as_deref().map(Emitted::read);
        assert_eq!(told(4), None, "half of it is another attempt's");
        let all: Vec<Emitted> = [3, 6, 7].into_iter().filter_map(told).collect();
        let text: String = all.iter().map(|piece| piece.told.as_str()).collect();
        assert_eq!(text, "é[secret x].");
        let counted: Vec<u32> = all.iter().map(|piece| piece.counted).collect();
        assert_eq!(counted, [20, 14, 0]);
    }

    #[test]
    fn what_holds_no_secret_stays_as_it_is() {
        let mut redaction = redaction();
        let clean = redaction.emitted(vec![(1, emits(1, "a", 1)), (2, emits(1, "b", 0))]);
        assert_eq!(clean, HashMap::from([(1, None), (2, None)]));
        assert!(!redaction.changed());
    }

    #[test]
    fn the_media_type_of_an_entry_is_a_text_too() {
        let mut redaction = redaction();
        let entry = redaction.entry(StoredEntry {
            space: "notes".to_owned(),
            key: "k".to_owned(),
            version: 1,
            deleted: false,
            media_type: format!("text/plain; x={VALUE}"),
            data: Vec::new(),
            author: String::new(),
            op: None,
            at_ms: 0,
        });
        assert_eq!(entry.media_type, "text/plain; x=[secret x]");
        assert!(redaction.changed());
    }
}
