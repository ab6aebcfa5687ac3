//! `tree`: the agents of a run, each under the one that spawned it, with how it ended and what it spent.

use super::args::Output;
use super::errors::Problem;
use super::show::agent_object;
use super::style::{Ink, Paint, count, fit, left, right, usd, width};
use super::{Context, json, stdio, terminal};
use crate::error::Dimension;
use crate::run::Host;
use crate::run::view::{RunView, SessionView};

/// Columns of a role with its branch.
const NAME: usize = 34;

/// Prints the tree.
pub(super) async fn tree(host: &Host, context: Context, run: &str) -> Result<u8, Problem> {
    let view = host.show(run).await?;
    match context.output {
        Output::Text => stdio::print(&text(&view, terminal::paint_output(context.color)))?,
        Output::Json | Output::Events => {
            let agents: Vec<_> = view.sessions.iter().map(agent_object).collect();
            stdio::print_line(&json::line(&agents.into()))?;
        }
    }
    Ok(0)
}

fn text(view: &RunView, paint: Paint) -> String {
    let mut out = format!(
        "{} · {}\n",
        paint.ink(Ink::Bold, &format!("run {}", view.run)),
        fit(&view.status, 20)
    );
    for (at, session) in view.sessions.iter().enumerate() {
        if session.agent.parent.is_none() {
            branch(&mut out, view, at, "", "", paint);
        }
    }
    out
}

fn branch(out: &mut String, view: &RunView, at: usize, lead: &str, below: &str, paint: Paint) {
    let session = &view.sessions[at];
    out.push_str(&row(session, lead, paint));
    let is_child = |other: &SessionView| other.agent.parent.as_ref() == Some(&session.agent.id);
    let children = view.sessions.iter().enumerate().filter(|(_, other)| is_child(other));
    let children: Vec<usize> = children.map(|(at, _)| at).collect();
    for (n, child) in children.iter().enumerate() {
        let last = n + 1 == children.len();
        let (lead, next) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        branch(
            out,
            view,
            *child,
            &format!("{below}{lead}"),
            &format!("{below}{next}"),
            paint,
        );
    }
}

fn row(session: &SessionView, lead: &str, paint: Paint) -> String {
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
    let name = fit(&agent.role, NAME.saturating_sub(width(lead)).max(8));
    let name = left(&format!("{lead}{name}"), NAME);
    let restarts = match agent.attempts {
        0 | 1 => String::new(),
        n => format!("  {n} attempts"),
    };
    let given_back = match session.refunded {
        0 => String::new(),
        n => format!("  {n} given back"),
    };
    let numbers = format!(
        "{} it {} tok {} {} calls",
        right(&spent.get(Dimension::Iterations).to_string(), 4),
        right(&count(spent.get(Dimension::Tokens)), 6),
        right(&usd(spent.get(Dimension::CostMicroUsd)), 7),
        right(&count(spent.get(Dimension::ToolCalls)), 4),
    );
    format!(
        "{name} {} {} {numbers}{given_back}{restarts}\n",
        left(&fit(&session.strategy, 16), 16),
        paint.ink(ink, &left(end, 15)),
    )
}
