//! What a run looks like: events go in, lines come out. Nothing here knows a terminal or a clock.

use std::time::Duration;

use super::plain::named;
use super::style::{Ink, Paint, clock, count, first_line, fit, left, number, right, tail, usd, width};
use crate::amounts::{Amounts, sum};
use crate::error::Dimension;
use crate::event::{Beginning, EventKind, RunEvent};
use crate::ids::SessionId;
use crate::run::SessionView;

/// Streamed text kept for an agent, in bytes: more than the widest line shows.
const TAIL: usize = 2048;
/// Columns of an agent's name at most.
const NAME: usize = 16;
/// What stands behind an agent whose run goes on, until it does something.
const GOES_ON: &str = "goes on from its journal";

/// A run as seen from its events.
#[derive(Debug, Default)]
pub(super) struct View {
    head: Vec<String>,
    agents: Vec<Agent>,
    started_ms: u64,
    suspended: bool,
    ended: bool,
}

/// The space to draw in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Columns.
    pub(super) width: usize,
    /// Rows; 0 where nothing moves any more.
    pub(super) height: usize,
    /// Milliseconds since 1970.
    pub(super) now_ms: u64,
    /// Whether to colour.
    pub(super) paint: Paint,
}

#[derive(Debug)]
struct Agent {
    id: SessionId,
    depth: usize,
    role: String,
    attempt: u32,
    state: State,
    /// What it is doing now, in its own words or ours.
    doing: String,
    /// Whether these words are its own.
    told: bool,
    /// The end of the text that comes now.
    text: String,
    /// Open operations, the latest last.
    open: Vec<(String, String)>,
    iterations: u64,
    limit: Option<u64>,
    refunded: u64,
    /// What it had spent when that was last told, all agents below it included.
    spent: Amounts,
    /// What had been told by then of those below it.
    below: Amounts,
    started_ms: u64,
    ended_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Working,
    Ended(Ink),
}

impl View {
    /// Takes in who was there before a run went on: no event tells of agents that had ended. `at_ms` is now.
    pub(super) fn went_before(&mut self, sessions: &[SessionView], at_ms: u64) {
        for session in sessions {
            let parent = session.agent.parent.as_ref();
            let at = parent.and_then(|parent| self.agents.iter().position(|agent| agent.id == *parent));
            let at = at.map_or(self.agents.len(), |parent| self.end_of(parent));
            self.agents.insert(at, Agent::that_was(session, at_ms));
        }
        // Those below an agent stand behind it.
        for at in (0..self.agents.len()).rev() {
            self.agents[at].below = self.below(at);
        }
    }

    /// Takes one event in.
    pub(super) fn apply(&mut self, event: &RunEvent) {
        if self.started_ms == 0 {
            self.started_ms = event.at_ms;
        }
        match &event.kind {
            EventKind::RunStarted(of) | EventKind::Resumed { of, .. } => {
                let Beginning {
                    run,
                    strategy,
                    model,
                    budget,
                    ..
                } = of;
                let limit = |d| {
                    budget
                        .iter()
                        .find(|(dimension, _)| *dimension == d)
                        .map(|(_, value)| *value)
                };
                self.head = vec![strategy.clone(), format!("run {run}")];
                self.head.extend(model.clone());
                self.head
                    .extend(limit(Dimension::Iterations).map(|n| number(n, "iteration")));
                self.head.extend(limit(Dimension::CostMicroUsd).map(usd));
                let resumed = matches!(event.kind, EventKind::Resumed { .. });
                let agent = self.agent(event);
                agent.limit = limit(Dimension::Iterations);
                if resumed {
                    agent.doing = GOES_ON.to_owned();
                }
            }
            EventKind::Suspended => self.suspended = true,
            EventKind::RunEnded { .. } => self.ended = true,
            EventKind::SessionStarted {
                parent, role, attempt, ..
            } => {
                let depth = parent.as_ref().map_or(0, |parent| self.depth_below(parent));
                self.place_below(event, parent.as_deref());
                let agent = self.agent(event);
                (agent.depth, agent.role, agent.attempt) = (depth, role.clone(), *attempt);
                (agent.state, agent.ended_ms) = (State::Working, None);
                agent.doing = if *attempt > 1 {
                    "starts again".to_owned()
                } else {
                    "starts".to_owned()
                };
            }
            kind => {
                let at = self.place(event);
                self.agents[at].apply(kind, event.at_ms);
                if matches!(kind, EventKind::Spent { .. } | EventKind::SessionEnded { .. }) {
                    self.agents[at].below = self.below(at);
                }
            }
        }
    }

