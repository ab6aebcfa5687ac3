//! From a command to a run that is ready to begin: plugins loaded, rights decided, tools asked and frozen, model and budget chosen. Nothing is
//! written until all of it is known to work.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bindings::types;
use crate::config::{Config, DENIABLE};
use crate::error::Dimension;
use crate::instance::{PrepareError, Prepared, list_tools};
use crate::ledger::Caps;
use crate::limits::Limits;
use crate::llm::{Catalogue, Model, SCRIPTED};
use crate::plugin::grant::{Allowed, Grant, GrantContext, GrantError, Kind, SecretGrant};
use crate::plugin::load::{Shelf, load};
use crate::plugin::manifest::Manifest;
use crate::plugin::rights::{Rights, ToolRights};
use crate::plugin::toolbox::{Listed, Tool, Toolbox, tools};
use crate::plugin::{Origin, Plugin};
use crate::run::Host;
use crate::run::error::HostError;
use crate::run::outside;
use crate::run::secrets::RunSecrets;
use crate::run::spec::{Budget, RunSpec};
use crate::secret::SecretFile;
use crate::store::SPILL_SPACE;
use crate::text;

/// What a plugin's list of tools is kept as.
const TOOLS: &str = "tools";

/// Everything of a run, before anything of it is written.
pub(super) struct Ready {
    pub(super) strategy: Arc<Plugin>,
    pub(super) prepared: Prepared,
    pub(super) rights: Rights,
    pub(super) toolbox: Toolbox,
    pub(super) plugins: Vec<ToolPlugin>,
    pub(super) held: Vec<String>,
    pub(super) models: Catalogue,
    pub(super) model: Option<Model>,
    pub(super) caps: Caps,
    pub(super) tree: Caps,
    pub(super) child: Caps,
    pub(super) task: types::Task,
    pub(super) notices: Vec<String>,
    pub(super) limits: Limits,
    pub(super) closing_call: bool,
    pub(super) tool_delay_ms: u64,
    pub(super) secrets: RunSecrets,
}

impl Ready {
    /// The toolsets of the run, by name.
    pub(super) fn toolsets(&self) -> Vec<String> {
        let names = self.toolbox.iter().filter_map(|tool| tool.toolset.clone());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// A plugin that brings tools to a run.
pub(super) struct ToolPlugin {
    pub(super) plugin: Arc<Plugin>,
    pub(super) prefix: Option<String>,
    pub(super) rights: Arc<ToolRights>,
    pub(super) repeatable: bool,
    pub(super) defs: Vec<types::ToolDef>,
}

/// Limits of a run's root, of the whole run, and of each child whose spec names none.
#[derive(Default)]
pub(super) struct Budgets {
    pub(super) root: Caps,
    pub(super) tree: Caps,
    pub(super) child: Caps,
}

/// What the operator allowed, for whichever plugin.
pub(super) struct Grants {
    allowed: Vec<Allowed>,
    /// What a tool has whichever agent calls it.
    own: Vec<Allowed>,
    denied: Vec<Kind>,
}

/// What the operator says of rights, flag by flag.
#[derive(Default)]
pub(super) struct GrantFlags<'a> {
    pub(super) allow: &'a [String],
    pub(super) own: &'a [String],
    pub(super) deny: &'a [String],
}

impl<'a> GrantFlags<'a> {
    /// `--allow` alone.
    pub(super) fn allowing(allow: &'a [String]) -> Self {
        Self {
            allow,
            ..Self::default()
        }
    }
}

impl Grants {
    pub(super) fn read(config: &Config, flags: &GrantFlags<'_>) -> Result<Self, HostError> {
        let context = GrantContext::new(&config.state_dir)?;
        let read = |configured: &[String], flags: &[String]| {
            let all = configured.iter().chain(flags);
            all.map(|text| Allowed::parse(text, &context))
                .collect::<Result<Vec<_>, _>>()
        };
        let allowed = read(&config.allow, flags.allow)?;
        let own = read(&config.own, flags.own)?;
        for Allowed { plugin, grant } in &own {
            let what = match (plugin, grant) {
                (None, _) => "whose it is comes first: --own TOOL=GRANT",
                (_, Grant::Fs(_)) => {
                    "folders are never a tool's own: its caller has them too, or it has none (--allow)"
                }
                _ => continue,
            };
            return Err(GrantError::new(&grant.to_string(), what).into());
        }
        for Allowed { grant, .. } in allowed.iter().chain(&own) {
            match grant {
                Grant::Secret(secret) => is_set(config, secret)?,
                Grant::Terminal(_) => {
                    let what = "this version of the host has no terminal";
                    return Err(GrantError::new(&grant.to_string(), what).into());
                }
                Grant::Blackboard { name, .. } if name == SPILL_SPACE => {
                    let what = "each run keeps there what was too long for its readers; choose another name";
                    return Err(GrantError::new(&grant.to_string(), what).into());
                }
                Grant::Llm(Some(alias)) if !config.models.aliases.contains_key(alias) => {
                    let near = text::nearest(alias, config.models.aliases.keys().map(String::as_str));
                    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                    let what = format!("there is no alias {alias} (aliases.{alias} in the configuration){hint}");
                    return Err(GrantError::new(&grant.to_string(), what).into());
                }
                _ => {}
            }
        }
        let denied = config.deny.iter().chain(flags.deny).map(|text| {
            let kind = text.parse::<Kind>()?;
            if DENIABLE.contains(&text.as_str()) {
                return Ok(kind);
            }
            let what = format!("what can be denied is {}", DENIABLE.join(", "));
            Err(GrantError::new(text, what))
        });
        let denied = denied.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { allowed, own, denied })
    }

