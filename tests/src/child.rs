//! Children of the probe: the steps that spawn and join them, and what a join saw.

use serde_json::{Value, json};

/// A child's spec: the probe again, on this program.
#[derive(Debug, Clone)]
pub struct ChildSpec(Value);

impl ChildSpec {
    /// A child that runs `program`.
    pub fn probe(program: &Value) -> Self {
        Self::new(None, &program.to_string())
    }

    /// A child that waits for `ms` in a host call, for a change that nobody makes.
    pub fn parked(ms: u32) -> Self {
        let program = json!({ "summary": "done", "steps": [
            { "do": "open", "name": "notes" },
            { "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": ms },
        ] });
        let read = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
        Self::probe(&program).with("spaces", read)
    }

    /// A child of another strategy, on this prompt.
    pub fn of(strategy: &str, prompt: &str) -> Self {
        Self::new(Some(strategy), prompt)
    }

    fn new(strategy: Option<&str>, prompt: &str) -> Self {
        Self(json!({
            "strategy": strategy, "role": "helper", "prompt": prompt, "inputs": null, "model": null,
            "toolsets": [], "spaces": [], "grants": [], "budget": [], "max_attempts": 1,
        }))
    }

    /// A field set to something else.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }

    /// One limit.
    #[must_use]
    pub fn limit(mut self, dimension: &str, value: u64) -> Self {
        let amounts = self.0["budget"].as_array_mut().unwrap();
        amounts.push(json!({ "dimension": dimension, "value": value }));
        self
    }

    /// The step that spawns it.
    pub fn spawn(&self) -> Value {
        json!({ "do": "spawn", "spec": self.0 })
    }
}

/// The step that waits for child `n`.
pub fn join(n: usize) -> Value {
    json!({ "do": "join", "child": n })
}

/// How a joined child ended: the name of its exit reason, with what it holds.
pub fn exit(seen: &Value) -> String {
    let exit = &seen["ok"]["exit"];
    match exit {
        Value::String(name) => name.clone(),
        other => {
            let (name, inner) = other.as_object().and_then(|o| o.iter().next()).unwrap();
            match inner {
                Value::String(inner) if name == "Exhausted" => format!("{name}({inner})"),
                _ => name.clone(),
            }
        }
    }
}

/// The words of a joined child's exit reason, where it has any.
pub fn words(seen: &Value) -> String {
    let exit = &seen["ok"]["exit"];
    let inner = exit
        .as_object()
        .and_then(|o| o.values().next())
        .cloned()
        .unwrap_or_default();
    inner["message"]
        .as_str()
        .or(inner.as_str())
        .unwrap_or_default()
        .to_owned()
}

/// A joined child's report.
pub fn summary(seen: &Value) -> &str {
    seen["ok"]["report"]["summary"].as_str().unwrap_or_default()
}

/// What the steps of a joined probe saw.
pub fn inside(seen: &Value) -> Vec<Value> {
    let text = seen["ok"]["report"]["result_json"].as_str().unwrap_or("{}");
    let result: Value = serde_json::from_str(text).unwrap();
    result["seen"].as_array().cloned().unwrap_or_default()
}
