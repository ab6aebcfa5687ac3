//! More limits from both sides of their exact bound: what an instance is made of, what its tools list and take, and what
//! a session and the process hold.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::fs;
use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, join, summary};
use hermes_tests::model::{Format, ModelServer, Script, Turn};
use hermes_tests::output::{in_call, message, refusal, slack};
use hermes_tests::{Home, Host, Output, guests};
use serde_json::{Value, json};

fn home() -> Home {
    Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi)
}

/// The probe without a model, under this limit.
fn host(home: &Home, key: &str, value: u64) -> Host {
    home.host().args(["--deny", "llm"]).set(&format!("limits.{key}"), value)
}

/// Calls a tool of the tests under this limit.
fn call(home: &Home, (key, value): (&str, u64), tool: &str, arguments: &Value) -> Output {
    let host = home.host().set(&format!("limits.{key}"), value).arg("call");
    let host = host
        .arg(guests::built("probe-tool"))
        .args([tool, &arguments.to_string()]);
    // Asked for nothing more, a tool has no folder to see.
    host.args(["--allow", "fs:out=.:rw"]).output()
}

/// Calls the tool that answers what it is told: its list is asked for, its schemas are read.
fn echo(home: &Home, key: &str, value: u64) -> Output {
    call(home, (key, value), "echo", &json!({ "text": "hello" }))
}

/// A tool that does one step.
fn does(home: &Home, key: &str, value: u64, step: &Value) -> Output {
    call(home, (key, value), "probe", &json!({ "steps": [step] }))
}

/// The number before `words`.
fn number_before(words: &str, text: &str) -> u64 {
    let before = text.split(words).next().unwrap();
    before.split_whitespace().next_back().unwrap().parse().unwrap()
}

#[test]
fn an_instance_has_so_many_memories() {
    let measure = |memories: u64| {
        // Nothing of it is compiled yet.
        let home = Home::new();
        let host = home.host().set("limits.memories", memories).arg("call");
        host.arg(guests::built("two-memories")).arg("measure").output()
    };
    measure(2).expect(0);
    measure(1).expect(2).says(&["limits.memories"]);
}

#[test]
fn an_instance_has_so_many_tables() {
    let home = home();
    let run = |tables: u64| host(&home, "tables", tables).probe(&json!({})).output();
    // One of its functions, and one of those that bind its imports.
    run(2).expect(0);
    run(1).expect(2).says(&["limits.tables"]);
}

#[test]
fn a_component_has_so_many_core_instances() {
    let home = home();
    let run = |instances: u64| host(&home, "core_instances", instances).probe(&json!({})).output();
    // The probe itself, and two that bind its imports.
    run(3).expect(0);
    run(2).expect(2).says(&["limits.core_instances"]);
}

#[test]
fn all_entries_into_the_host_are_bounded() {
    let home = home();
    let run = |limit: u64| {
        let cancelled = json!({ "do": "repeat", "n": 2000, "steps": [{ "do": "cancelled" }] });
        let program = json!({ "steps": [cancelled] });
        host(&home, "host_calls_all", limit).probe(&program).output()
    };
    let output = run(1999).expect(3);
    assert_eq!(output.json()["error"]["kind"], "exhausted(host-calls)");
    output.says(&["more than 1999 times", "limits.host_calls_all"]);
    // The engine enters besides, when a memory grows and each time that its clock ticks: so the bound is coarse.
    run(4000).expect(0);
}

#[test]
fn a_schema_is_bounded_to_the_byte() {
    let home = home();
    let key = "json.schema";
    let refused = |limit: u64| {
        let words = format!("limits.{key} ({limit})");
        let output = echo(&home, key, limit).expect(2).says(&["the schema of probe", &words]);
        number_before(" bytes, over", &output.stderr)
    };
    let bytes = refused(1024);
    assert_eq!(echo(&home, key, bytes).expect(0).stdout, "hello\n");
    assert_eq!(refused(bytes - 1), bytes);
}

#[test]
fn a_schema_nests_to_its_limit() {
    let home = home();
    // The schema, its properties, the steps, one of them, its properties, and the name in it.
    assert_eq!(echo(&home, "json.schema_depth", 6).expect(0).stdout, "hello\n");
    let refused = echo(&home, "json.schema_depth", 5).expect(2);
    refused.says(&["the schema of probe", "deeper than 5 (limits.json.schema_depth)"]);
}

