//! A panic in a host function: the session's attempt is built again from its journal, with what it had under way, and nothing else is
//! concerned. A panic in an operation's own task ends that operation alone. The panics come from runners of children and tools in the place of
//! the host's own, which they wrap.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hermes_host::amounts::Amounts;
use hermes_host::bindings::{delegation, types};
use hermes_host::egress::Egress;
use hermes_host::engine::Engine;
use hermes_host::engine::compile::{CompileIn, Compiler};
use hermes_host::error::{Dimension, Refusal};
use hermes_host::event::{EventKind, Events, now_ms};
use hermes_host::ids::RunId;
use hermes_host::instance::Instances;
use hermes_host::ledger::{Caps, Ledger, Reservation};
use hermes_host::limits::Limits;
use hermes_host::llm::Catalogue;
use hermes_host::plugin::Plugin;
use hermes_host::plugin::approval::Approvals;
use hermes_host::plugin::load::{Shelf, load};
use hermes_host::plugin::rights::Rights;
use hermes_host::plugin::toolbox::{self, Listed, Repeatable, Tool, Toolbox};
use hermes_host::scrub::Secrets;
use hermes_host::session::call::{Missed, Under};
use hermes_host::session::guest::Guest;
use hermes_host::session::keeping::{Journal, Keeping};
use hermes_host::session::runner::{ChildEnd, ChildRunner, NewChild, ToolEnd, ToolRunner, Waiting};
use hermes_host::session::stored::Stored;
use hermes_host::session::{Child, Past, RunContext, Session, SessionParts, codec};
use hermes_host::store::{
    Access, Edge, NewRun, NewSession, NoteKind, OperationRow, OutcomeStatus, Record, SessionRow, SessionUpdate,
    SpaceId, Start, Status, Store, StoreOptions, Sync, Transition,
};
use hermes_host::supervisor::life::{Agent, Ending, From};
use hermes_host::supervisor::start::{AgentStart, PluginRef, StartBody};
use hermes_host::supervisor::{Means, Supervisor};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The role of a child whose spawn panics, in the guest's own task, until it did so often enough.
const LOST: &str = "lost";
/// The role of a child whose life panics, in the task of its parent's operation.
const DOOMED: &str = "doomed";

/// Makes children, and panics so many times before it makes a lost one.
struct Panics(Supervisor, AtomicU32);

impl ChildRunner for Panics {
    fn admit(&self, parent: &Guest, spec: &delegation::ChildSpec) -> Result<Box<dyn NewChild>, Refusal> {
        let left = self.1.load(Ordering::Acquire);
        if spec.role == LOST && left > 0 {
            self.1.store(left - 1, Ordering::Release);
            panic!("a host function panics");
        }
        let child = self.0.admit(parent, spec)?;
        if spec.role == DOOMED {
            return Ok(Box::new(Doomed(child)));
        }
        Ok(child)
    }

    fn recover(&self, parent: &Guest, op: u32) -> Result<Box<dyn NewChild>, Missed> {
        self.0.recover(parent, op)
    }

    fn known(&self, parent: &Guest, op: u32) -> Option<Arc<Child>> {
        self.0.known(parent, op)
    }
}

/// A child whose life panics.
struct Doomed(Box<dyn NewChild>);

impl NewChild for Doomed {
    fn reserve(&mut self, parent: &Guest) -> Result<Reservation, Refusal> {
        self.0.reserve(parent)
    }

    fn ready<'a>(&'a mut self, parent: &'a Guest) -> Waiting<'a, Result<(), Missed>> {
        self.0.ready(parent)
    }

    fn records(&self, parent: &Guest, op: u32) -> Vec<Record> {
        self.0.records(parent, op)
    }

    fn child(&self, parent: &Guest, op: u32) -> Arc<Child> {
        self.0.child(parent, op)
    }

    fn run(self: Box<Self>, _under: Under) -> Waiting<'static, Option<ChildEnd>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            panic!("a child's task panics");
        })
    }
}

/// Panics in every tool call.
struct NoTool;

