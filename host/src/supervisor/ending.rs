//! How an attempt's end reads: what the host saw and what the agent said, apart, in the contract's words and in a person's.

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::config::{BudgetKey, Scope, raised_with};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::now_ms;
use crate::ids::SessionId;
use crate::instance::Stopped;
use crate::interfaces::{Reader, redact_report, report_fits, scrub_error, scrub_report, scrub_words};
use crate::session::end::End;
use crate::session::{Session, codec};
use crate::store::{EndKind, Record, SessionEnd, SessionUpdate, Transition};
use crate::supervisor::policy::Fault;
use crate::text;

/// Characters of an error that a row keeps.
const ERROR_KEPT: usize = 2000;

/// What a strategy's export came to.
pub type Ended = Result<Result<types::Report, types::Error>, Stopped>;

/// An attempt's end.
#[derive(Debug, Clone)]
pub(super) struct AttemptEnd {
    /// Why.
    pub(super) exit: types::ExitReason,
    /// What it returned, else the last checkpoint.
    pub(super) report: Option<types::Report>,
    /// Which limit or clock it was, in words.
    pub(super) detail: Option<String>,
    /// Whose fault it was.
    pub(super) fault: Fault,
}

impl AttemptEnd {
    /// Why it ended, in the words that say most.
    pub(super) fn cause(&self) -> String {
        let (name, error) = words(&self.exit);
        self.detail.clone().or(error).unwrap_or(name)
    }
}

/// Reads an attempt's end.
pub(super) fn read(session: &Session, ended: Ended) -> AttemptEnd {
    let fault = fault(&ended);
    let (exit, report, detail) = match ended {
        Ok(Ok(report)) => match report_fits(&report, session.run.limits.report) {
            Ok(()) => (types::ExitReason::Returned, Some(report), None),
            Err(refusal) => (types::ExitReason::Failed(refusal.into()), None, None),
        },
        Ok(Err(error)) => (types::ExitReason::Failed(scrub_error(session, error)), None, None),
        Err(stopped) => {
            let detail = match &stopped {
                Stopped::Host(End::Exhausted { message, .. } | End::TimedOut(message)) => Some(message.clone()),
                _ => None,
            };
            (stopped_exit(session, stopped), None, detail)
        }
    };
    let (exit, fault) = settled(session, exit, fault);
    let detail = detail.or_else(|| met_limit(session, &exit));
    AttemptEnd {
        report: report.or_else(|| session.checkpoint()),
        exit,
        detail,
        fault,
    }
}

/// The words of the refusal that ended it, where a reservation met a limit: they tell whose that is, how much of it was left, and its key.
fn met_limit(session: &Session, exit: &types::ExitReason) -> Option<String> {
    let types::ExitReason::Exhausted(dimension) = exit else {
        return None;
    };
    let dimension = Dimension::from(*dimension);
    let ledger = &session.run.ledger;
    let words = ledger.ended_with(session.account)?;
    (ledger.ending(session.account) == Some(dimension)).then_some(words)
}

/// That a budget was used up of which nothing more is known, and the keys that raise it.
fn used_up_words(dimension: Dimension) -> String {
    let (scope, raised) = (Scope::Root, raised_with(dimension, &[Scope::Root, Scope::Tree]));
    let key = BudgetKey { scope, dimension };
    format!("its budget for {key} is used up ({raised})")
}

/// What was decided about the session stands above what its strategy returned.
fn settled(session: &Session, exit: types::ExitReason, fault: Fault) -> (types::ExitReason, Fault) {
    use types::ExitReason as E;
    if fault == Fault::Host {
        return (exit, fault);
    }
    let ledger = &session.run.ledger;
    if let Some(d) = ledger.ending(session.account)
        && matches!(exit, E::Returned | E::Failed(_) | E::Trapped(_) | E::TimedOut)
    {
        return (E::Exhausted(d.into()), Fault::None);
    }
    if session.cancel.is_cancelled() && !matches!(exit, E::Exhausted(_)) {
        return (E::Cancelled, Fault::None);
    }
    (exit, fault)
}

/// A report as its reader is told, and the journal keeps it: a child's is scrubbed for its parent, a root's is without keys.
///
/// # Errors
/// What of it is spilled can't be written down.
pub(super) async fn told(session: &Session, report: Option<types::Report>) -> Result<Option<types::Report>, End> {
    Ok(match report {
        None => None,
        Some(report) if session.parent.is_some() => Some(scrub_report(session, report, Reader::Parent).await?),
        Some(report) => Some(redact_report(session, report)),
    })
}

/// The end in the place of a new attempt that could do nothing: a dimension without which none can think is spent. How the last attempt
/// ended stands in its words.
pub(super) fn nothing_left(session: &Session, end: &AttemptEnd) -> Option<AttemptEnd> {
    let dimension = used_up(session)?;
    let exit = types::ExitReason::Exhausted(dimension.into());
    let (_, used_up) = words(&exit);
    Some(AttemptEnd {
        detail: Some(format!(
            "{}; its last attempt ended: {}",
            used_up.unwrap_or_default(),
            end.cause()
        )),
        exit,
        report: end.report.clone(),
        fault: Fault::None,
    })
}

