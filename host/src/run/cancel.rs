//! Ends a run for good: one that nobody owns at once, another process's by a request that its owner finds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bindings::types;
use crate::event::{EventKind, now_ms};
use crate::ids::RunId;
use crate::interfaces::amounts;
use crate::limits::Limits;
use crate::run::view::status_name;
use crate::run::{Host, HostError};
use crate::session::{Session, codec};
use crate::store::{
    NoteKind, Owner, Record, RunRow, RunState, RunUpdate, SessionEnd, SessionRow, SessionUpdate, Status, Store,
    StoreError, Sync, Transition,
};
use crate::supervisor::ending;

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
            Ok(owner) => match end(&store, &owner).await? {
                Ended::Now(end) => Ok(end),
                Ended::Before(row) => Err(HostError::NothingToCancel {
                    run: row.id,
                    status: status_name(row.status),
                }),
            },
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
enum Ended {
    Now(RunEnd),
    /// Its end was recorded already.
    Before(Box<RunRow>),
}

/// Ends a run that is ours and that nobody drives.
async fn end(store: &Store, owner: &Owner) -> Result<Ended, HostError> {
    let run = owner.run();
    let row = store.run(run)?;
    if row.status.is_final() {
        return Ok(Ended::Before(Box::new(row)));
    }
    let at_ms = now_ms();
    let mut checkpoints = checkpoints(store, run);
    let open = store.sessions(run)?.into_iter().filter(|s| !s.status.is_final());
    let updates = open.map(|session| {
        let report = checkpoints.remove(&session.session.number);
        Record::Update(SessionUpdate {
            transition: Transition::Ended(cancelled(&session, report)),
            session: session.session,
            spent: None,
            at_ms,
        })
    });
    let updates: Vec<Record> = updates.collect();
    store.append(owner, updates, None, Sync::Durable).await?;
    let update = RunUpdate {
        status: Some(Status::Cancelled),
        exit: Some("cancelled".to_owned()),
        ended_ms: Some(at_ms),
        ..RunUpdate::default()
    };
    store.update_run(owner, update).await?;
    Ok(Ended::Now(RunEnd::of(store.run(run)?)))
}

/// The last checkpoint of each session of a run, by its number; up to what is damaged, which keeps nobody from ending the run.
fn checkpoints(store: &Store, run: &RunId) -> HashMap<u32, types::Report> {
    let mut last = HashMap::new();
    let walked = store.walk(run, |record, _| {
        if let Record::Note(note) = record
            && note.kind == NoteKind::Checkpoint
            && let Ok(report) = codec::decode(&note.body)
        {
            last.insert(note.stream.session.number, report);
        }
        Ok(())
    });
    if let Err(error) = walked {
        tracing::warn!(%run, %error, "not all checkpoints could be read");
    }
    last
}

/// The end of a session that is cancelled while nobody drives it, with its last checkpoint.
fn cancelled(row: &SessionRow, report: Option<types::Report>) -> SessionEnd {
    let result = types::RunResult {
        exit: types::ExitReason::Cancelled,
        report,
        attempts: row.attempt,
        spent: amounts(&row.spent),
    };
    ending::row(&result, None)
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
