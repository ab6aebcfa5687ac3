//! Agents beside, above and after one another: what passes between them, when one ends, and what is left when it was stopped, started
//! again, or killed with its host.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, exit, inside, join, summary, words};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::{refusal, slack};
use hermes_tests::program::{ask, open, steps};
use hermes_tests::{Home, Host, Output, Process, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A net for what a test waits for.
const LONG: Duration = Duration::from_secs(60);

const MUCH_FUEL: u64 = 9_000_000_000_000_000;

fn put(key: &str) -> Value {
    json!({ "do": "put", "space": 0, "key": key, "value": "now" })
}

/// Waits until somebody writes this key.
fn await_key(key: &str) -> Value {
    json!({ "do": "changes", "space": 0, "prefix": key, "since": 0, "wait_ms": 600_000 })
}

fn note(message: &str) -> Value {
    json!({ "do": "log", "level": "Info", "message": message })
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "do": "call", "name": name, "arguments": arguments })
}

fn checkpoint(summary: &str) -> Value {
    let report = json!({ "outcome": "PartlyAchieved", "summary": summary, "artifacts": [], "open_questions": [] });
    json!({ "do": "checkpoint", "report": report })
}

/// A child that shares its parent's notes.
fn sharing(program: &Value) -> ChildSpec {
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    ChildSpec::probe(program).with("spaces", notes)
}

fn with_tools(host: Host) -> Host {
    host.arg("--tool").arg(guests::built("probe-tool"))
}

/// The newest run, once it is on the disk.
fn run_of(home: &Home) -> String {
    let begun = Instant::now();
    loop {
        let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
        if let Some(run) = runs[0]["run"].as_str() {
            return run.to_owned();
        }
        assert!(begun.elapsed() < LONG, "the run never began");
    }
}

/// Waits until the first child's row has this value.
#[track_caller]
fn child_with(home: &Home, run: &str, key: &str, value: &Value) -> Value {
    let begun = Instant::now();
    loop {
        let child = home.shown(run)["agents"][1].clone();
        if child[key] == *value {
            return child;
        }
        assert!(begun.elapsed() < LONG, "{key} never was {value}: {child}");
    }
}

/// Kills it with SIGKILL, and goes on with its run.
#[track_caller]
fn killed(home: &Home, process: Process) -> Output {
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None);
    let run = run_of(home);
    let output = home.host().args(["resume", &run, "--output", "json"]).output();
    output.expect(0)
}

/// Milliseconds between two notes of an agent.
fn between(agent: &Value, first: &str, second: &str) -> u64 {
    let at = |words: &str| {
        let mut notes = agent["notes"].as_array().unwrap().iter();
        let note = notes.find(|note| note["text"].as_str().unwrap().ends_with(words));
        note.unwrap_or_else(|| panic!("no note {words}: {agent}"))["at_ms"]
            .as_u64()
            .unwrap()
    };
    at(second) - at(first)
}

#[test]
fn no_conversation_of_several_researchers_crosses() {
    const NAMES: [&str; 3] = ["MELT", "FIELD", "FLOW"];
    let path = |name: &str| format!("/papers/{}.md", name.to_lowercase());
    let tasks = NAMES.map(|name| {
        json!({ "id": name.to_lowercase(), "role": "reader", "prompt": format!("FIND-{name}"), "toolsets": ["filesystem"] })
    });
    let verdicts = r#"{"verdicts":[]}"#;
    let answer = NAMES.map(|name| format!("REPORT-{name} ({}:1).", path(name))).join(" ");
    let plan = json!({ "tasks": tasks }).to_string();
    let lead = [Turn::text(plan), Turn::text(verdicts), Turn::text(answer)];
    let script = NAMES
        .iter()
        .fold(Script::default().when("The task:", lead), |script, name| {
            let read = json!({ "path": path(name) }).to_string();
            let work = [
                Turn::text(format!("INNER-{name}")).and_call("call_1", "read_file", &read),
                Turn::text(format!("REPORT-{name} ({}:1).", path(name))),
            ];
            script.when(&format!("FIND-{name}"), work)
        });
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    for name in NAMES {
        home.write(&path(name)[1..], format!("What limits it.\nMARGIN-{name}\n"));
    }
    let host = home.host().args(["--plugin", "supervisor", "What limits growth?"]);
    let host = host.args(["--allow", "fs:./papers", "--output", "json"]);
    let output = host.output().expect(0);
    assert_eq!(
        (output.json()["agents"].as_array().unwrap().len(), server.surplus()),
        (4, 0)
    );
    let bodies = server.requests();
    let bodies: Vec<_> = bodies
        .iter()
        .map(|request| json!(request.messages()).to_string())
        .collect();
    let (lead, others): (Vec<&String>, Vec<&String>) = bodies.iter().partition(|body| body.contains("The task:"));
    assert_eq!((lead.len(), others.len()), (3, 6));
    for name in NAMES {
        let of = |what: &str| format!("{what}-{name}");
        let (mine, strange): (Vec<&String>, Vec<&String>) = others.iter().partition(|body| body.contains(&of("FIND")));
        assert_eq!(mine.len(), 2, "its task is in each of its own");
        assert!(
            mine[1].contains(&of("INNER")) && mine[1].contains(&of("MARGIN")),
            "it goes on with its own turns: {}",
            mine[1]
        );
        assert!(
            mine.iter().all(|body| !body.contains("What limits growth?")),
            "{mine:?}"
        );
        for body in strange {
            let crossed = ["FIND", "INNER", "MARGIN", "REPORT"].map(of);
            assert!(!crossed.iter().any(|words| body.contains(words)), "{name}: {body}");
        }
        for body in &lead {
            assert!(!body.contains(&of("INNER")) && !body.contains(&of("MARGIN")), "{body}");
        }
        assert!(
            lead[2].contains(&of("REPORT")),
            "of each it has the report: {}",
            lead[2]
        );
    }
}

