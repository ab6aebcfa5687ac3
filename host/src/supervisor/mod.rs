//! The tree of a run's agents, in the manner of Erlang/OTP: children are made within their parents' rights and budgets, started again after
//! faults of theirs, ended with their parents, and each leaves exactly one recorded end.
//!
//! Read [`life`] first: one agent's life. `policy` decides about restarts, `child` makes children, [`ending`] reads ends, `restore` reads the
//! journal back, [`start`] is what it says of an attempt's beginning, [`replay`] holds all attempts of a run against it.

mod child;
pub mod ending;
pub mod life;
mod policy;
pub mod replay;
mod restore;
mod spec;
pub mod start;
mod strategies;
pub mod terms;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::task::TaskTracker;

use crate::amounts::Amounts;
use crate::bindings::{delegation, types};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::now_ms;
use crate::ids::{Digest, RunId, SessionId};
use crate::instance::Instances;
use crate::interfaces::amounts;
use crate::ledger::{AccountId, Caps, Ledger, Totals};
use crate::limits::Limits;
use crate::plugin::Plugin;
use crate::plugin::load::Shelf;
use crate::session::call::Missed;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::op::{OpBody, child_status};
use crate::session::runner::{ChildRunner, NewChild};
use crate::session::{Child, RunContext, Session, abandoned, codec};
use crate::store::{OpKind, OperationRow, Outcome, Record, ReturnAddress, SessionRow, Store, StoreError};
use child::Candidate;
use life::{Agent, Ending};
use restore::{ReadFor, Restored};
use terms::Terms;

/// Supervises the agents of one run. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

struct Inner {
    instances: Instances,
    shelf: Shelf,
    limits: Limits,
    cwd: PathBuf,
    counts: Arc<Mutex<Counts>>,
    state: Mutex<State>,
    lives: TaskTracker,
}

/// How many children there are and were.
#[derive(Debug, Default)]
struct Counts {
    alive: u64,
    total: u64,
    /// The number of the newest session.
    newest: u32,
}

#[derive(Default)]
struct State {
    /// Strategies that were loaded, by name.
    loaded: HashMap<String, Arc<Plugin>>,
    /// Strategies of agents that live.
    living: HashMap<SessionId, Arc<Plugin>>,
    /// Bytes that are kept with the run.
    kept: HashSet<Digest>,
    /// Children that the journal has and that were not taken up yet, by their parent, its attempt and the operation.
    restored: HashMap<SessionId, BTreeMap<(u32, u32), Restored>>,
    /// Why the run stopped where it can go on: it differs from its record, or can't be written down.
    stopped: Option<End>,
}

/// A child's place among those alive. Given back when it is dropped.
pub(super) struct Place {
    counts: Arc<Mutex<Counts>>,
    /// Whether it counts for good.
    counted: bool,
}

impl Place {
    /// The child comes to be: it counts from here on, however it ends.
    pub(super) fn counts(&mut self) {
        self.counted = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        counts.alive -= 1;
        if !self.counted {
            counts.total -= 1;
        }
    }
}

/// What a supervisor works with.
pub struct Means {
    /// Makes instances.
    pub instances: Instances,
    /// Where strategies are found by name.
    pub shelf: Shelf,
    /// The caps in force.
    pub limits: Limits,
    /// Where relative paths of grants begin.
    pub cwd: PathBuf,
}

impl Supervisor {
    /// A supervisor of a run that has only its root.
    pub fn new(means: Means) -> Self {
        let Means {
            instances,
            shelf,
            limits,
            cwd,
        } = means;
        Self(Arc::new(Inner {
            instances,
            shelf,
            limits,
            cwd: cwd.canonicalize().unwrap_or(cwd),
            counts: Arc::default(),
            state: Mutex::default(),
            lives: TaskTracker::new(),
        }))
    }

