//! Judging: first by how a sub-agent ended and what it says of itself, then by what a model makes of its result.

use hermes_sdk::delegation::{cause, failure, succeeded};
use hermes_sdk::{Dimension, ErrorKind, ExitReason, Outcome, RunResult};
use serde_json::Value;

use crate::board::Grade;
use crate::json;

/// What can be said of a result without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstLook {
    /// There is something to judge.
    Something(Grade),
    /// It failed: why, in words.
    Nothing(Failure),
}

/// Why a sub-task failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In a line, for people.
    pub(crate) short: String,
    /// With what was left of the work, for whoever tries again.
    pub(crate) whole: String,
}

impl Failure {
    fn of(result: &RunResult) -> Self {
        Self {
            short: cause(result),
            whole: failure(result),
        }
    }
}

/// Looks at the exit reason and the outcome.
pub(crate) fn first_look(result: &RunResult) -> FirstLook {
    let said = result
        .report
        .as_ref()
        .is_some_and(|report| !report.summary.trim().is_empty());
    if !said {
        return FirstLook::Nothing(Failure::of(result));
    }
    if succeeded(result).is_some() {
        return FirstLook::Something(Grade::Whole);
    }
    // Work that a budget cut off may do; after a crash or a hang nobody knows what it is worth.
    let ended_well = matches!(result.exit, ExitReason::Returned | ExitReason::Exhausted(_));
    let outcome = result.report.as_ref().map(|report| report.outcome);
    match outcome {
        Some(Outcome::Achieved | Outcome::PartlyAchieved) if ended_well => FirstLook::Something(Grade::Part),
        _ => FirstLook::Nothing(Failure::of(result)),
    }
}

/// Whether it makes sense to give the sub-task away again: not what somebody cancelled, and not when what was used up is
/// used up for everyone. Iterations and fuel are a sub-agent's own.
pub(crate) fn may_go_again(result: Option<&RunResult>) -> bool {
    let own = |dimension: &Dimension| matches!(dimension, Dimension::Iterations | Dimension::Fuel);
    match result.map(|result| &result.exit) {
        Some(ExitReason::Cancelled) => false,
        Some(ExitReason::Exhausted(dimension)) => own(dimension),
        Some(ExitReason::Failed(error)) => match &error.kind {
            ErrorKind::Exhausted(dimension) => own(dimension),
            kind => *kind != ErrorKind::Cancelled,
        },
        _ => true,
    }
}

/// What a model says of one result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) id: String,
    pub(crate) answers: Answers,
    pub(crate) why: String,
}

/// Whether a result answers its sub-task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    Yes,
    Partly,
    No,
}

/// The form of the model's verdicts.
pub(crate) const SCHEMA: &str = r#"{"type":"object","properties":{"verdicts":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"},"answers":{"type":"string","enum":["yes","partly","no"]},"why":{"type":"string"}},"required":["id","answers","why"],"additionalProperties":false}}},"required":["verdicts"],"additionalProperties":false}"#;

/// Reads the model's verdicts. What can't be read says nothing.
pub(crate) fn verdicts(answer: &str) -> Vec<Verdict> {
    let items = json::find(answer).and_then(|answer| json::list(&answer, &["verdicts"]));
    items.unwrap_or_default().iter().filter_map(verdict).collect()
}

fn verdict(item: &Value) -> Option<Verdict> {
    let answers = match item.get("answers")? {
        Value::Bool(true) => Answers::Yes,
        Value::Bool(false) => Answers::No,
        Value::String(word) => match word.trim().to_lowercase().as_str() {
            "yes" | "true" => Answers::Yes,
            "no" | "false" => Answers::No,
            "partly" | "partially" | "partial" => Answers::Partly,
            _ => return None,
        },
        _ => return None,
    };
    Some(Verdict {
        id: json::text(item, "id")?,
        answers,
        why: json::text(item, "why").unwrap_or_default(),
    })
}

