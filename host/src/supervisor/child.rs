//! A child between its spec and its life: what it asks for held against what its parent has, its place in the tree, its share of the budget,
//! its strategy, and its rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::amounts::Amounts;
use crate::bindings::{delegation, types};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::now_ms;
use crate::ids::SessionId;
use crate::instance::Prepared;
use crate::ledger::{AccountId, Reservation, is_own};
use crate::plugin::Plugin;
use crate::plugin::rights::{Access, SpaceWish, Wishes};
use crate::session::call::Under;
use crate::session::guest::Guest;
use crate::session::runner::{NewChild, Waiting};
use crate::session::{Child, Past, RunContext, Session, SessionParts, codec};
use crate::store::{Edge, NewSession, Record, ReturnAddress, SessionUpdate, Start, Transition};
use crate::supervisor::life::{Agent, Ending, From};
use crate::supervisor::start::{AgentStart, ModelRef, PluginRef, StartBody};
use crate::supervisor::strategies::Known;
use crate::supervisor::{Place, Supervisor, ending, restore};
use crate::{json, text};

/// Characters of a role.
const ROLE: usize = 64;
/// Grants, spaces and toolsets that a spec names, each.
const NAMED: usize = 256;
/// Less than this left, in milliseconds, and a child could do nothing.
const LEAST_TIME: u64 = 100;

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
    account: Option<AccountId>,
    /// What the journal has of it.
    before: Option<Before>,
}

/// What an earlier process left of a child.
struct Before {
    past: Past,
    from: From,
    /// How it ended, where only its parent was not told.
    result: Option<types::RunResult>,
}

