//! `llm`: completions. Each is an operation: an iteration and an upper bound of its tokens and money are set aside before it
//! is sent, and it is charged by what the provider reports.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use wasmtime::component::Resource;

use crate::amounts::Amounts;
use crate::bindings::{PendingCompletion, llm, types};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::{EventKind, Piece};
use crate::ids::Digest;
use crate::interfaces::State;
use crate::interfaces::scrubbing::prompt_mark;
use crate::ledger::{AccountId, Count, Ledger, Reservation};
use crate::llm::{COMMON_OUTPUT, Conversation, Delta, LEAST_OUTPUT, Model, Request, no_options};
use crate::plugin::grant::Kind;
use crate::scrub::{Known, Secrets};
use crate::session::audit::{ToldBy, Use, Way};
use crate::session::call::{Begins, Call, Done, EndedEvent, Look, Missed, Operation, Under};
use crate::session::codec;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::op::OpBody;
use crate::store::{OpKind, OutcomeStatus, Sync};
use crate::{json, text};

/// The most tokens of an answer where the guest doesn't say how many: enough for much reasoning, and a reservation beside
/// which others have room.
const UNASKED_OUTPUT: u64 = 32_768;

/// Where the guest doesn't say, one of so many parts of what the budget has left, if that is enough for a common answer:
/// completions that run at once must not refuse each other.
const UNASKED_SHARE: u64 = 4;

#[derive(Serialize)]
struct Models;

impl Call for Models {
    const NAME: &'static str = "llm.models";
}

impl Look for Models {
    type Answer = Vec<llm::Model>;

    async fn look(&self, guest: &Guest) -> Result<Self::Answer, Missed> {
        let held = |name| guest.rights.may_llm(&guest.plugin, name).is_ok();
        let default = guest.session.model.iter().filter(|_| held(None));
        let aliases = guest.session.run.models.aliases();
        let granted = aliases.iter().filter(|model| held(Some(&model.name)));
        Ok(default.chain(granted).map(Model::to_guest).collect())
    }
}

/// One completion: the same for `complete`, which waits, and `start`, which does not.
#[derive(Serialize)]
struct Complete {
    digests: Vec<Digest>,
    /// Whether one more handle fits.
    room: bool,
    #[serde(skip)]
    bodies: Vec<(Digest, Vec<u8>)>,
    #[serde(skip)]
    messages: Vec<llm::Message>,
    #[serde(skip)]
    tools: Vec<types::ToolDef>,
    #[serde(skip)]
    options: llm::Options,
    #[serde(skip)]
    model: Result<Model, Refusal>,
    #[serde(skip)]
    closing: bool,
    #[serde(skip)]
    max_output: u32,
    #[serde(skip)]
    ordinal: u32,
    #[serde(skip)]
    lost: Arc<Lost>,
}

impl Complete {
    fn new(
        guest: &Guest,
        messages: Vec<llm::Message>,
        tools: Vec<types::ToolDef>,
        options: Option<llm::Options>,
        room: bool,
    ) -> Self {
        let mut options = options.unwrap_or_else(no_options);
        // One NaN only, so that one request has one digest.
        options.temperature = options.temperature.map(|t| if t.is_nan() { f32::NAN } else { t });
        let mut bodies: Vec<(Digest, Vec<u8>)> = messages.iter().map(|m| body(codec::encode(m))).collect();
        bodies.push(body(codec::encode(&tools)));
        bodies.push(body(codec::encode(&options)));
        let digests = bodies.iter().map(|(digest, _)| *digest).collect();
        let model = resolve(guest, options.model.as_deref());
        Self {
            digests,
            room,
            bodies,
            messages,
            tools,
            options,
            model,
            closing: false,
            max_output: 0,
            ordinal: 0,
            lost: Arc::default(),
        }
    }