/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

/// The strategy `huge-report`, whose report is said to have 100 MiB instead, in a memory that holds it.
fn a_hundred_mebibytes() -> Vec<u8> {
    let mut guest = std::fs::read(guests::built("huge-report")).unwrap();
    let mut change = |from: &[u8], to: &[u8]| {
        let at: Vec<_> = (0..guest.len()).filter(|at| guest[*at..].starts_with(from)).collect();
        assert_eq!(at.len(), 1, "{from:x?} is there once");
        guest[at[0]..at[0] + to.len()].copy_from_slice(to);
    };
    // `i32.const`, of 48 MiB and of 100; and the section of one memory, of 800 pages and of 1601.
    change(&[0x41, 0x80, 0x80, 0x80, 0x18], &[0x41, 0x80, 0x80, 0x80, 0x32]);
    change(&[5, 4, 1, 0, 0xa0, 0x06], &[5, 4, 1, 0, 0xc1, 0x0c]);
    guest
}

/// The most that a process has held so far, in bytes.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Joins a child in a home where `huge` is a strategy, beside two siblings that go on after its end: how it ended, what its host held at
/// most until then, and the home.
#[track_caller]
fn joined(child: &ChildSpec, settings: &[(&str, &str)]) -> (Value, u64, Home) {
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let plugins = home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::write(plugins.join("huge.wasm"), a_hundred_mebibytes()).unwrap();
    let shared = json!({ "do": "open", "name": "shared" });
    let sibling = json!({ "steps": [shared, await_key("ended"), ask("BESIDE")], "summary": "a healthy answer" });
    let spaces = json!([{ "space": "shared", "prefix": "", "access": "ReadWrite" }]);
    let sibling = ChildSpec::probe(&sibling).with("spaces", spaces).spawn();
    // It asks when it has joined, and stays until its host's memory was looked at.
    let program = steps(&[
        shared,
        child.spawn(),
        sibling.clone(),
        sibling,
        join(0),
        put("ended"),
        join(1),
        join(2),
        ask("JOINED"),
        await_key("go"),
    ]);
    let host = with_tools(home.host()).args(["--allow", "blackboard:shared"]);
    let host = settings.iter().fold(host, |host, (key, value)| host.set(key, value));
    let process = host.probe(&program).start();
    server.wait_for(3, LONG);
    let peak = peak(&process);
    let go = home.host().args(["blackboard", "put", "shared", "go", "now"]);
    go.output().expect(0);
    let seen = process.finish().expect(0).seen();
    for healthy in [&seen[6], &seen[7]] {
        assert_eq!(exit(healthy), "Returned", "{healthy}");
        assert!(summary(healthy).contains("a healthy answer"), "{healthy}");
    }
    (seen[4].clone(), peak, home)
}

#[test]
fn a_report_of_a_hundred_mebibytes_costs_its_host_little() {
    let room = ("limits.memory", "128MiB");
    let (_, quiet, _) = joined(&ChildSpec::probe(&steps(&[])), &[room]);
    let huge = ChildSpec::of("huge", "");
    let (seen, peak, _) = joined(&huge, &[room]);
    assert_eq!((exit(&seen), &seen["ok"]["report"]), ("Trapped".into(), &Value::Null));
    assert!(words(&seen).contains("limits.hostcall_bytes"), "{seen}");
    assert!(peak < quiet + 50 * MIB, "it was not even read: {peak} and {quiet}");
    // Where so much may cross, it is measured and refused.
    let (seen, peak, _) = joined(&huge, &[room, ("limits.hostcall_bytes", "128MiB")]);
    assert_eq!((exit(&seen), &seen["ok"]["report"]), ("Failed".into(), &Value::Null));
    assert!(words(&seen).contains("limits.report"), "{seen}");
    // The allocator moves what grows, and has it twice while it does.
    assert!(peak < quiet + 350 * MIB, "three copies at most: {peak} and {quiet}");
}

