//! Guests that never come back, and guests that break: each ends with its typed end, in time, and the host is well.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::process::Command;
use std::time::Duration;

use hermes_tests::{Home, ModelServer, Output, guests, host::binary, model::Format, output::refusal, output::slack};
use serde_json::{Value, json};

fn run(guest: &str, settings: &[(&str, &str)]) -> Output {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    // The first start compiles, and is not what is measured.
    home.host().arg("inspect").arg(guests::built(guest)).output().expect(0);
    // The tools of every run are compiled by the first one.
    let first = home.host().set("limits.restart.attempts", "1");
    first.run(&guests::built("trap"), "a task").output().expect(1);
    let host = settings
        .iter()
        .fold(home.host(), |host, (key, value)| host.set(key, value));
    host.run(&guests::built(guest), "a task").output()
}

#[track_caller]
fn timed_out(guest: &str, key: &str) {
    let settings = [
        (key, "500ms"),
        ("limits.fuel", "9000000000000000"),
        ("limits.restart.attempts", "1"),
    ];
    let output = run(guest, &settings).expect(1).says(&[key]);
    assert_eq!(output.json()["exit"], "timed-out");
    // Beside the limit: starting the process and compiling a guest of ten lines.
    let limit = Duration::from_millis(500);
    let most = limit + Duration::from_secs(2) + slack();
    assert!((limit..most).contains(&output.took), "{:?}", output.took);
}

#[test]
fn a_loop_without_end_meets_its_clock() {
    timed_out("spin", "limits.step_wall");
}

#[test]
fn a_start_without_end_meets_its_clock() {
    timed_out("start-spin", "limits.start_wall");
}

#[test]
fn a_realloc_without_end_meets_its_clock() {
    timed_out("realloc-spin", "limits.step_wall");
}

#[test]
fn a_loop_without_end_meets_its_fuel() {
    let output = run("spin", &[("limits.fuel", "1000000")]).expect(3);
    assert_eq!(output.json()["exit"], "exhausted");
}

#[test]
fn a_trap() {
    let output = run("trap", &[]).expect(1);
    assert_eq!(output.json()["exit"], "trapped");
    assert_eq!(output.json()["agents"][0]["attempts"], 4);
    assert_eq!(
        run("trap", &[("limits.restart.attempts", "1")]).expect(1).json()["agents"][0]["attempts"],
        1
    );
}

/// The limit's, where the budget names none; else the budget's, which may be shorter and longer.
#[test]
fn the_runs_own_clock() {
    const WALL: Duration = Duration::from_millis(500);
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    for (limit, budget) in [
        ("500ms", None),
        ("10m", Some("wall=500ms")),
        ("100ms", Some("wall=500ms")),
    ] {
        let host = home
            .host()
            .set("limits.run_wall", limit)
            .set("limits.fuel", "9000000000000000");
        let host = budget.iter().fold(host, |host, wall| host.args(["--budget", *wall]));
        let output = host.run(&guests::built("spin"), "a task").output().expect(3);
        let json = output.json();
        assert_eq!(
            (&json["exit"], &json["error"]["kind"]),
            (&json!("exhausted"), &json!("exhausted(wall-clock-ms)"))
        );
        assert!(json["error"]["message"].as_str().unwrap().contains("500 ms"), "{json}");
        let took = Duration::from_millis(output.spent("wall_clock_ms"));
        assert!((WALL..WALL + slack()).contains(&took), "{limit}, {budget:?}: {took:?}");
    }
}

#[test]
fn a_stack_without_end() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let output = home
        .host()
        .probe(&json!({ "steps": [{ "do": "recurse" }] }))
        .output()
        .expect(1);
    assert_eq!(output.json()["exit"], "trapped");
}

#[test]
fn a_stack_is_as_deep_as_its_limit() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let goes = |kib: u64, depth: u64| {
        let host = home.host().set("limits.wasm_stack", format!("{kib}KiB"));
        let host = host.set("limits.restart.attempts", 1).args(["--deny", "llm"]);
        let output = host.run(&guests::built("deep"), &depth.to_string()).output();
        if output.code != Some(0) {
            output.expect(1).says(&["stack overflow (limits.wasm_stack)"]);
            return false;
        }
        true
    };
    // The deepest call that fits: one deeper doesn't.
    let deepest = |kib: u64| {
        let (mut fits, mut over) = (1, 1 << 16);
        assert!(goes(kib, fits) && !goes(kib, over), "{kib} KiB");
        while over - fits > 1 {
            let middle = fits.midpoint(over);
            if goes(kib, middle) {
                fits = middle;
            } else {
                over = middle;
            }
        }
        fits
    };
    let (once, twice) = (deepest(64), deepest(128));
    assert_eq!(deepest(64), once, "to the call");
    assert!(twice.abs_diff(2 * once) < once / 20, "{once}, {twice}");
}

