//! Giving up what a damaged run has lost: its journal ends where it is sound to, and its rows say again what that journal says.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::commit::Done;
use super::error::{Fault, StoreError, unless_unreadable};
use super::key::{Marks, behind, range};
use super::owner::Head;
use super::record::{Record, Status, Sync};
use super::request::request_sum;
use super::rows::{NewRun, RunRow, SessionRow};
use super::runs::{
    MENDED_EPOCH, PAGE_DAMAGED, is_epoch, now_ms, origin_flags, origin_of, place_of, row_beside_epoch, seal_run,
};
use super::seal::int;
use super::verify::{Look, Steps, verify};
use super::whole::Rows;
use super::write::{head, session_row};
use super::{Store, body, component, whole};
use crate::ids::{Digest, RunId};

/// What was given up of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Records that it still has.
    pub kept: u64,
    /// Records that were missing at its end, as far as its anchor told.
    pub missing: u64,
    /// Records that were there and are removed: the first that is not sound, and all behind it.
    pub cut: u64,
    /// Whether its recorded end was among them, so that it goes on.
    pub end: bool,
    /// Entries of its spaces that were damaged and are removed.
    pub entries: u64,
}

impl Loss {
    /// Whether anything was lost.
    pub const fn is_any(&self) -> bool {
        self.missing > 0 || self.cut > 0 || self.end || self.entries > 0
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kept,
            missing,
            cut,
            end,
            entries,
        } = self;
        write!(
            f,
            "{missing} missing at its end, {cut} cut off behind damage, {kept} kept"
        )?;
        if *end {
            f.write_str("; its end was among them")?;
        }
        if *entries > 0 {
            write!(f, "; {entries} damaged entries of its spaces")?;
        }
        Ok(())
    }
}

impl Store {
    /// Gives up what a run has lost, so that it can be taken: records that are missing at its end and, where one is damaged, that one and all
    /// behind it; bodies and entries that are damaged. What follows from what is left is made again. Where nothing is lost this changes nothing, and where the
    /// run could not be taken afterwards neither.
    ///
    /// # Errors
    /// [`StoreError::Owned`], [`StoreError::NotFound`]; [`StoreError::NothingLeft`] where its beginning is damaged; [`StoreError::Corrupt`] where two rows
    /// of the database have one page, rows are out of order, or the run would still be damaged; failures of the disk.
    pub async fn accept_loss(&self, run: &RunId) -> Result<Loss, StoreError> {
        self.writer()?;
        self.pages_are_apart().await?;
        let (number, end) = self.read(|conn| {
            let (number, _) = place_of(conn, run)?;
            Ok((number, head(conn, number)?))
        })?;
        let lock = self.0.files.mend_lock(run, self.0.options.durability, now_ms())?;
        let lock = Arc::new(lock);
        let anchored = self.0.files.synced(run)?;
        let kept = self.kept_components()?;
        let id = run.clone();
        let work = move |conn: &Connection| {
            body::mend(conn, number)?;
            let sound = sound(conn, &id, number)?;
            let end = head(conn, number)?;
            let Some(cut) = end.seq.checked_sub(sound.records) else {
                return Err(Fault::Corrupt(PAGE_DAMAGED.to_owned()));
            };
            let (kept_records, loses) = (sound.records, cut > 0 || anchored > end.seq);
            let end = mend(conn, (&id, number), sound, (cut, loses), &kept)?;
            let entries = whole::mend(conn, number)?;
            let head = head(conn, number)?;
            is_mended(conn, (&id, number), kept_records, head)?;
            Ok(Done {
                value: (head, cut, end, entries),
                head: None,
            })
        };
        let (head, cut, lost_end, entries) = self.submit(Sync::Durable, None, work).await?;
        self.anchor_anew(run, &lock, head)?;
        Ok(Loss {
            kept: head.seq,
            missing: anchored.saturating_sub(end.seq),
            cut,
            end: lost_end,
            entries,
        })
    }

    fn anchor_anew(&self, run: &RunId, lock: &super::owner::RunLock, head: Head) -> Result<(), StoreError> {
        lock.write(head)
            .map_err(|e| StoreError::io(&self.0.files.lock_path(run), &e))
    }
}

