//! An agent's life as the rest of the host sees it, and the one path that every call of a guest takes:
//! replay → grant → caps → ledger → intent → operation → outcome and charge → observation → event.
//!
//! Read `path` first: it is the path, and `operate` its longer half, for what is done outside. [`call`] is how interfaces describe
//! calls to it. [`guest`] is one instance's side, [`tape`] its journal, [`keeping`] where that goes, [`audit`] which rights it used and lacked,
//! [`op`] an operation under way, `turns` which iterations are given back, [`stored`] the operator's secrets, [`step`] the meter, [`clock`] the time
//! that guests see, [`awake`] how long a session lived, [`waits`] what an instance waits for, [`unwritten`] an end that its parent writes
//! down, [`met`] a call that a replay did not expect, [`end`] why an instance was ended.

pub mod audit;
pub mod awake;
pub mod call;
pub mod clock;
pub mod codec;
pub mod emitted;
pub mod end;
pub mod fuel;
pub mod guest;
pub mod in_flight;
pub mod keeping;
pub mod met;
pub mod op;
pub mod operate;
mod path;
pub mod runner;
pub mod step;
pub mod stored;
pub mod tape;
mod turns;
pub mod unwritten;
pub mod waits;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::config::{Scope as Whom, raised_with};
use crate::egress::Egress;
use crate::error::{Dimension, Refusal};
use crate::event::{EventKind, Events, now_ms};
use crate::ids::{RunId, Scope, SessionId, StreamId};
use crate::ledger::{AccountId, Caps, Ledger, Reservation, Whose};
use crate::limits::Limits;
use crate::llm::price::Price;
use crate::llm::{Catalogue, Model};
use crate::plugin::Plugin;
use crate::plugin::rights::{FlagCheck, Rights, TakenBy};
use crate::plugin::toolbox::Toolbox;
use crate::scrub::Secrets;
use crate::store::{
    EffectResult, OpEffect, OpKind, Outcome, OutcomeStatus, Quota, Record, RunUpdate, SessionUpdate, Spill, Store,
    StoreError, Sync, Transition,
};
use audit::{Denial, Denials};
use awake::Awake;
use end::End;
use in_flight::InFlight;
use keeping::Keeping;
use op::OpBody;
use runner::{ChildRunner, ToolRunner};
use stored::Stored;
use tape::Recorded;
use turns::Turns;
use unwritten::Unwritten;

/// What all sessions of a run share.
pub struct RunContext {
    /// The run.
    pub id: RunId,
    /// Where everything is kept.
    pub keeping: Keeping,
    /// Where events go.
    pub events: Events,
    /// Every account of the run.
    pub ledger: Ledger,
    /// The caps in force.
    pub limits: Limits,
    /// The models.
    pub models: Catalogue,
    /// What aliases meant when the run began.
    pub aliases: BTreeMap<String, Alias>,
    /// The way out to the network.
    pub egress: Arc<Egress>,
    /// Every tool of the run, frozen.
    pub toolbox: Toolbox,
    /// What runs a tool call.
    pub runner: Arc<dyn ToolRunner>,
    /// What makes children.
    pub children: Arc<dyn ChildRunner>,
    /// What no guest and no record may hold: the operator's secrets, and the keys of providers.
    pub secrets: Secrets,
    /// Those of the operator's secrets that may be put into requests.
    pub stored: Stored,
    /// Whether an agent whose iterations ran out gets its closing call.
    pub closing_call: bool,
    /// Limits of a child whose spec names none of these.
    pub child: Caps,
    /// The least time between two tool calls of an agent, in milliseconds.
    pub tool_delay_ms: u64,
    /// What all randomness of the run derives from.
    pub seed: [u8; 32],
    /// Ends everything without a record: the run is suspended.
    pub suspend: CancellationToken,
    /// Where the configuration takes rights away from roots.
    pub taken: TakenBy,
    /// What a flag is held against that is named for a denial; none where nobody gives any.
    pub flags: Option<FlagCheck>,
    /// Denials met.
    pub denials: Mutex<Denials>,
    /// Once the run is suspended: whether it has waited for a database that another process holds.
    pub waited_in_vain: AtomicBool,
}

