//! A guest outside any run: a plugin that is asked what it is. It has no rights, no journal and no model; its clock stands and its random numbers
//! are fixed, so that it answers the same each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use crate::event::Events;
use crate::ids::{Digest, RunId, Scope, StreamId};
use crate::instance::{Runner, Stopped};
use crate::ledger::{Caps, Ledger};
use crate::llm::Catalogue;
use crate::plugin::Plugin;
use crate::plugin::rights::{FlagCheck, Rights, TakenBy};
use crate::plugin::toolbox::Toolbox;
use crate::run::error::Question;
use crate::run::secrets::RunSecrets;
use crate::run::{Host, HostError};
use crate::session::guest::{Guest, Making};
use crate::session::keeping::Keeping;
use crate::session::runner::NoChildren;
use crate::session::tape::Recorded;
use crate::session::{Attempt, Past, RunContext, Session, SessionParts};

/// A guest that is granted nothing.
pub(super) fn guest(host: &Host, plugin: &Plugin) -> Arc<Guest> {
    let run = context(host, Toolbox::default(), [0; 32], RunSecrets::default(), None);
    let nothing = (Rights::none(), Vec::new());
    as_guest(&run, (&plugin.name, plugin.digest), nothing, 0)
}

/// A run that is none: nothing of it is kept.
pub(super) fn context(
    host: &Host,
    toolbox: Toolbox,
    seed: [u8; 32],
    secrets: RunSecrets,
    flags: Option<FlagCheck>,
) -> Arc<RunContext> {
    Arc::new(RunContext {
        id: RunId::random(),
        keeping: Keeping::Nothing,
        events: Events::new(&host.config.limits, &secrets.known),
        ledger: Ledger::new(Caps::default()),
        limits: host.config.limits.clone(),
        models: Catalogue::empty(),
        aliases: BTreeMap::new(),
        egress: Arc::new(host.egress.clone()),
        toolbox,
        runner: Arc::new(Runner(host.instances.clone())),
        children: Arc::new(NoChildren),
        secrets: secrets.known,
        stored: secrets.stored,
        child: Caps::default(),
        closing_call: false,
        tool_delay_ms: 0,
        seed,
        suspend: CancellationToken::new(),
        taken: TakenBy::new(),
        flags,
        denials: std::sync::Mutex::default(),
        waited_in_vain: AtomicBool::default(),
    })
}

/// A guest in such a run, with these rights and tools.
pub(super) fn as_guest(
    run: &Arc<RunContext>,
    (name, digest): (&str, Digest),
    (rights, tools): (Rights, Vec<String>),
    at_ms: u64,
) -> Arc<Guest> {
    let session = Session::new(SessionParts {
        id: run.id.root(),
        parent: None,
        depth: 0,
        role: "root".to_owned(),
        run: run.clone(),
        account: run.ledger.open_root(Caps::default()),
        rights: rights.clone(),
        strategy: name.to_owned(),
        plugin: None,
        model: None,
        cancel: CancellationToken::new(),
        past: Past::default(),
    });
    session.wakes();
    let attempt = Attempt::new(1, at_ms, BTreeMap::new());
    let making = Making {
        stream: StreamId {
            session: session.id.clone(),
            attempt: 1,
            scope: Scope::ROOT,
        },
        plugin: name.to_owned(),
        digest,
        rights,
        tools,
        fuel: run.limits.fuel,
        cancel: session.cancel.clone(),
        over: attempt.over.clone(),
        at_ms,
        awake_ms: 0,
        recorded: Recorded::default(),
        held: None,
        share: None,
    };
    Guest::new(session, attempt, making)
}

/// That a plugin was asked for `what` and did not answer.
pub(super) fn unanswered(plugin: &Plugin, what: Question, stopped: &Stopped) -> HostError {
    HostError::Asked {
        plugin: plugin.name.clone(),
        what,
        reason: match stopped {
            Stopped::Host(end) => end.to_string(),
            Stopped::Unusable(why) => why.clone(),
            Stopped::Trapped(words) => format!("it crashed: {words}"),
            Stopped::Exited(code) => format!("it exited with {code}"),
        },
    }
}
