//! A run once more against its record, also with another strategy in its root's place: the same, or the first difference side by side. No network,
//! no key, no write.

mod side;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::engine::cache::Use;
use crate::event::Events;
use crate::ids::{Digest, RunId};
use crate::instance::Runner;
use crate::ledger::{Caps, Ledger};
use crate::limits::Limits;
use crate::llm::Catalogue;
use crate::plugin::Plugin;
use crate::plugin::load::Shelf;
use crate::plugin::toolbox::Toolbox;
use crate::run::own_limits::{in_this_process, may_be_told};
use crate::run::prepare::{ToolPlugin, toolbox};
use crate::run::resume::{VIEW_ONLY, built_in, first_start, recorded_plugin};
use crate::run::root::other_host;
use crate::run::said::Said;
use crate::run::{CompileIn, Host, HostError, check_home};
use crate::session::keeping::Keeping;
use crate::session::runner::NoChildren;
use crate::session::stored::Stored;
use crate::session::{RunContext, codec};
use crate::store::{Access, SessionRow, Store, StoreError, StoreOptions};
use crate::supervisor::replay::{Played, Replay as Player, ReplayError};
use crate::supervisor::start::{PluginRef, RunStart, StartBody, ToolRef};

pub use side::{DifferenceView, SideView};
pub(super) use side::{refusal, refusal_of_write};

/// What to replay.
#[derive(Debug, Clone, Default)]
pub struct ReplaySpec {
    /// The run's id, or the beginning of it.
    pub run: String,
    /// Another strategy in the place of the root's: a path or a name.
    pub plugin: Option<String>,
}

/// A replay that came to its end.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The run.
    pub run: RunId,
    /// Agents.
    pub sessions: u64,
    /// Their attempts.
    pub attempts: u64,
    /// Tool calls that called the host themselves.
    pub tool_calls: u64,
    /// Observations that were the recorded ones.
    pub observations: u64,
    /// What the root returned, as the record has it.
    pub answer: Option<String>,
    /// Its last checkpoint, where it returned nothing.
    pub checkpoint: Option<String>,
    /// What a person should know besides.
    pub notices: Vec<String>,
    /// The first difference; none where all is the same.
    pub difference: Option<DifferenceView>,
}

impl Replay {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.difference.is_none()
    }
}

impl Host {
    /// Runs every attempt of every agent of a run again against what was recorded. Nothing is sent, nothing is written, and the run may be under way
    /// in another process. Where its plugins are not compiled yet, that happens in `compile_in`.
    ///
    /// # Errors
    /// There is no such run, a plugin of it is not here, or the host failed. A difference is no error.
    pub async fn replay(
        mut config: Config,
        compile_in: impl Into<CompileIn>,
        spec: &ReplaySpec,
    ) -> Result<Replay, HostError> {
        check_home(&config)?;
        let store = Store::open(&config.state_dir, StoreOptions::new(&config.limits, Access::Read))?;
        let id = store.find_run(&spec.run)?;
        let row = store.run(&id)?;
        if row.is_for_viewing() {
            return Err(cannot(&id, VIEW_ONLY));
        }
        let first = first_start(&store, &id)?;
        let shared = first
            .run
            .ok_or_else(|| cannot(&id, "its start record is not a run's"))?;
        may_be_told(&row, &shared.limits, &config.limits).map_err(|reason| cannot(&id, &reason))?;
        // The engine is made for them too.
        config.limits = replay_limits(&shared.limits, &config.limits);
        let host = Self::made(config, compile_in.into(), Use::Read)?;
        let player = host.player(&store, &id, &shared, spec.plugin.as_deref()).await?;
        let played = player.play().await.map_err(|error| failed(&id, error))?;
        let mut notices = host.notices();
        notices.extend(noticed(&played, spec, &shared.host));
        let said = Said::recorded(&store, &store.session(&id.root())?)?;
        Ok(Replay {
            answer: said.as_ref().and_then(Said::answer),
            checkpoint: said.as_ref().and_then(Said::checkpoint),
            difference: match &played.difference {
                Some(difference) => Some(DifferenceView::of(&store, difference)?),
                None => None,
            },
            run: id,
            sessions: played.sessions,
            attempts: played.attempts,
            tool_calls: played.tool_calls,
            observations: played.observations,
            notices,
        })
    }

    /// What replays a run, under its limits.
    pub(super) async fn player(
        &self,
        store: &Store,
        id: &RunId,
        shared: &RunStart,
        plugin: Option<&str>,
    ) -> Result<Player, HostError> {
        let changed = match plugin {
            Some(plugin) => Some(self.strategy_named(plugin).await?),
            None => None,
        };
        let limits = replay_limits(&shared.limits, &self.config.limits);
        let plugins = Plugins {
            store,
            shelf: &self.shelf(),
            run: id,
            limits: &limits,
        };
        let toolbox = plugins.toolbox(shared)?;
        Ok(Player {
            strategies: plugins.strategies(&store.sessions(id)?)?,
            run: self.told_again(store, id, shared, toolbox, limits)?,
            instances: self.instances.clone(),
            store: store.clone(),
            changed,
        })
    }

