//! `tools`: calling tools. A refusal is a tool's result, in words for the model and as a typed error, so that no call breaks
//! a loop.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use wasmtime::component::Resource;

use crate::amounts::Amounts;
use crate::bindings::{PendingCall, tools, types};
use crate::error::{Dimension, Lack, Refusal, RefusalKind};
use crate::event::EventKind;
use crate::ids::Digest;
use crate::interfaces::State;
use crate::interfaces::repeats::asked;
use crate::interfaces::scrubbing::{scrub_output, scrub_refusal};
use crate::json::{self, Most};
use crate::ledger::Reservation;
use crate::plugin::toolbox::Tool;
use crate::session::call::{Call, Done, EndedEvent, Look, Missed, Operation, Stopping, Under};
use crate::session::codec;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::op::{OpBody, failed_call};
use crate::session::runner::ToolEnd;
use crate::store::{OpKind, OutcomeStatus, Sync};
use crate::text;

/// Characters of a call's arguments that an event shows.
const ARGUMENTS_SHOWN: usize = 200;

#[derive(Serialize)]
struct ListTools;

impl Call for ListTools {
    const NAME: &'static str = "tools.list-tools";
}

impl Look for ListTools {
    type Answer = Vec<types::ToolDef>;

    async fn look(&self, guest: &Guest) -> Result<Self::Answer, Missed> {
        let toolbox = &guest.session.run.toolbox;
        Ok(guest
            .tools
            .iter()
            .filter_map(|name| Some(toolbox.get(name)?.def.clone()))
            .collect())
    }
}

/// A tool call: the same for `call`, which waits, and `start`, which does not.
#[derive(Serialize)]
struct CallTool {
    call: types::ToolCall,
    /// Whether one more handle fits.
    room: bool,
    #[serde(skip)]
    tool: Option<Arc<Tool>>,
    /// Whether its caller waits, and so burns no fuel itself.
    #[serde(skip)]
    waits: Waits,
    /// What it may burn of the session's budget of fuel, with all that it calls.
    #[serde(skip)]
    share: Option<u64>,
    /// How long its id was, where it was cut.
    #[serde(skip)]
    was: Option<usize>,
}

/// Bytes of a call's id: those of models have some tens, and each is kept until its handle is dropped.
const ID: usize = 1024;

/// Whether the caller of a tool goes on meanwhile.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Waits {
    #[default]
    Yes,
    No,
}

impl CallTool {
    fn new(guest: &Guest, mut call: types::ToolCall, room: bool, waits: Waits) -> Self {
        let was = Some(call.id.len()).filter(|bytes| *bytes > ID);
        if was.is_some() {
            call.id = text::prefix(&call.id, ID).to_owned();
        }
        let held = guest.tools.contains(&call.name);
        let tool = guest.session.run.toolbox.get(&call.name).filter(|_| held);
        Self {
            call,
            room,
            tool,
            waits,
            share: None,
            was,
        }
    }

    /// What it may burn of the session's budget: all that is left while its caller waits, half of it else, so that both can go on, and no more than
    /// one step takes.
    fn share(&self, guest: &Guest) -> Option<u64> {
        let rest = guest.fuel_to_share()?;
        Some(match self.waits {
            Waits::Yes => rest,
            Waits::No => (rest / 2).min(guest.session.run.limits.fuel),
        })
    }

    /// Sets its share aside in the tool call that it is made in, whose own reservation has it already.
    fn lend(&self, guest: &Guest) {
        if let Some(share) = self.share.filter(|_| !guest.is_strategy()) {
            guest.step.lend(share);
        }
    }
}

impl Call for CallTool {
    const NAME: &'static str = "tools.call";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        if self.tool.is_some() {
            return Ok(());
        }
        let name = text::line(&self.call.name, 64);
        let near = text::nearest(&self.call.name, guest.tools.iter().map(String::as_str));
        let hint = near.map(|n| format!(" Did you mean {n}?")).unwrap_or_default();
        let have = if guest.tools.is_empty() {
            "none".to_owned()
        } else {
            text::line(&guest.tools.join(", "), 400)
        };
        let refusal = Refusal::not_found(format!("There is no tool {name} here.{hint} The tools are: {have}."));
        // Whoever calls it hears no more. Those who look at the run afterwards see that it was there, and not for this caller.
        Err(match guest.session.run.toolbox.get(&self.call.name) {
            Some(tool) => refusal.about(Lack {
                what: format!("call {name}"),
                target: tool.name.clone(),
                right: None,
                why: Some("whoever made this agent did not give it that tool".to_owned()),
            }),
            None => refusal,
        })
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        if let Some(bytes) = self.was {
            return Err(Refusal::invalid(format!(
                "The call's id has {bytes} bytes; {ID} are the most."
            )));
        }
        if !self.room {
            let most = guest.session.run.limits.resources;
            let message = format!("{most} calls are open, the most at once (limits.resources). Wait for some first.");
            return Err(Refusal::new(RefusalKind::RateLimited, message));
        }
        let limits = &guest.session.run.limits;
        let most = Most {
            depth: limits.json_depth,
            values: limits.json_values,
        };
        let value = json::parse(&self.call.arguments, most)
            .map_err(|e| Refusal::invalid(format!("The arguments of {} are not usable JSON: {e}.", self.call.name)))?;
        self.tool.as_ref().map_or(Ok(()), |tool| tool.check(&value))
    }
}

