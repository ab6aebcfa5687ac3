//! What it does when all goes well enough: plans, delegates, judges, writes.

use hermes_sdk::{Dimension, ErrorKind, ExitReason, Outcome, Report};

use super::{ANSWER, GIVEN, PLAN, YES, desk, run};
use crate::supervisor::Supervisor;
use crate::testing::{Desk, Kind, ended, good, task};

#[test]
fn it_plans_delegates_at_once_judges_and_writes() {
    let desk = desk();
    let report = run(&desk, None);
    assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Achieved, ANSWER));
    assert!(report.open_questions.is_empty(), "{:?}", report.open_questions);
    assert_eq!(desk.kinds(), [Kind::Plan, Kind::Judge, Kind::Judge, Kind::Answer]);
    assert_eq!(desk.roles(), ["reader", "physicist", "analyst"]);
    assert!(
        desk.told("waits for reader melt, physicist field"),
        "both are at work at once"
    );
    let needed = desk.prompt(2);
    assert!(needed.starts_with("Compare.") && needed.contains("<result of=\"melt\">\nreader found 4 (a.md:1)"));
    assert!(
        !desk.prompt(0).contains("What limits growth?"),
        "a sub-agent knows its own prompt alone"
    );
    let notes = desk.notes.borrow().clone().unwrap();
    assert_eq!(notes["result/field"], "physicist found 4 (a.md:1)");
    assert!(report.artifacts.contains(&"notes/plan/state".to_owned()));
    assert_eq!(
        desk.checkpoints.borrow().len(),
        3 + 2,
        "one for each result, one for each look"
    );
}

#[test]
fn a_bad_plan_is_told_once_and_then_done_without() {
    let desk = desk().says(Kind::Plan, &["I would ask a colleague.", PLAN]);
    run(&desk, None);
    assert!(desk.question(Kind::Plan).contains("there is no list `tasks`"));
    let hopeless = Desk::default().says(Kind::Plan, &["no"]).says(Kind::Judge, &[YES]);
    let report = run(&hopeless, Some(r#"{"year":2024}"#));
    assert_eq!(hopeless.kinds(), [Kind::Plan, Kind::Plan, Kind::Judge]);
    assert_eq!(
        report.summary, "researcher found 4 (a.md:1)",
        "the only report is the answer"
    );
    assert!(hopeless.prompt(0).contains(r#"{"year":2024}"#));
}

#[test]
fn a_given_plan_needs_no_planning() {
    let desk = desk();
    let report = run(&desk, Some(GIVEN));
    assert_eq!(desk.kinds(), [Kind::Judge, Kind::Judge, Kind::Answer]);
    assert_eq!(report.outcome, Outcome::Achieved);
    let error = Supervisor::new(
        &desk,
        &task(Some(r#"{"plan":[{"id":"a","prompt":"x","after":["a"]}]}"#)),
    )
    .run();
    let error = error.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidInput);
    assert!(error.message.contains("wait for one another: a"), "{}", error.message);
}

#[test]
fn what_is_partly_good_makes_the_whole_partly_achieved() {
    let half = Report::partly_achieved("half (a.md:1)").with_open_question("the rate");
    let desk = desk().ends(
        "reader",
        &[ended(ExitReason::Exhausted(Dimension::Iterations), Some(half))],
    );
    let report = run(&desk, None);
    assert_eq!(report.outcome, Outcome::PartlyAchieved);
    assert_eq!(report.open_questions, ["reader melt: the rate"]);
    assert_eq!(desk.roles().len(), 3, "it is used, and not tried again");
}

#[test]
fn sources_that_nobody_gave_are_told() {
    let desk = desk().says(Kind::Answer, &["It is heat (c.md:7).\n\nNot found:\n- the rate"]);
    let report = run(&desk, None);
    assert_eq!(report.outcome, Outcome::PartlyAchieved);
    assert_eq!(report.open_questions[0], "the rate");
    assert!(report.open_questions[1].ends_with("no sub-agent gave: c.md:7"));
}

#[test]
fn long_reports_are_summed_up() {
    let long = format!("{}\n[whole text: spill/7f3a/1, 900000 bytes]", "x".repeat(24_000));
    let mut desk = desk().ends("reader", &[good(&long)]);
    desk.room = 24_000;
    let report = run(&desk, None);
    assert_eq!(desk.summed_up.get(), 1);
    let question = desk.question(Kind::Answer);
    assert!(question.contains("in short: 4 (a.md:1)") && question.contains("physicist found 4 (a.md:1)"));
    assert_eq!(report.outcome, Outcome::Achieved);
}
