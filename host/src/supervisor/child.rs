//! A child between its spec and its life: its place in the tree, its share of the budget, its strategy, and its rows.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::amounts::Amounts;
use crate::bindings::{delegation, types};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::now_ms;
use crate::ids::SessionId;
use crate::instance::Prepared;
use crate::interfaces::amounts;
use crate::ledger::{AccountId, Ledger, Reservation};
use crate::plugin::Plugin;
use crate::plugin::rights::{SpaceWish, Wishes};
use crate::session::call::{Missed, Under};
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::runner::{ChildEnd, NewChild, Waiting};
use crate::session::unwritten::Unwritten;
use crate::session::{Child, Past, RunContext, Session, SessionParts, abandoned, codec};
use crate::store::{Edge, NewSession, Record, ReturnAddress, Start, StoreError};
use crate::supervisor::life::{Agent, Ending, From};
use crate::supervisor::start::{AgentStart, ModelRef, PluginRef, StartBody};
use crate::supervisor::strategies::Known;
use crate::supervisor::{Place, Supervisor, ending, restore, spec};

/// A child that may come to be, or that was.
pub(super) struct Candidate {
    supervisor: Supervisor,
    id: SessionId,
    start: AgentStart,
    toolsets: Vec<String>,
    strategy: Known,
    model: Option<crate::llm::Model>,
    place: Option<Place>,
    /// Why it can't go on where an earlier process left it.
    broken: Option<Refusal>,
    /// What the journal has of it: it lets go of what is set aside for that while its account is open.
    before: Option<Before>,
    account: Option<Opened>,
    /// As its parent sees it.
    seen: OnceLock<Arc<Child>>,
}

/// A child's account. However the child ends, or never comes to be, what is left of its allotment goes back.
struct Opened {
    ledger: Ledger,
    id: AccountId,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.ledger.close(self.id);
    }
}

/// What is taken up when the child lives, or ends. Where it comes to neither, whoever goes on with it does again what was under way: here nothing is set
/// aside for that any more.
struct Unlived(Past);

