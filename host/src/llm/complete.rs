//! A completion: tries under one deadline, each in turn for the provider's limiter, until an answer is whole or nothing
//! more can be hoped for.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cleaned::cleaned;
use super::estimate;
use super::fault::Fault;
use super::model::Model;
use super::protocol::{Answer, Tell};
use super::provider::{Backend, Endpoint};
use super::request::{Delta, Failure, Reply, Request, Spare};
use super::retry::{self, Next};
use super::transport::Attempt;
use super::usage::{Charged, End};
use crate::bindings::llm::Completion;
use crate::blocking;
use crate::config::{Scope, raised_with};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::limits::{self, Unit};

/// Asks `model`, and tells `tell` of text as it comes, as it is; the answer and errors are without the request's secrets. A try that used something and came to nothing is followed by another
/// only where `spare` has room for it.
///
/// It ends at `deadline`, after `limits.llm.total`, or at `cancel`, whichever comes first. No wait between two tries goes on until
/// `worth_until`, when its answer is of no use any more: where one would, the failure before it is told at once. Dropping the future
/// closes the connection, and nothing is known then of what was used.
///
/// # Errors
/// [`Failure`], which says what was used until then and whether the request may have reached the provider.
pub async fn complete(
    model: &Model,
    request: &Request,
    tell: &(dyn Fn(Delta) + Send + Sync),
    spare: &Spare<'_>,
    cancel: &CancellationToken,
    deadline: Instant,
    worth_until: Instant,
) -> Result<Reply, Failure> {
    let reply = match &model.provider.backend {
        Backend::Script(_) if cancel.is_cancelled() => Err(Failure::unsent(Refusal::cancelled())),
        Backend::Script(script) => script.complete(model, request, tell),
        Backend::Http(endpoint) => {
            let total = Duration::from_millis(endpoint.limits.llm_total);
            let deadline = deadline.min(Instant::now() + total);
            let clock = Clock {
                cancel,
                deadline,
                worth_until: deadline.min(worth_until),
            };
            Tries {
                model,
                request,
                endpoint,
                clock,
                spare,
                tries: 0,
                sent: false,
                wire_bytes: 0,
                lost: Charged::default(),
            }
            .run(tell)
            .await
        }
    }?;
    Ok(Reply {
        completion: cleaned(reply.completion, &request.secrets),
        ..reply
    })
}

/// What ends a completion from outside.
struct Clock<'a> {
    cancel: &'a CancellationToken,
    deadline: Instant,
    /// Waits between tries end before it.
    worth_until: Instant,
}

/// Why a wait ended without its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    Cancelled,
    TooLate,
}

impl Clock<'_> {
    async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Stopped::Cancelled),
            done = work => Ok(done),
            () = tokio::time::sleep_until(self.deadline) => Err(Stopped::TooLate),
        }
    }

    /// How long a wait for another try may be.
    fn left(&self) -> Duration {
        self.worth_until.saturating_duration_since(Instant::now())
    }
}

/// The tries of one completion, and what they add up to.
struct Tries<'a> {
    model: &'a Model,
    request: &'a Request,
    endpoint: &'a Endpoint,
    clock: Clock<'a>,
    spare: &'a Spare<'a>,
    tries: u32,
    sent: bool,
    wire_bytes: u64,
    /// Used by tries that came to nothing.
    lost: Charged,
}