    /// Drives an agent to its recorded end, in a task of its own, whether or not that is waited for.
    ///
    /// # Errors
    /// What is done can't be written down.
    pub fn drive(&self, agent: Agent) -> impl Future<Output = Result<Ending, End>> + Send + use<> {
        let supervisor = self.clone();
        let agent = Box::new(agent);
        let live = self.0.lives.spawn(async move { agent.live(&supervisor).await });
        async move {
            live.await
                .unwrap_or_else(|lost| Err(End::Host(format!("the host failed while it supervised: {lost}"))))
        }
    }

    /// Drives the run's root. Gives how it ended, once all agents of the run have ended.
    ///
    /// # Errors
    /// As [`Supervisor::drive`]; a run that differs from its record.
    pub async fn drive_root(&self, agent: Agent, plugin: &Arc<Plugin>) -> Result<Ending, End> {
        let session = agent.session.clone();
        self.begins(&session, plugin);
        let ending = self.drive(agent).await;
        if let Err(end) = &ending {
            self.failed(&session.run, end);
        }
        self.0.lives.close();
        self.0.lives.wait().await;
        match self.state().stopped.take() {
            Some(end) => Err(end),
            None => ending,
        }
    }

    /// Reads every session of a run back: accounts with what they had spent, children that may have to be taken up again, numbers that are taken.
    /// Gives the root.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn restore(&self, run: &RunContext, terms: &Terms) -> Result<RootRestored, StoreError> {
        let journal = run.keeping.written()?;
        let mut root = None;
        for mut restored in restore::sessions(&journal.store, &run.id, &run.ledger, terms, ReadFor::GoingOn)? {
            let row = &restored.row;
            self.number_is_taken(row.session.number);
            let Some(address) = row.parent.clone() else {
                root = Some(restored);
                continue;
            };
            restored.place = self.place_again(row);
            let mut state = self.state();
            let of = state.restored.entry(address.session).or_default();
            of.insert((address.attempt, address.op), restored);
        }
        let root = root.ok_or_else(|| StoreError::damaged(&run.id, "its root's row is missing"))?;
        RootRestored::new(&journal.store, root)
    }

    /// Children of earlier attempts of a session, as its restarted attempt sees them.
    pub fn inherit(&self, session: &Session, attempt: u32) {
        let mut state = self.state();
        let Some(of) = state.restored.get_mut(&session.id) else {
            return;
        };
        let kept = of.split_off(&(attempt, 0));
        let mut before: Vec<_> = std::mem::replace(of, kept).into_iter().collect();
        before.sort_by_key(|(_, restored)| restored.row.session.number);
        for ((attempt, op), restored) in before {
            session.keep_child(ended_child(restored.row, attempt, op));
        }
    }

    /// How instances are made.
    pub(super) fn instances(&self) -> &Instances {
        &self.0.instances
    }

    fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn cwd(&self) -> &Path {
        &self.0.cwd
    }

    /// The id of the next session.
    fn next_id(&self, run: &RunId) -> Result<SessionId, Refusal> {
        let mut counts = lock(&self.0.counts);
        let next = counts.newest.checked_add(1);
        let full = || Refusal::exhausted(Dimension::Children, "This run has no number left for another child.");
        counts.newest = next.ok_or_else(full)?;
        Ok(SessionId {
            run: run.clone(),
            number: counts.newest,
        })
    }

    /// A place in the tree for a child at `depth`.
    fn place(&self, limits: &Limits, depth: u32) -> Result<Place, Refusal> {
        let full = |what: String| Err(Refusal::new(RefusalKind::Exhausted(Dimension::Children), what));
        if u64::from(depth) > limits.delegation_depth {
            let most = limits.delegation_depth;
            return full(format!("Agents nest {most} deep at most (limits.delegation.depth)."));
        }
        let mut counts = lock(&self.0.counts);
        if counts.alive >= limits.delegation_alive {
            let most = limits.delegation_alive;
            return full(format!(
                "{most} children are alive in this run, the most at once (limits.delegation.alive). Wait for one to end."
            ));
        }
        if counts.total >= limits.delegation_total {
            let most = limits.delegation_total;
            return full(format!(
                "This run has had {most} children, the most in all (limits.delegation.total)."
            ));
        }
        counts.alive += 1;
        counts.total += 1;
        Ok(Place {
            counts: self.0.counts.clone(),
            counted: false,
        })
    }

    fn number_is_taken(&self, number: u32) {
        let mut counts = lock(&self.0.counts);
        counts.newest = counts.newest.max(number);
    }

    /// Counts a child that the journal has. Gives its place among those alive, where it has not ended: it is one of them, though its parent comes to it later.
    fn place_again(&self, row: &SessionRow) -> Option<Place> {
        let mut counts = lock(&self.0.counts);
        counts.total += 1;
        if row.result.is_some() {
            return None;
        }
        counts.alive += 1;
        Some(Place {
            counts: self.0.counts.clone(),
            counted: true,
        })
    }

    fn begins(&self, session: &Session, plugin: &Arc<Plugin>) {
        let mut state = self.state();
        state.living.insert(session.id.clone(), plugin.clone());
        state.kept.insert(plugin.digest);
    }

    fn ended(&self, session: &Session) {
        self.state().living.remove(&session.id);
    }

    /// The run differs from its record: it stops, writes nothing of that, and is left as it was.
    fn diverged(&self, session: &Session, what: &str) {
        let what = format!("session {}: {what}", session.id.number);
        self.state().stopped.get_or_insert(End::Diverged(what));
        session.run.suspend.cancel();
    }

    /// What is done can't be written down: the run stops where it can go on.
    fn failed(&self, run: &RunContext, end: &End) {
        self.state().stopped.get_or_insert(end.clone());
        run.suspend.cancel();
    }

    fn plugin_of(&self, session: &SessionId) -> Option<Arc<Plugin>> {
        self.state().living.get(session).cloned()
    }

    fn loaded_as(&self, name: &str) -> Option<Arc<Plugin>> {
        self.state().loaded.get(name).cloned()
    }

    fn loaded_with(&self, digest: &Digest) -> Option<Arc<Plugin>> {
        let state = self.state();
        let mut all = state.loaded.values().chain(state.living.values());
        all.find(|plugin| plugin.digest == *digest).cloned()
    }

    fn keep_loaded(&self, name: &str, plugin: &Arc<Plugin>) {
        self.state().loaded.insert(name.to_owned(), plugin.clone());
    }

    /// What an earlier process left of the child that is operation `op` of its parent's attempt, once.
    fn take_restored(&self, parent: &Guest, op: u32) -> Option<Restored> {
        let mut state = self.state();
        let of = state.restored.get_mut(&parent.session.id)?;
        of.remove(&(parent.attempt.number, op))
    }

    /// Whether a component's bytes are kept with the run.
    fn is_kept(&self, digest: &Digest) -> bool {
        self.state().kept.contains(digest)
    }

    fn now_kept(&self, digest: Digest) {
        self.state().kept.insert(digest);
    }

    /// Ends the descendants of a session that an earlier process left and that were not taken up again: of attempt `attempt` of the session `of`, whose
    /// account this is.
    async fn end_lost_children(
        &self,
        run: &RunContext,
        of: &SessionId,
        attempt: u32,
        account: AccountId,
    ) -> Result<(), End> {
        let Some(journal) = run.keeping.journal() else {
            return Ok(());
        };
        let mut lost = Vec::new();
        {
            let mut state = self.state();
            let mut parents = vec![of.clone()];
            while let Some(parent) = parents.pop() {
                for restored in state
                    .restored
                    .remove(&parent)
                    .into_iter()
                    .flat_map(BTreeMap::into_values)
                {
                    parents.push(restored.row.session.clone());
                    lost.push(restored);
                }
            }
        }
        let ledger = &run.ledger;
        let mut ends = Ends::new(&journal.store, ledger);
        for restored in lost.iter_mut().rev() {
            ends.end(restored).map_err(|e| End::store(&e))?;
        }
        ends.children_of(of, attempt, account).map_err(|e| End::store(&e))?;
        let records = ends.records;
        if records.is_empty() {
            return Ok(());
        }
        run.append_last(records).await?;
        // In the same order: what a child gives back goes into an account that is still open.
        lost.iter().rev().for_each(|restored| ledger.close(restored.account));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

/// A run that nobody drives, as its journal has it.
pub struct LeftRun {
    /// The rows of its sessions, parents before their children.
    pub sessions: Vec<SessionRow>,
    /// How its root ended, or ends now; none where nothing of it was written down.
    pub result: Option<types::RunResult>,
    /// What ends all of it: what was under way may have been sent, and is charged.
    pub records: Vec<Record>,
    /// What all of it cost.
    pub spent: Amounts,
    /// Numbers beside that.
    pub totals: Totals,
}

/// Reads what is left of a run back, to end it.
///
/// # Errors
/// The journal can't be read.
pub fn left(store: &Store, run: &RunId) -> Result<LeftRun, StoreError> {
    let ledger = Ledger::new(Caps::default());
    let mut restored = restore::sessions(store, run, &ledger, &Terms::of(store, run)?, ReadFor::Telling)?;
    let mut ends = Ends::new(store, &ledger);
    let mut result = None;
    for restored in restored.iter_mut().rev() {
        result = Some(ends.end(restored)?);
    }
    let records = ends.records;
    let (spent, totals) = ledger.spent_by_all();
    Ok(LeftRun {
        sessions: restored.into_iter().map(|restored| restored.row).collect(),
        result,
        records,
        spent,
        totals,
    })
}

/// A run that has not ended, as far as its journal has it.
pub struct RunSoFar {
    /// The rows of its sessions with what each spent, parents before their children.
    pub sessions: Vec<SessionRow>,
    /// What all of it spent.
    pub spent: Amounts,
    /// Numbers beside that.
    pub totals: Totals,
}

/// Reads what a run has spent that has not ended, to tell it. The run may be under way in another process.
///
/// # Errors
/// The journal can't be read.
pub fn so_far(store: &Store, run: &RunId) -> Result<RunSoFar, StoreError> {
    let ledger = Ledger::new(Caps::default());
    let mut restored = restore::sessions(store, run, &ledger, &Terms::of(store, run)?, ReadFor::Telling)?;
    // What is under way is set aside, and counts as spent when what holds it is dropped.
    for Restored { row, account, .. } in &mut restored {
        if !row.status.is_final() {
            row.spent = row.spent.max(&ledger.spent(*account));
        }
    }
    let (spent, totals) = ledger.spent_by_all();
    Ok(RunSoFar {
        sessions: restored.into_iter().map(|restored| restored.row).collect(),
        spent,
        totals,
    })
}

/// Ends sessions that nobody drives, children before their parents.
struct Ends<'a> {
    store: &'a Store,
    ledger: &'a Ledger,
    /// How those ended that are somebody's children.
    results: HashMap<ReturnAddress, types::RunResult>,
    /// Whose children they are.
    parents: HashSet<SessionId>,
    records: Vec<Record>,
}

