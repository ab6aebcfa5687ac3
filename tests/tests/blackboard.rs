//! The blackboard as a guest and a person use it.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::output::refusal;
use hermes_tests::{Home, ModelServer, Output, model::Format};
use serde_json::{Value, json};

fn home() -> Home {
    Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi)
}

/// Opens `notes` and does `steps` with it.
fn notes(home: &Home, steps: &[Value]) -> Output {
    let mut all = vec![json!({ "do": "open", "name": "notes" })];
    all.extend_from_slice(steps);
    home.host().probe(&json!({ "steps": all })).output().expect(0)
}

fn put(key: &str, value: &str, if_version: Option<u64>) -> Value {
    json!({ "do": "put", "space": 0, "key": key, "value": value, "if_version": if_version })
}

fn get(key: &str) -> Value {
    json!({ "do": "get", "space": 0, "key": key })
}

#[test]
fn versions_order_the_writes_of_a_space() {
    let seen = notes(
        &home(),
        &[put("a", "1", None), put("b", "2", None), put("a", "3", None), get("a")],
    )
    .seen();
    assert_eq!([&seen[1]["ok"], &seen[2]["ok"], &seen[3]["ok"]], [1, 2, 3]);
    assert_eq!(
        (&seen[4]["ok"]["version"], &seen[4]["ok"]["value"]["data"]),
        (&json!(3), &json!([b'3']))
    );
    assert!(
        seen[4]["ok"]["author"]
            .as_str()
            .is_some_and(|author| author.ends_with(".0")),
        "{}",
        seen[4]
    );
}

#[test]
fn compare_and_set_from_both_sides() {
    let steps = [
        put("a", "1", Some(0)),
        put("a", "2", Some(0)),
        put("a", "2", Some(7)),
        put("a", "2", Some(1)),
        json!({ "do": "delete", "space": 0, "key": "a", "if_version": 1 }),
        json!({ "do": "delete", "space": 0, "key": "a", "if_version": 2 }),
        get("a"),
        json!({ "do": "delete", "space": 0, "key": "a" }),
        put("a", "3", Some(0)),
    ];
    let seen = notes(&home(), &steps).seen();
    let conflict = Some("conflict".to_owned());
    let refused: Vec<_> = seen[1..].iter().map(refusal).collect();
    assert_eq!(
        refused,
        [
            None,
            conflict.clone(),
            conflict.clone(),
            None,
            conflict,
            None,
            None,
            None,
            None
        ]
    );
    assert_eq!(seen[7]["ok"], Value::Null, "it is gone");
}

#[test]
fn sizes_are_bounded_to_the_byte() {
    let home = home();
    let bytes = |bytes: usize| json!({ "do": "put-bytes", "space": 0, "key": "k", "bytes": bytes });
    let long = |len: usize| put(&"k".repeat(len), "x", None);
    let seen = notes(
        &home,
        &[
            bytes(256 << 10),
            bytes((256 << 10) + 1),
            long(256),
            long(257),
            put("", "x", None),
        ],
    )
    .seen();
    let refused: Vec<_> = seen[1..].iter().map(refusal).collect();
    let invalid = Some("invalid-input".to_owned());
    assert_eq!(refused, [None, invalid.clone(), None, invalid.clone(), invalid]);
}

#[test]
fn keys_are_paged_in_byte_order() {
    let append =
        json!({ "do": "repeat", "n": 5, "steps": [{ "do": "append", "space": 0, "prefix": "n/", "value": "x" }] });
    let page = |after: Option<&str>| json!({ "do": "keys", "space": 0, "prefix": "n/", "after": after, "limit": 3 });
    let home = home();
    let seen = notes(&home, &[put("z", "x", None), append, page(None)]).seen();
    let first: Vec<String> = serde_json::from_value(seen[3]["ok"].clone()).unwrap();
    assert_eq!(first.len(), 3);
    assert!(
        first.is_sorted() && first.iter().all(|key| key.starts_with("n/")),
        "{first:?}"
    );
}

