//! The start record: all that an attempt needs to be built again, on this machine or a later version of this host. A resume uses
//! it, never the day's flags.

use serde::{Deserialize, Serialize};

use crate::bindings::types;
use crate::error::Dimension;
use crate::ids::Digest;
use crate::limits::Limits;
use crate::llm::price::Price;
use crate::plugin::rights::Rights;

/// One attempt's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct StartBody {
    /// The task as the strategy got it.
    pub(super) task: types::Task,
    /// The strategy.
    pub(super) strategy: PluginRef,
    /// Every tool plugin of the run.
    pub(super) tools: Vec<ToolRef>,
    /// The names of the tools that the agent holds.
    pub(super) held: Vec<String>,
    /// What the agent may do.
    pub(super) rights: Rights,
    /// The caps in force.
    pub(super) limits: Limits,
    /// The agent's own limits.
    pub(super) caps: Vec<(Dimension, u64)>,
    /// The run's limits.
    pub(super) tree: Vec<(Dimension, u64)>,
    /// `provider/name`.
    pub(super) model: Option<String>,
    /// The script of a scripted model.
    pub(super) script: Option<String>,
    /// What its tokens cost.
    pub(super) price: Option<Price>,
    /// Whether there is a closing call.
    pub(super) closing_call: bool,
    /// Milliseconds between two tool calls.
    pub(super) tool_delay_ms: u64,
    /// What all randomness derives from.
    pub(super) seed: [u8; 32],
    /// When the attempt began, in milliseconds since 1970.
    pub(super) started_ms: u64,
    /// The host that wrote this.
    pub(super) host: String,
}

/// A plugin by its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PluginRef {
    /// Its name.
    pub(super) name: String,
    /// Its bytes, kept by the store.
    pub(super) digest: Digest,
    /// The manifest that lay beside it, for a component without one inside.
    pub(super) manifest: Option<String>,
}

/// A tool plugin of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ToolRef {
    /// The plugin.
    pub(super) plugin: PluginRef,
    /// Its prefix.
    pub(super) prefix: Option<String>,
    /// What it may do, before a caller's rights cut it.
    pub(super) rights: Rights,
    /// Whether its calls may be made again.
    pub(super) repeatable: bool,
    /// Its tools, as they were frozen.
    pub(super) defs: Vec<types::ToolDef>,
}
