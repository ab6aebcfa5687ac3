//! Agents that only wait give their place among the resident instances up, and are built again when what they wait for is there: nobody sees
//! a difference, and it costs nothing.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, exit, inside, join};
use hermes_tests::host::PASSIVATE;
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::slack;
use hermes_tests::program::{ask, open, put, said, says, steps};
use hermes_tests::{Home, Host, Output, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Longer than anything of these tests takes where it works.
const LONG_MS: u64 = 60_000;

fn always(host: Host) -> Host {
    host.env(PASSIVATE, "always")
}

#[track_caller]
fn in_time(since: Instant, limit: Duration) {
    assert!(since.elapsed() < limit + slack(), "{:?}", since.elapsed());
}

/// A home without a model.
fn home() -> Home {
    Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi)
}

#[test]
fn all_who_wait_fit_into_one_place() {
    let home = home();
    // Each writes, and then waits for the one that writes last.
    let meet = json!({ "steps": [
        { "do": "open", "name": "board" },
        { "do": "append", "space": 0, "prefix": "n/", "value": "here" },
        { "do": "changes", "space": 0, "prefix": "", "since": 7, "wait_ms": LONG_MS },
    ] });
    let board = json!([{ "space": "board", "prefix": "", "access": "ReadWrite" }]);
    let child = ChildSpec::probe(&meet).with("spaces", board);
    let mut steps = vec![json!({ "do": "open", "name": "board" })];
    steps.extend((0..8).map(|_| child.spawn()));
    steps.extend((0..8).map(join));
    let program = json!({ "steps": steps });
    let host = home.host().args(["--deny", "llm"]).set("limits.resident", 1);
    let seen = host.probe(&program).output().expect(0).seen();
    for joined in &seen[9..] {
        assert_eq!(exit(joined), "Returned", "{joined}");
        let changes = inside(joined)[2]["ok"].as_array().unwrap().len();
        assert!(changes > 0, "it heard of the last: {joined}");
    }
}

/// Of two that wait for something else the one that has done so longer leaves; the other and the one that computes keep their places.
#[test]
fn who_has_waited_longest_leaves_first() {
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let open = json!({ "do": "open", "name": "shared" });
    let append = |prefix: &str| json!({ "do": "append", "space": 0, "prefix": prefix, "value": "x" });
    let hears = |prefix: &str| json!({ "do": "changes", "space": 0, "prefix": prefix, "since": 0, "wait_ms": LONG_MS });
    let shared = json!([{ "space": "shared", "prefix": "", "access": "ReadWrite" }]);
    let child = |here: &str, go: &str| {
        let waits = steps(&[open.clone(), append(here), hears(go)]);
        ChildSpec::probe(&waits).with("spaces", shared.clone()).spawn()
    };
    // What it computes takes longer than a child that was heard takes until it waits.
    let compute = json!({ "do": "compute", "n": 100_000_000 });
    let program = steps(&[
        open.clone(),
        child("first/here/", "first/go"),
        hears("first/here"),
        compute.clone(),
        child("second/here/", "second/go"),
        hears("second/here"),
        compute,
        ask("ROOT"),
        join(0),
        append("second/go/"),
        join(1),
    ]);
    let host = home.host().without(PASSIVATE).set("limits.resident", 2);
    let host = host.env("HERMES_HOST_LOG", "hermes_host::session=trace");
    let process = host.args(["--allow", "blackboard:shared"]).probe(&program).start();
    server.wait_for(1, Duration::from_millis(LONG_MS));
    // Now the second child waits, the root does, and the first one, which has no place any more, hears this.
    let go = ["blackboard", "put", "shared", "first/go", "x"];
    home.host().args(go).output().expect(0);
    let output = process.finish().expect(0);
    // Each instance opens the space.
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for line in output
        .stderr
        .lines()
        .filter(|line| line.contains("\"blackboard.open\""))
    {
        let session = line.split(' ').find_map(|word| word.strip_prefix("session=")).unwrap();
        *made.entry(session.to_owned()).or_default() += 1;
    }
    let made: Vec<usize> = made.into_values().collect();
    assert_eq!(made, [1, 2, 2], "{}", output.stderr);
}

/// What a run spent, but for time.
fn spent(output: &Output) -> Value {
    let mut spent = output.json()["spent"].clone();
    spent["wall_clock_ms"] = Value::Null;
    spent
}