impl Unlived {
    fn take(&mut self) -> Past {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Unlived {
    fn drop(&mut self) {
        let left = self.take().interrupted;
        left.into_values().for_each(|left| left.reservation.release());
    }
}

/// What an earlier process left of a child.
struct Before {
    past: Unlived,
    from: From,
    /// How it ended, where only its parent was not told.
    result: Option<types::RunResult>,
}

impl Candidate {
    /// What `spec` asks for, held against what `parent` has. Its strategy is looked for when all else is in order: its bytes are read for that.
    pub(super) fn new(supervisor: &Supervisor, parent: &Guest, spec: &delegation::ChildSpec) -> Result<Self, Refusal> {
        let session = &parent.session;
        parent.rights.may_delegate(&parent.plugin)?;
        spec::lengths(spec, &session.run.limits)?;
        let (held, toolsets) = spec::tools(parent, &spec.toolsets)?;
        let model = spec::model(parent, spec.model.as_deref())?;
        let spaces: Vec<SpaceWish> = spec.spaces.iter().map(spec::space).collect();
        let mut rights = parent.rights.for_child(&Wishes {
            parent: &parent.plugin,
            spaces: &spaces,
            grants: &spec.grants,
            cwd: supervisor.cwd(),
        })?;
        if spec.model.is_some() {
            rights = rights.with_default_model();
        }
        let (caps, allotment) = spec::budget(session, &spec.budget)?;
        let (task, role, depth) = (spec::task(session, spec)?, spec::role(&spec.role)?, session.depth + 1);
        let place = supervisor.place(&session.run.limits, depth)?;
        let strategy = supervisor.strategy(session, spec.strategy.as_deref())?;
        let start = AgentStart {
            task,
            role,
            parent: Some(session.id.clone()),
            depth,
            strategy: strategy.reference(),
            held,
            rights,
            caps,
            allotment,
            model: model.as_ref().map(|(model, meant)| ModelRef {
                name: model.name.clone(),
                meant: meant.clone(),
            }),
            max_attempts: match spec.max_attempts {
                0 => u32::try_from(session.run.limits.restart_attempts).unwrap_or(u32::MAX),
                n => n,
            },
            started_ms: now_ms(),
            awake_ms: 0,
            spent: Amounts::ZERO,
        };
        Ok(Self {
            supervisor: supervisor.clone(),
            // It gets its number when nothing can refuse it any more.
            id: session.id.clone(),
            start,
            toolsets,
            strategy,
            model: model.map(|(model, _)| model),
            place: Some(place),
            broken: None,
            before: None,
            account: None,
            seen: OnceLock::new(),
        })
    }

    /// The child that the journal has.
    pub(super) fn recovered(
        supervisor: &Supervisor,
        parent: &Guest,
        restored: restore::Restored,
    ) -> Result<Self, StoreError> {
        let run = &parent.session.run;
        let journal = run.keeping.written()?;
        let row = restored.row;
        let damaged = |e: codec::CodecError| StoreError::damaged(&run.id, format!("session {}: {e}", row.session));
        let result = row.result.as_deref().map(codec::decode).transpose().map_err(damaged)?;
        let attempt = row.attempt.max(1);
        let recorded = restore::recorded(&journal.store, &row.session, attempt)?;
        let mut broken = None;
        let model = match &restored.start.model {
            None => None,
            Some(model) => match run.models.resolve(&model.meant.model) {
                Ok(found) => Some(found.known_as(&model.name, model.meant.price)),
                Err(error) => {
                    broken = Some(Refusal::not_found(error.to_string()));
                    None
                }
            },
        };
        let strategy = supervisor.recorded_strategy(&restored.start.strategy);
        Ok(Self {
            supervisor: supervisor.clone(),
            id: row.session,
            start: restored.start,
            toolsets: row.toolsets,
            strategy,
            model,
            place: restored.place,
            broken,
            before: Some(Before {
                past: Unlived(restored.past),
                from: From {
                    attempt,
                    recorded,
                    restarts_ms: restored.restarts_ms,
                    cancel_asked: row.cancel_asked,
                },
                result,
            }),
            account: Some(Opened {
                ledger: run.ledger.clone(),
                id: restored.account,
            }),
            seen: OnceLock::new(),
        })
    }

    /// It can't be started: its row says so, what is below it ends, and its account is closed.
    async fn fails(&mut self, run: &Arc<RunContext>, refusal: Refusal) -> Option<ChildEnd> {
        match self.ends(run, refusal).await {
            Ok(result) => result.map(Into::into),
            // It ends when the run goes on.
            Err(End::Suspended) => None,
            Err(end) => {
                self.supervisor.failed(run, &end);
                None
            }
        }
    }

    async fn ends(&mut self, run: &Arc<RunContext>, refusal: Refusal) -> Result<Option<types::RunResult>, End> {
        let Some(account) = self.account.take() else {
            return Ok(None);
        };
        let attempt = self.before.as_ref().map_or(1, |before| before.from.attempt);
        let supervisor = self.supervisor.clone();
        supervisor.end_lost_children(run, &self.id, attempt, account.id).await?;
        let past = self.before.as_mut().map(|before| before.past.take());
        let past = past.unwrap_or_default();
        let mut records = abandoned(past.interrupted);
        let report = self.told(run, account.id, past.checkpoint).await?;
        let spent = run.ledger.spent(account.id);
        let result = types::RunResult {
            exit: match refusal.kind {
                RefusalKind::Cancelled => types::ExitReason::Cancelled,
                _ => types::ExitReason::Failed(refusal.into()),
            },
            report,
            attempts: self.before.as_ref().map_or(0, |before| before.from.attempt),
            spent: amounts(&spent),
        };
        records.push(ending::record(&self.id, &result, spent));
        run.append_last(records).await?;
        Ok(Some(result))
    }

    /// What it had so far, as its parent is told.
    async fn told(
        &self,
        run: &Arc<RunContext>,
        account: AccountId,
        checkpoint: Option<types::Report>,
    ) -> Result<Option<types::Report>, End> {
        if checkpoint.is_none() {
            return Ok(None);
        }
        let start = &self.start;
        let session = Session::new(SessionParts {
            id: self.id.clone(),
            parent: start.parent.clone(),
            depth: start.depth,
            role: start.role.clone(),
            run: run.clone(),
            account,
            rights: start.rights.clone(),
            strategy: start.strategy.name.clone(),
            plugin: None,
            model: None,
            cancel: CancellationToken::new(),
            past: Past::default(),
        });
        ending::told(&session, checkpoint).await
    }

    /// Lives. What the child was made of is its own from here on, and not kept beside it.
    fn live(
        self: Box<Self>,
        under: &Under,
        plugin: &Arc<Plugin>,
        prepared: Prepared,
    ) -> Waiting<'static, Option<ChildEnd>> {
        let Self {
            supervisor,
            id,
            start,
            model,
            place,
            before,
            account,
            seen,
            ..
        } = *self;
        let parent = &under.guest.session;
        let Some(account) = account else {
            return Box::pin(std::future::ready(None));
        };
        let (past, from) = before.map_or((Past::default(), From::beginning()), |mut b| (b.past.take(), b.from));
        let session = Session::new(SessionParts {
            id,
            parent: start.parent.clone(),
            depth: start.depth,
            role: start.role.clone(),
            run: parent.run.clone(),
            account: account.id,
            rights: start.rights.clone(),
            strategy: plugin.name.clone(),
            plugin: Some(plugin.clone()),
            model,
            cancel: CancellationToken::new(),
            past,
        });
        supervisor.begins(&session, plugin);
        if let Some(child) = seen.get() {
            child.begins(session.clone());
        }
        let above = Some(under.guest.session.cancel.clone());
        let agent = Agent::new(session.clone(), start, prepared, from, under.cancel.clone(), above);
        let driven = supervisor.drive(agent);
        Box::pin(async move {
            let ended = driven.await;
            supervisor.ended(&session);
            match ended {
                Ok(Ending::Final(result)) => {
                    let Unwritten { records, events } = session.take_unwritten();
                    // Its account and its place are its own until its end is on record.
                    let then = move |written: Result<(), &End>| {
                        drop((account, place));
                        match written {
                            Ok(()) => events.into_iter().for_each(|event| session.event(event)),
                            // It ends when the run goes on.
                            Err(End::Suspended) => {}
                            Err(end) => supervisor.failed(&session.run, end),
                        }
                    };
                    Some(ChildEnd {
                        result,
                        records,
                        then: Some(Box::new(then)),
                    })
                }
                Ok(Ending::Suspended) => None,
                Err(end) => {
                    supervisor.failed(&session.run, &end);
                    None
                }
            }
        })
    }
}

impl NewChild for Candidate {
    fn reserve(&mut self, parent: &Guest) -> Result<Reservation, Refusal> {
        let session = &parent.session;
        let ledger = &session.run.ledger;
        let reservation = ledger.reserve(session.account, Amounts::of(Dimension::Children, 1))?;
        let caps = self.start.caps.iter().copied().collect();
        match ledger.open_child(session.account, caps, self.start.allotment) {
            Ok(id) => {
                let ledger = ledger.clone();
                self.account = Some(Opened { ledger, id });
                Ok(reservation)
            }
            Err(exhausted) => {
                reservation.release();
                Err(exhausted.into())
            }
        }
    }

