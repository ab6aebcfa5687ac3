//! A run again against its record: the same, or the first difference; without a network, a key or a configuration, and without a write.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hermes_tests::changed::{rebuilt, saying};
use hermes_tests::child::{ChildSpec, join};
use hermes_tests::home::KEY_VARIABLE;
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::program::{ask, open, put, steps};
use hermes_tests::terminal::Terminal;
use hermes_tests::{Home, Host, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// A replay as somebody makes it who has the home folder and nothing else.
fn replay(home: &Home, run: &str) -> Host {
    home.host()
        .without(KEY_VARIABLE)
        .args(["replay", run, "--output", "json"])
}

/// All that the host keeps, but what a reader of the database makes for itself.
fn kept(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let of_readers = |path: &Path| path.extension().is_some_and(|e| e == "db-shm" || e == "db-wal");
    let files = home.files().into_iter();
    files.filter(|(path, _)| !of_readers(path)).collect()
}

/// Replays the newest run, which must be the same, and leave everything as it was.
#[track_caller]
fn same(server: &ModelServer, home: &Home) -> Value {
    let (asked, before) = (server.requests().len(), kept(home));
    let replayed = replay(home, &home.newest_run()).output().expect(0).json();
    assert_eq!(replayed["same"], true, "{replayed}");
    assert_eq!(replayed["notices"], json!([]), "{replayed}");
    assert_eq!(server.requests().len(), asked, "nothing is sent");
    assert!(kept(home) == before, "nothing is written");
    replayed
}

#[test]
fn a_run_of_calls_of_all_kinds_is_the_same() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let tool = |name: &str, arguments: Value| json!({ "do": "start-call", "name": name, "arguments": arguments });
    let program = steps(&[
        open(),
        put("a"),
        json!({ "do": "put", "space": 0, "key": "a", "value": "b", "if_version": 9 }),
        json!({ "do": "append", "space": 0, "prefix": "n/", "value": "c" }),
        json!({ "do": "keys", "space": 0, "prefix": "", "limit": 9 }),
        json!({ "do": "delete", "space": 0, "key": "a" }),
        json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 10 }),
        ask("one"),
        json!({ "do": "start", "messages": [{ "User": [{ "Text": "two" }] }] }),
        json!({ "do": "start", "messages": [{ "User": [{ "Text": "three" }] }] }),
        json!({ "do": "wait", "pending": 1 }),
        json!({ "do": "cancel", "pending": 0 }),
        json!({ "do": "wait", "pending": 0 }),
        json!({ "do": "list-tools" }),
        tool("echo", json!({ "text": "a" })),
        tool("echo", json!({ "text": "b" })),
        tool("big", json!({ "n": 100_000 })),
        json!({ "do": "wait-any-call", "calls": [0, 1, 2], "timeout_ms": null }),
        json!({ "do": "wait-call", "call": 2 }),
        json!({ "do": "wait-call", "call": 0 }),
        json!({ "do": "wait-call", "call": 1 }),
        json!({ "do": "call", "name": "nothing", "arguments": {} }),
        json!({ "do": "call", "name": "fail", "arguments": { "text": "no" } }),
        json!({ "do": "remaining", "dimension": "Tokens" }),
        json!({ "do": "spent", "dimension": "Fuel" }),
        json!({ "do": "info" }),
        json!({ "do": "models" }),
        json!({ "do": "emit", "text": "so far" }),
        json!({ "do": "log", "level": "Info", "message": "a line" }),
        json!({ "do": "compute", "n": 100_000 }),
        json!({ "do": "recall", "layer": "Task", "query": "q", "limit": 3 }),
    ]);
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    host.args(["--budget", "tokens=100000000"])
        .probe(&program)
        .output()
        .expect(0);
    let replayed = same(&server, &home);
    assert_eq!((&replayed["answer"], &replayed["agents"]), (&json!("done"), &json!(1)));
    assert!(replayed["observations"].as_u64().unwrap() >= 25, "{replayed}");
}

#[test]
fn what_is_told_of_repeated_failures_is_the_same() {
    let server = ModelServer::start(Script::always(Turn::call("fail", &json!({ "text": "no" }))));
    let home = Home::with_model(&server, Format::OpenAi);
    let program = steps(&[json!({ "do": "agent", "user": "Go on.", "turns": 5 })]);
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    host.probe(&program).output().expect(0);
    let results = server.requests().pop().unwrap().results();
    let told = results.iter().filter(|(_, text)| text.contains("has failed 3 times"));
    assert_eq!((results.len(), told.count()), (4, 1));
    same(&server, &home);
}