    /// The longest answer, in tokens, where the budget has room for one of `rest`.
    fn output(&self, model: &Model, rest: u64) -> u64 {
        let window = model.output_in_window(&self.messages, &self.tools, &self.options);
        let most = window.min(model.max_output_tokens.into()).max(1);
        let (wanted, share) = match self.options.max_output_tokens {
            Some(asked) => (most.min(u64::from(asked).max(1)), rest),
            None => (
                most.min(UNASKED_OUTPUT),
                rest.min(COMMON_OUTPUT.max(rest / UNASKED_SHARE)),
            ),
        };
        let fits = wanted.min(share);
        // Where not even a short answer fits, reserving it makes the refusal, which names the dimension.
        if fits < LEAST_OUTPUT.min(wanted) {
            LEAST_OUTPUT
        } else {
            fits
        }
    }
}

/// What is set aside, besides a completion's own reservation, for tries of it that used something and came to nothing. Given
/// back when the completion is charged, as that charge has it.
#[derive(Debug, Default)]
struct Lost(Mutex<Vec<Reservation>>);

impl Lost {
    /// Sees to it that so much in all is set aside; else says which dimension has no room, and refuses nothing in the ledger:
    /// the session goes on.
    fn cover(&self, ledger: &Ledger, account: AccountId, lost: Amounts) -> Result<(), Dimension> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let more = held.iter().fold(lost, |rest, held| rest.minus(&held.amounts()));
        if more == Amounts::ZERO {
            return Ok(());
        }
        let lacks = |(d, value): &(Dimension, u64)| ledger.remaining(account, *d).is_some_and(|rest| rest < *value);
        if let Some((dimension, _)) = more.iter().find(lacks) {
            return Err(dimension);
        }
        held.push(ledger.reserve(account, more).map_err(|e| e.dimension)?);
        Ok(())
    }

    fn give_back(&self) {
        let held = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        held.into_iter().for_each(Reservation::release);
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn body(bytes: Vec<u8>) -> (Digest, Vec<u8>) {
    (Digest::of(&bytes), bytes)
}

impl Complete {
    /// What of it is read as JSON before it is sent.
    fn json_texts(&self) -> impl Iterator<Item = &str> {
        let schemas = self.tools.iter().map(|tool| tool.input_schema.as_str());
        let options = [&self.options.response_schema, &self.options.provider_options];
        let parts = self.messages.iter().flat_map(|message| match message {
            llm::Message::Assistant(parts) => parts.as_slice(),
            _ => &[],
        });
        let parts = parts.filter_map(|part| match part {
            llm::Part::ToolCall(call) => Some(call.arguments.as_str()),
            llm::Part::Opaque(text) => Some(text.as_str()),
            _ => None,
        });
        schemas
            .chain(options.into_iter().filter_map(|text| text.as_deref()))
            .chain(parts)
    }
}

/// The texts of a message, in order.
fn texts(message: &llm::Message) -> Vec<&str> {
    fn text(content: &types::Content) -> Option<&str> {
        match content {
            types::Content::Text(text) | types::Content::Other(text) => Some(text),
            types::Content::Media(_) => None,
        }
    }
    match message {
        llm::Message::System(text) => vec![text],
        llm::Message::User(blocks) => blocks.iter().filter_map(text).collect(),
        llm::Message::Assistant(parts) => {
            let said = parts.iter().filter_map(|part| match part {
                llm::Part::Text(text) => Some(text.as_str()),
                _ => None,
            });
            said.collect()
        }
        llm::Message::Tool(results) => {
            let blocks = results.iter().flat_map(|result| &result.output.content);
            blocks.filter_map(text).collect()
        }
    }
}

fn resolve(guest: &Guest, name: Option<&str>) -> Result<Model, Refusal> {
    let (session, run) = (&guest.session, &guest.session.run);
    if !run.keeping.is_run() {
        let words = "A tool that is called by itself has no model: an agent gives it one (--tool).";
        return Err(Refusal::denied(words));
    }
    let name = guest.model_alias(name);
    guest.rights.may_llm(&guest.plugin, name)?;
    match (name, &session.model) {
        (None, Some(model)) => Ok(model.clone()),
        (None, None) => Err(Refusal::not_found("This run has no model.")),
        (Some(alias), _) => {
            // What an alias means was settled when the run began.
            let unknown = || Refusal::not_found(format!("This run has no model {}.", text::line(alias, 64)));
            let meant = run.aliases.get(alias).ok_or_else(unknown)?;
            let model = run.models.resolve(&meant.model);
            let model = model.map_err(|e| Refusal::not_found(e.to_string()))?;
            Ok(model.known_as(alias, meant.price))
        }
    }
}

/// Boxed, as many of them wait at once: what is moved from one task to another keeps its room in each.
impl Call for Box<Complete> {
    const NAME: &'static str = "llm.complete";

    fn holds<'a>(&self, secrets: &'a Secrets) -> Option<Known<'a>> {
        let whole = self.bodies.iter().find_map(|(_, body)| secrets.find(body));
        // Whoever gets the prompt reads its texts one behind the other.
        whole.or_else(|| secrets.find_over_edges(self.messages.iter().flat_map(texts)))
    }

    fn grant(&self, _guest: &Guest) -> Result<(), Refusal> {
        self.model.as_ref().map(drop).map_err(Clone::clone)
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        let limits = &guest.session.run.limits;
        if !self.room {
            let message = format!(
                "{} handles are open, the most at once (limits.resources).",
                limits.resources
            );
            return Err(Refusal::new(RefusalKind::RateLimited, message));
        }
        let bytes: u64 = self.bodies.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if bytes > limits.prompt {
            let most = limits.prompt;
            let message = format!("The messages and tools have {bytes} bytes; {most} are the most (limits.prompt).");
            return Err(Refusal::invalid(message));
        }
        if self.messages.is_empty() {
            return Err(Refusal::invalid("A completion needs at least one message."));
        }
        // Each takes some tens of bytes more than it has once it is read.
        let values: u64 = self.json_texts().map(json::values).sum();
        if values > limits.json_values {
            let most = limits.json_values;
            let message = format!(
                "The JSON of a completion has {values} values and keys; {most} are the most (limits.json.values)."
            );
            return Err(Refusal::invalid(message));
        }
        Ok(())
    }

    fn used(&self, guest: &Guest) -> Option<Use<'_>> {
        let alias = guest.model_alias(self.options.model.as_deref());
        Some(Use {
            way: Way::Ask,
            grant: alias.map_or_else(|| Kind::Llm.name().into(), |alias| format!("llm:{alias}").into()),
            target: self.model.as_ref().ok()?.name.as_str().into(),
            told_by: ToldBy::Operation,
        })
    }
}

