//! What the journal has of a session, and what it had spent: read back so that it goes on as if its host had not gone down.

use std::collections::BTreeMap;

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::error::Dimension;
use crate::ids::{Scope, SessionId, StreamId};
use crate::ledger::{AccountId, Ledger};
use crate::session::Past;
use crate::session::codec;
use crate::session::tape::{Recorded, RecordedOp, size};
use crate::store::{NoteKind, OpKind, OperationRow, Record, SessionRow, Store, StoreError};
use crate::supervisor::start::{AgentStart, StartBody};

/// Everything that the journal has of an attempt, by the scope of its instances.
pub(super) fn recorded(
    store: &Store,
    session: &SessionId,
    attempt: u32,
) -> Result<BTreeMap<Scope, Recorded>, StoreError> {
    let mut scopes: BTreeMap<Scope, Recorded> = BTreeMap::from([(Scope::ROOT, Recorded::default())]);
    let mut thinking = Vec::new();
    for OperationRow { intent, outcome } in store.session_operations(session)? {
        let (stream, number) = (intent.stream, intent.op);
        if stream.attempt != attempt {
            continue;
        }
        if intent.kind == OpKind::Completion {
            thinking.extend(stream.scope.first());
        }
        if intent.kind == OpKind::ToolCall {
            scopes.entry(stream.scope.child(number)).or_default();
        }
        let op = RecordedOp {
            request: intent.request,
            reserved: intent.reserved,
            outcome: outcome.map(|o| (o.status, o.body, o.charged)),
        };
        scopes.entry(stream.scope).or_default().operations.insert(number, op);
    }
    for (scope, tape) in &mut scopes {
        let stream = StreamId {
            session: session.clone(),
            attempt,
            scope: scope.clone(),
        };
        tape.observations = store.observations(&stream)?.into();
    }
    if let Some(own) = scopes.get_mut(&Scope::ROOT) {
        own.thinking.extend(thinking);
    }
    Ok(scopes)
}

/// A session as its journal has it.
pub(super) struct Restored {
    /// Its row.
    pub(super) row: SessionRow,
    /// What its last attempt was made of.
    pub(super) start: AgentStart,
    /// Its account.
    pub(super) account: AccountId,
    /// What it left.
    pub(super) past: Past,
    /// When it was started again, in milliseconds awake.
    pub(super) restarts_ms: Vec<u64>,
}

/// Reads a session back and enters into the ledger what it had spent. Parents come before their children,
/// whose host calls are `below`.
pub(super) fn session(
    store: &Store,
    ledger: &Ledger,
    row: SessionRow,
    parent: Option<AccountId>,
    below: u64,
) -> Result<Restored, StoreError> {
    let first = start(store, &row.session, 1)?;
    let mut last = first.clone();
    let mut restarts_ms = Vec::new();
    for attempt in 2..=row.attempt.max(1) {
        last = start(store, &row.session, attempt)?;
        restarts_ms.push(last.awake_ms);
    }
    let caps = first.caps.iter().copied().collect();
    let account = match parent {
        None => ledger.open_root(caps),
        Some(parent) => ledger.reopen_child(parent, caps, first.allotment),
    };
    let past = charge(store, ledger, account, &row, &last, below)?;
    if row.status.is_final() {
        ledger.close(account);
    }
    Ok(Restored {
        row,
        start: last,
        account,
        past,
        restarts_ms,
    })
}

fn start(store: &Store, session: &SessionId, attempt: u32) -> Result<AgentStart, StoreError> {
    let missing = |what: &str| StoreError::damaged(&session.run, format!("the start of session {session}: {what}"));
    let start = store.start(session, attempt)?.ok_or_else(|| missing("it is missing"))?;
    let body: StartBody = codec::decode(&start.body).map_err(|e| missing(&e.to_string()))?;
    Ok(body.agent)
}

