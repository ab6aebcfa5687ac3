//! Start records: all that an attempt needs to be built again, on this machine or by a later version of this host. A resume uses them, never the
//! day's flags.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::engine::precheck::LoadError;
use crate::error::Dimension;
use crate::ids::{Digest, SessionId};
use crate::ledger::{AccountId, Ledger};
use crate::limits::Limits;
use crate::plugin::load::{Found, load};
use crate::plugin::manifest::{self, Manifest};
use crate::plugin::rights::{Rights, ToolRights};
use crate::plugin::toolbox::{Repeatable, full_name};
use crate::plugin::{Origin, Plugin};
use crate::session::Alias;

/// One attempt's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartBody {
    /// What is the agent's.
    pub agent: AgentStart,
    /// What is the run's: with the root's first attempt alone.
    pub run: Option<RunStart>,
}

/// What an attempt of an agent is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStart {
    /// The task as the strategy gets it.
    pub task: types::Task,
    /// What it is for.
    pub role: String,
    /// Who delegated to it.
    pub parent: Option<SessionId>,
    /// 0 at the root.
    pub depth: u32,
    /// The strategy.
    pub strategy: PluginRef,
    /// The names of the tools that it holds.
    pub held: Vec<String>,
    /// What it may do.
    pub rights: Rights,
    /// Its own limits.
    pub caps: Vec<(Dimension, u64)>,
    /// What of its limits was reserved from its parent.
    pub allotment: Amounts,
    /// Its default model.
    pub model: Option<ModelRef>,
    /// How often it may be started in all.
    pub max_attempts: u32,
    /// When the attempt began, in milliseconds since 1970.
    pub started_ms: u64,
    /// Milliseconds that the session had been awake when it began.
    pub awake_ms: u64,
    /// What the session had spent when it began, by itself.
    pub spent: Amounts,
}

impl AgentStart {
    /// Its account, opened below its parent's as it was when the agent began.
    pub fn reopen(&self, ledger: &Ledger, parent: Option<AccountId>) -> AccountId {
        let caps = self.caps.iter().copied().collect();
        match parent {
            None => ledger.open_root(caps),
            Some(parent) => ledger.reopen_child(parent, caps, self.allotment),
        }
    }
}

/// What all agents of a run share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStart {
    /// Every tool plugin.
    pub tools: Vec<ToolRef>,
    /// The caps in force.
    pub limits: Limits,
    /// The run's limits.
    pub tree: Vec<(Dimension, u64)>,
    /// Limits of a child whose spec names none of these.
    pub child: Vec<(Dimension, u64)>,
    /// The script of a scripted model.
    pub script: Option<String>,
    /// What aliases meant.
    pub aliases: BTreeMap<String, Alias>,
    /// Whether there is a closing call.
    pub closing_call: bool,
    /// Milliseconds between two tool calls.
    pub tool_delay_ms: u64,
    /// What all randomness derives from.
    pub seed: [u8; 32],
    /// The host that wrote this.
    pub host: String,
}

/// A model as it was when the agent began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRef {
    /// The name by which the agent knows it.
    pub name: String,
    /// `provider/name`, and what its tokens cost.
    pub meant: Alias,
}

/// A plugin by its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRef {
    /// Its name.
    pub name: String,
    /// Its bytes, kept by the store.
    pub digest: Digest,
    /// The manifest that lay beside it, for a component without one inside.
    pub manifest: Option<String>,
}

impl PluginRef {
    /// Names a plugin.
    pub fn of(plugin: &Plugin) -> Self {
        let manifest = plugin.manifest.as_ref().and_then(|m| m.beside.clone());
        Self {
            name: plugin.name.clone(),
            digest: plugin.digest,
            manifest,
        }
    }
}

impl PluginRef {
    /// The plugin again, of the bytes that were kept.
    ///
    /// # Errors
    /// It is none, or over a limit.
    pub fn load(&self, bytes: Arc<[u8]>, limits: &Limits) -> Result<Arc<Plugin>, LoadError> {
        let manifest = match &self.manifest {
            Some(text) => Some(Manifest::beside(text)?),
            None => manifest::read(&bytes, None)?,
        };
        let found = Found {
            name: self.name.clone(),
            digest: Digest::of(&bytes),
            bytes,
            origin: Origin::Kept,
            manifest,
            approval: None,
        };
        Ok(Arc::new(load(found, limits)?))
    }
}

/// A tool plugin of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolRef {
    /// The plugin.
    pub plugin: PluginRef,
    /// Its prefix.
    pub prefix: Option<String>,
    /// What it may do.
    pub rights: ToolRights,
    /// Which of its tools may be called again.
    pub repeatable: Repeatable,
    /// Its tools, as they were frozen.
    pub defs: Vec<types::ToolDef>,
}

impl ToolRef {
    /// The names by which models know its tools.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let prefix = self.prefix.as_deref();
        self.defs.iter().map(move |def| full_name(prefix, &def.name))
    }
}
