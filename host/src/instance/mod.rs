//! One instance's life: a fresh store under every limit, owned by one task, ended by its return, a trap, a clock or a cancel, and
//! dropped after it.

mod ended;
mod list;
mod residents;
mod runner;
mod strategy;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use wasmtime::component::Linker;
use wasmtime::{CallHook, Store, UpdateDeadline};

pub use ended::Stopped;
pub use list::{describe, list_tools};
use residents::{Place, Residents};
pub use runner::{Answered, Runner, answer_again, tool_guest};
pub use strategy::run_strategy;

use crate::bindings::{StrategyPre, ToolsetPre};
use crate::descriptors;
use crate::engine::compile::Compiler;
use crate::engine::precheck::LoadError;
use crate::engine::{Engine, Running};
use crate::error::Dimension;
use crate::ids::Digest;
use crate::interfaces::http::{EgressHooks, Told};
use crate::interfaces::{self, State};
use crate::limits::{self, Limits, Unit};
use crate::plugin::Plugin;
use crate::plugin::grant::FolderGrant;
use crate::session::end::End;
use crate::session::fuel::no_fuel;
use crate::session::guest::Guest;
use crate::text;

/// Makes instances. Cheap to clone.
#[derive(Clone)]
pub struct Instances(Arc<Inner>);

struct Inner {
    engine: Engine,
    compiler: Compiler,
    linker: Linker<State>,
    prepared: Mutex<HashMap<Digest, Tried>>,
    residents: Arc<Residents>,
}

/// A plugin that was made ready, or that can't be: neither is tried twice.
type Tried = Arc<OnceCell<Result<Prepared, LoadError>>>;

/// A plugin whose imports are resolved.
#[derive(Clone)]
pub struct Prepared {
    strategy: Option<StrategyPre<State>>,
    toolset: Option<ToolsetPre<State>>,
}

/// Fuel after which running code says what it has left: code that is dropped in the middle of a loop is charged to within so much.
const FUEL_INTERVAL: u64 = 10_000_000;

/// Plugins that are kept ready; the standard ones and a run's own fit many times over.
const PREPARED: usize = 256;

