//! Where each sub-task stands, and what follows from that: which may start, which are skipped, when to judge.

use hermes_sdk::RunResult;
use serde::{Deserialize, Serialize};

use crate::plan::SubTask;

/// How often a sub-task is given away: once, and once more with a changed plan.
pub(crate) const TRIES: u32 = 2;

/// How good a result is that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    /// It answers its sub-task.
    Whole,
    /// It answers some of it.
    Part,
}

/// Where a sub-task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// For others, or for its start.
    Waiting,
    /// A sub-agent is at it.
    Running,
    /// It has a result that nobody has judged.
    Returned(Grade),
    /// Its result was accepted.
    Good(Grade),
    /// It failed for good.
    Failed(String),
    /// It was not begun, because this one failed or was skipped.
    Skipped(String),
}

/// A sub-task and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) task: SubTask,
    pub(crate) state: State,
    /// How often it was given away.
    pub(crate) tries: u32,
    /// How its last try ended.
    pub(crate) result: Option<RunResult>,
    /// How an earlier try failed and what it left, for the next one.
    pub(crate) leftover: Option<String>,
    /// What an earlier try reported.
    pub(crate) earlier: Option<String>,
    /// What its result lacks, as far as it was accepted.
    pub(crate) gaps: Vec<String>,
    /// What happened on the way, for whoever wants to know.
    pub(crate) remarks: Vec<String>,
}

impl Piece {
    pub(crate) fn new(task: SubTask) -> Self {
        Self {
            task,
            state: State::Waiting,
            tries: 0,
            result: None,
            leftover: None,
            earlier: None,
            gaps: vec![],
            remarks: vec![],
        }
    }

    /// The text of its result, or of an earlier try's where the last one left none.
    pub(crate) fn text(&self) -> Option<&str> {
        let report = self.result.as_ref().and_then(|result| result.report.as_ref());
        let texts = report
            .map(|report| report.summary.as_str())
            .into_iter()
            .chain(self.earlier.as_deref());
        texts.map(str::trim).find(|text| !text.is_empty())
    }

    pub(crate) fn is_good(&self) -> bool {
        matches!(self.state, State::Good(_))
    }
}

/// All sub-tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    pub(crate) pieces: Vec<Piece>,
}

impl Board {
    pub(crate) fn new(tasks: Vec<SubTask>) -> Self {
        Self {
            pieces: tasks.into_iter().map(Piece::new).collect(),
        }
    }

    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.task.id == id)
    }

    /// The sub-tasks whose needs are met, in their order.
    pub(crate) fn ready(&self) -> Vec<usize> {
        self.places(|piece| piece.state == State::Waiting && self.needs(piece).all(Piece::is_good))
    }

    /// Those with a result that nobody has judged.
    pub(crate) fn unjudged(&self) -> Vec<usize> {
        self.places(|piece| matches!(piece.state, State::Returned(_)))
    }

    /// Whether to judge now: others wait for a result, or nothing else is going on. One look at many results is cheaper
    /// than many looks.
    pub(crate) fn should_judge(&self) -> bool {
        // A look that leaves it waiting for another one is worth nothing.
        let waited_for = |piece: &Piece| {
            let mut needs = self.needs(piece).peekable();
            piece.state == State::Waiting
                && needs.peek().is_some()
                && needs.all(|need| matches!(need.state, State::Returned(_) | State::Good(_)))
        };
        let busy = self
            .pieces
            .iter()
            .any(|piece| piece.state == State::Running || piece.state == State::Waiting);
        !self.unjudged().is_empty() && (!busy || self.pieces.iter().any(waited_for))
    }

    /// Skips what waits for something that will not come. Answers who was skipped because of whom.
    pub(crate) fn skip(&mut self) -> Vec<(usize, String)> {
        let mut skipped = vec![];
        loop {
            let lost = |piece: &Piece| matches!(piece.state, State::Failed(_) | State::Skipped(_));
            let next = self.pieces.iter().enumerate().find_map(|(place, piece)| {
                let cause = self.needs(piece).find(|need| lost(need))?;
                (piece.state == State::Waiting).then(|| (place, cause.task.id.clone()))
            });
            let Some((place, cause)) = next else { return skipped };
            self.pieces[place].state = State::Skipped(cause.clone());
            skipped.push((place, cause));
        }
    }

    /// The results that a sub-task is given, with whose they are.
    pub(crate) fn upstream(&self, place: usize) -> Vec<(&SubTask, &str)> {
        let needs = self.needs(&self.pieces[place]);
        needs.filter_map(|need| Some((&need.task, need.text()?))).collect()
    }

    pub(crate) fn count(&self, of: impl Fn(&State) -> bool) -> usize {
        self.pieces.iter().filter(|piece| of(&piece.state)).count()
    }

    fn needs<'a>(&'a self, piece: &'a Piece) -> impl Iterator<Item = &'a Piece> {
        self.pieces
            .iter()
            .filter(|other| piece.task.after.contains(&other.task.id))
    }

    fn places(&self, wanted: impl Fn(&Piece) -> bool) -> Vec<usize> {
        let pieces = self.pieces.iter().enumerate();
        pieces
            .filter(|(_, piece)| wanted(piece))
            .map(|(place, _)| place)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(tasks: &[(&str, &[&str])]) -> Board {
        let task = |id: &str, after: &[&str]| SubTask {
            id: id.into(),
            role: "r".into(),
            prompt: "p".into(),
            strategy: "research".into(),
            toolsets: vec![],
            after: after.iter().map(|id| (*id).to_owned()).collect(),
            iterations: None,
        };
        Board::new(tasks.iter().map(|(id, after)| task(id, after)).collect())
    }

    #[test]
    fn all_that_wait_for_nothing_start_at_once() {
        let mut board = board(&[("a", &[]), ("b", &["a"]), ("c", &[])]);
        assert_eq!(board.ready(), [0, 2]);
        board.pieces[0].state = State::Returned(Grade::Whole);
        assert_eq!(board.ready(), [2], "a result counts when it was judged");
        board.pieces[0].state = State::Good(Grade::Part);
        assert_eq!(board.ready(), [1, 2]);
    }

    #[test]
    fn what_follows_a_failure_is_skipped_to_the_end() {
        let mut board = board(&[("end", &["b"]), ("a", &[]), ("b", &["a", "c"]), ("c", &[])]);
        assert!(board.skip().is_empty());
        board.pieces[1].state = State::Failed("it crashed".into());
        assert_eq!(board.skip(), [(2, "a".to_owned()), (0, "b".to_owned())]);
        assert_eq!(board.ready(), [3], "what does not need it goes on");
        assert!(board.skip().is_empty());
    }

    #[test]
    fn judging_waits_until_somebody_needs_it() {
        let mut board = board(&[("a", &[]), ("b", &[]), ("c", &["a"]), ("d", &["a", "b"])]);
        (board.pieces[0].state, board.pieces[1].state) = (State::Running, State::Returned(Grade::Whole));
        assert!(!board.should_judge(), "who waits for `b` waits for `a` too");
        board.pieces[0].state = State::Returned(Grade::Whole);
        board.pieces[1].state = State::Running;
        assert!(board.should_judge(), "`c` waits for `a`");
        board.pieces[2].state = State::Good(Grade::Whole);
        assert!(!board.should_judge());
        board.pieces[3].state = State::Skipped("x".into());
        board.pieces[1].state = State::Failed(String::new());
        assert!(board.should_judge(), "nothing else is going on");
    }
}
