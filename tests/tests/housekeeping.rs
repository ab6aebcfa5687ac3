//! Control of runs and care for what is kept: cancelling another process's run, going on with all, removing, copying, damage, a disk that
//! fills up.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, exit, inside, join};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::{refusal, slack};
use hermes_tests::program::{ask, steps};
use hermes_tests::shim::{Action, EIO, ENOSPC, When};
use hermes_tests::{Home, Host, Output, Process, Shim, guests};
use memchr::memmem;
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

fn stall() -> Turn {
    Turn::fault(Fault::StallMidStream)
}

fn checkpoint() -> Value {
    let report = json!({ "outcome": "PartlyAchieved", "summary": "So far.", "artifacts": [], "open_questions": [] });
    json!({ "do": "checkpoint", "report": report })
}

/// A home with this script's model.
fn home(script: impl Into<Script>) -> (ModelServer, Home) {
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    (server, home)
}

/// The runs as `runs` lists them, the newest first.
fn runs(home: &Home) -> Vec<Value> {
    let listed = home.host().args(["runs", "--output", "json"]).output().expect(0);
    listed.json().as_array().unwrap().clone()
}

fn status(home: &Home, run: &str) -> String {
    let listed = runs(home);
    let row = listed.iter().find(|row| row["run"] == run);
    row.unwrap_or_else(|| panic!("{run} is not in {listed:?}"))["status"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn show(home: &Home, run: &str) -> Value {
    home.host()
        .args(["show", run, "--output", "json"])
        .output()
        .expect(0)
        .json()
}

/// Starts a run that asks the model for the `n`-th time and gets no answer.
fn stuck(server: &ModelServer, home: &Home, program: &Value, n: usize) -> (Process, String) {
    let process = home.host().probe(program).start();
    server.wait_for(n, LONG);
    let run = home.newest_run();
    (process, run)
}

/// As [`stuck`], killed.
fn killed(server: &ModelServer, home: &Home, program: &Value, n: usize) -> String {
    let (process, run) = stuck(server, home, program, n);
    kill(process);
    run
}

fn kill(process: Process) {
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None);
}

/// Runs `program` to its end.
fn whole(home: &Home, program: &Value) -> String {
    let output = home.host().probe(program).output().expect(0);
    output.json()["run"].as_str().unwrap().to_owned()
}

fn doctor(home: &Home, code: i32) -> String {
    home.host().arg("doctor").output().expect(code).stdout
}

fn state(home: &Home) -> PathBuf {
    home.path().join("host")
}

/// Flips one bit of the first byte behind each place that holds `marker` in the database, whose log must be empty. Gives how many there were.
fn damage(home: &Home, marker: &str) -> usize {
    let path = state(home).join("hermes.db");
    let log = fs::metadata(state(home).join("hermes.db-wal")).map_or(0, |meta| meta.len());
    assert_eq!(log, 0, "what is damaged must be in the database");
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<usize> = memmem::find_iter(&bytes, marker).collect();
    places.iter().for_each(|at| bytes[*at] ^= 1);
    fs::write(&path, bytes).unwrap();
    places.len()
}

/// Opens and closes the database as a writer, so that its log is copied into it.
fn settle(home: &Home) {
    home.host()
        .args(["blackboard", "put", "settled", "x", "y"])
        .output()
        .expect(0);
}

// --- cancel ---------------------------------------------------------------------------------------------------------------

#[test]
fn another_processs_run_is_cancelled_with_its_children() {
    let (server, home) = home([stall()]);
    let child = ChildSpec::probe(&steps(&[ask("CHILD")]));
    let program = steps(&[checkpoint(), child.spawn(), join(0)]);
    let (process, run) = stuck(&server, &home, &program, 1);
    let asked = Instant::now();
    let told = home
        .host()
        .args(["cancel", &run])
        .output()
        .expect(0)
        .says(&["is cancelled"]);
    let output = process.finish().expect(1).says(&["another process asked"]);
    // Their guests return as soon as they are told.
    assert!(
        output.ended - asked < Duration::from_millis(250) + slack(),
        "{:?}",
        output.ended - asked
    );
    assert!(told.took < Duration::from_secs(10), "{:?}", told.took);
    let json = output.json();
    assert_eq!(json["exit"], "cancelled");
    // Both were told, and returned.
    let of_child = &output.seen()[2];
    assert_eq!(exit(of_child), "Cancelled", "{json}");
    assert_eq!(refusal(&inside(of_child)[0]).as_deref(), Some("cancelled"), "{json}");
    let shown = show(&home, &run);
    let agents = shown["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 2);
    for agent in agents {
        assert_eq!(
            (&agent["status"], &agent["cancel_asked"]),
            (&json!("cancelled"), &json!(true)),
            "{shown}"
        );
    }
    assert_eq!(server.requests().len(), 1);
    home.host().args(["resume", &run]).output().expect(2).says(&["final"]);
    home.host()
        .args(["cancel", &run])
        .output()
        .expect(2)
        .says(&["has ended (cancelled); there is nothing to cancel"]);
}

#[test]
fn what_an_agent_begins_after_its_cancel_is_not_begun() {
    let (server, home) = home([stall()]);
    let script = json!({ "script": "2 + 2" });
    let program = steps(&[
        ask("ONE"),
        ask("TWO"),
        json!({ "do": "start", "messages": [{ "User": [{ "Text": "THREE" }] }] }),
        json!({ "do": "wait", "pending": 0 }),
        json!({ "do": "call", "name": "run_script", "arguments": script }),
        ChildSpec::probe(&steps(&[])).spawn(),
    ]);
    let (process, run) = stuck(&server, &home, &program, 1);
    home.host().args(["cancel", &run]).output().expect(0);
    let output = process.finish().expect(1);
    let seen = output.seen();
    for n in [0, 1, 3, 4, 5] {
        assert_eq!(refusal(&seen[n]).as_deref(), Some("cancelled"), "{n}: {}", seen[n]);
    }
    // The one that was under way is all that anybody is told of.
    assert!(!output.stderr.contains("iteration 2"), "{}", output.stderr);
    let shown = show(&home, &run);
    let agents = shown["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 1, "{shown}");
    let operations = agents[0]["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 1, "{shown}");
    assert_eq!(operations[0]["status"], "cancelled", "{shown}");
    assert_eq!((server.requests().len(), output.spent("iterations")), (1, 1));
}

#[test]
fn a_guest_that_does_not_listen_has_its_grace_and_no_more() {
    let (_server, home) = home(Vec::new());
    let process = home
        .host()
        .set("limits.fuel", 9_000_000_000_000_000_u64)
        .set("limits.cancel_grace", "1s")
        .probe(&steps(&[checkpoint(), json!({ "do": "spin" })]))
        .start();
    let begun = Instant::now();
    let run = loop {
        if let Some(run) = runs(&home).first() {
            break run["run"].as_str().unwrap().to_owned();
        }
        assert!(begun.elapsed() < LONG, "the run never began");
    };
    let asked = Instant::now();
    let told = home
        .host()
        .args(["cancel", &run, "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(told.json()["status"], "cancelled");
    let output = process.finish().expect(1);
    let took = output.ended - asked;
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_millis(1250) + slack(), "{took:?}");
    let json = output.json();
    assert_eq!(
        (&json["exit"], &json["checkpoint"]),
        (&json!("cancelled"), &json!("So far."))
    );
}

/// Stops a process where it is: it hears nothing and writes nothing.
fn freeze(process: &Process) {
    process.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", process.id());
    let begun = Instant::now();
    while !fs::read_to_string(&stat).unwrap().contains(") T ") {
        assert!(begun.elapsed() < LONG, "it does not stop");
    }
}

/// Asks for the end of a run whose owner is frozen. Gives who waits, once the request is written: nobody else writes.
fn asking(home: &Home, run: &str) -> Process {
    let log = || fs::metadata(state(home).join("hermes.db-wal")).map(|log| (log.len(), log.modified().unwrap()));
    let before = log().ok();
    let process = home.host().args(["cancel", run]).start();
    let begun = Instant::now();
    while log().ok() == before {
        assert!(begun.elapsed() < LONG, "nothing was written");
    }
    process
}

#[test]
fn whoever_asked_ends_the_run_where_its_owner_dies() {
    let (server, home) = home([stall()]);
    let (process, run) = stuck(&server, &home, &steps(&[checkpoint(), ask("ROOT")]), 1);
    freeze(&process);
    let asking = asking(&home, &run);
    kill(process);
    asking.finish().expect(0).says(&["is cancelled"]);
    assert_eq!(status(&home, &run), "cancelled");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_request_stands_when_all_die() {
    let (server, home) = home(Script::from([stall()]).then(Turn::text("late")));
    let child = ChildSpec::probe(&steps(&[ask("CHILD")]));
    let (process, run) = stuck(&server, &home, &steps(&[checkpoint(), child.spawn(), join(0)]), 1);
    freeze(&process);
    let asking = home.host().args(["cancel", &run]);
    let asking = asking.set("limits.cancel_grace", 0).set("limits.delegation.depth", 0);
    let told = asking
        .output()
        .expect(1)
        .says(&["was asked to end", "the request stands", "hermes-host cancel"]);
    assert!(told.took >= Duration::from_secs(10), "{:?}", told.took);
    let asked = format!(
        "asked process {}; waiting. Ctrl-C leaves the request standing",
        process.id()
    );
    let told = told.says(&[&asked]);
    assert_eq!(told.stdout, "");
    kill(process);
    assert_eq!(status(&home, &run), "interrupted");
    let resumed = home
        .host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(1);
    let json = resumed.json();
    assert_eq!(
        (&json["exit"], &json["checkpoint"]),
        (&json!("cancelled"), &json!("So far."))
    );
    let shown = show(&home, &run);
    let agents = shown["agents"].as_array().unwrap();
    assert!(agents.iter().all(|agent| agent["status"] == "cancelled"), "{shown}");
    assert_eq!(agents[0]["cancel_asked"], true);
    assert_eq!(server.requests().len(), 1, "nothing was sent again");
}

#[test]
fn a_run_that_is_suspended_when_its_end_was_asked_for_is_ended() {
    let (server, home) = home([stall()]);
    let (process, run) = stuck(&server, &home, &steps(&[checkpoint(), ask("ROOT")]), 1);
    freeze(&process);
    let asking = asking(&home, &run);
    process.signal(Signal::INT);
    process.signal(Signal::CONT);
    // Whichever it hears first.
    let code = process.finish().code;
    assert!(code == Some(130) || code == Some(1), "{code:?}");
    asking.finish().expect(0);
    assert_eq!(status(&home, &run), "cancelled");
}

#[test]
fn an_end_and_a_request_race_and_the_recorded_one_stands() {
    let (_server, home) = home(Script::always(Turn::text("a")));
    for round in 0..4 {
        let key = format!("go{round}");
        let wait = json!({ "do": "changes", "space": 0, "prefix": key, "since": 0, "wait_ms": 600_000 });
        let host = home.host().args(["--allow", "blackboard:shared"]);
        let program = steps(&[ask("ROOT"), json!({ "do": "open", "name": "shared" }), wait]);
        let owner = host.probe(&program).start();
        // Behind this outcome it writes nothing until it ends: frozen, it holds up nobody.
        let begun = Instant::now();
        let answered = |run: &str| show(&home, run)["agents"][0]["operations"][0]["status"] == "done";
        while runs(&home).len() == round || !answered(&home.newest_run()) {
            assert!(begun.elapsed() < LONG, "it never asked");
        }
        let run = home.newest_run();
        freeze(&owner);
        let asking = asking(&home, &run);
        home.host()
            .args(["blackboard", "put", "shared", &key, "now"])
            .output()
            .expect(0);
        owner.signal(Signal::CONT);
        let (owner, asking) = (owner.finish(), asking.finish());
        match (owner.code, asking.code, status(&home, &run).as_str()) {
            (Some(0), Some(1), "completed") => {
                drop(asking.says(&["ended before it could be cancelled: returned, achieved"]));
            }
            (Some(1), Some(0), "cancelled") => {}
            other => panic!("{other:?}: {}{}", owner.stderr, asking.stderr),
        }
    }
}

// --- resume --all ---------------------------------------------------------------------------------------------------------

/// Three runs that were killed, whose model answers when it is asked again.
fn three_killed() -> (ModelServer, Home, Vec<String>) {
    let names = ["ONE", "TWO", "THREE"];
    let script = names.iter().fold(Script::default(), |script, name| {
        script.when(&format!("I am {name}."), [stall(), Turn::text(format!("{name} it is"))])
    });
    let (server, home) = home(script);
    let program =
        |name: &str| json!({ "steps": [ask(&format!("I am {name}."))], "summary": format!("{name} is done.") });
    let killed = |(n, name): (usize, &&str)| killed(&server, &home, &program(name), n + 1);
    let ids: Vec<String> = names.iter().enumerate().map(killed).collect();
    (server, home, ids)
}

#[test]
fn all_that_can_go_on_goes_on_and_the_others_are_named() {
    let (server, home, mut ids) = three_killed();
    // One that ended, one that another process owns, and one whose anchor is gone.
    let ended = whole(&home, &steps(&[]));
    let owned = home.host().args(["--allow", "blackboard:shared"]);
    let wait = json!({ "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 600_000 });
    let owner = owned
        .probe(&steps(&[json!({ "do": "open", "name": "shared" }), wait]))
        .start();
    let begun = Instant::now();
    let theirs = loop {
        let newest = home.newest_run();
        if newest != ended {
            break newest;
        }
        assert!(begun.elapsed() < LONG, "it never began");
    };
    let damaged = ids.pop().unwrap();
    fs::remove_file(state(&home).join(format!("runs/{damaged}.lock"))).unwrap();
    let output = home
        .host()
        .args(["resume", "--all", "--output", "json"])
        .output()
        .expect(0);
    let results = output.json();
    let of = |run: &str| {
        results
            .as_array()
            .unwrap()
            .iter()
            .find(|result| result["run"] == run)
            .cloned()
    };
    for run in &ids {
        let result = of(run).unwrap_or_else(|| panic!("{run} is not in {results}"));
        assert_eq!(
            (&result["exit"], &result["outcome"]),
            (&json!("returned"), &json!("achieved"))
        );
        assert_eq!(result["spent"]["resent"], 1);
    }
    let result = of(&damaged).unwrap_or_else(|| panic!("{damaged} is not in {results}"));
    assert_eq!(result["exit"], "interrupted");
    let message = result["error"]["message"].as_str().unwrap();
    assert!(message.contains("anchor"), "{message}");
    let not_gone_on = format!("run {damaged} was not gone on with");
    assert!(output.stderr.contains(&not_gone_on), "{}", output.stderr);
    // What another process has is none of it.
    let under_way = format!("run {theirs} is under way in process");
    assert!(output.stderr.contains(&under_way), "{}", output.stderr);
    assert_eq!((of(&theirs), of(&ended)), (None, None));
    assert_eq!(results.as_array().unwrap().len(), 3);
    assert_eq!(server.requests().len(), 5, "three, and two of them again");
    // Nothing that could go on is left.
    home.host()
        .args(["resume", "--all"])
        .output()
        .expect(2)
        .says(&[&theirs, &damaged]);
    let resumed = home.host().args(["resume", &theirs]).output().expect(2);
    let ways = format!("hermes-host cancel {theirs}");
    resumed.says(&["is owned by process", &ways]);
    home.host()
        .args(["blackboard", "put", "shared", "go", "now"])
        .output()
        .expect(0);
    owner.finish().expect(0);
}

#[test]
fn answers_side_by_side_do_not_mix() {
    let (_server, home, ids) = three_killed();
    let output = home.host().args(["resume", "--all"]).output().expect(0);
    for (run, name) in ids.iter().zip(["ONE", "TWO", "THREE"]) {
        let answer = format!("run {run}:\n{name} is done.\n\n");
        assert!(
            output.stdout.contains(&answer),
            "{answer:?} is missing in {:?}",
            output.stdout
        );
        assert!(
            output
                .stderr
                .contains(&format!("run {run}: returned, achieved (1 iteration")),
            "{}",
            output.stderr
        );
        let lines = output
            .stderr
            .lines()
            .filter(|line| line.starts_with(&format!("{run} ")));
        assert!(lines.count() >= 2, "progress begins with the run: {}", output.stderr);
    }
    assert_eq!(output.stdout.matches("is done.").count(), 3);
    home.host()
        .args(["resume", "--all"])
        .output()
        .expect(0)
        .says(&["no run waits"]);
}

#[test]
fn all_go_on_to_their_ends_where_nothing_can_be_written() {
    for form in ["text", "json", "events"] {
        let (_server, home, ids) = three_killed();
        let host = home.host().args(["resume", "--all", "--output", form]);
        let output = host.by("exec \"$0\" \"$@\" > /dev/full").output().expect(1);
        let told = output.stderr.matches("standard output could not be written").count();
        assert_eq!(told, 1, "{form}: {}", output.stderr);
        for (run, name) in ids.iter().zip(["ONE", "TWO", "THREE"]) {
            assert_eq!(status(&home, run), "completed", "{form}");
            let answer = home.host().args(["show", run, "--answer"]).output().expect(0);
            assert_eq!(answer.stdout, format!("{name} is done.\n"), "{form}");
        }
    }
}

#[test]
fn of_several_codes_the_first_in_order_counts() {
    let script = Script::default()
        .when("SHORT", [stall(), Turn::text("a")])
        .when("GOOD", [stall(), Turn::text("a")])
        .when("BAD", [stall(), Turn::text("a")]);
    let (server, home) = home(script);
    killed(&server, &home, &steps(&[ask("GOOD")]), 1);
    killed(
        &server,
        &home,
        &json!({ "steps": [ask("BAD")], "outcome": "NotAchieved" }),
        2,
    );
    assert_eq!(runs(&home).len(), 2);
    let short = steps(&[ask("SHORT"), ask("SHORT")]);
    let process = home.host().args(["--budget", "iterations=1"]).probe(&short).start();
    server.wait_for(3, LONG);
    kill(process);
    let output = home.host().args(["resume", "--all", "--output", "json"]).output();
    let exits: BTreeSet<String> = output
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["exit"].to_string())
        .collect();
    assert!(
        exits.contains("\"exhausted\"") && exits.contains("\"returned\""),
        "{exits:?}"
    );
    output.expect(3);
}

#[test]
fn as_many_go_on_at_once_as_the_limit_says_and_a_signal_suspends_them() {
    for parallel in [1, 2] {
        let (server, home) = home(Script::always(stall()));
        let programs = [1, 2, 3].map(|n| killed(&server, &home, &steps(&[checkpoint(), ask("ROOT")]), n));
        let process = home.host().args(["resume", "--all", "--output", "json"]);
        let process = process.set("limits.resume_parallel", parallel).start();
        server.wait_for(3 + parallel, LONG);
        process.signal(Signal::INT);
        let output = process.finish().expect(130);
        assert_eq!(server.requests().len(), 3 + parallel, "no more than {parallel} at once");
        let results = output.json();
        assert_eq!(results.as_array().unwrap().len(), parallel, "{results}");
        assert_eq!(
            (&results[0]["exit"], &results[0]["checkpoint"]),
            (&json!("interrupted"), &json!("So far."))
        );
        for run in programs {
            assert_eq!(status(&home, &run), "interrupted");
        }
    }
}

// --- prune ----------------------------------------------------------------------------------------------------------------

fn prune(home: &Home, arguments: &[&str]) -> Value {
    prune_ends_with(home, arguments, 0)
}

fn prune_ends_with(home: &Home, arguments: &[&str], code: i32) -> Value {
    let host = home.host().args(["runs", "prune", "--output", "json"]).args(arguments);
    host.output().expect(code).json()
}

fn pruned(report: &Value) -> BTreeSet<String> {
    let runs = report["runs"].as_array().unwrap().iter();
    runs.map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

fn set(runs: &[&String]) -> BTreeSet<String> {
    runs.iter().map(|run| (*run).clone()).collect()
}

#[test]
fn prune_wants_to_be_told_what() {
    let home = Home::new();
    for arguments in [&[][..], &["--dry-run"]] {
        let output = home.host().args(["runs", "prune"]).args(arguments).output().expect(2);
        output.says(&["--older-than", "--status", "--keep-bytes"]);
    }
    for wrong in [
        ["--older-than", "30"],
        ["--older-than", "soon"],
        ["--older-than", "1w"],
        ["--keep-bytes", "much"],
        ["--keep-bytes", "1GB"],
        ["--status", "old"],
        ["--status", "active"],
    ] {
        home.host()
            .args(["runs", "prune"])
            .args(wrong)
            .output()
            .expect(2)
            .says(&[wrong[1]]);
    }
    for (wrong, units) in [
        (["--older-than", "1w"], "d, h, m"),
        (["--keep-bytes", "1GB"], "KiB, MiB or GiB"),
    ] {
        let output = home.host().args(["runs", "prune"]).args(wrong).output().expect(2);
        output.says(&[units]);
    }
    prune(&home, &["--older-than", "30d"]);
}

#[test]
fn what_stays_is_told_where_too_little_could_go() {
    let (server, home) = home([stall()]);
    whole(&home, &writes(3));
    killed(&server, &home, &steps(&[ask("ROOT")]), 1);
    let text = |more: &[&str]| {
        let host = home.host().args(["runs", "prune", "--keep-bytes", "1KiB"]).args(more);
        host.output().expect(0).stdout
    };
    for (more, stay) in [(&["--dry-run"][..], "would stay"), (&[], "stay")] {
        let told = text(more);
        let last = told.lines().last().unwrap();
        for words in [stay, "more than 1 KiB", "of components", "1 run that can go on"] {
            assert!(last.contains(words), "{words}: {told}");
        }
    }
    let report = prune(&home, &["--keep-bytes", "1KiB"]);
    assert_eq!(report["stays"]["runs"], json!({ "interrupted": 1 }));
    assert_eq!(report["stays"]["bytes"], report["after"]["used"]);
    assert_eq!(prune(&home, &["--keep-bytes", "1GiB"])["stays"], Value::Null);
}

#[test]
fn damaged_runs_without_an_anchor_stay_and_that_is_told() {
    let (_server, home) = home(Vec::new());
    let [bad, both, bare] = [0, 1, 2].map(|_| whole(&home, &steps(&[])));
    settle(&home);
    // All of one, and what comes behind the beginning of the other.
    change_rows(
        &home,
        "UPDATE journal SET sum = sum + 1 WHERE run = 1 OR run = 2 AND id % 1099511627776 > 3",
    );
    for run in [&both, &bare] {
        fs::remove_file(state(&home).join(format!("runs/{run}.lock"))).unwrap();
    }
    let damaged = ["--status", "damaged"];
    let text = |more: &[&str]| {
        let host = home.host().args(["runs", "prune"]).args(damaged).args(more);
        host.output().expect(0).stdout
    };
    let makes_it = "hermes-host resume RUN --accept-loss makes it again\n";
    let told = text(&["--dry-run"]);
    assert!(
        told.contains(&format!("2 runs without an anchor would stay: {makes_it}")),
        "{told}"
    );
    // One that is not meant is not told of.
    let young = prune(&home, &["--status", "damaged", "--older-than", "1d"]);
    assert_eq!(
        (pruned(&young), &young["without_anchor"]),
        (BTreeSet::new(), &json!([]))
    );
    let report = prune(&home, &["--status", "damaged", "--keep-bytes", "1"]);
    assert_eq!(pruned(&report), set(&[&bad]));
    assert_eq!(report["without_anchor"], json!([both, bare]));
    assert_eq!(report["stays"]["runs"], json!({ "damaged": 2 }));
    home.host().args(["resume", &bare, "--accept-loss"]).output().expect(0);
    let told = text(&[]);
    assert!(
        told.contains(&format!("1 run without an anchor stays: {makes_it}")),
        "{told}"
    );
    assert_eq!((status(&home, &bare), runs(&home).len()), ("completed".to_owned(), 2));
}

#[test]
fn a_run_goes_once_it_is_older_than_that() {
    const HOUR: i64 = 3600;
    let (_server, home) = home(Vec::new());
    let made = |hours_ago: i64| {
        let shim = Shim::new().clock(1, &[-hours_ago * HOUR]);
        let output = shim.on(home.host().probe(&steps(&[]))).output().expect(0);
        output.json()["run"].as_str().unwrap().to_owned()
    };
    let [old, young, new] = [50, 40, 0].map(made);
    let older = |than: &str| pruned(&prune(&home, &["--older-than", than, "--dry-run"]));
    assert_eq!(older("51h"), BTreeSet::new());
    assert_eq!(older("49h"), set(&[&old]));
    assert_eq!(older("39h"), set(&[&old, &young]));
    assert_eq!(pruned(&prune(&home, &["--older-than", "2d"])), set(&[&old]));
    let left: Vec<Value> = runs(&home).iter().map(|run| run["run"].clone()).collect();
    assert_eq!(left, [json!(new), json!(young)]);
}

#[test]
fn what_is_owned_or_can_go_on_stays() {
    let (server, home) = home(Script::from([stall(), stall()]).then(Turn::text("a")));
    let ended = [whole(&home, &steps(&[])), whole(&home, &steps(&[]))];
    let waiting = killed(&server, &home, &steps(&[ask("ROOT")]), 1);
    let (owner, theirs) = stuck(&server, &home, &steps(&[ask("ROOT")]), 2);
    let active = home.host().args(["runs", "--status", "active", "--output", "json"]);
    let active = active.output().expect(0).json();
    assert_eq!(
        (active.as_array().unwrap().len(), &active[0]["run"]),
        (1, &json!(theirs))
    );
    assert_eq!(pruned(&prune(&home, &["--older-than", "1d"])), BTreeSet::new());
    assert_eq!(
        pruned(&prune(&home, &["--status", "failed,cancelled"])),
        BTreeSet::new()
    );
    let dry = prune(&home, &["--older-than", "0s", "--dry-run"]);
    assert_eq!(pruned(&dry), set(&[&ended[0], &ended[1]]));
    assert_eq!(runs(&home).len(), 4);
    let report = prune(&home, &["--older-than", "0s"]);
    assert_eq!(pruned(&report), set(&[&ended[0], &ended[1]]));
    let left: Vec<Value> = runs(&home).iter().map(|run| run["run"].clone()).collect();
    assert_eq!(left, [json!(theirs), json!(waiting)]);
    home.host()
        .args(["show", &ended[0]])
        .output()
        .expect(2)
        .says(&["there is no run"]);
    let locks = fs::read_dir(state(&home).join("runs")).unwrap().count();
    assert_eq!(locks, 2, "those of the runs that stay");
    assert!(doctor(&home, 0).contains("all good"));
    // Not even by name while somebody owns it.
    let report = prune(&home, &["--status", "interrupted", "--dry-run"]);
    assert_eq!(pruned(&report), set(&[&waiting]));
    home.host().args(["resume", &waiting]).output().expect(0);
    owner.signal(Signal::INT);
    owner.finish().expect(130);
    assert_eq!(pruned(&prune(&home, &["--status", "interrupted"])), set(&[&theirs]));
    assert_eq!(pruned(&prune(&home, &["--status", "completed"])), set(&[&waiting]));
    let components = fs::read_dir(state(&home).join("components")).unwrap().count();
    assert_eq!((components, runs(&home).len()), (0, 0));
    // Numbers and names are free again.
    whole(&home, &steps(&[]));
    assert!(doctor(&home, 0).contains("all good"));
}

/// A run that writes so many entries of 200,000 bytes.
fn writes(entries: u64) -> Value {
    let puts = (0..entries).map(|n| json!({ "do": "put-bytes", "space": 0, "key": format!("k{n}"), "bytes": 200_000 }));
    let steps: Vec<Value> = std::iter::once(json!({ "do": "open", "name": "notes" }))
        .chain(puts)
        .collect();
    json!({ "steps": steps, "summary": "done" })
}

#[test]
fn the_oldest_go_until_the_rest_fits_and_the_file_gets_smaller() {
    let (_server, home) = home(Vec::new());
    let ids = [8, 20, 12].map(|entries| whole(&home, &writes(entries)));
    settle(&home);
    let all = prune(&home, &["--keep-bytes", "0", "--dry-run"]);
    let order: Vec<&str> = all["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["run"].as_str().unwrap())
        .collect();
    assert_eq!(order, ids, "the oldest first");
    let bytes = |n: usize| all["runs"][n]["bytes"].as_u64().unwrap();
    for (n, entries) in [8, 20, 12].into_iter().enumerate() {
        // Each value is an entry, and an argument in the journal.
        let payload = 2 * entries * 200_000;
        assert!((payload..payload + payload / 10).contains(&bytes(n)), "{}", bytes(n));
    }
    let used = all["before"]["used"].as_u64().unwrap();
    let chosen = |keep: u64| pruned(&prune(&home, &["--dry-run", "--keep-bytes", &keep.to_string()]));
    assert_eq!(chosen(used), BTreeSet::new());
    assert_eq!(chosen(used - 1), set(&[&ids[0]]));
    assert_eq!(chosen(used - bytes(0)), set(&[&ids[0]]));
    assert_eq!(chosen(used - bytes(0) - 1), set(&[&ids[0], &ids[1]]));
    let file = || fs::metadata(state(&home).join("hermes.db")).unwrap().len();
    let before = file();
    let report = prune(&home, &["--keep-bytes", &(used - bytes(0) - 1).to_string()]);
    assert_eq!(pruned(&report), set(&[&ids[0], &ids[1]]));
    assert!(before - file() > 5_000_000, "{before} to {}", file());
    assert!(report["returned"].as_u64().unwrap() > 5_000_000, "{report}");
    let freed = report["before"]["used"].as_u64().unwrap() - report["after"]["used"].as_u64().unwrap();
    let estimate = bytes(0) + bytes(1);
    assert!(freed.abs_diff(estimate) < estimate / 10, "{freed} and {estimate}");
    let shown = show(&home, &ids[2]);
    assert_eq!(shown["exit"], "returned");
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn bytes_of_components_that_are_gone_are_told_as_given_back() {
    let (_server, home) = home(Vec::new());
    whole(&home, &steps(&[]));
    let components = fs::read_dir(state(&home).join("components")).unwrap();
    let bytes: u64 = components.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let report = prune(&home, &["--older-than", "0s"]);
    assert_eq!(report["returned"], json!(bytes), "{report}");
    whole(&home, &steps(&[]));
    let told = home
        .host()
        .args(["runs", "prune", "--older-than", "0s"])
        .output()
        .expect(0);
    assert!(!told.stdout.contains("; 0 B are"), "{}", told.stdout);
    assert!(told.stdout.contains("are the file system's again"), "{}", told.stdout);
}

#[test]
fn prunes_side_by_side_and_a_run_that_writes_meanwhile_lose_nothing() {
    let (_server, home) = home(Vec::new());
    for _ in 0..4 {
        whole(&home, &writes(30));
    }
    let append = json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" });
    let program = steps(&[
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "repeat", "n": 200, "steps": [append], "until_error": true }),
    ]);
    let writer = home.host().probe(&program).start();
    let start = || {
        home.host()
            .args(["runs", "prune", "--older-than", "0s", "--output", "json"])
            .start()
    };
    let (one, two) = (start(), start());
    let (one, two) = (one.finish().expect(0).json(), two.finish().expect(0).json());
    let (first, second) = (pruned(&one), pruned(&two));
    assert!(first.is_disjoint(&second), "{first:?} and {second:?}");
    let output = writer.finish().expect(0);
    assert_eq!(output.seen()[1]["ok"]["rounds"], 200);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    // It may have ended before they looked.
    let gone = first.len() + second.len();
    assert!((4..=5).contains(&gone), "{first:?} and {second:?}");
    assert_eq!(runs(&home).len(), 5 - gone);
    if gone == 4 {
        assert_eq!(show(&home, &run)["exit"], "returned");
    }
    assert!(doctor(&home, 0).contains("all good"));
}

// --- backup ---------------------------------------------------------------------------------------------------------------

/// A command line for the home at this place.
fn at(home: &Home, place: &Path) -> Host {
    home.host().env("HERMES_HOME", place)
}

#[test]
fn a_backup_made_while_runs_write_can_be_gone_on_from() {
    let script = Script::default()
        .when("WAITING", [stall(), Turn::text("on")])
        .when("WRITING", [stall(), Turn::text("on")])
        .then(Turn::text("a"));
    let (server, home) = home(script);
    let ended = whole(&home, &json!({ "steps": [ask("HELLO")], "summary": "All is well." }));
    let waiting = killed(&server, &home, &steps(&[ask("WAITING")]), 2);
    let append = json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" });
    let program = steps(&[
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "repeat", "n": 300, "steps": [append.clone()], "until_error": true }),
        ask("WRITING"),
    ]);
    let process = home.host().probe(&program).start();
    let begun = Instant::now();
    let has_begun = || {
        let run = (runs(&home).len() == 3).then(|| home.newest_run())?;
        let is_there = !show(&home, &run)["agents"].as_array().unwrap().is_empty();
        is_there.then_some(run)
    };
    let writing = loop {
        if let Some(run) = has_begun() {
            break run;
        }
        assert!(begun.elapsed() < LONG, "it never began");
    };
    let copy = home.work().join("copy");
    fs::create_dir(&copy).unwrap();
    let folder = copy.join("host");
    let backup = home.host().arg("backup").arg(&folder).args(["--output", "json"]);
    let told = backup.output().expect(0).json();
    assert_eq!((&told["runs"], &told["components"]), (&json!(3), &json!(2)), "{told}");
    // The original is none the worse.
    server.wait_for(3, LONG);
    kill(process);
    home.host().args(["resume", &writing]).output().expect(0);
    fs::remove_dir_all(home.path()).unwrap();
    let listed = at(&home, &copy)
        .args(["runs", "--output", "json"])
        .output()
        .expect(0)
        .json();
    let status: Vec<(&Value, &Value)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (&run["run"], &run["status"]))
        .collect();
    assert_eq!(
        status,
        [
            (&json!(writing), &json!("interrupted")),
            (&json!(waiting), &json!("interrupted")),
            (&json!(ended), &json!("completed")),
        ]
    );
    let doctor = at(&home, &copy).arg("doctor").output().expect(0).stdout;
    assert!(doctor.contains("all good"), "{doctor}");
    at(&home, &copy).args(["show", &ended]).output().expect(0);
    let resumed = at(&home, &copy)
        .args(["resume", &waiting, "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(resumed.json()["outcome"], "achieved");
    let resumed = at(&home, &copy)
        .args(["resume", &writing, "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(
        resumed.seen()[1]["ok"]["rounds"],
        300,
        "it went on where the copy was made"
    );
}

#[test]
fn a_backup_that_is_killed_is_there_whole_or_not_at_all() {
    let (_server, home) = home(Vec::new());
    let run = whole(&home, &steps(&[]));
    let backup = |above: &Path| home.host().arg("backup").arg(above.join("host"));
    let is_whole = |above: &Path, moment: &str| {
        let found = at(&home, above).arg("doctor").output().expect(0).stdout;
        assert!(found.contains("all good"), "{moment}: {found}");
        at(&home, above).args(["show", &run]).output().expect(0);
    };
    let place = |name: &str| {
        let above = home.work().join(name);
        fs::create_dir(&above).unwrap();
        above
    };
    let mut killed = 0;
    for n in 1.. {
        let shim = Shim::new().rule("write,sync", "*.draft", When::At(n), &Action::KillAfter);
        let above = place(&format!("copy-{n}"));
        let output = shim.on(backup(&above)).output();
        if shim.count(0) < n {
            output.expect(0);
            break;
        }
        killed += 1;
        assert_eq!(output.code, None, "call {n}: {output:?}");
        assert!(!above.join("host").exists(), "call {n}");
        // What is left of it does not stand in the way of the next.
        backup(&above).output().expect(0);
        is_whole(&above, &format!("call {n}"));
    }
    assert!(killed > 3, "{killed}");
    let above = place("moved");
    let shim = Shim::new().rule("rename", "moved/host", When::At(1), &Action::KillAfter);
    assert_eq!(shim.on(backup(&above)).output().code, None);
    is_whole(&above, "it was moved");
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn a_backup_goes_to_a_folder_of_its_own() {
    let (_server, home) = home(Vec::new());
    let backup = |to: &Path| home.host().arg("backup").arg(to);
    backup(&home.work().join("early"))
        .output()
        .expect(2)
        .says(&["there is no database"]);
    whole(&home, &steps(&[]));
    let file = home.write("file", "x");
    backup(&file).output().expect(2).says(&["it is a file"]);
    let (link, to) = (home.work().join("link"), home.work().join("linked"));
    fs::create_dir(&to).unwrap();
    symlink(&to, &link).unwrap();
    backup(&link)
        .output()
        .expect(2)
        .says(&["it is a link", "name a folder that is not there yet"]);
    backup(&home.work().join("link/"))
        .output()
        .expect(2)
        .says(&["it is a link"]);
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    let full = home.write("full/x", "x");
    backup(full.parent().unwrap()).output().expect(2).says(&["not empty"]);
    backup(&state(&home).join("copy"))
        .output()
        .expect(2)
        .says(&["the folder that is copied"]);
    // What names the folder in another way is taken for it, and told as `mv` takes it.
    let dotted = home.work().join("dotted");
    let told = backup(&dotted.join(".")).output().expect(0).stderr;
    assert!(
        told.contains(&format!("mv {} {}\n", dotted.display(), state(&home).display())),
        "{told}"
    );
    let nowhere = backup(&home.work().join("no/where")).output().expect(2);
    let nowhere = nowhere.says(&["its parent folder", "is not there"]);
    assert!(!nowhere.stderr.contains("HERMES_HOME"), "{}", nowhere.stderr);
    let empty = home.work().join("empty");
    fs::create_dir(&empty).unwrap();
    let puts_it_back = format!("mv {} {}", empty.display(), state(&home).display());
    backup(&empty)
        .output()
        .expect(0)
        .says(&["1 run with 2 components", ".before", &puts_it_back]);
    let names = |folder: &Path| -> BTreeSet<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let expected = ["components", "config.toml", "hermes.db", "runs"].map(str::to_owned);
    assert_eq!(names(&empty), BTreeSet::from(expected));
    // It is no home, but what a home's `host` holds.
    for command in [
        &["runs"][..],
        &["runs", "prune", "--older-than", "0s"],
        &["show", "0"],
        &["doctor"],
    ] {
        let output = at(&home, &empty).args(command).output();
        assert!(matches!(output.code, Some(1 | 2)), "{command:?}: {output:?}");
        let told = format!("{}{}", output.stdout, output.stderr);
        assert!(told.contains("looks like a backup"), "{command:?}: {told}");
    }
    assert_eq!(
        names(&empty),
        BTreeSet::from(["components", "config.toml", "hermes.db", "runs"].map(str::to_owned))
    );
    let left: Vec<String> = names(&home.work())
        .into_iter()
        .filter(|name| name.contains("draft"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_backup_does_not_hide_damage() {
    let (server, home) = home(Script::always(stall()));
    let run = killed(&server, &home, &steps(&[ask("ROOT")]), 1);
    let other = killed(&server, &home, &steps(&[ask("ROOT")]), 2);
    let lock = state(&home).join(format!("runs/{run}.lock"));
    fs::remove_file(&lock).unwrap();
    let copy = home.work().join("copy");
    fs::create_dir(&copy).unwrap();
    home.host().arg("backup").arg(copy.join("host")).output().expect(0);
    at(&home, &copy)
        .args(["resume", &run])
        .output()
        .expect(1)
        .says(&["is damaged", "anchor"]);
    at(&home, &copy).args(["cancel", &other]).output().expect(0);
}

#[test]
fn a_backup_is_made_beside_any_damage() {
    let (_server, home) = home(Vec::new());
    whole(&home, &writes(1));
    let bad = whole(&home, &writes(1));
    settle(&home);
    let database = fs::read(state(&home).join("hermes.db")).unwrap();
    let last_page = |table: &str| {
        let conn = Connection::open(state(&home).join("hermes.db")).unwrap();
        let last = "SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' ORDER BY path DESC LIMIT 1";
        let page = conn.query_row(last, [table], |row| row.get::<_, u32>(0)).unwrap();
        usize::try_from(page).unwrap()
    };
    for (table, page) in ["journal", "component", "space"].map(|table| (table, last_page(table))) {
        garble(&home, page);
        let copy = home.work().join(format!("copy-{table}"));
        fs::create_dir(&copy).unwrap();
        home.host().arg("backup").arg(copy.join("host")).output().expect(0);
        let told = at(&home, &copy).arg("doctor").output().expect(1).stdout;
        assert!(told.contains("can't be read"), "{table}: {told}");
        let kept = |folder: &Path| fs::read_dir(folder.join("components")).unwrap().count();
        assert_eq!(kept(&copy.join("host")), kept(&state(&home)), "{table}");
        assert!(copy.join(format!("host/runs/{bad}.lock")).exists(), "{table}");
        fs::write(state(&home).join("hermes.db"), &database).unwrap();
    }
}

// --- damage ---------------------------------------------------------------------------------------------------------------

#[test]
fn a_damaged_record_is_told_and_other_runs_are_usable() {
    let turns = ["a", "SECOND-ANSWER"].map(Turn::text);
    let script = Script::from([&turns[..], &[stall(), Turn::text("b"), Turn::text("c")]].concat());
    let (server, home) = home(script);
    let other = killed(&server, &home, &steps(&[ask("ROOT"), ask("ROOT"), ask("ROOT")]), 3);
    let good = whole(&home, &steps(&[]));
    settle(&home);
    assert!(damage(&home, "SECOND-ANSWER") >= 1);
    let shown = home.host().args(["show", &other]).output().expect(1);
    shown.says(&["is damaged", "record", "--accept-loss", "hermes-host doctor"]);
    let resumed = home
        .host()
        .args(["resume", &other, "--output", "json"])
        .output()
        .expect(1);
    assert_eq!(resumed.json()["error"]["kind"], "journal-damaged");
    home.host().args(["export", &other]).output().expect(1);
    let listed = runs(&home);
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(status(&home, &good), "completed");
    home.host().args(["show", &good]).output().expect(0);
    let told = doctor(&home, 1);
    assert!(
        told.contains(&format!("run {other}: record")) && !told.contains(&good),
        "{told}"
    );
    assert_eq!(server.requests().len(), 3, "nothing was sent");
    // What is before the damage is kept: the model is asked again for what lay behind it.
    let resumed = home
        .host()
        .args(["resume", &other, "--accept-loss", "--output", "json"])
        .output()
        .expect(0);
    assert!(
        resumed.stderr.contains("from the first damaged one on"),
        "{}",
        resumed.stderr
    );
    let seen = resumed.seen();
    let text = |n: usize| seen[n]["ok"]["parts"][0]["Text"].as_str().unwrap_or_default();
    assert_eq!(
        [text(0), text(1), text(2)],
        ["a", "b", "c"],
        "the answer before it is kept"
    );
    assert_eq!((server.requests().len(), resumed.spent("iterations")), (5, 3));
    assert!(doctor(&home, 0).contains("all good"));
    let notes = show(&home, &other)["agents"][0]["notes"].to_string();
    assert!(notes.contains("loss of records"), "{notes}");
}

#[test]
fn where_the_beginning_is_damaged_nothing_can_be_kept() {
    let (server, home) = home([stall()]);
    let run = killed(&server, &home, &steps(&[ask("ROOT")]), 1);
    settle(&home);
    // The start record holds the host's version.
    let version = env!("CARGO_PKG_VERSION");
    assert!(damage(&home, version) >= 1);
    home.host().args(["resume", &run]).output().expect(1);
    let refused = home.host().args(["resume", &run, "--accept-loss"]).output().expect(1);
    refused.says(&["nothing before it", "it can't go on", "runs prune --status damaged"]);
    assert_eq!(pruned(&prune(&home, &["--older-than", "0s"])), BTreeSet::new());
    assert_eq!(runs(&home).len(), 1);
    assert_eq!(pruned(&prune(&home, &["--status", "damaged"])), set(&[&run]));
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn a_run_without_an_anchor_goes_as_damaged_where_its_beginning_is_damaged_too() {
    let (_server, home) = home(Vec::new());
    let [bad, bare] = [0, 1].map(|_| whole(&home, &steps(&[])));
    settle(&home);
    change_rows(&home, "UPDATE journal SET sum = sum + 1 WHERE run = 1");
    for run in [&bad, &bare] {
        fs::remove_file(state(&home).join(format!("runs/{run}.lock"))).unwrap();
    }
    let refused = home.host().args(["resume", &bad, "--accept-loss"]).output().expect(1);
    refused.says(&["nothing before it", "runs prune --status damaged"]);
    // It is read for that alone.
    assert_eq!(pruned(&prune(&home, &["--status", "completed"])), BTreeSet::new());
    let report = prune(&home, &["--status", "damaged"]);
    assert_eq!(pruned(&report), set(&[&bad]));
    assert_eq!(report["without_anchor"], json!([bare]));
    home.host().args(["resume", &bare, "--accept-loss"]).output().expect(0);
    assert_eq!(status(&home, &bare), "completed");
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn a_damaged_row_hides_no_other_run() {
    let (server, home) = home([stall(), Turn::text("a")]);
    let good = whole(&home, &steps(&[]));
    // The command line is in the run's own row alone.
    let process = home
        .host()
        .set("limits.log_step", 65_537)
        .probe(&steps(&[ask("ROOT")]))
        .start();
    server.wait_for(1, LONG);
    kill(process);
    let run = home.newest_run();
    settle(&home);
    assert!(damage(&home, "limits.log_step=65537") >= 1);
    assert_eq!(
        (status(&home, &run), status(&home, &good)),
        ("damaged".to_owned(), "completed".to_owned())
    );
    let text = home.host().arg("runs").output().expect(0).stdout;
    assert!(text.contains("damaged") && text.contains("its row"), "{text}");
    for command in ["show", "resume", "cancel", "tree"] {
        home.host()
            .args([command, &run])
            .output()
            .expect(1)
            .says(&["is damaged: its row"]);
    }
    assert!(doctor(&home, 1).contains(&format!("run {run}: its row is damaged")));
    // How old it is nobody knows, so it is not older than anything.
    let chosen = |more: &[&str]| {
        let arguments = [&["--status", "damaged", "--dry-run"], more].concat();
        pruned(&prune(&home, &arguments))
    };
    assert_eq!(chosen(&["--older-than", "1d"]), BTreeSet::new());
    assert_eq!(chosen(&[]), set(&[&run]));
    // All that it says is in the journal too, its command line apart.
    home.host()
        .args(["resume", &run, "--accept-loss"])
        .output()
        .expect(0)
        .says(&["has lost nothing"]);
    assert_eq!(status(&home, &run), "completed");
}

#[test]
fn a_damaged_space_hides_no_other_runs_spaces() {
    let (_server, home) = home(Vec::new());
    let (bad, good) = (whole(&home, &writes(1)), whole(&home, &writes(1)));
    settle(&home);
    change_rows(&home, "UPDATE space SET sum = sum + 1 WHERE run = 1");
    let ls = home.host().args(["blackboard", "ls"]).output().expect(0);
    assert!(ls.stderr.contains("hermes-host doctor"), "{}", ls.stderr);
    let text = ls.stdout;
    let line = |begins: &str| text.lines().find(|line| line.starts_with(begins));
    let told = line(&format!("{bad}/ ")).unwrap();
    assert!(told.contains("the row of the space \"notes\" is damaged"), "{told}");
    assert!(line(&format!("{good}/notes ")).is_some(), "{text}");
    assert!(line("settled ").is_some(), "{text}");
    let json = home.host().args(["blackboard", "ls", "--output", "json"]);
    let rows = json.output().expect(0).json();
    let row = |space: &str| {
        rows.as_array()
            .unwrap()
            .iter()
            .find(|row| row["space"] == space)
            .unwrap()
    };
    let what = row(&format!("{bad}/"))["damaged"].as_str().unwrap();
    assert!(what.contains(&format!("run {bad} is damaged")), "{what}");
    let of_good = row(&format!("{good}/notes"));
    assert_eq!((&of_good["damaged"], &of_good["keys"]), (&Value::Null, &json!(1)));
    // Of that run alone there is nothing to tell but that.
    let of_bad = home.host().args(["blackboard", "ls", &bad]).output().expect(1);
    of_bad.says(&["the row of the space", "is damaged"]);
    // Where no run's can be read, that is no answer.
    let conn = Connection::open(state(&home).join("hermes.db")).unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'space'";
    let root = conn.query_row(root, [], |row| row.get::<_, u32>(0)).unwrap();
    conn.close().unwrap();
    garble(&home, usize::try_from(root).unwrap());
    for output in ["text", "json"] {
        let ls = home.host().args(["blackboard", "ls", "--output", output]);
        assert!(ls.output().expect(1).stdout.contains("is damaged"), "{output}");
    }
}

#[test]
fn a_run_that_had_ended_is_mended_and_stays_so() {
    let (server, home) = home([Turn::text("a")]);
    let run = whole(&home, &steps(&[ask("ROOT")]));
    settle(&home);
    change_rows(&home, "UPDATE run SET sum = sum + 1");
    assert!(doctor(&home, 1).contains(&format!("resume {run} --accept-loss   mends it")));
    let mended = home.host().args(["resume", &run, "--accept-loss"]).output().expect(0);
    let stands = format!("run {run} is whole, and has ended (completed); look at it with:  hermes-host show {run}");
    mended.says(&["has lost nothing", &stands]);
    assert!(doctor(&home, 0).contains("all good"));
    let again = ["resume", &run, "--accept-loss", "--output", "json"];
    let again = home.host().args(again).output().expect(0).json();
    assert_eq!(
        (&again["run"], &again["status"]),
        (&Value::from(run.as_str()), &Value::from("completed"))
    );
    assert_eq!(server.requests().len(), 1, "nothing was sent for it");
}

#[test]
fn a_database_of_yesterday_is_told_by_its_anchor() {
    let (server, home) = home([
        Turn::text("a"),
        stall(),
        Turn::text("b"),
        stall(),
        Turn::text("c"),
        Turn::text("d"),
    ]);
    let run = killed(&server, &home, &steps(&[ask("ROOT"), ask("ROOT")]), 2);
    let good = whole(&home, &steps(&[]));
    settle(&home);
    let database = state(&home).join("hermes.db");
    let yesterday = fs::read(&database).unwrap();
    let process = home.host().args(["resume", &run]).start();
    server.wait_for(3, LONG);
    process.finish().expect(0);
    settle(&home);
    fs::write(&database, yesterday).unwrap();
    let refused = home.host().args(["resume", &run]).output().expect(1);
    refused.says(&["missing at its end", "--accept-loss"]);
    home.host().args(["show", &run]).output().expect(1);
    assert_eq!(
        (status(&home, &run), status(&home, &good)),
        ("damaged".to_owned(), "completed".to_owned())
    );
    assert!(doctor(&home, 1).contains(&format!("run {run}:")));
    assert_eq!(server.requests().len(), 3, "nothing was sent");
    let process = home
        .host()
        .args(["resume", &run, "--accept-loss", "--output", "json"])
        .start();
    server.wait_for(4, LONG);
    process.signal(Signal::INT);
    let output = process.finish().expect(130).says(&["missing at its end", "are left"]);
    assert_eq!(output.spent("iterations"), 1);
    assert!(doctor(&home, 0).contains("all good"));
    home.host().args(["resume", &run]).output().expect(0);
}

#[test]
fn the_doctor_looks_at_bodies_entries_and_components() {
    let (server, home) = home([stall()]);
    let program = steps(&[
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "put", "space": 0, "key": "k", "value": "ENTRY-OF-THE-RUN" }),
        ask("BODY-OF-A-MESSAGE"),
    ]);
    let run = killed(&server, &home, &program, 1);
    home.host()
        .args(["blackboard", "put", "shared", "k", "ENTRY-OF-THE-HOME"])
        .output()
        .expect(0);
    let whole = fs::read(state(&home).join("hermes.db")).unwrap();
    let damaged = |marker: &str, words: &[&str]| {
        assert!(damage(&home, marker) >= 1, "{marker}");
        let told = doctor(&home, 1);
        for word in words {
            assert!(told.contains(word), "{marker}: {told}");
        }
        fs::write(state(&home).join("hermes.db"), &whole).unwrap();
    };
    let of_run = format!("run {run}:");
    damaged("\"BODY-OF", &[&of_run]);
    damaged(
        "ENTRY-OF-THE-HOME",
        &["the entry \"k\" of the space \"shared\" is damaged"],
    );
    let component = fs::read_dir(state(&home).join("components"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let bytes = fs::read(&component).unwrap();
    fs::write(&component, &bytes[1..]).unwrap();
    let told = doctor(&home, 1);
    assert!(
        told.contains(&of_run) && told.contains("component") && told.contains("is damaged"),
        "{told}"
    );
    fs::write(&component, &bytes).unwrap();
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn a_plugin_that_is_gone_is_named_and_can_be_put_back() {
    let (server, home) = home(Script::from([stall()]).then(Turn::text("b")));
    let run = killed(&server, &home, &steps(&[ask("ROOT")]), 1);
    let components = state(&home).join("components");
    let digest = show(&home, &run)["agents"][0]["digest"].as_str().unwrap().to_owned();
    let strategy = components.join(format!("{digest}.wasm"));
    let bytes = fs::read(&strategy).unwrap();
    fs::remove_file(&strategy).unwrap();
    let told = doctor(&home, 1);
    let place = strategy.display().to_string();
    assert!(
        told.contains("is missing") && told.contains(&format!("put {place} back")),
        "{told}"
    );
    assert!(!told.contains("--accept-loss"), "that would mend nothing: {told}");
    home.host()
        .args(["resume", &run])
        .output()
        .expect(2)
        .says(&["plugin probe is not here", &place, "--with-plugins"]);
    fs::write(&strategy, &bytes).unwrap();
    // What is built in is there all the same.
    for component in fs::read_dir(&components).unwrap() {
        let component = component.unwrap().path();
        if component != strategy {
            fs::remove_file(component).unwrap();
        }
    }
    let told = doctor(&home, 0);
    assert!(
        told.contains("is missing; the plugin that is built in takes its place"),
        "{told}"
    );
    home.host().args(["resume", &run]).output().expect(0);
}

#[test]
fn a_plugin_that_is_gone_is_told_once_for_all_its_runs() {
    let (_server, home) = home(Vec::new());
    let runs: Vec<String> = (0..5).map(|_| whole(&home, &steps(&[]))).collect();
    let digest = show(&home, &runs[0])["agents"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let strategy = state(&home).join(format!("components/{digest}.wasm"));
    fs::remove_file(&strategy).unwrap();
    let told = doctor(&home, 1);
    let place = strategy.display().to_string();
    assert_eq!(told.matches(&place).count(), 1, "{told}");
    let words = format!("the component {} is missing, which 5 runs use: ", &digest[..12]);
    let (_, named) = told.split_once(&words).unwrap();
    let named = named.lines().next().unwrap();
    let first: Vec<&str> = named.split(", ").collect();
    assert_eq!((first.len(), first[3]), (4, "…"), "{named}");
    assert!(first[..3].iter().all(|run| runs.iter().any(|of| of == run)), "{named}");
}

#[test]
fn a_plugin_in_use_stays_where_the_row_that_names_it_is_damaged() {
    let (server, home) = home(Script::from([stall()]).then(Turn::text("b")));
    let run = killed(&server, &home, &steps(&[ask("ROOT")]), 1);
    settle(&home);
    let digest = show(&home, &run)["agents"][0]["digest"].as_str().unwrap().to_owned();
    let strategy = state(&home).join(format!("components/{digest}.wasm"));
    let path = state(&home).join("hermes.db");
    let database = Connection::open(&path).unwrap();
    let mut select = database.prepare("SELECT digest FROM component").unwrap();
    let digests = select.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let digests: Vec<Vec<u8>> = digests.map(Result::unwrap).collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let named = digests.iter().find(|bytes| hex(bytes) == digest).unwrap();
    let mut flipped = named.clone();
    flipped[0] ^= 1;
    database
        .execute("UPDATE component SET digest = ?1 WHERE digest = ?2", [&flipped, named])
        .unwrap();
    drop(select);
    database.close().unwrap();
    let short = hex(&flipped)[..12].to_owned();
    for (more, stay) in [(&["--dry-run"][..], "would stay"), (&[], "stay")] {
        let host = home.host().args(["runs", "prune", "--older-than", "9999d"]).args(more);
        let told = host.output().expect(1).stdout;
        let words = format!("components {stay}: {short}, which a run uses, is not there");
        assert!(told.contains(&words), "{told}");
    }
    let report = prune_ends_with(&home, &["--status", "completed"], 1);
    assert_eq!(
        (&report["components"], &report["missing"]),
        (&json!(0), &json!(hex(&flipped)))
    );
    assert!(strategy.exists());
    let told = doctor(&home, 1);
    let words = format!("the row that says that the run {run} uses the component {short} is damaged");
    assert!(told.contains(&words), "{told}");
    // Nobody has the bytes of one that never was.
    let mends = format!("hermes-host resume {run} --accept-loss");
    assert!(told.contains(&mends) && !told.contains("back, from a backup"), "{told}");
    // The run goes by its records, and when it is gone no plugin is in use.
    home.host().args(["resume", &run]).output().expect(0);
    let report = prune(&home, &["--status", "completed"]);
    assert_eq!((pruned(&report), &report["missing"]), (set(&[&run]), &Value::Null));
    assert!(!strategy.exists());
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn a_plugin_in_use_stays_where_the_row_that_names_it_is_gone_and_others_are_there() {
    let (_server, home) = home(Vec::new());
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    host.probe(&steps(&[])).output().expect(0);
    let run = home.newest_run();
    settle(&home);
    let rows = |statement: &str| {
        let database = Connection::open(state(&home).join("hermes.db")).unwrap();
        let mut select = database.prepare(statement).unwrap();
        let digests = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
        digests.map(Result::unwrap).collect::<Vec<_>>()
    };
    let strategy = show(&home, &run)["agents"][0]["digest"].as_str().unwrap().to_owned();
    let all = rows("SELECT lower(hex(digest)) FROM component");
    assert!(all.contains(&strategy) && all.len() > 1, "{all:?}");
    for gone in &all {
        let delete = format!("DELETE FROM component WHERE lower(hex(digest)) = '{gone}'");
        change_rows(&home, &delete);
        for more in [&["--dry-run"][..], &[]] {
            let report = prune_ends_with(&home, &[&["--older-than", "9999d"], more].concat(), 1);
            let told = (&report["components"], &report["without_components"]);
            assert_eq!(told, (&json!(0), &json!(run)), "{gone}: {report}");
        }
        assert!(state(&home).join(format!("components/{gone}.wasm")).exists(), "{gone}");
        let words = format!("uses the component {} is missing", &gone[..12]);
        let told = doctor(&home, 1);
        assert!(told.contains(&format!("run {run}")) && told.contains(&words), "{told}");
        home.host().args(["resume", &run, "--accept-loss"]).output().expect(0);
        assert_eq!(rows("SELECT lower(hex(digest)) FROM component"), all, "{gone}");
        assert!(doctor(&home, 0).contains("all good"), "{gone}");
    }
    // When the run is gone nothing is in use.
    let report = prune(&home, &["--status", "completed"]);
    assert_eq!(
        (&report["components"], &report["without_components"]),
        (&json!(all.len()), &Value::Null)
    );
}

#[test]
fn an_end_does_not_hide_damage() {
    let turns = ["a", "SECOND-ANSWER", "c", "SECOND-ANSWER", "e", "f"].map(Turn::text);
    let script = Script::from([&turns[..3], &[stall()], &turns[3..]].concat());
    let (server, home) = home(script);
    let good = whole(&home, &steps(&[]));
    let ended = whole(&home, &steps(&[ask("ROOT"), ask("ROOT"), ask("ROOT")]));
    let open = killed(&server, &home, &steps(&[ask("ROOT")]), 4);
    settle(&home);
    assert!(damage(&home, "SECOND-ANSWER") >= 1);
    // A run that has ended is listed by its row; what is behind that is read by who asks for damage.
    assert_eq!(status(&home, &ended), "completed");
    let cancel = |run: &str, code: i32| home.host().args(["cancel", run]).output().expect(code);
    cancel(&ended, 1).says(&["is damaged", "--accept-loss"]);
    let chosen = prune(&home, &["--status", "damaged", "--dry-run"]);
    assert_eq!(pruned(&chosen), set(&[&ended]));
    let resumed = home
        .host()
        .args(["resume", &ended, "--accept-loss", "--output", "json"])
        .output()
        .expect(0)
        .says(&["its end was among them: it goes on"]);
    let text = |n: usize| resumed.seen()[n]["ok"]["parts"][0]["Text"].as_str().map(str::to_owned);
    assert_eq!(text(0).as_deref(), Some("a"), "the answer before it is kept");
    assert_eq!(server.requests().len(), 6, "the two behind it are asked for again");
    // One that was killed is not ended either.
    settle(&home);
    let hide = "UPDATE journal SET n = n + 64 WHERE kind = 4 AND run = (SELECT max(no) FROM run)";
    change_rows(&home, hide);
    cancel(&open, 1).says(&["is damaged"]);
    assert_eq!(status(&home, &open), "damaged");
    assert_eq!(pruned(&prune(&home, &["--status", "damaged"])), set(&[&open]));
    assert_eq!((status(&home, &good), runs(&home).len()), ("completed".to_owned(), 2));
    assert_eq!(server.requests().len(), 6, "nothing was sent for it");
}

#[test]
fn a_damaged_message_is_written_again_when_its_loss_is_accepted() {
    let (server, home) = home(Script::from([Turn::text("a"), stall()]).then(Turn::text("b")));
    let run = killed(&server, &home, &steps(&[ask("ROOT"), ask("MESSAGE")]), 2);
    settle(&home);
    change_rows(
        &home,
        "UPDATE body SET data = CAST(data || 'x' AS BLOB) WHERE instr(data, CAST('MESSAGE' AS BLOB)) > 0",
    );
    assert!(doctor(&home, 1).contains("refers to the body"));
    home.host()
        .args(["resume", &run, "--accept-loss"])
        .output()
        .expect(0)
        .says(&["from the first damaged one on"]);
    assert!(doctor(&home, 0).contains("all good"));
    home.host().args(["replay", &run]).output().expect(0);
}

/// Changes rows of the database, whose log is copied into it.
fn change_rows(home: &Home, statement: &str) {
    let database = Connection::open(state(home).join("hermes.db")).unwrap();
    database.execute(statement, []).unwrap();
    database.close().unwrap();
}

#[test]
fn a_tail_that_went_with_the_power_is_told() {
    let (server, home) = home(Script::from([stall()]).then(Turn::text("a")));
    let process = home
        .host()
        .set("durability", "process")
        .probe(&steps(&[ask("ROOT")]))
        .start();
    server.wait_for(1, LONG);
    kill(process);
    let run = home.newest_run();
    // Its anchor is of a machine that has gone down since, and ahead of the journal.
    let path = state(&home).join(format!("runs/{run}.lock"));
    let line = fs::read_to_string(&path).unwrap();
    let mut fields: Vec<&str> = line.trim_end().split(' ').collect();
    fields.pop();
    let ahead = (fields[4].parse::<u64>().unwrap() + 100).to_string();
    (fields[4], fields[7]) = (&ahead, "another");
    let text = fields.join(" ");
    let length = u64::try_from(text.len()).unwrap().to_le_bytes();
    let sum = blake3::hash(&[&length[..], text.as_bytes()].concat());
    let sum = i64::from_le_bytes(sum.as_bytes()[..8].try_into().unwrap());
    fs::write(&path, format!("{:255}\n", format!("{text} {sum}"))).unwrap();
    assert_eq!(status(&home, &run), "interrupted");
    assert!(doctor(&home, 0).contains("all good"));
    let resumed = home.host().args(["resume", &run]).output().expect(0);
    let words = "records were lost when the machine went down";
    resumed.says(&[words]);
    let notes = show(&home, &run)["agents"][0]["notes"].to_string();
    assert!(notes.contains(words), "{notes}");
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn a_garbled_page_is_never_read_as_an_empty_one() {
    let (_server, home) = home(Vec::new());
    let ids = [0, 1, 2].map(|_| whole(&home, &writes(1)));
    settle(&home);
    let database = state(&home).join("hermes.db");
    let good = fs::read(&database).unwrap();
    let pages = good.len() / 4096;
    let mut told = 0;
    for page in 1..pages {
        let mut bad = good.clone();
        bad[page * 4096..page * 4096 + 64].fill(0xa5);
        fs::write(&database, &bad).unwrap();
        let listed = home.host().args(["runs", "--output", "json"]).output();
        match listed.code {
            Some(0) => {
                let rows = listed.json();
                for run in &ids {
                    assert!(
                        rows.to_string().contains(run.as_str()),
                        "page {page} of {pages}: {rows}"
                    );
                }
            }
            _ => assert!(listed.stderr.contains("damaged"), "page {page}: {}", listed.stderr),
        }
        if listed.code == Some(0) {
            let arguments = [
                "runs",
                "prune",
                "--output",
                "json",
                "--status",
                "completed,damaged",
                "--dry-run",
            ];
            let output = home.host().args(arguments).output();
            let all = output.json();
            // One whose row can't be read stays.
            let rows = listed.json();
            let is_read = |run: &&String| {
                let of = rows.as_array().unwrap().iter().find(|row| row["run"] == **run).unwrap();
                !of["task"].as_str().unwrap().contains("its row can't be read")
            };
            let read = set(&ids.iter().filter(is_read).collect::<Vec<_>>());
            // And none goes as damaged while the database is.
            if all["damaged"].is_null() {
                assert_eq!((pruned(&all), output.code), (read, Some(0)), "page {page}");
            } else {
                assert!(pruned(&all).is_subset(&read), "page {page}: {all}");
                let mut stands = all["runs"].as_array().unwrap().iter().map(|run| &run["status"]);
                assert!(stands.all(|status| status == "completed"), "page {page}: {all}");
                assert_eq!(output.code, Some(1), "page {page}");
            }
        }
        let output = home.host().arg("doctor").output();
        told += usize::from(output.code == Some(1));
    }
    // Some pages are free, or their first bytes are the middle of a long value of no run.
    assert!(told >= pages - pages / 8 - 2, "{told} of {pages}");
    fs::write(&database, &good).unwrap();
    assert!(doctor(&home, 0).contains("all good"));
}

/// The page of the database with this number, counted from 1, is no page any more.
fn garble(home: &Home, page: usize) {
    let path = state(home).join("hermes.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[(page - 1) * 4096..][..64].fill(0xa5);
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_page_that_can_not_be_read_holds_up_no_prune() {
    let (_server, home) = home(Vec::new());
    let put = json!({ "do": "put", "space": 0, "key": "k", "value": "a value" });
    let many = steps(&[
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "repeat", "n": 200, "steps": [put] }),
    ]);
    let bad = whole(&home, &many);
    let good = [0, 1].map(|_| whole(&home, &steps(&[])));
    settle(&home);
    let pages = home.journal_pages();
    assert!(pages.len() >= 8, "{pages:?}");
    garble(&home, pages[1]);
    let told = doctor(&home, 1);
    assert!(
        told.contains(&format!("run {bad}: record")) && told.contains("restore a backup: no loss can be accepted"),
        "{told}"
    );
    assert!(!told.contains("--accept-loss") && !told.contains("prune"), "{told}");
    // The bytes of plugins stay, and that is damage that was met.
    for more in [&["--dry-run"][..], &[]] {
        let all = prune_ends_with(&home, &[&["--status", "completed"], more].concat(), 1);
        assert_eq!((pruned(&all), &all["damaged"]), (set(&good.each_ref()), &Value::Null));
        assert!(all["structure"].is_string(), "{all}");
    }
    // Nothing goes as damaged while the database is, and that is told.
    let arguments = ["runs", "prune", "--output", "json", "--status", "completed,damaged"];
    for more in [&["--dry-run"][..], &[]] {
        let later = whole(&home, &steps(&[]));
        let report = home.host().args(arguments).args(more).output().expect(1).json();
        assert_eq!(pruned(&report), set(&[&later]));
        let damaged = report["damaged"].as_str().unwrap();
        assert!(damaged.contains("SQLite's check says"), "{report}");
        prune_ends_with(&home, &["--status", "completed"], 1);
    }
    assert_eq!(runs(&home).len(), 1);
    assert_eq!(status(&home, &bad), "completed");
}

#[test]
fn a_prune_that_would_be_held_up_says_so_before() {
    let (_server, home) = home(Vec::new());
    whole(&home, &steps(&[]));
    settle(&home);
    let database = Connection::open(state(&home).join("hermes.db")).unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'journal_once'";
    let page: u32 = database.query_row(root, [], |row| row.get(0)).unwrap();
    database.close().unwrap();
    garble(&home, usize::try_from(page).unwrap());
    let prune = |more: &[&str]| {
        let host = home.host().args(["runs", "prune", "--status", "damaged"]).args(more);
        host.output().expect(1)
    };
    for (more, all) in [
        (
            &["--dry-run"][..],
            ["0 runs would be removed", "not all of it would be removed: "],
        ),
        (&[], ["0 runs removed", "not all of it could be removed: "]),
    ] {
        let told = prune(more).stdout;
        for words in [
            all[0],
            all[1],
            "SQLite's check says \"Tree",
            "a run may seem damaged that is whole: none is removed for that, and no plugin's bytes",
            "--accept-loss mends an index",
            "export RUN copies what can be read",
            "restore a backup",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }
    let json = prune(&["--dry-run", "--output", "json"]).json();
    assert!(
        json["damaged"].as_str().unwrap().contains("SQLite's check says"),
        "{json}"
    );
}

/// The places in the database's bytes of what the first, a middle and the last entry of each index begins with and ends with.
fn of_indexes(home: &Home, bytes: &[u8]) -> Vec<(String, usize)> {
    let database = Connection::open(state(home).join("hermes.db")).unwrap();
    let indexes = "SELECT s.name, d.pageno FROM sqlite_schema s JOIN dbstat d ON d.name = s.name
         WHERE s.type = 'index' AND s.tbl_name IN ('run', 'journal', 'body', 'space', 'entry') AND d.pagetype = 'leaf'";
    let mut select = database.prepare(indexes).unwrap();
    let leaves = select
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))
        .unwrap();
    let mut places = Vec::new();
    for (index, page) in leaves.map(Result::unwrap) {
        let page = (usize::try_from(page).unwrap() - 1) * 4096;
        let word = |at: usize| usize::from(u16::from_be_bytes([bytes[page + at], bytes[page + at + 1]]));
        let cells = word(3);
        for cell in BTreeSet::from([0, cells / 2, cells.saturating_sub(1)]) {
            if cell < cells {
                // How long the entry is, and how long what tells of its values; then these.
                let entry = page + word(8 + 2 * cell);
                let (length, head) = (usize::from(bytes[entry]), usize::from(bytes[entry + 1]));
                assert!(length < 128, "{index}");
                places.extend([entry + 1 + head, entry + length].map(|at| (index.clone(), at)));
            }
        }
    }
    places
}

#[test]
fn a_flipped_bit_of_an_index_removes_no_run() {
    let (_server, home) = home(Script::always(Turn::text("a")));
    let put = json!({ "do": "put", "space": 0, "key": "k", "value": "a value" });
    let program = steps(&[json!({ "do": "open", "name": "notes" }), put, ask("ROOT")]);
    let ids = [0, 1, 2].map(|_| whole(&home, &program));
    settle(&home);
    let path = state(&home).join("hermes.db");
    let good = fs::read(&path).unwrap();
    let places = of_indexes(&home, &good);
    let indexes: BTreeSet<&String> = places.iter().map(|(index, _)| index).collect();
    assert!(indexes.len() >= 6, "{indexes:?}");
    for (index, at) in &places {
        let mut bad = good.clone();
        bad[*at] ^= 8;
        fs::write(&path, &bad).unwrap();
        for more in [&["--dry-run"][..], &[]] {
            let arguments = ["runs", "prune", "--status", "damaged", "--output", "json"];
            let report = home.host().args(arguments).args(more).output().expect(1).json();
            assert_eq!(
                (pruned(&report), &report["components"]),
                (BTreeSet::new(), &json!(0)),
                "{index} {at}"
            );
            let damaged = report["damaged"].as_str().unwrap();
            assert!(damaged.contains("none is removed for that"), "{index} {at}: {damaged}");
        }
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(runs(&home).len(), ids.len());
    assert!(doctor(&home, 0).contains("all good"));
    // What one of them says itself is damage of it alone.
    change_rows(
        &home,
        "UPDATE journal SET sum = sum + 1 WHERE id = (SELECT max(id) FROM journal)",
    );
    let last = ids.last().unwrap();
    assert_eq!(
        pruned(&prune(&home, &["--status", "damaged", "--dry-run"])),
        set(&[last])
    );
    assert_eq!(pruned(&prune(&home, &["--status", "damaged"])), set(&[last]));
    assert_eq!(runs(&home).len(), ids.len() - 1);
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn a_read_that_fails_is_damage_of_no_run() {
    let (_server, home) = home(Script::always(Turn::text("a")));
    let ids = [0, 1, 2].map(|_| whole(&home, &steps(&[ask("ROOT")])));
    settle(&home);
    for (command, every) in [(&["runs", "prune", "--status", "damaged"][..], 1), (&["doctor"], 7)] {
        let mut failed = 0;
        for n in (1..).step_by(every) {
            let shim = Shim::new().rule("read", "*hermes.db", When::At(n), &Action::Errno(EIO));
            let output = shim.on(home.host().args(command)).output();
            if shim.count(0) < n {
                break;
            }
            let told = [output.stdout, output.stderr].concat();
            assert!(!told.contains("is damaged"), "{command:?}, read {n}: {told}");
            assert!(!told.contains("--accept-loss"), "{command:?}, read {n}: {told}");
            if output.code != Some(0) {
                failed += 1;
                assert!(told.contains("error"), "{command:?}, read {n}: {told}");
            }
            assert_eq!(runs(&home).len(), ids.len(), "{command:?}, read {n}");
        }
        assert!(failed > 0, "{command:?}: the faults met nothing");
    }
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn a_backup_from_a_disk_that_fails_names_what_can_not_be_read() {
    let (_server, home) = home(Vec::new());
    whole(&home, &steps(&[]));
    settle(&home);
    let mut failed = 0;
    for n in 1.. {
        let shim = Shim::new().rule("read", "*/host/hermes.db", When::At(n), &Action::Errno(EIO));
        let copy = home.work().join(format!("copy-{n}"));
        let output = shim.on(home.host().arg("backup").arg(&copy)).output();
        if shim.count(0) < n {
            break;
        }
        if output.code != Some(0) {
            failed += 1;
            let told = [output.stdout, output.stderr].concat();
            assert!(told.contains("error") && !told.contains(".draft"), "read {n}: {told}");
            assert!(!copy.exists(), "read {n}");
        }
    }
    assert!(failed > 0, "the faults met nothing");
}

#[test]
fn where_two_rows_have_one_page_nothing_would_be_removed_either() {
    let (_server, home) = home(Vec::new());
    whole(&home, &steps(&[]));
    settle(&home);
    let database = Connection::open(state(&home).join("hermes.db")).unwrap();
    let share = "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'session')
         WHERE name = 'sqlite_autoindex_run_1'";
    database.execute_batch(share).unwrap();
    database.close().unwrap();
    for more in [&["--dry-run"][..], &[]] {
        let arguments = ["runs", "prune", "--status", "completed,damaged", "--output", "json"];
        let report = home.host().args(arguments).args(more).output().expect(1).json();
        assert_eq!(pruned(&report), BTreeSet::new(), "{report}");
        let damaged = report["damaged"].as_str().unwrap();
        assert!(damaged.contains("two of its rows have one page"), "{report}");
    }
}

/// SQLite's check has other words for each kind of table, and it is the order itself that is looked at.
#[test]
fn where_rows_of_any_table_are_out_of_order_nothing_is_removed() {
    let (_server, home) = home(Vec::new());
    let ids = [0, 1, 2].map(|_| whole(&home, &steps(&[])));
    settle(&home);
    let path = state(&home).join("hermes.db");
    let good = fs::read(&path).unwrap();
    for table in ["run", "session", "component"] {
        let database = Connection::open(&path).unwrap();
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let root: u32 = database.query_row(root, [table], |row| row.get(0)).unwrap();
        database.close().unwrap();
        let mut bad = good.clone();
        let page = &mut bad[(usize::try_from(root).unwrap() - 1) * 4096..][..4096];
        // The pointers to its rows stand behind its head, which is longer where it leads to other pages.
        let first = if [2, 5].contains(&page[0]) { 12 } else { 8 };
        assert!(page[3..5] >= [0, 2][..], "{table} has two rows there");
        page[first..first + 4].rotate_left(2);
        fs::write(&path, &bad).unwrap();
        for more in [&["--dry-run"][..], &[]] {
            let report = prune_ends_with(&home, &[&["--status", "completed"], more].concat(), 1);
            assert_eq!(pruned(&report), BTreeSet::new(), "{table}: {report}");
            let damaged = report["damaged"].as_str().unwrap();
            assert!(
                damaged.contains("rows of one of its tables are out of order"),
                "{table}: {report}"
            );
        }
        if table != "run" {
            let refused = home.host().args(["resume", &ids[1], "--accept-loss"]).output();
            refused.expect(2).says(&["are out of order"]);
        }
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(pruned(&prune(&home, &["--status", "completed"])), set(&ids.each_ref()));
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn a_home_that_can_not_be_written_is_told_what_would_go() {
    let (_server, home) = home(Vec::new());
    let run = whole(&home, &steps(&[]));
    settle(&home);
    let folders = ["host/runs", "host/components", "host", ""].map(|folder| home.path().join(folder));
    let modes = |mode: u32| {
        for folder in &folders {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    modes(0o500);
    let arguments = [
        "runs",
        "prune",
        "--status",
        "completed,damaged",
        "--dry-run",
        "--output",
        "json",
    ];
    let output = home.host().args(arguments).output();
    modes(0o700);
    assert_eq!(pruned(&output.expect(0).json()), set(&[&run]));
}

// --- a disk that fills up ---------------------------------------------------------------------------------------------------

#[test]
fn a_prune_on_a_full_disk_tells_what_is_gone() {
    let (_server, home) = home(Script::always(Turn::text("a")));
    let listed = || -> BTreeSet<String> {
        let runs = home.host().args(["runs", "--limit", "1000", "--output", "json"]);
        let rows = runs.output().expect(0).json();
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["run"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut partly = 0;
    for n in (1..64).step_by(4) {
        for _ in 0..2 {
            whole(&home, &steps(&[ask("ROOT")]));
        }
        settle(&home);
        let before = listed();
        let shim = Shim::new().rule("write", "-wal", When::From(n), &Action::Errno(ENOSPC));
        let arguments = ["runs", "prune", "--status", "completed", "--output", "json"];
        let output = shim.on(home.host().args(arguments)).output();
        let report = output.json();
        let gone = match report["runs"].is_array() {
            true => pruned(&report),
            false => BTreeSet::new(),
        };
        let left = listed();
        assert!(gone.is_disjoint(&left), "write {n}: {report}");
        assert_eq!(&gone | &left, before, "write {n}: {report}");
        if output.code == Some(0) {
            assert_eq!(left, BTreeSet::new(), "write {n}");
            break;
        }
        let output = output.expect(2).says(&["the disk is full"]);
        assert_eq!(output.json()["error"]["kind"], "storage", "write {n}");
        partly += usize::from(!gone.is_empty());
    }
    assert!(partly > 0, "the faults met nothing");
    // Where it is full once, that is over when the log is empty.
    whole(&home, &steps(&[ask("ROOT")]));
    settle(&home);
    let shim = Shim::new().rule("write", "-wal", When::At(1), &Action::Errno(ENOSPC));
    let arguments = ["runs", "prune", "--status", "completed"];
    shim.on(home.host().args(arguments)).output().expect(0);
    assert!(shim.count(0) > 1);
    assert_eq!(listed(), BTreeSet::new());
    assert!(doctor(&home, 0).contains("all good"));
}

#[test]
fn below_the_reserve_nothing_begins_and_all_can_be_looked_at() {
    let (server, home) = home(Script::from([stall()]).then(Turn::text("a")));
    let waiting = killed(&server, &home, &steps(&[ask("ROOT")]), 1);
    let much = ("limits.disk_reserve", "1024GiB");
    let refused = home
        .host()
        .set(much.0, much.1)
        .probe(&steps(&[ask("ROOT")]))
        .output()
        .expect(2);
    assert_eq!(refused.json()["error"]["kind"], "storage");
    let place = state(&home).display().to_string();
    refused.says(&["the disk is almost full", &place, "bytes free", "limits.disk_reserve"]);
    home.host()
        .set(much.0, much.1)
        .args(["resume", &waiting])
        .output()
        .expect(2)
        .says(&["almost full"]);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(runs(&home).len(), 1, "nothing is written of it");
    for command in [
        &["runs"][..],
        &["show", &waiting],
        &["tree", &waiting],
        &["runs", "prune", "--older-than", "0s"],
    ] {
        home.host().set(much.0, much.1).args(command).output().expect(0);
    }
    home.host().set(much.0, 0).args(["resume", &waiting]).output().expect(0);
}

#[test]
fn a_run_stops_before_the_disk_is_full_and_goes_on_when_there_is_room() {
    const GIB: u64 = 1 << 30;
    let (server, home) = home(Script::always(Turn::text("a")));
    let stat = Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(home.path())
        .output()
        .unwrap();
    let free: u64 = String::from_utf8(stat.stdout)
        .unwrap()
        .lines()
        .nth(1)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    // The run waits for a word; what fills the disk in between is twice as much as the reserve is below what is free.
    let program = steps(&[
        ask("ONE"),
        json!({ "do": "open", "name": "shared" }),
        json!({ "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 600_000 }),
        ask("TWO"),
    ]);
    let (margin, filling) = (free / 16, free / 8);
    assert!(margin > GIB / 8, "this test needs some room: {free}");
    let host = home.host().args(["--allow", "blackboard:shared"]);
    let process = host.set("limits.disk_reserve", free - margin).probe(&program).start();
    server.wait_for(1, LONG);
    let asked = Instant::now();
    let filler = home.work().join("filler");
    let filled = Command::new("fallocate")
        .arg("-l")
        .arg(filling.to_string())
        .arg(&filler)
        .status()
        .unwrap();
    assert!(filled.success());
    // How much is free is looked at four times a second at most.
    while asked.elapsed() < Duration::from_millis(500) {
        assert_eq!(runs(&home).len(), 1);
    }
    home.host()
        .args(["blackboard", "put", "shared", "go", "now"])
        .output()
        .expect(0);
    let output = process.finish();
    fs::remove_file(&filler).unwrap();
    let output = output
        .expect(1)
        .says(&["the disk is almost full", "limits.disk_reserve", "resume"]);
    assert_eq!(output.json()["error"]["kind"], "storage");
    assert_eq!(server.requests().len(), 1, "nothing was sent after it");
    let run = home.newest_run();
    assert_eq!(status(&home, &run), "interrupted");
    let resumed: Output = home
        .host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(resumed.spent("iterations"), 2);
}