#[test]
fn random_bytes_are_given_up_to_their_limit() {
    let home = home();
    let random = |bytes: u64| does(&home, "random", 64, &json!({ "do": "random", "bytes": bytes }));
    assert_eq!(random(64).expect(0).stdout, "[{\"ok\":64}]\n");
    random(65).expect(1).says(&["limits.random"]);
}

#[test]
fn a_file_is_written_up_to_its_last_byte() {
    const MIB: u64 = 1 << 20;
    let home = home();
    let write = |bytes: u64| {
        let step = json!({ "do": "write-file", "path": "/out/big", "text": "x", "times": bytes });
        let seen: Value = does(&home, "file_size", MIB, &step).expect(0).json();
        (seen[0].clone(), fs::metadata(home.work().join("big")).unwrap().len())
    };
    assert_eq!(write(MIB), (json!({ "ok": MIB }), MIB));
    let (refused, written) = write(MIB + 1);
    // The guest hears it in WASI's words.
    assert_eq!(message(&refused), "file-too-large", "{refused}");
    assert!(written <= MIB, "{written}");
}

#[test]
fn a_session_ends_after_the_last_byte_of_its_journal() {
    let home = home();
    let log = json!({ "do": "log", "level": "Info", "message": "x".repeat(4000) });
    // A line of the log is as long in each run: it holds no clock that runs.
    let program = json!({ "steps": [{ "do": "repeat", "n": 20, "steps": [log] }] });
    let run = |bytes: u64| {
        let host = host(&home, "journal_bytes", bytes).set("limits.log_step", 1 << 20);
        host.probe(&program).output()
    };
    let bytes = run(1 << 20).expect(0).spent("journal_bytes");
    assert!(bytes > 20 * 4000, "{bytes}");
    run(bytes).expect(0);
    let output = run(bytes - 1).expect(3);
    assert_eq!(output.json()["error"]["kind"], "exhausted(journal-bytes)");
    output.says(&[&format!("{} bytes (limits.journal_bytes", bytes - 1)]);
}

#[test]
fn a_childs_report_is_whole_up_to_its_last_character() {
    let home = home();
    let report = |characters: usize| {
        let child = ChildSpec::probe(&json!({ "summary": "x".repeat(characters) }));
        let program = json!({ "steps": [child.spawn(), join(0)] });
        let output = host(&home, "scrub.report", 500).probe(&program).output().expect(0);
        output.seen().remove(1)
    };
    // Its structured result has its part of the characters.
    let result = report(1)["ok"]["report"]["result_json"].clone();
    let fits = 500 - result.as_str().unwrap().len();
    let whole = report(fits);
    assert!(summary(&whole).contains(&"x".repeat(fits)), "{whole}");
    assert!(!summary(&whole).contains("spill/"), "{whole}");
    let shortened = report(fits + 1);
    assert!(!summary(&shortened).contains(&"x".repeat(fits)), "{shortened}");
    assert!(summary(&shortened).contains("characters left out"), "{shortened}");
    let kept = format!("{} bytes]", fits + 1);
    assert!(summary(&shortened).contains(&kept), "the whole is kept: {shortened}");
    assert_eq!(shortened["ok"]["report"]["result_json"], result);
}

/// How long calls wait for one another where they shall meet, and where they can't.
const MEET: u32 = 20_000;
const MISS: u32 = 1_000;

/// Who calls those who meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Agent,
    Tool,
}

/// Starts so many calls of a tool at once, each of which says that it is there and then waits for the one that comes as
/// number `last`. What each saw: whether that one came, or what refused it.
fn meeting(home: &Home, limits: &[(&str, u64)], meet: (u64, u64), wait_ms: u32) -> Vec<Result<bool, Value>> {
    meeting_by(By::Agent, home, limits, meet, wait_ms)
}

