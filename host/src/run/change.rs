//! What a resume is asked to change of a run, checked against what the run has: it may add to budgets and take rights away, nothing else.

use crate::config::{Budget, Item, Scope};
use crate::error::Dimension;
use crate::plugin::grant::{GrantError, Kind};
use crate::supervisor::start::{AgentStart, RunStart};
use crate::supervisor::terms::Terms;

/// Which run to go on with, and under which other terms than it had.
#[derive(Debug, Clone, Default)]
pub struct ResumeSpec {
    /// Its id, or the beginning of it.
    pub run: String,
    /// Limits that are higher than those it has.
    pub budget: Budget,
    /// Kinds of rights that it loses: `fs`, `net`, `blackboard`, `llm`, `delegation`, `lessons`.
    pub deny: Vec<String>,
}

/// What a resume can take away.
const DENIABLE: [Kind; 6] = [
    Kind::Fs,
    Kind::Net,
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
            let kind = text.parse::<Kind>()?;
            if DENIABLE.contains(&kind) {
                return Ok(kind);
            }
            let names = DENIABLE.map(Kind::name).join(", ");
            Err(GrantError::new(text, format!("what a resume can take away is {names}")))
        });
        let mut terms = Terms::default();
        terms.change(Terms {
            budget: self.budget.clone(),
            denied: denied.collect::<Result<_, _>>()?,
            prices: None,
        });
        Ok(terms)
    }
}

/// Whether a run may have its terms changed so.
///
/// # Errors
/// What would be less than it has, or a limit where it has none: in words.
pub(super) fn may_change(change: &Terms, agent: &AgentStart, run: &RunStart) -> Result<(), String> {
    let has = Budget {
        root: agent.caps.clone(),
        child: run.child.clone(),
        tree: run.tree.clone(),
    };
    for item in change.budget.items() {
        let asked = format!("--budget {}", item.flag());
        match has.get(item.scope, item.dimension) {
            None => {
                return Err(format!(
                    "{asked} would be a limit where it has none, and a resume may only add to its budget"
                ));
            }
            Some(value) if item.value < value => {
                let had = Item { value, ..item };
                return Err(format!(
                    "{asked} is less than the {had} that it has, and a resume may only add to its budget"
                ));
            }
            Some(_) => {}
        }
    }
    let most = run.limits.iterations_child_max;
    match change.budget.get(Scope::Child, Dimension::Iterations) {
        Some(asked) if asked > most => Err(format!(
            "--budget child.iterations={asked} is more than any sub-agent may have: {most} (limits.iterations.child_max)"
        )),
        _ => Ok(()),
    }
}
