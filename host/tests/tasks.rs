//! The tasks of a run: each that it spawns has an owner, and ends with it.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::falls_to;
use hermes_host::config::{Config, Sources};
use hermes_host::event::EventKind;
use hermes_host::run::{CompileIn, Host, RunSpec};
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// What hangs shall fail.
const HANGS: Duration = Duration::from_secs(60);

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

/// A host of this home, with these settings.
fn host(home: &Path, set: &[&str]) -> Host {
    let sources = Sources {
        env: Vec::new(),
        cwd: None,
        home: Some(home.to_owned()),
        set: set.iter().map(|set| (*set).to_owned()).collect(),
    };
    Host::open(Config::load(&sources).unwrap(), compiler()).unwrap()
}

/// A run of the probe that does `steps`, and asks no model.
fn spec(steps: &Value) -> RunSpec {
    RunSpec {
        plugin: probe().display().to_string(),
        task: json!({ "steps": steps }).to_string(),
        deny: vec!["llm".to_owned()],
        ..RunSpec::default()
    }
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
    let set = [
        "limits.delegation.alive=64",
        "limits.delegation.total=264",
        "limits.resources=1000",
    ];
    let host = host(home.path(), &set);
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
    // What the host itself keeps is there after its first run.
    host.start(spec(&json!([]))).await.unwrap().wait().await.unwrap();
    let before = Handle::current().metrics().num_alive_tasks();
    let run = host.start(spec(&json!(program))).await.unwrap();
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

/// Where one thread serves both.
#[tokio::test]
async fn a01_another_run_ends_beside_one_that_loops() {
    let home = tempfile::tempdir().unwrap();
    let set = [
        "limits.fuel=9000000000000000",
        "limits.step_wall=5m",
        "limits.cancel_grace=100ms",
    ];
    let host = host(home.path(), &set);
    host.start(spec(&json!([]))).await.unwrap().wait().await.unwrap();
    let begins = json!({ "do": "progress", "message": "begins" });
    let loops = host.start(spec(&json!([begins, { "do": "spin" }]))).await.unwrap();
    let mut events = loops.subscribe();
    loop {
        match events.recv().await.unwrap().kind {
            EventKind::Progress { message, .. } if message == "begins" => break,
            EventKind::RunEnded { .. } => panic!("it ended: {:?}", loops.wait().await.unwrap().error),
            _ => {}
        }
    }
    for _ in 0..5 {
        let other = host
            .start(spec(&json!([{ "do": "compute", "n": 1000 }])))
            .await
            .unwrap();
        let ended = tokio::time::timeout(HANGS, other.wait()).await.unwrap().unwrap();
        assert!(ended.error.is_none(), "{:?}", ended.error);
    }
    let ended = tokio::time::timeout(Duration::ZERO, loops.wait()).await;
    assert!(ended.is_err(), "it loops on");
    loops.cancel();
    loops.wait().await.unwrap();
}