impl<'a> Ends<'a> {
    fn new(store: &'a Store, ledger: &'a Ledger) -> Self {
        Self {
            store,
            ledger,
            results: HashMap::new(),
            parents: HashSet::new(),
            records: Vec::new(),
        }
    }

    /// Ends this one, where it has not ended. What it had under way may have been sent: it is charged. Gives its end.
    fn end(&mut self, restored: &mut Restored) -> Result<types::RunResult, StoreError> {
        let row = &restored.row;
        let result = match &row.result {
            Some(result) => codec::decode(result).map_err(|e| StoreError::damaged(&row.session.run, e.to_string()))?,
            None => {
                self.records.extend(abandoned(restored.past.interrupted.drain()));
                self.children_of(&row.session, row.attempt.max(1), restored.account)?;
                let spent = self.ledger.spent(restored.account);
                let result = types::RunResult {
                    exit: types::ExitReason::Cancelled,
                    report: restored.past.checkpoint.take(),
                    attempts: row.attempt,
                    spent: amounts(&spent),
                };
                self.records.push(ending::record(&row.session, &result, spent));
                result
            }
        };
        if let Some(address) = &row.parent {
            self.parents.insert(address.session.clone());
            self.results.insert(address.clone(), result.clone());
        }
        Ok(result)
    }

