//! Children that break, hang or cheat, each under a healthy parent and beside healthy siblings: the siblings finish, the parent learns the
//! true cause, and the host is well.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::time::Duration;

use hermes_tests::child::{ChildSpec, exit, inside, join, summary, words};
use hermes_tests::held::{FEW, Held};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::steps;
use hermes_tests::{Home, Host, Output, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A home in whose `plugins/` these guests of the tests can be named as strategies.
fn home(named: &[&str]) -> (ModelServer, Home) {
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let plugins = home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    for name in named {
        std::fs::copy(guests::built(name), plugins.join(format!("{name}.wasm"))).unwrap();
    }
    (server, home)
}

fn ask() -> Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] })
}

/// What a healthy sibling does.
fn sibling() -> ChildSpec {
    ChildSpec::probe(&json!({ "steps": [ask()], "summary": "a healthy answer" }))
}

/// Runs `hostile` between two healthy siblings, and gives how it ended. Where its parent learns of a failure, it goes another way: it has a
/// healthy child do the work.
#[track_caller]
fn beside_siblings(home: &Home, hostile: &ChildSpec, settings: &[(&str, &str)]) -> (Value, Output) {
    let host = settings
        .iter()
        .fold(home.host(), |host, (key, value)| host.set(key, value));
    beside_siblings_in(home, host, hostile, &[])
}

/// The same with a host of its own, whose root does `meanwhile` before it joins anybody. The hostile child is number 1.
#[track_caller]
fn beside_siblings_in(home: &Home, host: Host, hostile: &ChildSpec, meanwhile: &[Value]) -> (Value, Output) {
    let mut program = vec![sibling().spawn(), hostile.spawn(), sibling().spawn()];
    program.extend_from_slice(meanwhile);
    program.extend([join(0), join(1), join(2), if_failed(1, &[sibling().spawn(), join(3)])]);
    let output = host.probe(&steps(&program)).output().expect(0);
    let seen = output.seen().split_off(meanwhile.len());
    let failed = exit(&seen[4]) != "Returned";
    let other_way = &seen[6]["ok"];
    assert_eq!(other_way.is_array(), failed, "{} and then {other_way}", seen[4]);
    for healthy in [&seen[3], &seen[5], &other_way[1]].iter().take(2 + usize::from(failed)) {
        assert_eq!(exit(healthy), "Returned", "{healthy}");
        assert!(summary(healthy).contains("a healthy answer"), "{healthy}");
    }
    let json = output.json();
    let agents = json["agents"].as_array().unwrap();
    let open = agents
        .iter()
        .find(|agent| ["active", "spawned", "interrupted"].contains(&agent["status"].as_str().unwrap()));
    assert!(open.is_none(), "no session is left open: {json}");
    let children = agents.iter().filter(|agent| agent["parent"] == agents[0]["id"]);
    assert_eq!(children.count(), 3 + usize::from(failed), "{json}");
    well(home);
    (seen[4].clone(), output)
}

/// What a parent does once it has learned that child `n` failed.
fn if_failed(n: usize, steps: &[Value]) -> Value {
    json!({ "do": "if-failed", "step": join(n), "steps": steps })
}

/// A canary: the host still answers, and its store is whole.
#[track_caller]
fn well(home: &Home) {
    let output = home.host().probe(&steps(&[ask()])).output().expect(0);
    assert_eq!(output.json()["answer"], "done");
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert!(
        runs.as_array().unwrap().iter().all(|run| run["exit"].is_string()),
        "{runs}"
    );
}

const MUCH_FUEL: (&str, &str) = ("limits.fuel", "9000000000000000");

#[test]
fn a_parent_goes_another_way_only_because_its_child_failed() {
    let (server, home) = home(&["trap"]);
    // It asks nothing, so that each request is a healthy child's.
    let (seen, _) = beside_siblings(&home, &ChildSpec::probe(&steps(&[])), &[]);
    assert_eq!(exit(&seen), "Returned", "{seen}");
    let (canary, before) = (1, server.requests().len());
    assert_eq!(before, 2 + canary);
    let (seen, _) = beside_siblings(&home, &ChildSpec::of("trap", ""), &[]);
    assert_eq!(exit(&seen), "Trapped", "{seen}");
    assert_eq!(server.requests().len() - before, 3 + canary);
}

