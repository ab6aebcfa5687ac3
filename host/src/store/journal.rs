//! The journal's reading half: every row is verified before it is answered. What is asked about a run is held against its anchor, once for each
//! question; whoever goes on with a run or tells it again reads the whole in one transaction ([`Store::walk`], [`Store::attempt`]). A record that its
//! columns or the index hide would be read as one that is not there: before operations and observations are found by them, the run's records are looked
//! through, once. Starts and notes are what a resume reads before it walks through all of them anyway.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::commit::lock;
use super::error::{Fault, StoreError};
use super::key::{COLUMNS, Kind, Marks, behind, open, range, row_id, row_seq};
use super::record::{Note, NoteKind, Observation, Record, Start};
use super::rows::{JournalSize, OperationRow, SessionRow};
use super::runs::RunState;
use super::seal::uint;
use super::verify::{Look, Sound, verify};
use super::write::session_row;
use super::{Looked, Store};
use crate::ids::{Digest, RunId, Scope, SessionId, StreamId};

/// A place in a run's journal, and the record there.
pub type Numbered<T> = (u64, T);

/// What the journal has of one attempt, that of its tool calls included.
#[derive(Debug, Default)]
pub struct AttemptRecords {
    /// Its operations.
    pub operations: Vec<OperationRow>,
    /// What its guests were told, each stream in its order.
    pub observations: Vec<Observation>,
    /// What is noted behind the last observation of its stream, in order.
    pub last_notes: Vec<Note>,
}

