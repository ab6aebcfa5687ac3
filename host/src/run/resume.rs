//! Goes on with a run that was suspended or whose process was killed: the start record says what it was made of, the strategy runs again
//! from its start against its observations, and goes on live where they end.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::event::{EventKind, now_ms};
use crate::ids::{Digest, Scope, SessionId, StreamId};
use crate::ledger::AccountId;
use crate::llm::Catalogue;
use crate::plugin::load::{Found, load};
use crate::plugin::{Origin, Plugin, manifest};
use crate::run::handle::RunHandle;
use crate::run::prepare::{Ready, ToolPlugin};
use crate::run::root::{announce, guest};
use crate::run::start::{PluginRef, StartBody};
use crate::run::{Host, HostError, outside};
use crate::session::tape::{Recorded, RecordedOp};
use crate::session::{Session, codec};
use crate::store::{OperationRow, Store};
use crate::store::{Record, SessionUpdate, Status, Sync};

impl Host {
    /// Goes on with a run, named by its id or the beginning of it.
    ///
    /// # Errors
    /// There is no such run, it has ended, another process owns it, or what it was made of is gone.
    pub async fn resume(&self, run: &str) -> Result<RunHandle, HostError> {
        let store = self.store()?;
        let row = store.run(&store.find_run(run)?)?;
        if !matches!(row.status, Status::Interrupted | Status::Active | Status::Spawned) {
            let status = crate::run::view::status_name(row.status);
            return Err(cannot(
                &row.id.to_string(),
                &format!("it has ended ({status}); a recorded end is final"),
            ));
        }
        let owner = store.take_run(&row.id).await?;
        let root = row.id.root();
        let stored = store
            .start(&root, 1)?
            .ok_or_else(|| cannot(&row.id.to_string(), "it has no start record"))?;
        let start: StartBody = codec::decode(&stored.body).map_err(|e| cannot(&row.id.to_string(), &e.to_string()))?;
        let ready = self.rebuild(&store, &start).await?;
        let mut recorded = recorded(&store, &root)?;
        let spent = store.session(&root)?.spent;
        let ctx = self.context(row.id.clone(), store, owner, &ready, &start);
        let first = ctx.events.subscribe();
        let (rights, model) = (ready.rights.clone(), ready.model.clone());
        let session = outside::session(
            ctx,
            rights,
            ready.strategy.name.clone(),
            model,
            ready.caps,
            start.started_ms,
        );
        let own = recorded.remove(&Scope::ROOT).unwrap_or_default();
        let observations = own.observations.len() as u64;
        charge_past(&session, &own, spent);
        recorded
            .into_iter()
            .for_each(|(scope, tape)| session.keep_recorded(scope, tape));
        let guest = guest(&session, &ready, own);
        let active = SessionUpdate {
            session: session.id.clone(),
            status: Some(Status::Active),
            attempt: None,
            exit: None,
            outcome: None,
            error: None,
            result: None,
            spent: None,
            at_ms: now_ms(),
        };
        session
            .run
            .append(vec![Record::Update(active)], None, Sync::Durable)
            .await?;
        announce(&session, &ready);
        session.event(EventKind::Resumed { observations });
        Ok(self.launch(guest, ready.prepared, ready.task, Some(first)))
    }

    /// The run's parts as its start record names them, never as today's flags would.
    async fn rebuild(&self, store: &Store, start: &StartBody) -> Result<Ready, HostError> {
        let strategy = self.recorded_plugin(store, &start.strategy).await?;
        let prepared = self.resolve(&strategy)?;
        let mut plugins = Vec::new();
        for tool in &start.tools {
            plugins.push(ToolPlugin {
                plugin: self.recorded_plugin(store, &tool.plugin).await?,
                prefix: tool.prefix.clone(),
                rights: Arc::new(tool.rights.clone()),
                repeatable: tool.repeatable,
                defs: tool.defs.clone(),
            });
        }
        let (toolbox, _) = self.toolbox(&plugins)?;
        let script = start.script.as_ref().map(std::path::Path::new);
        let (models, model) = match &start.model {
            Some(name) => {
                let models = Catalogue::open(&self.config.models, &start.limits, script)?;
                let mut model = models.resolve(name)?;
                // What the run was promised when it began is what it pays.
                model.price = start.price;
                (models, Some(model))
            }
            None => (Catalogue::empty(), None),
        };
        Ok(Ready {
            strategy,
            prepared,
            rights: start.rights.clone(),
            toolbox,
            plugins,
            held: start.held.clone(),
            models,
            model,
            caps: start.caps.iter().copied().collect(),
            tree: start.tree.iter().copied().collect(),
            task: start.task.clone(),
            notices: self.compiler.notices(),
            limits: start.limits.clone(),
            closing_call: start.closing_call,
            tool_delay_ms: start.tool_delay_ms,
        })
    }

