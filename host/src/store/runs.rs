//! Runs: making, taking and listing them, and telling whether one has lost records.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::commit::Done;
use super::error::{Fault, StoreError, unless_unreadable};
use super::hidden::{candidates, is_stored_as, not_found};
use super::key::{NUMBERS, SEQ_BITS, behind, row_id};
use super::listing::{self, Found};
use super::owner::{Head, LockState, NO_ANCHOR, Owner, Ownership, RunLock};
use super::record::Sync;
use super::rows::{Imported, NewRun, RunRow, RunUpdate, SessionRow, WhatFor};
use super::seal::{decode, encode, int, sum, uint};
use super::write::{FOREVER, check_epoch, head};
use super::{Durability, Looked, Store, commit};
use crate::ids::RunId;

/// What is wrong where not all records of a run are found from both ends.
pub(super) const PAGE_DAMAGED: &str = "a page of the journal is damaged";

/// How often and after what pause a locked run is tried again: someone may just be looking whether it is owned.
const LOOKERS: (u32, Duration) = (4, Duration::from_millis(3));

/// A run in a list: one whose row is damaged hides no other.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its id, as the database has it.
    pub id: String,
    /// Its row, or what is wrong with it.
    pub row: Result<RunRow, StoreError>,
}

/// The epoch of a run's first owner.
pub(super) const FIRST_EPOCH: u64 = 1;

/// What the epochs of a run have that was imported, so that this is known where its row is lost: its file may grant nothing of this machine.
pub(super) const IMPORTED_EPOCH: u64 = 0x8000_0000;

/// What they have besides where it can be looked at alone.
pub(super) const VIEWED_EPOCH: u64 = 0x4000_0000;

/// The epochs that a run comes to by being taken. No checksum covers a run's epoch: any other is damage.
const EPOCHS: RangeInclusive<i64> = 1..=0xffff_ffff;

/// The epoch of a copy that is not whole yet, which its owner alone sees. It differs from each run's in several bits: damage to one makes neither of the
/// other.
pub(super) const NOT_WHOLE: u64 = 0x5a5a_5a5a_5a5a;

/// The first session of a run that has records and no row, found by as many look-ups as it has sessions.
const LOST_SESSION: &str = "
WITH RECURSIVE recorded(number) AS (
    SELECT min(session) FROM journal WHERE run = ?1
    UNION ALL
    SELECT (SELECT min(session) FROM journal WHERE run = ?1 AND session > number) FROM recorded WHERE number IS NOT NULL
)
SELECT number FROM recorded
WHERE number IS NOT NULL AND NOT EXISTS (SELECT 1 FROM session WHERE session.run = ?1 AND session.number = recorded.number)
LIMIT 1";

/// The epoch that a run gets in the place of a damaged one: no owner has had it.
pub(super) const MENDED_EPOCH: i64 = 0x1000_0000;

/// A run that nobody owned, and how often it had been taken by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unowned {
    run: RunId,
    epoch: i64,
}

/// Whether a run can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// A live process owns it.
    Owned,
    /// Nobody owns it, and its records are all there.
    Free,
    /// Nobody owns it, and a power failure took this many of its last records, as the configured durability allows.
    LostTail(u64),
    /// Records that were durable are missing or changed.
    Damaged(String),
}

impl Store {
    /// Makes a run, owned by the caller.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when the id is taken; [`StoreError::Reserve`] on a disk that is almost full; failures of the disk.
    pub async fn create_run(&self, new: NewRun) -> Result<Owner, StoreError> {
        self.make_run(RunRow::from(new), FIRST_EPOCH).await
    }

