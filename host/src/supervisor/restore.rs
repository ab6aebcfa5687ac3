//! What the journal has of a session, and what it had spent: read back so that it goes on as if its host had not gone down.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::error::Dimension;
use crate::ids::{Digest, RunId, Scope, SessionId, StreamId};
use crate::ledger::{AccountId, Ledger};
use crate::session::tape::{Recorded, RecordedOp, size};
use crate::session::{Interrupted, Past, codec};
use crate::store::{
    Intent, Look, NoteKind, Observation, OpKind, OperationRow, Outcome, Record, SessionRow, Store, StoreError,
};
use crate::supervisor::Place;
use crate::supervisor::start::{AgentStart, StartBody};
use crate::supervisor::terms::Terms;

/// Everything that the journal has of an attempt, by the scope of its instances.
pub(super) fn recorded(
    store: &Store,
    session: &SessionId,
    attempt: u32,
) -> Result<BTreeMap<Scope, Recorded>, StoreError> {
    let mut scopes: BTreeMap<Scope, Recorded> = BTreeMap::from([(Scope::ROOT, Recorded::default())]);
    let mut thinking = Vec::new();
    let records = store.attempt(session, attempt)?;
    for OperationRow { intent, outcome } in records.operations {
        let (stream, number) = (intent.stream, intent.op);
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
    for seen in records.observations {
        let scope = scopes.entry(seen.stream.scope.clone()).or_default();
        scope.observations.push_back(seen);
    }
    for note in records.last_notes.into_iter().filter(|note| note.kind.is_said()) {
        let scope = scopes.entry(note.stream.scope.clone()).or_default();
        scope.said.push_back(note);
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
    /// Its place among those alive, where it is a child of a run that goes on and has not ended.
    pub(super) place: Option<Place>,
}

/// What a run is read back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFor {
    /// It goes on: what the replay of an agent's last attempt charges again is left to it.
    GoingOn,
    /// Nothing is charged again: all of it counts, as far as the journal tells.
    Telling,
}

/// Reads all sessions of a run back in one walk through its journal, and enters into the ledger what they had spent. Parents come before their
/// children.
pub(super) fn sessions(
    store: &Store,
    run: &RunId,
    ledger: &Ledger,
    terms: &Terms,
    read_for: ReadFor,
) -> Result<Vec<Restored>, StoreError> {
    let rows = store.sessions(run)?;
    let mut found = Found::nothing(&rows);
    let look = match read_for {
        // What is sent behind a message that is damaged would be cut off with it, and paid again.
        ReadFor::GoingOn => Look::Bodies,
        ReadFor::Telling => Look::Records,
    };
    store.walk(run, look, |record, bodies| found.take(record, bodies))?;
    let mut accounts = HashMap::new();
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let parent = row
            .parent
            .as_ref()
            .and_then(|p| accounts.get(&p.session.number).copied());
        let left = found.sessions.remove(&row.session.number).unwrap_or_default();
        let restored = restored(ledger, terms, row, parent, left, read_for)?;
        accounts.insert(restored.row.session.number, restored.account);
        all.push(restored);
    }
    Ok(all)
}

fn restored(
    ledger: &Ledger,
    terms: &Terms,
    row: SessionRow,
    parent: Option<AccountId>,
    left: Left,
    read_for: ReadFor,
) -> Result<Restored, StoreError> {
    let under_terms = |attempt: u32| {
        let mut body = body_of(&row.session, left.starts.get(&attempt))?;
        terms.apply(&mut body);
        Ok::<_, StoreError>(body.agent)
    };
    let first = under_terms(1)?;
    let mut last = first.clone();
    let mut restarts_ms = Vec::new();
    for attempt in 2..=row.attempt.max(1) {
        last = under_terms(attempt)?;
        restarts_ms.push(last.awake_ms);
    }
    let account = first.reopen(ledger, parent);
    let past = charge(ledger, account, &row, &last, left, read_for);
    if row.status.is_final() {
        ledger.close(account);
    }
    Ok(Restored {
        row,
        start: last,
        account,
        past,
        restarts_ms,
        place: None,
    })
}

