//! Every run that the database has: those of the table, and those of which only the index of ids tells, as damage to the table hides their rows.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::{Fault, StoreError, unless_unreadable};
use super::hidden::{BY_INDEX, is_stored_as};
use super::rows::RunRow;
use super::runs::{NOT_WHOLE, epoch_at, listed_at};
use crate::ids::RunId;

/// What is wrong with a run whose row is on a page that can't be read, or to which a damaged page doesn't lead.
pub(super) const ROW_UNREADABLE: &str = "its row can't be read";

/// A run as it is found.
pub(super) struct Found {
    pub(super) number: i64,
    /// As its row has it, or the index where that can't be read.
    pub(super) id: String,
    /// One that no run may have where it can't be read.
    pub(super) epoch: i64,
    /// What its row says, or what is wrong with it.
    pub(super) row: Result<RunRow, Fault>,
    /// Whether that is [`ROW_UNREADABLE`].
    pub(super) unreadable: bool,
}

/// A run's number, and its id by the index where only that tells of it.
type Place = (i64, Option<String>);

/// Every run, the oldest first.
pub(super) fn every(conn: &Connection) -> Result<Vec<Found>, Fault> {
    let mut every = Vec::new();
    for place in places(conn)? {
        every.push(found(conn, place)?);
    }
    Ok(every)
}

/// Where the runs are, the oldest first. Copies that are not whole are none.
pub(super) fn places(conn: &Connection) -> Result<Vec<Place>, Fault> {
    let mut found = BTreeMap::new();
    let led = match (of_table(conn, &mut found), of_index(conn)) {
        (Err(fault), _) if !fault.is_corrupt() => return Err(fault),
        (Ok(()), Err(fault)) if fault.is_corrupt() => Vec::new(),
        (_, led) => led?,
    };
    for (number, id) in led {
        if found.contains_key(&number) {
            continue;
        }
        let is_run = match is_run_at(conn, number) {
            Err(fault) if !fault.is_corrupt() => return Err(fault),
            read => read.ok().flatten(),
        };
        match is_run {
            // It lies behind a page that can't be read.
            Some(is_run) => drop(found.insert(number, (is_run, None))),
            None => {
                let (led_to, not_led_to): (Vec<_>, Vec<_>) =
                    rows_of(conn, &id)?.into_iter().partition(|(_, led_to)| *led_to);
                // An entry that strayed tells of no other run than the one whose it is.
                if !led_to.is_empty() {
                    continue;
                }
                // A row that only all of the table together shows is told where its index has it.
                for (ghost, _) in not_led_to {
                    if unless_unreadable(is_run_at(conn, ghost))?.is_none() {
                        found.remove(&ghost);
                    }
                }
                found.insert(number, (true, Some(id)));
            }
        }
    }
    let runs = found.into_iter().filter(|(_, (is_run, _))| *is_run);
    Ok(runs.map(|(number, (_, id))| (number, id)).collect())
}

/// That making the index of runs again from their rows hides no run but the one with this number: it may be all that tells of one.
pub(super) fn none_would_go(conn: &Connection, number: i64) -> Result<(), Fault> {
    let only_listed = places(conn)?
        .into_iter()
        .find(|(other, id)| *other != number && id.is_some());
    match only_listed {
        None => Ok(()),
        Some((other, _)) => Err(Fault::Corrupt(format!(
            "only the index of runs tells of run number {other}, whose row can't be read; so that index is not made again"
        ))),
    }
}

/// The numbers in the table, and whether each is a run's, as far as they can be read.
fn of_table(conn: &Connection, found: &mut BTreeMap<i64, (bool, Option<String>)>) -> Result<(), Fault> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT no, epoch IS NOT {NOT_WHOLE} FROM run NOT INDEXED ORDER BY no"
    ))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        found.insert(row.get(0)?, (row.get(1)?, None));
    }
    Ok(())
}

