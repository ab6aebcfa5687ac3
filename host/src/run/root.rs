//! The root session of a run: written down, driven to its end, and summed up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use crate::amounts::Amounts;
use crate::bindings::types;
use crate::config::BudgetKey;
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::{Beginning, EventKind, Events, now_ms};
use crate::ids::RunId;
use crate::instance::Runner;
use crate::ledger::{AccountId, Ledger, Totals};
use crate::limits::Limits;
use crate::run::cancel::heed_requests;
use crate::run::handle::{RunHandle, Stops};
use crate::run::prepare::Ready;
use crate::run::resume::first_start;
use crate::run::said::Said;
use crate::run::{AgentSummary, Host, HostError, RunOutcome, RunSpec, WayOn, used_up};
use crate::session::audit::Denials;
use crate::session::end::End;
use crate::session::keeping::{Journal, Keeping};
use crate::session::{Alias, Past, RunContext, Session, SessionParts, codec};
use crate::store::{
    Edge, NewRun, NewSession, Owner, Record, RunRow as StoredRun, RunUpdate, SessionUpdate, Start, Status, Store,
    StoreError, Sync, Transition,
};
use crate::supervisor::ending::{outcome_name, words};
use crate::supervisor::life::{Agent, Ending, From};
use crate::supervisor::start::{AgentStart, ModelRef, PluginRef, RunStart, StartBody, ToolRef};
use crate::supervisor::{Means, Supervisor};
use crate::text;

/// Characters of an answer that a run's row keeps, for lists.
const ANSWER_KEPT: usize = 500;

/// The version of this host, and how many characters of another one's are shown.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const VERSION_SHOWN: usize = 40;

/// A run that is known to be able to begin. Nothing of it is written yet, and nothing is when it is dropped.
pub struct ReadyRun {
    ready: Ready,
    spec: RunSpec,
}

impl ReadyRun {
    /// What is wrong with flags of the line that do nothing. It is among what the run's events tell too.
    pub fn idle_flags(&self) -> &[String] {
        &self.ready.idle
    }
}

impl Host {
    /// Starts a run.
    ///
    /// # Errors
    /// Nothing ran: a plugin, grant, model, budget or the store is not usable.
    pub async fn start(&self, spec: RunSpec) -> Result<RunHandle, HostError> {
        self.begin(self.ready(spec).await?).await
    }

    /// Makes a run ready: all that takes its time before it begins. Dropping the future gives it up.
    ///
    /// # Errors
    /// A plugin, grant, model or budget is not usable.
    pub async fn ready(&self, spec: RunSpec) -> Result<ReadyRun, HostError> {
        let ready = self.prepare(&spec).await?;
        Ok(ReadyRun { ready, spec })
    }

    /// Writes a run down and sets it going.
    ///
    /// # Errors
    /// The store is not usable.
    pub async fn begin(&self, run: ReadyRun) -> Result<RunHandle, HostError> {
        let ReadyRun { ready, spec } = run;
        let store = self.store()?;
        let at_ms = now_ms();
        let owner = create(&store, &ready, &spec, at_ms).await?;
        let id = owner.run().clone();
        for plugin in ready.plugins.iter().map(|p| &p.plugin).chain([&ready.strategy]) {
            store
                .keep_component(&owner, bytes::Bytes::from_owner(plugin.bytes.clone()))
                .await?;
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|e| HostError::Run(format!("no randomness from the system: {e}")))?;
        let start = start_body(&ready, at_ms);
        let shared = ready.run_start(&spec, seed);
        let supervisor = self.supervisor(&ready.limits);
        let ctx = self.context(
            Keeping::Journal(Journal { store, owner }),
            id,
            &ready,
            &shared,
            &supervisor,
        );
        let account = ctx.ledger.open_root(ready.caps);
        let session = root_session(&ctx, &ready, account, Past::default());
        write_start(&session, &ready, start.clone(), shared).await?;
        let first = ctx.events.subscribe();
        announce(&session, &ready);
        let from = From::beginning();
        Ok(self.launch(supervisor, session, ready, start, from, first))
    }

