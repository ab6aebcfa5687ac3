//! The audit of a run, read back from its records: which rights its plugins used, on what, in which call, and which they lacked; and the rights that
//! each of its agents and their tools have, by the sets by which calls are decided.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::Dimension;
use crate::ids::{Digest, RunId, Scope, SessionId, StreamId};
use crate::interfaces::recorded_effect;
use crate::ledger::{AccountId, Caps, Ledger};
use crate::plugin::grant::{FolderGrant, Grant};
use crate::plugin::rights::{Caller, Remedy, Right, Rights};
use crate::run::so_far::so_far;
use crate::run::view::status_name;
use crate::run::{Host, HostError};
use crate::session::audit::{Audited, Denials, Entry, Way};
use crate::session::codec;
use crate::store::{
    Effect, EffectResult, Intent, Note, NoteKind, OpKind, OperationRow, Outcome, OutcomeStatus, RunRow, SessionRow,
    Store,
};
use crate::supervisor::start::{AgentStart, PluginRef, RunStart, StartBody, ToolRef};
use crate::supervisor::terms::Terms;

/// A right, used in one way on one target by one plugin of one agent; or something that it was denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// When first, in milliseconds since 1970, at the latest.
    pub at_ms: u64,
    /// The agent.
    pub session: SessionId,
    /// What the agent is for.
    pub role: String,
    /// Which attempt of it.
    pub attempt: u32,
    /// The plugin, by name.
    pub plugin: String,
    /// The plugin's bytes.
    pub digest: Digest,
    /// The operation, or the tool call, in which it was first: `7`, or `7.2` inside a tool call. None for a look of the strategy itself.
    pub call: Option<String>,
    /// The number of that look's observation.
    pub observation: Option<u64>,
    /// ask, spawn, read, write, send, denied; `unfinished` for a tool call whose uses may not all be known.
    pub way: &'static str,
    /// The right, as `--allow` takes it, or the name of a kind that is had by default; of a denial, the one that would allow it; of
    /// further denials, the kind of right that was missing.
    pub grant: Option<String>,
    /// Whether the tool has it whichever agent calls it.
    pub own: bool,
    /// What it was used on; none for all further targets together.
    pub target: Option<String>,
    /// How often.
    pub count: u64,
    /// How many of those times it came to an error.
    pub failed: u64,
    /// Of a denial, what was not done, after "may not", where that is known apart from the message.
    pub what: Option<String>,
    /// What the plugin was told, or what there is to say.
    pub message: Option<String>,
    /// Of a denial, the flags that would allow it.
    pub flags: Vec<String>,
    /// Of a denial, what there is to do besides or in their place.
    pub remedy: Option<String>,
}

/// The audit of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditView {
    /// The run.
    pub run: RunId,
    /// How it stands.
    pub status: String,
    /// The root's own judgement.
    pub outcome: Option<String>,
    /// Why it ended.
    pub exit: Option<String>,
    /// Whether it came out of a file, which says all this.
    pub imported: bool,
    /// What was used and denied, in the order in which it first was.
    pub rows: Vec<AuditRow>,
}

/// The rights of an agent and its tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentGrants {
    /// The agent.
    pub id: SessionId,
    /// Who delegated to it.
    pub parent: Option<SessionId>,
    /// 0 for the root.
    pub depth: u32,
    /// What it is for.
    pub role: String,
    /// Its strategy.
    pub strategy: String,
    /// The strategy's bytes.
    pub digest: Digest,
    /// What it may do.
    pub rights: Vec<Right>,
    /// What it may spend at most, in the units of its dimensions: of its own limits, those of the agents above it that it spends from, and the run's,
    /// the smallest.
    pub budget: Vec<(Dimension, u64)>,
    /// The plugins whose tools it holds.
    pub tools: Vec<ToolGrants>,
}

/// The rights of a tool plugin when an agent calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolGrants {
    /// The plugin.
    pub plugin: String,
    /// Its bytes.
    pub digest: Digest,
    /// The tools of it that the agent holds.
    pub names: Vec<String>,
    /// What they may do.
    pub rights: Vec<Right>,
}

/// The rights of a run's agents.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantsView {
    /// The run.
    pub run: RunId,
    /// How it stands.
    pub status: String,
    /// The root's own judgement.
    pub outcome: Option<String>,
    /// Why it ended.
    pub exit: Option<String>,
    /// Whether it came out of a file, which says all this.
    pub imported: bool,
    /// Its agents, parents before children.
    pub agents: Vec<AgentGrants>,
}

