//! `tree`: the agents of a run, each under the one that spawned it, with how it ended and what it spent.

use std::collections::HashMap;

use super::args::Output;
use super::errors::Problem;
use super::plain::named;
use super::show::{agent_object, heading, origin};
use super::style::{Ink, Paint, count, fit, left, number, right, sent_again, usd, width, wrap};
use super::{Context, json, stdio, terminal};
use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::ids::SessionId;
use crate::run::Host;
use crate::run::view::RunView;

/// Columns of a role with its branch, where there is room.
const NAME: usize = 34;
/// The least columns of it.
const LEAST: usize = 12;
/// Columns of an end.
const END: usize = 15;
/// Columns of the end and the numbers, all of them.
const NUMBERS: usize = 54;
/// Columns of a strategy, which is left out where there are fewer.
const STRATEGY: usize = 17;

/// Prints the tree.
pub(super) async fn tree(host: &Host, context: Context, run: &str) -> Result<u8, Problem> {
    let view = host.show(run).await?;
    match context.output {
        Output::Text => {
            let columns = terminal::columns().unwrap_or(usize::MAX);
            stdio::print(&text(&view, columns, terminal::paint_output(context.color)))?;
        }
        Output::Json | Output::Events => {
            let agents: Vec<_> = view.sessions.iter().map(agent_object).collect();
            stdio::print_line(&json::line(&agents.into()))?;
        }
    }
    Ok(0)
}

fn text(view: &RunView, columns: usize, paint: Paint) -> String {
    let mut out = heading(paint, &view.run, &view.status, [&view.outcome, &view.exit]);
    out.push_str(&origin(view, columns, paint));
    let tree = Tree::new(view, columns, paint);
    for (at, session) in view.sessions.iter().enumerate() {
        if session.agent.parent.is_none() {
            tree.branch(&mut out, at, "", "");
        }
    }
    out
}

struct Tree<'a> {
    view: &'a RunView,
    columns: usize,
    paint: Paint,
    /// Of each agent, those that it spawned.
    children: Vec<Vec<usize>>,
    /// Of each agent, its iterations and those of all below it, as its other figures are.
    iterations: Vec<u64>,
}

impl<'a> Tree<'a> {
    fn new(view: &'a RunView, columns: usize, paint: Paint) -> Self {
        let agents = view.sessions.iter().map(|session| &session.agent);
        let mut places: HashMap<&SessionId, usize> = HashMap::new();
        let mut parents = Vec::new();
        for (at, agent) in agents.clone().enumerate() {
            // Parents come before their children.
            let parent = agent.parent.as_ref().and_then(|parent| places.get(parent).copied());
            parents.push(parent);
            places.insert(&agent.id, at);
        }
        let mut children = vec![Vec::new(); parents.len()];
        let mut iterations: Vec<u64> = agents.map(|agent| agent.spent.get(Dimension::Iterations)).collect();
        let below = parents.iter().enumerate();
        for (at, parent) in below.filter_map(|(at, parent)| Some((at, (*parent)?))).rev() {
            children[parent].push(at);
            iterations[parent] = iterations[parent].saturating_add(iterations[at]);
        }
        // The last came first.
        children.iter_mut().for_each(|children| children.reverse());
        Self {
            view,
            columns,
            paint,
            children,
            iterations,
        }
    }

    fn branch(&self, out: &mut String, at: usize, lead: &str, below: &str) {
        self.row(out, at, lead, below);
        let children = &self.children[at];
        for (n, child) in children.iter().enumerate() {
            let last = n + 1 == children.len();
            let (lead, next) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.branch(out, *child, &format!("{below}{lead}"), &format!("{below}{next}"));
        }
    }

    fn row(&self, out: &mut String, at: usize, lead: &str, below: &str) {
        let session = &self.view.sessions[at];
        let agent = &session.agent;
        let spent = &agent.spent;
        let end = agent
            .outcome
            .as_deref()
            .filter(|_| agent.exit.as_deref() == Some("returned"));
        let end = end.or(agent.exit.as_deref()).unwrap_or(&agent.status);
        let ink = match (agent.exit.as_deref(), agent.outcome.as_deref()) {
            (Some("returned"), Some("achieved")) => Ink::Good,
            (Some("returned") | None, _) => Ink::Warn,
            _ => Ink::Bad,
        };
        let whole = self.columns >= NAME + STRATEGY + NUMBERS;
        let numbers = self.numbers(spent, self.iterations[at]);
        let beside = 1 + END + width(&numbers);
        let columns = if whole {
            NAME
        } else {
            self.columns.saturating_sub(beside).clamp(LEAST, NAME)
        };
        let name = fit(
            &named(&agent.role, &agent.id),
            columns.saturating_sub(width(lead)).max(8),
        );
        let mut line = left(&format!("{lead}{name}"), columns);
        if whole {
            line.push_str(&format!(" {}", left(&session.strategy, STRATEGY - 1)));
        }
        out.push_str(&format!("{line} {}{numbers}", self.paint.ink(ink, &left(end, END))));
        let mut more = Vec::new();
        if session.refunded > 0 {
            more.push(format!("{} given back", session.refunded));
        }
        if session.resent > 0 {
            more.push(sent_again(session.resent, &session.lost));
        }
        if agent.attempts > 1 {
            more.push(format!("{} attempts", agent.attempts));
        }
        let behind = more.join("  ");
        if width(&line) + beside + 2 + width(&behind) <= self.columns {
            out.push_str(format!("  {behind}").trim_end());
        } else {
            for line in wrap(&more.join(", "), self.columns.saturating_sub(width(below) + 2)) {
                out.push_str(&format!("\n{below}  {}", self.paint.ink(Ink::Dim, &line)));
            }
        }
        out.push('\n');
    }

    /// What it spent, as far as there is room beside the shortest name: calls go first, then tokens and money.
    fn numbers(&self, spent: &Amounts, iterations: u64) -> String {
        let mut numbers = String::new();
        for (least, column) in [
            (0, format!(" {} it", right(&iterations.to_string(), 4))),
            (
                LEAST + 1 + END + 27,
                format!(" {} tok", right(&count(spent.get(Dimension::Tokens)), 6)),
            ),
            (
                LEAST + 1 + END + 16,
                format!(" {}", right(&usd(spent.get(Dimension::CostMicroUsd)), 7)),
            ),
            (
                LEAST + NUMBERS,
                format!(" {}", right(&number(spent.get(Dimension::ToolCalls), "call"), 10)),
            ),
        ] {
            if self.columns >= least {
                numbers.push_str(&column);
            }
        }
        numbers
    }
}
