//! A host for tests: a model that answers from a script, and sub-agents that end as they are told to.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};

use hermes_sdk::delegation::{Child, ChildSpec};
use hermes_sdk::summary::Summary;
use hermes_sdk::{Dimension, Error, ErrorKind, ExitReason, Report, RunResult, Task};

use crate::host::Host;
use crate::words::Question;

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Plan,
    Judge,
    Change,
    Answer,
}

/// The host.
pub(crate) struct Desk {
    pub(crate) iterations: Cell<Option<u64>>,
    pub(crate) wall: Option<u64>,
    pub(crate) room: usize,
    /// Answers of the model, in order; the last one again and again.
    pub(crate) answers: RefCell<HashMap<Kind, VecDeque<String>>>,
    pub(crate) asked: RefCell<Vec<(Kind, String)>>,
    closed: Cell<bool>,
    /// How sub-agents end, by their role, in order; achieved where nothing is said.
    pub(crate) ends: RefCell<HashMap<String, VecDeque<RunResult>>>,
    /// Those that were started, with how they end.
    pub(crate) children: RefCell<Vec<(ChildSpec, RunResult)>>,
    ended: RefCell<Vec<usize>>,
    /// Sub-agents that may be alive at once, and in all.
    pub(crate) alive: usize,
    pub(crate) in_all: usize,
    /// Refuses a sub-agent.
    pub(crate) refuse: fn(&ChildSpec) -> Option<Error>,
    pub(crate) notes: RefCell<Option<BTreeMap<String, String>>>,
    pub(crate) progress: RefCell<Vec<String>>,
    pub(crate) checkpoints: RefCell<Vec<Report>>,
    /// Turns of the work that was done here, with its prompt.
    pub(crate) worked: RefCell<Vec<(Option<usize>, String)>>,
    pub(crate) summed_up: Cell<usize>,
    /// Cancelled once so many have ended.
    pub(crate) cancelled_after: usize,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            iterations: Cell::new(Some(90)),
            wall: Some(600_000),
            room: 100_000,
            answers: RefCell::default(),
            asked: RefCell::default(),
            closed: Cell::new(false),
            ends: RefCell::default(),
            children: RefCell::default(),
            ended: RefCell::default(),
            alive: 16,
            in_all: 64,
            refuse: |_| None,
            notes: RefCell::new(Some(BTreeMap::new())),
            progress: RefCell::default(),
            checkpoints: RefCell::default(),
            worked: RefCell::default(),
            summed_up: Cell::new(0),
            cancelled_after: usize::MAX,
        }
    }
}

impl Desk {
    /// The model answers so, in this order.
    pub(crate) fn says(self, kind: Kind, answers: &[&str]) -> Self {
        let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
        self.answers.borrow_mut().insert(kind, answers);
        self
    }

    /// Sub-agents of this role end so, in this order.
    pub(crate) fn ends(self, role: &str, results: &[RunResult]) -> Self {
        self.ends
            .borrow_mut()
            .insert(role.to_owned(), results.iter().cloned().collect());
        self
    }

    /// What was asked, in order.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.asked.borrow().iter().map(|(kind, _)| *kind).collect()
    }

    /// The question of this kind that was asked last.
    pub(crate) fn question(&self, kind: Kind) -> String {
        let asked = self.asked.borrow();
        let question = asked.iter().rev().find(|(asked, _)| *asked == kind);
        question.map(|(_, words)| words.clone()).unwrap_or_default()
    }

    /// Roles of those that were started.
    pub(crate) fn roles(&self) -> Vec<String> {
        self.children
            .borrow()
            .iter()
            .map(|(spec, _)| spec.role.clone())
            .collect()
    }

    /// The prompt of the sub-agent that was started so-and-so-manieth.
    pub(crate) fn prompt(&self, nth: usize) -> String {
        self.children.borrow()[nth].0.prompt.clone()
    }

    /// Whether people were told something like this.
    pub(crate) fn told(&self, words: &str) -> bool {
        self.progress.borrow().iter().any(|told| told.contains(words))
    }
}

impl Host for Desk {
    type Child = usize;

    fn session(&self) -> String {
        "7f3a".into()
    }

    fn toolsets(&self) -> Vec<String> {
        vec!["filesystem".into(), "web".into()]
    }

    fn room(&self) -> usize {
        self.room
    }

    fn left(&self, dimension: Dimension) -> Option<u64> {
        match dimension {
            Dimension::Iterations => self.iterations.get(),
            Dimension::WallClockMs => self.wall,
            _ => None,
        }
    }

