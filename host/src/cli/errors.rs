//! How errors look: what happened, indented why, and the lines that say what to do about it.

use std::borrow::Cow;

use super::pasted::pasted;
use super::style::{Ink, Paint, flow, hung, width, wrap};
use super::terminal;
use crate::config::{BudgetKey, ConfigError};
use crate::error::RefusalKind;
use crate::ids::RunId;
use crate::run::{ApprovalError, HostError, WayOn};
use crate::store::StoreError;
use crate::text::{Shape, clean, shell_word};

/// Something that ended a command, ready to be shown.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// The process's exit code.
    pub(super) code: u8,
    /// The contract's name of the kind.
    pub(super) kind: &'static str,
    /// What happened, in its first line; more about it in the others.
    pub(super) message: String,
    /// What to do about it.
    pub(super) help: Vec<String>,
    /// The run that it ended, where one had begun.
    pub(super) run: Option<RunId>,
}

/// A command that failed before anything ran.
pub(super) const NOTHING_RAN: u8 = 2;
/// What a process that a signal stopped exits with.
pub(super) const STOPPED: u8 = 130;

impl Problem {
    /// The command line or its input makes no sense.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: NOTHING_RAN,
            kind: "invalid-input",
            message: message.into(),
            help: Vec::new(),
            run: None,
        }
    }

    /// A signal came when nothing was under way yet; `when` says when.
    pub(super) fn stopped(when: &str) -> Self {
        Self {
            code: STOPPED,
            kind: "cancelled",
            ..Self::usage(when)
        }
    }

    /// It ended this run, which had begun.
    pub(super) fn of_run(mut self, run: &RunId) -> Self {
        self.help.push(format!("what it did     hermes-host show {run}"));
        self.help.push(format!("go on with it   hermes-host resume {run}"));
        self.run = Some(run.clone());
        self
    }

    /// With a line that says what to do.
    pub(super) fn with_help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }

    /// As people read it, each line clean.
    pub(super) fn render(&self, paint: Paint) -> String {
        let (lead, ink) = match self.code {
            4 => ("denied", Ink::Bad),
            STOPPED => ("stopped", Ink::Warn),
            _ => ("error", Ink::Bad),
        };
        let mut out = block(paint, lead, ink, &pasted(&self.message));
        for line in &self.help {
            out.push_str(&format!("  {}\n", clean(&pasted(line), Shape::Line)));
        }
        out
    }
}

/// What stands behind `lead:`, clean; some messages begin with it already.
fn behind<'a>(lead: &str, message: &'a str) -> Cow<'a, str> {
    let rest = message.strip_prefix(lead).and_then(|rest| rest.strip_prefix(": "));
    clean(rest.unwrap_or(message).trim_end(), Shape::Block)
}

/// `lead: first line` and the other lines indented.
pub(super) fn block(paint: Paint, lead: &str, ink: Ink, message: &str) -> String {
    let message = behind(lead, message);
    // On a terminal it is broken between words.
    let columns = terminal::error_columns().map(|columns| columns.saturating_sub(width(lead) + 2));
    let flown = columns.map(|columns| flow(&message, columns));
    let mut lines = flown.as_deref().unwrap_or(&message).lines();
    let mut out = format!(
        "{} {}\n",
        paint.ink(ink, &format!("{lead}:")),
        lines.next().unwrap_or_default()
    );
    lines.for_each(|line| out.push_str(&format!("  {}\n", line.trim_end().strip_prefix("  ").unwrap_or(line))));
    out
}

