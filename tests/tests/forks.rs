//! A fork goes on live from a place in another run, as a run of its own: what came before is not bought again, spaces are as they were there, and the
//! other run stays as it is.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use hermes_tests::changed::{rebuilt, saying, wanting};
use hermes_tests::child::{ChildSpec, exit, join, summary};
use hermes_tests::interrupted::{killed, taken_meanwhile};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::in_call;
use hermes_tests::program::{ask, open, put, steps};
use hermes_tests::shim::{Action, When};
use hermes_tests::{Home, Host, Output, Shim, guests};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

fn fork(home: &Home, run: &str) -> Host {
    home.host().args(["replay", run, "--fork", "--output", "json"])
}

/// The probe, which writes another media type.
fn changed(home: &Home) -> PathBuf {
    saying(home, &guests::built("probe"), "text/plain", "text/PLAIN")
}

fn forked(home: &Home, run: &str, plugin: &Path, code: i32) -> Output {
    fork(home, run).arg("--plugin").arg(plugin).output().expect(code)
}

fn keys(home: &Home, space: &str) -> Value {
    home.host()
        .args(["blackboard", "ls", space, "--output", "json"])
        .output()
        .expect(0)
        .json()
}

#[test]
fn it_goes_on_from_the_first_difference_and_buys_nothing_again() {
    let server = ModelServer::start([
        Turn::text("one"),
        Turn::text("two"),
        Turn::text("three"),
        Turn::text("other"),
    ]);
    let home = Home::with_model(&server, Format::OpenAi);
    let program = steps(&[
        open(),
        ask("1"),
        json!({ "do": "keys", "space": 0, "prefix": "", "limit": 9 }),
        ask("2"),
        put("a"),
        ask("3"),
        put("b"),
        json!({ "do": "keys", "space": 0, "prefix": "", "limit": 9 }),
    ]);
    home.host().probe(&program).output().expect(0);
    let run = home.newest_run();
    let before = home.shown(&run);
    let output = forked(&home, &run, &changed(&home), 0);
    let json = output.json();
    let fork = json["run"].as_str().unwrap().to_owned();
    assert_ne!(fork, run);
    let seen = output.seen();
    let said = |at: usize| seen[at]["ok"]["parts"][0]["Text"].clone();
    assert_eq!(
        (said(1), said(3), said(5)),
        (json!("one"), json!("two"), json!("other"))
    );
    assert_eq!(server.requests().len(), 4, "three, and the one after the difference");
    // What the two cost counts as spent, and so does the third.
    assert_eq!(output.spent("iterations"), 3);
    assert_eq!(seen[7]["ok"], json!(["a", "b"]));
    let entry = home
        .host()
        .args(["blackboard", "get", &format!("{fork}/notes"), "a", "--output", "json"])
        .output();
    assert!(entry.expect(0).stdout.contains("PLAIN"));
    let after = home.shown(&fork);
    assert_eq!(after["agents"][0]["edge"], "forked");
    assert_eq!(after["forked"]["run"], json!(run));
    assert_eq!(after["forked"]["observation"], 4);
    assert_eq!(home.shown(&run), before, "the other run is as it was");
    for command in ["show", "tree"] {
        let text = home.host().args([command, &fork]).output().expect(0).stdout;
        assert!(text.contains("forked") && text.contains(&run), "{text}");
    }
    // A fork is a run like any other.
    let replayed = home
        .host()
        .args(["replay", &fork, "--output", "json"])
        .output()
        .expect(0)
        .json();
    assert_eq!(replayed["same"], true, "{replayed}");
}

