//! The path of a call, for all interfaces alike: replay → grant → caps → ledger → intent → operation → outcome and charge → observation →
//! event. Looks and writes walk it here from end to end; what is done outside begins and ends in `operate`.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::amounts::Amounts;
use crate::error::{Dimension, Refusal};
use crate::event::now_ms;
use crate::ids::Digest;
use crate::ledger::Reservation;
use crate::session::audit::{At, Which};
use crate::session::call::{Look, Missed, Operation, Write};
use crate::session::codec;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::met::Met;
use crate::session::op::{Ended, Op, OpBody};
use crate::session::tape::refusal_body;
use crate::session::unwritten::Unwritten;
use crate::session::waits::Timed;
use crate::store::{
    Answer, EffectResult, Intent, Observation, OpEffect, OpKind, Outcome, OutcomeStatus, Record, Sync, Transition,
};

impl Guest {
    /// A call that changes nothing.
    ///
    /// # Errors
    /// What ends the instance; refusals are values.
    pub async fn look<C: Look>(&self, call: &C) -> Result<Result<C::Answer, Refusal>, End> {
        self.enter()?;
        let args = codec::digest(C::NAME, call);
        if let Some(seen) = self.replayed(C::NAME, args, || Met::call(C::NAME, call))? {
            return decode_body(&seen);
        }
        let answer = match self.admits(call) {
            Ok(()) => match call.look(self).await {
                Ok(answer) => Ok(answer),
                Err(Missed::Refused(refusal)) => Err(refusal),
                Err(Missed::Unread(end)) => return Err(end),
            },
            Err(refusal) => Err(refusal),
        };
        self.note_denial(answer.as_ref().err(), At::Observation(self.next_seq()));
        let used = answer.is_ok().then(|| call.used(self)).flatten();
        self.observe_use(C::NAME, args, Answer::Body(codec::encode(&answer)), used.as_ref())?;
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
        if let Some(seen) = self.replayed(C::NAME, args, || Met::call(C::NAME, call))? {
            return self.replay_write(&seen);
        }
        let reserved = self.admits(call).and_then(|()| {
            let amounts = Amounts::of(Dimension::StoredBytes, call.bytes());
            Ok(self.session.run.ledger.reserve(self.session.account, amounts)?)
        });
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(refusal) => {
                self.note_denial(Some(&refusal), At::Observation(self.next_seq()));
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
        let write = OpEffect {
            stream: self.stream.clone(),
            op,
            effect: call.effect(self),
        };
        let intent = Intent {
            stream: self.stream.clone(),
            op,
            kind: OpKind::Write,
            name: call.space().to_owned(),
            request: vec![args],
            reserved: charged,
            at_ms,
            shared: write.effect.space().run.is_none(),
        };
        let outcome = Outcome {
            stream: self.stream.clone(),
            op,
            status: OutcomeStatus::Done,
            body: Vec::new(),
            charged,
            at_ms,
        };
        let seen = self.observation(C::NAME, args, Answer::Delivered(op), at_ms);
        // With its arguments, so that a space can be made again as it was at any point.
        let mut records = self.tape().unknown(&[(args, codec::of_call(C::NAME, call))]);
        records.extend([Record::Intent(intent), Record::Outcome(outcome), seen]);
        let used = call.used(self);
        let taken = match self.take_with(records, used.as_ref(), op) {
            Ok(taken) => taken,
            Err(full) => {
                held.release();
                return Err(full);
            }
        };
        let result = self.append_taken(taken, Some(write), Sync::Durable).await?;
        let result = result.ok_or_else(|| End::Host("the store gave no result for a write".to_owned()))?;
        match result {
            EffectResult::Written(_) | EffectResult::Appended(..) | EffectResult::Deleted => held.settle(charged),
            _ => held.release(),
        }
        // By whoever writes it: a replay of it tells nobody.
        if let Some(event) = call.event(&result) {
            self.session.event(event);
        }
        Ok(result)
    }

    fn replay_write(&self, seen: &Observation) -> Result<Result<EffectResult, Refusal>, End> {
        match seen.answer {
            Answer::Delivered(op) => {
                let mut tape = self.tape();
                let number = tape.next_op();
                let recorded = tape.take_written(op).filter(|_| number == op);
                let body = recorded.ok_or_else(|| missing_outcome(op))?;
                postcard::from_bytes(&body)
                    .map(Ok)
                    .map_err(|e| End::Host(e.to_string()))
            }
            _ => {
                let told: Result<EffectResult, Refusal> = decode_body(seen)?;
                if let Some(dimension) = told.as_ref().err().and_then(Refusal::used_up) {
                    self.session.run.ledger.ran_out(self.session.account, dimension);
                }
                Ok(told)
            }
        }
    }

    /// Starts an operation and tells the guest its number at once, and the refusal where it did not begin: which waiting for it answers too.
    ///
    /// # Errors
    /// What ends the instance.
    pub async fn start<C: Operation>(self: &Arc<Self>, call: C) -> Result<(u32, Option<Refusal>), End> {
        self.enter()?;
        let args = codec::digest(C::NAME, &call);
        if let Some(seen) = self.replayed(C::NAME, args, || Met::operation(&call))? {
            return self.replay_start(call, &seen).await;
        }
        let (op, refused) = self.begin(call).await?;
        let answer = match &refused {
            Some(refusal) => Answer::Body(codec::encode(refusal)),
            None => Answer::Started(op),
        };
        self.observe(C::NAME, args, answer)?;
        Ok((op, refused))
    }

    async fn replay_start<C: Operation>(
        self: &Arc<Self>,
        call: C,
        seen: &Observation,
    ) -> Result<(u32, Option<Refusal>), End> {
        if let Answer::Body(body) = &seen.answer {
            let refusal: Refusal = codec::decode(body).map_err(|e| End::Host(e.to_string()))?;
            let number = self.tape().next_op();
            self.follow_turn(&call, number);
            self.refused_again::<C>(&refusal);
            self.keep_refused(&call, number, &refusal);
            return Ok((number, Some(refusal)));
        }
        let (op, _) = self.begin(call).await?;
        Ok((op, None))
    }

    /// Starts an operation and waits for its outcome: one observation for both.
    ///
    /// # Errors
    /// What ends the instance.
    pub async fn perform<C: Operation>(self: &Arc<Self>, call: C) -> Result<OpBody, End> {
        self.enter()?;
        let args = codec::digest(C::NAME, &call);
        if let Some(seen) = self.replayed(C::NAME, args, || Met::operation(&call))? {
            return self.replay_perform(call, &seen).await;
        }
        let (number, refused) = self.begin(call).await?;
        let op = self.tape().op(number).ok_or_else(|| missing_outcome(number))?;
        let ended = match refused {
            Some(_) => op.ended().ok_or_else(|| missing_outcome(number))?,
            None => self.outcome(&op).await?,
        };
        self.deliver(C::NAME, args, &op, &ended).await?;
        self.forget(number);
        drop(op);
        Ok(into_body(ended))
    }

    async fn replay_perform<C: Operation>(self: &Arc<Self>, call: C, seen: &Observation) -> Result<OpBody, End> {
        match &seen.answer {
            Answer::Delivered(op) => {
                let (number, _) = self.begin(call).await?;
                if number != *op {
                    return Err(End::Diverged(format!("operation {op} is {number} now")));
                }
                let ended = self.delivered(*op, seen)?;
                self.forget(number);
                Ok(into_body(ended))
            }
            Answer::Body(body) => {
                let body: OpBody = codec::decode(body).map_err(|e| End::Host(e.to_string()))?;
                let number = self.tape().next_op();
                self.follow_turn(&call, number);
                if let Some(refusal) = body.refusal() {
                    self.refused_again::<C>(&refusal);
                }
                Ok(body)
            }
            Answer::Started(_) => Err(End::Diverged("a call that was started is waited for now".to_owned())),
        }
    }

    /// The guest can name this operation no more: its outcome is not kept, where it has one.
    pub fn forget(&self, number: u32) {
        self.tape().forget(number);
    }

    /// Waits for an operation's outcome.
    ///
    /// # Errors
    /// What ends the instance.
    pub async fn wait(&self, name: &'static str, number: u32) -> Result<OpBody, End> {
        self.enter()?;
        let args = codec::digest(name, &number);
        if let Some(seen) = self.replayed(name, args, || Met::call(name, &number))? {
            return match &seen.answer {
                Answer::Delivered(op) => Ok(self.delivered(*op, &seen)?.body.clone()),
                Answer::Body(body) => codec::decode(body).map_err(|e| End::Host(e.to_string())),
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
        if let Some(seen) = self.replayed(name, args, || Met::call(name, &(ops, timeout_ms)))? {
            return decode_body(&seen).map(|answer: Result<Option<u32>, Refusal>| answer.unwrap_or(None));
        }
        let found: Vec<Op> = ops.iter().filter_map(|n| self.tape().op(*n)).collect();
        let wait = Timed::Call(self.next_seq());
        let until = timeout_ms.map(|ms| self.wait_ends(wait, Duration::from_millis(ms.into())));
        let first = self.first_ended(&found, until).await?;
        self.waits.forget(wait);
        self.observe(name, args, Answer::Body(codec::encode(&Ok::<_, Refusal>(first))))?;
        Ok(first)
    }

    /// `until` is when that takes too long, by how long the session will have been awake.
    async fn first_ended(&self, ops: &[Op], until: Option<Duration>) -> Result<Option<u32>, End> {
        if ops.is_empty() {
            return Ok(None);
        }
        let _pause = self.step.pause();
        let (all, cancel, session) = (ops.to_vec(), self.cancel.clone(), self.session.clone());
        self.waits_for(async move {
            let any = futures_util::future::select_all(all.iter().map(|op| Box::pin(op.wait())));
            let timeout = async {
                match until {
                    Some(at) => session.awake.reaches(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { _ = any => {}, () = cancel.cancelled() => {}, () = timeout => {} }
        })
        .await;
        let position = ops.iter().position(|op| op.ended().is_some());
        if position.is_none() && ops.iter().any(Op::is_lost) {
            return Err(self.fault().unwrap_or(End::Suspended));
        }
        Ok(position.and_then(|p| u32::try_from(p).ok()))
    }

    /// Asks an operation to stop.
    ///
    /// # Errors
    /// What ends the instance.
    pub fn cancel(&self, name: &'static str, number: u32) -> Result<(), End> {
        self.enter()?;
        let args = codec::digest(name, &number);
        let seen = self.replayed(name, args, || Met::call(name, &number))?;
        if let Some(op) = self.tape().op(number) {
            op.cancel.cancel();
        }
        match seen {
            Some(_) => Ok(()),
            None => self.observe(name, args, Answer::Body(codec::encode(&Ok::<(), Refusal>(())))),
        }
    }

    /// Steps of the session's life, which has spent so much, behind everything that waits for a commit.
    pub fn steps(&self, transitions: impl IntoIterator<Item = Transition>, spent: Amounts) -> Unwritten {
        // A full journal still takes its session's steps.
        let (mut records, events) = self.take(Which::All, |_| {});
        let steps = transitions.into_iter();
        records.extend(steps.map(|transition| self.session.step(transition, Some(spent))));
        Unwritten { records, events }
    }

    /// A refusal that the record has: the ledger notes it as it did when it was made.
    fn refused_again<C: Operation>(&self, refusal: &Refusal) {
        let Some(dimension) = refusal.used_up() else {
            return;
        };
        let run = &self.session.run;
        if C::KIND == OpKind::Child {
            // A parent that is too poor for a child is not poor for itself.
            run.ledger.had_too_little(self.session.account);
            return;
        }
        run.ledger
            .refused_before(self.session.account, dimension, &refusal.message);
        if dimension == Dimension::Iterations && run.closing_call {
            run.ledger.open_closing(self.session.account);
        }
    }

    async fn outcome(&self, op: &Op) -> Result<Arc<Ended>, End> {
        let _pause = self.step.pause();
        let (waited, suspend) = (op.clone(), self.session.run.suspend.clone());
        self.waits_for(async move {
            tokio::select! { biased; _ = waited.wait() => {}, () = suspend.cancelled() => {} }
        })
        .await;
        op.ended().ok_or_else(|| self.fault().unwrap_or(End::Suspended))
    }

    /// The guest is told of an outcome; from the first time on the record shows it, with the iteration that is given back by it.
    async fn deliver(&self, name: &str, args: Digest, op: &Op, ended: &Ended) -> Result<(), End> {
        let answer = if op.refused {
            Answer::Body(codec::encode(&ended.body))
        } else {
            Answer::Delivered(op.number)
        };
        // What is given back is written down with what it is given back for: where there is no room for that, nothing is.
        let seen = self.observation(name, args, answer, now_ms());
        self.count_record(&seen)?;
        let mut records = vec![seen];
        let first = !op.refused && self.tape().first_delivery(op.number);
        let refunded = first.then(|| self.turn_through(op.number, ended)).flatten();
        if let Some(answer) = refunded {
            let refund = Record::Refund(self.stream.clone(), answer);
            drop(self.count_written(&refund));
            records.push(refund);
            self.session.report_spending();
        }
        self.tape().push_all(records);
        if first && matches!(ended.body, OpBody::Completion(Ok(_))) {
            self.new_step(None);
        }
        self.flush_if_large().await
    }

    /// The same in a replay.
    fn delivered(&self, number: u32, seen: &Observation) -> Result<Arc<Ended>, End> {
        let op = self.tape().op(number).ok_or_else(|| missing_outcome(number))?;
        let ended = op.ended().ok_or_else(|| missing_outcome(number))?;
        if self.tape().first_delivery(number) {
            self.turn_through(number, &ended);
            if matches!(ended.body, OpBody::Completion(Ok(_))) {
                let live = !self.is_replaying();
                self.new_step((!live).then_some(seen.fuel));
            }
        }
        Ok(ended)
    }

    /// Follows which answers did nothing but run code. Gives the answer whose iteration was given back by this outcome.
    fn turn_through(&self, number: u32, ended: &Ended) -> Option<u32> {
        if !self.is_strategy() {
            return None;
        }
        let run = &self.session.run;
        let is_code = |name: &str| {
            let held = self.tools.iter().any(|tool| tool == name);
            held && run.toolbox.get(name).is_some_and(|tool| tool.runs_code())
        };
        let answer = match &ended.body {
            OpBody::Completion(Ok(completion)) => {
                self.attempt.turns().answered(number, completion, is_code);
                None
            }
            OpBody::Tool(_) => {
                let ran = matches!(ended.status, OutcomeStatus::Done | OutcomeStatus::Failed);
                self.attempt.turns().delivered(number, ran)
            }
            OpBody::Completion(Err(_)) | OpBody::Child(_) => None,
        }?;
        let most = run.limits.free_turns;
        run.ledger
            .refund_iteration(self.session.account, most)
            .then_some(answer)
    }
}

/// What an operation told, which nobody else may need.
fn into_body(ended: Arc<Ended>) -> OpBody {
    Arc::unwrap_or_clone(ended).body
}

fn decode_body<T: DeserializeOwned>(seen: &Observation) -> Result<Result<T, Refusal>, End> {
    match &seen.answer {
        Answer::Body(body) => codec::decode(body).map_err(|e| End::Host(e.to_string())),
        _ => Err(End::Diverged(format!("observation {} is of another kind", seen.seq))),
    }
}

pub(super) fn missing_outcome(op: u32) -> End {
    End::Host(format!(
        "the journal has no outcome of operation {op}, which was delivered"
    ))
}