impl Operation for CallTool {
    const KIND: OpKind = OpKind::ToolCall;
    const STOPPING: Stopping = Stopping::Metered;

    fn name(&self, _guest: &Guest) -> String {
        text::line(&self.call.name, 64)
    }

    fn request(&self) -> Cow<'_, [(Digest, Vec<u8>)]> {
        let body = codec::encode(&self.call);
        Cow::Owned(vec![(Digest::of(&body), body)])
    }

    fn sync(&self, _guest: &Guest) -> Sync {
        // Only an effect that can't be repeated waits for the disk before it is sent.
        if self.repeatable() { Sync::Commit } else { Sync::Durable }
    }

    fn reserve(&mut self, guest: &Guest) -> Result<Reservation, Refusal> {
        let mut amounts = Amounts::of(Dimension::ToolCalls, 1);
        self.share = self.share(guest);
        if let Some(share) = self.share.filter(|_| guest.is_strategy()) {
            amounts = amounts.with(Dimension::Fuel, share.max(1));
        }
        let reservation = guest.session.run.ledger.reserve(guest.session.account, amounts)?;
        self.lend(guest);
        Ok(reservation)
    }

    fn again(&mut self, guest: &Arc<Guest>, op: u32, before: &mut Option<Reservation>) -> Result<Reservation, Missed> {
        self.grant(guest)?;
        self.caps(guest)?;
        let Some(before) = before.take() else {
            return Ok(self.reserve(guest)?);
        };
        // What it had is what it has, without what the calls inside it burnt.
        if guest.is_strategy() {
            self.share = Some(guest.fuel_set_aside(op)).filter(|share| *share > 0);
            let rest = self.share.unwrap_or_default().saturating_sub(guest.fuel_inside(op));
            before.also(Dimension::Fuel, rest);
        } else {
            self.share = self.share(guest);
            self.lend(guest);
        }
        Ok(before)
    }

    fn repeatable(&self) -> bool {
        self.tool
            .as_ref()
            .is_none_or(|tool| tool.repeatable || !tool.rights.reached_out())
    }

    fn tool_call(&self) -> Option<&types::ToolCall> {
        Some(&self.call)
    }

    fn refused(&self, refusal: &Refusal) -> OpBody {
        OpBody::Tool(failed_call(&self.call.id, refusal))
    }

    async fn run(self, under: Under) -> Option<Done> {
        let call_id = self.call.id.clone();
        let session = under.guest.session.clone();
        let op = under.guest.stream.scope.op_name(under.op);
        let calls = under.reserved.get(Dimension::ToolCalls);
        let (caller, share) = (under.guest.clone(), self.share);
        let end = self.answer(under).await?;
        // What ran out of fuel has burnt a round of its loop more than it had.
        let burnt = share.map_or(end.fuel, |share| end.fuel.min(share.saturating_sub(end.lent)));
        if let Some(share) = share.filter(|_| !caller.is_strategy()) {
            caller.step.lent_back(share, burnt.saturating_add(end.lent));
        }
        let charged = Amounts::of(Dimension::ToolCalls, calls)
            .with(Dimension::Fuel, burnt)
            .with(Dimension::HostCalls, end.host_calls);
        let scrubbed = match end.answer {
            Ok(output) => match scrub_output(&session, &op, output).await {
                Ok(output) => Ok(output),
                Err(End::Suspended) => return None,
                Err(end @ End::Storage(_)) => {
                    caller.fail(end);
                    return None;
                }
                Err(failed) => Err(Refusal::new(
                    RefusalKind::Other("storage".to_owned()),
                    failed.to_string(),
                )),
            },
            Err(refusal) => Err(refusal),
        };
        let (status, result) = match scrubbed {
            Ok(output) => {
                let result = types::ToolResult {
                    call_id,
                    output,
                    error: None,
                };
                (OutcomeStatus::Done, result)
            }
            Err(mut refusal) => {
                let cancelled = refusal.kind == RefusalKind::Cancelled;
                let status = match refusal.kind {
                    _ if cancelled => OutcomeStatus::Cancelled,
                    RefusalKind::Interrupted => OutcomeStatus::Interrupted,
                    _ => OutcomeStatus::Failed,
                };
                refusal = scrub_refusal(&session, refusal);
                (status, failed_call(&call_id, &refusal))
            }
        };
        Some(Done {
            // What could reach nothing outside is done again from the same records, should its outcome be lost.
            sync: if end.pure { Sync::Commit } else { Sync::Durable },
            records: end.records,
            ..Done::new(status, OpBody::Tool(result), charged)
        })
    }

    fn events(&self, _guest: &Guest, op: &str, _closing: bool) -> Option<(EventKind, EndedEvent)> {
        let (op, tool) = (op.to_owned(), self.call.name.clone());
        let arguments = text::line(&self.call.arguments, ARGUMENTS_SHOWN);
        let started = EventKind::ToolStarted {
            op: op.clone(),
            tool: tool.clone(),
            arguments,
        };
        let ended = move |done: &Done, took: Duration| {
            let error = match &done.body {
                OpBody::Tool(result) => result.error.clone().map(Refusal::from),
                _ => None,
            };
            EventKind::ToolEnded {
                op,
                tool,
                ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                error,
            }
        };
        Some((started, Box::new(ended)))
    }
}

