//! One instance's side of the host, and the path of its calls. Interfaces describe a call ([`Look`], [`Write`], [`Operation`]);
//! what happens around it happens here, once for all of them.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::amounts::Amounts;
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::{EventKind, now_ms};
use crate::ids::{Digest, StreamId};
use crate::ledger::Reservation;
use crate::plugin::rights::Rights;
use crate::session::Session;
use crate::session::clock::Clock;
use crate::session::codec;
use crate::session::end::End;
use crate::session::op::{Ended, Op, OpBody, OpEnd};
use crate::session::step::Step;
use crate::session::tape::{Recorded, Tape, refusal_body, size};
use crate::store::{
    Answer, Effect, EffectResult, Intent, Note, NoteKind, Observation, OpKind, Outcome, OutcomeStatus, Record, Sync,
};

/// Bytes of records that may wait for the next commit.
const PENDING: usize = 64 << 10;

/// An imported function with its arguments; encoded, it is what replay compares.
pub trait Call: Serialize + std::marker::Sync {
    /// Interface and function: `blackboard.get`.
    const NAME: &'static str;

    /// Whether the guest's rights allow it.
    ///
    /// # Errors
    /// The denial, which names what would allow it.
    fn grant(&self, _guest: &Guest) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether its arguments keep to the caps.
    ///
    /// # Errors
    /// The refusal, which names the limit.
    fn caps(&self, _guest: &Guest) -> Result<(), Refusal> {
        Ok(())
    }
}

/// A call that changes nothing: its answer is its observation.
pub trait Look: Call {
    /// What the guest is told.
    type Answer: Serialize + DeserializeOwned + Send;

    /// Finds the answer.
    fn look(&self, guest: &Guest) -> impl Future<Output = Result<Self::Answer, Refusal>> + Send;
}

/// A call that changes the blackboard: the effect commits together with its record.
pub trait Write: Call {
    /// The space, for people.
    fn space(&self) -> &str;
    /// The change.
    fn effect(&self, guest: &Guest) -> Effect;
    /// Bytes that it stores.
    fn bytes(&self) -> u64;
}

/// A call that has something done outside: by a task of the session, recorded before and after.
pub trait Operation: Call + Send + 'static {
    /// Its kind.
    const KIND: OpKind;

    /// The model or the tool, for people.
    fn name(&self, guest: &Guest) -> String;

    /// The bodies that make up the request.
    fn request(&self) -> Vec<(Digest, Vec<u8>)>;

    /// When the intent must be on the disk before the effect is sent.
    fn sync(&self, guest: &Guest) -> Sync;

    /// Sets aside what it may cost.
    ///
    /// # Errors
    /// The dimension that has no room.
    fn reserve(&mut self, guest: &Guest) -> Result<Reservation, Refusal>;

    /// It begins: it was reserved for, or a replay takes it over from the record. In the guest's order, the same in both.
    fn begun(&mut self, _guest: &Guest) {}

    /// Whether it may be done again when a crash left its end unknown.
    fn repeatable(&self) -> bool {
        true
    }

    /// A refusal as the guest is told.
    fn refused(&self, refusal: &Refusal) -> OpBody;

    /// Does it. When `under.cancel` is raised it stops and says what it cost until then.
    fn run(self, under: Under) -> impl Future<Output = Done> + Send;

    /// What to tell people when it begins and when it ended.
    fn events(&self, guest: &Guest, op: &str, closing: bool) -> (EventKind, EndedEvent);
}

/// Makes the event of an operation's end.
pub type EndedEvent = Box<dyn FnOnce(&Done, Duration) -> EventKind + Send>;

/// What an operation runs under.
pub struct Under {
    /// Who asked.
    pub guest: Arc<Guest>,
    /// Its number.
    pub op: u32,
    /// Raised when it must stop.
    pub cancel: CancellationToken,
    /// What was set aside for it.
    pub reserved: Amounts,
}

/// How an operation ended.
#[derive(Debug)]
pub struct Done {
    /// How.
    pub status: OutcomeStatus,
    /// What the guest is told.
    pub body: OpBody,
    /// What it cost.
    pub charged: Amounts,
}

