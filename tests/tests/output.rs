//! What programs and people get: the shape of JSON, events, exit codes, and no key anywhere.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::home::{KEY, KEY_VARIABLE};
use hermes_tests::model::{Delivery, Fault, Format, ModelServer, Script, Turn};
use hermes_tests::{Home, guests, output};
use serde_json::{Value, json};

/// The keys of a run's object, and of an error's.
const SHAPE: [&str; 11] = [
    "run",
    "outcome",
    "exit",
    "answer",
    "checkpoint",
    "result",
    "artifacts",
    "spent",
    "agents",
    "error",
    "denied",
];

fn home() -> (ModelServer, Home) {
    let server = ModelServer::start(Script::always(Turn::text("hello")));
    let home = Home::with_model(&server, Format::OpenAi);
    (server, home)
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn question() -> Value {
    json!({ "steps": [{ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] }], "summary": "An answer." })
}

#[test]
fn the_answer_and_nothing_else() {
    let (_server, home) = home();
    let output = home
        .host()
        .arg("--plugin")
        .arg(guests::built("probe"))
        .arg(question().to_string())
        .output()
        .expect(0);
    assert_eq!(output.stdout, "An answer.\n");
    assert!(!output.stderr.is_empty(), "progress is on standard error");
}

#[test]
fn the_shape_of_a_runs_object() {
    let (_server, home) = home();
    let json = home.host().probe(&question()).output().expect(0).json();
    assert_eq!(keys(&json), SHAPE);
    let spent = [
        "iterations",
        "tool_calls",
        "tokens",
        "cost_micro_usd",
        "fuel",
        "wall_clock_ms",
        "stored_bytes",
        "journal_bytes",
        "host_calls",
        "children",
        "closing",
        "refunded",
        "resent",
        "resent_tokens",
        "resent_cost_micro_usd",
    ];
    assert_eq!(keys(&json["spent"]), spent);
    assert_eq!(
        (&json["outcome"], &json["exit"], &json["error"]),
        (&json!("achieved"), &json!("returned"), &Value::Null)
    );
    assert_eq!(json["agents"].as_array().unwrap().len(), 1);
    let refused = home
        .host()
        .set("limits.memroy", 1)
        .probe(&question())
        .output()
        .expect(2)
        .json();
    assert_eq!(keys(&refused), SHAPE, "exit 2 prints the object too");
    assert_eq!(refused["run"], Value::Null);
}