impl Candidate {
    /// What `spec` asks for, held against what `parent` has.
    pub(super) fn new(supervisor: &Supervisor, parent: &Guest, spec: &delegation::ChildSpec) -> Result<Self, Refusal> {
        let session = &parent.session;
        parent.rights.may_delegate(&parent.plugin)?;
        for (what, named) in [
            ("grants", spec.grants.len()),
            ("spaces", spec.spaces.len()),
            ("toolsets", spec.toolsets.len()),
        ] {
            if named > NAMED {
                return Err(Refusal::invalid(format!(
                    "A child's spec names {named} {what}; {NAMED} are the most."
                )));
            }
        }
        let strategy = supervisor.strategy(session, spec.strategy.as_deref())?;
        let (held, toolsets) = tools(parent, &spec.toolsets)?;
        let model = model(parent, spec.model.as_deref())?;
        let spaces: Vec<SpaceWish> = spec.spaces.iter().map(space).collect();
        let mut rights = parent.rights.for_child(&Wishes {
            parent: &parent.plugin,
            spaces: &spaces,
            grants: &spec.grants,
            cwd: supervisor.cwd(),
        })?;
        if spec.model.is_some() {
            rights = rights.with_default_model();
        }
        let (caps, allotment) = budget(session, &spec.budget)?;
        let start = AgentStart {
            task: task(session, spec)?,
            role: role(&spec.role)?,
            parent: Some(session.id.clone()),
            depth: session.depth + 1,
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
            place: None,
            broken: None,
            account: None,
            before: None,
        })
    }

    /// The child that the journal has.
    pub(super) fn recovered(
        supervisor: &Supervisor,
        parent: &Guest,
        restored: restore::Restored,
    ) -> Result<Self, Refusal> {
        let run = &parent.session.run;
        let lost = |what: String| Refusal::new(RefusalKind::Other("storage".to_owned()), what);
        let journal = run
            .journal
            .as_ref()
            .ok_or_else(|| lost("there is no journal".to_owned()))?;
        let row = restored.row;
        let result = match &row.result {
            Some(result) => Some(codec::decode(result).map_err(|e| lost(e.to_string()))?),
            None => None,
        };
        let attempt = row.attempt.max(1);
        let recorded = restore::recorded(&journal.store, &row.session, attempt).map_err(|e| lost(e.to_string()))?;
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
        let place = result.is_none().then(|| supervisor.place_again());
        Ok(Self {
            supervisor: supervisor.clone(),
            id: row.session,
            start: restored.start,
            toolsets: row.toolsets,
            strategy,
            model,
            place,
            broken,
            account: Some(restored.account),
            before: Some(Before {
                past: restored.past,
                from: From {
                    attempt,
                    recorded,
                    restarts_ms: restored.restarts_ms,
                    cancel_asked: row.cancel_asked,
                },
                result,
            }),
        })
    }

    /// It can't be started: its row says so, and its account is closed.
    async fn fails(&mut self, run: &RunContext, refusal: Refusal) -> Option<types::RunResult> {
        let account = self.account?;
        let spent = run.ledger.spent(account);
        let result = types::RunResult {
            exit: match refusal.kind {
                RefusalKind::Cancelled => types::ExitReason::Cancelled,
                _ => types::ExitReason::Failed(refusal.into()),
            },
            report: None,
            attempts: self.before.as_ref().map_or(0, |before| before.from.attempt),
            spent: ending::amounts(&spent),
        };
        let ended = Record::Update(SessionUpdate {
            session: self.id.clone(),
            transition: Transition::Ended(ending::row(&result, None, codec::encode(&result))),
            spent: Some(spent),
            at_ms: now_ms(),
        });
        if let Err(end) = run.append_last(vec![ended]).await {
            self.supervisor.failed(run, &end);
            return None;
        }
        run.ledger.close(account);
        Some(result)
    }

    async fn live(mut self, under: Under, plugin: Arc<Plugin>, prepared: Prepared) -> Option<types::RunResult> {
        let parent = &under.guest.session;
        let before = self.before.take();
        let (past, from) = before.map_or((Past::default(), From::beginning()), |b| (b.past, b.from));
        let account = self.account?;
        let session = Session::new(SessionParts {
            id: self.id.clone(),
            parent: self.start.parent.clone(),
            depth: self.start.depth,
            role: self.start.role.clone(),
            run: parent.run.clone(),
            account,
            rights: self.start.rights.clone(),
            strategy: plugin.name.clone(),
            model: self.model.clone(),
            cancel: CancellationToken::new(),
            past,
        });
        self.supervisor.begins(&session, &plugin);
        if let Some(child) = parent.children().iter().find(|child| child.id == self.id) {
            child.begins(session.clone());
        }
        let agent = Agent {
            session: session.clone(),
            start: self.start.clone(),
            prepared,
            from,
            asked: under.cancel.clone(),
        };
        let ended = self.supervisor.drive(agent).await;
        self.supervisor.ended(&session);
        parent.run.ledger.close(account);
        drop(self.place.take());
        match ended {
            Ok(Ending::Final(result)) => Some(result),
            Ok(Ending::Suspended) => None,
            Err(end) => {
                self.supervisor.failed(&session.run, &end);
                None
            }
        }
    }
}

impl NewChild for Candidate {
    fn id(&self) -> &SessionId {
        &self.id
    }

    fn reserve(&mut self, parent: &Guest) -> Result<Reservation, Refusal> {
        let session = &parent.session;
        let ledger = &session.run.ledger;
        let one = Amounts::of(Dimension::Children, 1);
        if self.before.is_some() {
            // Its account was restored with what it had; the place in the count is its parent's again.
            return Ok(ledger.reserve(session.account, one)?);
        }
        self.place = Some(self.supervisor.place(&session.run.limits, self.start.depth)?);
        let reservation = ledger.reserve(session.account, one)?;
        let caps = self.start.caps.iter().copied().collect();
        match ledger.open_child(session.account, caps, self.start.allotment) {
            Ok(account) => {
                self.account = Some(account);
                Ok(reservation)
            }
            Err(exhausted) => {
                reservation.release();
                Err(exhausted.into())
            }
        }
    }

