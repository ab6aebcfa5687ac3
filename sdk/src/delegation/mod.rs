//! Sub-agents: describe one with [`Child`], start it, wait for it, and read how it ended.
//!
//! ```ignore
//! use hermes_sdk::delegation::{self, Child};
//!
//! let papers = Child::new("researcher", "What do the papers in /papers say about dendrite growth? Cite file:line.")
//!     .strategy("research")
//!     .toolset("filesystem")
//!     .limit(Dimension::Iterations, 20)
//!     .attempts(2)
//!     .spawn()?;
//! let result = papers.join();
//! let text = match delegation::succeeded(&result) {
//!     Some(report) => report.summary.clone(),
//!     None => delegation::failure(&result),
//! };
//! ```
//!
//! A child starts with a fresh context, runs beside its parent, and ends with it. The host refuses (`denied`) what the
//! parent itself does not hold, and gives nothing less than what was asked in silence.

mod child;
mod ended;

pub use crate::bindings::delegation::{Access, ChildSpec, ChildStatus, SpaceGrant};
pub use child::Child;
pub use ended::{cause, failure, succeeded};

use crate::bindings::delegation as host;
use crate::{Error, RunResult};

/// A sub-agent that was started. Dropping the handle leaves it at work.
#[derive(Debug)]
pub struct ChildHandle {
    handle: host::Child,
}

impl ChildHandle {
    /// Its session, as the run's tree names it.
    pub fn id(&self) -> String {
        self.handle.id()
    }

    /// How far it is.
    pub fn status(&self) -> ChildStatus {
        self.handle.status()
    }

    /// Waits for its end. Asked again, it answers the same.
    pub fn join(&self) -> RunResult {
        self.handle.join()
    }

    /// Ends it, soon: it is told, and stopped if it does not listen.
    pub fn cancel(&self) {
        self.handle.cancel();
    }
}

/// Starts the sub-agent that a record of the contract describes. [`Child::spawn`] makes that record for you.
///
/// # Errors
/// `denied` for what this session does not hold, `exhausted(children)` with too many of them alive, in all or too deep,
/// `not-found` for an unknown strategy, `rate-limited` with too many handles open.
pub fn spawn(spec: &ChildSpec) -> Result<ChildHandle, Error> {
    host::spawn(spec).map(|handle| ChildHandle { handle })
}

/// All children of this session in the order in which they were spawned, those of earlier attempts included.
pub fn children() -> Vec<ChildHandle> {
    let children = host::children().into_iter();
    children.map(|handle| ChildHandle { handle }).collect()
}

/// Waits until one of these has ended and answers its place among them, the lowest if several have.
///
/// None when `timeout_ms` passed, when there are none to wait for, or when the run was cancelled.
pub fn wait_any(children: &[&ChildHandle], timeout_ms: Option<u32>) -> Option<usize> {
    let handles: Vec<_> = children.iter().map(|child| &child.handle).collect();
    let place = host::wait_any(&handles, timeout_ms)?;
    usize::try_from(place).ok()
}