    fn agent(&mut self, event: &RunEvent) -> &mut Agent {
        let at = self.place(event);
        &mut self.agents[at]
    }

    /// Where the event's agent stands: a new one behind all others.
    fn place(&mut self, event: &RunEvent) -> usize {
        let known = self.agents.iter().position(|agent| agent.id == event.session);
        known.unwrap_or_else(|| {
            self.agents.push(Agent::new(&event.session, event.at_ms));
            self.agents.len() - 1
        })
    }

    /// A new agent stands below the last descendant of its parent.
    fn place_below(&mut self, event: &RunEvent, parent: Option<&str>) {
        let at = |id: &str| self.agents.iter().position(|agent| agent.id.to_string() == id);
        let known = self.agents.iter().any(|agent| agent.id == event.session);
        let Some(parent) = parent.and_then(at).filter(|_| !known) else {
            return;
        };
        let at = self.end_of(parent);
        self.agents.insert(at, Agent::new(&event.session, event.at_ms));
    }

    /// Where the descendants of this agent end.
    fn end_of(&self, at: usize) -> usize {
        let depth = self.agents[at].depth;
        let below = self.agents[at + 1..].iter().take_while(|agent| agent.depth > depth);
        at + 1 + below.count()
    }

    fn depth_below(&self, parent: &str) -> usize {
        self.agents
            .iter()
            .find(|agent| agent.id.to_string() == parent)
            .map_or(1, |agent| agent.depth + 1)
    }

    /// The whole picture, at most `height` lines of at most `width` columns.
    pub(super) fn lines(&self, frame: Frame) -> Vec<String> {
        let mut lines = self.heading(frame);
        let room = frame.height.saturating_sub(lines.len() + 1).max(1);
        lines.extend(self.rows(frame, room));
        lines.push(self.total(frame, "Ctrl-C stops and keeps what there is"));
        lines.truncate(frame.height.max(1));
        lines
    }

    /// What stays on the screen at the end: every agent, and the total.
    pub(super) fn summary(&self, frame: Frame) -> Vec<String> {
        let frame = Frame { height: 0, ..frame };
        let mut lines = self.heading(frame);
        lines.extend((0..self.agents.len()).map(|at| self.agents[at].row(frame, &self.spent(at), 0)));
        let end = if self.suspended { "stopped" } else { "" };
        lines.push(self.total(frame, end));
        lines
    }

    fn heading(&self, frame: Frame) -> Vec<String> {
        let Some((first, rest)) = self.head.split_first() else {
            return Vec::new();
        };
        let name = fit(first, frame.width / 3);
        let rest: String = rest.iter().map(|part| format!(" · {part}")).collect();
        let rest = fit(&rest, frame.width.saturating_sub(width(&name)));
        vec![format!(
            "{}{}",
            frame.paint.ink(Ink::Bold, &name),
            frame.paint.ink(Ink::Dim, &rest)
        )]
    }

    /// Rows of agents, those at work first where not all fit, but in the order of the tree.
    fn rows(&self, frame: Frame, room: usize) -> Vec<String> {
        let all = self.agents.len();
        let shown = if all <= room { all } else { room.saturating_sub(1) };
        let mut order: Vec<usize> = (0..all).collect();
        order.sort_by_key(|&at| (at != 0, self.agents[at].state != State::Working, at));
        order.truncate(shown);
        order.sort_unstable();
        let mut spare = room.saturating_sub(shown + usize::from(shown < all));
        let mut rows = Vec::new();
        for &at in &order {
            rows.push(self.agents[at].row(frame, &self.spent(at), self.at_work_below(at)));
            if let Some(text) = self.agents[at].text_row(frame).filter(|_| spare > 0) {
                rows.push(text);
                spare -= 1;
            }
        }
        if shown < all {
            let hidden = self.agents.iter().enumerate().filter(|(at, _)| !order.contains(at));
            let (working, ended): (Vec<_>, Vec<_>) = hidden.partition(|(_, agent)| agent.state == State::Working);
            let more = format!(
                "  … and {} more: {} at work, {} ended",
                all - shown,
                working.len(),
                ended.len()
            );
            rows.push(frame.paint.ink(Ink::Dim, &fit(&more, frame.width)));
        }
        rows
    }

