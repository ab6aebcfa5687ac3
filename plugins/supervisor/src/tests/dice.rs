//! Plans, ends and limits that look random: what must hold whatever happens.

use hermes_sdk::{ExitReason, Outcome, Report};

use super::{desk, run};
use crate::testing::{crash, ended, good};

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn whatever_happens_it_ends_and_says_what_became_of_each() {
    let mut dice = Dice(3);
    for round in 0..400 {
        let count = 1 + dice.throw(6);
        let tasks: Vec<_> = (0..count)
            .map(|id| {
                let after: Vec<_> = (0..id)
                    .filter(|_| dice.throw(3) == 0)
                    .map(|id| id.to_string())
                    .collect();
                serde_json::json!({ "id": id, "role": format!("r{id}"), "prompt": "p", "after": after })
            })
            .collect();
        let mut desk = desk();
        desk.alive = usize::try_from(1 + dice.throw(3)).unwrap();
        desk.in_all = usize::try_from(2 + dice.throw(12)).unwrap();
        desk.iterations.set(Some(dice.throw(9)));
        for id in 0..count {
            let mut end = || match dice.throw(6) {
                0 => crash(),
                1 => ended(ExitReason::TimedOut, None),
                2 => ended(ExitReason::Returned, Some(Report::not_achieved("nothing (a.md:1)"))),
                3 => ended(ExitReason::Returned, Some(Report::partly_achieved("some (a.md:1)"))),
                _ => good("all (a.md:1)"),
            };
            desk = desk.ends(&format!("r{id}"), &[end(), end()]);
        }
        let report = run(&desk, Some(&serde_json::json!({ "plan": tasks }).to_string()));
        let json: serde_json::Value = serde_json::from_str(report.result_json.as_deref().unwrap_or("{}")).unwrap();
        if !desk.worked.borrow().is_empty() && desk.roles().is_empty() {
            continue;
        }
        let mut good = 0;
        for task in json["tasks"].as_array().unwrap() {
            let state = task["state"].as_str().unwrap();
            good += u64::from(state.ends_with("achieved"));
            let role = task["role"].as_str().unwrap();
            let started = desk.roles().iter().filter(|started| *started == role).count();
            assert!(started <= 2, "{round}: {role} was started {started} times");
            assert!(
                !["not-begun", "not-finished", "not-judged"].contains(&state),
                "{round}: {task}"
            );
            let named = report
                .summary
                .contains(&format!("- {role} {}", task["id"].as_str().unwrap()));
            assert_eq!(
                named,
                !state.ends_with("achieved"),
                "{round}: {task} in {}",
                report.summary
            );
            assert_eq!(
                state == "skipped",
                started == 0 && task["exit"].is_null(),
                "{round}: {task}"
            );
        }
        assert_eq!(report.outcome == Outcome::NotAchieved, good == 0, "{round}");
        assert!(report.outcome != Outcome::Achieved || good == count, "{round}");
    }
}