/// What an alias of a model stands for, from the beginning of a run to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alias {
    /// `provider/name`.
    pub model: String,
    /// What its tokens cost.
    pub price: Option<Price>,
}

/// How long a run that is suspended waits for the database at most, where nothing of this process is committed meanwhile: whoever stops it waits for that.
const LAST_WAIT: Duration = Duration::from_millis(1_500);

/// The same, where it has just waited in vain.
const LAST_WAIT_AGAIN: Duration = Duration::from_millis(50);

impl RunContext {
    /// Commits records, and an effect with them. A busy database is waited for, until the run is suspended and a moment longer. Where there is no journal
    /// nothing is kept, and nothing can be changed.
    ///
    /// # Errors
    /// The store failed, or the run is owned by somebody else now; [`End::Suspended`] where the database was not there in time.
    pub async fn append(
        &self,
        records: Vec<Record>,
        effect: Option<OpEffect>,
        sync: Sync,
    ) -> Result<Option<EffectResult>, End> {
        let Some(journal) = self.keeping.journal() else {
            return Ok(None);
        };
        let quota = Quota::of(&self.limits);
        let appended = journal
            .store
            .append_patiently(&journal.owner, quota, records, effect, sync);
        match self.patiently(&journal.store, appended).await {
            Some(appended) => appended.map(|a| a.effect).map_err(|error| End::store(&error)),
            None => Err(End::Suspended),
        }
    }

    /// What an append comes to. Once the run is suspended, only for a short time without a commit of this process: what is under way may be committed
    /// already, and must not be appended twice. What is not written by then is as if the process had been killed before it.
    async fn patiently<T>(&self, store: &Store, appended: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(appended);
        tokio::select! {
            biased;
            appended = &mut appended => return Some(appended),
            () = self.suspend.cancelled() => {}
        }
        let most = match self.waited_in_vain.load(Ordering::Relaxed) {
            true => LAST_WAIT_AGAIN,
            false => LAST_WAIT,
        };
        let busy = Duration::from_millis(self.limits.store_busy).min(most);
        let appended = store.while_it_commits(busy, &mut appended).await;
        self.waited_in_vain.store(appended.is_none(), Ordering::Relaxed);
        appended
    }

    /// Commits the last records of a session, as [`RunContext::append`] does.
    ///
    /// # Errors
    /// As [`RunContext::append`].
    pub async fn append_last(&self, records: Vec<Record>) -> Result<(), End> {
        self.append(records, None, Sync::Durable).await.map(drop)
    }

    /// Changes the run's row, when the database is there: as [`RunContext::append`] waits for it.
    ///
    /// # Errors
    /// As [`RunContext::append`].
    pub async fn update_row(&self, update: RunUpdate) -> Result<(), End> {
        let Some(journal) = self.keeping.journal() else {
            return Ok(());
        };
        let updated = journal.store.update_run_patiently(&journal.owner, update);
        match self.patiently(&journal.store, updated).await {
            Some(updated) => updated.map_err(|error| End::store(&error)),
            None => Err(End::Suspended),
        }
    }

    /// Keeps the pieces of a text that was too long for its reader. False where the run's blackboard has no room for them, or had none when
    /// this was recorded.
    ///
    /// # Errors
    /// As [`RunContext::append`].
    pub async fn spill(&self, pieces: Vec<Spill>) -> Result<bool, End> {
        let journal = match &self.keeping {
            Keeping::Journal(journal) => journal,
            Keeping::Record(store) => {
                return keeping::was_spilled(store, &self.id, &pieces).map_err(|e| End::store(&e));
            }
            Keeping::Nothing => return Ok(false),
        };
        let records = pieces.into_iter().map(Record::Spill).collect();
        let kept = journal
            .store
            .append_patiently(&journal.owner, Quota::of(&self.limits), records, None, Sync::Commit);
        match self.patiently(&journal.store, kept).await {
            Some(Ok(_)) => Ok(true),
            Some(Err(StoreError::SpillFull { .. })) => Ok(false),
            Some(Err(error)) => Err(End::store(&error)),
            None => Err(End::Suspended),
        }
    }

