//! From a command to a run that is ready to begin: plugins loaded, rights decided, tools asked and frozen, model and budget chosen. Nothing is
//! written until all of it is known to work.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bindings::types;
use crate::blocking;
use crate::config::Config;
use crate::error::Dimension;
use crate::instance::{Prepared, list_tools};
use crate::json;
use crate::ledger::Caps;
use crate::limits::Limits;
use crate::llm::{Catalogue, Model, SCRIPTED};
use crate::plugin::Plugin;
use crate::plugin::approval::Approvals;
use crate::plugin::load::{Found, Shelf, load_tried};
use crate::plugin::rights::{FlagCheck, Rights, TakenBy, ToolRights};
use crate::plugin::toolbox::{Listed, Repeatable, Tool, Toolbox, tools};
use crate::run::Host;
use crate::run::error::{HostError, Question};
use crate::run::grants::{GrantFlags, Grants, no_quota, taken_by};
use crate::run::outside;
use crate::run::secrets::RunSecrets;
use crate::run::spec::{Budget, RunSpec};
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
    pub(super) taken: TakenBy,
    /// What a flag is held against that is named for a denial.
    pub(super) flags: Option<FlagCheck>,
    pub(super) notices: Vec<String>,
    /// Those of them that say that a flag of the line does nothing.
    pub(super) idle: Vec<String>,
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
    pub(super) repeatable: Repeatable,
    pub(super) defs: Vec<types::ToolDef>,
}

/// Limits of a run's root, of the whole run, and of each child whose spec names none.
#[derive(Default)]
pub(super) struct Budgets {
    pub(super) root: Caps,
    pub(super) tree: Caps,
    pub(super) child: Caps,
}

