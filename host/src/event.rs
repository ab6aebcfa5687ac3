//! What a run does, as one typed stream: the terminal's tree, JSON lines, reports and tests are consumers of it, and
//! nothing has hooks of its own.
//!
//! An event is *durable* (a view of a committed record, or a word of the host on its limits and its machine) or *ephemeral* (text as it comes, progress),
//! which may be dropped and is never the only place of a fact. Foreign text in events is not cleaned: each sink does that for itself.

mod emitted;
mod queue;

use serde::{Deserialize, Serialize};

use crate::amounts::Amounts;
use crate::error::{Dimension, Refusal};
use crate::ids::{Digest, RunId, SessionId};

pub use emitted::Piece;
pub use queue::{EventReceiver, Events};

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Whose event: `RUN.N`.
    #[serde(with = "session_text")]
    pub session: SessionId,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Which run begins, or goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Beginning {
    /// Its id.
    pub run: RunId,
    /// The root's strategy.
    pub strategy: String,
    /// The strategy's bytes.
    #[serde(with = "crate::ids::digest_text")]
    pub digest: Digest,
    /// The task's prompt.
    pub task: String,
    /// `provider/name` of the root's default model.
    pub model: Option<String>,
    /// The root's limits; a dimension that is absent has none.
    pub budget: Vec<(Dimension, u64)>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The run began.
    RunStarted(Beginning),
    /// A run goes on from its journal. First of what a resume tells: what was told before is not told again.
    Resumed {
        /// What goes on.
        #[serde(flatten)]
        of: Beginning,
        /// How many observations of its root are told again before it goes on live.
        observations: u64,
    },
    /// An agent's attempt began.
    SessionStarted {
        /// Who delegated to it: `RUN.N`.
        parent: Option<String>,
        /// What it is for: `root` for the root.
        role: String,
        /// The strategy's name.
        strategy: String,
        /// 1 for the first.
        attempt: u32,
    },
    /// An agent's attempt ended by a fault of its own, and another begins after a wait.
    SessionRestarts {
        /// The next attempt.
        attempt: u32,
        /// How the last one ended, in words.
        cause: String,
        /// The wait, in milliseconds.
        after_ms: u64,
    },
    /// A completion was sent.
    CompletionStarted {
        /// The operation: `7`, or `7.2` inside a tool call.
        op: String,
        /// `provider/name`.
        model: String,
        /// Which iteration of the agent this is, from 1; none for the closing call.
        iteration: Option<u64>,
    },
    /// Text of a completion as it comes. Ephemeral.
    CompletionText {
        /// The operation.
        op: String,
        /// What came.
        text: String,
    },
    /// A try of a completion broke off and starts again: what was shown of it is void. Ephemeral.
    CompletionRestarted {
        /// The operation.
        op: String,
        /// Why.
        reason: String,
    },
    /// A completion ended.
    CompletionEnded {
        /// The operation.
        op: String,
        /// What it cost.
        charged: Amounts,
        /// Why it failed.
        error: Option<Refusal>,
    },
    /// A tool call began.
    ToolStarted {
        /// The operation.
        op: String,
        /// The tool.
        tool: String,
        /// Its arguments, cut.
        arguments: String,
    },
    /// A tool call ended.
    ToolEnded {
        /// The operation.
        op: String,
        /// The tool.
        tool: String,
        /// How long it took.
        ms: u64,
        /// Why it failed.
        error: Option<Refusal>,
    },
    /// The blackboard was written.
    Wrote {
        /// The space.
        space: String,
        /// The key.
        key: String,
        /// The entry's version; none when it was removed.
        version: Option<u64>,
    },
    /// What the agent says that it is doing. Ephemeral.
    Progress {
        /// In its words.
        message: String,
        /// From 0 to 1.
        fraction: Option<f32>,
    },
    /// Text of the agent's answer as it comes.
    Emit {
        /// What came.
        text: String,
    },
    /// A line of a guest's log.
    Log {
        /// Its level: trace, debug, info, warn, error.
        level: String,
        /// The plugin that wrote it.
        plugin: String,
        /// The line.
        message: String,
    },
    /// A report of what there is so far was kept.
    Checkpoint,
    /// A right was used: the first time by this instance on this target. How often is in the audit.
    Used {
        /// Who used it.
        plugin: String,
        /// The plugin's bytes.
        #[serde(with = "crate::ids::digest_text")]
        digest: Digest,
        /// The operation, or the tool call, that it was used in first; none for a look of the strategy itself.
        call: Option<String>,
        /// ask, spawn, read, write, send.
        way: String,
        /// The right, as `--allow` takes it, or the name of a kind that is had by default.
        grant: String,
        /// What it was used on; none for all further targets.
        target: Option<String>,
        /// How often.
        count: u64,
        /// How many of those times it came to an error.
        failed: u64,
    },
    /// A right was missing.
    Denied {
        /// Who asked.
        plugin: String,
        /// The plugin's bytes.
        #[serde(with = "crate::ids::digest_text")]
        digest: Digest,
        /// The operation, or the tool call, that it was denied in first; none for a look of the strategy itself.
        call: Option<String>,
        /// The right that would allow it, where one would; of further denials the kind of right that was missing.
        grant: Option<String>,
        /// What it would have been used on; none for all further ones together.
        target: Option<String>,
        /// What was refused, in words.
        message: String,
        /// The flags that would allow it.
        flags: Vec<String>,
        /// How often.
        count: u64,
    },
    /// A limit was met that the guest may live with.
    LimitHit {
        /// The configuration key below `limits.`.
        limit: String,
        /// Its value.
        value: u64,
        /// In words.
        message: String,
    },
    /// The host noticed something that a person should know.
    Notice {
        /// In words.
        message: String,
    },
    /// What the agent has spent so far, and what is left where there is a limit.
    Spent {
        /// In all, over all attempts.
        spent: Amounts,
        /// The rest, for dimensions that have a limit.
        remaining: Vec<(Dimension, u64)>,
        /// Iterations given back.
        refunded: u64,
    },
    /// An agent ended.
    SessionEnded {
        /// The contract's exit reason by name.
        exit: String,
        /// The contract's outcome by name, where there is a report.
        outcome: Option<String>,
        /// What went wrong, in words.
        error: Option<String>,
        /// In all, over all attempts.
        spent: Amounts,
    },
    /// The run was suspended: it can be resumed.
    Suspended,
    /// The run ended.
    RunEnded {
        /// The process's exit code.
        code: u8,
    },
}

impl EventKind {
    /// Whether it may be dropped: all that it tells stands elsewhere in the end.
    pub const fn is_ephemeral(&self) -> bool {
        matches!(
            self,
            Self::CompletionText { .. } | Self::CompletionRestarted { .. } | Self::Progress { .. }
        )
    }

    /// Whether it is the last word on a run, which every reader gets.
    const fn is_last(&self) -> bool {
        matches!(self, Self::RunEnded { .. } | Self::Suspended)
    }
}

/// The wall clock, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

mod session_text {
    use crate::ids::SessionId;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &SessionId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SessionId, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
