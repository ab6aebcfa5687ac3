//! The main job end to end: the strategy `research`, by its path, reads real files for a model, has a wrong citation mended or marks it,
//! says what was not found, and answers though its iterations are used up.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::model::{Format, ModelServer, Request, Turn, Usage};
use hermes_tests::{Home, Output, guests};
use serde_json::{Value, json};

const HEAT: &str = "Latent heat must leave the tip before it can grow.";
const ROUND: &str = "The tip is a paraboloid.";
const SPLIT: &str = "A fast tip splits in two.";

/// A model that plans and searches, reads the head of one file, and takes a note.
fn reader() -> Vec<Turn> {
    let plan = json!({ "steps": ["Look for heat.", "Read about the tip.", "Answer."] });
    let search = json!({ "pattern": "latent heat", "ignore_case": true });
    let read = json!({ "path": "/papers/tip.md", "start": 1, "lines": 2 });
    let note = json!({ "text": "Heat must leave the tip.", "source": "/papers/melt.md:3" });
    vec![
        calls(&[("call_1", "make_plan", &plan), ("call_2", "search_files", &search)]),
        calls(&[("call_3", "read_file", &read)]),
        calls(&[("call_4", "take_note", &note)]),
    ]
}

fn calls(calls: &[(&str, &str, &Value)]) -> Turn {
    let used = Usage {
        input: 100,
        cached: 0,
        output: 20,
    };
    let turn = Turn::default().usage(Some(used));
    calls.iter().fold(turn, |turn, &(id, name, arguments)| {
        turn.and_call(id, name, &arguments.to_string())
    })
}

fn home(server: &ModelServer, format: Format) -> Home {
    let home = Home::with_model(server, format);
    home.write("papers/melt.md", format!("# The melt\n\n{HEAT}\nThe melt is still.\n"));
    home.write("papers/tip.md", format!("# The tip\n{ROUND}\nIt is smooth.\n{SPLIT}\n"));
    home
}

fn research(home: &Home, arguments: &[&str]) -> Output {
    let host = home.host().run(&guests::plugin("research"), "What limits growth?");
    host.args(["--allow", "fs:./papers"]).args(arguments).output()
}

/// What a call with this id got, as the last of these requests holds it.
#[track_caller]
fn result(requests: &[Request], id: &str) -> String {
    let results = requests.last().unwrap().results();
    let mut of_it = results.into_iter().filter(|(call, _)| call == id);
    let (_, text) = of_it.next().unwrap_or_else(|| panic!("{id} got no result"));
    assert_eq!(of_it.next(), None, "{id} got more than one result");
    text
}

/// Path, first line, and whether it was verified, of each citation.
fn citations(json: &Value) -> Vec<(&str, u64, bool)> {
    let citations = json["result"]["citations"].as_array().unwrap().iter();
    citations
        .map(|citation| {
            let (path, first) = (citation["path"].as_str().unwrap(), citation["first"].as_u64().unwrap());
            (path, first, citation["verified"].as_bool().unwrap())
        })
        .collect()
}

/// The plan and the note are among the run's notes, and its report names both.
#[track_caller]
fn plan_and_note_are_kept(home: &Home, json: &Value) {
    let space = format!("{}/notes", json["run"].as_str().unwrap());
    let listed = home.host().args(["blackboard", "ls", &space, "--output", "json"]);
    let listed = listed.output().expect(0).json();
    let mut keys: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key.as_str().unwrap())
        .collect();
    // The plan was made before the note was taken.
    keys.sort_by_key(|key| !key.starts_with("note/plan-"));
    let artifacts: Vec<_> = keys.iter().map(|key| format!("notes/{key}")).collect();
    assert_eq!(json["artifacts"], json!(artifacts));
    let texts: Vec<_> = keys
        .iter()
        .map(|key| home.host().args(["blackboard", "get", &space, key]).output().expect(0))
        .map(|output| output.stdout)
        .collect();
    assert_eq!(
        texts,
        [
            "1. Look for heat.\n2. Read about the tip.\n3. Answer.",
            "Heat must leave the tip. (/papers/melt.md:3)"
        ]
    );
}