fn meeting_by(
    by: By,
    home: &Home,
    limits: &[(&str, u64)],
    (calls, last): (u64, u64),
    wait_ms: u32,
) -> Vec<Result<bool, Value>> {
    // A space of the home folder, new for each meeting.
    let space = format!("board-{by:?}-{calls}-{last}-{wait_ms}");
    let wait = json!({ "steps": [
        { "do": "open", "name": space }, { "do": "append", "space": 0, "prefix": "n/", "value": "here" },
        { "do": "changes", "space": 0, "prefix": "", "since": last - 1, "wait_ms": wait_ms },
    ] });
    let start = (0..calls).map(|_| json!({ "do": "start-call", "name": "probe", "arguments": wait }));
    let ends = (0..calls).map(|call| json!({ "do": "wait-call", "call": call }));
    let mut program = json!({ "steps": start.chain(ends).collect::<Vec<_>>() });
    if by == By::Tool {
        program = json!({ "steps": [{ "do": "call", "name": "probe", "arguments": program }] });
    }
    let host = home
        .host()
        .args(["--deny", "llm", "--allow", &format!("blackboard:{space}")]);
    let host = host.arg("--tool").arg(guests::built("probe-tool"));
    let set = |host: Host, (key, value): &(&str, u64)| host.set(&format!("limits.{key}"), value);
    let host = limits.iter().fold(host, set);
    let mut seen = host.probe(&program).output().expect(0).seen();
    if by == By::Tool {
        seen = in_call(&seen[0]);
    }
    let ends = seen.into_iter().skip(usize::try_from(calls).unwrap());
    ends.map(|end| {
        if refusal(&end).is_some() {
            return Err(end);
        }
        Ok(!in_call(&end)[2]["ok"].as_array().unwrap().is_empty())
    })
    .collect()
}

#[test]
fn so_many_tools_of_a_session_run_at_once() {
    let home = home();
    let limit = ("tool_parallel", 2);
    let two = meeting(&home, &[limit], (2, 2), MEET);
    assert_eq!(two, [Ok(true), Ok(true)], "they meet");
    let three = meeting(&home, &[limit], (3, 3), MISS);
    assert!(three.iter().all(Result::is_ok), "whoever waits has its turn: {three:?}");
    let waited_in_vain = three.iter().filter(|met| **met == Ok(false)).count();
    assert!((1..=2).contains(&waited_in_vain), "the third took a place: {three:?}");
    assert_eq!(meeting(&home, &[("tool_parallel", 3)], (3, 3), MEET), vec![Ok(true); 3]);
}

#[test]
fn so_many_tools_that_a_tool_calls_run_at_once() {
    let home = home();
    let limit = ("tool_parallel", 2);
    // The one that calls them has its own place among those of the agent.
    let two = meeting_by(By::Tool, &home, &[limit], (2, 2), MEET);
    assert_eq!(two, [Ok(true), Ok(true)], "they meet");
    let three = meeting_by(By::Tool, &home, &[limit], (3, 3), MISS);
    assert!(three.iter().all(Result::is_ok), "whoever waits has its turn: {three:?}");
    let waited_in_vain = three.iter().filter(|met| **met == Ok(false)).count();
    assert!((1..=2).contains(&waited_in_vain), "the third took a place: {three:?}");
}

#[test]
fn calls_in_flight_hold_so_much() {
    let home = home();
    let second = json!({ "steps": [{ "do": "log", "level": "Info", "message": "x".repeat(60_000) }] });
    let seen = |most: u64| {
        // A space of the home folder, new for each run, and as long a name in each.
        let space = format!("board-{most:06}");
        // The first is there until the second has been answered, or refused.
        let first = json!({ "steps": [
            { "do": "open", "name": space },
            { "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": MEET },
        ] });
        let program = json!({ "steps": [
            { "do": "open", "name": space },
            { "do": "start-call", "name": "probe", "arguments": first },
            { "do": "call", "name": "probe", "arguments": second },
            { "do": "append", "space": 0, "prefix": "n/", "value": "go on" },
            { "do": "wait-call", "call": 0 },
            { "do": "call", "name": "probe", "arguments": second },
        ] });
        let host = host(&home, "in_flight", most).args(["--allow", &format!("blackboard:{space}")]);
        let host = host.arg("--tool").arg(guests::built("probe-tool"));
        host.probe(&program).output().expect(0).seen()
    };
    let refused = seen(64 << 10).remove(2);
    assert_eq!(refusal(&refused).as_deref(), Some("rate-limited"));
    let words = message(&refused);
    assert!(words.contains("65536") || words.contains("64 KiB"), "{words}");
    assert!(words.contains("limits.in_flight"), "{words}");
    let counted = words.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    let both: u64 = counted.take(2).sum();
    assert!(both > 2 * 4096 + 60_000, "{words}");
    let fits = seen(both);
    assert_eq!(refusal(&fits[2]), None, "{}", fits[2]);
    let one_less = seen(both - 1);
    assert_eq!(
        refusal(&one_less[2]).as_deref(),
        Some("rate-limited"),
        "{}",
        one_less[2]
    );
    assert_eq!(refusal(&one_less[4]), None, "the first goes on: {}", one_less[4]);
    assert_eq!(refusal(&one_less[5]), None, "there is room again: {}", one_less[5]);
}

