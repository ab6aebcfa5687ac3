//! The contract's names of its own cases, as people and models read them.

use crate::{Dimension, ErrorKind, ExitReason, Outcome};

impl Dimension {
    /// Its name in the contract, in budgets and in messages: `cost-micro-usd`.
    pub fn name(self) -> &'static str {
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

impl ErrorKind {
    /// Its name in the contract: `exhausted(iterations)`.
    pub fn name(&self) -> String {
        let name = match self {
            Self::Denied => "denied",
            Self::Exhausted(dimension) => return format!("exhausted({})", dimension.name()),
            Self::RateLimited => "rate-limited",
            Self::TimedOut => "timed-out",
            Self::Conflict => "conflict",
            Self::NotFound => "not-found",
            Self::InvalidInput => "invalid-input",
            Self::Cancelled => "cancelled",
            Self::Upstream => "upstream",
            Self::Interrupted => "interrupted",
            Self::Other(name) => name,
        };
        name.to_owned()
    }
}

impl ExitReason {
    /// Its name in the contract, with what it carries where that is a name: `failed(denied)`.
    pub fn name(&self) -> String {
        let name = match self {
            Self::Returned => "returned",
            Self::Failed(error) => return format!("failed({})", error.kind.name()),
            Self::Exhausted(dimension) => return format!("exhausted({})", dimension.name()),
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
            Self::Trapped(_) => "trapped",
            Self::Interrupted => "interrupted",
            Self::Other(name) => name,
        };
        name.to_owned()
    }
}

impl Outcome {
    /// Its name in the contract: `partly-achieved`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Achieved => "achieved",
            Self::PartlyAchieved => "partly-achieved",
            Self::NotAchieved => "not-achieved",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn names_are_the_contracts() {
        assert_eq!(
            ErrorKind::Exhausted(Dimension::WallClockMs).name(),
            "exhausted(wall-clock-ms)"
        );
        assert_eq!(ExitReason::Failed(Error::denied("no")).name(), "failed(denied)");
        assert_eq!(ExitReason::Other("diverged".into()).name(), "diverged");
        assert_eq!(Outcome::NotAchieved.name(), "not-achieved");
    }
}