impl Operation for Box<Complete> {
    const KIND: OpKind = OpKind::Completion;

    fn name(&self, _guest: &Guest) -> String {
        self.model.as_ref().map(|m| m.name.clone()).unwrap_or_default()
    }

    fn request(&self) -> Cow<'_, [(Digest, Vec<u8>)]> {
        Cow::Borrowed(&self.bodies)
    }

    fn sync(&self, _guest: &Guest) -> Sync {
        // A completion can be sent again, so its intent need not be on the disk first.
        Sync::Commit
    }

    fn reserve(&mut self, guest: &Guest) -> Result<Reservation, Refusal> {
        let session = &guest.session;
        let ledger = &session.run.ledger;
        let model = self.model.clone()?;
        if model.price.is_none() && ledger.remaining(session.account, Dimension::CostMicroUsd).is_some() {
            return Err(unpriced(&model));
        }
        let may_close = session.run.closing_call && self.tools.is_empty();
        let count = if may_close { Count::MayClose } else { Count::Iteration };
        let input = model.input_bound(&self.messages, &self.tools, &self.options);
        let output = self.output(&model, rest_for_output(guest, &model, input));
        self.max_output = u32::try_from(output).unwrap_or(u32::MAX);
        let bound = model.cost_bound(input, output);
        let amounts = Amounts::of(Dimension::Tokens, input + output).with(Dimension::CostMicroUsd, bound);
        match ledger.reserve_completion(session.account, count, amounts) {
            Ok(reservation) => {
                self.closing = reservation.is_closing();
                Ok(reservation)
            }
            Err(exhausted) => {
                if session.run.closing_call && exhausted.dimension == Dimension::Iterations {
                    ledger.open_closing(session.account);
                }
                Err(exhausted.into())
            }
        }
    }

    fn again(&mut self, guest: &Arc<Guest>, _op: u32, before: &mut Option<Reservation>) -> Result<Reservation, Missed> {
        self.grant(guest)?;
        self.caps(guest)?;
        let model = self.model.clone()?;
        let Some(before) = before.take() else {
            return Ok(self.reserve(guest)?);
        };
        // It is the same request under the same key: as long an answer as it asked for then, and counted as it was.
        let input = model.input_bound(&self.messages, &self.tools, &self.options);
        let output = before.amounts().get(Dimension::Tokens).saturating_sub(input).max(1);
        self.max_output = u32::try_from(output).unwrap_or(u32::MAX);
        self.closing = before.is_closing();
        Ok(before)
    }

    fn begun(&mut self, guest: &Guest, _op: u32) {
        self.ordinal = guest.next_completion();
    }

    fn refused(&self, refusal: &Refusal) -> OpBody {
        OpBody::Completion(Err(refusal.clone().into()))
    }

    async fn run(self, under: Under) -> Option<Done> {
        let guest = under.guest.clone();
        let was_sent = under.begins == Begins::Again;
        // They were written down, and are not kept while it waits.
        drop((self.bodies, self.digests));
        let iterations = u64::from(!self.closing);
        let model = match self.model {
            Ok(model) => model,
            Err(refusal) => return Some(failed(refusal, Amounts::ZERO)),
        };
        let op = guest.stream.scope.op_name(under.op);
        let request = Request {
            messages: self.messages,
            tools: self.tools,
            options: self.options,
            max_output_tokens: self.max_output,
            conversation: Conversation {
                session: conversation(&guest),
                ordinal: self.ordinal,
            },
            mark: Some(prompt_mark(&guest.session)),
            idempotency_key: format!("{}-{}-{op}", guest.session.id, guest.stream.attempt),
            secrets: guest.session.run.secrets.clone(),
        };
        let (session, events) = (&guest.session, &guest.session.run.events);
        let tell = |delta: Delta| match delta {
            Delta::Text(text) => events.completion(&guest.stream, &op, Piece::Next(text)),
            Delta::Restarted { reason } => {
                events.completion(&guest.stream, &op, Piece::Void);
                session.event(EventKind::CompletionRestarted { op: op.clone(), reason });
            }
            Delta::Reasoning(_) => {}
        };
        let (ledger, account) = (&guest.session.run.ledger, guest.session.account);
        let spare = |used: &llm::Usage| self.lost.cover(ledger, account, charge(used, 0));
        let deadline = Instant::now() + Duration::from_millis(guest.session.run.limits.llm_total);
        // What the session's own deadline does not leave the time for is not waited for: so its agent can still tell what it has.
        let worth_until = guest.session.deadline().unwrap_or(deadline);
        let cancel = &under.cancel;
        let ended = crate::llm::complete(&model, &request, &tell, &spare, cancel, deadline, worth_until).await;
        events.completion(&guest.stream, &op, Piece::End);
        Some(match ended {
            Ok(reply) => {
                let charged = charge(&reply.completion.usage, iterations);
                Done::new(OutcomeStatus::Done, OpBody::Completion(Ok(reply.completion)), charged)
            }
            Err(failure) => {
                // What a send that was lost with the host may have used is the run's; the iteration is the same one.
                let sent = failure.sent || was_sent;
                let charged = charge(&failure.spent, if sent { iterations } else { 0 });
                failed(failure.refusal, charged)
            }
        })
    }

    fn events(&self, guest: &Guest, op: &str, closing: bool) -> Option<(EventKind, EndedEvent)> {
        let spent = guest
            .session
            .run
            .ledger
            .spent(guest.session.account)
            .get(Dimension::Iterations);
        let iteration = (!closing).then_some(spent.saturating_add(1));
        let op = op.to_owned();
        let started = EventKind::CompletionStarted {
            op: op.clone(),
            model: self.name(guest),
            iteration,
        };
        let lost = Arc::clone(&self.lost);
        let ended = move |done: &Done, _: Duration| {
            lost.give_back();
            let error = match &done.body {
                OpBody::Completion(Err(error)) => Some(Refusal::from(error.clone())),
                _ => None,
            };
            EventKind::CompletionEnded {
                op,
                charged: done.charged,
                error,
            }
        };
        Some((started, Box::new(ended)))
    }
}