    /// What supervises the agents of one run.
    pub(super) fn supervisor(&self, limits: &Limits) -> Supervisor {
        Supervisor::new(Means {
            instances: self.instances.clone(),
            shelf: self.shelf(),
            limits: limits.clone(),
            cwd: std::env::current_dir().unwrap_or_default(),
        })
    }

    /// What the sessions of a run share.
    pub(super) fn context(
        &self,
        keeping: Keeping,
        id: RunId,
        ready: &Ready,
        shared: &RunStart,
        supervisor: &Supervisor,
    ) -> Arc<RunContext> {
        Arc::new(RunContext {
            id,
            keeping,
            events: Events::new(&shared.limits, &ready.secrets.known),
            ledger: Ledger::new(ready.tree),
            limits: shared.limits.clone(),
            models: ready.models.clone(),
            aliases: shared.aliases.clone(),
            egress: Arc::new(self.egress.under(&shared.limits)),
            toolbox: ready.toolbox.clone(),
            runner: Arc::new(Runner(self.instances.clone())),
            children: Arc::new(supervisor.clone()),
            secrets: ready.secrets.known.clone(),
            stored: ready.secrets.stored.clone(),
            child: shared.child.iter().copied().collect(),
            closing_call: shared.closing_call,
            tool_delay_ms: shared.tool_delay_ms,
            seed: shared.seed,
            suspend: CancellationToken::new(),
            taken: ready.taken.clone(),
            flags: ready.flags.clone(),
            denials: std::sync::Mutex::default(),
            waited_in_vain: AtomicBool::default(),
        })
    }

    /// Sets the root going.
    pub(super) fn launch(
        &self,
        supervisor: Supervisor,
        session: Arc<Session>,
        ready: Ready,
        start: AgentStart,
        from: From,
        first: crate::event::EventReceiver,
    ) -> RunHandle {
        let run = session.run.clone();
        let stops = Stops {
            suspend: run.suspend.clone(),
            cancel: CancellationToken::new(),
        };
        let agent = Agent::new(session.clone(), start, ready.prepared, from, stops.cancel.clone(), None);
        let (strategy, cancel) = (ready.strategy, stops.cancel.clone());
        let task = tokio::spawn(async move {
            let ending = tokio::select! {
                ending = supervisor.drive_root(agent, &strategy) => ending,
                never = heed_requests(&session, &cancel) => match never {},
            };
            conclude(&session, ending).await
        });
        RunHandle::new(run.id.clone(), run.events.clone(), Some(first), stops, task)
    }
}

/// The root's session.
pub(super) fn root_session(ctx: &Arc<RunContext>, ready: &Ready, account: AccountId, past: Past) -> Arc<Session> {
    Session::new(SessionParts {
        id: ctx.id.root(),
        parent: None,
        depth: 0,
        role: "root".to_owned(),
        run: ctx.clone(),
        account,
        rights: ready.rights.clone(),
        strategy: ready.strategy.name.clone(),
        plugin: Some(ready.strategy.clone()),
        model: ready.model.clone(),
        cancel: CancellationToken::new(),
        past,
    })
}

/// What the root's first attempt is made of.
fn start_body(ready: &Ready, at_ms: u64) -> AgentStart {
    AgentStart {
        task: ready.task.clone(),
        role: "root".to_owned(),
        parent: None,
        depth: 0,
        strategy: PluginRef::of(&ready.strategy),
        held: ready.held.clone(),
        rights: ready.rights.clone(),
        caps: ready.caps.iter().collect(),
        allotment: Amounts::ZERO,
        model: ready.model.as_ref().map(|m| ModelRef {
            name: m.name.clone(),
            meant: Alias {
                model: m.full_name(),
                price: m.price,
            },
        }),
        max_attempts: u32::try_from(ready.limits.restart_attempts).unwrap_or(u32::MAX),
        started_ms: at_ms,
        awake_ms: 0,
        spent: Amounts::ZERO,
    }
}

