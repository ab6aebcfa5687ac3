//! What the journal is made of: operations with one intent and one outcome each, observations in the guest's order,
//! notes for people, and the rows of runs and sessions. Bodies are opaque bytes here; the layers above encode them.

use serde::{Deserialize, Serialize};

use crate::amounts::Amounts;
use crate::ids::{Digest, RunId, SessionId, StreamId};

/// What kind of thing an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpKind {
    /// A model's completion.
    Completion,
    /// A call of a tool.
    ToolCall,
    /// A sub-agent.
    Child,
    /// A write to the blackboard.
    Write,
}

/// That an operation is about to begin: committed before its effect is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Whose operation.
    pub stream: StreamId,
    /// Its number in the stream, from 1, in order of start.
    pub op: u32,
    /// Its kind.
    pub kind: OpKind,
    /// The model, the tool, the child's role or the space: for people and lists.
    pub name: String,
    /// The request: digests of bodies that the same or an earlier append holds.
    pub request: Vec<Digest>,
    /// What was reserved for it.
    pub reserved: Amounts,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Of a write: whether the space is the home folder's, which all runs share.
    pub shared: bool,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeStatus {
    /// It gave an answer.
    Done,
    /// It gave an error.
    Failed,
    /// It was cancelled, or its attempt ended first.
    Cancelled,
    /// The host went down during it, and whether it took effect is not known.
    Interrupted,
}

/// How an operation ended, once: an append of a second outcome for the same operation fails with a conflict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whose operation.
    pub stream: StreamId,
    /// Its number.
    pub op: u32,
    /// How it ended.
    pub status: OutcomeStatus,
    /// The answer or the error, encoded by the layer above. Ignored when the append has an effect: then the store
    /// puts the encoded [`EffectResult`] here.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// What it cost.
    pub charged: Amounts,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// What one imported call told the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Whose observation.
    pub stream: StreamId,
    /// Its number in the stream, from 1, without gaps.
    pub seq: u64,
    /// Interface and function: `llm.complete`.
    pub call: String,
    /// Digest of the call's arguments in canonical form.
    pub args: Digest,
    /// What it told.
    pub answer: Answer,
    /// Fuel that the instance had used so far.
    pub fuel: u64,
    /// Milliseconds that the session had been awake so far, over all attempts and hosts.
    pub awake_ms: u64,
    /// Milliseconds since 1970: the session's virtual clock from here on.
    pub at_ms: u64,
}

/// What an observation told the guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// These encoded bytes.
    Body(#[serde(with = "serde_bytes")] Vec<u8>),
    /// That an operation was started, and its number.
    Started(u32),
    /// The outcome of an operation that ended.
    Delivered(u32),
}

/// Something recorded for people that no replay compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Whose note.
    pub stream: StreamId,
    /// What it is.
    pub kind: NoteKind,
    /// Its text, or an encoded body (checkpoint).
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// What a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// A line of the guest's log.
    Log,
    /// What it is doing now.
    Progress,
    /// Text of the answer as it comes.
    Emit,
    /// A report of what there is so far.
    Checkpoint,
    /// A denial, or another use of rights that people should see.
    Audit,
    /// Something that the host did or noticed: a rejected cache entry, a retry.
    Host,
    /// What a resume changed of the run's budget and rights, encoded by the layer above.
    Terms,
}

impl NoteKind {
    /// True for what a guest says, which it says again where it is built again.
    pub const fn is_said(self) -> bool {
        match self {
            Self::Log | Self::Progress | Self::Emit | Self::Checkpoint => true,
            Self::Audit | Self::Host | Self::Terms => false,
        }
    }
}

/// How an agent's life stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The row is there, no instance yet.
    Spawned,
    /// An instance runs or waits.
    Active,
    /// It ended and returned.
    Completed,
    /// It ended in any other way.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its host went down or suspended it; it can be resumed.
    Interrupted,
}

/// How a session came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    /// The run's root.
    Root,
    /// A parent delegated to it.
    Delegated,
    /// It goes on from a fork point of another run.
    Forked,
}

/// Where a child's result goes: the operation of its parent that it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReturnAddress {
    /// The parent.
    pub session: SessionId,
    /// The parent's attempt.
    pub attempt: u32,
    /// The operation.
    pub op: u32,
}

