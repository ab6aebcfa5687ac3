//! Runs tool calls: each in a fresh instance, under the tool's rights cut by its caller's.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::bindings::types;
use crate::error::{Refusal, RefusalKind};
use crate::ids::StreamId;
use crate::instance::strategy::explain;
use crate::instance::{Bounds, Instances, Stopped, reach};
use crate::plugin::toolbox::Tool;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::runner::{ToolFuture, ToolRunner};
use crate::store::Sync;

/// Runs tools in instances.
pub struct Runner(pub Instances);

impl ToolRunner for Runner {
    fn run(
        &self,
        caller: Arc<Guest>,
        op: u32,
        tool: Arc<Tool>,
        call: types::ToolCall,
        cancel: CancellationToken,
    ) -> ToolFuture {
        let instances = self.0.clone();
        Box::pin(async move { run(instances, caller, op, tool, call, cancel).await })
    }
}

async fn run(
    instances: Instances,
    caller: Arc<Guest>,
    op: u32,
    tool: Arc<Tool>,
    mut call: types::ToolCall,
    cancel: CancellationToken,
) -> Result<types::ToolOutput, Refusal> {
    let limits = &caller.session.run.limits;
    let scope = caller.stream.scope.child(op);
    if scope.depth() as u64 > limits.tool_depth {
        let most = limits.tool_depth;
        return Err(Refusal::invalid(format!(
            "Tool calls nest {most} deep at most (limits.tool_depth)."
        )));
    }
    let rights = tool.rights.cut(&caller.rights);
    let recorded = caller.session.take_recorded(&scope);
    let stream = StreamId {
        scope,
        ..caller.stream.clone()
    };
    let tools = if rights.may_call_tools() {
        caller.tools.clone()
    } else {
        Vec::new()
    };
    let plugin = tool.plugin.name.clone();
    let guest = Guest::new(caller.session.clone(), stream, plugin, rights, tools, recorded);
    call.name.clone_from(&tool.own_name);
    let ended = attempt(&instances, &guest, &tool, call, &cancel).await;
    guest.charge_fuel();
    if let Err(failed) = guest.flush(Sync::Commit).await {
        return Err(Refusal::new(
            RefusalKind::Other("storage".to_owned()),
            failed.to_string(),
        ));
    }
    match ended {
        Ok(answer) => answer.map_err(Refusal::from),
        Err(stopped) => Err(refusal(&tool, &stopped)),
    }
}

async fn attempt(
    instances: &Instances,
    guest: &Arc<Guest>,
    tool: &Tool,
    call: types::ToolCall,
    cancel: &CancellationToken,
) -> Result<Result<types::ToolOutput, types::Error>, Stopped> {
    let limits = &guest.session.run.limits;
    let prepared = instances
        .prepare(&tool.plugin)
        .map_err(|e| Stopped::Host(End::Host(format!("{e:#}"))))?;
    let pre = prepared
        .toolset
        .ok_or_else(|| Stopped::Host(End::Host("it is no tool".to_owned())))?;
    let _place = instances.place(limits).await.map_err(Stopped::Host)?;
    let _running = instances.running();
    let (folders, hooks) = reach(guest, cancel);
    let mut store = instances.store(guest, &folders, hooks).map_err(Stopped::Host)?;
    let bounds = Bounds { guest, cancel };
    guest.step.begin(guest.step.fuel_given());
    let toolset = match bounds.start(pre.instantiate_async(&mut store)).await {
        Ok(toolset) => toolset,
        Err(stopped) => return Err(explain(stopped, store.data().limiter.met())),
    };
    let ended = bounds
        .call(toolset.hermes_plugin_toolset().call_call(&mut store, &call))
        .await;
    if let Ok(left) = store.get_fuel() {
        guest.step.note_fuel(left);
    }
    ended.map_err(|stopped| explain(stopped, store.data().limiter.met()))
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
        Stopped::Host(End::Cancelled | End::Suspended) => Refusal::cancelled(),
        Stopped::Host(end) => Refusal::new(
            RefusalKind::Other("host-bug".to_owned()),
            format!("The tool {name} failed: {end}."),
        ),
        Stopped::Trapped(words) => Refusal::upstream(format!("The tool {name} crashed: {words}")),
        Stopped::Exited(code) => Refusal::upstream(format!("The tool {name} exited with {code} and gave no answer.")),
    }
}
