//! The database's tables, its version, and how an older version becomes the present one.

use rusqlite::Connection;

use super::error::Fault;

/// `herm` in ASCII, in the database's header: tells our database from another program's.
pub(super) const APPLICATION_ID: u32 = 0x6865_726d;

/// The newest format; the length of [`STEPS`]. It rises with each change of a table and of what is encoded in one, a new kind of record or a new variant
/// of anything in a record included: an older host would take what it doesn't know for damage, and could be told to cut it off. So it is refused the
/// whole database instead, also by hosts that had it open before ([`version`] is read in each transaction). Tests of `record` and of `run::encoding` hold
/// what is encoded to this number.
pub(crate) const VERSION: u32 = STEPS.len() as u32;

/// Step `n` brings format `n` to `n + 1`; all of them make a new database. A released step is never changed.
const STEPS: &[&str] = &[FIRST, SECOND, THIRD, FOURTH, FIFTH];

/// A journal row's id is its run's number in the upper bits and its sequence number in the run in the lower ones, so that a
/// run's rows lie together in their order. `sum` covers a row's content, `chain` also all rows of the run before it.
const FIRST: &str = "
CREATE TABLE run (
    no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL, data BLOB NOT NULL, sum INTEGER NOT NULL
) STRICT;
CREATE TABLE session (
    run INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, session INTEGER NOT NULL, kind INTEGER NOT NULL,
    attempt INTEGER NOT NULL, scope TEXT NOT NULL, n INTEGER NOT NULL,
    sum INTEGER NOT NULL, chain INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX journal_once ON journal (run, session, kind, attempt, scope, n);
CREATE TABLE body (
    run INTEGER NOT NULL, digest BLOB NOT NULL, data BLOB NOT NULL, UNIQUE (run, digest)
) STRICT;
CREATE TABLE component (run INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (run, digest)) STRICT, WITHOUT ROWID;
CREATE TABLE space (
    no INTEGER PRIMARY KEY, run INTEGER NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
    keys INTEGER NOT NULL, bytes INTEGER NOT NULL, tombstones INTEGER NOT NULL, UNIQUE (run, name)
) STRICT;
CREATE TABLE entry (
    id INTEGER PRIMARY KEY, space INTEGER NOT NULL, version INTEGER NOT NULL, deleted INTEGER NOT NULL,
    key BLOB NOT NULL, at_ms INTEGER NOT NULL, author TEXT NOT NULL, op BLOB NOT NULL, sum INTEGER NOT NULL,
    media_type TEXT NOT NULL, data BLOB NOT NULL, UNIQUE (space, key), UNIQUE (space, version)
) STRICT;
";

/// Who asked for a run's end while another process owned it, and runs that were removed whose other rows are still to go: their numbers are
/// not given to new runs before.
const SECOND: &str = "
CREATE TABLE cancel_request (run INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE TABLE pruned (no INTEGER PRIMARY KEY, id TEXT NOT NULL) STRICT;
";

/// What vouches for the row of a space. One that an earlier format made has none until its space is written next.
const THIRD: &str = "ALTER TABLE space ADD COLUMN sum INTEGER;";

/// No table is another: the end of a timer tells in which of its guest's calls it was seen, and starts, rows and bodies are held to the number from here on.
const FOURTH: &str = "";

/// A copy that is not whole has an epoch that differs from a run's in several bits. What vouches for the row of a component: one that an earlier format
/// made has none until its run uses the component next.
const FIFTH: &str = "
UPDATE run SET epoch = 99344109427290 WHERE epoch = 0;
ALTER TABLE component ADD COLUMN sum INTEGER;
";

/// Makes the tables that formats after `from` have, in the transaction that `conn` is in. A newer format stays as it is.
pub(super) fn upgrade(conn: &Connection, from: u32) -> Result<(), Fault> {
    for step in STEPS.iter().skip(from as usize) {
        for statement in step
            .split_inclusive(';')
            .filter(|statement| !statement.trim().is_empty())
        {
            match conn.execute_batch(statement) {
                // The number of the format is damaged, and not the tables.
                Err(error) if from > 0 && is_there(&error) => {}
                done => done?,
            }
        }
    }
    conn.pragma_update(None, "user_version", VERSION.max(from))?;
    Ok(())
}

/// Whether a table or a column was not made as it is there.
fn is_there(error: &rusqlite::Error) -> bool {
    let words = error.to_string();
    words.contains("duplicate column name") || words.contains("already exists")
}

/// The format of the database that `conn` has open; in a transaction, the one that the transaction sees.
pub(super) fn version(conn: &Connection) -> Result<u32, Fault> {
    let mut select = conn.prepare_cached("PRAGMA user_version")?;
    Ok(select.query_row([], |row| row.get(0))?)
}
