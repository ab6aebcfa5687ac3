//! A panic in a host function of each interface, WASI's among them: an agent's attempt is built again from its journal, once, and the run comes to the
//! end that it would have come to; a tool's call ends, and its caller is told so. The panics come from whoever listens to the trace of the host and of the
//! engine's WASI, which tells of every call as it begins, or of what it said.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hermes_host::config::{Config, Sources};
use hermes_host::run::{CompileIn, Guessable, Host, RunOutcome, RunSpec};
use hermes_tests::child::{ChildSpec, join};
use hermes_tests::guests;
use hermes_tests::home::KEY;
use hermes_tests::program::steps;
use hermes_tests::site::{self, Site};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use zeroize::Zeroizing;

/// What the trace told, and at which calls it is still to break.
struct Trace {
    calls: BTreeSet<String>,
    breaks: Vec<String>,
}

static TRACE: Mutex<Trace> = Mutex::new(Trace {
    calls: BTreeSet::new(),
    breaks: Vec::new(),
});

/// The calls that tell their guest nothing, by the events that tell people of them.
const SAID: [(&str, &str); 4] = [
    ("Log", "session.log"),
    ("Progress", "session.progress"),
    ("Emit", "session.emit"),
    ("Checkpoint", "session.checkpoint"),
];

/// What the trace calls a call of WASI.
const IMPORT: &str = "wit-bindgen import";

/// The name of a call.
#[derive(Default)]
struct Call(Option<String>);