impl ToolRunner for NoTool {
    fn run(
        &self,
        _under: Under,
        tool: Arc<Tool>,
        _call: types::ToolCall,
        _share: Option<u64>,
    ) -> Waiting<'static, Option<ToolEnd>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            panic!("the task of {} panics", tool.name);
        })
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
        held: vec![TOOL.to_owned()],
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

/// The one tool, which always panics.
const TOOL: &str = "measure";

fn toolbox(plugin: &Arc<Plugin>, limits: &Limits) -> Toolbox {
    let def = types::ToolDef {
        name: TOOL.to_owned(),
        title: None,
        description: String::new(),
        input_schema: "{}".to_owned(),
        output_schema: None,
        annotations: None,
        meta: None,
    };
    let listed = Listed {
        plugin: plugin.clone(),
        defs: vec![def],
        prefix: None,
        rights: Arc::default(),
        repeatable: Repeatable::Never,
    };
    Toolbox::new(toolbox::tools(&listed, limits).unwrap()).unwrap()
}

/// What a run left.
struct Left {
    result: types::RunResult,
    /// All sessions, in the order of their creation.
    sessions: Vec<SessionRow>,
    /// For each of them, how often the host built it again.
    rebuilt: Vec<usize>,
    /// The root's operations.
    operations: Vec<OperationRow>,
    /// The versions of the space `notes`.
    versions: u64,
    /// Attempts that were announced, each with its role.
    begun: Vec<(String, u32)>,
    /// What is still set aside of the budget of tool calls.
    set_aside: u64,
}

impl Left {
    fn seen(&self) -> Vec<Value> {
        let told = self.result.report.as_ref().unwrap().result_json.as_ref().unwrap();
        let told: Value = serde_json::from_str(told).unwrap();
        told["seen"].as_array().unwrap().clone()
    }

    fn spent(&self, dimension: Dimension) -> u64 {
        let spent = self.result.spent.iter().find(|a| a.dimension == dimension.into());
        spent.map_or(0, |amount| amount.value)
    }
}

/// Calls of tools, and fuel, that a run may take.
const CALLS: u64 = 5;
const FUEL: u64 = 40_000_000_000;

