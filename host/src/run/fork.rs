//! A fork: a new run that has the beginning of another, up to where another strategy first does something else, and goes on live from there. What
//! was paid for by then is not bought again.

mod changed;
mod taken;

use std::collections::HashMap;

use crate::error::Dimension;
use crate::event::now_ms;
use crate::ids::{RunId, Scope, StreamId};
use crate::run::change::may_raise;
use crate::run::handle::RunHandle;
use crate::run::own_limits::may_hold;
use crate::run::replay::{ReplaySpec, failed, refusal, refusal_of_write};
use crate::run::resume::{first_start, may_go_on};
use crate::run::root::begun_here;
use crate::run::spec::Budget;
use crate::run::used_up::ended_by;
use crate::run::{Host, HostError};
use crate::store::{Answer, ForkPoint, Observation, OpKind, OutcomeStatus, Quota, RunRow, Store, StoreError, Unowned};
use crate::supervisor::replay::{Expected, Got, RootPlayed};
use crate::supervisor::terms::Terms;
use changed::Changed;
use taken::{Cut, Taken};

/// What to fork.
#[derive(Debug, Clone, Default)]
pub struct ForkSpec {
    /// The run, and the strategy in the place of its root's.
    pub replay: ReplaySpec,
    /// Limits that are higher than those that the run had, or new. One that was used up is given back what it refused first.
    pub budget: Budget,
    /// What that strategy has of the rights that the run had, in the operator's notation.
    pub allow: Vec<String>,
}

/// A fork that is known to be able to go on. Nothing of it is written yet.
pub struct ReadyFork {
    store: Store,
    origin: RunId,
    unowned: Unowned,
    cut: Cut,
    changed: Option<Changed>,
    budget: Budget,
    terms: Terms,
    quota: Quota,
}

impl Host {
    /// Finds where a fork leaves the run that it comes from.
    ///
    /// # Errors
    /// There is no such run, a process owns it, a plugin is not usable, or the run would only end again as it did.
    pub async fn ready_fork(&self, spec: &ForkSpec) -> Result<ReadyFork, HostError> {
        let store = self.store()?;
        let origin = store.find_run(&spec.replay.run)?;
        let row = store.run(&origin)?;
        may_go_on(&store, &row).map_err(|reason| cannot(&origin, &reason))?;
        let unowned = match store.unowned(&origin) {
            Err(StoreError::Owned { .. }) => {
                let reason = "it is under way in another process; wait for its end, or stop it";
                return Err(cannot(&origin, reason));
            }
            other => other?,
        };
        let first = first_start(&store, &origin)?;
        let shared = first
            .run
            .ok_or_else(|| cannot(&origin, "its start record is not a run's"))?;
        let own = &self.config().limits;
        may_hold(&store, &row, &shared.limits, own).map_err(|reason| cannot(&origin, &reason))?;
        let (agent, now, terms) = self.as_it_goes_on(&store, &row, shared.clone())?;
        may_raise(&spec.budget, &agent, &now, "a fork").map_err(|reason| cannot(&origin, &reason))?;
        let made = self.made_for(&shared.limits)?;
        let host = made.as_ref().unwrap_or(self);
        let player = host.player(&store, &origin, &shared, spec.replay.plugin.as_deref());
        let player = player.await?;
        let changed = match &player.changed {
            Some(plugin) => Changed::of(plugin, self.config(), &spec.allow, &agent, &now.tools)?,
            None => None,
        };
        if changed.is_none() && !spec.allow.is_empty() {
            let reason = "--allow is for another plugin than the run's; its own has what it had";
            return Err(cannot(&origin, reason));
        }
        let played = player.play_root().await.map_err(|error| failed(&origin, error))?;
        let cut = cut(&store, &row, &played, &spec.budget)?;
        Ok(ReadyFork {
            store,
            origin,
            unowned,
            cut,
            changed,
            budget: spec.budget.clone(),
            terms,
            quota: Quota::of(&shared.limits),
        })
    }

