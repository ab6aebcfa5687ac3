//! An agent's life from its first attempt to its recorded end: each attempt in a task of its own, a fault answered as the policy says, the
//! end written down once before anybody hears of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::bindings::types;
use crate::event::{EventKind, now_ms};
use crate::ids::{Scope, StreamId};
use crate::instance::{Prepared, Stopped, parked, run_strategy};
use crate::interfaces::{Reader, amounts, end_emit, scrub_report};
use crate::session::end::End;
use crate::session::guest::{Guest, Making};
use crate::session::tape::Recorded;
use crate::session::unwritten::Unwritten;
use crate::session::{Attempt, Session, codec};
use crate::store::{NoteKind, Record, SessionUpdate, Start, Sync, Transition};
use crate::supervisor::Supervisor;
use crate::supervisor::ending::{self, AttemptEnd, Ended, words};
use crate::supervisor::policy::{self, History, Next};
use crate::supervisor::restore;
use crate::supervisor::start::{AgentStart, StartBody};

/// How a session ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// It ended, and this is recorded.
    Final(types::RunResult),
    /// It is suspended and can be resumed.
    Suspended,
}

/// An agent about to live.
pub struct Agent {
    /// Its session.
    pub session: Arc<Session>,
    /// What its present attempt is made of.
    pub start: AgentStart,
    /// Its strategy, ready to be instantiated.
    pub prepared: Prepared,
    /// Where it stands.
    pub from: From,
    /// Raised when somebody asks for its end.
    pub asked: CancellationToken,
    /// Raised when it is on record that its parent's end was asked for; a root has none.
    above: Option<CancellationToken>,
    /// Whether its end was asked for by what is on record above it, and not yet in its own row.
    unwritten: AtomicBool,
    /// When its guest was told of that.
    heard: OnceLock<Instant>,
    /// Whether it has a place to hear of it, where it waited without an instance.
    has_place: AtomicBool,
}

/// Where an agent's life is taken up.
pub struct From {
    /// The attempt.
    pub attempt: u32,
    /// What the journal has of it: of the strategy itself, and of its tool calls.
    pub recorded: BTreeMap<Scope, Recorded>,
    /// When it was restarted before, in milliseconds awake.
    pub restarts_ms: Vec<u64>,
    /// Whether its end was asked for already.
    pub cancel_asked: bool,
}

impl From {
    /// From the beginning.
    pub fn beginning() -> Self {
        Self {
            attempt: 1,
            recorded: BTreeMap::new(),
            restarts_ms: Vec::new(),
            cancel_asked: false,
        }
    }
}

impl Agent {
    /// It has not begun to live.
    pub fn new(
        session: Arc<Session>,
        start: AgentStart,
        prepared: Prepared,
        from: From,
        asked: CancellationToken,
        above: Option<CancellationToken>,
    ) -> Self {
        Self {
            session,
            start,
            prepared,
            from,
            asked,
            above,
            unwritten: AtomicBool::new(false),
            heard: OnceLock::new(),
            has_place: AtomicBool::new(false),
        }
    }

    /// Lives to the recorded end.
    ///
    /// # Errors
    /// What is done can't be written down.
    pub(super) async fn live(mut self: Box<Self>, supervisor: &Supervisor) -> Result<Ending, End> {
        let mut history = History {
            attempts: self.from.attempt,
            max_attempts: self.start.max_attempts,
            restarts_ms: std::mem::take(&mut self.from.restarts_ms),
            rebuilt: false,
        };
        let mut guest = self.first(supervisor);
        let lived = match self.lives(supervisor, &mut history, &mut guest).await {
            // Whatever it was about to write, the run was suspended first.
            Err(End::Suspended) => Box::pin(self.suspend(&guest)).await,
            lived => lived,
        };
        self.session.leave_interrupted();
        lived
    }

