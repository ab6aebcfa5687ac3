//! Calls that a model makes of what is not there, or of what is there in a way that it does not take.

use hermes_tests::model::{Script, Turn};
use hermes_tests::output::{message, refusal};
use serde_json::{Value, json};

use super::{Case, Plugin};

/// What the agent is asked.
const ASKED: &str = "Call what is not there.";
/// What it is told of one of them.
const TOLD: &str = "There is no tool functions.echo";

/// A call as the model makes it, what it is told, and words that its answer holds.
type Call = (String, String, &'static str, &'static str);

fn calls() -> Vec<Call> {
    let nearest = "Did you mean echo?";
    let (missing, invalid) = ("not-found", "invalid-input");
    let text = json!({ "text": "x" }).to_string();
    let of_names = [
        ("ecko", nearest),
        ("Echo", nearest),
        ("echo ", nearest),
        ("functions.echo", "There is no tool functions.echo"),
        ("е\u{441}ho", nearest),
        ("\u{1b}[2Jecho\u{202e}\u{e0041}", "There is no tool"),
    ];
    let of_arguments: [(String, &'static str); 11] = [
        ("{}".into(), "text"),
        (json!({ "text": "x", "more": 1 }).to_string(), "more"),
        (json!({ "text": 7 }).to_string(), "at /text"),
        (json!(text).to_string(), "must be a JSON object"),
        (json!([{ "text": "x" }]).to_string(), "must be a JSON object"),
        ("{\"text\":\"x\"".into(), "not usable JSON"),
        ("{\"text\":\"x\",\"text\":\"y\"}".into(), "twice"),
        ("{\"text\":\"x\"} {}".into(), "not usable JSON"),
        ("{'text':'x'}".into(), "not usable JSON"),
        ("{\"text\":NaN}".into(), "not usable JSON"),
        (
            format!("{{\"text\":{}1{}}}", "[".repeat(64), "]".repeat(64)),
            "limits.json.depth",
        ),
    ];
    let names = of_names.map(|(name, words)| (name.to_owned(), text.clone(), missing, words));
    let long = (
        "echo".repeat(5_000),
        "{}".to_owned(),
        missing,
        "There is no tool echoecho",
    );
    let arguments = of_arguments.map(|(arguments, words)| ("echo".to_owned(), arguments, invalid, words));
    names.into_iter().chain([long]).chain(arguments).collect()
}

/// Calls of what is not there, all in one reply.
pub(crate) fn of_nothing() -> Case {
    let calls = calls();
    let mut reply = Turn::text("");
    for (n, (name, arguments, ..)) in calls.iter().enumerate() {
        reply = reply.and_call(&format!("id{n}"), name, arguments);
    }
    let agent = json!({ "do": "agent", "user": ASKED, "turns": 2 });
    let case = Case::steps("calls of what is not there", [agent]).tool(Plugin::Built("probe-tool"));
    // Once it was told, it gives up.
    let case = case.when(TOLD, Script::always(Turn::text("sorry")));
    case.when(ASKED, Script::always(reply)).sees(move |seen| {
        let results = seen[0][1]["ok"].as_array().unwrap();
        assert_eq!(results.len(), calls.len());
        for ((n, (name, _, kind, words)), result) in calls.iter().enumerate().zip(results) {
            let told = json!({ "ok": result });
            assert_eq!(refusal(&told).as_deref(), Some(*kind), "{name:?}: {result}");
            let said = message(&told);
            let is_said = said.contains(words) && said.chars().count() < 800 && !said.contains('\u{1b}');
            assert!(is_said, "{name:?}: {said}");
            assert_eq!(result["call_id"], format!("id{n}"), "each answer is its own call's");
        }
        assert_eq!(Value::from(results.len()), 18);
    })
}

/// Calls with one id, and one with none, all in one reply: each has an answer of its own.
pub(crate) fn of_one_id() -> Case {
    const ASKED: &str = "Call three times by one name.";
    const TEXTS: [&str; 3] = ["the first of one id", "the second of one id", "the third, of none"];
    let text = |n: usize| json!({ "text": TEXTS[n] });
    let reply = Turn::call("echo", &text(0))
        .and_call("call_1", "echo", &text(1).to_string())
        .and_call("", "echo", &text(2).to_string());
    let agent = json!({ "do": "agent", "user": ASKED, "turns": 2 });
    let case = Case::steps("calls with one id", [agent]).tool(Plugin::Built("probe-tool"));
    // Once it has its answers, it is done.
    let case = case.when(TEXTS[2], Script::always(Turn::text("done")));
    case.when(ASKED, Script::always(reply)).sees(|seen| {
        let results = seen[0][1]["ok"].as_array().unwrap();
        let said: Vec<&Value> = results
            .iter()
            .map(|result| &result["output"]["content"][0]["Text"])
            .collect();
        assert_eq!(said, TEXTS, "{results:?}");
    })
}
