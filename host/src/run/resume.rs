//! Goes on with a run that was suspended or whose process was killed: the start record says what it was made of, the strategy runs again
//! from its start against its observations, and goes on live where they end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::blocking;
use crate::config::{Budget, Config};
use crate::engine::cache::Use;
use crate::engine::made_as;
use crate::error::Dimension;
use crate::event::now_ms;
use crate::ids::{Digest, RunId, Scope, SessionId, StreamId};
use crate::ledger::Caps;
use crate::limits::Limits;
use crate::llm::Catalogue;
use crate::plugin::Plugin;
use crate::plugin::grant::{FolderGrant, GivenBy, Grant, GrantError};
use crate::plugin::load::{Shelf, load};
use crate::plugin::rights::{FlagCheck, Rights};
use crate::run::audit::denials;
use crate::run::cancel::end;
use crate::run::change::{ResumeSpec, may_change};
use crate::run::grants::{Grants, taken_by, taken_by_resumes};
use crate::run::handle::RunHandle;
use crate::run::prepare::{Ready, ToolPlugin, toolbox, whole};
use crate::run::root::{ended, finish_row, resumed, root_session};
use crate::run::{Host, HostError, own_limits, used_up};
use crate::session::codec;
use crate::session::keeping::{Journal, Keeping};
use crate::store::{Note, NoteKind, Owner, Record, RunRow, SessionRow, Store, StoreError, Sync, Transition};
use crate::supervisor::start::{AgentStart, PluginRef, RunStart, StartBody};
use crate::supervisor::terms::{ChildTerms, Terms, put};

impl Host {
    /// Goes on with a run, with a larger budget or fewer rights where that is asked for.
    ///
    /// # Errors
    /// There is no such run, it has ended, another process owns it, what it was made of is gone, or a change of its terms would lower a limit.
    pub async fn resume(&self, spec: &ResumeSpec) -> Result<RunHandle, HostError> {
        let change = spec.terms()?;
        let store = self.store()?;
        let id = store.find_run(&spec.run)?;
        store.has_room()?;
        let owner = store.take_run(&id).await?;
        // Read once it is ours: it may have ended just before.
        let row = store.run(&id)?;
        if row.status.is_final() {
            return Err(used_up::has_ended(&store, &row));
        }
        may_go_on(&store, &row).map_err(|reason| cannot(&id, &reason))?;
        if store.sessions(&id)?.is_empty() {
            // There is nothing to go on with, and nobody shall try that again.
            end(&store, &owner).await?;
            return Err(HostError::NeverBegan { run: id });
        }
        self.go_on(store, owner, row, change, Vec::new()).await
    }

    /// Goes on with a run that is ours and whose row is this, from where its record ends, its terms changed so. `notices` are told with it.
    pub(super) async fn go_on(
        &self,
        store: Store,
        owner: Owner,
        row: RunRow,
        change: Terms,
        notices: Vec<String>,
    ) -> Result<RunHandle, HostError> {
        let id = owner.run().clone();
        let first = first_start(&store, &id)?;
        let shared = first
            .run
            .ok_or_else(|| cannot(&id, "its start record is not a run's"))?;
        own_limits::may_hold(&store, &row, &shared.limits, &self.config.limits)
            .map_err(|reason| cannot(&id, &reason))?;
        let made = self.made_for(&shared.limits)?;
        let host = made.as_ref().unwrap_or(self);
        host.go_on_under(store, owner, &row, shared, change, notices).await
    }

    /// A host whose instances have what they had when a run began under these limits; nothing where this one's have that.
    pub(super) fn made_for(&self, recorded: &Limits) -> Result<Option<Self>, HostError> {
        let limits = made_as(recorded, &self.config.limits);
        if limits == self.config.limits {
            return Ok(None);
        }
        let config = Config {
            limits,
            ..self.config.clone()
        };
        Self::made(config, self.compiler.compile_in(), Use::Write).map(Some)
    }