    /// How many agents below this one work.
    fn at_work_below(&self, at: usize) -> usize {
        let below = &self.agents[at + 1..self.end_of(at)];
        below.iter().filter(|agent| agent.state == State::Working).count()
    }

    /// What this agent and all below it have spent: what was last told of it, and what those below it have told since. Nobody tells it of a call of
    /// theirs before it comes to be asked itself.
    fn spent(&self, at: usize) -> Amounts {
        let agent = &self.agents[at];
        agent.spent.plus(&self.below(at).minus(&agent.below))
    }

    /// What the children of this agent have spent, with all below them.
    fn below(&self, at: usize) -> Amounts {
        let depth = self.agents[at].depth + 1;
        let children = (at + 1..self.end_of(at)).filter(|&child| self.agents[child].depth == depth);
        children.fold(Amounts::ZERO, |sum, child| sum.plus(&self.spent(child)))
    }

    fn total(&self, frame: Frame, end: &str) -> String {
        let Some(root) = self.agents.first() else {
            return fit("  starts", frame.width);
        };
        let refunded = sum(self.agents.iter().map(|agent| agent.refunded));
        // One agent has a limit to show; of several, as of all else here, the sum is told.
        let iterations = match (self.agents.as_slice(), root.limit) {
            ([_], Some(_)) => format!("{} iterations", root.iterations_shown()),
            (all, _) => number(sum(all.iter().map(|agent| agent.iterations)), "iteration"),
        };
        let back = match refunded {
            0 => String::new(),
            n => format!(", {n} given back"),
        };
        let spent = self.spent(0);
        let (tokens, calls) = (spent.get(Dimension::Tokens), spent.get(Dimension::ToolCalls));
        let cost = usd(spent.get(Dimension::CostMicroUsd));
        let time = clock(since(self.started_ms, root.ended_ms.unwrap_or(frame.now_ms)));
        let full = format!(
            "  {iterations}{back} · {} · {cost} · {} · {time}",
            number(tokens, "token"),
            number(calls, "call")
        );
        let short = |back: &str, calls: &str| {
            let (iterations, _) = iterations.split_once(' ').unwrap_or((&iterations, ""));
            format!(
                "  {iterations} it{back} · {} tok · {cost}{calls} · {time}",
                count(tokens)
            )
        };
        let calls = format!(" · {}", number(calls, "call"));
        let end = match end {
            end if !end.is_empty() && (self.suspended || !self.ended) => format!(" · {end}"),
            _ => String::new(),
        };
        // What there is no room for in full is said in its first words.
        let first = end.split(" and ").next().unwrap_or(&end);
        let lines = [
            format!("{full}{end}"),
            format!("{full}{first}"),
            format!("{}{first}", short(&back, &calls)),
            format!("{}{first}", short("", &calls)),
            format!("{}{first}", short("", "")),
            short("", ""),
        ];
        let line = lines.iter().find(|line| width(line) <= frame.width);
        let line = line.unwrap_or(&lines[lines.len() - 1]);
        frame.paint.ink(Ink::Dim, &fit(line, frame.width))
    }
}

impl Agent {
    fn new(id: &SessionId, at_ms: u64) -> Self {
        Self {
            id: id.clone(),
            depth: 0,
            role: "root".to_owned(),
            attempt: 1,
            state: State::Working,
            doing: "starts".to_owned(),
            told: false,
            text: String::new(),
            open: Vec::new(),
            iterations: 0,
            limit: None,
            refunded: 0,
            spent: Amounts::ZERO,
            below: Amounts::ZERO,
            started_ms: at_ms,
            ended_ms: None,
        }
    }

