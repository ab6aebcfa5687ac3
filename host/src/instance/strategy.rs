//! One attempt of a strategy: its `run` export, once, in an instance of its own.

use std::sync::Arc;

use crate::bindings::types;
use crate::instance::{Bounds, Instances, Prepared, Stopped, reach};
use crate::interfaces::{State, end_emit, error_texts, report_texts};
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::text;

/// Bytes of a crash's words that a difference is told with.
const WORDS: usize = 200;

/// Runs an attempt to its end. The caller's task owns the store.
pub async fn run_strategy(
    instances: &Instances,
    guest: Arc<Guest>,
    prepared: Prepared,
    task: types::Task,
) -> Result<Result<types::Report, types::Error>, Stopped> {
    let ended = attempt(instances, &guest, prepared, task).await;
    guest.charge_fuel();
    guest.session.charge_wall();
    returned(&guest, ended)
}

/// How its export ended: one that came to an end of its own before its record was through did something else than that, and what was recorded
/// is not thrown away for it.
pub(super) fn returned<T>(guest: &Guest, ended: Result<T, Stopped>) -> Result<T, Stopped> {
    let Some(left) = guest.unreplayed() else {
        return ended;
    };
    let what = match &ended {
        Ok(_) => "it returned".to_owned(),
        Err(Stopped::Trapped(words)) => format!("it crashed ({})", text::line(words, WORDS)),
        Err(Stopped::Exited(code)) => format!("it exited with {code}"),
        Err(Stopped::Host(End::TimedOut(why) | End::Broke(why))) => format!("it was stopped ({why})"),
        Err(_) => return ended,
    };
    Err(Stopped::Host(End::Diverged(format!("{what} before {left}"))))
}

async fn attempt(
    instances: &Instances,
    guest: &Arc<Guest>,
    prepared: Prepared,
    task: types::Task,
) -> Result<Result<types::Report, types::Error>, Stopped> {
    let pre = prepared
        .strategy
        .ok_or_else(|| Stopped::Host(End::Host("it is no strategy".to_owned())))?;
    let bounds = Bounds { guest };
    let mut place = bounds.first(instances.place(guest)).await?;
    let _running = instances.running();
    let (folders, hooks) = reach(guest);
    let mut store = instances.store(guest, &folders, hooks)?;
    let strategy = match bounds.start(pre.instantiate_async(&mut store)).await {
        Ok(strategy) => strategy,
        Err(stopped) => return Err(stopped_in(&store, stopped)),
    };
    begin_step(guest, &mut store)?;
    // What has no journal can't be built again.
    let may_leave = guest.session.run.keeping.journal().map(|_| &mut place);
    let ended = bounds
        .call(strategy.hermes_plugin_agent().call_run(&mut store, &task), may_leave)
        .await;
    note_fuel(&store);
    let ended = ended.map_err(|stopped| stopped_in(&store, stopped))?;
    end_emit(guest).await.map_err(Stopped::Host)?;
    match &ended {
        Ok(report) => guest.returns(report_texts(report), "its report"),
        Err(error) => guest.returns(error_texts(error), "its error"),
    }
    Ok(ended)
}

/// The instance has started: its first step begins, with the fuel of one.
pub(super) fn begin_step(guest: &Guest, store: &mut wasmtime::Store<State>) -> Result<(), Stopped> {
    guest.begin_step();
    match guest.step.refuel().map(|fuel| store.set_fuel(fuel)) {
        Some(Err(e)) => Err(Stopped::Host(End::Host(e.to_string()))),
        _ => Ok(()),
    }
}

/// Notes what the store has left: where its code was dropped in the middle, no hook did.
pub(super) fn note_fuel(store: &wasmtime::Store<State>) {
    if let Ok(left) = store.get_fuel() {
        store.data().guest.step.note_fuel(left);
    }
}

/// How the store's code was stopped, after its last meter reading. A trap of a guest that was refused memory is most likely that refusal: say so.
pub(super) fn stopped_in(store: &wasmtime::Store<State>, stopped: Stopped) -> Stopped {
    note_fuel(store);
    match (stopped, store.data().limiter.met()) {
        (Stopped::Trapped(words), Some(key)) => {
            Stopped::Trapped(format!("it was refused more (limits.{key}), then: {words}"))
        }
        (stopped, _) => stopped,
    }
}
