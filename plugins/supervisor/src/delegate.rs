//! Starting sub-agents, and doing here what can't be delegated.

use hermes_sdk::{Dimension, Error, ErrorKind, ExitReason, Report, RunResult, Task};

use crate::board::{State, TRIES};
use crate::brief::{self, Refused};
use crate::host::Host;
use crate::supervisor::Supervisor;

/// Iterations that stay for judging and the answer when a sub-task is done here.
const RESERVE: u64 = 3;
/// Turns of a sub-task that is done here and names none.
const TURNS: u64 = 15;

impl<H: Host> Supervisor<'_, H> {
    /// Starts all sub-tasks whose needs are met.
    pub(crate) fn start_ready(&mut self) {
        for place in self.board.ready() {
            if !self.start(place) {
                return;
            }
        }
    }

    /// Starts one; false where no more can be started now.
    fn start(&mut self, place: usize) -> bool {
        loop {
            let piece = &self.board.pieces[place];
            let nth = piece.tries + 1;
            let prompt = brief::prompt(&piece.task, &self.board.upstream(place), piece.leftover.as_deref());
            let deadline = brief::deadline_ms(self.host.left(Dimension::WallClockMs));
            let child = brief::child(&piece.task, prompt, deadline, self.shares_notes);
            self.memory.starts(&piece.task.id, nth);
            self.memory.keep(&self.board, self.host);
            let error = match self.host.spawn(&child) {
                Ok(child) => {
                    let piece = &mut self.board.pieces[place];
                    (piece.tries, piece.state) = (nth, State::Running);
                    self.running.push((place, child));
                    return true;
                }
                Err(error) => error,
            };
            self.memory.did_not_start();
            if self.shares_notes && error.kind == ErrorKind::Denied && brief::names(&error.message, brief::NOTES.0) {
                self.shares_notes = false;
                continue;
            }
            let task = &self.board.pieces[place].task;
            match brief::refused(&error.kind, &error.message, task, self.running.len()) {
                Refused::Later => return false,
                Refused::Without(missing) => {
                    let piece = &mut self.board.pieces[place];
                    piece.task.toolsets.retain(|name| !missing.contains(name));
                    piece
                        .gaps
                        .push(format!("done without {}: {}", missing.join(", "), error.message));
                }
                Refused::Stop => {
                    self.stopped = true;
                    return false;
                }
                Refused::Here => return self.here(place, &error),
                Refused::Failed => {
                    self.board.pieces[place].tries = nth;
                    self.ended(place, ended(ExitReason::Failed(error), None));
                    return true;
                }
            }
        }
    }

    /// Does a sub-task that could not be delegated; the whole task, where none could be.
    fn here(&mut self, place: usize, why: &Error) -> bool {
        if !self.memory.has_starts() && self.board.pieces.iter().all(|piece| piece.result.is_none()) {
            self.alone = Some(why.message.clone());
            return false;
        }
        let left = self.host.left(Dimension::Iterations);
        let waiting = self.board.count(|state| *state == State::Waiting).max(1) as u64;
        let share = left.map(|left| left.saturating_sub(RESERVE) / waiting);
        let piece = &mut self.board.pieces[place];
        piece.remarks.push(format!("not delegated: {}", why.message));
        piece.tries = TRIES;
        // One turn with tools and one for the sum are the least that makes sense.
        if share.is_some_and(|share| share < 2) {
            let words = format!("{} No iterations are left to do it without a sub-agent.", why.message);
            let kind = ErrorKind::Exhausted(Dimension::Iterations);
            self.ended(place, ended(ExitReason::Failed(Error::new(kind, words)), None));
            return true;
        }
        let turns = piece
            .task
            .iterations
            .unwrap_or(TURNS)
            .min(share.unwrap_or(u64::MAX) - 1);
        let label = piece.task.label();
        self.host
            .progress(&format!("does {label} without a sub-agent: {}", why.message));
        let piece = &self.board.pieces[place];
        let task = Task {
            prompt: brief::prompt(&piece.task, &self.board.upstream(place), piece.leftover.as_deref()),
            inputs: None,
            attempt: 1,
            previous: None,
            lessons: vec![],
        };
        let result = match self.host.work(&task, usize::try_from(turns).ok()) {
            Ok(report) => ended(ExitReason::Returned, Some(report)),
            Err(error) => ended(ExitReason::Failed(error), None),
        };
        self.ended(place, result);
        true
    }

    /// Does the whole task, because nothing of it could be delegated.
    pub(crate) fn whole_task_here(&self, why: &str) -> Result<Report, Error> {
        self.host.progress(&format!("works without sub-agents: {why}"));
        let mut task = self.task.clone();
        task.inputs.clone_from(&self.inputs.other);
        task.prompt
            .push_str("\n\nA plan for it, of which you do every step yourself:");
        for piece in &self.board.pieces {
            task.prompt.push_str(&format!("\n- {}", piece.task.prompt));
        }
        let turns = self.host.left(Dimension::Iterations).map(|left| left.saturating_sub(1));
        let mut report = self
            .host
            .work(&task, turns.and_then(|turns| usize::try_from(turns).ok()))?;
        report.summary.push_str(&format!(
            "\n\nThis was done by one agent, because sub-agents could not be started: {why}"
        ));
        Ok(report)
    }
}

fn ended(exit: ExitReason, report: Option<Report>) -> RunResult {
    RunResult {
        exit,
        report,
        attempts: 1,
        spent: vec![],
    }
}