impl CallTool {
    async fn answer(self, under: Under) -> Option<ToolEnd> {
        let session = under.guest.session.clone();
        let refused = |refusal| {
            Some(ToolEnd {
                answer: Err(refusal),
                fuel: 0,
                lent: 0,
                host_calls: 0,
                records: Vec::new(),
                pure: true,
            })
        };
        let Some(tool) = self.tool else {
            return refused(Refusal::not_found("The tool is gone."));
        };
        // Deeper than calls nest there are none: it is refused before it runs.
        let slots = session.tool_slots.get(under.guest.stream.scope.depth()).cloned();
        let place = async {
            let slot = match slots {
                Some(slots) => slots.acquire_owned().await.ok(),
                None => None,
            };
            keep_distance(&session).await;
            slot
        };
        let _slot = tokio::select! {
            biased;
            () = under.cancel.cancelled() => return refused(Refusal::cancelled()),
            slot = place => slot,
        };
        let runner = session.run.runner.clone();
        runner.run(under, tool, self.call, self.share).await
    }
}

/// Waits until `tool_delay` has passed since this agent's last tool call.
async fn keep_distance(session: &crate::session::Session) {
    let delay = Duration::from_millis(session.run.tool_delay_ms);
    if delay.is_zero() {
        return;
    }
    let mut last = session.last_tool.lock().await;
    if let Some(last) = *last {
        tokio::time::sleep_until(last + delay).await;
    }
    *last = Some(tokio::time::Instant::now());
}

fn result(body: OpBody) -> Result<types::ToolResult, End> {
    match body {
        OpBody::Tool(result) => Ok(result),
        _ => Err(End::Host("a tool call ended as something else".to_owned())),
    }
}

/// Calls a tool for whoever stands outside a guest: the person at the terminal.
///
/// # Errors
/// What would end a guest.
pub async fn call_tool(guest: &Arc<Guest>, call: types::ToolCall) -> Result<types::ToolResult, End> {
    let call = CallTool::new(guest, call, true, Waits::Yes);
    result(guest.perform(call).await?)
}

impl tools::Host for State {
    async fn list_tools(&mut self) -> wasmtime::Result<Vec<types::ToolDef>> {
        Ok(self.guest.look(&ListTools).await?.unwrap_or_default())
    }

    async fn call(&mut self, call: types::ToolCall) -> wasmtime::Result<types::ToolResult> {
        let asked = asked(&call);
        let call = CallTool::new(&self.guest, call, true, Waits::Yes);
        let mut result = result(self.guest.perform(call).await?)?;
        self.repeats.hand_over(asked, None, &mut result);
        Ok(result)
    }

    async fn start(&mut self, call: types::ToolCall) -> wasmtime::Result<Resource<PendingCall>> {
        let room = self.room().is_ok();
        let asked = asked(&call);
        let call = CallTool::new(&self.guest, call, room, Waits::No);
        let (op, _) = self.guest.start(call).await?;
        self.keep(PendingCall { op, asked })
    }

    async fn wait_any(
        &mut self,
        calls: Vec<Resource<PendingCall>>,
        timeout_ms: Option<u32>,
    ) -> wasmtime::Result<Option<u32>> {
        let ops = calls
            .iter()
            .map(|c| Ok(self.table.get(c)?.op))
            .collect::<wasmtime::Result<Vec<_>>>()?;
        Ok(self.guest.wait_any("tools.wait-any", &ops, timeout_ms).await?)
    }
}

impl tools::HostPendingCall for State {
    async fn wait(&mut self, call: Resource<PendingCall>) -> wasmtime::Result<types::ToolResult> {
        let PendingCall { op, asked } = *self.table.get(&call)?;
        let mut result = result(self.guest.wait("tools.wait", op).await?)?;
        self.repeats.hand_over(asked, Some(op), &mut result);
        Ok(result)
    }

    async fn cancel(&mut self, call: Resource<PendingCall>) -> wasmtime::Result<()> {
        let op = self.table.get(&call)?.op;
        Ok(self.guest.cancel("tools.cancel", op)?)
    }

    async fn drop(&mut self, call: Resource<PendingCall>) -> wasmtime::Result<()> {
        self.guest.forget(self.table.get(&call)?.op);
        self.forget(call)
    }
}