    /// What comes seldom is boxed: an agent that only waits keeps no room for it.
    async fn lives(
        &mut self,
        supervisor: &Supervisor,
        history: &mut History,
        guest: &mut Arc<Guest>,
    ) -> Result<Ending, End> {
        let session = self.session.clone();
        if self.from.cancel_asked {
            self.announce(history.attempts);
            session.cancel.cancel();
            let end = ending::read(&session, Err(Stopped::Host(End::Cancelled)));
            return Box::pin(self.end(supervisor, guest, end)).await;
        }
        if guest.is_replaying() {
            guest.postpone_active();
        } else if session.parent.is_some() {
            self.write_active(history.attempts).await?;
        }
        self.announce(history.attempts);
        loop {
            let ended = self.attempt(supervisor, guest).await?;
            if matches!(ended, Err(Stopped::Host(End::Suspended))) {
                return Box::pin(self.suspend(guest)).await;
            }
            if let Err(Stopped::Host(End::Diverged(what))) = &ended {
                guest.leave_postponed();
                supervisor.diverged(&session, what);
                return Ok(Ending::Suspended);
            }
            if let Err(Stopped::Host(End::Storage(what))) = ended {
                return Err(End::Storage(what));
            }
            if let Err(Stopped::Host(End::NoRoom(what))) = &ended
                && (session.parent.is_none() || guest.is_replaying())
            {
                // Nobody is told, as a parent of one that begins would be: what this machine lacks now ends nothing that was begun.
                Box::pin(self.suspend(guest)).await?;
                return Err(End::NoRoom(what.clone()));
            }
            let end = ending::read(&session, ended);
            let dice = [&session.run.seed[..], session.id.to_string().as_bytes()].concat();
            let next = policy::next(end.fault, history, &session.run.limits, session.awake_ms(), &dice);
            if next == Next::Rebuild && session.run.keeping.journal().is_some() {
                history.rebuilt = true;
                *guest = Box::pin(self.rebuild(guest, &end)).await?;
                continue;
            }
            let Next::Restart(wait) = next else {
                return Box::pin(self.end(supervisor, guest, end)).await;
            };
            self.close(guest).await;
            if !session.run.suspend.is_cancelled() {
                end_emitted(guest).await?;
                self.abandon().await?;
            }
            let decided = self.asked.is_cancelled() || session.run.suspend.is_cancelled();
            if let Some(end) = ending::nothing_left(&session, &end).filter(|_| !decided) {
                return Box::pin(self.end(supervisor, guest, end)).await;
            }
            match Box::pin(self.restart(guest, history, &end, wait)).await? {
                Wait::Over(next) => *guest = next,
                Wait::Cancelled => {
                    let end = ending::read(&session, Err(Stopped::Host(End::Cancelled)));
                    return Box::pin(self.end(supervisor, guest, end)).await;
                }
                Wait::OutOfTime => {
                    let ended = ending::read(&session, Ok(Err(out_of_time(&session))));
                    return Box::pin(self.end(supervisor, guest, ended)).await;
                }
                Wait::Suspended => return Box::pin(self.suspend(guest)).await,
            }
        }
    }

    fn first(&mut self, supervisor: &Supervisor) -> Arc<Guest> {
        supervisor.inherit(&self.session, self.from.attempt);
        let mut recorded = std::mem::take(&mut self.from.recorded);
        let own = recorded.remove(&Scope::ROOT).unwrap_or_default();
        if own.observations.is_empty() {
            self.session.wakes();
        }
        self.session.begins(self.from.attempt);
        self.session.inherit_children(self.from.attempt);
        let attempt = Attempt::new(self.from.attempt, self.start.started_ms, recorded);
        self.guest(&attempt, own)
    }

    fn guest(&self, attempt: &Arc<Attempt>, recorded: Recorded) -> Arc<Guest> {
        let making = making(&self.session, attempt, &self.start, recorded);
        let guest = Guest::new(self.session.clone(), attempt.clone(), making);
        show_earlier_children(&guest);
        guest
    }

    fn announce(&self, attempt: u32) {
        self.session.event(EventKind::SessionStarted {
            parent: self.session.parent.as_ref().map(ToString::to_string),
            role: self.session.role.clone(),
            strategy: self.session.strategy.clone(),
            attempt,
        });
        self.session.report_spending();
    }

    /// Runs one attempt, over as many instances as it takes: one that only waits may lose its place, and is built again when what it waits for is
    /// there.
    async fn attempt(&self, supervisor: &Supervisor, guest: &mut Arc<Guest>) -> Result<Ended, End> {
        loop {
            let ended = self.instance(supervisor, guest).await?;
            if !matches!(ended, Err(Stopped::Host(End::Passivated))) {
                return Ok(ended);
            }
            guest.flush(Sync::Commit).await?;
            let above = || self.ends_with_it(supervisor, guest);
            if let Err(stopped) = self.while_asked(parked(guest), above).await? {
                return Ok(Err(stopped));
            }
            if self.session.leaves_unwritten() {
                return Ok(Err(Stopped::Host(self.operations_end(guest).await)));
            }
            if self.ends_untold(supervisor) {
                return Ok(Err(Stopped::Host(End::Cancelled)));
            }
            *guest = self.built_again(guest)?;
        }
    }