    /// What a root strategy may do.
    pub(super) fn root(&self, plugin: &Plugin) -> Result<Rights, HostError> {
        self.of(&plugin.name, true, plugin.manifest.as_ref())
    }

    /// What a tool plugin may do.
    pub(super) fn tool(&self, name: &str, manifest: Option<&Manifest>) -> Result<ToolRights, HostError> {
        Ok(ToolRights::new(name, &self.allowed, &self.own, manifest)?)
    }

    /// Which of these flags name a plugin that the run does not have.
    fn for_nobody(&self, spec: &RunSpec, plugins: &[&String]) -> Vec<String> {
        let mut unheard = Vec::new();
        for (name, all, flags) in [("allow", &self.allowed, &spec.allow), ("own", &self.own, &spec.own)] {
            // Those of the configuration come first.
            let given = &all[all.len().saturating_sub(flags.len())..];
            for (allowed, flag) in given.iter().zip(flags) {
                if let Some(plugin) = allowed.plugin.as_ref().filter(|plugin| !plugins.contains(plugin)) {
                    unheard.push(format!(
                        "--{name} {flag} is for nobody: no plugin of this run is called {plugin}"
                    ));
                }
            }
        }
        unheard
    }

    /// Which of these flags grant a secret that goes into no request of the tools, which may do this when the root calls them.
    fn idle_secrets(&self, spec: &RunSpec, tools: &[Rights]) -> Vec<String> {
        let mut idle = Vec::new();
        for (name, all, flags) in [("allow", &self.allowed, &spec.allow), ("own", &self.own, &spec.own)] {
            let given = &all[all.len().saturating_sub(flags.len())..];
            for (allowed, flag) in given.iter().zip(flags) {
                let Grant::Secret(secret) = &allowed.grant else {
                    continue;
                };
                let goes = tools.iter().any(|rights| {
                    let held = rights.secrets().filter(|held| held.meet(secret).is_some());
                    held.count() > rights.idle_secrets().filter(|held| held.meet(secret).is_some()).count()
                });
                if !goes {
                    let hosts = &secret.hosts;
                    idle.push(format!(
                        "--{name} {flag} goes into no request: no tool of this run is given it and may send requests there (--allow net:{hosts})"
                    ));
                }
            }
        }
        idle
    }

    /// What a plugin of this name and manifest may do, as a root strategy or as a tool.
    pub(super) fn of(&self, name: &str, strategy: bool, manifest: Option<&Manifest>) -> Result<Rights, HostError> {
        Ok(if strategy {
            Rights::root(name, &self.allowed, &self.denied, manifest)?
        } else {
            self.tool(name, manifest)?.whole()
        })
    }
}