/// What a run's sound records make of its sessions.
struct Rebuilt {
    records: u64,
    sessions: BTreeMap<u32, SessionRow>,
}

/// The run's sound records, none of which needs one that is not there: what was written in one step stays or goes as a whole.
fn sound(conn: &Connection, run: &RunId, number: i64) -> Result<Rebuilt, Fault> {
    let (mut limit, mut first_problem) = (u64::MAX, None);
    loop {
        let (mut sessions, mut steps, mut twisted) = (BTreeMap::new(), Steps::default(), None);
        let found = verify(conn, (run, number), Look::Bodies, limit, |seq, record| {
            steps.follow(seq, &record);
            if twisted.is_none() && !follow(&mut sessions, record) {
                twisted = Some(seq);
            }
            Ok(())
        })?;
        first_problem = first_problem.or(found.problem);
        match steps.first_open().into_iter().chain(twisted).min() {
            Some(seq) => limit = seq - 1,
            None if sessions.is_empty() => {
                let what = first_problem.unwrap_or_else(|| "it has no records".to_owned());
                return Err(StoreError::NothingLeft { run: run.clone(), what }.into());
            }
            None => {
                return Ok(Rebuilt {
                    records: found.records,
                    sessions,
                });
            }
        }
    }
}

/// Whether not even the beginning of a run is what was written, so that no loss can be accepted: of a record that is there and can be read.
pub(super) fn has_no_beginning(conn: &Connection, run: &RunId, number: i64) -> Result<bool, Fault> {
    let found = verify(conn, (run, number), Look::Records, u64::MAX, |_, _| Ok(()))?;
    if found.problem.is_none() || found.unreadable {
        return Ok(false);
    }
    match sound(conn, run, number) {
        Err(Fault::Store(StoreError::NothingLeft { .. })) => Ok(true),
        sound => sound.map(|_| false),
    }
}

/// Does with the rows what the record did. False where it can't follow what is there.
fn follow(sessions: &mut BTreeMap<u32, SessionRow>, record: Record) -> bool {
    match record {
        Record::Session(new) => sessions.insert(new.session.number, SessionRow::new(&new)).is_none(),
        Record::Update(update) => sessions
            .get_mut(&update.session.number)
            .is_some_and(|row| row.apply(&update).is_ok()),
        _ => true,
    }
}

/// That the run can be taken now, with as many records as were kept: what comes after this transaction finds them as it did.
fn is_mended(conn: &Connection, (run, number): (&RunId, i64), kept: u64, head: Head) -> Result<(), Fault> {
    let found = verify(conn, (run, number), Look::Bodies, u64::MAX, |_, _| Ok(()))?;
    let spaces = whole::look(conn, number, Rows::OfTable)?;
    let others = (found.records != kept || head.seq != kept).then(|| PAGE_DAMAGED.to_owned());
    match found.problem.or(others).or(spaces.wrong.into_iter().next()) {
        None => Ok(()),
        Some(what) => Err(Fault::Corrupt(format!(
            "run {run} would be damaged with its loss accepted too ({what}), so that nothing of it is given up"
        ))),
    }
}

/// Cuts the journal and writes the rows that are not what the journal says, in the transaction that `conn` is in; `loses` where the run loses records by
/// that, or has lost some. Gives whether the run had ended and has not any more.
fn mend(
    conn: &Connection,
    (run, number): (&RunId, i64),
    sound: Rebuilt,
    (cut, loses): (u64, bool),
    kept: &BTreeSet<Digest>,
) -> Result<bool, Fault> {
    let (_, epoch) = place_of(conn, run)?;
    let had_ended = had_ended(conn, run, number)?;
    component::give_back(conn, number)?;
    let others = Others::read(conn, number, cut > 0)?;
    cut_journal(conn, number, sound.records, cut)?;
    mend_request(conn, number)?;
    let digests = sound.sessions.values().map(|session| session.digest);
    component::mend(conn, number, digests, kept)?;
    let root = sound.sessions.get(&0).cloned();
    mend_sessions(conn, number, sound.sessions)?;
    let Some(root) = root else {
        return Err(StoreError::damaged(run, "the row of its root session").into());
    };
    mend_run(conn, (run, number), &root, epoch, loses)?;
    if !others.are_in(&Others::read(conn, number, cut > 0)?) {
        return Err(Fault::Corrupt(format!(
            "to mend run {run} would change rows of other runs on a damaged page, so that nothing of it is given up"
        )));
    }
    Ok(had_ended && !root.status.is_final())
}