impl Store {
    /// Shows `each` every record of a run in order, bodies apart, and beside it how many bytes each body has. All of it is of one moment. Bodies are
    /// read where `look` says so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`] for what was looked at; [`StoreError::TakenMeanwhile`] where somebody has changed a database that was
    /// read as one that does not change; what `each` fails with, which ends the walk.
    pub fn walk(
        &self,
        run: &RunId,
        look: Look,
        mut each: impl FnMut(Record, &HashMap<Digest, u64>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let number = self.anchored(run)?;
        let mut begun = false;
        let found = self.read_of(run, |conn| {
            if std::mem::replace(&mut begun, true) {
                // What was told is not told twice.
                return Err(StoreError::TakenMeanwhile { run: run.clone() }.into());
            }
            let bodies = body_sizes(conn, run, number)?;
            verify(conn, (run, number), look, u64::MAX, |_, record| {
                Ok(each(record, &bodies)?)
            })
        })?;
        self.looked_through(run, found)
    }

    /// What the journal has of one attempt, at one moment: at the cost of the attempt's own records, once the run was looked through. It is not held
    /// against the run's anchor: whoever asks did that when it took the run, or walked through it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run; [`StoreError::Damaged`], also when an observation is missing.
    pub fn attempt(&self, session: &SessionId, attempt: u32) -> Result<AttemptRecords, StoreError> {
        let (number, _) = self.run_number(&session.run)?;
        self.look_through(&session.run, number)?;
        let [intents, outcomes, observations, notes] = self.read_of(&session.run, |conn| {
            let of = |kind: Kind| {
                let those = "run = ?1 AND session = ?2 AND kind = ?3 AND attempt = ?4 ORDER BY scope, n";
                let key = params![number, session.number, kind as i64, attempt];
                collect(conn, &session.run, those, key)
            };
            let behind = "run = ?1 AND session = ?2 AND kind = ?3 AND attempt = ?4 AND id > coalesce((
                SELECT told.id FROM journal told WHERE told.run = ?1 AND told.session = ?2 AND told.kind = ?5
                AND told.attempt = ?4 AND told.scope = journal.scope ORDER BY told.n DESC LIMIT 1), 0) ORDER BY id";
            let (note, told) = (Kind::Note as i64, Kind::Observation as i64);
            let key = params![number, session.number, note, attempt, told];
            let notes = collect(conn, &session.run, behind, key)?;
            Ok([of(Kind::Intent)?, of(Kind::Outcome)?, of(Kind::Observation)?, notes])
        })?;
        let note = |record| match record {
            Record::Note(note) => Some(note),
            _ => None,
        };
        Ok(AttemptRecords {
            operations: join(intents, outcomes),
            observations: without_gap(session, observations)?,
            last_notes: notes.into_iter().filter_map(note).collect(),
        })
    }

    /// A session's row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub fn session(&self, session: &SessionId) -> Result<SessionRow, StoreError> {
        let (number, _) = self.run_number(&session.run)?;
        self.read_of(&session.run, |conn| {
            let row = session_row(conn, &session.run, number, session.number)?;
            Ok(row.ok_or_else(|| StoreError::NotFound {
                what: format!("session {session}"),
            })?)
        })
    }

    /// The start record of an attempt, if it began.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run, [`StoreError::Damaged`].
    pub fn start(&self, session: &SessionId, attempt: u32) -> Result<Option<Start>, StoreError> {
        let stream = StreamId {
            session: session.clone(),
            attempt,
            scope: Scope::ROOT,
        };
        let number = self.anchored(&session.run)?;
        let records = self.stream_records(number, &stream, Kind::Start)?;
        Ok(records.into_iter().find_map(|record| match record {
            Record::Start(start) => Some(start),
            _ => None,
        }))
    }

    /// The operations of one stream, in order of start.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run, [`StoreError::Damaged`].
    pub fn operations(&self, stream: &StreamId) -> Result<Vec<OperationRow>, StoreError> {
        let number = self.sound(&stream.session.run)?;
        let intents = self.stream_records(number, stream, Kind::Intent)?;
        let outcomes = self.stream_records(number, stream, Kind::Outcome)?;
        Ok(join(intents, outcomes))
    }

    /// The operations of all streams of a session, as they began.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run, [`StoreError::Damaged`].
    pub fn session_operations(&self, session: &SessionId) -> Result<Vec<OperationRow>, StoreError> {
        let intents = self.session_records(session, Kind::Intent)?;
        let outcomes = self.session_records(session, Kind::Outcome)?;
        Ok(join(intents, outcomes))
    }

    /// What the guest of one stream was told, in its order, without a gap.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run; [`StoreError::Damaged`], also when one is missing.
    pub fn observations(&self, stream: &StreamId) -> Result<Vec<Observation>, StoreError> {
        let number = self.sound(&stream.session.run)?;
        without_gap(&stream.session, self.stream_records(number, stream, Kind::Observation)?)
    }

    /// The first `limit` notes of a session behind the cursor `after` (0: from the first), each with its cursor. No kinds: all kinds.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run, [`StoreError::Damaged`].
    pub fn notes(
        &self,
        session: &SessionId,
        kinds: &[NoteKind],
        after: u64,
        limit: usize,
    ) -> Result<Vec<Numbered<Note>>, StoreError> {
        let number = self.anchored(&session.run)?;
        self.read_of(&session.run, |conn| {
            let mut select = conn.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM journal WHERE run = ?1 AND session = ?2 AND kind = ?3 AND id > ?4 ORDER BY id"
            ))?;
            let mut rows = select.query(params![
                number,
                session.number,
                Kind::Note as i64,
                row_id(number, after)
            ])?;
            let mut notes = Vec::new();
            while notes.len() < limit {
                let Some(row) = rows.next()? else { break };
                if let (seq, Record::Note(note)) = open_row(&session.run, row)?
                    && (kinds.is_empty() || kinds.contains(&note.kind))
                {
                    notes.push((seq, note));
                }
            }
            Ok(notes)
        })
    }

    /// The first `limit` records of a run behind the cursor `after` (0: from the first), each with its cursor, bodies apart.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub fn records(&self, run: &RunId, after: u64, limit: u32) -> Result<Vec<Numbered<Record>>, StoreError> {
        let number = self.anchored(run)?;
        self.read_of(run, |conn| {
            let mut select = conn.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM journal WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3"
            ))?;
            let [first, last] = behind(number, after);
            let mut rows = select.query(params![first, last, limit])?;
            let (mut records, mut last) = (Vec::new(), after);
            while let Some(row) = rows.next()? {
                let record = open_next(run, row, &mut last)?;
                records.push((last, record));
            }
            Ok(records)
        })
    }

    /// The records that tell which sessions a run has, what each of their attempts is made of, and what became of them, in their order. Neither an index nor
    /// a row of a session has a part in it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub fn lives(&self, run: &RunId) -> Result<Vec<Record>, StoreError> {
        let number = self.anchored(run)?;
        let [first, last] = range(number);
        self.read_of(run, |conn| {
            let those = "id > ?1 AND id < ?2 AND kind IN (1, 2, 3) ORDER BY id";
            collect(conn, run, those, params![first, last])
        })
    }

    /// The streams of a session that have records: every attempt, and every tool call in it that made calls of its own.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run, [`StoreError::Damaged`].
    pub fn streams(&self, session: &SessionId) -> Result<Vec<StreamId>, StoreError> {
        let number = self.sound(&session.run)?;
        self.read_of(&session.run, |conn| {
            let mut select = conn.prepare_cached(
                "SELECT DISTINCT attempt, scope FROM journal WHERE run = ?1 AND session = ?2 AND kind IN (4, 5, 6)
                 ORDER BY attempt, scope",
            )?;
            let mut rows = select.query(params![number, session.number])?;
            let mut streams = Vec::new();
            while let Some(row) = rows.next()? {
                let scope: String = row.get(1)?;
                let scope = scope
                    .parse()
                    .map_err(|_| StoreError::damaged(&session.run, "the scope of a record"))?;
                streams.push(StreamId {
                    session: session.clone(),
                    attempt: row.get(0)?,
                    scope,
                });
            }
            streams.sort_by(|a, b| (a.attempt, &a.scope).cmp(&(b.attempt, &b.scope)));
            Ok(streams)
        })
    }

    /// The operations of a session whose reservation was given back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run, [`StoreError::Damaged`].
    pub fn refunds(&self, session: &SessionId) -> Result<Vec<(StreamId, u32)>, StoreError> {
        let records = self.session_records(session, Kind::Refund)?;
        Ok(records
            .into_iter()
            .filter_map(|record| match record {
                Record::Refund(stream, op) => Some((stream, op)),
                _ => None,
            })
            .collect())
    }

    /// The operations of a session that were sent again, as often as they were.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run, [`StoreError::Damaged`].
    pub fn resent(&self, session: &SessionId) -> Result<Vec<(StreamId, u32)>, StoreError> {
        let records = self.session_records(session, Kind::Resent)?;
        Ok(records
            .into_iter()
            .filter_map(|record| match record {
                Record::Resent(stream, op) => Some((stream, op)),
                _ => None,
            })
            .collect())
    }

    /// A body that requests of the run refer to.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run; [`StoreError::Damaged`] when the body is not there, or has not the digest any more.
    pub fn body(&self, run: &RunId, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let (number, _) = self.run_number(run)?;
        let found: Option<Option<Vec<u8>>> = self.read_of(run, |conn| {
            let mut select = conn.prepare_cached("SELECT data FROM body WHERE run = ?1 AND digest = ?2")?;
            Ok(select
                .query_row(params![number, digest.as_bytes()], |row| Ok(row.get(0).ok()))
                .optional()?)
        })?;
        let data = found.ok_or_else(|| StoreError::damaged(run, format!("the body {} is missing", digest.short())))?;
        let whole = data.filter(|data| Digest::of(data) == *digest);
        whole.ok_or_else(|| StoreError::damaged(run, format!("the body {}", digest.short())))
    }

    /// How large a session's part of the journal is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the run, [`StoreError::Damaged`].
    pub fn journal_size(&self, session: &SessionId) -> Result<JournalSize, StoreError> {
        let (number, _) = self.run_number(&session.run)?;
        self.look_through(&session.run, number)?;
        self.read_of(&session.run, |conn| {
            let mut select = conn.prepare_cached(
                "SELECT count(*), coalesce(sum(length(data)), 0) FROM journal WHERE run = ?1 AND session = ?2",
            )?;
            Ok(select.query_row(params![number, session.number], |row| {
                Ok(JournalSize {
                    records: uint(row.get(0)?),
                    bytes: uint(row.get(1)?),
                })
            })?)
        })
    }

    /// The run's number, if nothing of its journal is missing: neither at its end nor to those who look for it by its columns.
    fn sound(&self, run: &RunId) -> Result<i64, StoreError> {
        let number = self.anchored(run)?;
        self.look_through(run, number)?;
        Ok(number)
    }

    /// The run's number, if its journal is not shorter than its anchor says.
    fn anchored(&self, run: &RunId) -> Result<i64, StoreError> {
        match self.check_anchor(run)? {
            RunState::Damaged(what) => Err(StoreError::damaged(run, what)),
            RunState::Owned | RunState::Free | RunState::LostTail(_) => Ok(self.run_number(run)?.0),
        }
    }

    /// Whether each record of the run is what was written, in its place and in the index. This process looks once: what it writes itself it does not
    /// doubt.
    fn look_through(&self, run: &RunId, number: i64) -> Result<(), StoreError> {
        if lock(&self.0.looked).contains(&Looked::Records(run.clone())) {
            return Ok(());
        }
        let found = self.read_of(run, |conn| {
            verify(conn, (run, number), Look::Records, u64::MAX, |_, _| Ok(()))
        })?;
        self.looked_through(run, found)
    }

    fn looked_through(&self, run: &RunId, found: Sound) -> Result<(), StoreError> {
        if let Some(what) = found.problem {
            return Err(StoreError::damaged(run, what));
        }
        lock(&self.0.looked).insert(Looked::Records(run.clone()));
        Ok(())
    }

    fn stream_records(&self, number: i64, stream: &StreamId, kind: Kind) -> Result<Vec<Record>, StoreError> {
        self.read_of(&stream.session.run, |conn| {
            let those = "run = ?1 AND session = ?2 AND kind = ?3 AND attempt = ?4 AND scope = ?5 ORDER BY n";
            let scope = stream.scope.to_string();
            let key = params![number, stream.session.number, kind as i64, stream.attempt, scope];
            collect(conn, &stream.session.run, those, key)
        })
    }

    fn session_records(&self, session: &SessionId, kind: Kind) -> Result<Vec<Record>, StoreError> {
        let number = self.sound(&session.run)?;
        self.read_of(&session.run, |conn| {
            let those = "run = ?1 AND session = ?2 AND kind = ?3 ORDER BY id";
            collect(conn, &session.run, those, params![number, session.number, kind as i64])
        })
    }
}