/// What attempt `attempt` of a session was made of.
pub(super) fn start(store: &Store, session: &SessionId, attempt: u32) -> Result<AgentStart, StoreError> {
    let stored = store.start(session, attempt)?.map(|start| start.body);
    Ok(body_of(session, stored.as_ref())?.agent)
}

fn body_of(session: &SessionId, stored: Option<&Vec<u8>>) -> Result<StartBody, StoreError> {
    let missing = |what: &str| StoreError::damaged(&session.run, format!("the start of session {session}: {what}"));
    let stored = stored.ok_or_else(|| missing("it is missing"))?;
    codec::decode(stored).map_err(|e| missing(&e.to_string()))
}

/// Operations by their recorded charges; what is charged as it is used by the last record of it. What the last attempt's replay charges
/// again (the strategy's own fuel and host calls) is left to it, where there will be one.
fn charge(
    ledger: &Ledger,
    account: AccountId,
    row: &SessionRow,
    last: &AgentStart,
    left: Left,
    read_for: ReadFor,
) -> Past {
    let ended = row.status.is_final();
    let is_over = ended || read_for == ReadFor::Telling;
    if left.closing {
        ledger.closing_made(account);
    }
    for sent in &left.resent {
        // What a tool sends costs nothing of its own.
        let asked = left.operations.get(sent).filter(|op| op.kind == OpKind::Completion);
        ledger.resent(account, asked.map(|op| op.reserved).unwrap_or_default());
    }
    let mut awake_ms = last.awake_ms;
    let mut fuel = last.spent.get(Dimension::Fuel);
    if let Some(seen) = left.seen {
        awake_ms = awake_ms.max(seen.awake_ms);
        if is_over {
            fuel = fuel.saturating_add(seen.fuel);
        }
    }
    awake_ms = awake_ms.max(row.spent.get(Dimension::WallClockMs));
    // A tool's fuel is in its call's charge; the strategy's own is counted apart.
    let tools_fuel = left.charged.get(Dimension::Fuel);
    let strategy_fuel = fuel.saturating_sub(left.earlier_tools);
    let all_fuel = tools_fuel.saturating_add(strategy_fuel);
    // What code burnt after its last observation is in its row alone.
    let all_fuel = if is_over {
        all_fuel.max(row.spent.get(Dimension::Fuel))
    } else {
        all_fuel
    };
    let calls = if ended {
        // What its children called is in its row too, and comes with theirs.
        row.spent.get(Dimension::HostCalls).saturating_sub(left.calls_below)
    } else {
        let again = if is_over { left.calls } else { 0 };
        let before = last.spent.get(Dimension::HostCalls).saturating_add(left.tools_calls);
        before.saturating_add(again)
    };
    let spent = left
        .charged
        .with(Dimension::Fuel, all_fuel)
        .with(Dimension::WallClockMs, awake_ms)
        .with(Dimension::HostCalls, calls)
        .with(Dimension::JournalBytes, left.bytes);
    ledger.charge(account, spent);
    let again = if is_over { left.refunds_again } else { 0 };
    for _ in 0..left.refunds + again {
        ledger.refund_iteration(account, u64::MAX);
    }
    Past {
        wall_ms: awake_ms,
        records: left.records,
        checkpoint: left
            .checkpoint
            .or_else(|| last.task.previous.as_ref().and_then(|p| p.report.clone())),
        interrupted: interrupted(ledger, account, row, left.operations),
    }
}

/// What is still open is made again, until when what was set aside for it stays so. Fuel is needed to come to it again.
fn interrupted(
    ledger: &Ledger,
    account: AccountId,
    row: &SessionRow,
    operations: HashMap<(StreamId, u32), Begun>,
) -> HashMap<(StreamId, u32), Interrupted> {
    if row.status.is_final() {
        return HashMap::new();
    }
    let open = operations.into_iter().filter(|((stream, _), op)| {
        let last = stream.attempt == row.attempt.max(1);
        last && !op.ended
    });
    let again = |op: Begun| {
        let reservation = ledger.reserve_again(account, op.reserved.with(Dimension::Fuel, 0));
        Interrupted {
            kind: op.kind,
            reservation: if op.is_closing() {
                reservation.of_closing()
            } else {
                reservation
            },
        }
    };
    open.map(|(of, op)| (of, again(op))).collect()
}

