//! Removing runs. A run is gone with its row, in one transaction; its other rows and its files follow in small ones, and what a crash leaves of
//! them the next prune sweeps away.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use rustix::fs::{FlockOperation, flock};

use super::commit::Done;
use super::component::{digest_at, give_back};
use super::error::{Fault, StoreError, failed_reads, of_the_disk_by};
use super::files::{Files, private, shared};
use super::hidden::{is_led_to, is_stored, is_stored_as};
use super::key::{NUMBERS, range};
use super::listing::{self, Found, is_shown, none_would_go};
use super::owner::LockState;
use super::record::Sync;
use super::repair::has_no_beginning;
use super::rows::RunRow;
use super::runs::{IMPORTED_EPOCH, NOT_WHOLE, epoch_at};
use super::sweep::{Left, Part, TIME, sweep_rest, sweep_some};
use super::whole::{reindex, tolerant};
use super::write::session_row;
use super::{RunState, Store};
use crate::blocking;
use crate::ids::{Digest, RunId};
use crate::own_file::FileLock;
use crate::text;

/// What a row takes beside its content, in bytes: the other columns, the index, and its share of half-empty pages. Measured.
const ROW: u64 = 160;

/// A draft or a lock file beside no run is a crash's remains when it is older: nobody takes so long to go on from there.
const REMAINS_AGE: Duration = Duration::from_secs(60);

/// Pages that are given back to the file system at a time.
const PAGES: u32 = 64;

/// A run that may be removed, and what that would bring.
#[derive(Debug, Clone, PartialEq)]
pub struct Prunable {
    /// The run.
    pub run: RunId,
    /// Its row in the table.
    number: i64,
    /// How often it was taken so far.
    epoch: i64,
    /// Its row, or what is wrong with it.
    pub row: Result<RunRow, StoreError>,
    /// Whether somebody owns it, or it is damaged.
    pub state: RunState,
    /// Whether its anchor is there and can be read. Where it is not, that may be all that is wrong with the run, and is made again.
    pub anchored: bool,
    /// Whether not even its beginning is what was written, so that nothing makes its anchor again. This is looked for where all is read, and it has none.
    pub has_no_beginning: bool,
    /// Milliseconds since 1970 at which something last changed; nothing where what would say so is damaged.
    pub changed_ms: Option<u64>,
    /// About how many bytes of the database it takes; 0 where that can't be read.
    pub bytes: u64,
    /// The components that it uses, with their bytes; none where that can't be read.
    pub components: Vec<(Digest, u64)>,
}

/// How removing a run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed,
    /// It was gone already.
    Gone,
    /// A live process owns it.
    Owned,
    /// Somebody took it since it was looked at.
    Taken,
}

/// What was left over and is removed now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Components that no run uses.
    pub components: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether a copy of the store is being made, which needs the components: then they are left.
    pub in_use: bool,
    /// Why all components are left.
    pub missing: Option<Missing>,
}

/// What is missing: then a component that no row names may be in use, and none is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// A component that a run uses: the row that names it may be damaged.
    Component(Digest),
    /// A row that says which component this run uses.
    Rows(RunId),
    /// Perhaps a row, as the database's structure is damaged.
    Page(String),
}

/// How large the store is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Of its files: the database, its log, components.
    pub files: u64,
    /// Of what is in them.
    pub used: u64,
    /// Of the database's pages that are free, and will be used again.
    pub free: u64,
    /// Of components.
    pub components: u64,
}

impl Size {
    /// Of the database's pages, used or free, wherever they lie: in its file or in its log.
    pub fn pages(&self) -> u64 {
        (self.used + self.free).saturating_sub(self.components)
    }
}

