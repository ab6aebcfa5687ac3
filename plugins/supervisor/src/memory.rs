//! What the supervisor keeps on the blackboard, so that a new attempt goes on where the last one ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::board::{Board, Grade, State};
use crate::host::Host;
use crate::plan::SubTask;

/// The space.
pub(crate) const SPACE: &str = "notes";
/// The key of the plan and of where it stands.
const STATE: &str = "plan/state";

/// The plan and where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Whose it is: the space may be shared with other runs.
    session: String,
    /// The sub-tasks as they are now.
    tasks: Vec<SubTask>,
    /// Which sub-task each sub-agent has, in the order in which they were started, and at which try.
    starts: Vec<Start>,
    /// What was judged, by sub-task.
    grades: BTreeMap<String, Grade>,
}

/// A sub-agent that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) task: String,
    pub(crate) nth: u32,
}

impl Memory {
    /// A memory of nothing yet.
    pub(crate) fn new(host: &impl Host) -> Self {
        Self {
            session: host.session(),
            ..Self::default()
        }
    }

    /// What this session's last attempt kept, if it did.
    pub(crate) fn of_last_attempt(host: &impl Host) -> Option<Self> {
        let kept: Self = serde_json::from_str(&host.kept(STATE)?).ok()?;
        (kept.session == host.session() && !kept.tasks.is_empty()).then_some(kept)
    }

    /// Keeps where the board stands.
    pub(crate) fn keep(&mut self, board: &Board, host: &impl Host) {
        self.tasks = board.pieces.iter().map(|piece| piece.task.clone()).collect();
        let graded = board.pieces.iter().filter_map(|piece| match piece.state {
            State::Good(grade) => Some((piece.task.id.clone(), grade)),
            _ => None,
        });
        self.grades = graded.collect();
        if let Ok(json) = serde_json::to_string(self) {
            host.keep(STATE, &json);
        }
    }

    /// Notes that a sub-agent is about to be started. It is kept before the start, so that none is forgotten.
    pub(crate) fn starts(&mut self, task: &str, nth: u32) {
        self.starts.push(Start {
            task: task.to_owned(),
            nth,
        });
    }

    /// The start that was noted last did not happen.
    pub(crate) fn did_not_start(&mut self) {
        self.starts.pop();
    }

    /// Whether anything was ever started.
    pub(crate) fn has_starts(&self) -> bool {
        !self.starts.is_empty()
    }

    /// Forgets starts that did not come to be: there are only so many sub-agents. Answers those that did.
    pub(crate) fn matched(&mut self, children: usize) -> Vec<Start> {
        self.starts.truncate(children);
        self.starts.clone()
    }

    pub(crate) fn tasks(&self) -> Vec<SubTask> {
        self.tasks.clone()
    }

    pub(crate) fn grade(&self, task: &str) -> Option<Grade> {
        self.grades.get(task).copied()
    }
}

/// The key of a sub-task's result.
pub(crate) fn result_key(task: &str) -> String {
    format!("result/{task}")
}

/// The entries that a report names.
pub(crate) fn entries(board: &Board) -> Vec<String> {
    let results = board.pieces.iter().filter(|piece| piece.text().is_some());
    let results = results.map(|piece| format!("{SPACE}/{}", result_key(&piece.task.id)));
    std::iter::once(format!("{SPACE}/{STATE}")).chain(results).collect()
}