impl Instances {
    /// With one linker for everything.
    ///
    /// # Errors
    /// Two definitions of one name: a mistake in this host.
    pub fn new(engine: Engine, compiler: Compiler, limits: &Limits) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine.wasmtime());
        interfaces::link(&mut linker)?;
        Ok(Self(Arc::new(Inner {
            engine,
            compiler,
            linker,
            prepared: Mutex::default(),
            residents: Residents::new(limits.resident),
        })))
    }

    /// Compiles a plugin and resolves its imports, once for each digest.
    ///
    /// # Errors
    /// It can't be compiled, or linked.
    pub async fn prepare(&self, plugin: &Plugin) -> Result<Prepared, LoadError> {
        let cell = {
            let mut prepared = self.prepared();
            if prepared.len() >= PREPARED {
                prepared.clear();
            }
            prepared.entry(plugin.digest).or_default().clone()
        };
        let tried = cell.get_or_try_init(|| async {
            match self.resolve(plugin).await {
                Err(again) if again.is_the_machines() => Err(again),
                tried => Ok(tried),
            }
        });
        tried.await?.clone()
    }

    /// Whether a component was compiled before, or can't be: it was checked then.
    pub fn was_tried(&self, digest: &Digest) -> bool {
        self.0.compiler.was_tried(digest)
    }

    async fn resolve(&self, plugin: &Plugin) -> Result<Prepared, LoadError> {
        let compiled = self.0.compiler.compile(plugin.bytes.clone(), plugin.digest).await;
        let pre = self.0.linker.instantiate_pre(&compiled?);
        let pre = pre.map_err(|e| other_type(&e))?;
        let link = || -> wasmtime::Result<Prepared> {
            let strategy = plugin.is_strategy().then(|| StrategyPre::new(pre.clone()));
            let toolset = plugin.is_toolset().then(|| ToolsetPre::new(pre));
            Ok(Prepared {
                strategy: strategy.transpose()?,
                toolset: toolset.transpose()?,
            })
        };
        link().map_err(|e| LoadError::OtherExports {
            reason: text::line(&format!("{e:#}"), 600),
        })
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Tried>> {
        self.0.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a cancelled agent that lost its place has one more to hear of its end: as many have within `grace` as there are places.
    pub fn last_place(&self, grace: Duration) -> bool {
        self.0.residents.last_place(tokio::time::Instant::now(), grace)
    }

    /// A place among the resident instances, and files left to open, waited for at most as long as a start may take: by an instance that had one
    /// before, in this process or in an earlier one, for as long as its session may. A root that is taken up again stops where it can go on.
    async fn place(&self, guest: &Guest) -> Result<Place, End> {
        let limits = &guest.session.run.limits;
        let wait = Duration::from_millis(limits.start_wall);
        let had_one = guest.is_again || (guest.session.parent.is_some() && guest.is_replaying());
        let until = (!had_one).then(|| tokio::time::Instant::now() + wait);
        let wait = limits::show(limits.start_wall, Unit::Millis);
        let place = tokio::select! {
            biased;
            place = self.0.residents.place() => place,
            () = deadline(until) => {
                return Err(End::NoRoom(format!(
                    "no place among {} resident instances came free within {wait} (limits.resident, limits.start_wall)",
                    limits.resident,
                )));
            }
        };
        while !descriptors::are_left(limits.fds) {
            if until.is_some_and(|until| tokio::time::Instant::now() >= until) {
                return Err(End::NoRoom(format!(
                    "fewer than {} file descriptors of this process were free for {wait} (limits.fds, ulimit -n)",
                    limits.fds,
                )));
            }
            tokio::time::sleep(descriptors::PAUSE).await;
        }
        Ok(place)
    }

    /// A store for `guest` under every limit, before any of its code runs.
    fn store(&self, guest: &Arc<Guest>, folders: &[FolderGrant], hooks: EgressHooks) -> Result<Store<State>, Stopped> {
        let limits = guest.session.run.limits.clone();
        let state = State::new(guest.clone(), folders, hooks).map_err(|e| Stopped::Unusable(e.to_string()))?;
        let mut store = Store::new(self.0.engine.wasmtime(), state);
        store.limiter(|state| &mut state.limiter);
        // Starting burns of the session's budget too.
        guest.share_fuel();
        let fuel = guest.step.refuel().unwrap_or(guest.step.fuel_given());
        store
            .set_fuel(fuel)
            .and_then(|()| store.fuel_async_yield_interval(Some(FUEL_INTERVAL)))
            .map_err(|e| Stopped::Host(End::Host(e.to_string())))?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            context.data().guest.step.uncount_entry();
            Ok(UpdateDeadline::Yield(1))
        });
        store.set_hostcall_fuel(usize::try_from(limits.hostcall_bytes).unwrap_or(usize::MAX));
        // The table of resources holds the bound; this one is never met before it, whatever children are listed.
        let handles = limits.handles.saturating_add(limits.delegation_total);
        store.set_max_component_handles(usize::try_from(handles).unwrap_or(usize::MAX));
        store.call_hook(move |mut context, hook| {
            match hook {
                CallHook::CallingHost => {
                    let left = context.get_fuel()?;
                    let guest = &context.data().guest;
                    guest.step.note_fuel(left);
                    if let Some(end) = guest.out_of_fuel() {
                        return Err(end.into());
                    }
                    guest.step.leaves();
                    if guest.step.count_entry() > limits.host_calls_all {
                        let most = limits.host_calls_all;
                        let message =
                            format!("it entered the host more than {most} times in one step (limits.host_calls_all)");
                        return Err(guest.step_ran_out(Dimension::HostCalls, message).into());
                    }
                }
                CallHook::ReturningFromHost => {
                    refuel(&mut context)?;
                    context.data().guest.step.comes_back();
                }
                CallHook::ReturningFromWasm => {
                    let left = context.get_fuel()?;
                    context.data().guest.step.note_fuel(left);
                }
                // Its start, or what a call of the host has it do to take the answer.
                CallHook::CallingWasm => refuel(&mut context)?,
            }
            Ok(())
        });
        Ok(store)
    }

    /// What a person should know of the compile cache, since this was last asked.
    pub fn notices(&self) -> Vec<String> {
        self.0.compiler.notices()
    }

    fn running(&self) -> Running {
        self.0.engine.running()
    }
}

