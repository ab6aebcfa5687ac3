//! What the layers above hand down, so that the interfaces `tools` and `delegation` can have a tool or a child run without knowing how.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::bindings::{delegation, types};
use crate::error::Refusal;
use crate::ledger::Reservation;
use crate::plugin::toolbox::Tool;
use crate::session::Child;
use crate::session::call::{Missed, Under};
use crate::session::guest::Guest;
use crate::session::unwritten::Written;
use crate::store::Record;

/// Something that is waited for.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a tool call left behind.
pub struct ToolEnd {
    /// Its answer.
    pub answer: Result<types::ToolOutput, Refusal>,
    /// Fuel that its instance used.
    pub fuel: u64,
    /// Fuel that calls inside it used.
    pub lent: u64,
    /// Calls of the host's interfaces that its instance made, each charged as it made it.
    pub host_calls: u64,
    /// Records of its instance that wait for a commit.
    pub records: Vec<Record>,
    /// Whether its instance could reach nothing outside the host.
    pub pure: bool,
}

/// What a child left behind.
pub struct ChildEnd {
    /// How it ended.
    pub result: types::RunResult,
    /// Records of its session that wait for a commit.
    pub records: Vec<Record>,
    /// Who hears of that commit.
    pub then: Option<Written>,
}

impl From<types::RunResult> for ChildEnd {
    /// One of which nothing is to be written down.
    fn from(result: types::RunResult) -> Self {
        Self {
            result,
            records: Vec::new(),
            then: None,
        }
    }
}

/// Runs one tool call in a fresh instance.
pub trait ToolRunner: Send + Sync {
    /// Runs `call` of `under.guest`, who holds the tool. Of a budget of fuel it may burn `share`, with all that it calls. `under.cancel` stops the
    /// tool. None when the run was suspended first, or what the tool does can't be written down: then the guest has failed of that.
    fn run(
        &self,
        under: Under,
        tool: Arc<Tool>,
        call: types::ToolCall,
        share: Option<u64>,
    ) -> Waiting<'static, Option<ToolEnd>>;
}

/// Makes children.
pub trait ChildRunner: Send + Sync {
    /// A child as `spec` asks for it, with no more than `parent` has.
    ///
    /// # Errors
    /// What the parent has not, or has not any more; nothing is made then.
    fn admit(&self, parent: &Guest, spec: &delegation::ChildSpec) -> Result<Box<dyn NewChild>, Refusal>;

    /// The child that operation `op` of `parent` was, as its journal has it.
    ///
    /// # Errors
    /// The journal doesn't have it.
    fn recover(&self, parent: &Guest, op: u32) -> Result<Box<dyn NewChild>, Missed>;

    /// The child that operation `op` of `parent` was, where the journal has its end and its parent was told of it.
    fn known(&self, parent: &Guest, op: u32) -> Option<Arc<Child>>;
}

/// A child between its spec and its life.
pub trait NewChild: Send + Sync {
    /// Its place in the tree and its share of the parent's budget.
    ///
    /// # Errors
    /// Too many, too deep, or more than the parent has left.
    fn reserve(&mut self, parent: &Guest) -> Result<Reservation, Refusal>;

    /// Loads its strategy.
    ///
    /// # Errors
    /// The strategy can't be used, or its bytes can't be kept.
    fn ready<'a>(&'a mut self, parent: &'a Guest) -> Waiting<'a, Result<(), Missed>>;

    /// Its rows, written with the parent's intent: the return address before anything is built.
    fn records(&self, parent: &Guest, op: u32) -> Vec<Record>;

    /// How its parent sees it.
    fn child(&self, parent: &Guest, op: u32) -> Arc<Child>;

    /// Lives. None when the run was suspended first.
    fn run(self: Box<Self>, under: Under) -> Waiting<'static, Option<ChildEnd>>;
}

/// Runs nothing: for a guest outside any run.
pub struct NoChildren;

impl ChildRunner for NoChildren {
    fn admit(&self, _: &Guest, _: &delegation::ChildSpec) -> Result<Box<dyn NewChild>, Refusal> {
        Err(Refusal::denied("There is no run here, and so no sub-agents."))
    }

    fn recover(&self, _: &Guest, _: u32) -> Result<Box<dyn NewChild>, Missed> {
        Err(Refusal::denied("There is no run here, and so no sub-agents.").into())
    }

    fn known(&self, _: &Guest, _: u32) -> Option<Arc<Child>> {
        None
    }
}

/// Tells whoever works for `token` to stop when this is dropped.
pub struct StopsOnDrop(pub CancellationToken);

impl Drop for StopsOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
