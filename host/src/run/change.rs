//! What a resume is asked to change of a run, checked against what the run has: it may add to budgets and take rights away, nothing else.

use crate::config::{Budget, Item, Scope};
use crate::error::Dimension;
use crate::plugin::grant::{GrantError, Kind};
use crate::supervisor::start::{AgentStart, RunStart};
use crate::supervisor::terms::{Terms, put};

/// Which run to go on with, and under which other terms than it had.
#[derive(Debug, Clone, Default)]
pub struct ResumeSpec {
    /// Its id, or the beginning of it.
    pub run: String,
    /// Limits that are higher than those it has.
    pub budget: Budget,
    /// Kinds of rights that it loses: `fs`, `net`, `secret`, `blackboard`, `llm`, `delegation`, `lessons`.
    pub deny: Vec<String>,
}

/// What a resume can take away.
const DENIABLE: [Kind; 7] = [
    Kind::Fs,
    Kind::Net,
    Kind::Secret,
    Kind::Blackboard,
    Kind::Llm,
    Kind::Delegation,
    Kind::Lessons,
];

impl ResumeSpec {
    /// A run under the terms that it has.
    pub fn of(run: &str) -> Self {
        Self {
            run: run.to_owned(),
            ..Self::default()
        }
    }

    /// What is asked for, as a record of the run.
    ///
    /// # Errors
    /// A kind of right that can't be taken away.
    pub(super) fn terms(&self) -> Result<Terms, GrantError> {
        let denied = self.deny.iter().map(|text| {
            let kind = DENIABLE.into_iter().find(|kind| kind.name() == text);
            kind.ok_or_else(|| {
                let names = DENIABLE.map(Kind::name).join(", ");
                GrantError::new(text, format!("what a resume can take away is {names}"))
            })
        });
        let mut terms = Terms::default();
        terms.change(Terms {
            budget: self.budget.clone(),
            denied: denied.collect::<Result<_, _>>()?,
            prices: None,
            children: None,
        });
        Ok(terms)
    }
}

/// Whether a run may have its terms changed so.
///
/// # Errors
/// What would be less than it has, or a limit where it has none: in words.
pub(super) fn may_change(change: &Terms, agent: &AgentStart, run: &RunStart) -> Result<(), String> {
    let has = limits_of(agent, run);
    for item in change.budget.items() {
        if has.get(item.scope, item.dimension).is_none() {
            return Err(format!(
                "--budget {} would be a limit where it has none, and a resume may only add to its budget",
                item.flag()
            ));
        }
    }
    may_raise(&change.budget, agent, run, "a resume")
}

/// The limits that a run has, those of its children where nobody set any among them.
pub(super) fn limits_of(agent: &AgentStart, run: &RunStart) -> Budget {
    let limits = &run.limits;
    let mut child = vec![
        (Dimension::Iterations, limits.iterations_child),
        (Dimension::JournalBytes, limits.journal_bytes),
    ];
    put(&mut child, &run.child);
    Budget {
        root: agent.caps.clone(),
        child,
        tree: run.tree.clone(),
    }
}

/// Whether these limits may stand in the place of those that a run has; `who` asks for that.
///
/// # Errors
/// What would be less than it has, or more than anything may have: in words.
pub(super) fn may_raise(budget: &Budget, agent: &AgentStart, run: &RunStart, who: &str) -> Result<(), String> {
    let has = limits_of(agent, run);
    for item in budget.items() {
        if let Some(value) = has.get(item.scope, item.dimension).filter(|value| item.value < *value) {
            let had = Item { value, ..item };
            return Err(format!(
                "--budget {} is less than the {had} that it has, and {who} may only add to its budget",
                item.flag()
            ));
        }
    }
    let most = run.limits.iterations_child_max;
    match budget.get(Scope::Child, Dimension::Iterations) {
        Some(asked) if asked > most => Err(format!(
            "--budget child.iterations={asked} is more than any sub-agent may have: {most} (limits.iterations.child_max)"
        )),
        _ => Ok(()),
    }
}
