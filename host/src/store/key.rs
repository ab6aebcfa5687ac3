//! By what a record is found: the columns of its row beside the record itself. They follow from it, so whoever reads a row holds them against it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rusqlite::{Connection, Row};

use super::error::Fault;
use super::record::Record;
use super::seal::{decode, int, sum, uint};
use crate::ids::{RunId, SessionId, StreamId};

/// A run's rows have ids `number << SEQ_BITS | seq`.
pub(super) const SEQ_BITS: u32 = 40;

/// No run has a number so large: its rows would have no ids.
pub(super) const NUMBERS: i64 = 1 << (62 - SEQ_BITS);

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

/// Verifies and decodes a row of [`COLUMNS`] among those of this run, and takes it into `marks`; nothing where a column is not what was written.
pub(super) fn open(run: &RunId, row: &Row<'_>, marks: &mut Marks) -> Option<Opened> {
    // A value of another type than was written is damage too.
    read(run, row, marks).ok().flatten()
}

fn read(run: &RunId, row: &Row<'_>, marks: &mut Marks) -> Result<Option<Opened>, rusqlite::Error> {
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
    if !is_its {
        return Ok(None);
    }
    marks.add(id, &key);
    Ok(Some(Opened { record, sum, chain }))
}

/// The row of the record with this number in a run.
pub(super) fn row_id(number: i64, seq: u64) -> i64 {
    (number << SEQ_BITS) | int(seq)
}

/// The ids between which a run's records lie.
pub(super) fn range(number: i64) -> [i64; 2] {
    behind(number, 0)
}

/// The ids between which those behind this one lie.
pub(super) fn behind(number: i64, seq: u64) -> [i64; 2] {
    [row_id(number, seq), row_id(number.saturating_add(1), 0)]
}

/// The number in its run of the record with this row.
pub(super) fn row_seq(id: i64) -> u64 {
    uint(id & ((1 << SEQ_BITS) - 1))
}

pub(super) fn row_sum(id: i64, kind: i64, data: &[u8]) -> i64 {
    sum(&[b"journal", &id.to_le_bytes(), &kind.to_le_bytes(), data])
}

/// How many rows these are, and a sum over what each is found by: the same for the same rows in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    count: u64,
    sum: u64,
}

impl Marks {
    /// Takes the record with this row in.
    pub(super) fn add(&mut self, id: i64, key: &Key<'_>) {
        let place = (key.kind as i64, i64::from(key.session.number), i64::from(key.attempt));
        self.count_in(id, place, &key.scope, int(key.n));
    }

    fn count_in(&mut self, id: i64, place: (i64, i64, i64), scope: &str, n: i64) {
        let mut mark = DefaultHasher::new();
        (id, place, scope, n).hash(&mut mark);
        self.count += 1;
        self.sum = self.sum.wrapping_add(mark.finish());
    }

    /// The rows of a run in the index by which records are found; nothing where that is no index of them.
    pub(super) fn of_index(conn: &Connection, number: i64) -> Result<Option<Self>, Fault> {
        let found = "SELECT id, session, kind, attempt, scope, n FROM journal INDEXED BY journal_once WHERE run = ?1
             ORDER BY session, kind, attempt, scope, n";
        match Self::read(conn, found, &[number], true) {
            Err(fault) if fault.is_corrupt() => Ok(None),
            found => found,
        }
    }

    /// The rows of a run as they are stored, whatever is in them; nothing where one says that it is another run's.
    pub(super) fn of_table(conn: &Connection, number: i64) -> Result<Option<Self>, Fault> {
        let [first, last] = range(number);
        let mut strays =
            conn.prepare_cached("SELECT 1 FROM journal NOT INDEXED WHERE id > ?1 AND id < ?2 AND run IS NOT ?3")?;
        if strays.exists([first, last, number])? {
            return Ok(None);
        }
        let stored = "SELECT id, session, kind, attempt, scope, n FROM journal NOT INDEXED WHERE id > ?1 AND id < ?2";
        Self::read(conn, stored, &[first, last], false)
    }

    /// Nothing where a value is of another type than was written, or the rows are not in their order but should be.
    fn read(conn: &Connection, select: &str, of: &[i64], in_order: bool) -> Result<Option<Self>, Fault> {
        let mut select = conn.prepare_cached(select)?;
        let mut rows = select.query(rusqlite::params_from_iter(of))?;
        let (mut marks, mut before) = (Self::default(), ((i64::MIN, 0, 0), String::new(), 0));
        while let Some(row) = rows.next()? {
            let (Ok(id), Ok(session), Ok(kind)) = (row.get(0), row.get::<_, i64>(1), row.get::<_, i64>(2)) else {
                return Ok(None);
            };
            let (Ok(attempt), Ok(scope), Ok(n)) = (row.get::<_, i64>(3), row.get_ref(4)?.as_str(), row.get(5)) else {
                return Ok(None);
            };
            let first = (session, kind, attempt);
            if in_order && (first, scope, n) <= (before.0, before.1.as_str(), before.2) {
                return Ok(None);
            }
            marks.count_in(id, (kind, session, attempt), scope, n);
            if before.1 != scope {
                before.1.replace_range(.., scope);
            }
            (before.0, before.2) = (first, n);
        }
        Ok(Some(marks))
    }
}