    async fn strategy_named(&self, plugin: &str) -> Result<Arc<Plugin>, HostError> {
        let plugin = self.load(plugin).await?;
        if plugin.is_strategy() {
            return Ok(plugin);
        }
        Err(HostError::NotAStrategy {
            plugin: plugin.name.clone(),
            tool: plugin.is_toolset(),
        })
    }

    /// The run as its record has it: without a way out, a model or a key. What no record may hold is known, as it is not told either.
    fn told_again(
        &self,
        store: &Store,
        id: &RunId,
        shared: &RunStart,
        toolbox: Toolbox,
        limits: Limits,
    ) -> Result<Arc<RunContext>, HostError> {
        let secrets = self.known_secrets()?;
        Ok(Arc::new(RunContext {
            id: id.clone(),
            keeping: Keeping::Record(store.clone()),
            events: Events::new(&limits, &secrets),
            ledger: Ledger::new(Caps::default()),
            egress: Arc::new(self.egress.under(&limits)),
            limits,
            models: Catalogue::empty(),
            aliases: BTreeMap::new(),
            toolbox,
            runner: Arc::new(Runner(self.instances.clone())),
            children: Arc::new(NoChildren),
            secrets,
            stored: Stored::default(),
            child: Caps::default(),
            closing_call: shared.closing_call,
            tool_delay_ms: 0,
            seed: shared.seed,
            suspend: CancellationToken::new(),
            taken: BTreeMap::new(),
            flags: None,
            denials: Mutex::default(),
            waited_in_vain: AtomicBool::default(),
        }))
    }
}

/// The limits that the run began with. No clock runs but one for each stretch between two observations.
fn replay_limits(recorded: &Limits, today: &Limits) -> Limits {
    Limits {
        step_wall: today.replay_wall,
        start_wall: today.replay_wall,
        fds: today.fds,
        ..in_this_process(recorded, today)
    }
}

/// The plugins of a run, as it kept them or as they are built in.
struct Plugins<'a> {
    store: &'a Store,
    shelf: &'a Shelf,
    run: &'a RunId,
    limits: &'a Limits,
}

impl Plugins<'_> {
    fn get(&self, of: &PluginRef) -> Result<Arc<Plugin>, HostError> {
        match recorded_plugin(self.store, of, self.limits) {
            Err(HostError::Store(StoreError::NoComponent { .. })) => self.built_in(of),
            other => other,
        }
    }

    fn built_in(&self, of: &PluginRef) -> Result<Arc<Plugin>, HostError> {
        match built_in(self.shelf, of, self.limits)? {
            Some(plugin) => Ok(plugin),
            None => {
                let (name, digest) = (&of.name, of.digest);
                let reason = format!(
                    "its plugin {name} is not here; import the run from a file that was exported --with-plugins, or one that has the bytes of {digest}"
                );
                Err(cannot(self.run, &reason))
            }
        }
    }

    fn toolbox(&self, shared: &RunStart) -> Result<Toolbox, HostError> {
        let tool = |tool: &ToolRef| {
            Ok::<_, HostError>(ToolPlugin {
                plugin: self.get(&tool.plugin)?,
                prefix: tool.prefix.clone(),
                rights: Arc::new(tool.rights.clone()),
                repeatable: tool.repeatable.clone(),
                defs: tool.defs.clone(),
            })
        };
        let plugins = shared.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
        Ok(toolbox(&plugins, self.limits)?.0)
    }

    /// Every strategy that an agent of the run had in any of its attempts, by its bytes.
    fn strategies(&self, rows: &[SessionRow]) -> Result<HashMap<Digest, Arc<Plugin>>, HostError> {
        let mut all = HashMap::new();
        for row in rows {
            for attempt in 1..=row.attempt {
                let missing = || cannot(self.run, &format!("a start of session {} is missing", row.session));
                let start = self.store.start(&row.session, attempt)?.ok_or_else(missing)?;
                let body: StartBody = codec::decode(&start.body).map_err(|e| cannot(self.run, &e.to_string()))?;
                let strategy = &body.agent.strategy;
                if let Entry::Vacant(place) = all.entry(strategy.digest) {
                    place.insert(self.get(strategy)?);
                }
            }
        }
        Ok(all)
    }
}

/// What a person should know beside whether all is the same.
fn noticed(played: &Played, spec: &ReplaySpec, host: &str) -> Vec<String> {
    let mut notices = Vec::new();
    notices.extend(played.difference.as_ref().and_then(|_| other_host(host)));
    if played.fuel_differs && spec.plugin.is_none() {
        notices.push(
            "the amounts of fuel differ from those recorded: this host or its engine counts otherwise than the one that ran it".to_owned(),
        );
    }
    if played.left_out > 0 {
        notices.push(format!(
            "{} tool calls held a folder or a network, and are not made again: what they told is taken from the record",
            played.left_out
        ));
    }
    notices
}

/// Why a replay came to nothing.
pub(super) fn failed(run: &RunId, error: ReplayError) -> HostError {
    match error {
        ReplayError::Store(error) => error.into(),
        ReplayError::Plugin { .. } => cannot(run, &error.to_string()),
        ReplayError::Host(what) => HostError::Run(what),
    }
}

fn cannot(run: &RunId, reason: &str) -> HostError {
    HostError::CantReplay {
        run: run.to_string(),
        reason: reason.to_owned(),
    }
}
