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
    /// No place among the resident instances came free in time.
    #[error("{0}")]
    NoRoom(String),
    /// It was cancelled and did not return within its grace.
    #[error("it was cancelled")]
    Cancelled,
    /// It only waited, and its place went to another: it is built again when what it waits for is there. Nothing is recorded of this.
    #[error("its place went to another")]
    Passivated,
    /// The run is suspended: nothing is recorded of this.
    #[error("it is suspended")]
    Suspended,
    /// A replay met a call that its record does not have.
    #[error("the run differs from its record: {0}")]
    Diverged(String),
    /// A replay that nothing follows has told all that its record has.
    #[error("its record ends here")]
    RecordEnds,
    /// The guest broke a hard cap of the host's.
    #[error("{0}")]
    Broke(String),
    /// What is done can't be written down: nothing of it is told to anybody, and the run stops where it can go on.
    #[error("{0}")]
    Storage(String),
    /// The host failed: a lost task, a panic.
    #[error("{0}")]
    Host(String),
}

impl End {
    /// From a failed store.
    pub fn store(error: &crate::store::StoreError) -> Self {
        Self::Storage(error.to_string())
    }
}
