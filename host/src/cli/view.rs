//! What a run looks like: events go in, lines come out. Nothing here knows a terminal or a clock.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::plain::named;
use super::style::{Ink, Paint, clock, count, first_line, fit, left, number, right, tail, usd, width};
use crate::amounts::Amounts;
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
    /// In the order in which they came: who is above another one comes before it.
    agents: Vec<Agent>,
    /// Where in that order each of them is.
    places: HashMap<SessionId, usize>,
    /// Those below nobody.
    tops: Below,
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
    /// The agent above it.
    parent: Option<usize>,
    depth: usize,
    below: Below,
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
    spent_below: Amounts,
    started_ms: u64,
    ended_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Working,
    Ended(Ink),
}

/// Who is below an agent. An event changes this for all agents above its own, and a picture is drawn from it: neither looks through all agents.
#[derive(Debug, Default)]
struct Below {
    /// Its children, in the order in which they came.
    children: BTreeSet<usize>,
    /// Those of them that work, or have somebody below them who does.
    at_work: BTreeSet<usize>,
    /// What all below it come to.
    figures: Figures,
}

impl Below {
    fn children(&self) -> &BTreeSet<usize> {
        &self.children
    }

    fn at_work(&self) -> &BTreeSet<usize> {
        &self.at_work
    }
}

/// What agents come to together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Figures {
    spent: Amounts,
    iterations: u64,
    refunded: u64,
    at_work: usize,
}

impl Figures {
    fn plus(&self, other: &Self) -> Self {
        Self {
            spent: self.spent.plus(&other.spent),
            iterations: self.iterations.saturating_add(other.iterations),
            refunded: self.refunded.saturating_add(other.refunded),
            at_work: self.at_work + other.at_work,
        }
    }

    fn minus(&self, other: &Self) -> Self {
        Self {
            spent: self.spent.minus(&other.spent),
            iterations: self.iterations.saturating_sub(other.iterations),
            refunded: self.refunded.saturating_sub(other.refunded),
            at_work: self.at_work - other.at_work,
        }
    }
}

