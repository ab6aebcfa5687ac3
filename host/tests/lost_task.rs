//! A panic in a host function: the session's attempt is built again from its journal, with what it had under way, and nothing else is
//! concerned. The panic comes from a runner of children in the place of the supervisor's own, which it wraps.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hermes_host::amounts::Amounts;
use hermes_host::bindings::{delegation, types};
use hermes_host::egress::Egress;
use hermes_host::engine::Engine;
use hermes_host::engine::compile::Compiler;
use hermes_host::error::Refusal;
use hermes_host::event::{Events, now_ms};
use hermes_host::ids::RunId;
use hermes_host::instance::{Instances, Runner};
use hermes_host::ledger::{Caps, Ledger};
use hermes_host::limits::Limits;
use hermes_host::llm::Catalogue;
use hermes_host::plugin::Plugin;
use hermes_host::plugin::load::{Shelf, load};
use hermes_host::plugin::rights::Rights;
use hermes_host::plugin::toolbox::Toolbox;
use hermes_host::scrub::Secrets;
use hermes_host::session::guest::Guest;
use hermes_host::session::runner::{ChildRunner, NewChild};
use hermes_host::session::{Child, Journal, Past, RunContext, Session, SessionParts, codec};
use hermes_host::store::{
    Access, Edge, NewRun, NewSession, Record, SessionUpdate, SpaceId, Start, Store, StoreOptions, Sync, Transition,
};
use hermes_host::supervisor::life::{Agent, Ending, From};
use hermes_host::supervisor::start::{AgentStart, PluginRef, StartBody};
use hermes_host::supervisor::{Means, Supervisor};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Panics so many times, in the guest's own task, before it does what it is asked.
struct Panics(Supervisor, AtomicU32);

impl ChildRunner for Panics {
    fn admit(&self, parent: &Guest, spec: &delegation::ChildSpec) -> Result<Box<dyn NewChild>, Refusal> {
        let left = self.1.load(Ordering::Acquire);
        if parent.session.parent.is_none() && left > 0 {
            self.1.store(left - 1, Ordering::Release);
            panic!("a host function panics");
        }
        self.0.admit(parent, spec)
    }

    fn recover(&self, parent: &Guest, op: u32) -> Result<Box<dyn NewChild>, Refusal> {
        self.0.recover(parent, op)
    }

    fn known(&self, parent: &Guest, op: u32) -> Option<Arc<Child>> {
        self.0.known(parent, op)
    }
}

/// The probe, as `cargo xtask test` builds it.
fn probe() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
    root.join(target.unwrap_or_else(|| "target".into()))
        .join("test-guests/probe.wasm")
}

/// A run with nothing in it yet.
async fn new_run(store: &Store) -> Journal {
    let new = NewRun {
        id: RunId::random(),
        task: "a task".to_owned(),
        strategy: "probe".to_owned(),
        cwd: "/".to_owned(),
        argv: Vec::new(),
        at_ms: now_ms(),
    };
    Journal {
        owner: store.create_run(new).await.unwrap(),
        store: store.clone(),
    }
}

fn start(program: &Value, plugin: &Plugin, rights: &Rights) -> AgentStart {
    AgentStart {
        task: types::Task {
            prompt: program.to_string(),
            inputs: None,
            attempt: 1,
            previous: None,
            lessons: Vec::new(),
        },
        role: "root".to_owned(),
        parent: None,
        depth: 0,
        strategy: PluginRef::of(plugin),
        held: Vec::new(),
        rights: rights.clone(),
        caps: Vec::new(),
        allotment: Amounts::ZERO,
        model: None,
        max_attempts: 4,
        started_ms: now_ms(),
        awake_ms: 0,
        spent: Amounts::ZERO,
    }
}

/// The root's rows.
fn rows(id: &RunId, start: &AgentStart) -> Vec<Record> {
    let row = NewSession {
        session: id.root(),
        parent: None,
        edge: Edge::Root,
        role: "root".to_owned(),
        task: "a task".to_owned(),
        strategy: "probe".to_owned(),
        digest: start.strategy.digest,
        model: None,
        budget: Vec::new(),
        toolsets: Vec::new(),
        at_ms: now_ms(),
    };
    let body = StartBody {
        agent: start.clone(),
        run: None,
    };
    let start = Start {
        session: id.root(),
        attempt: 1,
        body: codec::encode(&body),
        at_ms: now_ms(),
    };
    let active = SessionUpdate {
        session: id.root(),
        transition: Transition::Active { attempt: 1 },
        spent: None,
        at_ms: now_ms(),
    };
    vec![Record::Session(row), Record::Start(start), Record::Update(active)]
}