/// What a walk through a run's journal finds of its sessions.
struct Found {
    sessions: HashMap<u32, Left>,
    /// The parent of each child.
    parents: HashMap<u32, u32>,
    /// Bodies that were counted already, for each stream.
    known: HashSet<(u32, u32, Scope, Digest)>,
}

/// What is found of one session.
#[derive(Default)]
struct Left {
    /// Its last attempt by its row, from 1.
    attempt: u32,
    /// Whether its row says that it ended.
    ended: bool,
    /// Host calls of its children, and of theirs.
    calls_below: u64,
    /// The bodies of its start records, by attempt.
    starts: BTreeMap<u32, Vec<u8>>,
    /// Its operations.
    operations: HashMap<(StreamId, u32), Begun>,
    /// What those cost that have ended.
    charged: Amounts,
    /// Fuel of tool calls in attempts before the last: part of what the last start says was spent.
    earlier_tools: u64,
    /// Host calls of those that the last attempt made: they are not made again.
    tools_calls: u64,
    /// Whether its closing call was made.
    closing: bool,
    /// Operations that were sent again, as often as they were.
    resent: Vec<(StreamId, u32)>,
    /// Iterations given back, but for those that come again with the last attempt's replay.
    refunds: u64,
    /// Those that do.
    refunds_again: u64,
    /// Its last checkpoint.
    checkpoint: Option<types::Report>,
    /// What the meters showed last to the strategy of the last attempt.
    seen: Option<Seen>,
    /// Calls of the host that were answered to that strategy.
    calls: u64,
    /// Records of its part of the journal, counted as they were when they were written.
    records: u64,
    /// Their bytes.
    bytes: u64,
}

/// An operation that began.
struct Begun {
    kind: OpKind,
    reserved: Amounts,
    ended: bool,
}

impl Begun {
    /// The closing call is the completion for which no iteration was set aside.
    fn is_closing(&self) -> bool {
        self.kind == OpKind::Completion && self.reserved.get(Dimension::Iterations) == 0
    }
}

struct Seen {
    awake_ms: u64,
    fuel: u64,
}

impl Found {
    /// Of the sessions whose rows these are.
    fn nothing(rows: &[SessionRow]) -> Self {
        let mut sessions: HashMap<u32, Left> = HashMap::with_capacity(rows.len());
        let mut parents = HashMap::new();
        for row in rows {
            let left = sessions.entry(row.session.number).or_default();
            left.attempt = row.attempt.max(1);
            left.ended = row.status.is_final();
            if let Some(parent) = &row.parent {
                let parent = parent.session.number;
                parents.insert(row.session.number, parent);
                let of = sessions.entry(parent).or_default();
                of.calls_below = of.calls_below.saturating_add(row.spent.get(Dimension::HostCalls));
            }
        }
        Self {
            sessions,
            parents,
            known: HashSet::new(),
        }
    }

