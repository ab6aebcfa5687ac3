//! An agent's life as the rest of the host sees it, and the one path that every call of a guest takes:
//! replay → grant → caps → ledger → intent → operation → outcome and charge → observation → event.
//!
//! Read [`guest`] first: it is the path. [`tape`] is the journal of one instance, [`op`] an operation under way, [`step`] the
//! meter, [`clock`] the time that guests see, [`end`] why an instance was ended.

pub mod clock;
pub mod codec;
pub mod end;
pub mod guest;
pub mod op;
pub mod runner;
pub mod step;
pub mod tape;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::egress::Egress;
use crate::error::{Dimension, Refusal};
use crate::event::{EventKind, Events};
use crate::ids::{RunId, Scope, SessionId};
use crate::ledger::{AccountId, Ledger};
use crate::limits::Limits;
use crate::llm::{Catalogue, Model};
use crate::plugin::rights::Rights;
use crate::plugin::toolbox::Toolbox;
use crate::store::{Effect, EffectResult, Record, Sync};
use crate::store::{Owner, Store};
use end::End;
use runner::ToolRunner;
use tape::Recorded;

/// What all sessions of a run share.
pub struct RunContext {
    /// The run.
    pub id: RunId,
    /// Where everything is kept; none where a plugin is asked what it is, outside any run.
    pub journal: Option<Journal>,
    /// Where events go.
    pub events: Events,
    /// Every account of the run.
    pub ledger: Ledger,
    /// The caps in force.
    pub limits: Limits,
    /// The models.
    pub models: Catalogue,
    /// The way out to the network.
    pub egress: Arc<Egress>,
    /// Every tool of the run, frozen.
    pub toolbox: Toolbox,
    /// What runs a tool call.
    pub runner: Arc<dyn ToolRunner>,
    /// Whether an agent whose iterations ran out gets its closing call.
    pub closing_call: bool,
    /// The least time between two tool calls of an agent, in milliseconds.
    pub tool_delay_ms: u64,
    /// What all randomness of the run derives from.
    pub seed: [u8; 32],
    /// Ends everything without a record: the run is suspended.
    pub suspend: CancellationToken,
}

/// A run's place in the store.
pub struct Journal {
    /// The store.
    pub store: Store,
    /// Our right to write to this run.
    pub owner: Owner,
}

impl RunContext {
    /// Commits records, and an effect with them. Outside a run nothing is kept, and nothing can be changed.
    ///
    /// # Errors
    /// The store failed, or the run is owned by somebody else now.
    pub async fn append(
        &self,
        records: Vec<Record>,
        effect: Option<Effect>,
        sync: Sync,
    ) -> Result<Option<EffectResult>, End> {
        match &self.journal {
            Some(journal) => {
                let appended = journal.store.append(&journal.owner, records, effect, sync).await;
                appended.map(|a| a.effect).map_err(End::store)
            }
            None => Ok(None),
        }
    }

    /// The store, for reads.
    ///
    /// # Errors
    /// There is no run to read from.
    pub fn store(&self) -> Result<&Store, Refusal> {
        self.journal
            .as_ref()
            .map(|j| &j.store)
            .ok_or_else(|| Refusal::denied("There is no run here, and so no blackboard."))
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
    /// 1 for the first.
    pub attempt: u32,
    /// What it shares with the run's other sessions.
    pub run: Arc<RunContext>,
    /// Its account.
    pub account: AccountId,
    /// What it may do.
    pub rights: Rights,
    /// The strategy's name, for messages.
    pub strategy: String,
    /// Its default model.
    pub model: Option<Model>,
    /// When the attempt began (milliseconds since 1970).
    pub started_ms: u64,
    /// The same on the monotonic clock.
    pub started: tokio::time::Instant,
    /// Milliseconds of wall clock that earlier processes spent on it.
    pub past_wall: AtomicU64,
    /// Milliseconds of this process's wall clock that were charged.
    pub wall_charged: AtomicU64,
    /// Tells it to stop: calls that wait answer `cancelled`, and after a grace it is dropped.
    pub cancel: CancellationToken,
    /// Its attempt has ended: open operations end with it.
    pub over: CancellationToken,
    /// Its tasks.
    pub tasks: TaskTracker,
    /// The last checkpoint.
    pub checkpoint: Mutex<Option<types::Report>>,
    /// Denials met, in the words that name the flag.
    pub denials: Mutex<Vec<String>>,
    /// What the journal has of tool calls that a resume makes again, by the scope of their instance.
    pub recorded: Mutex<BTreeMap<Scope, Recorded>>,
    /// Records in the journal.
    pub records: AtomicU64,
    /// Tool calls that run at once.
    pub tool_slots: Arc<tokio::sync::Semaphore>,
    /// When the last tool call began, for `tool_delay`.
    pub last_tool: tokio::sync::Mutex<Option<tokio::time::Instant>>,
}

impl Session {
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

    /// When its wall-clock budget ends.
    pub fn deadline(&self) -> Option<tokio::time::Instant> {
        let cap = self.run.ledger.caps(self.account).get(Dimension::WallClockMs)?;
        let rest = cap.saturating_sub(self.past_wall.load(Ordering::Acquire));
        self.started.checked_add(std::time::Duration::from_millis(rest))
    }

    /// Charges the time that passed since this was last done.
    pub fn charge_wall(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = self.wall_charged.fetch_max(elapsed, Ordering::AcqRel);
        let more = Amounts::of(Dimension::WallClockMs, elapsed.saturating_sub(before));
        self.run.ledger.charge(self.account, more);
    }

    /// Keeps what the journal has of the instance with this scope.
    pub fn keep_recorded(&self, scope: Scope, tape: Recorded) {
        self.recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(scope, tape);
    }

    /// What the journal has of the instance with this scope, once.
    pub fn take_recorded(&self, scope: &Scope) -> Recorded {
        self.recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(scope)
            .unwrap_or_default()
    }

    /// Keeps a denial for the person, once, and tells everybody.
    pub fn denied(&self, plugin: &str, message: &str) {
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        if !denials.iter().any(|d| d == message) && denials.len() < MAX_DENIALS {
            denials.push(message.to_owned());
        }
        drop(denials);
        self.event(EventKind::Denied {
            plugin: plugin.to_owned(),
            message: message.to_owned(),
        });
    }
}

/// Different denials that a run's summary names.
const MAX_DENIALS: usize = 32;
