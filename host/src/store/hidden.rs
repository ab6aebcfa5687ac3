//! Runs that the database has and to which the index of their ids does not lead: they are told as damaged, and never as ones that are not there.

use rusqlite::{Connection, params};

use super::Store;
use super::commit::Done;
use super::error::{Fault, StoreError};
use super::record::Sync;
use super::runs::{NOT_WHOLE, no_run};
use crate::ids::RunId;

/// What is wrong with such a run.
pub(super) const NOT_LED_TO: &str = "the index of runs does not lead to it";

/// How many runs are told at most where a prefix may be any of them.
const CANDIDATES: u32 = 5;

impl Store {
    /// Makes the index of runs again where it does not lead to this one.
    ///
    /// # Errors
    /// Failures of the disk.
    pub async fn index_again(&self, run: &RunId) -> Result<(), StoreError> {
        self.writer()?;
        let is_hidden = self.read(|conn| {
            let mut select = conn.prepare_cached("SELECT no FROM run NOT INDEXED WHERE id = ?1")?;
            let mut rows = select.query([run.as_str()])?;
            while let Some(row) = rows.next()? {
                if !is_led_to(conn, run.as_str(), row.get(0)?)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        if !is_hidden {
            return Ok(());
        }
        let work = |conn: &Connection| {
            conn.execute_batch("REINDEX run")?;
            Ok(Done { value: (), head: None })
        };
        self.submit(Sync::Durable, None, work).await
    }
}

/// Whether the index leads from this id to the row with this number.
pub(super) fn is_led_to(conn: &Connection, id: &str, number: i64) -> Result<bool, Fault> {
    let mut select =
        conn.prepare_cached("SELECT 1 FROM run INDEXED BY sqlite_autoindex_run_1 WHERE id = ?1 AND no = ?2")?;
    match select.exists(params![id, number]).map_err(Fault::from) {
        // What can't be read leads nowhere.
        Err(fault) if fault.is_corrupt() => Ok(false),
        led => led,
    }
}

/// Whether a run has a row, whole or not, wherever its index leads.
pub(super) fn is_stored(conn: &Connection, run: &RunId) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached("SELECT 1 FROM run NOT INDEXED WHERE id = ?1")?;
    Ok(select.exists([run.as_str()])?)
}

/// Why no run is found by this id.
pub(super) fn not_found(conn: &Connection, run: &RunId) -> Result<StoreError, Fault> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT 1 FROM run NOT INDEXED WHERE id = ?1 AND epoch IS NOT {NOT_WHOLE}"
    ))?;
    Ok(match select.exists([run.as_str()])? {
        true => StoreError::damaged(run, NOT_LED_TO),
        false => no_run(run.as_str()),
    })
}

/// The first runs whose ids begin with `prefix`. Where the index leads to none, or to one that has another id, the table is asked.
pub(super) fn candidates(conn: &Connection, prefix: &str) -> Result<Vec<RunId>, Fault> {
    let mut found = named(conn, "INDEXED BY sqlite_autoindex_run_1", prefix)?;
    let mut stored = conn.prepare_cached("SELECT 1 FROM run NOT INDEXED WHERE no = ?1 AND id = ?2")?;
    let mut are_stored = !found.is_empty();
    for (number, run) in &found {
        are_stored &= stored.exists(params![number, run.as_str()])?;
    }
    if !are_stored {
        let mut all = named(conn, "NOT INDEXED", prefix)?;
        found.retain(|(number, _)| all.iter().all(|(other, _)| other != number));
        all.append(&mut found);
        found = all;
    }
    Ok(found.into_iter().map(|(_, run)| run).collect())
}

/// The numbers and ids of the first of them, found so. One whose very id is damaged has no name.
fn named(conn: &Connection, by: &str, prefix: &str) -> Result<Vec<(i64, RunId)>, Fault> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT no, id FROM run {by} WHERE id >= ?1 AND id < ?1 || 'g' AND epoch IS NOT {NOT_WHOLE}
         ORDER BY id LIMIT {CANDIDATES}"
    ))?;
    let mut rows = select.query([prefix])?;
    let mut named = Vec::new();
    while let Some(row) = rows.next()? {
        let id: Option<String> = row.get(1).ok();
        if let Some(run) = id.and_then(|id| id.parse().ok()) {
            named.push((row.get(0)?, run));
        }
    }
    Ok(named)
}
