//! What it does when the host or the model refuses.

use hermes_sdk::delegation::ChildSpec;
use hermes_sdk::{Error, ErrorKind, Outcome};

use super::{ANSWER, GIVEN, desk, run};
use crate::supervisor::Supervisor;
use crate::testing::{Desk, Kind, task};

#[test]
fn with_few_places_they_take_turns() {
    let mut desk = desk();
    desk.alive = 1;
    let report = run(&desk, None);
    assert_eq!((report.outcome, desk.roles().len()), (Outcome::Achieved, 3));
    assert!(desk.worked.borrow().is_empty());
}

#[test]
fn without_delegation_it_does_the_whole_task_itself() {
    let mut desk = desk();
    desk.refuse = |_| Some(Error::denied("denied: supervisor may not delegate"));
    let report = run(&desk, None);
    let worked = desk.worked.borrow();
    assert_eq!(
        (worked.len(), worked[0].0),
        (1, Some(88)),
        "one iteration went to the plan, one is for the sum"
    );
    assert!(worked[0].1.starts_with("What limits growth?") && worked[0].1.contains("\n- Find the field."));
    assert_eq!(report.outcome, Outcome::Achieved);
    assert!(
        report.summary.ends_with("denied: supervisor may not delegate"),
        "{}",
        report.summary
    );
}

#[test]
fn when_no_more_may_be_started_it_does_the_rest_itself() {
    let mut desk = desk();
    desk.in_all = 2;
    let report = run(&desk, None);
    let worked = desk.worked.borrow();
    assert_eq!((worked.len(), worked[0].0), (1, Some(15)));
    assert!(worked[0].1.starts_with("Compare.") && worked[0].1.contains("<result of=\"field\">"));
    assert_eq!(report.outcome, Outcome::Achieved);
    assert!(desk.told("does analyst sum without a sub-agent: no more sub-agents"));
}

#[test]
fn a_toolset_that_is_not_held_is_left_out_and_said() {
    let mut desk = desk();
    desk.refuse = |spec: &ChildSpec| {
        let asks = spec.toolsets.contains(&"web".to_owned());
        asks.then(|| Error::denied("denied: the parent does not hold the toolset `web`"))
    };
    let report = run(&desk, None);
    assert_eq!(desk.children.borrow()[0].0.toolsets, ["filesystem"]);
    assert!(report.open_questions[0].starts_with("reader melt: done without web"));
}

#[test]
fn notes_that_may_not_be_shared_are_not() {
    let mut desk = desk();
    desk.refuse = |spec: &ChildSpec| (!spec.spaces.is_empty()).then(|| Error::denied("denied: the space `notes`"));
    assert_eq!(run(&desk, None).outcome, Outcome::Achieved);
    let bare = super::desk();
    bare.notes.replace(None);
    assert!(run(&bare, None).artifacts.is_empty());
    assert!(bare.children.borrow()[0].0.spaces.is_empty());
}

#[test]
fn the_last_iterations_are_for_the_answer() {
    // Plan, and then: the answer alone; a judgement would take the last but one of three.
    for (iterations, kinds) in [
        (2, vec![Kind::Plan, Kind::Answer]),
        (3, vec![Kind::Plan, Kind::Answer]),
        (4, vec![Kind::Plan, Kind::Judge, Kind::Answer]),
        (1, vec![Kind::Plan, Kind::Answer]),
    ] {
        let desk = desk();
        desk.iterations.set(Some(iterations));
        let report = run(&desk, None);
        assert_eq!(desk.kinds(), kinds, "{iterations}");
        assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Achieved, ANSWER));
    }
}

#[test]
fn without_any_answer_of_the_model_reports_stand_one_after_the_other() {
    let desk = Desk::default();
    let report = run(&desk, Some(GIVEN));
    assert_eq!(report.outcome, Outcome::PartlyAchieved, "nobody put them together");
    assert!(
        report
            .summary
            .starts_with("## researcher research (answers what was asked)\n\nresearcher found 4 (a.md:1)")
    );
    let refused = Supervisor::new(&desk, &task(None)).run();
    assert_eq!(
        refused.unwrap_err().kind,
        ErrorKind::Upstream,
        "without a plan there is nothing to show"
    );
}

#[test]
fn a_cancel_ends_it_with_what_there_is() {
    let mut desk = desk();
    desk.cancelled_after = 1;
    let report = run(&desk, None);
    assert_eq!(desk.kinds(), [Kind::Plan], "nothing is asked after it");
    assert!(report.summary.contains("reader found 4 (a.md:1)"));
    assert!(report.summary.contains("- physicist field: was not finished"));
    assert!(
        report
            .open_questions
            .iter()
            .any(|question| question.contains("cancelled"))
    );
}