    fn ready<'a>(&'a mut self, parent: &'a Guest) -> Waiting<'a, Result<(), Missed>> {
        Box::pin(async move {
            // What can't be compiled or linked is found before anything is written down.
            let ready = self
                .supervisor
                .loaded(&mut self.strategy, &parent.session.run, false)
                .await;
            let ready = ready.and_then(|(plugin, _)| {
                let id = self.supervisor.next_id(&parent.session.run.id)?;
                Ok((plugin, id))
            });
            if ready.is_err() {
                drop(self.account.take());
            }
            let (plugin, id) = ready?;
            if let Some(place) = &mut self.place {
                place.counts();
            }
            self.id = id;
            // What its parent gives it and it does not ask for it has not: as a root.
            let rights = std::mem::take(&mut self.start.rights).as_wanted(plugin.manifest.as_ref());
            self.start.rights = rights.with_spill(&self.id.number.to_string());
            Ok(())
        })
    }

    fn records(&self, parent: &Guest, op: u32) -> Vec<Record> {
        let start = &self.start;
        let row = NewSession {
            session: self.id.clone(),
            parent: Some(ReturnAddress {
                session: parent.session.id.clone(),
                attempt: parent.attempt.number,
                op,
            }),
            edge: Edge::Delegated,
            role: start.role.clone(),
            task: start.task.prompt.clone(),
            strategy: start.strategy.name.clone(),
            digest: start.strategy.digest,
            model: start.model.as_ref().map(|m| m.meant.model.clone()),
            budget: start.caps.clone(),
            toolsets: self.toolsets.clone(),
            at_ms: start.started_ms,
        };
        let body = StartBody {
            agent: start.clone(),
            run: None,
        };
        let start = Start {
            session: self.id.clone(),
            attempt: 1,
            body: codec::encode(&body),
            at_ms: start.started_ms,
        };
        vec![Record::Session(row), Record::Start(start)]
    }

    fn child(&self, parent: &Guest, op: u32) -> Arc<Child> {
        let new = || Child::new(self.id.clone(), op, parent.attempt.number);
        self.seen.get_or_init(new).clone()
    }

    fn run(mut self: Box<Self>, under: Under) -> Waiting<'static, Option<ChildEnd>> {
        Box::pin(async move {
            if let Some(result) = self.before.as_mut().and_then(|b| b.result.take()) {
                return Some(result.into());
            }
            let run = under.guest.session.run.clone();
            let suspend = run.suspend.clone();
            let (supervisor, broken) = (self.supervisor.clone(), self.broken.take());
            let was_there = self.before.is_some();
            let ready = async {
                let ready = supervisor.loaded(&mut self.strategy, &run, was_there).await?;
                broken.map_or(Ok(ready), |refusal| Err(refusal.into()))
            };
            let ready = tokio::select! {
                biased;
                ready = ready => ready,
                () = suspend.cancelled() => return None,
                () = under.cancel.cancelled() => Err(Refusal::cancelled().into()),
            };
            match ready {
                Ok((plugin, prepared)) => self.live(&under, &plugin, prepared).await,
                Err(Missed::Refused(refusal)) => self.fails(&run, refusal).await,
                Err(Missed::Unread(end)) => {
                    self.supervisor.failed(&run, &end);
                    None
                }
            }
        })
    }
}

impl Known {
    /// As start records name it.
    fn reference(&self) -> PluginRef {
        match self {
            Self::Loaded(plugin) => PluginRef::of(plugin),
            Self::Found(found) => PluginRef {
                name: found.name.clone(),
                digest: found.digest,
                manifest: found.manifest.as_ref().and_then(|m| m.beside.clone()),
            },
            Self::Kept(reference) => reference.clone(),
        }
    }
}