impl View {
    /// Takes in who was there before a run went on: no event tells of agents that had ended. `at_ms` is now.
    pub(super) fn went_before(&mut self, sessions: &[SessionView], at_ms: u64) {
        for session in sessions {
            let parent = session.agent.parent.as_ref().and_then(|parent| self.above(parent));
            self.add(parent, Agent::that_was(session, at_ms));
        }
        // Those below an agent come behind it.
        for at in (0..self.agents.len()).rev() {
            self.change(at, |agent| agent.spent_below = agent.below.figures.spent);
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
                let at = self.place(event);
                let agent = &mut self.agents[at];
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
                let at = self.place_below(event, parent.as_deref());
                self.change(at, |agent| {
                    (agent.role, agent.attempt) = (role.clone(), *attempt);
                    (agent.state, agent.ended_ms) = (State::Working, None);
                    agent.doing = if *attempt > 1 {
                        "starts again".to_owned()
                    } else {
                        "starts".to_owned()
                    };
                });
            }
            kind => {
                let at = self.place(event);
                self.change(at, |agent| agent.apply(kind, event.at_ms));
            }
        }
    }

    /// Where the event's agent is: a new one is below nobody.
    fn place(&mut self, event: &RunEvent) -> usize {
        self.place_below(event, None)
    }

    /// The same; a new one is below this parent.
    fn place_below(&mut self, event: &RunEvent, parent: Option<&str>) -> usize {
        if let Some(&at) = self.places.get(&event.session) {
            return at;
        }
        let parent = parent.and_then(|id| self.above(&id.parse().ok()?));
        self.add(parent, Agent::new(&event.session, event.at_ms))
    }

    /// Where this parent is: one that nobody told of is taken for the first agent, which is above all others.
    fn above(&self, parent: &SessionId) -> Option<usize> {
        let known = self.places.get(parent).copied();
        known.or_else(|| (!self.agents.is_empty()).then_some(0))
    }

    /// Takes in a new agent, the last of its parent's children.
    fn add(&mut self, parent: Option<usize>, mut agent: Agent) -> usize {
        let at = self.agents.len();
        agent.parent = parent;
        agent.depth = parent.map_or(0, |parent| self.agents[parent].depth + 1);
        self.places.insert(agent.id.clone(), at);
        self.agents.push(agent);
        self.below_mut(parent).children.insert(at);
        self.settle(at, Figures::default());
        at
    }

    /// Changes an agent, and what those above it know of it.
    fn change(&mut self, at: usize, change: impl FnOnce(&mut Agent)) {
        let before = self.agents[at].figures();
        change(&mut self.agents[at]);
        self.settle(at, before);
    }

    /// Has those above an agent count what it and all below it come to, which was `before`. Sums that 64 bits don't hold are not kept exactly.
    fn settle(&mut self, mut at: usize, mut before: Figures) {
        loop {
            let (parent, now) = (self.agents[at].parent, self.agents[at].figures());
            if now == before {
                return;
            }
            let above = parent.map(|parent| (parent, self.agents[parent].figures()));
            let below = self.below_mut(parent);
            below.figures = below.figures.minus(&before).plus(&now);
            if now.at_work > 0 {
                below.at_work.insert(at);
            } else {
                below.at_work.remove(&at);
            }
            let Some(above) = above else { return };
            (at, before) = above;
        }
    }

    fn below(&self, parent: Option<usize>) -> &Below {
        parent.map_or(&self.tops, |parent| &self.agents[parent].below)
    }

    fn below_mut(&mut self, parent: Option<usize>) -> &mut Below {
        match parent {
            Some(parent) => &mut self.agents[parent].below,
            None => &mut self.tops,
        }
    }

    /// Who comes next in the tree, of `whom` of each agent: children stand below their parent, each with all below it.
    fn next(&self, at: usize, whom: fn(&Below) -> &BTreeSet<usize>) -> Option<usize> {
        if let Some(&child) = whom(&self.agents[at].below).first() {
            return Some(child);
        }
        let mut at = at;
        loop {
            let parent = self.agents[at].parent;
            if let Some(&sibling) = whom(self.below(parent)).range(at + 1..).next() {
                return Some(sibling);
            }
            at = parent?;
        }
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
        let all = self.chosen(self.agents.len());
        lines.extend(all.into_iter().map(|at| self.agents[at].row(frame, 0)));
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
        let chosen = self.chosen(shown);
        let mut spare = room.saturating_sub(shown + usize::from(shown < all));
        let mut rows = Vec::new();
        for agent in chosen.iter().map(|&at| &self.agents[at]) {
            rows.push(agent.row(frame, agent.below.figures.at_work));
            if let Some(text) = agent.text_row(frame).filter(|_| spare > 0) {
                rows.push(text);
                spare -= 1;
            }
        }
        if shown < all {
            let hidden = all - shown;
            let working = chosen.iter().filter(|&&at| self.agents[at].is_working()).count();
            let working = self.tops.figures.at_work - working;
            let more = format!("  … and {hidden} more: {working} at work, {} ended", hidden - working);
            rows.push(frame.paint.ink(Ink::Dim, &fit(&more, frame.width)));
        }
        rows
    }

    /// So many agents, in the order of the tree: the first, then those at work, then those that have ended. Besides these it looks at those alone that
    /// have somebody at work below them.
    fn chosen(&self, shown: usize) -> Vec<usize> {
        let Some(first) = self.agents.first().filter(|_| shown > 0) else {
            return Vec::new();
        };
        let at_work = self.tops.figures.at_work - usize::from(first.is_working());
        let mut ended = (shown - 1).saturating_sub(at_work);
        let mut chosen = vec![0];
        let mut at = 0;
        while chosen.len() < shown {
            let whom = if ended > 0 { Below::children } else { Below::at_work };
            let Some(next) = self.next(at, whom) else { break };
            at = next;
            let has_ended = !self.agents[at].is_working();
            if !has_ended || ended > 0 {
                chosen.push(at);
                ended -= usize::from(has_ended);
            }
        }
        chosen
    }

    fn total(&self, frame: Frame, end: &str) -> String {
        let Some(root) = self.agents.first() else {
            return fit("  starts", frame.width);
        };
        let all = self.tops.figures;
        // One agent has a limit to show; of several, as of all else here, the sum is told.
        let iterations = match (self.agents.len(), root.limit) {
            (1, Some(_)) => format!("{} iterations", root.iterations_shown()),
            _ => number(all.iterations, "iteration"),
        };
        let back = match all.refunded {
            0 => String::new(),
            n => format!(", {n} given back"),
        };
        let spent = root.figures().spent;
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
            parent: None,
            depth: 0,
            below: Below::default(),
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
            spent_below: Amounts::ZERO,
            started_ms: at_ms,
            ended_ms: None,
        }
    }

    /// One that was there before its run went on.
    fn that_was(session: &SessionView, at_ms: u64) -> Self {
        let told = &session.agent;
        let limit = session.budget.iter().find(|(d, _)| *d == Dimension::Iterations);
        let mut agent = Self {
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

    fn is_working(&self) -> bool {
        self.state == State::Working
    }

    /// What it and all below it come to. Of what they have spent that is what was last told of it, and what those below it have told since. Nobody tells
    /// it of a call of theirs before it comes to be asked itself.
    fn figures(&self) -> Figures {
        let Self {
            iterations, refunded, ..
        } = *self;
        let below = &self.below.figures;
        let own = Figures {
            spent: self.spent,
            iterations,
            refunded,
            at_work: usize::from(self.is_working()),
        };
        Figures {
            spent: self.spent.plus(&below.spent.minus(&self.spent_below)),
            ..own.plus(below)
        }
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
                self.spent_below = self.below.figures.spent;
                self.iterations = spent.get(Dimension::Iterations);
                self.limit = rest.map(|rest| rest.saturating_add(self.iterations)).or(self.limit);
            }
            EventKind::SessionEnded {
                exit,
                outcome,
                error,
                spent,
            } => {
                (self.spent, self.spent_below) = (*spent, self.below.figures.spent);
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
    /// What is spent is told with what all below it have; iterations are its own.
    /// What an agent does that only waits is done by the `at_work` agents below it, where it doesn't say so itself.
    fn row(&self, frame: Frame, at_work: usize) -> String {
        let spent = self.figures().spent;
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
            (State::Working, _) if at_work > 0 && self.open.is_empty() && !self.told => {
                format!("{} at work", number(at_work as u64, "sub-agent"))
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
