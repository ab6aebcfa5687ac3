//! One stream of the journal as its instance sees it: what is left to replay, what was told since the last commit, and the operations that were
//! started.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use crate::amounts::Amounts;
use crate::error::Refusal;
use crate::ids::{Digest, StreamId};
use crate::scrub::Secrets;
use crate::session::audit::Gathered;
use crate::session::codec;
use crate::session::emitted;
use crate::session::end::End;
use crate::session::op::{Ended, Op};
use crate::store::{Answer, Note, NoteKind, Observation, OutcomeStatus, Record, Transition};

/// What the journal has of a stream that is rebuilt.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Its observations, in order.
    pub observations: VecDeque<Observation>,
    /// Its operations, by number.
    pub operations: BTreeMap<u32, RecordedOp>,
    /// What its guest said behind the last of its observations.
    pub said: VecDeque<Note>,
    /// Its tool calls in which a model was asked.
    pub thinking: BTreeSet<u32>,
    /// What follows.
    pub after: After,
}

/// What follows when the last observation of a stream was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum After {
    /// The guest goes on live.
    #[default]
    Live,
    /// Nothing that could be compared: the guest is ended there.
    Stop,
    /// The guest's own end, and no further call.
    End,
}

/// An operation that the journal has.
#[derive(Debug, Clone)]
pub struct RecordedOp {
    /// Its request.
    pub request: Vec<Digest>,
    /// What was reserved for it.
    pub reserved: Amounts,
    /// Its outcome, if it had one: how, what the guest is told, what it cost.
    pub outcome: Option<(OutcomeStatus, Vec<u8>, Amounts)>,
}

/// What the meters of an observation's guest showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meters {
    pub(super) fuel: u64,
    pub(super) awake_ms: u64,
    pub(super) at_ms: u64,
}

/// Bytes of a record beside its body, roughly: keys, numbers, checksum.
const OVERHEAD: usize = 96;

/// The stream's state. Guests call in one at a time, so nothing here waits.
#[derive(Debug)]
pub(super) struct Tape {
    stream: StreamId,
    next_seq: u64,
    next_op: u32,
    pending: Vec<Record>,
    pending_bytes: usize,
    recorded: Recorded,
    ops: BTreeMap<u32, Op>,
    /// Operations that an instance before this one started, and that are still under way or have just ended.
    live: BTreeMap<u32, Op>,
    known: HashSet<Digest>,
    /// Operations whose outcome the guest was told.
    told: HashSet<u32>,
    /// What was done with rights, for the audit.
    pub(super) gathered: Gathered,
}

impl Tape {
    pub(super) fn new(stream: StreamId, recorded: Recorded, mut live: BTreeMap<u32, Op>, gathered: Gathered) -> Self {
        // What has ended is in the record, where that was read since.
        let has_outcome = |number: &u32| recorded.operations.get(number).is_some_and(|op| op.outcome.is_some());
        live.retain(|number, _| !has_outcome(number));
        let known = recorded
            .operations
            .values()
            .flat_map(|op| op.request.iter().copied())
            .collect();
        Self {
            stream,
            next_seq: 1,
            next_op: 1,
            pending: Vec::new(),
            pending_bytes: 0,
            recorded,
            ops: BTreeMap::new(),
            live,
            known,
            told: HashSet::new(),
            gathered,
        }
    }

    /// True while there is something left to replay.
    pub(super) fn replaying(&self) -> bool {
        !self.recorded.observations.is_empty()
    }

    /// The number of the next observation.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The answer that the record has for this call, where it is being replayed.
    pub(super) fn replay(&mut self, call: &str, args: Digest) -> Result<Option<Observation>, End> {
        let after = self.recorded.after;
        let Some(next) = self.recorded.observations.front() else {
            return match after {
                After::Live => Ok(None),
                After::Stop | After::End => Err(End::RecordEnds),
            };
        };
        if next.call != call || next.args != args {
            let (expected, before) = (&next.call, next.args.short());
            return Err(End::Diverged(format!(
                "observation {}: expected {expected} with arguments {before}, got {call} with {}",
                next.seq,
                args.short()
            )));
        }
        self.next_seq = next.seq + 1;
        let seen = self.recorded.observations.pop_front();
        if after == After::Stop && !self.replaying() {
            return Err(End::RecordEnds);
        }
        Ok(seen)
    }

    /// True where all is replayed and nothing more is compared.
    pub(super) fn is_through(&self) -> bool {
        self.recorded.after == After::Stop && !self.replaying()
    }

    /// True where the guest goes on live when all is replayed.
    pub(super) fn goes_live(&self) -> bool {
        self.recorded.after == After::Live
    }

