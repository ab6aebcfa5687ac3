//! How often, and how soon, an agent that breaks is started again: each limit from both sides.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::fs;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, exit, join};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::slack;
use hermes_tests::program::ask;
use hermes_tests::{Home, Host, Output};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A net for what is waited for.
const LONG: Duration = Duration::from_secs(60);

fn home() -> Home {
    Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi)
}

/// The probe under these limits of restarts.
fn host(home: &Home, limits: &[(&str, u64)]) -> Host {
    let set = |host: Host, (key, value): &(&str, u64)| host.set(&format!("limits.restart.{key}"), value);
    limits.iter().fold(home.host(), set)
}

/// The same, without a model and without waits.
fn run(home: &Home, limits: &[(&str, u64)], steps: &[Value]) -> Output {
    let host = host(home, &[limits, &[("backoff", 0)]].concat());
    host.args(["--deny", "llm"]).probe(&json!({ "steps": steps })).output()
}

/// Breaks until this attempt.
fn until(attempt: u32) -> Value {
    json!({ "do": "trap-before", "attempt": attempt })
}

/// Asserts that a run was well in this attempt, and its last one.
#[track_caller]
fn assert_well(output: Output, attempts: u32) {
    assert_eq!(output.expect(0).json()["agents"][0]["attempts"], attempts);
}

/// Asserts that a run ended broken after so many attempts.
#[track_caller]
fn assert_broken(output: Output, attempts: u32) {
    let json = output.expect(1).json();
    assert_eq!(
        (&json["exit"], &json["agents"][0]["attempts"]),
        (&json!("trapped"), &json!(attempts))
    );
}

#[test]
fn an_agent_has_so_many_attempts() {
    let home = home();
    for attempts in [1, 2, 6] {
        let limits = [("attempts", u64::from(attempts)), ("intensity", 100)];
        assert_well(run(&home, &limits, &[until(attempts)]), attempts);
        assert_broken(run(&home, &limits, &[until(attempts + 1)]), attempts);
    }
}

/// How a child that breaks until attempt `until` ended, and after how many attempts.
fn child(home: &Home, limits: &[(&str, u64)], spec: u32, breaks_until: u32) -> (String, Value) {
    let program = json!({ "steps": [until(breaks_until)], "summary": "done" });
    let child = ChildSpec::probe(&program).with("max_attempts", spec);
    let seen = run(home, limits, &[child.spawn(), join(0)]).expect(0).seen();
    (exit(&seen[1]), seen[1]["ok"]["attempts"].clone())
}

#[test]
fn a_child_has_as_many_attempts_where_its_spec_names_none() {
    let home = home();
    let limits = [("attempts", 2)];
    let well = |attempts: u32| ("Returned".to_owned(), json!(attempts));
    let broken = |attempts: u32| ("Trapped".to_owned(), json!(attempts));
    assert_eq!(child(&home, &limits, 0, 2), well(2));
    assert_eq!(child(&home, &limits, 0, 3), broken(2));
    assert_eq!(child(&home, &limits, 1, 2), broken(1));
    assert_eq!(child(&home, &limits, 3, 3), well(3));
    assert_eq!(child(&home, &limits, 3, 4), broken(3));
}

#[test]
fn so_many_restarts_are_the_most_within_the_window() {
    let home = home();
    for restarts in [0, 1, 5] {
        let limits = [("attempts", 100), ("intensity", u64::from(restarts))];
        assert_well(run(&home, &limits, &[until(restarts + 1)]), restarts + 1);
        assert_broken(run(&home, &limits, &[until(restarts + 2)]), restarts + 1);
    }
}

#[test]
fn each_agent_has_its_restarts_to_itself() {
    let home = home();
    let child = ChildSpec::probe(&json!({ "steps": [until(2)], "summary": "done" })).with("max_attempts", 0);
    let steps = [until(2), child.spawn(), child.spawn(), join(0), join(1)];
    let output = run(&home, &[("intensity", 1)], &steps).expect(0);
    let agents = output.json()["agents"].as_array().unwrap().clone();
    let attempts: Vec<_> = agents.iter().map(|agent| &agent["attempts"]).collect();
    assert_eq!(attempts, [2, 2, 2]);
}

