//! What to run, and how it ended: the library's words for a command line's run.

use std::path::PathBuf;

use crate::amounts::Amounts;
use crate::ids::{RunId, SessionId};
use crate::run::WayOn;
use crate::run::view::status_name;
use crate::session::audit::Denials;
use crate::store::SessionRow;

pub use crate::config::Budget;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct RunSpec {
    /// The strategy: a path (it has a slash or ends in `.wasm`) or a name.
    pub plugin: String,
    /// The task's prompt.
    pub task: String,
    /// A JSON object of named inputs.
    pub inputs: Option<String>,
    /// `[PLUGIN=]GRANT`, in the order given; those of the configuration come first.
    pub allow: Vec<String>,
    /// `TOOL=GRANT`: what a tool may do whichever agent calls it.
    pub own: Vec<String>,
    /// Defaults taken away: `llm`, `blackboard`, `delegation`, `lessons`.
    pub deny: Vec<String>,
    /// `[PREFIX=]PATH` of further tools.
    pub tools: Vec<String>,
    /// `provider/name` or an alias; none: the configured default.
    pub model: Option<String>,
    /// The script of the scripted provider.
    pub script: Option<PathBuf>,
    /// Limits of the run.
    pub budget: Budget,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOutcome {
    /// The run.
    pub run: RunId,
    /// The root's exit reason by name; `interrupted` when it can be resumed.
    pub exit: String,
    /// The process's exit code, by the rules of the command line.
    pub code: u8,
    /// The root's own judgement: achieved, partly-achieved, not-achieved (also when there is no report).
    pub outcome: String,
    /// What the root returned, where it did.
    pub answer: Option<String>,
    /// Its last checkpoint, where it returned nothing.
    pub checkpoint: Option<String>,
    /// The structured result of the one or the other, JSON text.
    pub result: Option<String>,
    /// Blackboard entries worth keeping.
    pub artifacts: Vec<String>,
    /// What it could not find.
    pub open_questions: Vec<String>,
    /// What went wrong: kind and words.
    pub error: Option<(String, String)>,
    /// How a fork of it goes on, where it ended for want of something.
    pub way_on: Option<WayOn>,
    /// Keys of the limits that ended sub-agents, and how many agents each.
    pub used_up: Vec<(String, u64)>,
    /// What the tree spent.
    pub spent: Amounts,
    /// Closing calls.
    pub closing: u64,
    /// Iterations given back.
    pub refunded: u64,
    /// Calls sent again after a crash.
    pub resent: u64,
    /// What those may have cost before, as far as that was lost: the most that it can have been. No agent is charged for it, the tree's limits are.
    pub lost: Amounts,
    /// Every agent of the run, the root first.
    pub agents: Vec<AgentSummary>,
    /// Rights that were missing, over all of the run.
    pub denials: Denials,
}

/// One agent in an outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSummary {
    /// Its session.
    pub id: SessionId,
    /// Who delegated to it.
    pub parent: Option<SessionId>,
    /// What it is for.
    pub role: String,
    /// How its life stands.
    pub status: String,
    /// Its own judgement.
    pub outcome: Option<String>,
    /// Why it ended.
    pub exit: Option<String>,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// How often it was started.
    pub attempts: u32,
    /// What it spent, its children's tokens, money, calls and bytes included.
    pub spent: Amounts,
}

impl AgentSummary {
    /// As its row says.
    pub(super) fn of(row: &SessionRow) -> Self {
        Self {
            id: row.session.clone(),
            parent: row.parent.as_ref().map(|p| p.session.clone()),
            role: row.role.clone(),
            status: status_name(row.status).to_owned(),
            outcome: row.outcome.clone(),
            exit: row.exit.clone(),
            error: row.error.clone(),
            attempts: row.attempt,
            spent: row.spent,
        }
    }
}