    /// The next thing to replay, where it is `call` with these arguments.
    pub(super) fn replays_next(&self, call: &str, args: Digest) -> Option<&Observation> {
        let next = self.recorded.observations.front();
        next.filter(|next| next.call == call && next.args == args)
    }

    /// Whether the record has that its guest said this, behind all that it was told; each time that it did once. What stands before that in the record the
    /// guest does not say any more.
    pub(super) fn has_said(&mut self, kind: NoteKind, body: &[u8]) -> bool {
        let is_same = |of: &[u8]| match kind {
            // What stands in it beside that hangs on which secrets there were.
            NoteKind::Emit => emitted::counted(of) == emitted::counted(body),
            _ => of == body,
        };
        let is_it = |note: &Note| note.kind == kind && is_same(&note.body);
        let Some(at) = self.recorded.said.iter().position(is_it) else {
            return false;
        };
        drop(self.recorded.said.drain(..=at));
        true
    }

    /// What was recorded and not replayed.
    pub(super) fn unreplayed(&self) -> Option<&Observation> {
        self.recorded.observations.front()
    }

    /// Writes down what a call told the guest.
    pub(super) fn observe(&mut self, call: &str, args: Digest, answer: Answer, meters: Meters) -> Observation {
        let seq = self.next_seq;
        self.next_seq += 1;
        // What it says from here on is new, whatever it said before.
        self.recorded.said.clear();
        Observation {
            stream: self.stream.clone(),
            seq,
            call: call.to_owned(),
            args,
            answer,
            fuel: meters.fuel,
            awake_ms: meters.awake_ms,
            at_ms: meters.at_ms,
        }
    }

    /// Keeps a record for the next commit and says how many bytes it adds to the journal.
    pub(super) fn push(&mut self, record: Record) -> usize {
        let bytes = size(&record);
        self.pending.push(record);
        self.pending_bytes += bytes;
        bytes
    }

    /// Keeps records that mean something only together.
    pub(super) fn push_all(&mut self, records: Vec<Record>) {
        for record in records {
            self.push(record);
        }
    }

    /// Bytes that wait for a commit.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Everything that waits for a commit.
    pub(super) fn take_pending(&mut self) -> Vec<Record> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }

    /// The number of the next operation.
    pub(super) fn next_op(&mut self) -> u32 {
        let op = self.next_op;
        self.next_op += 1;
        op
    }

    /// What the journal has of operation `number`.
    pub(super) fn recorded(&self, number: u32) -> Option<&RecordedOp> {
        self.recorded.operations.get(&number)
    }

    /// The recorded outcome of operation `number`, once: whoever takes it keeps it as long as somebody may ask for it.
    pub(super) fn take_outcome(&mut self, number: u32) -> Result<Option<Ended>, End> {
        let recorded = self.recorded.operations.get_mut(&number);
        let Some((status, body, _)) = recorded.and_then(|op| op.outcome.as_mut()) else {
            return Ok(None);
        };
        let body = codec::decode(&std::mem::take(body)).map_err(|e| End::Host(e.to_string()))?;
        Ok(Some(Ended { status: *status, body }))
    }

    /// What the record has of a write's outcome, once.
    pub(super) fn take_written(&mut self, number: u32) -> Option<Vec<u8>> {
        let (_, body, _) = self.recorded.operations.get_mut(&number)?.outcome.as_mut()?;
        Some(std::mem::take(body))
    }

    /// Nobody can ask for this operation any more. One that is still under way is kept: the instance in this one's place takes it over.
    pub(super) fn forget(&mut self, number: u32) {
        if self.ops.get(&number).is_some_and(|op| op.ended().is_some()) {
            self.ops.remove(&number);
        }
    }

    /// Keeps an operation, so that the guest can ask for it by number.
    pub(super) fn keep(&mut self, op: Op) {
        self.ops.insert(op.number, op);
    }

    /// The operation of this number.
    pub(super) fn op(&self, number: u32) -> Option<Op> {
        self.ops.get(&number).cloned()
    }

    /// True the first time that the guest is told of this operation's outcome.
    pub(super) fn first_delivery(&mut self, number: u32) -> bool {
        self.told.insert(number)
    }

    /// An operation of this number that an earlier instance left, once.
    pub(super) fn take_live(&mut self, number: u32) -> Option<Op> {
        self.live.remove(&number)
    }

    /// Every operation, for the instance that takes this one's place.
    pub(super) fn hand_over(&mut self) -> BTreeMap<u32, Op> {
        let mut all = std::mem::take(&mut self.live);
        all.append(&mut self.ops);
        all.retain(|_, op| !op.refused);
        all
    }

    /// What was done with rights so far, for the instance that takes this one's place.
    pub(super) fn hand_over_gathered(&mut self) -> Gathered {
        std::mem::replace(&mut self.gathered, Gathered::new(0, Secrets::none()))
    }

    /// Whether a model was asked inside tool call `number`, as the journal has it.
    pub(super) fn was_thinking(&self, number: u32) -> bool {
        self.recorded.thinking.contains(&number)
    }

    /// Of these bodies, those that the journal does not have yet.
    pub(super) fn unknown(&mut self, bodies: &[(Digest, Vec<u8>)]) -> Vec<Record> {
        let fresh = bodies.iter().filter(|(digest, _)| self.known.insert(*digest));
        fresh
            .map(|(digest, bytes)| Record::Body(*digest, bytes.clone()))
            .collect()
    }
}

