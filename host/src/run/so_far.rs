//! What a run that has not ended has spent so far, and how it stands.

use std::collections::HashMap;

use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::ledger::is_own;
use crate::run::HostError;
use crate::store::{RunRow, RunState, SessionRow, Status, Store};

/// A run that has not ended, and its agents. Their rows tell what was spent when they last changed: by their operations it is brought up to date.
/// One that nobody owns any more does not go on by itself, and so is interrupted.
pub(super) fn so_far(store: &Store, mut run: RunRow) -> Result<(RunRow, Vec<SessionRow>), HostError> {
    let owned = store.run_state(&run.id)? == RunState::Owned;
    let stands = |status: Status| match status {
        Status::Spawned | Status::Active if !owned => Status::Interrupted,
        other => other,
    };
    let mut rows = store.sessions(&run.id)?;
    let places: HashMap<u32, usize> = rows.iter().zip(0..).map(|(row, at)| (row.session.number, at)).collect();
    let (mut own, mut refunds) = (Vec::new(), 0);
    for row in &rows {
        let spent = store.charged(&row.session)?;
        let refunded = store.refunds(&row.session)?.len() as u64;
        refunds += refunded;
        own.push(spent.minus(&Amounts::of(Dimension::Iterations, refunded)));
    }
    let all = own.iter().fold(Amounts::ZERO, Amounts::plus);
    run.spent = run.spent.max(&all);
    run.refunded = run.refunded.max(refunds);
    // A stop wrote that it is interrupted, and whoever goes on with it writes into its row at its end alone.
    run.status = match run.status {
        Status::Interrupted if owned => Status::Active,
        status => stands(status),
    };
    // Children come after their parents, and count for them.
    for at in (0..rows.len()).rev() {
        let spent = own[at];
        let row = &mut rows[at];
        if !row.status.is_final() {
            row.spent = row.spent.max(&spent);
            row.status = stands(row.status);
        }
        let Some(parent) = row.parent.as_ref().map(|parent| parent.session.number) else {
            continue;
        };
        let counts: Amounts = spent.iter().filter(|(dimension, _)| !is_own(*dimension)).collect();
        if let Some(&above) = places.get(&parent) {
            own[above] = own[above].plus(&counts);
        }
    }
    Ok((run, rows))
}
