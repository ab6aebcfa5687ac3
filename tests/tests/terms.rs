//! A resume may add to a run's budget and take rights from it, nothing else; what it changed is a record that later resumes and forks go by.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::time::Duration;

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::refusal;
use hermes_tests::program::{ask, open, put, steps};
use hermes_tests::{Home, Host, Output};
use rustix::process::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// Starts this and kills it once the model has been asked `n` times in all.
#[track_caller]
fn killed(server: &ModelServer, host: Host, n: usize) {
    let process = host.start();
    server.wait_for(n, LONG);
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None);
}

fn resume(home: &Home, run: &str, flags: &[&str]) -> Host {
    home.host().args(["resume", run, "--output", "json"]).args(flags)
}

fn stall() -> Turn {
    Turn::fault(Fault::StallMidStream)
}

/// What the root's notes say of changed terms.
fn changes(home: &Home, run: &str) -> Vec<Value> {
    let notes = home.shown(run)["agents"][0]["notes"].as_array().unwrap().clone();
    notes.into_iter().filter(|note| note["kind"] == "terms").collect()
}

#[track_caller]
fn replays_the_same(home: &Home, run: &str) {
    let replayed = home.host().args(["replay", run, "--output", "json"]).output().expect(0);
    assert_eq!(replayed.json()["same"], true);
}

/// As long as the budget lets it, it asks.
fn asking() -> Value {
    steps(&[json!({ "do": "repeat", "n": 9, "until_error": true, "steps": [ask("Go on.")] })])
}

#[test]
fn a_budget_is_raised_and_stays_so() {
    let script = Script::from([Turn::text("a"), stall(), Turn::text("b"), stall()]).then(Turn::text("c"));
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    killed(
        &server,
        home.host().args(["--budget", "iterations=2"]).probe(&asking()),
        2,
    );
    let run = home.newest_run();
    killed(&server, resume(&home, &run, &["--budget", "iterations=4"]), 4);
    let output = resume(&home, &run, &[]).output().expect(3);
    assert_eq!(output.seen()[0]["ok"]["rounds"], 4);
    assert_eq!((output.spent("iterations"), server.requests().len()), (4, 6));
    let changes = changes(&home, &run);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0]["text"], "it went on with --budget iterations=4");
    assert_eq!(home.shown(&run)["agents"][0]["budget"]["iterations"], 4);
    replays_the_same(&home, &run);
}

#[test]
fn the_trees_budget_is_raised() {
    let server = ModelServer::start(Script::from([Turn::text("a"), stall()]).then(Turn::text("b")));
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&asking());
    let host = home.host().args(["--budget", "tree.iterations=2"]);
    killed(&server, host.probe(&steps(&[child.spawn(), join(0)])), 2);
    let run = home.newest_run();
    let output = resume(&home, &run, &["--budget", "tree.iterations=5"])
        .output()
        .expect(0);
    assert_eq!((output.spent("iterations"), server.requests().len()), (5, 6));
    // While the run lay there stopped the child was not at work.
    let agents = home.shown(&run)["agents"].clone();
    assert_eq!(agents[0]["operations"][0]["kind"], "child");
    assert_eq!(agents[0]["operations"][0]["ms"], agents[1]["spent"]["wall_clock_ms"]);
}

/// What children have where nobody set a limit for them is a limit like any other.
#[test]
fn the_childrens_default_is_raised() {
    let server = ModelServer::start(Script::from([stall()]).then(Turn::text("a")));
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&json!({ "steps": [{ "do": "repeat", "n": 4, "steps": [ask("CHILD")] }] }));
    let program = steps(&[ask("ROOT"), child.spawn(), join(0)]);
    let host = home.host().set("limits.iterations.child", 2);
    killed(&server, host.probe(&program), 1);
    let run = home.newest_run();
    let more = ["--budget", "child.iterations=4"];
    let output = resume(&home, &run, &more).output().expect(0);
    assert_eq!((output.spent("iterations"), server.requests().len()), (5, 6));
    assert_eq!(home.shown(&run)["agents"][1]["budget"]["iterations"], 4);
}

