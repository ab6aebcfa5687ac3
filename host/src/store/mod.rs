//! Everything that a host keeps, in one SQLite database: runs and their owners, the journal of every session, the blackboard, and the
//! components that runs use. No SQL type leaves this layer, and every write takes its records and its effect in one call, so that another
//! backend can stand beside this one.
//!
//! Read in this order: `record` (what is written) · `rows` (what is read) · `schema` · `key`, `write`, `entry` and `space` (records and effects become rows) ·
//! `commit` (many callers, one transaction) · `owner` (who may write) · `runs`, `journal`, `blackboard`, `component`, `request` (the store's face) ·
//! `copy` (runs that come from elsewhere) · `verify`, `whole`, `integrity`, `hidden`, `lost`, `repair` (damage) · `prune`, `backup`, `reserve` (upkeep).

mod backup;
mod blackboard;
mod body;
mod commit;
mod component;
mod copy;
mod entry;
mod error;
mod files;
mod gate;
mod hidden;
mod integrity;
mod journal;
mod key;
mod listing;
mod lost;
mod owner;
mod pool;
mod prune;
mod record;
mod repair;
mod request;
mod reserve;
mod rows;
mod runs;
mod schema;
mod seal;
mod space;
mod sweep;
mod verify;
mod whole;
mod write;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

pub use backup::Copied;
pub use blackboard::{key_fits, value_fits};
pub use copy::EntryCursor;
pub use error::StoreError;
pub use integrity::{BadComponent, Integrity, Problem};
pub use journal::{AttemptRecords, Numbered};
pub use owner::Owner;
pub use prune::{Missing, Prunable, Removal, Size, Swept};
pub use record::{
    Answer, Edge, Effect, EffectResult, EndKind, Intent, NewSession, Note, NoteKind, Observation, OpEffect, OpKind,
    Outcome, OutcomeStatus, Record, ReturnAddress, SPILL_SPACE, SessionEnd, SessionUpdate, SpaceId, Spill, Start,
    Status, Sync, Transition,
};
pub use repair::Loss;
pub use rows::{
    Change, Entry, ForkPoint, Imported, JournalSize, NewRun, OperationRow, RunRow, RunUpdate, SessionRow, SpaceRow,
    StoredEntry, WhatFor,
};
pub use runs::{Listed, RunState, Unowned};
#[cfg(test)]
pub(crate) use schema::VERSION as FORMAT;
pub use space::Quota;
pub use verify::{Look, Steps};
pub use write::Appended;

use crate::ids::RunId;
use crate::limits::Limits;
use commit::{Done, Writer, once};
use error::Fault;
use files::Files;
use owner::RunLock;
use pool::Pool;
use reserve::Reserve;

/// Which failures a durable append survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power failure: the disk is synced.
    Power,
    /// The end of the process, in any way; a power failure may take the newest records.
    Process,
}

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes; makes folder and database where there are none.
    Write,
    /// Reads only; the folder may be read-only, and there must be a database.
    Read,
}

/// How to open a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Which failures a durable append survives.
    pub durability: Durability,
    /// How long a write waits for its turn.
    pub busy: Duration,
    /// For what.
    pub access: Access,
    /// Keys in one space of the home folder, and in all those of a run whose writer names no other quota.
    pub space_keys: u64,
    /// Bytes of keys, media types and values there.
    pub space_bytes: u64,
    /// Bytes that are kept free on the disk: with less nothing new begins.
    pub reserve: u64,
}

impl StoreOptions {
    /// Under these limits, for `access`, durable against a power failure.
    pub fn new(limits: &Limits, access: Access) -> Self {
        Self {
            durability: Durability::Power,
            busy: Duration::from_millis(limits.store_busy),
            access,
            space_keys: limits.blackboard_keys,
            space_bytes: limits.blackboard_bytes,
            reserve: limits.disk_reserve,
        }
    }
}

/// An open store. Cheap to clone; clones share one writer.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    files: Files,
    options: StoreOptions,
    pool: Pool,
    writer: Option<Writer>,
    reserve: Reserve,
    /// What this process has looked through, or made itself. There is no more of it than there is in the database.
    looked: Mutex<HashSet<Looked>>,
    /// Counts the writes to spaces of this process, for those who wait for a change.
    spaces: watch::Sender<u64>,
}