    /// One that was there before its run went on.
    fn that_was(session: &SessionView, at_ms: u64) -> Self {
        let told = &session.agent;
        let limit = session.budget.iter().find(|(d, _)| *d == Dimension::Iterations);
        let mut agent = Self {
            depth: session.depth,
            role: told.role.clone(),
            attempt: told.attempts,
            doing: GOES_ON.to_owned(),
            iterations: told.spent.get(Dimension::Iterations),
            limit: limit.map(|(_, limit)| *limit),
            refunded: session.refunded,
            spent: told.spent,
            ..Self::new(&told.id, at_ms)
        };
        if let Some(exit) = &told.exit {
            agent.ends(exit, told.outcome.as_deref(), told.error.as_deref());
            (agent.started_ms, agent.ended_ms) = (session.started_ms, session.ended_ms.or(Some(at_ms)));
        }
        agent
    }

    fn apply(&mut self, kind: &EventKind, at_ms: u64) {
        match kind {
            EventKind::SessionRestarts { attempt, cause, .. } => {
                self.open.clear();
                self.text.clear();
                self.attempt = *attempt;
                self.doing = format!("starts again: {}", first_line(cause));
            }
            EventKind::CompletionStarted { op, model, iteration } => {
                self.text.clear();
                self.iterations = iteration.unwrap_or(self.iterations).max(self.iterations);
                let what = if iteration.is_some() { "asks" } else { "sums up with" };
                self.begin(op, format!("{what} {model}"));
            }
            EventKind::CompletionText { text, .. } | EventKind::Emit { text } => self.heard(text),
            EventKind::CompletionRestarted { reason, .. } => {
                self.text.clear();
                self.doing = format!("tries again: {reason}");
            }
            EventKind::CompletionEnded { op, charged, error } => {
                self.text.clear();
                self.spent = self.spent.plus(charged);
                self.end(op, error.as_ref().map(|e| e.message.as_str()));
            }
            EventKind::ToolStarted { op, tool, arguments } => self.begin(op, format!("{tool} {arguments}")),
            EventKind::ToolEnded { op, tool, error, .. } => {
                let failed = error.as_ref().map(|e| format!("{tool}: {}", e.message));
                self.end(op, failed.as_deref());
            }
            EventKind::Progress { message, .. } => (self.doing, self.told) = (message.clone(), true),
            EventKind::Spent {
                spent,
                remaining,
                refunded,
            } => {
                let rest = remaining
                    .iter()
                    .find(|(d, _)| *d == Dimension::Iterations)
                    .map(|(_, rest)| *rest);
                (self.spent, self.refunded) = (*spent, *refunded);
                self.iterations = spent.get(Dimension::Iterations);
                self.limit = rest.map(|rest| rest.saturating_add(self.iterations)).or(self.limit);
            }
            EventKind::SessionEnded {
                exit,
                outcome,
                error,
                spent,
            } => {
                self.spent = *spent;
                self.iterations = spent.get(Dimension::Iterations);
                self.ended_ms = Some(at_ms);
                self.ends(exit, outcome.as_deref(), error.as_deref());
            }
            _ => {}
        }
    }

    fn ends(&mut self, exit: &str, outcome: Option<&str>, error: Option<&str>) {
        self.open.clear();
        self.text.clear();
        let good = exit == "returned" && outcome == Some("achieved");
        let bad = exit != "returned";
        self.state = State::Ended(if good {
            Ink::Good
        } else if bad {
            Ink::Bad
        } else {
            Ink::Warn
        });
        let word = if bad { exit } else { outcome.unwrap_or(exit) };
        self.doing = error.map_or_else(|| word.to_owned(), |error| format!("{word}: {}", first_line(error)));
    }

    fn begin(&mut self, op: &str, doing: String) {
        self.open.push((op.to_owned(), doing.clone()));
        (self.doing, self.told) = (doing, false);
    }

    /// Shows what is still under way, else how it failed.
    fn end(&mut self, op: &str, failed: Option<&str>) {
        self.open.retain(|(open, _)| open != op);
        if let Some((_, doing)) = self.open.last() {
            self.doing.clone_from(doing);
        } else if let Some(failed) = failed {
            failed.clone_into(&mut self.doing);
        }
    }

