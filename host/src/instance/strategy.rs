//! One attempt of a strategy: its `run` export, once, in an instance of its own.

use std::sync::{Arc, PoisonError};

use crate::bindings::types;
use crate::instance::{Bounds, Instances, Prepared, Stopped, reach};
use crate::session::end::End;
use crate::session::guest::Guest;

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct StrategyEnd {
    /// What the strategy returned, or why it did not.
    pub ended: Result<Result<types::Report, types::Error>, Stopped>,
    /// The last checkpoint.
    pub checkpoint: Option<types::Report>,
}

/// Runs an attempt to its end. The caller's task owns the store.
pub async fn run_strategy(
    instances: &Instances,
    guest: Arc<Guest>,
    prepared: Prepared,
    task: types::Task,
) -> StrategyEnd {
    let ended = attempt(instances, &guest, prepared, task).await;
    guest.charge_fuel();
    guest.session.charge_wall();
    let checkpoint = guest
        .session
        .checkpoint
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    StrategyEnd { ended, checkpoint }
}

async fn attempt(
    instances: &Instances,
    guest: &Arc<Guest>,
    prepared: Prepared,
    task: types::Task,
) -> Result<Result<types::Report, types::Error>, Stopped> {
    let limits = &guest.session.run.limits;
    let pre = prepared
        .strategy
        .ok_or_else(|| Stopped::Host(End::Host("it is no strategy".to_owned())))?;
    let _place = instances.place(limits).await.map_err(Stopped::Host)?;
    let _running = instances.running();
    let (folders, hooks) = reach(guest, &guest.session.cancel);
    let mut store = instances.store(guest, &folders, hooks).map_err(Stopped::Host)?;
    let bounds = Bounds {
        guest,
        cancel: &guest.session.cancel,
    };
    let strategy = match bounds.start(pre.instantiate_async(&mut store)).await {
        Ok(strategy) => strategy,
        Err(stopped) => return Err(explain(stopped, store.data().limiter.met())),
    };
    guest.step.begin(guest.step_fuel());
    if let Some(fuel) = guest.step.refuel() {
        store
            .set_fuel(fuel)
            .map_err(|e| Stopped::Host(End::Host(e.to_string())))?;
    }
    let ended = bounds
        .call(strategy.hermes_plugin_agent().call_run(&mut store, &task))
        .await;
    if let Ok(left) = store.get_fuel() {
        guest.step.note_fuel(left);
    }
    ended.map_err(|stopped| explain(stopped, store.data().limiter.met()))
}

/// A trap of a guest that was refused memory is most likely that refusal: say so.
pub(super) fn explain(stopped: Stopped, met: Option<&'static str>) -> Stopped {
    match (stopped, met) {
        (Stopped::Trapped(words), Some(key)) => {
            Stopped::Trapped(format!("it was refused more (limits.{key}), then: {words}"))
        }
        (stopped, _) => stopped,
    }
}