/// What is looked through once, by a process, before it is believed that what is not found is not there.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Looked {
    /// The records of a run.
    Records(RunId),
    /// The rows of the spaces of a run, or of the home folder.
    Spaces(Option<RunId>),
    /// The entries of a space.
    Space(SpaceId),
}

impl Store {
    /// Opens the store in `dir`, the home folder's `host`.
    ///
    /// # Errors
    /// A database of a newer format, of another program, damaged or missing while its files are there; a folder that can't be
    /// written, for [`Access::Write`]; a network file system. The folder is then left as it was.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let files = Files { dir: dir.to_path_buf() };
        let writer = match options.access {
            Access::Read => {
                files.check_header()?;
                None
            }
            Access::Write => {
                files.refuse_untouched()?;
                files.prepare()?;
                files.check_header()?;
                let conn = files.connect()?;
                upgrade(&files, &conn, options.busy)?;
                Some(Writer::new(&files, options.durability, conn)?)
            }
        };
        let pool = Pool::new(files.clone());
        let reserve = Reserve::new(files.dir.clone(), options.reserve);
        Ok(Self(Arc::new(Inner {
            files,
            options,
            pool,
            writer,
            reserve,
            looked: Mutex::default(),
            spaces: watch::Sender::new(0),
        })))
    }

    /// The folder that it was opened in.
    pub fn dir(&self) -> &Path {
        &self.0.files.dir
    }

    /// Its database.
    pub fn database(&self) -> PathBuf {
        self.0.files.database()
    }

    /// Whether a folder holds a store: its database, and the folders beside it.
    pub fn lies_in(dir: &Path) -> bool {
        let files = Files { dir: dir.to_path_buf() };
        files.database().is_file() && files.runs().is_dir() && files.components().is_dir()
    }

    /// What an append or a change of a row comes to, unless a time of `busy` passes without a commit of this process: as long as it commits, nobody
    /// else holds the database.
    pub async fn while_it_commits<F: Future + Unpin>(&self, busy: Duration, it: &mut F) -> Option<F::Output> {
        match &self.0.writer {
            Some(writer) => writer.while_it_commits(busy, it).await,
            None => tokio::time::timeout(busy, it).await.ok(),
        }
    }

    /// What a space of the home folder may hold, and all those of a run whose writer names no other quota.
    fn quota(&self) -> Quota {
        Quota {
            keys: self.0.options.space_keys,
            bytes: self.0.options.space_bytes,
        }
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.0.writer.as_ref().ok_or_else(|| StoreError::ReadOnly {
            path: self.0.files.database(),
        })
    }

    async fn submit<T, F>(&self, sync: Sync, lock: Option<&Arc<RunLock>>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<Done<T>, Fault> + Send + 'static,
    {
        self.submit_within(self.0.options.busy, sync, lock, work).await
    }

    async fn submit_within<T, F>(
        &self,
        busy: Duration,
        sync: Sync,
        lock: Option<&Arc<RunLock>>,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<Done<T>, Fault> + Send + 'static,
    {
        self.writer()?
            .submit(sync, busy, lock.cloned(), false, once(work))
            .await
    }

    fn read<T>(&self, work: impl FnMut(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.0.pool.read(work)
    }

    /// The same of what belongs to this run, where a page that can't be read is damage of it.
    fn read_of<T>(&self, run: &RunId, work: impl FnMut(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.read(work).map_err(|error| match error {
            StoreError::Corrupt { what, .. } => StoreError::damaged(run, format!("a page of it can't be read: {what}")),
            other => other,
        })
    }

    fn spaces_changed(&self) {
        self.0.spaces.send_modify(|n| *n = n.wrapping_add(1));
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.0.files.dir)
            .field("options", &self.0.options)
            .finish()
    }
}

/// Brings an older database to the present format, in one transaction.
fn upgrade(files: &Files, conn: &Connection, busy: Duration) -> Result<(), StoreError> {
    let upgrade = || -> Result<(), Fault> {
        if schema::version(conn)? < schema::VERSION {
            conn.busy_timeout(busy)?;
            conn.execute_batch("BEGIN IMMEDIATE")?;
            let from = schema::version(conn)?;
            schema::upgrade(conn, from)?;
            conn.execute_batch("COMMIT")?;
        }
        // From here on the writer waits in its own way.
        Ok(conn.busy_timeout(Duration::ZERO)?)
    };
    upgrade().map_err(|e| e.at(&files.database()))
}