#[test]
fn it_costs_nothing() {
    // The turn that runs code is given back; the agent's loop calls tools, and a child does the same.
    let code = Turn::call("run_script", &json!({ "script": "40 + 2" }));
    let turns = || {
        Script::default()
            .when("CHILD", [code.clone(), Turn::text("child"), Turn::text("more")])
            .when("PARENT", [code.clone(), Turn::text("parent"), Turn::text("more")])
    };
    let agent = |who: &str| {
        json!({ "summary": "done", "steps": [
            { "do": "compute", "n": 200_000 },
            { "do": "agent", "user": who, "turns": 4 },
            { "do": "compute", "n": 200_000 },
            ask(who),
            { "do": "open", "name": "notes" },
            { "do": "put", "space": 0, "key": "k", "value": "v" },
        ] })
    };
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    let child = ChildSpec::probe(&agent("CHILD")).with("toolsets", json!(["code_execution"]));
    let mut program = agent("PARENT");
    let steps = program["steps"].as_array_mut().unwrap();
    steps.splice(0..0, [child.with("spaces", notes).spawn(), join(0)]);
    let run = |passivate: bool| {
        let server = ModelServer::start(turns());
        let home = Home::with_model(&server, Format::OpenAi);
        let host = home.host().args(["--budget", "fuel=10000000000"]);
        let host = if passivate { always(host) } else { host };
        let output = host.probe(&program).output().expect(0);
        assert_eq!(server.requests().len(), 6);
        assert_eq!(output.spent("refunded"), 2);
        spent(&output)
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn a_budget_of_fuel_is_the_same() {
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "summary": "done", "steps": [
        { "do": "compute", "n": 300_000 }, ask("one"), { "do": "compute", "n": 300_000 }, ask("two"), { "do": "compute", "n": 300_000 },
    ] });
    let all = home.host().probe(&program).output().expect(0).spent("fuel");
    let with = |fuel: u64| {
        let host = always(home.host()).args(["--budget".to_owned(), format!("fuel={fuel}")]);
        host.probe(&program).output()
    };
    assert_eq!(with(all).expect(0).spent("fuel"), all);
    // Code that returns may burn one stretch between two looks at the meter more than it has.
    with(all - 100_000).expect(3);
}

#[test]
fn a_time_out_is_no_longer() {
    let server = ModelServer::start(Script::always(Turn::fault(Fault::StallBeforeHeaders)));
    let home = Home::with_model(&server, Format::OpenAi);
    let tool = guests::built("probe-tool");
    let program = json!({ "steps": [
        { "do": "clocks", "readings": 1 },
        { "do": "open", "name": "notes" },
        { "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 300 },
        { "do": "clocks", "readings": 1 },
        { "do": "sleep", "ms": [LONG_MS, 300] },
        { "do": "clocks", "readings": 1 },
        ChildSpec::parked(60_000).with("spaces", json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }])).spawn(),
        { "do": "wait-any-child", "children": [0], "timeout_ms": 300 },
        { "do": "clocks", "readings": 1 },
        { "do": "info" },
        { "do": "clocks", "readings": 1 },
    ] });
    let host = always(home.host()).arg("--tool").arg(tool);
    let seen = host.probe(&program).output().expect(0).seen();
    assert_eq!(
        (&seen[2], &seen[4], &seen[7]),
        (&json!({ "ok": [] }), &json!({ "ok": [1] }), &json!({ "ok": null }))
    );
    let clock = |at: usize| seen[at]["ok"][2].as_u64().unwrap() / 1_000_000;
    for (from, to) in [(0, 3), (3, 5), (5, 8)] {
        let ms = clock(to) - clock(from);
        assert!(ms >= 300, "{from}: {ms} ms");
        assert!(
            Duration::from_millis(ms) < Duration::from_millis(300) + slack(),
            "{from}: {ms} ms"
        );
    }
}

/// A wait that told of one timer tells of that one alone, and one that had not ended when it was asked says so again, though both have ended when the instance
/// is built again.
#[test]
fn what_has_ended_meanwhile_ended_in_no_call_before() {
    let home = home();
    let program = steps(&[
        json!({ "do": "sleep-all", "ms": [0, 2500] }),
        json!({ "do": "ask-timers", "ms": [2000, 2500] }),
    ]);
    let host = always(home.host()).args(["--deny", "llm"]);
    let output = host.probe(&program).output().expect(0);
    let seen = output.seen();
    let waits = seen[0]["ok"].as_array().unwrap().iter();
    let ended: Vec<&Value> = waits.map(|wait| &wait[0]).collect();
    assert_eq!(ended, [&json!([0]), &json!([1])]);
    let asked = &seen[1]["ok"];
    assert_eq!((&asked[0], &asked[1]), (&json!([false, false]), &json!([true, true])));
    let run = output.json()["run"].as_str().unwrap().to_owned();
    home.host().args(["replay", &run]).output().expect(0);
}

