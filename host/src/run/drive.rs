//! Drives a session to its end: runs its attempt in a task of its own, reads how it ended, and writes that down once before
//! anybody hears of it.

use std::sync::Arc;

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::{EventKind, now_ms};
use crate::instance::{Instances, Prepared, Stopped, StrategyEnd, run_strategy};
use crate::session::Session;
use crate::session::codec;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::store::{Record, SessionUpdate, Status, Sync};
use crate::text;

/// Characters of an error that a row keeps.
const ERROR_KEPT: usize = 2000;

/// How a session ended.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// It ended, and this is recorded.
    Final(types::RunResult),
    /// It is suspended and can be resumed.
    Suspended,
}

/// Runs one attempt of `guest`'s session to its recorded end.
pub(super) async fn drive(
    instances: Instances,
    guest: Arc<Guest>,
    prepared: Prepared,
    task: types::Task,
) -> Result<Ending, End> {
    let session = guest.session.clone();
    let attempt = {
        let (instances, guest) = (instances.clone(), guest.clone());
        tokio::spawn(async move { run_strategy(&instances, guest, prepared, task).await })
    };
    // A panic in a host function ends this session's task alone.
    let end = attempt.await.unwrap_or_else(|panic| StrategyEnd {
        ended: Err(Stopped::Host(End::Host(format!(
            "the host failed in this session: {panic}"
        )))),
        checkpoint: None,
    });
    if matches!(end.ended, Err(Stopped::Host(End::Suspended))) {
        return suspend(&guest).await;
    }
    session.over.cancel();
    session.tasks.close();
    session.tasks.wait().await;
    let (result, detail) = result(&session, end);
    record(&guest, &result, detail).await?;
    Ok(Ending::Final(result))
}

async fn suspend(guest: &Guest) -> Result<Ending, End> {
    let session = &guest.session;
    session.tasks.close();
    session.tasks.wait().await;
    let update = SessionUpdate {
        status: Some(Status::Interrupted),
        spent: Some(session.run.ledger.spent(session.account)),
        ..empty_update(session)
    };
    guest.append(vec![Record::Update(update)], Sync::Durable).await?;
    session.event(EventKind::Suspended);
    Ok(Ending::Suspended)
}

async fn record(guest: &Guest, result: &types::RunResult, detail: Option<String>) -> Result<(), End> {
    let session = &guest.session;
    let spent = session.run.ledger.spent(session.account);
    let (exit, error) = words(&result.exit);
    let error = detail.or(error);
    let outcome = result
        .report
        .as_ref()
        .map(|report| outcome_name(report.outcome).to_owned());
    let status = match &result.exit {
        types::ExitReason::Returned => Status::Completed,
        types::ExitReason::Cancelled => Status::Cancelled,
        _ => Status::Failed,
    };
    let update = SessionUpdate {
        status: Some(status),
        exit: Some(exit.clone()),
        outcome: outcome.clone(),
        error: error.as_ref().map(|e| text::prefix(e, ERROR_KEPT).to_owned()),
        result: Some(codec::encode(result)),
        spent: Some(spent),
        ..empty_update(session)
    };
    // A full journal still takes its session's end.
    let records = vec![Record::Update(update)];
    if guest.append(records.clone(), Sync::Durable).await.is_err() {
        session.run.append(records, None, Sync::Durable).await?;
    }
    session.report_spending();
    session.event(EventKind::SessionEnded {
        exit,
        outcome,
        error,
        spent,
    });
    Ok(())
}

fn empty_update(session: &Session) -> SessionUpdate {
    SessionUpdate {
        session: session.id.clone(),
        status: None,
        attempt: Some(session.attempt),
        exit: None,
        outcome: None,
        error: None,
        result: None,
        spent: None,
        at_ms: now_ms(),
    }
}

