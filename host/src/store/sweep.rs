//! Removing what a removed run left in the database. A row of a space, an entry or a body goes where its table and the index that leads to it say the same
//! of whose it is, and where they don't, as its checksum says: one flipped bit in either takes nothing from another run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::component::give_back;
use super::entry::WholeEntry;
use super::error::Fault;
use super::key::range;
use super::space::HOME;
use super::whole::{claims, row_of, set_owner, tolerant, whose};

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
const RECORDS: &str = "DELETE FROM journal WHERE id IN (SELECT id FROM journal NOT INDEXED WHERE id > ?1 AND id < ?2 AND run = ?3 LIMIT 16)";

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
    let [first, last] = range(number);
    if !all_go(conn, RECORDS, &[first, last, number], until)? || !all_go(conn, BODIES, &[number], until)? {
        return Ok(Left::More);
    }
    let mut doubtful = !records_settled(conn, number)?;
    doubtful |= !bodies_settled(conn, number)?;
    let settled = settle_spaces(conn, number)?;
    doubtful |= settled.doubtful;
    for space in settled.ours {
        if !all_go(conn, ENTRIES, &[space], until)? {
            return Ok(Left::More);
        }
        if !entries_settled(conn, space)? {
            // Without its row nobody would know whose they are, and its number would be given again.
            doubtful = true;
            continue;
        }
        tolerant(conn, || {
            let mut delete = conn.prepare_cached("DELETE FROM space WHERE no = ?1")?;
            Ok(delete.execute([space])?)
        })?;
    }
    // While one is doubtful, the index that says another thing of it stays.
    if settled.strayed && !settled.doubtful {
        doubtful |= !indexed_again(conn, "space")?;
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

/// Does a step until it finds nothing more. False where the time was over before. A row to which an index does not lead goes too.
fn all_go(conn: &Connection, step: &str, of: &[i64], until: Instant) -> Result<bool, Fault> {
    let mut statement = conn.prepare_cached(step)?;
    loop {
        let removed = match statement.execute(params_from_iter(of)).map_err(Fault::from) {
            Err(fault) if fault.is_corrupt() => {
                let removed = tolerant(conn, || Ok(statement.execute(params_from_iter(of))?))?;
                for table in ["journal", "body", "entry"]
                    .into_iter()
                    .filter(|table| step.contains(table))
                {
                    indexed_again(conn, table)?;
                }
                removed
            }
            removed => removed?,
        };
        if removed == 0 {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
    }
}

fn exists(conn: &Connection, select: &str, of: i64) -> Result<bool, Fault> {
    Ok(conn.prepare_cached(select)?.exists([of])?)
}

/// The spaces of a removed run.
struct Settled {
    /// Their numbers.
    ours: BTreeSet<i64>,
    /// Whether the table and the index say different things of any.
    strayed: bool,
    /// Whether it stays open whose one is.
    doubtful: bool,
}

/// Settles which spaces are this run's. Where the table and the index say different things, the row's checksum says which is right; where that says nothing
/// either, whether the other is there at all.
fn settle_spaces(conn: &Connection, number: i64) -> Result<Settled, Fault> {
    let (stored, listed) = (stored(conn, number)?, listed(conn, number)?);
    let mut settled = Settled {
        ours: stored.intersection(&listed).copied().collect(),
        strayed: stored != listed,
        doubtful: false,
    };
    for space in stored.symmetric_difference(&listed) {
        let Some(row) = row_of(conn, *space)? else { continue };
        match whose(conn, &row)? {
            Some(owner) if owner == number => {
                settled.ours.insert(*space);
            }
            Some(owner) => drop(tolerant(conn, || set_owner(conn, *space, owner))?),
            None => {
                let others = claims(conn, *space)?.into_iter().chain([row.space.run]);
                let mut is_anothers = false;
                for other in others.filter(|other| *other != number) {
                    is_anothers |= other == HOME || exists(conn, IS_RUN, other)?;
                }
                match is_anothers {
                    true => settled.doubtful = true,
                    false => drop(settled.ours.insert(*space)),
                }
            }
        }
    }
    Ok(settled)
}

/// Removes the entries that only an index gives to this space and that are nobody else's, and makes the indexes right. False where one is left.
fn entries_settled(conn: &Connection, space: i64) -> Result<bool, Fault> {
    let mut strays = BTreeSet::new();
    for index in ["sqlite_autoindex_entry_1", "sqlite_autoindex_entry_2"] {
        let select = format!("SELECT id FROM entry INDEXED BY {index} WHERE space = ?1");
        strays.extend(numbers(conn, &select, space)?);
    }
    if strays.is_empty() {
        return Ok(true);
    }
    let mut select = conn.prepare_cached("SELECT * FROM entry NOT INDEXED WHERE id = ?1")?;
    for entry in strays {
        let goes = select.query_row([entry], |row| {
            let is_ours = row.get::<_, i64>("space") == Ok(space) || WholeEntry::was_of(row, space);
            Ok((is_ours, row.get("space").unwrap_or(space)))
        });
        if let Some((is_ours, of)) = goes.optional()?
            && (is_ours || !exists(conn, "SELECT 1 FROM space NOT INDEXED WHERE no = ?1", of)?)
        {
            remove(conn, "DELETE FROM entry WHERE id = ?1", entry)?;
        }
    }
    indexed_again(conn, "entry")
}

/// Removes the records that say that they are another run's: with one of them SQLite takes that run's entry out of the index, which is made again. False
/// where it can't be.
fn records_settled(conn: &Connection, number: i64) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached("SELECT id FROM journal NOT INDEXED WHERE id > ?1 AND id < ?2")?;
    let strays = select.query_map(range(number), |row| row.get(0))?;
    let strays = strays.collect::<Result<Vec<i64>, _>>()?;
    if strays.is_empty() {
        return Ok(true);
    }
    for record in strays {
        remove(conn, "DELETE FROM journal WHERE id = ?1", record)?;
    }
    indexed_again(conn, "journal")
}

/// Removes the bodies that only the index gives to this run: one that another run has by its row is left to it, as it is what its digest says whose ever it is.
fn bodies_settled(conn: &Connection, number: i64) -> Result<bool, Fault> {
    let strays = numbers(
        conn,
        "SELECT rowid FROM body INDEXED BY sqlite_autoindex_body_1 WHERE run = ?1",
        number,
    )?;
    if strays.is_empty() {
        return Ok(true);
    }
    for body in strays {
        let of = "SELECT 1 FROM body b NOT INDEXED JOIN run r NOT INDEXED ON r.no = b.run WHERE b.rowid = ?1";
        if !exists(conn, of, body)? {
            remove(conn, "DELETE FROM body WHERE rowid = ?1", body)?;
        }
    }
    indexed_again(conn, "body")
}

/// Whether there is a run with this number.
const IS_RUN: &str = "SELECT 1 FROM run NOT INDEXED WHERE no = ?1";

/// Removes a row to which not every index leads.
fn remove(conn: &Connection, delete: &str, row: i64) -> Result<(), Fault> {
    tolerant(conn, || {
        conn.prepare_cached(delete)?.execute([row])?;
        Ok(())
    })
}

/// Makes the indexes of a table again from its rows. False where that can't be, as two rows say the same or one can't be read.
fn indexed_again(conn: &Connection, table: &str) -> Result<bool, Fault> {
    match conn.execute_batch(&format!("REINDEX {table}")).map_err(Fault::from) {
        Err(fault) if fault.is_duplicate() || fault.is_corrupt() => Ok(false),
        made => made.map(|()| true),
    }
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