impl Host {
    /// Finds and loads everything that a run needs.
    pub(super) async fn prepare(&self, spec: &RunSpec) -> Result<Ready, HostError> {
        let strategy = self.load(&spec.plugin)?;
        if !strategy.is_strategy() {
            return Err(HostError::NotAStrategy {
                plugin: strategy.name.clone(),
                tool: strategy.is_toolset(),
            });
        }
        let grants = Grants::read(
            &self.config,
            &GrantFlags {
                allow: &spec.allow,
                own: &spec.own,
                deny: &spec.deny,
            },
        )?;
        let rights = grants.root(&strategy)?;
        // Side by side, as each may have to be compiled.
        let tools = self.tool_plugins(&grants, &rights, &spec.tools);
        let (prepared, plugins) = tokio::try_join!(self.resolve(&strategy), tools)?;
        one_of_each_name(&strategy, &plugins)?;
        let (toolbox, held) = toolbox(&plugins, &self.config.limits)?;
        let (models, model) = self.model(&strategy, &rights, spec).await?;
        let others = rights.llm_aliases().filter_map(|alias| models.resolve(alias).ok());
        let Budgets {
            root: caps,
            tree,
            child,
        } = self.budgets(&spec.budget, model.iter().cloned().chain(others))?;
        let task = task(spec)?;
        let secrets = self.run_secrets(&models, &whole(&plugins))?;
        secrets.are_not_in("the task", &task.prompt)?;
        secrets.are_not_in("what --inputs says", task.inputs.as_deref().unwrap_or_default())?;
        let mut notices = self.compiler.notices();
        let named = std::iter::once(&strategy.name).chain(plugins.iter().map(|p| &p.plugin.name));
        notices.extend(grants.for_nobody(spec, &named.collect::<Vec<_>>()));
        let reach: Vec<Rights> = plugins.iter().map(|plugin| plugin.rights.called_by(&rights)).collect();
        notices.extend(grants.idle_secrets(spec, &reach));
        if let Some(model) = model.as_ref().filter(|m| m.price.is_none() && m.provider() != SCRIPTED) {
            let name = model.full_name();
            notices.push(format!(
                "the price of {name} is not known, so its calls count as $0 (models.\"{name}\".price in the configuration)"
            ));
        }
        for plugin in std::iter::once(&strategy).chain(plugins.iter().map(|p| &p.plugin)) {
            if self.shelf().is_another(plugin) {
                let (name, place) = (&plugin.name, plugin.origin.shown(&plugin.name));
                notices.push(format!("{name} is {place} here, not the built-in one"));
            }
        }
        Ok(Ready {
            strategy,
            prepared,
            rights,
            toolbox,
            plugins,
            held,
            models,
            model,
            caps,
            tree,
            child,
            task,
            notices,
            limits: self.config.limits.clone(),
            closing_call: self.config.closing_call,
            tool_delay_ms: u64::try_from(self.config.tool_delay.as_millis()).unwrap_or(u64::MAX),
            secrets,
        })
    }

    /// Finds and checks a plugin.
    pub(super) fn load(&self, plugin: &str) -> Result<Arc<Plugin>, HostError> {
        let found = self.shelf().find(plugin, &self.config.limits)?;
        Ok(Arc::new(load(found, &self.config.limits)?))
    }

    pub(super) fn shelf(&self) -> Shelf {
        Shelf {
            home: self.config.home.join("plugins"),
        }
    }

    /// Compiles a plugin and resolves its imports.
    pub(super) async fn resolve(&self, plugin: &Plugin) -> Result<Prepared, HostError> {
        let prepared = self.instances.prepare(plugin).await;
        prepared.map_err(|e| match e {
            PrepareError::Load(error) => error.of(plugin.origin.shown(&plugin.name)).into(),
            PrepareError::Link(reason) => HostError::Link {
                plugin: plugin.name.clone(),
                reason,
            },
        })
    }

