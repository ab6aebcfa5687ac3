//! Two runs at once against one home: nothing lost, nothing mixed.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::time::Duration;

use hermes_tests::Home;
use hermes_tests::model::{Format, ModelServer, Script, Turn};
use serde_json::{Value, json};

/// Writes many entries, asks in between, and writes again.
fn program(name: &str) -> Value {
    let put =
        json!({ "do": "repeat", "n": 50, "steps": [{ "do": "append", "space": 0, "prefix": "n/", "value": name }] });
    let user = json!([{ "User": [{ "Text": format!("I am {name}.") }] }]);
    json!({ "steps": [
        { "do": "open", "name": "notes" }, put,
        { "do": "complete", "messages": user }, put,
        { "do": "complete", "messages": user },
        { "do": "keys", "space": 0, "prefix": "", "limit": 1000 },
    ] })
}

#[test]
fn nothing_lost_nothing_mixed() {
    let names = ["alpha", "beta", "gamma"];
    let script = names.iter().fold(Script::default(), |script, name| {
        script.when(
            &format!("I am {name}."),
            [Turn::text(format!("{name} one")), Turn::text(format!("{name} two"))],
        )
    });
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let started: Vec<_> = names
        .iter()
        .map(|name| home.host().probe(&program(name)).start())
        .collect();
    let mut ids = Vec::new();
    for (process, name) in started.into_iter().zip(names) {
        let output = process.finish().expect(0);
        let seen = output.seen();
        assert_eq!(seen[2]["ok"]["parts"][0]["Text"], format!("{name} one"));
        assert_eq!(seen[4]["ok"]["parts"][0]["Text"], format!("{name} two"));
        assert_eq!(
            seen[5]["ok"].as_array().unwrap().len(),
            100,
            "all of its own writes, and no other"
        );
        assert_eq!(output.spent("iterations"), 2);
        ids.push(output.json()["run"].as_str().unwrap().to_owned());
    }
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    for (id, name) in ids.iter().zip(names) {
        assert!(
            runs.as_array()
                .unwrap()
                .iter()
                .any(|run| run["run"] == *id && run["exit"] == "returned"),
            "{runs}"
        );
        let key = home
            .host()
            .args(["blackboard", "ls", &format!("{id}/notes"), "--output", "json"])
            .output()
            .expect(0)
            .json();
        let key = key[0].as_str().unwrap_or_else(|| panic!("{key}")).to_owned();
        let value = home
            .host()
            .args(["blackboard", "get", &format!("{id}/notes"), &key])
            .output()
            .expect(0);
        assert_eq!(value.stdout, name);
    }
}

#[test]
fn a_shared_space_takes_the_writes_of_both() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let append = json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" });
    let program = json!({ "steps": [{ "do": "open", "name": "shared" }, { "do": "repeat", "n": 100, "steps": [append], "until_error": true }] });
    let host = || home.host().args(["--allow", "blackboard:shared"]).probe(&program);
    let (one, two) = (host().start(), host().start());
    for process in [one, two] {
        assert_eq!(process.finish().expect(0).seen()[1]["ok"]["rounds"], 100);
    }
    let keys = home
        .host()
        .args(["blackboard", "ls", "shared", "--output", "json"])
        .output()
        .expect(0)
        .json();
    assert_eq!(keys.as_array().unwrap().len(), 200);
}

#[test]
fn a_watcher_hears_of_another_process() {
    let turns = Script::always(Turn::text("go on"));
    let server = ModelServer::start(turns);
    let home = Home::with_model(&server, Format::OpenAi);
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "Ready." }] }] });
    let wait = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 20_000 });
    let program = json!({ "steps": [{ "do": "open", "name": "shared" }, ask, wait] });
    let watching = home
        .host()
        .args(["--allow", "blackboard:shared"])
        .probe(&program)
        .start();
    server.wait_for(1, Duration::from_secs(30));
    home.host()
        .args(["blackboard", "put", "shared", "news", "good"])
        .output()
        .expect(0);
    let output = watching.finish().expect(0);
    let changes = &output.seen()[2]["ok"];
    assert_eq!(
        (&changes[0]["key"], &changes[0]["version"]),
        (&json!("news"), &json!(1)),
        "{changes}"
    );
    assert!(output.took < Duration::from_secs(20), "{:?}", output.took);
}
