//! Runs whose process was killed go on as if nothing had happened: children, budgets, closing calls, restarts.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::time::{Duration, Instant};

use hermes_tests::changed::{saying, wanting};
use hermes_tests::child::{ChildSpec, exit, inside, join, summary};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::{refusal, slack};
use hermes_tests::program::{ask, put, steps};
use hermes_tests::{Home, Output, Process, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// Starts `program`, kills it with SIGKILL once the model has been asked `n` times, and goes on with it.
#[track_caller]
fn killed_at(server: &ModelServer, home: &Home, program: &Value, n: usize, arguments: &[&str], code: i32) -> Output {
    let process = home.host().args(arguments).probe(program).start();
    server.wait_for(n, LONG);
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None);
    let run = home.newest_run();
    home.host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(code)
}

#[test]
fn a_child_that_was_under_way_goes_on() {
    let script = Script::default()
        .when("CHILD ONE", [Turn::text("first")])
        .when("CHILD TWO", [Turn::fault(Fault::StallMidStream), Turn::text("second")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let quick = ChildSpec::probe(&json!({ "steps": [ask("CHILD ONE")], "summary": "one" }));
    let slow = ChildSpec::probe(&json!({ "steps": [ask("CHILD TWO")], "summary": "two" }));
    let program = steps(&[
        quick.spawn(),
        join(0),
        slow.spawn(),
        join(1),
        json!({ "do": "children" }),
    ]);
    let output = killed_at(&server, &home, &program, 2, &[], 0);
    let seen = output.seen();
    assert_eq!((exit(&seen[1]), exit(&seen[3])), ("Returned".into(), "Returned".into()));
    assert!(summary(&seen[1]).contains("one") && summary(&seen[3]).contains("two"));
    assert_eq!(seen[4]["ok"].as_array().unwrap().len(), 2);
    assert_eq!(server.requests().len(), 3, "the one under way again, the other not");
    assert_eq!((output.spent("iterations"), output.spent("resent")), (2, 1));
    let agents = output.json()["agents"].clone();
    assert!(
        agents.as_array().unwrap().iter().all(|a| a["status"] == "completed"),
        "{agents}"
    );
}

#[test]
fn a_closing_call_that_was_under_way_is_made_once() {
    let echo = Turn::call("echo", &json!({ "text": "again" }));
    let script = Script::from([echo.clone(), echo, Turn::fault(Fault::StallMidStream)]).then(Turn::text("in sum"));
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 9 }], "summary": "done" });
    let tool = guests::built("pure-echo").display().to_string();
    let arguments = ["--tool", &tool, "--budget", "iterations=2"];
    let output = killed_at(&server, &home, &program, 3, &arguments, 3);
    let json = output.json();
    assert_eq!(
        (&json["exit"], output.spent("iterations"), output.spent("closing")),
        (&json!("exhausted"), 2, 1)
    );
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn what_was_spent_stays_spent() {
    let script =
        Script::from([Turn::text("a"), Turn::text("b"), Turn::fault(Fault::StallMidStream)]).then(Turn::text("c"));
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let spent = |d: &str| json!({ "do": "spent", "dimension": d });
    let program = steps(&[
        json!({ "do": "compute", "n": 100_000 }),
        ask("1"),
        ask("2"),
        ask("3"),
        spent("Iterations"),
        spent("Fuel"),
        json!({ "do": "repeat", "n": 9, "until_error": true, "steps": [ask("4")] }),
    ]);
    let budget = ["--budget", "iterations=5,fuel=2000000000"];
    let killed = killed_at(&server, &home, &program, 3, &budget, 3);
    let seen = killed.seen();
    assert_eq!(seen[4]["ok"], 3);
    assert_eq!(seen[6]["ok"]["rounds"], 2, "five in all");
    let again = ModelServer::start(Script::always(Turn::text("a")));
    let other = Home::with_model(&again, Format::OpenAi);
    let whole = other.host().args(budget).probe(&program).output().expect(3);
    let fuel = |seen: &[Value]| seen[5]["ok"].as_i64().unwrap();
    let (killed, whole) = (fuel(&seen), fuel(&whole.seen()));
    assert!(
        (killed - whole).abs() < whole / 100,
        "fuel is charged once: {killed}, {whole}"
    );
}