    /// The same, where instances have what they had when the run began.
    async fn go_on_under(
        &self,
        store: Store,
        owner: Owner,
        row: &RunRow,
        shared: RunStart,
        change: Terms,
        notices: Vec<String>,
    ) -> Result<RunHandle, HostError> {
        let id = owner.run().clone();
        let (mut agent, mut shared, mut terms) = self.as_it_goes_on(&store, row, shared)?;
        may_change(&change, &agent, &shared).map_err(|reason| cannot(&id, &reason))?;
        change.apply_to_agent(&mut agent);
        change.apply_to_run(&mut shared);
        terms.change(change.clone());
        let mut ready = self.rebuild(&store, &id, &agent, &shared).await?;
        ready.taken.extend(taken_by_resumes(&terms.denied));
        ready.notices.extend(notices);
        if !change.are_none() {
            ready.notices.push(format!("it goes on with {}", change.words()));
        }
        let lost = owner.lost_tail().map(lost_tail);
        ready.notices.extend(lost.clone());
        // Its owner went down before it heard of this.
        let cancel_asked = store.cancel_requested(&id)?.is_some();
        let supervisor = self.supervisor(&shared.limits);
        let ctx = self.context(
            Keeping::Journal(Journal {
                store: store.clone(),
                owner,
            }),
            id.clone(),
            &ready,
            &shared,
            &supervisor,
        );
        ctx.had(denials(&store, row)?);
        let mut root = supervisor.restore(&ctx, &terms)?;
        ready.task = root.start.task.clone();
        let session = root_session(&ctx, &ready, root.account, root.past);
        if let Some(result) = &root.result {
            // Its end is recorded: only the run's own row was not written any more.
            finish_row(&session, &ended(&session, result)?).await?;
            return Err(used_up::has_ended(&store, &store.run(&id)?));
        }
        // One that has a record to be told again is taken up when that was told: until then it may be another run than this.
        let active = (root.observations == 0).then_some(Transition::Active {
            attempt: root.from.attempt,
        });
        let steps = active
            .into_iter()
            .chain(cancel_asked.then_some(Transition::CancelAsked));
        root.from.cancel_asked |= cancel_asked;
        let mut records: Vec<Record> = steps.map(|step| session.step(step, None)).collect();
        let note = |kind, body| note(&session.id, root.from.attempt, kind, body);
        if !change.are_none() {
            // At once: what is denied stays denied, however this ends.
            records.push(note(NoteKind::Terms, change.body()));
        }
        records.extend(lost.map(|lost| note(NoteKind::Host, lost.into_bytes())));
        if !records.is_empty() {
            let written = session.run.append(records, None, Sync::Durable).await;
            written.map_err(|end| HostError::NotBegun(end.to_string()))?;
        }
        let first = ctx.events.subscribe();
        resumed(&session, &ready, root.observations);
        Ok(self.launch(supervisor, session, ready, root.start, root.from, first))
    }

    /// What a run is made of when it goes on here: as it stands, and one that was imported under this host's own terms where those are less.
    pub(super) fn as_it_goes_on(
        &self,
        store: &Store,
        row: &RunRow,
        shared: RunStart,
    ) -> Result<(AgentStart, RunStart, Terms), HostError> {
        let (mut agent, mut shared, mut terms) = as_it_stands(store, &row.id, shared)?;
        if row.imported.is_some() {
            let own = self.own_terms(&agent, &shared)?;
            own.apply_to_agent(&mut agent);
            own.apply_to_run(&mut shared);
            terms.change(own);
        }
        Ok((agent, shared, terms))
    }

    /// Whether a resume takes up a run that has not ended: nothing forbids that it goes on here, and it was begun under no looser limits than this
    /// host's. Whether its plugins and its models are here is seen when it does.
    pub(super) fn would_go_on(&self, store: &Store, row: &RunRow) -> bool {
        let own = &self.config.limits;
        let limits = || Some(first_start(store, &row.id).ok()?.run?.limits);
        let within = |limits: Limits| own_limits::may_hold(store, row, &limits, own).is_ok();
        may_go_on(store, row).is_ok() && (row.imported.is_none() || limits().is_some_and(within))
    }