#[test]
fn so_many_instances_are_there_at_once() {
    let home = home();
    // The strategy gives its place up while it waits for them.
    let two = meeting(&home, &[("resident", 2)], (2, 2), MEET);
    assert_eq!(two, [Ok(true), Ok(true)], "they meet");
    let one_by_one = meeting(&home, &[("resident", 1)], (2, 2), MISS);
    assert!(
        one_by_one.contains(&Ok(false)),
        "the second took a place: {one_by_one:?}"
    );
    assert!(one_by_one.contains(&Ok(true)), "it had its turn: {one_by_one:?}");
}

#[test]
fn no_place_comes_free_while_a_strategy_computes() {
    let home = home();
    // It computes on until the call that it started has given up.
    let program = json!({ "steps": [
        { "do": "start-call", "name": "echo", "arguments": { "text": "hello" } },
        { "do": "compute", "n": 400_000_000 },
        { "do": "wait-call", "call": 0 },
    ] });
    let host = home
        .host()
        .args(["--deny", "llm", "--tool"])
        .arg(guests::built("probe-tool"));
    let host = host.set("limits.resident", 1).set("limits.start_wall", "50ms");
    let seen = host.probe(&program).output().expect(0).seen();
    assert_eq!(refusal(&seen[2]).as_deref(), Some("rate-limited"), "{}", seen[2]);
    assert!(message(&seen[2]).contains("limits.resident"), "{}", seen[2]);
}

#[test]
fn so_many_completions_of_a_provider_are_in_flight_at_once() {
    const ALL: usize = 3;
    for most in [1, 2] {
        let gate = tempfile::tempdir().unwrap();
        let open = gate.path().join("open");
        let server = ModelServer::start(Script::always(Turn::text("yes").held_until(&open)));
        let home = Home::with_model(&server, Format::OpenAi);
        let start = json!({ "do": "start", "messages": [{ "User": [{ "Text": "hi" }] }] });
        let mut steps = vec![start; ALL];
        steps.extend((0..ALL).map(|pending| json!({ "do": "wait", "pending": pending })));
        let host = home.host().set("limits.llm.parallel", most);
        let process = host.probe(&json!({ "steps": steps })).start();
        server.wait_for(most, Duration::from_millis(MEET.into()));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(MISS.into()) {
            assert_eq!(server.asked(), most, "whoever comes later waits");
            std::thread::yield_now();
        }
        fs::write(&open, "").unwrap();
        let seen = process.finish().expect(0).seen();
        assert!(seen[ALL..].iter().all(|seen| refusal(seen).is_none()), "{seen:?}");
        assert_eq!(server.asked(), ALL, "each has its turn");
    }
}

#[test]
fn a_long_compile_is_not_waited_for() {
    let home = Home::new();
    let host = home.host().set("limits.compile.wall", "100ms").arg("call");
    let host = host.arg(guests::built("py-tool"));
    let output = host.args(["echo", r#"{"text":"hello"}"#]).output().expect(2);
    assert_eq!(output.stdout, "", "nothing ran");
    // The compiler would take most of a minute on two cores: it is ended.
    let most = Duration::from_secs(1) + slack();
    assert!(output.took < most, "{:?}", output.took);
    output.says(&["py-tool", "100 ms (limits.compile.wall)"]);
}
