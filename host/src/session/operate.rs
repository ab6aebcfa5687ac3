//! An operation from its checks to its outcome: begun once, done by a task of its session whoever waits for it, and written down before
//! anybody hears of it.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::amounts::Amounts;
use crate::config::Item;
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::{EventKind, now_ms};
use crate::ids::Digest;
use crate::ledger::{Exhausted, Reservation};
use crate::session::Interrupted;
use crate::session::audit::{self, At};
use crate::session::call::{Begins, Done, EndedEvent, Missed, Operation, Stopping, Under};
use crate::session::codec;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::in_flight::Flying;
use crate::session::op::{Ended, Op, OpEnd};
use crate::session::runner::Waiting;
use crate::session::unwritten::Unwritten;
use crate::store::{Intent, NoteKind, OpKind, Outcome, OutcomeStatus, Record, Sync, Transition};

impl Guest {
    /// Grant, caps, ledger, intent; then the operation runs in a task of the session. Gives its number, and the refusal where it never
    /// began.
    pub(super) async fn begin<C: Operation>(self: &Arc<Self>, mut call: C) -> Result<(u32, Option<Refusal>), End> {
        let request = call.request();
        let digests: Vec<Digest> = request.iter().map(|(digest, _)| *digest).collect();
        // A child is counted as such, and keeps nothing of what was asked.
        let asked = request.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let asked = (C::KIND != OpKind::Child).then_some(asked);
        // What the call holds is taken where it is written down: a replay, and a turn that says again what was said before, need no more of most of it.
        let encoded = match request {
            Cow::Owned(bodies) => Some(bodies),
            Cow::Borrowed(_) => None,
        };
        let number = self.tape().next_op();
        self.follow_turn(&call, number);
        if self.adopt(number, &digests)? {
            self.begun(&mut call, number);
            return Ok((number, None));
        }
        if self.is_told_again() {
            // It came to no end that is recorded: nothing of it is done.
            self.tape().keep(Op::open(number, self.cancel.child_token(), None).0);
            self.begun(&mut call, number);
            return Ok((number, None));
        }
        if self.tape().recorded(number).is_some() {
            let flying = asked.map(|bytes| self.session.in_flight.again(bytes));
            self.begin_again(call, number, flying).await?;
            return Ok((number, None));
        }
        let (reservation, flying) = match self.check(&mut call, asked).await {
            Ok(admitted) => admitted,
            Err(Missed::Unread(end)) => return Err(end),
            Err(Missed::Refused(refusal)) => {
                self.note_denial(Some(&refusal), At::Operation(number));
                self.tell_refused(&call, number, &refusal);
                self.keep_refused(&call, number, &refusal);
                return Ok((number, Some(refusal)));
            }
        };
        let intent = Intent {
            stream: self.stream.clone(),
            op: number,
            kind: C::KIND,
            name: call.name(self),
            request: digests,
            reserved: reservation.amounts(),
            at_ms: now_ms(),
            shared: false,
        };
        let mut records = self.tape().unknown(&encoded.map_or_else(|| call.request(), Cow::Owned));
        records.extend(call.records(self, number));
        records.push(Record::Intent(intent));
        let used = call.used(self);
        let taken = match self.take_with(records, used.as_ref(), number) {
            Ok(taken) => taken,
            Err(full) => {
                // It is not written down, and so it never was.
                reservation.release();
                return Err(full);
            }
        };
        self.begun(&mut call, number);
        let (guest, sync) = (self.clone(), call.sync(self));
        let begins = async move {
            guest.append_taken(taken, None, sync).await?;
            guest.spawn_begun(call, guest.named(number, Begins::Now, flying), reservation);
            Ok((number, None))
        };
        // In a task of its own: a caller that is dropped while this is written down leaves no child without a life, and no intent without
        // an outcome.
        let begun = self.attempt.tasks.spawn(self.tasks.track_future(begins));
        begun
            .await
            .unwrap_or_else(|lost| Err(End::Host(format!("the host failed while an operation began: {lost}"))))
    }

    /// It begins, or is taken over from the record. A model that is asked inside a tool call is thinking; one that was refused was not asked.
    fn begun<C: Operation>(&self, call: &mut C, number: u32) {
        self.void_turn::<C>();
        call.begun(self, number);
    }

