//! The report: the answer, what was not done and why, and an outcome that follows from what really succeeded.

use hermes_sdk::{Outcome, Report};
use serde_json::{Value, json};

use crate::answer::{Answer, listed};
use crate::board::{Board, Grade, Piece, State};
use crate::citations;
use crate::host::Host;
use crate::memory;
use crate::supervisor::Supervisor;

/// Open questions of sub-agents that are passed on.
const QUESTIONS: usize = 20;
/// Entries of the blackboard that the report names.
const ARTIFACTS: usize = 50;
/// Citations that are named.
const CITATIONS: usize = 10;

impl<H: Host> Supervisor<'_, H> {
    /// The report at the end.
    pub(crate) fn report(&mut self) -> Report {
        let missing = not_done(&self.board);
        let answer = self.answer(&missing.join("\n"));
        let mut questions = open_questions(&self.board);
        let mut doubts = matches!(answer, Answer::Listed(_));
        if let Answer::Written(text) = &answer {
            let reports: Vec<_> = self.board.pieces.iter().filter_map(Piece::text).collect();
            let unknown = citations::unknown(text, &reports);
            let not_found = not_found(text);
            doubts |= !unknown.is_empty() || !not_found.is_empty();
            questions.extend(not_found);
            if !unknown.is_empty() {
                let named = unknown[..unknown.len().min(CITATIONS)].join(", ");
                questions.push(format!("Sources in the answer that no sub-agent gave: {named}"));
            }
        }
        if self.stopped {
            questions.push("The run was cancelled before it was done.".into());
        }
        let mut summary = match answer {
            Answer::Only(text) | Answer::Written(text) | Answer::Listed(text) => text,
            Answer::Nothing => "No sub-task has a result.".into(),
        };
        if !missing.is_empty() {
            summary.push_str(&format!("\n\nNot done:\n{}", missing.join("\n")));
        }
        questions.extend(missing.iter().map(|line| line.trim_start_matches("- ").to_owned()));
        let mut report = Report::new(outcome(&self.board, doubts), summary);
        report.open_questions = questions;
        self.dress(&mut report);
        report
    }

    /// What there is until now.
    pub(crate) fn so_far(&self) -> Report {
        let done = self
            .board
            .count(|state| matches!(state, State::Returned(_) | State::Good(_)));
        let outcome = if done > 0 {
            Outcome::PartlyAchieved
        } else {
            Outcome::NotAchieved
        };
        let head = format!("{done} of {} sub-tasks have a result.", self.board.pieces.len());
        let mut report = Report::new(outcome, format!("{head}\n\n{}", listed(&self.board)));
        report.open_questions = open_questions(&self.board);
        self.dress(&mut report);
        report
    }

    /// Adds what programs read.
    fn dress(&self, report: &mut Report) {
        let tasks: Vec<_> = self.board.pieces.iter().map(described).collect();
        report.result_json = Some(json!({ "tasks": tasks }).to_string());
        let mine = if self.host.has_notes() {
            memory::entries(&self.board)
        } else {
            vec![]
        };
        let reports = self
            .board
            .pieces
            .iter()
            .filter_map(|piece| piece.result.as_ref()?.report.as_ref());
        let theirs = reports.flat_map(|report| report.artifacts.iter().cloned());
        report.artifacts = mine.into_iter().chain(theirs).take(ARTIFACTS).collect();
    }
}

/// Achieved is what was achieved in every part; without doubts about the whole.
pub(crate) fn outcome(board: &Board, doubts: bool) -> Outcome {
    let good = board.count(|state| matches!(state, State::Good(_)));
    let whole = board.count(|state| *state == State::Good(Grade::Whole));
    match good {
        0 => Outcome::NotAchieved,
        _ if whole == board.pieces.len() && !doubts => Outcome::Achieved,
        _ => Outcome::PartlyAchieved,
    }
}

/// A line for each sub-task that failed, was skipped, or was not reached.
fn not_done(board: &Board) -> Vec<String> {
    let lines = board.pieces.iter().filter_map(|piece| {
        let why = match &piece.state {
            State::Good(_) | State::Returned(_) => return None,
            State::Failed(why) => format!("failed: {why}"),
            State::Skipped(cause) => format!("skipped, because {cause} has no result"),
            State::Waiting => "was not begun".to_owned(),
            State::Running => "was not finished".to_owned(),
        };
        Some(format!("- {}: {why}", piece.task.label()))
    });
    lines.collect()
}