#[test]
fn children_and_theirs_are_the_same() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let grandchild = ChildSpec::probe(&steps(&[ask("GRANDCHILD")]));
    let long = "x".repeat(30_000);
    let child = ChildSpec::probe(&json!({ "steps": [grandchild.spawn(), join(0), ask("CHILD")], "summary": long }));
    let broken = ChildSpec::probe(&steps(&[ask("BROKEN"), json!({ "do": "trap" })])).with("max_attempts", 2);
    let failed = ChildSpec::probe(&json!({ "steps": [], "fail":
        { "kind": "Upstream", "message": "no", "retry_after_ms": null } }));
    let program = steps(&[
        child.spawn(),
        broken.spawn(),
        failed.spawn(),
        json!({ "do": "wait-any-child", "children": [0, 1, 2], "timeout_ms": null }),
        join(0),
        join(1),
        join(2),
        json!({ "do": "children" }),
        json!({ "do": "status", "child": 1 }),
    ]);
    home.host().probe(&program).output().expect(0);
    let replayed = same(&server, &home);
    assert_eq!((&replayed["agents"], &replayed["attempts"]), (&json!(5), &json!(6)));
}

#[test]
fn a_restarted_agent_is_the_same_in_all_its_attempts() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&steps(&[ask("CHILD")]));
    let program = steps(&[
        json!({ "do": "first-attempt", "steps": [ask("1"), child.spawn(), join(0), { "do": "trap" }] }),
        json!({ "do": "adopt-children" }),
        json!({ "do": "children" }),
        join(0),
        ask("2"),
    ]);
    home.host().probe(&program).output().expect(0);
    let replayed = same(&server, &home);
    assert_eq!((&replayed["agents"], &replayed["attempts"]), (&json!(2), &json!(3)));
}

#[test]
fn tools_that_call_the_host_are_made_again_and_held_to_it() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let inner = json!({ "do": "call", "name": "probe", "arguments": { "steps": [
        { "do": "info" }, { "do": "random", "bytes": 8 }, ask("INNER"), { "do": "cancelled" },
    ] } });
    let outer =
        json!({ "do": "call", "name": "probe", "arguments": { "steps": [ask("OUTER"), inner, open(), put("k")] } });
    let quiet = json!({ "do": "call", "name": "echo", "arguments": { "text": "a" } });
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    host.args(["--allow", "llm"])
        .probe(&steps(&[outer, quiet]))
        .output()
        .expect(0);
    assert_eq!(same(&server, &home)["tool_calls"], 2);
    // The tool's bytes are kept with the run: what lies at its path is nothing to a replay.
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    let held = host.args(["--allow", "fs:./papers"]);
    home.write("papers/a.md", "a");
    held.probe(&steps(&[
        json!({ "do": "call", "name": "probe", "arguments": { "steps": [{ "do": "info" }] } }),
    ]))
    .output()
    .expect(0);
    let replayed = replay(&home, &home.newest_run())
        .output()
        .expect(0)
        .says(&["held a folder"])
        .json();
    assert_eq!((&replayed["same"], &replayed["tool_calls"]), (&json!(true), &json!(0)));
}

#[test]
fn tools_in_other_languages_are_held_to_their_record_too() {
    for guest in ["py-tool-wasi", "js-tool-wasi"] {
        let server = ModelServer::start(Vec::new());
        let home = Home::with_guest(&server, Format::OpenAi, guest);
        let asks = |text: &str| json!({ "do": "call", "name": "ask", "arguments": { "text": text } });
        let host = home.host().arg("--tool").arg(guests::built(guest));
        host.probe(&steps(&[asks("who"), asks("what")])).output().expect(0);
        assert_eq!(same(&server, &home)["tool_calls"], 2, "{guest}");
    }
}