impl Ready {
    fn run_start(&self, spec: &RunSpec, seed: [u8; 32]) -> RunStart {
        let tools = self.plugins.iter().map(|p| ToolRef {
            plugin: PluginRef::of(&p.plugin),
            prefix: p.prefix.clone(),
            rights: (*p.rights).clone(),
            repeatable: p.repeatable.clone(),
            defs: p.defs.clone(),
        });
        let aliases = self.models.aliases().into_iter().map(|m| {
            let meant = Alias {
                model: m.full_name(),
                price: m.price,
            };
            (m.name.clone(), meant)
        });
        RunStart {
            tools: tools.collect(),
            limits: self.limits.clone(),
            tree: self.tree.iter().collect(),
            child: self.child.iter().collect(),
            script: spec.script.as_deref().map(whole_path),
            aliases: aliases.collect(),
            closing_call: self.closing_call,
            tool_delay_ms: self.tool_delay_ms,
            seed,
            host: VERSION.to_owned(),
        }
    }
}

/// A run's row, under an id that no other run has.
async fn create(store: &Store, ready: &Ready, spec: &RunSpec, at_ms: u64) -> Result<Owner, HostError> {
    let new = begun_here(spec.task.clone(), ready.strategy.name.clone(), at_ms);
    Ok(store.create_run(new).await?)
}

/// A run that begins with this command, in this folder.
pub(super) fn begun_here(task: String, strategy: String, at_ms: u64) -> NewRun {
    let argv = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    NewRun {
        id: RunId::random(),
        task,
        strategy,
        cwd: std::env::current_dir().unwrap_or_default().display().to_string(),
        argv: argv.collect(),
        at_ms,
    }
}

async fn write_start(session: &Session, ready: &Ready, agent: AgentStart, shared: RunStart) -> Result<(), HostError> {
    let at_ms = agent.started_ms;
    let row = NewSession {
        session: session.id.clone(),
        parent: None,
        edge: Edge::Root,
        role: "root".to_owned(),
        task: ready.task.prompt.clone(),
        strategy: ready.strategy.name.clone(),
        digest: ready.strategy.digest,
        model: ready.model.as_ref().map(crate::llm::Model::full_name),
        budget: ready.caps.iter().collect(),
        toolsets: ready.toolsets(),
        at_ms,
    };
    let body = StartBody {
        agent,
        run: Some(shared),
    };
    let start = Start {
        session: session.id.clone(),
        attempt: 1,
        body: codec::encode(&body),
        at_ms,
    };
    let active = SessionUpdate {
        session: session.id.clone(),
        transition: Transition::Active { attempt: 1 },
        spent: None,
        at_ms,
    };
    let records = vec![Record::Session(row), Record::Start(start), Record::Update(active)];
    let written = session.run.append(records, None, Sync::Durable).await;
    written.map(drop).map_err(|end| HostError::NotBegun(end.to_string()))
}

/// Tells that a run begins.
fn announce(session: &Session, ready: &Ready) {
    session.event(EventKind::RunStarted(beginning(session, ready)));
    notices(session, ready);
}

/// Tells that a run goes on.
pub(super) fn resumed(session: &Session, ready: &Ready, observations: u64) {
    let of = beginning(session, ready);
    session.event(EventKind::Resumed { of, observations });
    notices(session, ready);
}

fn beginning(session: &Session, ready: &Ready) -> Beginning {
    Beginning {
        run: session.run.id.clone(),
        strategy: ready.strategy.name.clone(),
        digest: ready.strategy.digest,
        task: ready.task.prompt.clone(),
        model: ready.model.as_ref().map(|m| m.name.clone()),
        budget: ready.caps.iter().collect(),
    }
}

fn notices(session: &Session, ready: &Ready) {
    for message in &ready.notices {
        session.event(EventKind::Notice {
            message: message.clone(),
        });
    }
}

/// A path that means the same from any folder.
fn whole_path(path: &Path) -> String {
    let whole = std::path::absolute(path);
    whole.as_deref().unwrap_or(path).display().to_string()
}

