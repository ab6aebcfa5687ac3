//! The root session of a run: written down, driven to its end, and summed up.

use std::sync::{Arc, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::bindings::types;
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::{EventKind, Events, now_ms};
use crate::ids::{RunId, Scope, StreamId};
use crate::instance::{Prepared, Runner};
use crate::ledger::Ledger;
use crate::run::drive::{Ending, drive, outcome_name, words};
use crate::run::handle::{RunHandle, Stops};
use crate::run::prepare::Ready;
use crate::run::start::{PluginRef, StartBody, ToolRef};
use crate::run::{AgentSummary, Host, HostError, RunOutcome, RunSpec, outside};
use crate::session::guest::Guest;
use crate::session::tape::Recorded;
use crate::session::{Journal, RunContext, Session, codec};
use crate::store::{Edge, NewSession, Record, SessionUpdate, Start, Status, Sync};
use crate::store::{NewRun, Owner, RunUpdate, Store};
use crate::text;

/// Characters of an answer that a run's row keeps, for lists.
const ANSWER_KEPT: usize = 500;

/// A run that is known to be able to begin. Nothing of it is written yet, and nothing is when it is dropped.
pub struct ReadyRun {
    ready: Ready,
    spec: RunSpec,
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
        let start = StartBody::of(&ready, &spec, seed, at_ms);
        let ctx = self.context(id.clone(), store, owner, &ready, &start);
        let first = ctx.events.subscribe();
        let session = outside::session(
            ctx,
            ready.rights.clone(),
            ready.strategy.name.clone(),
            ready.model.clone(),
            ready.caps,
            at_ms,
        );
        let guest = guest(&session, &ready, Recorded::default());
        write_start(&session, &ready, &start, at_ms).await?;
        announce(&session, &ready);
        Ok(self.launch(guest, ready.prepared, ready.task, Some(first)))
    }

    /// What the sessions of a run share.
    pub(super) fn context(
        &self,
        id: RunId,
        store: Store,
        owner: Owner,
        ready: &Ready,
        start: &StartBody,
    ) -> Arc<RunContext> {
        Arc::new(RunContext {
            id,
            journal: Some(Journal { store, owner }),
            events: Events::default(),
            ledger: Ledger::new(ready.tree),
            limits: start.limits.clone(),
            models: ready.models.clone(),
            egress: self.egress.clone(),
            toolbox: ready.toolbox.clone(),
            runner: Arc::new(Runner(self.instances.clone())),
            closing_call: start.closing_call,
            tool_delay_ms: start.tool_delay_ms,
            seed: start.seed,
            suspend: CancellationToken::new(),
        })
    }

    /// Sets the root going.
    pub(super) fn launch(
        &self,
        guest: Arc<Guest>,
        prepared: Prepared,
        task: types::Task,
        first: Option<crate::event::EventReceiver>,
    ) -> RunHandle {
        let session = guest.session.clone();
        let run = &session.run;
        let (id, events, suspend) = (run.id.clone(), run.events.clone(), run.suspend.clone());
        let cancel = session.cancel.clone();
        let instances = self.instances.clone();
        let task = tokio::spawn(async move {
            let ending = drive(instances, guest, prepared, task).await;
            conclude(&session, ending).await
        });
        RunHandle::new(id, events, first, Stops { suspend, cancel }, task)
    }
}