/// One instance's side of the host: a strategy's attempt, or one tool call.
pub struct Guest {
    /// The session that it works for.
    pub session: Arc<Session>,
    /// Its sequence of operations and observations.
    pub stream: StreamId,
    /// The plugin's name, for messages.
    pub plugin: String,
    /// What this instance may do.
    pub rights: Rights,
    /// Its tools, by the names that it sees.
    pub tools: Vec<String>,
    /// Its meter.
    pub step: Step,
    /// The time that it sees.
    pub clock: Clock,
    /// Completions begun.
    completions: AtomicU32,
    /// Why the host wants it ended, noticed where no value could say so.
    fault: Mutex<Option<End>>,
    tape: Mutex<Tape>,
}

impl Guest {
    /// A guest that replays what was recorded and goes on live from there.
    pub fn new(
        session: Arc<Session>,
        stream: StreamId,
        plugin: String,
        rights: Rights,
        tools: Vec<String>,
        recorded: Recorded,
    ) -> Arc<Self> {
        let limits = &session.run.limits;
        let fuel = step_fuel(&session);
        let step = Step::new(Duration::from_millis(limits.step_wall), fuel);
        let clock = Clock::new(session.started_ms);
        let tape = Mutex::new(Tape::new(stream.clone(), recorded));
        Arc::new(Self {
            session,
            stream,
            plugin,
            rights,
            tools,
            step,
            clock,
            completions: AtomicU32::new(0),
            fault: Mutex::new(None),
            tape,
        })
    }

    /// True for the strategy itself, false for a tool call.
    pub fn is_strategy(&self) -> bool {
        self.stream.scope.is_root()
    }

    /// Which of its completions this one is, from 0: by its own stream alone, so that a rebuilt instance counts the same.
    pub fn next_completion(&self) -> u32 {
        self.completions.fetch_add(1, Ordering::AcqRel)
    }

