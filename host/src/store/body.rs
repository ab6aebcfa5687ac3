//! Bodies of messages whose rows and whose index say different things of them. Which digest is right their content says; whose they are, of that both are
//! believed: a body too many harms nobody, and one too few is a loss.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::{Fault, unless_unreadable};
use super::runs;
use super::whole::{reindex, tolerant};
use crate::ids::Digest;

/// Of each row the number of the run, and the digest.
type Labels = BTreeMap<i64, (i64, Vec<u8>)>;

const BY_INDEX: &str = "INDEXED BY sqlite_autoindex_body_1";

/// Has the rows and the index say the same. Nothing is changed where they do.
///
/// # Errors
/// A page of the table can't be read.
pub(super) fn settle(conn: &Connection) -> Result<(), Fault> {
    let stored = labels(conn, "NOT INDEXED")?;
    let listed = unless_unreadable(labels(conn, BY_INDEX))?;
    if stored == listed {
        return Ok(());
    }
    let mut copies = Vec::new();
    tolerant(conn, || {
        for (row, (said, digest)) in &stored {
            let led = listed.get(row);
            if led.is_some_and(|(run, led)| run == said && led == digest) {
                continue;
            }
            let Some(content) = unless_unreadable(content(conn, *row))? else {
                continue;
            };
            let right = content.as_bytes();
            let is_right = digest.as_slice() == right;
            match led {
                // It is what it says, and the index is made again.
                None if is_right => continue,
                Some((_, led)) if is_right || led.as_slice() == right => {}
                // It is damaged, whose ever it is.
                _ => continue,
            }
            let mut owners = BTreeSet::new();
            for run in led.map(|(run, _)| *run).into_iter().chain([*said]) {
                if runs::is_there(conn, run)? {
                    owners.insert(run);
                }
            }
            let owner = owners.pop_first().unwrap_or(*said);
            relabel(conn, *row, owner, &content)?;
            copies.extend(owners.into_iter().map(|other| (owner, other, content)));
        }
        Ok(())
    })?;
    tolerant(conn, || drop_copies(conn))?;
    reindex(conn, "body")?;
    for (owner, other, digest) in copies {
        conn.prepare_cached(
            "INSERT OR IGNORE INTO body (run, digest, data) SELECT ?2, digest, data FROM body WHERE run = ?1 AND digest = ?3",
        )?
        .execute(params![owner, other, digest.as_bytes()])?;
    }
    Ok(())
}

/// Removes the bodies of this run that have not their digest any more: what needs them writes them again. Records are not lost for a row or an index that says
/// another thing of a body that is whole.
pub(super) fn mend(conn: &Connection, number: i64) -> Result<(), Fault> {
    match settle(conn) {
        // The rows of all runs lie together, and a page of others can't be read.
        Err(fault) if fault.is_corrupt() => {}
        settled => settled?,
    }
    let mut select = conn.prepare_cached(&format!("SELECT rowid, digest FROM body {BY_INDEX} WHERE run = ?1"))?;
    let rows = select.query_map([number], label)?;
    for (row, digest) in rows.collect::<Result<Vec<_>, _>>()? {
        let whole =
            unless_unreadable(content(conn, row))?.is_some_and(|content| content.as_bytes() == digest.as_slice());
        if !whole {
            conn.prepare_cached("DELETE FROM body WHERE rowid = ?1 AND run = ?2")?
                .execute([row, number])?;
        }
    }
    Ok(())
}

/// Of rows that say that they are the same body one is enough: the first that is it.
fn drop_copies(conn: &Connection) -> Result<(), Fault> {
    let mut same: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for (row, label) in labels(conn, "NOT INDEXED")? {
        same.entry(label).or_default().push(row);
    }
    for ((_, digest), rows) in same.into_iter().filter(|(_, rows)| rows.len() > 1) {
        let mut kept = None;
        for row in &rows {
            let is_it =
                unless_unreadable(content(conn, *row))?.is_some_and(|content| content.as_bytes() == &digest[..]);
            if is_it {
                kept = Some(*row);
                break;
            }
        }
        // What none of them is stays damaged in any of them.
        let kept = kept.or_else(|| rows.first().copied());
        for row in rows.into_iter().filter(|row| Some(*row) != kept) {
            conn.prepare_cached("DELETE FROM body WHERE rowid = ?1")?
                .execute([row])?;
        }
    }
    Ok(())
}

/// The labels of all rows, found so.
fn labels(conn: &Connection, by: &str) -> Result<Labels, Fault> {
    let mut select = conn.prepare_cached(&format!("SELECT rowid, digest, run FROM body {by}"))?;
    let rows = select.query_map([], |row| {
        let (number, digest) = label(row)?;
        Ok((number, (row.get(2).unwrap_or_default(), digest)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A row's number and the digest that it has, whatever that is.
fn label(row: &rusqlite::Row<'_>) -> Result<(i64, Vec<u8>), rusqlite::Error> {
    let digest = row.get_ref(1)?.as_bytes().unwrap_or_default();
    Ok((row.get(0)?, digest.to_vec()))
}

/// The digest of what is in a row.
fn content(conn: &Connection, row: i64) -> Result<Option<Digest>, Fault> {
    let mut select = conn.prepare_cached("SELECT data FROM body NOT INDEXED WHERE rowid = ?1")?;
    let content = select.query_row([row], |row| Ok(row.get_ref(0)?.as_bytes().map(Digest::of).ok()));
    Ok(content.optional()?.flatten())
}

/// Says in a row whose it is and what its digest is; where there is such a row already, that one is enough.
fn relabel(conn: &Connection, row: i64, run: i64, digest: &Digest) -> Result<(), Fault> {
    let mut update = conn.prepare_cached("UPDATE body SET run = ?2, digest = ?3 WHERE rowid = ?1")?;
    match update
        .execute(params![row, run, digest.as_bytes()])
        .map_err(Fault::from)
    {
        Err(fault) if fault.is_duplicate() => {
            conn.prepare_cached("DELETE FROM body WHERE rowid = ?1")?
                .execute([row])?;
        }
        updated => drop(updated?),
    }
    Ok(())
}
