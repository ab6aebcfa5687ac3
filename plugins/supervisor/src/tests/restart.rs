//! A new attempt goes on where the last one ended.

use hermes_sdk::{ExitReason, Outcome, Report, Task};

use super::desk;
use crate::host::Host;
use crate::supervisor::Supervisor;
use crate::testing::{Desk, Kind, crash, ended, good, task};

fn again() -> Task {
    Task {
        attempt: 2,
        ..task(None)
    }
}

/// The second attempt's report: it finds what the first one noted, whose children ended with it, but for the first of them, which had ended.
fn goes_on(first: &Desk, second: &Desk) -> Report {
    second.notes.replace(first.notes.take());
    let mut children = first.children.take();
    for child in &mut children[1..] {
        child.1 = ended(ExitReason::Cancelled, None);
    }
    second.children.replace(children);
    Supervisor::new(second, &again()).run().unwrap()
}

#[test]
fn a_new_attempt_pays_for_nothing_twice() {
    let first = desk().ends("reader", &[good("the first reader's (r.md:1)")]);
    {
        let task = task(None);
        let mut supervisor = Supervisor::new(&first, &task);
        supervisor.plan().unwrap();
        supervisor.start_ready();
        supervisor.wait();
        // Here it crashes: one has ended, one was at work and ends with the attempt.
    }
    let second = desk();
    let report = goes_on(&first, &second);
    assert_eq!(
        second.roles()[2..],
        ["physicist", "analyst"],
        "the reader's result is there"
    );
    assert!(second.prompt(3).contains("the first reader's (r.md:1)"));
    assert!(!second.kinds().contains(&Kind::Plan));
    assert!(second.told("1 of 3 results are there"));
    assert_eq!(report.outcome, Outcome::Achieved);
}

#[test]
fn a_try_that_a_crash_cut_off_is_made_again_and_no_other() {
    let first = desk().ends("reader", &[crash(), good("never heard of")]);
    {
        let task = task(None);
        let mut supervisor = Supervisor::new(&first, &task);
        supervisor.plan().unwrap();
        supervisor.start_ready();
        supervisor.wait();
        supervisor.start_ready();
        // Here it crashes: the reader's second try and the physicist's first were at work.
    }
    let second = desk().ends("reader", &[crash()]);
    let report = goes_on(&first, &second);
    assert_eq!(
        second.roles()[3..],
        ["reader", "physicist"],
        "one more try of the reader, which was its last"
    );
    assert!(
        second.prompt(3).contains("half of it"),
        "the first try's work is passed on"
    );
    assert_eq!(report.outcome, Outcome::PartlyAchieved);
    assert!(report.summary.contains("- reader melt: failed: It crashed"));
}

#[test]
fn another_sessions_notes_are_left_alone() {
    let desk = desk();
    desk.keep(
        "plan/state",
        r#"{"session":"other","tasks":[],"starts":[],"grades":{}}"#,
    );
    assert_eq!(
        Supervisor::new(&desk, &again()).run().unwrap().outcome,
        Outcome::Achieved
    );
    assert_eq!(desk.kinds()[0], Kind::Plan);
}