/// What is left of it is for the host's own functions. With less than a guest's the host does not begin.
#[test]
fn a_guests_stack_has_room_in_the_one_it_runs_on() {
    const ALL: u64 = 2 << 20;
    // The other half is for the host's functions.
    const OWN: u64 = ALL / 2;
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let run = |own: u64| {
        let host = home.host().set("limits.async_stack", ALL).set("limits.wasm_stack", own);
        host.args(["--deny", "llm"]).run(&guests::built("deep"), "1").output()
    };
    run(OWN).expect(0);
    let error = run(OWN + 1).expect(2).of_kind("engine").json()["error"].clone();
    let words = error["message"].as_str().unwrap();
    assert!(words.contains("1048577 bytes (limits.wasm_stack)"), "{words}");
    assert!(words.contains("1 MiB for the host's functions"), "{words}");
    assert!(words.contains("2 MiB (limits.async_stack)"), "{words}");
}

#[test]
fn tools_that_break_are_values() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let tool = |name: &str, arguments| json!({ "do": "call", "name": name, "arguments": arguments });
    let trap = tool("probe", json!({ "steps": [{ "do": "trap" }] }));
    let recurse = tool("probe", json!({ "steps": [{ "do": "recurse" }] }));
    let wrong = tool("echo", json!({ "words": 1 }));
    let program = json!({ "steps": [
        trap, recurse, tool("spin", json!({})), tool("fail", json!({ "text": "my words" })), wrong,
        tool("echo", json!({ "text": "still here" })),
    ] });
    let host = home
        .host()
        .arg("--tool")
        .arg(guests::built("probe-tool"))
        .set("limits.step_wall", "1s");
    let output = host
        .set("limits.fuel", "9000000000000000")
        .probe(&program)
        .output()
        .expect(0);
    let seen = output.seen();
    let refused: Vec<_> = seen.iter().map(|seen| refusal(seen).unwrap_or_default()).collect();
    assert_eq!(
        refused,
        ["upstream", "upstream", "timed-out", "upstream", "invalid-input", ""]
    );
    assert!(hermes_tests::output::message(&seen[3]).contains("my words"));
    assert_eq!(seen[5]["ok"]["output"]["content"][0]["Text"], "still here");
}

#[test]
fn a_cancel_is_heard_while_a_tool_compiles() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_cold_guest(&server, Format::OpenAi, "js-tool");
    let hello = json!({ "text": "hello" });
    let program = json!({ "steps": [
        { "do": "start-call", "name": "echo", "arguments": hello },
        { "do": "wait-any-call", "calls": [0], "timeout_ms": 100 },
        { "do": "cancel-call", "call": 0 },
        { "do": "wait-call", "call": 0 },
        { "do": "call", "name": "echo", "arguments": hello },
    ] });
    let host = home.host().arg("--tool").arg(guests::built("js-tool"));
    let output = host.probe(&program).output().expect(0);
    let seen = output.seen();
    assert!(seen[1]["ok"].is_null(), "it takes seconds to compile: {}", seen[1]);
    assert_eq!(refusal(&seen[3]).as_deref(), Some("cancelled"), "{}", seen[3]);
    assert_eq!(seen[4]["ok"]["output"]["content"][0]["Text"], "hello");
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let show = home.host().args(["show", &run, "--output", "json"]);
    let shown = show.output().expect(0).json();
    let (first, second) = (
        &shown["agents"][0]["operations"][0],
        &shown["agents"][0]["operations"][1],
    );
    assert_eq!(
        (&first["status"], &first["charged"]["fuel"]),
        (&json!("cancelled"), &json!(0)),
        "it never ran: {shown}"
    );
    let took = |operation: &Value| operation["ms"].as_u64().unwrap();
    assert!(
        took(first) < took(second),
        "the second one waited for the compiler: {shown}"
    );
}

#[test]
fn nothing_starts_where_file_descriptors_run_short() {
    let home = Home::new();
    let call = |reserve: u32| {
        let setting = format!("limits.fds={reserve}");
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(binary());
        shell
            .env("HERMES_HOME", home.path())
            .args(["--set", &setting, "--set", "limits.start_wall=500ms", "call"]);
        shell
            .arg(guests::built("pure-echo"))
            .args(["echo", r#"{"text":"hello"}"#]);
        let output = shell.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = call(16);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = call(64);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("limits.fds"), "{said}");
}
