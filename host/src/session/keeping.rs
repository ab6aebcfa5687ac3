//! How what a run does is kept: in a journal that is written, in a record that is only read, or not at all.

use crate::ids::RunId;
use crate::store::{Owner, SPILL_SPACE, SpaceId, Spill, Store, StoreError};

/// Where what a run does goes.
pub enum Keeping {
    /// Into its journal.
    Journal(Journal),
    /// Nowhere: its record is told again from here, and no call of it is done.
    Record(Store),
    /// Nowhere: there is no run.
    Nothing,
}

/// A run's place in the store.
pub struct Journal {
    /// The store.
    pub store: Store,
    /// Our right to write to this run.
    pub owner: Owner,
}

impl Keeping {
    /// The journal, where there is one to write to.
    pub fn journal(&self) -> Option<&Journal> {
        match self {
            Self::Journal(journal) => Some(journal),
            Self::Record(_) | Self::Nothing => None,
        }
    }

    /// The journal of a run that is written down.
    ///
    /// # Errors
    /// There is none: a mistake of the host's.
    pub fn written(&self) -> Result<&Journal, StoreError> {
        self.journal()
            .ok_or_else(|| StoreError::internal("there is no journal"))
    }

    /// The store, for reads.
    pub fn store(&self) -> Option<&Store> {
        match self {
            Self::Journal(journal) => Some(&journal.store),
            Self::Record(store) => Some(store),
            Self::Nothing => None,
        }
    }

    /// True where a record is told again and nothing is done.
    pub fn is_record(&self) -> bool {
        matches!(self, Self::Record(_))
    }

    /// True for a run, whether it goes on or is told again.
    pub fn is_run(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// Whether the run's blackboard has these pieces, as far as one can see by their first.
pub(super) fn was_spilled(store: &Store, run: &RunId, pieces: &[Spill]) -> Result<bool, StoreError> {
    let space = SpaceId {
        run: Some(run.clone()),
        name: SPILL_SPACE.to_owned(),
    };
    let Some(first) = pieces.first() else { return Ok(true) };
    Ok(store.get(&space, &first.key)?.is_some())
}