    fn cancelled(&self) -> bool {
        self.ended.borrow().len() >= self.cancelled_after
    }

    fn ask(&self, question: &Question) -> Result<String, Error> {
        assert!(!self.closed.get(), "nothing is asked after the closing call");
        assert!(question.user.len() <= self.room, "{} bytes", question.user.len());
        let system = &question.system;
        let kinds = [
            ("You lead", Kind::Plan),
            ("You judge", Kind::Judge),
            ("A sub-agent that you lead", Kind::Change),
            ("You write", Kind::Answer),
        ];
        let (_, kind) = *kinds.iter().find(|(words, _)| system.starts_with(words)).unwrap();
        match self.iterations.get() {
            Some(0) => {
                // The first refusal lets one more through.
                self.iterations.set(Some(u64::MAX));
                return Err(Error::new(ErrorKind::Exhausted(Dimension::Iterations), "no iterations"));
            }
            Some(u64::MAX) => {
                self.closed.set(true);
                assert_eq!(kind, Kind::Answer, "the closing call sums up");
            }
            Some(left) => self.iterations.set(Some(left - 1)),
            None => {}
        }
        self.asked.borrow_mut().push((kind, question.user.clone()));
        let mut answers = self.answers.borrow_mut();
        let Some(queue) = answers.get_mut(&kind) else {
            return Err(Error::failed("the model has no such answer"));
        };
        let answer = if queue.len() > 1 {
            queue.pop_front()
        } else {
            queue.front().cloned()
        };
        answer.ok_or_else(|| Error::failed("no answer"))
    }

    fn summarize(&self, _report: &str, _how: &Summary) -> Result<String, Error> {
        self.summed_up.set(self.summed_up.get() + 1);
        Ok("in short: 4 (a.md:1)".into())
    }

    fn work(&self, task: &Task, turns: Option<usize>) -> Result<Report, Error> {
        self.worked.borrow_mut().push((turns, task.prompt.clone()));
        Ok(Report::achieved("done here (h.md:1)"))
    }

    fn spawn(&self, child: &Child) -> Result<usize, Error> {
        let spec = child.spec()?;
        if let Some(error) = (self.refuse)(&spec) {
            return Err(error);
        }
        let mut children = self.children.borrow_mut();
        let alive = children.len() - self.ended.borrow().len();
        if alive >= self.alive || children.len() >= self.in_all {
            let kind = ErrorKind::Exhausted(Dimension::Children);
            return Err(Error::new(kind, "no more sub-agents"));
        }
        let end = self.ends.borrow_mut().get_mut(&spec.role).and_then(VecDeque::pop_front);
        let end = end.unwrap_or_else(|| good(&format!("{} found 4 (a.md:1)", spec.role)));
        children.push((spec, end));
        Ok(children.len() - 1)
    }

    fn children(&self) -> Vec<usize> {
        (0..self.children.borrow().len()).collect()
    }

    fn wait_any(&self, children: &[&usize]) -> Option<usize> {
        self.ended.borrow_mut().push(*children[0]);
        Some(0)
    }

    fn join(&self, child: &usize) -> RunResult {
        self.children.borrow()[*child].1.clone()
    }

    fn has_notes(&self) -> bool {
        self.notes.borrow().is_some()
    }

    fn keep(&self, key: &str, text: &str) {
        if let Some(notes) = self.notes.borrow_mut().as_mut() {
            notes.insert(key.into(), text.into());
        }
    }

    fn kept(&self, key: &str) -> Option<String> {
        self.notes.borrow().as_ref()?.get(key).cloned()
    }

    fn progress(&self, words: &str) {
        self.progress.borrow_mut().push(words.into());
    }

    fn checkpoint(&self, report: Report) {
        self.checkpoints.borrow_mut().push(report);
    }

    fn log(&self, _words: &str) {}
}

/// An end with this report.
pub(crate) fn ended(exit: ExitReason, report: Option<Report>) -> RunResult {
    RunResult {
        exit,
        report,
        attempts: 1,
        spent: vec![],
    }
}

/// A good end.
pub(crate) fn good(text: &str) -> RunResult {
    ended(ExitReason::Returned, Some(Report::achieved(text)))
}

/// A crash.
pub(crate) fn crash() -> RunResult {
    ended(
        ExitReason::Trapped("out of bounds".into()),
        Some(Report::partly_achieved("half of it")),
    )
}

/// A task with these inputs.
pub(crate) fn task(inputs: Option<&str>) -> Task {
    Task {
        prompt: "What limits growth?".into(),
        inputs: inputs.map(Into::into),
        attempt: 1,
        previous: None,
        lessons: vec![],
    }
}
