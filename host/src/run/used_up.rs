//! How a run goes on that ended for want of something: its end is final, and a fork of it takes its place, with more of what its budget lacked, or with a
//! model that answers.

use std::collections::HashSet;

use crate::config::{Budget, BudgetKey, Item, Scope as Whom};
use crate::error::{Dimension, RefusalKind};
use crate::ids::{Scope, StreamId};
use crate::run::HostError;
use crate::run::change::limits_of;
use crate::run::fork::{exhausted, unanswered};
use crate::run::resume::{as_it_stands, first_start, may_go_on};
use crate::run::view::status_name;
use crate::store::{Answer, Observation, RunRow, Store};

/// How a fork goes on that takes the place of a run which has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayOn {
    /// With more of what was used up: the keys of the limits to raise, as `--budget` takes them. The root's own, the whole run's, or both where they are
    /// alike, in the order in which they were met.
    Raised(Vec<String>),
    /// As it is: it asks the model again that did not answer.
    AskedAgain,
}

/// How a fork of a run goes on, from its row as it ended. None where it may not be forked here, or its root lacked nothing.
pub(super) fn way_on(store: &Store, row: &RunRow) -> Result<Option<WayOn>, HostError> {
    let root = row.id.root();
    let last = StreamId {
        attempt: store.session(&root)?.attempt,
        session: root,
        scope: Scope::ROOT,
    };
    let seen = store.observations(&last)?;
    let lacked = lacked(store, row, &last, &seen)?;
    let asks_again = lacked.is_empty() && ended_itself(row) && unanswered(store, &last, &seen)?.is_some();
    if (lacked.is_empty() && !asks_again) || may_go_on(store, row).is_err() {
        return Ok(None);
    }
    if asks_again {
        return Ok(Some(WayOn::AskedAgain));
    }
    let Some(shared) = first_start(store, &row.id)?.run else {
        return Ok(None);
    };
    let (agent, shared, _) = as_it_stands(store, &row.id, shared)?;
    let has = limits_of(&agent, &shared);
    let keys: Vec<String> = lacked
        .into_iter()
        .flat_map(|dimension| lowest(&has, dimension))
        .collect();
    Ok((!keys.is_empty()).then_some(WayOn::Raised(keys)))
}

/// What the root's last attempt was told is used up, and what ended it without a word to it. Not the time of an agent that did not wait for anything: it is
/// stopped while it computes, and would only be stopped there again.
fn lacked(store: &Store, row: &RunRow, last: &StreamId, seen: &[Observation]) -> Result<Vec<Dimension>, HostError> {
    let mut all: Vec<Dimension> = seen.iter().filter_map(exhausted).collect();
    match ended_by(row) {
        Some(Dimension::WallClockMs) if !waited(store, last, seen)? => {}
        dimension => all.extend(dimension),
    }
    let mut lacked = Vec::new();
    for dimension in all {
        if !lacked.contains(&dimension) {
            lacked.push(dimension);
        }
    }
    Ok(lacked)
}

/// The dimension of a budget that ended a run. Words that name no limit of one are about the limit of a single step.
pub(super) fn ended_by(row: &RunRow) -> Option<Dimension> {
    let (kind, words) = row.error.as_ref()?;
    let dimension = RefusalKind::dimension_in(kind)?;
    (dimension == Dimension::WallClockMs || BudgetKey::named(words).is_some()).then_some(dimension)
}

/// Whether a root gave its task up by itself, or part of it.
fn ended_itself(row: &RunRow) -> bool {
    match row.exit.as_deref() {
        Some("returned") => row.outcome.as_deref() != Some("achieved"),
        exit => exit == Some("failed"),
    }
}

/// Whether the end of something that an agent had begun did not come to it any more.
fn waited(store: &Store, stream: &StreamId, seen: &[Observation]) -> Result<bool, HostError> {
    let told = seen.iter().filter_map(|seen| match seen.answer {
        Answer::Delivered(op) => Some(op),
        Answer::Body(_) | Answer::Started(_) => None,
    });
    let told: HashSet<u32> = told.collect();
    let begun = store.operations(stream)?;
    Ok(begun.iter().any(|row| !told.contains(&row.intent.op)))
}

/// The keys of the lowest limits in this dimension that bind the root.
fn lowest(has: &Budget, dimension: Dimension) -> Vec<String> {
    let limits = [Whom::Root, Whom::Tree].into_iter().filter_map(|scope| {
        let value = has.get(scope, dimension)?;
        Some(Item {
            scope,
            dimension,
            value,
        })
    });
    let limits: Vec<Item> = limits.collect();
    let least = limits.iter().map(|item| item.value).min();
    let least = limits.iter().filter(|item| Some(item.value) == least);
    least.map(Item::key).collect()
}

/// Why a run that has ended can't go on, and how a fork of it does.
pub(super) fn has_ended(store: &Store, row: &RunRow) -> HostError {
    HostError::Ended {
        run: row.id.clone(),
        status: status_name(row.status),
        way_on: way_on(store, row).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_limit_is_the_one_to_raise_and_both_where_they_are_alike() {
        let keys = |budget: &str| lowest(&Budget::parse(budget).expect("a budget"), Dimension::CostMicroUsd);
        assert_eq!(keys("usd=1,tree.usd=2"), ["usd"]);
        assert_eq!(keys("usd=2,tree.usd=1"), ["tree.usd"]);
        assert_eq!(keys("usd=1,tree.usd=1"), ["usd", "tree.usd"]);
        assert_eq!(keys("iterations=1,child.usd=1"), [""; 0]);
    }
}
