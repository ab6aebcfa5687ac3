//! The limits of a run that was imported: its file says them, and anybody can write one. None of them may allow more than this host's own, unless its
//! operator says so.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Dimension;
use crate::limits::{Limit, Limits, show, word};
use crate::run::resume::each_start;
use crate::store::{RunRow, Store};

/// The limits that a run began with, but for those that are the process's own: of its compiler, its threads, and the clock of a replay.
pub(super) fn in_this_process(recorded: &Limits, today: &Limits) -> Limits {
    Limits {
        replay_wall: today.replay_wall,
        compile_wall: today.compile_wall,
        compile_cpu: today.compile_cpu,
        compile_address_space: today.compile_address_space,
        compile_code: today.compile_code,
        compile_parallel: today.compile_parallel,
        compile_cache: today.compile_cache,
        threads: today.threads,
        ..recorded.clone()
    }
}

/// Whether a run may be told again under the limits that it began with.
///
/// # Errors
/// It was imported, and they allow more than `own`: in words.
pub(super) fn may_be_told(row: &RunRow, recorded: &Limits, own: &Limits) -> Result<(), String> {
    if row.imported.is_none() {
        return Ok(());
    }
    // A replay has a clock of its own, and keeps as many descriptors free as the process does.
    let limits = Limits {
        step_wall: own.step_wall,
        start_wall: own.start_wall,
        fds: own.fds,
        ..in_this_process(recorded, own)
    };
    none_is_looser(&limits, own)
}

/// Whether a run may go on under the limits that it began with, its agents under those that their starts name.
///
/// # Errors
/// It was imported, and they allow more than `own`, or a start is none of its agent's: in words.
pub(super) fn may_hold(store: &Store, row: &RunRow, recorded: &Limits, own: &Limits) -> Result<(), String> {
    if row.imported.is_none() {
        return Ok(());
    }
    let mut limits = in_this_process(recorded, own);
    let (mut depths, mut alive) = (BTreeMap::new(), BTreeSet::new());
    each_start(store, &row.id, |session, body| {
        let agent = body.agent;
        // By that it is told which limits are the agent's.
        if agent.parent.as_ref() != session.parent.as_ref().map(|address| &address.session) {
            let session = &session.session;
            return Err(format!(
                "a start of session {session} names another parent than its row"
            ));
        }
        let above = agent.parent.as_ref().map(|parent| depths.get(&parent.number));
        let deeper = above.map_or(Some(0), |above: Option<&u32>| above?.checked_add(1));
        if deeper != Some(agent.depth) {
            let session = &session.session;
            return Err(format!(
                "a start of session {session} says that it is at another depth than it is"
            ));
        }
        depths.insert(session.session.number, agent.depth);
        if agent.parent.is_none() {
            limits.restart_attempts = limits.restart_attempts.max(u64::from(agent.max_attempts));
            return Ok(());
        }
        if session.result.is_none() {
            alive.insert(session.session.number);
        }
        for (dimension, most) in agent.caps {
            match dimension {
                Dimension::Iterations if most > own.iterations_child => {
                    limits.iterations_child_max = limits.iterations_child_max.max(most);
                }
                Dimension::JournalBytes => limits.journal_bytes = limits.journal_bytes.max(most),
                _ => {}
            }
        }
        Ok(())
    })?;
    let deepest = depths.values().max().copied().unwrap_or_default();
    limits.delegation_depth = limits.delegation_depth.max(deepest.into());
    limits.delegation_alive = limits.delegation_alive.max(alive.len() as u64);
    limits.delegation_total = limits.delegation_total.max(depths.len().saturating_sub(1) as u64);
    none_is_looser(&limits, own)
}

fn none_is_looser(limits: &Limits, own: &Limits) -> Result<(), String> {
    let looser = limits.looser_than(own);
    if looser.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = looser.into_iter().map(|row| told(row, limits, own)).collect();
    Err(format!(
        "it was imported, and its file allows more than this host's own limits do: {}",
        words.join("; ")
    ))
}

/// A limit of the file beside this host's own, and the flag that accepts it.
fn told(row: &Limit, limits: &Limits, own: &Limits) -> String {
    let value = |limits: &Limits| limits.get(row.key).unwrap_or(row.default);
    let (there, here) = (value(limits), value(own));
    let accepted = match (row.min..=row.max).contains(&there) {
        true => format!("accept it with --set limits.{}={}", row.key, word(there, row.unit)),
        false => format!(
            "no host may have that: it is from {} to {}",
            show(row.min, row.unit),
            show(row.max, row.unit)
        ),
    };
    format!(
        "limits.{} is {} there and {} here ({accepted})",
        row.key,
        show(there, row.unit),
        show(here, row.unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looser_is_named_with_both_values_and_the_flag() {
        let own = Limits::default();
        let file = Limits {
            memory: 128 << 20,
            disk_reserve: 0,
            step_wall: 1_000,
            ..own.clone()
        };
        assert_eq!(none_is_looser(&own, &own), Ok(()));
        assert_eq!(
            none_is_looser(&file, &own).unwrap_err(),
            "it was imported, and its file allows more than this host's own limits do: \
             limits.memory is 128 MiB there and 64 MiB here (accept it with --set limits.memory=128MiB); \
             limits.disk_reserve is 0 bytes there and 16 MiB here (accept it with --set limits.disk_reserve=0)"
        );
    }

    #[test]
    fn no_flag_is_told_that_no_host_takes() {
        let own = Limits::default();
        for (attempts, told) in [
            (1_000, "accept it with --set limits.restart.attempts=1000"),
            (1_001, "no host may have that: it is from 1 to "),
        ] {
            let file = Limits {
                restart_attempts: attempts,
                ..own.clone()
            };
            let refused = none_is_looser(&file, &own).unwrap_err();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn what_is_the_processes_own_is_as_it_is_today() {
        let own = Limits::default();
        let file = Limits {
            compile_wall: 3_600_000,
            threads: 1_024,
            replay_wall: 3_600_000,
            ..own.clone()
        };
        assert_eq!(in_this_process(&file, &own), own);
    }
}