/// What the host saw and what the agent said, apart; and which limit or clock it was, in words.
fn result(session: &Session, end: StrategyEnd) -> (types::RunResult, Option<String>) {
    let ledger = &session.run.ledger;
    let limit = session.run.limits.report;
    let (exit, report, detail) = match end.ended {
        Ok(Ok(report)) => match crate::interfaces::report_fits(&report, limit) {
            Ok(()) => (types::ExitReason::Returned, Some(report), None),
            Err(refusal) => (types::ExitReason::Failed(refusal.into()), None, None),
        },
        Ok(Err(error)) => (types::ExitReason::Failed(cleaned(error)), None, None),
        Err(stopped) => {
            let detail = detail(&stopped);
            (stopped_exit(stopped), None, detail)
        }
    };
    // A dimension that was refused ends the session so, whatever it returned.
    let exit = match (ledger.ending(session.account), exit) {
        (Some(d), types::ExitReason::Returned | types::ExitReason::Failed(_)) => types::ExitReason::Exhausted(d.into()),
        (_, exit) => exit,
    };
    let spent = amounts(&ledger.spent(session.account));
    let report = report.or(end.checkpoint);
    (
        types::RunResult {
            exit,
            report,
            attempts: session.attempt,
            spent,
        },
        detail,
    )
}

fn detail(stopped: &Stopped) -> Option<String> {
    match stopped {
        Stopped::Host(End::Exhausted { message, .. } | End::TimedOut(message)) => Some(message.clone()),
        _ => None,
    }
}

fn cleaned(mut error: types::Error) -> types::Error {
    error.message = text::prefix(&error.message, ERROR_KEPT).to_owned();
    error
}

fn stopped_exit(stopped: Stopped) -> types::ExitReason {
    let other = |name: &str, message: String| {
        types::ExitReason::Failed(Refusal::new(RefusalKind::Other(name.to_owned()), message).into())
    };
    match stopped {
        Stopped::Host(End::Exhausted { dimension, .. }) => types::ExitReason::Exhausted(dimension.into()),
        Stopped::Host(End::TimedOut(_)) => types::ExitReason::TimedOut,
        Stopped::Host(End::Cancelled) => types::ExitReason::Cancelled,
        Stopped::Host(End::Suspended) => types::ExitReason::Interrupted,
        Stopped::Host(End::Diverged(what)) => other("diverged", what),
        Stopped::Host(End::Broke(what)) => other("broke-a-limit", what),
        Stopped::Host(End::Host(what)) => other("host-bug", what),
        Stopped::Trapped(words) => types::ExitReason::Trapped(words),
        Stopped::Exited(code) => other("no-answer", format!("it exited with {code} and gave no answer")),
    }
}

/// An exit reason's name, and what went wrong in words.
pub(super) fn words(exit: &types::ExitReason) -> (String, Option<String>) {
    use types::ExitReason as E;
    let (name, error) = match exit {
        E::Returned => ("returned", None),
        E::Failed(error) => {
            let refusal = Refusal::from(error.clone());
            ("failed", Some(refusal.to_string()))
        }
        E::Exhausted(d) => (
            "exhausted",
            Some(format!("its budget of {} was used up", Dimension::from(*d))),
        ),
        E::TimedOut => ("timed-out", Some("a step or its start took too long".to_owned())),
        E::Cancelled => ("cancelled", None),
        E::Trapped(words) => ("trapped", Some(words.clone())),
        E::Interrupted => ("interrupted", None),
        E::Other(name) => return (name.clone(), None),
    };
    (name.to_owned(), error)
}

/// An outcome by the contract's name.
pub(super) fn outcome_name(outcome: types::Outcome) -> &'static str {
    match outcome {
        types::Outcome::Achieved => "achieved",
        types::Outcome::PartlyAchieved => "partly-achieved",
        types::Outcome::NotAchieved => "not-achieved",
    }
}

fn amounts(amounts: &Amounts) -> Vec<types::Amount> {
    amounts
        .iter()
        .map(|(d, value)| types::Amount {
            dimension: d.into(),
            value,
        })
        .collect()
}
