//! What the store answers with: runs, sessions, operations and entries as plain data.

use serde::{Deserialize, Serialize};

use super::record::{Edge, Intent, NewSession, Outcome, ReturnAddress, Status};
use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::ids::{Digest, RunId, SessionId, StreamId};

/// A new run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Its id, chosen at random by the caller.
    pub id: RunId,
    /// The root's task.
    pub task: String,
    /// The root's strategy by name.
    pub strategy: String,
    /// The folder in which the command was given.
    pub cwd: String,
    /// The command, without secrets.
    pub argv: Vec<String>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// A run as its row says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// The root's task.
    pub task: String,
    /// The root's strategy by name.
    pub strategy: String,
    /// The folder in which the command was given.
    pub cwd: String,
    /// The command.
    pub argv: Vec<String>,
    /// How its life stands, as last written: a run whose host died says `Active` and has no owner.
    pub status: Status,
    /// The root's exit reason by name.
    pub exit: Option<String>,
    /// The root's own judgement by name.
    pub outcome: Option<String>,
    /// What went wrong: kind and words.
    pub error: Option<(String, String)>,
    /// The start of the answer.
    pub answer: Option<String>,
    /// What the tree spent.
    pub spent: Amounts,
    /// Closing calls.
    pub closing: u64,
    /// Iterations given back.
    pub refunded: u64,
    /// Calls sent again after a crash.
    pub resent: u64,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    /// Milliseconds since 1970; none while it can go on.
    pub ended_ms: Option<u64>,
    /// How it came here, where it was not run here from its beginning.
    pub imported: Option<Imported>,
    /// Where it goes on from, where it is a fork.
    pub forked: Option<ForkPoint>,
}

/// That a run came out of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What may be done with it.
    pub what_for: WhatFor,
}

/// What may be done with an imported run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhatFor {
    /// All that may be done with any run.
    Everything,
    /// Secrets were taken out of it, so that it is not what was recorded any more: it can be looked at.
    Viewing,
}

/// The place in another run from which a fork goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    /// The other run.
    pub run: RunId,
    /// The number of the root's last observation that was taken over.
    pub observation: u64,
}

impl From<NewRun> for RunRow {
    fn from(new: NewRun) -> Self {
        Self {
            id: new.id,
            task: new.task,
            strategy: new.strategy,
            cwd: new.cwd,
            argv: new.argv,
            status: Status::Active,
            exit: None,
            outcome: None,
            error: None,
            answer: None,
            spent: Amounts::ZERO,
            closing: 0,
            refunded: 0,
            resent: 0,
            started_ms: new.at_ms,
            ended_ms: None,
            imported: None,
            forked: None,
        }
    }
}

/// A change of a run's row: fields that are `None` stay as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunUpdate {
    /// How its life stands.
    pub status: Option<Status>,
    /// The root's exit reason by name.
    pub exit: Option<String>,
    /// The root's own judgement by name.
    pub outcome: Option<String>,
    /// What went wrong: kind and words.
    pub error: Option<(String, String)>,
    /// The start of the answer.
    pub answer: Option<String>,
    /// What the tree spent.
    pub spent: Option<Amounts>,
    /// Closing calls.
    pub closing: Option<u64>,
    /// Iterations given back.
    pub refunded: Option<u64>,
    /// Calls sent again after a crash.
    pub resent: Option<u64>,
    /// Milliseconds since 1970.
    pub ended_ms: Option<u64>,
}

impl RunRow {
    /// True where secrets were taken out of it before it came here.
    pub fn is_for_viewing(&self) -> bool {
        let what_for = self.imported.as_ref().map(|imported| imported.what_for);
        what_for == Some(WhatFor::Viewing)
    }

    pub(super) fn apply(&mut self, update: RunUpdate) {
        self.status = update.status.unwrap_or(self.status);
        self.exit = update.exit.or(self.exit.take());
        self.outcome = update.outcome.or(self.outcome.take());
        self.error = update.error.or(self.error.take());
        self.answer = update.answer.or(self.answer.take());
        self.spent = update.spent.unwrap_or(self.spent);
        self.closing = update.closing.unwrap_or(self.closing);
        self.refunded = update.refunded.unwrap_or(self.refunded);
        self.resent = update.resent.unwrap_or(self.resent);
        self.ended_ms = update.ended_ms.or(self.ended_ms);
    }
}

