//! Where the plan comes from: the task's inputs, the model, or what an earlier attempt left.

use std::collections::BTreeMap;

use hermes_sdk::delegation::failure;
use hermes_sdk::{Error, ExitReason};
use serde_json::Value;

use crate::board::{Board, State};
use crate::grade::{FirstLook, first_look};
use crate::host::Host;
use crate::json;
use crate::memory::Memory;
use crate::plan::{self, Maker, SubTask};
use crate::supervisor::Supervisor;
use crate::words;

impl<H: Host> Supervisor<'_, H> {
    /// Makes the board: from a given plan, or from one that the model makes.
    ///
    /// # Errors
    /// A given plan that makes no sense, and a model's refusal.
    pub(crate) fn plan(&mut self) -> Result<(), Error> {
        let tasks = match self.inputs.plan.take() {
            Some(given) => plan::read(&given, &self.choice, Maker::Giver)
                .map_err(|wrong| Error::invalid_input(format!("the input `plan` can't be used: {wrong}")))?,
            None => self.planned()?,
        };
        self.board = Board::new(tasks);
        self.memory.keep(&self.board, self.host);
        let labels: Vec<_> = self.board.pieces.iter().map(|piece| piece.task.label()).collect();
        let count = match labels.len() {
            1 => "one sub-task".to_owned(),
            more => format!("{more} sub-tasks"),
        };
        self.host.progress(&format!("{count}: {}", labels.join(", ")));
        Ok(())
    }

    /// The model's plan, asked for twice at most; else the whole task as one sub-task.
    fn planned(&mut self) -> Result<Vec<SubTask>, Error> {
        self.host.progress("plans who does what");
        let mut wrong: Option<(String, String)> = None;
        for maker in [Maker::Model, Maker::ModelAgain] {
            let question = words::plan(self.task, self.inputs.other.as_deref(), &self.choice, wrong.as_ref());
            let answer = match self.ask(&question) {
                Ok(answer) => answer,
                Err(error) if wrong.is_none() => return Err(error),
                Err(_) => break,
            };
            let value = json::find(&answer).unwrap_or(Value::Null);
            match plan::read(&value, &self.choice, maker) {
                Ok(tasks) => return Ok(tasks),
                Err(why) => {
                    self.host.log(&format!("a plan could not be used: {why}"));
                    wrong = Some((answer, why));
                }
            }
        }
        self.host
            .progress("has no plan that can be used: gives the whole task to one sub-agent");
        Ok(vec![self.whole()])
    }

    /// The whole task as one sub-task.
    fn whole(&self) -> SubTask {
        let mut prompt = self.task.prompt.clone();
        if let Some(inputs) = &self.inputs.other {
            prompt.push_str(&format!("\n\nInputs, as JSON:\n{inputs}"));
        }
        SubTask {
            id: "all".into(),
            role: "researcher".into(),
            prompt,
            strategy: self.choice.strategies[0].name.clone(),
            toolsets: self.choice.toolsets.clone(),
            after: vec![],
            iterations: None,
        }
    }

    /// Goes on with what an earlier attempt of this session left; false where there is nothing to go on with.
    pub(crate) fn recall(&mut self) -> bool {
        if self.task.attempt <= 1 {
            return false;
        }
        let Some(mut memory) = Memory::of_last_attempt(self.host) else {
            return false;
        };
        self.board = Board::new(memory.tasks());
        let children = self.host.children();
        let mut failures = BTreeMap::new();
        for (start, child) in memory.matched(children.len()).iter().zip(&children) {
            let Some(place) = self.board.place(&start.task) else {
                continue;
            };
            // It ended with the attempt that started it, or had ended before.
            let result = self.host.join(child);
            let piece = &mut self.board.pieces[place];
            if result.exit == ExitReason::Cancelled {
                // The try that it was goes on; an earlier one, which had failed or was refused, stays what it was.
                piece.state = State::Waiting;
                piece.tries = start.nth.saturating_sub(1);
                let earlier = piece.result.take();
                piece.leftover = earlier.as_ref().map(failure);
                piece.earlier = earlier.and_then(|result| result.report).map(|report| report.summary);
                failures.remove(&place);
                continue;
            }
            piece.tries = start.nth;
            match first_look(&result) {
                FirstLook::Something(grade) => {
                    piece.state = memory.grade(&start.task).map_or(State::Returned(grade), State::Good);
                    failures.remove(&place);
                }
                FirstLook::Nothing(failure) => {
                    piece.state = State::Failed(failure.short.clone());
                    failures.insert(place, failure);
                }
            }
            piece.result = Some(result);
        }
        self.memory = memory;
        let there = self
            .board
            .count(|state| matches!(state, State::Returned(_) | State::Good(_)));
        let all = self.board.pieces.len();
        self.host
            .progress(&format!("goes on after a crash: {there} of {all} results are there"));
        // What had failed and was not tried again before the crash is tried again now.
        for (place, failure) in &failures {
            self.failed(*place, failure);
        }
        self.memory.keep(&self.board, self.host);
        true
    }
}