/// Sums a run up, writes that down, and gives it to whoever waits.
pub(super) async fn conclude(session: &Session, ending: Result<Ending, End>) -> Result<RunOutcome, HostError> {
    let outcome = match ending {
        Ok(Ending::Suspended) => suspended(session)?,
        Ok(Ending::Final(result)) => ended(session, &result)?,
        // Nothing of this is written: the run is left as it was.
        Err(End::Diverged(what)) => return diverged(session, &what),
        Err(end) => return Err(end.into()),
    };
    match finish_row(session, &outcome).await {
        // The database was not there in time: whoever takes the run up writes it.
        Ok(()) | Err(End::Suspended) => {}
        Err(end) => return Err(end.into()),
    }
    session.event(EventKind::RunEnded { code: outcome.code });
    Ok(outcome)
}

/// Writes into the run's row how it ended.
pub(super) async fn finish_row(session: &Session, outcome: &RunOutcome) -> Result<(), End> {
    session.run.update_row(row_update(outcome)).await
}

/// How a run ended, for its row.
pub(super) fn row_update(outcome: &RunOutcome) -> RunUpdate {
    let status = match outcome.exit.as_str() {
        "interrupted" => Status::Interrupted,
        "returned" => Status::Completed,
        "cancelled" => Status::Cancelled,
        _ => Status::Failed,
    };
    let ended = status != Status::Interrupted;
    let answer = outcome.answer.as_deref();
    RunUpdate {
        status: Some(status),
        exit: ended.then(|| outcome.exit.clone()),
        outcome: ended.then(|| outcome.outcome.clone()),
        error: outcome.error.clone(),
        answer: answer.map(|a| text::prefix(a, ANSWER_KEPT).to_owned()),
        spent: Some(outcome.spent),
        closing: Some(outcome.closing),
        refunded: Some(outcome.refunded),
        resent: Some(outcome.resent),
        ended_ms: ended.then(now_ms),
    }
}

fn summary_of(session: &Session) -> Result<RunOutcome, HostError> {
    session.charge_wall();
    let (spent, totals) = session.run.ledger.spent_by_all();
    let agents = agents(session)?;
    Ok(summary(&session.run.id, spent, totals, agents, session.run.denials()))
}

/// What a run spent and who was part of it, before it is said how it ended.
pub(super) fn summary(
    run: &RunId,
    spent: Amounts,
    totals: Totals,
    agents: Vec<AgentSummary>,
    denials: Denials,
) -> RunOutcome {
    RunOutcome {
        run: run.clone(),
        exit: String::new(),
        code: 1,
        outcome: "not-achieved".to_owned(),
        answer: None,
        checkpoint: None,
        result: None,
        artifacts: Vec::new(),
        open_questions: Vec::new(),
        error: None,
        way_on: None,
        used_up: Vec::new(),
        spent,
        closing: totals.closing,
        refunded: totals.refunded,
        resent: totals.resent,
        lost: totals.lost,
        agents,
        denials,
    }
}

/// Where a run ended and the disk failed: it goes on to that end when it can be written down.
fn unwritten(error: &StoreError) -> HostError {
    HostError::Unwritten(error.to_string())
}

/// Every agent of the run, as the store has it.
fn agents(session: &Session) -> Result<Vec<AgentSummary>, HostError> {
    let Some(journal) = session.run.keeping.journal() else {
        return Ok(Vec::new());
    };
    let rows = journal.store.sessions(&session.run.id).map_err(|e| unwritten(&e))?;
    Ok(rows.iter().map(AgentSummary::of).collect())
}

fn suspended(session: &Session) -> Result<RunOutcome, HostError> {
    let mut outcome = RunOutcome {
        exit: "interrupted".to_owned(),
        code: 130,
        ..summary_of(session)?
    };
    if let Some(report) = session.checkpoint() {
        fill(&mut outcome, &Said::Checkpoint(report));
    }
    Ok(outcome)
}

fn diverged(session: &Session, what: &str) -> Result<RunOutcome, HostError> {
    let run = &session.run;
    // It is a hint: where the start can't be read, the run differs all the same.
    let first = run.keeping.store().and_then(|store| first_start(store, &run.id).ok());
    let host = first.and_then(|first| other_host(&first.run?.host));
    let host = host.map(|words| format!("; {words}")).unwrap_or_default();
    Ok(RunOutcome {
        exit: "diverged".to_owned(),
        error: Some((
            "diverged".to_owned(),
            format!("the run differs from its record: {what}{host}"),
        )),
        ..summary_of(session)?
    })
}