    pub(super) async fn make_run(&self, row: RunRow, epoch: u64) -> Result<Owner, StoreError> {
        self.writer()?;
        self.has_room()?;
        let id = row.id.clone();
        let files = &self.0.files;
        let lock = Arc::new(files.new_lock(&id, self.0.options.durability, now_ms())?);
        let work = move |conn: &Connection| {
            let (data, sum) = seal_run(&row)?;
            // A number that any row has, as damage made it one of no run that is there, would make that row this run's.
            let added = conn
                .prepare_cached(
                    "INSERT INTO run (no, id, epoch, data, sum)
                     SELECT 1 + max(coalesce((SELECT max(no) FROM run WHERE no < ?5 - 1), 0), coalesce((SELECT max(no) FROM pruned WHERE no < ?5 - 1), 0),
                     coalesce((SELECT max(id) FROM journal WHERE id < (?5 - 1) << ?6), 0) >> ?6,
                     coalesce((SELECT max(run) FROM session WHERE run < ?5 - 1), 0), coalesce((SELECT max(run) FROM body WHERE run < ?5 - 1), 0),
                     coalesce((SELECT max(run) FROM component WHERE run < ?5 - 1), 0), coalesce((SELECT max(run) FROM space WHERE run < ?5 - 1), 0),
                     coalesce((SELECT max(run) FROM cancel_request WHERE run < ?5 - 1), 0)), ?1, ?2, ?3, ?4",
                )?
                .execute(params![row.id.as_str(), int(epoch), data, sum, NUMBERS, SEQ_BITS]);
            match added.map_err(Fault::from) {
                Ok(_) => {
                    let value = conn.last_insert_rowid();
                    Ok(Done { value, head: None })
                }
                Err(e) if e.is_duplicate() => Err(StoreError::Duplicate {
                    what: format!("run {}", row.id),
                }
                .into()),
                Err(e) => Err(e),
            }
        };
        match self.submit(Sync::Durable, None, work).await {
            Ok(number) => {
                let looked = [Looked::Records(id.clone()), Looked::Spaces(Some(id.clone()))];
                commit::lock(&self.0.looked).extend(looked);
                Ok(Owner(Arc::new(Ownership {
                    run: id,
                    number,
                    epoch,
                    lock,
                    lost_tail: None,
                })))
            }
            Err(error) => {
                // The file is of this call's making; without its row it would stand for a run that never was. Where a sync failed the row may
                // be found there the next time.
                if !matches!(error, StoreError::Io { .. } | StoreError::Failed { .. }) {
                    let _ = std::fs::remove_file(files.lock_path(&id));
                }
                Err(error)
            }
        }
    }

    /// Takes a run that nobody owns. Appends of earlier owners fail from here on.
    ///
    /// # Errors
    /// [`StoreError::Owned`], [`StoreError::NotFound`]; [`StoreError::Damaged`] when durable records are missing or its spaces are
    /// not what was written, until [`Store::accept_loss`].
    pub async fn take_run(&self, run: &RunId) -> Result<Owner, StoreError> {
        self.writer()?;
        let (number, _) = self.run_number(run)?;
        let lock = Arc::new(self.hold_run(run).await?);
        // A row that is not what was written may be none that can be written again.
        self.run(run)?;
        let lost_tail = match self.check_anchor(run)? {
            RunState::Damaged(what) => return Err(StoreError::damaged(run, what)),
            RunState::LostTail(records) => Some(records),
            RunState::Owned | RunState::Free => None,
        };
        self.spaces_are_whole(run)?;
        let work = move |conn: &Connection| {
            let epoch: i64 = conn
                .prepare_cached("UPDATE run SET epoch = epoch + 1 WHERE no = ?1 RETURNING epoch")?
                .query_row([number], |row| row.get(0))?;
            let head = head(conn, number)?;
            Ok(Done {
                value: (uint(epoch), head),
                head: Some(head),
            })
        };
        let (epoch, head) = self.submit(Sync::Durable, Some(&lock), work).await?;
        if head == Head::default() {
            // An empty journal has no anchor to write, but the line must name its new owner.
            lock.write(head)
                .map_err(|e| StoreError::io(&self.0.files.lock_path(run), &e))?;
        }
        Ok(Owner(Arc::new(Ownership {
            run: run.clone(),
            number,
            epoch,
            lock,
            lost_tail,
        })))
    }

    /// Locks a run's lock file. Others who just look whether it is owned are waited for.
    pub(super) async fn hold_run(&self, run: &RunId) -> Result<RunLock, StoreError> {
        let mut tries = LOOKERS.0;
        loop {
            match self.0.files.take_lock(run, self.0.options.durability, now_ms()) {
                Err(StoreError::Owned { .. }) if tries > 0 => tries -= 1,
                // Somebody may have removed the run just now.
                Err(error @ StoreError::Damaged { .. }) => return Err(self.run_number(run).err().unwrap_or(error)),
                other => return other,
            }
            tokio::time::sleep(LOOKERS.1).await;
        }
    }

