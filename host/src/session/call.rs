//! What an imported function is to the host: an interface describes its calls in these terms, and `session::path` does with all
//! of them what must be done around each.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::error::Refusal;
use crate::event::EventKind;
use crate::ids::Digest;
use crate::ledger::{Held, Reservation};
use crate::scrub::{Known, Secrets};
use crate::session::audit::Use;
use crate::session::codec;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::op::OpBody;
use crate::session::unwritten::Written;
use crate::store::{Effect, EffectResult, OpKind, OutcomeStatus, Record, StoreError, Sync};

/// How an operation ends when the attempt that began it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// Nobody waits for it: it costs what was set aside, as what it cost by then is not known here.
    LetGo,
    /// Told to stop, it says at once what it cost.
    Metered,
    /// It has an end of its own to write down, and is waited for, also where its run is suspended.
    Own,
}

/// An imported function with its arguments; encoded, it is what replay compares.
pub trait Call: Serialize + std::marker::Sync {
    /// Interface and function: `blackboard.get`.
    const NAME: &'static str;

    /// Whether the guest's rights allow it.
    ///
    /// # Errors
    /// The denial, which names what would allow it.
    fn grant(&self, _guest: &Guest) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether its arguments keep to the caps.
    ///
    /// # Errors
    /// The refusal, which names the limit.
    fn caps(&self, _guest: &Guest) -> Result<(), Refusal> {
        Ok(())
    }

    /// Which right it uses, on what: for the audit. None where it needs none that was granted.
    fn used(&self, _guest: &Guest) -> Option<Use<'_>> {
        None
    }

    /// The secret that it would hand on: one that stands in its arguments.
    fn holds<'a>(&self, secrets: &'a Secrets) -> Option<Known<'a>>
    where
        Self: Sized,
    {
        secrets.find(&codec::of_call(Self::NAME, self))
    }
}

/// A call that changes nothing: its answer is its observation.
pub trait Look: Call {
    /// What the guest is told.
    type Answer: Serialize + DeserializeOwned + Send;

    /// Finds the answer.
    fn look(&self, guest: &Guest) -> impl Future<Output = Result<Self::Answer, Missed>> + Send;
}

/// Why a look has no answer, or an operation does not begin.
#[derive(Debug)]
pub enum Missed {
    /// The guest is told why.
    Refused(Refusal),
    /// The disk fails where the answer is, or goes. The guest is told nothing: its run stops, and finds the answer when it goes on.
    Unread(End),
}

impl From<Refusal> for Missed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Missed {
    fn from(error: StoreError) -> Self {
        Self::Unread(End::store(&error))
    }
}

/// A call that changes the blackboard: the effect commits together with its record.
pub trait Write: Call {
    /// The space, for people.
    fn space(&self) -> &str;
    /// The change.
    fn effect(&self, guest: &Guest) -> Effect;
    /// Bytes that it stores.
    fn bytes(&self) -> u64;
    /// What to tell people of it when it is done; none where it changed nothing.
    fn event(&self, result: &EffectResult) -> Option<EventKind>;
}

/// A call that has something done outside: by a task of the session, recorded before and after.
pub trait Operation: Call + Send + 'static {
    /// Its kind.
    const KIND: OpKind;

    /// What becomes of it when the attempt that began it ends.
    const STOPPING: Stopping = Stopping::LetGo;

    /// The model, the tool or the child's role, for people.
    fn name(&self, guest: &Guest) -> String;

    /// The bodies that make up the request.
    fn request(&self) -> Cow<'_, [(Digest, Vec<u8>)]>;

    /// When the intent must be on the disk before the effect is sent.
    fn sync(&self, guest: &Guest) -> Sync;

    /// Sets aside what it may cost.
    ///
    /// # Errors
    /// The dimension that has no room.
    fn reserve(&mut self, guest: &Guest) -> Result<Reservation, Refusal>;

    /// It begins, as operation `op`: it was reserved for, or a replay takes it over from the record. In the guest's order, the same in both.
    fn begun(&mut self, _guest: &Guest, _op: u32) {}

    /// Sees to what must be there before its intent is written: a child's compiled strategy.
    ///
    /// # Errors
    /// It can't be had; nothing begins.
    fn ready(&mut self, _guest: &Guest) -> impl Future<Output = Result<(), Missed>> + Send {
        std::future::ready(Ok(()))
    }

    /// Rows that are written together with its intent.
    fn records(&self, _guest: &Guest, _op: u32) -> Vec<Record> {
        Vec::new()
    }

    /// Takes it up again after a crash: it had passed its checks, and its intent stands in the journal. `before` is what it had set aside: what may have been
    /// sent keeps that, whatever a budget has left by now.
    ///
    /// # Errors
    /// It can't be done any more.
    fn again(&mut self, guest: &Arc<Guest>, op: u32, before: &mut Option<Reservation>) -> Result<Reservation, Missed>;

    /// Whether it may be done again when a crash left its end unknown.
    fn repeatable(&self) -> bool {
        true
    }

    /// The tool call that it is, if it is one: a turn that only ran code is known by these.
    fn tool_call(&self) -> Option<&types::ToolCall> {
        None
    }

    /// A refusal as the guest is told.
    fn refused(&self, refusal: &Refusal) -> OpBody;

    /// Does it. When `under.cancel` is raised it stops and says what it cost until then. None: the run was suspended first, or
    /// the guest has failed meanwhile.
    fn run(self, under: Under) -> impl Future<Output = Option<Done>> + Send;

    /// What to tell people when it begins and when it ended; none where what it starts tells for itself.
    fn events(&self, guest: &Guest, op: &str, closing: bool) -> Option<(EventKind, EndedEvent)>;
}

/// Makes the event of an operation's end.
pub type EndedEvent = Box<dyn FnOnce(&Done, Duration) -> EventKind + Send>;

/// Whether an operation is done for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// It is.
    Now,
    /// It was under way when the host went down, and what came of it then is lost.
    Again,
}

/// What an operation runs under.
pub struct Under {
    /// Who asked.
    pub guest: Arc<Guest>,
    /// Its number.
    pub op: u32,
    /// Raised when it must stop.
    pub cancel: CancellationToken,
    /// What was set aside for it.
    pub reserved: Amounts,
    /// The same, for what is spent of it meanwhile.
    pub held: Held,
    /// Whether it is done for the first time.
    pub begins: Begins,
    /// The time that its guest saw when it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long its session had been awake when it began, in milliseconds; of one that is done again, when its guest was told something last before that.
    pub awake_ms: u64,
}

/// How an operation ended.
pub struct Done {
    /// How.
    pub status: OutcomeStatus,
    /// What the guest is told.
    pub body: OpBody,
    /// What it cost.
    pub charged: Amounts,
    /// Whether the outcome must be on the disk before anybody hears of it: not where everything that led to it is in the journal.
    pub sync: Sync,
    /// Records of the instance that served it, or of the child that it was, which wait for a commit.
    pub records: Vec<Record>,
    /// Who hears of that commit before anybody hears of this end.
    pub then: Option<Written>,
}

impl Done {
    /// An end that something outside may have seen.
    pub fn new(status: OutcomeStatus, body: OpBody, charged: Amounts) -> Self {
        Self {
            status,
            body,
            charged,
            sync: Sync::Durable,
            records: Vec::new(),
            then: None,
        }
    }
}