    /// The operations of a session's attempt that are children, where those have ended and that is not written down.
    fn children_of(&mut self, session: &SessionId, attempt: u32, account: AccountId) -> Result<(), StoreError> {
        if !self.parents.contains(session) {
            return Ok(());
        }
        for OperationRow { intent, outcome } in self.store.session_operations(session)? {
            let address = ReturnAddress {
                session: session.clone(),
                attempt,
                op: intent.op,
            };
            let is_child = intent.kind == OpKind::Child && intent.stream.attempt == attempt;
            let Some(result) = self.results.get(&address).filter(|_| is_child && outcome.is_none()) else {
                continue;
            };
            self.ledger.charge(account, intent.reserved);
            self.records.push(Record::Outcome(Outcome {
                stream: intent.stream,
                op: intent.op,
                status: child_status(&result.exit),
                body: codec::encode(&OpBody::Child(result.clone())),
                charged: intent.reserved,
                at_ms: now_ms(),
            }));
        }
        Ok(())
    }
}

impl ChildRunner for Supervisor {
    fn admit(&self, parent: &Guest, spec: &delegation::ChildSpec) -> Result<Box<dyn NewChild>, Refusal> {
        Ok(Box::new(Candidate::new(self, parent, spec)?))
    }

    fn recover(&self, parent: &Guest, op: u32) -> Result<Box<dyn NewChild>, Missed> {
        let lost = || {
            let what = format!("the child that is operation {op} of session {}", parent.session.id);
            StoreError::damaged(&parent.session.run.id, format!("{what} is missing"))
        };
        let restored = self.take_restored(parent, op).ok_or_else(lost)?;
        Ok(Box::new(Candidate::recovered(self, parent, restored)?))
    }