    /// Whether a run may begin on what the disk has free.
    ///
    /// # Errors
    /// [`StoreError::Reserve`].
    pub fn has_room(&self) -> Result<(), StoreError> {
        self.0.reserve.check_now()
    }

    /// Changes a run's row. Fields that the update doesn't name stay.
    ///
    /// # Errors
    /// [`StoreError::NotOwner`], failures of the disk.
    pub async fn update_run(&self, owner: &Owner, update: RunUpdate) -> Result<(), StoreError> {
        self.update_run_within(self.0.options.busy, owner, update).await
    }

    /// As [`Store::update_run`], and waits for a busy database as long as it takes.
    ///
    /// # Errors
    /// [`StoreError::NotOwner`], failures of the disk.
    pub async fn update_run_patiently(&self, owner: &Owner, update: RunUpdate) -> Result<(), StoreError> {
        self.update_run_within(FOREVER, owner, update).await
    }

    async fn update_run_within(&self, busy: Duration, owner: &Owner, update: RunUpdate) -> Result<(), StoreError> {
        let by = owner.clone();
        let work = move |conn: &Connection| {
            check_epoch(conn, &by)?;
            let mut row = known_row(conn, by.run())?;
            row.apply(update);
            let (data, sum) = seal_run(&row)?;
            conn.prepare_cached("UPDATE run SET data = ?2, sum = ?3 WHERE no = ?1")?
                .execute(params![by.0.number, data, sum])?;
            Ok(Done { value: (), head: None })
        };
        self.submit_within(busy, Sync::Durable, None, work).await
    }

    /// The newest `limit` runs, the newest first.
    ///
    /// # Errors
    /// Failures of the disk.
    pub fn runs(&self, limit: u32) -> Result<Vec<Listed>, StoreError> {
        self.newest_runs(limit).map(|(runs, _)| runs)
    }