/// A new session's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewSession {
    /// Its id.
    pub session: SessionId,
    /// Who delegated to it, and where its result goes; written down before anything of it is built.
    pub parent: Option<ReturnAddress>,
    /// How it came to be.
    pub edge: Edge,
    /// What it is for: `root` for the root.
    pub role: String,
    /// The task's prompt.
    pub task: String,
    /// The strategy's name.
    pub strategy: String,
    /// The strategy's bytes.
    pub digest: Digest,
    /// `provider/name` of its default model, or nothing.
    pub model: Option<String>,
    /// Limits of its own budget; a dimension that is absent has none.
    pub budget: Vec<(crate::error::Dimension, u64)>,
    /// Its toolsets.
    pub toolsets: Vec<String>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// A step in a session's life. There is none that leaves an end, and none that ends without saying why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Transition {
    /// An attempt begins, or goes on after its host went down.
    Active {
        /// 1 for the first.
        attempt: u32,
    },
    /// Its host suspends it.
    Interrupted,
    /// Somebody asked for its end; it has a grace to return.
    CancelAsked,
    /// It ended, for good.
    Ended(SessionEnd),
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionEnd {
    /// The kind of end.
    pub kind: EndKind,
    /// Why: the contract's exit reason by name.
    pub exit: String,
    /// Its own judgement, where it left a report: achieved, partly-achieved, not-achieved.
    pub outcome: Option<String>,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// The final `run-result`, encoded by the layer above.
    #[serde(with = "serde_bytes")]
    pub result: Vec<u8>,
}

/// The kinds of end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndKind {
    /// It returned.
    Completed,
    /// It was cancelled.
    Cancelled,
    /// Anything else.
    Failed,
}

impl Status {
    /// True when nothing follows it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The status after `transition`; none where it can't follow. `docs/sessions.md` draws this.
    pub const fn after(self, transition: &Transition) -> Option<Self> {
        match (self, transition) {
            (Self::Completed | Self::Failed | Self::Cancelled, _) => None,
            (Self::Spawned | Self::Active | Self::Interrupted, Transition::Active { .. }) => Some(Self::Active),
            (Self::Spawned | Self::Active | Self::Interrupted, Transition::Interrupted) => Some(Self::Interrupted),
            (status, Transition::CancelAsked) => Some(status),
            // Only what runs returns.
            (Self::Spawned | Self::Interrupted, Transition::Ended(end)) if matches!(end.kind, EndKind::Completed) => {
                None
            }
            (_, Transition::Ended(end)) => Some(match end.kind {
                EndKind::Completed => Self::Completed,
                EndKind::Cancelled => Self::Cancelled,
                EndKind::Failed => Self::Failed,
            }),
        }
    }
}

/// A change of a session's row. What it doesn't name stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionUpdate {
    /// Whose row.
    pub session: SessionId,
    /// The step in its life.
    pub transition: Transition,
    /// What it spent so far, in all dimensions, over all attempts.
    pub spent: Option<Amounts>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// The start of an attempt: all that a resume needs, encoded by the layer above.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The session.
    pub session: SessionId,
    /// 1 for the first.
    pub attempt: u32,
    /// Task, digests, grants, limits, aliases, prices, tool list, seed, host version.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// One thing to write down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A body that requests refer to; stored once for each run.
    Body(Digest, #[serde(with = "serde_bytes")] Vec<u8>),
    /// A session's row.
    Session(NewSession),
    /// A change of one.
    Update(SessionUpdate),
    /// The start of an attempt.
    Start(Start),
    /// An operation begins.
    Intent(Intent),
    /// An operation ended.
    Outcome(Outcome),
    /// A guest was told something.
    Observation(Observation),
    /// Something for people.
    Note(Note),
    /// The iteration of this operation is given back, once.
    Refund(StreamId, u32),
    /// This operation, whose answer a crash lost, is sent again.
    Resent(StreamId, u32),
    /// A piece of a text that was too long for its reader, kept on the run's blackboard.
    Spill(Spill),
}

/// A piece of a long text, written to the space `spill` of the run: committed before the outcome that names it, in an append of its own, so that where
/// it doesn't fit another outcome can be written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spill {
    /// The session whose result or report it is.
    pub session: SessionId,
    /// Its key.
    pub key: String,
    /// The piece.
    pub text: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// The space of a run in which long texts are kept.
pub const SPILL_SPACE: &str = "spill";

/// A change of the blackboard that commits together with its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Writes an entry.
    Put {
        /// The space.
        space: SpaceId,
        /// The key.
        key: String,
        /// Media type of the value.
        media_type: String,
        /// The value.
        data: Vec<u8>,
        /// None: any; 0: absent; n: that version.
        if_version: Option<u64>,
    },
    /// Writes an entry under a new key.
    Append {
        /// The space.
        space: SpaceId,
        /// What the key starts with.
        prefix: String,
        /// Media type of the value.
        media_type: String,
        /// The value.
        data: Vec<u8>,
    },
    /// Removes an entry.
    Delete {
        /// The space.
        space: SpaceId,
        /// The key.
        key: String,
        /// As for `Put`.
        if_version: Option<u64>,
    },
}

/// A change of the blackboard, and the operation that makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct OpEffect {
    /// Whose operation.
    pub stream: StreamId,
    /// Its number.
    pub op: u32,
    /// The change.
    pub effect: Effect,
}