#[test]
fn one_that_loops_for_ever() {
    let (_server, home) = home(&["spin"]);
    let (seen, _) = beside_siblings(
        &home,
        &ChildSpec::of("spin", ""),
        &[("limits.step_wall", "500ms"), MUCH_FUEL],
    );
    assert_eq!(exit(&seen), "TimedOut");
    let (seen, _) = beside_siblings(&home, &ChildSpec::of("spin", ""), &[("limits.fuel", "1000000")]);
    assert_eq!(exit(&seen), "Exhausted(Fuel)");
    let short = ChildSpec::of("spin", "").limit("WallClockMs", 300);
    let (seen, _) = beside_siblings(&home, &short, &[MUCH_FUEL]);
    assert_eq!(exit(&seen), "Exhausted(WallClockMs)");
}

#[test]
fn one_that_traps_at_its_start() {
    let (_server, home) = home(&["start-trap", "start-spin"]);
    let (seen, _) = beside_siblings(&home, &ChildSpec::of("start-trap", ""), &[]);
    assert_eq!(exit(&seen), "Trapped");
    let spin = ChildSpec::of("start-spin", "");
    let (seen, _) = beside_siblings(&home, &spin, &[("limits.start_wall", "500ms"), MUCH_FUEL]);
    assert_eq!(exit(&seen), "TimedOut");
}

#[test]
fn one_that_traps_each_time() {
    let (_server, home) = home(&["trap"]);
    let (seen, output) = beside_siblings(&home, &ChildSpec::of("trap", "").with("max_attempts", 4), &[]);
    assert_eq!((exit(&seen), &seen["ok"]["attempts"]), ("Trapped".into(), &json!(4)));
    assert!(words(&seen).contains("unreachable"), "{seen}");
    assert_eq!(
        output.stderr.matches("starts again, attempt").count(),
        3,
        "{}",
        output.stderr
    );
    // Three in a minute are the most, whatever the spec allows.
    let (seen, _) = beside_siblings(&home, &ChildSpec::of("trap", "").with("max_attempts", 50), &[]);
    assert_eq!(seen["ok"]["attempts"], 4);
    let (seen, _) = beside_siblings(&home, &ChildSpec::of("trap", "").with("max_attempts", 1), &[]);
    assert_eq!(seen["ok"]["attempts"], 1);
}

#[test]
fn one_that_traps_once_is_told_so_and_spends_on() {
    let (_server, home) = home(&[]);
    let checkpoint = json!({ "do": "checkpoint", "report": {
        "outcome": "PartlyAchieved", "summary": "half of it", "artifacts": [], "open_questions": [],
    } });
    let left = json!({ "do": "remaining", "dimension": "Iterations" });
    let program = json!({ "steps": [left, checkpoint, ask(), { "do": "trap-before", "attempt": 2 }] });
    let spec = ChildSpec::probe(&program)
        .with("max_attempts", 3)
        .limit("Iterations", 5);
    let (seen, _) = beside_siblings(&home, &spec, &[]);
    assert_eq!((exit(&seen), &seen["ok"]["attempts"]), ("Returned".into(), &json!(2)));
    assert_eq!(inside(&seen)[0]["ok"], 4, "a restart refills nothing");
    let result: Value = serde_json::from_str(seen["ok"]["report"]["result_json"].as_str().unwrap()).unwrap();
    assert_eq!(result["attempt"], 2);
    assert!(result["previous"]["exit"]["Trapped"].is_string(), "{result}");
    assert!(
        result["previous"]["report"]["summary"]
            .as_str()
            .unwrap()
            .contains("half of it"),
        "{result}"
    );
}

#[test]
fn one_that_crashes_to_be_refilled() {
    let (_server, home) = home(&[]);
    let program = json!({ "steps": [ask(), ask(), { "do": "trap" }] });
    let spec = ChildSpec::probe(&program)
        .with("max_attempts", 50)
        .limit("Iterations", 5);
    let (seen, output) = beside_siblings(&home, &spec, &[]);
    assert_eq!(exit(&seen), "Exhausted(Iterations)", "{seen}");
    assert_eq!(
        output.spent("iterations"),
        5 + 3,
        "its own five, and one of each sibling"
    );
}

