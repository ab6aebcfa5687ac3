//! The whole of the supervisor, on a host that is played.

mod dice;
mod failures;
mod flow;
mod refusals;
mod restart;

use hermes_sdk::Report;

use crate::supervisor::Supervisor;
use crate::testing::{Desk, Kind, task};

/// Two that need nothing, and one that needs both.
const PLAN: &str = r#"{"tasks":[
    {"id":"melt","role":"reader","prompt":"Find the melt."},
    {"id":"field","role":"physicist","prompt":"Find the field.","toolsets":["filesystem"],"iterations":20},
    {"id":"sum","role":"analyst","prompt":"Compare.","after":["melt","field"],"toolsets":[]}]}"#;
/// Research, then analysis: the article's own.
const GIVEN: &str = r#"{"plan":[
    {"id":"research","role":"researcher","prompt":"Find the papers."},
    {"id":"analysis","role":"analyst","prompt":"Analyse them.","after":["research"]}]}"#;
const YES: &str = r#"{"verdicts":[]}"#;
const ANSWER: &str = "Growth is limited by heat (a.md:1).";

fn desk() -> Desk {
    Desk::default()
        .says(Kind::Plan, &[PLAN])
        .says(Kind::Judge, &[YES])
        .says(Kind::Answer, &[ANSWER])
}

fn run(desk: &Desk, inputs: Option<&str>) -> Report {
    Supervisor::new(desk, &task(inputs)).run().unwrap()
}