#[test]
fn an_answer_of_a_tool_that_was_too_long_is_the_same() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let many = vec![json!({ "do": "info" }); 1_500];
    let long = json!({ "do": "call", "name": "probe", "arguments": { "steps": many } });
    let host = || home.host().arg("--tool").arg(guests::built("probe-tool"));
    let seen = host()
        .probe(&steps(std::slice::from_ref(&long)))
        .output()
        .expect(0)
        .seen();
    assert!(seen[0].to_string().contains("whole text: spill/"), "{}", seen[0]);
    assert_eq!(same(&server, &home)["tool_calls"], 1);
    // Where the blackboard had no room for the whole of it, it says so again.
    let full = host()
        .set("limits.blackboard.bytes", "2KiB")
        .probe(&steps(&[long]))
        .output()
        .expect(0)
        .seen();
    assert!(full[0].to_string().contains("not kept"), "{}", full[0]);
    assert_eq!(same(&server, &home)["tool_calls"], 1);
}

#[test]
fn a_run_is_replayed_under_the_limits_that_it_had() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let program = steps(&[ask("a"), json!({ "do": "allocate", "pages": 1_500 }), ask("b")]);
    let output = home
        .host()
        .set("limits.memory", "128MiB")
        .probe(&program)
        .output()
        .expect(0);
    assert_eq!(output.seen()[1]["ok"][0], 1_500);
    same(&server, &home);
    home.host()
        .set("limits.memory", "16MiB")
        .probe(&program)
        .output()
        .expect(0);
    same(&server, &home);
}

#[test]
fn iterations_that_were_given_back_are_again() {
    let code = Turn::call("run_script", &json!({ "script": "1 + 1" }));
    let server = ModelServer::start(Script::from([code.clone(), code]).then(Turn::text("two")));
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 5 }], "summary": "done" });
    let ran = home.host().probe(&program).output().expect(0);
    assert_eq!(ran.json()["spent"]["refunded"], 2);
    same(&server, &home);
}

#[test]
fn an_agent_that_used_its_budget_up_is_the_same_up_to_there() {
    let server = ModelServer::start(Script::always(Turn::call("echo", &json!({ "text": "again" }))));
    let home = Home::with_model(&server, Format::OpenAi);
    let agent = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 9 }] });
    let host = || home.host().arg("--tool").arg(guests::built("pure-echo"));
    host()
        .args(["--budget", "iterations=2"])
        .probe(&agent)
        .output()
        .expect(3);
    same(&server, &home);
    host()
        .args(["--budget", "fuel=30000000"])
        .probe(&steps(&[ask("a"), json!({ "do": "spin" })]))
        .output()
        .expect(3);
    same(&server, &home);
    let calls = steps(&[json!({ "do": "repeat", "n": 20, "steps": [{ "do": "info" }] })]);
    host()
        .args(["--budget", "host-calls=10"])
        .probe(&calls)
        .output()
        .expect(3);
    assert_eq!(same(&server, &home)["observations"], 10);
    let timed = host()
        .set("limits.step_wall", "200ms")
        .set("limits.fuel", 9_000_000_000_000_000_u64);
    timed
        .set("limits.restart.attempts", 1)
        .probe(&steps(&[ask("a"), json!({ "do": "spin" })]))
        .output()
        .expect(1);
    same(&server, &home);
}

#[test]
fn a_trap_is_the_same_trap() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    for last in [json!({ "do": "trap" }), json!({ "do": "recurse" })] {
        home.host().probe(&steps(&[ask("a"), last])).output().expect(1);
        assert_eq!(same(&server, &home)["attempts"], 4);
    }
}

#[test]
fn what_was_killed_stopped_or_cancelled_is_the_same_up_to_there() {
    let stalls = || ModelServer::start([Turn::text("a"), Turn::fault(Fault::StallMidStream)]);
    let child = ChildSpec::probe(&steps(&[ask("CHILD")]));
    let program = steps(&[open(), put("a"), ask("1"), child.spawn(), join(0)]);
    for signal in [Signal::KILL, Signal::TERM] {
        let server = stalls();
        let home = Home::with_model(&server, Format::OpenAi);
        let process = home.host().probe(&program).start();
        server.wait_for(2, LONG);
        process.signal(signal);
        process.finish();
        let replayed = same(&server, &home);
        assert_eq!(replayed["agents"], 2);
        assert!(replayed["observations"].as_u64().unwrap() >= 3, "{replayed}");
        home.host().args(["cancel", &home.newest_run()]).output().expect(0);
        same(&server, &home);
    }
}