    fn ready<'a>(&'a mut self, parent: &'a Guest) -> Waiting<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let ready = self.supervisor.loaded(&mut self.strategy, &parent.session.run).await;
            // What can't be linked is found before anything is written down.
            let ready = ready.and_then(|plugin| self.supervisor.prepare(&plugin).map(drop));
            if ready.is_err()
                && let Some(account) = self.account.take()
            {
                parent.session.run.ledger.close(account);
            }
            ready?;
            if let Some(place) = &mut self.place {
                place.counts();
            }
            self.id = self.supervisor.next_id(&parent.session.run.id);
            let rights = std::mem::take(&mut self.start.rights);
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
        Child::new(self.id.clone(), op, parent.attempt.number)
    }

    fn run(mut self: Box<Self>, under: Under) -> Waiting<'static, Option<types::RunResult>> {
        Box::pin(async move {
            if let Some(result) = self.before.as_mut().and_then(|b| b.result.take()) {
                return Some(result);
            }
            let run = under.guest.session.run.clone();
            let suspend = run.suspend.clone();
            let (supervisor, broken) = (self.supervisor.clone(), self.broken.take());
            let ready = async {
                let plugin = supervisor.loaded(&mut self.strategy, &run).await?;
                let prepared = supervisor.prepare(&plugin)?;
                broken.map_or(Ok((plugin, prepared)), Err)
            };
            let ready = tokio::select! {
                biased;
                ready = ready => ready,
                () = suspend.cancelled() => return None,
                () = under.cancel.cancelled() => Err(Refusal::cancelled()),
            };
            match ready {
                Ok((plugin, prepared)) => self.live(under, plugin, prepared).await,
                Err(refusal) => self.fails(&run, refusal).await,
            }
        })
    }
}

/// The tools of these toolsets, by name, and the toolsets.
fn tools(parent: &Guest, wanted: &[String]) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let toolbox = &parent.session.run.toolbox;
    let mine = || {
        let names = parent.tools.iter();
        names.filter_map(|name| Some((name, toolbox.get(name)?)))
    };
    let has: BTreeSet<String> = mine().map(|(_, tool)| tool.toolset_name().to_owned()).collect();
    for toolset in wanted {
        if !has.contains(toolset) {
            let (toolset, parent) = (text::line(toolset, 64), text::line(&parent.plugin, 64));
            let has = if has.is_empty() {
                "none".to_owned()
            } else {
                has.iter().cloned().collect::<Vec<_>>().join(", ")
            };
            return Err(Refusal::denied(format!(
                "{parent} may not give the toolset {toolset} to a child: it has {has}."
            )));
        }
    }
    let held = mine().filter(|(_, tool)| wanted.iter().any(|w| w == tool.toolset_name()));
    Ok((held.map(|(name, _)| name.clone()).collect(), wanted.to_vec()))
}

fn model(parent: &Guest, alias: Option<&str>) -> Result<Option<(crate::llm::Model, crate::session::Alias)>, Refusal> {
    let (session, run) = (&parent.session, &parent.session.run);
    let own = session.model.as_ref();
    match alias.filter(|alias| own.is_none_or(|model| model.name != *alias)) {
        None => {
            if alias.is_some() {
                parent.rights.may_llm(&parent.plugin, None)?;
            }
            Ok(own.map(|model| {
                let meant = crate::session::Alias {
                    model: model.full_name(),
                    price: model.price,
                };
                (model.clone(), meant)
            }))
        }
        Some(alias) => {
            parent.rights.may_llm(&parent.plugin, Some(alias))?;
            let unknown = || Refusal::not_found(format!("This run has no model {}.", text::line(alias, 64)));
            let meant = run.aliases.get(alias).ok_or_else(unknown)?;
            let found = run.models.resolve(&meant.model);
            let found = found.map_err(|e| Refusal::not_found(e.to_string()))?;
            Ok(Some((found.known_as(alias, meant.price), meant.clone())))
        }
    }
}

fn space(grant: &delegation::SpaceGrant) -> SpaceWish {
    SpaceWish {
        space: grant.space.clone(),
        prefix: grant.prefix.clone(),
        access: match grant.access {
            delegation::Access::ReadOnly => Access::Read,
            delegation::Access::ReadWrite => Access::Write,
        },
    }
}