    /// `asked` is how many bytes of the request it keeps until it ends.
    async fn check<C: Operation>(
        &self,
        call: &mut C,
        asked: Option<u64>,
    ) -> Result<(Reservation, Option<Flying>), Missed> {
        self.admits(call)?;
        if self.cancel.is_cancelled() {
            // It would end as soon as it began: nobody is told that it did.
            return Err(Refusal::cancelled().into());
        }
        self.session.in_time()?;
        let most = self.session.run.limits.in_flight;
        let flying = asked
            .map(|bytes| self.session.in_flight.admit(bytes, most))
            .transpose()?;
        let mut held = NotBegun(Some(call.reserve(self)?));
        let _pause = self.step.pause();
        call.ready(self).await?;
        let reservation = held.0.take().ok_or_else(Refusal::cancelled)?;
        Ok((reservation, flying))
    }

    /// An operation that was under way when the host went down. It goes on when all that is recorded has been told: until then nobody knows
    /// whether this is the same run.
    async fn begin_again<C: Operation>(
        self: &Arc<Self>,
        mut call: C,
        number: u32,
        flying: Option<Flying>,
    ) -> Result<(), End> {
        // What was set aside for it stood in the ledger until here.
        let mut before = self.session.take_interrupted(&self.stream, number);
        let again = call.again(self, number, &mut before);
        // A completion that is refused now may have been sent.
        let sent = before.take_if(|_| C::KIND == OpKind::Completion && matches!(again, Err(Missed::Refused(_))));
        if let Some(unused) = before {
            unused.release();
        }
        let (reservation, refusal) = match again {
            Ok(reservation) => {
                self.begun(&mut call, number);
                (reservation, None)
            }
            Err(Missed::Unread(end)) => return Err(end),
            Err(Missed::Refused(refusal)) => {
                self.void_turn::<C>();
                let (ledger, account) = (&self.session.run.ledger, self.session.account);
                let cost = sent.unwrap_or_else(|| ledger.reserve_again(account, Amounts::ZERO));
                (cost, Some(refusal))
            }
        };
        let begun = self.named(number, Begins::Again, flying);
        let again = Again {
            call,
            begun,
            reservation,
            refusal,
        };
        if self.is_replaying() {
            self.postpone(Box::new(again));
            return Ok(());
        }
        again.go_on(self).await
    }

    /// Writes down that an operation ended without being done.
    async fn ends_at_once<C: Operation>(
        &self,
        call: &C,
        begun: Begun,
        refusal: &Refusal,
        charged: Amounts,
    ) -> Result<(), End> {
        let status = match refusal.kind {
            RefusalKind::Interrupted => OutcomeStatus::Interrupted,
            RefusalKind::Cancelled => OutcomeStatus::Cancelled,
            _ => OutcomeStatus::Failed,
        };
        self.note_denial(Some(refusal), At::Operation(begun.number));
        let body = call.refused(refusal);
        let mut records = self.session.abandon(&self.stream.scope.child(begun.number));
        records.push(Record::Outcome(Outcome {
            stream: self.stream.clone(),
            op: begun.number,
            status,
            body: codec::encode(&body),
            charged,
            at_ms: now_ms(),
        }));
        // What it tells of has happened: where there is no room for that, the session ends behind it.
        let counted = records.iter().map(|record| self.count_written(record));
        let fits = counted.fold(Ok(()), Result::and);
        self.append_apart(records, Sync::Durable).await?;
        if let Err(full) = fits {
            self.fail(self.journal_full(full));
        }
        begun.end.end(Ended { status, body });
        Ok(())
    }

    /// Takes over an operation whose outcome the journal has, or that an instance before this one started. False when it must be done.
    fn adopt(&self, number: u32, request: &[Digest]) -> Result<bool, End> {
        let mut tape = self.tape();
        if let Some(recorded) = tape.recorded(number) {
            if recorded.request != request {
                return Err(End::Diverged(format!(
                    "operation {number} asks for something else than its record"
                )));
            }
            let burnt = recorded
                .outcome
                .as_ref()
                .map(|(.., charged)| charged.get(Dimension::Fuel));
            if let Some(ended) = tape.take_outcome(number)? {
                tape.keep(Op::done(number, false, ended));
                if self.share.is_some() {
                    self.step
                        .lend(burnt.unwrap_or_default().saturating_add(self.fuel_inside(number)));
                }
                return Ok(true);
            }
        }
        let Some(live) = tape.take_live(number) else {
            return Ok(false);
        };
        tape.keep(live);
        Ok(true)
    }