#[test]
fn the_longest_report_is_cut_for_its_parent_and_kept_as_far_as_it_fits() {
    let settings = [
        ("limits.memory", "256MiB"),
        ("limits.report", "16MiB"),
        ("limits.tool_result", "8MiB"),
        ("limits.scrub.tool", "8000000"),
    ];
    let quiet = ChildSpec::probe(&steps(&[])).with("toolsets", json!(["probe-tool"]));
    let (_, quiet, _) = joined(&quiet, &settings);
    // What it saw is its summary, and once more its result.
    let program = json!({ "steps": [call("big", &json!({ "n": 5_000_000 }))] });
    let talker = ChildSpec::probe(&program).with("toolsets", json!(["probe-tool"]));
    let (seen, peak, home) = joined(&talker, &settings);
    assert_eq!(exit(&seen), "Returned", "{seen}");
    let (read, chars) = (summary(&seen), summary(&seen).chars().count());
    assert!((20_000..=24_500).contains(&chars), "{chars} characters");
    assert_eq!(seen["ok"]["report"]["result_json"], Value::Null);
    for kept in [
        "whole text: spill/0/child-1-1-report, 4194304 bytes of 5",
        "(limits.scrub.spill)",
        "[structured result of 5",
        "spill/0/child-1-1-result",
    ] {
        assert!(read.contains(kept), "{kept} is missing: {}", &read[read.len() - 600..]);
    }
    assert!(peak < quiet + 128 * MIB, "{peak} and {quiet}");
    let space = format!("{}/spill", run_of(&home));
    let ls = home.host().args(["blackboard", "ls", &space, "--output", "json"]);
    let keys = ls.output().expect(0).json();
    let of_report = |key: &&Value| key.as_str().unwrap().starts_with("0/child-1-1-report/");
    assert_eq!(
        keys.as_array().unwrap().iter().filter(of_report).count(),
        16,
        "4 MiB in pieces of 256 KiB"
    );
}

/// Cancels a child that has begun: how it ended, the milliseconds until its parent knew, and the run's agents.
#[track_caller]
fn cancelled(program: &Value, grace: &str) -> (Value, u64, Value) {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let cancel = json!({ "do": "cancel-child", "child": 0 });
    let program = [
        open(),
        sharing(program).spawn(),
        await_key("begun"),
        note("it asks"),
        cancel,
        join(0),
        note("it knows"),
    ];
    let host = home
        .host()
        .set("limits.cancel_grace", grace)
        .set("limits.fuel", MUCH_FUEL);
    let output = host.probe(&steps(&program)).output().expect(0);
    let agents = home.shown(output.json()["run"].as_str().unwrap())["agents"].clone();
    let took = between(&agents[0], "it asks", "it knows");
    (output.seen()[5].clone(), took, agents)
}

/// A child that works on whatever it is told.
fn deaf() -> Value {
    steps(&[open(), checkpoint("half of it"), put("begun"), json!({ "do": "spin" })])
}

fn margin() -> u64 {
    u64::try_from(slack().as_millis()).unwrap() * 2
}

#[test]
fn a_child_that_ignores_its_cancel_has_the_grace_and_no_more() {
    let (seen, took, agents) = cancelled(&deaf(), "1500ms");
    assert_eq!(
        (exit(&seen), summary(&seen).contains("half of it")),
        ("Cancelled".into(), true)
    );
    assert!((1500..1500 + margin()).contains(&took), "{took} ms");
    assert_eq!(
        (&agents[0]["cancel_asked"], &agents[1]["cancel_asked"]),
        (&json!(false), &json!(true)),
        "what was asked is on record"
    );
    assert_eq!(agents[1]["status"], "cancelled");
}

#[test]
fn a_child_that_heeds_its_cancel_returns_at_once_with_its_report() {
    let program = json!({ "steps": [open(), put("begun"), await_key("never")], "summary": "in good order" });
    let (seen, took, agents) = cancelled(&program, "1m");
    assert_eq!(
        (exit(&seen), summary(&seen).contains("in good order")),
        ("Cancelled".into(), true)
    );
    assert_eq!(
        refusal(&inside(&seen)[2]).as_deref(),
        Some("cancelled"),
        "it was told: {seen}"
    );
    assert!(took < margin(), "{took} ms");
    assert_eq!(
        (&agents[1]["cancel_asked"], &agents[1]["status"]),
        (&json!(true), &json!("cancelled"))
    );
}