impl EffectResult {
    /// What an outcome's body says, where it is that of a write.
    pub fn read(body: &[u8]) -> Option<Self> {
        postcard::from_bytes(body).ok()
    }
}

impl Effect {
    /// The space that it changes.
    pub fn space(&self) -> &SpaceId {
        let (Self::Put { space, .. } | Self::Append { space, .. } | Self::Delete { space, .. }) = self;
        space
    }

    /// Whether what it does depends on what is there.
    pub(super) fn compares(&self) -> bool {
        match self {
            Self::Put { if_version, .. } | Self::Delete { if_version, .. } => if_version.is_some(),
            Self::Append { .. } => false,
        }
    }
}

/// How an effect ended; a conflict or a full space is a result, and undoes nothing else in the append.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EffectResult {
    /// Written with this version.
    Written(u64),
    /// Appended under this key, with this version.
    Appended(String, u64),
    /// Removed, or was not there.
    Deleted,
    /// The entry has another version (0: it is absent).
    Conflict(u64),
    /// The space may hold no more keys than this.
    TooManyKeys(u64),
    /// The space may hold no more bytes than this.
    TooManyBytes(u64),
}

/// Which space of the blackboard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SpaceId {
    /// The run whose space it is; none for a space of the home folder, which all runs share.
    pub run: Option<RunId>,
    /// Its name.
    pub name: String,
}