/// Runs the probe on `program`, where spawning panics `panics` times. Gives its end, and the versions of its space `notes`.
async fn run(program: &Value, panics: u32) -> (types::RunResult, u64) {
    let home = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let engine = Engine::new(&limits).unwrap();
    let compiler = Compiler::new(engine.clone(), None, &limits);
    let instances = Instances::new(engine, compiler, &limits).unwrap();
    let shelf = Shelf {
        home: home.path().join("plugins"),
    };
    let found = shelf.find(&probe().display().to_string(), &limits).unwrap();
    let plugin = Arc::new(load(found, &limits).unwrap());
    let store = Store::open(home.path(), StoreOptions::new(&limits, Access::Write)).unwrap();
    let journal = new_run(&store).await;
    let id = journal.owner.run().clone();
    let supervisor = Supervisor::new(Means {
        instances: instances.clone(),
        shelf,
        limits: limits.clone(),
        cwd: home.path().to_owned(),
    });
    let context = Arc::new(RunContext {
        id: id.clone(),
        journal: Some(journal),
        events: Events::default(),
        ledger: Ledger::new(Caps::default()),
        egress: Arc::new(Egress::new(&limits)),
        limits,
        models: Catalogue::empty(),
        aliases: BTreeMap::new(),
        toolbox: Toolbox::default(),
        runner: Arc::new(Runner(instances.clone())),
        children: Arc::new(Panics(supervisor.clone(), AtomicU32::new(panics))),
        secrets: Secrets::none(),
        closing_call: true,
        tool_delay_ms: 0,
        seed: [7; 32],
        suspend: CancellationToken::new(),
        denials: std::sync::Mutex::default(),
    });
    let rights = Rights::root("probe", &[], &[], None).unwrap();
    let start = start(program, &plugin, &rights);
    context.append(rows(&id, &start), None, Sync::Durable).await.unwrap();
    let session = Session::new(SessionParts {
        id: id.root(),
        parent: None,
        depth: 0,
        role: "root".to_owned(),
        account: context.ledger.open_root(Caps::default()),
        run: context.clone(),
        rights,
        strategy: "probe".to_owned(),
        model: None,
        cancel: CancellationToken::new(),
        past: Past::default(),
    });
    let agent = Agent {
        session,
        start,
        prepared: instances.prepare(&plugin).await.unwrap(),
        from: From::beginning(),
        asked: CancellationToken::new(),
    };
    let ending = supervisor.drive_root(agent, &plugin).await.unwrap();
    let Ending::Final(result) = ending else {
        panic!("it was suspended")
    };
    let notes = SpaceId {
        run: Some(id),
        name: "notes".to_owned(),
    };
    let versions = store
        .changes(&notes, "", 0, 1000)
        .unwrap()
        .last()
        .map_or(0, |c| c.version);
    (result, versions)
}

fn program() -> Value {
    let child = json!({
        "strategy": null, "role": "helper", "prompt": json!({ "steps": [], "summary": "here" }).to_string(), "inputs": null,
        "model": null, "toolsets": [], "spaces": [], "grants": [], "budget": [], "max_attempts": 1,
    });
    let append = json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" });
    json!({ "steps": [
        { "do": "open", "name": "notes" }, append, append,
        { "do": "spawn", "spec": child }, { "do": "join", "child": 0 }, append,
    ], "summary": "done" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_built_again_and_does_nothing_twice() {
    let (result, versions) = run(&program(), 1).await;
    assert_eq!(result.exit, types::ExitReason::Returned, "{result:?}");
    assert_eq!((result.attempts, versions), (1, 3));
    let told = result.report.unwrap().result_json.unwrap();
    assert!(told.contains("here"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_time_ends_the_session_and_says_why() {
    let (result, versions) = run(&program(), 2).await;
    let types::ExitReason::Failed(error) = result.exit else {
        panic!("{result:?}")
    };
    assert_eq!(error.kind, types::ErrorKind::Other("host-bug".to_owned()));
    assert!(error.message.contains("a host function panics"), "{error:?}");
    assert_eq!((result.attempts, versions), (1, 2));
}