    /// What a run that was imported may cost is this host's to say, not the file's: today's prices, and of each limit the lesser.
    fn own_terms(&self, agent: &AgentStart, run: &RunStart) -> Result<Terms, HostError> {
        let models = Catalogue::open(&self.config.models, &run.limits, None)?;
        let aliases = run.aliases.values().map(|alias| &alias.model);
        let names = aliases.chain(agent.model.iter().map(|model| &model.meant.model));
        let named = names.map(|name| Ok((name.clone(), models.resolve(name)?)));
        let named = named.collect::<Result<BTreeMap<_, _>, HostError>>()?;
        let prices = named.iter().map(|(name, model)| (name.clone(), model.price)).collect();
        let own = self.budgets(&Budget::default(), named.into_values())?;
        let lesser = |of_file: &[(Dimension, u64)], own: &Caps| {
            let mut both = own.iter().collect();
            put(&mut both, of_file);
            for (dimension, value) in &mut both {
                *value = own.get(*dimension).map_or(*value, |own| own.min(*value));
            }
            both
        };
        let budget = Budget {
            root: lesser(&agent.caps, &own.root),
            child: lesser(&run.child, &own.child),
            tree: lesser(&run.tree, &own.tree),
        };
        Ok(Terms {
            budget,
            denied: Vec::new(),
            prices: Some(prices),
            children: Some(ChildTerms::new(&own.child, &self.config.limits)),
        })
    }

    /// A plugin of a run as it was kept, or as it is built in where that is the same.
    fn plugin_of(&self, store: &Store, of: &PluginRef, limits: &Limits) -> Result<Arc<Plugin>, HostError> {
        match recorded_plugin(store, of, limits) {
            Err(HostError::Store(StoreError::NoComponent { path })) => {
                let gone = || HostError::PluginGone {
                    plugin: of.name.clone(),
                    path,
                };
                built_in(&self.shelf(), of, limits)?.ok_or_else(gone)
            }
            other => other,
        }
    }