/// When an append must be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Committed, so that a killed process loses nothing; durable with the next synced append.
    Commit,
    /// Durable before the call returns (subject to the configured durability).
    Durable,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(kind: EndKind) -> Transition {
        Transition::Ended(SessionEnd {
            kind,
            exit: "returned".to_owned(),
            outcome: None,
            error: None,
            result: Vec::new(),
        })
    }

    #[test]
    fn each_status_is_left_as_the_drawing_says_and_an_end_never() {
        use Status as S;
        let transitions = [
            Transition::Active { attempt: 1 },
            Transition::Interrupted,
            Transition::CancelAsked,
            ended(EndKind::Completed),
            ended(EndKind::Failed),
            ended(EndKind::Cancelled),
        ];
        for from in [S::Spawned, S::Active, S::Interrupted] {
            let to = transitions.each_ref().map(|t| from.after(t));
            let mut expected = [S::Active, S::Interrupted, from, S::Completed, S::Failed, S::Cancelled].map(Some);
            if from != S::Active {
                expected[3] = None;
            }
            assert_eq!(to, expected, "from {from:?}");
        }
        for from in [S::Completed, S::Failed, S::Cancelled] {
            assert!(from.is_final());
            assert_eq!(
                transitions.each_ref().map(|t| from.after(t)),
                [None; 6],
                "from {from:?}"
            );
        }
    }

    /// Every variant of everything in a record, once at least. Whoever adds one meets a `match` below that lacks it.
    fn one_of_each() -> Vec<Record> {
        let session = SessionId {
            run: "0123456789".parse().expect("an id"),
            number: 1,
        };
        let stream = StreamId {
            session: session.clone(),
            attempt: 2,
            scope: crate::ids::Scope::ROOT.child(3),
        };
        let amounts = crate::error::Dimension::ALL
            .into_iter()
            .fold(Amounts::ZERO, |sum, d| sum.with(d, 300 + d as u64));
        let mut records = vec![
            Record::Body(Digest::of(b"body"), b"body".to_vec()),
            Record::Start(Start {
                session: session.clone(),
                attempt: 4,
                body: vec![5],
                at_ms: 6,
            }),
            Record::Refund(stream.clone(), 7),
            Record::Resent(stream.clone(), 8),
            Record::Spill(Spill {
                session: session.clone(),
                key: "key".into(),
                text: "text".into(),
                at_ms: 9,
            }),
        ];
        records.extend([Edge::Root, Edge::Delegated, Edge::Forked].map(|edge| {
            Record::Session(NewSession {
                session: session.clone(),
                parent: (edge == Edge::Delegated).then(|| ReturnAddress {
                    session: session.clone(),
                    attempt: 10,
                    op: 11,
                }),
                edge,
                role: "role".into(),
                task: "task".into(),
                strategy: "strategy".into(),
                digest: Digest::of(b"digest"),
                model: Some("model".into()),
                budget: amounts.iter().collect(),
                toolsets: vec!["toolset".into()],
                at_ms: 12,
            })
        }));
        let ends = [EndKind::Completed, EndKind::Cancelled, EndKind::Failed].map(|kind| {
            Transition::Ended(SessionEnd {
                kind,
                exit: "exit".into(),
                outcome: Some("outcome".into()),
                error: Some("error".into()),
                result: vec![13],
            })
        });
        let steps = [
            Transition::Active { attempt: 14 },
            Transition::Interrupted,
            Transition::CancelAsked,
        ];
        records.extend(steps.into_iter().chain(ends).map(|transition| {
            Record::Update(SessionUpdate {
                session: session.clone(),
                transition,
                spent: Some(amounts),
                at_ms: 15,
            })
        }));
        let kinds = [OpKind::Completion, OpKind::ToolCall, OpKind::Child, OpKind::Write];
        records.extend(kinds.map(|kind| {
            Record::Intent(Intent {
                stream: stream.clone(),
                op: 16,
                kind,
                name: "name".into(),
                request: vec![Digest::of(b"request")],
                reserved: amounts,
                at_ms: 17,
                shared: true,
            })
        }));
        let effects = [
            EffectResult::Written(18),
            EffectResult::Appended("key".into(), 19),
            EffectResult::Deleted,
            EffectResult::Conflict(20),
            EffectResult::TooManyKeys(21),
            EffectResult::TooManyBytes(22),
        ];
        let statuses = [
            OutcomeStatus::Done,
            OutcomeStatus::Failed,
            OutcomeStatus::Cancelled,
            OutcomeStatus::Interrupted,
        ];
        for (at, effect) in effects.iter().enumerate() {
            records.push(Record::Outcome(Outcome {
                stream: stream.clone(),
                op: 23,
                status: statuses[at % statuses.len()],
                body: postcard::to_stdvec(effect).expect("encodes"),
                charged: amounts,
                at_ms: 24,
            }));
        }
        let answers = [Answer::Body(vec![25]), Answer::Started(26), Answer::Delivered(27)];
        records.extend(answers.map(|answer| {
            Record::Observation(Observation {
                stream: stream.clone(),
                seq: 28,
                call: "call".into(),
                args: Digest::of(b"args"),
                answer,
                fuel: 29,
                awake_ms: 30,
                at_ms: 31,
            })
        }));
        let notes = [
            NoteKind::Log,
            NoteKind::Progress,
            NoteKind::Emit,
            NoteKind::Checkpoint,
            NoteKind::Audit,
            NoteKind::Host,
            NoteKind::Terms,
        ];
        records.extend(notes.map(|kind| {
            Record::Note(Note {
                stream: stream.clone(),
                kind,
                body: vec![32],
                at_ms: 33,
            })
        }));
        records
    }

    /// A variant that is missing here is new: then [`one_of_each`] lacks it, and the format has a new number.
    fn is_known(record: &Record) {
        match record {
            Record::Body(..) | Record::Start(_) | Record::Refund(..) | Record::Resent(..) | Record::Spill(_) => {}
            Record::Session(new) => match new.edge {
                Edge::Root | Edge::Delegated | Edge::Forked => {}
            },
            Record::Update(update) => match &update.transition {
                Transition::Active { .. } | Transition::Interrupted | Transition::CancelAsked => {}
                Transition::Ended(end) => match end.kind {
                    EndKind::Completed | EndKind::Cancelled | EndKind::Failed => {}
                },
            },
            Record::Intent(intent) => match intent.kind {
                OpKind::Completion | OpKind::ToolCall | OpKind::Child | OpKind::Write => {}
            },
            Record::Outcome(outcome) => {
                match outcome.status {
                    OutcomeStatus::Done
                    | OutcomeStatus::Failed
                    | OutcomeStatus::Cancelled
                    | OutcomeStatus::Interrupted => {}
                }
                match EffectResult::read(&outcome.body).expect("an effect's result") {
                    EffectResult::Written(_)
                    | EffectResult::Appended(..)
                    | EffectResult::Deleted
                    | EffectResult::Conflict(_)
                    | EffectResult::TooManyKeys(_)
                    | EffectResult::TooManyBytes(_) => {}
                }
            }
            Record::Observation(seen) => match seen.answer {
                Answer::Body(_) | Answer::Started(_) | Answer::Delivered(_) => {}
            },
            Record::Note(note) => match note.kind {
                NoteKind::Log
                | NoteKind::Progress
                | NoteKind::Emit
                | NoteKind::Checkpoint
                | NoteKind::Audit
                | NoteKind::Host
                | NoteKind::Terms => {}
            },
        }
    }

    #[test]
    fn what_records_are_encoded_as_belongs_to_the_formats_number() {
        let records = one_of_each();
        records.iter().for_each(is_known);
        let encoded = Digest::of(&postcard::to_stdvec(&records).expect("encodes")).to_string();
        // Where the second is another, the first must be: see `schema::VERSION`.
        assert_eq!(
            (super::super::schema::VERSION, encoded.as_str()),
            (5, "6754ffe4ebafc796a2fc747ae098d87e4a4cfc77be22d2e16f799579a29f931c")
        );
    }
}