impl Host {
    /// Which rights the plugins of a run used and lacked. The run is named by its id or the beginning of it.
    ///
    /// # Errors
    /// There is no such run, several are meant, or the store can't be read.
    pub async fn audit(&self, run: &str) -> Result<AuditView, HostError> {
        let store = self.store_to_read()?;
        let (run, sessions) = standing(&store, run)?;
        let terms = Terms::of(&store, &run.id)?;
        let mut rows = Rows::default();
        let mut shared = None;
        for row in &sessions {
            let cast = Cast::read(&store, row, &terms, &mut shared)?;
            cast.rows(&store, &run, &mut rows)?;
        }
        Ok(AuditView {
            run: run.id,
            status: status_name(run.status).to_owned(),
            outcome: run.outcome,
            exit: run.exit,
            imported: run.imported.is_some(),
            rows: rows.sorted(),
        })
    }

    /// What the agents of a run and their tools may do, resumes that took rights away included.
    ///
    /// # Errors
    /// As [`Host::audit`].
    pub async fn grants(&self, run: &str) -> Result<GrantsView, HostError> {
        let store = self.store_to_read()?;
        let (run, sessions) = standing(&store, run)?;
        let terms = Terms::of(&store, &run.id)?;
        let mut shared = None;
        let mut budgets = Budgets::default();
        let mut agents = Vec::with_capacity(sessions.len());
        for row in &sessions {
            agents.extend(Cast::read(&store, row, &terms, &mut shared)?.grants(&mut budgets));
        }
        Ok(GrantsView {
            run: run.id,
            status: status_name(run.status).to_owned(),
            outcome: run.outcome,
            exit: run.exit,
            imported: run.imported.is_some(),
            agents,
        })
    }
}

/// The denials that the records of a run tell of.
pub(super) fn denials(store: &Store, run: &RunRow) -> Result<Denials, HostError> {
    let mut denials = Denials::default();
    for row in store.sessions(&run.id)? {
        for (_, note) in store.notes(&row.session, &[NoteKind::Audit], 0, usize::MAX)? {
            if let Some(audited) = Audited::told_of(run, &note) {
                denials.add_recorded(audited);
            }
        }
    }
    Ok(denials)
}

/// A run, as far as it has come, and its agents.
fn standing(store: &Store, run: &str) -> Result<(RunRow, Vec<SessionRow>), HostError> {
    let row = store.run(&store.find_run(run)?)?;
    if row.status.is_final() {
        let sessions = store.sessions(&row.id)?;
        return Ok((row, sessions));
    }
    so_far(store, row)
}

/// A ledger with the accounts of a run's agents, so that their limits are told by what they are held to.
#[derive(Default)]
struct Budgets {
    ledger: Option<Ledger>,
    /// By the agents' numbers.
    accounts: HashMap<u32, AccountId>,
}

/// Who plays in an agent's records: its strategy, attempt by attempt, and the tools of the run.
struct Cast<'a> {
    row: &'a SessionRow,
    starts: BTreeMap<u32, AgentStart>,
    shared: &'a RunStart,
}

impl<'a> Cast<'a> {
    /// Of one agent. The root's comes first: its first start says what all agents share.
    fn read(
        store: &Store,
        row: &'a SessionRow,
        terms: &Terms,
        shared: &'a mut Option<RunStart>,
    ) -> Result<Self, HostError> {
        let unread = |what: &str| HostError::Run(format!("the start of session {}: {what}", row.session));
        let mut starts = BTreeMap::new();
        for attempt in 1..=row.attempt.max(1) {
            let Some(start) = store.start(&row.session, attempt)? else {
                continue;
            };
            let mut body: StartBody = codec::decode(&start.body).map_err(|e| unread(&e.to_string()))?;
            terms.apply(&mut body);
            if body.run.is_some() {
                *shared = body.run;
            }
            starts.insert(attempt, body.agent);
        }
        let shared = shared.as_ref().ok_or_else(|| unread("it never began"))?;
        Ok(Self { row, starts, shared })
    }

    fn tool(&self, name: &str) -> Option<&ToolRef> {
        let mut tools = self.shared.tools.iter();
        tools.find(|tool| tool.names().any(|own| own == name))
    }

