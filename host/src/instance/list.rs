//! Asks a plugin what it is, in a sandbox without grants: a tool for its tools, a strategy for its description. Both are asked once,
//! and the answer is foreign text under caps.

use std::sync::Arc;

use crate::bindings::{agent, types};
use crate::instance::strategy::begin_step;
use crate::instance::{Bounds, Instances, Prepared, Stopped, reach};
use crate::session::end::End;
use crate::session::guest::Guest;

/// What a component's `list-tools` answers.
///
/// # Errors
/// It did not answer within its limits, or trapped.
pub async fn list_tools(
    instances: &Instances,
    guest: &Arc<Guest>,
    prepared: Prepared,
) -> Result<Vec<types::ToolDef>, Stopped> {
    let pre = prepared
        .toolset
        .ok_or_else(|| Stopped::Host(End::Host("it is no tool".to_owned())))?;
    let _running = instances.running();
    let (folders, hooks) = reach(guest);
    let mut store = instances.store(guest, &folders, hooks)?;
    let bounds = Bounds { guest };
    let toolset = bounds.start(pre.instantiate_async(&mut store)).await?;
    begin_step(guest, &mut store)?;
    bounds
        .call(toolset.hermes_plugin_toolset().call_list_tools(&mut store), None)
        .await
}

/// What a strategy's `describe` answers.
///
/// # Errors
/// It did not answer within its limits, or trapped.
pub async fn describe(
    instances: &Instances,
    guest: &Arc<Guest>,
    prepared: Prepared,
) -> Result<agent::Description, Stopped> {
    let pre = prepared
        .strategy
        .ok_or_else(|| Stopped::Host(End::Host("it is no strategy".to_owned())))?;
    let _running = instances.running();
    let (folders, hooks) = reach(guest);
    let mut store = instances.store(guest, &folders, hooks)?;
    let bounds = Bounds { guest };
    let strategy = bounds.start(pre.instantiate_async(&mut store)).await?;
    begin_step(guest, &mut store)?;
    bounds
        .call(strategy.hermes_plugin_agent().call_describe(&mut store), None)
        .await
}
