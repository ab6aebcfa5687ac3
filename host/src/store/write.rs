//! Records become rows: the writing half of the journal, inside a transaction of the writer.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::commit::Done;
use super::error::{Fault, StoreError};
use super::key::{Key, row_id, row_seq, row_sum};
use super::owner::{Head, Owner};
use super::record::{
    Effect, EffectResult, OpEffect, OutcomeStatus, Record, SPILL_SPACE, SessionUpdate, SpaceId, Spill, Sync, Transition,
};
use super::rows::SessionRow;
use super::runs::{NOT_WHOLE, damaged_row, epoch_at, is_epoch};
use super::seal::{decode, encode, int, link, sum, uint};
use super::space::{Quota, Writing};
use super::{Store, space};
use crate::error::Dimension;
use crate::ids::{Digest, RunId, SessionId};

/// What an append did.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// How its effect ended, if it had one.
    pub effect: Option<EffectResult>,
    /// Bytes that the journal grew by: encoded records, and bodies that were new.
    pub bytes: u64,
    /// The run's last sequence number: a cursor for [`Store::records`].
    pub seq: u64,
}

impl Store {
    /// Writes `records` and, in the same transaction, `effect`; all of it or nothing. The effect's result becomes the
    /// body of its operation's outcome among the records, whose status and charge of stored bytes follow it.
    ///
    /// Dropping the future takes nothing back: the append is committed with the next batch.
    ///
    /// # Errors
    /// [`StoreError::NotOwner`] when the run was taken by another; [`StoreError::Duplicate`] for a second outcome, observation, intent,
    /// start, session or refund of the same number, and for any change of a session that has ended; [`StoreError::SpillFull`] when a
    /// spilled text doesn't fit; [`StoreError::Reserve`] for a new effect on a disk that is almost full; [`StoreError::Busy`] after the
    /// configured wait; failures of the disk. In all cases nothing of this append is kept.
    pub async fn append(
        &self,
        owner: &Owner,
        records: Vec<Record>,
        effect: Option<OpEffect>,
        sync: Sync,
    ) -> Result<Appended, StoreError> {
        self.append_within(self.0.options.busy, self.quota(), owner, records, effect, sync)
            .await
    }

    /// As [`Store::append`], but waits for a busy database for as long as the caller does, and the run's own spaces may hold what `quota` says.
    ///
    /// # Errors
    /// As [`Store::append`], [`StoreError::Busy`] apart.
    pub async fn append_patiently(
        &self,
        owner: &Owner,
        quota: Quota,
        records: Vec<Record>,
        effect: Option<OpEffect>,
        sync: Sync,
    ) -> Result<Appended, StoreError> {
        self.append_within(FOREVER, quota, owner, records, effect, sync).await
    }

    /// `quota` is what the run's own spaces may hold.
    pub(super) async fn append_within(
        &self,
        busy: Duration,
        quota: Quota,
        owner: &Owner,
        records: Vec<Record>,
        effect: Option<OpEffect>,
        sync: Sync,
    ) -> Result<Appended, StoreError> {
        let home = self.quota();
        let by = owner.clone();
        if effect.is_some() || records.iter().any(|r| matches!(r, Record::Intent(_))) {
            self.0.reserve.check()?;
        }
        if let Some(write) = &effect {
            self.look_before(&write.effect)?;
        }
        let spaces = effect.is_some() || records.iter().any(|r| matches!(r, Record::Spill(_)));
        // An effect is told in its outcome, and tells it differently the second time.
        let repeats = effect.is_none();
        let mut records = records;
        let work = move |conn: &Connection| {
            let mut journal = Journal::open(conn, &by, quota, home)?;
            let effect = match &effect {
                Some(write) => Some(journal.take_effect(write, &mut records)?),
                None => None,
            };
            for record in &records {
                journal.push(record)?;
            }
            journal.write_session()?;
            let head = journal.head;
            Ok(Done {
                value: Appended {
                    effect,
                    bytes: journal.bytes,
                    seq: head.seq,
                },
                head: Some(head),
            })
        };
        let lock = Some(owner.0.lock.clone());
        let appended = self.writer()?.submit(sync, busy, lock, repeats, work).await?;
        if spaces {
            self.spaces_changed();
        }
        Ok(appended)
    }
}

/// Longer than any run lasts.
pub(super) const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The end of a run's journal, open for more.
struct Journal<'c> {
    conn: &'c Connection,
    run: RunId,
    number: i64,
    head: Head,
    bytes: u64,
    /// The row of the session that was changed last: it is written once, however many steps of its life come one after another.
    changed: Option<SessionRow>,
    /// What the run's own spaces may hold.
    quota: Quota,
    /// What a space of the home folder may.
    home: Quota,
}