/// The bytes of each body of a run, which is not read for that.
fn body_sizes(conn: &Connection, run: &RunId, number: i64) -> Result<HashMap<Digest, u64>, Fault> {
    let mut select = conn.prepare_cached("SELECT digest, length(data) FROM body WHERE run = ?1")?;
    let mut rows = select.query([number])?;
    let mut sizes = HashMap::new();
    while let Some(row) = rows.next()? {
        let (Ok(digest), Ok(size)) = (row.get(0), row.get(1)) else {
            return Err(StoreError::damaged(run, "the row of a body").into());
        };
        sizes.insert(Digest::from_bytes(digest), uint(size));
    }
    Ok(sizes)
}

fn collect(conn: &Connection, run: &RunId, those: &str, key: &[&dyn rusqlite::ToSql]) -> Result<Vec<Record>, Fault> {
    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM journal WHERE {those}"))?;
    let mut rows = select.query(key)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(open_row(run, row)?.1);
    }
    Ok(records)
}

/// Verifies and decodes a row of [`COLUMNS`].
fn open_row(run: &RunId, row: &Row<'_>) -> Result<Numbered<Record>, Fault> {
    let seq = row_seq(row.get(0)?);
    let opened =
        open(run, row, &mut Marks::default()).ok_or_else(|| StoreError::damaged(run, format!("record {seq}")))?;
    Ok((seq, opened.record))
}