#[test]
fn a_run_that_went_on_after_it_was_killed_is_the_same() {
    let script = Script::default()
        .when("CHILD", [Turn::fault(Fault::StallMidStream), Turn::text("child")])
        .when("TOOL", [Turn::fault(Fault::StallMidStream), Turn::text("tool")])
        .when(
            "ROOT",
            [
                Turn::text("root"),
                Turn::fault(Fault::StallMidStream),
                Turn::text("again"),
            ],
        );
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&steps(&[
        json!({ "do": "compute", "n": 10_000 }),
        ask("CHILD"),
        json!({ "do": "info" }),
    ]));
    let tool = json!({ "steps": [{ "do": "info" }, ask("TOOL"), { "do": "cancelled" }] });
    let program = steps(&[
        open(),
        put("a"),
        ask("ROOT 1"),
        child.spawn(),
        json!({ "do": "start-call", "name": "probe", "arguments": tool }),
        join(0),
        json!({ "do": "wait-call", "call": 0 }),
        ask("ROOT 2"),
        put("b"),
    ]);
    let host = home
        .host()
        .arg("--tool")
        .arg(guests::built("probe-tool"))
        .args(["--allow", "llm"]);
    let process = host.probe(&program).start();
    server.wait_for(3, LONG);
    process.signal(Signal::KILL);
    process.finish();
    let run = home.newest_run();
    let process = home.host().args(["resume", &run]).start();
    server.wait_for(6, LONG);
    process.signal(Signal::KILL);
    process.finish();
    same(&server, &home);
    home.host().args(["resume", &run]).output().expect(0);
    let replayed = same(&server, &home);
    assert_eq!((&replayed["agents"], &replayed["tool_calls"]), (&json!(2), &json!(1)));
}

#[test]
fn a_run_under_way_elsewhere_can_be_replayed() {
    let server = ModelServer::start([Turn::text("a"), Turn::fault(Fault::StallMidStream)]);
    let home = Home::with_model(&server, Format::OpenAi);
    let process = home.host().probe(&steps(&[ask("1"), ask("2")])).start();
    server.wait_for(2, LONG);
    let replayed = replay(&home, &home.newest_run()).output().expect(0).json();
    assert_eq!(replayed["same"], true);
    process.signal(Signal::INT);
    process.finish().expect(130);
}

#[test]
fn a_home_that_can_be_read_alone_and_has_no_configuration_will_do() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.host().probe(&steps(&[ask("a")])).output().expect(0);
    let run = home.newest_run();
    fs::remove_file(home.path().join("host/config.toml")).unwrap();
    drop(server);
    let folders = ["host/runs", "host/components", "host/cache", "host", ""].map(|folder| home.path().join(folder));
    let modes = |mode: u32| {
        for folder in &folders {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    modes(0o500);
    let output = home.host().without(KEY_VARIABLE).args(["replay", &run]).output();
    modes(0o700);
    let output = output.expect(0).says(&["the same"]);
    assert_eq!(output.stdout, "done\n");
}

#[test]
fn the_same_behaviour_in_other_bytes_is_the_same() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.host()
        .probe(&steps(&[open(), ask("a"), put("a"), ask("b")]))
        .output()
        .expect(0);
    let other = rebuilt(&home, &guests::built("probe"));
    let replayed = replay(&home, &home.newest_run())
        .arg("--plugin")
        .arg(other)
        .output()
        .expect(0);
    assert_eq!(replayed.json()["same"], true);
}

/// Replays the newest run with another plugin in the root's place, which must differ.
#[track_caller]
fn differs(home: &Home, plugin: &Path) -> Value {
    let before = kept(home);
    let replayed = replay(home, &home.newest_run())
        .arg("--plugin")
        .arg(plugin)
        .output()
        .expect(1)
        .json();
    assert_eq!(
        (&replayed["same"], &replayed["error"]["kind"]),
        (&json!(false), &json!("diverged"))
    );
    assert!(kept(home) == before, "nothing is written");
    replayed["difference"].clone()
}

