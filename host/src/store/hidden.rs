//! Runs that the database has and to which the index of their ids does not lead: they are told as damaged, and never as ones that are not there.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Store;
use super::commit::Done;
use super::error::{Fault, StoreError, unless_unreadable};
use super::listing::{ROW_UNREADABLE, is_run_at, none_would_go};
use super::record::Sync;
use super::runs::{NOT_WHOLE, no_run, vouched_id};
use super::whole::{reindex, tolerant};
use crate::ids::RunId;

/// What is wrong with such a run.
pub(super) const NOT_LED_TO: &str = "the index of runs does not lead to it";

/// How the index of runs is asked.
pub(super) const BY_INDEX: &str = "INDEXED BY sqlite_autoindex_run_1";

/// How many runs are told at most where a prefix may be any of them.
const CANDIDATES: usize = 5;

impl Store {
    /// Makes right by what a run is found: the id in its row, which the row's checksum covers, and the index of runs. Gives the id that it has: one that
    /// was damaged has led here in the place of that.
    ///
    /// # Errors
    /// Failures of the disk.
    pub async fn lead_to(&self, run: &RunId) -> Result<RunId, StoreError> {
        self.writer()?;
        if self.read(|conn| misled(conn, run))?.is_none() {
            return Ok(run.clone());
        }
        self.pages_are_apart().await?;
        let meant = run.clone();
        let work = move |conn: &Connection| {
            let Some(Misled { number, id, renamed }) = misled(conn, &meant)? else {
                let head = None;
                return Ok(Done { value: meant, head });
            };
            none_would_go(conn, number)?;
            if renamed {
                tolerant(conn, || {
                    let mut update = conn.prepare_cached("UPDATE run SET id = ?2 WHERE no = ?1")?;
                    Ok(update.execute(params![number, id.as_str()])?)
                })?;
            }
            reindex(conn, "run")?;
            Ok(Done { value: id, head: None })
        };
        self.submit(Sync::Durable, None, work).await
    }
}

/// A run to which its id does not lead.
struct Misled {
    number: i64,
    /// The id that it has.
    id: RunId,
    /// Whether its row has another.
    renamed: bool,
}

/// The run that is meant by an id which the table or the index has, where that does not lead to it by both.
fn misled(conn: &Connection, run: &RunId) -> Result<Option<Misled>, Fault> {
    let mut numbers = BTreeSet::new();
    for (by, id) in [("NOT INDEXED", "CAST(id AS TEXT)"), (BY_INDEX, "id")] {
        let mut select = conn.prepare_cached(&format!("SELECT no FROM run {by} WHERE {id} = ?1"))?;
        let found = select.query_map([run.as_str()], |row| row.get(0))?;
        let found = found.collect::<Result<Vec<i64>, _>>().map_err(Fault::from);
        numbers.extend(unless_unreadable(found)?);
    }
    for number in numbers {
        let stored = is_stored_as(conn, run.as_str(), number)?;
        let id = match vouched_id(conn, number)? {
            Some(id) => id,
            // Nothing says that it is another's, and no other id leads to it.
            None if stored && !is_led_to_from_any(conn, number)? => run.clone(),
            None => continue,
        };
        let renamed = !is_stored_as(conn, id.as_str(), number)?;
        // The index may lead from this id to a run that has nothing to do with it.
        let meant = id == *run || stored;
        if meant && (renamed || !is_led_to(conn, id.as_str(), number)?) {
            return Ok(Some(Misled { number, id, renamed }));
        }
    }
    Ok(None)
}

/// Whether the row with this number has this id.
pub(super) fn is_stored_as(conn: &Connection, id: &str, number: i64) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached("SELECT 1 FROM run NOT INDEXED WHERE no = ?1 AND id = ?2")?;
    Ok(select.exists(params![number, id])?)
}

fn is_led_to_from_any(conn: &Connection, number: i64) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached(&format!("SELECT 1 FROM run {BY_INDEX} WHERE +no = ?1 ORDER BY id"))?;
    unless_unreadable(select.exists([number]).map_err(Fault::from))
}

/// Whether the index leads from this id to the row with this number.
pub(super) fn is_led_to(conn: &Connection, id: &str, number: i64) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached(&format!("SELECT 1 FROM run {BY_INDEX} WHERE id = ?1 AND no = ?2"))?;
    unless_unreadable(select.exists(params![id, number]).map_err(Fault::from))
}

/// Whether a run has a row, whole or not, wherever its index leads.
pub(super) fn is_stored(conn: &Connection, id: &str) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached("SELECT 1 FROM run NOT INDEXED WHERE id = ?1")?;
    Ok(select.exists([id])?)
}

/// Why no run is found by this id.
pub(super) fn not_found(conn: &Connection, run: &RunId) -> Result<StoreError, Fault> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT 1 FROM run NOT INDEXED WHERE id = ?1 AND epoch IS NOT {NOT_WHOLE}"
    ))?;
    if unless_unreadable(select.exists([run.as_str()]).map_err(Fault::from))? {
        return Ok(StoreError::damaged(run, NOT_LED_TO));
    }
    let mut select = conn.prepare_cached(&format!("SELECT no FROM run {BY_INDEX} WHERE id = ?1"))?;
    let led = select.query_row([run.as_str()], |row| row.get(0)).optional();
    Ok(match unless_unreadable(led.map_err(Fault::from))? {
        Some(number) if unless_unreadable(is_run_at(conn, number))?.unwrap_or(true) => {
            StoreError::damaged(run, ROW_UNREADABLE)
        }
        _ => no_run(run.as_str()),
    })
}

/// The first runs whose ids begin with `prefix`. Where the index leads to none, or to one that has another id, the table is asked.
pub(super) fn candidates(conn: &Connection, prefix: &str) -> Result<Vec<RunId>, Fault> {
    let mut found = unless_unreadable(named(conn, BY_INDEX, prefix))?;
    let mut are_stored = !found.is_empty();
    for (number, run) in &found {
        are_stored &= unless_unreadable(is_stored_as(conn, run.as_str(), *number))?;
    }
    if !are_stored {
        let mut all = unless_unreadable(named(conn, "NOT INDEXED", prefix))?;
        found.retain(|(_, run)| all.iter().all(|(_, other)| other != run));
        all.append(&mut found);
        found = all;
    }
    Ok(found.into_iter().map(|(_, run)| run).collect())
}

/// The numbers and ids of the first of them, found so. One whose very id is damaged has no name.
fn named(conn: &Connection, by: &str, prefix: &str) -> Result<Vec<(i64, RunId)>, Fault> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT no, id FROM run {by} WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id"
    ))?;
    let mut rows = select.query([prefix])?;
    let mut named = Vec::new();
    while let Some(row) = rows.next()?
        && named.len() < CANDIDATES
    {
        let (number, id): (i64, Option<String>) = (row.get(0)?, row.get(1).ok());
        if let Some(run) = id.and_then(|id| id.parse().ok())
            && unless_unreadable(is_run_at(conn, number))?.unwrap_or(true)
        {
            named.push((number, run));
        }
    }
    Ok(named)
}