    /// Runs one instance in a task of its own: a panic in a host function ends this attempt alone.
    async fn instance(&self, supervisor: &Supervisor, guest: &Arc<Guest>) -> Result<Ended, End> {
        let (instances, prepared) = (supervisor.instances().clone(), self.prepared.clone());
        let (task, own) = (self.start.task.clone(), guest.clone());
        let running = tokio::spawn(async move { run_strategy(&instances, own, prepared, task).await });
        let joined = self.while_asked(running, || ()).await?;
        Ok(joined.unwrap_or_else(|panic| {
            Err(Stopped::Host(End::Host(format!(
                "the host failed in this session: {}",
                panicked(panic)
            ))))
        }))
    }

    /// Waits for `work`. When somebody asks for the session's end meanwhile, that is written down before its guest sees it; where it stands above, `above` is
    /// done before that.
    async fn while_asked<T>(&self, work: impl Future<Output = T>, above: impl FnOnce()) -> Result<T, End> {
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = self.asked.cancelled(), if !self.session.cancel.is_cancelled() => {}
        }
        if self.above.as_ref().is_some_and(CancellationToken::is_cancelled) {
            // After a crash its parent ends at once, and all below it. Its own row tells it with its end, unless that is written after a crash.
            self.unwritten.store(true, Ordering::Relaxed);
            above();
        } else {
            // By itself, to the end, even where the work ends first: what the guest was told is its instance's to commit, in the order of its calls.
            let session = &self.session;
            let spent = session.run.ledger.spent(session.account);
            let asked = session.step(Transition::CancelAsked, Some(spent));
            Box::pin(session.run.append_last(vec![asked])).await?;
        }
        self.session.cancel.cancel();
        let _ = self.heard.set(Instant::now());
        Ok(work.await)
    }

    /// Its end is asked for above it while it waits without an instance: where it has had no children and none of the places is left in which it could hear of
    /// that, it leaves the rest to its parent. What it emitted is told behind the ends of its operations, and so not by the parent.
    fn ends_with_it(&self, supervisor: &Supervisor, guest: &Guest) {
        if !self.session.children().is_empty() || guest.has_emitted() {
            return;
        }
        match self.takes_place(supervisor) {
            true => self.has_place.store(true, Ordering::Relaxed),
            false => self.session.leave_unwritten(),
        }
    }

    /// Waits until its operations, which were told to end, have: so that they say what they cost. Gives why it ends.
    async fn operations_end(&self, guest: &Guest) -> End {
        guest.attempt.tasks.close();
        let grace = Duration::from_millis(self.session.run.limits.cancel_grace);
        // What does not end in time is let go of, as wherever an attempt ends.
        drop(tokio::time::timeout(grace, guest.attempt.tasks.wait()).await);
        match self.session.run.suspend.is_cancelled() {
            true => End::Suspended,
            false => End::Cancelled,
        }
    }

    /// Whether no instance is built again for it to hear of its end, as very many are cancelled at once: its grace is over before, or as many were built as
    /// there are places. One that has had children may have waited for them first, and has its grace after that.
    fn ends_untold(&self, supervisor: &Supervisor) -> bool {
        let grace = Duration::from_millis(self.session.run.limits.cancel_grace);
        let has_place = || self.has_place.swap(false, Ordering::Relaxed) || self.takes_place(supervisor);
        let is_over = |heard: &Instant| heard.elapsed() >= grace || !has_place();
        self.session.children().is_empty() && self.heard.get().is_some_and(is_over)
    }

    /// Whether one more may hear of its end.
    fn takes_place(&self, supervisor: &Supervisor) -> bool {
        let grace = Duration::from_millis(self.session.run.limits.cancel_grace);
        supervisor.instances().last_place(grace)
    }

    /// This step, behind that its end was asked for where that is not in its row.
    fn told(&self, step: Transition) -> impl Iterator<Item = Transition> + use<> {
        let asked = self.unwritten.swap(false, Ordering::Relaxed);
        asked.then_some(Transition::CancelAsked).into_iter().chain([step])
    }

    /// Everything that the attempt started ends with it: operations, tool calls, children.
    async fn close(&self, guest: &Guest) {
        guest.attempt.over.cancel();
        guest.end_postponed();
        guest.attempt.tasks.close();
        guest.attempt.tasks.wait().await;
        guest.charge_fuel();
        self.session.charge_wall();
    }

    /// The attempt ended before it came again to all that was under way in it when the host went down, or a suspension of the run left something
    /// without an outcome: that ends with it.
    async fn abandon(&self) -> Result<(), End> {
        let records = self.session.abandon(&Scope::ROOT);
        if records.is_empty() {
            return Ok(());
        }
        let ended = Unwritten {
            records,
            ..Unwritten::default()
        };
        self.session.write(ended).await
    }

    /// A fault of the host: the same attempt again, from its journal, with what it had under way.
    async fn rebuild(&self, lost: &Guest, end: &AttemptEnd) -> Result<Arc<Guest>, End> {
        let session = &self.session;
        let message = format!(
            "the host failed in this session and builds it again from its journal: {}",
            words(&end.exit).1.unwrap_or_default()
        );
        // A part of the journal that is full has no room for it, and the instance in this one's place finds that out.
        let _ = lost.note(NoteKind::Host, message.clone().into_bytes());
        lost.flush(Sync::Durable).await?;
        session.event(EventKind::Notice { message });
        self.built_again(lost)
    }

    /// The instance in the place of one that is gone, which goes on from what the journal has of it.
    fn built_again(&self, lost: &Guest) -> Result<Arc<Guest>, End> {
        let session = &self.session;
        let Some(journal) = session.run.keeping.journal() else {
            return Err(End::Host("there is no journal to build from".to_owned()));
        };
        let mut recorded =
            restore::recorded(&journal.store, &session.id, lost.attempt.number).map_err(|e| End::store(&e))?;
        let own = recorded.remove(&Scope::ROOT).unwrap_or_default();
        let guest = Guest::in_place_of(lost, making(session, &lost.attempt, &self.start, own));
        show_earlier_children(&guest);
        Ok(guest)
    }

    /// A guest's fault: waits, then writes the start of the next attempt down, which is told how this one ended.
    async fn restart(
        &mut self,
        guest: &Guest,
        history: &mut History,
        end: &AttemptEnd,
        wait: Duration,
    ) -> Result<Wait, End> {
        let session = &self.session;
        let cause = end.cause();
        let next = history.attempts + 1;
        let message = format!("attempt {} ended: {cause}; it is started again", history.attempts);
        guest.note(NoteKind::Host, message.into_bytes()).ok();
        guest.flush_all(Sync::Commit).await?;
        session.event(EventKind::SessionRestarts {
            attempt: next,
            cause,
            after_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        });
        session.wakes();
        tokio::select! {
            biased;
            () = session.run.suspend.cancelled() => return Ok(Wait::Suspended),
            () = self.asked.cancelled() => {
                let spent = session.run.ledger.spent(session.account);
                session.write(guest.steps([Transition::CancelAsked], spent)).await?;
                self.unwritten.store(false, Ordering::Relaxed);
                session.cancel.cancel();
                return Ok(Wait::Cancelled);
            }
            () = session.time_is_up() => return Ok(Wait::OutOfTime),
            () = tokio::time::sleep(wait) => {}
        }
        history.attempts = next;
        history.restarts_ms.push(session.awake_ms());
        history.rebuilt = false;
        let report = match &end.report {
            Some(report) => Some(scrub_report(session, report.clone(), Reader::NextAttempt).await?),
            None => None,
        };
        session.charge_wall();
        let spent = session.run.ledger.spent(session.account);
        self.start.task.attempt = next;
        self.start.task.previous = Some(types::RunResult {
            exit: end.exit.clone(),
            report,
            attempts: next - 1,
            spent: amounts(&spent),
        });
        self.start.started_ms = now_ms();
        self.start.awake_ms = session.awake_ms();
        self.start.spent = session.run.ledger.own_spent(session.account);
        self.write_start(next).await?;
        session.begins(next);
        session.inherit_children(next);
        self.announce(next);
        let attempt = Attempt::new(next, self.start.started_ms, BTreeMap::new());
        Ok(Wait::Over(self.guest(&attempt, Recorded::default())))
    }

    /// A child's instance is about to be. (A root's row says so with its start record, or when a resume finds nothing to tell it again.)
    async fn write_active(&self, attempt: u32) -> Result<(), End> {
        let session = &self.session;
        let active = session.step(Transition::Active { attempt }, None);
        session.run.append(vec![active], None, Sync::Commit).await.map(drop)
    }

    async fn write_start(&self, attempt: u32) -> Result<(), End> {
        let session = &self.session;
        let at_ms = self.start.started_ms;
        let body = StartBody {
            agent: self.start.clone(),
            run: None,
        };
        let start = Record::Start(Start {
            session: session.id.clone(),
            attempt,
            body: codec::encode(&body),
            at_ms,
        });
        let active = Record::Update(SessionUpdate {
            session: session.id.clone(),
            transition: Transition::Active { attempt },
            spent: Some(session.run.ledger.spent(session.account)),
            at_ms,
        });
        session.run.append_last(vec![start, active]).await
    }

    async fn suspend(&self, guest: &Guest) -> Result<Ending, End> {
        guest.leave_postponed();
        guest.attempt.tasks.close();
        guest.attempt.tasks.wait().await;
        let session = &self.session;
        session.charge_wall();
        let spent = session.run.ledger.spent(session.account);
        let mut last = session.take_unwritten();
        last.extend(guest.steps(self.told(Transition::Interrupted), spent));
        match session.write(last).await {
            // Another process holds the database. The run stops all the same, and goes on as one whose process was killed.
            Ok(()) | Err(End::Suspended) => {}
            Err(end) => return Err(end),
        }
        session.event(EventKind::Suspended);
        Ok(Ending::Suspended)
    }

    /// Writes the end down, then tells of it, or has its parent do both. A child's report is scrubbed before that: the journal keeps what its parent sees.
    async fn end(&self, supervisor: &Supervisor, guest: &Guest, end: AttemptEnd) -> Result<Ending, End> {
        let session = &self.session;
        self.close(guest).await;
        let left = || session.children().iter().any(|child| !child.has_ended());
        if session.run.suspend.is_cancelled() && left() {
            // A child of it was told to suspend; both go on in another process.
            return self.suspend(guest).await;
        }
        end_emitted(guest).await?;
        self.abandon().await?;
        // No agent outlives its parent: those that its replay has not reached end before it does.
        supervisor
            .end_lost_children(&session.run, &session.id, guest.attempt.number, session.account)
            .await?;
        let report = ending::told(session, end.report).await?;
        let spent = session.run.ledger.spent(session.account);
        let result = types::RunResult {
            exit: end.exit,
            report,
            attempts: guest.attempt.number,
            spent: amounts(&spent),
        };
        let row = ending::row(&result, end.detail);
        let (exit, outcome, error) = (row.exit.clone(), row.outcome.clone(), row.error.clone());
        let mut last = guest.steps(self.told(Transition::Ended(row)), spent);
        last.events.push(EventKind::SessionEnded {
            exit,
            outcome,
            error,
            spent,
        });
        session.write(last).await?;
        Ok(Ending::Final(result))
    }
}