fn role(role: &str) -> Result<String, Refusal> {
    let clean = text::line(role, ROLE);
    if clean.trim().is_empty() {
        return Err(Refusal::invalid(
            "A child's role is a word or two that say what it is for.",
        ));
    }
    Ok(clean)
}

fn task(session: &Session, spec: &delegation::ChildSpec) -> Result<types::Task, Refusal> {
    let limits = &session.run.limits;
    let bytes = (spec.prompt.len() + spec.inputs.as_ref().map_or(0, String::len)) as u64;
    if bytes > limits.prompt {
        return Err(Refusal::invalid(format!(
            "The child's prompt and inputs have {bytes} bytes; {} are the most (limits.prompt).",
            limits.prompt
        )));
    }
    if let Some(inputs) = &spec.inputs {
        let value = json::parse(inputs, limits.json_depth)
            .map_err(|e| Refusal::invalid(format!("The child's inputs are no usable JSON: {e}.")))?;
        if !value.is_object() {
            return Err(Refusal::invalid("The child's inputs are no JSON object."));
        }
    }
    Ok(types::Task {
        prompt: spec.prompt.clone(),
        inputs: spec.inputs.clone(),
        attempt: 1,
        previous: None,
        lessons: Vec::new(),
    })
}

/// The child's limits, and what of them is reserved from its parent.
fn budget(session: &Session, wanted: &[types::Amount]) -> Result<(Vec<(Dimension, u64)>, Amounts), Refusal> {
    use Dimension as D;
    let limits = &session.run.limits;
    let mut caps: Vec<(Dimension, u64)> = Vec::new();
    let mut allotment = Amounts::ZERO;
    for amount in wanted {
        let (d, value) = (Dimension::from(amount.dimension), amount.value);
        if caps.iter().any(|(seen, _)| *seen == d) {
            return Err(Refusal::invalid(format!("The child's budget names {d} twice.")));
        }
        if d == D::Iterations && value > limits.iterations_child_max {
            return Err(Refusal::invalid(format!(
                "A child may have {} iterations at most (limits.iterations.child_max), not {value}.",
                limits.iterations_child_max
            )));
        }
        if d == D::JournalBytes {
            let rest = session.run.ledger.remaining(session.account, d).unwrap_or(u64::MAX);
            if value > rest.min(limits.journal_bytes) {
                return Err(Refusal::exhausted(
                    d,
                    format!(
                        "A child may write {} bytes of journal at most, as its parent may (limits.journal.bytes), not {value}.",
                        rest.min(limits.journal_bytes)
                    ),
                ));
            }
        }
        caps.push((d, value));
        if !is_own(d) {
            allotment = allotment.with(d, value);
        }
    }
    let mut default = |d, value| {
        if !caps.iter().any(|(seen, _)| *seen == d) {
            caps.push((d, value));
        }
    };
    default(D::Iterations, limits.iterations_child);
    default(D::JournalBytes, limits.journal_bytes);
    if let Some(at) = session.deadline() {
        let rest = at.saturating_duration_since(tokio::time::Instant::now()).as_millis();
        let rest = u64::try_from(rest).unwrap_or(u64::MAX);
        if rest < LEAST_TIME {
            return Err(Refusal::exhausted(
                D::WallClockMs,
                format!("{rest} ms are left, too little for a child (--budget wall=TIME)."),
            ));
        }
        match caps.iter_mut().find(|(d, _)| *d == D::WallClockMs) {
            Some((_, own)) => *own = (*own).min(rest),
            None => caps.push((D::WallClockMs, rest)),
        }
    }
    Ok((caps, allotment))
}

impl Known {
    /// As start records name it.
    fn reference(&self) -> PluginRef {
        match self {
            Self::Loaded(plugin) => PluginRef::of(plugin),
            Self::Found(found, digest) => PluginRef {
                name: found.name.clone(),
                digest: *digest,
                manifest: found.manifest.as_ref().and_then(|m| m.beside.clone()),
            },
            Self::Kept(reference) => reference.clone(),
        }
    }
}
