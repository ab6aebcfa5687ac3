//! What stands inside the records of a run file: starts, results, outcomes and terms are read as the host reads them when it goes on with the run, and no
//! number is so large that none comes after it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use serde::de::DeserializeOwned;

use crate::bindings::types;
use crate::ids::{Digest, Scope, StreamId};
use crate::limits::{self, Limits, Unit};
use crate::session::codec;
use crate::session::op::OpBody;
use crate::store::{
    Answer, EffectResult, NoteKind, Observation, OpKind, Outcome, Record, Steps, StoredEntry, Transition,
};
use crate::supervisor::start::StartBody;
use crate::supervisor::terms::Terms;

/// The largest number of a session: the most that `limits.delegation.total` can be.
const SESSIONS: u32 = 1_000_000;
/// The largest number of an operation.
const OPERATIONS: u32 = 1 << 31;
/// The largest of all other numbers that are counted on from.
const LARGEST: u64 = 1 << 53;
/// Bytes of the longest name of a space, and of the longest key: the most that `limits.blackboard.key` can be, and the number of an entry that was appended.
const LONGEST: usize = (4 << 10) + 64;

/// The contents of the records that have come.
#[derive(Default)]
pub(super) struct Contents {
    /// Operations that have begun.
    operations: HashMap<OperationId, Operation>,
    /// Whether a body is empty that none is of a whole run: it was left out, as it held a secret.
    left_out: bool,
    /// What was written in one step and has not all come.
    steps: Steps,
    /// Records that have come.
    records: u64,
    /// Messages that have come, as numbers that the file can't foresee.
    messages: HashSet<u64>,
    /// Whether a request has a message that has not.
    lacks_message: bool,
    /// Keys and versions of spaces that have come, as numbers that the file can't foresee.
    entries: HashSet<u64>,
    /// What its spaces hold together.
    held: Held,
    hasher: RandomState,
}

/// What the spaces hold whose entries have come.
#[derive(Default)]
struct Held {
    /// The space of the last entry.
    space: String,
    spaces: u64,
    keys: u64,
    bytes: u64,
}

/// An operation of the file's run: session, attempt, scope and number.
type OperationId = (u32, u32, Scope, u32);

fn id_of(stream: &StreamId, op: u32) -> OperationId {
    (stream.session.number, stream.attempt, stream.scope.clone(), op)
}

struct Operation {
    kind: OpKind,
    /// Whether it has an outcome, and whether that has a body.
    outcome: Option<Body>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Empty,
    Read,
}

impl Contents {
    /// Whether a body was left out, as only a run may have it that is there to be looked at.
    pub(super) const fn are_for_viewing(&self) -> bool {
        self.left_out
    }

