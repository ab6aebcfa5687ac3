//! The answer: the reports put together by the model, within its window and with their sources.

use hermes_sdk::Dimension;
use hermes_sdk::summary::Summary;
use hermes_sdk::text::shorten;

use crate::board::{Board, Grade, Piece, State};
use crate::host::Host;
use crate::room::shares;
use crate::supervisor::Supervisor;
use crate::words;

/// Iterations that stay for the answer and one to spare while long reports are summed up.
const RESERVE: u64 = 2;
/// Completions that the summary of one report takes at most.
const COMPLETIONS: u64 = 6;
/// What a report keeps at least, in bytes, in a window however small.
const LEAST_BYTES: usize = 500;

/// An answer and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The one report that there is.
    Only(String),
    /// The model put reports together.
    Written(String),
    /// The model did not, so that the reports stand one after the other.
    Listed(String),
    /// There is no report.
    Nothing,
}

impl<H: Host> Supervisor<'_, H> {
    /// Puts together what there is. `missing` tells the model of what there is not.
    pub(crate) fn answer(&mut self, missing: &str) -> Answer {
        let texts: Vec<_> = self
            .board
            .pieces
            .iter()
            .filter(|piece| piece.text().is_some())
            .collect();
        match &texts[..] {
            [] => return Answer::Nothing,
            [only] if self.board.pieces.len() == 1 => return Answer::Only(only.text().unwrap_or_default().to_owned()),
            _ if self.stopped => return Answer::Listed(listed(&self.board)),
            _ => {}
        }
        let texts = self.fitted();
        let reports = self.board.pieces.iter().zip(texts).filter_map(|(piece, text)| {
            Some(words::Report {
                task: &piece.task,
                state: state(piece),
                text: text?,
            })
        });
        let reports: Vec<_> = reports.collect();
        self.host.progress(&match reports.len() {
            1 => "writes the answer from a report".to_owned(),
            n => format!("writes the answer from {n} reports"),
        });
        let question = words::answer(self.task, &reports, missing);
        let mut answer = self.ask(&question);
        // The host lets one more question through when iterations are used up.
        if answer.as_ref().is_err_and(hermes_sdk::Error::is_out_of_iterations) {
            answer = self.ask(&question);
        }
        match answer {
            Ok(text) if !text.trim().is_empty() => Answer::Written(text.trim().to_owned()),
            _ => Answer::Listed(listed(&self.board)),
        }
    }

    /// The text of each report, in its share of the model's window: whole, summed up, or shortened.
    fn fitted(&mut self) -> Vec<Option<String>> {
        let texts: Vec<Option<String>> = self
            .board
            .pieces
            .iter()
            .map(|piece| piece.text().map(str::to_owned))
            .collect();
        let sizes: Vec<_> = texts.iter().map(|text| text.as_deref().map_or(0, str::len)).collect();
        let shares = shares(&sizes, self.host.room() / 2);
        let fitted = texts.into_iter().zip(shares).enumerate().map(|(place, (text, share))| {
            let text = text?;
            if text.len() <= share {
                return Some(text);
            }
            let share = share.max(LEAST_BYTES);
            let summary = self.summed_up(place, &text, share);
            Some(shorten(summary.as_deref().unwrap_or(&text), share, ""))
        });
        fitted.collect()
    }

    /// A model's summary of a long report, where iterations are left for it.
    fn summed_up(&self, place: usize, text: &str, share: usize) -> Option<String> {
        let left = self.host.left(Dimension::Iterations);
        let completions = left.map_or(COMPLETIONS, |left| left.saturating_sub(RESERVE).min(COMPLETIONS));
        if completions < 2 || !self.may_ask(RESERVE) {
            return None;
        }
        let task = &self.board.pieces[place].task;
        self.host
            .progress(&format!("sums up the long report of {}", task.label()));
        // A character takes more than a byte now and then.
        let summary = Summary::new(share / 4 * 3)
            .focus(&task.prompt)
            .completions(usize::try_from(completions).unwrap_or(2));
        let summary = self.host.summarize(text, &summary);
        if let Err(error) = &summary {
            self.host
                .log(&format!("a report could not be summed up: {}", error.message));
        }
        summary.ok()
    }
}

/// All reports, one after the other.
pub(crate) fn listed(board: &Board) -> String {
    let reports = board.pieces.iter().filter_map(|piece| {
        let text = piece.text()?;
        Some(format!("## {} ({})\n\n{text}", piece.task.label(), state(piece)))
    });
    reports.collect::<Vec<_>>().join("\n\n")
}

/// How good a report is, in words.
fn state(piece: &Piece) -> &'static str {
    match piece.state {
        State::Good(Grade::Whole) => "answers what was asked",
        State::Good(Grade::Part) => "answers some of what was asked",
        State::Failed(_) => "unfinished work of a try that failed; be careful with it",
        _ => "not judged",
    }
}
