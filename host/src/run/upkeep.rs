//! Looking after what the host keeps: a copy of it, what of a damaged run can go on, and which runs can.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::event::now_ms;
use crate::ids::{RunId, Scope, StreamId};
use crate::run::plugins_of::PluginsOf;
use crate::run::{Host, HostError};
use crate::store::{Copied, Integrity, Loss, Note, NoteKind, Problem, Record, RunRow, StoreError, Sync};

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

    /// Looks through everything that is kept; nothing where there is nothing yet.
    ///
    /// # Errors
    /// Failures of the disk.
    pub fn integrity(&self) -> Result<Option<Integrity>, HostError> {
        let Some(store) = self.store_if_any()? else {
            return Ok(None);
        };
        let mut found = store.integrity()?;
        let unnamed = match PluginsOf::all_unnamed(&store) {
            // That is told by then.
            Err(StoreError::Corrupt { .. }) => Vec::new(),
            unnamed => unnamed?,
        };
        for (run, digests) in unnamed {
            for digest in digests {
                let digest = digest.short();
                let what = format!("the row that says that the run {run} uses the component {digest} is missing");
                // The store looks for those of strategies itself.
                if !found.problems.iter().any(|problem| problem.what == what) {
                    found.problems.push(Problem {
                        run: Some(run.clone()),
                        what,
                        component: None,
                        unreadable: false,
                    });
                }
            }
        }
        Ok(Some(found))
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
        let mut unnamed = match PluginsOf::unnamed(&store, &id) {
            // A start that another version wrote: what goes on with the run says so.
            Err(StoreError::Damaged { .. }) => Vec::new(),
            unnamed => unnamed?,
        };
        unnamed.retain(|digest| store.component(digest).is_ok());
        if !unnamed.is_empty() {
            store.name_components(&id, unnamed).await?;
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
