//! How a run goes on whose budget was used up: its end is final, and a fork of it with more of what it lacked takes its place.

use std::collections::HashSet;

use crate::config::{Budget, Item, Scope as Whom};
use crate::error::{Dimension, RefusalKind};
use crate::ids::{Scope, StreamId};
use crate::run::HostError;
use crate::run::change::limits_of;
use crate::run::fork::exhausted;
use crate::run::resume::{as_it_stands, first_start, may_go_on};
use crate::run::view::status_name;
use crate::store::{Answer, Observation, RunRow, Store};

/// The keys of the limits to raise, as `--budget` takes them: the root's own, the whole run's, or both where they are alike, in the order in which they
/// were met. None where the run may not be forked here, or its root lacked nothing.
pub(super) fn to_raise(store: &Store, row: &RunRow) -> Result<Vec<String>, HostError> {
    let lacked = lacked(store, row)?;
    if lacked.is_empty() || may_go_on(store, row).is_err() {
        return Ok(Vec::new());
    }
    let Some(shared) = first_start(store, &row.id)?.run else {
        return Ok(Vec::new());
    };
    let (agent, shared, _) = as_it_stands(store, &row.id, shared)?;
    let has = limits_of(&agent, &shared);
    Ok(lacked
        .into_iter()
        .flat_map(|dimension| lowest(&has, dimension))
        .collect())
}

/// What the root's last attempt was told is used up, and the time, where it ran out while the root waited for something: an agent that is stopped while
/// it computes would only be stopped there again.
fn lacked(store: &Store, row: &RunRow) -> Result<Vec<Dimension>, HostError> {
    let root = row.id.root();
    let last = StreamId {
        attempt: store.session(&root)?.attempt,
        session: root,
        scope: Scope::ROOT,
    };
    let seen = store.observations(&last)?;
    let used_up = row.error.as_ref().and_then(|(kind, _)| RefusalKind::dimension_in(kind));
    let out_of_time = used_up == Some(Dimension::WallClockMs);
    let mut all: Vec<Dimension> = seen.iter().filter_map(exhausted).collect();
    if out_of_time && waited(store, &last, &seen)? {
        all.push(Dimension::WallClockMs);
    }
    let mut lacked = Vec::new();
    for dimension in all {
        if !lacked.contains(&dimension) {
            lacked.push(dimension);
        }
    }
    Ok(lacked)
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

/// Why a run that has ended can't go on, and which limits a fork of it would have to raise.
pub(super) fn has_ended(store: &Store, row: &RunRow) -> HostError {
    HostError::Ended {
        run: row.id.clone(),
        status: status_name(row.status),
        raise: to_raise(store, row).unwrap_or_default(),
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