    /// The plugins that bring tools: those named, and of those built in the ones whose needs were granted, to the root or as their own.
    async fn tool_plugins(
        &self,
        grants: &Grants,
        caller: &Rights,
        named: &[String],
    ) -> Result<Vec<ToolPlugin>, HostError> {
        let mut asked = Vec::new();
        let mut taken = BTreeSet::new();
        for text in self.config.tools.iter().chain(named) {
            let (prefix, path) = split_prefix(text)?;
            let plugin = self.load(path)?;
            if !plugin.is_toolset() {
                return Err(HostError::NotATool {
                    plugin: plugin.name.clone(),
                });
            }
            taken.insert(plugin.name.clone());
            asked.push(self.ask(plugin, prefix, grants));
        }
        for name in self.shelf().standard() {
            let found = self.shelf().find(name, &self.config.limits)?;
            let needed = found.manifest.as_ref().and_then(|m| m.toolset.as_deref());
            let own = grants.tool(name, found.manifest.as_ref())?;
            let brought = needed.is_some_and(|toolset| caller.brings(toolset) || own.brings(toolset));
            if brought && !taken.contains(name) {
                let plugin = Arc::new(load(found, &self.config.limits)?);
                asked.push(self.ask(plugin, None, grants));
            }
        }
        futures_util::future::try_join_all(asked).await
    }

    /// Asks a plugin for its tools, once, in a sandbox without grants.
    async fn ask(&self, plugin: Arc<Plugin>, prefix: Option<String>, grants: &Grants) -> Result<ToolPlugin, HostError> {
        let rights = Arc::new(grants.tool(&plugin.name, plugin.manifest.as_ref())?);
        let defs = self.ask_tools(&plugin).await?;
        let repeatable = plugin.origin == Origin::Standard;
        Ok(ToolPlugin {
            plugin,
            prefix,
            rights,
            repeatable,
            defs,
        })
    }

    /// What a plugin's `list-tools` answers: asked once for each digest, and kept with its code.
    pub(super) async fn ask_tools(&self, plugin: &Plugin) -> Result<Vec<types::ToolDef>, HostError> {
        let kept = self.compiler.kept(plugin.digest, TOOLS);
        if let Some(defs) = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(defs);
        }
        let prepared = self.resolve(plugin).await?;
        let guest = outside::guest(self, plugin);
        let answer = list_tools(&self.instances, &guest, prepared).await;
        let defs = answer.map_err(|stopped| outside::unanswered(plugin, "its tools", &stopped))?;
        if let Ok(bytes) = serde_json::to_vec(&defs) {
            self.compiler.keep(plugin.digest, TOOLS, &bytes);
        }
        Ok(defs)
    }

    /// The models, and the root's default. A strategy that never asks a model needs none.
    async fn model(
        &self,
        strategy: &Plugin,
        rights: &Rights,
        spec: &RunSpec,
    ) -> Result<(Catalogue, Option<Model>), HostError> {
        let script = spec.script.as_deref();
        // A script that is named is meant to be played, whatever else is configured.
        let usual = script.map_or(self.config.model.as_deref(), |_| Some(SCRIPTED));
        let wanted = spec.model.as_deref().or(usual);
        let imports = |interface: &str| {
            strategy
                .outline
                .imports
                .iter()
                .any(|import| import.starts_with(interface))
        };
        let (asks, delegates) = (imports("hermes:plugin/llm"), imports("hermes:plugin/delegation"));
        if !(asks || delegates) || rights.may_llm(&strategy.name, None).is_err() {
            return Ok((Catalogue::empty(), None));
        }
        let catalogue = Catalogue::open(&self.config.models, &self.config.limits, script)?;
        if !asks && wanted.is_none() {
            // Only its children might ask, and nobody said whom.
            return Ok((catalogue, None));
        }
        let model = catalogue.choose(wanted).await?;
        if script.is_some() && model.provider() != SCRIPTED {
            return Err(HostError::ScriptUnused { model: model.name });
        }
        Ok((catalogue, Some(model)))
    }

    /// The limits of the run and its agents. One in money needs the price of each of `models`, which may be asked.
    pub(super) fn budgets(
        &self,
        budget: &Budget,
        mut models: impl Iterator<Item = Model>,
    ) -> Result<Budgets, HostError> {
        let limits = &self.config.limits;
        let mut all = Budgets::default();
        all.root.set(Dimension::Iterations, limits.iterations_root);
        all.root.set(Dimension::WallClockMs, limits.run_wall);
        all.root.set(Dimension::JournalBytes, limits.journal_bytes);
        for given in [&self.config.budget, budget] {
            given.root.iter().for_each(|(d, cap)| all.root.set(*d, *cap));
            given.tree.iter().for_each(|(d, cap)| all.tree.set(*d, *cap));
            given.child.iter().for_each(|(d, cap)| all.child.set(*d, *cap));
        }
        let most = limits.iterations_child_max;
        let flag = budget.child.iter().find(|(d, _)| *d == Dimension::Iterations);
        if let Some((_, asked)) = flag.filter(|(_, asked)| *asked > most) {
            return Err(HostError::ChildIterations { asked: *asked, most });
        }
        if let Some(configured) = all.child.get(Dimension::Iterations) {
            all.child.set(Dimension::Iterations, configured.min(most));
        }
        let money = [&all.root, &all.tree, &all.child]
            .into_iter()
            .any(|caps| caps.get(Dimension::CostMicroUsd).is_some());
        match models.find(|model| money && model.price.is_none()) {
            Some(model) => Err(HostError::NoPrice {
                model: model.full_name(),
            }),
            None => Ok(all),
        }
    }
}