    /// Keeps a denial for the person.
    fn denied(&self, denial: Denial) {
        lock(&self.denials).add(denial);
    }

    /// Takes over the denials that its records tell of, where it goes on.
    pub fn had(&self, denials: Denials) {
        *lock(&self.denials) = denials;
    }

    /// The denials met so far.
    pub fn denials(&self) -> Denials {
        lock(&self.denials).clone()
    }

    /// The store, for reads.
    ///
    /// # Errors
    /// There is no run to read from.
    pub fn store(&self) -> Result<&Store, Refusal> {
        self.keeping.store().ok_or_else(|| {
            Refusal::denied("A tool that is called by itself has no blackboard: an agent gives it one (--tool).")
        })
    }
}

/// One agent's life in a run.
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who delegated to it.
    pub parent: Option<SessionId>,
    /// 0 at the root.
    pub depth: u32,
    /// What it is for: `root` for the root.
    pub role: String,
    /// What it shares with the run's other sessions.
    pub run: Arc<RunContext>,
    /// Its account.
    pub account: AccountId,
    /// What it may do.
    pub rights: Rights,
    /// The strategy's name, for messages.
    pub strategy: String,
    /// The strategy; none where nothing of it runs.
    pub plugin: Option<Arc<Plugin>>,
    /// Its default model.
    pub model: Option<Model>,
    /// How long it has been awake.
    pub awake: Awake,
    /// How many milliseconds of that are charged.
    wall_charged: AtomicU64,
    /// Tells it to stop: calls that wait answer `cancelled`, and after a grace it is dropped.
    pub cancel: CancellationToken,
    /// What is set aside for operations that were under way when the host went down, or when the run was suspended.
    interrupted: Mutex<HashMap<(StreamId, u32), Interrupted>>,
    /// The last checkpoint, of whichever attempt.
    checkpoint: Mutex<Option<types::Report>>,
    /// What it last said that it is doing.
    progress: Mutex<String>,
    /// The running attempt.
    attempt: AtomicU32,
    /// Every child, in the order in which they were spawned.
    children: Mutex<Vec<Arc<Child>>>,
    /// Records in the journal.
    records: AtomicU64,
    /// Its calls in flight.
    in_flight: InFlight,
    /// What it leaves to its parent to write down, where it does.
    unwritten: Mutex<Option<Unwritten>>,
    /// Tool calls that run at once: those of the strategy, those inside them, and so on. One inside another waits for its place while that one has its own: with
    /// one count for both, they could wait for each other.
    pub tool_slots: Vec<Arc<tokio::sync::Semaphore>>,
    /// When the last tool call began, for `tool_delay`.
    pub last_tool: tokio::sync::Mutex<Option<tokio::time::Instant>>,
}

/// What a session is made of.
pub struct SessionParts {
    /// [`Session::id`].
    pub id: SessionId,
    /// [`Session::parent`].
    pub parent: Option<SessionId>,
    /// [`Session::depth`].
    pub depth: u32,
    /// [`Session::role`].
    pub role: String,
    /// [`Session::run`].
    pub run: Arc<RunContext>,
    /// [`Session::account`].
    pub account: AccountId,
    /// [`Session::rights`].
    pub rights: Rights,
    /// [`Session::strategy`].
    pub strategy: String,
    /// [`Session::plugin`].
    pub plugin: Option<Arc<Plugin>>,
    /// [`Session::model`].
    pub model: Option<Model>,
    /// [`Session::cancel`].
    pub cancel: CancellationToken,
    /// What it left before.
    pub past: Past,
}

/// What earlier attempts and earlier processes left of a session.
#[derive(Default)]
pub struct Past {
    /// Milliseconds that it was awake.
    pub wall_ms: u64,
    /// Records in the journal.
    pub records: u64,
    /// Its last checkpoint.
    pub checkpoint: Option<types::Report>,
    /// What is set aside for operations that were under way, by stream and number.
    pub interrupted: HashMap<(StreamId, u32), Interrupted>,
}