/// Runs the probe on `program`, where spawning a lost child panics `panics` times.
async fn run(program: &Value, panics: u32) -> Left {
    let home = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let engine = Engine::new(&limits).unwrap();
    let compiler = Compiler::new(engine.clone(), None, &limits, CompileIn::ThisProcess);
    let instances = Instances::new(engine, compiler, &limits).unwrap();
    let shelf = Shelf {
        home: home.path().join("plugins"),
        approvals: Approvals::at(home.path()),
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
    let mut caps = Caps::default();
    caps.set(Dimension::ToolCalls, CALLS);
    caps.set(Dimension::Fuel, FUEL);
    let events = Events::new(&limits, &Secrets::none());
    let mut told = events.subscribe();
    let context = Arc::new(RunContext {
        id: id.clone(),
        keeping: Keeping::Journal(journal),
        events,
        ledger: Ledger::new(Caps::default()),
        egress: Arc::new(Egress::new(&limits)),
        toolbox: toolbox(&plugin, &limits),
        limits,
        models: Catalogue::empty(),
        aliases: BTreeMap::new(),
        runner: Arc::new(NoTool),
        children: Arc::new(Panics(supervisor.clone(), AtomicU32::new(panics))),
        secrets: Secrets::none(),
        stored: Stored::default(),
        flags: None,
        child: Caps::default(),
        closing_call: true,
        tool_delay_ms: 0,
        seed: [7; 32],
        suspend: CancellationToken::new(),
        taken: BTreeMap::new(),
        denials: std::sync::Mutex::default(),
        waited_in_vain: AtomicBool::default(),
    });
    let rights = Rights::root("probe", &[], &[], None).unwrap();
    let start = start(program, &plugin, &rights);
    context.append(rows(&id, &start), None, Sync::Durable).await.unwrap();
    let session = Session::new(SessionParts {
        id: id.root(),
        parent: None,
        depth: 0,
        role: "root".to_owned(),
        account: context.ledger.open_root(caps),
        run: context.clone(),
        rights,
        strategy: "probe".to_owned(),
        plugin: Some(plugin.clone()),
        model: None,
        cancel: CancellationToken::new(),
        past: Past::default(),
    });
    let account = session.account;
    let agent = Agent::new(
        session,
        start,
        instances.prepare(&plugin).await.unwrap(),
        From::beginning(),
        CancellationToken::new(),
        None,
    );
    let ending = supervisor.drive_root(agent, &plugin).await.unwrap();
    let Ending::Final(result) = ending else {
        panic!("it was suspended")
    };
    let sessions = store.sessions(&id).unwrap();
    let rebuilt = |row: &SessionRow| {
        let notes = store.notes(&row.session, &[NoteKind::Host], 0, 100).unwrap();
        let words = notes.iter().map(|(_, note)| String::from_utf8_lossy(&note.body));
        words.filter(|words| words.contains("builds it again")).count()
    };
    let mut begun = Vec::new();
    while let Some(event) = told.try_recv() {
        if let EventKind::SessionStarted { role, attempt, .. } = event.kind {
            begun.push((role, attempt));
        }
    }
    let notes = SpaceId {
        run: Some(id.clone()),
        name: "notes".to_owned(),
    };
    let ledger = &context.ledger;
    let calls = ledger.spent(account).get(Dimension::ToolCalls);
    Left {
        result,
        rebuilt: sessions.iter().map(rebuilt).collect(),
        sessions,
        operations: store.session_operations(&id.root()).unwrap(),
        versions: store
            .changes(&notes, "", 0, 1000)
            .unwrap()
            .last()
            .map_or(0, |c| c.version),
        begun,
        set_aside: CALLS - calls - ledger.remaining(account, Dimension::ToolCalls).unwrap(),
    }
}

/// The step that spawns a child of this role, which does `steps` and answers with `summary`.
fn spawn(role: &str, steps: &Value, summary: &str) -> Value {
    let program = json!({ "steps": steps, "summary": summary });
    json!({ "do": "spawn", "spec": {
        "strategy": null, "role": role, "prompt": program.to_string(), "inputs": null, "model": null, "toolsets": [],
        "spaces": [{ "space": "notes", "prefix": "", "access": "ReadWrite" }], "grants": [], "budget": [],
        "max_attempts": 4,
    } })
}

fn open() -> Value {
    json!({ "do": "open", "name": "notes" })
}

fn append(prefix: &str) -> Value {
    json!({ "do": "append", "space": 0, "prefix": prefix, "value": "x" })
}

/// Waits until somebody has written below `prefix`.
fn awaits(prefix: &str) -> Value {
    json!({ "do": "changes", "space": 0, "prefix": prefix, "since": 0, "wait_ms": 600_000 })
}

fn join(child: usize) -> Value {
    json!({ "do": "join", "child": child })
}

/// Whether a joined child reported this.
fn says(seen: &Value, summary: &str) -> bool {
    let report = seen["ok"]["report"]["summary"].as_str();
    report.is_some_and(|report| report.lines().any(|line| line == summary))
}

/// A sibling says that it lives and waits for a word that comes after the panic.
fn program() -> Value {
    let sibling = spawn(
        "sibling",
        &json!([open(), append("here/"), awaits("go/")]),
        "undisturbed",
    );
    json!({ "steps": [
        open(), append("n/"), append("n/"), sibling, awaits("here/"),
        spawn(LOST, &json!([]), "found"), join(1), append("go/"), join(0),
    ], "summary": "done" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_built_again_and_does_nothing_twice() {
    let left = run(&program(), 1).await;
    assert_eq!(left.result.exit, types::ExitReason::Returned, "{:?}", left.result);
    assert_eq!((left.result.attempts, left.versions), (1, 4));
    assert!(says(&left.seen()[6], "found"), "{:?}", left.seen());
    assert_eq!(left.rebuilt, [1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_session_hears_nothing_of_it() {
    let left = run(&program(), 1).await;
    let sibling = &left.seen()[8];
    assert!(says(sibling, "undisturbed"), "{sibling}");
    assert_eq!(
        (&sibling["ok"]["exit"], &sibling["ok"]["attempts"]),
        (&json!("Returned"), &json!(1))
    );
    let row = left.sessions.iter().find(|row| row.role == "sibling").unwrap();
    assert_eq!(
        (row.status, row.attempt, row.cancel_asked),
        (Status::Completed, 1, false)
    );
    let roles: Vec<_> = left.sessions.iter().map(|row| row.role.as_str()).collect();
    assert_eq!(roles, ["root", "sibling", LOST], "none was spawned twice");
    let begun = roles.iter().map(|role| ((*role).to_owned(), 1)).collect::<Vec<_>>();
    assert_eq!(left.begun, begun, "and none was begun twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_time_ends_the_session_and_says_why() {
    let left = run(&program(), 2).await;
    let types::ExitReason::Failed(error) = &left.result.exit else {
        panic!("{:?}", left.result)
    };
    assert_eq!(error.kind, types::ErrorKind::Other("host-bug".to_owned()));
    assert!(error.message.contains("a host function panics"), "{error:?}");
    assert_eq!((left.result.attempts, left.versions), (1, 3));
    let children: Vec<_> = left.sessions[1..]
        .iter()
        .map(|row| (row.role.as_str(), row.status))
        .collect();
    assert_eq!(children, [("sibling", Status::Cancelled)], "it ends with its parent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_whose_task_panics_is_a_value_and_the_run_goes_on() {
    let steps = json!([
        spawn(DOOMED, &json!([]), "never"), join(0),
        spawn("helper", &json!([]), "here"), join(1),
        { "do": "wait-any-child", "children": [0], "timeout_ms": 0 },
    ]);
    let left = run(&json!({ "steps": steps, "summary": "done" }), 0).await;
    assert_eq!(left.result.exit, types::ExitReason::Returned, "{:?}", left.result);
    let seen = left.seen();
    let error = &seen[1]["ok"]["exit"]["Failed"];
    assert_eq!(
        (&error["kind"], &error["message"]),
        (&json!({ "Other": "host-bug" }), &json!("The host failed in this call."))
    );
    assert!(says(&seen[3], "here"), "{}", seen[3]);
    assert_eq!(seen[4]["ok"], 0, "it has ended, and stays so");
    assert_eq!((left.result.attempts, left.rebuilt[0]), (1, 0));
    let whole = Amounts::of(Dimension::Children, 1);
    let ended: Vec<_> = left.operations.iter().map(outcome).collect();
    assert_eq!(ended, [(OutcomeStatus::Failed, whole), (OutcomeStatus::Done, whole)]);
    assert_eq!(left.spent(Dimension::Children), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_call_whose_task_panics_is_a_value_charged_in_full() {
    let steps = json!([
        { "do": "start-call", "name": TOOL, "id": "a" }, { "do": "wait-call", "call": 0 },
        open(), append("n/"), spawn("helper", &json!([]), "here"), join(0),
    ]);
    let left = run(&json!({ "steps": steps, "summary": "done" }), 0).await;
    assert_eq!(left.result.exit, types::ExitReason::Returned, "{:?}", left.result);
    let seen = left.seen();
    assert_eq!(seen[1]["ok"]["call_id"], "a");
    let error = &seen[1]["ok"]["error"];
    assert_eq!(
        (&error["kind"], &error["message"]),
        (&json!({ "Other": "host-bug" }), &json!("The host failed in this call."))
    );
    assert!(says(&seen[5], "here"), "{}", seen[5]);
    assert_eq!((left.result.attempts, left.rebuilt[0]), (1, 0));
    let call = &left.operations[0];
    let (status, charged) = outcome(call);
    assert_eq!((status, charged), (OutcomeStatus::Failed, call.intent.reserved));
    assert_eq!(charged.get(Dimension::ToolCalls), 1);
    let fuel = charged.get(Dimension::Fuel);
    assert!(fuel > 0 && left.spent(Dimension::Fuel) > fuel, "{:?}", left.result);
    assert_eq!((left.spent(Dimension::ToolCalls), left.set_aside), (1, 0));
}

fn outcome(operation: &OperationRow) -> (OutcomeStatus, Amounts) {
    let outcome = operation.outcome.as_ref().unwrap();
    (outcome.status, outcome.charged)
}