/// A session as its row says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub session: SessionId,
    /// Who delegated to it, and where its result goes.
    pub parent: Option<ReturnAddress>,
    /// How it came to be.
    pub edge: Edge,
    /// What it is for.
    pub role: String,
    /// The task's prompt.
    pub task: String,
    /// The strategy's name.
    pub strategy: String,
    /// The strategy's bytes.
    pub digest: Digest,
    /// `provider/name` of its default model.
    pub model: Option<String>,
    /// Limits of its own budget; a dimension that is absent has none.
    pub budget: Vec<(Dimension, u64)>,
    /// Its toolsets.
    pub toolsets: Vec<String>,
    /// How its life stands.
    pub status: Status,
    /// The running attempt, 0 before the first.
    pub attempt: u32,
    /// Whether somebody asked for its end.
    pub cancel_asked: bool,
    /// Why it ended: the contract's exit reason by name.
    pub exit: Option<String>,
    /// Its own judgement.
    pub outcome: Option<String>,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// The final `run-result`, encoded by the layer above.
    #[serde(with = "serde_bytes")]
    pub result: Option<Vec<u8>>,
    /// What it spent so far.
    pub spent: Amounts,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    /// Milliseconds since 1970.
    pub updated_ms: u64,
    /// Milliseconds since 1970; none while it can go on.
    pub ended_ms: Option<u64>,
}

impl SessionRow {
    pub(super) fn new(new: &NewSession) -> Self {
        let new = new.clone();
        Self {
            session: new.session,
            parent: new.parent,
            edge: new.edge,
            role: new.role,
            task: new.task,
            strategy: new.strategy,
            digest: new.digest,
            model: new.model,
            budget: new.budget,
            toolsets: new.toolsets,
            status: Status::Spawned,
            attempt: 0,
            cancel_asked: false,
            exit: None,
            outcome: None,
            error: None,
            result: None,
            spent: Amounts::ZERO,
            started_ms: new.at_ms,
            updated_ms: new.at_ms,
            ended_ms: None,
        }
    }
}

/// An operation: its intent, and its outcome once there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationRow {
    /// How it began.
    pub intent: Intent,
    /// How it ended; none while it is open.
    pub outcome: Option<Outcome>,
}

/// How large a session's part of the journal is, over all its attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalSize {
    /// Records.
    pub records: u64,
    /// Bytes of their encoding, without bodies, which belong to the run.
    pub bytes: u64,
}

/// An entry of the blackboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Media type of the value.
    pub media_type: String,
    /// The value.
    pub data: Vec<u8>,
    /// The space's version that this write made.
    pub version: u64,
    /// The session that wrote it, or the label of whoever wrote it from outside a run.
    pub author: String,
    /// The operation that wrote it.
    pub op: Option<(StreamId, u32)>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// The latest write to one key of the blackboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The space's version that this write made.
    pub version: u64,
    /// Who wrote it, as in [`Entry::author`].
    pub author: String,
    /// The key has no entry any more.
    pub deleted: bool,
}

/// An entry of a run's space as it is stored, removed ones included: what a copy of the run is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEntry {
    /// The space's name.
    pub space: String,
    /// Its key.
    pub key: String,
    /// The space's version that this write made.
    pub version: u64,
    /// Whether the write removed it.
    pub deleted: bool,
    /// Media type of the value.
    pub media_type: String,
    /// The value.
    pub data: Vec<u8>,
    /// The session that wrote it.
    pub author: String,
    /// The operation that wrote it.
    pub op: Option<(StreamId, u32)>,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// A space of the blackboard at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceRow {
    /// Its name.
    pub name: String,
    /// Its last version.
    pub version: u64,
    /// How many keys it has.
    pub keys: u64,
    /// Bytes of keys, media types and values.
    pub bytes: u64,
}