    /// What the last attempt and its tools may do.
    fn grants(&self, budgets: &mut Budgets) -> Option<AgentGrants> {
        let (_, agent) = self.starts.last_key_value()?;
        let caps = self.caps_in_force(budgets)?;
        let held = |tool: &ToolRef| -> Vec<String> { tool.names().filter(|name| agent.held.contains(name)).collect() };
        let writes = |folder: &FolderGrant| {
            let mut tools = self.shared.tools.iter().filter(|tool| !held(tool).is_empty());
            tools.any(|tool| tool.rights.called_by(&agent.rights).writes_in(folder))
        };
        let mut rights = agent.rights.list();
        // A folder is for its tools: what none of them may do with it nobody may.
        for folder in agent.rights.folders().iter().filter(|f| f.writable() && !writes(f)) {
            let grant = Grant::Fs(folder.clone()).to_string();
            for right in rights.iter_mut().filter(|right| right.grant == grant) {
                right.about = format!("/{}, to read, as none of its tools asks to write", folder.name);
            }
        }
        let tools = self.shared.tools.iter().filter_map(|tool| {
            let names = held(tool);
            (!names.is_empty()).then(|| ToolGrants {
                plugin: tool.plugin.name.clone(),
                digest: tool.plugin.digest,
                names,
                rights: self.with_models(agent, tool.rights.list(&agent.rights)),
            })
        });
        Some(AgentGrants {
            id: self.row.session.clone(),
            parent: agent.parent.clone(),
            depth: agent.depth,
            role: self.row.role.clone(),
            strategy: agent.strategy.name.clone(),
            digest: agent.strategy.digest,
            rights: self.with_models(agent, rights),
            budget: caps.iter().collect(),
            tools: tools.collect(),
        })
    }

    /// What it may spend at most, which its first start says.
    fn caps_in_force(&self, budgets: &mut Budgets) -> Option<Caps> {
        let (_, first) = self.starts.first_key_value()?;
        let tree = || Ledger::new(self.shared.tree.iter().copied().collect());
        let ledger = budgets.ledger.get_or_insert_with(tree);
        let parent = first.parent.as_ref();
        let parent = parent.and_then(|parent| budgets.accounts.get(&parent.number).copied());
        let account = first.reopen(ledger, parent);
        budgets.accounts.insert(self.row.session.number, account);
        Some(ledger.caps_in_force(account))
    }

    /// Rights with the models that they mean.
    fn with_models(&self, agent: &AgentStart, mut rights: Vec<Right>) -> Vec<Right> {
        for right in &mut rights {
            let meant = match right.grant.split_once(':') {
                None if right.grant == "llm" => agent.model.as_ref().map(|model| &model.meant),
                Some(("llm", alias)) => self.shared.aliases.get(alias),
                _ => None,
            };
            if let Some(meant) = meant {
                right.about.clone_from(&meant.model);
            }
        }
        rights
    }

    /// What its records tell of.
    fn rows(&self, store: &Store, run: &RunRow, rows: &mut Rows) -> Result<(), HostError> {
        let operations = store.session_operations(&self.row.session)?;
        let calls = Calls::of(&operations);
        let notes = store.notes(&self.row.session, &[NoteKind::Audit], 0, usize::MAX)?;
        let notes: Vec<Note> = notes.into_iter().map(|(_, note)| note).collect();
        let noted = notes
            .iter()
            .map(|note| (note.stream.attempt, note.stream.scope.clone()));
        self.operations(store, &operations, &calls, &noted.collect(), rows);
        self.notes(run, &notes, &calls, rows);
        Ok(())
    }

