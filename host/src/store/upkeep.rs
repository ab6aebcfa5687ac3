//! Looking after the database: is it whole, and a copy of it while it is in use.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::Store;
use super::error::{Fault, StoreError};
use super::files::private;
use super::runs::RunState;
use super::seal::link;
use super::write::{row_id, row_seq, row_sum};
use crate::ids::RunId;

/// Pages that one step of a backup copies, and the pause after it in which others write.
const STEP: (i32, Duration) = (1024, Duration::from_millis(2));

/// The result of looking through everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Integrity {
    /// Records that were verified.
    pub records: u64,
    /// What is wrong; empty when all is well.
    pub problems: Vec<String>,
}

impl Store {
    /// Looks through the whole database: its structure, every record's checksum, every run's chain and anchor.
    ///
    /// # Errors
    /// Failures of the disk, and a database too damaged to be looked through.
    pub fn integrity(&self) -> Result<Integrity, StoreError> {
        let mut found = Integrity::default();
        let runs = self.read(|conn| {
            let mut check = conn.prepare("PRAGMA integrity_check(20)")?;
            let lines = check
                .query_map([], |row| row.get::<_, String>(0))?
                .collect::<Result<Vec<_>, _>>()?;
            found.problems.extend(lines.into_iter().filter(|line| line != "ok"));
            let mut select = conn.prepare("SELECT no, id FROM run WHERE epoch > 0 ORDER BY no")?;
            Ok(select
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<(i64, String)>, _>>()?)
        })?;
        for (number, id) in runs {
            let run: RunId = id
                .parse()
                .map_err(|_| StoreError::internal(format!("a run with the id {id:?}")))?;
            if let RunState::Damaged(what) = self.check_anchor(&run)? {
                found.problems.push(format!("run {run}: {what}"));
            }
            let (records, problem) = self.read(|conn| walk(conn, number))?;
            found.records += records;
            found.problems.extend(problem.map(|what| format!("run {run}: {what}")));
        }
        Ok(found)
    }

    /// Copies the database, as it stands at one moment, to a new file. Runs in it have no anchors, so that each must be
    /// accepted with [`Store::accept_loss`] before it can go on from the copy.
    ///
    /// # Errors
    /// The file exists already; failures of the disk.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        private()
            .create_new(true)
            .open(to)
            .map_err(|e| StoreError::io(to, &e))?;
        let source = self.0.files.connect_reader()?;
        let copy = || -> Result<(), Fault> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut target = Connection::open_with_flags(to, flags)?;
            Backup::new(&source, &mut target)?.run_to_completion(STEP.0, STEP.1, None)?;
            Ok(())
        };
        copy().map_err(|e| {
            let _ = std::fs::remove_file(to);
            e.at(to)
        })
    }
}

/// Verifies a run's records from the first to the last: how many are good, and the first thing that is wrong.
fn walk(conn: &Connection, number: i64) -> Result<(u64, Option<String>), Fault> {
    let mut select =
        conn.prepare_cached("SELECT id, kind, sum, chain, data FROM journal WHERE id > ?1 AND id < ?2 ORDER BY id")?;
    let mut rows = select.query([row_id(number, 0), row_id(number + 1, 0)])?;
    let (mut good, mut before) = (0, 0);
    while let Some(row) = rows.next()? {
        let (id, kind, sum, chain): (i64, i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        if row_seq(id) != good + 1 {
            return Ok((good, Some(format!("record {} is missing", good + 1))));
        }
        let whole = row
            .get_ref(4)?
            .as_blob()
            .is_ok_and(|data| row_sum(id, kind, data) == sum);
        before = link(before, sum);
        if !whole || before != chain {
            return Ok((good, Some(format!("record {} is damaged", good + 1))));
        }
        good += 1;
    }
    Ok((good, None))
}
