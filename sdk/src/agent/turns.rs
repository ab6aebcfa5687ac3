//! The loop itself.

use super::hooks::{Hooks, Review};
use super::host::Host;
use super::prompt;
use super::window::Window;
use crate::context::{fit_recalling, size};
use crate::llm::{self, Completion, FinishReason, Message, Options};
use crate::{Dimension, Error, ErrorKind, Outcome, Report, Task, ToolCall, ToolDef, ToolResult};

/// How often one prompt that the host finds too large is made smaller.
const SMALLER: usize = 5;

/// One conversation and the host that it is held with.
pub(super) struct Turns<'a, H> {
    host: &'a H,
    messages: Vec<Message>,
    granted: Vec<ToolDef>,
    options: Options,
    /// Turns with tools, where they are fewer than the iterations.
    most: Option<usize>,
    /// The best text so far: an answer under review, else what the model said last.
    answer: String,
    /// Whether that is an answer.
    answered: bool,
}

impl<'a, H: Host> Turns<'a, H> {
    pub(super) fn new(host: &'a H, system: &str, model: Option<String>, granted: Vec<ToolDef>, task: &Task) -> Self {
        let options = Options {
            model,
            ..Options::default()
        };
        Self {
            host,
            messages: prompt::opening(system, task),
            granted,
            options,
            most: None,
            answer: String::new(),
            answered: false,
        }
    }

    /// Takes at most this many turns before it is asked for a sum.
    pub(super) fn most(mut self, turns: Option<usize>) -> Self {
        self.most = turns;
        self
    }

    /// Runs to the report.
    pub(super) fn run(mut self, hooks: &mut impl Hooks) -> Result<Report, Error> {
        let own = hooks.own_tools();
        self.granted
            .retain(|tool| own.iter().all(|mine| mine.name != tool.name));
        let tools: Vec<_> = own.into_iter().chain(std::mem::take(&mut self.granted)).collect();
        let mut window = Window::new(&self.host.models(), self.options.model.as_deref(), &tools);
        let mut turn = 0_usize;
        loop {
            if self.most.is_some_and(|most| turn >= most) {
                let words = format!("the {turn} turns that this work was given are used up");
                let error = Error::new(ErrorKind::Exhausted(Dimension::Iterations), words);
                return self.end(&error, &mut window, hooks);
            }
            let completion = match self.complete(&tools, &mut window, hooks) {
                Ok(completion) => completion,
                Err(error) => return self.end(&error, &mut window, hooks),
            };
            turn += 1;
            let (text, calls) = (llm::text(&completion), llm::tool_calls(&completion));
            let cut = !matches!(completion.finish_reason, FinishReason::Stop | FinishReason::ToolCalls);
            self.messages.push(Message::Assistant(completion.parts));
            // Words beside a tool call don't replace an answer that is under review.
            if !text.trim().is_empty() && (calls.is_empty() || !self.answered) {
                self.answer.clone_from(&text);
                self.answered = calls.is_empty();
            }
            if calls.is_empty() {
                match self.judge(&text, hooks) {
                    Review::Accept => return Ok(self.accepted(&text, cut, hooks)),
                    Review::Revise(feedback) => self.messages.push(Message::user(feedback)),
                }
            } else {
                if !text.trim().is_empty() {
                    hooks.said(&text);
                }
                let results = self.call_all(&calls, hooks);
                self.messages.push(Message::Tool(results));
            }
            let so_far = if self.answer.is_empty() {
                let ending = if turn == 1 { "" } else { "s" };
                format!("{turn} turn{ending}, no answer yet")
            } else {
                self.answer.clone()
            };
            self.host.checkpoint(hooks.report(Outcome::PartlyAchieved, &so_far));
        }
    }

    /// One completion in a conversation that fits; a prompt that the host finds too large is halved as long as that makes it
    /// smaller.
    fn complete(
        &mut self,
        tools: &[ToolDef],
        window: &mut Window,
        hooks: &mut impl Hooks,
    ) -> Result<Completion, Error> {
        let (mut bytes, mut tries_left) = (self.fit(window, hooks), SMALLER);
        loop {
            match self.host.complete(&self.messages, tools, &self.options) {
                Err(error) if error.kind == ErrorKind::InvalidInput && tries_left > 0 => {
                    tries_left -= 1;
                    window.refused(bytes);
                    let smaller = self.fit(window, hooks);
                    if smaller >= bytes {
                        return Err(error);
                    }
                    bytes = smaller;
                }
                Ok(completion) => {
                    window.learn(size(&self.messages), &completion.usage);
                    return Ok(completion);
                }
                refused => return refused,
            }
        }
    }