#[track_caller]
fn an_answer_is_checked(format: Format) {
    // The model has seen neither line 4 of one file nor line 30 of the other, which has four.
    let answer = "Heat must leave the tip (papers/melt.md:3). The tip is round (papers/tip.md:2) and splits (papers/tip.md:4). \
                  Salt slows it (papers/melt.md:30).\n\nNot found:\n- the price of a furnace";
    let read = json!({ "path": "/papers/tip.md", "start": 4 });
    let mut turns = reader();
    turns.extend([
        Turn::text(answer),
        calls(&[("call_5", "read_file", &read)]),
        Turn::text(answer),
    ]);
    let server = ModelServer::start(turns);
    let home = home(&server, format);
    let output = research(&home, &[]).expect(1);

    let requests = server.requests();
    assert_eq!(
        (requests.len(), server.surplus()),
        (6, 0),
        "it goes back once, not twice"
    );
    for request in &requests {
        assert_eq!(request.format, format);
        for tool in ["make_plan", "take_note", "search_files", "read_file"] {
            assert!(request.callable().contains(&tool), "{tool} is missing");
        }
    }
    // What the model was told is what stands in the files.
    for (id, expected) in [
        ("call_1", "planned".to_owned()),
        ("call_2", format!("/papers/melt.md:3: {HEAT}")),
        ("call_3", format!("2: {ROUND}")),
        ("call_4", "noted".to_owned()),
        ("call_5", format!("4: {SPLIT}")),
    ] {
        let text = result(&requests, id);
        assert!(text.contains(&expected), "{id}: {text}");
    }
    assert!(!result(&requests, "call_3").contains(SPLIT), "only what was asked for");
    // The request to mend it names both wrong citations, and no right one.
    let correction = requests[4].last();
    for problem in [
        "- papers/tip.md:4-4: no tool showed you line 4",
        "- papers/melt.md:30-30: no tool showed you line 30",
    ] {
        assert!(correction.contains(problem), "{correction}");
    }
    for right in ["melt.md:3-3", "tip.md:2-2"] {
        assert!(!correction.contains(right), "{correction}");
    }

    let json = output.json();
    // One was mended by reading the line; the other stays, and is marked.
    let marked = answer.replace("papers/melt.md:30", "papers/melt.md:30 [unverified]");
    assert_eq!(json["answer"], marked);
    assert_eq!(
        citations(&json),
        [
            ("papers/melt.md", 3, true),
            ("papers/tip.md", 2, true),
            ("papers/tip.md", 4, true),
            ("papers/melt.md", 30, false),
        ]
    );
    assert_eq!(
        (&json["exit"], &json["outcome"], &json["error"]),
        (&json!("returned"), &json!("partly-achieved"), &Value::Null)
    );
    assert_eq!(
        (
            output.spent("iterations"),
            output.spent("tool_calls"),
            output.spent("closing")
        ),
        (6, 3, 0),
        "plan and note are no tool calls of the host"
    );
    plan_and_note_are_kept(&home, &json);
    output.says(&[
        "the price of a furnace",
        "Citations that could not be confirmed: 1",
        "partly-achieved",
    ]);
}

#[test]
fn a_wrong_citation_goes_back_once_and_is_mended_or_marked() {
    an_answer_is_checked(Format::OpenAi);
}

#[test]
fn a_wrong_citation_goes_back_once_and_is_mended_or_marked_in_messages() {
    an_answer_is_checked(Format::Anthropic);
}

#[test]
fn a_right_answer_is_achieved_at_once() {
    for format in [Format::OpenAi, Format::Anthropic] {
        let answer = format!("\"{HEAT}\" (papers/melt.md:3) Besides, the tip is round (papers/tip.md:1-2).");
        let mut turns = reader();
        turns.push(Turn::text(&answer));
        let server = ModelServer::start(turns);
        let home = home(&server, format);
        let json = research(&home, &[]).expect(0).json();
        assert_eq!(
            (&json["answer"], &json["outcome"]),
            (&json!(answer), &json!("achieved")),
            "nothing is marked"
        );
        assert_eq!((server.requests().len(), server.surplus()), (4, 0));
        plan_and_note_are_kept(&home, &json);
    }
}

#[test]
fn out_of_iterations_it_answers_without_tools() {
    for format in [Format::OpenAi, Format::Anthropic] {
        let mut turns = reader();
        // It plans and searches, and takes its note.
        turns.remove(1);
        turns.push(Turn::text(
            "Heat must leave the tip (papers/melt.md:3). The tip is round (papers/tip.md:2).",
        ));
        let server = ModelServer::start(turns);
        let home = home(&server, format);
        let output = research(&home, &["--budget", "iterations=2"]).expect(3);

        let requests = server.requests();
        assert_eq!((requests.len(), server.surplus()), (3, 0));
        for request in &requests[..2] {
            assert!(request.callable().contains(&"read_file"), "{:?}", request.callable());
        }
        assert!(requests[2].callable().is_empty(), "the closing call offers none");
        // It is told that this is its last word, and its notes once more.
        let closing = requests[2].last();
        for words in ["No more tool calls are possible", "Heat must leave the tip."] {
            assert!(closing.contains(words), "{words:?} is missing in {closing}");
        }
        assert_eq!((output.spent("iterations"), output.spent("closing")), (2, 1));

        let json = output.json();
        // No call is left to have it mended, so that it is marked at once.
        assert_eq!(
            json["answer"],
            "Heat must leave the tip (papers/melt.md:3). The tip is round (papers/tip.md:2 [unverified])."
        );
        assert_eq!(
            citations(&json),
            [("papers/melt.md", 3, true), ("papers/tip.md", 2, false)]
        );
        assert_eq!(
            (&json["exit"], &json["outcome"], &json["error"]["kind"]),
            (
                &json!("exhausted"),
                &json!("partly-achieved"),
                &json!("exhausted(iterations)")
            )
        );
        plan_and_note_are_kept(&home, &json);
        output.says(&["--budget iterations=N", "Citations that could not be confirmed: 1"]);
    }
}