    /// Looks into a record.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn follow(&mut self, record: &Record) -> Result<(), String> {
        self.records += 1;
        self.steps.follow(self.records, record);
        match record {
            Record::Session(new) if new.session.number > SESSIONS => {
                Err("its session has a number that no session has".to_owned())
            }
            Record::Start(start) => self.read::<StartBody>("start", &start.body),
            Record::Update(update) => match &update.transition {
                Transition::Ended(end) => self.read::<types::RunResult>("result", &end.result),
                Transition::Active { .. } | Transition::Interrupted | Transition::CancelAsked => Ok(()),
            },
            Record::Intent(intent) => {
                number_of(intent.op)?;
                let has = |digest: &Digest| self.messages.contains(&self.hasher.hash_one(digest));
                self.lacks_message |= !intent.request.iter().all(has);
                let operation = Operation {
                    kind: intent.kind,
                    outcome: None,
                };
                self.operations.insert(id_of(&intent.stream, intent.op), operation);
                Ok(())
            }
            Record::Outcome(outcome) => self.outcome(outcome),
            Record::Observation(seen) => self.observation(seen),
            Record::Note(note) if note.kind == NoteKind::Terms => {
                let read = serde_json::from_slice::<Terms>(&note.body);
                read.map(drop).map_err(|e| format!("its terms can't be read: {e}"))
            }
            Record::Refund(_, op) | Record::Resent(_, op) => number_of(*op),
            Record::Body(digest, _) => {
                self.messages.insert(self.hasher.hash_one(digest));
                Ok(())
            }
            Record::Session(_) | Record::Note(_) | Record::Spill(_) => Ok(()),
        }
    }

    /// That all that was written in one step is there, and that no message is missing unless the run is there to be looked at.
    ///
    /// # Errors
    /// What is not, in words.
    pub(super) fn are_whole(&self, view_only: bool) -> Result<(), &'static str> {
        if self.steps.first_open().is_some() {
            return Err("it is damaged: a step of its records is not whole");
        }
        match self.lacks_message && !view_only {
            true => Err("it is damaged: messages of its records are missing"),
            false => Ok(()),
        }
    }

    /// Looks at an entry of a space, which come space by space, within what this host lets a run's spaces hold.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn entry(&mut self, entry: &StoredEntry, limits: &Limits) -> Result<(), String> {
        self.held.add(entry, limits)?;
        within(entry.version)?;
        entry.op.as_ref().map_or(Ok(()), |(_, op)| number_of(*op))?;
        let (name, key) = (&entry.space, &entry.key);
        let is_name =
            (1..=LONGEST).contains(&name.len()) && !name.contains(['/', ':']) && !name.contains(char::is_control);
        if !is_name {
            return Err("its space has a name that no space has".to_owned());
        }
        if !(1..=LONGEST).contains(&key.len()) || key.contains(char::is_control) {
            return Err("its key is none that an entry has".to_owned());
        }
        let of_key = self.hasher.hash_one((name, key));
        let of_version = self.hasher.hash_one((name, entry.version));
        match self.entries.insert(of_key) & self.entries.insert(of_version) {
            true => Ok(()),
            false => Err("its key or its version is another's of the same space".to_owned()),
        }
    }

    fn outcome(&mut self, outcome: &Outcome) -> Result<(), String> {
        number_of(outcome.op)?;
        let operation = self.operations.get_mut(&id_of(&outcome.stream, outcome.op));
        let operation = operation.ok_or("it is the outcome of nothing")?;
        match operation.kind {
            // A write that was given up before it was made has none.
            OpKind::Write if outcome.body.is_empty() || EffectResult::read(&outcome.body).is_some() => {}
            OpKind::Write => return Err("its outcome can't be read".to_owned()),
            _ if outcome.body.is_empty() => self.left_out = true,
            kind => {
                let body = codec::decode(&outcome.body).map_err(|e| format!("its outcome can't be read: {e}"))?;
                if !is_of(&body, kind) {
                    return Err("its outcome is none of such an operation".to_owned());
                }
            }
        }
        operation.outcome = Some(match outcome.body.is_empty() {
            true => Body::Empty,
            false => Body::Read,
        });
        Ok(())
    }

    fn observation(&mut self, seen: &Observation) -> Result<(), String> {
        within(seen.seq)?;
        match seen.answer {
            Answer::Started(op) => number_of(op),
            Answer::Delivered(op) => {
                let operation = self.operations.get(&id_of(&seen.stream, op));
                let body = operation.and_then(|operation| operation.outcome);
                self.left_out |= body.ok_or("it tells an outcome that there is not")? == Body::Empty;
                Ok(())
            }
            Answer::Body(ref body) => {
                self.left_out |= body.is_empty();
                Ok(())
            }
        }
    }

    /// A body of this type; one that is empty was left out.
    fn read<T: DeserializeOwned>(&mut self, what: &str, body: &[u8]) -> Result<(), String> {
        if body.is_empty() {
            self.left_out = true;
            return Ok(());
        }
        let read = codec::decode::<T>(body);
        read.map(drop).map_err(|e| format!("its {what} can't be read: {e}"))
    }
}

impl Held {
    fn add(&mut self, entry: &StoredEntry, limits: &Limits) -> Result<(), String> {
        if self.spaces == 0 || self.space != entry.space {
            self.space.clone_from(&entry.space);
            self.spaces += 1;
        }
        if !entry.deleted {
            self.keys += 1;
            self.bytes += (entry.key.len() + entry.media_type.len() + entry.data.len()) as u64;
        }
        let (most, room) = (limits.blackboard_keys, limits.blackboard_bytes);
        match () {
            () if self.spaces > most || self.keys > most => Err(format!(
                "its spaces have more than {most} keys, which is what a run may have here (limits.blackboard.keys)"
            )),
            () if self.bytes > room => Err(format!(
                "its spaces hold more than {}, which is what a run may have here (limits.blackboard.bytes)",
                limits::show(room, Unit::Bytes)
            )),
            () => Ok(()),
        }
    }
}