/// The grade of a result that its sub-agent calls `own` and the model judges so; none where it does not answer.
pub(crate) fn accepted(own: Grade, answers: Answers) -> Option<Grade> {
    match (own, answers) {
        (_, Answers::No) => None,
        (Grade::Whole, Answers::Yes) => Some(Grade::Whole),
        _ => Some(Grade::Part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ended;
    use hermes_sdk::{Error, Report};

    #[test]
    fn the_exit_and_the_outcome_are_looked_at_first() {
        let exhausted = || ExitReason::Exhausted(Dimension::Iterations);
        for (exit, report, look) in [
            (ExitReason::Returned, Report::achieved("x"), Some(Grade::Whole)),
            (ExitReason::Returned, Report::partly_achieved("x"), Some(Grade::Part)),
            (ExitReason::Returned, Report::not_achieved("x"), None),
            (ExitReason::Returned, Report::achieved(" "), None),
            (exhausted(), Report::achieved("x"), Some(Grade::Part)),
            (exhausted(), Report::not_achieved("x"), None),
            (ExitReason::TimedOut, Report::achieved("x"), None),
            (ExitReason::Trapped("t".into()), Report::partly_achieved("x"), None),
            (ExitReason::Failed(Error::denied("no")), Report::achieved("x"), None),
        ] {
            let result = ended(exit, Some(report));
            match (first_look(&result), look) {
                (FirstLook::Something(grade), Some(expected)) => assert_eq!(grade, expected, "{result:?}"),
                (FirstLook::Nothing(why), None) => assert!(!why.short.contains('\n') && !why.whole.is_empty()),
                other => panic!("{other:?}"),
            }
        }
        let silent = ended(ExitReason::Returned, None);
        assert!(matches!(first_look(&silent), FirstLook::Nothing(why) if why.short.contains("no report")));
    }

    #[test]
    fn what_was_cancelled_or_is_used_up_for_all_is_not_begun_again() {
        assert!(may_go_again(None));
        let exhausted = |dimension| Error::new(ErrorKind::Exhausted(dimension), "no more");
        for (exit, again) in [
            (ExitReason::TimedOut, true),
            (ExitReason::Trapped(String::new()), true),
            (ExitReason::Exhausted(Dimension::Iterations), true),
            (ExitReason::Failed(Error::failed("x")), true),
            (ExitReason::Cancelled, false),
            (ExitReason::Exhausted(Dimension::CostMicroUsd), false),
            (ExitReason::Failed(exhausted(Dimension::WallClockMs)), false),
        ] {
            assert_eq!(may_go_again(Some(&ended(exit.clone(), None))), again, "{exit:?}");
        }
    }

    #[test]
    fn verdicts_are_read_leniently() {
        let answer = "Here:\n{\"verdicts\":[{\"id\":\"a\",\"answers\":\"Yes\",\"why\":\"it does\"},{\"id\":\"b\",\"answers\":false},\
                      {\"id\":\"c\",\"answers\":\"perhaps\"},{\"answers\":\"no\"}]}";
        let found: Vec<_> = verdicts(answer).into_iter().map(|v| (v.id, v.answers)).collect();
        assert_eq!(found, [("a".to_owned(), Answers::Yes), ("b".to_owned(), Answers::No)]);
        assert!(verdicts("all fine").is_empty());
        assert!(serde_json::from_str::<Value>(SCHEMA).is_ok());
    }

    #[test]
    fn a_model_makes_no_result_better_than_its_own_agent_does() {
        assert_eq!(accepted(Grade::Whole, Answers::Yes), Some(Grade::Whole));
        assert_eq!(accepted(Grade::Part, Answers::Yes), Some(Grade::Part));
        assert_eq!(accepted(Grade::Whole, Answers::Partly), Some(Grade::Part));
        assert_eq!(accepted(Grade::Whole, Answers::No), None);
    }
}