/// An operation that was under way when the host went down, or when its run was suspended.
pub struct Interrupted {
    /// What it is.
    pub kind: OpKind,
    /// What is set aside for it.
    pub reservation: Reservation,
}

/// A child as its parent sees it.
pub struct Child {
    /// Its session.
    pub id: SessionId,
    /// The number by which the parent's present attempt names it: that of the operation, or, for a child of an earlier attempt,
    /// one that no operation has.
    pub handle: u32,
    /// The parent's attempt that spawned it.
    pub attempt: u32,
    /// Its life, once it has one in this process.
    session: Mutex<Option<Arc<Session>>>,
    /// How it ended, once it did.
    result: Mutex<Option<types::RunResult>>,
}

impl Child {
    /// A child that has not begun.
    pub fn new(id: SessionId, handle: u32, attempt: u32) -> Arc<Self> {
        Arc::new(Self {
            id,
            handle,
            attempt,
            session: Mutex::new(None),
            result: Mutex::new(None),
        })
    }

    /// Its life, if it has one.
    pub fn session(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }

    /// It lives.
    pub fn begins(&self, session: Arc<Session>) {
        *lock(&self.session) = Some(session);
    }

    /// It ended.
    pub fn ends(&self, result: types::RunResult) {
        *lock(&self.result) = Some(result);
        *lock(&self.session) = None;
    }

    /// Whether it ended.
    pub fn has_ended(&self) -> bool {
        lock(&self.result).is_some()
    }

    /// How it ended.
    pub fn result(&self) -> Option<types::RunResult> {
        lock(&self.result).clone()
    }
}

/// One start of an agent.
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When it began, in milliseconds since 1970: where its clock starts.
    pub started_ms: u64,
    /// It has ended: its operations end with it.
    pub over: CancellationToken,
    /// Its tasks.
    pub tasks: TaskTracker,
    /// What the journal has of tool calls that are made again, by the scope of their instance.
    recorded: Mutex<BTreeMap<Scope, Recorded>>,
    /// Which iterations may be given back.
    turns: Mutex<Turns>,
}

impl Attempt {
    /// Attempt `number`, with what the journal has of its tool calls.
    pub fn new(number: u32, started_ms: u64, recorded: BTreeMap<Scope, Recorded>) -> Arc<Self> {
        Arc::new(Self {
            number,
            started_ms,
            over: CancellationToken::new(),
            tasks: TaskTracker::new(),
            recorded: Mutex::new(recorded),
            turns: Mutex::default(),
        })
    }

    /// What the journal has of the instance with this scope, once.
    pub fn take_recorded(&self, scope: &Scope) -> Recorded {
        lock(&self.recorded).remove(scope).unwrap_or_default()
    }

    /// Fuel that the calls made inside the one with this scope burnt, as the journal has it.
    fn recorded_fuel(&self, scope: &Scope) -> u64 {
        let recorded = lock(&self.recorded);
        let inside = recorded.iter().filter(|(of, _)| of.starts_with(scope));
        let ended = inside.flat_map(|(_, of)| of.operations.values().filter_map(|op| op.outcome.as_ref()));
        ended
            .map(|(.., charged)| charged.get(Dimension::Fuel))
            .fold(0, u64::saturating_add)
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        lock(&self.turns)
    }
}

impl Session {
    /// A session of these parts.
    pub fn new(parts: SessionParts) -> Arc<Self> {
        let limits = &parts.run.limits;
        let parallel = usize::try_from(limits.tool_parallel).unwrap_or(1);
        let slots = |_| Arc::new(tokio::sync::Semaphore::new(parallel));
        let tool_slots = (0..limits.tool_depth).map(slots).collect();
        let SessionParts {
            id,
            parent,
            depth,
            role,
            run,
            account,
            rights,
            strategy,
            plugin,
            model,
            cancel,
            past,
        } = parts;
        Arc::new(Self {
            id,
            parent,
            depth,
            role,
            run,
            account,
            rights,
            strategy,
            plugin,
            model,
            awake: Awake::after(Duration::from_millis(past.wall_ms)),
            wall_charged: AtomicU64::new(past.wall_ms),
            cancel,
            checkpoint: Mutex::new(past.checkpoint),
            interrupted: Mutex::new(past.interrupted),
            progress: Mutex::default(),
            attempt: AtomicU32::new(0),
            children: Mutex::default(),
            records: AtomicU64::new(past.records),
            in_flight: InFlight::default(),
            unwritten: Mutex::default(),
            tool_slots,
            last_tool: tokio::sync::Mutex::new(None),
        })
    }