/// The same, of the row behind the one with the number `last`.
fn open_next(run: &RunId, row: &Row<'_>, last: &mut u64) -> Result<Record, Fault> {
    let (seq, record) = open_row(run, row)?;
    *last += 1;
    if seq != *last {
        return Err(StoreError::damaged(run, format!("record {last} is missing")).into());
    }
    Ok(record)
}

/// Observations in the order of their streams, in each of which they are numbered from 1.
fn without_gap(session: &SessionId, records: Vec<Record>) -> Result<Vec<Observation>, StoreError> {
    let mut seen: Vec<Observation> = Vec::with_capacity(records.len());
    for record in records {
        let Record::Observation(next) = record else { continue };
        let before = seen.last().filter(|last| last.stream.scope == next.stream.scope);
        let expected = before.map_or(1, |last| last.seq + 1);
        if next.seq != expected {
            let what = format!("observation {expected} of session {session} is missing");
            return Err(StoreError::damaged(&session.run, what));
        }
        seen.push(next);
    }
    Ok(seen)
}

fn join(intents: Vec<Record>, outcomes: Vec<Record>) -> Vec<OperationRow> {
    let mut ended = BTreeMap::new();
    for record in outcomes {
        if let Record::Outcome(outcome) = record {
            let key = (outcome.stream.attempt, outcome.stream.scope.clone(), outcome.op);
            ended.insert(key, outcome);
        }
    }
    let rows = intents.into_iter().filter_map(|record| match record {
        Record::Intent(intent) => {
            let outcome = ended.remove(&(intent.stream.attempt, intent.stream.scope.clone(), intent.op));
            Some(OperationRow { intent, outcome })
        }
        _ => None,
    });
    rows.collect()
}