/// Puts the amount that the guest may burn into its store, where it changed: only on the way into code that reads it anew.
fn refuel(context: &mut wasmtime::StoreContextMut<'_, State>) -> wasmtime::Result<()> {
    let guest = &context.data().guest;
    if !guest.step.reads_fuel() {
        return Ok(());
    }
    guest.share_fuel();
    match guest.step.refuel() {
        Some(fuel) => context.set_fuel(fuel),
        None => Ok(()),
    }
}

/// What may end a call into a guest before it returns.
struct Bounds<'a> {
    guest: &'a Guest,
}

impl Bounds<'_> {
    /// Runs `start` (instantiation and initialisers) under the start's clock.
    async fn start<T>(&self, start: impl Future<Output = wasmtime::Result<T>>) -> Result<T, Stopped> {
        let wall = self.guest.session.run.limits.start_wall;
        let timeout = async {
            tokio::time::sleep(Duration::from_millis(wall)).await;
            let wall = limits::show(wall, Unit::Millis);
            End::TimedOut(format!("it did not start within {wall} (limits.start_wall)"))
        };
        self.until(start, std::future::pending(), timeout).await
    }

    /// Runs a call of an export under the step's clock. An instance that may lose its `place` while it waits for somebody else brings it.
    async fn call<T>(
        &self,
        call: impl Future<Output = wasmtime::Result<T>>,
        place: Option<&mut Place>,
    ) -> Result<T, Stopped> {
        let timeout = async {
            self.guest.step.ran_out().await;
            let wall = limits::show(self.guest.session.run.limits.step_wall, Unit::Millis);
            if self.guest.is_replaying() {
                return End::Diverged(format!("a stretch between two observations took longer than {wall}"));
            }
            End::TimedOut(format!("one step took longer than {wall} (limits.step_wall)"))
        };
        let passivated = async {
            match place {
                Some(place) => place.called_away(&self.guest.waits).await,
                None => std::future::pending().await,
            }
            End::Passivated
        };
        self.until(call, passivated, timeout).await
    }

    async fn until<T>(
        &self,
        work: impl Future<Output = wasmtime::Result<T>>,
        passivated: impl Future<Output = End>,
        timeout: impl Future<Output = End>,
    ) -> Result<T, Stopped> {
        let ended = tokio::select! {
            biased;
            result = work => match (result, self.guest.fault()) {
                // What the host noticed too late for a call to say it.
                (Ok(_), Some(end)) => return Err(Stopped::Host(end)),
                (Ok(value), None) => return Ok(value),
                (Err(e), _) => return Err(self.classify(&e)),
            },
            end = self.called_off(true) => end,
            end = passivated => end,
            end = timeout => end,
        };
        Err(Stopped::Host(ended))
    }

    /// Waits for what the instance needs before any of its code runs.
    async fn first<T>(&self, work: impl Future<Output = Result<T, End>>) -> Result<T, Stopped> {
        let done = tokio::select! {
            biased;
            done = work => done,
            end = self.called_off(false) => Err(end),
        };
        done.map_err(Stopped::Host)
    }

    /// Returns when the instance must end whatever it does: its run is suspended, its session is out of time, or it was cancelled. `running`
    /// code of a strategy is given the grace to return by itself; a tool has none.
    async fn called_off(&self, running: bool) -> End {
        let session = &self.guest.session;
        let cancelled = async {
            self.guest.cancel.cancelled().await;
            if !running || !self.guest.is_strategy() {
                return;
            }
            let limits = &session.run.limits;
            let grace = Duration::from_millis(limits.cancel_grace);
            tokio::time::sleep(grace).await;
            // A child that it waits for has a grace of its own, and so have those below: it hears how that ended, and is given its own then.
            let below = limits.delegation_depth.saturating_sub(session.depth.into());
            let children = session.children().iter().any(|child| !child.has_ended());
            let wait = grace.saturating_mul(u32::try_from(below).unwrap_or(u32::MAX));
            let joins = children && self.guest.step.is_paused();
            if joins && tokio::time::timeout(wait, self.guest.step.goes_on()).await.is_ok() {
                tokio::time::sleep(grace).await;
            }
        };
        tokio::select! {
            biased;
            () = session.run.suspend.cancelled() => End::Suspended,
            () = session.time_is_up() => self.out_of_time(),
            () = cancelled => End::Cancelled,
        }
    }

    fn classify(&self, error: &wasmtime::Error) -> Stopped {
        let stopped = ended::classify(error, self.guest.fuel);
        match stopped {
            Stopped::Host(End::Exhausted {
                dimension: Dimension::Fuel,
                ..
            }) => {}
            Stopped::Trapped(words) => return Stopped::Trapped(ended::with_log(&words, self.guest.logged())),
            _ => return stopped,
        }
        let replaying = self.guest.is_replaying();
        let budget = self.guest.step.step_fuel_used() < self.guest.session.run.limits.fuel;
        match (replaying, budget) {
            (true, _) => Stopped::Host(End::Diverged(
                "a stretch between two observations ran out of fuel".to_owned(),
            )),
            (false, false) => stopped,
            (false, true) => Stopped::Host(no_fuel()),
        }
    }

    fn out_of_time(&self) -> End {
        let (session, dimension) = (&self.guest.session, Dimension::WallClockMs);
        let cap = session.run.ledger.cap_in_force(session.account, dimension);
        let wall = limits::show(cap.unwrap_or_default(), Unit::Millis);
        session.run.ledger.ran_out(session.account, dimension);
        End::Exhausted {
            dimension,
            message: format!("it ran longer than {wall} ({})", session.raises_time()),
        }
    }
}