/// The numbers of the rows with this id that a look at all of the table shows, and whether its number leads to each.
fn rows_of(conn: &Connection, id: &str) -> Result<Vec<(i64, bool)>, Fault> {
    let mut select = conn.prepare_cached("SELECT no FROM run NOT INDEXED WHERE id = ?1")?;
    let mut rows = select.query([id])?;
    let mut found = Vec::new();
    // As far as they can be read.
    while let Some(row) = unless_unreadable(rows.next().map_err(Fault::from))? {
        let number = row.get(0)?;
        found.push((number, unless_unreadable(is_stored_as(conn, id, number))?));
    }
    Ok(found)
}

/// The numbers and ids in the index.
fn of_index(conn: &Connection) -> Result<Vec<(i64, String)>, Fault> {
    let mut select = conn.prepare_cached(&format!("SELECT no, CAST(id AS TEXT) FROM run {BY_INDEX} ORDER BY id"))?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether the row with this number is a run's, and no copy's that is not whole; nothing where it is not there.
pub(super) fn is_run_at(conn: &Connection, number: i64) -> Result<Option<bool>, Fault> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT epoch IS NOT {NOT_WHOLE} FROM run NOT INDEXED WHERE no = ?1"
    ))?;
    Ok(select.query_row([number], |row| row.get(0)).optional()?)
}

/// Whether a look at all of the table shows a row with this number and id, wherever the number leads.
pub(super) fn is_shown(conn: &Connection, id: &str, number: i64) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached("SELECT 1 FROM run NOT INDEXED WHERE +no = ?1 AND CAST(id AS TEXT) = ?2")?;
    unless_unreadable(select.exists(params![number, id]).map_err(Fault::from))
}

/// The run at this place. One to which its number does not lead, though a look at all of the table shows it, can't be read.
pub(super) fn found(conn: &Connection, (number, led): Place) -> Result<Found, Fault> {
    let mut select = conn.prepare_cached("SELECT id, epoch, data, sum FROM run NOT INDEXED WHERE no = ?1")?;
    let read = select.query_row([number], |row| {
        let (id, opened) = listed_at(row, 0);
        Ok(Found {
            number,
            id,
            epoch: epoch_at(row, 1),
            row: opened,
            unreadable: false,
        })
    });
    if let Some(found) = unless_unreadable(read.optional().map_err(Fault::from))? {
        return Ok(found);
    }
    let (id, epoch) = match led {
        Some(id) => (id, 0),
        None => begins(conn, number)?,
    };
    Ok(Found {
        number,
        row: Err(unreadable(&id)),
        unreadable: true,
        id,
        epoch,
    })
}

/// The id of a run whose row can't be read, and its epoch: what its row begins with or, where that is no run's, what the index says.
fn begins(conn: &Connection, number: i64) -> Result<(String, i64), Fault> {
    let mut begins = (String::new(), 0);
    // By its number, and by a look at all of the table.
    for number_is in ["no", "+no"] {
        let mut select = conn.prepare_cached(&format!(
            "SELECT CAST(id AS TEXT), epoch FROM run NOT INDEXED WHERE {number_is} = ?1"
        ))?;
        let found = select.query_row([number], |row| Ok((row.get(0)?, epoch_at(row, 1))));
        let found: Option<(String, i64)> = unless_unreadable(found.optional().map_err(Fault::from))?;
        begins = found.unwrap_or(begins);
        if begins.0.parse::<RunId>().is_ok() {
            return Ok(begins);
        }
    }
    let mut select = conn.prepare_cached(&format!(
        "SELECT CAST(id AS TEXT) FROM run {BY_INDEX} WHERE +no = ?1 ORDER BY id"
    ))?;
    let led: Option<String> = unless_unreadable(
        select
            .query_row([number], |row| row.get(0))
            .optional()
            .map_err(Fault::from),
    )?;
    Ok((led.unwrap_or(begins.0), begins.1))
}

fn unreadable(id: &str) -> Fault {
    match id.parse::<RunId>() {
        Ok(run) => StoreError::damaged(&run, ROW_UNREADABLE).into(),
        Err(_) => Fault::Corrupt(format!("the row of a run with the id {id:?} can't be read")),
    }
}
