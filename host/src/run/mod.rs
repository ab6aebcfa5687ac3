//! The library's face: open a [`Host`], start runs, watch them by their events, and look at what earlier ones did.

mod adding;
mod approvals;
pub mod audit;
mod call;
mod cancel;
mod change;
mod conversations;
#[cfg(test)]
mod encoding;
pub mod error;
mod fork;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod given;
mod grants;
mod handle;
mod home;
mod inspect;
mod outside;
mod own_limits;
mod plugins_of;
mod prepare;
mod prune;
mod replay;
mod resume;
mod root;
mod run_file;
mod said;
mod secrets;
mod so_far;
pub mod spec;
mod trajectory;
mod upkeep;
mod used_up;
pub mod view;

use std::sync::OnceLock;

pub use adding::{AddSpec, Hints, Review};
pub use approvals::{AllowSpec, ApprovedPlugin, Holds};
pub use audit::{AgentGrants, AuditRow, AuditView, GrantsView, ToolGrants};
pub use call::{ToolAnswer, ToolCaller};
pub use cancel::RunEnd;
pub use change::ResumeSpec;
pub use error::HostError;
pub use fork::{ForkSpec, ReadyFork};
pub use given::{Holder, WouldGet};
pub use handle::RunHandle;
pub use home::check_home;
pub use inspect::{Approved, ArgumentInfo, Ask, DefaultRight, Inspection, ToolInfo, Want, is_built_in};
pub use prepare::{default_model, usual_model};
pub use prune::{PruneSpec, Pruned, PrunedRun, Standing, Stays};
pub use replay::{DifferenceView, Replay, ReplaySpec, SideView};
pub use root::ReadyRun;
pub use run_file::{Exported, ImportedRun, WithPlugins};
pub use secrets::{Guessable, Place, PlaceError, SecretGranted, SecretRow, SecretSet, SecretSince, check_secret_name};
pub use spec::{AgentSummary, Budget, RunOutcome, RunSpec};
pub use trajectory::TrajectoryForm;
pub use used_up::WayOn;
pub use view::{ChangeView, EntryView, ImportView, NoteView, OpView, RunList, RunRow, RunView, SessionView, SpaceView};

pub use crate::engine::compile::{CompileIn, ThisProgram, is_compiling, this_program};
pub use crate::plugin::approval::{ApprovalError, Change};
pub use crate::plugin::rights::Right;
pub use crate::scrub::{Titles, without_fences};
pub use crate::session::audit::{Denial, Denials};
pub use crate::store::{BadComponent, Copied, Integrity, Loss, Missing, Problem, Size as StoreSize};

use crate::config::{Config, Durability};
use crate::egress::Egress;
use crate::engine::Engine;
use crate::engine::cache::{Cache, Use};
use crate::engine::compile::Compiler;
use crate::instance::Instances;
use crate::store::{Access, Store, StoreOptions};

/// Runs plugins under one configuration.
pub struct Host {
    config: Config,
    compiler: Compiler,
    instances: Instances,
    egress: Egress,
    store: OnceLock<Store>,
}

impl Host {
    /// A host under `config`, whose plugins are compiled in `compile_in`. The database is opened when something needs it.
    ///
    /// # Errors
    /// The engine can't start on this machine.
    pub fn open(config: Config, compile_in: impl Into<CompileIn>) -> Result<Self, HostError> {
        Self::made(config, compile_in.into(), Use::Write)
    }

    /// A host that makes nothing in its home but what a write to the database needs: for commands that compile nothing, or only look.
    ///
    /// # Errors
    /// The engine can't start on this machine.
    pub fn to_read(config: Config) -> Result<Self, HostError> {
        Self::made(config, CompileIn::Nowhere, Use::Read)
    }

    fn made(config: Config, compile_in: CompileIn, cache: Use) -> Result<Self, HostError> {
        let engine = Engine::new(&config.limits)?;
        let cache = config
            .compile_cache
            .then(|| Cache::open(&config.state_dir.join("cache"), config.limits.compile_cache, cache));
        let compiler = Compiler::new(engine.clone(), cache, &config.limits, compile_in);
        let instances =
            Instances::new(engine, compiler.clone(), &config.limits).map_err(|e| HostError::Run(format!("{e:#}")))?;
        let egress = Egress::new(&config.limits);
        Ok(Self {
            config,
            compiler,
            instances,
            egress,
            store: OnceLock::new(),
        })
    }

    /// What a person should know of the compile cache, since this was last asked. A run tells it in its events.
    pub fn notices(&self) -> Vec<String> {
        self.compiler.notices()
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The database, opened for writing.
    ///
    /// # Errors
    /// It can't be made or opened: the path, and why.
    pub fn store(&self) -> Result<Store, HostError> {
        if let Some(store) = self.store.get() {
            return Ok(store.clone());
        }
        check_home(&self.config)?;
        let store = Store::open(&self.config.state_dir, self.store_options(Access::Write))?;
        Ok(self.store.get_or_init(|| store).clone())
    }

    /// The database for reading, which a home that can't be written allows too.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    pub fn store_to_read(&self) -> Result<Store, HostError> {
        match self.store.get() {
            Some(store) => Ok(store.clone()),
            None => {
                check_home(&self.config)?;
                Ok(Store::open(&self.config.state_dir, self.store_options(Access::Read))?)
            }
        }
    }

    fn store_options(&self, access: Access) -> StoreOptions {
        let durability = match self.config.durability {
            Durability::Power => crate::store::Durability::Power,
            Durability::Process => crate::store::Durability::Process,
        };
        StoreOptions {
            durability,
            ..StoreOptions::new(&self.config.limits, access)
        }
    }
}