/// Bytes that a record adds to the journal, roughly: nothing in which less than a whole secret has a say, as a guest sees their sum.
pub fn size(record: &Record) -> usize {
    OVERHEAD
        + match record {
            Record::Body(_, bytes) => bytes.len(),
            Record::Observation(Observation {
                answer: Answer::Body(bytes),
                ..
            }) => bytes.len(),
            Record::Outcome(outcome) => outcome.body.len(),
            Record::Note(note) if note.kind == NoteKind::Emit => emitted::counted(&note.body),
            Record::Note(note) => note.body.len(),
            Record::Start(start) => start.body.len(),
            Record::Intent(intent) => 32 * intent.request.len(),
            Record::Update(update) => match &update.transition {
                Transition::Ended(end) => end.result.len(),
                Transition::Active { .. } | Transition::Interrupted | Transition::CancelAsked => 0,
            },
            // A spilled text is the blackboard's.
            Record::Spill(_) => 0,
            Record::Session(_) | Record::Observation(_) | Record::Refund(..) | Record::Resent(..) => 0,
        }
}

/// A refusal as the body of an observation: what any call may answer.
pub(super) fn refusal_body<T: serde::Serialize>(refusal: &Refusal) -> Vec<u8> {
    codec::encode(&Err::<T, &Refusal>(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{RunId, Scope};

    fn stream() -> StreamId {
        StreamId {
            session: RunId::random().root(),
            attempt: 1,
            scope: Scope::ROOT,
        }
    }

    fn tape(recorded: Recorded) -> Tape {
        Tape::new(stream(), recorded, BTreeMap::new(), Gathered::new(0, Secrets::none()))
    }

    fn said(kind: NoteKind, words: &str) -> Note {
        Note {
            stream: stream(),
            kind,
            body: words.into(),
            at_ms: 1,
        }
    }

    #[test]
    fn what_was_said_last_is_known_as_often_as_it_was_said() {
        use NoteKind::{Emit, Log};
        let mut tape = tape(Recorded {
            said: [said(Emit, "a"), said(Log, "half"), said(Emit, "bb"), said(Emit, "bb")].into(),
            ..Recorded::default()
        });
        assert!(!tape.has_said(Log, b"a"), "of another kind");
        assert!(tape.has_said(Emit, b"x"), "as long as it was");
        assert!(!tape.has_said(Emit, b"a"));
        assert!(!tape.has_said(Log, b"half and half"));
        assert!(tape.has_said(Emit, b"bb"), "what it said before that it says no more");
        assert!(!tape.has_said(Log, b"half"));
        assert!(tape.has_said(Emit, b"bb") && !tape.has_said(Emit, b"bb"));
    }

    #[test]
    fn what_is_said_behind_a_new_observation_is_new() {
        let mut tape = tape(Recorded {
            said: [said(NoteKind::Emit, "a")].into(),
            ..Recorded::default()
        });
        let meters = Meters {
            fuel: 1,
            awake_ms: 2,
            at_ms: 3,
        };
        let seen = tape.observe("session.info", Digest::of(b"args"), Answer::Started(1), meters);
        assert_eq!(seen.seq, 1);
        assert!(!tape.has_said(NoteKind::Emit, b"a"));
    }

    #[test]
    fn all_that_waits_is_taken_once_and_in_order() {
        let mut tape = tape(Recorded::default());
        let records = ["a", "b", "c"].map(|words| Record::Note(said(NoteKind::Log, words)));
        let [a, b, c] = records.clone();
        tape.push(a);
        tape.push_all(vec![b, c]);
        assert_eq!(tape.pending_bytes(), records.iter().map(size).sum::<usize>());
        assert_eq!(tape.take_pending(), records);
        assert_eq!((tape.pending_bytes(), tape.take_pending()), (0, Vec::new()));
    }
}
