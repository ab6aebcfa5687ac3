//! Why the host ended an instance: the one typed cause that travels through the guest as a trap and is read back when
//! the instance is gone.

use crate::error::Dimension;

/// Why the host ended an instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// A dimension ran out where no value can tell the guest: fuel, host calls, journal, time.
    #[error("{message}")]
    Exhausted {
        /// The dimension.
        dimension: Dimension,
        /// Which limit, its value, and the key that changes it.
        message: String,
    },
    /// A clock of the host's ran out: the start's or a step's.
    #[error("{0}")]
    TimedOut(String),
    /// It was cancelled and did not return within its grace.
    #[error("it was cancelled")]
    Cancelled,
    /// The run is suspended: nothing is recorded of this.
    #[error("it is suspended")]
    Suspended,
    /// A replay met a call that its record does not have.
    #[error("the run differs from its record: {0}")]
    Diverged(String),
    /// The guest broke a hard cap of the host's.
    #[error("{0}")]
    Broke(String),
    /// The host failed: storage, a lost task, a panic.
    #[error("{0}")]
    Host(String),
}

impl End {
    /// From a failed store.
    pub fn store(error: impl std::fmt::Display) -> Self {
        Self::Host(error.to_string())
    }
}