    /// A tool call may belong to an answer that only runs code; a model asked inside one means that it doesn't.
    pub(super) fn follow_turn<C: Operation>(&self, call: &C, number: u32) {
        if let Some(call) = call.tool_call().filter(|_| self.is_strategy()) {
            let mut turns = self.attempt.turns();
            turns.called(number, call);
            if self.tape().was_thinking(number) {
                turns.void(number);
            }
        }
    }

    fn void_turn<C: Operation>(&self) {
        if let Some(outer) = self.stream.scope.first().filter(|_| C::KIND == OpKind::Completion) {
            self.attempt.turns().void(outer);
        }
    }

    /// Tells people of a tool call that a budget refused, as of others that failed.
    fn tell_refused<C: Operation>(&self, call: &C, number: u32, refusal: &Refusal) {
        if C::KIND != OpKind::ToolCall || refusal.used_up().is_none() {
            return;
        }
        let op = self.stream.scope.op_name(number);
        if let Some((_, ended)) = call.events(self, &op, false) {
            let done = Done::new(OutcomeStatus::Failed, call.refused(refusal), Amounts::ZERO);
            self.session.event(ended(&done, Duration::ZERO));
        }
    }

    pub(super) fn keep_refused<C: Operation>(&self, call: &C, number: u32, refusal: &Refusal) {
        let ended = Ended {
            status: OutcomeStatus::Failed,
            body: call.refused(refusal),
        };
        self.tape().keep(Op::done(number, true, ended));
    }

    /// The guest can name it from here on.
    fn named(&self, number: u32, begins: Begins, flying: Option<Flying>) -> Begun {
        let cancel = self.cancel.child_token();
        let (op, end) = Op::open(number, cancel.clone(), flying);
        self.tape().keep(op);
        Begun {
            number,
            cancel,
            end,
            begins,
            at_ms: self.called_ms(),
            awake_ms: match begins {
                Begins::Now => self.session.awake_ms(),
                Begins::Again => self.told_awake_ms(),
            },
        }
    }

    fn spawn_begun<C: Operation>(self: &Arc<Self>, call: C, begun: Begun, reservation: Reservation) {
        let Begun {
            number,
            cancel,
            end,
            begins,
            at_ms,
            awake_ms,
        } = begun;
        let name = self.stream.scope.op_name(number);
        let told = call
            .events(self, &name, reservation.is_closing())
            .map(|(started, ended)| {
                self.session.event(started);
                ended
            });
        let under = Under {
            guest: self.clone(),
            op: number,
            cancel,
            reserved: reservation.amounts(),
            held: reservation.held(),
            begins,
            at_ms,
            awake_ms,
        };
        let guest = self.clone();
        let task = async move { guest.drive(call, under, reservation, end, told).await };
        self.attempt.tasks.spawn(self.tasks.track_future(task));
    }

