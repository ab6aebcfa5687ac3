//! Removing what a removed run left in the database. A row of a space, an entry or a body goes where its table and the index that leads to it say the same
//! of whose it is. Where they don't, they are first made to say the same, by the row's checksum or its content, in the transaction in which the first row
//! goes: one flipped bit in either takes nothing from another run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::component::give_back;
use super::entry::WholeEntry;
use super::error::Fault;
use super::key::range;
use super::space::HOME;
use super::whole::{claims, numbers, only_listed, reindex, row_of, set_owner, tolerant, whose};
use super::{body, runs};

/// How long one transaction goes on removing rows. Others wait for it.
pub(super) const TIME: Duration = Duration::from_millis(10);

/// Whether there is more to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    More,
    Nothing,
}

/// What is left of a removed run, part by part in this order. What is not removed of one holds up no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Records,
    Bodies,
    /// Which rows of spaces are its.
    WhichSpaces,
    Spaces,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [Self::Records, Self::Bodies, Self::WhichSpaces, Self::Spaces];
}

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
const REST: [(&str, &str); 3] = [
    (
        "session",
        "DELETE FROM session WHERE run = ?1 AND number IN (SELECT number FROM session WHERE run = ?1 LIMIT 4)",
    ),
    ("component", "DELETE FROM component WHERE run = ?1"),
    ("cancel_request", "DELETE FROM cancel_request WHERE run = ?1"),
];

/// Removes some of a part of what is left of the removed run that had this number.
///
/// # Errors
/// [`Fault::Corrupt`] where what is left of the part may be another run's; then nothing is changed.
pub(super) fn sweep_some(conn: &Connection, number: i64, part: Part) -> Result<Left, Fault> {
    if !is_left(conn, number)? {
        return Ok(Left::Nothing);
    }
    match part {
        Part::Records => records(conn, number),
        Part::Bodies => bodies(conn, number),
        Part::WhichSpaces => settle_spaces(conn, number).map(|()| Left::Nothing),
        Part::Spaces => spaces(conn, number),
    }
}

/// Removes some of the rest, once all parts are gone, and with its last row what says that there is something left.
pub(super) fn sweep_rest(conn: &Connection, number: i64) -> Result<Left, Fault> {
    if !is_left(conn, number)? {
        return Ok(Left::Nothing);
    }
    give_back(conn, number)?;
    let until = Instant::now() + TIME;
    for (table, step) in REST {
        if all_go(conn, until, table, step, &[number])? == Left::More {
            return Ok(Left::More);
        }
    }
    conn.prepare_cached("DELETE FROM pruned WHERE no = ?1")?
        .execute([number])?;
    Ok(Left::Nothing)
}

/// Whether something may be left of a removed run that had this number. Where not, another process was faster, and the number may be a new run's by now; or a
/// damaged row names a run that is there, or the home folder.
fn is_left(conn: &Connection, number: i64) -> Result<bool, Fault> {
    let left: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM pruned WHERE no = ?1) AND NOT EXISTS (SELECT 1 FROM run WHERE no = ?1)",
        )?
        .query_row([number], |row| row.get(0))?;
    Ok(left && number != HOME)
}

/// Does a step until it finds nothing more or the time is over. Where an index does not lead to a row that goes, all go at once, and the indexes of the table
/// are made again: as this takes long, it is done once.
fn all_go(conn: &Connection, until: Instant, table: &str, step: &str, of: &[i64]) -> Result<Left, Fault> {
    let mut statement = conn.prepare_cached(step)?;
    loop {
        match statement.execute(params_from_iter(of)).map_err(Fault::from) {
            Err(fault) if fault.is_corrupt() => {
                tolerant(conn, || {
                    while statement.execute(params_from_iter(of))? > 0 {}
                    Ok(())
                })?;
                index_again(conn, table)?;
                return Ok(Left::Nothing);
            }
            removed => {
                if removed? == 0 {
                    return Ok(Left::Nothing);
                }
            }
        }
        if Instant::now() >= until {
            return Ok(Left::More);
        }
    }
}

/// Removes records, at last those whose rows say that they are another run's: with one of them SQLite takes that run's entry out of the index, which is made
/// again.
fn records(conn: &Connection, number: i64) -> Result<Left, Fault> {
    let [first, last] = range(number);
    let until = Instant::now() + TIME;
    if all_go(conn, until, "journal", RECORDS, &[first, last, number])? == Left::More {
        return Ok(Left::More);
    }
    let mut select = conn.prepare_cached("SELECT id FROM journal NOT INDEXED WHERE id > ?1 AND id < ?2")?;
    let strays = select.query_map([first, last], |row| row.get(0))?;
    let strays = strays.collect::<Result<Vec<i64>, _>>()?;
    if !strays.is_empty() {
        remove(conn, "DELETE FROM journal WHERE id = ?1", strays)?;
        index_again(conn, "journal")?;
    }
    Ok(Left::Nothing)
}

fn bodies(conn: &Connection, number: i64) -> Result<Left, Fault> {
    let until = Instant::now() + TIME;
    if all_go(conn, until, "body", BODIES, &[number])? == Left::More {
        return Ok(Left::More);
    }
    let strays = "SELECT 1 FROM body INDEXED BY sqlite_autoindex_body_1 WHERE run = ?1";
    if !exists(conn, strays, number)? {
        return Ok(Left::Nothing);
    }
    body::settle(conn)?;
    all_go(conn, until, "body", BODIES, &[number])
}

