//! What it does about sub-agents that fail.

use hermes_sdk::delegation::ChildSpec;
use hermes_sdk::{Dimension, Error, ExitReason, Outcome};

use super::{GIVEN, desk, run};
use crate::testing::{Kind, crash, ended};

#[test]
fn analysis_is_skipped_when_research_failed() {
    let desk = desk().ends("researcher", &[crash(), ended(ExitReason::TimedOut, None)]);
    let report = run(&desk, Some(GIVEN));
    assert_eq!(
        desk.roles(),
        ["researcher", "researcher"],
        "tried once more, and no analyst after that"
    );
    assert_eq!(report.outcome, Outcome::NotAchieved);
    for words in [
        "- researcher research: failed: It hung and was stopped at a deadline. It left no report.\n",
        "- analyst analysis: skipped, because research has no result",
    ] {
        assert!(report.summary.contains(words), "{}", report.summary);
    }
    assert!(desk.told("skips analyst analysis"));
    assert!(
        desk.question(Kind::Answer).contains("half of it"),
        "what the first try left is not lost"
    );
    let json: serde_json::Value = serde_json::from_str(&report.result_json.unwrap()).unwrap();
    assert_eq!(
        (json["tasks"][0]["exit"].as_str(), json["tasks"][1]["state"].as_str()),
        (Some("timed-out"), Some("skipped"))
    );
}

#[test]
fn a_failure_is_tried_once_more_with_a_changed_plan() {
    let change = r#"{"prompt":"Look in /b instead.","toolsets":["filesystem"],"iterations":40}"#;
    let desk = desk().says(Kind::Change, &[change]).ends("reader", &[crash()]);
    let report = run(&desk, None);
    assert_eq!(report.outcome, Outcome::Achieved);
    let told = desk.question(Kind::Change);
    assert!(
        told.contains("It crashed: out of bounds.") && told.contains("half of it"),
        "{told}"
    );
    assert_eq!(desk.roles(), ["reader", "physicist", "reader", "analyst"]);
    let again = desk.prompt(2);
    assert!(
        again.starts_with("Look in /b instead.") && again.contains("half of it"),
        "{again}"
    );
    assert_eq!(desk.children.borrow()[2].0.toolsets, ["filesystem"]);
}

#[test]
fn a_result_that_does_not_answer_is_tried_once_more_and_no_more() {
    let no = r#"{"verdicts":[{"id":"research","answers":"no","why":"it is about cats"}]}"#;
    let desk = desk().says(Kind::Judge, &[no]);
    let report = run(&desk, Some(GIVEN));
    assert_eq!(desk.roles(), ["researcher", "researcher"]);
    assert!(desk.question(Kind::Change).contains("it is about cats"));
    assert!(
        report
            .summary
            .contains("failed: its result does not answer the sub-task: it is about cats")
    );
    assert_eq!(report.outcome, Outcome::NotAchieved);
}

#[test]
fn a_second_try_may_be_thought_useless() {
    let desk = desk()
        .says(Kind::Change, &[r#"{"give_up":"there is no such folder","prompt":""}"#])
        .ends("researcher", &[crash()]);
    let report = run(&desk, Some(GIVEN));
    assert_eq!(desk.roles(), ["researcher"]);
    assert!(report.summary.contains("thought useless: there is no such folder"));
}

#[test]
fn a_strategy_that_is_not_there_is_a_failure_with_its_cause() {
    let mut desk = desk();
    desk.refuse = |spec: &ChildSpec| {
        let known = spec.strategy.as_deref() == Some("research");
        (!known).then(|| Error::not_found("there is no strategy `x`"))
    };
    let plan = r#"{"plan":[{"id":"a","prompt":"p","strategy":"x"}],"strategies":["research"]}"#;
    let desk = desk.says(Kind::Change, &[r#"{"prompt":"p2","strategy":"research"}"#]);
    assert_eq!(run(&desk, Some(plan)).outcome, Outcome::Achieved);
    assert!(
        desk.question(Kind::Change)
            .contains("It failed (not-found): there is no strategy `x`.")
    );
}

#[test]
fn what_is_used_up_for_all_is_not_tried_again() {
    let broke = ended(ExitReason::Exhausted(Dimension::CostMicroUsd), None);
    let desk = desk().ends("researcher", &[broke]);
    let report = run(&desk, Some(GIVEN));
    assert_eq!((desk.roles().len(), report.outcome), (1, Outcome::NotAchieved));
    assert!(!desk.kinds().contains(&Kind::Change));
}

#[test]
fn a_failure_is_tried_again_without_asking_when_iterations_are_short() {
    let desk = desk().ends("reader", &[crash()]);
    desk.iterations.set(Some(2));
    let report = run(&desk, None);
    assert_eq!(desk.kinds(), [Kind::Plan, Kind::Answer]);
    assert_eq!(desk.roles(), ["reader", "physicist", "reader", "analyst"]);
    assert_eq!(report.outcome, Outcome::Achieved);
}