#[test]
fn a_restart_is_remembered() {
    let script = Script::from([Turn::text("a"), Turn::fault(Fault::StallMidStream)]).then(Turn::text("b"));
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "steps": [
        { "do": "first-attempt", "steps": [ask("1"), { "do": "trap" }] }, ask("2"),
    ], "summary": "done" });
    let output = killed_at(&server, &home, &program, 2, &[], 0);
    let json = output.json();
    assert_eq!(
        (&json["agents"][0]["attempts"], output.spent("iterations")),
        (&json!(2), 2)
    );
    assert_eq!(json["result"]["attempt"], 2);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_killed_run_can_be_ended_for_good() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream)]);
    let home = Home::with_model(&server, Format::OpenAi);
    let report = json!({ "outcome": "PartlyAchieved", "summary": "So far.", "artifacts": [], "open_questions": [] });
    let child = ChildSpec::probe(&steps(&[ask("CHILD")]));
    let program = steps(&[json!({ "do": "checkpoint", "report": report }), child.spawn(), join(0)]);
    let process = home.host().probe(&program).start();
    server.wait_for(1, LONG);
    process.signal(Signal::KILL);
    process.finish();
    let run = home.newest_run();
    home.host().args(["cancel", &run]).output().expect(0);
    home.host().args(["resume", &run]).output().expect(2).says(&["final"]);
    let shown = home
        .host()
        .args(["show", &run, "--output", "json"])
        .output()
        .expect(0)
        .json();
    let agents = shown["agents"].as_array().unwrap();
    assert!(agents.iter().all(|agent| agent["status"] == "cancelled"), "{shown}");
    assert_eq!(shown["checkpoint"], "So far.", "what it had by then is kept");
    assert_eq!(server.requests().len(), 1, "nothing was sent again");
}

#[test]
fn a_grandchild_that_its_parent_had_no_room_for_stops_no_resume() {
    let grandchild = ChildSpec::probe(&steps(&[]));
    let cancelled = json!({ "do": "repeat", "n": 100, "steps": [{ "do": "cancelled" }] });
    let child = ChildSpec::probe(&steps(&[cancelled, grandchild.spawn(), join(0)]));
    let program = steps(&[child.spawn(), join(0), ask("ROOT")]);
    // The grandchild's request, its row, its start, its intent; then it is there, and its parent can't be told.
    for (records, agents) in [(100, 2), (101, 2), (102, 2), (103, 2), (104, 3)] {
        let server = ModelServer::start([Turn::fault(Fault::StallMidStream), Turn::text("a")]);
        let home = Home::with_model(&server, Format::OpenAi);
        let setting = format!("limits.journal_records={records}");
        let output = killed_at(&server, &home, &program, 1, &["--set", &setting], 0);
        assert_eq!(exit(&output.seen()[1]), "Exhausted(JournalBytes)", "{records}");
        let json = output.json();
        assert_eq!(json["agents"].as_array().unwrap().len(), agents, "{records}: {json}");
    }
}

#[test]
fn what_its_journal_holds_is_counted_again() {
    let child = ChildSpec::probe(&steps(&[ask("CHILD ONE"), ask("CHILD TWO")]));
    let append = json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" });
    let program = steps(&[
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "repeat", "n": 50, "steps": [append] }),
        ask("ROOT ONE"),
        child.spawn(),
        join(0),
        ask("ROOT TWO"),
    ]);
    let stalls = [Turn::fault(Fault::StallMidStream), Turn::text("b")];
    let ended = |turns: &[Turn], kill: bool| {
        let script = Script::always(Turn::text("a")).when("CHILD TWO", turns.to_vec());
        let server = ModelServer::start(script);
        let home = Home::with_model(&server, Format::OpenAi);
        let output = match kill {
            true => killed_at(&server, &home, &program, 3, &[], 0),
            false => home.host().probe(&program).output().expect(0),
        };
        let shown = home.host().args(["show", &home.newest_run(), "--output", "json"]);
        let agents = shown.output().expect(0).json()["agents"].clone();
        assert_eq!(agents.as_array().unwrap().len(), 2, "{agents}");
        let bytes = |n: usize| agents[n]["spent"]["journal_bytes"].as_u64().unwrap();
        assert_eq!(output.spent("journal_bytes"), bytes(0) + bytes(1));
        [bytes(0), bytes(1)]
    };
    let (whole, killed) = (ended(&stalls[1..], false), ended(&stalls, true));
    // Times and fuel may take some bytes more or less; a record that is left out takes a hundred.
    assert!(killed[0].abs_diff(whole[0]) < 32, "the root: {killed:?}, {whole:?}");
    let sent_again = killed[1].saturating_sub(whole[1]);
    assert!(
        (64..128).contains(&sent_again),
        "the child, and that it asked again: {killed:?}, {whole:?}"
    );
}