#[test]
fn a_restart_is_forgotten_after_the_window() {
    const AWAKE: u32 = 100;
    let home = home();
    let run = |window: u64| {
        let limits = [("attempts", 100), ("intensity", 1), ("window", window)];
        // A change that nobody makes.
        let wait = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": AWAKE });
        run(
            &home,
            &limits,
            &[json!({ "do": "open", "name": "notes" }), wait, until(4)],
        )
    };
    assert_well(run(u64::from(AWAKE) - 1), 4);
    let longer = Duration::from_millis(AWAKE.into()) + slack();
    assert_broken(run(u64::try_from(longer.as_millis()).unwrap()), 2);
}

/// The waits before the restarts of an agent that breaks until this attempt, in milliseconds, each as it was told.
fn waits(home: &Home, backoff: u64, backoff_max: u64, attempts: u32) -> Vec<u64> {
    let limits = [
        ("attempts", 100),
        ("intensity", 100),
        ("backoff", backoff),
        ("backoff_max", backoff_max),
    ];
    let host = host(home, &limits).args(["--deny", "llm"]);
    let program = json!({ "steps": [until(attempts)] });
    let events = host.probe_events(&program).output().expect(0).events();
    let restarts = events.iter().filter(|event| event["event"] == "session-restarts");
    restarts.map(|event| event["after_ms"].as_u64().unwrap()).collect()
}

/// As far as a wait may be from this one.
fn a_fifth_around(wait: u64) -> RangeInclusive<u64> {
    wait * 4 / 5..=wait * 6 / 5
}

#[track_caller]
fn assert_around(waits: &[u64], expected: &[u64]) {
    assert_eq!(waits.len(), expected.len(), "{waits:?}");
    let near = |(wait, expected): (&u64, &u64)| a_fifth_around(*expected).contains(wait);
    assert!(waits.iter().zip(expected).all(near), "{waits:?}, not {expected:?}");
}

#[test]
fn waits_double_up_to_the_longest() {
    let home = home();
    assert_around(&waits(&home, 10, 1000, 5), &[10, 20, 40, 80]);
    assert_around(&waits(&home, 10, 40, 6), &[10, 20, 40, 40, 40]);
    assert_around(&waits(&home, 3_600_000, 10, 3), &[10, 10]);
    assert_eq!(waits(&home, 0, 1000, 4), [0, 0, 0]);
    assert_eq!(waits(&home, 1000, 0, 4), [0, 0, 0]);
}

#[test]
fn a_wait_is_waited() {
    let server = ModelServer::start(Script::always(Turn::text("hello")));
    let home = Home::with_model(&server, Format::OpenAi);
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let host = host(&home, &[("backoff", 500)]);
    host.probe(&json!({ "steps": [ask, until(2)] })).output().expect(0);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let waited = requests[1].at - requests[0].at;
    assert!(
        waited >= Duration::from_millis(*a_fifth_around(500).start()),
        "{waited:?}"
    );
}

/// Starts an agent that breaks in each attempt, and kills its process in the wait before attempt 3. Gives the run, and how long that wait was to be.
fn killed_in_the_second_wait(home: &Home, limits: &[(&str, u64)]) -> (String, Value) {
    let host = host(home, limits).args(["--deny", "llm"]);
    let program = json!({ "steps": [{ "do": "open", "name": "notes" }, until(100)] });
    let process = host.probe_events(&program).by("exec \"$0\" \"$@\" > events").start();
    let begun = Instant::now();
    let wait = loop {
        let events = fs::read_to_string(home.work().join("events")).unwrap_or_default();
        let events = events.lines().filter_map(|line| serde_json::from_str(line).ok());
        if let Some(wait) = wait_before(events, 3) {
            break wait;
        }
        assert!(begun.elapsed() < LONG, "it is not started again");
    };
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None);
    (home.newest_run(), wait)
}

