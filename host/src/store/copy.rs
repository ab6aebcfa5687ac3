//! Runs that come from elsewhere, out of a file or as a fork: written in bounded batches while their owner alone sees them, and then there at
//! once. One that was broken off, even by the end of its process, is swept away.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::Store;
use super::commit::Done;
use super::entry::WholeEntry;
use super::error::StoreError;
use super::hidden::is_stored;
use super::owner::{Owner, Ownership};
use super::prune::remove_row;
use super::record::{Effect, EffectResult, Record, SpaceId, Sync};
use super::rows::{RunRow, StoredEntry};
use super::runs::{FIRST_EPOCH, NOT_WHOLE, now_ms, origin_flags, seal_run};
use super::seal::{int, uint};
use super::space::{self, Quota, Writing};
use super::write::{FOREVER, check_epoch, head};
use crate::ids::{RunId, StreamId};

/// Which entry comes next: behind this version of the space of this name.
pub type EntryCursor = (String, u64);

impl Store {
    /// Begins a copy. Until [`Store::finish_copy`] nobody else sees the run.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when the id is taken, [`StoreError::Owned`] when somebody copies it now; failures of the disk.
    pub async fn begin_copy(&self, row: RunRow) -> Result<Owner, StoreError> {
        self.remove_stray_lock(&row.id)?;
        self.make_run(row, NOT_WHOLE).await
    }

    /// Whether the run has a row, whole or not.
    pub(super) fn is_known(&self, run: &RunId) -> Result<bool, StoreError> {
        self.read(|conn| {
            let mut select = conn.prepare_cached("SELECT 1 FROM run WHERE id = ?1")?;
            Ok(select.exists([run.as_str()])? || is_stored(conn, run.as_str())?)
        })
    }

    /// A process that ended before the run's row was there has left its lock file alone.
    fn remove_stray_lock(&self, run: &RunId) -> Result<(), StoreError> {
        let is_known = self.is_known(run)?;
        let path = self.0.files.lock_path(run);
        if is_known || !path.exists() {
            return Ok(());
        }
        if let Some(records) = self.lost(run)? {
            // It is all that tells of them.
            let run = run.clone();
            return Err(StoreError::Lost { run, records });
        }
        let _held = self.0.files.take_lock(run, self.0.options.durability, now_ms())?;
        std::fs::remove_file(&path).map_err(|e| StoreError::io(&path, &e))
    }

    /// The copy is whole: from here on it is a run like any other, with this row.
    ///
    /// # Errors
    /// Failures of the disk.
    pub async fn finish_copy(&self, owner: Owner, row: RunRow) -> Result<Owner, StoreError> {
        let by = owner.clone();
        let epoch = FIRST_EPOCH | origin_flags(row.imported.as_ref());
        let work = move |conn: &Connection| {
            check_epoch(conn, &by)?;
            let (data, sum) = seal_run(&row)?;
            conn.prepare_cached("UPDATE run SET epoch = ?2, data = ?3, sum = ?4 WHERE no = ?1")?
                .execute(params![by.0.number, int(epoch), data, sum])?;
            let head = head(conn, by.0.number)?;
            Ok(Done {
                value: (),
                head: Some(head),
            })
        };
        self.submit(Sync::Durable, Some(&owner.0.lock), work).await?;
        Ok(Owner(Arc::new(Ownership {
            run: owner.run().clone(),
            number: owner.0.number,
            epoch,
            lock: owner.0.lock.clone(),
            lost_tail: None,
        })))
    }

    /// Gives a copy up: nothing of it stays.
    ///
    /// # Errors
    /// Failures of the disk; what is left then is swept later.
    pub async fn drop_copy(&self, owner: Owner) -> Result<(), StoreError> {
        self.give_up(owner.0.number, owner.run()).await
    }

    /// Removes what copies left whose process ended before they were whole.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where two rows of the database have one page; failures of the disk.
    pub async fn sweep_copies(&self) -> Result<(), StoreError> {
        let copies = self.copies()?;
        if !copies.is_empty() {
            self.pages_are_apart().await?;
        }
        for (number, run) in copies {
            self.sweep_copy(number, &run).await?;
        }
        Ok(())
    }