    /// The same, and how many runs there are.
    ///
    /// # Errors
    /// Failures of the disk.
    pub fn newest_runs(&self, limit: u32) -> Result<(Vec<Listed>, u64), StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read(|conn| {
            let (places, mut runs) = (listing::places(conn)?, Vec::new());
            let all = places.len() as u64;
            for place in places.into_iter().rev().take(limit) {
                let Found { id, row, .. } = listing::found(conn, place)?;
                runs.push(Listed {
                    id,
                    row: row.map_err(|fault| fault.at(&self.0.files.database())),
                });
            }
            Ok((runs, all))
        })
    }

    /// The one run whose id begins with `prefix`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`]; [`StoreError::Lost`].
    pub fn find_run(&self, prefix: &str) -> Result<RunId, StoreError> {
        let wanted = prefix.to_ascii_lowercase();
        let mut candidates = self.read(|conn| candidates(conn, &wanted))?;
        match (candidates.len(), wanted.is_empty()) {
            (_, true) => Err(no_run(prefix)),
            (0, _) => Err(self.lost_run(&wanted)?.unwrap_or_else(|| no_run(prefix))),
            (1, _) => Ok(candidates.remove(0)),
            _ => Err(StoreError::Ambiguous {
                prefix: prefix.to_owned(),
                candidates,
            }),
        }
    }

    /// A run's row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub fn run(&self, run: &RunId) -> Result<RunRow, StoreError> {
        self.read(|conn| known_row(conn, run))
    }

    /// Whether the run is owned, can be taken, or has lost records.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], failures of the disk.
    pub fn run_state(&self, run: &RunId) -> Result<RunState, StoreError> {
        let lock = self.0.files.lock_state(run)?;
        self.run_state_by(run, lock)
    }

    /// The same, by what its lock file says.
    pub(super) fn run_state_by(&self, run: &RunId, lock: LockState) -> Result<RunState, StoreError> {
        let state = self.check_anchor_by(run, lock)?;
        if state == RunState::Free && self.0.files.is_locked(run)? {
            Ok(RunState::Owned)
        } else {
            Ok(state)
        }
    }

    /// Who owns the run now, as [`StoreError::Owned`]; none where nobody does.
    ///
    /// # Errors
    /// Failures of the disk.
    pub fn owned(&self, run: &RunId) -> Result<Option<StoreError>, StoreError> {
        let files = &self.0.files;
        match files.is_locked(run)? {
            true => files.owned(run).map(Some),
            false => Ok(None),
        }
    }

    /// A run that nobody owns, to be read in many parts: it stays as it is until somebody takes it, and whoever does raises its epoch before anything
    /// else.
    ///
    /// # Errors
    /// [`StoreError::Owned`], [`StoreError::NotFound`]; failures of the disk.
    pub fn unowned(&self, run: &RunId) -> Result<Unowned, StoreError> {
        // Before it is looked whether somebody owns it: whoever takes it behind that has not written yet.
        let epoch = self.epoch(run)?;
        match self.owned(run)? {
            Some(owned) => Err(owned),
            None => Ok(Unowned {
                run: run.clone(),
                epoch,
            }),
        }
    }

    /// That all that was read of a run since it was [`Store::unowned`] is of one moment.
    ///
    /// # Errors
    /// [`StoreError::TakenMeanwhile`] when it may not be; [`StoreError::NotFound`] when somebody removed it; failures of the disk.
    pub fn is_as_it_was(&self, unowned: &Unowned) -> Result<(), StoreError> {
        match self.epoch(&unowned.run)? == unowned.epoch {
            true => Ok(()),
            false => Err(StoreError::TakenMeanwhile {
                run: unowned.run.clone(),
            }),
        }
    }

    fn epoch(&self, run: &RunId) -> Result<i64, StoreError> {
        self.read(|conn| Ok(sound_place(conn, run)?.1))
    }

    /// All sessions of a run, in order of creation.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`], also where one that has records has no row.
    pub fn sessions(&self, run: &RunId) -> Result<Vec<SessionRow>, StoreError> {
        let (number, _) = self.run_number(run)?;
        self.read_of(run, |conn| {
            let lost: Option<u32> = conn
                .prepare_cached(LOST_SESSION)?
                .query_row([number], |row| row.get(0))
                .optional()?;
            if let Some(session) = lost {
                return Err(StoreError::damaged(run, format!("the row of session {session} is missing")).into());
            }
            let mut select =
                conn.prepare_cached("SELECT number, data, sum FROM session WHERE run = ?1 ORDER BY number")?;
            let mut rows = select.query([number])?;
            let mut sessions = Vec::new();
            while let Some(row) = rows.next()? {
                let session = row.get(0);
                let session = session.map_err(|_| StoreError::damaged(run, "the row of a session"))?;
                sessions.push(SessionRow::at((run, number, session), row, 1)?);
            }
            Ok(sessions)
        })
    }

    /// The run's number in the database, and its end.
    pub(super) fn run_number(&self, run: &RunId) -> Result<(i64, Head), StoreError> {
        self.read_of(run, |conn| {
            let (number, _) = sound_place(conn, run)?;
            Ok((number, head(conn, number)?))
        })
    }

    /// Compares the anchor with the journal. The anchor is read first: a live owner only moves both on.
    pub(super) fn check_anchor(&self, run: &RunId) -> Result<RunState, StoreError> {
        let lock = self.0.files.lock_state(run)?;
        self.check_anchor_by(run, lock)
    }

    fn check_anchor_by(&self, run: &RunId, lock: LockState) -> Result<RunState, StoreError> {
        let (number, end) = self.run_number(run)?;
        let line = match lock {
            LockState::Line(line) => line,
            LockState::Missing => return Ok(RunState::Damaged(NO_ANCHOR.into())),
            LockState::Broken => return Ok(RunState::Damaged("its anchor (the run's lock file) is damaged".into())),
        };
        if line.head.seq > end.seq {
            if self.is_followed(number, end.seq)? {
                return Ok(RunState::Damaged(PAGE_DAMAGED.to_owned()));
            }
            let missing = line.head.seq - end.seq;
            if line.durability == Durability::Process && !line.is_this_boot() {
                return Ok(RunState::LostTail(missing));
            }
            return Ok(RunState::Damaged(format!("{missing} records are missing at its end")));
        }
        if line.head.seq > 0 && self.read(|conn| chain_at(conn, number, line.head.seq))? != Some(line.head.chain) {
            return Ok(RunState::Damaged("its records are not those that were written".into()));
        }
        Ok(RunState::Free)
    }

    /// Whether a record follows the last one that is found from the end: where the head of a page is damaged one is found that is not the last.
    fn is_followed(&self, number: i64, last: u64) -> Result<bool, StoreError> {
        self.read(|conn| {
            let mut select =
                conn.prepare_cached("SELECT 1 FROM journal NOT INDEXED WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT 1")?;
            match select.exists(behind(number, last)).map_err(Fault::from) {
                Err(fault) if fault.is_corrupt() => Ok(true),
                followed => followed,
            }
        })
    }
}