/// How long the wait before this attempt is, as it was told.
fn wait_before(events: impl IntoIterator<Item = Value>, attempt: u32) -> Option<Value> {
    let mut events = events.into_iter();
    let restart = events.find(|event| event["event"] == "session-restarts" && event["attempt"] == attempt);
    restart.map(|event| event["after_ms"].clone())
}

/// By the attempts in all, or by the restarts within the window: those of the process that was killed count.
#[test]
fn restarts_of_a_process_that_was_killed_are_remembered() {
    for limits in [
        [("attempts", 3), ("intensity", 100)],
        [("attempts", 100), ("intensity", 2)],
    ] {
        let home = home();
        let (run, wait) = killed_in_the_second_wait(&home, &[&limits[..], &[("backoff", 1_000)]].concat());
        assert_eq!(home.shown(&run)["agents"][0]["attempts"], 2, "{limits:?}");
        let resumed = home.host().args(["resume", &run, "--output", "events"]);
        let resumed = resumed.output().expect(1);
        // It is waited again, as long as it was to be: twice as long as the first.
        assert!(a_fifth_around(2_000).contains(&wait.as_u64().unwrap()), "{wait}");
        assert_eq!(wait_before(resumed.events(), 3), Some(wait), "{limits:?}");
        assert_eq!(wait_before(resumed.events(), 4), None, "{limits:?}");
        let shown = home.shown(&run);
        let agent = &shown["agents"][0];
        assert_eq!(
            (&agent["exit"], &agent["attempts"]),
            (&json!("trapped"), &json!(3)),
            "{shown}"
        );
    }
}

#[test]
fn what_a_sibling_has_set_aside_stops_no_restart() {
    let script = Script::default()
        .when("HANGS", [Turn::fault(Fault::StallBeforeHeaders)])
        .when("BREAKS", [Turn::text("one"), Turn::text("two")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let hangs = ChildSpec::probe(&json!({ "steps": [ask("HANGS")] }));
    let wait = json!({ "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 60_000 });
    let read = json!([{ "space": "shared", "prefix": "", "access": "ReadOnly" }]);
    let open = json!({ "do": "open", "name": "shared" });
    let breaks = json!({ "summary": "well", "steps": [ask("BREAKS"), open, wait, until(2)] });
    let breaks = ChildSpec::probe(&breaks).with("max_attempts", 3).with("spaces", read);
    let program = json!({ "summary": "done", "steps": [
        breaks.spawn(), hangs.spawn(), join(0), { "do": "cancel-child", "child": 1 }, join(1),
    ] });
    let host = host(&home, &[("backoff", 0)]).args(["--allow", "blackboard:shared"]);
    // All that is left is set aside for the one that hangs.
    let process = host.args(["--budget", "tree.tokens=9000"]).probe(&program).start();
    server.wait_for(2, Duration::from_secs(60));
    let go = home.host().args(["blackboard", "put", "shared", "go", "now"]);
    go.output().expect(0);
    let seen = process.finish().expect(0).seen();
    assert_eq!(
        (exit(&seen[2]), &seen[2]["ok"]["attempts"]),
        ("Returned".to_owned(), &json!(2)),
        "{}",
        seen[2]
    );
}

#[test]
fn a_crash_with_nothing_left_is_told_with_the_end_that_it_leads_to() {
    let server = ModelServer::start(Script::always(Turn::text("one")));
    let home = Home::with_model(&server, Format::OpenAi);
    let steps = json!([ask("Once."), { "do": "trap" }]);
    // Its last attempt's end is its own.
    let child = ChildSpec::probe(&json!({ "steps": steps })).limit("Iterations", 1);
    let program = json!({ "summary": "done", "steps": [child.spawn(), join(0)] });
    let seen = home.host().probe(&program).output().expect(0).seen();
    assert_eq!(exit(&seen[1]), "Trapped", "{}", seen[1]);
    // A new one could do nothing, and the budget is why; what broke is said.
    let host = home.host().args(["--budget", "iterations=1"]);
    let output = host.probe(&json!({ "steps": steps })).output().expect(3);
    let error = &output.json()["error"];
    let words = error["message"].as_str().unwrap();
    assert!(words.contains("iterations") && words.contains("unreachable"), "{error}");
}
