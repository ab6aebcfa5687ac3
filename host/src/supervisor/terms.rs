//! What resumes changed of a run's terms: more budget, fewer rights. Each change is a record of the run; whoever goes on with it reads them all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Budget;
use crate::error::Dimension;
use crate::ids::RunId;
use crate::llm::price::Price;
use crate::plugin::grant::Kind;
use crate::store::{NoteKind, Store, StoreError};
use crate::supervisor::start::{AgentStart, RunStart, StartBody};

/// What is other than the start records say. Written as JSON, which a run file shows as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Limits that are these now.
    pub budget: Budget,
    /// Kinds of rights that no agent and no tool of the run has any more.
    pub denied: Vec<Kind>,
    /// Of a run that was imported: what its models cost here. A record never has it.
    #[serde(skip)]
    pub prices: Option<BTreeMap<String, Option<Price>>>,
}

impl Terms {
    /// All changes of a run, later ones over earlier ones.
    ///
    /// # Errors
    /// The journal can't be read, or a change in it is none.
    pub fn of(store: &Store, run: &RunId) -> Result<Self, StoreError> {
        let mut terms = Self::default();
        for (_, note) in store.notes(&run.root(), &[NoteKind::Terms], 0, usize::MAX)? {
            let change = serde_json::from_slice(&note.body)
                .map_err(|e| StoreError::damaged(run, format!("what a resume changed of its terms: {e}")))?;
            terms.change(change);
        }
        Ok(terms)
    }

    /// Whether nothing is changed.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// The body of its record.
    pub fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are JSON")
    }

    /// Puts a later change over these.
    pub fn change(&mut self, later: Self) {
        self.budget = std::mem::take(&mut self.budget).overlaid(&later.budget);
        self.denied.extend(later.denied);
        self.denied.sort();
        self.denied.dedup();
        self.prices = later.prices.or(self.prices.take());
    }

    /// Of a start record, which may be the root's.
    pub fn apply(&self, body: &mut StartBody) {
        self.apply_to_agent(&mut body.agent);
        if let Some(run) = &mut body.run {
            self.apply_to_run(run);
        }
    }

    /// Of an agent, which may be the root.
    pub fn apply_to_agent(&self, agent: &mut AgentStart) {
        agent.rights.take_away(&self.denied);
        if agent.parent.is_none() {
            put(&mut agent.caps, &self.budget.root);
        }
        if let (Some(prices), Some(model)) = (&self.prices, &mut agent.model) {
            model.meant.price = prices.get(&model.meant.model).copied().flatten();
        }
    }

    /// Of what all agents share.
    pub fn apply_to_run(&self, run: &mut RunStart) {
        put(&mut run.tree, &self.budget.tree);
        put(&mut run.child, &self.budget.child);
        if let Some(prices) = &self.prices {
            for alias in run.aliases.values_mut() {
                alias.price = prices.get(&alias.model).copied().flatten();
            }
        }
        for tool in &mut run.tools {
            tool.rights.take_away(&self.denied);
        }
    }

    /// In the words of the flags.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        let limits: Vec<String> = self.budget.items().map(|item| item.flag()).collect();
        if !limits.is_empty() {
            words.push(format!("--budget {}", limits.join(",")));
        }
        if !self.denied.is_empty() {
            let names: Vec<&str> = self.denied.iter().map(|kind| kind.name()).collect();
            words.push(format!("--deny {}", names.join(",")));
        }
        words.join(" ")
    }
}

/// Sets limits over those that are there.
pub fn put(limits: &mut Vec<(Dimension, u64)>, over: &[(Dimension, u64)]) {
    for limit in over {
        limits.retain(|(dimension, _)| *dimension != limit.0);
        limits.push(*limit);
    }
}
