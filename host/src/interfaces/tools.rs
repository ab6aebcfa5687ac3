//! `tools`: calling tools. A refusal is a tool's result, in words for the model and as a typed error, so that no call breaks
//! a loop.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use wasmtime::component::Resource;

use crate::amounts::Amounts;
use crate::bindings::{PendingCall, tools, types};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::EventKind;
use crate::ids::Digest;
use crate::interfaces::State;
use crate::ledger::Reservation;
use crate::plugin::toolbox::Tool;
use crate::session::codec;
use crate::session::end::End;
use crate::session::guest::{Call, Done, EndedEvent, Guest, Look, Operation, Under};
use crate::session::op::OpBody;
use crate::store::{OpKind, OutcomeStatus, Sync};
use crate::{json, text};

/// Characters of a call's arguments that an event shows.
const ARGUMENTS_SHOWN: usize = 200;

#[derive(Serialize)]
struct ListTools;

impl Call for ListTools {
    const NAME: &'static str = "tools.list-tools";
}

impl Look for ListTools {
    type Answer = Vec<types::ToolDef>;

    async fn look(&self, guest: &Guest) -> Result<Self::Answer, Refusal> {
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
}

impl CallTool {
    fn new(guest: &Guest, call: types::ToolCall, room: bool) -> Self {
        let held = guest.tools.contains(&call.name);
        let tool = guest.session.run.toolbox.get(&call.name).filter(|_| held);
        Self { call, room, tool }
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
        Err(Refusal::not_found(format!(
            "There is no tool {name} here.{hint} The tools are: {have}."
        )))
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        if !self.room {
            let most = guest.session.run.limits.resources;
            let message = format!("{most} calls are open, the most at once (limits.resources). Wait for some first.");
            return Err(Refusal::new(RefusalKind::RateLimited, message));
        }
        let limits = &guest.session.run.limits;
        let value = json::parse(&self.call.arguments, limits.json_depth)
            .map_err(|e| Refusal::invalid(format!("The arguments of {} are not usable JSON: {e}.", self.call.name)))?;
        self.tool.as_ref().map_or(Ok(()), |tool| tool.check(&value))
    }
}

impl Operation for CallTool {
    const KIND: OpKind = OpKind::ToolCall;

    fn name(&self, _guest: &Guest) -> String {
        text::line(&self.call.name, 64)
    }

    fn request(&self) -> Vec<(Digest, Vec<u8>)> {
        let body = codec::encode(&self.call);
        vec![(Digest::of(&body), body)]
    }

    fn sync(&self, _guest: &Guest) -> Sync {
        // Only an effect that can't be repeated waits for the disk before it is sent.
        if self.tool.as_ref().is_some_and(|tool| tool.repeatable) {
            Sync::Commit
        } else {
            Sync::Durable
        }
    }

    fn reserve(&mut self, guest: &Guest) -> Result<Reservation, Refusal> {
        let one = Amounts::of(Dimension::ToolCalls, 1);
        Ok(guest.session.run.ledger.reserve(guest.session.account, one)?)
    }

    fn repeatable(&self) -> bool {
        self.tool
            .as_ref()
            .is_none_or(|tool| tool.repeatable || !tool.rights.reaches_out())
    }

    fn refused(&self, refusal: &Refusal) -> OpBody {
        OpBody::Tool(failed(&self.call.id, refusal))
    }

    async fn run(self, under: Under) -> Done {
        let call_id = self.call.id.clone();
        let charged = under.reserved;
        let limit = under.guest.session.run.limits.tool_result;
        let cancel = under.cancel.clone();
        let answer = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Refusal::cancelled()),
            answer = self.answer(under) => answer,
        };
        let (status, result) = match answer {
            Ok(output) => {
                let output = shorten(output, limit);
                (
                    OutcomeStatus::Done,
                    types::ToolResult {
                        call_id,
                        output,
                        error: None,
                    },
                )
            }
            Err(refusal) => {
                let cancelled = refusal.kind == RefusalKind::Cancelled;
                let status = if cancelled {
                    OutcomeStatus::Cancelled
                } else {
                    OutcomeStatus::Failed
                };
                (status, failed(&call_id, &refusal))
            }
        };
        Done {
            status,
            body: OpBody::Tool(result),
            charged,
        }
    }

    fn events(&self, _guest: &Guest, op: &str, _closing: bool) -> (EventKind, EndedEvent) {
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
        (started, Box::new(ended))
    }
}

