//! The first messages: instructions with lessons, and the task with its inputs and what an earlier attempt left.

use crate::llm::Message;
use crate::text::shorten;
use crate::{ExitReason, LessonLayer, RunResult, Task};

/// What of an earlier attempt's report is shown, in bytes.
const PREVIOUS_BYTES: usize = 8_000;

/// The messages that a conversation about `task` begins with.
pub(super) fn opening(system: &str, task: &Task) -> Vec<Message> {
    let mut instructions = system.to_owned();
    let mut lessons = task
        .lessons
        .iter()
        .filter(|lesson| lesson.layer == LessonLayer::Task)
        .peekable();
    if lessons.peek().is_some() {
        instructions.push_str("\n\nWhat earlier runs taught:");
        for lesson in lessons {
            instructions.push_str("\n- ");
            instructions.push_str(&lesson.text);
        }
    }
    let mut prompt = task.prompt.clone();
    if let Some(inputs) = &task.inputs {
        prompt.push_str("\n\nInputs, as JSON:\n");
        prompt.push_str(inputs);
    }
    if let Some(previous) = &task.previous {
        prompt.push_str(&about(previous));
    }
    vec![Message::System(instructions), Message::user(prompt)]
}

fn about(previous: &RunResult) -> String {
    let end = match &previous.exit {
        ExitReason::Trapped(reason) => format!("it crashed ({reason})"),
        ExitReason::TimedOut => "it took too long".into(),
        ExitReason::Failed(error) => format!("it failed ({})", error.message),
        _ => "it was stopped".into(),
    };
    let mut text = format!("\n\nAn earlier attempt at this task did not finish: {end}.");
    if let Some(report) = &previous.report {
        text.push_str(" What it had found:\n");
        text.push_str(&shorten(&report.summary, PREVIOUS_BYTES, ""));
    }
    text
}