/// What each of these may do when somebody calls it who may do all of it.
pub(super) fn whole(plugins: &[ToolPlugin]) -> Vec<Rights> {
    plugins.iter().map(|plugin| plugin.rights.whole()).collect()
}

/// Whether a secret that is granted is there.
fn is_set(config: &Config, granted: &SecretGrant) -> Result<(), HostError> {
    let secrets = SecretFile::in_dir(&config.state_dir).read()?;
    match secrets.iter().any(|secret| secret.name == granted.name) {
        true => Ok(()),
        false => Err(HostError::NoSecret {
            grant: granted.to_string(),
            name: granted.name.clone(),
        }),
    }
}

/// The frozen tools of a run, and the names that its root holds.
pub(super) fn toolbox(plugins: &[ToolPlugin], limits: &Limits) -> Result<(Toolbox, Vec<String>), HostError> {
    let mut all: Vec<Tool> = Vec::new();
    for p in plugins {
        let listed = Listed {
            plugin: p.plugin.clone(),
            defs: p.defs.clone(),
            prefix: p.prefix.clone(),
            rights: p.rights.clone(),
            repeatable: p.repeatable,
        };
        all.extend(tools(&listed, limits)?);
    }
    let toolbox = Toolbox::new(all)?;
    let held = toolbox.iter().map(|tool| tool.name.clone()).collect();
    Ok((toolbox, held))
}

/// Grants are given by name: two plugins of one name would share them.
fn one_of_each_name(strategy: &Arc<Plugin>, tools: &[ToolPlugin]) -> Result<(), HostError> {
    let all: Vec<&Arc<Plugin>> = std::iter::once(strategy)
        .chain(tools.iter().map(|p| &p.plugin))
        .collect();
    for (at, plugin) in all.iter().enumerate() {
        let twin = all[..at]
            .iter()
            .find(|other| other.name == plugin.name && other.digest != plugin.digest);
        if let Some(other) = twin {
            return Err(HostError::SameName {
                name: plugin.name.clone(),
                first: other.origin.shown(&other.name),
                second: plugin.origin.shown(&plugin.name),
            });
        }
    }
    Ok(())
}

/// The model that a run without `--model` would ask. Asks the server that the environment names, or servers of this machine, and
/// those only where nothing else is set.
///
/// # Errors
/// There is none, or it can't be used.
pub async fn default_model(config: &Config) -> Result<Model, HostError> {
    let catalogue = Catalogue::open(&config.models, &config.limits, None)?;
    Ok(catalogue.choose(config.model.as_deref()).await?)
}

fn task(spec: &RunSpec) -> Result<types::Task, HostError> {
    if let Some(inputs) = &spec.inputs {
        let value = crate::json::parse(inputs, 64).map_err(|e| HostError::Inputs(e.to_string()))?;
        if !value.is_object() {
            return Err(HostError::Inputs("it is no JSON object".to_owned()));
        }
    }
    Ok(types::Task {
        prompt: spec.task.clone(),
        inputs: spec.inputs.clone(),
        attempt: 1,
        previous: None,
        lessons: Vec::new(),
    })
}

/// `[PREFIX=]PATH`.
fn split_prefix(text: &str) -> Result<(Option<String>, &str), HostError> {
    let is_prefix = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match text.split_once('=') {
        Some((prefix, path)) if is_prefix(prefix) => Ok((Some(prefix.to_owned()), path)),
        Some((prefix, _)) if !prefix.contains('/') => Err(HostError::ToolPrefix {
            prefix: text::line(prefix, 64),
        }),
        _ => Ok((None, text)),
    }
}
