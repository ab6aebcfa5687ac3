//! Progress where there is no terminal: one line for each thing worth telling.

use std::collections::HashMap;

use super::style::{clock, first_line, fit, number, usd};
use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::event::{Beginning, EventKind, RunEvent};
use crate::ids::SessionId;
use crate::text;

/// The longest line, in columns.
const WIDTH: usize = 240;

/// Turns the events of a run into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Of the agents that have not ended.
    roles: HashMap<SessionId, String>,
    started_ms: u64,
}

impl Lines {
    /// The line that tells `event`, clean; none where it is not worth one. `verbose` adds what plugins log.
    pub(super) fn line(&mut self, event: &RunEvent, verbose: bool) -> Option<String> {
        if self.started_ms == 0 {
            self.started_ms = event.at_ms;
        }
        if let EventKind::SessionStarted { role, .. } = &event.kind {
            self.roles.insert(event.session.clone(), text::line(role, 32));
        }
        let told = told(&event.kind, verbose)?;
        let elapsed = std::time::Duration::from_millis(event.at_ms.saturating_sub(self.started_ms));
        let line = format!("{:>5} {} · {told}", clock(elapsed), self.who(&event.session));
        // Nothing more comes of one that has ended.
        if matches!(event.kind, EventKind::SessionEnded { .. }) {
            self.roles.remove(&event.session);
        }
        Some(fit(&line, WIDTH))
    }

    fn who(&self, id: &SessionId) -> String {
        named(self.roles.get(id).map_or("root", String::as_str), id)
    }
}

/// An agent by its role, and its number where that is not the root's.
pub(super) fn named(role: &str, id: &SessionId) -> String {
    match id.number {
        0 => role.to_owned(),
        number => format!("{role} {number}"),
    }
}

fn told(kind: &EventKind, verbose: bool) -> Option<String> {
    Some(match kind {
        EventKind::RunStarted(Beginning {
            run, strategy, model, ..
        }) => {
            format!(
                "{strategy} starts run {run} with {}",
                model.as_deref().unwrap_or("no model")
            )
        }
        EventKind::Resumed { of, observations } => {
            format!(
                "{} goes on with run {} and {}; {} from its journal",
                of.strategy,
                of.run,
                of.model.as_deref().unwrap_or("no model"),
                number(*observations, "answer")
            )
        }
        EventKind::SessionStarted {
            parent: None,
            attempt: 1,
            ..
        } => return None,
        EventKind::SessionStarted {
            strategy, attempt: 1, ..
        } => format!("starts {strategy}"),
        EventKind::SessionStarted { attempt, .. } => format!("starts again, attempt {attempt}"),
        EventKind::SessionRestarts { cause, after_ms, .. } => {
            format!("ended ({}), starts again in {after_ms} ms", first_line(cause))
        }
        EventKind::CompletionStarted {
            model,
            iteration: Some(n),
            ..
        } => format!("iteration {n}: asks {model}"),
        EventKind::CompletionStarted {
            model, iteration: None, ..
        } => format!("closing call: asks {model}"),
        EventKind::CompletionRestarted { reason, .. } => format!("the model's answer broke off, again: {reason}"),
        EventKind::CompletionEnded { error: Some(error), .. } => format!("the model did not answer: {}", error.message),
        EventKind::ToolStarted { tool, arguments, .. } => format!("{tool} {arguments}"),
        EventKind::ToolEnded {
            tool,
            error: Some(error),
            ..
        } => format!("{tool} failed: {}", error.message),
        EventKind::Progress { message, .. } => message.clone(),
        EventKind::LimitHit { message, .. } | EventKind::Notice { message } => message.clone(),
        EventKind::Log { level, plugin, message } if verbose => format!("[{plugin} {level}] {message}"),
        EventKind::SessionEnded {
            exit,
            outcome,
            error,
            spent,
        } => {
            let outcome = outcome
                .as_ref()
                .map(|outcome| format!(", {outcome}"))
                .unwrap_or_default();
            let error = error.as_ref().map(|error| format!(": {}", first_line(error)));
            let error = error.unwrap_or_default();
            format!("{exit}{outcome}{error} ({})", figures(spent))
        }
        // Text as it comes would be most of a log; what is denied is told once, at the end.
        EventKind::CompletionText { .. }
        | EventKind::CompletionEnded { .. }
        | EventKind::ToolEnded { .. }
        | EventKind::Wrote { .. }
        | EventKind::Emit { .. }
        | EventKind::Log { .. }
        | EventKind::Checkpoint
        | EventKind::Used { .. }
        | EventKind::Denied { .. }
        | EventKind::Spent { .. }
        | EventKind::Suspended
        | EventKind::RunEnded { .. } => return None,
    })
}

