//! What resumes changed of a run's terms: more budget, fewer rights. Each change is a record of the run; whoever goes on with it reads them all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::amounts::Amounts;
use crate::config::Budget;
use crate::error::Dimension;
use crate::ids::RunId;
use crate::ledger::Caps;
use crate::limits::Limits;
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
    /// Of a run that was imported: what its children may have here. A record never has it.
    #[serde(skip)]
    pub children: Option<ChildTerms>,
}

/// What a child may have whose start is the word of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildTerms {
    /// Its limits where it names none.
    absent: Caps,
    /// The most that it may name.
    most: Caps,
}

impl ChildTerms {
    /// Those of a host that gives its children `own` under these limits.
    pub fn new(own: &Caps, limits: &Limits) -> Self {
        let (mut absent, mut most) = (*own, *own);
        let iterations = own.get(Dimension::Iterations);
        absent.set(Dimension::Iterations, iterations.unwrap_or(limits.iterations_child));
        most.set(Dimension::Iterations, iterations.unwrap_or(limits.iterations_child_max));
        let journal = own.get(Dimension::JournalBytes).unwrap_or(limits.journal_bytes);
        for caps in [&mut absent, &mut most] {
            caps.set(Dimension::JournalBytes, journal.min(limits.journal_bytes));
        }
        Self { absent, most }
    }

    /// The limits of a child that names these.
    fn bound(&self, caps: &mut Vec<(Dimension, u64)>) {
        for (dimension, value) in caps.iter_mut() {
            *value = self.most.get(*dimension).map_or(*value, |most| most.min(*value));
        }
        for (dimension, value) in self.absent.iter() {
            if caps.iter().all(|(named, _)| *named != dimension) {
                caps.push((dimension, value));
            }
        }
    }
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
        self.children = later.children.or(self.children.take());
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
        } else if let Some(children) = &self.children {
            children.bound(&mut agent.caps);
            // Nothing is set aside for it: all that it uses counts at its parent and in the whole run.
            agent.allotment = Amounts::ZERO;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_out_of_a_file_has_limits_of_this_host() {
        let limits = Limits::default();
        let own: Caps = [(Dimension::Tokens, 70)].into_iter().collect();
        let children = ChildTerms::new(&own, &limits);
        let mut none = Vec::new();
        children.bound(&mut none);
        let named: Caps = none.iter().copied().collect();
        assert_eq!(named.get(Dimension::Iterations), Some(limits.iterations_child));
        assert_eq!(named.get(Dimension::JournalBytes), Some(limits.journal_bytes));
        assert_eq!(named.get(Dimension::Tokens), Some(70));
        let most = limits.iterations_child_max;
        for (dimension, asked, has) in [
            (Dimension::Iterations, most, most),
            (Dimension::Iterations, most + 1, most),
            (Dimension::JournalBytes, u64::MAX, limits.journal_bytes),
            (Dimension::Tokens, 69, 69),
            (Dimension::Tokens, 71, 70),
            (Dimension::Fuel, 5, 5),
        ] {
            let mut caps = vec![(dimension, asked)];
            children.bound(&mut caps);
            assert_eq!(caps[0], (dimension, has));
        }
        let own: Caps = [(Dimension::Iterations, 5)].into_iter().collect();
        let mut caps = vec![(Dimension::Iterations, 400)];
        ChildTerms::new(&own, &limits).bound(&mut caps);
        assert_eq!(caps[0], (Dimension::Iterations, 5));
    }
}