/// That another version of this host began a run, where `recorded` is not this one's: a reason for it to differ. An imported file says what it likes.
pub(super) fn other_host(recorded: &str) -> Option<String> {
    (recorded != VERSION).then(|| {
        let recorded = text::line(recorded, VERSION_SHOWN);
        format!("the run began with hermes-host {recorded}, and this is {VERSION}")
    })
}

/// A run's end as its root's result tells it.
pub(super) fn ended(session: &Session, result: &types::RunResult) -> Result<RunOutcome, HostError> {
    let said = Said::of(result, session.checkpoint().as_ref());
    let mut outcome = with_result(summary_of(session)?, result, said.as_ref());
    outcome.way_on = way_on(session, &outcome);
    Ok(outcome)
}

/// A summary with the end that the root's result tells.
pub(super) fn with_result(summary: RunOutcome, result: &types::RunResult, said: Option<&Said>) -> RunOutcome {
    let (exit, error) = words(&result.exit);
    let mut outcome = RunOutcome { exit, ..summary };
    if let Some(said) = said {
        fill(&mut outcome, said);
    }
    outcome.code = code(&result.exit, &outcome.outcome);
    let root = outcome.agents.first();
    let detail = root.and_then(|root| root.error.clone()).filter(|_| error.is_some());
    outcome.error = detail.or(error).map(|words| (error_kind(&result.exit), words));
    outcome.used_up = used_up_below(&outcome.agents);
    outcome
}

/// The limits that sub-agents used up, and how many agents that ended each time, in the order of their keys.
fn used_up_below(agents: &[AgentSummary]) -> Vec<(String, u64)> {
    let mut keys = BTreeMap::<String, u64>::new();
    let below = agents.iter().filter(|agent| agent.parent.is_some());
    for agent in below.filter(|agent| agent.exit.as_deref() == Some("exhausted")) {
        if let Some(key) = agent.error.as_deref().and_then(BudgetKey::named) {
            *keys.entry(key.to_string()).or_default() += 1;
        }
    }
    keys.into_iter().collect()
}

/// How a fork of a run goes on that ended so. It is a hint: where it can't be told the run has ended all the same.
fn way_on(session: &Session, outcome: &RunOutcome) -> Option<WayOn> {
    let is_well = outcome.exit == "returned" && outcome.outcome == "achieved";
    if is_well && !session.run.ledger.was_refused(session.account) {
        return None;
    }
    let store = &session.run.keeping.journal()?.store;
    let row = StoredRun {
        error: outcome.error.clone(),
        exit: Some(outcome.exit.clone()),
        outcome: Some(outcome.outcome.clone()),
        ..store.run(&session.run.id).ok()?
    };
    used_up::way_on(store, &row).ok().flatten()
}

fn fill(outcome: &mut RunOutcome, said: &Said) {
    let report = said.report();
    outcome_name(report.outcome).clone_into(&mut outcome.outcome);
    (outcome.answer, outcome.checkpoint) = (said.answer(), said.checkpoint());
    outcome.result.clone_from(&report.result_json);
    outcome.artifacts.clone_from(&report.artifacts);
    outcome.open_questions.clone_from(&report.open_questions);
}

fn code(exit: &types::ExitReason, outcome: &str) -> u8 {
    match exit {
        types::ExitReason::Failed(error) if error.kind == types::ErrorKind::Denied => 4,
        types::ExitReason::Exhausted(_) => 3,
        types::ExitReason::Returned if outcome == "achieved" => 0,
        _ => 1,
    }
}

fn error_kind(exit: &types::ExitReason) -> String {
    match exit {
        types::ExitReason::Failed(error) => RefusalKind::from(error.kind.clone()).to_string(),
        types::ExitReason::Exhausted(d) => Refusal::exhausted(Dimension::from(*d), "").kind.to_string(),
        other => words(other).0,
    }
}
