//! The host's words as the contract's generated types, and back.

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::error::{Dimension, Refusal, RefusalKind};

/// Amounts in the contract's form.
pub fn amounts(amounts: &Amounts) -> Vec<types::Amount> {
    amounts
        .iter()
        .map(|(d, value)| types::Amount {
            dimension: d.into(),
            value,
        })
        .collect()
}

impl From<types::Dimension> for Dimension {
    fn from(dimension: types::Dimension) -> Self {
        use types::Dimension as D;
        match dimension {
            D::Iterations => Self::Iterations,
            D::ToolCalls => Self::ToolCalls,
            D::Tokens => Self::Tokens,
            D::CostMicroUsd => Self::CostMicroUsd,
            D::Fuel => Self::Fuel,
            D::WallClockMs => Self::WallClockMs,
            D::StoredBytes => Self::StoredBytes,
            D::JournalBytes => Self::JournalBytes,
            D::HostCalls => Self::HostCalls,
            D::Children => Self::Children,
        }
    }
}

impl From<Dimension> for types::Dimension {
    fn from(dimension: Dimension) -> Self {
        match dimension {
            Dimension::Iterations => Self::Iterations,
            Dimension::ToolCalls => Self::ToolCalls,
            Dimension::Tokens => Self::Tokens,
            Dimension::CostMicroUsd => Self::CostMicroUsd,
            Dimension::Fuel => Self::Fuel,
            Dimension::WallClockMs => Self::WallClockMs,
            Dimension::StoredBytes => Self::StoredBytes,
            Dimension::JournalBytes => Self::JournalBytes,
            Dimension::HostCalls => Self::HostCalls,
            Dimension::Children => Self::Children,
        }
    }
}

impl From<RefusalKind> for types::ErrorKind {
    fn from(kind: RefusalKind) -> Self {
        match kind {
            RefusalKind::Denied => Self::Denied,
            RefusalKind::Exhausted(d) => Self::Exhausted(d.into()),
            RefusalKind::RateLimited => Self::RateLimited,
            RefusalKind::TimedOut => Self::TimedOut,
            RefusalKind::Conflict => Self::Conflict,
            RefusalKind::NotFound => Self::NotFound,
            RefusalKind::InvalidInput => Self::InvalidInput,
            RefusalKind::Cancelled => Self::Cancelled,
            RefusalKind::Upstream => Self::Upstream,
            RefusalKind::Interrupted => Self::Interrupted,
            RefusalKind::Other(name) => Self::Other(name),
        }
    }
}

impl From<types::ErrorKind> for RefusalKind {
    fn from(kind: types::ErrorKind) -> Self {
        use types::ErrorKind as K;
        match kind {
            K::Denied => Self::Denied,
            K::Exhausted(d) => Self::Exhausted(d.into()),
            K::RateLimited => Self::RateLimited,
            K::TimedOut => Self::TimedOut,
            K::Conflict => Self::Conflict,
            K::NotFound => Self::NotFound,
            K::InvalidInput => Self::InvalidInput,
            K::Cancelled => Self::Cancelled,
            K::Upstream => Self::Upstream,
            K::Interrupted => Self::Interrupted,
            K::Other(name) => Self::Other(name),
        }
    }
}

impl From<Refusal> for types::Error {
    fn from(refusal: Refusal) -> Self {
        Self {
            kind: refusal.kind.into(),
            message: refusal.message,
            retry_after_ms: refusal.retry_after_ms,
        }
    }
}

impl From<types::Error> for Refusal {
    fn from(error: types::Error) -> Self {
        Self {
            kind: error.kind.into(),
            message: error.message,
            retry_after_ms: error.retry_after_ms,
            lack: None,
        }
    }
}