    /// Writes the fork down, all of it or nothing, and sets it going as a run of its own.
    ///
    /// # Errors
    /// The store or a plugin is not usable, the run's spaces can't be made again as they were, or somebody took it since it was ready.
    pub async fn fork(&self, ready: ReadyFork) -> Result<RunHandle, HostError> {
        let ReadyFork {
            store,
            origin,
            unowned,
            cut,
            changed,
            budget,
            terms,
            quota,
        } = ready;
        store.sweep_copies().await?;
        let of = store.run(&origin)?;
        let imported = of.imported.is_some();
        let row = row(of, &origin, &cut, changed.as_ref());
        let owner = store.begin_copy(row.clone()).await?;
        let shelf = self.shelf();
        let taken = Taken {
            store: &store,
            origin: &origin,
            imported,
            owner: &owner,
            cut: &cut,
            changed: changed.as_ref(),
            budget: &budget,
            terms,
            quota,
            shelf: &shelf,
            limits: &self.config().limits,
        };
        let over = taken.over().await;
        let mut notices = match over.and_then(|notices| Ok((notices, store.is_as_it_was(&unowned)?))) {
            Ok((notices, ())) => notices,
            Err(error) => {
                store.drop_copy(owner).await?;
                return Err(error);
            }
        };
        let owner = store.finish_copy(owner, row).await?;
        notices.insert(
            0,
            format!("it goes on from observation {} of run {origin}", cut.observations),
        );
        notices.extend(changed.into_iter().flat_map(|changed| changed.notices));
        let row = store.run(owner.run())?;
        self.go_on(store, owner, row, Terms::default(), notices).await
    }
}

/// Up to where the fork has what the run had.
fn cut(store: &Store, row: &RunRow, played: &RootPlayed, budget: &Budget) -> Result<Cut, HostError> {
    let origin = &row.id;
    let root = StreamId {
        session: origin.root(),
        attempt: played.attempt,
        scope: Scope::ROOT,
    };
    let seen = store.observations(&root)?;
    let raised = |dimension: Dimension| {
        let mut limits = budget.root.iter().chain(&budget.tree);
        limits.any(|(d, _)| *d == dimension)
    };
    let refused = seen.iter().find(|seen| exhausted(seen).is_some_and(raised));
    if let Some(refused) = refused.filter(|seen| seen.seq <= played.observations) {
        return Ok(Cut::at(root, refused.seq - 1, None));
    }
    let Some(difference) = &played.difference else {
        if let Some(failed) = unanswered(store, &root, &seen)? {
            return Ok(Cut::at(root, failed - 1, None));
        }
        if ended_by(row).is_some_and(raised) {
            // It was stopped in a stretch that the replay did not come out of either.
            return Ok(Cut::at(root, played.observations, None));
        }
        let reason =
            "it would end again as it did; change its agent with --plugin, or raise with --budget what it used up";
        return Err(cannot(origin, reason));
    };
    let tail = match (&difference.expected, &difference.got) {
        (Expected::End(_), Got::Call(met)) => Some(met.request.iter().map(|(digest, _)| *digest).collect()),
        _ => None,
    };
    Ok(Cut::at(root, played.observations, tail))
}

/// The first of the completions at the end of a run's record that no model answered, by the number of its observation: with a model that is there
/// again it would have gone on from it.
pub(super) fn unanswered(store: &Store, root: &StreamId, seen: &[Observation]) -> Result<Option<u64>, HostError> {
    let completions = store.operations(root)?.into_iter().filter_map(|row| {
        let outcome = row.outcome.filter(|_| row.intent.kind == OpKind::Completion)?;
        Some((row.intent.op, outcome.status == OutcomeStatus::Failed))
    });
    let failed: HashMap<u32, bool> = completions.collect();
    let mut first = None;
    for seen in seen {
        if let Answer::Delivered(op) = seen.answer {
            match failed.get(&op) {
                Some(true) => first = first.or(Some(seen.seq)),
                Some(false) => first = None,
                None => {}
            }
        }
    }
    Ok(first)
}

/// The dimension in which a call was refused, if that is what it told.
pub(super) fn exhausted(seen: &Observation) -> Option<Dimension> {
    let Answer::Body(body) = &seen.answer else { return None };
    let refusal = match seen.call.starts_with("blackboard.") {
        true => refusal_of_write(body),
        false => refusal(body),
    };
    refusal?.used_up()
}

/// The fork's row: of the same task, begun here and now.
fn row(of: RunRow, origin: &RunId, cut: &Cut, changed: Option<&Changed>) -> RunRow {
    let strategy = changed.map_or(of.strategy, |changed| changed.plugin.name.clone());
    RunRow {
        forked: Some(ForkPoint {
            run: origin.clone(),
            observation: cut.observations,
        }),
        ..begun_here(of.task, strategy, now_ms()).into()
    }
}

fn cannot(run: &RunId, reason: &str) -> HostError {
    HostError::CantFork {
        run: run.to_string(),
        reason: reason.to_owned(),
    }
}
