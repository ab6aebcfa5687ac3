//! Removing what a removed run left in the database. A row goes where its table and the index that leads to it say the same of whose it is: one flipped
//! bit in either takes nothing from another run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params_from_iter};

use super::component::{link, row_sum};
use super::error::Fault;
use super::key::row_id;
use super::space::HOME;
use crate::ids::Digest;

/// How long one transaction goes on removing rows. Others wait for it.
pub(super) const TIME: Duration = Duration::from_millis(10);

/// Whether there is more to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    More,
    Nothing,
    /// Only what may be another run's.
    Doubtful,
}

/// What is told of [`Left::Doubtful`].
pub(super) const DOUBTFUL: &str = "what is left of a removed run may be another's, and stays";

/// What removes some records of a run: they are found by their ids, which no index has a part in.
const RECORDS: &str = "DELETE FROM journal WHERE id IN (SELECT id FROM journal WHERE id > ?1 AND id < ?2 LIMIT 16)";

/// What removes a body of a run. Large rows go one by one.
const BODIES: &str = "DELETE FROM body WHERE rowid IN
     (SELECT b.rowid FROM body i INDEXED BY sqlite_autoindex_body_1 CROSS JOIN body b NOT INDEXED ON b.rowid = i.rowid
      WHERE i.run = ?1 AND b.run = ?1 LIMIT 1)";

/// What removes some entries of a space.
const ENTRIES: &str = "DELETE FROM entry WHERE id IN
     (SELECT e.id FROM entry i INDEXED BY sqlite_autoindex_entry_1 CROSS JOIN entry e NOT INDEXED ON e.id = i.id
      WHERE i.space = ?1 AND e.space = ?1 LIMIT 4)";

/// What removes the rest of a run's rows, by tables that are their own index. A session's row is made again from its records.
const REST: [&str; 3] = [
    "DELETE FROM session WHERE run = ?1 AND number IN (SELECT number FROM session WHERE run = ?1 LIMIT 4)",
    "DELETE FROM component WHERE run = ?1",
    "DELETE FROM cancel_request WHERE run = ?1",
];

/// Removes some of what is left of the removed run that had this number.
pub(super) fn sweep_some(conn: &Connection, number: i64) -> Result<Left, Fault> {
    let until = Instant::now() + TIME;
    let left: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM pruned WHERE no = ?1) AND NOT EXISTS (SELECT 1 FROM run WHERE no = ?1)",
        )?
        .query_row([number], |row| row.get(0))?;
    if !left || number == HOME {
        // Another process was faster, and the number may be a new run's by now; or a damaged row names a run that is there, or the home folder.
        return Ok(Left::Nothing);
    }
    if !all_go(conn, RECORDS, &range(number), until)? || !all_go(conn, BODIES, &[number], until)? {
        return Ok(Left::More);
    }
    let mut doubtful = exists(
        conn,
        "SELECT 1 FROM body INDEXED BY sqlite_autoindex_body_1 WHERE run = ?1",
        number,
    )?;
    let (stored, listed) = (stored(conn, number)?, listed(conn, number)?);
    doubtful |= stored != listed;
    for space in stored.intersection(&listed) {
        if !all_go(conn, ENTRIES, &[*space], until)? {
            return Ok(Left::More);
        }
        if exists(
            conn,
            "SELECT 1 FROM entry INDEXED BY sqlite_autoindex_entry_1 WHERE space = ?1",
            *space,
        )? {
            // Without its row nobody would know whose they are, and its number would be given again.
            doubtful = true;
            continue;
        }
        conn.prepare_cached("DELETE FROM space WHERE no = ?1")?
            .execute([space])?;
    }
    give_back(conn, number)?;
    for step in REST {
        if !all_go(conn, step, &[number], until)? {
            return Ok(Left::More);
        }
    }
    if doubtful {
        return Ok(Left::Doubtful);
    }
    conn.prepare_cached("DELETE FROM pruned WHERE no = ?1")?
        .execute([number])?;
    Ok(Left::Nothing)
}

/// Gives rows of components back to the runs whose they are by their checksums: the plugin of a run that is there stays, though its row strayed to this
/// one's.
fn give_back(conn: &Connection, number: i64) -> Result<(), Fault> {
    let mut select = conn.prepare_cached("SELECT digest, sum FROM component WHERE run = ?1 AND sum IS NOT NULL")?;
    let rows = select.query_map([number], |row| Ok((row.get(0).map(Digest::from_bytes)?, row.get(1)?)))?;
    let mut strays = rows.collect::<Result<Vec<(Digest, i64)>, _>>()?;
    strays.retain(|(digest, sum)| row_sum(number, digest) != *sum);
    if strays.is_empty() {
        return Ok(());
    }
    let mut select = conn.prepare_cached("SELECT no FROM run NOT INDEXED")?;
    let runs = select.query_map([], |row| row.get(0))?;
    let runs = runs.collect::<Result<Vec<i64>, _>>()?;
    for (digest, sum) in strays {
        if let Some(run) = runs.iter().find(|run| row_sum(**run, &digest) == sum) {
            link(conn, *run, &digest)?;
        }
    }
    Ok(())
}

/// The ids between which a run's records lie.
pub(super) fn range(number: i64) -> [i64; 2] {
    [row_id(number, 0), row_id(number + 1, 0)]
}

/// Does a step until it finds nothing more. False where the time was over before.
fn all_go(conn: &Connection, step: &str, of: &[i64], until: Instant) -> Result<bool, Fault> {
    let mut step = conn.prepare_cached(step)?;
    while step.execute(params_from_iter(of))? > 0 {
        if Instant::now() >= until {
            return Ok(false);
        }
    }
    Ok(true)
}

fn exists(conn: &Connection, select: &str, of: i64) -> Result<bool, Fault> {
    Ok(conn.prepare_cached(select)?.exists([of])?)
}

/// The numbers of the spaces whose rows say that they are this run's.
fn stored(conn: &Connection, run: i64) -> Result<BTreeSet<i64>, Fault> {
    numbers(conn, "SELECT no FROM space NOT INDEXED WHERE run = ?1", run)
}

/// The numbers of the spaces that their index says are this run's.
fn listed(conn: &Connection, run: i64) -> Result<BTreeSet<i64>, Fault> {
    numbers(
        conn,
        "SELECT no FROM space INDEXED BY sqlite_autoindex_space_1 WHERE run = ?1",
        run,
    )
}

fn numbers(conn: &Connection, select: &str, run: i64) -> Result<BTreeSet<i64>, Fault> {
    let mut select = conn.prepare_cached(select)?;
    let numbers = select.query_map([run], |row| row.get(0))?;
    Ok(numbers.collect::<Result<_, _>>()?)
}
