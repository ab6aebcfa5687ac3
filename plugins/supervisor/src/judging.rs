//! One look of the model at all results that nobody has judged.

use hermes_sdk::text::shorten;

use crate::board::{Grade, State};
use crate::grade::{Failure, accepted, verdicts};
use crate::host::Host;
use crate::supervisor::Supervisor;
use crate::words;

/// Iterations that must be left after judging: the last ones are for a second try and for the answer.
const RESERVE: u64 = 2;
/// What of a result is passed on as the cause of its refusal, in bytes.
const REPORT_BYTES: usize = 6_000;

impl<H: Host> Supervisor<'_, H> {
    /// Judges what has come back. Where the model can't be asked, what the sub-agents say of themselves counts.
    pub(crate) fn judge(&mut self) {
        let places = self.board.unjudged();
        let verdicts = if self.may_ask(RESERVE) {
            let count = places.len();
            self.host.progress(&match count {
                1 => "judges a result".to_owned(),
                more => format!("judges {more} results"),
            });
            let room = self.host.room() / 2 / count.max(1);
            let results = places.iter().map(|place| {
                let piece = &self.board.pieces[*place];
                let own = match piece.state {
                    State::Returned(Grade::Whole) => "achieved",
                    _ => "partly achieved",
                };
                (&piece.task, own, shorten(piece.text().unwrap_or_default(), room, ""))
            });
            let question = words::judge(self.task, &results.collect::<Vec<_>>());
            self.ask(&question).map(|answer| verdicts(&answer)).unwrap_or_default()
        } else {
            vec![]
        };
        for place in places {
            let piece = &mut self.board.pieces[place];
            let State::Returned(own) = piece.state else { continue };
            let verdict = verdicts
                .iter()
                .find(|verdict| verdict.id.eq_ignore_ascii_case(&piece.task.id));
            let Some(verdict) = verdict else {
                piece.state = State::Good(own);
                continue;
            };
            match accepted(own, verdict.answers) {
                Some(grade) => {
                    piece.state = State::Good(grade);
                    if grade == Grade::Part && !verdict.why.is_empty() {
                        piece.gaps.push(verdict.why.clone());
                    }
                }
                None => {
                    let text = shorten(piece.text().unwrap_or_default(), REPORT_BYTES, "");
                    let short = format!("its result does not answer the sub-task: {}", verdict.why);
                    let whole = format!("{short}\nIt was:\n{text}");
                    self.failed(place, &Failure { short, whole });
                }
            }
        }
        self.memory.keep(&self.board, self.host);
        self.host.checkpoint(self.so_far());
    }
}
