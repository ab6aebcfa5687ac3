//! Runs tool calls: each in a fresh instance, under the tool's rights cut by its caller's.

use std::sync::Arc;

use crate::bindings::{ToolsetPre, types};
use crate::error::{Refusal, RefusalKind};
use crate::event::EventKind;
use crate::ids::StreamId;
use crate::instance::strategy::{begin_step, note_fuel, returned, stopped_in};
use crate::instance::{Bounds, Instances, Stopped, reach};
use crate::interfaces::{State, end_emit, error_texts, output_texts};
use crate::plugin::rights::Caller;
use crate::plugin::toolbox::Tool;
use crate::session::call::Under;
use crate::session::end::End;
use crate::session::guest::{Guest, Making};
use crate::session::runner::{StopsOnDrop, ToolEnd, ToolRunner, Waiting};

/// Runs tools in instances.
pub struct Runner(pub Instances);

impl ToolRunner for Runner {
    fn run(
        &self,
        under: Under,
        tool: Arc<Tool>,
        call: types::ToolCall,
        share: Option<u64>,
    ) -> Waiting<'static, Option<ToolEnd>> {
        let instances = self.0.clone();
        Box::pin(async move { run(instances, under, tool, call, share).await })
    }
}

async fn run(
    instances: Instances,
    under: Under,
    tool: Arc<Tool>,
    mut call: types::ToolCall,
    share: Option<u64>,
) -> Option<ToolEnd> {
    let guest = tool_guest(&under, &tool, share);
    let pure = !guest.rights.reaches_out();
    let deepest = under.guest.session.run.limits.tool_depth;
    if guest.stream.scope.depth() as u64 > deepest {
        let message = format!("Tool calls nest {deepest} deep at most (limits.tool_depth).");
        return Some(ToolEnd {
            answer: Err(Refusal::invalid(message)),
            fuel: 0,
            lent: 0,
            host_calls: 0,
            records: Vec::new(),
            pure,
        });
    }
    call.name.clone_from(&tool.own_name);
    // Dropped in the middle, it leaves nothing running either.
    let _over = StopsOnDrop(guest.over.clone());
    let ended = match ready(&instances, &guest, &tool).await {
        Ok(toolset) => attempt(&instances, &guest, toolset, call).await,
        Err(stopped) => Err(stopped),
    };
    guest.close().await;
    Some(ToolEnd {
        answer: match returned(&guest, ended) {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => {
                let refusal = Refusal::from(error);
                if refusal.kind == RefusalKind::Denied {
                    guest.says_denied(&under.guest);
                }
                Err(refusal)
            }
            // It goes on in another process: what it did until now is no end.
            Err(Stopped::Host(End::Suspended)) => return None,
            // What it did can't be written down: its caller hears nothing of it, and stops with it.
            Err(Stopped::Host(end @ End::Storage(_))) => {
                under.guest.fail(end);
                return None;
            }
            Err(stopped) => Err(refusal(&tool, &stopped)),
        },
        fuel: guest.step.fuel_used(),
        lent: guest.step.lent(),
        host_calls: guest.host_calls(),
        records: guest.take_last(),
        pure,
    })
}

/// Has `tool` answer a call again, against the record of its instance alone. `guest` is what [`tool_guest`] made for it.
pub async fn answer_again(
    instances: &Instances,
    guest: &Arc<Guest>,
    tool: &Tool,
    mut call: types::ToolCall,
) -> Answered {
    call.name.clone_from(&tool.own_name);
    let toolset = ready(instances, guest, tool).await?;
    let ended = attempt(instances, guest, toolset, call).await;
    returned(guest, ended)
}

/// What a tool's export came to.
pub type Answered = Result<Result<types::ToolOutput, types::Error>, Stopped>;

