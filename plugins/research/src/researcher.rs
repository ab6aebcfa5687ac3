//! The strategy's say in the loop: notes, sources, the review of citations, the report.

use hermes_sdk::tool::{arguments, own};
use hermes_sdk::{Hooks, Outcome, Report, Review, ToolCall, ToolDef, ToolResult};
use serde_json::Value;

use crate::check::Checked;
use crate::feedback::{UNCITED, correction, not_found};
use crate::notes::{Note, Notes};
use crate::sources::Sources;

const TAKE_NOTE: &str = "take_note";

/// One piece of research.
#[derive(Debug, Default)]
pub(crate) struct Researcher {
    notes: Notes,
    sources: Sources,
    can_read: bool,
    planned: bool,
    /// The model was asked once to mend its answer.
    corrected: bool,
}

impl Researcher {
    /// With these tools granted.
    pub(crate) fn new(offered: &[ToolDef]) -> Self {
        let can_read = offered.iter().any(|tool| Reader::of(&tool.name).is_some());
        Self {
            notes: Notes::open(),
            can_read,
            ..Self::default()
        }
    }
}

/// The tools whose results are sources. A prefix before the name is the operator's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Read,
    Search,
    Fetch,
}

impl Reader {
    fn of(tool: &str) -> Option<Self> {
        let names = [
            ("read_file", Self::Read),
            ("search_files", Self::Search),
            ("fetch_page", Self::Fetch),
        ];
        let is = |name: &str| {
            tool.strip_suffix(name)
                .is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('_'))
        };
        names.into_iter().find(|(name, _)| is(name)).map(|(_, reader)| reader)
    }
}

impl Hooks for Researcher {
    fn own_tools(&mut self) -> Vec<ToolDef> {
        vec![own::<Note>(
            TAKE_NOTE,
            "Keeps a finding, with its source. Notes stay when old tool results are shortened.",
        )]
    }

    fn answer_call(&mut self, call: &ToolCall) -> Option<ToolResult> {
        (call.name == TAKE_NOTE).then(|| {
            let answer = arguments::<Note>(call).and_then(|note| self.notes.take(&note));
            answer.map_or_else(
                |error| ToolResult::failure(call, error),
                |text| ToolResult::text(call, text),
            )
        })
    }

    fn describe(&mut self, call: &ToolCall) -> String {
        describe(call)
    }

    fn said(&mut self, text: &str) {
        if !self.planned {
            self.planned = true;
            self.notes.plan(text);
        }
    }

    fn result(&mut self, call: &ToolCall, result: &ToolResult) {
        if result.error.is_some() {
            return;
        }
        match Reader::of(&call.name) {
            Some(Reader::Read) => self.sources.read(&result.joined_text()),
            Some(Reader::Search) => self.sources.searched(&result.joined_text()),
            Some(Reader::Fetch) => self.sources.fetched(&argument(call, "url").unwrap_or_default()),
            None => {}
        }
    }

    fn review(&mut self, answer: &str) -> Review {
        if self.corrected || !self.can_read {
            return Review::Accept;
        }
        let checked = Checked::new(answer, &self.sources);
        if checked.failing().next().is_some() {
            self.corrected = true;
            return Review::Revise(correction(&checked));
        }
        if checked.is_empty() && not_found(answer).is_empty() {
            self.corrected = true;
            return Review::Revise(UNCITED.into());
        }
        Review::Accept
    }

    fn closing(&mut self) -> String {
        let mut text = String::from(
            "No more tool calls are possible. Give your answer now, with file:line after each claim, from what you have read. \
             List under `Not found:` what is missing.",
        );
        let notes = self.notes.shown();
        if !notes.is_empty() {
            text.push_str("\n\nYour notes:\n");
            text.push_str(&notes);
        }
        text
    }

    fn report(&mut self, outcome: Outcome, answer: &str) -> Report {
        let checked = Checked::new(answer, &self.sources);
        let mut report = Report::new(outcome, checked.marked(answer));
        report.result_json = Some(checked.json().to_string());
        report.artifacts = self.notes.artifacts();
        report.open_questions = not_found(answer);
        let unverified = checked.failing().count();
        if unverified > 0 {
            report
                .open_questions
                .push(format!("Citations that could not be confirmed: {unverified}"));
        }
        if !checked.has_source() {
            let why = match (self.can_read, self.sources.is_empty()) {
                (false, _) => "no folder or site is granted, so nothing was read (--allow fs:DIR)",
                (true, true) => "no document was read",
                (true, false) => "it cites nothing that was read",
            };
            report.open_questions.push(format!("The answer is unsupported: {why}."));
        }
        if report.outcome == Outcome::Achieved && !report.open_questions.is_empty() {
            report.outcome = Outcome::PartlyAchieved;
        }
        report
    }
}

