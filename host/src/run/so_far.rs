//! What a run that has not ended has spent so far, and how it stands.

use crate::ledger::Totals;
use crate::run::HostError;
use crate::store::{RunRow, RunState, SessionRow, Status, Store};
use crate::supervisor::{self, RunSoFar};

/// A run that has not ended, and its agents. Their rows tell what was spent when they last changed: by the journal it is brought up to date. One that
/// nobody owns any more does not go on by itself, and so is interrupted.
pub(super) fn so_far(store: &Store, mut run: RunRow) -> Result<(RunRow, Vec<SessionRow>), HostError> {
    let owned = store.run_state(&run.id)? == RunState::Owned;
    let stands = |status: Status| match status {
        Status::Spawned | Status::Active if !owned => Status::Interrupted,
        other => other,
    };
    let RunSoFar {
        mut sessions,
        spent,
        totals,
    } = match run.is_for_viewing() {
        // Its starts may have been left out, and it does not go on.
        true => RunSoFar {
            sessions: store.sessions(&run.id)?,
            spent: run.spent,
            totals: Totals::default(),
        },
        false => supervisor::so_far(store, &run.id)?,
    };
    run.spent = run.spent.max(&spent);
    if let Some(root) = sessions.first() {
        // A stop wrote it, with what the journal doesn't tell.
        run.spent = run.spent.max(&root.spent);
    }
    run.refunded = run.refunded.max(totals.refunded);
    // A stop wrote that it is interrupted, and whoever goes on with it writes into its row at its end alone.
    run.status = match run.status {
        Status::Interrupted if owned => Status::Active,
        status => stands(status),
    };
    for row in &mut sessions {
        row.status = stands(row.status);
    }
    Ok((run, sessions))
}
