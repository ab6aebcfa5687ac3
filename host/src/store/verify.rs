//! Looking through a run's records: how many of them, from the first on, are what was written, and can be gone on from.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::Fault;
use super::key::{COLUMNS, Marks, open, range, row_seq};
use super::record::{Answer, OpKind, Record, ReturnAddress, Transition};
use super::seal::link;
use crate::ids::{Digest, RunId, StreamId};

/// A run's records from the first on, as far as they are sound.
#[derive(Debug, Default)]
pub(super) struct Sound {
    /// How many they are.
    pub(super) records: u64,
    /// Bodies that they refer to.
    pub(super) bodies: u64,
    /// What is wrong with the next one or, where all are sound, with the index by which they are found; nothing where all is well.
    pub(super) problem: Option<String>,
    /// Whether that is a page of the database that can't be read.
    pub(super) unreadable: bool,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Records.
    Records,
    /// The bodies that they refer to as well.
    Bodies,
}

/// Verifies the first `limit` records of the run with this number: their order, checksums, columns and chain, and the bodies that they refer to; where
/// there are no more, also the index by which they are found. `each` gets every one that is sound, with its number; where it fails, this does.
pub(super) fn verify(
    conn: &Connection,
    (run, number): (&RunId, i64),
    look: Look,
    limit: u64,
    mut each: impl FnMut(u64, Record) -> Result<(), Fault>,
) -> Result<Sound, Fault> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM journal WHERE id > ?1 AND id < ?2 ORDER BY id"
    ))?;
    let mut rows = select.query(range(number))?;
    let (mut sound, mut before) = (Sound::default(), 0);
    let (mut bodies, mut marks) = (HashMap::new(), Marks::default());
    while sound.records < limit {
        let next = sound.records + 1;
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => {
                let indexed = Marks::of_index(conn, number)? == Some(marks);
                sound.problem = (!indexed).then(|| NOT_INDEXED.to_owned());
                break;
            }
            Err(error) => {
                let fault = Fault::from(error);
                if fault.is_corrupt() {
                    sound.problem = Some(format!("record {next} can't be read"));
                    sound.unreadable = true;
                    break;
                }
                return Err(fault);
            }
        };
        if row_seq(row.get(0)?) != next {
            sound.problem = Some(format!("record {next} is missing"));
            break;
        }
        let opened = open(run, row, &mut marks);
        before = opened.as_ref().map_or(0, |opened| link(before, opened.sum));
        let Some(opened) = opened.filter(|opened| opened.chain == before) else {
            sound.problem = Some(format!("record {next} is damaged"));
            break;
        };
        if look == Look::Bodies
            && let Some(what) = lacks(conn, number, &opened.record, &mut bodies)?
        {
            sound.problem = Some(format!("record {next} refers to {what}"));
            break;
        }
        sound.records = next;
        each(next, opened.record)?;
    }
    sound.bodies = bodies.len() as u64;
    Ok(sound)
}

/// What is wrong with a run some of whose records are not found.
const NOT_INDEXED: &str = "the index of its records is damaged";

/// The first body that a record refers to and that is not there, in words.
fn lacks(
    conn: &Connection,
    number: i64,
    record: &Record,
    known: &mut HashMap<Digest, bool>,
) -> Result<Option<String>, Fault> {
    let Record::Intent(intent) = record else {
        return Ok(None);
    };
    for digest in &intent.request {
        let good = match known.get(digest) {
            Some(good) => *good,
            None => {
                let good = body(conn, number, digest)?.is_some_and(|data| Digest::of(&data) == *digest);
                known.insert(*digest, good);
                good
            }
        };
        if !good {
            return Ok(Some(format!(
                "the body {}, which is missing or damaged",
                digest.short()
            )));
        }
    }
    Ok(None)
}

/// A body, as far as it can be read.
fn body(conn: &Connection, number: i64, digest: &Digest) -> Result<Option<Vec<u8>>, Fault> {
    let mut select = conn.prepare_cached("SELECT data FROM body WHERE run = ?1 AND digest = ?2")?;
    let found = select.query_row(params![number, digest.as_bytes()], |row| row.get(0));
    match found.optional().map_err(Fault::from) {
        Err(fault) if fault.is_corrupt() => Ok(None),
        other => other,
    }
}

/// What was written in one step and has not all come by, with the number of the record that begins it: a run can't go on from the midst of it.
#[derive(Debug, Default)]
pub struct Steps(HashMap<Awaited, u64>);

/// The record that ends such a step.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Awaited {
    /// The first start of this session.
    Start(u32),
    /// The intent of the operation that a child is.
    Child(ReturnAddress),
    /// What the guest of this stream was told of its write.
    Told(StreamId, u32),
    /// That this session's attempt is active, which is not its first.
    Active(u32, u32),
}

impl Steps {
    /// Takes a record in.
    pub fn follow(&mut self, seq: u64, record: &Record) {
        match record {
            Record::Session(new) => {
                self.0.insert(Awaited::Start(new.session.number), seq);
                if let Some(address) = &new.parent {
                    self.0.insert(Awaited::Child(address.clone()), seq);
                }
            }
            Record::Start(start) => {
                self.0.remove(&Awaited::Start(start.session.number));
                if start.attempt > 1 {
                    self.0.insert(Awaited::Active(start.session.number, start.attempt), seq);
                }
            }
            Record::Update(update) => {
                if let Transition::Active { attempt } = update.transition {
                    self.0.remove(&Awaited::Active(update.session.number, attempt));
                }
            }
            Record::Intent(intent) => match intent.kind {
                OpKind::Child => {
                    self.0.remove(&Awaited::Child(ReturnAddress {
                        session: intent.stream.session.clone(),
                        attempt: intent.stream.attempt,
                        op: intent.op,
                    }));
                }
                OpKind::Write => {
                    self.0.insert(Awaited::Told(intent.stream.clone(), intent.op), seq);
                }
                OpKind::Completion | OpKind::ToolCall => {}
            },
            Record::Observation(seen) => {
                if let Answer::Delivered(op) = seen.answer {
                    self.0.remove(&Awaited::Told(seen.stream.clone(), op));
                }
            }
            Record::Body(..)
            | Record::Outcome(_)
            | Record::Note(_)
            | Record::Refund(..)
            | Record::Resent(..)
            | Record::Spill(_) => {}
        }
    }

    /// The first record of the first step that is not whole.
    pub fn first_open(&self) -> Option<u64> {
        self.0.values().min().copied()
    }
}