impl StartBody {
    fn of(ready: &Ready, spec: &RunSpec, seed: [u8; 32], at_ms: u64) -> Self {
        let tools = ready.plugins.iter().map(|p| ToolRef {
            plugin: PluginRef::of(&p.plugin),
            prefix: p.prefix.clone(),
            rights: (*p.rights).clone(),
            repeatable: p.repeatable,
            defs: p.defs.clone(),
        });
        Self {
            task: ready.task.clone(),
            strategy: PluginRef::of(&ready.strategy),
            tools: tools.collect(),
            held: ready.held.clone(),
            rights: ready.rights.clone(),
            limits: ready.limits.clone(),
            caps: ready.caps.iter().collect(),
            tree: ready.tree.iter().collect(),
            model: ready.model.as_ref().map(|m| m.name.clone()),
            script: spec.script.as_ref().map(|p| p.display().to_string()),
            price: ready.model.as_ref().and_then(|m| m.price),
            closing_call: ready.closing_call,
            tool_delay_ms: ready.tool_delay_ms,
            seed,
            started_ms: at_ms,
            host: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl PluginRef {
    fn of(plugin: &crate::plugin::Plugin) -> Self {
        let manifest = plugin.manifest.as_ref().and_then(|m| m.beside.clone());
        Self {
            name: plugin.name.clone(),
            digest: plugin.digest,
            manifest,
        }
    }
}

/// A run's row, under an id that no other run has.
async fn create(store: &Store, ready: &Ready, spec: &RunSpec, at_ms: u64) -> Result<Owner, HostError> {
    let cwd = std::env::current_dir().unwrap_or_default();
    let new = NewRun {
        id: RunId::random(),
        task: spec.task.clone(),
        strategy: ready.strategy.name.clone(),
        cwd: cwd.display().to_string(),
        argv: std::env::args_os()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect(),
        at_ms,
    };
    Ok(store.create_run(new).await?)
}

/// The strategy's side of the host.
pub(super) fn guest(session: &Arc<Session>, ready: &Ready, recorded: Recorded) -> Arc<Guest> {
    let stream = StreamId {
        session: session.id.clone(),
        attempt: session.attempt,
        scope: Scope::ROOT,
    };
    let plugin = ready.strategy.name.clone();
    Guest::new(
        session.clone(),
        stream,
        plugin,
        ready.rights.clone(),
        ready.held.clone(),
        recorded,
    )
}

async fn write_start(session: &Session, ready: &Ready, start: &StartBody, at_ms: u64) -> Result<(), HostError> {
    let row = NewSession {
        session: session.id.clone(),
        parent: None,
        edge: Edge::Root,
        role: "root".to_owned(),
        task: ready.task.prompt.clone(),
        strategy: ready.strategy.name.clone(),
        digest: ready.strategy.digest,
        model: ready.model.as_ref().map(|m| m.name.clone()),
        budget: ready.caps.iter().collect(),
        toolsets: ready.toolsets(),
        at_ms,
    };
    let start = Start {
        session: session.id.clone(),
        attempt: 1,
        body: codec::encode(start),
        at_ms,
    };
    let active = SessionUpdate {
        session: session.id.clone(),
        status: Some(Status::Active),
        attempt: Some(1),
        exit: None,
        outcome: None,
        error: None,
        result: None,
        spent: None,
        at_ms,
    };
    let records = vec![Record::Session(row), Record::Start(start), Record::Update(active)];
    session.run.append(records, None, Sync::Durable).await?;
    Ok(())
}

pub(super) fn announce(session: &Session, ready: &Ready) {
    session.event(EventKind::RunStarted {
        run: session.run.id.clone(),
        strategy: ready.strategy.name.clone(),
        digest: ready.strategy.digest,
        task: ready.task.prompt.clone(),
        model: ready.model.as_ref().map(|m| m.name.clone()),
        budget: ready.caps.iter().collect(),
    });
    for message in &ready.notices {
        session.event(EventKind::Notice {
            message: message.clone(),
        });
    }
    session.event(EventKind::SessionStarted {
        parent: None,
        role: "root".to_owned(),
        strategy: ready.strategy.name.clone(),
        attempt: session.attempt,
    });
}

/// Sums a run up, writes that down, and gives it to whoever waits.
pub(super) async fn conclude(
    session: &Session,
    ending: Result<Ending, crate::session::end::End>,
) -> Result<RunOutcome, HostError> {
    let outcome = match ending? {
        Ending::Suspended => suspended(session),
        Ending::Final(result) => ended(session, &result),
    };
    if let Some(journal) = &session.run.journal {
        let status = match outcome.exit.as_str() {
            "suspended" => Status::Interrupted,
            "returned" => Status::Completed,
            "cancelled" => Status::Cancelled,
            _ => Status::Failed,
        };
        let update = RunUpdate {
            status: Some(status),
            exit: (status != Status::Interrupted).then(|| outcome.exit.clone()),
            outcome: (status != Status::Interrupted).then(|| outcome.outcome.clone()),
            error: outcome.error.clone(),
            answer: outcome
                .answer
                .as_deref()
                .map(|a| text::prefix(a, ANSWER_KEPT).to_owned()),
            spent: Some(outcome.spent),
            closing: Some(outcome.closing),
            refunded: Some(outcome.refunded),
            resent: Some(outcome.resent),
            ended_ms: (status != Status::Interrupted).then(now_ms),
        };
        journal.store.update_run(&journal.owner, update).await?;
    }
    session.event(EventKind::RunEnded { code: outcome.code });
    Ok(outcome)
}

fn summary(session: &Session) -> RunOutcome {
    session.charge_wall();
    let (spent, totals) = session.run.ledger.spent_by_all();
    RunOutcome {
        run: session.run.id.clone(),
        exit: String::new(),
        code: 1,
        outcome: "not-achieved".to_owned(),
        answer: None,
        result: None,
        artifacts: Vec::new(),
        open_questions: Vec::new(),
        error: None,
        spent,
        closing: totals.closing,
        refunded: totals.refunded,
        resent: totals.resent,
        agents: Vec::new(),
        denials: session.denials.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    }
}

fn suspended(session: &Session) -> RunOutcome {
    let mut outcome = RunOutcome {
        exit: "suspended".to_owned(),
        code: 130,
        ..summary(session)
    };
    if let Some(report) = session
        .checkpoint
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
    {
        fill(&mut outcome, &report);
    }
    outcome.agents = vec![agent(session, "interrupted", None, None)];
    outcome
}

fn ended(session: &Session, result: &types::RunResult) -> RunOutcome {
    let (exit, error) = words(&result.exit);
    let mut outcome = RunOutcome {
        exit: exit.clone(),
        ..summary(session)
    };
    if let Some(report) = &result.report {
        fill(&mut outcome, report);
    }
    outcome.code = code(&result.exit, &outcome.outcome);
    outcome.error = error.map(|words| (error_kind(&result.exit), words));
    let status = match &result.exit {
        types::ExitReason::Returned => "completed",
        types::ExitReason::Cancelled => "cancelled",
        _ => "failed",
    };
    let judged = result.report.as_ref().map(|r| outcome_name(r.outcome).to_owned());
    outcome.agents = vec![agent(session, status, judged, Some(exit))];
    outcome
}

fn fill(outcome: &mut RunOutcome, report: &types::Report) {
    outcome_name(report.outcome).clone_into(&mut outcome.outcome);
    outcome.answer = Some(report.summary.clone());
    outcome.result.clone_from(&report.result_json);
    outcome.artifacts.clone_from(&report.artifacts);
    outcome.open_questions.clone_from(&report.open_questions);
}

fn agent(session: &Session, status: &str, outcome: Option<String>, exit: Option<String>) -> AgentSummary {
    AgentSummary {
        id: session.id.clone(),
        parent: None,
        role: "root".to_owned(),
        status: status.to_owned(),
        outcome,
        exit,
        spent: session.run.ledger.spent(session.account),
    }
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
