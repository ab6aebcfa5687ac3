//! Ctrl-C, SIGTERM and SIGHUP suspend: exit 130, the two commands on the screen, and a journal that is whole.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::time::{Duration, Instant};

use hermes_tests::model::{Fault, Format, ModelServer, Turn};
use hermes_tests::output::slack;
use hermes_tests::terminal::Terminal;
use hermes_tests::{Home, guests};
use rustix::process::Signal;
use serde_json::json;

/// How long an end may take after a signal.
const PROMPT: Duration = Duration::from_secs(7);

fn stuck() -> (ModelServer, Home, String) {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream)]);
    let home = Home::with_model(&server, Format::OpenAi);
    let open = ["It cites nothing yet."];
    let report = json!({ "outcome": "PartlyAchieved", "summary": "So far.", "artifacts": [], "open_questions": open });
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let program = json!({ "steps": [{ "do": "checkpoint", "report": report }, ask] });
    (server, home, program.to_string())
}

#[track_caller]
fn suspends(signal: Signal) {
    let (server, home, program) = stuck();
    let process = home.host().run(&guests::built("probe"), &program).start();
    server.wait_for(1, Duration::from_secs(30));
    let sent = Instant::now();
    process.signal(signal);
    let output = process.finish().expect(130);
    assert!(sent.elapsed() < PROMPT, "{:?}", sent.elapsed());
    let json = output.json();
    let run = json["run"].as_str().unwrap();
    assert!(
        output.stderr.contains(&format!("resume {run}")) && output.stderr.contains(&format!("cancel {run}")),
        "{}",
        output.stderr
    );
    assert_eq!(
        (&json["answer"], &json["checkpoint"]),
        (&json!(null), &json!("So far."))
    );
    let rows = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert_eq!(
        (&rows[0]["run"], &rows[0]["exit"]),
        (&json!(run), &json!(null)),
        "it has not ended"
    );
    home.host().args(["show", run]).output().expect(0);
}

#[test]
fn a_host_that_is_ended_leaves_no_core_file() {
    let (server, home, program) = stuck();
    let process = home.host().run(&guests::built("probe"), &program).start();
    server.wait_for(1, Duration::from_secs(30));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core, ["0", "0", "bytes"]);
    process.signal(Signal::TERM);
    process.finish().expect(130);
}

#[test]
fn a_checkpoint_goes_to_standard_error_and_the_way_on_is_shown() {
    let (server, home, program) = stuck();
    let process = home
        .host()
        .arg("--plugin")
        .arg(guests::built("probe"))
        .arg(program)
        .start();
    server.wait_for(1, Duration::from_secs(30));
    process.signal(Signal::INT);
    let output = process.finish().expect(130);
    assert_eq!(output.stdout, "", "it has no answer");
    let output = output.says(&["so far: So far."]);
    assert!(
        !output.stderr.contains("left open"),
        "there is no answer: {}",
        output.stderr
    );
    let run = home.newest_run();
    let shown = home.host().args(["show", &run]).output().expect(0).stdout;
    assert!(shown.contains(&format!("hermes-host resume {run}")), "{shown}");
    let replayed = home.host().args(["replay", &run]).output().expect(0);
    assert_eq!(replayed.stdout, "");
    replayed.says(&["where the record stops; it has no answer", "so far: So far."]);
    let none = home.host().args(["show", &run, "--answer"]).output().expect(1);
    assert_eq!(none.stdout, "");
    none.says(&["has no answer (interrupted)", &format!("hermes-host resume {run}")]);
    // Cancelled it has none either.
    home.host().args(["cancel", &run]).output().expect(0);
    let replayed = home.host().args(["replay", &run]).output().expect(0);
    assert_eq!(replayed.stdout, "");
    replayed.says(&["it has no answer", "so far: So far."]);
    home.host()
        .args(["cancel", &run])
        .output()
        .expect(2)
        .says(&[&format!("run {run} has ended (cancelled); there is nothing to cancel")]);
}

#[test]
fn interrupt() {
    suspends(Signal::INT);
}

#[test]
fn terminate() {
    suspends(Signal::TERM);
}

#[test]
fn hang_up() {
    suspends(Signal::HUP);
}

