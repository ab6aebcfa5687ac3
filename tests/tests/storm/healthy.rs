//! A healthy run: the strategy `research` plans, searches and reads real files for a model, and answers with citations that are checked.

use hermes_host::config::Budget;
use hermes_host::run::{RunOutcome, RunSpec};
use hermes_tests::model::{Script, Turn};
use hermes_tests::{Home, guests};
use serde_json::json;

const ASKED: &str = "What limits the growth of a healthy dendrite?";
const HEAT: &str = "Latent heat must leave the tip before it can grow.";
const ROUND: &str = "The tip is a paraboloid.";
const ANSWER: &str = "Heat must leave the tip (papers/melt.md:3). The tip is round (papers/tip.md:2).";

/// When it is to be over.
pub(crate) const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// What its model says: first to what it was asked, then to what it was told of one file, and of the other.
pub(crate) fn script() -> Vec<(String, Script)> {
    let plan = json!({ "steps": ["Look for heat.", "Read about the tip.", "Answer."] });
    let search = json!({ "pattern": "latent heat", "ignore_case": true });
    let read = json!({ "path": "/papers/tip.md", "start": 1, "lines": 2 });
    let first = Turn::call("make_plan", &plan).and_call("call_2", "search_files", &search.to_string());
    [
        (ROUND, Turn::text(ANSWER)),
        (HEAT, Turn::call("read_file", &read)),
        (ASKED, first),
    ]
    .map(|(marker, turn)| (marker.to_owned(), Script::always(turn)))
    .into()
}

/// The run, with its files.
pub(crate) fn spec(home: &Home) -> RunSpec {
    home.write("papers/melt.md", format!("# The melt\n\n{HEAT}\nThe melt is still.\n"));
    home.write("papers/tip.md", format!("# The tip\n{ROUND}\nIt is smooth.\n"));
    RunSpec {
        plugin: guests::plugin("research").display().to_string(),
        task: ASKED.to_owned(),
        allow: vec![format!("fs:{}", home.work().join("papers").display())],
        budget: Budget::parse(&format!("wall={}s", DEADLINE.as_secs())).unwrap(),
        ..RunSpec::default()
    }
}

/// Panics unless it ended as ever.
pub(crate) fn is_right(outcome: &RunOutcome) {
    assert_eq!((outcome.code, outcome.exit.as_str()), (0, "returned"), "{outcome:?}");
    assert_eq!(outcome.outcome, "achieved", "{outcome:?}");
    let answer = outcome.answer.as_deref().unwrap();
    assert!(answer.contains("Heat must leave the tip"), "{answer}");
    let result: serde_json::Value = serde_json::from_str(outcome.result.as_deref().unwrap()).unwrap();
    let citations = result["citations"].as_array().unwrap();
    let verified = citations.iter().filter(|citation| citation["verified"] == true);
    assert_eq!((citations.len(), verified.count()), (2, 2), "{result}");
}
