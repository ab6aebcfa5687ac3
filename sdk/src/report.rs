//! Making [`Report`]s.

use crate::{Outcome, Report};

impl Report {
    /// A report with this outcome and this summary, and nothing else.
    pub fn new(outcome: Outcome, summary: impl Into<String>) -> Self {
        Self {
            outcome,
            summary: summary.into(),
            result_json: None,
            artifacts: vec![],
            open_questions: vec![],
        }
    }

    /// The task was achieved.
    pub fn achieved(summary: impl Into<String>) -> Self {
        Self::new(Outcome::Achieved, summary)
    }

    /// Some of the task was achieved.
    pub fn partly_achieved(summary: impl Into<String>) -> Self {
        Self::new(Outcome::PartlyAchieved, summary)
    }

    /// Nothing of the task was achieved.
    pub fn not_achieved(summary: impl Into<String>) -> Self {
        Self::new(Outcome::NotAchieved, summary)
    }

    /// The same, with a question that stays open.
    #[must_use]
    pub fn with_open_question(mut self, question: impl Into<String>) -> Self {
        self.open_questions.push(question.into());
        self
    }

    /// The same, with one more entry of the blackboard worth keeping, as `space/key`.
    #[must_use]
    pub fn with_artifact(mut self, entry: impl Into<String>) -> Self {
        self.artifacts.push(entry.into());
        self
    }
}