#[test]
fn an_error_is_the_same_object_whatever_the_command() {
    let (_server, home) = home();
    home.host().probe(&question()).output().expect(0);
    let bytes = home.write("nothing.wasm", b"");
    let file = bytes.to_str().unwrap();
    for (line, kind, says) in [
        (&["a task"][..], "invalid-input", "--plugin"),
        (&["inspect"], "invalid-input", "<PLUGIN>"),
        (&["runs", "--limit", "x"], "invalid-input", "'x'"),
        (&["config", "shwo"], "invalid-input", "'shwo'"),
        (&["config"], "invalid-input", "command"),
        (
            &["config", "show", "--set", "limits.memroy=1"],
            "invalid-input",
            "limits.memory",
        ),
        (&["show", "../x"], "", "../x"),
        (&["tree", "../x"], "", "../x"),
        (&["call", "nowhere", "echo"], "", "nowhere"),
        (&["import", file], "", ""),
        (&["plugin", "add", file], "", ""),
        (&["blackboard", "get", "glossary", "dendrite"], "not-found", "dendrite"),
    ] {
        let output = home.host().args(["--output", "json"]).args(line).output();
        assert_ne!(output.code, Some(0), "{line:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "people are told too: {line:?}");
        let json = output.json();
        assert_eq!(keys(&json), SHAPE, "{line:?}");
        let error = &json["error"];
        assert_eq!(keys(error), ["kind", "message"], "{line:?}");
        assert!(kind.is_empty() || error["kind"] == kind, "{line:?}: {error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{line:?}: {error}");
    }
}

#[test]
fn exit_codes_follow_the_end() {
    let (_server, home) = home();
    for (program, code, exit, outcome) in [
        (json!({}), 0, "returned", "achieved"),
        (json!({ "outcome": "PartlyAchieved" }), 1, "returned", "partly-achieved"),
        (json!({ "outcome": "NotAchieved" }), 1, "returned", "not-achieved"),
        (
            json!({ "fail": { "kind": "Upstream", "message": "no luck" } }),
            1,
            "failed",
            "not-achieved",
        ),
        (
            json!({ "fail": { "kind": "Denied", "message": "no right" } }),
            4,
            "failed",
            "not-achieved",
        ),
        (json!({ "steps": [{ "do": "trap" }] }), 1, "trapped", "not-achieved"),
    ] {
        let json = home.host().probe(&program).output().expect(code).json();
        assert_eq!(
            (&json["exit"], &json["outcome"]),
            (&json!(exit), &json!(outcome)),
            "{program}"
        );
    }
}

#[test]
fn the_last_checkpoint_of_what_broke_is_no_answer() {
    let (_server, home) = home();
    let report = json!({ "outcome": "PartlyAchieved", "summary": "So far.", "artifacts": [], "open_questions": [] });
    let program = json!({ "steps": [{ "do": "checkpoint", "report": report }, { "do": "trap" }] });
    let json = home.host().probe(&program).output().expect(1).json();
    assert_eq!(
        (&json["answer"], &json["checkpoint"], &json["exit"]),
        (&Value::Null, &json!("So far."), &json!("trapped"))
    );
    let text = home.host().arg("--plugin").arg(guests::built("probe"));
    let text = text.arg(program.to_string()).output().expect(1);
    assert_eq!(text.stdout, "", "standard output is for answers");
    let run = home.newest_run();
    text.says(&["so far: So far."]);
    home.host()
        .args(["show", &run, "--answer"])
        .output()
        .expect(1)
        .says(&[&format!("run {run} has no answer (trapped)"), "how far it got"]);
}

#[test]
fn what_an_agent_says_that_achieved_nothing_is_no_answer() {
    let (_server, home) = home();
    let ran = |outcome: &str, code| {
        let program = json!({ "outcome": outcome, "summary": "Nothing was found." });
        let host = home.host().arg("--plugin").arg(guests::built("probe"));
        host.arg(program.to_string()).output().expect(code)
    };
    let output = ran("NotAchieved", 1);
    assert_eq!(output.stdout, "", "standard output is for answers");
    output.says(&["not achieved: Nothing was found.\n"]);
    let answer = home.host().args(["show", &home.newest_run(), "--answer"]).output();
    assert_eq!(
        answer.expect(0).stdout,
        "Nothing was found.\n",
        "it is what was returned"
    );
    let output = ran("PartlyAchieved", 1);
    assert_eq!(output.stdout, "Nothing was found.\n");
    assert!(!output.stderr.contains("not achieved"), "{}", output.stderr);
}

#[test]
fn what_an_agent_returns_that_used_its_budget_up_is_its_answer() {
    let (_server, home) = home();
    let ask = question()["steps"][0].clone();
    let report = json!({ "outcome": "PartlyAchieved", "summary": "So far.", "artifacts": [], "open_questions": [] });
    let program =
        json!({ "steps": [{ "do": "checkpoint", "report": report }, ask, ask, ask], "summary": "All there is." });
    let host = home.host().args(["--budget", "iterations=1"]);
    let output = host.probe(&program).output().expect(3);
    let json = output.json();
    assert_eq!(
        (&json["answer"], &json["checkpoint"], &json["exit"]),
        (&json!("All there is."), &Value::Null, &json!("exhausted"))
    );
    // Its end is final, and a fork is the way on.
    let run = json["run"].as_str().unwrap();
    let way = format!("hermes-host replay {run} --fork --budget iterations=N");
    let output = output.says(&[&way]);
    drop(output);
    let resumed = home.host().args(["resume", run]).output().expect(2);
    resumed.says(&["it has ended (failed)", &way]);
    let tree = home.host().args(["--budget", "tree.iterations=1"]);
    let output = tree.probe(&program).output().expect(3);
    output.says(&["--fork --budget tree.iterations=N"]);
    // Where so much was left that one more completion might have cost more, that is what is told.
    let host = home.host().args(["--budget", "tokens=3"]);
    let output = host.probe(&program).output().expect(3);
    let words = "The budget of this agent for tokens has 3 left of 3, less than this may cost. It is raised with --budget tokens=N.";
    assert_eq!(output.json()["error"]["message"], json!(words));
    output.says(&[words, "--fork --budget tokens=N"]);
}

/// A panic's text, where the plugin logs that before it traps.
#[test]
fn a_trap_has_the_last_error_of_the_log() {
    let (_server, home) = home();
    let log = |level: &str, message: &str| json!({ "do": "log", "level": level, "message": message });
    let program = json!({ "steps": [
        log("Error", "an old one"), log("Error", "panicked at src/lib.rs:7:5:\noh no"), log("Info", "later"), { "do": "trap" },
    ] });
    let output = home.host().probe(&program).output().expect(1);
    let message = output.json()["error"]["message"].as_str().unwrap().to_owned();
    let lines: Vec<&str> = message.lines().collect();
    assert!(lines[0].contains("unreachable"), "{message}");
    assert_eq!(lines[1], "  its log says: panicked at src/lib.rs:7:5: oh no");
    assert!(lines[2].starts_with("  at "), "{message}");
    output.says(&["its log says: panicked at src/lib.rs:7:5: oh no"]);
    let replayed = home.host().args(["replay", &home.newest_run()]).output();
    replayed.expect(0);
}

/// Nobody told the agent of it: it was stopped.
#[test]
fn a_budget_that_ended_an_agent_without_a_word_to_it_names_the_way_on() {
    let (_server, home) = home();
    let keys = json!({ "do": "keys", "space": 0, "prefix": "", "limit": 9 });
    let mut looks = vec![json!({ "do": "open", "name": "notes" })];
    looks.extend(vec![keys; 40]);
    let program = json!({ "steps": looks, "summary": "An answer." });
    for (key, less, more) in [
        ("host-calls", "5", "1000"),
        ("journal-bytes", "2000", "4MiB"),
        ("fuel", "200000", "900000000"),
    ] {
        let host = home.host().args(["--budget", &format!("{key}={less}")]);
        let output = host.probe(&program).output().expect(3);
        let run = output.json()["run"].as_str().unwrap().to_owned();
        let way = format!("hermes-host replay {run} --fork --budget {key}=N");
        output.says(&[&way]);
        let resumed = home.host().args(["resume", &run]).output().expect(2);
        resumed.says(&["it has ended (failed)", &way]);
        let more = format!("{key}={more}");
        let fork = home.host().args(["replay", &run, "--fork", "--budget", &more]);
        assert_eq!(fork.output().expect(0).stdout, "An answer.\n");
    }
    // The limit of a single step is none of a budget's.
    let host = home.host().set("limits.fuel", 5_000_000);
    let output = host.probe(&json!({ "steps": [{ "do": "spin" }] })).output().expect(3);
    let output = output.says(&["limits.fuel"]);
    assert!(!output.stderr.contains("--fork"), "{}", output.stderr);
    // Who only computes does so for as long as there is fuel.
    let host = home.host().args(["--budget", "fuel=30000000"]);
    let host = host.set("limits.fuel", 200_000_000);
    let output = host.probe(&json!({ "steps": [{ "do": "spin" }] })).output().expect(3);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    output.says(&["--fork --budget fuel=N"]);
    let more = ["--fork", "--budget", "fuel=60000000", "--output", "json"];
    let fork = home.host().args(["replay", &run]).args(more).output().expect(3);
    assert!(fork.spent("fuel") > 30_000_000, "{}", fork.stdout);
}

#[test]
fn a_run_whose_model_did_not_answer_names_the_fork_that_asks_it_again() {
    let server = ModelServer::start([Turn::status(401), Turn::text("here")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let program = json!({ "steps": question()["steps"], "outcome": "NotAchieved" });
    let output = home.host().probe(&program).output().expect(1);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let way = format!("hermes-host replay {run} --fork");
    output.says(&[&format!("ask the model again   {way}")]);
    let resumed = home.host().args(["resume", &run]).output().expect(2);
    resumed.says(&["it has ended (completed)", &way]);
    let fork = home
        .host()
        .args(["replay", &run, "--fork", "--output", "json"])
        .output();
    assert_eq!(server.requests().len(), 2, "it asks again, once");
    assert!(fork.json()["answer"].is_string(), "{}", fork.stdout);
    assert!(!fork.stderr.contains("ask the model again"), "{}", fork.stderr);
}

/// Where the agent itself only makes the best of it, the code is its own.
#[test]
fn a_budget_that_ended_sub_agents_is_named() {
    let server = ModelServer::start(Script::always(Turn::text("yes")));
    let home = Home::with_model(&server, Format::OpenAi);
    let ask = question()["steps"][0].clone();
    let child = |limit: Option<u64>| {
        let child = ChildSpec::probe(&json!({ "steps": [ask, ask, ask] }));
        match limit {
            Some(limit) => child.limit("Iterations", limit),
            None => child,
        }
    };
    for (budget, children, whose, key) in [
        ("iterations=90", [Some(1), Some(2)], "this agent", "child.iterations"),
        ("tree.iterations=1", [None, None], "this run", "tree.iterations"),
    ] {
        let [one, other] = children.map(|limit| child(limit).spawn());
        let steps = json!([one, join(0), other, join(1)]);
        let program = |outcome: &str| json!({ "steps": steps, "outcome": outcome });
        let host = home.host().args(["--budget", budget]);
        let output = host.probe(&program("NotAchieved")).output().expect(1);
        let words =
            format!("The budget of {whose} for iterations is used up: 1 of 1. It is raised with --budget {key}=N.");
        assert_eq!(output.json()["agents"][1]["error"], json!(words));
        let ended = format!("used up: the budget {key} ended 2 sub-agents");
        let more = format!("run it anew with more: --budget {key}=N");
        let output = output.says(&[&words, &ended, &more]);
        assert!(!output.stderr.contains("--fork"), "{}", output.stderr);
        let host = home.host().args(["--budget", budget]);
        let achieved = host.probe(&program("Achieved")).output().expect(0);
        assert!(!achieved.stderr.contains("used up: the budget"), "{}", achieved.stderr);
    }
}

#[test]
fn a_person_reads_what_was_shortened_without_the_marks_for_models() {
    let home = Home::new();
    home.write("papers/long.md", "A line of words that say little.\n".repeat(200));
    let read = || {
        let call = ["call", "files", "read_file", r#"{"path":"/papers/long.md"}"#];
        let host = home.host().args(call).args(["--allow", "fs:./papers"]);
        host.set("limits.tool_result", "1KiB")
    };
    let text = read().output().expect(0).stdout;
    assert!(
        text.starts_with("[/papers/long.md") && text.contains("left out"),
        "{text}"
    );
    assert!(!text.contains("untrusted data"), "{text}");
    let json = read().args(["--output", "json"]).output().expect(0).json();
    assert!(
        json["content"][0].as_str().unwrap().contains("untrusted data"),
        "{json}"
    );
}

#[test]
fn what_is_to_be_pasted_names_the_home_folder_that_was_named() {
    let (_server, home) = home();
    let named = || home.host().without("HERMES_HOME").arg("--home").arg(home.path());
    let program = format!("hermes-host --home {}", home.path().display());
    named()
        .arg("runs")
        .output()
        .expect(0)
        .says(&[&format!("{program} --plugin research")]);
    let run = named().probe(&question()).output().expect(0).json()["run"].clone();
    let run = run.as_str().unwrap();
    let shown = named().args(["show", run]).output().expect(0).stdout;
    assert!(
        shown.contains(&format!("its answer      {program} show {run} --answer")),
        "{shown}"
    );
    let missing = named().args(["show", "0123456789"]).output().expect(2);
    missing.says(&[&format!("`{program} runs` lists the runs")]);
    // The environment names it for all that is pasted there.
    let shown = home.host().args(["show", run]).output().expect(0).stdout;
    assert!(
        shown.contains(&format!("its answer      hermes-host show {run} --answer")),
        "{shown}"
    );
}

/// Also where the agent lives with it, and achieves what it was asked for.
#[test]
fn what_a_budget_refused_is_told_and_the_end_names_the_way_on() {
    let (_server, home) = home();
    let echo = json!({ "do": "call", "name": "echo", "arguments": { "text": "x" } });
    let put = |key: &str| json!({ "do": "put", "space": 0, "key": key, "value": "a value" });
    let open = json!({ "do": "open", "name": "notes" });
    let told = "echo failed: The budget of this agent for tool-calls is used up: 1 of 1";
    for (key, steps, told) in [
        ("tool-calls", json!([echo, echo, echo]), &[told][..]),
        ("stored-bytes", json!([open, put("a"), put("b")]), &[][..]),
    ] {
        let program = json!({ "steps": steps, "summary": "An answer." });
        let host = home.host().arg("--tool").arg(guests::built("pure-echo"));
        let host = host.args(["--budget", &format!("{key}=1")]);
        let output = host.probe(&program).output().expect(0);
        let run = output.json()["run"].as_str().unwrap().to_owned();
        let way = format!("hermes-host replay {run} --fork --budget {key}=N");
        let output = output.says(told).says(&[&way]);
        let failed = output.stderr.matches("echo failed").count();
        assert_eq!(failed, told.len() * 2, "each is told once: {}", output.stderr);
        let resumed = home.host().args(["resume", &run]).output().expect(2);
        resumed.says(&["it has ended (completed)", &way]);
        let more = ["--budget", &format!("{key}=1000"), "--output", "json"];
        let fork = home.host().args(["replay", &run, "--fork"]).args(more).output();
        let fork = fork.expect(0);
        assert!(fork.spent(&key.replace("-", "_")) > 1, "{}", fork.stdout);
        assert!(!fork.stderr.contains("--fork"), "{}", fork.stderr);
    }
}

#[test]
fn the_end_of_its_time_names_the_way_on_where_something_was_waited_for() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream), Turn::text("late")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let host = home.host().args(["--budget", "wall=3s"]);
    let output = host.probe(&question()).output().expect(3);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let message = output.json()["error"]["message"].clone();
    assert_eq!(message, "it ran longer than 3 s (--budget wall=TIME)");
    let way = format!("hermes-host replay {run} --fork --budget wall=TIME");
    output.says(&[&way]);
    let fork = home.host().args(["replay", &run, "--fork", "--budget", "wall=1m"]);
    assert_eq!(fork.output().expect(0).stdout, "An answer.\n");
    // Stopped while it computes it would only be stopped there again.
    let host = home.host().args(["--budget", "tree.wall=500ms"]);
    let host = host.set("limits.fuel", 9_000_000_000_000_000_u64);
    let output = host.probe(&json!({ "steps": [{ "do": "spin" }] })).output().expect(3);
    let output = output.says(&["it ran longer than 500 ms (--budget tree.wall=TIME)"]);
    assert!(!output.stderr.contains("--fork"), "{}", output.stderr);
}

#[test]
fn an_answer_can_be_read_back() {
    let (_server, home) = home();
    let long = format!("An answer.\n\n{}", "word ".repeat(2_000));
    let program = json!({ "steps": [], "summary": long });
    let ran = home.host().probe(&program).output().expect(0).json();
    let run = ran["run"].as_str().unwrap();
    let answer = home.host().args(["show", run, "--answer"]).output().expect(0);
    assert_eq!(
        (answer.stdout.trim_end(), answer.stderr.as_str()),
        (long.trim_end(), "")
    );
    let shown = home.shown(run);
    for key in ["answer", "checkpoint", "result", "artifacts"] {
        assert_eq!(shown[key], ran[key], "{key}");
    }
    assert!(shown["result"]["seen"].is_array(), "{shown}");
    let alone = home.host().args(["show", run, "--answer", "--output", "json"]).output();
    let alone = alone.expect(0).json();
    assert_eq!(keys(&alone), ["run", "answer", "checkpoint", "result", "artifacts"]);
    assert_eq!(alone["answer"], ran["answer"]);
    let text = home.host().args(["show", run]).output().expect(0).stdout;
    assert!(text.contains(&format!("hermes-host show {run} --answer")), "{text}");
}

#[test]
fn runs_are_listed_with_their_age_and_how_many_more_there_are() {
    let (_server, home) = home();
    for outcome in ["PartlyAchieved", "Achieved", "PartlyAchieved"] {
        home.host().probe(&json!({ "outcome": outcome })).output();
    }
    let failed = json!({ "fail": { "kind": "Upstream", "message": "no luck" } });
    home.host().probe(&failed).output().expect(1);
    let list = |more: &[&str]| home.host().arg("runs").args(more).output().expect(0);
    let all = list(&[]);
    let head = all.stdout.lines().next().unwrap();
    assert!(head.contains("end") && head.contains("age"), "{head}");
    assert_eq!(all.stdout.matches("partly-achieved ").count(), 2, "{}", all.stdout);
    assert_eq!((all.stdout.lines().count(), all.stderr.as_str()), (5, ""));
    let two = list(&["--limit", "2"]).says(&["2 of 4 runs; --limit N shows more"]);
    assert_eq!(two.stdout.lines().count(), 3);
    let rows = |more: &[&str]| list(&[more, &["--output", "json"]].concat()).json();
    let row = rows(&["--status", "failed"]);
    assert_eq!(row.as_array().unwrap().len(), 1);
    assert_eq!(
        (&row[0]["strategy"], &row[0]["task"]),
        (&json!("probe"), &json!(failed.to_string()))
    );
    assert!(row[0]["ended_ms"].as_u64() >= row[0]["started_ms"].as_u64(), "{row}");
    assert_eq!(rows(&["--status", "failed,completed"]).as_array().unwrap().len(), 4);
    let some = list(&["--status", "completed", "--limit", "1"]);
    drop(some.says(&["1 of 3 runs"]));
    list(&["--status", "interrupted"]).says(&["no run has this status"]);
    let none = home.host().args(["runs", "--limit", "0"]).output().expect(2);
    none.says(&["0 is not from 1 to 10000"]);
}

#[test]
fn events_are_lines_from_start_to_end() {
    let (_server, home) = home();
    let host = home
        .host()
        .args(["--output", "events"])
        .arg("--plugin")
        .arg(guests::built("probe"));
    let events = host.arg(question().to_string()).output().expect(0).events();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((names[0], *names.last().unwrap()), ("run-started", "run-ended"));
    assert!(
        names.contains(&"completion-started") && names.contains(&"completion-ended"),
        "{names:?}"
    );
    let text: String = events
        .iter()
        .filter(|e| e["event"] == "completion-text")
        .filter_map(|e| e["text"].as_str())
        .collect();
    assert_eq!(text, "hello", "text is told as it comes");
}

#[test]
fn a_run_can_be_shown() {
    let (_server, home) = home();
    let run = home.host().probe(&question()).output().expect(0).json()["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = home
        .host()
        .args(["show", &run, "--output", "json"])
        .output()
        .expect(0)
        .json();
    assert_eq!(shown["run"], run);
    assert_eq!(shown["agents"][0]["operations"][0]["status"], "done", "{shown}");
    let text = home.host().args(["show", &run]).output().expect(0);
    assert!(
        text.stdout.contains(&run) && text.stdout.contains("test-model"),
        "{}",
        text.stdout
    );
    let rows = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    let of_row = [
        "run",
        "status",
        "outcome",
        "exit",
        "spent",
        "task",
        "strategy",
        "started_ms",
        "ended_ms",
    ];
    assert_eq!(keys(&rows[0]), of_row);
    let missing = home.host().args(["show", "0000000000"]).output().expect(2);
    assert!(missing.stderr.contains("0000000000"), "{}", missing.stderr);
}

#[test]
fn keys_are_nowhere() {
    // The provider's 401 repeats the key that it got; then a model says it wherever it can, in one piece and in many.
    let said = format!("the key is {KEY}");
    let call = json!({ "text": said }).to_string();
    let tells = Turn::text(&said)
        .thinking(&said, "c2lnbmVk")
        .and_call("call_1", "echo", &call);
    let turns = [
        Turn::status(401),
        tells.clone(),
        tells.sent(Delivery::Fragments),
        Turn::text(&said),
    ];
    let ask = question()["steps"][0].clone();
    let program = json!({ "steps": [ask, { "do": "agent", "user": "Tell me.", "turns": 5 }] });
    for format in [Format::OpenAi, Format::Anthropic] {
        let forms = ["json", "events", "text"];
        let server = ModelServer::start(vec![turns.to_vec(); forms.len()].concat());
        let home = Home::with_model(&server, format);
        for form in forms {
            let host = home.host().env("HERMES_HOST_LOG", "trace").arg("--verbose");
            let host = host
                .arg("--tool")
                .arg(guests::built("pure-echo"))
                .args(["--output", form, "--plugin"]);
            let output = host
                .arg(guests::built("probe"))
                .arg(program.to_string())
                .output()
                .expect(0);
            assert!(output.stdout.contains("[secret test]"), "{form}: {}", output.stdout);
        }
        let requests = server.requests();
        assert_eq!((requests.len(), server.surplus()), (turns.len() * forms.len(), 0));
        for request in &requests {
            assert!(
                request.headers.iter().any(|(_, value)| value.contains(KEY)),
                "the provider gets it"
            );
            assert!(
                !request.body.to_string().contains(KEY),
                "the guest has it: {}",
                request.body
            );
        }
        let last = requests.last().unwrap().body.to_string();
        assert!(last.matches("the key is [secret test]").count() >= 4, "{last}");
        let shown = home
            .host()
            .args(["config", "show"])
            .env("OPENAI_API_KEY", KEY)
            .output()
            .expect(0);
        assert!(shown.stdout.contains(KEY_VARIABLE), "{}", shown.stdout);
        home.host().arg("doctor").env("ANTHROPIC_API_KEY", KEY).output();
        home.assert_without(KEY);
    }
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let (server, home) = (ModelServer::start(Script::always(Turn::text("hello"))), Home::new());
    let file = home.write("key", KEY);
    let provider = hermes_tests::home::provider(&server, Format::OpenAi);
    home.configure(&provider.replace(
        &format!("key_env = \"{KEY_VARIABLE}\""),
        &format!("key_file = \"{}\"", file.display()),
    ));
    let run = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        home.host().without(KEY_VARIABLE).probe(&question()).output()
    };
    let refused = run(0o644).expect(2);
    assert!(refused.stderr.contains("chmod 600"), "{}", refused.stderr);
    run(0o600).expect(0);
    assert_eq!(
        server.requests()[0].header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
}

#[test]
fn colour_only_where_it_is_asked_for() {
    let (_server, home) = home();
    let plain = home.host().probe(&question()).output().expect(0);
    output::assert_clean(&plain);
    let loud = home
        .host()
        .args(["--color", "always", "--plugin", "./nowhere.wasm", "x"])
        .output();
    assert!(loud.stderr.contains('\u{1b}'), "{}", loud.stderr);
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let (_server, home) = home();
    let program = json!({ "steps": [], "summary": "x".repeat(500_000) });
    let mut line = std::process::Command::new("sh");
    let host = hermes_tests::host::binary();
    line.args(["-c", r#""$0" --quiet --plugin "$1" - < "$2" | head -c 10"#])
        .arg(host)
        .arg(guests::built("probe"));
    let file = home.write("task", program.to_string());
    let out = line
        .arg(file)
        .env("HERMES_HOME", home.path())
        .env(KEY_VARIABLE, KEY)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_stalled_provider_is_not_waited_for_at_the_end() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream)]);
    let home = Home::with_model(&server, Format::OpenAi);
    let messages = json!([{ "User": [{ "Text": "hi" }] }]);
    let program = json!({ "steps": [{ "do": "start", "messages": messages }, { "do": "cancel", "pending": 0 }, { "do": "wait", "pending": 0 }] });
    let output = home.host().probe(&program).output().expect(0);
    assert_eq!(output::refusal(&output.seen()[2]).as_deref(), Some("cancelled"));
    assert!(output.took < std::time::Duration::from_secs(15), "{:?}", output.took);
}

/// Runs a program whose events nobody reads before the run has ended, on one processor: whoever waits for a reader would not end.
#[track_caller]
fn read_late(home: &Home, program: &Value, limits: &[(&str, &str)]) -> Vec<Value> {
    let gate = home.work().join("gate");
    let made = std::process::Command::new("mkfifo").arg(&gate).status().unwrap();
    assert!(made.success());
    let host = home
        .host()
        .arg("--plugin")
        .arg(guests::built("probe"))
        .arg(program.to_string());
    let host = limits
        .iter()
        .fold(host.args(["--output", "events"]), |host, (key, value)| {
            host.set(key, value)
        });
    let process = host
        .by("taskset -c 0 \"$0\" \"$@\" | { read -r word < gate; cat; }")
        .start();
    let ended = || {
        let runs = home.host().args(["runs", "--output", "json"]).output();
        runs.stdout.contains("\"completed\"")
    };
    let begun = std::time::Instant::now();
    while !ended() {
        assert!(begun.elapsed().as_secs() < 60, "the run waits for who reads its events");
    }
    std::fs::write(&gate, "go\n").unwrap();
    process.finish().expect(0).events()
}

#[test]
fn a_reader_that_is_late_holds_nobody_up_and_misses_only_what_is_over_its_limit() {
    let (_server, home) = home();
    // Each line is an event of 512 bytes and its text: 20,000 of them are within the limit, and more than text as it comes may be behind.
    let lines = |n: u32| json!({ "steps": [{ "do": "repeat", "n": n, "steps": [{ "do": "log", "level": "Info", "message": "a line" }] }] });
    let room = [("limits.host_calls", "100000"), ("limits.log_step", "16MiB")];
    let told = read_late(&home, &lines(20_000), &room);
    let logged = |told: &[Value]| told.iter().filter(|event| event["event"] == "log").count();
    assert_eq!(logged(&told), 20_000);
    assert!(
        !told.iter().any(|event| event["event"] == "notice"),
        "nothing is missed"
    );

    let (_server, home) = self::home();
    let [_, log] = room;
    let told = read_late(&home, &lines(2_000), &[("limits.events", "64KiB"), log]);
    let missed = told.iter().filter(|event| event["event"] == "notice");
    let missed = missed.filter_map(|event| {
        event["message"]
            .as_str()?
            .split_once(" events were missed here")?
            .0
            .parse::<usize>()
            .ok()
    });
    let missed: usize = missed.sum();
    assert!(missed > 0 && logged(&told) < 2_000);
    assert!(logged(&told) + missed >= 2_000, "{} and {missed}", logged(&told));
    assert_eq!(told.last().unwrap()["event"], "run-ended");
}
