//! The process dies, at every write of the journal and at any time.

use std::time::Instant;

use hermes_tests::Shim;
use hermes_tests::shim::{Action, When};

use crate::recorded::{Fate, Place, Whole, script};

/// Whether sweeps are to leave nothing out.
fn full() -> bool {
    std::env::var_os("HERMES_TEST_FULL").is_some()
}

/// Dies at the n-th of these calls, for each n from 1 on by `step`, until a run comes to its end before that.
fn sweep(calls: &str, path: &str, action: &Action, step: usize) {
    let whole = Whole::run();
    let begun = Instant::now();
    let (mut cases, mut resumed) = (0, 0);
    for n in (1..).step_by(step) {
        let shim = Shim::new().rule(calls, path, When::At(n), action);
        let moment = format!("{action:?} at {calls} {n} of {path}");
        let fate = whole.broken_off(&Place::new(script()), &[shim], &moment);
        cases += 1;
        resumed += usize::from(fate == Fate::Resumed);
        if fate == Fate::Unbroken {
            break;
        }
    }
    println!("{action:?} at {calls} of {path}: {cases} cases, {resumed} resumed, {:?}", begun.elapsed());
    assert!(resumed > 3, "the faults met nothing");
}

#[test]
fn f01_kill_before_a_journal_write() {
    sweep("write", "-wal", &Action::KillBefore, if full() { 1 } else { 29 });
}

#[test]
fn f01_kill_after_a_journal_write() {
    sweep("write", "-wal", &Action::KillAfter, if full() { 1 } else { 31 });
}
