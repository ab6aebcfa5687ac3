//! `tree`: the agents of a run, each under the one that spawned it, with how it ended and what it spent.

use super::args::Output;
use super::errors::Problem;
use super::plain::named;
use super::show::{agent_object, heading, origin};
use super::style::{Ink, Paint, count, fit, left, number, right, sent_again, usd, width};
use super::{Context, json, stdio, terminal};
use crate::error::Dimension;
use crate::run::Host;
use crate::run::view::{RunView, SessionView};

/// Columns of a role with its branch, where there is room.
const NAME: usize = 34;
/// Columns of the end and the numbers.
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
    out.push_str(&origin(view, paint));
    for (at, session) in view.sessions.iter().enumerate() {
        if session.agent.parent.is_none() {
            let tree = Tree { view, columns, paint };
            tree.branch(&mut out, at, "", "");
        }
    }
    out
}

struct Tree<'a> {
    view: &'a RunView,
    columns: usize,
    paint: Paint,
}

impl Tree<'_> {
    fn branch(&self, out: &mut String, at: usize, lead: &str, below: &str) {
        let view = self.view;
        let session = &view.sessions[at];
        self.row(out, session, lead, below);
        let is_child = |other: &SessionView| other.agent.parent.as_ref() == Some(&session.agent.id);
        let children = view.sessions.iter().enumerate().filter(|(_, other)| is_child(other));
        let children: Vec<usize> = children.map(|(at, _)| at).collect();
        for (n, child) in children.iter().enumerate() {
            let last = n + 1 == children.len();
            let (lead, next) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.branch(out, *child, &format!("{below}{lead}"), &format!("{below}{next}"));
        }
    }

    fn row(&self, out: &mut String, session: &SessionView, lead: &str, below: &str) {
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
        let columns = if whole {
            NAME
        } else {
            self.columns.saturating_sub(NUMBERS).clamp(12, NAME)
        };
        let name = fit(
            &named(&agent.role, &agent.id),
            columns.saturating_sub(width(lead)).max(8),
        );
        let mut line = left(&format!("{lead}{name}"), columns);
        if whole {
            line.push_str(&format!(" {}", left(&session.strategy, STRATEGY - 1)));
        }
        out.push_str(&format!(
            "{line} {} {} it {} tok {} {}",
            self.paint.ink(ink, &left(end, 15)),
            right(&spent.get(Dimension::Iterations).to_string(), 4),
            right(&count(spent.get(Dimension::Tokens)), 6),
            right(&usd(spent.get(Dimension::CostMicroUsd)), 7),
            right(&number(spent.get(Dimension::ToolCalls), "call"), 10),
        ));
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
        let more = more.join("  ");
        let used = width(&line) + NUMBERS;
        match more.as_str() {
            "" => {}
            more if used.saturating_add(2 + width(more)) <= self.columns => out.push_str(&format!("  {more}")),
            more => out.push_str(&format!("\n{below}  {}", self.paint.ink(Ink::Dim, more))),
        }
        out.push('\n');
    }
}
