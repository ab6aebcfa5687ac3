//! Ends a run for good: one that nobody owns at once, another process's by a request that its owner finds.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bindings::types;
use crate::event::{EventKind, now_ms};
use crate::ids::RunId;
use crate::limits::Limits;
use crate::run::root::{row_update, summary, with_result};
use crate::run::said::Said;
use crate::run::view::status_name;
use crate::run::{AgentSummary, Denials, Host, HostError};
use crate::session::Session;
use crate::store::{Owner, RunRow, RunState, Store, StoreError, Sync};
use crate::supervisor::left;

/// How often it is looked whether the owner has ended the run.
const POLL: Duration = Duration::from_millis(50);

/// What an owner gets beside its agents' graces: to notice, to write down, to let go.
const MARGIN: Duration = Duration::from_secs(10);

/// How a run ended whose end was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// The run.
    pub run: RunId,
    /// completed, failed or cancelled: an end that came before the request stands.
    pub status: String,
    /// The root's exit reason by name.
    pub exit: Option<String>,
    /// The root's own judgement.
    pub outcome: Option<String>,
}

impl RunEnd {
    fn of(row: RunRow) -> Self {
        Self {
            run: row.id,
            status: status_name(row.status).to_owned(),
            exit: row.exit,
            outcome: row.outcome,
        }
    }
}

impl Host {
    /// Ends a run for good. Where no process owns it, what it had under way is not made again, and what there is of an answer stays. Another
    /// process that owns it is asked, and waited for as long as its agents may take; if it ends or lets go meanwhile, the run is ended here.
    ///
    /// # Errors
    /// There is no such run, it has ended, its journal is damaged; [`HostError::NotEnded`] where its owner takes longer: the request stands.
    pub async fn cancel(&self, run: &str) -> Result<RunEnd, HostError> {
        let store = self.store()?;
        let id = store.find_run(run)?;
        match store.take_run(&id).await {
            Ok(owner) => {
                // An end behind damage would be cut off with it.
                store.whole(&id)?;
                match end(&store, &owner).await? {
                    Ended::Now(end) => Ok(end),
                    Ended::Before(row) => Err(HostError::NothingToCancel {
                        run: row.id,
                        status: status_name(row.status),
                    }),
                }
            }
            Err(StoreError::Owned { .. }) => {
                store.request_cancel(&id, now_ms()).await?;
                self.ended_by_owner(&store, &id).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn ended_by_owner(&self, store: &Store, run: &RunId) -> Result<RunEnd, HostError> {
        let deadline = Instant::now() + patience(&self.config().limits);
        loop {
            let row = store.run(run)?;
            if row.status.is_final() {
                return Ok(RunEnd::of(row));
            }
            let taken = match store.run_state(run)? {
                RunState::Owned => None,
                _ => Some(store.take_run(run).await),
            };
            match taken {
                Some(Ok(owner)) => {
                    store.whole(run)?;
                    return Ok(match end(store, &owner).await? {
                        Ended::Now(end) => end,
                        Ended::Before(row) => RunEnd::of(*row),
                    });
                }
                Some(Err(StoreError::Owned { .. })) | None => {}
                Some(Err(error)) => return Err(error.into()),
            }
            if Instant::now() >= deadline {
                return Err(HostError::NotEnded { run: run.clone() });
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// How long a run's agents may take to end, each level of the tree after the one above.
fn patience(limits: &Limits) -> Duration {
    let levels = u32::try_from(limits.delegation_depth)
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    Limits::millis(limits.cancel_grace).saturating_mul(levels) + MARGIN
}

/// How ending a run went.
pub(super) enum Ended {
    /// It ended here.
    Now(RunEnd),
    /// Its end was recorded already.
    Before(Box<RunRow>),
}

/// Ends a run that is ours and that nobody drives.
pub(super) async fn end(store: &Store, owner: &Owner) -> Result<Ended, HostError> {
    let run = owner.run();
    let row = store.run(run)?;
    if row.status.is_final() {
        return Ok(Ended::Before(Box::new(row)));
    }
    let left = left(store, run)?;
    let was_final = left.sessions.first().is_some_and(|root| root.status.is_final());
    // Killed before anything of it was written down, it has no root.
    let result = left.result.unwrap_or_else(|| types::RunResult {
        exit: types::ExitReason::Cancelled,
        report: None,
        attempts: 0,
        spent: Vec::new(),
    });
    let agents = left.sessions.iter().map(AgentSummary::of).collect();
    let said = match left.sessions.first() {
        Some(root) if was_final => Said::recorded(store, root)?,
        _ => result.report.clone().map(Said::Checkpoint),
    };
    let outcome = with_result(
        summary(run, left.spent, left.totals, agents, Denials::default()),
        &result,
        said.as_ref(),
    );
    if !left.records.is_empty() {
        store.append(owner, left.records, None, Sync::Durable).await?;
    }
    // The root's own end came first, and only the run's row was not told: that end stands.
    store.update_run(owner, row_update(&outcome)).await?;
    let row = store.run(run)?;
    Ok(match was_final {
        true => Ended::Before(Box::new(row)),
        false => Ended::Now(RunEnd::of(row)),
    })
}

/// Cancels the run when another process asks for its end. Never returns.
pub(super) async fn heed_requests(session: &Session, cancel: &CancellationToken) -> Infallible {
    if let Some(journal) = session.run.keeping.journal() {
        journal.store.cancel_request_comes(&session.run.id).await;
        session.event(EventKind::Notice {
            message: "another process asked for the end of this run (hermes-host cancel)".to_owned(),
        });
        cancel.cancel();
    }
    std::future::pending().await
}
