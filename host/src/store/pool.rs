//! Connections that read. Each read is one short transaction, so that it sees one state and holds up nobody.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::commit::lock;
use super::error::{Fault, StoreError};
use super::files::Files;
use super::schema;

/// Idle connections that are kept.
const IDLE: usize = 4;

/// How old an answer of [`Pool::data_version`] may be.
const VERSION_AGE: Duration = Duration::from_millis(40);

pub(super) struct Pool {
    files: Files,
    idle: Mutex<Vec<Connection>>,
    watcher: Mutex<Watcher>,
}

#[derive(Default)]
struct Watcher {
    conn: Option<Connection>,
    last: Option<(Instant, i64)>,
}

impl Pool {
    pub(super) fn new(files: Files) -> Self {
        Self {
            files,
            idle: Mutex::default(),
            watcher: Mutex::default(),
        }
    }

    /// Runs `work` in one read transaction.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        let idle = lock(&self.idle).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.files.connect_reader()?,
        };
        let result = within(&conn, |conn| {
            // A newer host may have changed the format since this connection was made.
            self.files.refuse_newer(schema::version(conn)?)?;
            work(conn)
        });
        let result = result.map_err(|e| e.at(&self.files.database()));
        // A connection that met damage is not used again.
        let sound = !matches!(result, Err(StoreError::Corrupt { .. } | StoreError::Io { .. }));
        let mut idle = lock(&self.idle);
        if sound && conn.is_autocommit() && idle.len() < IDLE {
            idle.push(conn);
        }
        result
    }

    /// A number that changes when anyone commits anything, this process included. Many callers may ask often: most get the last answer.
    pub(super) fn data_version(&self) -> Result<i64, StoreError> {
        let mut watcher = lock(&self.watcher);
        if let Some((at, version)) = watcher.last
            && at.elapsed() < VERSION_AGE
        {
            return Ok(version);
        }
        let conn = match watcher.conn.take() {
            Some(conn) => conn,
            None => self.files.connect_reader()?,
        };
        let version = conn
            .query_row("PRAGMA data_version", [], |row| row.get(0))
            .map_err(|e| Fault::from(e).at(&self.files.database()))?;
        *watcher = Watcher {
            conn: Some(conn),
            last: Some((Instant::now(), version)),
        };
        Ok(version)
    }
}

fn within<T>(conn: &Connection, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    conn.prepare_cached("BEGIN")?.execute([])?;
    let result = work(conn);
    if !conn.is_autocommit() {
        // Nothing was written, so there is nothing that this could lose.
        conn.prepare_cached("ROLLBACK")?.execute([])?;
    }
    result
}