fn used_up(session: &Session) -> Option<Dimension> {
    use Dimension as D;
    let ledger = &session.run.ledger;
    let spent = ledger.spent(session.account);
    [
        D::Iterations,
        D::Tokens,
        D::CostMicroUsd,
        D::Fuel,
        D::WallClockMs,
        D::HostCalls,
    ]
    .into_iter()
    .find(|d| ledger.is_used_up(session.account, *d) && spent.get(*d) > 0)
}

fn fault(ended: &Ended) -> Fault {
    match ended {
        Err(Stopped::Trapped(_) | Stopped::Host(End::TimedOut(_) | End::Broke(_))) => Fault::Guest,
        Err(Stopped::Host(End::Host(_))) => Fault::Host,
        _ => Fault::None,
    }
}

fn stopped_exit(session: &Session, stopped: Stopped) -> types::ExitReason {
    let other = |name: &str, message: String| {
        let message = scrub_words(session, &message);
        types::ExitReason::Failed(Refusal::new(RefusalKind::Other(name.to_owned()), message).into())
    };
    match stopped {
        Stopped::Host(End::Exhausted { dimension, .. }) => types::ExitReason::Exhausted(dimension.into()),
        Stopped::Host(End::TimedOut(_)) => types::ExitReason::TimedOut,
        Stopped::Host(End::Cancelled) => types::ExitReason::Cancelled,
        Stopped::Host(End::Suspended | End::Passivated) => types::ExitReason::Interrupted,
        Stopped::Host(End::NoRoom(what)) => {
            types::ExitReason::Failed(Refusal::new(RefusalKind::RateLimited, what).into())
        }
        Stopped::Host(End::Broke(what)) => types::ExitReason::Trapped(scrub_words(session, &what)),
        Stopped::Host(End::Diverged(what)) => other("diverged", what),
        Stopped::Host(end @ End::RecordEnds) => other("diverged", end.to_string()),
        Stopped::Host(End::Storage(what)) => other("storage", what),
        Stopped::Host(End::Host(what)) => other("host-bug", what),
        Stopped::Unusable(why) => other("unusable", why),
        Stopped::Trapped(words) => types::ExitReason::Trapped(scrub_words(session, &words)),
        Stopped::Exited(code) => other("no-answer", format!("it exited with {code} and gave no answer")),
    }
}

/// The row's words for an end.
pub fn row(result: &types::RunResult, detail: Option<String>) -> SessionEnd {
    let (exit, error) = words(&result.exit);
    let error = detail.or(error).map(|e| text::prefix(&e, ERROR_KEPT).to_owned());
    SessionEnd {
        kind: match &result.exit {
            types::ExitReason::Returned => EndKind::Completed,
            types::ExitReason::Cancelled => EndKind::Cancelled,
            _ => EndKind::Failed,
        },
        exit,
        outcome: result.report.as_ref().map(|r| outcome_name(r.outcome).to_owned()),
        error,
        result: codec::encode(result),
    }
}

/// The record of an end that no attempt writes down.
pub(super) fn record(session: &SessionId, result: &types::RunResult, spent: Amounts) -> Record {
    Record::Update(SessionUpdate {
        session: session.clone(),
        transition: Transition::Ended(row(result, None)),
        spent: Some(spent),
        at_ms: now_ms(),
    })
}

/// An exit reason's name, and what went wrong in words.
pub fn words(exit: &types::ExitReason) -> (String, Option<String>) {
    use types::ExitReason as E;
    let (name, error) = match exit {
        E::Returned => ("returned", None),
        E::Failed(error) => {
            let refusal = Refusal::from(error.clone());
            ("failed", Some(refusal.to_string()))
        }
        E::Exhausted(d) => {
            let d = Dimension::from(*d);
            ("exhausted", Some(used_up_words(d)))
        }
        E::TimedOut => ("timed-out", Some("a step or its start took too long".to_owned())),
        E::Cancelled => ("cancelled", None),
        E::Trapped(words) => ("trapped", Some(words.clone())),
        E::Interrupted => ("interrupted", None),
        E::Other(name) => return (name.clone(), None),
    };
    (name.to_owned(), error)
}

/// An outcome by the contract's name.
pub fn outcome_name(outcome: types::Outcome) -> &'static str {
    match outcome {
        types::Outcome::Achieved => "achieved",
        types::Outcome::PartlyAchieved => "partly-achieved",
        types::Outcome::NotAchieved => "not-achieved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_budget_that_was_used_up_name_its_key() {
        let cost = used_up_words(Dimension::CostMicroUsd);
        assert_eq!(cost, "its budget for usd is used up (--budget usd=N, tree.usd=N)");
        let time = used_up_words(Dimension::WallClockMs);
        assert!(time.ends_with("(--budget wall=TIME, tree.wall=TIME)"), "{time}");
    }
}
