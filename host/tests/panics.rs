//! A panic in a host function of each interface: the agent's attempt is built again from its journal, once, and the run comes to the end that
//! it would have come to. The panics come from whoever listens to the host's own trace, which tells of every call as it begins.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use hermes_host::config::{Config, Sources};
use hermes_host::run::{CompileIn, Host, RunOutcome, RunSpec};
use hermes_tests::guests;
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What the trace told, and at which call it breaks next.
struct Trace {
    calls: BTreeSet<String>,
    breaks: Option<String>,
}

static TRACE: Mutex<Trace> = Mutex::new(Trace {
    calls: BTreeSet::new(),
    breaks: None,
});

/// The name of a call that begins.
#[derive(Default)]
struct Call(Option<String>);

impl Visit for Call {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "call" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// Listens, and breaks.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("hermes_host::session")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut call = Call::default();
        event.record(&mut call);
        let Some(call) = call.0 else { return };
        let mut trace = TRACE.lock().unwrap_or_else(PoisonError::into_inner);
        trace.calls.insert(call.clone());
        if trace.breaks.as_ref() == Some(&call) {
            trace.breaks = None;
            drop(trace);
            panic!("{call} panics");
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Calls every interface.
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
        child, { "do": "children" }, { "do": "status", "child": 0 }, { "do": "wait-any-child", "children": [0], "timeout_ms": 60_000 },
        { "do": "join", "child": 0 }, { "do": "recall", "layer": "Task", "query": "x", "limit": 1 },
        { "do": "log", "level": "Info", "message": "a line" }, { "do": "progress", "message": "on", "fraction": null },
        { "do": "emit", "text": "so far" }, { "do": "cancelled" },
        { "do": "checkpoint", "report": { "outcome": "Achieved", "summary": "so far", "result_json": null, "artifacts": [], "open_questions": [] } },
    ] })
}

/// What a run came to, as far as two of them must agree.
fn came_to(outcome: &RunOutcome) -> Value {
    let result: Value = serde_json::from_str(outcome.result.as_ref().unwrap()).unwrap();
    let seen: Vec<bool> = result["seen"]
        .as_array()
        .unwrap()
        .iter()
        .map(|seen| seen["error"].is_null())
        .collect();
    let agents: Vec<_> = outcome.agents.iter().map(|agent| &agent.role).collect();
    json!([outcome.exit, outcome.code, outcome.resent, agents, seen])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_a_panic_in_each_interface() {
    tracing::subscriber::set_global_default(Listener).unwrap();
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("script.toml");
    std::fs::write(&script, "[[turn]]\nreply = { text = \"well\" }\n".repeat(8)).unwrap();
    let sources = Sources {
        env: Vec::new(),
        cwd: None,
        home: Some(home.path().to_owned()),
        set: Vec::new(),
    };
    let compiler = CompileIn::Program(env!("CARGO_BIN_EXE_hermes-host").into());
    let host = Host::open(Config::load(&sources).unwrap(), compiler).unwrap();
    let spec = RunSpec {
        plugin: guests::built("probe").display().to_string(),
        task: program().to_string(),
        tools: vec![guests::built("probe-tool").display().to_string()],
        script: Some(script),
        ..RunSpec::default()
    };
    let run = || async { host.start(spec.clone()).await.unwrap().wait().await.unwrap() };
    let unbroken = came_to(&run().await);
    assert_eq!(unbroken[1], 0, "{unbroken}");
    let calls = std::mem::take(&mut TRACE.lock().unwrap().calls);
    let interfaces: BTreeSet<&str> = calls
        .iter()
        .filter_map(|call| call.split_once('.'))
        .map(|(name, _)| name)
        .collect();
    let all = [
        "blackboard",
        "budget",
        "delegation",
        "lessons",
        "llm",
        "session",
        "tools",
    ];
    assert!(interfaces.iter().copied().eq(all), "{interfaces:?}");
    for call in calls {
        TRACE.lock().unwrap().breaks = Some(call.clone());
        let outcome = run().await;
        assert_eq!(TRACE.lock().unwrap().breaks, None, "{call} was not reached");
        assert_eq!(came_to(&outcome), unbroken, "{call}");
    }
}