#[test]
fn a_childs_completion_that_was_under_way_keeps_the_trees_last_iteration() {
    let script = Script::default()
        .when("CHILD", [Turn::fault(Fault::StallMidStream), Turn::text("again")])
        .when("ROOT", [Turn::text("too much")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    // Made again, the child asks after its parent does.
    let child = ChildSpec::probe(&steps(&[json!({ "do": "compute", "n": 60_000_000 }), ask("CHILD")]));
    let program = steps(&[
        json!({ "do": "open", "name": "shared" }),
        child.spawn(),
        json!({ "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 600_000 }),
        ask("ROOT"),
        join(0),
    ]);
    let host = home.host().args(["--allow", "blackboard:shared"]);
    let process = host.args(["--budget", "tree.iterations=1"]).probe(&program).start();
    let (run, resumed) = killed_and_resumed(&server, &home, process);
    // The root lacked what its child had.
    let output = resumed.expect(3);
    let seen = output.seen();
    assert_eq!(
        refusal(&seen[3]).as_deref(),
        Some("exhausted(iterations)"),
        "{}",
        seen[3]
    );
    assert_eq!(exit(&seen[4]), "Returned", "{}", seen[4]);
    assert_eq!(refusal(&inside(&seen[4])[1]), None, "{}", seen[4]);
    assert!(inside(&seen[4])[1].to_string().contains("again"), "{}", seen[4]);
    assert_eq!((output.spent("iterations"), output.spent("resent")), (1, 1));
    let requests = server.requests();
    let of_child = requests.iter().filter(|request| request.last().contains("CHILD"));
    assert_eq!((of_child.count(), requests.len()), (2, 2), "the root asked nothing");
    let shown = home.host().args(["show", &run, "--output", "json"]).output().expect(0);
    let agents = shown.json()["agents"].clone();
    let made = [0, 1].map(|n: usize| agents[n]["spent"]["iterations"].as_u64().unwrap_or_default());
    assert_eq!(made, [0, 1], "{agents}");
}

/// Kills a run once it has asked its model, and goes on with it where the note is there that it waits for.
fn killed_and_resumed(server: &ModelServer, home: &Home, process: Process) -> (String, Output) {
    server.wait_for(1, LONG);
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None);
    let go = home.host().args(["blackboard", "put", "shared", "go", "now"]);
    go.output().expect(0);
    let run = home.newest_run();
    let resumed = home.host().args(["resume", &run, "--output", "json"]).output();
    (run, resumed)
}

/// Children that were under way when the process was killed have their places among the run's from the beginning of the resume on, also those whose parents
/// come to them later.
#[test]
fn children_that_were_under_way_keep_their_places() {
    let deep = ChildSpec::probe(&steps(&[ask("DEEP")]));
    // Made again, the child spawns its own after its parent asks for one more.
    let compute = json!({ "do": "compute", "n": 150_000_000 });
    let child = ChildSpec::probe(&steps(&[compute, deep.spawn(), join(0)]));
    let program = steps(&[
        json!({ "do": "open", "name": "shared" }),
        child.spawn(),
        json!({ "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 600_000 }),
        ChildSpec::probe(&steps(&[])).spawn(),
        join(0),
    ]);
    for limit in [["--budget", "children=2"], ["--set", "limits.delegation.alive=2"]] {
        let script = Script::default().when("DEEP", [Turn::fault(Fault::StallMidStream), Turn::text("again")]);
        let server = ModelServer::start(script);
        let home = Home::with_model(&server, Format::OpenAi);
        let host = home.host().args(["--allow", "blackboard:shared"]).args(limit);
        let process = host.probe(&program).start();
        let (_, resumed) = killed_and_resumed(&server, &home, process);
        let output = resumed.expect(0);
        let seen = output.seen();
        assert_eq!(
            refusal(&seen[3]).as_deref(),
            Some("exhausted(children)"),
            "{limit:?}: {}",
            seen[3]
        );
        assert_eq!(exit(&seen[4]), "Returned", "{limit:?}: {}", seen[4]);
        let inside = inside(&seen[4]);
        assert_eq!(exit(&inside[2]), "Returned", "{limit:?}: {}", inside[2]);
        assert_eq!((output.spent("children"), output.spent("resent")), (2, 1), "{limit:?}");
        assert_eq!(server.requests().len(), 2, "{limit:?}");
        let agents = output.json()["agents"].clone();
        let agents = agents.as_array().unwrap();
        assert_eq!(agents.len(), 3, "{limit:?}");
        assert!(
            agents.iter().all(|agent| agent["status"] == "completed"),
            "{limit:?}: {agents:?}"
        );
    }
}

/// What `show` has of the root's operations: number, status, fuel.
fn operations(home: &Home, run: &str) -> Vec<(String, String, u64)> {
    let shown = home.host().args(["show", run, "--output", "json"]).output().expect(0);
    let json = shown.json();
    // A run that has just begun has no agent yet.
    let operations = json["agents"][0]["operations"].as_array().into_iter().flatten();
    let of = |op: &Value| {
        (
            op["op"].as_str().unwrap().to_owned(),
            op["status"].as_str().unwrap().to_owned(),
            op["charged"]["fuel"].as_u64().unwrap(),
        )
    };
    operations.map(of).collect()
}

#[test]
fn tool_calls_in_a_tool_call_go_on_with_the_fuel_that_they_had() {
    let call = |steps: Value| json!({ "do": "call", "name": "probe", "arguments": { "steps": steps } });
    let compute = || json!({ "do": "compute", "n": 20_000_000 });
    // The second waits for a word, so that its end is this test's to say.
    let wait = json!([
        compute(),
        { "do": "open", "name": "shared" },
        { "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 600_000 },
    ]);
    let program = steps(&[call(json!([call(json!([compute()])), call(wait)]))]);
    let server = ModelServer::start(Vec::new());
    let host = |home: &Home| {
        let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
        host.args([
            "--allow",
            "blackboard:shared",
            "--allow",
            "probe-tool=blackboard:shared",
        ])
    };
    let go = |home: &Home| {
        let put = home.host().args(["blackboard", "put", "shared", "go", "now"]);
        put.output().expect(0);
    };
    let whole = Home::with_model(&server, Format::OpenAi);
    go(&whole);
    let need = host(&whole).probe(&program).output().expect(0).spent("fuel");
    let budget = format!("fuel={}", need + need / 10);
    for signal in [Signal::KILL, Signal::INT] {
        let home = Home::with_model(&server, Format::OpenAi);
        let process = host(&home).args(["--budget", &budget]).probe(&program).start();
        // The first inner call has ended, the second is under way.
        let begun = Instant::now();
        let run = loop {
            let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
            if let Some(run) = runs[0]["run"].as_str()
                && operations(&home, run).iter().filter(|op| op.0.contains('.')).count() == 2
            {
                break run.to_owned();
            }
            assert!(begun.elapsed() < LONG, "the second inner call never began");
        };
        process.signal(signal);
        process.finish();
        let left = operations(&home, &run);
        let status: Vec<&str> = left.iter().map(|op| op.1.as_str()).collect();
        assert_eq!(
            status,
            ["open", "done", "open"],
            "a tool that is stopped has no end: {left:?}"
        );
        go(&home);
        let resumed = home
            .host()
            .args(["resume", &run, "--output", "json"])
            .output()
            .expect(0);
        assert_eq!(resumed.spent("fuel"), need, "{signal:?}");
        assert!(operations(&home, &run).iter().all(|op| op.1 == "done"));
    }
}

#[test]
fn what_ended_calls_and_children_used_is_counted_again() {
    let script = |turns: Vec<Turn>| ModelServer::start(Script::default().when("ROOT", turns));
    let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": [
        { "do": "repeat", "n": 20, "steps": [{ "do": "info" }] },
        { "do": "call", "name": "probe", "arguments": { "steps": [{ "do": "info" }, { "do": "info" }] } },
    ] } });
    // All that it computes comes after the last that it asks of its host.
    let computes = ChildSpec::probe(&steps(&[call.clone(), json!({ "do": "compute", "n": 30_000_000 })]));
    let computes = computes.with("toolsets", json!(["probe-tool"]));
    let program = steps(&[call, computes.spawn(), join(0), ask("ROOT"), json!({ "do": "info" })]);
    let host = |home: &Home| home.host().arg("--tool").arg(guests::built("probe-tool"));
    let unkilled = script(vec![Turn::text("done")]);
    let whole = Home::with_model(&unkilled, Format::OpenAi);
    let whole = host(&whole).probe(&program).output().expect(0);
    let server = script(vec![Turn::fault(Fault::StallMidStream), Turn::text("done")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let process = host(&home).probe(&program).start();
    server.wait_for(1, LONG);
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None);
    // The limits of the day are none of its own.
    home.write("hermes.toml", "[limits]\ncomponent = \"1KiB\"\ntool_list = 1\n");
    let run = home.newest_run();
    let resumed = home
        .host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(0);
    for dimension in ["host_calls", "tool_calls", "children", "iterations"] {
        assert_eq!(resumed.spent(dimension), whole.spent(dimension), "{dimension}");
    }
    // The root reads how many milliseconds its child took, and more digits take more fuel.
    let (fuel, fuel_of_whole) = (resumed.spent("fuel"), whole.spent("fuel"));
    assert!(fuel.abs_diff(fuel_of_whole) < 10_000, "{fuel} and {fuel_of_whole}");
    let of_child = |output: &Output, dimension: &str| output.json()["agents"][1]["spent"][dimension].clone();
    for dimension in ["host_calls", "fuel"] {
        assert_eq!(
            of_child(&resumed, dimension),
            of_child(&whole, dimension),
            "{dimension}"
        );
    }
}

#[test]
fn a_tool_call_that_is_made_again_sees_the_time_that_it_saw() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    // It asks for a key that names what it saw, and waits.
    let inside = json!({ "steps": [
        { "do": "open", "name": "shared" },
        { "do": "witness", "space": 0 },
        { "do": "clocks" },
        // All that it saw is on the disk now.
        { "do": "put", "space": 0, "key": "there", "value": "yes" },
        { "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 600_000 },
    ] });
    let program = steps(&[
        json!({ "do": "start-call", "name": "probe", "arguments": inside }),
        json!({ "do": "emit", "text": "the call's start is on the disk" }),
        json!({ "do": "wait-call", "call": 0 }),
    ]);
    let allowed = [
        "--allow",
        "blackboard:shared",
        "--allow",
        "probe-tool=blackboard:shared",
    ];
    let host = home.host().args(allowed).arg("--tool").arg(guests::built("probe-tool"));
    let process = host.probe(&program).start();
    let begun = Instant::now();
    let is_there = || home.host().args(["blackboard", "get", "shared", "there"]).output().code == Some(0);
    let is_told = |run: &str| {
        let shown = home.host().args(["show", run, "--output", "json"]).output();
        shown.stdout.contains("the call's start is on the disk")
    };
    while !(is_there() && is_told(&home.newest_run())) {
        assert!(begun.elapsed() < LONG, "the call never began");
    }
    process.signal(Signal::KILL);
    process.finish();
    let run = home.newest_run();
    home.host()
        .args(["blackboard", "put", "shared", "go", "now"])
        .output()
        .expect(0);
    let resumed = home
        .host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(0);
    let waited = &resumed.seen()[2];
    assert_eq!(refusal(waited), None, "{waited}");
}

/// What the steps of a tool called `probe` saw.
#[track_caller]
fn inside_the_call(output: &Output) -> Vec<Value> {
    hermes_tests::output::in_call(&output.seen()[0])
}

/// A tool that holds a folder and may be called again waits again for what it reads there: none of its timers ends before, and each in the call in which it
/// ended first, however often the host goes down.
#[test]
fn timers_of_a_tool_that_holds_a_folder_end_where_they_ended() {
    const KILLS: usize = 2;
    let manifest = "name = \"reader\"\nversion = \"0.1.0\"\ndescription = \"Reads.\"\n\
        [[wants]]\ngrant = \"fs\"\nreason = \"Reads.\"\n\
        [[wants]]\ngrant = \"blackboard:shared\"\nreason = \"Asks for a key.\"\n\
        [[wants]]\ngrant = \"llm\"\nreason = \"Asks.\"\n";
    let [text, stall] = [Turn::text("heard"), Turn::fault(Fault::StallMidStream)];
    let server = ModelServer::start(Script::from(vec![text.clone(), stall.clone(), stall]).then(text));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "a line");
    let tool = saying(&home, &guests::built("probe-tool"), "hints: none", "hints: same");
    let tool = wanting(&home, &tool, "reader.wasm", manifest);
    let grants = ["--allow", "fs:./papers", "--allow", "blackboard:shared"];
    let add = home.host().args(["plugin", "add"]).arg(tool).args(grants);
    add.args(["--allow", "llm", "--yes"]).output().expect(0);
    let read = json!({ "do": "read-or-sleep", "path": "/papers/a.txt", "ms": 600_000 });
    let sleep = json!({ "do": "sleep", "ms": 30 });
    // It asks for a key that names what it saw, after each step.
    let inside = json!({ "steps": [
        { "do": "open", "name": "shared" }, { "do": "witness", "space": 0 },
        read, sleep, read, sleep, ask("INSIDE"), read, sleep,
    ] });
    let program = steps(&[json!({ "do": "call", "name": "probe", "arguments": inside })]);
    let host = || home.host().args(grants).args(["--tool", "reader"]).probe(&program);
    let whole = inside_the_call(&host().output().expect(0));
    let mut process = host().start();
    for n in 1..=KILLS {
        server.wait_for(1 + n, LONG);
        process.signal(Signal::KILL);
        assert_eq!(process.finish().code, None);
        let resume = ["resume", &home.newest_run(), "--output", "json"].map(str::to_owned);
        process = home.host().args(resume).start();
    }
    let output = process.finish().expect(0);
    let seen = inside_the_call(&output);
    for (at, seen) in seen.iter().enumerate() {
        match at {
            2 | 4 | 7 => assert_eq!(seen["ok"], json!([0]), "{at}: the file alone was there"),
            3 | 5 | 8 => assert!(seen["ok"].is_u64(), "{at}: {seen}"),
            _ => assert_eq!(seen, &whole[at], "{at}"),
        }
    }
    assert_eq!(seen.len(), whole.len());
    // Each time the call, and the completion inside it.
    let resent = output.spent("resent");
    assert_eq!((server.requests().len(), resent), (2 + KILLS, 2 * KILLS as u64));
    let replay = home.host().args(["replay", &home.newest_run(), "--output", "json"]);
    replay.output().expect(0).says(&["held a folder"]);
}

/// What a wait had behind it when its run was stopped counts: the rest is waited for, and not the whole anew.
#[test]
fn a_wait_goes_on_where_it_was() {
    const WHOLE: Duration = Duration::from_secs(6);
    const BEHIND: Duration = Duration::from_secs(5);
    let ms = WHOLE.as_millis() as u64;
    let open = || json!({ "do": "open", "name": "notes" });
    let changes = || json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": ms });
    let longer = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 600_000 });
    // With the write all that the tool was told is on the disk.
    let alone = json!({ "do": "changes", "space": 0, "prefix": "other", "since": 0, "wait_ms": ms });
    let inside = json!({ "steps": [open(), put("a"), alone] });
    let programs = [
        vec![ask("ONE"), json!({ "do": "sleep", "ms": [ms, 10 * ms] })],
        vec![ask("ONE"), open(), changes()],
        vec![
            json!({ "do": "start-call", "name": "probe", "arguments": { "steps": [open(), longer] } }),
            ask("ONE"),
            json!({ "do": "wait-any-call", "calls": [0], "timeout_ms": ms }),
        ],
        vec![
            ask("ONE"),
            json!({ "do": "call", "name": "probe", "arguments": inside }),
        ],
    ];
    let waiting = programs.map(|program| {
        let server = ModelServer::start([Turn::text("one")]);
        let home = Home::with_model(&server, Format::OpenAi);
        let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
        let host = host.args(["--allow", "probe-tool=blackboard:notes", "--allow", "blackboard:notes"]);
        let process = host.probe(&steps(&program)).start();
        server.wait_for(1, LONG);
        (home, process)
    });
    // This is the time that they have behind them.
    std::thread::sleep(BEHIND);
    let stopped = waiting.map(|(home, process)| {
        process.signal(Signal::INT);
        process.finish().expect(130);
        home
    });
    let resumed = stopped.each_ref().map(|home| {
        let run = home.newest_run();
        home.host().args(["resume", &run, "--output", "json"]).start()
    });
    for (n, resumed) in resumed.into_iter().enumerate() {
        let resumed = resumed.finish().expect(0);
        assert!(resumed.took < WHOLE - BEHIND + slack(), "{n}: {:?}", resumed.took);
        let awake = Duration::from_millis(resumed.spent("wall_clock_ms"));
        assert!(awake >= WHOLE, "{n}: it was awake for {awake:?}");
    }
}