    async fn recorded_plugin(&self, store: &Store, of: &PluginRef) -> Result<Arc<Plugin>, HostError> {
        let bytes: Arc<[u8]> = store.component(&of.digest)?.into();
        debug_assert_eq!(Digest::of(&bytes), of.digest);
        let manifest = match &of.manifest {
            Some(text) => Some(manifest::Manifest::beside(text).map_err(crate::engine::precheck::LoadError::from)?),
            None => manifest::read(&bytes, None).map_err(crate::engine::precheck::LoadError::from)?,
        };
        let found = Found {
            name: of.name.clone(),
            bytes,
            origin: Origin::Standard,
            manifest,
        };
        Ok(Arc::new(load(found, &self.compiler).await?))
    }
}

/// Everything that the journal has of a session, by the scope of its instances.
fn recorded(store: &Store, session: &SessionId) -> Result<BTreeMap<Scope, Recorded>, HostError> {
    let mut scopes: BTreeMap<Scope, Recorded> = BTreeMap::new();
    for OperationRow { intent, outcome } in store.session_operations(session)? {
        let op = RecordedOp {
            request: intent.request,
            outcome: outcome.map(|o| (o.status, o.body, o.charged)),
        };
        scopes
            .entry(intent.stream.scope)
            .or_default()
            .operations
            .insert(intent.op, op);
    }
    let mut streams: Vec<Scope> = scopes.keys().cloned().collect();
    if !streams.contains(&Scope::ROOT) {
        streams.push(Scope::ROOT);
    }
    let calls: Vec<Scope> = scopes
        .iter()
        .flat_map(|(scope, tape)| tape.operations.keys().map(|op| scope.child(*op)))
        .collect();
    streams.extend(calls.into_iter().filter(|scope| !scopes.contains_key(scope)));
    for scope in streams {
        let stream = StreamId {
            session: session.clone(),
            attempt: 1,
            scope: scope.clone(),
        };
        let observations = store.observations(&stream)?;
        if !observations.is_empty() {
            scopes.entry(scope).or_default().observations = observations.into();
        }
    }
    Ok(scopes)
}

/// Puts what the run spent before into its ledger: an operation by its recorded charge, time and fuel by the last record of them.
fn charge_past(session: &Session, own: &Recorded, row: Amounts) {
    let (ledger, account): (_, AccountId) = (&session.run.ledger, session.account);
    let charges = own.operations.values().filter_map(|op| op.outcome.as_ref());
    let mut spent = charges.fold(Amounts::ZERO, |sum, (_, _, charged)| sum.plus(charged));
    let last = own.observations.back();
    let fuel = last.map_or(0, |o| o.fuel).max(row.get(Dimension::Fuel));
    let since = last.map_or(0, |o| o.at_ms.saturating_sub(session.started_ms));
    let wall = match row.get(Dimension::WallClockMs) {
        0 => since,
        recorded => recorded,
    };
    for (d, value) in [
        (Dimension::Fuel, fuel),
        (Dimension::WallClockMs, wall),
        (Dimension::HostCalls, own.observations.len() as u64),
        (Dimension::JournalBytes, row.get(Dimension::JournalBytes)),
    ] {
        spent = spent.with(d, value);
    }
    ledger.charge(account, spent);
    session.past_wall.store(wall, std::sync::atomic::Ordering::Release);
}

fn cannot(run: &str, reason: &str) -> HostError {
    HostError::CantResume {
        run: run.to_owned(),
        reason: reason.to_owned(),
    }
}
