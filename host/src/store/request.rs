//! Requests of other processes to a run's owner: they can't append to its journal, so they leave a row that it looks for.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Store;
use super::commit::Done;
use super::error::{Fault, StoreError};
use super::hidden::not_found;
use super::record::Sync;
use super::runs::find_row;
use super::seal::{int, sum, uint};
use crate::ids::RunId;

/// How often a run's owner looks whether anything was written.
const POLL: Duration = Duration::from_millis(100);

impl Store {
    /// Asks for the end of a run that another process owns, durably. The first request stands.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`], [`StoreError::Busy`], failures of the disk.
    pub async fn request_cancel(&self, run: &RunId, at_ms: u64) -> Result<(), StoreError> {
        let run = run.clone();
        let work = move |conn: &Connection| {
            let Some((number, _)) = find_row(conn, &run)? else {
                return Err(not_found(conn, &run)?.into());
            };
            conn.prepare_cached("INSERT OR IGNORE INTO cancel_request (run, at_ms, sum) VALUES (?1, ?2, ?3)")?
                .execute(params![number, int(at_ms), request_sum(number, int(at_ms))])?;
            Ok(Done { value: (), head: None })
        };
        self.submit(Sync::Durable, None, work).await
    }

    /// When somebody asked for the run's end, in milliseconds since 1970; nothing where nobody did.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a request that is not what was written; failures of the disk.
    pub fn cancel_requested(&self, run: &RunId) -> Result<Option<u64>, StoreError> {
        let found: Option<(i64, Option<i64>, Option<i64>)> = self.read(|conn| {
            let mut select = conn.prepare_cached(
                "SELECT c.run, c.at_ms, c.sum FROM run r JOIN cancel_request c ON c.run = r.no WHERE r.id = ?1",
            )?;
            let row = select.query_row([run.as_str()], |row| {
                Ok((row.get(0)?, row.get(1).ok(), row.get(2).ok()))
            });
            Ok(row.optional()?)
        })?;
        let Some((number, at_ms, stored)) = found else {
            return Ok(None);
        };
        let sound = at_ms.filter(|at_ms| stored == Some(request_sum(number, *at_ms)));
        let at_ms = sound.ok_or_else(|| StoreError::damaged(run, "the request for its end"))?;
        Ok(Some(uint(at_ms)))
    }

    /// Returns when somebody has asked for the run's end. Costs a look at a counter, ten times a second, while nothing is written.
    pub async fn cancel_request_comes(&self, run: &RunId) {
        let mut seen = None;
        loop {
            // A database that can't be read now may be readable at the next look, and whoever drives the run meets the failure too.
            if let Ok(version) = self.0.pool.data_version()
                && seen.replace(version) != Some(version)
            {
                match self.cancel_requested(run) {
                    Ok(None) => {}
                    Ok(Some(_)) => return,
                    Err(error) => {
                        tracing::debug!(%run, %error, "whether the run's end was asked for could not be read");
                        seen = None;
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

pub(super) fn request_sum(run: i64, at_ms: i64) -> i64 {
    sum(&[b"cancel", &run.to_le_bytes(), &at_ms.to_le_bytes()])
}

/// Whether each request is what was written: the runs whose request is not.
pub(super) fn damaged_requests(conn: &Connection) -> Result<Vec<i64>, Fault> {
    let mut select = conn.prepare_cached("SELECT run, at_ms, sum FROM cancel_request")?;
    let mut rows = select.query([])?;
    let mut damaged = Vec::new();
    while let Some(row) = rows.next()? {
        let (run, at_ms, stored): (i64, Option<i64>, Option<i64>) = (row.get(0)?, row.get(1).ok(), row.get(2).ok());
        if stored.is_none() || stored != at_ms.map(|at_ms| request_sum(run, at_ms)) {
            damaged.push(run);
        }
    }
    Ok(damaged)
}
