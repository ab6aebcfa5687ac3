//! By what a record is found: the columns of its row beside the record itself. They follow from it, so whoever reads a row holds them against it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rusqlite::{Connection, Row};

use super::error::Fault;
use super::record::Record;
use super::seal::{decode, int, sum, uint};
use crate::ids::{RunId, SessionId, StreamId};

/// A run's rows have ids `number << SEQ_BITS | seq`.
const SEQ_BITS: u32 = 40;

/// What [`open`] reads of a row, in this order.
pub(super) const COLUMNS: &str = "id, run, session, kind, attempt, scope, n, sum, chain, data";

/// What a journal row is, as its `kind` column says. Numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Kind {
    Session = 1,
    Update = 2,
    Start = 3,
    Intent = 4,
    Outcome = 5,
    Observation = 6,
    Note = 7,
    Refund = 8,
    Resent = 9,
}

/// What may be in a run's journal once.
pub(super) struct Key<'r> {
    pub(super) kind: Kind,
    pub(super) session: &'r SessionId,
    pub(super) attempt: u32,
    pub(super) scope: String,
    pub(super) n: u64,
}

impl<'r> Key<'r> {
    /// That of the record with this number; nothing for what has no row in the journal.
    pub(super) fn of(record: &'r Record, seq: u64) -> Option<Self> {
        Some(match record {
            Record::Body(..) | Record::Spill(_) => return None,
            Record::Session(new) => Self::of_session(Kind::Session, &new.session, 0, 0),
            Record::Update(update) => Self::of_session(Kind::Update, &update.session, 0, seq),
            Record::Start(start) => Self::of_session(Kind::Start, &start.session, start.attempt, 0),
            Record::Intent(intent) => Self::of_stream(Kind::Intent, &intent.stream, u64::from(intent.op)),
            Record::Outcome(outcome) => Self::of_stream(Kind::Outcome, &outcome.stream, u64::from(outcome.op)),
            Record::Observation(seen) => Self::of_stream(Kind::Observation, &seen.stream, seen.seq),
            Record::Note(note) => Self::of_stream(Kind::Note, &note.stream, seq),
            Record::Refund(stream, op) => Self::of_stream(Kind::Refund, stream, u64::from(*op)),
            Record::Resent(stream, _) => Self::of_stream(Kind::Resent, stream, seq),
        })
    }

    fn of_session(kind: Kind, session: &'r SessionId, attempt: u32, n: u64) -> Self {
        Self {
            kind,
            session,
            attempt,
            scope: String::new(),
            n,
        }
    }

    fn of_stream(kind: Kind, stream: &'r StreamId, n: u64) -> Self {
        Self {
            kind,
            session: &stream.session,
            attempt: stream.attempt,
            scope: stream.scope.to_string(),
            n,
        }
    }
}

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            session,
            attempt,
            scope,
            n,
        } = self;
        let inside = if scope.is_empty() {
            String::new()
        } else {
            format!(" in call {scope}")
        };
        let kind = format!("{kind:?}").to_lowercase();
        let session = session.number;
        write!(f, "the {kind} {n} of session {session}, attempt {attempt}{inside},")
    }
}

/// A record that is what was written, and the checksums of its row.
pub(super) struct Opened {
    pub(super) record: Record,
    pub(super) sum: i64,
    pub(super) chain: i64,
}

/// Verifies and decodes a row of [`COLUMNS`] among those of this run; nothing where a column is not what was written.
pub(super) fn open(run: &RunId, row: &Row<'_>) -> Option<Opened> {
    // A value of another type than was written is damage too.
    read(run, row).ok().flatten()
}

fn read(run: &RunId, row: &Row<'_>) -> Result<Option<Opened>, rusqlite::Error> {
    let (id, number, kind): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(3)?);
    let (sum, chain) = (row.get(7)?, row.get(8)?);
    let data = row.get_ref(9)?.as_blob()?;
    if sum != row_sum(id, kind, data) || number != id >> SEQ_BITS {
        return Ok(None);
    }
    let Some(record) = decode::<Record>(data) else {
        return Ok(None);
    };
    let Some(key) = Key::of(&record, row_seq(id)) else {
        return Ok(None);
    };
    let is_its = key.session.run == *run
        && row.get::<_, i64>(2)? == i64::from(key.session.number)
        && kind == key.kind as i64
        && row.get::<_, i64>(4)? == i64::from(key.attempt)
        && row.get_ref(5)?.as_str()? == key.scope
        && row.get::<_, i64>(6)? == int(key.n);
    Ok(is_its.then_some(Opened { record, sum, chain }))
}

/// The row of the record with this number in a run.
pub(super) fn row_id(number: i64, seq: u64) -> i64 {
    (number << SEQ_BITS) | int(seq)
}

/// The number in its run of the record with this row.
pub(super) fn row_seq(id: i64) -> u64 {
    uint(id & ((1 << SEQ_BITS) - 1))
}

pub(super) fn row_sum(id: i64, kind: i64, data: &[u8]) -> i64 {
    sum(&[b"journal", &id.to_le_bytes(), &kind.to_le_bytes(), data])
}

/// Whether the index by which records are found has all rows of a run, each in its place, and no other.
pub(super) fn is_indexed(conn: &Connection, number: i64) -> Result<bool, Fault> {
    let rows = "SELECT session, kind, attempt, scope, n, id FROM journal NOT INDEXED WHERE id > ?1 AND id < ?2";
    let stored = marks(conn, rows, &[row_id(number, 0), row_id(number + 1, 0)], false)?;
    let found = "SELECT session, kind, attempt, scope, n, id FROM journal INDEXED BY journal_once WHERE run = ?1
         ORDER BY session, kind, attempt, scope, n";
    match marks(conn, found, &[number], true) {
        Err(fault) if fault.is_corrupt() => Ok(false),
        found => Ok(stored.is_some() && stored == found?),
    }
}

/// How many rows these are, and a sum over what each is found by; nothing where they are not in their order but should be, or of another type.
fn marks(conn: &Connection, select: &str, key: &[i64], in_order: bool) -> Result<Option<(u64, u64)>, Fault> {
    let mut select = conn.prepare_cached(select)?;
    let mut rows = select.query(rusqlite::params_from_iter(key))?;
    let (mut count, mut all) = (0, 0_u64);
    let mut before = (i64::MIN, 0, 0, String::new(), 0);
    while let Some(row) = rows.next()? {
        let (Ok(session), Ok(kind), Ok(attempt)) = (row.get(0), row.get(1), row.get(2)) else {
            return Ok(None);
        };
        let (Ok(scope), Ok(n), Ok(id)) = (row.get::<_, String>(3), row.get::<_, i64>(4), row.get::<_, i64>(5)) else {
            return Ok(None);
        };
        let next: (i64, i64, i64, String, i64) = (session, kind, attempt, scope, n);
        if in_order && next <= before {
            return Ok(None);
        }
        let mut mark = DefaultHasher::new();
        (&next, id).hash(&mut mark);
        all = all.wrapping_add(mark.finish());
        count += 1;
        before = next;
    }
    Ok(Some((count, all)))
}
