//! The words in which the host refuses: the contract's error kinds and dimensions as the host's own types, shared by
//! every layer above. Each layer has its own error enum besides, and turns it into a [`Refusal`] where a guest must hear of it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text;

/// Bytes of a message of which a guest had a say.
const MESSAGE: usize = 4 * 1024;

/// What a run can use up, named as in the contract (`types.dimension`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    /// Model round trips that an agent starts.
    Iterations,
    /// Calls of tools.
    ToolCalls,
    /// Model tokens, input and output.
    Tokens,
    /// Millionths of a US dollar.
    CostMicroUsd,
    /// Units of guest execution.
    Fuel,
    /// Milliseconds.
    WallClockMs,
    /// Bytes written to the blackboard.
    StoredBytes,
    /// Bytes that the session's part of the journal grew by.
    JournalBytes,
    /// Calls into the host.
    HostCalls,
    /// Sub-agents.
    Children,
}

impl Dimension {
    /// Every dimension, in the contract's order.
    pub const ALL: [Self; 10] = [
        Self::Iterations,
        Self::ToolCalls,
        Self::Tokens,
        Self::CostMicroUsd,
        Self::Fuel,
        Self::WallClockMs,
        Self::StoredBytes,
        Self::JournalBytes,
        Self::HostCalls,
        Self::Children,
    ];

    /// The contract's name, also the key of a budget.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iterations => "iterations",
            Self::ToolCalls => "tool-calls",
            Self::Tokens => "tokens",
            Self::CostMicroUsd => "cost-micro-usd",
            Self::Fuel => "fuel",
            Self::WallClockMs => "wall-clock-ms",
            Self::StoredBytes => "stored-bytes",
            Self::JournalBytes => "journal-bytes",
            Self::HostCalls => "host-calls",
            Self::Children => "children",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dimension {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|d| d.name() == s).ok_or(())
    }
}

/// Why a call was refused or failed: the cases of the contract's `error-kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The capability was not granted.
    Denied,
    /// This dimension is used up.
    Exhausted(Dimension),
    /// Too many calls for now.
    RateLimited,
    /// A deadline passed.
    TimedOut,
    /// A lost compare-and-set.
    Conflict,
    /// No such tool, strategy, model or space.
    NotFound,
    /// Malformed or over a limit.
    InvalidInput,
    /// The run or the call was cancelled.
    Cancelled,
    /// What the host called on the guest's behalf failed.
    Upstream,
    /// The host went down during the call.
    Interrupted,
    /// Anything else, by name.
    Other(String),
}

impl RefusalKind {
    /// The contract's name of the case, without its dimension.
    pub fn name(&self) -> &str {
        match self {
            Self::Denied => "denied",
            Self::Exhausted(_) => "exhausted",
            Self::RateLimited => "rate-limited",
            Self::TimedOut => "timed-out",
            Self::Conflict => "conflict",
            Self::NotFound => "not-found",
            Self::InvalidInput => "invalid-input",
            Self::Cancelled => "cancelled",
            Self::Upstream => "upstream",
            Self::Interrupted => "interrupted",
            Self::Other(name) => name,
        }
    }
}

impl RefusalKind {
    /// The dimension of a kind that is shown so, where it has one: the row of a run keeps no more of a kind than that.
    pub fn dimension_in(shown: &str) -> Option<Dimension> {
        shown.strip_prefix("exhausted(")?.strip_suffix(')')?.parse().ok()
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted(d) => write!(f, "exhausted({d})"),
            other => f.write_str(other.name()),
        }
    }
}

/// A refusal as a guest gets it: kind, one or two sentences without a secret, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Refusal {
    /// The case.
    pub kind: RefusalKind,
    /// Fit to show to a model and to a person: what happened, which limit or grant, which key or flag changes it.
    pub message: String,
    /// Milliseconds after which the same call may succeed.
    pub retry_after_ms: Option<u32>,
    /// Of a denial, what it is about: for the audit, and for people. Guests and the journal's observations have the words alone.
    #[serde(skip)]
    pub lack: Option<Box<Lack>>,
}

/// What a denial is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What was not done, after "may not": `ask a model`, `write /papers/a.md`.
    pub what: String,
    /// What it would have been done with: a space and a key, a model, a path, a method and an address without its query.
    pub target: String,
    /// The right that would allow it, as `--allow` takes it, or a kind of right that is had by default; none where no right would.
    pub right: Option<String>,
    /// Why no right would, or what there is to know before it is granted.
    pub why: Option<String>,
}

impl Refusal {
    /// A refusal of `kind`.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after_ms: None,
            lack: None,
        }
    }

    /// With so much of its message that it can be handed on: what a guest wrote stands in some of them.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        if let Cow::Owned(cut) = text::cut(&self.message, MESSAGE) {
            self.message = cut;
        }
        self
    }

    /// The dimension that is used up, where that is why.
    pub fn used_up(&self) -> Option<Dimension> {
        match self.kind {
            RefusalKind::Exhausted(dimension) => Some(dimension),
            _ => None,
        }
    }

    /// The same with what it is about.
    #[must_use]
    pub fn about(mut self, lack: Lack) -> Self {
        self.lack = Some(Box::new(lack));
        self
    }

    /// `denied`.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Denied, message)
    }

    /// `invalid-input`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::InvalidInput, message)
    }

    /// `not-found`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::NotFound, message)
    }

    /// `upstream`.
    pub fn upstream(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Upstream, message)
    }

    /// `cancelled`.
    pub fn cancelled() -> Self {
        Self::new(RefusalKind::Cancelled, "The run or this call was cancelled.")
    }

    /// The host failed where a guest waits for an answer.
    pub fn host_bug(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Other("host-bug".to_owned()), message)
    }

    /// `exhausted`, with the words that say by how much and which key changes it.
    pub fn exhausted(dimension: Dimension, message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Exhausted(dimension), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_as_it_is_shown_tells_its_dimension() {
        for dimension in Dimension::ALL {
            let shown = RefusalKind::Exhausted(dimension).to_string();
            assert_eq!(RefusalKind::dimension_in(&shown), Some(dimension), "{shown}");
        }
        for none in ["denied", "exhausted", "exhausted()", "exhausted(usd)", "tokens"] {
            assert_eq!(RefusalKind::dimension_in(none), None, "{none}");
        }
    }
}
