//! What a run's root said: its answer, told apart from its last checkpoint, which stands in the same place of a result.

use crate::bindings::types;
use crate::run::HostError;
use crate::session::codec;
use crate::store::{NoteKind, SessionRow, Store};

/// What a root said at its end, or so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// What it returned.
    Answer(types::Report),
    /// How far it had got when it last said so.
    Checkpoint(types::Report),
}

impl Said {
    /// By its result, where `last` is its last checkpoint. One that used its budget up or was cancelled may have returned something all the same.
    pub(super) fn of(result: &types::RunResult, last: Option<&types::Report>) -> Option<Self> {
        use types::ExitReason as E;
        let report = result.report.clone()?;
        let returned = match result.exit {
            E::Returned => true,
            E::Exhausted(_) | E::Cancelled => last != Some(&report),
            _ => false,
        };
        Some(if returned {
            Self::Answer(report)
        } else {
            Self::Checkpoint(report)
        })
    }

    /// As the record has it.
    ///
    /// # Errors
    /// The journal can't be read.
    pub(super) fn recorded(store: &Store, root: &SessionRow) -> Result<Option<Self>, HostError> {
        let notes = store.notes(&root.session, &[NoteKind::Checkpoint], 0, usize::MAX)?;
        let last = notes.last().and_then(|(_, note)| codec::decode(&note.body).ok());
        let result = root.result.as_deref();
        let result = result.and_then(|bytes| codec::decode::<types::RunResult>(bytes).ok());
        Ok(match result {
            Some(result) => Self::of(&result, last.as_ref()),
            None => last.map(Self::Checkpoint),
        })
    }

    /// The report.
    pub(super) fn report(&self) -> &types::Report {
        let (Self::Answer(report) | Self::Checkpoint(report)) = self;
        report
    }

    /// The answer's text.
    pub(super) fn answer(&self) -> Option<String> {
        match self {
            Self::Answer(report) => Some(report.summary.clone()),
            Self::Checkpoint(_) => None,
        }
    }

    /// The checkpoint's text.
    pub(super) fn checkpoint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(report) => Some(report.summary.clone()),
            Self::Answer(_) => None,
        }
    }
}