/// The rows of all other runs in the tables in which those of all runs lie beside one another, as far as they can be read from the first and from the last
/// on: a mark of each. On a damaged page a row that is written may take the place of another's, and one that is removed may take others along.
struct Others(Vec<Vec<u64>>);

impl Others {
    fn read(conn: &Connection, number: i64, with_journal: bool) -> Result<Self, Fault> {
        let mut others = Vec::new();
        for order in ["ASC", "DESC"] {
            let sessions = format!(
                "SELECT run, number, sum FROM session WHERE run IS NOT ?1 ORDER BY run {order}, number {order}"
            );
            let components = format!(
                "SELECT run, digest, sum FROM component WHERE run IS NOT ?1 ORDER BY run {order}, digest {order}"
            );
            others.push(marks(conn, &sessions, &[number])?);
            others.push(marks(conn, &components, &[number])?);
            if with_journal {
                let records = format!(
                    "SELECT id, sum, chain FROM journal NOT INDEXED WHERE id NOT BETWEEN ?1 AND ?2 ORDER BY id {order}"
                );
                others.push(marks(conn, &records, &range(number))?);
            }
        }
        Ok(Self(others))
    }

    /// Whether all of these are there still.
    fn are_in(&self, now: &Self) -> bool {
        self.0.iter().zip(&now.0).all(|(before, now)| now.starts_with(before))
    }
}

/// A mark of each row that this finds, as far as they can be read.
fn marks(conn: &Connection, select: &str, of: &[i64]) -> Result<Vec<u64>, Fault> {
    let mut select = conn.prepare_cached(select)?;
    let columns = select.column_count();
    let mut rows = select.query(params_from_iter(of))?;
    let mut marks = Vec::new();
    while let Some(row) = unless_unreadable(rows.next().map_err(Fault::from))? {
        let mut mark = DefaultHasher::new();
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Integer(value) => value.hash(&mut mark),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(&mut mark),
                ValueRef::Null | ValueRef::Real(_) => {}
            }
        }
        marks.push(mark.finish());
    }
    Ok(marks)
}

/// Whether the run's row or its root's says so; one that is damaged says nothing.
fn had_ended(conn: &Connection, run: &RunId, number: i64) -> Result<bool, Fault> {
    let row = row_beside_epoch(conn, run, number)?.map(|row| row.status);
    let root = match session_row(conn, run, number, 0) {
        Err(Fault::Store(StoreError::Damaged { .. })) => None,
        found => found?.map(|row| row.status),
    };
    Ok(row.into_iter().chain(root).any(Status::is_final))
}

/// Removes the records behind those that are kept. An index that is not theirs is made again.
fn cut_journal(conn: &Connection, number: i64, kept: u64, cut: u64) -> Result<(), Fault> {
    let stored = Marks::of_table(conn, number)?;
    let index = match stored.is_some() && stored == Marks::of_index(conn, number)? {
        true => None,
        false => Some(
            conn.query_row("SELECT sql FROM sqlite_schema WHERE name = 'journal_once'", [], |row| {
                row.get::<_, String>(0)
            })?,
        ),
    };
    if index.is_some() {
        conn.execute_batch("DROP INDEX journal_once")?;
    }
    if cut > 0 {
        conn.prepare_cached("DELETE FROM journal WHERE id > ?1 AND id < ?2")?
            .execute(behind(number, kept))?;
    }
    if let Some(index) = index {
        conn.execute_batch(&index)?;
    }
    Ok(())
}