/// What chains the record with this number to those before it; nothing where it can't be read or is not there.
pub(super) fn chain_at(conn: &Connection, number: i64, seq: u64) -> Result<Option<i64>, Fault> {
    let mut select = conn.prepare_cached("SELECT chain FROM journal WHERE id = ?1")?;
    let chain = select.query_row([row_id(number, seq)], |row| Ok(row.get(0).ok()));
    Ok(unless_unreadable(chain.optional().map_err(Fault::from))?.flatten())
}

pub(super) fn seal_run(row: &RunRow) -> Result<(Vec<u8>, i64), Fault> {
    let data = encode(row)?;
    let sum = sum(&[b"run", row.id.as_str().as_bytes(), &data]);
    Ok((data, sum))
}

pub(super) fn open_run(id: &str, epoch: i64, data: &[u8], stored: i64) -> Result<RunRow, Fault> {
    let good = (is_epoch(epoch) && stored == sum(&[b"run", id.as_bytes(), data]))
        .then(|| decode(data))
        .flatten();
    good.ok_or_else(|| damaged_row_of(id))
}

/// The row of the run `id`, of the columns epoch, data and sum from `first` on, whatever is in them.
fn run_at(id: &str, row: &Row<'_>, first: usize) -> Result<RunRow, Fault> {
    let (data, sum): (Option<Vec<u8>>, Option<i64>) = (row.get(first + 1).ok(), row.get(first + 2).ok());
    match data.zip(sum) {
        Some((data, sum)) => open_run(id, epoch_at(row, first), &data, sum),
        None => Err(damaged_row_of(id)),
    }
}

/// A run's id and row, of the columns id, epoch, data and sum from `first` on, whatever is in them.
pub(super) fn listed_at(row: &Row<'_>, first: usize) -> (String, Result<RunRow, Fault>) {
    if let Ok(id) = row.get::<_, String>(first) {
        let opened = run_at(&id, row, first + 1);
        return (id, opened);
    }
    let bytes = row.get_ref(first).ok().and_then(|id| id.as_bytes().ok());
    let id = String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let damaged = damaged_row_of(&id);
    (id, Err(damaged))
}

/// What is told of a run whose row is not what was written, where its id may be damaged too.
fn damaged_row_of(id: &str) -> Fault {
    match id.parse::<RunId>() {
        Ok(run) => damaged_row(&run).into(),
        Err(_) => Fault::Corrupt(format!("a run has the id {id:?}")),
    }
}

/// What is told of a run whose row is not what was written.
pub(super) fn damaged_row(run: &RunId) -> StoreError {
    StoreError::damaged(run, "its row")
}

/// Whether there is a run with this number, whole or not.
pub(super) fn is_there(conn: &Connection, number: i64) -> Result<bool, Fault> {
    let mut select = conn.prepare_cached("SELECT 1 FROM run NOT INDEXED WHERE no = ?1")?;
    Ok(select.exists([number])?)
}

/// Whether a run may have this epoch.
pub(super) fn is_epoch(epoch: i64) -> bool {
    EPOCHS.contains(&epoch)
}

/// What a run's row says of where it came from, as its epochs have it.
pub(super) const fn origin_flags(imported: Option<&Imported>) -> u64 {
    match imported {
        None => 0,
        Some(Imported {
            what_for: WhatFor::Everything,
            ..
        }) => IMPORTED_EPOCH,
        Some(Imported {
            what_for: WhatFor::Viewing,
            ..
        }) => IMPORTED_EPOCH | VIEWED_EPOCH,
    }
}