impl<'c> Journal<'c> {
    fn open(conn: &'c Connection, owner: &Owner, quota: Quota, home: Quota) -> Result<Self, Fault> {
        let number = owner.0.number;
        check_epoch(conn, owner)?;
        Ok(Self {
            conn,
            run: owner.run().clone(),
            number,
            head: head(conn, number)?,
            bytes: 0,
            changed: None,
            quota,
            home,
        })
    }

    /// Applies the effect and writes its result into the outcome of its operation.
    fn take_effect(&self, write: &OpEffect, records: &mut [Record]) -> Result<EffectResult, Fault> {
        let outcome = records.iter_mut().find_map(|record| match record {
            Record::Outcome(outcome) if outcome.op == write.op && outcome.stream == write.stream => Some(outcome),
            _ => None,
        });
        let Some(outcome) = outcome else {
            return Err(StoreError::internal("an effect without the outcome that records it").into());
        };
        let author = Writing {
            author: outcome.stream.session.to_string(),
            op: Some((outcome.stream.clone(), outcome.op)),
            at_ms: outcome.at_ms,
        };
        let quota = match write.effect.space().run {
            Some(_) => self.quota,
            None => self.home,
        };
        let result = space::apply(self.conn, &write.effect, &author, quota)?;
        if matches!(
            result,
            EffectResult::Conflict(_) | EffectResult::TooManyKeys(_) | EffectResult::TooManyBytes(_)
        ) {
            outcome.status = OutcomeStatus::Failed;
            outcome.charged = outcome.charged.with(Dimension::StoredBytes, 0);
        }
        outcome.body = encode(&result)?;
        Ok(result)
    }

    fn push(&mut self, record: &Record) -> Result<(), Fault> {
        let key = match (record, Key::of(record, self.head.seq + 1)) {
            (Record::Body(digest, data), _) => return self.push_body(digest, data),
            (Record::Spill(spill), _) => return self.spill(spill),
            (_, Some(key)) => key,
            (_, None) => return Err(StoreError::internal("a record that has no row").into()),
        };
        self.mine(key.session)?;
        match record {
            Record::Session(new) => {
                let row = SessionRow::new(new);
                let added = self
                    .conn
                    .prepare_cached("INSERT INTO session (run, number, data, sum) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(row.sealed(self.number)?);
                once(added.map_err(Fault::from), || format!("session {}", new.session))?;
            }
            Record::Update(update) => self.update_session(update)?,
            _ => {}
        }
        let written = self.push_row(&key, &encode(record)?);
        once(written, || key.to_string())
    }

    /// Writes a piece of a long text. Where it doesn't fit the append fails.
    fn spill(&self, spill: &Spill) -> Result<(), Fault> {
        self.mine(&spill.session)?;
        let put = Effect::Put {
            space: SpaceId {
                run: Some(self.run.clone()),
                name: SPILL_SPACE.to_owned(),
            },
            key: spill.key.clone(),
            media_type: "text/plain; charset=utf-8".to_owned(),
            data: spill.text.clone().into_bytes(),
            if_version: None,
        };
        let by = Writing {
            author: spill.session.to_string(),
            op: None,
            at_ms: spill.at_ms,
        };
        match space::apply(self.conn, &put, &by, self.quota)? {
            EffectResult::Written(_) => Ok(()),
            _ => Err(StoreError::SpillFull { key: spill.key.clone() }.into()),
        }
    }

    fn push_row(&mut self, key: &Key<'_>, data: &[u8]) -> Result<(), Fault> {
        let seq = self.head.seq + 1;
        let id = row_id(self.number, seq);
        let sum = row_sum(id, key.kind as i64, data);
        let chain = link(self.head.chain, sum);
        self.conn
            .prepare_cached(
                "INSERT INTO journal (id, run, session, kind, attempt, scope, n, sum, chain, data)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                id,
                self.number,
                key.session.number,
                key.kind as i64,
                key.attempt,
                key.scope,
                int(key.n),
                sum,
                chain,
                data
            ])?;
        self.head = Head { seq, chain };
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// A body that is there already stays; one that is damaged is written again.
    fn push_body(&mut self, digest: &Digest, data: &[u8]) -> Result<(), Fault> {
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO body (run, digest, data) VALUES (?1, ?2, ?3)
                 ON CONFLICT (run, digest) DO UPDATE SET data = excluded.data WHERE data IS NOT excluded.data",
            )?
            .execute(params![self.number, digest.as_bytes(), data])?;
        if added > 0 {
            self.bytes += data.len() as u64;
        }
        Ok(())
    }

    fn update_session(&mut self, update: &SessionUpdate) -> Result<(), Fault> {
        if self.changed.as_ref().is_none_or(|row| row.session != update.session) {
            self.write_session()?;
            self.changed = session_row(self.conn, &self.run, self.number, update.session.number)?;
        }
        let Some(row) = &mut self.changed else {
            let what = format!("session {}", update.session);
            return Err(StoreError::NotFound { what }.into());
        };
        Ok(row.apply(update)?)
    }