impl Store {
    /// Every run with what a choice among them needs, the oldest first.
    ///
    /// # Errors
    /// Failures of the disk.
    pub fn prunable(&self) -> Result<Vec<Prunable>, StoreError> {
        let every = self.read(listing::every)?;
        let mut bearers: HashMap<String, u32> = HashMap::new();
        for found in &every {
            *bearers.entry(found.id.clone()).or_default() += 1;
        }
        let mut runs = Vec::with_capacity(every.len());
        let mut index = None;
        for Found {
            number, id, epoch, row, ..
        } in every
        {
            // One whose very id is damaged can't be named, and so not chosen.
            let Ok(run) = id.parse::<RunId>() else { continue };
            // Of rows that have one id it is the one's whose checksum says so.
            if row.is_err() && bearers.get(&id).is_some_and(|rows| *rows > 1) {
                continue;
            }
            let row = row.map_err(|fault| fault.at(&self.0.files.database()));
            let lock = self.0.files.lock_state(&run);
            let anchored = matches!(lock, Ok(LockState::Line(_)));
            let mut state = match lock.and_then(|lock| self.run_state_by(&run, lock)) {
                Ok(state) => state,
                Err(StoreError::NotFound { .. }) => continue,
                Err(StoreError::Damaged { what, .. } | StoreError::Corrupt { what, .. }) => RunState::Damaged(what),
                Err(error) => return Err(error),
            };
            let changed_ms = match &row {
                Ok(row) => self.changed_ms(row)?,
                Err(_) => None,
            };
            let bytes = match self.read(|conn| run_bytes(conn, number)) {
                Err(StoreError::Corrupt { what, .. }) => {
                    // A page of its own can't be read, unless it is one of an index that all runs share.
                    let index = match &index {
                        Some(index) => index,
                        None => index.insert(self.read(unreadable_index)?),
                    };
                    if state != RunState::Owned && index.is_none() {
                        state = RunState::Damaged(what);
                    }
                    0
                }
                bytes => bytes?,
            };
            // No run needs these rows to be read.
            let components = match self.component_sizes(number) {
                Err(StoreError::Corrupt { .. }) => Vec::new(),
                components => components?,
            };
            runs.push(Prunable {
                number,
                epoch,
                row,
                state,
                anchored,
                has_no_beginning: false,
                changed_ms,
                bytes,
                components,
                run,
            });
        }
        Ok(runs)
    }