    fn take(&mut self, record: Record, bodies: &HashMap<Digest, u64>) -> Result<(), StoreError> {
        if let Some(owner) = self.owner(&record) {
            let bytes = size(&record) as u64;
            self.of(owner).count(bytes);
        }
        match record {
            Record::Start(start) => {
                let left = self.of(start.session.number);
                left.starts.insert(start.attempt, start.body);
            }
            Record::Intent(intent) => {
                self.count_bodies(&intent, bodies)?;
                let begun = Begun {
                    kind: intent.kind,
                    reserved: intent.reserved,
                    ended: false,
                };
                let left = self.of(intent.stream.session.number);
                left.closing |= begun.is_closing();
                left.operations.insert((intent.stream, intent.op), begun);
            }
            Record::Outcome(outcome) => self.of(outcome.stream.session.number).end(outcome),
            Record::Observation(seen) => self.of(seen.stream.session.number).see(&seen),
            Record::Note(note) if note.kind == NoteKind::Checkpoint => {
                let left = self.of(note.stream.session.number);
                left.checkpoint = codec::decode(&note.body).ok().or(left.checkpoint.take());
            }
            Record::Resent(stream, op) => self.of(stream.session.number).resent.push((stream, op)),
            Record::Refund(stream, _) => {
                let left = self.of(stream.session.number);
                match left.ended || stream.attempt < left.attempt {
                    true => left.refunds += 1,
                    false => left.refunds_again += 1,
                }
            }
            Record::Session(new) => {
                self.of(new.session.number);
            }
            Record::Note(_) | Record::Update(_) | Record::Body(..) | Record::Spill(_) => {}
        }
        Ok(())
    }

    fn of(&mut self, session: u32) -> &mut Left {
        self.sessions.entry(session).or_default()
    }

    /// A body counts for each stream that asks with it.
    fn count_bodies(&mut self, intent: &Intent, bodies: &HashMap<Digest, u64>) -> Result<(), StoreError> {
        let stream = &intent.stream;
        for digest in &intent.request {
            let key = (stream.session.number, stream.attempt, stream.scope.clone(), *digest);
            if !self.known.insert(key) {
                continue;
            }
            let missing =
                || StoreError::damaged(&stream.session.run, format!("the body {} is missing", digest.short()));
            let body = bodies.get(digest).ok_or_else(missing)?;
            let bytes = size(&Record::Body(*digest, Vec::new())) as u64 + body;
            self.of(stream.session.number).count(bytes);
        }
        Ok(())
    }

    /// Whose record it is.
    fn owner(&self, record: &Record) -> Option<u32> {
        let session = match record {
            // Written by whoever goes on with the run, not by its agent.
            Record::Note(note) if note.kind == NoteKind::Terms => return None,
            // A child's row and its first start are written, and counted, by its parent.
            Record::Session(new) => return new.parent.as_ref().map(|parent| parent.session.number),
            Record::Start(start) if start.attempt == 1 => return self.parents.get(&start.session.number).copied(),
            Record::Body(..) | Record::Start(_) | Record::Update(_) | Record::Spill(_) => return None,
            Record::Intent(intent) => &intent.stream.session,
            Record::Outcome(outcome) => &outcome.stream.session,
            Record::Observation(seen) => &seen.stream.session,
            Record::Note(note) => &note.stream.session,
            Record::Refund(stream, _) | Record::Resent(stream, _) => &stream.session,
        };
        Some(session.number)
    }
}

impl Left {
    fn count(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn end(&mut self, outcome: Outcome) {
        let Outcome {
            stream,
            op,
            body,
            charged,
            ..
        } = outcome;
        if stream.attempt < self.attempt {
            let fuel = charged.get(Dimension::Fuel);
            self.earlier_tools = self.earlier_tools.saturating_add(fuel);
        } else {
            let calls = charged.get(Dimension::HostCalls);
            self.tools_calls = self.tools_calls.saturating_add(calls);
        }
        self.charged = self.charged.plus(&charged);
        if let Some(begun) = self.operations.get_mut(&(stream, op)) {
            begun.ended = true;
            if begun.kind == OpKind::Write {
                // It was counted before the store knew what it comes to.
                self.bytes = self.bytes.saturating_sub(body.len() as u64);
            }
        }
    }

    fn see(&mut self, seen: &Observation) {
        if seen.stream.attempt == self.attempt && seen.stream.scope.is_root() {
            // What it sees of its clock and its timers is no call of the host's own interfaces.
            self.calls += u64::from(!seen.call.starts_with("wasi."));
            self.seen = Some(Seen {
                awake_ms: seen.awake_ms,
                fuel: seen.fuel,
            });
        }
    }
}