impl Visit for Call {
    fn record_str(&mut self, field: &Field, value: &str) {
        if matches!(field.name(), "call" | "function") {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "event" {
            let told = format!("{value:?}");
            let said = SAID.iter().find(|(event, _)| told.split(' ').next() == Some(*event));
            self.0 = said.map(|(_, call)| (*call).to_owned());
        }
    }
}

/// Listens, and breaks.
struct Listener;

impl Listener {
    fn hears(call: String) {
        let mut trace = TRACE.lock().unwrap_or_else(PoisonError::into_inner);
        if trace.breaks.last() == Some(&call) {
            trace.breaks.pop();
            drop(trace);
            panic!("{call} panics over {KEY}");
        }
        trace.calls.insert(call);
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let of_host = ["hermes_host::session", "hermes_host::event"];
        metadata.name() == IMPORT || of_host.iter().any(|part| metadata.target().starts_with(part))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut call = Call::default();
        span.record(&mut call);
        // The engine's module of the interface, like `…::wasi::filesystem::types`.
        let interface = span.metadata().target().rsplit_once("::wasi::");
        if let (Some((_, interface)), Some(function)) = (interface, call.0) {
            Self::hears(format!("{interface}.{function}"));
        }
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut call = Call::default();
        event.record(&mut call);
        if let Some(call) = call.0 {
            Self::hears(call);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Calls every interface that an agent has.
fn program() -> Value {
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let child = json!({ "do": "spawn", "spec": {
        "strategy": null, "role": "helper", "prompt": json!({ "steps": [], "summary": "done" }).to_string(), "inputs": null, "model": null,
        "toolsets": [], "spaces": [], "grants": [], "budget": [], "max_attempts": 1,
    } });
    let put = json!({ "do": "put", "space": 0, "key": "k", "value": "v", "if_version": null });
    let start = json!({ "do": "start", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let call = json!({ "do": "start-call", "name": "echo", "arguments": { "text": "hello" } });
    json!({ "steps": [
        { "do": "info" }, { "do": "models" }, { "do": "list-tools" }, { "do": "remaining", "dimension": "Iterations" },
        { "do": "spent", "dimension": "Iterations" }, { "do": "open", "name": "notes" }, put,
        { "do": "append", "space": 0, "prefix": "log/", "value": "a line" }, { "do": "get", "space": 0, "key": "k" },
        { "do": "keys", "space": 0, "prefix": "", "after": null, "limit": 10 },
        { "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 0 },
        { "do": "delete", "space": 0, "key": "k", "if_version": null },
        ask, start, { "do": "wait", "pending": 0 }, start, { "do": "cancel", "pending": 1 },
        { "do": "call", "name": "echo", "arguments": { "text": "hello" } },
        call, call, { "do": "wait-any-call", "calls": [0, 1], "timeout_ms": 60_000 }, { "do": "wait-call", "call": 0 },
        { "do": "cancel-call", "call": 1 },
        child, { "do": "children" }, { "do": "status", "child": 0 }, { "do": "wait-any-child", "children": [0], "timeout_ms": 60_000 },
        { "do": "join", "child": 0 }, { "do": "cancel-child", "child": 0 },
        { "do": "recall", "layer": "Task", "query": "x", "limit": 1 },
        { "do": "propose", "layer": "Task", "text": "a lesson", "evidence": "it worked" },
        { "do": "log", "level": "Info", "message": "a line" }, { "do": "progress", "message": "on", "fraction": null },
        { "do": "emit", "text": "so far" }, { "do": "cancelled" },
        // So often that real time is due.
        { "do": "clocks", "readings": 1_024 }, { "do": "sleep", "ms": [1] }, { "do": "ask-timers", "ms": [1] },
        { "do": "random", "bytes": 8 }, { "do": "print", "text": "a line\n" },
        { "do": "checkpoint", "report": { "outcome": "Achieved", "summary": "so far", "result_json": null, "artifacts": [], "open_questions": [] } },
    ] })
}

/// What the steps of an agent saw.
fn seen(outcome: &RunOutcome) -> Vec<Value> {
    let result: Value = serde_json::from_str(outcome.result.as_ref().unwrap()).unwrap();
    result["seen"].as_array().unwrap().clone()
}

/// What a run came to, as far as two of them must agree.
fn came_to(outcome: &RunOutcome) -> Value {
    let seen: Vec<bool> = seen(outcome).iter().map(|seen| seen["error"].is_null()).collect();
    let agents: Vec<_> = outcome.agents.iter().map(|agent| &agent.role).collect();
    json!([outcome.exit, outcome.code, outcome.resent, agents, seen])
}

/// Has a tool call all of WASI that it can be granted.
fn tool_program(address: &str) -> Value {
    let of = |what: &str, path: &str| json!({ "do": what, "root": "/papers", "path": path });
    let to = |what: &str, path: &str, to: &str| json!({ "do": what, "root": "/papers", "path": path, "to_root": "/papers", "to": to });
    let steps = json!([
        { "do": "folders" }, of("read", "a.txt"), of("open-writable", "a.txt"), of("stat", "a.txt"), of("list", "."),
        { "do": "write", "root": "/papers", "path": "b.txt", "text": "new" },
        { "do": "set-size", "root": "/papers", "path": "b.txt", "bytes": 1 }, of("set-times", "b.txt"),
        to("link", "b.txt", "c.txt"), to("rename", "c.txt", "d.txt"), of("unlink", "d.txt"),
        { "do": "symlink", "root": "/papers", "target": "a.txt", "path": "link" }, of("readlink", "link"),
        of("make-folder", "sub"), of("remove-folder", "sub"),
        { "do": "send", "method": "POST", "authority": address, "headers": [["x-name", "value"]], "body": "asked", "wait_ms": 60_000 },
    ]);
    let call = json!({ "do": "call", "name": "wasi", "arguments": { "steps": steps } });
    json!({ "steps": [call, { "do": "call", "name": "echo", "arguments": { "text": "hello" } }] })
}

/// Has an agent ask for its budget while a child of its own waits for it, and its own parent see how it ended.
fn family() -> Value {
    let open = json!({ "do": "open", "name": "notes" });
    let put = |key: &str| json!({ "do": "put", "space": 0, "key": key, "value": "x" });
    let wait = |key: &str| json!({ "do": "changes", "space": 0, "prefix": key, "since": 0, "wait_ms": 60_000 });
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    let agent = |does: &[Value]| ChildSpec::probe(&steps(does)).with("spaces", notes.clone());
    let child = agent(&[open.clone(), put("waits"), wait("go")]);
    let asks = json!({ "do": "remaining", "dimension": "Iterations" });
    let parent = agent(&[open.clone(), child.spawn(), wait("waits"), asks, put("go"), join(0)]);
    steps(&[open, parent.spawn(), join(0)])
}

/// How each agent ended, and in which attempt.
fn ends(outcome: &RunOutcome) -> Value {
    let agents = outcome.agents.iter();
    agents.map(|agent| json!([agent.exit, agent.attempts])).collect()
}

/// A host, whose home and whose agents' folder lie in this one.
fn host(folder: &Path) -> Host {
    let home = folder.join("home");
    fs::create_dir(&home).unwrap();
    let sources = Sources {
        env: vec![("HOME".into(), folder.into())],
        cwd: Some(folder.to_owned()),
        home: Some(home),
        set: Vec::new(),
    };
    let compiler = CompileIn::Program(env!("CARGO_BIN_EXE_hermes-host").into());
    Host::open(Config::load(&sources).unwrap(), compiler).unwrap()
}

async fn run(host: &Host, spec: &RunSpec) -> RunOutcome {
    host.start(spec.clone()).await.unwrap().wait().await.unwrap()
}

/// A run with nothing in its way, for which all was made ready, and the calls that are made in it.
async fn unbroken(host: &Host, spec: &RunSpec, ready: impl Fn()) -> (RunOutcome, BTreeSet<String>) {
    // What the host asks of plugins that it does not know yet is no part of it.
    ready();
    run(host, spec).await;
    TRACE.lock().unwrap().calls.clear();
    ready();
    let outcome = run(host, spec).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    (outcome, std::mem::take(&mut TRACE.lock().unwrap().calls))
}

/// The same, where this call panics the first so many times that it is made.
async fn broken(host: &Host, spec: &RunSpec, call: &str, times: usize) -> RunOutcome {
    TRACE.lock().unwrap().breaks = vec![call.to_owned(); times];
    let outcome = run(host, spec).await;
    assert!(TRACE.lock().unwrap().breaks.is_empty(), "{call} was not reached");
    assert!(!format!("{outcome:?}").contains(KEY), "{call} tells the secret");
    outcome
}

/// Panics when anything that the host wrote has the secret in it, but the file where the operator keeps it.
fn assert_kept(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_kept(&path);
        } else if !path.ends_with("host/secrets.json") {
            let found = memchr::memmem::find(&fs::read(&path).unwrap(), KEY.as_bytes());
            assert_eq!(found, None, "{} holds the secret", path.display());
        }
    }
}

fn interfaces(calls: &BTreeSet<String>) -> BTreeSet<&str> {
    calls
        .iter()
        .filter_map(|call| call.split_once('.'))
        .map(|(name, _)| name)
        .collect()
}

/// In one test: a process has one trace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_a_panic_in_each_interface() {
    tracing::subscriber::set_global_default(Listener).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let secret = Zeroizing::new(KEY.to_owned());
    host.set_secret("canary", secret, None, Guessable::Accept).unwrap();
    in_an_agent(&host, folder.path()).await;
    in_a_tool(&host, &folder.path().join("papers")).await;
    beside_a_child(&host).await;
    assert_kept(&folder.path().join("home"));
}

async fn in_an_agent(host: &Host, folder: &Path) {
    let script = folder.join("script.toml");
    fs::write(&script, "[[turn]]\nreply = { text = \"well\" }\n".repeat(8)).unwrap();
    let spec = RunSpec {
        plugin: guests::built("probe").display().to_string(),
        task: program().to_string(),
        tools: vec![guests::built("probe-tool").display().to_string()],
        script: Some(script),
        ..RunSpec::default()
    };
    let (whole, calls) = unbroken(host, &spec, || {}).await;
    let all = [
        "blackboard",
        "budget",
        "cli::stdout",
        "clocks::monotonic_clock",
        "clocks::wall_clock",
        "delegation",
        "io::poll",
        "io::streams",
        "lessons",
        "llm",
        "random::insecure",
        "random::insecure_seed",
        "random::random",
        "session",
        "tools",
        "wasi",
    ];
    assert!(interfaces(&calls).into_iter().eq(all), "{calls:?}");
    assert!(SAID.iter().all(|(_, call)| calls.contains(*call)), "{calls:?}");
    for call in calls {
        let outcome = broken(host, &spec, &call, 1).await;
        assert_eq!(came_to(&outcome), came_to(&whole), "{call}");
    }
}

async fn in_a_tool(host: &Host, papers: &Path) {
    let site = Site::start(|_| site::ok("a page"));
    let plugins = ["probe-wasi", "pure-echo"];
    let spec = RunSpec {
        plugin: guests::built("probe").display().to_string(),
        task: tool_program(&site.address().to_string()).to_string(),
        tools: plugins.map(|name| guests::built(name).display().to_string()).to_vec(),
        allow: vec![
            format!("fs:{}:rw", papers.display()),
            format!("net:http://{}", site.address()),
        ],
        deny: vec!["llm".to_owned()],
        ..RunSpec::default()
    };
    // Each finds the folder as the first one did.
    let fresh = || {
        let _ = fs::remove_dir_all(papers);
        fs::create_dir(papers).unwrap();
        fs::write(papers.join("a.txt"), "a paper").unwrap();
    };
    let (whole, calls) = unbroken(host, &spec, fresh).await;
    let whole = seen(&whole);
    assert_eq!(whole[0]["ok"]["error"], Value::Null, "{}", whole[0]);
    // The agent's own calls are none of WASI's.
    let calls: BTreeSet<String> = calls.into_iter().filter(|call| call.contains("::")).collect();
    let all = [
        "filesystem::preopens",
        "filesystem::types",
        "http::outgoing_handler",
        "http::types",
        "io::poll",
        "io::streams",
    ];
    assert!(interfaces(&calls).into_iter().eq(all), "{calls:?}");
    for call in calls {
        fresh();
        let outcome = broken(host, &spec, &call, 1).await;
        let seen = seen(&outcome);
        let kind = &seen[0]["ok"]["error"]["kind"];
        assert_eq!(kind, &json!({ "Other": "host-bug" }), "{call}: {}", seen[0]);
        assert_eq!((outcome.code, &seen[1]), (0, &whole[1]), "{call}: all else is well");
    }
}

/// An agent that is built again goes on with its child; one that the host fails once more ends, and its child with it.
async fn beside_a_child(host: &Host) {
    let spec = RunSpec {
        plugin: guests::built("probe").display().to_string(),
        task: family().to_string(),
        deny: vec!["llm".to_owned()],
        ..RunSpec::default()
    };
    let well = json!([["returned", 1], ["returned", 1], ["returned", 1]]);
    assert_eq!(ends(&run(host, &spec).await), well);
    let once = broken(host, &spec, "budget.remaining", 1).await;
    assert_eq!((once.code, ends(&once)), (0, well));
    let twice = broken(host, &spec, "budget.remaining", 2).await;
    let lost = json!([["returned", 1], ["failed", 1], ["cancelled", 1]]);
    assert_eq!((twice.code, ends(&twice)), (0, lost));
    let seen = seen(&twice);
    let error = &seen[2]["ok"]["exit"]["Failed"];
    assert_eq!(error["kind"], json!({ "Other": "host-bug" }), "{}", seen[2]);
    let words = error["message"].as_str().unwrap();
    assert!(words.contains("budget.remaining panics over "), "{words}");
}