/// A signal while the run starts: it waits for a server that takes the question for its models and never answers.
#[track_caller]
fn stops_the_start(signal: Signal) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let host = home.host().env("OPENAI_API_KEY", "sk-1").env("OPENAI_BASE_URL", url);
    let process = host.run(&guests::built("probe"), "{}").start();
    let (question, _) = listener.accept().unwrap();
    let sent = Instant::now();
    process.signal(signal);
    let output = process.finish().expect(130).says(&["stopped"]);
    assert!(output.ended - sent < slack(), "{:?}", output.ended - sent);
    drop(question);
    let json = output.json();
    assert_eq!((&json["run"], &json["exit"]), (&json!(null), &json!("cancelled")));
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert_eq!(runs, json!([]), "nothing is written");
    let state = |path: &std::path::Path| path.extension().is_some_and(|e| e == "db" || e == "tmp" || e == "lock");
    let left: Vec<_> = home.files().into_iter().filter(|(path, _)| state(path)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_interrupt_while_it_starts() {
    stops_the_start(Signal::INT);
}

#[test]
fn a_hang_up_while_it_starts() {
    stops_the_start(Signal::HUP);
}

#[test]
fn a_guest_that_computes_is_stopped_too() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let host = home
        .host()
        .args(["--output", "events"])
        .set("limits.fuel", 9_000_000_000_000_000_u64);
    let host = host.arg("--plugin").arg(guests::built("spin")).arg("a task");
    let process = host.start();
    // The run is on disk as soon as it has begun.
    let begun = Instant::now();
    while home.host().args(["runs", "--output", "json"]).output().expect(0).json()[0]["run"].is_null() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the run never began");
    }
    process.signal(Signal::INT);
    process.finish().expect(130);
}

#[test]
fn an_interrupt_while_a_tool_compiles() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_cold_guest(&server, Format::OpenAi, "js-tool");
    let program = json!({ "steps": [{ "do": "call", "name": "echo", "arguments": { "text": "hello" } }] });
    let host = home.host().arg("--tool").arg(guests::built("js-tool"));
    let process = host.probe(&program).start();
    let operations = || {
        let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
        let run = runs[0]["run"].as_str()?.to_owned();
        let show = home.host().args(["show", &run, "--output", "json"]);
        let shown = show.output().expect(0).json();
        Some((run, shown["agents"][0]["operations"].as_array()?.clone()))
    };
    // The call is written down before its tool is compiled, which takes seconds.
    let begun = Instant::now();
    while operations().is_none_or(|(_, operations)| operations.is_empty()) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the call never began");
    }
    let sent = Instant::now();
    process.signal(Signal::INT);
    let output = process.finish().expect(130);
    // The compiler can't be interrupted: the process waits for it, a second at most.
    let most = Duration::from_secs(1) + slack();
    assert!(output.ended - sent < most, "{:?}", output.ended - sent);
    let (run, left) = operations().unwrap();
    assert_eq!((left.len(), &left[0]["status"]), (1, &json!("open")), "{left:?}");
    let resumed = home
        .host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(resumed.seen()[0]["ok"]["output"]["content"][0]["Text"], "hello");
    assert_eq!(resumed.spent("tool_calls"), 1);
}

#[test]
fn a_killed_process_leaves_a_journal_that_can_be_read() {
    let (server, home, program) = stuck();
    let process = home.host().run(&guests::built("probe"), &program).start();
    server.wait_for(1, Duration::from_secs(30));
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None);
    let rows = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    let run = rows[0]["run"].as_str().unwrap();
    let shown = home
        .host()
        .args(["show", run, "--output", "json"])
        .output()
        .expect(0)
        .json();
    assert_eq!(
        shown["agents"][0]["operations"].as_array().unwrap().len(),
        1,
        "the intent was there before the send: {shown}"
    );
}

#[test]
fn control_c_on_a_terminal() {
    let (server, home, program) = stuck();
    let host = home.host().arg("--plugin").arg(guests::built("probe")).arg(&program);
    let mut terminal = Terminal::start(host);
    server.wait_for(1, Duration::from_secs(30));
    terminal.types(&[3]);
    let (screen, code) = terminal.finish();
    assert_eq!(code, Some(130), "{screen}");
    assert!(screen.contains("resume") && screen.contains('\u{1b}'), "{screen:?}");
}

#[test]
fn no_colour_where_no_color_is_set() {
    let server = ModelServer::start([Turn::text("hello")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let host = home
        .host()
        .env("NO_COLOR", "1")
        .args(["--plugin", "./nowhere.wasm", "a task"]);
    let (screen, code) = Terminal::start(host).finish();
    assert_eq!(code, Some(2), "{screen}");
    assert!(
        screen.contains("nowhere.wasm") && !screen.contains("\u{1b}[3"),
        "{screen:?}"
    );
}
