//! The tasks of a run: each that it spawns has an owner, and ends with it.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

mod common;

use std::path::{Path, PathBuf};

use common::falls_to;
use hermes_host::config::{Config, Sources};
use hermes_host::event::EventKind;
use hermes_host::run::{CompileIn, Host, RunSpec};
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// The probe, as `cargo xtask test` builds it.
fn probe() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
    root.join(target.unwrap_or_else(|| "target".into()))
        .join("test-guests/probe.wasm")
}

/// Plugins are compiled by the command.
fn compiler() -> CompileIn {
    CompileIn::Program(env!("CARGO_BIN_EXE_hermes-host").into())
}

/// A child that does `steps`.
fn child(steps: &Value) -> Value {
    let program = json!({ "steps": steps, "summary": "done" }).to_string();
    json!({ "do": "spawn", "spec": {
        "strategy": null, "role": "helper", "prompt": program, "inputs": null, "model": null, "toolsets": [],
        "spaces": [{ "space": "notes", "prefix": "", "access": "ReadOnly" }], "grants": [], "budget": [], "max_attempts": 1,
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_ended_leave_no_task() {
    let home = tempfile::tempdir().unwrap();
    let sources = Sources {
        env: Vec::new(),
        cwd: None,
        home: Some(home.path().to_owned()),
        set: [
            "limits.delegation.alive=64",
            "limits.delegation.total=264",
            "limits.resources=1000",
        ]
        .map(str::to_owned)
        .into(),
    };
    let host = Host::open(Config::load(&sources).unwrap(), compiler()).unwrap();
    let open = json!({ "do": "open", "name": "notes" });
    let wait = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 600_000 });
    let progress = |message: &str| json!({ "do": "progress", "message": message });
    let mut program = vec![
        open.clone(),
        child(&json!([])),
        json!({ "do": "join", "child": 0 }),
        progress("one"),
    ];
    program.push(
        json!({ "do": "repeat", "n": 199, "until_error": true, "steps": [child(&json!([])), { "do": "join-last" }] }),
    );
    let first = 200;
    program.extend((0..64).map(|_| child(&json!([open.clone(), wait.clone()]))));
    program.extend((first..first + 64).map(|n| json!({ "do": "cancel-child", "child": n })));
    program.extend((first..first + 64).map(|n| json!({ "do": "join", "child": n })));
    program.extend([progress("all"), wait]);
    let spec = RunSpec {
        plugin: probe().display().to_string(),
        task: json!({ "steps": program }).to_string(),
        deny: vec!["llm".to_owned()],
        ..RunSpec::default()
    };
    // What the host itself keeps is there after its first run.
    let first_run = RunSpec {
        task: json!({ "steps": [] }).to_string(),
        ..spec.clone()
    };
    host.start(first_run).await.unwrap().wait().await.unwrap();
    let before = Handle::current().metrics().num_alive_tasks();
    let run = host.start(spec).await.unwrap();
    let mut events = run.subscribe();
    let mut with_one = None;
    loop {
        match events.recv().await.unwrap().kind {
            EventKind::Progress { message, .. } if message == "one" => {
                with_one = Some(Handle::current().metrics().num_alive_tasks());
            }
            EventKind::Progress { message, .. } if message == "all" => break,
            EventKind::RunEnded { .. } => panic!("it ended: {:?}", run.wait().await.unwrap().error),
            _ => {}
        }
    }
    falls_to(with_one.unwrap()).await;
    run.cancel();
    run.wait().await.unwrap();
    drop((run, events));
    falls_to(before).await;
}