#[test]
fn a_changed_prompt_differs_where_it_is_sent_first() {
    const UNCITED: &str = "Your answer cites nothing.";
    let server = ModelServer::start(Script::always(Turn::text("It is one.")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/melt.md", "# The melt\n");
    let host = home.host().run(&guests::plugin("research"), "What limits growth?");
    host.args(["--allow", "fs:./papers"]).output();
    assert!(server.requests().len() >= 2);
    let first = saying(
        &home,
        &guests::plugin("research"),
        "You answer a question",
        "We, answer a question",
    );
    let difference = differs(&home, &first);
    assert_eq!(
        (&difference["part"], &difference["expected"]["call"]),
        (&json!("message 1"), &json!("llm.complete"))
    );
    assert!(
        difference["expected"]["text"].as_str().unwrap().contains("You answer"),
        "{difference}"
    );
    assert!(
        difference["got"]["text"].as_str().unwrap().contains("We, answer"),
        "{difference}"
    );
    let later = saying(
        &home,
        &guests::plugin("research"),
        UNCITED,
        "Your answer cites NOTHING.",
    );
    let difference = differs(&home, &later);
    assert_eq!(difference["session"], json!(format!("{}.0", home.newest_run())));
    assert!(
        difference["got"]["text"].as_str().unwrap().contains("cites NOTHING"),
        "{difference}"
    );
    assert!(
        difference["expected"]["text"].as_str().unwrap().contains(UNCITED),
        "{difference}"
    );
    assert!(difference["observation"].as_u64().unwrap() > 2, "{difference}");
}

#[test]
fn the_first_difference_is_shown_side_by_side_on_a_terminal() {
    let server = ModelServer::start(Script::always(Turn::text("It is one.")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/melt.md", "# The melt\n");
    let host = home.host().run(&guests::plugin("research"), "What limits growth?");
    host.args(["--allow", "fs:./papers"]).output();
    let run = home.newest_run();
    let changed = saying(
        &home,
        &guests::plugin("research"),
        "Your answer cites nothing.",
        "Your answer cites NOTHING.",
    );
    let host = home
        .host()
        .args(["replay", &run, "--plugin"])
        .arg(changed)
        .env("NO_COLOR", "1");
    let (screen, code) = Terminal::start(host).finish();
    assert_eq!(code, Some(1), "{screen}");
    for words in ["diverged:", "recorded", "now", "nothing", "NOTHING", "≠"] {
        assert!(screen.contains(words), "{words} is missing: {screen}");
    }
}

#[test]
fn another_end_differs_too() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let value = json!({ "steps": [open(), { "do": "repeat", "n": 2, "steps": [{ "do": "info" }] }] });
    home.host().probe(&value).output().expect(0);
    // What it returns holds these words.
    let changed = saying(&home, &guests::built("probe"), "rounds", "ROUNDS");
    let difference = differs(&home, &changed);
    assert_eq!(
        (&difference["expected"]["call"], &difference["got"]["call"]),
        (&json!("returned"), &json!("returned"))
    );
    assert!(
        difference["got"]["text"].as_str().unwrap().contains("ROUNDS"),
        "{difference}"
    );
    assert_eq!(difference["observation"], 4);
}

#[test]
fn what_can_not_be_replayed_is_told() {
    let home = Home::new();
    replay(&home, "0123456789").output().expect(2).says(&["no database"]);
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.host().probe(&steps(&[ask("a")])).output().expect(0);
    let run = home.newest_run();
    replay(&home, "0123456789")
        .output()
        .expect(2)
        .says(&["no run 0123456789"]);
    let tool = replay(&home, &run).arg("--plugin").arg(guests::built("probe-tool"));
    tool.output().expect(2).says(&["is no strategy"]);
    fs::remove_dir_all(home.path().join("host/components")).unwrap();
    replay(&home, &run).output().expect(2).says(&["probe is not here"]);
}

#[test]
fn a_stretch_that_never_ends_differs() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    // Much computing, which a shorter watch does not wait for.
    let program = steps(&[ask("a"), json!({ "do": "compute", "n": 400_000_000 }), ask("b")]);
    let host = home.host().set("limits.fuel", 9_000_000_000_000_u64);
    host.probe(&program).output().expect(0);
    let short = replay(&home, &home.newest_run())
        .set("limits.replay.wall", "20ms")
        .output();
    let json = short.expect(1).json();
    assert!(
        json["difference"]["got"]["text"].as_str().unwrap().contains("20 ms"),
        "{json}"
    );
    // The usual one does.
    same(&server, &home);
}