/// A child that spawns another and joins it, with a report of its own.
fn joining(child: &Value) -> Value {
    json!({ "steps": [open(), sharing(child).spawn(), join(0)], "summary": "in good order" })
}

#[test]
fn whoever_joins_a_child_that_ignores_its_cancel_hears_how_it_ended() {
    for depth in [1, 2] {
        let program = (0..depth).fold(deaf(), |child, _| joining(&child));
        let (mut seen, took, agents) = cancelled(&program, "500ms");
        for _ in 0..depth {
            assert_eq!(exit(&seen), "Cancelled", "{seen}");
            assert!(summary(&seen).contains("in good order"), "its own report: {seen}");
            seen = inside(&seen)[2].clone();
        }
        assert_eq!(exit(&seen), "Cancelled", "{seen}");
        assert!(summary(&seen).contains("half of it"), "{seen}");
        assert!((500..500 + margin()).contains(&took), "{took} ms");
        let agents = agents.as_array().unwrap();
        assert_eq!(agents.len(), depth + 2);
        assert!(
            agents[1..].iter().all(|agent| agent["status"] == "cancelled"),
            "{agents:?}"
        );
    }
}

#[test]
fn a_parent_that_ignores_its_cancel_has_no_more_of_a_grace_for_its_children() {
    let spins = [
        open(),
        checkpoint("a part of it"),
        sharing(&deaf()).spawn(),
        json!({ "do": "spin" }),
    ];
    let (seen, took, agents) = cancelled(&steps(&spins), "500ms");
    assert_eq!(exit(&seen), "Cancelled", "{seen}");
    assert!(summary(&seen).contains("a part of it"), "{seen}");
    assert!((500..500 + margin()).contains(&took), "{took} ms");
    let agents = agents.as_array().unwrap();
    assert_eq!(agents.len(), 3);
    assert!(
        agents[1..].iter().all(|agent| agent["status"] == "cancelled"),
        "{agents:?}"
    );
}

#[test]
fn a_cancel_that_was_asked_for_outlives_its_host() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream), Turn::text("yes")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let cancel = json!({ "do": "cancel-child", "child": 0 });
    let program = [
        open(),
        sharing(&deaf()).spawn(),
        await_key("begun"),
        cancel,
        ask("AFTER"),
        join(0),
    ];
    let host = home
        .host()
        .set("limits.cancel_grace", "1m")
        .set("limits.step_wall", "10m");
    let process = host.set("limits.fuel", MUCH_FUEL).probe(&steps(&program)).start();
    server.wait_for(1, LONG);
    let child = child_with(&home, &run_of(&home), "cancel_asked", &json!(true));
    assert_eq!(child["status"], "active", "it has the grace yet: {child}");
    let output = killed(&home, process);
    let seen = &output.seen()[5];
    assert_eq!(
        (exit(seen), summary(seen).contains("half of it")),
        ("Cancelled".into(), true)
    );
    assert!(output.took < LONG / 2, "it is not begun again: {:?}", output.took);
}

