//! Guests that wait for what never comes.

use hermes_tests::child::{ChildSpec, exit, join};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::{open, steps};
use serde_json::json;

use super::Case;
use crate::hostile;

/// More milliseconds than anybody lives.
const FOR_EVER: u64 = 10_000_000_000_000;

/// A tool that sleeps for ever.
pub(crate) fn sleeps() -> Case {
    let case = Case::steps("a tool that sleeps", [json!({ "do": "call", "name": "measure" })]);
    case.tool(hostile::A06_SLEEP).by_a_clock().sees(|seen| {
        assert_eq!(refusal(&seen[0]).as_deref(), Some("timed-out"), "{}", seen[0]);
        assert!(message(&seen[0]).contains("(limits.step_wall)"), "{}", seen[0]);
    })
}

/// Standard input has ended.
pub(crate) fn standard_input() -> Case {
    Case::measures(hostile::A06_STDIN, "1")
}

/// An agent that waits for a timer, and one that waits for a change: it is no work, and only the run's clock ends it.
pub(crate) fn agents() -> [Case; 2] {
    let watch = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": u32::MAX });
    [
        Case::probe("it sleeps", &[json!({ "do": "sleep", "ms": [FOR_EVER] })]),
        Case::probe("it watches", &[open(), watch]),
    ]
    .map(|case| {
        let case = case.budget("wall=500ms");
        case.fails("exhausted(wall-clock-ms)", &["500 ms", "--budget wall"])
    })
}

/// Two agents that wait for one another: the child for an entry that its parent writes when it has joined the child.
pub(crate) fn one_another() -> Case {
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
    let watch = json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": u32::MAX });
    let child = ChildSpec::probe(&steps(&[open(), watch])).with("spaces", notes);
    let child = child.limit("WallClockMs", 500).spawn();
    let put = json!({ "do": "put", "space": 0, "key": "late", "value": "late" });
    Case::steps("two that wait for one another", [open(), child, join(0), put]).sees(|seen| {
        assert_eq!(exit(&seen[2]), "Exhausted(WallClockMs)", "{}", seen[2]);
        assert_eq!(seen[3], json!({ "ok": 1 }), "the parent lives on");
    })
}
