//! The supervisor: starts what can start, waits for whoever ends first, judges, tries failures once more, and reports.

use hermes_sdk::{Dimension, Error, ErrorKind, Report, RunResult, Task, text};

use crate::board::{Board, State, TRIES};
use crate::change::{self, Change};
use crate::grade::{Failure, FirstLook, first_look, may_go_again};
use crate::host::Host;
use crate::inputs::Inputs;
use crate::memory::{Memory, result_key};
use crate::plan::Choice;
use crate::words::{self, Question};

/// Iterations that are kept for the answer.
const FOR_THE_ANSWER: u64 = 1;
/// What of a cause is told to people, in bytes.
const CAUSE_BYTES: usize = 300;

/// One piece of supervised work.
pub(crate) struct Supervisor<'a, H: Host> {
    pub(crate) host: &'a H,
    pub(crate) task: &'a Task,
    pub(crate) choice: Choice,
    pub(crate) inputs: Inputs,
    pub(crate) board: Board,
    pub(crate) memory: Memory,
    /// Sub-agents at work, each with the place of its sub-task.
    pub(crate) running: Vec<(usize, H::Child)>,
    /// Whether sub-agents are given a share of the notes.
    pub(crate) shares_notes: bool,
    /// Why nothing at all can be delegated.
    pub(crate) alone: Option<String>,
    /// The model answers no more: what is left is the closing call, if that.
    silent: bool,
    /// The run was cancelled.
    pub(crate) stopped: bool,
}

impl<'a, H: Host> Supervisor<'a, H> {
    pub(crate) fn new(host: &'a H, task: &'a Task) -> Self {
        let inputs = Inputs::read(task.inputs.as_deref());
        let choice = Choice {
            strategies: inputs.strategies.clone(),
            toolsets: inputs.toolsets.clone().unwrap_or_else(|| host.toolsets()),
        };
        Self {
            host,
            task,
            choice,
            inputs,
            board: Board::default(),
            memory: Memory::new(host),
            running: vec![],
            shares_notes: host.has_notes(),
            alone: None,
            silent: false,
            stopped: false,
        }
    }

    /// Runs to the report.
    ///
    /// # Errors
    /// An input or a given plan that makes no sense, and a model's refusal that came before there was a plan.
    pub(crate) fn run(mut self) -> Result<Report, Error> {
        self.inputs.check()?;
        if !self.recall() {
            self.plan()?;
        }
        self.supervise();
        match self.alone.take() {
            Some(why) => self.whole_task_here(&why),
            None => Ok(self.report()),
        }
    }

    /// Until every sub-task is good, failed or skipped.
    fn supervise(&mut self) {
        loop {
            self.stopped |= self.host.cancelled();
            if self.stopped {
                return;
            }
            self.start_ready();
            if self.stopped || self.alone.is_some() {
                return;
            }
            // A start may have failed just now, and what waits for it with it.
            self.skip();
            if self.board.should_judge() {
                self.judge();
            } else if !self.running.is_empty() {
                self.wait();
            } else if self.board.ready().is_empty() {
                return;
            }
        }
    }

    /// Skips what waits for something that will not come.
    fn skip(&mut self) {
        for (place, cause) in self.board.skip() {
            let label = self.board.pieces[place].task.label();
            self.host.progress(&format!("skips {label}: {cause} has no result"));
        }
    }

    /// Waits for the sub-agent that ends next.
    pub(crate) fn wait(&mut self) {
        let labels: Vec<_> = self
            .running
            .iter()
            .map(|(place, _)| self.board.pieces[*place].task.label())
            .collect();
        self.host.progress(&format!("waits for {}", labels.join(", ")));
        let children: Vec<_> = self.running.iter().map(|(_, child)| child).collect();
        let Some(next) = self.host.wait_any(&children).filter(|next| *next < self.running.len()) else {
            self.stopped = true;
            return;
        };
        let (place, child) = self.running.remove(next);
        let result = self.host.join(&child);
        self.ended(place, result);
    }

    /// A sub-task has a result: a first look at it.
    pub(crate) fn ended(&mut self, place: usize, result: RunResult) {
        let look = first_look(&result);
        let piece = &mut self.board.pieces[place];
        piece.result = Some(result);
        if let Some(text) = piece.text() {
            self.host.keep(&result_key(&piece.task.id), text);
        }
        match look {
            FirstLook::Something(grade) => {
                piece.state = State::Returned(grade);
                let label = piece.task.label();
                let (ended, all) = (self.board.count(has_ended), self.board.pieces.len());
                self.host
                    .progress(&format!("{label} has a result: {ended} of {all} done"));
            }
            FirstLook::Nothing(failure) => self.failed(place, &failure),
        }
        self.memory.keep(&self.board, self.host);
        self.host.checkpoint(self.so_far());
    }

    /// A sub-task failed: it is tried once more with a changed plan, or has failed for good.
    pub(crate) fn failed(&mut self, place: usize, failure: &Failure) {
        let piece = &self.board.pieces[place];
        let short = text::shorten(&failure.short, CAUSE_BYTES, "");
        let label = piece.task.label();
        if piece.tries >= TRIES || !may_go_again(piece.result.as_ref()) || self.stopped {
            self.host.progress(&format!("{label} failed for good: {short}"));
            self.board.pieces[place].state = State::Failed(short);
            return;
        }
        self.host
            .progress(&format!("{label} failed, changes its plan: {short}"));
        let change = self.change(place, &failure.whole);
        let piece = &mut self.board.pieces[place];
        match change {
            Change::Again(task) => {
                let earlier = piece.result.take().and_then(|result| result.report);
                piece.earlier = earlier.map(|report| report.summary).or(piece.earlier.take());
                piece.remarks.push(format!("first try: {short}"));
                piece.leftover = Some(failure.whole.clone());
                piece.task = task;
                piece.state = State::Waiting;
            }
            Change::GiveUp(why) => {
                self.host.progress(&format!("{label} is given up: {why}"));
                piece.state = State::Failed(format!("{short} A second try was thought useless: {why}"));
            }
        }
    }

    fn change(&mut self, place: usize, cause: &str) -> Change {
        let task = self.board.pieces[place].task.clone();
        if self.may_ask(FOR_THE_ANSWER) {
            let question = words::change(self.task, &task, cause, &self.choice);
            let answer = self.ask(&question).ok();
            if let Some(change) = answer.and_then(|answer| change::read(&answer, &task, &self.choice)) {
                return change;
            }
        }
        Change::Again(change::plain(&task))
    }

    /// Whether the model may be asked and this many iterations are left then.
    pub(crate) fn may_ask(&self, reserve: u64) -> bool {
        let left = self.host.left(Dimension::Iterations);
        !self.silent && !self.stopped && left.is_none_or(|left| left > reserve)
    }

    /// Asks the model, and notices when it will answer no more.
    pub(crate) fn ask(&mut self, question: &Question) -> Result<String, Error> {
        let answer = self.host.ask(question);
        if let Err(error) = &answer {
            self.host.log(&format!("the model gave no answer: {}", error.message));
            self.silent |= matches!(
                error.kind,
                ErrorKind::Exhausted(_) | ErrorKind::Denied | ErrorKind::Cancelled
            );
            self.stopped |= error.kind == ErrorKind::Cancelled;
        }
        answer
    }
}

/// Whether nobody is at a sub-task any more.
fn has_ended(state: &State) -> bool {
    !matches!(state, State::Waiting | State::Running)
}
