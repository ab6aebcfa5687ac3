//! When an agent is started again: pure, so that it can be read and tested apart. Agents are *transient*, in Erlang's word: started again after a
//! fault of theirs, never after an end that they chose or that was decided for them.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::limits::Limits;

/// What happened to an attempt, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The guest's: a trap, a step or a start that took too long.
    Guest,
    /// The host's: a panic, a lost task.
    Host,
    /// None: it returned, was cancelled, or has used its budget up.
    None,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// That was its last.
    End,
    /// The same attempt, built again from its journal.
    Rebuild,
    /// A new attempt, after a wait.
    Restart(Duration),
}

/// What an agent's earlier attempts tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    /// Attempts so far.
    pub(super) attempts: u32,
    /// At most so many.
    pub(super) max_attempts: u32,
    /// When each restart was, in milliseconds that the agent had been awake.
    pub(super) restarts_ms: Vec<u64>,
    /// Whether this attempt was built again already.
    pub(super) rebuilt: bool,
}

/// Decides. `now_ms` is how long the agent has been awake, and `dice` makes the wait differ from agent to agent.
pub(super) fn next(fault: Fault, history: &History, limits: &Limits, now_ms: u64, dice: &[u8]) -> Next {
    match fault {
        Fault::None => Next::End,
        Fault::Host if history.rebuilt => Next::End,
        Fault::Host => Next::Rebuild,
        Fault::Guest => {
            let since = now_ms.saturating_sub(limits.restart_window);
            let recent = history.restarts_ms.iter().filter(|at| **at >= since).count() as u64;
            if history.attempts >= history.max_attempts || recent >= limits.restart_intensity {
                return Next::End;
            }
            Next::Restart(back_off(limits, history.restarts_ms.len(), dice))
        }
    }
}

/// The wait before the restart after `before` others: it doubles, give or take a fifth, up to the longest.
fn back_off(limits: &Limits, before: usize, dice: &[u8]) -> Duration {
    let doubled = limits
        .restart_backoff
        .saturating_mul(1 << before.min(32))
        .min(limits.restart_backoff_max);
    let mut hash = Sha256::new();
    hash.update(dice);
    hash.update(before.to_le_bytes());
    let roll = u64::from(hash.finalize()[0]);
    // From four to six fifths.
    let wait = doubled.saturating_mul(4 * 255 + 2 * roll) / (5 * 255);
    Duration::from_millis(wait.min(limits.restart_backoff_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(attempts: u32, restarts_ms: &[u64]) -> History {
        History {
            attempts,
            max_attempts: 4,
            restarts_ms: restarts_ms.to_vec(),
            rebuilt: false,
        }
    }

    fn decide(fault: Fault, history: &History, now_ms: u64) -> Next {
        next(fault, history, &Limits::default(), now_ms, b"dice")
    }

    #[test]
    fn a_guests_fault_starts_it_again_until_its_attempts_are_used_up() {
        assert!(matches!(decide(Fault::Guest, &history(1, &[]), 0), Next::Restart(_)));
        assert!(matches!(
            decide(Fault::Guest, &history(3, &[1, 2]), 3),
            Next::Restart(_)
        ));
        assert_eq!(decide(Fault::Guest, &history(4, &[]), 0), Next::End);
        assert_eq!(decide(Fault::None, &history(1, &[]), 0), Next::End);
    }

    #[test]
    fn three_restarts_in_a_minute_are_the_most() {
        let mut often = history(1, &[0, 1, 2]);
        often.max_attempts = 100;
        assert_eq!(decide(Fault::Guest, &often, 60_000), Next::End);
        assert!(
            matches!(decide(Fault::Guest, &often, 60_001), Next::Restart(_)),
            "the first is a minute old"
        );
    }

    #[test]
    fn a_hosts_fault_is_mended_once() {
        let mut once = history(1, &[]);
        assert_eq!(decide(Fault::Host, &once, 0), Next::Rebuild);
        once.rebuilt = true;
        assert_eq!(decide(Fault::Host, &once, 0), Next::End);
    }

    #[test]
    fn waits_double_and_keep_to_their_cap() {
        let limits = Limits::default();
        for (before, middle) in [(0, 100), (1, 200), (2, 400), (5, 3_200), (6, 5_000), (40, 5_000)] {
            for dice in 0..50u8 {
                let wait = back_off(&limits, before, &[dice]).as_millis();
                assert!((middle * 4 / 5..=middle * 6 / 5).contains(&wait), "{before}: {wait}");
            }
        }
        assert_ne!(back_off(&limits, 0, b"a"), back_off(&limits, 0, b"b"));
    }
}
