//! Nothing that a guest sees differs between a run, the same run in instances that were given up and built again, the same run after a kill or a stop,
//! and each of them replayed: random strategies that call every interface, with children, parallel calls, time-outs, models that stall or fail once,
//! restarts, budgets of each kind that run out and cancels, and that ask after each step for a key which names a digest of every byte that they saw. One
//! byte that differs is another call, and the run ends as `diverged`.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::collections::BTreeSet;

use hermes_tests::child::ChildSpec;
use hermes_tests::host::PASSIVATE;
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::program::ask;
use hermes_tests::{Home, Host, Output, Process, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Numbers from a seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// A program that grows step by step, and what it has to name so far.
struct Program {
    steps: Vec<Value>,
    pending: u64,
    calls: u64,
    children: u64,
}

impl Program {
    /// A random program of `length` steps whose children nest `depth` deep.
    fn random(dice: &mut Dice, length: u64, depth: u64) -> Value {
        let mut program = Self {
            steps: vec![
                json!({ "do": "open", "name": "board" }),
                json!({ "do": "witness", "space": 0 }),
            ],
            pending: 0,
            calls: 0,
            children: 0,
        };
        for _ in 0..length {
            let step = program.step(dice, depth);
            program.steps.push(step);
        }
        // What comes too seldom by itself.
        let asked = json!({ "do": "start", "messages": messages(dice) });
        let cancelled = json!({ "do": "cancel", "pending": program.pending });
        program.steps.extend([asked, cancelled]);
        if program.children > 0 {
            let children: Vec<u64> = (0..program.children).collect();
            let wait = json!({ "do": "wait-any-child", "children": children, "timeout_ms": dice.below(60) });
            program.steps.push(wait);
        }
        if dice.below(4) == 0 {
            // What it did so far it does once more.
            let at = 2 + dice.below(length);
            let trap = json!({ "do": "trap-before", "attempt": 2 + dice.below(2) });
            program.steps.insert(usize::try_from(at).unwrap(), trap);
        }
        json!({ "steps": program.steps, "summary": "done" })
    }

    fn step(&mut self, dice: &mut Dice, depth: u64) -> Value {
        match dice.below(18) {
            0 => json!({ "do": "complete", "messages": messages(dice), "tools": "granted", "options": options(dice) }),
            1 => {
                self.pending += 1;
                json!({ "do": "start", "messages": messages(dice), "options": options(dice) })
            }
            2 if self.pending > 0 => {
                let what = dice.one_of(&["wait", "wait", "cancel"]);
                json!({ "do": what, "pending": dice.below(self.pending) })
            }
            3 => json!({ "do": "agent", "user": dice.one_of(&["TOOLS please", "just say"]), "turns": 3 }),
            4 => call(dice, "call"),
            5 => {
                self.calls += 1;
                call(dice, "start-call")
            }
            6 if self.calls > 0 => match dice.below(3) {
                0 => json!({ "do": "wait-call", "call": dice.below(self.calls) }),
                1 => json!({ "do": "cancel-call", "call": dice.below(self.calls) }),
                _ => {
                    let calls: Vec<u64> = (0..self.calls).filter(|_| dice.below(2) == 0).collect();
                    json!({ "do": "wait-any-call", "calls": calls, "timeout_ms": dice.below(60) })
                }
            },
            7 | 17 if depth > 0 && self.children < 4 => {
                self.children += 1;
                child(dice, depth).spawn()
            }
            8 if self.children > 0 => match dice.below(5) {
                4 => json!({ "do": "children" }),
                0 => json!({ "do": "join-last" }),
                1 => json!({ "do": "status", "child": dice.below(self.children) }),
                2 => json!({ "do": "cancel-child", "child": dice.below(self.children) }),
                _ => {
                    let children: Vec<u64> = (0..self.children).collect();
                    json!({ "do": "wait-any-child", "children": children, "timeout_ms": dice.below(60) })
                }
            },
            9 => board(dice),
            10 => board(dice),
            11 => json!({ "do": "clocks", "readings": 1 + dice.below(1500) }),
            12 => json!({ "do": "random", "bytes": dice.below(40) }),
            13 => {
                let ms: Vec<u64> = (0..=dice.below(3)).map(|_| dice.below(30)).collect();
                json!({ "do": dice.one_of(&["sleep", "sleep-all", "ask-timers"]), "ms": ms })
            }
            14 => {
                let dimension = dice.one_of(&[
                    "Tokens",
                    "Iterations",
                    "ToolCalls",
                    "Fuel",
                    "WallClockMs",
                    "StoredBytes",
                    "HostCalls",
                    "JournalBytes",
                    "Children",
                    "CostMicroUsd",
                ]);
                json!({ "do": dice.one_of(&["remaining", "spent"]), "dimension": dimension })
            }
            15 => session(dice),
            16 => json!({ "do": "print", "text": dice.one_of(&["a line\n", "some words, "]) }),
            _ => json!({ "do": "compute", "n": dice.below(100_000) }),
        }
    }
}

/// A child on a random program, with or without tools, that may be started again and mostly runs out of something.
fn child(dice: &mut Dice, depth: u64) -> ChildSpec {
    let length = 4 + dice.below(8);
    let inside = Program::random(dice, length, depth - 1);
    let toolsets = match dice.below(3) {
        0 => json!(["probe-tool"]),
        1 => json!(["probe-tool", "code_execution"]),
        _ => json!([]),
    };
    let board = json!([{ "space": "board", "prefix": "", "access": "ReadWrite" }]);
    let child = ChildSpec::probe(&inside).with("spaces", board);
    let child = child.with("toolsets", toolsets).with("max_attempts", 1 + dice.below(3));
    let (dimension, most) = match dice.below(9) {
        0 => ("Iterations", 1 + dice.below(2)),
        1 => ("ToolCalls", 1 + dice.below(2)),
        2 => ("WallClockMs", 100 + dice.below(400)),
        3 => ("Fuel", 1_000_000 * (1 + dice.below(60))),
        4 => ("Tokens", 300 + dice.below(3_000)),
        5 => ("StoredBytes", dice.below(400)),
        6 => ("HostCalls", 4 + dice.below(20)),
        _ => return child,
    };
    child.limit(dimension, most)
}

fn messages(dice: &mut Dice) -> Value {
    let words = format!(
        "{} {}",
        dice.one_of(&[
            "TOOLS", "SLOWLY", "FAILING", "STALLING", "LIMPING", "plainly", "plainly"
        ]),
        dice.below(1000)
    );
    json!([{ "User": [{ "Text": words }] }])
}

/// The options of a completion; of no model that there is, now and then.
fn options(dice: &mut Dice) -> Value {
    let all = |model: Value, temperature: Value, stop: &[&str]| {
        json!({ "model": model, "temperature": temperature, "max_output_tokens": 100, "stop": stop,
            "tool_choice": null, "response_schema": null, "provider_options": null })
    };
    match dice.below(4) {
        0 => all(Value::Null, json!(0.5), &["END"]),
        1 => all(json!("no-such-model"), Value::Null, &[]),
        _ => Value::Null,
    }
}

fn call(dice: &mut Dice, how: &str) -> Value {
    let mut inside = vec![
        json!({ "do": "open", "name": "board" }),
        json!({ "do": "witness", "space": 0 }),
        json!({ "do": "random", "bytes": dice.below(20) }),
        json!({ "do": "put", "space": 0, "key": format!("tool-{}", dice.below(4)), "value": "by a tool" }),
        json!({ "do": "info" }),
    ];
    for _ in 0..dice.below(4) {
        inside.push(of_a_tool(dice));
    }
    let inside = json!({ "steps": inside });
    let (name, arguments) = match dice.below(4) {
        0 => ("probe", inside),
        1 => ("fail", json!({ "text": "on purpose" })),
        2 => ("no-such-tool", json!({})),
        _ => ("echo", json!({ "text": format!("said {}", dice.below(1000)) })),
    };
    json!({ "do": how, "name": name, "arguments": arguments })
}

/// What takes a tool time, or may come to something else when it is made again.
fn of_a_tool(dice: &mut Dice) -> Value {
    match dice.below(8) {
        7 => json!({ "do": "open", "name": "no-such-space" }),
        6 => json!({ "do": "compute", "n": dice.below(100_000) }),
        0 => json!({ "do": "complete", "messages": messages(dice) }),
        1 => json!({ "do": "call", "name": "echo", "arguments": { "text": format!("said {}", dice.below(1000)) } }),
        2 => json!({ "do": "clocks" }),
        3 => json!({ "do": "sleep", "ms": dice.below(30) }),
        4 => json!({ "do": "remaining", "dimension": dice.one_of(&["Iterations", "ToolCalls", "HostCalls", "Fuel"]) }),
        _ => json!({ "do": "log", "level": "Info", "message": "a line" }),
    }
}

fn board(dice: &mut Dice) -> Value {
    let key = format!("key-{}", dice.below(5));
    match dice.below(9) {
        8 => {
            let bytes = dice.one_of(&[0, 10, 70_000]);
            json!({ "do": "put-bytes", "space": 0, "key": key, "bytes": bytes })
        }
        7 => json!({ "do": "delete", "space": 0, "key": key, "if_version": dice.below(6) }),
        6 => json!({ "do": "keys", "space": 0, "prefix": "", "limit": 1 + dice.below(9) }),
        0 => json!({ "do": "get", "space": 0, "key": key }),
        1 => json!({ "do": "put", "space": 0, "key": key, "value": format!("value {}", dice.next()) }),
        2 => json!({ "do": "put", "space": 0, "key": key, "value": "if", "if_version": dice.below(6) }),
        3 => json!({ "do": "append", "space": 0, "prefix": "log/", "value": "a line" }),
        4 => json!({ "do": "delete", "space": 0, "key": key }),
        _ => {
            json!({ "do": "changes", "space": 0, "prefix": "key-", "since": dice.below(12), "wait_ms": dice.below(60) })
        }
    }
}

fn session(dice: &mut Dice) -> Value {
    match dice.below(10) {
        9 => json!({ "do": "propose", "layer": "Task", "text": "a lesson", "evidence": "it worked" }),
        8 => json!({ "do": "recall", "layer": "Task", "query": "x", "limit": 1 }),
        7 => {
            let report =
                json!({ "outcome": "PartlyAchieved", "summary": "So far.", "artifacts": [], "open_questions": [] });
            json!({ "do": "checkpoint", "report": report })
        }
        0 => json!({ "do": "info" }),
        1 => json!({ "do": "log", "level": "Info", "message": "a line" }),
        2 => json!({ "do": "progress", "message": "on the way", "fraction": 0.5 }),
        3 => json!({ "do": "emit", "text": "some words" }),
        4 => json!({ "do": "cancelled" }),
        5 => json!({ "do": "list-tools" }),
        _ => json!({ "do": "models" }),
    }
}

/// A model that answers by what it is asked, so that it can be asked again.
fn server() -> ModelServer {
    let echo = Turn::call("echo", &json!({ "text": "as the model says" }));
    let limping = [Turn::status(500), Turn::text("at last")].into_iter().cycle().take(200);
    let limping = Script::from(limping.collect::<Vec<_>>()).then(Turn::text("at last"));
    let script = Script::always(Turn::text("yes"))
        .when(
            "SLOWLY",
            Script::always(
                Turn::text("a longer answer, in small pieces").sent(hermes_tests::model::Delivery::Bytes(7)),
            ),
        )
        .when("FAILING", Script::always(Turn::status(400)))
        .when("STALLING", Script::always(Turn::fault(Fault::StallMidStream)))
        .when("LIMPING", limping)
        // Not a second time: the results of a call end its conversation.
        .when("as the model says", Script::always(Turn::text("heard")))
        .when("TOOLS", Script::always(echo));
    ModelServer::start(script)
}

fn host(home: &Home, program: &Value) -> Host {
    let host = home
        .host()
        .args(["--allow", "blackboard:board", "--allow", "probe-tool=llm"]);
    host.arg("--tool").arg(guests::built("probe-tool")).probe(program)
}

/// The same for a program whose models may stall and whose agents may be started again: neither is waited for long.
fn hasty(home: &Home, program: &Value) -> Host {
    let host = host(home, program).set("limits.llm.idle", "100ms");
    host.set("limits.llm.tries", 2).set("limits.restart.backoff", "1ms")
}

/// The same where, for some of these seeds, not even the agents of one program are all there at once.
fn crowded(home: &Home, program: &Value, seed: u64) -> Host {
    let host = hasty(home, program);
    match seed % 3 {
        0 => host.set("limits.resident", 2),
        _ => host,
    }
}

/// How many programs are tried: a few in each run of the suite, many where all is asked for.
fn seeds() -> std::ops::Range<u64> {
    if std::env::var_os("HERMES_TEST_FULL").is_some() {
        0..300
    } else {
        0..10
    }
}

/// Waits until the model has been asked `n` times; false where the process ends first.
fn is_asked(server: &ModelServer, n: u64, process: &mut Process) -> bool {
    while (server.requests().len() as u64) < n {
        if process.has_ended() {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// What guests call and are told the answer of; what is only told to the host can't differ.
const CALLS: [&str; 29] = [
    "blackboard.append",
    "blackboard.changes",
    "blackboard.delete",
    "blackboard.get",
    "blackboard.keys",
    "blackboard.open",
    "blackboard.put",
    "budget.remaining",
    "budget.spent",
    "delegation.cancel",
    "delegation.children",
    "delegation.id",
    "delegation.join",
    "delegation.spawn",
    "delegation.status",
    "delegation.wait-any",
    "lessons.propose",
    "lessons.recall",
    "llm.cancel",
    "llm.complete",
    "llm.models",
    "llm.wait",
    "session.cancelled",
    "session.info",
    "tools.call",
    "tools.cancel",
    "tools.list-tools",
    "tools.wait",
    "tools.wait-any",
];

/// The calls that the guests of a run made, as its log has them.
fn calls_met(output: &Output) -> impl Iterator<Item = String> {
    let names = output.stderr.split(" call=\"").skip(1);
    names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
}

#[track_caller]
fn same_as_recorded(seed: u64, output: &Output) {
    assert_eq!(output.code, Some(0), "seed {seed}: {output:?}");
}

/// The run once more against its record.
#[track_caller]
fn replays(seed: u64, home: &Home, output: &Output) {
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let replayed = home.host().args(["replay", &run]).output();
    assert_eq!(replayed.code, Some(0), "seed {seed}: {replayed:?}");
}

/// A guest sees the end of a timer in the same of its calls as it did first: those that it waited for one after the other, and those that it asked too early.
#[test]
fn timers_end_in_the_call_in_which_they_ended() {
    let waits = |home: &Home| {
        let program = json!({ "summary": "done", "steps": [
            { "do": "open", "name": "board" },
            { "do": "witness", "space": 0 },
            { "do": "sleep-all", "ms": [20, 220, 120] },
            { "do": "ask-timers", "ms": [150, 50, 100] },
            { "do": "sleep-all", "ms": [0, 0, 90] },
            ask("LAST"),
            { "do": "ask-timers", "ms": [20] },
        ] });
        host(home, &program)
    };
    let see_it_again = |home: &Home, output: Output| {
        let output = output.expect(0);
        let seen = output.seen();
        let mut ended: Vec<u64> = Vec::new();
        for wait in seen[2]["ok"].as_array().unwrap() {
            ended.extend(wait[0].as_array().unwrap().iter().map(|timer| timer.as_u64().unwrap()));
        }
        ended.sort_unstable();
        assert_eq!(ended, [0, 1, 2]);
        // Asked when the one of 100 ms had ended.
        assert_eq!(seen[3]["ok"][1].as_array().unwrap()[1..], [json!(true), json!(true)]);
        let run = output.json()["run"].as_str().unwrap().to_owned();
        home.host().args(["replay", &run]).output().expect(0);
    };
    let answers = |stalls: usize| {
        let stall = Turn::fault(Fault::StallMidStream);
        let turns = std::iter::repeat_n(stall, stalls).chain([Turn::text("yes")]);
        ModelServer::start(turns.collect::<Vec<_>>())
    };
    for passivate in ["never", "always"] {
        let server = answers(0);
        let home = Home::with_model(&server, Format::OpenAi);
        let output = waits(&home).env(PASSIVATE, passivate).output();
        see_it_again(&home, output);
    }
    let server = answers(2);
    let home = Home::with_model(&server, Format::OpenAi);
    let mut process = waits(&home).start();
    for n in 1..=2 {
        assert!(is_asked(&server, n, &mut process), "it comes to its end too soon");
        process.signal(Signal::KILL);
        process.finish();
        let resume = ["resume", &home.newest_run(), "--output", "json"].map(str::to_owned);
        process = home.host().args(resume).start();
    }
    see_it_again(&home, process.finish());
}

/// Processors differ in the sign and the payload of what is no number; no guest sees that.
#[test]
fn what_is_no_number_has_the_same_bits_everywhere() {
    let home = Home::new();
    let host = home.host().args(["--deny", "llm"]);
    let output = host.run(&guests::built("nan"), "a task").output().expect(0);
    assert_eq!(output.json()["answer"], "7fc00000 7ff8000000000000");
}

#[test]
fn instances_that_are_given_up_see_the_same() {
    let mut met = BTreeSet::new();
    for seed in seeds() {
        let server = server();
        let home = Home::with_model(&server, Format::OpenAi);
        let program = Program::random(&mut Dice(seed), 30, 2);
        let host = hasty(&home, &program).env("HERMES_HOST_LOG", "hermes_host::session=trace");
        let output = host.env(PASSIVATE, "always").output();
        same_as_recorded(seed, &output);
        met.extend(calls_met(&output));
        replays(seed, &home, &output);
    }
    let not_met: Vec<&str> = CALLS.iter().copied().filter(|call| !met.contains(*call)).collect();
    assert!(not_met.is_empty(), "{not_met:?} of {met:?}");
}

#[test]
fn runs_that_were_killed_or_stopped_see_the_same() {
    let mut resumed = 0;
    for seed in seeds() {
        let server = server();
        let home = Home::with_model(&server, Format::OpenAi);
        let mut dice = Dice(seed);
        let program = Program::random(&mut dice, 30, 2);
        // How often the model is asked.
        let whole = crowded(&home, &program, seed).output();
        same_as_recorded(seed, &whole);
        replays(seed, &home, &whole);
        let asked = server.requests().len() as u64;
        if asked < 2 {
            continue;
        }
        let mut process = crowded(&home, &program, seed).start();
        let mut run = None;
        for kill in 0..2 {
            let at = asked + 1 + dice.below(asked) + kill;
            if !is_asked(&server, at, &mut process) {
                break;
            }
            process.signal(dice.one_of(&[Signal::KILL, Signal::KILL, Signal::INT]));
            process.finish();
            let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
            let newest = runs[0]["run"].as_str().unwrap().to_owned();
            process = home.host().args(["resume", &newest, "--output", "json"]).start();
            run = Some(newest);
        }
        let output = process.finish();
        if run.is_some() && output.code == Some(2) && output.stderr.contains("has ended") {
            // It was killed or stopped after its end was written down.
            continue;
        }
        same_as_recorded(seed, &output);
        replays(seed, &home, &output);
        resumed += u64::from(run.is_some());
    }
    assert!(
        resumed >= seeds().count() as u64 / 2,
        "only {resumed} were killed or stopped before their end"
    );
}