impl CallTool {
    async fn answer(self, under: Under) -> Result<types::ToolOutput, Refusal> {
        let session = under.guest.session.clone();
        let tool = self.tool.ok_or_else(|| Refusal::not_found("The tool is gone."))?;
        let closed = |_| Refusal::cancelled();
        let _slot = session.tool_slots.clone().acquire_owned().await.map_err(closed)?;
        keep_distance(&session).await;
        let runner = session.run.runner.clone();
        runner.run(under.guest, under.op, tool, self.call, under.cancel).await
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

/// A refusal as a tool's result: the error in words for the model, and typed.
fn failed(call_id: &str, refusal: &Refusal) -> types::ToolResult {
    let words = types::Content::Text(format!("Error ({}): {}", refusal.kind, refusal.message));
    let output = types::ToolOutput {
        content: vec![words],
        structured_content: None,
        meta: None,
    };
    types::ToolResult {
        call_id: call_id.to_owned(),
        output,
        error: Some(refusal.clone().into()),
    }
}

/// Cuts an output to `limit` bytes: of long texts head and tail stay, and a note says what is missing.
fn shorten(mut output: types::ToolOutput, limit: u64) -> types::ToolOutput {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let size = |c: &types::Content| match c {
        types::Content::Text(t) | types::Content::Other(t) => t.len(),
        types::Content::Media(m) => m.data.len(),
    };
    let aside = output.structured_content.as_ref().map_or(0, String::len) + output.meta.as_ref().map_or(0, String::len);
    let mut room = limit;
    if aside > limit {
        output.structured_content = None;
        output.meta = None;
        output.content.push(types::Content::Text(format!(
            "[structured content of {aside} bytes dropped]"
        )));
    } else {
        room -= aside;
    }
    for content in &mut output.content {
        let has = size(content);
        if has > room {
            *content = types::Content::Text(match content {
                types::Content::Text(t) => head_and_tail(t, room),
                _ => format!("[a block of {has} bytes was dropped: a result has at most {limit} (limits.tool_result)]"),
            });
        }
        room = room.saturating_sub(has);
    }
    output
}

fn head_and_tail(long: &str, room: usize) -> String {
    let half = room / 2;
    let head = text::prefix(long, half);
    let tail = &long[long.ceil_char_boundary(long.len() - half.min(long.len()))..];
    let missing = long.len() - head.len() - tail.len();
    format!("{head}\n…[{missing} bytes left out here: the result is over limits.tool_result]…\n{tail}")
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
    let call = CallTool::new(guest, call, true);
    result(guest.perform(call).await?)
}

impl tools::Host for State {
    async fn list_tools(&mut self) -> wasmtime::Result<Vec<types::ToolDef>> {
        Ok(self.guest.look(&ListTools).await?.unwrap_or_default())
    }

    async fn call(&mut self, call: types::ToolCall) -> wasmtime::Result<types::ToolResult> {
        let call = CallTool::new(&self.guest, call, true);
        Ok(result(self.guest.perform(call).await?)?)
    }

    async fn start(&mut self, call: types::ToolCall) -> wasmtime::Result<Resource<PendingCall>> {
        let room = self.room().is_ok();
        let number = self.guest.start(CallTool::new(&self.guest, call, room)).await?;
        self.keep(PendingCall(number))
    }

    async fn wait_any(
        &mut self,
        calls: Vec<Resource<PendingCall>>,
        timeout_ms: Option<u32>,
    ) -> wasmtime::Result<Option<u32>> {
        let ops = calls
            .iter()
            .map(|c| Ok(self.table.get(c)?.0))
            .collect::<wasmtime::Result<Vec<_>>>()?;
        Ok(self.guest.wait_any("tools.wait-any", &ops, timeout_ms).await?)
    }
}

impl tools::HostPendingCall for State {
    async fn wait(&mut self, call: Resource<PendingCall>) -> wasmtime::Result<types::ToolResult> {
        let number = self.table.get(&call)?.0;
        Ok(result(self.guest.wait("tools.wait", number).await?)?)
    }

    async fn cancel(&mut self, call: Resource<PendingCall>) -> wasmtime::Result<()> {
        let number = self.table.get(&call)?.0;
        Ok(self.guest.cancel("tools.cancel", number)?)
    }

    async fn drop(&mut self, call: Resource<PendingCall>) -> wasmtime::Result<()> {
        self.forget(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> types::ToolOutput {
        types::ToolOutput {
            content: vec![types::Content::Text(text.to_owned())],
            structured_content: None,
            meta: None,
        }
    }

    #[test]
    fn a_result_within_its_limit_stays_whole() {
        assert_eq!(shorten(output("abcdef"), 6), output("abcdef"));
    }

    #[test]
    fn a_longer_one_keeps_head_and_tail() {
        let cut = shorten(output("abcdefg"), 6);
        let types::Content::Text(text) = &cut.content[0] else {
            panic!("text expected")
        };
        assert!(
            text.starts_with("abc\n") && text.ends_with("\nefg") && text.contains("1 bytes left out"),
            "{text}"
        );
        let cut = shorten(output(&"é".repeat(5)), 9);
        let types::Content::Text(text) = &cut.content[0] else {
            panic!("text expected")
        };
        assert!(text.starts_with("éé\n") && text.ends_with("\néé"), "{text}");
    }
}