/// A model that was refused inside a call that runs code was not asked: the iteration is given back, whether or not the run was killed meanwhile.
#[test]
fn a_refusal_inside_of_code_counts_the_same_after_a_kill() {
    // Without a message it is refused.
    let inside = json!({ "steps": [{ "do": "complete", "messages": [] }] });
    let program = steps(&[json!({ "do": "agent", "user": "Go on.", "turns": 2 })]);
    let given_back = |lost: Option<Turn>| {
        let kill = lost.is_some();
        let turns = [Turn::call("probe", &inside)].into_iter().chain(lost);
        let server = ModelServer::start(Script::from(turns.collect::<Vec<_>>()).then(Turn::text("done")));
        let home = Home::with_model(&server, Format::OpenAi);
        let code = saying(&home, &guests::built("probe-tool"), "hints: none", "hints: same");
        let manifest = "name = \"coder\"\nversion = \"0.1.0\"\ndescription = \"Runs code.\"\ntoolset = \"code_execution\"\n\
            [[wants]]\ngrant = \"llm\"\nreason = \"Asks.\"\n";
        let code = wanting(&home, &code, "coder.wasm", manifest);
        let add = home.host().args(["plugin", "add"]).arg(code);
        add.args(["--allow", "llm", "--yes"]).output().expect(0);
        let output = match kill {
            true => killed_at(&server, &home, &program, 2, &["--tool", "coder"], 0),
            false => home.host().args(["--tool", "coder"]).probe(&program).output().expect(0),
        };
        let seen = output.seen()[0].to_string();
        assert!(seen.contains("at least one message"), "{seen}");
        (output.spent("iterations"), output.spent("refunded"))
    };
    assert_eq!(given_back(None), (1, 1));
    assert_eq!(given_back(Some(Turn::fault(Fault::StallMidStream))), (1, 1));
}

#[test]
fn an_instance_has_the_memory_that_its_run_began_with() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream), Turn::text("yes")]);
    let home = Home::with_model(&server, Format::OpenAi);
    // More than there is by default: 64 MiB are 1,024 pages.
    let program = steps(&[ask("first"), json!({ "do": "allocate", "pages": 1_500 })]);
    let output = killed_at(&server, &home, &program, 1, &["--set", "limits.memory=128MiB"], 0);
    assert_eq!(output.seen()[1]["ok"][0], 1_500, "{}", output.seen()[1]);
}
