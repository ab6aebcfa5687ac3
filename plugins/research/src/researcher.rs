//! The strategy's say in the loop: notes, sources, the review of citations, the report.

use hermes_sdk::tool::{arguments, own};
use hermes_sdk::{Hooks, Outcome, Report, Review, ToolCall, ToolDef, ToolResult};
use serde_json::Value;

use crate::check::Checked;
use crate::feedback::{NO_PLAN, UNCITED, correction, not_found};
use crate::notes::{Note, Notes, Plan, SHOWN_BYTES};
use crate::sources::Sources;

const MAKE_PLAN: &str = "make_plan";
const TAKE_NOTE: &str = "take_note";

/// One piece of research.
#[derive(Debug, Default)]
pub(crate) struct Researcher {
    notes: Notes,
    sources: Sources,
    can_read: bool,
    /// The model was asked once for a plan.
    asked_for_plan: bool,
    /// The model was asked once to mend its answer.
    corrected: bool,
}

impl Researcher {
    /// On this question, with these tools granted.
    pub(crate) fn new(question: &str, offered: &[ToolDef]) -> Self {
        let can_read = offered.iter().any(|tool| Reader::of(&tool.name).is_some());
        let mut sources = Sources::default();
        sources.mention(question);
        if !can_read {
            sources.give(question);
        }
        Self {
            notes: Notes::open(),
            sources,
            can_read,
            ..Self::default()
        }
    }

    /// Keeps a note; with the first one the model is asked for a plan, if it has made none.
    fn take_note(&mut self, note: &Note) -> String {
        let mut told = self.notes.take(note);
        if !self.notes.has_plan() && !self.asked_for_plan {
            self.asked_for_plan = true;
            told.push_str("; ");
            told.push_str(NO_PLAN);
        }
        told
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
        vec![
            own::<Plan>(
                MAKE_PLAN,
                "Keeps your plan. Call it first, and again when the plan changes.",
            ),
            own::<Note>(
                TAKE_NOTE,
                "Keeps a finding, with its source. Notes stay when old tool results are shortened.",
            ),
        ]
    }

    fn answer_call(&mut self, call: &ToolCall) -> Option<ToolResult> {
        let answer = match call.name.as_str() {
            MAKE_PLAN => arguments::<Plan>(call).and_then(|plan| self.notes.make_plan(&plan)),
            TAKE_NOTE => arguments::<Note>(call).map(|note| self.take_note(&note)),
            _ => return None,
        };
        Some(match answer {
            Ok(text) => ToolResult::text(call, text),
            Err(error) => ToolResult::failure(call, error),
        })
    }

    fn describe(&mut self, call: &ToolCall) -> String {
        describe(call)
    }

    fn said(&mut self, text: &str) {
        // A model may write its plan beside its first calls, as many do, and mean the same.
        if !self.notes.has_plan() {
            self.notes.plan(text);
        }
    }

    fn recall(&mut self, bytes: usize) -> String {
        self.notes.shown(bytes)
    }

    fn result(&mut self, call: &ToolCall, result: &ToolResult) {
        if result.error.is_some() {
            return;
        }
        match Reader::of(&call.name) {
            Some(Reader::Read) => self.sources.read(&result.joined_text()),
            Some(Reader::Search) => self.sources.searched(&result.joined_text()),
            Some(Reader::Fetch) => {
                let url = argument(call, "url").unwrap_or_default();
                self.sources.fetched(&url, &result.joined_text());
            }
            None => self.sources.mention(&result.joined_text()),
        }
    }