    /// What operations tell of: models, children and writes to the blackboard.
    /// `noted` are the instances that the audit has records of.
    fn operations(
        &self,
        store: &Store,
        operations: &[OperationRow],
        calls: &Calls,
        noted: &HashSet<(u32, Scope)>,
        rows: &mut Rows,
    ) {
        for OperationRow { intent, outcome } in operations {
            let Some(who) = self.who(&intent.stream, calls) else {
                continue;
            };
            let call = intent.stream.scope.op_name(intent.op);
            let row = |way: Way, grant: String, target: String| AuditRow {
                at_ms: intent.at_ms,
                call: Some(call.clone()),
                way: way.name(),
                own: who.has_as_its_own(&grant),
                grant: Some(grant),
                target: Some(target),
                failed: u64::from(outcome.as_ref().is_some_and(|o| o.status != OutcomeStatus::Done)),
                ..self.row(&who)
            };
            match intent.kind {
                OpKind::Completion => {
                    let grant = who.model_grant(&intent.name);
                    rows.add(row(Way::Ask, grant, intent.name.clone()));
                }
                OpKind::Child => rows.add(row(Way::Spawn, "delegation".to_owned(), intent.name.clone())),
                OpKind::Write => {
                    let grant = if intent.shared {
                        format!("blackboard:{}", intent.name)
                    } else {
                        "blackboard".to_owned()
                    };
                    let key = key(store, intent, outcome.as_ref());
                    rows.add(row(Way::Write, grant, key));
                }
                OpKind::ToolCall => {
                    let instance = (intent.stream.attempt, intent.stream.scope.child(intent.op));
                    let noted = noted.contains(&instance);
                    if let Some(message) = self.unfinished(intent, outcome.as_ref(), noted) {
                        rows.add(AuditRow {
                            at_ms: intent.at_ms,
                            call: Some(call.clone()),
                            way: UNFINISHED,
                            target: Some(intent.name.clone()),
                            message: Some(message.to_owned()),
                            ..self.row(&who)
                        });
                    }
                }
            }
        }
    }

    /// Why what a tool call used may not all be known, where it can have used folders or hosts.
    fn unfinished(&self, intent: &Intent, outcome: Option<&Outcome>, noted: bool) -> Option<&'static str> {
        let tool = self.tool(&intent.name)?;
        let status = outcome.map(|outcome| outcome.status);
        match status {
            _ if !tool.rights.reached_out() => None,
            None => Some("it has no end yet: what it uses is told with that"),
            Some(OutcomeStatus::Interrupted) => {
                Some("the host went down while it ran: what it used by then may be missing")
            }
            // One whose host had gone down ends so too, when nobody goes on with it.
            Some(OutcomeStatus::Cancelled) if !noted => Some("it was cut short: what it used by then may be missing"),
            Some(_) => None,
        }
    }

    /// What the audit's own records tell of.
    fn notes(&self, run: &RunRow, notes: &[Note], calls: &Calls, rows: &mut Rows) {
        for note in notes {
            let Some(audited) = Audited::told_of(run, note) else {
                continue;
            };
            let Audited {
                plugin,
                digest,
                entries,
            } = audited;
            let who = self.who(&note.stream, calls);
            for entry in entries {
                let own = |grant: &String| who.as_ref().is_some_and(|who| who.has_as_its_own(grant));
                let call = entry.call(&note.stream.scope);
                let Entry {
                    way,
                    grant,
                    target,
                    observation,
                    count,
                    failed,
                    denied,
                    ..
                } = entry;
                let (what, message, remedy) = match denied {
                    Some(denied) => (denied.what, Some(denied.message), denied.remedy),
                    None => (None, None, Remedy::default()),
                };
                rows.add(AuditRow {
                    at_ms: note.at_ms,
                    session: self.row.session.clone(),
                    role: self.row.role.clone(),
                    attempt: note.stream.attempt,
                    plugin: plugin.clone(),
                    digest,
                    call,
                    observation,
                    way: way.name(),
                    own: way != Way::Denied && grant.as_ref().is_some_and(own),
                    grant,
                    target,
                    count,
                    failed,
                    what,
                    message,
                    flags: remedy.flags,
                    remedy: remedy.words,
                });
            }
        }
    }

    fn row(&self, who: &Who<'_>) -> AuditRow {
        AuditRow {
            at_ms: 0,
            session: self.row.session.clone(),
            role: self.row.role.clone(),
            attempt: who.attempt,
            plugin: who.plugin.name.clone(),
            digest: who.plugin.digest,
            call: None,
            observation: None,
            way: "",
            grant: None,
            own: false,
            target: None,
            count: 1,
            failed: 0,
            what: None,
            message: None,
            flags: Vec::new(),
            remedy: None,
        }
    }

    /// Whose stream it is: the strategy's, or that of the tool whose call is its scope.
    fn who(&self, stream: &StreamId, calls: &Calls) -> Option<Who<'_>> {
        let agent = self.starts.get(&stream.attempt)?;
        let Some((outer, op)) = stream.scope.outer() else {
            return Some(Who {
                attempt: stream.attempt,
                plugin: &agent.strategy,
                agent,
                rights: Cow::Borrowed(&agent.rights),
                own: Vec::new(),
            });
        };
        let caller = StreamId {
            scope: outer,
            ..stream.clone()
        };
        let name = calls.0.get(&(stream.attempt, caller.scope.clone(), op))?;
        let tool = self.tool(name)?;
        let outer = self.who(&caller, calls)?;
        let (by, own) = match caller.scope.is_root() {
            true => (Caller::Agent, tool.rights.list(&outer.rights)),
            false => (Caller::Tool, Vec::new()),
        };
        Some(Who {
            attempt: stream.attempt,
            plugin: &tool.plugin,
            agent,
            rights: Cow::Owned(tool.rights.in_call_of(by, &outer.rights)),
            own: own
                .into_iter()
                .filter(|right| right.own)
                .map(|right| right.grant)
                .collect(),
        })
    }
}

