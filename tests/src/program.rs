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

/// The step that opens the space `notes`.
pub fn open() -> Value {
    json!({ "do": "open", "name": "notes" })
}

/// The step that writes an entry of the first space.
pub fn put(key: &str) -> Value {
    json!({ "do": "put", "space": 0, "key": key, "value": "a value" })
}
