//! Connections that read. Each read is one short transaction, so that it sees one state and holds up nobody.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::commit::lock;
use super::error::{Fault, StoreError, forget_failures};
use super::files::{Files, Reader};
use super::schema;

/// Idle connections that are kept.
const IDLE: usize = 4;

/// How old an answer of [`Pool::data_version`] may be.
const VERSION_AGE: Duration = Duration::from_millis(40);

pub(super) struct Pool {
    files: Files,
    idle: Mutex<Vec<Reader>>,
    watcher: Mutex<Watcher>,
}

#[derive(Default)]
struct Watcher {
    reader: Option<Reader>,
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

    /// Runs `work` in one read transaction; again where somebody has changed meanwhile what was read as a file that does not change.
    pub(super) fn read<T>(&self, mut work: impl FnMut(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        loop {
            let idle = lock(&self.idle).pop();
            let reader = match idle.filter(|reader| self.files.is_current(reader)) {
                Some(reader) => reader,
                None => self.files.connect_reader()?,
            };
            let result = within(&reader.conn, |conn| {
                // A newer host may have changed the format since this connection was made.
                self.files.refuse_newer(schema::version(conn)?)?;
                work(conn)
            });
            if !self.files.is_current(&reader) {
                continue;
            }
            let result = result.map_err(|e| e.at(&self.files.database()));
            // A connection that met damage is not used again.
            let sound = !matches!(result, Err(StoreError::Corrupt { .. } | StoreError::Io { .. }));
            let mut idle = lock(&self.idle);
            if sound && reader.conn.is_autocommit() && idle.len() < IDLE {
                idle.push(reader);
            }
            return result;
        }
    }

    /// A number that changes when anyone commits anything, this process included. Many callers may ask often: most get the last answer.
    pub(super) fn data_version(&self) -> Result<i64, StoreError> {
        let mut watcher = lock(&self.watcher);
        if let Some((at, version)) = watcher.last
            && at.elapsed() < VERSION_AGE
        {
            return Ok(version);
        }
        let reader = match watcher.reader.take().filter(|reader| self.files.is_current(reader)) {
            Some(reader) => reader,
            None => self.files.connect_reader()?,
        };
        let version = match reader.unchanging {
            Some(stamp) => stamp.version(),
            None => reader
                .conn
                .query_row("PRAGMA data_version", [], |row| row.get(0))
                .map_err(|e| Fault::from(e).at(&self.files.database()))?,
        };
        *watcher = Watcher {
            reader: Some(reader),
            last: Some((Instant::now(), version)),
        };
        Ok(version)
    }
}

fn within<T>(conn: &Connection, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    forget_failures();
    conn.prepare_cached("BEGIN")?.execute([])?;
    let result = work(conn);
    if !conn.is_autocommit() {
        // Nothing was written, so there is nothing that this could lose.
        conn.prepare_cached("ROLLBACK")?.execute([])?;
    }
    result
}