/// Writes the rows of its sessions, unless they are what they should be.
fn mend_sessions(conn: &Connection, number: i64, sessions: BTreeMap<u32, SessionRow>) -> Result<(), Fault> {
    let mut right = Vec::new();
    for row in sessions.into_values() {
        let (_, session, data, sum) = row.sealed(number)?;
        right.push((session, data, sum));
    }
    if unless_unreadable(stored_sessions(conn, number))? == right {
        return Ok(());
    }
    conn.prepare_cached("DELETE FROM session WHERE run = ?1")?
        .execute([number])?;
    let mut insert = conn.prepare_cached("INSERT INTO session (run, number, data, sum) VALUES (?1, ?2, ?3, ?4)")?;
    for (session, data, sum) in right {
        insert.execute(params![number, session, data, sum])?;
    }
    Ok(())
}

/// A session's number, content and checksum.
type StoredSession = (u32, Vec<u8>, i64);

/// The rows of a run's sessions.
fn stored_sessions(conn: &Connection, number: i64) -> Result<Vec<StoredSession>, Fault> {
    let mut select = conn.prepare_cached("SELECT number, data, sum FROM session WHERE run = ?1 ORDER BY number")?;
    let rows = select.query_map([number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The run's row ends with its root; where it is damaged, what its root and its epoch say of it is all that is known. One that is what it should be of a run
/// that loses nothing stays.
fn mend_run(
    conn: &Connection,
    (run, number): (&RunId, i64),
    root: &SessionRow,
    epoch: i64,
    loses: bool,
) -> Result<(), Fault> {
    let lost = || RunRow {
        imported: origin_of(epoch),
        ..RunRow::from(NewRun {
            id: run.clone(),
            task: root.task.clone(),
            strategy: root.strategy.clone(),
            cwd: String::new(),
            argv: Vec::new(),
            at_ms: root.started_ms,
        })
    };
    let stored = row_beside_epoch(conn, run, number)?;
    let has_its_origin = |row: &RunRow| {
        let flags = int(origin_flags(row.imported.as_ref()));
        is_epoch(epoch) && epoch & flags == flags
    };
    let ends_with_root = |row: &RunRow| root.status.is_final() || !row.status.is_final();
    if !loses
        && stored
            .as_ref()
            .is_some_and(|row| has_its_origin(row) && ends_with_root(row))
    {
        return Ok(());
    }
    let mut row = stored.unwrap_or_else(lost);
    // Where its end is recorded, a run's row that was not told of it is, when somebody takes the run.
    if !root.status.is_final() {
        if row.status.is_final() {
            (row.exit, row.outcome, row.error, row.answer, row.ended_ms) = (None, None, None, None, None);
        }
        row.status = Status::Interrupted;
    }
    // Whoever believes to own it writes no more. An epoch that was damaged has lost where the run came from.
    let next = if is_epoch(epoch) { epoch + 1 } else { MENDED_EPOCH };
    let next = next | int(origin_flags(row.imported.as_ref()));
    let (data, sum) = seal_run(&row)?;
    // At once: none of them can be written beside one whose type is damaged.
    conn.prepare_cached("UPDATE run SET epoch = ?2, data = ?3, sum = ?4 WHERE no = ?1")?
        .execute(params![number, next, data, sum])?;
    Ok(())
}

/// A request that is damaged says nothing: whoever wants the run's end asks again.
fn mend_request(conn: &Connection, number: i64) -> Result<(), Fault> {
    let found: Option<(Option<i64>, Option<i64>)> = conn
        .prepare_cached("SELECT at_ms, sum FROM cancel_request WHERE run = ?1")?
        .query_row([number], |row| Ok((row.get(0).ok(), row.get(1).ok())))
        .optional()?;
    let is_sound = |(at_ms, sum): (Option<i64>, Option<i64>)| {
        sum.is_some() && sum == at_ms.map(|at_ms| request_sum(number, at_ms))
    };
    if found.is_some_and(|found| !is_sound(found)) {
        conn.prepare_cached("DELETE FROM cancel_request WHERE run = ?1")?
            .execute([number])?;
    }
    Ok(())
}