#[test]
fn one_that_hangs_in_a_host_call() {
    let (_server, home) = home(&[]);
    let spec = ChildSpec::parked(4_000_000).limit("WallClockMs", 400);
    let (seen, _) = beside_siblings(&home, &spec, &[]);
    assert_eq!(exit(&seen), "Exhausted(WallClockMs)");
}

#[test]
fn one_that_ignores_a_cancel() {
    let (_server, home) = home(&["spin"]);
    let cancel = [
        json!({ "do": "wait-any-child", "children": [1], "timeout_ms": 100 }),
        json!({ "do": "cancel-child", "child": 1 }),
    ];
    let host = home
        .host()
        .set("limits.cancel_grace", "300ms")
        .set(MUCH_FUEL.0, MUCH_FUEL.1);
    let (seen, output) = beside_siblings_in(&home, host, &ChildSpec::of("spin", ""), &cancel);
    assert_eq!(exit(&seen), "Cancelled", "{seen}");
    assert!(output.took < Duration::from_secs(10), "{:?}", output.took);
}

#[test]
fn one_that_outlives_its_parent_is_ended_with_it() {
    let (_server, home) = home(&["spin"]);
    let deep = ChildSpec::probe(&steps(&[ChildSpec::of("spin", "").spawn(), join(0)]));
    let program = [
        deep.spawn(),
        json!({ "do": "wait-any-child", "children": [0], "timeout_ms": 200 }),
    ];
    let host = home
        .host()
        .set("limits.cancel_grace", "300ms")
        .set(MUCH_FUEL.0, MUCH_FUEL.1);
    let output = host.probe(&steps(&program)).output().expect(0);
    let json = output.json();
    let status: Vec<_> = json["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["status"].clone())
        .collect();
    assert_eq!(status, ["completed", "cancelled", "cancelled"], "{json}");
    assert!(output.took < Duration::from_secs(10), "{:?}", output.took);
    well(&home);
}

/// A child that spawns others for as long as it may.
fn bomb() -> ChildSpec {
    let leaf = ChildSpec::probe(&steps(&[])).spawn();
    let all = json!({ "do": "repeat", "n": 500, "until_error": true, "steps": [leaf] });
    ChildSpec::probe(&steps(&[all]))
}

#[test]
fn one_that_spawns_without_end() {
    let (_server, home) = home(&[]);
    let (seen, output) = beside_siblings(&home, &bomb().limit("Children", 20), &[]);
    let rounds = &inside(&seen)[0]["ok"];
    assert_eq!(refusal(&rounds["last"][0]).unwrap(), "exhausted(children)");
    assert_eq!(output.json()["agents"].as_array().unwrap().len(), 1 + 3 + 20);
}

#[test]
fn one_that_spawns_all_that_a_run_may_have() {
    let (_server, home) = home(&[]);
    let program = [sibling().spawn(), bomb().spawn(), join(0), join(1)];
    let output = home.host().probe(&steps(&program)).output().expect(0);
    let seen = output.seen();
    assert!(summary(&seen[2]).contains("a healthy answer"));
    let rounds = &inside(&seen[3])[0]["ok"];
    assert_eq!(refusal(&rounds["last"][0]).unwrap(), "exhausted(children)");
    assert!(output.json()["agents"].as_array().unwrap().len() <= 65);
    well(&home);
}

#[test]
fn one_that_returns_terminal_escapes() {
    let (_server, home) = home(&[]);
    let pieces = ["\u{1b}[2J\u{1b}]0;own\u{7}", "\u{9b}31m red \u{202e}reversed\u{200b}"];
    let (seen, output) = beside_siblings(&home, &ChildSpec::probe(&json!({ "pieces": pieces })), &[]);
    assert_eq!(exit(&seen), "Returned");
    let odd = |c: char| (c.is_control() && c != '\n') || ['\u{202e}', '\u{200b}'].contains(&c);
    assert!(
        summary(&seen).contains("reversed") && !summary(&seen).contains(odd),
        "{seen}"
    );
    assert!(
        !output.stdout.contains('\u{1b}') && !output.stderr.contains(odd),
        "{output:?}"
    );
}

#[test]
fn one_that_ends_without_a_report() {
    let (_server, home) = home(&[]);
    let failing = json!({ "fail": { "kind": "Upstream", "message": "I give up \u{1b}[2J", "retry_after_ms": null } });
    let (seen, _) = beside_siblings(&home, &ChildSpec::probe(&failing), &[]);
    assert_eq!((exit(&seen), &seen["ok"]["report"]), ("Failed".into(), &json!(null)));
    assert!(
        words(&seen).contains("I give up") && !words(&seen).contains('\u{1b}'),
        "{seen}"
    );
    let nonsense = ChildSpec::of("probe-as-is", "no program");
    let plugins = home.path().join("plugins");
    std::fs::copy(guests::built("probe"), plugins.join("probe-as-is.wasm")).unwrap();
    let (seen, _) = beside_siblings(&home, &nonsense, &[]);
    assert!(words(&seen).contains("no program for the probe"), "{seen}");
}

#[test]
fn one_that_returns_too_much() {
    let (_server, home) = home(&["huge-report"]);
    let (seen, _) = beside_siblings(&home, &ChildSpec::of("huge-report", ""), &[]);
    assert_eq!(exit(&seen), "Trapped", "{seen}");
    assert!(words(&seen).contains("limits.hostcall_bytes"), "{seen}");
}

#[test]
fn one_that_asks_for_its_parents_grants() {
    let (_server, home) = home(&[]);
    home.write("papers/a.md", "words");
    let inner = ChildSpec::probe(&steps(&[]))
        .with("grants", json!(["fs:./papers"]))
        .spawn();
    let spec = ChildSpec::probe(&steps(&[inner])).with("grants", json!(["fs:none"]));
    let host = home.host().args(["--allow", "fs:./papers"]);
    let (seen, _) = beside_siblings_in(&home, host, &spec, &[]);
    assert_eq!(exit(&seen), "Returned", "{seen}");
    let refused = &inside(&seen)[0];
    assert_eq!(refusal(refused).unwrap(), "denied");
    assert!(message(refused).contains("fs:./papers"), "{refused}");
}

#[test]
fn one_that_would_spend_a_siblings_budget() {
    let (_server, home) = home(&[]);
    let drain = json!({ "do": "repeat", "n": 300, "until_error": true, "steps": [ask()] });
    let spec = ChildSpec::probe(&steps(&[drain])).limit("Iterations", 200);
    let (seen, output) = beside_siblings(&home, &spec, &[]);
    assert_eq!(exit(&seen), "Exhausted(Iterations)");
    assert_eq!(inside(&seen)[0]["ok"]["rounds"], 200);
    assert_eq!(output.spent("iterations"), 203);
}

#[test]
fn a_parent_that_starts_again_finds_what_its_children_did() {
    let (server, home) = home(&[]);
    let child = ChildSpec::probe(&json!({ "steps": [ask()], "summary": "paid for once" }));
    let once = json!({ "do": "first-attempt", "steps": [child.spawn(), join(0), { "do": "trap" }] });
    let output = home
        .host()
        .probe(&steps(&[
            once,
            json!({ "do": "adopt-children" }),
            json!({ "do": "join-last" }),
        ]))
        .output()
        .expect(0);
    let seen = output.seen();
    assert_eq!(seen[1]["ok"], 1, "{seen:?}");
    assert!(summary(&seen[2]).contains("paid for once"), "{seen:?}");
    assert_eq!(server.requests().len(), 1);
}

/// What a run holds once it has done `program`, and its sessions.
#[track_caller]
fn held_after(program: &[Value]) -> (Held, Vec<Value>) {
    let server = ModelServer::start(Script::always(Turn::fault(Fault::StallBeforeHeaders)));
    let home = Home::with_model(&server, Format::OpenAi);
    let process = home
        .host()
        .set("limits.delegation.alive", 64)
        .set("limits.delegation.total", 10_000)
        .set("limits.host_calls", 100_000)
        .probe(&steps(&[program, &[ask()]].concat()))
        .start();
    server.wait_for(1, Duration::from_secs(120));
    let held = Held::by(&process);
    process.signal(Signal::INT);
    let output = process.finish();
    assert_eq!(output.code, Some(130));
    let run = home.host().args(["runs", "--output", "json"]).output().expect(0).json()[0]["run"].clone();
    let shown = home
        .host()
        .args(["show", run.as_str().unwrap(), "--output", "json"])
        .output()
        .expect(0);
    (held, shown.json()["agents"].as_array().unwrap().clone())
}

/// What a run holds after so many rounds of 64 children at once and `n` more one after another, all of which ended.
#[track_caller]
fn held_after_children(rounds: u32, n: u32) -> Held {
    let parked = ChildSpec::parked(60_000);
    let mut round: Vec<Value> = (0..64).map(|_| parked.spawn()).collect();
    round.extend((0..64).map(|n| json!({ "do": "cancel-child", "child": n })));
    round.extend((0..64).map(join));
    round.push(json!({ "do": "drop-children" }));
    let one = [
        ChildSpec::probe(&steps(&[])).spawn(),
        json!({ "do": "join-last" }),
        json!({ "do": "drop-children" }),
    ];
    let repeat = |n: u32, steps: &[Value]| json!({ "do": "repeat", "n": n, "until_error": true, "steps": steps });
    let (held, sessions) = held_after(&[repeat(rounds, &round), repeat(n, &one)]);
    assert_eq!(sessions.len(), 1 + 64 * rounds as usize + n as usize);
    held
}

#[test]
fn a_thousand_children_and_sixty_four_at_once_leave_nothing() {
    let none = held_after_children(0, 0);
    let (once, often) = (held_after_children(1, 0), held_after_children(8, 0));
    let in_turn = held_after_children(0, 1000);
    // What the run knows of a child that ended, its result among it, stays for the run's life: some KiB each, and a little more where the parent was built
    // again from what its journal has of all of them.
    let resident = [&none, &once, &often, &in_turn].map(|held| held.resident_kib);
    assert!(resident[3] < resident[0] + 1000 * 24, "resident KiB: {resident:?}");
    // Room for 64 at once is kept for the next, who need no more.
    assert!(resident[1] < resident[0] + 64 * 400, "resident KiB: {resident:?}");
    assert!(resident[2] < resident[1] + 7 * 64 * 32, "resident KiB: {resident:?}");
    for held in [&once, &often, &in_turn] {
        assert_eq!(held.files, none.files, "open files");
        // One writes, one watches, and of those that read at once four are kept.
        assert!(held.connections <= 6, "connections: {}", held.connections);
        let threads = (none.threads, held.threads);
        assert!(threads.1 <= threads.0 + FEW, "threads: {threads:?}");
    }
}

#[test]
fn no_thread_is_held_for_one_that_waits() {
    // Each of 32 children joins one of its own, which waits in a host call.
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    let open = json!({ "do": "open", "name": "notes" });
    let await_key = |key: &str| json!({ "do": "changes", "space": 0, "prefix": key, "since": 0, "wait_ms": 600_000 });
    let key = |n: usize| format!("waits/{n}.");
    let pair = |n: usize| {
        let put = json!({ "do": "put", "space": 0, "key": key(n), "value": "now" });
        let waits = ChildSpec::probe(&steps(&[open.clone(), put, await_key("never")])).with("spaces", notes.clone());
        ChildSpec::probe(&steps(&[waits.spawn(), join(0)])).with("spaces", notes.clone())
    };
    let mut program = vec![open.clone()];
    program.extend((0..32).map(|n| pair(n).spawn()));
    program.extend((0..32).map(|n| await_key(&key(n))));
    let (none, _) = held_after(&[]);
    let (held, sessions) = held_after(&program);
    assert_eq!(sessions.len(), 1 + 64);
    assert!(sessions.iter().all(|session| session["exit"].is_null()), "{sessions:?}");
    let threads = (none.threads, held.threads);
    assert!(threads.1 <= threads.0 + FEW, "threads: {threads:?}");
}
