//! What the journal has of a session, and what it had spent: read back so that it goes on as if its host had not gone down.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::error::Dimension;
use crate::ids::{RunId, Scope, SessionId, StreamId};
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

/// Reads a session back and enters into the ledger what it had spent. Parents come before their children.
pub(super) fn session(
    store: &Store,
    ledger: &Ledger,
    row: SessionRow,
    parent: Option<AccountId>,
    counted: Counted,
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
    let past = charge(store, ledger, account, &row, &last, counted)?;
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

/// What attempt `attempt` of a session was made of.
pub(super) fn start(store: &Store, session: &SessionId, attempt: u32) -> Result<AgentStart, StoreError> {
    let missing = |what: &str| StoreError::damaged(&session.run, format!("the start of session {session}: {what}"));
    let start = store.start(session, attempt)?.ok_or_else(|| missing("it is missing"))?;
    let body: StartBody = codec::decode(&start.body).map_err(|e| missing(&e.to_string()))?;
    Ok(body.agent)
}

/// Operations by their recorded charges; what is charged as it is used by the last record of it. What the last attempt's replay charges
/// again (the strategy's own fuel and host calls) is left to it.
fn charge(
    store: &Store,
    ledger: &Ledger,
    account: AccountId,
    row: &SessionRow,
    last: &AgentStart,
    counted: Counted,
) -> Result<Past, StoreError> {
    let mut spent = Amounts::ZERO;
    let mut checkpoint = None;
    let (mut reserved, mut interrupted) = (HashMap::new(), HashMap::new());
    // Fuel of tool calls in attempts before the last: part of what the last start says was spent.
    let mut earlier_tools = 0u64;
    // Host calls of those that the last attempt made: they are not made again.
    let mut tools_calls = 0u64;
    for OperationRow { intent, outcome } in store.session_operations(&row.session)? {
        reserved.insert((intent.stream.clone(), intent.op), intent.reserved);
        let Some(outcome) = outcome else {
            // Still open: it is made again, until when what was set aside for it stays so. A child has its own account; fuel is needed to come to
            // it again.
            if intent.kind != OpKind::Child && intent.stream.attempt == row.attempt.max(1) && !row.status.is_final() {
                let held = ledger.reserve_again(account, intent.reserved.with(Dimension::Fuel, 0));
                interrupted.insert((intent.stream, intent.op), held);
            }
            continue;
        };
        if intent.kind == OpKind::Completion && intent.reserved.get(Dimension::Iterations) == 0 {
            ledger.closing_made(account);
        }
        if intent.stream.attempt < row.attempt {
            earlier_tools = earlier_tools.saturating_add(outcome.charged.get(Dimension::Fuel));
        } else {
            tools_calls = tools_calls.saturating_add(outcome.charged.get(Dimension::HostCalls));
        }
        spent = spent.plus(&outcome.charged);
    }
    for sent in store.resent(&row.session)? {
        ledger.resent(account, reserved.get(&sent).copied().unwrap_or_default());
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
    // A tool's fuel is in its call's charge; the strategy's own is counted apart.
    let tools_fuel = spent.get(Dimension::Fuel);
    let strategy_fuel = fuel.saturating_sub(earlier_tools);
    let all_fuel = tools_fuel.saturating_add(strategy_fuel);
    // What ended code burnt after its last observation is in its row alone.
    let all_fuel = if ended {
        all_fuel.max(row.spent.get(Dimension::Fuel))
    } else {
        all_fuel
    };
    let calls = if ended {
        // What its children called is in its row too, and comes with theirs.
        row.spent.get(Dimension::HostCalls).saturating_sub(counted.calls_below)
    } else {
        last.spent.get(Dimension::HostCalls).saturating_add(tools_calls)
    };
    spent = spent
        .with(Dimension::Fuel, all_fuel)
        .with(Dimension::WallClockMs, awake_ms)
        .with(Dimension::HostCalls, calls)
        .with(Dimension::JournalBytes, counted.bytes);
    ledger.charge(account, spent);
    // The last attempt's own refunds come with its replay.
    for (stream, _) in store.refunds(&row.session)? {
        if ended || stream.attempt < row.attempt {
            ledger.refund_iteration(account, u64::MAX);
        }
    }
    Ok(Past {
        wall_ms: awake_ms,
        records: counted.records,
        checkpoint: checkpoint.or_else(|| last.task.previous.as_ref().and_then(|p| p.report.clone())),
        interrupted,
    })
}

/// What is counted over the whole run at once, of one session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// Records of its part of the journal, counted as they were when they were written.
    records: u64,
    /// Their bytes.
    bytes: u64,
    /// Host calls of its children, and of theirs.
    calls_below: u64,
}

/// Counts what the journal has of each session of `run`, whose rows these are.
pub(super) fn counted(
    store: &Store,
    run: &RunId,
    rows: &[SessionRow],
) -> Result<HashMap<SessionId, Counted>, StoreError> {
    let mut all: HashMap<SessionId, Counted> = HashMap::new();
    let mut parents = HashMap::new();
    for row in rows {
        if let Some(parent) = &row.parent {
            parents.insert(row.session.clone(), parent.session.clone());
            let of = all.entry(parent.session.clone()).or_default();
            of.calls_below = of.calls_below.saturating_add(row.spent.get(Dimension::HostCalls));
        }
    }
    let (mut known, mut after) = (HashSet::new(), 0);
    loop {
        let page = store.records(run, after, 1000)?;
        let Some((last, _)) = page.last() else {
            return Ok(all);
        };
        after = *last;
        for (_, record) in &page {
            let Some(session) = owner(record, &parents) else {
                continue;
            };
            let of = all.entry(session.clone()).or_default();
            of.records += 1;
            of.bytes += size(record) as u64;
            let Record::Intent(intent) = record else { continue };
            for digest in &intent.request {
                if known.insert((intent.stream.clone(), *digest)) {
                    of.records += 1;
                    of.bytes += size(&Record::Body(*digest, store.body(run, digest)?)) as u64;
                }
            }
        }
    }
}

/// Whose record it is.
fn owner<'a>(record: &'a Record, parents: &'a HashMap<SessionId, SessionId>) -> Option<&'a SessionId> {
    match record {
        Record::Body(..) => None,
        // A child's row and its first start are written, and counted, by its parent.
        Record::Session(new) => new.parent.as_ref().map(|parent| &parent.session),
        Record::Start(start) => parents.get(&start.session).filter(|_| start.attempt == 1),
        Record::Update(_) | Record::Spill(_) => None,
        Record::Intent(intent) => Some(&intent.stream.session),
        Record::Outcome(outcome) => Some(&outcome.stream.session),
        Record::Observation(seen) => Some(&seen.stream.session),
        Record::Note(note) => Some(&note.stream.session),
        Record::Refund(stream, _) | Record::Resent(stream, _) => Some(&stream.session),
    }
}