impl Tries<'_> {
    async fn run(mut self, tell: &Tell<'_>) -> Result<Reply, Failure> {
        loop {
            let permit = match self.clock.within(self.endpoint.limiter.acquire()).await {
                Ok(permit) => permit,
                Err(stopped) => return Err(self.stopped(stopped)),
            };
            // Not before its turn: of those that wait there may be many.
            let output_limit = self.endpoint.output_limit();
            let body = blocking::in_place(|| {
                let body = self.endpoint.encode(self.request, &self.model.id, output_limit)?;
                Ok(serde_json::to_vec(&body).expect("a JSON value can be written"))
            });
            let body = body.map_err(|refusal| self.failure(refusal))?;
            self.tries += 1;
            let mut attempt = Box::new(Attempt::new(self.endpoint));
            let work = attempt.run(self.endpoint, body, self.request, tell);
            let ended = self.clock.within(Box::pin(work)).await;
            let shown = attempt.was_shown();
            self.sent |= attempt.was_sent();
            self.wire_bytes += attempt.wire_bytes;
            let broken = attempt.charged(estimate::input_estimate(self.request), End::Broken);
            let whole = attempt.charged(estimate::input_estimate(self.request), End::Whole);
            let fault = match ended {
                Ok(Ok(())) => match attempt.finish() {
                    Ok(answer) => {
                        permit.succeeded();
                        return Ok(self.reply(answer, whole));
                    }
                    Err(fault) => fault,
                },
                Ok(Err(fault)) => fault,
                Err(stopped) => {
                    self.lost = self.lost.plus(broken);
                    return Err(self.stopped(stopped));
                }
            };
            if fault.is_overload() {
                permit.overloaded();
            } else {
                drop(permit);
            }
            self.lost = self.lost.plus(broken);
            // What was shown was paid for, and is not asked for anew as if nothing had been.
            if shown || !self.endpoint.learns_from(&fault, output_limit) {
                self.after(fault, shown, tell).await?;
            }
        }
    }

    /// Waits where the try is worth repeating.
    async fn after(&mut self, fault: Fault, shown: bool, tell: &Tell<'_>) -> Result<(), Failure> {
        let key = self.endpoint.key_words();
        let blame = self.endpoint.blame(&self.model.id, &key);
        let limits = &self.endpoint.limits;
        let wait = match retry::next(&fault, self.tries, self.clock.left(), limits, retry::random(), blame) {
            Next::Again(wait) => wait,
            Next::Stop(refusal) => return Err(self.failure(refusal)),
        };
        let refusal = fault.refusal(blame);
        if let Err(dimension) = (self.spare)(&self.lost.usage(self.model.price)) {
            return Err(self.failure(no_room(refusal, dimension)));
        }
        let reason = refusal.message;
        tracing::info!(
            session = %self.request.conversation.session, provider = %self.endpoint.owner.provider,
            tries = self.tries, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), %reason, "a completion is tried again"
        );
        if shown {
            tell(Delta::Restarted { reason });
        }
        match self.clock.within(tokio::time::sleep(wait)).await {
            Ok(()) => Ok(()),
            Err(stopped) => Err(self.stopped(stopped)),
        }
    }

    fn reply(&self, answer: Answer, whole: Charged) -> Reply {
        let completion = Completion {
            parts: answer.parts,
            finish_reason: answer.finish_reason,
            model: answer.model.unwrap_or_else(|| self.model.id.clone()),
            usage: self.lost.plus(whole).usage(self.model.price),
        };
        Reply {
            completion,
            tries: self.tries,
            wire_bytes: self.wire_bytes,
        }
    }

    fn stopped(&self, stopped: Stopped) -> Failure {
        self.failure(match stopped {
            Stopped::Cancelled => Refusal::cancelled(),
            Stopped::TooLate => {
                let total = limits::show(self.endpoint.limits.llm_total, Unit::Millis);
                let provider = &self.endpoint.owner.provider;
                Refusal::new(
                    RefusalKind::TimedOut,
                    format!(
                        "The model provider {provider} did not finish before the deadline, which is at most {total} (limits.llm.total)."
                    ),
                )
            }
        })
    }

    fn failure(&self, refusal: Refusal) -> Failure {
        Failure {
            refusal,
            spent: self.lost.usage(self.model.price),
            sent: self.sent,
            tries: self.tries,
        }
    }
}

/// A failure that would be tried again if there were something left for it.
fn no_room(refusal: Refusal, dimension: Dimension) -> Refusal {
    let message = format!(
        "{}; it is not tried again, as the budget has no room for what that try used ({})",
        refusal.message.trim_end_matches('.'),
        raised_with(dimension, &[Scope::Root])
    );
    Refusal { message, ..refusal }
}