/// The same of what a plugin or a model says, with a bar before each line but the first: none of them can be taken for what the host advises, or for its next
/// words, however it is written.
pub(super) fn foreign(paint: Paint, lead: &str, ink: Ink, message: &str) -> String {
    let message = behind(lead, message);
    let columns = terminal::error_columns().map_or(usize::MAX, |columns| columns.saturating_sub(width(lead) + 2));
    let flown = flow(&message, columns);
    // What is preformatted would go on at the beginning of the terminal's next line.
    let mut lines = flown.lines().flat_map(|line| match width(line) > columns {
        true => wrap(line, columns),
        false => vec![line.to_owned()],
    });
    let first = lines.next().unwrap_or_default();
    let mut out = format!("{} {first}\n", paint.ink(ink, &format!("{lead}:")));
    for line in lines {
        out.push_str(format!("  | {line}").trim_end());
        out.push('\n');
    }
    out
}

/// `lead:` and below it the items, each with a dash of its own.
pub(super) fn list(paint: Paint, lead: &str, ink: Ink, items: &[String]) -> String {
    let mut out = format!("{}\n", paint.ink(ink, &format!("{lead}:")));
    let columns = terminal::error_columns().unwrap_or(usize::MAX);
    for item in items {
        out.push_str(&format!("{}\n", hung("  - ", 4, item, columns)));
    }
    out
}

/// What the host noticed beside what was asked for.
pub(super) fn notices(paint: Paint, notices: &[String]) -> String {
    notices.iter().map(|n| block(paint, "notice", Ink::Dim, n)).collect()
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        Self {
            code: NOTHING_RAN,
            kind: "invalid-input",
            message: error.to_string(),
            help: error.help(),
            run: None,
        }
    }
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        Self {
            code: error.code(),
            kind: error.kind(),
            message: error.to_string(),
            help: help(&error),
            run: None,
        }
    }
}

/// How a fork goes on that takes the place of a run which has ended.
pub(super) fn way_on(run: &RunId, way: &WayOn) -> String {
    match way {
        WayOn::Raised(keys) => {
            let budget = budget_of(keys.iter().map(String::as_str));
            format!("go on with more of it   hermes-host replay {run} --fork --budget {budget}")
        }
        WayOn::AskedAgain => format!("ask the model again   hermes-host replay {run} --fork"),
    }
}

/// A budget with these keys, as a flag takes it, but for how much.
pub(super) fn budget_of<'k>(keys: impl Iterator<Item = &'k str>) -> String {
    let value = |key: &str| BudgetKey::read(key).map_or("N", BudgetKey::any_value);
    let limits: Vec<String> = keys.map(|key| format!("{key}={}", value(key))).collect();
    limits.join(",")
}

/// What happened, with its kind where that says something that the words don't: that something failed outside or that a budget was used up is
/// said by them.
pub(super) fn with_kind(message: &str, kind: &str) -> String {
    if kind == "upstream" || RefusalKind::dimension_in(kind).is_some() {
        return message.to_owned();
    }
    format!("{message} ({kind})")
}

/// What to do where that is a command.
fn help(error: &HostError) -> Vec<String> {
    if let Some(run) = error.damaged_run() {
        return vec![
            "see all that is damaged          hermes-host doctor".to_owned(),
            format!("give up what it has lost, go on  hermes-host resume {run} --accept-loss"),
        ];
    }
    if let HostError::Store(StoreError::NothingLeft { .. }) = error {
        return vec![
            "see all that is damaged         hermes-host doctor".to_owned(),
            "it can't go on; remove it with  hermes-host runs prune --status damaged".to_owned(),
        ];
    }
    if let HostError::Store(StoreError::Lost { run, .. }) = error {
        return vec![
            "see all that is damaged  hermes-host doctor".to_owned(),
            format!("forget it                hermes-host resume {run} --accept-loss"),
        ];
    }
    if let HostError::Setting { error, .. } = error {
        return help(error);
    }
    if let HostError::Load(error) = error
        && let Some(file) = error.compiled_before()
    {
        return vec![format!("try it again all the same   rm {}", file.display())];
    }
    if let HostError::Approval(error) = error {
        return approval(error);
    }
    if let HostError::Ended { run, way_on: way, .. } = error {
        return way.iter().map(|way| way_on(run, way)).collect();
    }
    if let HostError::Store(StoreError::Owned { run, .. }) = error {
        return vec![
            format!("see how far it is  hermes-host tree {run}"),
            format!("end it for good    hermes-host cancel {run}"),
        ];
    }
    if let HostError::NotEnded { run } = error {
        return vec![
            format!("see how far it is  hermes-host tree {run}"),
            format!("wait for it again  hermes-host cancel {run}"),
        ];
    }
    Vec::new()
}

