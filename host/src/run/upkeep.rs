//! Looking after what the host keeps: a copy of it, what of a damaged run can go on, and which runs can.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::event::now_ms;
use crate::ids::{RunId, Scope, StreamId};
use crate::run::{Host, HostError};
use crate::store::{Copied, Loss, Note, NoteKind, Record, RunRow, StoreError, Sync};

impl Host {
    /// Copies all that the host keeps to the folder `to`, while it is in use: the copy can stand in the place of the home folder's `host`.
    ///
    /// # Errors
    /// There is nothing yet, `to` is no place for it, `stop` was raised, or the disk failed. Nothing of the copy is left then.
    pub async fn backup(&self, to: &Path, stop: CancellationToken) -> Result<Copied, HostError> {
        let (store, to) = (self.store_to_read()?, to.to_path_buf());
        let copied = blocking::apart(move || store.backup(&to, &stop)).await;
        Ok(copied.map_err(|lost| HostError::Run(lost.to_string()))??)
    }

    /// Gives up what a run has lost, so that it can go on from what is left of it. The journal says so too.
    ///
    /// # Errors
    /// There is no such run, another process owns it, or nothing of it is left to go on from: where the database has none of it, it is forgotten.
    pub async fn accept_loss(&self, run: &str) -> Result<(RunId, Loss), HostError> {
        let store = self.store()?;
        let id = match store.find_run(run) {
            Err(StoreError::Lost { run, records }) => {
                store.forget_lost(&run)?;
                return Err(HostError::Forgotten { run, records });
            }
            found => found?,
        };
        let id = store.lead_to(&id).await?;
        let loss = store.accept_loss(&id).await?;
        if loss.is_any() {
            let owner = store.take_run(&id).await?;
            let note = Note {
                stream: StreamId {
                    session: id.root(),
                    attempt: 1,
                    scope: Scope::ROOT,
                },
                kind: NoteKind::Host,
                body: format!("the loss of records was accepted: {loss}").into_bytes(),
                at_ms: now_ms(),
            };
            store
                .append(&owner, vec![Record::Note(note)], None, Sync::Durable)
                .await?;
        }
        Ok((id, loss))
    }

    /// The process that owns a run now, if one does; 0 where the run's lock file does not say which.
    ///
    /// # Errors
    /// There is no such run, or the store can't be read.
    pub fn owner(&self, run: &str) -> Result<Option<u32>, HostError> {
        let store = self.store_to_read()?;
        match store.owned(&store.find_run(run)?)? {
            Some(StoreError::Owned { pid, .. }) => Ok(Some(pid)),
            _ => Ok(None),
        }
    }

    /// The runs of this home that have not ended, the oldest first; those whose row can't be read among them, as nobody knows whether they have.
    /// One that was imported goes on only when it is named.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn unfinished(&self) -> Result<Vec<RunId>, HostError> {
        let Some(store) = self.store_if_any()? else {
            return Ok(Vec::new());
        };
        let runs = store.runs(u32::MAX)?.into_iter().rev();
        let open = runs.filter(|run| {
            let waits = |row: &RunRow| !row.status.is_final() && row.imported.is_none();
            run.row.as_ref().map_or(true, waits)
        });
        Ok(open.filter_map(|run| run.id.parse().ok()).collect())
    }
}