/// The way of a tool call whose uses may not all be known.
const UNFINISHED: &str = "unfinished";

/// The names of the tools that were called, by attempt, scope of the caller and operation.
struct Calls(HashMap<(u32, Scope, u32), String>);

impl Calls {
    fn of(operations: &[OperationRow]) -> Self {
        let calls = operations.iter().filter(|row| row.intent.kind == OpKind::ToolCall);
        let named = calls.map(|OperationRow { intent, .. }| {
            let place = (intent.stream.attempt, intent.stream.scope.clone(), intent.op);
            (place, intent.name.clone())
        });
        Self(named.collect())
    }
}

/// A plugin at work, and what it may do there.
struct Who<'a> {
    attempt: u32,
    plugin: &'a PluginRef,
    /// The agent that it is, or works for.
    agent: &'a AgentStart,
    rights: Cow<'a, Rights>,
    /// Of a tool, the grants that are its own.
    own: Vec<String>,
}

impl Who<'_> {
    fn has_as_its_own(&self, grant: &str) -> bool {
        self.own.iter().any(|own| own == grant)
    }

    /// By which right it asks the model that it knows by this name.
    fn model_grant(&self, name: &str) -> String {
        let default = self.agent.model.as_ref().is_some_and(|model| model.name == name);
        let may = |alias| self.rights.may_llm("", alias).is_ok();
        if default && (may(None) || !may(Some(name))) {
            "llm".to_owned()
        } else {
            format!("llm:{name}")
        }
    }
}

/// The entry that a write changed, with its space.
fn key(store: &Store, intent: &Intent, outcome: Option<&Outcome>) -> String {
    let run = &intent.stream.session.run;
    let written = outcome.and_then(|outcome| EffectResult::read(&outcome.body));
    let arguments = intent.request.first().and_then(|digest| store.body(run, digest).ok());
    let effect = arguments.and_then(|bytes| recorded_effect(run, &bytes));
    let key = match (written, effect) {
        (Some(EffectResult::Appended(key, _)), _) => key,
        (_, Some(Effect::Put { key, .. } | Effect::Delete { key, .. })) => key,
        (_, Some(Effect::Append { prefix, .. })) => format!("{prefix}*"),
        (_, None) => return intent.name.clone(),
    };
    format!("{}/{key}", intent.name)
}

/// Rows, those that differ in how often alone joined.
#[derive(Default)]
struct Rows {
    rows: Vec<AuditRow>,
    places: HashMap<RowKey, usize>,
}

#[derive(PartialEq, Eq, Hash)]
struct RowKey {
    session: u32,
    attempt: u32,
    plugin: (Digest, String),
    way: &'static str,
    grant: Option<String>,
    target: Option<String>,
    message: Option<String>,
    /// Only of what stands for itself.
    call: Option<String>,
}

impl Rows {
    fn add(&mut self, row: AuditRow) {
        let key = RowKey {
            session: row.session.number,
            attempt: row.attempt,
            plugin: (row.digest, row.plugin.clone()),
            way: row.way,
            grant: row.grant.clone(),
            target: row.target.clone(),
            message: row.message.clone(),
            call: row.call.clone().filter(|_| row.way == UNFINISHED),
        };
        match self.places.get(&key) {
            Some(place) => {
                let joined = &mut self.rows[*place];
                joined.count = joined.count.saturating_add(row.count);
                joined.failed = joined.failed.saturating_add(row.failed);
            }
            None => {
                self.places.insert(key, self.rows.len());
                self.rows.push(row);
            }
        }
    }

    /// In the order in which they first were.
    fn sorted(mut self) -> Vec<AuditRow> {
        self.rows.sort_by_key(|row| row.at_ms);
        self.rows
    }
}