/// What an agent says before it waits stands in the journal once, and is told once to those who watch; what it says twice, twice.
#[test]
fn what_is_said_before_a_wait_is_said_once() {
    let words = ["First.", "Second.", "Second.", "Last."];
    let [first, second, again, last] = words.map(says);
    let program = [&first[..], &[ask("1")], &second, &again, &[ask("2")], &last].concat();
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let host = always(home.host()).probe_events(&steps(&program));
    let events = host.output().expect(0).events();
    let told = |event: &str, key: &str| -> Vec<Value> {
        let those = events.iter().filter(|told| told["event"] == event);
        those.map(|told| told[key].clone()).collect()
    };
    assert_eq!(told("emit", "text"), words);
    assert_eq!(told("log", "message"), words);
    assert_eq!(told("checkpoint", "event").len(), words.len());
    let said = said(&home.shown(&home.newest_run())["agents"][0]);
    let kinds: Vec<&str> = said.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["log", "progress", "emit", "checkpoint"].repeat(words.len()));
    for (at, (_, text)) in said.iter().enumerate() {
        assert!(text.contains(words[at / 4]), "{at}: {text}");
    }
}

/// What an agent writes is told once to those who watch, however often it is built again.
#[test]
fn what_is_written_before_a_wait_is_told_once() {
    let append = json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" });
    let delete = json!({ "do": "delete", "space": 0, "key": "a" });
    let program = steps(&[open(), put("a"), ask("1"), append, ask("2"), delete, ask("3")]);
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let events = always(home.host()).probe_events(&program).output().expect(0).events();
    let wrote = events.iter().filter(|event| event["event"] == "wrote");
    let keys: Vec<Value> = wrote.map(|event| event["key"].clone()).collect();
    assert_eq!(keys, ["a", "n/00000000000000000002", "a"]);
}

/// A line of the log whose end comes after a wait is one line.
#[test]
fn a_line_that_is_broken_by_a_wait_is_logged_whole() {
    let print = |text: &str| json!({ "do": "print", "text": text });
    let program = steps(&[
        print("whole\nbegun, "),
        ask("1"),
        print("and "),
        ask("2"),
        print("ended\nrest"),
    ]);
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    always(home.host()).probe(&program).output().expect(0);
    let said = said(&home.shown(&home.newest_run())["agents"][0]);
    let lines: Vec<&str> = said.iter().map(|(_, text)| text.rsplit(": ").next().unwrap()).collect();
    assert_eq!(lines, ["whole", "begun, and ended", "rest"]);
}

#[test]
fn a_cancel_reaches_one_that_gave_its_place_up() {
    let home = home();
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
    let sleeper = json!({ "steps": [{ "do": "sleep", "ms": [LONG_MS] }], "summary": "done" });
    let program = json!({ "steps": [
        { "do": "open", "name": "notes" },
        ChildSpec::parked(60_000).with("spaces", notes).spawn(),
        ChildSpec::probe(&sleeper).spawn(),
        { "do": "wait-any-child", "children": [0, 1], "timeout_ms": 200 },
        { "do": "cancel-child", "child": 0 },
        { "do": "cancel-child", "child": 1 },
        join(0),
        join(1),
    ] });
    let host = always(home.host())
        .args(["--deny", "llm"])
        .set("limits.cancel_grace", "300ms");
    let began = Instant::now();
    let seen = host.probe(&program).output().expect(0).seen();
    assert_eq!(
        (exit(&seen[6]), exit(&seen[7])),
        ("Cancelled".into(), "Cancelled".into())
    );
    // The one that waits hears of it; the one that sleeps is dropped after its grace.
    in_time(began, Duration::from_millis(200 + 3 * 300 + 2000));
}

/// How many children wait for the model when their run is cancelled.
const WAITING: usize = 6;

/// Cancels a run whose children all wait for the model, where so many instances may be resident. Gives what was told of it, and what is shown.
fn cancelled_while_all_wait(resident: usize) -> (Vec<Value>, Value) {
    let server = ModelServer::start(Script::always(Turn::fault(Fault::StallBeforeHeaders)));
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&steps(&[ask("CHILD")])).spawn();
    let mut program = vec![child; WAITING];
    program.extend((0..WAITING).map(join));
    // Within one grace, however long it all takes.
    let host = home.host().without(PASSIVATE).set("limits.cancel_grace", "10m");
    let host = host.set("limits.resident", resident);
    let process = host.probe_events(&steps(&program)).start();
    server.wait_for(WAITING, Duration::from_millis(LONG_MS));
    let run = home.newest_run();
    home.host().args(["cancel", &run]).output().expect(0);
    let events = process.finish().expect(1).events();
    assert_eq!(server.requests().len(), WAITING);
    home.host().arg("doctor").output().expect(0);
    (events, home.shown(&run))
}