/// Tokens of an answer that the rest of tokens and money has room for besides the input.
fn rest_for_output(guest: &Guest, model: &Model, input: u64) -> u64 {
    let rest = |d| guest.session.run.ledger.remaining(guest.session.account, d);
    let by_tokens = rest(Dimension::Tokens).map_or(u64::MAX, |rest| rest.saturating_sub(input));
    let by_money = rest(Dimension::CostMicroUsd).map_or(u64::MAX, |rest| model.output_for(rest, input));
    by_tokens.min(by_money)
}

/// A limit in money binds nothing where nobody knows what a model costs.
fn unpriced(model: &Model) -> Refusal {
    let name = model.full_name();
    Refusal::invalid(format!(
        "The budget has a limit in money, and what the model {name} costs is not known; it can be asked when its price is set, 0 included: models.\"{name}\".price; \
         the models with known prices are in `hermes-host config reference`"
    ))
}

/// A name for the stream that asks: its session, and within it the tool call.
fn conversation(guest: &Guest) -> String {
    let (session, scope) = (&guest.session.id, &guest.stream.scope);
    if scope.is_root() {
        session.to_string()
    } else {
        format!("{session}/{scope}")
    }
}

fn charge(usage: &llm::Usage, iterations: u64) -> Amounts {
    Amounts::of(Dimension::Iterations, iterations)
        .with(
            Dimension::Tokens,
            usage.input_tokens.saturating_add(usage.output_tokens),
        )
        .with(Dimension::CostMicroUsd, usage.cost_micro_usd)
}

