//! What a run came to, to be compared with what another came to.

use hermes_tests::{Home, Output};
use serde_json::{Value, json};

use crate::place::{answered, shown};

/// What a run spends alike whether it was broken off or not. Fuel, time and the journal are told apart by a few digits.
const EXACT: [&str; 7] = [
    "iterations",
    "tool_calls",
    "stored_bytes",
    "children",
    "tokens",
    "cost_micro_usd",
    "host_calls",
];

/// What a run came to, without what no two runs share.
#[derive(Debug, Clone)]
pub(crate) struct End(Value);

impl End {
    /// As its process printed it.
    pub(crate) fn printed(output: &Output) -> Self {
        Self::with_answer(&output.json(), output)
    }

    /// As it is recorded, with what was said in it.
    pub(crate) fn shown(home: &Home, run: &str) -> Self {
        let mut end = Self::with_answer(&shown(home, run), &answered(home, run));
        end.0["trajectory"] = trajectory(home, run);
        end
    }

    fn with_answer(json: &Value, output: &Output) -> Self {
        let (mut end, Self(answer)) = (Self::without_answer(json), Self::answer(output));
        end.0["answer"] = answer["answer"].clone();
        end
    }

    /// The answer alone that was printed.
    pub(crate) fn answer(output: &Output) -> Self {
        let json = output.json();
        let answer = json["answer"].as_str().unwrap_or_else(|| panic!("no answer: {json}"));
        let run = json["run"].as_str().unwrap();
        Self(json!({ "answer": like_any(answer.replace(run, "RUN").into()) }))
    }

    fn without_answer(json: &Value) -> Self {
        let agents = json["agents"].as_array().unwrap().iter().map(agent);
        let agents: Vec<Value> = agents.collect();
        let spent = exact(&json["spent"]);
        Self(json!({ "exit": json["exit"], "spent": spent, "beside": beside(json), "agents": agents }))
    }

    /// How many iterations were given back, and how many closing calls were made.
    pub(crate) fn beside(&self) -> &Value {
        &self.0["beside"]
    }

    /// The same, but that the root's step at this place was told this.
    pub(crate) fn telling(&self, step: usize, told: Value) -> Self {
        let mut end = self.clone();
        end.0["answer"][step] = told;
        end
    }

    /// Each agent's role, status, exit and attempts.
    pub(crate) fn agents(&self) -> Vec<&Value> {
        let agents = self.0["agents"].as_array().unwrap();
        agents.iter().map(|agent| &agent[0]).collect()
    }

    /// Panics unless all that this one tells is the same in the other.
    #[track_caller]
    pub(crate) fn assert_like(&self, whole: &Self, moment: &str) {
        let mut found = Vec::new();
        for (field, value) in self.0.as_object().unwrap() {
            differences(value, &whole.0[field], field, &mut found);
        }
        assert!(found.is_empty(), "{moment}:\n{}", found.join("\n"));
    }
}

/// Where two values differ.
fn differences(a: &Value, b: &Value, path: &str, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let both = a.iter().zip(b).enumerate();
            both.for_each(|(n, (a, b))| differences(a, b, &format!("{path}/{n}"), found));
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            let both = a.iter().zip(b.values());
            both.for_each(|((name, a), b)| differences(a, b, &format!("{path}/{name}"), found));
        }
        _ if a == b => {}
        _ => found.push(format!("{path}: {a}, and not {b}")),
    }
}

fn exact(spent: &Value) -> Vec<Value> {
    EXACT.iter().map(|d| json!([d, spent[d]])).collect()
}

/// Iterations that were given back and closing calls, of all agents: its process prints them with what was spent, `show` with each agent.
fn beside(json: &Value) -> Value {
    let agents = json["agents"].as_array().unwrap();
    let all = |name: &str| match &json["spent"][name] {
        Value::Null => agents.iter().map(|agent| agent[name].as_u64().unwrap()).sum::<u64>(),
        whole => whole.as_u64().unwrap(),
    };
    json!({ "refunded": all("refunded"), "closing": all("closing") })
}

fn agent(agent: &Value) -> Value {
    let own = ["role", "status", "exit", "attempts"].map(|field| &agent[field]);
    json!([own, exact(&agent["spent"])])
}

/// Each conversation of a run, in whatever order those that are held side by side were written down.
fn trajectory(home: &Home, run: &str) -> Value {
    let exported = home.host().args(["export", run, "--output", "json"]).output().expect(0);
    let all: Vec<Value> = serde_json::from_str(&exported.stdout.replace(run, "RUN")).unwrap();
    let all = all.into_iter().map(|mut conversation| {
        // It tells the place in that order.
        conversation.as_object_mut().unwrap().remove("id");
        like_any(conversation)
    });
    let mut all: Vec<Value> = all.collect();
    assert!(!all.is_empty(), "nothing was said");
    all.sort_by_key(Value::to_string);
    all.into()
}

/// The answer is what the program saw. What time and fuel children used is taken out of it, and what marks a foreign text as such.
fn like_any(value: Value) -> Value {
    let is_clock = |value: &Value| {
        matches!(
            value["dimension"].as_str(),
            Some("Fuel" | "WallClockMs" | "JournalBytes")
        )
    };
    match value {
        Value::Array(values) => values.into_iter().filter(|v| !is_clock(v)).map(like_any).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(name, v)| (name, like_any(v))).collect()),
        Value::String(text) => match serde_json::from_str(&text) {
            Ok(inner @ (Value::Array(_) | Value::Object(_))) => like_any(inner),
            _ => without_fences(&text).into(),
        },
        other => other,
    }
}

/// `<1f3a… what=…>`: the number is another in each run.
pub(crate) fn without_fences(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive('<') {
        let slash = usize::from(piece.starts_with('/'));
        let digits = piece[slash..].bytes().take_while(u8::is_ascii_hexdigit).count();
        out.push_str(if digits == 8 { &piece[slash + digits..] } else { piece });
    }
    out
}