impl Host {
    /// Finds and loads everything that a run needs.
    pub(super) async fn prepare(&self, spec: &RunSpec) -> Result<Ready, HostError> {
        let strategy = self.load(&spec.plugin).await?;
        if !strategy.is_strategy() {
            return Err(HostError::NotAStrategy {
                plugin: strategy.name.clone(),
                tool: strategy.is_toolset(),
            });
        }
        let mut grants = Grants::read(
            &self.config,
            &GrantFlags {
                allow: &spec.allow,
                own: &spec.own,
                deny: &spec.deny,
            },
        )?;
        let rights = grants.root(&*strategy)?;
        // Side by side, as each may have to be compiled.
        let tools = self.tool_plugins(&grants, &rights, &spec.tools);
        let (prepared, plugins) = tokio::try_join!(self.resolve(&strategy), tools)?;
        one_of_each_name(&strategy, &plugins)?;
        let reach: Vec<Rights> = plugins.iter().map(|plugin| plugin.rights.called_by(&rights)).collect();
        let all = std::iter::once(&*strategy).chain(plugins.iter().map(|p| &*p.plugin));
        let flags = grants.spare(all, spec.script.as_deref(), &reach)?;
        let (toolbox, held) = toolbox(&plugins, &self.config.limits)?;
        let (models, model) = self.model(&strategy, &rights, spec).await?;
        let others = rights.llm_aliases().filter_map(|alias| models.resolve(alias).ok());
        let Budgets {
            root: caps,
            tree,
            child,
        } = self.budgets(&spec.budget, model.iter().cloned().chain(others))?;
        let task = task(spec)?;
        let secrets = self.run_secrets(&whole(&plugins), &self.config.limits)?;
        secrets.are_not_in("the task", &task.prompt)?;
        secrets.are_not_in("what --inputs says", task.inputs.as_deref().unwrap_or_default())?;
        let mut notices = self.compiler.notices();
        let named = std::iter::once(&strategy.name).chain(plugins.iter().map(|p| &p.plugin.name));
        let named: Vec<&String> = named.collect();
        let idle = grants.for_nobody(spec, &named, "run");
        notices.extend(idle.iter().cloned());
        notices.extend(flags.reader.context().led_by_links(&spec.allow));
        notices.extend(grants.unwritten(spec, &named, &reach));
        notices.extend(no_quota(&reach));
        notices.extend(grants.idle_secrets(spec, &reach));
        // What answers on this machine sends no bill.
        if let Some(model) = model.as_ref().filter(|m| m.price.is_none() && !m.is_on_this_machine()) {
            let name = model.full_name();
            notices.push(format!(
                "the price of {name} is not known, so its calls count as $0 (models.\"{name}\".price in the configuration)"
            ));
        }
        notices.extend(grants.held_from_root(&*strategy));
        for tool in &plugins {
            notices.extend(grants.held_back(&*tool.plugin)?);
        }
        for plugin in std::iter::once(&strategy).chain(plugins.iter().map(|p| &p.plugin)) {
            notices.extend(self.instead_of_built_in(plugin));
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
            taken: taken_by(&self.config),
            flags: Some(flags),
            idle,
            limits: self.config.limits.clone(),
            closing_call: self.config.closing_call,
            tool_delay_ms: u64::try_from(self.config.tool_delay.as_millis()).unwrap_or(u64::MAX),
            secrets,
        })
    }

    /// That a plugin has the name of one that is built in, and is another.
    pub(super) fn instead_of_built_in(&self, plugin: &Plugin) -> Option<String> {
        let (name, place) = (&plugin.name, plugin.origin.shown(&plugin.name));
        let is_another = self.shelf().is_another(plugin);
        is_another.then(|| format!("{name} is {place} here, not the built-in one"))
    }

    /// Finds and checks a plugin.
    pub(super) async fn load(&self, plugin: &str) -> Result<Arc<Plugin>, HostError> {
        let (shelf, limits, plugin) = (self.shelf(), self.config.limits.clone(), plugin.to_owned());
        let found = apart(move || shelf.find(&plugin, &limits)).await?;
        self.loaded(found?).await
    }

    /// Checks a plugin that was found.
    async fn loaded(&self, found: Found) -> Result<Arc<Plugin>, HostError> {
        let (limits, compiler) = (self.config.limits.clone(), self.compiler.clone());
        let checked = apart(move || load_tried(found, &limits, |digest| compiler.was_tried(digest))).await?;
        Ok(Arc::new(checked?))
    }

    pub(super) fn shelf(&self) -> Shelf {
        Shelf {
            home: self.config.home.join("plugins"),
            approvals: Approvals::at(&self.config.state_dir),
        }
    }

    /// Compiles a plugin and resolves its imports.
    pub(super) async fn resolve(&self, plugin: &Plugin) -> Result<Prepared, HostError> {
        let prepared = self.instances.prepare(plugin).await;
        prepared.map_err(|e| e.of(plugin.origin.shown(&plugin.name)).into())
    }

    /// The plugins that bring tools: those named, and of those built in the ones whose needs were granted, to the root or as their own.
    async fn tool_plugins(
        &self,
        grants: &Grants,
        caller: &Rights,
        named: &[String],
    ) -> Result<Vec<ToolPlugin>, HostError> {
        let mut found = Vec::new();
        for text in &self.config.tools {
            let tool = self.named_tool(text).await;
            found.push(tool.map_err(|error| error.of_setting("tools", &self.config))?);
        }
        for text in named {
            found.push(self.named_tool(text).await?);
        }
        let mut asked = Vec::new();
        let mut taken = BTreeSet::new();
        for (prefix, plugin) in found {
            taken.insert(plugin.name.clone());
            asked.push(self.ask(plugin, prefix, grants));
        }
        for name in self.shelf().standard() {
            let found = self.shelf().look(name, &self.config.limits)?;
            let needed = found.manifest.as_ref().and_then(|m| m.toolset.as_deref());
            let own = grants.tool(&found)?;
            let brought = needed.is_some_and(|toolset| caller.brings(toolset) || own.brings(toolset));
            if brought && !taken.contains(name) {
                asked.push(self.ask(self.loaded(found).await?, None, grants));
            }
        }
        futures_util::future::try_join_all(asked).await
    }

    /// A plugin with tools, as `[PREFIX=]PATH` names it.
    async fn named_tool(&self, text: &str) -> Result<(Option<String>, Arc<Plugin>), HostError> {
        let (prefix, path) = split_prefix(text)?;
        let plugin = self.load(path).await?;
        if plugin.is_toolset() {
            return Ok((prefix, plugin));
        }
        Err(HostError::NotATool {
            plugin: plugin.name.clone(),
        })
    }

    /// Asks a plugin for its tools, once, in a sandbox without grants.
    async fn ask(&self, plugin: Arc<Plugin>, prefix: Option<String>, grants: &Grants) -> Result<ToolPlugin, HostError> {
        let rights = Arc::new(grants.tool(&*plugin)?);
        let defs = self.ask_tools(&plugin).await?;
        Ok(ToolPlugin {
            repeatable: Repeatable::of(&plugin),
            plugin,
            prefix,
            rights,
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
        let defs = answer.map_err(|stopped| outside::unanswered(plugin, Question::Tools, &stopped))?;
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
        // Before it is asked what that model lacks: it is not meant to be used.
        if let Some(name) = wanted.filter(|_| script.is_some())
            && !catalogue.is_scripted(name)?
        {
            return Err(HostError::ScriptUnused { model: name.to_owned() });
        }
        let model = catalogue.choose(wanted).await.map_err(|error| {
            let error = HostError::from(error);
            match (&spec.model, script, wanted) {
                (None, None, Some(_)) => error.of_setting("model", &self.config),
                _ => error,
            }
        })?;
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

/// Reads and checks a stranger's bytes, of which there may be many, in a thread that serves nobody else: whoever waits for it may give it up meanwhile.
pub(super) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HostError> {
    let done = blocking::apart(work).await;
    done.map_err(|e| HostError::Run(format!("looking at a plugin: {e}")))
}

/// What each of these may do when somebody calls it who may do all of it.
pub(super) fn whole(plugins: &[ToolPlugin]) -> Vec<Rights> {
    plugins.iter().map(|plugin| plugin.rights.whole()).collect()
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
            repeatable: p.repeatable.clone(),
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

/// As [`default_model`] where the key `model` is not set, as far as it is known without asking a server: the variable of the environment that
/// decides, and the model where no server need be asked for it.
pub fn usual_model(config: &Config) -> Option<(&'static str, Option<String>)> {
    let catalogue = Catalogue::open(&config.models, &config.limits, None).ok()?;
    let (variable, model) = catalogue.usual()?;
    Some((variable, model.map(str::to_owned)))
}

fn task(spec: &RunSpec) -> Result<types::Task, HostError> {
    if let Some(inputs) = &spec.inputs {
        let is_object = json::is_object(inputs, 64).map_err(|e| HostError::Inputs(e.to_string()))?;
        if !is_object {
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
pub(super) fn split_prefix(text: &str) -> Result<(Option<String>, &str), HostError> {
    let is_prefix = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match text.split_once('=') {
        Some((prefix, path)) if is_prefix(prefix) => Ok((Some(prefix.to_owned()), path)),
        Some((prefix, _)) if !prefix.contains('/') => Err(HostError::ToolPrefix {
            prefix: text::line(prefix, 64),
        }),
        _ => Ok((None, text)),
    }
}