/// The tool's side of the host: what the tool may do, cut by what its caller may.
pub fn tool_guest(under: &Under, tool: &Tool, share: Option<u64>) -> Arc<Guest> {
    let caller = &under.guest;
    let scope = caller.stream.scope.child(under.op);
    let by = match caller.is_strategy() {
        true => Caller::Agent,
        false => Caller::Tool,
    };
    let rights = tool.rights.in_call_of(by, &caller.rights);
    let recorded = caller.attempt.take_recorded(&scope);
    let tools = if rights.may_call_tools() {
        caller.tools.clone()
    } else {
        Vec::new()
    };
    let making = Making {
        stream: StreamId {
            scope,
            ..caller.stream.clone()
        },
        plugin: tool.plugin.name.clone(),
        digest: tool.plugin.digest,
        rights,
        tools,
        fuel: caller.session.run.limits.fuel,
        share,
        cancel: under.cancel.clone(),
        over: caller.over.child_token(),
        at_ms: under.at_ms,
        awake_ms: under.awake_ms,
        recorded,
        held: Some(caller.held.clone().unwrap_or_else(|| under.held.clone())),
    };
    Guest::new(caller.session.clone(), caller.attempt.clone(), making)
}

/// The tool's plugin, compiled when it is first called.
async fn ready(instances: &Instances, guest: &Arc<Guest>, tool: &Tool) -> Result<ToolsetPre<State>, Stopped> {
    let bounds = Bounds { guest };
    let prepared = bounds.first(async { Ok(instances.prepare(&tool.plugin).await) }).await;
    // Outside a run nobody follows events: whoever called asks for them.
    if guest.session.run.keeping.is_run() {
        for message in instances.notices() {
            guest.session.event(EventKind::Notice { message });
        }
    }
    let toolset = prepared?.map_err(|e| Stopped::Unusable(e.to_string()))?.toolset;
    toolset.ok_or_else(|| Stopped::Unusable("it is no tool".to_owned()))
}

async fn attempt(
    instances: &Instances,
    guest: &Arc<Guest>,
    toolset: ToolsetPre<State>,
    call: types::ToolCall,
) -> Result<Result<types::ToolOutput, types::Error>, Stopped> {
    let bounds = Bounds { guest };
    let _place = bounds.first(instances.place(guest)).await?;
    let _running = instances.running();
    let (folders, hooks) = reach(guest);
    let mut store = instances.store(guest, &folders, hooks)?;
    let toolset = match bounds.start(toolset.instantiate_async(&mut store)).await {
        Ok(toolset) => toolset,
        Err(stopped) => return Err(stopped_in(&store, stopped)),
    };
    begin_step(guest, &mut store)?;
    let ended = bounds
        .call(toolset.hermes_plugin_toolset().call_call(&mut store, &call), None)
        .await;
    note_fuel(&store);
    let rest = end_emit(guest).await;
    let ended = ended.map_err(|stopped| stopped_in(&store, stopped))?;
    rest.map_err(Stopped::Host)?;
    match &ended {
        Ok(output) => guest.returns(output_texts(output), "its result"),
        Err(error) => guest.returns(error_texts(error), "its error"),
    }
    Ok(ended)
}

/// How a tool's end is told to its caller.
fn refusal(tool: &Tool, stopped: &Stopped) -> Refusal {
    let name = &tool.name;
    match stopped {
        Stopped::Host(End::Exhausted { dimension, message }) => {
            Refusal::exhausted(*dimension, format!("The tool {name} was stopped: {message}."))
        }
        Stopped::Host(End::TimedOut(message)) => Refusal::new(
            RefusalKind::TimedOut,
            format!("The tool {name} was stopped: {message}."),
        ),
        Stopped::Host(End::Cancelled) => Refusal::cancelled(),
        Stopped::Host(End::NoRoom(message)) => Refusal::new(RefusalKind::RateLimited, format!("{message}.")),
        // Made again after a crash, it did something else than before: what it did then stands.
        Stopped::Host(End::Diverged(_)) => Refusal::new(
            RefusalKind::Interrupted,
            format!("The host went down while {name} ran, and the call could not be taken up again."),
        ),
        Stopped::Host(end) => Refusal::host_bug(format!("The tool {name} failed: {end}.")),
        Stopped::Unusable(why) => Refusal::upstream(format!("The tool {name} can't be used: {why}.")),
        Stopped::Trapped(words) => Refusal::upstream(format!("The tool {name} crashed: {words}")),
        Stopped::Exited(code) => Refusal::upstream(format!("The tool {name} exited with {code} and gave no answer.")),
    }
}