/// Where a run came from whose row is lost, by its epoch. One with a damaged epoch too may have come from anywhere: it is taken as imported.
pub(super) fn origin_of(epoch: i64) -> Option<Imported> {
    let flags = match is_epoch(epoch) {
        true => uint(epoch),
        false => IMPORTED_EPOCH,
    };
    let what_for = match flags & VIEWED_EPOCH {
        0 => WhatFor::Everything,
        _ => WhatFor::Viewing,
    };
    (flags & IMPORTED_EPOCH != 0).then(|| Imported {
        at_ms: now_ms(),
        what_for,
    })
}

/// The epoch in this column of a run's row; none that a run may have where no number stands there.
pub(super) fn epoch_at(row: &Row<'_>, column: usize) -> i64 {
    row.get(column).unwrap_or_default()
}

/// The run's number in the database and its epoch, whatever that is.
pub(super) fn place_of(conn: &Connection, run: &RunId) -> Result<(i64, i64), Fault> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT no, epoch FROM run WHERE id = ?1 AND epoch IS NOT {NOT_WHOLE}"
    ))?;
    let place = select.query_row([run.as_str()], |row| Ok((row.get(0)?, epoch_at(row, 1))));
    match unless_unreadable(place.optional().map_err(Fault::from))? {
        Some(place) => Ok(place),
        None => Err(not_found(conn, run)?.into()),
    }
}

/// The same of a run whose epoch is one.
fn sound_place(conn: &Connection, run: &RunId) -> Result<(i64, i64), Fault> {
    let (number, epoch) = place_of(conn, run)?;
    match is_epoch(epoch) {
        true => Ok((number, epoch)),
        false => Err(damaged_row(run).into()),
    }
}

pub(super) fn find_row(conn: &Connection, run: &RunId) -> Result<Option<(i64, RunRow)>, Fault> {
    let found: Result<Option<(i64, Result<RunRow, Fault>)>, _> = conn
        .prepare_cached(&format!(
            "SELECT no, epoch, data, sum FROM run WHERE id = ?1 AND epoch IS NOT {NOT_WHOLE}"
        ))?
        .query_row([run.as_str()], |row| Ok((row.get(0)?, run_at(run.as_str(), row, 1))))
        .optional();
    let Some((number, row)) = unless_unreadable(found.map_err(Fault::from))? else {
        return Ok(None);
    };
    // The index has led here, and the row may have another id.
    match is_stored_as(conn, run.as_str(), number)? {
        true => Ok(Some((number, row?))),
        false => Err(damaged_row(run).into()),
    }
}

/// What a run's row says beside its epoch, whatever that is; none where that is not what was written.
pub(super) fn row_beside_epoch(conn: &Connection, run: &RunId, number: i64) -> Result<Option<RunRow>, Fault> {
    let mut select = conn.prepare_cached("SELECT data, sum FROM run WHERE no = ?1")?;
    let stored: Option<(Vec<u8>, i64)> = select.query_row([number], |row| Ok(row.get(0).ok().zip(row.get(1).ok())))?;
    let opened = stored.map(|(data, sum)| open_run(run.as_str(), *EPOCHS.start(), &data, sum));
    Ok(opened.and_then(Result::ok))
}

/// The id of a run's row by its checksum, whatever the column says; none where that is not what was written.
pub(super) fn vouched_id(conn: &Connection, number: i64) -> Result<Option<RunId>, Fault> {
    let mut select = conn.prepare_cached("SELECT data, sum FROM run WHERE no = ?1")?;
    let stored = select.query_row([number], |row| Ok(row.get(0).ok().zip(row.get(1).ok())));
    let stored: Option<Option<(Vec<u8>, i64)>> = unless_unreadable(stored.optional().map_err(Fault::from))?;
    Ok(stored.flatten().and_then(|(data, sum)| {
        let id = decode::<RunRow>(&data)?.id;
        open_run(id.as_str(), *EPOCHS.start(), &data, sum)
            .ok()
            .map(|row| row.id)
    }))
}

fn known_row(conn: &Connection, run: &RunId) -> Result<RunRow, Fault> {
    match find_row(conn, run)? {
        Some((_, row)) => Ok(row),
        None => Err(not_found(conn, run)?.into()),
    }
}

pub(super) fn no_run(id: &str) -> StoreError {
    StoreError::NotFound {
        what: format!("run {id}"),
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