/// Operations by their recorded charges; what is charged as it is used by the last record of it. What the last attempt's replay charges
/// again (fuel and host calls) is left to it.
fn charge(
    store: &Store,
    ledger: &Ledger,
    account: AccountId,
    row: &SessionRow,
    last: &AgentStart,
    below: u64,
) -> Result<Past, StoreError> {
    let mut spent = Amounts::ZERO;
    let mut checkpoint = None;
    for OperationRow { intent, outcome } in store.session_operations(&row.session)? {
        // One that is still open is made again, and opened for that by the refusal before it.
        let Some(outcome) = outcome else { continue };
        if intent.kind == OpKind::Completion && intent.reserved.get(Dimension::Iterations) == 0 {
            ledger.closing_made(account);
        }
        spent = spent.plus(&outcome.charged);
    }
    for (stream, op) in store.resent(&row.session)? {
        let sent = store.operations(&stream)?.into_iter().find(|row| row.intent.op == op);
        let reserved = sent.map(|row| row.intent.reserved).unwrap_or_default();
        ledger.resent(account, reserved);
    }
    for (_, note) in store.notes(&row.session, &[NoteKind::Checkpoint], 0, usize::MAX)? {
        checkpoint = codec::decode::<types::Report>(&note.body).ok().or(checkpoint);
    }
    let ended = row.status.is_final();
    let mut awake_ms = last.awake_ms;
    let mut fuel = last.spent.get(Dimension::Fuel);
    let own = StreamId {
        session: row.session.clone(),
        attempt: row.attempt.max(1),
        scope: Scope::ROOT,
    };
    if let Some(seen) = store.observations(&own)?.last() {
        awake_ms = awake_ms.max(seen.awake_ms);
        if ended {
            fuel += seen.fuel;
        }
    }
    awake_ms = awake_ms.max(row.spent.get(Dimension::WallClockMs));
    let (records, bytes) = footprint(store, &row.session)?;
    // A tool's fuel is in its call's charge; the strategy's own is counted apart.
    let tools_fuel = spent.get(Dimension::Fuel);
    let earlier_tools = fuel_of_tools_before(store, row)?;
    let strategy_fuel = fuel.saturating_sub(earlier_tools);
    let calls = if ended {
        // What its children called is in its row too, and comes with theirs.
        row.spent.get(Dimension::HostCalls).saturating_sub(below)
    } else {
        last.spent.get(Dimension::HostCalls)
    };
    spent = spent
        .with(Dimension::Fuel, tools_fuel.saturating_add(strategy_fuel))
        .with(Dimension::WallClockMs, awake_ms)
        .with(Dimension::HostCalls, calls)
        .with(Dimension::JournalBytes, bytes);
    ledger.charge(account, spent);
    // The last attempt's own refunds come with its replay.
    for (stream, _) in store.refunds(&row.session)? {
        if ended || stream.attempt < row.attempt {
            ledger.refund_iteration(account, u64::MAX);
        }
    }
    Ok(Past {
        wall_ms: awake_ms,
        records,
        checkpoint: checkpoint.or_else(|| last.task.previous.as_ref().and_then(|p| p.report.clone())),
    })
}

/// Fuel of tool calls in attempts before the last: part of what the last start says was spent.
fn fuel_of_tools_before(store: &Store, row: &SessionRow) -> Result<u64, StoreError> {
    let operations = store.session_operations(&row.session)?;
    let before = operations
        .into_iter()
        .filter(|op| op.intent.stream.attempt < row.attempt);
    Ok(before
        .filter_map(|op| op.outcome)
        .fold(0u64, |sum, o| sum.saturating_add(o.charged.get(Dimension::Fuel))))
}

/// Records and bytes of a session's part of the journal, counted as they were when they were written.
fn footprint(store: &Store, session: &SessionId) -> Result<(u64, u64), StoreError> {
    let (mut records, mut bytes, mut after) = (0u64, 0u64, 0);
    let mut known = std::collections::HashSet::new();
    loop {
        let page = store.records(&session.run, after, 1000)?;
        let Some((last, _)) = page.last() else {
            return Ok((records, bytes));
        };
        after = *last;
        for (_, record) in &page {
            if owner(record) != Some(session) {
                continue;
            }
            records += 1;
            bytes += size(record) as u64;
            if let Record::Intent(intent) = record {
                for digest in &intent.request {
                    let stream = (intent.stream.attempt, intent.stream.scope.clone(), *digest);
                    if intent.kind != OpKind::Write && known.insert(stream) {
                        records += 1;
                        bytes += store.body(&session.run, digest)?.len() as u64;
                    }
                }
            }
        }
    }
}

/// Whose record it is.
fn owner(record: &Record) -> Option<&SessionId> {
    match record {
        Record::Body(..) => None,
        // A child's rows are written, and counted, by its parent.
        Record::Session(new) => new.parent.as_ref().map(|parent| &parent.session),
        Record::Start(_) | Record::Update(_) | Record::Spill(_) => None,
        Record::Intent(intent) => Some(&intent.stream.session),
        Record::Outcome(outcome) => Some(&outcome.stream.session),
        Record::Observation(seen) => Some(&seen.stream.session),
        Record::Note(note) => Some(&note.stream.session),
        Record::Refund(stream, _) | Record::Resent(stream, _) => Some(&stream.session),
    }
}