#[test]
fn its_spaces_are_as_they_were_there() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let delete = |key: &str| json!({ "do": "delete", "space": 0, "key": key });
    let append = json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" });
    let list = json!({ "do": "keys", "space": 0, "prefix": "", "limit": 99 });
    let changes = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 0 });
    // A child of its own bytes' behaviour: it writes what it wrote, whatever the root does.
    let writes = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    let child = ChildSpec::probe(&steps(&[
        open(),
        json!({ "do": "append", "space": 0, "prefix": "t/", "value": "y" }),
    ]));
    let child = child.with("spaces", writes);
    let program = steps(&[
        open(),
        delete("nothing"),
        child.spawn(),
        join(0),
        delete("t/00000000000000000001"),
        child.spawn(),
        join(1),
        ask("1"),
        append.clone(),
        append,
        list.clone(),
        changes.clone(),
    ]);
    let first = home.host().probe(&program).output().expect(0).seen();
    let run = home.newest_run();
    let whole = keys(&home, &format!("{run}/notes"));
    let output = forked(&home, &run, &changed(&home), 0);
    // The appends of the fork come after the same beginning, so that all versions are the same.
    let seen = output.seen();
    let fork = output.json()["run"].as_str().unwrap().to_owned();
    assert_eq!(keys(&home, &format!("{fork}/notes")), whole);
    assert_eq!(seen[10]["ok"].as_array().unwrap().len(), 3, "{seen:?}");
    let versions = |seen: &[Value]| -> Vec<Value> {
        seen[11]["ok"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["version"].clone())
            .collect()
    };
    assert_eq!(
        (versions(&seen), versions(&first)),
        (vec![json!(2), json!(3), json!(4), json!(5)], versions(&seen))
    );
}

