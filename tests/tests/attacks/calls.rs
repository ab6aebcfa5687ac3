//! Calls that a model makes of what is not there, or of what is there in a way that it does not take.

use hermes_tests::guests;
use hermes_tests::model::Turn;
use hermes_tests::output::{message, refusal};
use serde_json::json;

use crate::site::Site;

/// A call as the model makes it, what it is told, and words that its answer holds.
type Call = (&'static str, String, &'static str, &'static str);

#[test]
fn a32_a_call_of_what_is_not_there_runs_nothing_and_is_told() {
    let nearest = "Did you mean echo?";
    let long: &str = Box::leak("echo".repeat(5_000).into_boxed_str());
    let escapes = "\u{1b}[2Jecho\u{202e}\u{e0041}";
    let calls: Vec<Call> = vec![
        ("ecko", json!({ "text": "x" }).to_string(), "not-found", nearest),
        ("Echo", json!({ "text": "x" }).to_string(), "not-found", nearest),
        ("echo ", json!({ "text": "x" }).to_string(), "not-found", nearest),
        (
            "functions.echo",
            json!({ "text": "x" }).to_string(),
            "not-found",
            "There is no tool functions.echo",
        ),
        ("е\u{441}ho", json!({ "text": "x" }).to_string(), "not-found", nearest),
        (
            escapes,
            json!({ "text": "x" }).to_string(),
            "not-found",
            "There is no tool",
        ),
        (long, "{}".into(), "not-found", "There is no tool echoecho"),
        ("echo", "{}".into(), "invalid-input", "text"),
        (
            "echo",
            json!({ "text": "x", "more": 1 }).to_string(),
            "invalid-input",
            "more",
        ),
        ("echo", json!({ "text": 7 }).to_string(), "invalid-input", "at /text"),
        (
            "echo",
            json!(json!({ "text": "x" }).to_string()).to_string(),
            "invalid-input",
            "must be a JSON object",
        ),
        (
            "echo",
            json!([{ "text": "x" }]).to_string(),
            "invalid-input",
            "must be a JSON object",
        ),
        ("echo", "{\"text\":\"x\"".into(), "invalid-input", "not usable JSON"),
        (
            "echo",
            "{\"text\":\"x\",\"text\":\"y\"}".into(),
            "invalid-input",
            "twice",
        ),
        ("echo", "{\"text\":\"x\"} {}".into(), "invalid-input", "not usable JSON"),
        ("echo", "{'text':'x'}".into(), "invalid-input", "not usable JSON"),
        ("echo", "{\"text\":NaN}".into(), "invalid-input", "not usable JSON"),
        (
            "echo",
            format!("{{\"text\":{}1{}}}", "[".repeat(64), "]".repeat(64)),
            "invalid-input",
            "limits.json.depth",
        ),
    ];
    let mut reply = Turn::text("");
    for (n, (name, arguments, ..)) in calls.iter().enumerate() {
        reply = reply.and_call(&format!("id{n}"), name, arguments);
    }
    let site = Site::with([reply, Turn::text("sorry")]);
    let host = site.host().arg("--tool").arg(guests::built("probe-tool"));
    let program = json!({ "steps": [{ "do": "agent", "user": "Go.", "turns": 2 }] });
    let attacked = site.attack(host.probe(&program));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen().remove(0);
    let results = seen[1]["ok"].as_array().unwrap();
    assert_eq!(results.len(), calls.len());
    for ((n, (name, _, kind, words)), result) in calls.iter().enumerate().zip(results) {
        let told = json!({ "ok": result });
        assert_eq!(refusal(&told).as_deref(), Some(*kind), "{name:?}: {result}");
        let said = message(&told);
        let is_said = said.contains(words) && said.chars().count() < 800 && !said.contains('\u{1b}');
        assert!(is_said, "{name:?}: {said}");
        assert_eq!(result["call_id"], format!("id{n}"), "each answer is its own call's");
    }
    // None was run, and each was charged as a call that a model made: the turn is an iteration.
    let json = attacked.output.json();
    assert_eq!(
        (&json["spent"]["tool-calls"], &json["spent"]["iterations"]),
        (&json!(0), &json!(2))
    );
    // The model is told each in words, without what steers.
    let told = site.server.requests().pop().unwrap();
    let results = told.results();
    assert_eq!(results.len(), calls.len());
    for (_, text) in results {
        assert!(
            text.starts_with("Error: ") && !text.contains(['\u{1b}', '\u{202e}', '\u{e0041}']),
            "{text:?}"
        );
    }
    site.is_well();
}

#[test]
fn a32_calls_with_one_id_have_an_answer_each() {
    let reply = Turn::call("echo", &json!({ "text": "one" }))
        .and_call("call_1", "echo", &json!({ "text": "two" }).to_string())
        .and_call("", "echo", &json!({ "text": "three" }).to_string());
    let site = Site::with([reply, Turn::text("done")]);
    let host = site.host().arg("--tool").arg(guests::built("probe-tool"));
    let attacked = site.attack(host.probe(&json!({ "steps": [{ "do": "agent", "user": "Go.", "turns": 2 }] })));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let request = site.server.requests().pop().unwrap();
    let results = request.results();
    let texts: Vec<&str> = results.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    let mut ids: Vec<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{results:?}");
    site.is_well();
}
