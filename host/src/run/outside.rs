//! A guest outside any run: a plugin that is asked what it is. It has no rights, no journal and no model; its clock stands and its random numbers
//! are fixed, so that it answers the same each time.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::event::Events;
use crate::ids::{RunId, Scope, StreamId};
use crate::instance::{Runner, Stopped};
use crate::ledger::{Caps, Ledger};
use crate::llm::Catalogue;
use crate::plugin::Plugin;
use crate::plugin::rights::Rights;
use crate::plugin::toolbox::Toolbox;
use crate::run::Host;
use crate::session::guest::Guest;
use crate::session::tape::Recorded;
use crate::session::{RunContext, Session};

/// A guest that is granted nothing.
pub(super) fn guest(host: &Host, plugin: &Plugin) -> Arc<Guest> {
    let id = RunId::random();
    let run = Arc::new(RunContext {
        id: id.clone(),
        journal: None,
        events: Events::default(),
        ledger: Ledger::new(Caps::default()),
        limits: host.config.limits.clone(),
        models: Catalogue::empty(),
        egress: host.egress.clone(),
        toolbox: Toolbox::default(),
        runner: Arc::new(Runner(host.instances.clone())),
        closing_call: false,
        tool_delay_ms: 0,
        seed: [0; 32],
        suspend: CancellationToken::new(),
    });
    let session = session(run, Rights::none(), plugin.name.clone(), None, Caps::default(), 0);
    let stream = StreamId {
        session: session.id.clone(),
        attempt: 1,
        scope: Scope::ROOT,
    };
    Guest::new(
        session,
        stream,
        plugin.name.clone(),
        Rights::none(),
        Vec::new(),
        Recorded::default(),
    )
}

/// The root session of a run.
pub(super) fn session(
    run: Arc<RunContext>,
    rights: Rights,
    strategy: String,
    model: Option<crate::llm::Model>,
    caps: Caps,
    started_ms: u64,
) -> Arc<Session> {
    let started = tokio::time::Instant::now();
    let parallel = usize::try_from(run.limits.tool_parallel).unwrap_or(1);
    Arc::new(Session {
        id: run.id.root(),
        parent: None,
        depth: 0,
        attempt: 1,
        account: run.ledger.open(None, caps),
        run,
        rights,
        strategy,
        model,
        started_ms,
        started,
        past_wall: AtomicU64::new(0),
        wall_charged: AtomicU64::new(0),
        cancel: CancellationToken::new(),
        over: CancellationToken::new(),
        tasks: TaskTracker::new(),
        checkpoint: Mutex::new(None),
        denials: Mutex::new(Vec::new()),
        recorded: Mutex::default(),
        records: AtomicU64::new(0),
        tool_slots: Arc::new(tokio::sync::Semaphore::new(parallel)),
        last_tool: tokio::sync::Mutex::new(None),
    })
}

/// Why a plugin did not answer, in words.
pub(super) fn reason(stopped: &Stopped) -> String {
    match stopped {
        Stopped::Host(end) => end.to_string(),
        Stopped::Trapped(words) => format!("it crashed: {words}"),
        Stopped::Exited(code) => format!("it exited with {code}"),
    }
}