    /// Writes the row that was changed last.
    fn write_session(&mut self) -> Result<(), Fault> {
        if let Some(row) = self.changed.take() {
            self.conn
                .prepare_cached("UPDATE session SET data = ?3, sum = ?4 WHERE run = ?1 AND number = ?2")?
                .execute(row.sealed(self.number)?)?;
        }
        Ok(())
    }

    fn mine(&self, session: &SessionId) -> Result<(), StoreError> {
        if session.run == self.run {
            return Ok(());
        }
        Err(StoreError::internal(format!(
            "a record of session {session} in the journal of run {}",
            self.run
        )))
    }
}

fn once<T>(written: Result<T, Fault>, what: impl FnOnce() -> String) -> Result<(), Fault> {
    match written {
        Ok(_) => Ok(()),
        Err(fault) if fault.is_duplicate() => Err(StoreError::Duplicate { what: what() }.into()),
        Err(fault) => Err(fault),
    }
}

/// Fails unless `owner` is the run's newest.
pub(super) fn check_epoch(conn: &Connection, owner: &Owner) -> Result<(), Fault> {
    let epoch: Option<i64> = conn
        .prepare_cached("SELECT epoch FROM run WHERE no = ?1 AND id = ?2")?
        .query_row(params![owner.0.number, owner.run().as_str()], |row| {
            Ok(epoch_at(row, 0))
        })
        .optional()?;
    match epoch {
        Some(epoch) if uint(epoch) == owner.0.epoch => Ok(()),
        Some(epoch) if !is_epoch(epoch) && uint(epoch) != NOT_WHOLE => Err(damaged_row(owner.run()).into()),
        _ => Err(StoreError::NotOwner {
            run: owner.run().clone(),
        }
        .into()),
    }
}

/// The last record of a run, zero before the first.
pub(super) fn head(conn: &Connection, number: i64) -> Result<Head, Fault> {
    let last = conn
        .prepare_cached("SELECT id, chain FROM journal WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1")?
        .query_row([row_id(number, 0), row_id(number + 1, 0) - 1], |row| {
            Ok(Head {
                seq: row_seq(row.get(0)?),
                // One of another type is none that was written: no anchor has it.
                chain: row.get(1).unwrap_or_default(),
            })
        })
        .optional()?;
    Ok(last.unwrap_or_default())
}

/// A session's row, verified.
pub(super) fn session_row(
    conn: &Connection,
    run: &RunId,
    number: i64,
    session: u32,
) -> Result<Option<SessionRow>, Fault> {
    let found: Option<Result<SessionRow, Fault>> = conn
        .prepare_cached("SELECT data, sum FROM session WHERE run = ?1 AND number = ?2")?
        .query_row(params![number, session], |row| {
            Ok(SessionRow::at((run, number, session), row, 0))
        })
        .optional()?;
    found.transpose()
}

impl SessionRow {
    /// The first end stands: whatever comes after it is refused.
    pub(super) fn apply(&mut self, update: &SessionUpdate) -> Result<(), StoreError> {
        let Some(status) = self.status.after(&update.transition) else {
            return Err(StoreError::Duplicate {
                what: format!("the end of session {}", self.session),
            });
        };
        self.status = status;
        self.updated_ms = update.at_ms;
        self.spent = update.spent.unwrap_or(self.spent);
        match &update.transition {
            Transition::Active { attempt } => self.attempt = *attempt,
            Transition::Interrupted => {}
            Transition::CancelAsked => self.cancel_asked = true,
            Transition::Ended(end) => {
                let end = end.clone();
                self.ended_ms = Some(update.at_ms);
                self.exit = Some(end.exit);
                self.outcome = end.outcome;
                self.error = end.error;
                self.result = Some(end.result);
            }
        }
        Ok(())
    }

    /// The values of its columns: run, number, data, sum.
    pub(super) fn sealed(&self, run: i64) -> Result<(i64, u32, Vec<u8>, i64), Fault> {
        let data = encode(self)?;
        let sum = session_sum(run, self.session.number, &data);
        Ok((run, self.session.number, data, sum))
    }

    /// The row of this session of the run with this number, of the columns data and sum from `first` on, whatever is in them.
    pub(super) fn at((run, number, session): (&RunId, i64, u32), row: &Row<'_>, first: usize) -> Result<Self, Fault> {
        let (data, sum): (Option<Vec<u8>>, Option<i64>) = (row.get(first).ok(), row.get(first + 1).ok());
        let good = data.zip(sum).and_then(|(data, sum)| {
            (sum == session_sum(number, session, &data))
                .then(|| decode(&data))
                .flatten()
        });
        Ok(good.ok_or_else(|| StoreError::damaged(run, format!("the row of session {session}")))?)
    }
}

fn session_sum(run: i64, session: u32, data: &[u8]) -> i64 {
    sum(&[b"session", &run.to_le_bytes(), &session.to_le_bytes(), data])
}