    fn heard(&mut self, text: &str) {
        self.text.push_str(text);
        if self.text.len() > TAIL {
            let cut = self.text.ceil_char_boundary(self.text.len() - TAIL);
            self.text.drain(..cut);
        }
    }

    /// As it is called in `tree`: by its role, and its number where it is not the root. That is never cut.
    fn name(&self, columns: usize) -> String {
        let number = named("", &self.id);
        format!("{}{number}", fit(&self.role, columns.saturating_sub(width(&number))))
    }

    fn iterations_shown(&self) -> String {
        match self.limit {
            Some(limit) => format!("{}/{limit}", self.iterations),
            None => self.iterations.to_string(),
        }
    }

    /// Columns go from the right as the width shrinks: calls, time, money, tokens, iterations.
    /// `spent` is what it and all below it have spent; iterations are its own.
    /// What an agent does that only waits is done by those below it, where it doesn't say so itself.
    fn row(&self, frame: Frame, spent: &Amounts, below: usize) -> String {
        let mut numbers = String::new();
        let elapsed = since(self.started_ms, self.ended_ms.unwrap_or(frame.now_ms));
        // The last column of a terminal stays free.
        for (least, column) in [
            (39, format!("  {} it", right(&self.iterations_shown(), 6))),
            (65, format!("  {} tok", right(&count(spent.get(Dimension::Tokens)), 6))),
            (79, format!("  {}", right(&usd(spent.get(Dimension::CostMicroUsd)), 7))),
            (91, format!("  {}", right(&clock(elapsed), 5))),
            (105, format!("  {:>9}", number(spent.get(Dimension::ToolCalls), "call"))),
        ] {
            if frame.width >= least {
                numbers.push_str(&column);
            }
        }
        let indent = 2 + 2 * self.depth.min(8);
        let name = self.name(NAME.min(frame.width / 4));
        // Deeper names give up padding, so that what agents do lines up.
        let columns = NAME.min(frame.width / 4).saturating_sub(indent - 2).max(width(&name));
        let fixed = indent + 2 + columns + 1 + width(&numbers);
        let doing = match (&self.state, self.attempt) {
            (State::Working, 2..) => format!("(attempt {}) {}", self.attempt, self.doing),
            (State::Ended(_), 2..) => format!("({} attempts) {}", self.attempt, self.doing),
            (State::Working, _) if below > 0 && self.open.is_empty() && !self.told => {
                format!("{} at work", number(below as u64, "sub-agent"))
            }
            _ => self.doing.clone(),
        };
        let doing = left(&doing, frame.width.saturating_sub(fixed));
        let (icon, ink) = match self.state {
            State::Working if frame.height == 0 => ('-', Ink::Warn),
            State::Working => (self.spinner(frame.now_ms), Ink::Bold),
            State::Ended(ink) => (mark(ink), ink),
        };
        let row = format!(
            "{:indent$}{} {} {doing}{numbers}",
            "",
            frame.paint.ink(ink, &icon.to_string()),
            left(&name, columns)
        );
        row.trim_end().to_owned()
    }

    fn spinner(&self, now_ms: u64) -> char {
        const TURN: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
        let step = usize::try_from(now_ms / 100).unwrap_or_default() + self.id.number as usize;
        TURN[step % TURN.len()]
    }

    /// The text that comes, one line below the agent.
    fn text_row(&self, frame: Frame) -> Option<String> {
        let indent = 6 + 2 * self.depth.min(8);
        let shown = tail(&self.text, frame.width.saturating_sub(indent));
        let wanted = self.state == State::Working && !shown.trim().is_empty();
        wanted.then(|| format!("{:indent$}{}", "", frame.paint.ink(Ink::Dim, &shown)))
    }
}

/// What stands before an agent that has ended: it achieved its task, it returned without that, or it failed.
fn mark(ink: Ink) -> char {
    match ink {
        Ink::Good => '✓',
        Ink::Bad => '✗',
        _ => '!',
    }
}

fn since(from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(to_ms.saturating_sub(from_ms))
}

#[cfg(test)]
mod tests;