/// Of each agent of a run: how it ended, what it was charged for the model, and the same of its operations.
fn ends(shown: &Value) -> Vec<Value> {
    let charged = |of: &Value| ["iterations", "tokens", "cost_micro_usd"].map(|d| of[d].clone());
    let operation = |op: &Value| json!([op["kind"], op["status"], charged(&op["charged"])]);
    let agent = |agent: &Value| {
        let how = ["status", "exit", "attempts", "cancel_asked"].map(|field| agent[field].clone());
        let operations = agent["operations"].as_array().unwrap().iter();
        json!([
            how,
            charged(&agent["spent"]),
            operations.map(operation).collect::<Vec<_>>()
        ])
    };
    shown["agents"].as_array().unwrap().iter().map(agent).collect()
}

/// Its end and that of its completion are written down with what its parent has of it: nobody sees a difference.
#[test]
fn a_cancel_of_many_that_gave_their_places_up_ends_each_once() {
    let (_, by_all) = cancelled_while_all_wait(1_000);
    let (events, by_one) = cancelled_while_all_wait(1);
    assert_eq!(ends(&by_one), ends(&by_all));
    let agents = by_one["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 1 + WAITING);
    for agent in agents {
        let how = (&agent["status"], &agent["cancel_asked"]);
        assert_eq!(how, (&json!("cancelled"), &json!(true)), "{agent}");
        let is_its_end = |event: &&Value| event["event"] == "session-ended" && event["session"] == agent["id"];
        let ended: Vec<&Value> = events.iter().filter(is_its_end).collect();
        assert_eq!(ended.len(), 1, "{agent}");
        assert_eq!(ended[0]["spent"], agent["spent"], "{agent}");
    }
    for child in &agents[1..] {
        assert_eq!(child["spent"]["iterations"], 1, "{child}");
        let own = events.iter().filter(|event| event["session"] == child["id"]);
        let told: Vec<&str> = own.map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(
            told.iter().filter(|told| **told == "completion-ended").count(),
            1,
            "{told:?}"
        );
        assert_eq!(told.last(), Some(&"session-ended"), "{told:?}");
    }
    let last = events.iter().rfind(|event| event["event"] == "session-ended").unwrap();
    assert_eq!(last["session"], agents[0]["id"]);
    // What is told to an instance stands in the journal: of the others at most one had its place still, and one was built again.
    let written = |shown: &Value| -> Vec<u64> {
        let children = shown["agents"].as_array().unwrap()[1..].iter();
        children
            .map(|child| child["spent"]["journal_bytes"].as_u64().unwrap())
            .collect()
    };
    let told = written(&by_all).into_iter().min().unwrap();
    let untold = written(&by_one).into_iter().filter(|bytes| *bytes < told).count();
    assert!(untold >= WAITING - 2, "{untold}");
}

#[test]
fn a_deadline_reaches_one_that_gave_its_place_up() {
    let home = home();
    let program = json!({ "steps": [{ "do": "sleep", "ms": [LONG_MS] }] });
    let host = always(home.host()).args(["--deny", "llm", "--budget", "wall=500ms"]);
    let began = Instant::now();
    let output = host.probe(&program).output().expect(3);
    assert!(
        output.json()["error"]["message"].as_str().unwrap().contains("500 ms"),
        "{}",
        output.json()
    );
    in_time(began, Duration::from_millis(500 + 2000));
}

#[test]
fn a_signal_reaches_one_that_gave_its_place_up() {
    let script = Script::default().when("CHILD", [Turn::fault(Fault::StallBeforeHeaders), Turn::text("yes")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&json!({ "steps": [ask("CHILD")], "summary": "child" }));
    let program = json!({ "steps": [child.spawn(), join(0)] });
    let process = home.host().set("limits.resident", 1).probe(&program).start();
    server.wait_for(1, Duration::from_secs(30));
    let sent = Instant::now();
    process.signal(Signal::INT);
    let output = process.finish().expect(130);
    in_time(sent, Duration::from_secs(2));
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let resumed = home
        .host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(exit(&resumed.seen()[1]), "Returned");
    assert_eq!((server.requests().len(), resumed.spent("resent")), (2, 1));
}

#[test]
fn a_restarted_agent_gives_its_place_up_too() {
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "summary": "done", "steps": [
        ask("before"), { "do": "trap-before", "attempt": 2 }, ask("after"),
    ] });
    let output = always(home.host()).probe(&program).output().expect(0);
    assert_eq!(
        (output.json()["result"]["attempt"].as_u64(), server.requests().len()),
        (Some(2), 3)
    );
}