#[test]
fn a_child_that_ended_before_its_host_was_killed_is_joined_after_it() {
    let script = Script::default()
        .when("CHILD", Script::from([Turn::text("FIRST")]).then(Turn::text("SECOND")))
        .when("PARENT", [Turn::fault(Fault::StallMidStream), Turn::text("yes")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&json!({ "steps": [ask("CHILD")] }));
    // Its parent has heard nothing of its end.
    let program = steps(&[
        child.spawn(),
        ask("PARENT"),
        join(0),
        json!({ "do": "status", "child": 0 }),
    ]);
    let process = home.host().probe(&program).start();
    server.wait_for(2, LONG);
    let run = run_of(&home);
    let before = child_with(&home, &run, "status", &json!("completed"));
    let output = killed(&home, process);
    let seen = output.seen();
    assert_eq!(
        (exit(&seen[2]), &seen[2]["ok"]["attempts"]),
        ("Returned".into(), &json!(1))
    );
    assert!(
        summary(&seen[2]).contains("FIRST") && !summary(&seen[2]).contains("SECOND"),
        "{}",
        seen[2]
    );
    assert_eq!(seen[3]["ok"]["ended"], true);
    assert_eq!(home.shown(&run)["agents"][1], before, "nothing of it was written again");
    let requests = server.requests();
    let of_child = requests
        .iter()
        .filter(|request| json!(request.messages()).to_string().contains("CHILD"));
    assert_eq!((of_child.count(), requests.len()), (1, 3));
    assert_eq!((output.spent("iterations"), output.spent("resent")), (2, 1));
}

#[test]
fn tool_calls_of_one_agent_keep_their_distance_and_wait_for_no_other_agents() {
    const DELAY: u64 = 1500;
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    // The tool itself says when it runs.
    let mark = json!({ "steps": [note("mark")] });
    let start = json!({ "do": "start-call", "name": "probe", "arguments": mark });
    let at_once: Vec<_> = (0..3).map(|_| start.clone()).collect();
    let waits = (0..3).map(|n| json!({ "do": "wait-call", "call": n }));
    let at_once = steps(&at_once.into_iter().chain(waits).collect::<Vec<_>>());
    let in_turn = steps(&[call("probe", &mark), call("probe", &mark), call("probe", &mark)]);
    let children =
        [&at_once, &in_turn].map(|program| ChildSpec::probe(program).with("toolsets", json!(["probe-tool"])));
    let program = steps(&[children[0].spawn(), children[1].spawn(), join(0), join(1)]);
    let host = with_tools(home.host()).set("tool_delay", format!("{DELAY}ms"));
    let events = host.probe_events(&program).output().expect(0).events();
    let times = |event: &str| {
        let mut times: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for told in events.iter().filter(|told| told["event"] == event) {
            let session = told["session"].as_str().unwrap().to_owned();
            times.entry(session).or_default().push(told["at_ms"].as_u64().unwrap());
        }
        times
    };
    let (begun, marks) = (times("tool-started"), times("log"));
    assert_eq!(marks.len(), 2, "{events:?}");
    for (session, marks) in &marks {
        assert_eq!(marks.len(), 3, "{session}");
        let first = begun[session][0];
        let late = marks.iter().zip(0..).all(|(mark, n)| *mark >= first + n * DELAY);
        assert!(late, "{session} began at {first}: {marks:?}");
    }
    let all: Vec<u64> = marks.into_values().flatten().collect();
    let took = all.iter().max().unwrap() - all.iter().min().unwrap();
    // Six calls, each of which waited for the one before it.
    assert!(took < 5 * DELAY, "{took} ms for {all:?}");
}

#[test]
fn a_conversation_is_written_as_anthropics_api_takes_it() {
    let two = Turn::text("Both at once.")
        .and_call("toolu_1", "echo", r#"{"text":"one"}"#)
        .and_call("toolu_2", "echo", r#"{"text":"two"}"#);
    let one = Turn::text("").and_call("toolu_3", "echo", r#"{"text":"three"}"#);
    let server = ModelServer::start([two, one, Turn::text("That is all.")]);
    let home = Home::with_model(&server, Format::Anthropic);
    let begin = [
        json!({ "System": "Be brief." }),
        json!({ "User": [{ "Text": "Find out." }] }),
    ];
    let (first, second) = (
        [json!({ "said": 0 }), json!({ "ran": 0 })],
        [json!({ "said": 1 }), json!({ "ran": 1 })],
    );
    let more = [json!({ "User": [{ "Text": "And then?" }] })];
    let complete =
        |messages: &[&[Value]]| json!({ "do": "complete", "messages": messages.concat(), "tools": "granted" });
    let program = steps(&[
        complete(&[&begin]),
        complete(&[&begin, &first, &more]),
        complete(&[&begin, &first, &more, &second]),
    ]);
    let output = with_tools(home.host()).probe(&program).output().expect(0);
    let refused: Vec<_> = output.seen().iter().filter_map(refusal).collect();
    assert_eq!(refused, [""; 0]);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let exported = home
        .host()
        .args(["export", &run, "--form", "provider"])
        .output()
        .expect(0);
    let lines = exported.events();
    assert_eq!(lines.len(), 1, "it is one conversation: {lines:?}");
    let list = home
        .host()
        .args(["export", &run, "--form", "provider", "--output", "json"]);
    assert_eq!(list.output().expect(0).json(), json!(lines), "one value of all lines");
    let messages = lines[0]["messages"].as_array().unwrap();
    let roles: Vec<_> = messages
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user", "assistant"]);
    let ids = |message: &Value, kind: &str, key: &str| -> Vec<String> {
        let blocks = message["content"].as_array().unwrap().iter();
        let ids = blocks
            .filter(|block| block["type"] == kind)
            .map(|block| block[key].as_str().unwrap().to_owned());
        ids.collect()
    };
    for pair in messages.windows(2).filter(|pair| pair[0]["role"] == "assistant") {
        let (used, results) = (
            ids(&pair[0], "tool_use", "id"),
            ids(&pair[1], "tool_result", "tool_use_id"),
        );
        assert!(!used.is_empty() && used == results, "{pair:?}");
        let first = pair[1]["content"].as_array().unwrap().iter().take(results.len());
        assert!(
            first.clone().all(|block| block["type"] == "tool_result"),
            "results come first: {pair:?}"
        );
    }
    let used: Vec<_> = messages
        .iter()
        .flat_map(|message| ids(message, "tool_use", "id"))
        .collect();
    assert_eq!(used, ["toolu_1", "toolu_2", "toolu_3"]);
    assert!(lines[0]["system"].to_string().contains("Be brief."), "{}", lines[0]);
    assert!(messages[2].to_string().contains("And then?") && messages[5].to_string().contains("That is all."));
    let requests = server.requests();
    assert_eq!(
        &messages[..5],
        requests[2].unfenced_messages(),
        "it is what was sent, and the answer"
    );
}

/// The conversations of a run of these completions, of which the n-th is answered `Answer n.`: what was said in each, and its answers that were changed.
fn exported(format: Format, completions: &[&[Value]]) -> Vec<(Vec<String>, Value)> {
    let turns = (0..completions.len()).map(|n| Turn::text(format!("Answer {n}.")).thinking("Hm.", "signed"));
    let server = ModelServer::start(turns.collect::<Vec<_>>());
    let home = Home::with_model(&server, format);
    let completions = completions
        .iter()
        .map(|messages| json!({ "do": "complete", "messages": messages }));
    let output = home.host().probe(&steps(&completions.collect::<Vec<_>>()));
    let output = output.output().expect(0);
    let refused: Vec<_> = output.seen().iter().filter_map(refusal).collect();
    assert_eq!(refused, [""; 0]);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let lines = home.host().args(["export", &run]).output().expect(0).events();
    let words = |line: &Value| {
        let turns = line["conversations"].as_array().unwrap().iter();
        turns.map(|turn| turn["value"].as_str().unwrap().to_owned()).collect()
    };
    lines
        .iter()
        .map(|line| (words(line), line["changed"].clone()))
        .collect()
}

fn user(words: &str) -> Value {
    json!({ "User": [{ "Text": words }] })
}

fn said(completion: usize) -> Value {
    json!({ "said": completion })
}

fn as_said(words: &str) -> Value {
    json!({ "Assistant": [{ "Text": words }] })
}

/// Panics unless these are the conversations, and no answer in them was changed.
#[track_caller]
fn unchanged(exported: &[(Vec<String>, Value)], conversations: &[&[&str]]) {
    let expected: Vec<(Vec<String>, Value)> = conversations
        .iter()
        .map(|words| (words.iter().map(|word| (*word).to_owned()).collect(), json!([])))
        .collect();
    assert_eq!(exported, expected);
}

#[test]
fn a_conversation_goes_on_from_the_answer_that_it_holds() {
    let (q, more) = (user("Q"), user("More"));
    let ask = [q.clone()];
    let sampled = |of: usize| exported(Format::OpenAi, &[&ask, &ask, &[q.clone(), said(of), more.clone()]]);
    unchanged(
        &sampled(0),
        &[&["Q", "Answer 0.", "More", "Answer 2."], &["Q", "Answer 1."]],
    );
    unchanged(
        &sampled(1),
        &[&["Q", "Answer 0."], &["Q", "Answer 1.", "More", "Answer 2."]],
    );
    // On from one answer twice, and not from the other.
    let twice = exported(
        Format::OpenAi,
        &[
            &ask,
            &ask,
            &[q.clone(), said(0), user("A")],
            &[q.clone(), said(0), user("B")],
            &[q.clone(), said(0), user("A"), said(2), user("C")],
        ],
    );
    unchanged(
        &twice,
        &[
            &["Q", "Answer 0.", "A", "Answer 2.", "C", "Answer 4."],
            &["Q", "Answer 1."],
            &["Q", "Answer 0.", "B", "Answer 3."],
        ],
    );
    // What the answer was left out of holds none of it.
    let left_out = exported(Format::OpenAi, &[&ask, &[q.clone(), more.clone()]]);
    unchanged(&left_out, &[&["Q", "Answer 0."], &["Q", "More", "Answer 1."]]);
}

#[test]
fn an_answer_that_an_agent_changed_is_told_beside_its_conversation() {
    let (q, more) = (user("Q"), user("More"));
    let ask = [q.clone()];
    let goes_on = |answer: &str| [q.clone(), as_said(answer), more.clone()];
    let both = exported(
        Format::OpenAi,
        &[&ask, &ask, &goes_on("In short."), &goes_on("Shorter.")],
    );
    let changed = |said: &str, given_back: &str| {
        let turn = |words: &str| json!([{ "from": "gpt", "value": words }]);
        json!([{ "said": turn(said), "given_back": turn(given_back) }])
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    // The latest that was asked the same and not gone on with.
    assert_eq!(
        both,
        [
            (
                words(&["Q", "Shorter.", "More", "Answer 3."]),
                changed("Answer 0.", "Shorter.")
            ),
            (
                words(&["Q", "In short.", "More", "Answer 2."]),
                changed("Answer 1.", "In short.")
            ),
        ]
    );
    // Without its reasoning it is the same answer.
    let bare = exported(Format::Anthropic, &[&ask, &goes_on("Answer 0.")]);
    unchanged(&bare, &[&["Q", "Answer 0.", "More", "Answer 1."]]);
}

#[test]
fn what_a_child_had_done_outlives_its_last_attempt() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let trap = || json!({ "do": "trap" });
    let once = |steps: &[Value]| json!({ "do": "first-attempt", "steps": steps });
    // One gets further with its second attempt; one never gets as far again.
    let further = steps(&[
        once(&[checkpoint("half of it"), trap()]),
        checkpoint("most of it"),
        trap(),
    ]);
    let never = steps(&[once(&[checkpoint("half of it"), trap()]), trap()]);
    let (further, never) = (ChildSpec::probe(&further), ChildSpec::probe(&never));
    let program = steps(&[
        further.with("max_attempts", 3).spawn(),
        never.with("max_attempts", 2).spawn(),
        join(0),
        join(1),
    ]);
    let output = home.host().probe(&program).output().expect(0);
    let (seen, json) = (output.seen(), output.json());
    for (child, attempts, work) in [(1, 3, "most of it"), (2, 2, "half of it")] {
        let seen = &seen[child + 1];
        assert_eq!(
            (exit(seen), &seen["ok"]["attempts"]),
            ("Trapped".into(), &json!(attempts))
        );
        assert!(words(seen).contains("unreachable"), "the last cause: {seen}");
        let told = summary(seen);
        let stale = work != "half of it" && told.contains("half of it");
        assert!(told.contains(work) && !stale, "{told}");
        assert_eq!(seen["ok"]["report"]["outcome"], "PartlyAchieved");
        let agent = &json["agents"][child];
        assert_eq!(
            (&agent["status"], &agent["exit"], &agent["outcome"], &agent["attempts"]),
            (
                &json!("failed"),
                &json!("trapped"),
                &json!("partly-achieved"),
                &json!(attempts)
            )
        );
    }
}

#[test]
fn what_a_restarted_child_had_left_is_read_in_full_by_its_next_attempt() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let whole: String = (0..60).map(|n| format!("line {n} of what was done\n")).collect();
    // The first child of a run has number 1.
    let prefix = "1/1-report";
    let child = steps(&[
        json!({ "do": "first-attempt", "steps": [checkpoint(&whole), { "do": "trap" }] }),
        json!({ "do": "open", "name": "spill" }),
        json!({ "do": "get", "space": 0, "key": format!("{prefix}/0001") }),
        json!({ "do": "keys", "space": 0, "prefix": "", "limit": 10 }),
    ]);
    let program = steps(&[ChildSpec::probe(&child).with("max_attempts", 2).spawn(), join(0)]);
    let output = home
        .host()
        .set("limits.scrub.report", 500)
        .probe(&program)
        .output()
        .expect(0);
    let seen = &output.seen()[1];
    assert_eq!((exit(seen), &seen["ok"]["attempts"]), ("Returned".into(), &json!(2)));
    // What it saw is more than its parent's characters have room for.
    let space = format!("{}/spill", output.json()["run"].as_str().unwrap());
    let get = home
        .host()
        .args(["blackboard", "get", &space, "0/child-1-2-result/0001"]);
    let result: Value = serde_json::from_str(&get.output().expect(0).stdout).unwrap();
    assert_eq!(result["attempt"], 2, "{result}");
    let told = result["previous"]["report"]["summary"].as_str().unwrap();
    assert!(!told.contains(&whole), "{told}");
    let named = format!("[whole text: spill/{prefix}, {} bytes]", whole.len());
    assert!(told.contains(&named), "{named} is missing: {told}");
    let read = result["seen"][2]["ok"]["value"]["data"].as_array();
    let read = read.unwrap_or_else(|| panic!("not read: {}", result["seen"][2]));
    let read: Vec<u8> = read
        .iter()
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(String::from_utf8(read).unwrap(), whole);
    assert_eq!(
        result["seen"][3]["ok"],
        json!([format!("{prefix}/0001")]),
        "its own alone"
    );
}

/// A child that only runs code, for as long as it may: with five iterations, in two attempts. `before` is its first attempt.
fn coder(before: &[Value]) -> Value {
    let on = json!({ "do": "agent", "user": "Go on.", "turns": 1000 });
    let child = ChildSpec::probe(&steps(&[json!({ "do": "first-attempt", "steps": before }), on]));
    let child = child
        .with("toolsets", json!(["code_execution"]))
        .with("max_attempts", 2);
    steps(&[child.limit("Iterations", 5).spawn(), join(0)])
}

/// Two turns that are given back, and a trap.
fn two_free_turns() -> [Value; 2] {
    [
        json!({ "do": "agent", "user": "Go on.", "turns": 2 }),
        json!({ "do": "trap" }),
    ]
}

#[track_caller]
fn three_were_free(output: &Output, attempts: u32) {
    let seen = &output.seen()[1];
    assert_eq!(
        (exit(seen), &seen["ok"]["attempts"]),
        ("Exhausted(Iterations)".into(), &json!(attempts))
    );
    let json = output.json();
    assert_eq!(
        (
            &json["spent"]["refunded"],
            output.spent("iterations"),
            output.spent("closing")
        ),
        (&json!(3), 5, 1),
        "{json}"
    );
}

#[test]
fn a_restart_gives_no_free_turns_back() {
    let code = Turn::call("run_script", &json!({ "script": "2 + 2" }));
    let server = ModelServer::start(Script::always(code));
    let home = Home::with_model(&server, Format::OpenAi);
    let host = home.host().set("limits.free_turns", 3);
    let output = host.probe(&coder(&two_free_turns())).output().expect(0);
    three_were_free(&output, 2);
    assert_eq!(
        server.requests().len(),
        2 + 1 + 5 + 1,
        "free, free after the restart, charged, one to close"
    );
}

#[test]
fn neither_does_the_end_of_the_host() {
    for (before, attempts) in [(&two_free_turns()[..], 2), (&[], 1)] {
        let code = || Turn::call("run_script", &json!({ "script": "2 + 2" }));
        let script = Script::from([code(), code(), Turn::fault(Fault::StallMidStream)]).then(code());
        let server = ModelServer::start(script);
        let home = Home::with_model(&server, Format::OpenAi);
        let process = home.host().set("limits.free_turns", 3).probe(&coder(before)).start();
        server.wait_for(3, LONG);
        let output = killed(&home, process);
        three_were_free(&output, attempts);
        assert_eq!(
            (server.requests().len(), output.spent("resent")),
            (2 + 1 + 1 + 5 + 1, 1),
            "free, lost, free in its place, charged, one to close"
        );
    }
}

#[test]
fn a_trap_stops_its_agents_tool_call_and_a_sibling_has_what_was_set_aside() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let tools = json!(["probe-tool"]);
    let spin = json!({ "do": "start-call", "name": "spin" });
    let traps = steps(&[open(), spin, put("a/begun"), await_key("a/go"), json!({ "do": "trap" })]);
    let traps = sharing(&traps).with("toolsets", tools.clone()).limit("ToolCalls", 2);
    let echo = call("echo", &json!({ "text": "x" }));
    let sibling = steps(&[
        open(),
        await_key("a/begun"),
        echo.clone(),
        echo.clone(),
        echo.clone(),
        put("b/full"),
        await_key("a/ended"),
        echo.clone(),
        echo,
    ]);
    let sibling = sharing(&sibling).with("toolsets", tools);
    let left = json!({ "do": "remaining", "dimension": "ToolCalls" });
    let program = steps(&[
        open(),
        traps.spawn(),
        sibling.spawn(),
        await_key("b/full"),
        left.clone(),
        put("a/go"),
        join(0),
        left.clone(),
        put("a/ended"),
        join(1),
        left,
    ]);
    let host = with_tools(home.host()).args(["--budget", "tree.tool-calls=4"]);
    let host = host.set("limits.fuel", MUCH_FUEL).set("limits.step_wall", "10m");
    let output = host.probe(&program).output().expect(0);
    let seen = output.seen();
    assert_eq!((exit(&seen[6]), exit(&seen[9])), ("Trapped".into(), "Returned".into()));
    let sibling = inside(&seen[9]);
    let refused: Vec<_> = [2, 3, 4, 7, 8].iter().map(|n| refusal(&sibling[*n])).collect();
    let none = Some("exhausted(tool-calls)".to_owned());
    assert_eq!(
        refused,
        [None, None, none.clone(), None, none],
        "two were set aside, of which one was never used"
    );
    assert_eq!(
        (&seen[4]["ok"], &seen[7]["ok"], &seen[10]["ok"]),
        (&json!(0), &json!(1), &json!(0))
    );
    assert_eq!(output.spent("tool_calls"), 4);
    let agents = home.shown(output.json()["run"].as_str().unwrap())["agents"].clone();
    let mut operations = agents[1]["operations"].as_array().unwrap().iter();
    let stopped = operations.find(|op| op["name"] == "spin").unwrap();
    assert_eq!(
        (&stopped["kind"], &stopped["status"]),
        (&json!("tool-call"), &json!("cancelled"))
    );
    assert_eq!(agents[1]["spent"]["tool_calls"], 1, "the one that it began");
}