#[test]
fn what_children_did_is_taken_over_with_them() {
    let script = Script::default()
        .when("CHILD", [Turn::text("first"), Turn::text("bought again")])
        .when("LATE", [Turn::text("late"), Turn::text("late again")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let grandchild = ChildSpec::probe(&json!({ "steps": [ask("CHILD")], "summary": "from below" }));
    let child = ChildSpec::probe(&json!({ "steps": [grandchild.spawn(), join(0)], "summary": "a child" }));
    let late = ChildSpec::probe(&steps(&[ask("LATE")]));
    // The child is spawned before the difference, and joined after it.
    let program = steps(&[open(), child.spawn(), put("a"), join(0), late.spawn(), join(1)]);
    home.host().probe(&program).output().expect(0);
    let run = home.newest_run();
    let output = forked(&home, &run, &changed(&home), 0);
    let seen = output.seen();
    assert_eq!((exit(&seen[3]), exit(&seen[5])), ("Returned".into(), "Returned".into()));
    assert!(summary(&seen[3]).contains("a child"), "{}", seen[3]);
    let asked = |words: &str| {
        server
            .requests()
            .iter()
            .filter(|r| r.body.to_string().contains(words))
            .count()
    };
    assert_eq!((asked("CHILD"), asked("LATE")), (1, 2));
    let fork = home.shown(output.json()["run"].as_str().unwrap());
    let edges: Vec<_> = fork["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| agent["edge"].clone())
        .collect();
    assert_eq!(edges, ["forked", "delegated", "delegated", "delegated"]);
    assert_eq!(
        output.spent("iterations"),
        2,
        "that of the grandchild, and that of the late one"
    );
    assert_eq!(output.spent("children"), 3);
}

#[test]
fn a_run_that_was_killed_has_two_ways_to_go_on() {
    let script = Script::default().when("ONE", [Turn::text("one")]).when(
        "TWO",
        [
            Turn::fault(Fault::StallMidStream),
            Turn::text("two"),
            Turn::text("two again"),
        ],
    );
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let process = home.host().probe(&steps(&[ask("ONE"), ask("TWO")])).start();
    server.wait_for(2, LONG);
    let run = home.newest_run();
    fork(&home, &run).output().expect(2).says(&["under way"]);
    process.signal(Signal::KILL);
    process.finish();
    let branch = fork(&home, &run).output().expect(0);
    assert_eq!(branch.seen()[1]["ok"]["parts"][0]["Text"], "two");
    let resumed = home
        .host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(resumed.seen()[1]["ok"]["parts"][0]["Text"], "two again");
    assert_eq!(server.requests().len(), 4, "the first answer was bought once");
    assert_eq!((branch.spent("iterations"), resumed.spent("iterations")), (2, 2));
}

#[test]
fn a_run_that_is_taken_while_it_is_forked_has_no_torn_fork() {
    let (server, home, run) = killed();
    // It has played the run, and stops before it copies it.
    let shim = Shim::new().rule(
        "write",
        "*host/runs/",
        When::At(1),
        &Action::Delay(Duration::from_secs(2)),
    );
    let forked = taken_meanwhile(&home, &run, &shim, fork(&home, &run));
    forked.expect(2).says(&[&run, "taken by another process meanwhile"]);
    assert_eq!(server.requests().len(), 3, "the fork sends nothing");
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
}

#[test]
fn an_answer_that_nobody_was_told_of_is_not_bought_again() {
    let script = Script::default()
        .when("ONE", [Turn::text("one"), Turn::text("one again")])
        .when("TWO", [Turn::text("two"), Turn::text("two again")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let start = |words: &str| json!({ "do": "start", "messages": [{ "User": [{ "Text": words }] }] });
    let wait = |n: usize| json!({ "do": "wait", "pending": n });
    // Both are begun before the difference, and waited for after it.
    let program = steps(&[open(), start("ONE"), start("TWO"), put("a"), wait(1), wait(0)]);
    home.host().probe(&program).output().expect(0);
    let output = forked(&home, &home.newest_run(), &changed(&home), 0);
    let seen = output.seen();
    let said = |at: usize| seen[at]["ok"]["parts"][0]["Text"].clone();
    assert_eq!((said(4), said(5)), (json!("two"), json!("one")));
    assert_eq!((server.requests().len(), output.spent("iterations")), (2, 2));
}

/// A run that used its two iterations up, whose model has two more turns.
fn used_up() -> (ModelServer, Home, String) {
    let echo = Turn::call("echo", &json!({ "text": "again" }));
    let server = ModelServer::start(
        Script::from([echo.clone(), echo.clone(), Turn::text("closing"), echo]).then(Turn::text("done")),
    );
    let home = Home::with_model(&server, Format::OpenAi);
    let agent = json!({ "steps": [{ "do": "agent", "user": "Go on.", "turns": 9 }], "summary": "done" });
    let host = home.host().arg("--tool").arg(guests::built("pure-echo"));
    host.args(["--budget", "iterations=2"]).probe(&agent).output().expect(3);
    let run = home.newest_run();
    (server, home, run)
}

#[test]
fn a_larger_budget_goes_on_where_the_smaller_one_ended() {
    let (server, home, run) = used_up();
    let again = fork(&home, &run).output();
    again.expect(2).says(&["would end again as it did"]);
    for less in ["iterations=1", "tokens=5,iterations=0"] {
        let refused = fork(&home, &run).args(["--budget", less]).output().expect(2);
        refused.says(&["is less than the 2 that it has, and a fork may only add to its budget"]);
    }
    let output = fork(&home, &run).args(["--budget", "iterations=4"]).output().expect(0);
    assert_eq!((output.spent("iterations"), output.spent("closing")), (4, 0));
    assert_eq!(server.requests().len(), 5, "two and the closing call, then two more");
    let limits = home.shown(output.json()["run"].as_str().unwrap())["agents"][0]["budget"]["iterations"].clone();
    assert_eq!(limits, 4);
}

/// Which plugins it has its records say: a row that names one may be damaged.
#[test]
fn it_keeps_the_plugins_of_its_run_also_where_no_row_names_them() {
    let (_server, home, run) = used_up();
    let database = || Connection::open(home.path().join("host/hermes.db")).unwrap();
    let named = |run: &str| -> Vec<String> {
        let database = database();
        let of_run =
            "SELECT hex(c.digest) FROM component c JOIN run r ON r.no = c.run WHERE r.id = ?1 ORDER BY c.digest";
        let mut select = database.prepare(of_run).unwrap();
        let digests = select.query_map([run], |row| row.get::<_, String>(0)).unwrap();
        digests.map(Result::unwrap).collect()
    };
    let before = named(&run);
    assert!(before.len() > 1, "{before:?}");
    database().execute("DELETE FROM component", []).unwrap();
    let output = fork(&home, &run).args(["--budget", "iterations=4"]).output().expect(0);
    assert_eq!(named(output.json()["run"].as_str().unwrap()), before);
}

/// What it finds its place by has the memory that the run began with, whatever instances have today.
#[test]
fn its_place_is_found_under_the_limits_that_the_run_had() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    // From the second step on it asks for an entry whose name tells what each step saw.
    let program = steps(&[
        open(),
        json!({ "do": "witness", "space": 0 }),
        json!({ "do": "allocate", "pages": 1_500 }),
        ask("a"),
        ask("b"),
        ask("c"),
    ]);
    let host = home.host().set("limits.memory", "128MiB");
    let host = host.args(["--budget", "iterations=2"]);
    host.probe(&program).output().expect(3);
    let run = home.newest_run();
    for memory in ["64MiB", "16MiB"] {
        let asked = server.requests().len();
        let host = fork(&home, &run).set("limits.memory", memory);
        let output = host.args(["--budget", "iterations=3"]).output().expect(0);
        assert_eq!(output.seen()[2]["ok"][0], 1_500, "{memory}");
        assert_eq!(
            server.requests().len(),
            asked + 1,
            "{memory}: what was answered is not bought again"
        );
        assert_eq!(output.spent("iterations"), 3, "{memory}");
    }
}

#[test]
fn attempts_before_the_last_are_taken_over_whole() {
    let script = Script::default()
        .when("FIRST", [Turn::text("first"), Turn::text("first again")])
        .when("SECOND", [Turn::text("second"), Turn::text("second again")])
        .when("CHILD", [Turn::text("child"), Turn::text("child again")])
        .when("THIRD", [Turn::text("third"), Turn::text("other")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&steps(&[ask("CHILD")]));
    let program = steps(&[
        open(),
        json!({ "do": "first-attempt", "steps": [put("b"), ask("FIRST"), child.spawn(), join(0), { "do": "trap" }] }),
        ask("SECOND"),
        json!({ "do": "children" }),
        put("a"),
        ask("THIRD"),
    ]);
    home.host().probe(&program).output().expect(0);
    let output = forked(&home, &home.newest_run(), &changed(&home), 0);
    assert_eq!(output.seen()[5]["ok"]["parts"][0]["Text"], "other");
    assert_eq!(
        output.seen()[3]["ok"].as_array().unwrap().len(),
        1,
        "the child of the first attempt"
    );
    assert_eq!((server.requests().len(), output.spent("iterations")), (5, 4));
    let json = output.json();
    assert_eq!(
        (&json["agents"][0]["attempts"], &json["result"]["attempt"]),
        (&json!(2), &json!(2))
    );
    let fork = json["run"].as_str().unwrap();
    let replayed = home
        .host()
        .args(["replay", fork, "--output", "json"])
        .output()
        .expect(0)
        .json();
    // The first attempt wrote what the changed bytes would not: it has its own.
    assert_eq!((&replayed["same"], &replayed["attempts"]), (&json!(true), &json!(3)));
}

#[test]
fn a_fork_that_was_killed_goes_on() {
    let script = Script::default().when("ONE", [Turn::text("one")]).when(
        "TWO",
        [
            Turn::text("two"),
            Turn::fault(Fault::StallMidStream),
            Turn::text("other"),
        ],
    );
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    home.host()
        .probe(&steps(&[open(), ask("ONE"), put("a"), ask("TWO")]))
        .output()
        .expect(0);
    let process = fork(&home, &home.newest_run())
        .arg("--plugin")
        .arg(changed(&home))
        .start();
    server.wait_for(3, LONG);
    process.signal(Signal::KILL);
    assert_eq!(process.finish().code, None);
    let run = home.newest_run();
    let resumed = home
        .host()
        .args(["resume", &run, "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(resumed.seen()[3]["ok"]["parts"][0]["Text"], "other");
    assert_eq!((server.requests().len(), resumed.spent("iterations")), (4, 2));
    let entry = home
        .host()
        .args(["blackboard", "get", &format!("{run}/notes"), "a", "--output", "json"])
        .output();
    assert!(entry.expect(0).stdout.contains("PLAIN"), "what the fork wrote");
}

#[test]
fn a_fork_of_a_fork_names_the_one_that_it_comes_from() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.host()
        .probe(&steps(&[open(), ask("1"), put("a"), ask("2")]))
        .output()
        .expect(0);
    let first = home.newest_run();
    let second = forked(&home, &first, &changed(&home), 0).json()["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let third = forked(&home, &second, &guests::built("probe"), 0).json()["run"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(home.shown(&third)["forked"]["run"], json!(second));
    assert_eq!(server.requests().len(), 4);
    let replayed = home
        .host()
        .args(["replay", &third, "--output", "json"])
        .output()
        .expect(0)
        .json();
    assert_eq!(replayed["same"], true);
}

#[test]
fn what_the_end_of_the_run_broke_off_is_made_again() {
    // Neither process ends before the server was asked for what nobody waits for.
    let gates = tempfile::tempdir().unwrap();
    let (first, second) = (gates.path().join("first"), gates.path().join("second"));
    let held = [
        Turn::text("two").held_until(&first),
        Turn::text("two").held_until(&second),
    ];
    let never = Script::always(Turn::fault(Fault::StallMidStream));
    let server = ModelServer::start(Script::default().when("ONE", never).when("TWO", held));
    let home = Home::with_model(&server, Format::OpenAi);
    let start = json!({ "do": "start", "messages": [{ "User": [{ "Text": "ONE" }] }] });
    let probe = home
        .host()
        .probe(&steps(&[open(), start, put("a"), ask("TWO")]))
        .start();
    server.wait_for(2, LONG);
    std::fs::write(first, "").unwrap();
    probe.finish().expect(0);
    let run = home.newest_run();
    let broken_off = |run: &str| home.shown(run)["agents"][0]["operations"][0]["status"].clone();
    assert_eq!(broken_off(&run), "cancelled");
    let fork = fork(&home, &run).arg("--plugin").arg(changed(&home)).start();
    server.wait_for(4, LONG);
    std::fs::write(second, "").unwrap();
    let fork = fork.finish().expect(0).json()["run"].as_str().unwrap().to_owned();
    assert_eq!(broken_off(&fork), "cancelled");
    assert_eq!(home.shown(&fork)["agents"][0]["resent"], 1);
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn what_would_end_again_is_not_forked() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.host().probe(&steps(&[ask("1")])).output().expect(0);
    let run = home.newest_run();
    fork(&home, &run)
        .output()
        .expect(2)
        .says(&["would end again as it did", "--plugin"]);
    let same = rebuilt(&home, &guests::built("probe"));
    fork(&home, &run)
        .arg("--plugin")
        .arg(same)
        .output()
        .expect(2)
        .says(&["would end again"]);
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert_eq!(runs.as_array().unwrap().len(), 1, "nothing is written");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_space_of_the_home_folder_stays_as_it_is() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let program = steps(&[
        json!({ "do": "open", "name": "shared" }),
        json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" }),
        ask("1"),
        open(),
        json!({ "do": "repeat", "n": 1, "steps": [{ "do": "put", "space": 1, "key": "k", "value": "v" }] }),
    ]);
    home.host()
        .args(["--allow", "blackboard:shared"])
        .probe(&program)
        .output()
        .expect(0);
    let run = home.newest_run();
    assert_eq!(keys(&home, "shared").as_array().unwrap().len(), 1);
    let other = saying(&home, &guests::built("probe"), "rounds", "ROUNDS");
    let output = home
        .host()
        .args(["replay", &run, "--fork", "--plugin"])
        .arg(other)
        .output()
        .expect(0);
    let output = output.says(&["which all runs share"]);
    assert!(output.stdout.contains("done"));
    assert_eq!(
        keys(&home, "shared").as_array().unwrap().len(),
        1,
        "it is not written again"
    );
}

/// What was approved was so for other bytes.
#[test]
fn another_plugin_has_of_what_was_approved_what_is_given_to_it_and_asked_for() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    let add = home.host().args(["plugin", "add"]).arg(guests::built("probe"));
    let approved = ["--name", "agent", "--allow", "blackboard:shared", "--yes"];
    add.args(approved).output().expect(0);
    // It comes to its second step from the record, and does the third in another way.
    let program = steps(&[
        json!({ "do": "open", "name": "shared" }),
        ask("1"),
        json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" }),
    ]);
    let agent = home.host().run(Path::new("agent"), &program.to_string());
    agent.output().expect(0);
    let run = home.newest_run();
    let other = changed(&home);
    let allowed = |plugin: &Path| {
        let host = fork(&home, &run).arg("--plugin").arg(plugin);
        host.args(["--allow", "blackboard:shared"]).output().expect(0)
    };
    let written = |space: &str| keys(&home, space).as_array().unwrap().len();
    let strategy = |run: &str| home.shown(run)["agents"][0]["strategy"].clone();
    let lost = "goes on without blackboard:shared";
    let id = |output: &Output| output.json()["run"].as_str().unwrap().to_owned();

    let forked = forked(&home, &run, &other, 0).says(&[lost]);
    let own = format!("{}/shared", id(&forked));
    assert_eq!(
        (written("shared"), written(&own)),
        (1, 1),
        "its run's own is what it opened"
    );
    assert_eq!(
        (strategy(&run), strategy(&id(&forked))),
        (json!("agent"), json!("probe"))
    );
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert_eq!(runs[0]["strategy"], "probe");

    let given = allowed(&other);
    assert!(!given.stderr.contains("goes on without"), "{}", given.stderr);
    assert_eq!(written("shared"), 2);

    let modest = wanting(&home, &other, "modest.wasm", "name = \"modest\"\n");
    let modest = allowed(&modest).says(&[lost]);
    assert_eq!((written("shared"), strategy(&id(&modest))), (2, json!("modest")));
    assert_eq!(server.requests().len(), 1, "what was answered is not bought again");
}

#[test]
fn what_a_run_was_granted_by_flags_is_named_again_for_another_plugin() {
    let server = ModelServer::start(Script::always(Turn::text("an answer")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "a line");
    let file = json!({ "do": "files", "deed": "read", "path": "/papers/a.txt" });
    let look = json!({ "do": "call", "name": "probe", "arguments": { "steps": [{ "do": "info" }, file] } });
    let program = steps(&[open(), look.clone(), ask("1"), put("a"), look]);
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    let host = host.args(["--allow", "fs:./papers"]);
    host.probe(&program).output().expect(0);
    let run = home.newest_run();
    let other = changed(&home);
    let read = |seen: &Value| in_call(seen)[1]["error"].is_null();
    for (allow, again) in [(vec![], false), (vec!["--allow", "fs:./papers"], true)] {
        let output = fork(&home, &run)
            .arg("--plugin")
            .arg(&other)
            .args(allow)
            .output()
            .expect(0);
        let seen = output.seen();
        assert_eq!((read(&seen[1]), read(&seen[4])), (true, again), "{seen:?}");
        let told = output.stderr.contains("goes on without fs:");
        assert_eq!(told, !again, "{}", output.stderr);
        // The call before the fork's place held the folder, whatever the fork holds.
        let fork = output.json()["run"].as_str().unwrap().to_owned();
        let replayed = home.host().args(["replay", &fork, "--output", "json"]).output();
        let replayed = replayed.expect(0).json();
        assert_eq!(replayed["same"], true, "{replayed}");
    }
    let more = fork(&home, &run)
        .arg("--plugin")
        .arg(&other)
        .args(["--allow", "net:x.example"]);
    let more = more.output().expect(0);
    more.says(&["--allow net:x.example gives it nothing", "goes on without fs:"]);
    let same = fork(&home, &run).arg("--plugin").arg(guests::built("probe"));
    let same = same.args(["--allow", "fs:./papers"]).output().expect(2);
    same.says(&["--allow is for another plugin"]);
    let none = fork(&home, &run).args(["--allow", "fs:./papers"]).output().expect(2);
    none.says(&["--plugin"]);
}
