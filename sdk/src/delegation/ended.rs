//! How a sub-agent ended, for programs and in words for a model.

use crate::text::shorten;
use crate::{ExitReason, Outcome, Report, RunResult};

/// What of the partial work is told, in bytes.
const WORK_BYTES: usize = 8_000;
/// Open questions that are told.
const QUESTIONS: usize = 10;

/// The report of a run that returned and calls its task achieved. Why a run ended and how far it came are two things:
/// this asks for both.
pub fn succeeded(result: &RunResult) -> Option<&Report> {
    let report = result.report.as_ref()?;
    let good = result.exit == ExitReason::Returned && report.outcome == Outcome::Achieved;
    good.then_some(report)
}

/// How a run ended and what it left, in words for a model that plans what to do next.
pub fn failure(result: &RunResult) -> String {
    let mut text = cause(result);
    let Some(report) = &result.report else {
        return text;
    };
    if !report.summary.trim().is_empty() {
        text.push_str(" What it reported:\n");
        text.push_str(&shorten(report.summary.trim(), WORK_BYTES, ""));
    }
    if !report.open_questions.is_empty() {
        text.push_str("\nOpen questions:");
        for question in report.open_questions.iter().take(QUESTIONS) {
            text.push_str("\n- ");
            text.push_str(question);
        }
    }
    text
}

/// How a run ended and what it says of itself, in a line for people, without its work.
pub fn cause(result: &RunResult) -> String {
    let mut text = exit(&result.exit);
    if result.attempts > 1 {
        text.push_str(&format!(" It was started {} times.", result.attempts));
    }
    let task = match result.report.as_ref().map(|report| report.outcome) {
        None => " It left no report.",
        Some(Outcome::Achieved) => " It calls its task achieved.",
        Some(Outcome::PartlyAchieved) => " It calls its task partly achieved.",
        Some(Outcome::NotAchieved) => " It calls its task not achieved.",
    };
    text + task
}

/// Why a run ended, as a sentence.
fn exit(exit: &ExitReason) -> String {
    match exit {
        ExitReason::Returned => "It ended by itself.".into(),
        ExitReason::Failed(error) => format!("It failed ({}): {}", error.kind.name(), sentence(&error.message)),
        ExitReason::Exhausted(dimension) => {
            format!("It was stopped because its budget of {} was used up.", dimension.name())
        }
        ExitReason::TimedOut => "It hung and was stopped at a deadline.".into(),
        ExitReason::Cancelled => "It was cancelled.".into(),
        ExitReason::Trapped(reason) => format!("It crashed: {}", sentence(reason)),
        ExitReason::Interrupted => "The host went down while it ran.".into(),
        ExitReason::Other(name) => format!("It ended: {name}."),
    }
}

/// The text with a full stop at its end.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dimension, Error};

    fn ended(exit: ExitReason, report: Option<Report>) -> RunResult {
        RunResult {
            exit,
            report,
            attempts: 1,
            spent: vec![],
        }
    }

    #[test]
    fn success_is_an_end_and_an_outcome() {
        let good = ended(ExitReason::Returned, Some(Report::achieved("It is 4.")));
        assert_eq!(succeeded(&good).map(|report| report.summary.as_str()), Some("It is 4."));
        let stopped = ExitReason::Exhausted(Dimension::Iterations);
        for bad in [
            ended(ExitReason::Returned, None),
            ended(ExitReason::Returned, Some(Report::partly_achieved("Half."))),
            ended(stopped, Some(Report::achieved("It is 4."))),
        ] {
            assert_eq!(succeeded(&bad), None);
        }
    }

    #[test]
    fn the_cause_comes_first_and_then_the_work() {
        let report = Report::partly_achieved("Half of it.").with_open_question("the other half");
        let mut result = ended(ExitReason::Exhausted(Dimension::Tokens), Some(report));
        result.attempts = 3;
        assert_eq!(
            failure(&result),
            "It was stopped because its budget of tokens was used up. It was started 3 times. It calls its task partly \
             achieved. What it reported:\nHalf of it.\nOpen questions:\n- the other half"
        );
        assert_eq!(
            cause(&result),
            "It was stopped because its budget of tokens was used up. It was started 3 times. It calls its task partly \
             achieved."
        );
        let nothing = ended(ExitReason::Failed(Error::denied("no model is granted")), None);
        assert_eq!(
            failure(&nothing),
            "It failed (denied): no model is granted. It left no report."
        );
        let trapped = ended(ExitReason::Trapped("wasm `unreachable`".into()), None);
        assert!(failure(&trapped).starts_with("It crashed: wasm `unreachable`. It left"));
    }

    #[test]
    fn long_work_is_shortened() {
        let long = ended(ExitReason::TimedOut, Some(Report::partly_achieved("x".repeat(100_000))));
        assert!(failure(&long).len() < WORK_BYTES + 200);
    }
}