/// What people see while a call runs: `reading docs/x.md:120-180`.
fn describe(call: &ToolCall) -> String {
    let text = |key: &str| argument(call, key).unwrap_or_default();
    match Reader::of(&call.name) {
        Some(Reader::Read) => {
            let path = text("path");
            let path = path.trim_start_matches('/');
            let number = |key: &str| text(key).parse::<u64>().ok();
            let start = number("start").unwrap_or(1);
            match number("lines") {
                Some(lines) => format!("reading {path}:{start}-{}", start.saturating_add(lines.max(1) - 1)),
                None if start == 1 => format!("reading {path}"),
                None => format!("reading {path}:{start}"),
            }
        }
        Some(Reader::Search) => format!("searching \"{}\"", text("pattern")),
        Some(Reader::Fetch) => format!("fetching {}", text("url")),
        None if call.name == TAKE_NOTE => String::new(),
        None => call.name.replace('_', " "),
    }
}

/// An argument of a call, as text.
fn argument(call: &ToolCall, key: &str) -> Option<String> {
    let arguments: Value = serde_json::from_str(&call.arguments).ok()?;
    match arguments.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: &str) -> ToolCall {
        ToolCall {
            id: "call-1".into(),
            name: name.into(),
            arguments: arguments.into(),
        }
    }

    fn reader() -> Researcher {
        let mut researcher = Researcher {
            can_read: true,
            ..Researcher::default()
        };
        let read = call("read_file", r#"{"path":"/d/a.md"}"#);
        researcher.result(
            &read,
            &ToolResult::text(&read, "[/d/a.md, lines 1-2 of 2]\n1: one\n2: two"),
        );
        researcher
    }

    #[test]
    fn progress_names_what_is_read() {
        let shown = |name: &str, arguments: &str| describe(&call(name, arguments));
        assert_eq!(
            shown("read_file", r#"{"path":"/docs/x.md","start":120,"lines":61}"#),
            "reading docs/x.md:120-180"
        );
        assert_eq!(shown("read_file", r#"{"path":"x.md"}"#), "reading x.md");
        assert_eq!(shown("lib_search_files", r#"{"pattern":"a b"}"#), "searching \"a b\"");
        assert_eq!(shown("take_note", "{}"), "");
    }

    #[test]
    fn a_good_answer_is_achieved() {
        let mut researcher = reader();
        let answer = "It is one a.md:1.";
        assert_eq!(researcher.review(answer), Review::Accept);
        let report = researcher.report(Outcome::Achieved, answer);
        assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Achieved, answer));
        assert!(report.result_json.unwrap().contains(r#""path":"a.md""#));
    }

    #[test]
    fn a_bad_citation_goes_back_once_and_is_then_marked() {
        let mut researcher = reader();
        let answer = "It is three a.md:3.";
        assert!(matches!(researcher.review(answer), Review::Revise(text) if text.contains("line 3")));
        assert_eq!(researcher.review(answer), Review::Accept);
        let report = researcher.report(Outcome::Achieved, answer);
        assert_eq!(
            (report.outcome, report.summary.as_str()),
            (Outcome::PartlyAchieved, "It is three a.md:3 [unverified].")
        );
    }

    #[test]
    fn an_answer_without_sources_is_not_achieved() {
        let mut researcher = reader();
        assert_eq!(researcher.review("It is one."), Review::Revise(UNCITED.into()));
        assert_eq!(
            researcher.report(Outcome::Achieved, "It is one.").outcome,
            Outcome::PartlyAchieved
        );
        let mut blind = Researcher::default();
        assert_eq!(blind.review("It is one."), Review::Accept);
        let report = blind.report(Outcome::Achieved, "It is one.");
        assert!(report.open_questions[0].contains("--allow fs:DIR"));
    }

    #[test]
    fn what_was_not_found_stays_open() {
        let mut researcher = reader();
        let answer = "One a.md:1.\n\nNot found:\n- four";
        assert_eq!(researcher.review(answer), Review::Accept);
        let report = researcher.report(Outcome::Achieved, answer);
        assert_eq!(
            (report.outcome, report.open_questions),
            (Outcome::PartlyAchieved, vec!["four".to_owned()])
        );
    }
}