    /// The copies that are not whole now, by number.
    pub(super) fn copies(&self) -> Result<Vec<(i64, RunId)>, StoreError> {
        let found = self.read(|conn| {
            let mut select = conn.prepare_cached("SELECT no, CAST(id AS TEXT) FROM run WHERE epoch = ?1")?;
            let rows = select.query_map([int(NOT_WHOLE)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<Vec<(i64, String)>, _>>()?)
        })?;
        // One whose very id is damaged can't be named: the doctor tells of it.
        let named = found
            .into_iter()
            .filter_map(|(number, id)| Some((number, id.parse::<RunId>().ok()?)));
        Ok(named.collect())
    }

    /// Removes one that was found not to be whole, unless its process is still at it, or has finished it since.
    pub(super) async fn sweep_copy(&self, number: i64, run: &RunId) -> Result<(), StoreError> {
        // Where its lock file is missing nobody can be at it, and with a new one nobody begins it anew meanwhile.
        match self.0.files.mend_lock(run, self.0.options.durability, now_ms()) {
            Err(StoreError::Owned { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(_held) => self.give_up(number, run).await,
        }
    }

    /// Removes a copy whose lock file the caller holds, as a run is removed: its row in one transaction, its other rows in small ones. Since it was
    /// looked at it may have become whole, or have gone and its number be another run's: these stay.
    async fn give_up(&self, number: i64, run: &RunId) -> Result<(), StoreError> {
        let id = run.clone();
        let work = move |conn: &Connection| {
            remove_row(conn, &id, number, int(NOT_WHOLE))?;
            let value = is_stored(conn, id.as_str())?;
            Ok(Done { value, head: None })
        };
        if !self.submit(Sync::Durable, None, work).await? {
            // Where this fails, whoever begins it anew or sweeps files tries again.
            let _ = std::fs::remove_file(self.0.files.lock_path(run));
        }
        self.sweep_run(number, None).await
    }

    /// Writes records of a copy, and waits for a busy database for as long as the caller does.
    ///
    /// # Errors
    /// As [`Store::append_patiently`].
    pub async fn copy_records(&self, owner: &Owner, records: Vec<Record>) -> Result<(), StoreError> {
        // None of them changes a space: entries are copied by themselves.
        let written = self.append_within(FOREVER, self.quota(), owner, records, None, Sync::Commit);
        written.await.map(drop)
    }

    /// Writes entries of a copy as they are.
    ///
    /// # Errors
    /// Failures of the disk.
    pub async fn copy_entries(&self, owner: &Owner, entries: Vec<StoredEntry>) -> Result<(), StoreError> {
        let by = owner.clone();
        let work = move |conn: &Connection| {
            check_epoch(conn, &by)?;
            entries
                .iter()
                .try_for_each(|entry| space::copy(conn, by.run(), entry))?;
            Ok(Done { value: (), head: None })
        };
        self.submit(Sync::Commit, None, work).await
    }

    /// Makes a change of one of a copy's spaces again, as operation `op` made it, where they may hold what `quota` says.
    ///
    /// # Errors
    /// Failures of the disk.
    pub async fn copy_write(
        &self,
        owner: &Owner,
        quota: Quota,
        effect: Effect,
        (stream, op): (StreamId, u32),
        at_ms: u64,
    ) -> Result<EffectResult, StoreError> {
        let by = owner.clone();
        let work = move |conn: &Connection| {
            check_epoch(conn, &by)?;
            let by = Writing {
                author: stream.session.to_string(),
                op: Some((stream, op)),
                at_ms,
            };
            let value = space::apply(conn, &effect, &by, quota)?;
            Ok(Done { value, head: None })
        };
        self.submit(Sync::Commit, None, work).await
    }

    /// The first `limit` entries of a run's spaces behind `after`, by space and version, removed ones included. Whoever begins is told of damage to any of
    /// them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when one is not what was written or is hidden, or a space is; failures of the disk.
    pub fn stored_entries(
        &self,
        run: &RunId,
        after: Option<&EntryCursor>,
        limit: u32,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        if after.is_none() {
            self.spaces_are_whole(run)?;
        }
        let any = SpaceId {
            run: Some(run.clone()),
            name: String::new(),
        };
        let found = self.read(|conn| {
            let Some(number) = space::run_number(conn, &any)? else {
                return Ok(Vec::new());
            };
            let (first, since) = after.map_or(("", 0), |(name, version)| (name.as_str(), *version));
            let mut spaces =
                conn.prepare_cached("SELECT no, name FROM space WHERE run = ?1 AND name >= ?2 ORDER BY name")?;
            let mut entries =
                conn.prepare_cached("SELECT * FROM entry WHERE space = ?1 AND version > ?2 ORDER BY version LIMIT ?3")?;
            let mut spaces = spaces.query(params![number, first])?;
            // One after the other, each by its index: a page takes the same time wherever it begins.
            let (mut found, mut left) = (Vec::new(), limit);
            while left > 0
                && let Some(space) = spaces.next()?
            {
                let (no, name): (i64, String) = (space.get(0)?, space.get(1)?);
                let since = if name == first { since } else { 0 };
                let rows = entries.query_map(params![no, int(since), left], |row| Ok(open(&name, row)))?;
                for entry in rows {
                    found.push(entry?);
                    left -= 1;
                }
            }
            Ok(found)
        })?;
        let whole = found.into_iter().collect::<Option<Vec<_>>>();
        whole.ok_or_else(|| StoreError::damaged(run, "an entry of one of its spaces is damaged"))
    }
}

/// An entry of the space of this name, if it is what was written.
fn open(space: &str, row: &rusqlite::Row<'_>) -> Option<StoredEntry> {
    let entry = WholeEntry::of(row)?;
    Some(StoredEntry {
        space: space.to_owned(),
        key: entry.key,
        version: uint(entry.version),
        deleted: entry.deleted,
        media_type: entry.media_type,
        data: entry.data,
        author: entry.author,
        op: entry.op,
        at_ms: uint(entry.at_ms),
    })
}