fn failed(refusal: Refusal, charged: Amounts) -> Done {
    let cancelled = refusal.kind == RefusalKind::Cancelled;
    let status = if cancelled {
        OutcomeStatus::Cancelled
    } else {
        OutcomeStatus::Failed
    };
    Done::new(status, OpBody::Completion(Err(refusal.into())), charged)
}

fn answer(body: OpBody) -> Result<Result<llm::Completion, types::Error>, End> {
    match body {
        OpBody::Completion(answer) => Ok(answer),
        _ => Err(End::Host("a completion ended as something else".to_owned())),
    }
}

impl llm::Host for State {
    async fn complete(
        &mut self,
        messages: Vec<llm::Message>,
        tools: Vec<types::ToolDef>,
        options: Option<llm::Options>,
    ) -> wasmtime::Result<Result<llm::Completion, types::Error>> {
        let call = Box::new(Complete::new(&self.guest, messages, tools, options, true));
        Ok(answer(Arc::clone(&self.guest).perform(call).await?)?)
    }

    async fn start(
        &mut self,
        messages: Vec<llm::Message>,
        tools: Vec<types::ToolDef>,
        options: Option<llm::Options>,
    ) -> wasmtime::Result<Resource<PendingCompletion>> {
        let room = self.room().is_ok();
        let call = Box::new(Complete::new(&self.guest, messages, tools, options, room));
        let (number, _) = self.guest.start(call).await?;
        self.keep(PendingCompletion(number))
    }

    async fn models(&mut self) -> wasmtime::Result<Vec<llm::Model>> {
        Ok(self.guest.look(&Models).await?.unwrap_or_default())
    }
}

impl llm::HostPendingCompletion for State {
    async fn wait(
        &mut self,
        pending: Resource<PendingCompletion>,
    ) -> wasmtime::Result<Result<llm::Completion, types::Error>> {
        let number = self.table.get(&pending)?.0;
        Ok(answer(self.guest.wait("llm.wait", number).await?)?)
    }

    async fn cancel(&mut self, pending: Resource<PendingCompletion>) -> wasmtime::Result<()> {
        let number = self.table.get(&pending)?.0;
        Ok(self.guest.cancel("llm.cancel", number)?)
    }

    async fn drop(&mut self, pending: Resource<PendingCompletion>) -> wasmtime::Result<()> {
        self.guest.forget(self.table.get(&pending)?.0);
        self.forget(pending)
    }
}