#[test]
fn changes_tell_the_latest_write_of_each_key() {
    let changes = |since: u64| json!({ "do": "changes", "space": 0, "prefix": "", "since": since, "wait_ms": 0 });
    let delete = json!({ "do": "delete", "space": 0, "key": "b" });
    let steps = [
        put("a", "1", None),
        put("b", "1", None),
        put("a", "2", None),
        delete,
        changes(0),
        changes(3),
        changes(4),
    ];
    let seen = notes(&home(), &steps).seen();
    let told = |n: usize| -> Vec<(String, u64, bool)> {
        let changes = seen[n]["ok"].as_array().unwrap().iter();
        changes
            .map(|c| {
                (
                    c["key"].as_str().unwrap().into(),
                    c["version"].as_u64().unwrap(),
                    c["deleted"] == true,
                )
            })
            .collect()
    };
    assert_eq!(told(5), [("a".into(), 3, false), ("b".into(), 4, true)]);
    assert_eq!(told(6), [("b".into(), 4, true)]);
    assert_eq!(told(7), []);
}

#[test]
fn a_person_reads_what_a_run_wrote() {
    let home = home();
    let output = notes(&home, &[put("plan", "1. read\n2. write", None)]);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let space = format!("{run}/notes");
    let listed = home.host().args(["blackboard", "ls"]).output().expect(0);
    assert!(listed.stdout.contains(&space), "{}", listed.stdout);
    let head: Vec<&str> = listed.stdout.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["space", "keys", "size"]);
    // Of a run alone its spaces are listed, by as much of its id as is unique.
    let ls = |space: &str| home.host().args(["blackboard", "ls", space]).output();
    assert_eq!(ls(&run[..6]).expect(0).stdout, listed.stdout);
    for none in ["nope", &format!("{run}/nope")] {
        ls(none).expect(2).says(&["there is no space", none, "blackboard ls"]);
    }
    let nope = home.host().args(["blackboard", "ls", "nope", "--output", "json"]);
    assert_eq!(nope.output().expect(0).json(), json!([]));
    let got = home
        .host()
        .args(["blackboard", "get", &space, "plan"])
        .output()
        .expect(0);
    assert_eq!(got.stdout, "1. read\n2. write");
    let missing = home.host().args(["blackboard", "get", &space, "plam"]).output();
    assert_ne!(missing.code, Some(0));
    assert!(missing.stderr.contains("plam"), "{}", missing.stderr);
    // A run's own space is written by its run alone.
    assert_ne!(
        home.host()
            .args(["blackboard", "put", &space, "plan", "mine"])
            .output()
            .code,
        Some(0)
    );
}

#[test]
fn a_person_writes_into_the_homes_own_space() {
    let home = home();
    let put = |version: &str| {
        home.host()
            .args([
                "blackboard",
                "put",
                "glossary",
                "dendrite",
                "a tree",
                "--if-version",
                version,
            ])
            .output()
    };
    put("0").expect(0);
    let lost = put("0");
    assert_ne!(lost.code, Some(0), "{lost:?}");
    put("1").expect(0);
    let steps =
        json!({ "steps": [{ "do": "open", "name": "glossary" }, { "do": "get", "space": 0, "key": "dendrite" }] });
    let seen = home
        .host()
        .args(["--allow", "blackboard:glossary:ro"])
        .probe(&steps)
        .output()
        .expect(0)
        .seen();
    assert_eq!(seen[1]["ok"]["version"], 2);
    let write = json!({ "steps": [{ "do": "open", "name": "glossary" }, { "do": "put", "space": 0, "key": "x", "value": "y" }] });
    let seen = home
        .host()
        .args(["--allow", "blackboard:glossary:ro"])
        .probe(&write)
        .output()
        .expect(0)
        .seen();
    assert_eq!(refusal(&seen[1]).as_deref(), Some("denied"));
}