    /// Sends an event of this session.
    pub fn event(&self, kind: EventKind) {
        self.run.events.send(&self.id, kind);
    }

    /// Tells everybody what the session has spent.
    pub fn report_spending(&self) {
        self.charge_wall();
        let ledger = &self.run.ledger;
        let spent = ledger.spent(self.account);
        let caps = ledger.caps(self.account);
        let remaining = caps
            .iter()
            .filter_map(|(d, _)| Some((d, ledger.remaining(self.account, d)?)))
            .collect();
        let refunded = ledger.totals(self.account).refunded;
        self.event(EventKind::Spent {
            spent,
            remaining,
            refunded,
        });
    }

    /// A step of its life, as it is written down.
    pub fn step(&self, transition: Transition, spent: Option<Amounts>) -> Record {
        Record::Update(SessionUpdate {
            session: self.id.clone(),
            transition,
            spent,
            at_ms: now_ms(),
        })
    }

    /// Its time begins, where it has not: it has nothing to do again, or has done it.
    pub fn wakes(&self) {
        self.awake.begins();
    }

    /// When its wall-clock budget ends; none where it has none, or is not awake yet.
    pub fn deadline(&self) -> Option<tokio::time::Instant> {
        self.awake.instant(self.time()?)
    }

    /// How long it may be awake; none without a limit.
    fn time(&self) -> Option<Duration> {
        let cap = self.run.ledger.cap_in_force(self.account, Dimension::WallClockMs)?;
        Some(Duration::from_millis(cap))
    }

    /// Returns when its wall-clock budget ends.
    pub async fn time_is_up(&self) {
        match self.time() {
            Some(time) => self.awake.reaches(time).await,
            None => std::future::pending().await,
        }
    }

    /// Whether its time has not run out yet.
    fn in_time(&self) -> Result<(), Refusal> {
        let over = self.deadline().is_some_and(|at| at <= tokio::time::Instant::now());
        if !over {
            return Ok(());
        }
        let dimension = Dimension::WallClockMs;
        self.run.ledger.ran_out(self.account, dimension);
        let message = format!(
            "The budget of this agent for wall is used up. It is raised with {}.",
            self.raises_time()
        );
        Err(Refusal::exhausted(dimension, message))
    }

    /// The flag that raises its time.
    pub fn raises_time(&self) -> String {
        let dimension = Dimension::WallClockMs;
        let limit = self.run.ledger.limit_in_force(self.account, dimension);
        match limit.map_or(Whose::Agent, |(_, whose)| whose) {
            // It has no more than its parent had left.
            Whose::Child => raised_with(dimension, &[Whom::Root, Whom::Child]),
            whose => raised_with(dimension, &[whose.scope()]),
        }
    }

