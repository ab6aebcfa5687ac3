//! Programs of the probe: the steps that most of them have.

use serde_json::{Value, json};

/// A program of these steps that achieves what it was asked for.
pub fn steps(steps: &[Value]) -> Value {
    json!({ "steps": steps, "summary": "done" })
}

/// The step that asks the model.
pub fn ask(words: &str) -> Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": words }] }] })
}

/// The steps that say these words to people, in each way that there is.
pub fn says(words: &str) -> [Value; 4] {
    let report = json!({ "outcome": "PartlyAchieved", "summary": words, "artifacts": [], "open_questions": [] });
    [
        json!({ "do": "log", "level": "Info", "message": words }),
        json!({ "do": "progress", "message": words }),
        json!({ "do": "emit", "text": words }),
        json!({ "do": "checkpoint", "report": report }),
    ]
}

/// What `show` has of an agent's words to people: the kind and the text of each, in order.
#[track_caller]
pub fn said(agent: &Value) -> Vec<(String, String)> {
    let of = |note: &Value| {
        let text = |key: &str| {
            note[key]
                .as_str()
                .unwrap_or_else(|| panic!("no {key} in {note}"))
                .to_owned()
        };
        (text("kind"), text("text"))
    };
    let notes = agent["notes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let said = ["log", "progress", "emit", "checkpoint"];
    notes
        .iter()
        .map(of)
        .filter(|(kind, _)| said.contains(&kind.as_str()))
        .collect()
}

/// The step that opens the space `notes`.
pub fn open() -> Value {
    json!({ "do": "open", "name": "notes" })
}

/// The step that writes an entry of the first space.
pub fn put(key: &str) -> Value {
    json!({ "do": "put", "space": 0, "key": key, "value": "a value" })
}