/// Writes and tells the rest of what an attempt emitted that has ended without returning. A part of the journal that is full has no room for it.
async fn end_emitted(guest: &Guest) -> Result<(), End> {
    match end_emit(guest).await {
        Err(End::Exhausted { .. }) => Ok(()),
        ended => ended,
    }
}

/// What the instance of a strategy is made of, the first of its attempt and any after it.
pub(super) fn making(session: &Session, attempt: &Attempt, start: &AgentStart, recorded: Recorded) -> Making {
    Making {
        stream: StreamId {
            session: session.id.clone(),
            attempt: attempt.number,
            scope: Scope::ROOT,
        },
        plugin: session.strategy.clone(),
        digest: start.strategy.digest,
        rights: session.rights.clone(),
        tools: start.held.clone(),
        fuel: session.run.limits.fuel,
        cancel: session.cancel.clone(),
        over: attempt.over.clone(),
        at_ms: attempt.started_ms,
        awake_ms: start.awake_ms,
        recorded,
        held: None,
        share: None,
    }
}

/// Children of earlier attempts, which have ended, as `guest` may ask for them.
pub(super) fn show_earlier_children(guest: &Guest) {
    for child in guest.session.children() {
        if child.attempt < guest.attempt.number
            && let Some(result) = child.result()
        {
            guest.keep_ended_child(child.handle, result);
        }
    }
}

/// How the wait before a restart went.
enum Wait {
    Over(Arc<Guest>),
    Cancelled,
    OutOfTime,
    Suspended,
}

fn out_of_time(session: &Session) -> types::Error {
    let dimension = crate::error::Dimension::WallClockMs;
    session.run.ledger.ran_out(session.account, dimension);
    crate::error::Refusal::exhausted(dimension, "Its time ran out before it could be started again.").into()
}

/// A panic's words, as far as it has any.
fn panicked(error: tokio::task::JoinError) -> String {
    if !error.is_panic() {
        return "its task was lost".to_owned();
    }
    let payload = error.into_panic();
    let words = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    words
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked".to_owned())
}