#[test]
fn no_limit_is_lowered_or_added() {
    let server = ModelServer::start(Script::from([stall()]).then(Turn::text("a")));
    let home = Home::with_model(&server, Format::OpenAi);
    killed(
        &server,
        home.host().args(["--budget", "iterations=2"]).probe(&asking()),
        1,
    );
    let run = home.newest_run();
    for (flags, words) in [
        (
            ["--budget", "iterations=1"],
            "--budget iterations=1 is less than the 2 that it has",
        ),
        (
            ["--budget", "tokens=5"],
            "--budget tokens=5 would be a limit where it has none",
        ),
        (
            ["--budget", "child.iterations=49"],
            "--budget child.iterations=49 is less than the 50 that it has",
        ),
        (
            ["--budget", "child.iterations=201"],
            "--budget child.iterations=201 is more than any sub-agent may have: 200 (limits.iterations.child_max)",
        ),
        (["--budget", "wall=1s"], "--budget wall=1s is less than the 10 min"),
        (["--deny", "files"], "files"),
        (
            ["--deny", "terminal"],
            "what a resume can take away is fs, net, secret, blackboard, llm, delegation, lessons",
        ),
    ] {
        let refused = resume(&home, &run, &flags).output().expect(2);
        refused.says(&[words]);
    }
    assert_eq!(changes(&home, &run), [] as [Value; 0]);
    assert_eq!(
        resume(&home, &run, &["--budget", "iterations=2"])
            .output()
            .expect(3)
            .spent("iterations"),
        2
    );
}

#[test]
fn rights_are_taken_away_and_stay_so() {
    let server = ModelServer::start(Script::from([stall(), stall()]).then(Turn::text("a")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "a line");
    let read = json!({ "do": "call", "name": "read_file", "arguments": { "path": "/papers/a.txt" } });
    let program = steps(&[open(), put("a"), read.clone(), ask("1"), put("b"), read, ask("2")]);
    killed(&server, home.host().args(["--allow", "fs:./papers"]).probe(&program), 1);
    let run = home.newest_run();
    killed(&server, resume(&home, &run, &["--deny", "blackboard,fs"]), 2);
    let output = resume(&home, &run, &["--deny", "llm"]).output().expect(0);
    let seen = output.seen();
    assert!(seen[1]["ok"].is_number() || refusal(&seen[1]).is_none(), "{}", seen[1]);
    assert!(seen[2].to_string().contains("a line"), "{}", seen[2]);
    assert_eq!(refusal(&seen[4]).as_deref(), Some("denied"), "{}", seen[4]);
    assert!(!seen[5].to_string().contains("a line"), "{}", seen[5]);
    assert_eq!(refusal(&seen[6]).as_deref(), Some("denied"), "{}", seen[6]);
    assert_eq!(changes(&home, &run).len(), 2);
    replays_the_same(&home, &run);
}

#[test]
fn a_child_loses_them_too_and_a_fork_keeps_none() {
    let server = ModelServer::start(Script::from([stall(), stall()]).then(Turn::text("a")));
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&steps(&[ask("1"), open()]));
    let program = steps(&[child.spawn(), join(0), open()]);
    killed(&server, home.host().probe(&program), 1);
    let run = home.newest_run();
    killed(&server, resume(&home, &run, &["--deny", "blackboard"]), 2);
    let forked = home
        .host()
        .args(["replay", &run, "--fork", "--output", "json"])
        .output()
        .expect(0);
    let resumed = resume(&home, &run, &[]).output().expect(0);
    for output in [forked, resumed] {
        let seen = output.seen();
        let denied = |seen: &Value| seen.to_string().contains("Denied");
        assert!(denied(&seen[1]), "{}", seen[1]);
        assert!(refusal(&seen[2]).as_deref() == Some("denied"), "{}", seen[2]);
    }
}

/// No flag of the command that began it is to blame, and none gives it back.
#[test]
fn what_a_resume_took_away_is_told_as_that() {
    let server = ModelServer::start(Script::from([stall()]).then(Turn::text("a")));
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&steps(&[]));
    killed(&server, home.host().probe(&steps(&[ask("1"), child.spawn()])), 1);
    let run = home.newest_run();
    let output = resume(&home, &run, &["--deny", "delegation"]).output().expect(0);
    let denied = output.json()["denied"][0].clone();
    let words = "a resume took delegation away for good: a new run has it";
    assert_eq!((&denied["flags"], &denied["remedy"]), (&json!([]), &json!(words)));
    let output = output.says(&[words]);
    assert!(!output.stderr.contains("leave out"), "{}", output.stderr);
}

/// That the output of a resume tells of the change.
#[test]
fn a_change_is_told() {
    let server = ModelServer::start(Script::from([stall()]).then(Turn::text("a")));
    let home = Home::with_model(&server, Format::OpenAi);
    killed(
        &server,
        home.host().args(["--budget", "iterations=2"]).probe(&asking()),
        1,
    );
    let run = home.newest_run();
    let output: Output = home
        .host()
        .args(["resume", &run, "--budget", "iterations=3", "--deny", "delegation,net"])
        .output()
        .expect(3);
    output.says(&["it goes on with --budget iterations=3 --deny net,delegation"]);
}