    /// The task of one operation: does it, records its outcome together with the charge, then tells.
    async fn drive<C: Operation>(
        self: Arc<Self>,
        call: C,
        under: Under,
        reservation: Reservation,
        end: OpEnd,
        event: Option<EndedEvent>,
    ) {
        let (number, begun) = (under.op, std::time::Instant::now());
        let Some(mut done) = self.done(call, under, reservation.amounts()).await else {
            return self.leave::<C>(number, reservation);
        };
        let outcome = Record::Outcome(Outcome {
            stream: self.stream.clone(),
            op: number,
            status: done.status,
            body: codec::encode(&done.body),
            charged: done.charged,
            at_ms: now_ms(),
        });
        // An instance's host calls were charged as it made them: the record has them for whoever adopts the call.
        let cost = done.charged.with(Dimension::HostCalls, 0);
        let fits = self.count_written(&outcome);
        let mut records = std::mem::take(&mut done.records);
        if C::KIND == OpKind::ToolCall {
            records.extend(self.session.abandon(&self.stream.scope.child(number)));
        }
        records.push(outcome);
        let passed: Vec<String> = reservation.overshoot(cost).iter().map(overshot).collect();
        for message in &passed {
            let note = Record::Note(self.new_note(NoteKind::Host, message.clone().into_bytes()));
            // It is the host's own and says what was spent: it ends nothing.
            drop(self.count_written(&note));
            records.push(note);
        }
        // A child tells of its own records.
        let mut events = match C::KIND {
            OpKind::Child => Vec::new(),
            _ => audit::told(&records),
        };
        // A tool may go on until it is stopped, and commit that it was told of this.
        let is_left = self.is_strategy() && done.then.is_none() && self.session.leaves_unwritten();
        if !is_left {
            let records = std::mem::take(&mut records);
            let appended = self.session.run.append(records, None, done.sync).await.map(drop);
            if let Some(then) = done.then.take() {
                then(appended.as_ref().copied());
            }
            if let Err(failed) = appended {
                // What is not written down nobody hears of: whoever waits finds the operation gone, and why.
                self.settle(reservation, cost);
                return self.fail(failed);
            }
        }
        self.settle(reservation, cost);
        events.extend(event.map(|event| event(&done, begun.elapsed())));
        events.extend(passed.into_iter().map(|message| EventKind::Notice { message }));
        if is_left {
            // One that leaves nothing any more writes it by itself.
            if let Err(failed) = self.session.write(Unwritten { records, events }).await {
                return self.fail(failed);
            }
        } else {
            events.into_iter().for_each(|event| self.session.event(event));
            // One that was told to end tells it with its end.
            if !self.session.cancel.is_cancelled() {
                self.session.report_spending();
            }
        }
        if let Err(full) = fits {
            self.fail(self.journal_full(full));
        }
        end.end(Ended {
            status: done.status,
            body: done.body,
        });
    }

    /// It has no outcome: whoever goes on with the run does it again, and if its session ends first, it ends with that. A child is left to itself.
    fn leave<C: Operation>(&self, number: u32, reservation: Reservation) {
        match C::KIND {
            OpKind::Child | OpKind::Write => reservation.release(),
            kind => self
                .session
                .keep_interrupted(&self.stream, number, Interrupted { kind, reservation }),
        }
    }

    /// It cost so much. The fuel of a call inside a tool call is set aside in that one's own reservation.
    fn settle(&self, reservation: Reservation, charged: Amounts) {
        reservation.settle(charged);
        if let Some(outer) = &self.held {
            outer.spent(Dimension::Fuel, charged.get(Dimension::Fuel));
        }
    }

    /// Does it, until it ends, its attempt does, or the run is suspended.
    async fn done<C: Operation>(&self, call: C, under: Under, whole: Amounts) -> Option<Done> {
        let cancelled = call.refused(&Refusal::cancelled());
        let panicked = call.refused(&Refusal::host_bug(PANICKED));
        let cancel = under.cancel.clone();
        let run = AssertUnwindSafe(call.run(under)).catch_unwind();
        tokio::pin!(run);
        let suspended = self.session.run.suspend.cancelled();
        tokio::pin!(suspended);
        let ended = tokio::select! {
            biased;
            () = &mut suspended, if C::STOPPING != Stopping::Own => return None,
            () = self.over.cancelled() => match C::STOPPING {
                Stopping::LetGo => return Some(Done::new(OutcomeStatus::Cancelled, cancelled, whole)),
                Stopping::Metered => {
                    cancel.cancel();
                    tokio::select! {
                        biased;
                        () = suspended => return None,
                        done = run => done,
                    }
                }
                Stopping::Own => {
                    cancel.cancel();
                    run.await
                }
            },
            done = &mut run => done,
        };
        ended.unwrap_or_else(|_| Some(Done::new(OutcomeStatus::Failed, panicked, whole)))
    }
}

/// An operation that its guest can name, and that is to be done.
struct Begun {
    number: u32,
    /// Raised when it must stop.
    cancel: CancellationToken,
    end: OpEnd,
    begins: Begins,
    /// [`Under::at_ms`].
    at_ms: u64,
    /// [`Under::awake_ms`].
    awake_ms: u64,
}

/// An operation that was under way when the host went down.
struct Again<C> {
    call: C,
    begun: Begun,
    /// What is set aside for it.
    reservation: Reservation,
    /// Why it can't be done any more.
    refusal: Option<Refusal>,
}

/// What waits until all that is recorded has been told.
pub(super) trait Postponed: Send {
    /// Goes on with it.
    fn go(self: Box<Self>, guest: Arc<Guest>) -> Waiting<'static, Result<(), End>>;