    fn known(&self, parent: &Guest, op: u32) -> Option<Arc<Child>> {
        let restored = self.take_restored(parent, op)?;
        Some(ended_child(restored.row, parent.attempt.number, op))
    }
}

/// A child that ended before this process began.
fn ended_child(row: SessionRow, attempt: u32, handle: u32) -> Arc<Child> {
    let result = row.result.as_deref().and_then(|r| codec::decode(r).ok());
    let child = Child::new(row.session, handle, attempt);
    if let Some(result) = result {
        child.ends(result);
    }
    child
}

/// A root as its journal has it.
pub struct RootRestored {
    /// What its last attempt is made of.
    pub start: start::AgentStart,
    /// Its account.
    pub account: AccountId,
    /// What it left.
    pub past: crate::session::Past,
    /// Where it is taken up.
    pub from: life::From,
    /// How it ended, where only the run's row was not told.
    pub result: Option<types::RunResult>,
    /// Observations to replay.
    pub observations: u64,
}

impl RootRestored {
    fn new(store: &Store, restored: Restored) -> Result<Self, StoreError> {
        let row = restored.row;
        let attempt = row.attempt.max(1);
        let recorded = restore::recorded(store, &row.session, attempt)?;
        let own = recorded.get(&crate::ids::Scope::ROOT);
        let observations = own.map_or(0, |own| own.observations.len() as u64);
        let damaged = |e: codec::CodecError| StoreError::damaged(&row.session.run, e.to_string());
        let result = match &row.result {
            Some(result) => Some(codec::decode(result).map_err(damaged)?),
            None => None,
        };
        Ok(Self {
            start: restored.start,
            account: restored.account,
            past: restored.past,
            from: life::From {
                attempt,
                recorded,
                restarts_ms: restored.restarts_ms,
                cancel_asked: row.cancel_asked,
            },
            result,
            observations,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