/// Whether an operation of this kind ends so.
fn is_of(body: &OpBody, kind: OpKind) -> bool {
    match body {
        OpBody::Completion(_) => kind == OpKind::Completion,
        OpBody::Tool(_) => kind == OpKind::ToolCall,
        OpBody::Child(_) => kind == OpKind::Child,
    }
}

fn number_of(operation: u32) -> Result<(), String> {
    match operation < OPERATIONS {
        true => Ok(()),
        false => Err("its operation has a number that no operation has".to_owned()),
    }
}

fn within(number: u64) -> Result<(), String> {
    match number < LARGEST {
        true => Ok(()),
        false => Err("it has a number that is larger than any".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amounts::Amounts;
    use crate::error::Refusal;
    use crate::ids::SessionId;
    use crate::store::{EndKind, Intent, Note, OutcomeStatus, SessionEnd, SessionUpdate, Start};

    fn root() -> SessionId {
        SessionId {
            run: "0123456789".parse().expect("an id"),
            number: 0,
        }
    }

    fn stream() -> StreamId {
        StreamId {
            session: root(),
            attempt: 1,
            scope: Scope::ROOT,
        }
    }

    fn intent(op: u32, kind: OpKind) -> Record {
        Record::Intent(Intent {
            stream: stream(),
            op,
            kind,
            name: String::new(),
            request: Vec::new(),
            reserved: Amounts::ZERO,
            at_ms: 0,
            shared: false,
        })
    }

    fn outcome(op: u32, body: Vec<u8>) -> Record {
        Record::Outcome(Outcome {
            stream: stream(),
            op,
            status: OutcomeStatus::Done,
            body,
            charged: Amounts::ZERO,
            at_ms: 0,
        })
    }

    fn seen(answer: Answer) -> Record {
        Record::Observation(Observation {
            stream: stream(),
            seq: 1,
            call: String::new(),
            args: Digest::of(b""),
            answer,
            fuel: 0,
            awake_ms: 0,
            at_ms: 0,
        })
    }

    fn terms(body: &[u8]) -> Record {
        Record::Note(Note {
            stream: stream(),
            kind: NoteKind::Terms,
            body: body.to_vec(),
            at_ms: 0,
        })
    }

    fn ended(result: &[u8]) -> Record {
        Record::Update(SessionUpdate {
            session: root(),
            transition: Transition::Ended(SessionEnd {
                kind: EndKind::Failed,
                exit: "failed".to_owned(),
                outcome: None,
                error: None,
                result: result.to_vec(),
            }),
            spent: None,
            at_ms: 0,
        })
    }

    fn completion() -> Vec<u8> {
        codec::encode(&OpBody::Completion(Err(Refusal::cancelled().into())))
    }

    #[test]
    fn what_the_host_can_read_is_taken() {
        let mut contents = Contents::default();
        for record in [
            intent(1, OpKind::Completion),
            outcome(1, completion()),
            seen(Answer::Started(1)),
            seen(Answer::Delivered(1)),
            intent(2, OpKind::Write),
            outcome(2, Vec::new()),
            terms(&Terms::default().body()),
        ] {
            assert_eq!(contents.follow(&record), Ok(()), "{record:?}");
        }
        assert!(!contents.are_for_viewing());
    }

    #[test]
    fn what_the_host_can_not_read_is_refused() {
        let unread = Record::Start(Start {
            session: root(),
            attempt: 1,
            body: vec![codec::VERSION],
            at_ms: 0,
        });
        for record in [
            terms(b"x"),
            ended(b"zz"),
            unread,
            outcome(1, vec![codec::VERSION, 0xff]),
            outcome(3, completion()),
            outcome(2, completion()),
            seen(Answer::Delivered(1)),
            seen(Answer::Started(OPERATIONS)),
            intent(OPERATIONS, OpKind::Child),
            Record::Resent(stream(), u32::MAX),
        ] {
            let mut contents = Contents::default();
            assert_eq!(contents.follow(&intent(1, OpKind::Completion)), Ok(()));
            assert_eq!(contents.follow(&intent(2, OpKind::ToolCall)), Ok(()));
            assert!(contents.follow(&record).is_err(), "{record:?}");
        }
    }

    fn entry(space: &str, key: &str, version: u64) -> StoredEntry {
        StoredEntry {
            space: space.to_owned(),
            key: key.to_owned(),
            version,
            deleted: false,
            media_type: String::new(),
            data: Vec::new(),
            author: String::new(),
            op: None,
            at_ms: 0,
        }
    }

    #[test]
    fn entries_have_names_of_their_own() {
        let mut contents = Contents::default();
        let long = "k".repeat(LONGEST + 1);
        assert_eq!(
            contents.entry(&entry("notes", &long[1..], 1), &Limits::default()),
            Ok(())
        );
        assert_eq!(contents.entry(&entry("notes", "b", 2), &Limits::default()), Ok(()));
        assert_eq!(contents.entry(&entry("other", "b", 2), &Limits::default()), Ok(()));
        for (space, key, version) in [
            ("notes", "b", 3),
            ("notes", "c", 2),
            ("notes", &long, 3),
            ("notes", "", 3),
            ("", "c", 3),
            ("a/../b", "c", 3),
            (&long, "c", 3),
            ("notes", "c", LARGEST),
        ] {
            assert!(
                contents.entry(&entry(space, key, version), &Limits::default()).is_err(),
                "{space} {key} {version}"
            );
        }
    }

    #[test]
    fn spaces_hold_what_a_run_may_have_here_and_no_more() {
        let limits = Limits {
            blackboard_keys: 2,
            blackboard_bytes: 4,
            ..Limits::default()
        };
        let taken = |entries: &[StoredEntry]| {
            let mut contents = Contents::default();
            entries.iter().try_for_each(|entry| contents.entry(entry, &limits))
        };
        let with = |entry: StoredEntry, bytes: usize| StoredEntry {
            data: vec![0; bytes],
            ..entry
        };
        let gone = |entry: StoredEntry| StoredEntry { deleted: true, ..entry };
        let (a, b) = (entry("one", "a", 1), entry("two", "b", 1));
        assert_eq!(taken(&[a.clone(), b.clone(), gone(entry("two", "c", 2))]), Ok(()));
        for third in [entry("two", "c", 2), gone(entry("three", "c", 1))] {
            let refused = taken(&[a.clone(), b.clone(), third]).expect_err("refused");
            assert!(
                refused.contains("more than 2 keys") && refused.contains("limits.blackboard.keys"),
                "{refused}"
            );
        }
        assert_eq!(taken(&[with(a.clone(), 1), with(b.clone(), 1)]), Ok(()));
        let refused = taken(&[with(a, 1), with(b, 2)]).expect_err("refused");
        assert!(refused.contains("limits.blackboard.bytes"), "{refused}");
    }

    #[test]
    fn a_message_or_half_a_step_is_missed() {
        let asks = |digest: Digest| {
            let Record::Intent(mut intent) = intent(1, OpKind::Completion) else {
                unreachable!("it is one")
            };
            intent.request = vec![digest];
            Record::Intent(intent)
        };
        let digest = Digest::of(b"a message");
        for (comes, whole) in [(true, true), (false, false)] {
            let mut contents = Contents::default();
            if comes {
                let message = Record::Body(digest, b"a message".to_vec());
                assert_eq!(contents.follow(&message), Ok(()));
            }
            assert_eq!(contents.follow(&asks(digest)), Ok(()));
            assert_eq!(
                (contents.are_whole(false).is_ok(), contents.are_whole(true).is_ok()),
                (whole, true)
            );
        }
        let mut contents = Contents::default();
        assert_eq!(contents.follow(&intent(1, OpKind::Write)), Ok(()));
        assert!(contents.are_whole(true).is_err(), "nobody was told of it");
    }

    #[test]
    fn what_was_left_out_can_be_looked_at_alone() {
        let begun = |kind| vec![intent(1, kind), outcome(1, Vec::new())];
        let mut told = begun(OpKind::Write);
        told.push(seen(Answer::Delivered(1)));
        for records in [vec![ended(b"")], begun(OpKind::ToolCall), told] {
            let mut contents = Contents::default();
            for record in records {
                assert_eq!(contents.follow(&record), Ok(()), "{record:?}");
            }
            assert!(contents.are_for_viewing());
        }
    }
}