    /// Counts a call of the host's own interfaces.
    ///
    /// # Errors
    /// The calls of this step are used up, or the host wants the instance ended.
    pub fn enter(&self) -> Result<(), End> {
        if let Some(end) = self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(end);
        }
        let (ledger, account) = (&self.session.run.ledger, self.session.account);
        ledger.charge(account, Amounts::of(Dimension::HostCalls, 1));
        let limit = self.session.run.limits.host_calls;
        if self.step.count_call() > limit {
            return Err(self.run_out(
                Dimension::HostCalls,
                format!("it made more than {limit} calls into the host in one step (limits.host_calls)"),
            ));
        }
        match ledger.caps(account).get(Dimension::HostCalls) {
            Some(cap) if ledger.spent(account).get(Dimension::HostCalls) > cap => Err(self.run_out(
                Dimension::HostCalls,
                format!("it made more than {cap} calls into the host (--budget host-calls=N)"),
            )),
            _ => Ok(()),
        }
    }

    /// A call that changes nothing.
    ///
    /// # Errors
    /// What ends the instance; refusals are values.
    pub async fn look<C: Look>(&self, call: &C) -> Result<Result<C::Answer, Refusal>, End> {
        self.enter()?;
        let args = codec::digest(C::NAME, call);
        if let Some(seen) = self.replay(C::NAME, args)? {
            return decode_body(&seen);
        }
        let answer = match call.grant(self).and_then(|()| call.caps(self)) {
            Ok(()) => call.look(self).await,
            Err(refusal) => Err(refusal),
        };
        self.note_denial(answer.as_ref().err());
        self.observe(C::NAME, args, Answer::Body(codec::encode(&answer)))?;
        self.flush_if_large().await?;
        Ok(answer)
    }

    /// A call that changes the blackboard.
    ///
    /// # Errors
    /// What ends the instance; refusals are values.
    pub async fn write<C: Write>(&self, call: &C) -> Result<Result<EffectResult, Refusal>, End> {
        self.enter()?;
        let args = codec::digest(C::NAME, call);
        if let Some(seen) = self.replay(C::NAME, args)? {
            return self.replay_write(&seen);
        }
        let reserved = call.grant(self).and_then(|()| call.caps(self)).and_then(|()| {
            let amounts = Amounts::of(Dimension::StoredBytes, call.bytes());
            Ok(self.session.run.ledger.reserve(self.session.account, amounts)?)
        });
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(refusal) => {
                self.note_denial(Some(&refusal));
                self.observe(C::NAME, args, Answer::Body(refusal_body::<EffectResult>(&refusal)))?;
                return Ok(Err(refusal));
            }
        };
        let result = self.commit_write(call, args, reservation).await?;
        Ok(Ok(result))
    }

    async fn commit_write<C: Write>(&self, call: &C, args: Digest, held: Reservation) -> Result<EffectResult, End> {
        let (op, at_ms) = (self.tape().next_op(), now_ms());
        let charged = held.amounts();
        let stream = self.stream.clone();
        let intent = Intent {
            stream: stream.clone(),
            op,
            kind: OpKind::Write,
            name: call.space().to_owned(),
            request: vec![args],
            reserved: charged,
            at_ms,
        };
        let outcome = Outcome {
            stream,
            op,
            status: OutcomeStatus::Done,
            body: Vec::new(),
            charged,
            at_ms,
        };
        self.push(Record::Intent(intent))?;
        self.push(Record::Outcome(outcome))?;
        self.observe(C::NAME, args, Answer::Delivered(op))?;
        let effect = call.effect(self);
        let result = self.append_pending(Some(effect), Sync::Durable).await?;
        let result = result.ok_or_else(|| End::Host("the store gave no result for a write".to_owned()))?;
        match result {
            EffectResult::Written(_) | EffectResult::Appended(..) | EffectResult::Deleted => held.settle(charged),
            _ => held.release(),
        }
        Ok(result)
    }

    fn replay_write(&self, seen: &Observation) -> Result<Result<EffectResult, Refusal>, End> {
        match seen.answer {
            Answer::Delivered(op) => {
                let mut tape = self.tape();
                let number = tape.next_op();
                let recorded = tape.recorded(op).and_then(|op| op.outcome.as_ref());
                let (_, body, _) = recorded.filter(|_| number == op).ok_or_else(|| missing_outcome(op))?;
                postcard::from_bytes(body).map(Ok).map_err(|e| End::Host(e.to_string()))
            }
            _ => decode_body(seen),
        }
    }

    /// Starts an operation and tells the guest its number at once; a refusal is what waiting for it will answer.
    ///
    /// # Errors
    /// What ends the instance.
    pub async fn start<C: Operation>(self: &Arc<Self>, call: C) -> Result<u32, End> {
        self.enter()?;
        let args = codec::digest(C::NAME, &call);
        if let Some(seen) = self.replay(C::NAME, args)? {
            return self.replay_start(call, &seen).await;
        }
        let (op, refused) = self.begin(call).await?;
        let answer = match refused {
            Some(refusal) => Answer::Body(codec::encode(&refusal)),
            None => Answer::Started(op),
        };
        self.observe(C::NAME, args, answer)?;
        Ok(op)
    }

    async fn replay_start<C: Operation>(self: &Arc<Self>, call: C, seen: &Observation) -> Result<u32, End> {
        if let Answer::Body(body) = &seen.answer {
            let refusal: Refusal = codec::decode(body).map_err(|e| End::Host(e.to_string()))?;
            let number = self.tape().next_op();
            self.keep_refused(&call, number, &refusal);
            return Ok(number);
        }
        let (op, _) = self.begin(call).await?;
        Ok(op)
    }

    /// Starts an operation and waits for its outcome: one observation for both.
    ///
    /// # Errors
    /// What ends the instance.
    pub async fn perform<C: Operation>(self: &Arc<Self>, call: C) -> Result<OpBody, End> {
        self.enter()?;
        let args = codec::digest(C::NAME, &call);
        if let Some(seen) = self.replay(C::NAME, args)? {
            return match seen.answer {
                Answer::Delivered(op) => {
                    let (number, _) = self.begin(call).await?;
                    if number != op {
                        return Err(End::Diverged(format!("operation {op} is {number} now")));
                    }
                    Ok(self.delivered(op)?.body.clone())
                }
                Answer::Body(body) => {
                    let body: OpBody = codec::decode(&body).map_err(|e| End::Host(e.to_string()))?;
                    self.tape().next_op();
                    Ok(body)
                }
                Answer::Started(_) => Err(End::Diverged("a call that was started is waited for now".to_owned())),
            };
        }
        let (number, refused) = self.begin(call).await?;
        let op = self.tape().op(number).ok_or_else(|| missing_outcome(number))?;
        let ended = match refused {
            Some(_) => op.ended().ok_or_else(|| missing_outcome(number))?,
            None => self.outcome(&op).await?,
        };
        self.deliver(C::NAME, args, &op, &ended).await?;
        Ok(ended.body.clone())
    }

    /// Waits for an operation's outcome.
    ///
    /// # Errors
    /// What ends the instance.
    pub async fn wait(&self, name: &'static str, number: u32) -> Result<OpBody, End> {
        self.enter()?;
        let args = codec::digest(name, &number);
        if let Some(seen) = self.replay(name, args)? {
            return match seen.answer {
                Answer::Delivered(op) => Ok(self.delivered(op)?.body.clone()),
                Answer::Body(body) => codec::decode(&body).map_err(|e| End::Host(e.to_string())),
                Answer::Started(_) => Err(End::Diverged("a wait is recorded as a start".to_owned())),
            };
        }
        let op = self.tape().op(number).ok_or_else(|| missing_outcome(number))?;
        let ended = self.outcome(&op).await?;
        self.deliver(name, args, &op, &ended).await?;
        Ok(ended.body.clone())
    }

    /// Waits until one of the operations has ended and says which, the lowest position if several have.
    ///
    /// # Errors
    /// What ends the instance.
    pub async fn wait_any(&self, name: &'static str, ops: &[u32], timeout_ms: Option<u32>) -> Result<Option<u32>, End> {
        self.enter()?;
        let args = codec::digest(name, &(ops, timeout_ms));
        if let Some(seen) = self.replay(name, args)? {
            return decode_body(&seen).map(|answer: Result<Option<u32>, Refusal>| answer.unwrap_or(None));
        }
        let found: Vec<Op> = ops.iter().filter_map(|n| self.tape().op(*n)).collect();
        let first = self.first_ended(&found, timeout_ms).await?;
        self.observe(name, args, Answer::Body(codec::encode(&Ok::<_, Refusal>(first))))?;
        Ok(first)
    }

    async fn first_ended(&self, ops: &[Op], timeout_ms: Option<u32>) -> Result<Option<u32>, End> {
        if ops.is_empty() {
            return Ok(None);
        }
        let _pause = self.step.pause();
        let any = futures_util::future::select_all(ops.iter().map(|op| Box::pin(op.wait())));
        let timeout = async {
            match timeout_ms {
                Some(ms) => tokio::time::sleep(Duration::from_millis(ms.into())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            (ended, ..) = any => { ended.ok_or(End::Suspended)?; }
            () = self.session.cancel.cancelled() => return Ok(None),
            () = timeout => {}
        }
        let position = ops.iter().position(|op| op.ended().is_some());
        Ok(position.and_then(|p| u32::try_from(p).ok()))
    }

    /// Asks an operation to stop.
    ///
    /// # Errors
    /// What ends the instance.
    pub fn cancel(&self, name: &'static str, number: u32) -> Result<(), End> {
        self.enter()?;
        let args = codec::digest(name, &number);
        if self.replay(name, args)?.is_some() {
            if let Some(op) = self.tape().op(number) {
                op.cancel.cancel();
            }
            return Ok(());
        }
        if let Some(op) = self.tape().op(number) {
            op.cancel.cancel();
        }
        self.observe(name, args, Answer::Body(codec::encode(&Ok::<(), Refusal>(()))))
    }

    /// Records something for people; a replay records nothing.
    ///
    /// # Errors
    /// What ends the instance.
    pub fn note(&self, kind: NoteKind, body: Vec<u8>) -> Result<bool, End> {
        if self.tape().replaying() {
            return Ok(false);
        }
        self.push(Record::Note(Note {
            stream: self.stream.clone(),
            kind,
            body,
            at_ms: now_ms(),
        }))?;
        Ok(true)
    }

    /// Says that the guest waited (a timer, a file, the network): its clock goes on to now.
    pub fn waited(&self) {
        self.observe_quietly("wasi.wait");
    }

    /// True when the next thing to replay is the end of a wait, which then is at once.
    pub fn replays_wait(&self) -> bool {
        self.tape().replays_next("wasi.wait")
    }

    /// Reads the clock; each 1,024th reading takes real time in.
    pub fn read_clock(&self) {
        if self.clock.read() {
            self.observe_quietly("wasi.clock");
        }
    }

    fn observe_quietly(&self, name: &'static str) {
        let args = codec::digest(name, &());
        let done = match self.replay(name, args) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => self.observe(name, args, Answer::Body(Vec::new())),
            Err(end) => Err(end),
        };
        if let Err(end) = done {
            self.fault
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(end);
        }
    }

    /// Commits everything that waits for it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn flush(&self, sync: Sync) -> Result<(), End> {
        self.append_pending(None, sync).await.map(drop)
    }

    /// Commits `records` together with everything that waits.
    ///
    /// # Errors
    /// The store failed.
    pub async fn append(&self, records: Vec<Record>, sync: Sync) -> Result<(), End> {
        for record in records {
            self.push(record)?;
        }
        self.flush(sync).await
    }

    /// Operations that have not ended.
    pub fn open_ops(&self) -> usize {
        self.tape().open_ops()
    }

    /// Notes that `dimension` ran out, and makes the end that says so.
    pub fn run_out(&self, dimension: Dimension, message: String) -> End {
        self.session.run.ledger.ran_out(self.session.account, dimension);
        End::Exhausted { dimension, message }
    }

    /// Charges the fuel burnt since the last time.
    pub fn charge_fuel(&self) {
        let used = self.step.settle_fuel();
        self.session
            .run
            .ledger
            .charge(self.session.account, Amounts::of(Dimension::Fuel, used));
    }

    /// Fuel for the next step: the step's limit or the rest of the session's budget, the smaller.
    pub fn step_fuel(&self) -> u64 {
        step_fuel(&self.session)
    }

    // ---- the parts of the path ----

    fn replay(&self, name: &str, args: Digest) -> Result<Option<Observation>, End> {
        let seen = self.tape().replay(name, args)?;
        if let Some(seen) = &seen {
            self.clock.observe(seen.at_ms);
        }
        Ok(seen)
    }

    /// Grant, caps, ledger, intent; then the operation runs in a task of the session. Gives its number, and the
    /// refusal where it never began.
    async fn begin<C: Operation>(self: &Arc<Self>, mut call: C) -> Result<(u32, Option<Refusal>), End> {
        let request = call.request();
        let digests: Vec<Digest> = request.iter().map(|(digest, _)| *digest).collect();
        let number = self.tape().next_op();
        if self.adopt(number, &digests)? {
            call.begun(self);
            return Ok((number, None));
        }
        let known = self.tape().recorded(number).is_some();
        let reserved = call
            .grant(self)
            .and_then(|()| call.caps(self))
            .and_then(|()| call.reserve(self));
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(refusal) => {
                self.note_denial(Some(&refusal));
                self.keep_refused(&call, number, &refusal);
                return Ok((number, Some(refusal)));
            }
        };
        call.begun(self);
        if known && !call.repeatable() {
            self.interrupted(&call, number, reservation).await?;
            return Ok((number, None));
        }
        if known {
            self.session
                .run
                .ledger
                .resent(self.session.account, reservation.amounts());
        } else {
            let intent = Intent {
                stream: self.stream.clone(),
                op: number,
                kind: C::KIND,
                name: call.name(self),
                request: digests,
                reserved: reservation.amounts(),
                at_ms: now_ms(),
            };
            let bodies = self.tape().unknown(request);
            for record in bodies.into_iter().chain([Record::Intent(intent)]) {
                self.push(record)?;
            }
            self.append_pending(None, call.sync(self)).await?;
        }
        self.spawn(call, number, reservation);
        Ok((number, None))
    }

    /// An effect that the host went down in, and that can't be made again: whether it happened is not known.
    async fn interrupted<C: Operation>(&self, call: &C, number: u32, held: Reservation) -> Result<(), End> {
        let words = "The host went down during this call; whether it took effect is not known.";
        let body = call.refused(&Refusal::new(RefusalKind::Interrupted, words));
        let charged = held.amounts();
        let (status, at_ms) = (OutcomeStatus::Interrupted, now_ms());
        let encoded = codec::encode(&body);
        let outcome = Outcome {
            stream: self.stream.clone(),
            op: number,
            status,
            body: encoded,
            charged,
            at_ms,
        };
        self.append(vec![Record::Outcome(outcome)], Sync::Durable).await?;
        held.settle(charged);
        self.tape().keep(Op::done(number, false, Ended { status, body }));
        Ok(())
    }

    /// Takes over an operation whose outcome the journal has. False when it must be done.
    fn adopt(&self, number: u32, request: &[Digest]) -> Result<bool, End> {
        let mut tape = self.tape();
        let Some(recorded) = tape.recorded(number) else {
            return Ok(false);
        };
        if recorded.request != request {
            return Err(End::Diverged(format!(
                "operation {number} asks for something else than its record"
            )));
        }
        let Some(ended) = tape.outcome(number)? else {
            return Ok(false);
        };
        tape.keep(Op::done(number, false, ended));
        Ok(true)
    }

    fn keep_refused<C: Operation>(&self, call: &C, number: u32, refusal: &Refusal) {
        let ended = Ended {
            status: OutcomeStatus::Failed,
            body: call.refused(refusal),
        };
        self.tape().keep(Op::done(number, true, ended));
    }

    fn spawn<C: Operation>(self: &Arc<Self>, call: C, number: u32, reservation: Reservation) {
        let cancel = self.session.cancel.child_token();
        let (op, end) = Op::open(number, cancel.clone());
        self.tape().keep(op);
        let name = self.stream.scope.op_name(number);
        let (started, ended) = call.events(self, &name, reservation.is_closing());
        self.session.event(started);
        let under = Under {
            guest: self.clone(),
            op: number,
            cancel,
            reserved: reservation.amounts(),
        };
        let guest = self.clone();
        self.session
            .tasks
            .spawn(async move { guest.drive(call, under, reservation, end, ended).await });
    }

    /// The task of one operation: does it, records its outcome together with the charge, then tells.
    async fn drive<C: Operation>(
        self: Arc<Self>,
        call: C,
        under: Under,
        reservation: Reservation,
        end: OpEnd,
        event: EndedEvent,
    ) {
        let (number, begun) = (under.op, std::time::Instant::now());
        let cancelled = call.refused(&Refusal::cancelled());
        let bug = Refusal::new(
            RefusalKind::Other("host-bug".to_owned()),
            "The host failed in this call.",
        );
        let panicked = call.refused(&bug);
        let whole = reservation.amounts();
        let done = tokio::select! {
            biased;
            () = self.session.run.suspend.cancelled() => return reservation.release(),
            () = self.session.over.cancelled() => {
                Done { status: OutcomeStatus::Cancelled, body: cancelled, charged: whole }
            }
            done = AssertUnwindSafe(call.run(under)).catch_unwind() => done.unwrap_or(Done {
                status: OutcomeStatus::Failed,
                body: panicked,
                charged: whole,
            }),
        };
        let outcome = Outcome {
            stream: self.stream.clone(),
            op: number,
            status: done.status,
            body: codec::encode(&done.body),
            charged: done.charged,
            at_ms: now_ms(),
        };
        let record = Record::Outcome(outcome);
        let fits = self.count_record(&record);
        let run = &self.session.run;
        let kept = run.append(vec![record], None, Sync::Durable).await;
        reservation.settle(done.charged);
        self.session.event(event(&done, begun.elapsed()));
        self.session.report_spending();
        if let Err(failed) = kept.and(fits) {
            self.fault
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(failed);
        }
        end.end(Ended {
            status: done.status,
            body: done.body,
        });
    }

    async fn outcome(&self, op: &Op) -> Result<Arc<Ended>, End> {
        let _pause = self.step.pause();
        tokio::select! {
            biased;
            ended = op.wait() => ended.ok_or(End::Suspended),
            () = self.session.run.suspend.cancelled() => Err(End::Suspended),
        }
    }

    /// The first time that the guest is told of an outcome: from here on the record shows it.
    async fn deliver(&self, name: &str, args: Digest, op: &Op, ended: &Ended) -> Result<(), End> {
        let answer = if op.refused {
            Answer::Body(codec::encode(&ended.body))
        } else {
            Answer::Delivered(op.number)
        };
        self.observe(name, args, answer)?;
        if matches!(ended.body, OpBody::Completion(Ok(_))) {
            self.new_step();
        }
        self.flush_if_large().await
    }

    fn delivered(&self, number: u32) -> Result<Arc<Ended>, End> {
        let op = self.tape().op(number).ok_or_else(|| missing_outcome(number))?;
        let ended = op.ended().ok_or_else(|| missing_outcome(number))?;
        if matches!(ended.body, OpBody::Completion(Ok(_))) {
            self.new_step();
        }
        Ok(ended)
    }

    /// A model's reply ends a strategy's step; a tool call is one step whatever it asks for.
    fn new_step(&self) {
        if self.is_strategy() {
            self.charge_fuel();
            self.step.begin(self.step_fuel());
        }
    }

    fn observe(&self, name: &str, args: Digest, answer: Answer) -> Result<(), End> {
        let at_ms = self.clock.observe(now_ms());
        let fuel = self.step.fuel_used();
        let observation = self.tape().observe(name, args, answer, fuel, at_ms);
        self.push(Record::Observation(observation))
    }

    /// Keeps a record for the next commit, within the session's part of the journal.
    fn push(&self, record: Record) -> Result<(), End> {
        self.count_record(&record)?;
        self.tape().push(record);
        Ok(())
    }

    fn count_record(&self, record: &Record) -> Result<(), End> {
        let (ledger, account, limits) = (&self.session.run.ledger, self.session.account, &self.session.run.limits);
        let bytes = u64::try_from(size(record)).unwrap_or(u64::MAX);
        ledger.charge(account, Amounts::of(Dimension::JournalBytes, bytes));
        let cap = ledger
            .caps(account)
            .get(Dimension::JournalBytes)
            .unwrap_or(limits.journal_bytes);
        if ledger.spent(account).get(Dimension::JournalBytes) > cap {
            let message = format!("its part of the journal is full: {cap} bytes (limits.journal_bytes)");
            return Err(self.run_out(Dimension::JournalBytes, message));
        }
        if self.session.records.fetch_add(1, Ordering::AcqRel) >= limits.journal_records {
            let most = limits.journal_records;
            let message = format!("its part of the journal is full: {most} records (limits.journal_records)");
            return Err(self.run_out(Dimension::JournalBytes, message));
        }
        Ok(())
    }

    async fn flush_if_large(&self) -> Result<(), End> {
        if self.tape().pending_bytes() > PENDING {
            self.flush(Sync::Commit).await
        } else {
            Ok(())
        }
    }

    async fn append_pending(&self, effect: Option<Effect>, sync: Sync) -> Result<Option<EffectResult>, End> {
        let records = self.tape().take_pending();
        if records.is_empty() && effect.is_none() {
            return Ok(None);
        }
        self.session.run.append(records, effect, sync).await
    }

    fn note_denial(&self, refusal: Option<&Refusal>) {
        if let Some(refusal) = refusal.filter(|r| r.kind == RefusalKind::Denied) {
            self.session.denied(&self.plugin, &refusal.message);
        }
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn step_fuel(session: &Session) -> u64 {
    let rest = session.run.ledger.remaining(session.account, Dimension::Fuel);
    rest.map_or(session.run.limits.fuel, |rest| rest.min(session.run.limits.fuel))
}

fn decode_body<T: DeserializeOwned>(seen: &Observation) -> Result<Result<T, Refusal>, End> {
    match &seen.answer {
        Answer::Body(body) => codec::decode(body).map_err(|e| End::Host(e.to_string())),
        _ => Err(End::Diverged(format!("observation {} is of another kind", seen.seq))),
    }
}

fn missing_outcome(op: u32) -> End {
    End::Host(format!(
        "the journal has no outcome of operation {op}, which was delivered"
    ))
}