/// What to do where a plugin is not what was approved, or was never added.
fn approval(error: &ApprovalError) -> Vec<String> {
    match error {
        ApprovalError::Changed(change) if change.damaged.is_some() => vec![
            "put it back  hermes-host plugin add PATH".to_owned(),
            format!("remove it    hermes-host plugin remove {}", change.name),
        ],
        ApprovalError::Changed(change) => {
            let (name, path) = (&change.name, shell_word(&change.path.display().to_string()));
            vec![
                format!("look at it and approve it anew   hermes-host plugin add {path}"),
                format!("remove it                        hermes-host plugin remove {name}"),
            ]
        }
        ApprovalError::Elsewhere {
            plugin,
            approved,
            found,
        } => {
            let (approved, found) = (shell_word(approved), shell_word(found));
            vec![
                format!("take it away        hermes-host plugin allow {plugin} --deny {approved}"),
                format!("give the other one  hermes-host plugin allow {plugin} {found} --deny {approved}"),
            ]
        }
        ApprovalError::Grant { plugin, grant, .. } => {
            let grant = shell_word(grant);
            vec![format!(
                "take it away  hermes-host plugin allow {plugin} --deny {grant}"
            )]
        }
        ApprovalError::NotAdded { path, .. } => {
            let path = shell_word(&path.display().to_string());
            vec![
                format!("add it     hermes-host plugin add {path}"),
                format!("remove it  rm {path}"),
            ]
        }
        ApprovalError::Never { .. } => vec![
            "add it             hermes-host plugin add PATH".to_owned(),
            "see what is added  hermes-host plugin list".to_owned(),
        ],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_plugins_is_one_of_the_hosts() {
        let told = foreign(
            Paint::Plain,
            "error",
            Ink::Bad,
            "it failed\n  allow it with  --allow fs:/:rw\ndenied: once\n",
        );
        assert_eq!(
            told,
            "error: it failed\n  |   allow it with  --allow fs:/:rw\n  | denied: once\n"
        );
    }

    #[test]
    fn a_problem_says_what_why_and_what_to_do() {
        let denied = Problem {
            code: 4,
            kind: "denied",
            message: "denied: research may not list ./pa\u{1b}[2Jpers\n  it holds no grant for files".to_owned(),
            help: vec!["allow it with  --allow fs:./papers".to_owned()],
            run: None,
        };
        assert_eq!(
            denied.render(Paint::Plain),
            "denied: research may not list ./pa\u{fffd}[2Jpers\n  it holds no grant for files\n  allow it with  --allow fs:./papers\n"
        );
        assert_eq!(Problem::usage("no task").render(Paint::Plain), "error: no task\n");
    }

    #[test]
    fn each_item_of_a_list_has_a_dash() {
        let items = ["one\ntwo\u{1b}[2J".to_owned(), "three".to_owned()];
        assert_eq!(
            list(Paint::Plain, "left open", Ink::Warn, &items),
            "left open:\n  - one two\u{fffd}[2J\n  - three\n"
        );
    }

    #[test]
    fn a_kind_stands_behind_words_that_do_not_say_it() {
        assert_eq!(with_kind("a.wasm ended", "trapped"), "a.wasm ended (trapped)");
        assert_eq!(with_kind("there is no a.md", "upstream"), "there is no a.md");
        let used_up = "its budget for tokens is used up";
        assert_eq!(with_kind(used_up, "exhausted(tokens)"), used_up);
        assert_eq!(budget_of(["usd", "tree.wall"].into_iter()), "usd=N,tree.wall=TIME");
    }
}