/// What sub-agents left open, in what was accepted of theirs, and what the judge found missing.
fn open_questions(board: &Board) -> Vec<String> {
    let good = board.pieces.iter().filter(|piece| piece.is_good());
    let questions = good.flat_map(|piece| {
        let report = piece.result.as_ref().and_then(|result| result.report.as_ref());
        let theirs = report.into_iter().flat_map(|report| report.open_questions.iter());
        let label = piece.task.label();
        theirs
            .chain(&piece.gaps)
            .map(move |question| format!("{label}: {question}"))
    });
    questions.take(QUESTIONS).collect()
}

/// What the answer itself lists as not found.
fn not_found(answer: &str) -> Vec<String> {
    let is_head = |line: &str| {
        let bare = line.trim_matches(|c: char| "#*_: ".contains(c));
        bare.eq_ignore_ascii_case("not found")
    };
    let items = answer.lines().skip_while(|line| !is_head(line)).skip(1);
    let items = items.map(|line| line.trim().trim_start_matches(['-', '*', '•']).trim());
    let items = items.take_while(|line| !line.starts_with('#'));
    let nothing = |line: &str| ["none", "nothing"].contains(&line.trim_end_matches('.').to_lowercase().as_str());
    items
        .filter(|line| !line.is_empty() && !nothing(line))
        .map(str::to_owned)
        .collect()
}

fn described(piece: &Piece) -> Value {
    let (state, why) = match &piece.state {
        State::Good(Grade::Whole) => ("achieved", None),
        State::Good(Grade::Part) => ("partly-achieved", None),
        State::Returned(_) => ("not-judged", None),
        State::Failed(why) => ("failed", Some(why)),
        State::Skipped(cause) => ("skipped", Some(cause)),
        State::Waiting => ("not-begun", None),
        State::Running => ("not-finished", None),
    };
    json!({
        "id": piece.task.id,
        "role": piece.task.role,
        "strategy": piece.task.strategy,
        "after": piece.task.after,
        "state": state,
        "why": why,
        "tries": piece.tries,
        "exit": piece.result.as_ref().map(|result| result.exit.name()),
        "remarks": piece.remarks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SubTask;

    fn board(states: &[State]) -> Board {
        let task = |id: usize| SubTask {
            id: format!("t{id}"),
            role: "reader".into(),
            prompt: "p".into(),
            strategy: "research".into(),
            toolsets: vec![],
            after: vec![],
            iterations: None,
        };
        let mut board = Board::new((0..states.len()).map(task).collect());
        for (piece, state) in board.pieces.iter_mut().zip(states) {
            piece.state = state.clone();
        }
        board
    }

    #[test]
    fn the_outcome_follows_from_what_succeeded() {
        let (whole, part) = (State::Good(Grade::Whole), State::Good(Grade::Part));
        let failed = State::Failed("it crashed".into());
        for (states, doubts, expected) in [
            (vec![whole.clone(), whole.clone()], false, Outcome::Achieved),
            (vec![whole.clone(), whole.clone()], true, Outcome::PartlyAchieved),
            (vec![whole.clone(), part], false, Outcome::PartlyAchieved),
            (vec![whole, failed.clone()], false, Outcome::PartlyAchieved),
            (vec![failed, State::Returned(Grade::Whole)], false, Outcome::NotAchieved),
            (vec![], false, Outcome::NotAchieved),
        ] {
            assert_eq!(outcome(&board(&states), doubts), expected, "{states:?}");
        }
    }

    #[test]
    fn what_was_not_done_is_said_with_its_reason() {
        let states = [
            State::Good(Grade::Part),
            State::Failed("It crashed.".into()),
            State::Skipped("t1".into()),
            State::Running,
        ];
        assert_eq!(
            not_done(&board(&states)),
            [
                "- reader t1: failed: It crashed.",
                "- reader t2: skipped, because t1 has no result",
                "- reader t3: was not finished"
            ]
        );
    }

    #[test]
    fn the_answers_own_gaps_are_found() {
        assert_eq!(
            not_found("It is 4 (a.md:1).\n\n**Not found:**\n- the rate\n"),
            ["the rate"]
        );
        assert!(not_found("It was not found.").is_empty() && not_found("Not found:\nNone.").is_empty());
    }
}