    /// The same, all of those read that nobody owns: one that has an anchor and of which something is not what was written is damaged. This tells of a run
    /// alone where [`Store::structure`] has found nothing wrong; else an index or a page may hide what is whole.
    ///
    /// # Errors
    /// [`StoreError::Io`] where any read failed, as that tells of no run; other failures of the disk.
    pub fn read_through(&self) -> Result<Vec<Prunable>, StoreError> {
        let failed = failed_reads();
        let mut runs = self.prunable()?;
        let spaces = self.rows_of_spaces()?;
        for run in runs.iter_mut().filter(|run| run.state != RunState::Owned) {
            if !run.anchored {
                // Its row must say that it is this run whose records these should be.
                run.has_no_beginning = run.row.is_ok() && self.has_no_beginning(&run.run, run.number)?;
                continue;
            }
            match self.whole_by(&run.run, spaces) {
                Err(StoreError::Damaged { what, .. } | StoreError::Corrupt { what, .. }) => {
                    run.state = RunState::Damaged(what);
                }
                // It was removed meanwhile.
                Err(StoreError::NotFound { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        if failed_reads() > failed {
            return Err(StoreError::Io {
                path: self.0.files.database(),
                what: "a page of it can't be read, so that it is not told which runs are damaged".to_owned(),
            });
        }
        Ok(runs)
    }

    fn has_no_beginning(&self, run: &RunId, number: i64) -> Result<bool, StoreError> {
        match self.read(|conn| has_no_beginning(conn, run, number)) {
            Err(StoreError::Corrupt { .. }) => Ok(false),
            found => found,
        }
    }

    fn changed_ms(&self, row: &RunRow) -> Result<Option<u64>, StoreError> {
        if row.ended_ms.is_some() {
            return Ok(row.ended_ms);
        }
        let sessions = match self.sessions(&row.id) {
            Ok(sessions) => sessions,
            // Damaged, or removed meanwhile.
            Err(StoreError::Damaged { .. } | StoreError::Corrupt { .. } | StoreError::NotFound { .. }) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let newest = sessions.iter().map(|session| session.updated_ms).max();
        Ok(newest.max(Some(row.started_ms)))
    }

    fn component_sizes(&self, number: i64) -> Result<Vec<(Digest, u64)>, StoreError> {
        let digests = self.read(|conn| {
            let mut select = conn.prepare_cached("SELECT digest FROM component WHERE run = ?1 ORDER BY digest")?;
            let rows = select.query_map([number], |row| digest_at(row, 0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        let sized = digests
            .into_iter()
            .map(|digest| (digest, length(&self.component_path(&digest))));
        Ok(sized.collect())
    }

    /// How large the store is now.
    ///
    /// # Errors
    /// Failures of the disk.
    pub fn size(&self) -> Result<Size, StoreError> {
        let (page, pages, free) = self.read(|conn| {
            let pragma = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            Ok((pragma("page_size")?, pragma("page_count")?, pragma("freelist_count")?))
        })?;
        let bytes = |pages: i64| pages.unsigned_abs() * page.unsigned_abs();
        let files = &self.0.files;
        let components: u64 = entries(&files.components())?.iter().map(|path| length(path)).sum();
        Ok(Size {
            files: length(&files.database()) + length(&files.wal()) + components,
            used: bytes(pages - free) + components,
            free: bytes(free),
            components,
        })
    }

    /// That no page of the database belongs to two rows, and that all rows are in their order, before any is removed. All of the database is read for it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where a page belongs to two, or rows are out of order; failures of the disk.
    pub async fn pages_are_apart(&self) -> Result<(), StoreError> {
        self.apart(none_is_shared).await
    }

    /// The same, and the first thing that is wrong with the database's structure, in SQLite's words: what seems to be gone or damaged may then be hidden. Each
    /// index is held against its table for it.
    ///
    /// # Errors
    /// As of [`Store::pages_are_apart`].
    pub async fn structure(&self) -> Result<Option<String>, StoreError> {
        self.apart(|conn| {
            let wrong = first_wrong(conn, "integrity_check")?;
            rows_are_in_order(conn)?;
            Ok(wrong)
        })
        .await
    }

    /// Reads much, in a thread that may take its time.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let looked = blocking::apart(move || store.read(work)).await;
        looked.map_err(|e| StoreError::internal(format!("looking at the database: {e}")))?
    }

    /// Removes a run that is as it was looked at. Its other rows go with [`Store::sweep_rows`]. Its row is the one that was looked at in the table: the
    /// index of ids may lead to another run's.
    ///
    /// # Errors
    /// [`StoreError::Busy`], failures of the disk.
    pub async fn remove_run(&self, run: &Prunable) -> Result<Removal, StoreError> {
        self.writer()?;
        let (id, number, epoch) = (run.run.clone(), run.number, run.epoch);
        let lock = match self.hold_run(&id).await {
            Ok(lock) => Some(lock),
            Err(StoreError::Owned { .. }) => return Ok(Removal::Owned),
            Err(StoreError::NotFound { .. }) => return Ok(Removal::Gone),
            // Without its lock file nobody can take it either.
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        // A row that is not what was written may have the id of another's run.
        let (gone, is_vouched_for) = (id.clone(), run.row.is_ok());
        let work = move |conn: &Connection| {
            let removal = remove_row(conn, &gone, number, epoch)?;
            let has_others = !is_vouched_for && is_stored(conn, gone.as_str())?;
            let value = (removal, has_others);
            Ok(Done { value, head: None })
        };
        // On the disk before the first of its files goes.
        let (removal, has_others) = self.removing(Sync::Durable, work).await?;
        if removal == Removal::Removed && !has_others {
            // Where this fails, the next sweep tries again.
            let _ = fs::remove_file(self.0.files.lock_path(&id));
        }
        drop(lock);
        Ok(removal)
    }

    /// Removes what removed runs left in the database, in transactions so short that they hold up nobody for long.
    ///
    /// # Errors
    /// [`StoreError::Busy`], failures of the disk; [`StoreError::Corrupt`] once all is removed but what lies on pages that can't be read, and what may
    /// be another run's.
    pub async fn sweep_rows(&self) -> Result<(), StoreError> {
        let left = self.read(|conn| {
            let mut select = conn.prepare_cached("SELECT no, id FROM pruned WHERE no > 0 AND no < ?1 ORDER BY no")?;
            let rows = select.query_map([NUMBERS], |row| Ok((row.get(0)?, row.get(1).ok())))?;
            Ok(rows.collect::<Result<Vec<(i64, Option<String>)>, _>>()?)
        })?;
        let mut damaged = None;
        for (number, id) in left {
            let run = id.and_then(|id| id.parse::<RunId>().ok());
            if let Some(run) = &run {
                self.sweep_lock(run)?;
            }
            match self.sweep_run(number, run.as_ref()).await {
                Err(error @ StoreError::Corrupt { .. }) => damaged = damaged.or(Some(error)),
                swept => swept?,
            }
        }
        damaged.map_or(Ok(()), Err)
    }

    /// Removes what a run that was just removed left in the database; else as [`Store::sweep_rows`].
    ///
    /// # Errors
    /// As of [`Store::sweep_rows`].
    pub async fn sweep_rows_of(&self, run: &Prunable) -> Result<(), StoreError> {
        self.sweep_run(run.number, Some(&run.run)).await
    }

    /// Removes what is left of the removed run that had this number. What can't be removed of one part holds up no other part. That it was removed stays known
    /// while its lock file is there, which would tell of a run that was lost.
    pub(super) async fn sweep_run(&self, number: i64, run: Option<&RunId>) -> Result<(), StoreError> {
        let mut damaged = None;
        for part in Part::ALL {
            match self.all_go(move |conn| sweep_some(conn, number, part)).await {
                Err(error @ StoreError::Corrupt { .. }) => drop(damaged.get_or_insert(error)),
                swept => swept?,
            }
        }
        match (damaged, run) {
            (Some(error), _) => Err(error),
            (None, Some(run)) if self.0.files.synced(run)? > 0 && self.is_gone(run)? => Ok(()),
            (None, _) => self.all_go(move |conn| sweep_rest(conn, number)).await,
        }
    }

    /// Does a step, each time in a transaction of its own, until nothing is left for it.
    async fn all_go(
        &self,
        step: impl Fn(&Connection) -> Result<Left, Fault> + Copy + Send + 'static,
    ) -> Result<(), StoreError> {
        let work = move |conn: &Connection| {
            let value = step(conn)?;
            Ok(Done { value, head: None })
        };
        while self.removing(Sync::Commit, work).await? == Left::More {}
        Ok(())
    }

    /// Commits what removes something. On a full disk the log is emptied, and it is tried once more: the log of what was removed before may be all that fills it.
    async fn removing<T, F>(&self, sync: Sync, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<Done<T>, Fault> + Clone + Send + 'static,
    {
        match self.submit(sync, None, work.clone()).await {
            Err(StoreError::Full { .. }) => {
                self.empty_log().await?;
                self.submit(sync, None, work).await
            }
            done => done,
        }
    }

    /// Copies the log into the database, which gets shorter with that, and cuts it to nothing.
    async fn empty_log(&self) -> Result<(), StoreError> {
        let emptied = blocking::apart(self.writer()?.emptying()).await;
        emptied.map_err(|e| StoreError::internal(format!("emptying the log: {e}")))?
    }

    /// Removes the lock file of a run that has no row, unless somebody holds it.
    fn sweep_lock(&self, run: &RunId) -> Result<(), StoreError> {
        let files = &self.0.files;
        let Ok(file) = shared(OpenOptions::new().read(true), &files.lock_path(run)) else {
            return Ok(());
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _held = FileLock(file);
            if self.is_gone(run)? {
                let _ = fs::remove_file(files.lock_path(run));
            }
        }
        Ok(())
    }

    /// Whether somebody removed the run, and rows of it may still be there.
    pub(super) fn was_removed(&self, run: &RunId) -> Result<bool, StoreError> {
        self.read(|conn| {
            let mut select = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM pruned WHERE id = ?1)")?;
            Ok(select.query_row([run.as_str()], |row| row.get(0))?)
        })
    }

    fn is_gone(&self, run: &RunId) -> Result<bool, StoreError> {
        match self.run_number(run) {
            Err(StoreError::NotFound { .. }) => Ok(true),
            Err(StoreError::Damaged { .. }) => Ok(false),
            other => other.map(|_| false),
        }
    }

    /// Removes components that no run uses, unless something is missing ([`Store::missing`]); and what crashes left of components and lock files.
    ///
    /// # Errors
    /// [`StoreError::Busy`], failures of the disk.
    pub async fn sweep_files(&self, structure: Option<&str>, unnamed: Option<RunId>) -> Result<Swept, StoreError> {
        let files = &self.0.files;
        for path in entries(&files.runs())? {
            let run: Option<RunId> = named(&path);
            // A lock file that tells of records which the database has lost stays: it is all that tells of them.
            if let Some(run) = run.filter(|_| is_remains(&path))
                && self.lost(&run)?.is_none()
            {
                self.sweep_lock(&run)?;
            }
        }
        let mut swept = Swept::default();
        let Some(_held) = files.hold_components(FlockOperation::NonBlockingLockExclusive)? else {
            swept.in_use = true;
            return Ok(swept);
        };
        let used = self.read(used_components)?;
        swept.missing = self.missing(structure, unnamed)?;
        for path in entries(&files.components())? {
            if path.extension().is_some_and(|extension| extension == "draft") {
                if is_remains(&path) {
                    let _ = fs::remove_file(&path);
                }
                continue;
            }
            let digest: Option<Digest> = named(&path);
            let goes = |digest: &Digest| swept.missing.is_none() && !used.contains(digest);
            let Some(digest) = digest.filter(goes) else {
                continue;
            };
            let bytes = length(&path);
            if self.sweep_component(path, digest).await? {
                swept.components += 1;
                swept.bytes += bytes;
            }
        }
        Ok(swept)
    }

    /// What is missing, so that a component may be in use that no row names: a component that a run uses; what damage to the structure hides, where
    /// `structure` tells of any; a row of `unnamed`, a run whose records use a component that none names, or all rows of another.
    ///
    /// # Errors
    /// Failures of the disk.
    pub fn missing(&self, structure: Option<&str>, unnamed: Option<RunId>) -> Result<Option<Missing>, StoreError> {
        let used = self.read(used_components)?;
        let missing = used.into_iter().find(|digest| !self.component_path(digest).exists());
        Ok(match (missing, structure) {
            (Some(component), _) => Some(Missing::Component(component)),
            (None, Some(what)) => Some(Missing::Page(what.to_owned())),
            (None, None) => match unnamed {
                Some(run) => Some(Missing::Rows(run)),
                None => self.read(without_components)?.map(Missing::Rows),
            },
        })
    }

    /// Removes a component's file in a transaction, so that no run comes to use it meanwhile.
    async fn sweep_component(&self, path: PathBuf, digest: Digest) -> Result<bool, StoreError> {
        let work = move |conn: &Connection| {
            let used: bool = conn
                .prepare_cached(&format!(
                    "SELECT EXISTS (SELECT 1 FROM component WHERE {IN_USE} AND digest = ?1)"
                ))?
                .query_row([digest.as_bytes()], |row| row.get(0))?;
            Ok(Done {
                value: !used && fs::remove_file(&path).is_ok(),
                head: None,
            })
        };
        self.removing(Sync::Commit, work).await
    }

    /// Gives free pages of the database back to the file system, in transactions so short that they hold up nobody for long. A database that was made
    /// by format 1 keeps them: they are used again.
    ///
    /// # Errors
    /// [`StoreError::Busy`], failures of the disk.
    pub async fn give_back(&self) -> Result<(), StoreError> {
        self.all_go(give_back_some).await?;
        self.empty_log().await
    }
}

impl Files {
    /// The lock of those who rely on components that no run may use any more, or remove them. Nothing where another has it.
    pub(super) fn hold_components(&self, operation: FlockOperation) -> Result<Option<FileLock>, StoreError> {
        let path = self.dir.join("components.lock");
        let file = shared(private().create(true).truncate(false), &path);
        let file = file.map_err(|e| StoreError::io(&path, &e))?;
        match flock(&file, operation) {
            Ok(()) => Ok(Some(FileLock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(StoreError::io(&path, &e.into())),
        }
    }
}

fn give_back_some(conn: &Connection) -> Result<Left, Fault> {
    let began = Instant::now();
    let free = || conn.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
    let mut before = free()?;
    while before > 0 {
        let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        let after = free()?;
        if after >= before {
            return Ok(Left::Nothing);
        }
        if began.elapsed() >= TIME {
            return Ok(Left::More);
        }
        before = after;
    }
    Ok(Left::Nothing)
}

/// Removes the row of a run that still has this epoch, and notes that its other rows are to go.
pub(super) fn remove_row(conn: &Connection, id: &RunId, number: i64, epoch: i64) -> Result<Removal, Fault> {
    let found: Option<i64> = conn
        .prepare_cached("SELECT epoch FROM run NOT INDEXED WHERE no = ?1 AND CAST(id AS TEXT) = ?2")?
        .query_row(params![number, id.as_str()], |row| Ok(epoch_at(row, 0)))
        .optional()?;
    match found {
        None if is_led_to(conn, id.as_str(), number)? || is_shown(conn, id.as_str(), number)? => Err(Fault::Corrupt(
            format!("the row of run {id} can't be read, and so it stays"),
        )),
        None => Ok(Removal::Gone),
        Some(now) if now != epoch => Ok(Removal::Taken),
        Some(_) => {
            give_back(conn, number)?;
            conn.prepare_cached("INSERT OR REPLACE INTO pruned (no, id) VALUES (?1, ?2)")?
                .execute(params![number, id.as_str()])?;
            delete_row(conn, id, number)?;
            Ok(Removal::Removed)
        }
    }
}

/// Deletes a run's row. Where the index of runs does not lead to it, that is made again from the rows that are left.
fn delete_row(conn: &Connection, id: &RunId, number: i64) -> Result<(), Fault> {
    let delete = || {
        let mut delete = conn.prepare_cached("DELETE FROM run NOT INDEXED WHERE no = ?1")?;
        Ok(delete.execute([number])?)
    };
    if is_stored_as(conn, id.as_str(), number)? && is_led_to(conn, id.as_str(), number)? {
        delete()?;
        return Ok(());
    }
    none_would_go(conn, number)?;
    tolerant(conn, delete)?;
    reindex(conn, "run")
}

/// An index that can't be read to its end.
fn unreadable_index(conn: &Connection) -> Result<Option<String>, Fault> {
    let mut select = conn.prepare("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' ORDER BY name")?;
    let indexes = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let indexes = indexes.collect::<Result<Vec<(String, String)>, _>>()?;
    for (index, table) in indexes {
        // A table without rowids is its own index.
        let count = format!("SELECT count(*) FROM {table} INDEXED BY {index}");
        if index.starts_with("sqlite_autoindex_") && ["session", "component"].contains(&table.as_str()) {
            continue;
        }
        let counted = conn.query_row(&count, [], |row| row.get::<_, i64>(0));
        match counted.map_err(Fault::from) {
            Err(fault) if fault.is_corrupt() => return Ok(Some(index)),
            counted => drop(counted?),
        }
    }
    Ok(None)
}

/// About how many bytes of the database a run takes.
fn run_bytes(conn: &Connection, number: i64) -> Result<u64, Fault> {
    let sizes = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let (mut rows, mut bytes) = conn
        .prepare_cached("SELECT count(*), coalesce(sum(length(data)), 0) FROM journal WHERE id > ?1 AND id < ?2")?
        .query_row(range(number), sizes)?;
    for select in [
        "SELECT count(*), coalesce(sum(length(data)), 0) FROM body WHERE run = ?1",
        "SELECT count(*), coalesce(sum(length(data)), 0) FROM session WHERE run = ?1",
        "SELECT count(*), coalesce(sum(length(e.key) + octet_length(e.media_type) + length(e.data)), 0)
         FROM space s CROSS JOIN entry e ON e.space = s.no WHERE s.run = ?1",
    ] {
        let (more_rows, more_bytes) = conn.prepare_cached(select)?.query_row([number], sizes)?;
        rows += more_rows;
        bytes += more_bytes;
    }
    Ok(bytes.unsigned_abs() + rows.unsigned_abs() * ROW)
}

/// What holds for rows of components that are in use, in SQL: all but those of removed runs, which have been given back whose checksum says so. One whose
/// run was never there may be of one that is.
const IN_USE: &str = "(run IN (SELECT no FROM run) OR run NOT IN (SELECT no FROM pruned))";

fn used_components(conn: &Connection) -> Result<BTreeSet<Digest>, Fault> {
    let mut select = conn.prepare_cached(&format!("SELECT DISTINCT digest FROM component WHERE {IN_USE}"))?;
    let rows = select.query_map([], |row| digest_at(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A run of this machine of which no row names any component, whatever of its records can be read: the rows are gone. Of one that was imported they may
/// never have come.
fn without_components(conn: &Connection) -> Result<Option<RunId>, Fault> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT no, CAST(id AS TEXT) FROM run NOT INDEXED
         WHERE epoch IS NOT {NOT_WHOLE} AND epoch & {IMPORTED_EPOCH} = 0
         AND EXISTS (SELECT 1 FROM session WHERE session.run = no AND number = 0)
         AND NOT EXISTS (SELECT 1 FROM component WHERE component.run = no)"
    ))?;
    let runs = select.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    for (number, id) in runs.collect::<Result<Vec<_>, _>>()? {
        let Ok(run) = id.parse::<RunId>() else { continue };
        match session_row(conn, &run, number, 0) {
            Err(Fault::Store(StoreError::Damaged { .. })) | Ok(None) => {}
            row => return row.map(|_| Some(run)),
        }
    }
    Ok(None)
}

/// That no page belongs to two rows, with one of which the other's page would go, and that all rows are in their order.
pub(super) fn none_is_shared(conn: &Connection) -> Result<(), Fault> {
    first_wrong(conn, "quick_check")?;
    rows_are_in_order(conn)
}

/// That the rows of each table come in the order of what they are found by, as far as they can be read from the first and from the last on: their numbers,
/// or their primary key where a table has no numbers. SQLite's check says nothing of the place of a row of which it can make no sense, and has other words
/// for each kind of table; it alone looks at what leads from page to page.
fn rows_are_in_order(conn: &Connection) -> Result<(), Fault> {
    let mut select = conn.prepare("SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")?;
    let tables = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (table, has_no_numbers) in tables.collect::<Result<Vec<(String, bool)>, _>>()? {
        let key = match has_no_numbers {
            true => primary_key(conn, &table)?,
            false => vec!["rowid".to_owned()],
        };
        for order in [Order::Ascending, Order::Descending] {
            if keys_are_in_order(conn, &table, &key, order)? == Looked::Through {
                break;
            }
        }
    }
    Ok(())
}

/// The columns of a table's primary key, in their order.
fn primary_key(conn: &Connection, table: &str) -> Result<Vec<String>, Fault> {
    let mut select = conn.prepare_cached("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?;
    let columns = select.query_map([table], |row| row.get(0))?;
    Ok(columns.collect::<Result<_, _>>()?)
}

/// From where on rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// Whether all rows were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    Through,
    /// To a page that can't be read.
    Into,
}

fn keys_are_in_order(conn: &Connection, table: &str, key: &[String], order: Order) -> Result<Looked, Fault> {
    let (word, follows) = match order {
        Order::Ascending => ("ASC", Ordering::Less),
        Order::Descending => ("DESC", Ordering::Greater),
    };
    let columns: Vec<_> = key.iter().map(|column| format!("\"{column}\"")).collect();
    let ordered: Vec<_> = columns.iter().map(|column| format!("{column} {word}")).collect();
    // This is the order of the table, so that nothing is sorted for it.
    let mut select = conn.prepare(&format!(
        "SELECT {} FROM \"{table}\" NOT INDEXED ORDER BY {}",
        columns.join(", "),
        ordered.join(", ")
    ))?;
    let mut rows = select.query([])?;
    let mut before: Option<Vec<KeyPart>> = None;
    loop {
        let row = match rows.next().map_err(Fault::from) {
            Err(fault) if fault.is_corrupt() => return Ok(Looked::Into),
            Err(fault) => return Err(fault),
            Ok(None) => return Ok(Looked::Through),
            Ok(Some(row)) => row,
        };
        let parts = (0..key.len()).map(|column| row.get_ref(column).map(KeyPart::of));
        let next = parts.collect::<Result<Vec<_>, _>>()?;
        let is_amiss = |before: &Vec<KeyPart>| before.partial_cmp(&next) != Some(follows);
        if next.contains(&KeyPart::Real) || before.as_ref().is_some_and(is_amiss) {
            let shown: Vec<_> = next.iter().map(ToString::to_string).collect();
            return Err(out_of_order(&format!("row {} of the table {table}", shown.join(", "))));
        }
        before = Some(next);
    }
}

/// A value of a key, in the order that SQLite has: of nothing, numbers, texts, bytes.
#[derive(Debug, PartialEq, PartialOrd)]
enum KeyPart {
    Null,
    Integer(i64),
    /// What no key has, so that it is in no order.
    Real,
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl KeyPart {
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Real(_) => Self::Real,
            ValueRef::Text(value) => Self::Text(value.to_vec()),
            ValueRef::Blob(value) => Self::Blob(value.to_vec()),
        }
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Blob(value) => value.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::Null | Self::Real | Self::Text(_) => f.write_str("?"),
        }
    }
}

/// A search passes rows by then, and a removal hides more of them.
fn out_of_order(what: &str) -> Fault {
    Fault::Corrupt(format!(
        "rows of one of its tables are out of order, so that nothing is removed from it ({what})"
    ))
}

/// The same, and the first thing that is wrong with the structure as this check sees it, in words.
fn first_wrong(conn: &Connection, check: &str) -> Result<Option<String>, Fault> {
    let mut check = conn.prepare(&format!("PRAGMA {check}({PROBLEMS})"))?;
    let mut rows = check.query([])?;
    let mut first = None;
    loop {
        let told: String = match rows.next().map_err(Fault::from) {
            Ok(Some(row)) => row.get(0)?,
            Ok(None) => return Ok(first),
            // Shared pages are looked for before that.
            Err(fault) if fault.is_corrupt() => return Ok(first.or(Some(UNREADABLE.to_owned()))),
            Err(fault) => return Err(fault),
        };
        let lines = told.lines().filter(|line| *line != "ok" && !line.starts_with("***"));
        for line in lines.map(|line| text::line(line, LINE)) {
            if line.contains("2nd reference to page") {
                return Err(Fault::Corrupt(format!(
                    "two of its rows have one page, so that nothing is removed from it ({line})"
                )));
            }
            if line.contains("out of order") {
                return Err(out_of_order(&line));
            }
            if let Some(failed) = of_the_disk_by(&line) {
                return Err(failed);
            }
            first.get_or_insert(line);
        }
    }
}

/// The longest line about the structure, in characters.
const LINE: usize = 200;

/// Problems of the structure that are looked through for shared pages.
const PROBLEMS: u32 = 1_000_000;

/// What is wrong where the structure can't be looked through.
const UNREADABLE: &str = "it can't be read to its end";

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

/// What is in a folder of the store.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let io = |e: std::io::Error| StoreError::io(folder, &e);
    let found = fs::read_dir(folder)
        .map_err(io)?
        .map(|entry| entry.map(|entry| entry.path()));
    found.collect::<Result<_, _>>().map_err(io)
}

/// The run or the component whose file it is.
pub(super) fn named<T: FromStr>(path: &Path) -> Option<T> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// Whether a file is so old that nobody works on it any more.
fn is_remains(path: &Path) -> bool {
    let changed = path.metadata().and_then(|meta| meta.modified());
    let age = changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age >= REMAINS_AGE)
}