    /// What the flags of a run are held against that goes on with tools of these rights. Its folders are as they were granted, and could be granted now: what
    /// is the host's own, or holds a provider's key, may have come there since. One without folders goes on also where no flag could be read any more.
    fn grantable_still<'p>(
        &self,
        id: &RunId,
        plugins: impl Iterator<Item = &'p Plugin>,
        script: Option<&Path>,
        tools: &[Rights],
    ) -> Result<Option<FlagCheck>, HostError> {
        let folders: Vec<FolderGrant> = tools.iter().flat_map(Rights::folders).collect();
        if let Some(gone) = folders.iter().find(|folder| !folder.dir.is_dir()) {
            let folder = gone.dir.display().to_string();
            return Err(HostError::FolderGone { folder });
        }
        let refused = |error: GrantError| {
            cannot(
                id,
                &format!("a folder of it is not granted any more (it goes on without: --deny fs): {error}"),
            )
        };
        let grants = match Grants::approved_alone(&self.config) {
            Ok(grants) => grants,
            Err(_) if folders.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        };
        for folder in folders {
            let text = Grant::Fs(folder.clone()).to_string();
            let again = grants.parse(&text, GivenBy::Approval).map_err(refused)?;
            if again.grant != Grant::Fs(folder) {
                return Err(refused(GrantError::new(&text, "it leads elsewhere now")));
            }
        }
        grants.spare(plugins, script, tools).map(Some).map_err(refused)
    }

    /// The run's parts as its start record names them, never as today's flags would.
    async fn rebuild(
        &self,
        store: &Store,
        id: &RunId,
        agent: &AgentStart,
        shared: &RunStart,
    ) -> Result<Ready, HostError> {
        let strategy = self.plugin_of(store, &agent.strategy, &shared.limits)?;
        let prepared = self.resolve(&strategy).await?;
        let mut plugins = Vec::new();
        for tool in &shared.tools {
            plugins.push(ToolPlugin {
                plugin: self.plugin_of(store, &tool.plugin, &shared.limits)?,
                prefix: tool.prefix.clone(),
                rights: Arc::new(tool.rights.clone()),
                repeatable: tool.repeatable.clone(),
                defs: tool.defs.clone(),
            });
        }
        let (toolbox, _) = toolbox(&plugins, &shared.limits)?;
        let script = shared.script.as_ref().map(Path::new);
        let all = std::iter::once(&*strategy).chain(plugins.iter().map(|p| &*p.plugin));
        let flags = self.grantable_still(id, all, script, &whole(&plugins))?;
        let (models, model) = match &agent.model {
            Some(of) => {
                let models = Catalogue::open(&self.config.models, &shared.limits, script)?;
                let mut model = models.resolve(&of.meant.model)?;
                // What the run was promised when it began is what it pays.
                model.price = of.meant.price;
                model.name.clone_from(&of.name);
                (models, Some(model))
            }
            None if shared.aliases.is_empty() => (Catalogue::empty(), None),
            None => (Catalogue::open(&self.config.models, &shared.limits, script)?, None),
        };
        let secrets = self.run_secrets(&whole(&plugins), &shared.limits)?;
        Ok(Ready {
            strategy,
            prepared,
            rights: agent.rights.clone(),
            toolbox,
            plugins,
            held: agent.held.clone(),
            models,
            model,
            caps: agent.caps.iter().copied().collect(),
            tree: shared.tree.iter().copied().collect(),
            child: shared.child.iter().copied().collect(),
            task: agent.task.clone(),
            notices: self.compiler.notices(),
            taken: taken_by(&self.config),
            flags,
            idle: Vec::new(),
            limits: shared.limits.clone(),
            closing_call: shared.closing_call,
            tool_delay_ms: shared.tool_delay_ms,
            secrets,
        })
    }
}

/// A note of the root's.
fn note(root: &SessionId, attempt: u32, kind: NoteKind, body: Vec<u8>) -> Record {
    Record::Note(Note {
        stream: StreamId {
            session: root.clone(),
            attempt,
            scope: Scope::ROOT,
        },
        kind,
        body,
        at_ms: now_ms(),
    })
}

/// What a loss of power took, as the configured durability allows, in words.
fn lost_tail(records: u64) -> String {
    let lost = match records {
        1 => "its last record was".to_owned(),
        n => format!("its last {n} records were"),
    };
    format!("{lost} lost when the machine went down (durability = \"process\"); what that told of is done again")
}

/// Why a run that was imported without its secrets can't be told again or go on.
pub(super) const VIEW_ONLY: &str =
    "secrets were taken out of it when it was exported, so that it is not what was recorded; it can be looked at";

/// Whether a run may go on, here or as a fork. A file can say what it likes: one that was imported is granted nothing of this machine by it.
///
/// # Errors
/// Why it may not, in words.
pub(super) fn may_go_on(store: &Store, row: &RunRow) -> Result<(), String> {
    if row.is_for_viewing() {
        return Err(VIEW_ONLY.to_owned());
    }
    if row.imported.is_none() {
        return Ok(());
    }
    each_start(store, &row.id, |_, body| {
        let tools = body.run.iter().flat_map(|run| &run.tools);
        let mut whole = tools.map(|tool| tool.rights.whole());
        if body.agent.rights.reaches_beyond_its_run() || whole.any(|rights| rights.reaches_beyond_its_run()) {
            return Err(FOREIGN_GRANTS.to_owned());
        }
        match body.run.is_some_and(|run| run.script.is_some()) {
            true => Err(FOREIGN_SCRIPT.to_owned()),
            false => Ok(()),
        }
    })
}