    fn fit(&mut self, window: &Window, hooks: &mut impl Hooks) -> usize {
        let limit = window.message_bytes();
        fit_recalling(&mut self.messages, limit, |room| hooks.recall(room)).size
    }

    fn judge(&mut self, answer: &str, hooks: &mut impl Hooks) -> Review {
        const EMPTY: &str = "Your reply was empty. Answer, or call a tool.";
        if !answer.trim().is_empty() {
            return hooks.review(answer);
        }
        // An empty answer helps nobody; a model that repeats it has no other.
        if self.messages.contains(&Message::user(EMPTY)) {
            Review::Accept
        } else {
            Review::Revise(EMPTY.into())
        }
    }

    /// The report of an answer that was accepted. In place of an empty one stands what was said before.
    fn accepted(&self, text: &str, cut: bool, hooks: &mut impl Hooks) -> Report {
        let outcome = if cut {
            Outcome::PartlyAchieved
        } else {
            Outcome::Achieved
        };
        if !text.trim().is_empty() {
            return hooks.report(outcome, text);
        }
        let (outcome, answer) = if self.answer.is_empty() {
            (Outcome::NotAchieved, "No answer: the model's replies were empty.")
        } else {
            (Outcome::PartlyAchieved, self.answer.as_str())
        };
        let mut report = hooks.report(outcome, answer);
        // Whatever the hooks make of it, a model that fell silent has not finished.
        if report.outcome == Outcome::Achieved {
            report.outcome = outcome;
        }
        report
            .open_questions
            .push("The model's last replies were empty.".into());
        report
    }

    /// Runs the calls of one answer: the strategy's own at once, the others together.
    fn call_all(&self, calls: &[ToolCall], hooks: &mut impl Hooks) -> Vec<ToolResult> {
        let described: Vec<_> = calls
            .iter()
            .map(|call| hooks.describe(call))
            .filter(|text| !text.is_empty())
            .collect();
        if !described.is_empty() {
            self.host.progress(&described.join(", "));
        }
        let mut results: Vec<_> = calls.iter().map(|call| hooks.answer_call(call)).collect();
        let unanswered = calls.iter().zip(&results).filter(|(_, result)| result.is_none());
        let outside: Vec<_> = unanswered.map(|(call, _)| call.clone()).collect();
        let mut answered = self.host.call_all(&outside).into_iter();
        for slot in results.iter_mut().filter(|slot| slot.is_none()) {
            *slot = answered.next();
        }
        let results: Vec<ToolResult> = results.into_iter().flatten().collect();
        for (call, result) in calls.iter().zip(&results) {
            hooks.result(call, result);
        }
        results
    }

    /// The end after a refusal: one more answer where the host lets one through, else what there is.
    fn end(mut self, error: &Error, window: &mut Window, hooks: &mut impl Hooks) -> Result<Report, Error> {
        if error.is_out_of_iterations() {
            self.messages.push(Message::user(hooks.closing()));
            if let Ok(completion) = self.complete(&[], window, hooks) {
                let text = llm::text(&completion);
                if !text.trim().is_empty() {
                    self.answer = text;
                }
            }
        }
        let worked = self
            .messages
            .iter()
            .any(|message| matches!(message, Message::Assistant(_)));
        if !worked && self.answer.is_empty() {
            return Err(error.clone());
        }
        let outcome = if self.answer.is_empty() {
            Outcome::NotAchieved
        } else {
            Outcome::PartlyAchieved
        };
        let answer = if self.answer.is_empty() {
            format!("No answer: {}", error.message)
        } else {
            self.answer.clone()
        };
        let mut report = hooks.report(outcome, &answer);
        // Whatever the hooks make of it, work that was cut off is not achieved.
        if report.outcome == Outcome::Achieved {
            report.outcome = outcome;
        }
        report
            .open_questions
            .push(format!("The work ended early: {}", error.message));
        Ok(report)
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