    fn review(&mut self, answer: &str) -> Review {
        if self.corrected || !self.can_read {
            return Review::Accept;
        }
        let checked = Checked::new(answer, &self.sources);
        if checked.unconfirmed() > 0 {
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
        let notes = self.notes.shown(SHOWN_BYTES);
        if !notes.is_empty() {
            text.push_str("\n\n");
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
        let unverified = checked.unconfirmed();
        if unverified > 0 {
            report
                .open_questions
                .push(format!("Citations that could not be confirmed: {unverified}"));
        }
        let is_supported = checked.has_source() || !self.can_read && checked.has_given();
        if !is_supported {
            let why = match (self.can_read, self.sources.is_empty()) {
                (false, _) => {
                    "it has no tools that read (--allow fs:DIR, and of a sub-agent its toolsets), and cites nothing that its task names"
                }
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
        None if call.name == MAKE_PLAN => "planning".into(),
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
        assert_eq!(
            (shown("take_note", "{}"), shown("make_plan", "{}")),
            (String::new(), "planning".into())
        );
    }

    #[test]
    fn a_plan_is_made_by_its_tool_or_beside_a_call_and_asked_for_once() {
        let mut researcher = Researcher::default();
        let names: Vec<_> = researcher.own_tools().into_iter().map(|tool| tool.name).collect();
        assert_eq!(names, [MAKE_PLAN, TAKE_NOTE]);
        let mut noted = || {
            let note = call(TAKE_NOTE, r#"{"text":"one"}"#);
            researcher.answer_call(&note).unwrap().joined_text()
        };
        assert_eq!((noted().contains(NO_PLAN), noted().contains(NO_PLAN)), (true, false));
        let bad = researcher.answer_call(&call(MAKE_PLAN, r#"{"steps":[]}"#)).unwrap();
        assert!(bad.error.is_some() && !researcher.notes.has_plan());
        researcher.answer_call(&call(MAKE_PLAN, r#"{"steps":["look","answer"]}"#));
        researcher.said("Words are no plan where there is one.");
        assert_eq!(
            researcher.recall(1_000),
            "Your plan:\n1. look\n2. answer\nYour notes:\n- one\n- one"
        );

        let mut talker = Researcher::default();
        talker.said("1. look");
        assert_eq!(talker.recall(1_000), "Your plan:\n1. look");
        assert!(talker.answer_call(&call("read_file", "{}")).is_none());
    }

    #[test]
    fn an_invented_page_goes_back_even_beside_a_good_citation() {
        let mut researcher = reader();
        let answer = "It is one a.md:1, and https://x.org/paper says so.";
        assert!(matches!(researcher.review(answer), Review::Revise(text) if text.contains("https://x.org/paper")));
        let report = researcher.report(Outcome::Achieved, answer);
        assert_eq!(report.outcome, Outcome::PartlyAchieved);
        assert!(
            report.summary.contains("https://x.org/paper [unverified] says"),
            "{}",
            report.summary
        );
        let mut researcher = reader();
        researcher.sources.mention("Is https://x.org/paper right?");
        assert_eq!(researcher.review(answer), Review::Accept);
        assert_eq!(researcher.report(Outcome::Achieved, answer).outcome, Outcome::Achieved);
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
    fn who_can_read_nothing_cites_what_its_task_cites() {
        let task =
            "Which is the strongest?\n\n<result of=\"a\">\nHeat (/papers/melt.md:1-3), https://x.org/a\n</result>";
        let analyst = || {
            let mut researcher = Researcher::default();
            researcher.sources.mention(task);
            researcher.sources.give(task);
            researcher
        };
        for answer in ["Heat (papers/melt.md:2).", "Heat, by https://x.org/a."] {
            let mut analyst = analyst();
            assert_eq!(analyst.review(answer), Review::Accept);
            let report = analyst.report(Outcome::Achieved, answer);
            assert_eq!((report.outcome, report.summary.as_str()), (Outcome::Achieved, answer));
        }
        for answer in ["Heat (melt.md:4).", "Heat (field.md:1)."] {
            let report = analyst().report(Outcome::Achieved, answer);
            assert_eq!(report.outcome, Outcome::PartlyAchieved, "{answer}");
            assert!(report.summary.contains("[unverified]"), "{}", report.summary);
        }
        // Who can read, reads.
        let mut reader = reader();
        reader.sources.mention(task);
        assert!(matches!(reader.review("Heat (melt.md:2)."), Review::Revise(_)));
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