    /// Leaves it as it is recorded.
    fn leave(self: Box<Self>, guest: &Guest);
}

impl<C: Operation> Postponed for Again<C> {
    fn go(self: Box<Self>, guest: Arc<Guest>) -> Waiting<'static, Result<(), End>> {
        Box::pin(async move { self.go_on(&guest).await })
    }

    fn leave(self: Box<Self>, guest: &Guest) {
        guest.leave::<C>(self.begun.number, self.reservation);
    }
}

impl<C: Operation> Again<C> {
    /// Why it is not done again, if it isn't.
    fn refusal(&self, guest: &Guest) -> Option<Refusal> {
        if self.refusal.is_some() {
            return self.refusal.clone();
        }
        if !self.call.repeatable() {
            let words = "The host went down during this call; whether it took effect is not known.";
            return Some(Refusal::new(RefusalKind::Interrupted, words));
        }
        let is_over = match C::KIND {
            // It is told, and has an end of its own.
            OpKind::Child => false,
            // Nobody wants the answer any more. It was sent, and what came of it is not known.
            OpKind::Completion => guest.over.is_cancelled() || self.begun.cancel.is_cancelled(),
            // What it burnt until then is not known: told to stop before it begins, it costs no more than the call.
            OpKind::ToolCall | OpKind::Write => guest.over.is_cancelled(),
        };
        is_over.then(Refusal::cancelled)
    }

    async fn go_on(self, guest: &Arc<Guest>) -> Result<(), End> {
        let refusal = self.refusal(guest);
        let Self {
            call,
            begun,
            reservation,
            ..
        } = self;
        if let Some(refusal) = refusal {
            let charged = reservation.amounts();
            reservation.settle(charged);
            return guest.ends_at_once(&call, begun, &refusal, charged).await;
        }
        let run = &guest.session.run;
        let lost = match C::KIND {
            OpKind::Completion => Some(reservation.amounts()),
            // It costs no more than the call: what it may have sent is told, and is no spending.
            _ => call
                .tool_call()
                .and_then(|call| run.toolbox.get(&call.name))
                .filter(|tool| tool.rights.reaches_out())
                .map(|_| Amounts::ZERO),
        };
        if let Some(lost) = lost {
            run.ledger.resent(guest.session.account, lost);
            let resent = Record::Resent(guest.stream.clone(), begun.number);
            // It is the host's own and says what may have been spent: it ends nothing.
            drop(guest.count_written(&resent));
            if let Err(failed) = guest.append_apart(vec![resent], Sync::Commit).await {
                guest.leave::<C>(begun.number, reservation);
                return Err(failed);
            }
        }
        guest.spawn_begun(call, begun, reservation);
        Ok(())
    }
}

/// That an agent is taken up again: it is, when all that is recorded of it has been told.
struct TakenUp;

impl Postponed for TakenUp {
    fn go(self: Box<Self>, guest: Arc<Guest>) -> Waiting<'static, Result<(), End>> {
        Box::pin(async move {
            let attempt = guest.stream.attempt;
            let active = guest.session.step(Transition::Active { attempt }, None);
            guest.append_apart(vec![active], Sync::Commit).await
        })
    }

    fn leave(self: Box<Self>, _guest: &Guest) {}
}

impl Guest {
    /// Writes down that its agent is taken up again when all that is recorded of it has been told, and nothing where it differs from that.
    pub fn postpone_active(&self) {
        self.postpone(Box::new(TakenUp));
    }
}

/// What a guest is told of a panic in an operation's task.
pub const PANICKED: &str = "The host failed in this call.";

/// What was set aside for an operation that has not begun. Refused, or left by its caller, it costs nothing.
struct NotBegun(Option<Reservation>);

impl Drop for NotBegun {
    fn drop(&mut self) {
        if let Some(reservation) = self.0.take() {
            reservation.release();
        }
    }
}

/// That a call cost more than was set aside for it, and which limit it passed by that.
fn overshot(passed: &Exhausted) -> String {
    let (whose, dimension, used) = (passed.whose.words(), passed.dimension, passed.used);
    let over = used - passed.cap;
    let limit = Item {
        scope: passed.whose.scope(),
        dimension,
        value: passed.cap,
    };
    format!(
        "The last call cost more than was set aside for it: {whose} spent {used} {dimension}, {over} over --budget {}.",
        limit.flag()
    )
}