fn spaces(conn: &Connection, number: i64) -> Result<Left, Fault> {
    let some = "SELECT no FROM space INDEXED BY sqlite_autoindex_space_1 WHERE run = ?1 ORDER BY name LIMIT 64";
    let some = numbers(conn, some, number)?;
    let left = if some.is_empty() { Left::Nothing } else { Left::More };
    let until = Instant::now() + TIME;
    for space in some {
        if all_go(conn, until, "entry", ENTRIES, &[space])? == Left::More {
            return Ok(Left::More);
        }
        // Without its row nobody would know whose they are, and its number would be given again.
        remove_stray_entries(conn, space)?;
        let mut delete = conn.prepare_cached("DELETE FROM space WHERE no = ?1 AND run = ?2")?;
        if delete.execute([space, number])? == 0 {
            return Err(doubtful());
        }
        if Instant::now() >= until {
            return Ok(Left::More);
        }
    }
    Ok(left)
}

/// Has the table and the index say the same of which spaces are this run's: what the row's checksum says, and where that says nothing, whether another run
/// that is meant is there at all.
fn settle_spaces(conn: &Connection, number: i64) -> Result<(), Fault> {
    let (stored, listed) = (stored(conn, number)?, listed(conn, number)?);
    if stored == listed {
        return Ok(());
    }
    let hidden = only_listed(conn)?;
    if hidden.iter().any(|space| space.run != number) {
        return Err(doubtful());
    }
    tolerant(conn, || {
        let numbers: BTreeSet<_> = stored.keys().chain(listed.keys()).collect();
        for space in numbers
            .into_iter()
            .filter(|space| stored.get(space) != listed.get(space))
        {
            let Some(row) = row_of(conn, *space)? else { continue };
            let owner = match whose(conn, &row)? {
                Some(owner) => owner,
                None => {
                    let others = claims(conn, *space)?.into_iter().chain([row.space.run]);
                    for other in others.filter(|other| *other != number) {
                        if other == HOME || runs::is_there(conn, other)? {
                            return Err(doubtful());
                        }
                    }
                    number
                }
            };
            set_owner(conn, *space, owner)?;
        }
        index_again(conn, "space")?;
        // Those of which only the index told go with their entries.
        hidden.iter().try_for_each(|space| space.insert(conn))
    })
}

/// Removes the entries that only an index gives to this space and that are nobody else's, and makes the indexes right.
fn remove_stray_entries(conn: &Connection, space: i64) -> Result<(), Fault> {
    let mut strays = BTreeSet::new();
    for index in ["sqlite_autoindex_entry_1", "sqlite_autoindex_entry_2"] {
        let select = format!("SELECT id FROM entry INDEXED BY {index} WHERE space = ?1");
        strays.extend(numbers(conn, &select, space)?);
    }
    if strays.is_empty() {
        return Ok(());
    }
    let (mut select, mut go) = (
        conn.prepare_cached("SELECT * FROM entry NOT INDEXED WHERE id = ?1")?,
        Vec::new(),
    );
    for entry in strays {
        let stray = select.query_row([entry], |row| {
            let is_ours = row.get::<_, i64>("space") == Ok(space) || WholeEntry::was_of(row, space);
            Ok((is_ours, row.get("space").unwrap_or(space)))
        });
        if let Some((is_ours, of)) = stray.optional()?
            && (is_ours || !exists(conn, "SELECT 1 FROM space NOT INDEXED WHERE no = ?1", of)?)
        {
            go.push(entry);
        }
    }
    remove(conn, "DELETE FROM entry WHERE id = ?1", go)?;
    index_again(conn, "entry")
}

fn exists(conn: &Connection, select: &str, of: i64) -> Result<bool, Fault> {
    Ok(conn.prepare_cached(select)?.exists([of])?)
}

/// Removes rows to which not every index leads.
fn remove(conn: &Connection, delete: &str, rows: Vec<i64>) -> Result<(), Fault> {
    tolerant(conn, || {
        let mut delete = conn.prepare_cached(delete)?;
        for row in rows {
            delete.execute([row])?;
        }
        Ok(())
    })
}

/// Makes the indexes of a table again from its rows.
fn index_again(conn: &Connection, table: &str) -> Result<(), Fault> {
    match reindex(conn, table) {
        // Two rows say the same.
        Err(Fault::Corrupt(_)) => Err(doubtful()),
        made => made,
    }
}

/// What is told where nobody can say whose something is.
fn doubtful() -> Fault {
    Fault::Corrupt("what is left of a removed run may be another's, and stays".to_owned())
}

/// The spaces whose rows say that they are this run's, by number, each with its name.
fn stored(conn: &Connection, run: i64) -> Result<BTreeMap<i64, Value>, Fault> {
    named(conn, "NOT INDEXED", run)
}

/// The spaces that their index says are this run's.
fn listed(conn: &Connection, run: i64) -> Result<BTreeMap<i64, Value>, Fault> {
    named(conn, "INDEXED BY sqlite_autoindex_space_1", run)
}

fn named(conn: &Connection, by: &str, run: i64) -> Result<BTreeMap<i64, Value>, Fault> {
    let mut select = conn.prepare_cached(&format!("SELECT no, name FROM space {by} WHERE run = ?1"))?;
    let named = select.query_map([run], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(named.collect::<Result<_, _>>()?)
}