    /// Milliseconds that it was awake so far, over all attempts and processes.
    pub fn awake_ms(&self) -> u64 {
        u64::try_from(self.awake.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// Charges the time that passed since this was last done.
    pub fn charge_wall(&self) {
        let awake = self.awake_ms();
        let before = self.wall_charged.fetch_max(awake, Ordering::AcqRel);
        let more = Amounts::of(Dimension::WallClockMs, awake.saturating_sub(before));
        self.run.ledger.charge(self.account, more);
    }

    /// Counts a record and says how many there were before it.
    fn count_record(&self) -> u64 {
        self.records.fetch_add(1, Ordering::AcqRel)
    }

    /// What was set aside for an operation that was under way when the host went down, once.
    fn take_interrupted(&self, stream: &StreamId, number: u32) -> Option<Reservation> {
        let interrupted = lock(&self.interrupted).remove(&(stream.clone(), number));
        Some(interrupted?.reservation)
    }

    /// An operation that this process leaves without an outcome, as its run is suspended.
    fn keep_interrupted(&self, stream: &StreamId, number: u32, left: Interrupted) {
        lock(&self.interrupted).insert((stream.clone(), number), left);
    }

    /// Whoever goes on with the session does again what was under way: here nothing is set aside for that any more.
    pub fn leave_interrupted(&self) {
        let left = std::mem::take(&mut *lock(&self.interrupted));
        left.into_values().for_each(|left| left.reservation.release());
    }

    /// Operations that were under way in the instance of `scope`, or inside of it, when the host went down or the run was suspended, and to which
    /// nobody comes any more: they may have been sent, and so cost what was set aside. Gives their outcomes.
    pub fn abandon(&self, scope: &Scope) -> Vec<Record> {
        let mut interrupted = lock(&self.interrupted);
        abandoned(interrupted.extract_if(|(stream, _), _| stream.scope.starts_with(scope)))
    }

    /// Keeps a report of what there is so far.
    pub fn keep_checkpoint(&self, report: types::Report) {
        *lock(&self.checkpoint) = Some(report);
    }

    /// The last report of what there is so far.
    pub fn checkpoint(&self) -> Option<types::Report> {
        lock(&self.checkpoint).clone()
    }

    /// Keeps what the agent says that it is doing.
    pub fn keep_progress(&self, message: &str) {
        message.clone_into(&mut lock(&self.progress));
    }

    /// What the agent last said that it is doing.
    pub fn progress(&self) -> String {
        lock(&self.progress).clone()
    }

    /// The running attempt, 0 before the first.
    pub fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Acquire)
    }

    /// Attempt `number` begins.
    pub fn begins(&self, number: u32) {
        self.attempt.store(number, Ordering::Release);
    }

    /// A child was spawned.
    pub fn keep_child(&self, child: Arc<Child>) {
        lock(&self.children).push(child);
    }

    /// Every child, those of earlier attempts included.
    pub fn children(&self) -> Vec<Arc<Child>> {
        lock(&self.children).clone()
    }

    /// What its calls in flight hold.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }

    /// Children of attempts before `attempt`, under handles that no operation of it will have. All of them have ended.
    pub fn inherit_children(&self, attempt: u32) {
        let mut children = lock(&self.children);
        let mut handle = u32::MAX;
        for child in children.iter_mut().filter(|child| child.attempt < attempt) {
            let inherited = Child::new(child.id.clone(), handle, child.attempt);
            *lock(&inherited.result) = child.result();
            *child = inherited;
            handle -= 1;
        }
    }
}

/// Ends operations that were under way when the host went down, and that nobody goes on with: they cost what was set aside. A child has an end of its
/// own: whoever writes that down writes the outcome with it, and charges it.
pub fn abandoned(interrupted: impl IntoIterator<Item = ((StreamId, u32), Interrupted)>) -> Vec<Record> {
    let ended = interrupted
        .into_iter()
        .filter_map(|((stream, op), Interrupted { kind, reservation })| {
            if kind == OpKind::Child {
                reservation.release();
                return None;
            }
            let charged = reservation.amounts();
            reservation.settle(charged);
            Some(Record::Outcome(Outcome {
                stream,
                op,
                status: OutcomeStatus::Cancelled,
                body: without_answer(kind),
                charged,
                at_ms: now_ms(),
            }))
        });
    ended.collect()
}

/// What such an operation tells whoever looks.
fn without_answer(kind: OpKind) -> Vec<u8> {
    let cancelled = Refusal::cancelled();
    match kind {
        OpKind::Completion => codec::encode(&OpBody::Completion(Err(cancelled.into()))),
        OpKind::ToolCall => codec::encode(&OpBody::Tool(op::failed_call("", &cancelled))),
        // A child has an end of its own, and a write is over when it is recorded.
        OpKind::Child | OpKind::Write => Vec::new(),
    }
}

/// What a mutex guards; a panic elsewhere leaves it whole, as nothing here is changed in two steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