/// What an agent spent. Its iterations are its own; of all else what its sub-agents spent counts for it too, which is said where it has some.
fn figures(spent: &Amounts) -> String {
    let iterations = number(spent.get(Dimension::Iterations), "iteration");
    let tokens = number(spent.get(Dimension::Tokens), "token");
    let cost = usd(spent.get(Dimension::CostMicroUsd));
    let calls = number(spent.get(Dimension::ToolCalls), "call");
    match spent.get(Dimension::Children) {
        0 => format!("{iterations}, {tokens}, {cost}; {calls}"),
        children => {
            let children = number(children, "sub-agent");
            format!("{iterations} of its own; with {children} {tokens}, {cost}; {calls}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_whose_they_are() {
        let alone = Amounts::of(Dimension::Iterations, 2).with(Dimension::Tokens, 4_100);
        assert_eq!(figures(&alone), "2 iterations, 4.1k tokens, $0; 0 calls");
        let above = alone.with(Dimension::Children, 3).with(Dimension::ToolCalls, 8);
        assert_eq!(
            figures(&above),
            "2 iterations of its own; with 3 sub-agents 4.1k tokens, $0; 8 calls"
        );
    }

    #[test]
    fn an_agent_goes_by_its_role_in_each_of_its_attempts() {
        let run: crate::ids::RunId = "7f3a09c1d2".parse().unwrap();
        let mut lines = Lines::default();
        let mut line = |number, kind| {
            let event = RunEvent {
                at_ms: 1_000,
                session: SessionId {
                    run: run.clone(),
                    number,
                },
                kind,
            };
            lines.line(&event, false)
        };
        let starts = |role: &str, attempt| EventKind::SessionStarted {
            parent: Some("7f3a09c1d2.0".to_owned()),
            role: role.to_owned(),
            strategy: "react".to_owned(),
            attempt,
        };
        let ends = || EventKind::SessionEnded {
            exit: "returned".to_owned(),
            outcome: None,
            error: None,
            spent: Amounts::ZERO,
        };
        assert_eq!(line(1, starts("a", 1)).unwrap(), " 0:00 a 1 · starts react");
        assert_eq!(line(2, starts("b", 1)).unwrap(), " 0:00 b 2 · starts react");
        assert_eq!(line(1, starts("c", 2)).unwrap(), " 0:00 c 1 · starts again, attempt 2");
        let ended = "returned (0 iterations, 0 tokens, $0; 0 calls)";
        assert_eq!(line(1, ends()).unwrap(), format!(" 0:00 c 1 · {ended}"));
        assert_eq!(line(2, ends()).unwrap(), format!(" 0:00 b 2 · {ended}"));
        assert_eq!(line(1, starts("d", 3)).unwrap(), " 0:00 d 1 · starts again, attempt 3");
        assert!(lines.roles.keys().all(|id| id.number == 1), "{lines:?}");
    }

    #[test]
    fn each_step_is_one_clean_line() {
        let root: SessionId = "7f3a09c1d2.0".parse().unwrap();
        let mut lines = Lines::default();
        let mut line = |at_ms, kind| {
            lines.line(
                &RunEvent {
                    at_ms,
                    session: root.clone(),
                    kind,
                },
                false,
            )
        };
        let tool = |arguments: &str| EventKind::ToolStarted {
            op: "1".to_owned(),
            tool: "read_file".to_owned(),
            arguments: arguments.to_owned(),
        };
        assert_eq!(line(1_000, tool("a.md")).unwrap(), " 0:00 root · read_file a.md");
        let hostile = line(63_000, tool("a\u{1b}[2J\r\nok")).unwrap();
        assert_eq!(hostile, " 1:02 root · read_file a\u{fffd}[2J  ok");
        assert!(line(1_000, tool(&"x".repeat(100_000))).unwrap().chars().count() <= WIDTH);
        let log = EventKind::Log {
            level: "info".to_owned(),
            plugin: "p".to_owned(),
            message: "m".to_owned(),
        };
        assert_eq!(line(1_000, log.clone()), None);
        let event = RunEvent {
            at_ms: 1_000,
            session: root.clone(),
            kind: log,
        };
        assert_eq!(lines.line(&event, true).unwrap(), " 0:00 root · [p info] m");
    }
}
