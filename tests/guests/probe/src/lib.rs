//! A strategy that does the steps which its task's prompt holds as JSON, and reports what each of them told it.

extern crate alloc;

#[path = "../../common/steps.rs"]
mod steps;
#[path = "../../common/work.rs"]
mod work;

mod own;

use serde::Deserialize;
use serde_json::json;

use crate::exports::hermes::plugin::agent::{Description, Guest};
use crate::hermes::plugin::types::{Error, ErrorKind, Outcome, Report, Task};

wit_bindgen::generate!({
    path: "../../../wit",
    world: "strategy",
    generate_all,
    additional_derives: [serde::Serialize, serde::Deserialize],
});

struct Strategy;
export!(Strategy);

#[derive(Deserialize)]
struct Program {
    #[serde(default)]
    steps: Vec<steps::Step>,
    #[serde(default = "achieved")]
    outcome: Outcome,
    /// The answer; what was seen, as JSON, where there is none.
    summary: Option<String>,
    /// The answer in pieces, which are joined: a text that no prompt holds.
    #[serde(default)]
    pieces: Vec<String>,
    /// Returned instead of a report.
    fail: Option<Error>,
}

fn achieved() -> Outcome {
    Outcome::Achieved
}

impl Guest for Strategy {
    fn describe() -> Description {
        Description {
            name: "probe".into(),
            version: "0.1.0".into(),
            description: "Does the steps in its task and reports what each told it.".into(),
            toolsets: Vec::new(),
            spaces: Vec::new(),
        }
    }

    fn run(task: Task) -> Result<Report, Error> {
        let program: Program = serde_json::from_str(&steps::joined(&task.prompt)).map_err(|e| Error {
            kind: ErrorKind::InvalidInput,
            message: format!("The task is no program for the probe: {e}"),
            retry_after_ms: None,
        })?;
        let mut probe = steps::Probe::default();
        probe.attempt = task.attempt;
        let seen = json!(probe.run(&program.steps));
        if let Some(error) = program.fail {
            return Err(error);
        }
        Ok(Report {
            outcome: program.outcome,
            summary: match program.summary {
                Some(summary) => summary,
                None if program.pieces.is_empty() => seen.to_string(),
                None => program.pieces.concat(),
            },
            result_json: Some(json!({ "seen": seen, "attempt": task.attempt, "previous": task.previous }).to_string()),
            artifacts: Vec::new(),
            open_questions: Vec::new(),
        })
    }
}