/// An import that is not what the component takes it for. All of them were known by name before it was compiled.
fn other_type(error: &wasmtime::Error) -> LoadError {
    // The engine has no type for this. Its first words name the import; the causes say what differs.
    let words = error.to_string();
    let import = words.split('`').nth(1).unwrap_or("of this name");
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    LoadError::OtherType {
        import: text::line(import, 120),
        reason: text::line(&causes.join(": "), 600),
    }
}

/// Waits in the place of an instance that was given up, until something is there that it waited for.
///
/// # Errors
/// Why it ends without being built again.
pub async fn parked(guest: &Guest) -> Result<(), Stopped> {
    let _pause = guest.step.pause();
    let bounds = Bounds { guest };
    tokio::select! {
        biased;
        end = bounds.called_off(true) => Err(Stopped::Host(end)),
        () = guest.waits.woken() => Ok(()),
    }
}

async fn deadline(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Folders and the way out that a tool's instance has by its rights; a strategy's has none.
fn reach(guest: &Arc<Guest>) -> (Vec<FolderGrant>, EgressHooks) {
    let run = &guest.session.run;
    let (folders, permit) = if guest.is_strategy() {
        (Vec::new(), None)
    } else {
        let permit = run.stored.permit(&guest.rights, &run.secrets);
        (guest.rights.folders(), Some(permit))
    };
    let (told, cancel) = (guest.clone(), guest.cancel.clone());
    let tell = Arc::new(move |told_of: Told<'_>| match told_of {
        Told::Leaves(used) => told.uses(used),
        Told::Failed(used) => {
            told.failed(used);
            true
        }
        Told::Denied(refusal) => {
            told.is_denied(refusal);
            true
        }
    });
    let in_flight = (guest.session.in_flight(), run.limits.in_flight);
    (
        folders,
        EgressHooks::new(run.egress.clone(), permit, cancel, tell, run.secrets.clone(), in_flight),
    )
}