/// Looks at each start record of a run, those of an agent before those of its children.
///
/// # Errors
/// One is missing or can't be read, or what `look` says of one: in words.
pub(super) fn each_start(
    store: &Store,
    run: &RunId,
    mut look: impl FnMut(&SessionRow, StartBody) -> Result<(), String>,
) -> Result<(), String> {
    for session in store.sessions(run).map_err(|e| e.to_string())? {
        for attempt in 1..=session.attempt.max(1) {
            let start = store.start(&session.session, attempt).map_err(|e| e.to_string())?;
            let Some(start) = start else {
                return Err(format!(
                    "the start of attempt {attempt} of session {} is missing",
                    session.session
                ));
            };
            look(&session, codec::decode(&start.body).map_err(|e| e.to_string())?)?;
        }
    }
    Ok(())
}

/// Why an imported run does not go on that was granted something where it ran.
const FOREIGN_GRANTS: &str = "it was imported, and where it ran it was granted a folder, a host, a secret or a shared space; \
                              a file grants nothing of this machine, so it can be looked at and replayed, and not go on";

/// Why an imported run does not go on whose model was a script.
const FOREIGN_SCRIPT: &str =
    "it was imported, and its model is a script of the machine where it ran; it can be looked at and replayed";

/// A plugin of a run as it was when the run began, under the run's own limits.
pub(super) fn recorded_plugin(store: &Store, of: &PluginRef, limits: &Limits) -> Result<Arc<Plugin>, HostError> {
    // A component is large: whoever else this thread serves goes on meanwhile.
    let bytes: Arc<[u8]> = blocking::in_place(|| store.component(&of.digest))?.into();
    debug_assert_eq!(Digest::of(&bytes), of.digest);
    Ok(blocking::in_place(|| of.load(bytes, limits))?)
}

/// The built-in plugin of this name, if it has the bytes that the run had.
pub(super) fn built_in(shelf: &Shelf, of: &PluginRef, limits: &Limits) -> Result<Option<Arc<Plugin>>, HostError> {
    let found = shelf.built_in(&of.name, &of.digest, limits);
    Ok(found.map(|found| load(found, limits)).transpose()?.map(Arc::new))
}

/// The root's first start record.
pub(super) fn first_start(store: &Store, run: &RunId) -> Result<StartBody, HostError> {
    let first = start_of(store, run, 1)?;
    match &first.run {
        Some(shared) if !shared.limits.are_in_range() => Err(cannot(run, "its limits are none that a host may have")),
        _ => Ok(first),
    }
}

/// What a run is made of now: its root's last attempt, which may have other bytes than the one before it, as a fork's has, and what all its agents
/// share, with what resumes changed of both.
pub(super) fn as_it_stands(
    store: &Store,
    run: &RunId,
    mut shared: RunStart,
) -> Result<(AgentStart, RunStart, Terms), HostError> {
    let last = store.session(&run.root())?.attempt.max(1);
    let mut agent = start_of(store, run, last)?.agent;
    let terms = Terms::of(store, run)?;
    terms.apply_to_agent(&mut agent);
    terms.apply_to_run(&mut shared);
    Ok((agent, shared, terms))
}

/// The start record of the root's attempt `attempt`.
fn start_of(store: &Store, run: &RunId, attempt: u32) -> Result<StartBody, HostError> {
    let stored = store
        .start(&run.root(), attempt)?
        .ok_or_else(|| cannot(run, "it never began: it has no start record"))?;
    codec::decode(&stored.body).map_err(|e| {
        let what = format!("its start can't be read, as another version of hermes-host wrote it or it is damaged: {e}");
        cannot(run, &what)
    })
}

fn cannot(run: &RunId, reason: &str) -> HostError {
    HostError::CantResume {
        run: run.to_string(),
        reason: reason.to_owned(),
    }
}
