//! `show`: who did what in a run, for how much.

use serde_json::{Value, json};

use super::args::Output;
use super::errors::Problem;
use super::style::{Ink, Paint, count, fit, left, right, usd};
use super::{Context, json, stdio, terminal};
use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::run::Host;
use crate::run::view::{OpView, RunView, SessionView};

/// The longest line, in columns.
const WIDTH: usize = 160;

/// Prints the run's tree with each agent's operations and notes.
pub(super) async fn show(host: &Host, context: Context, run: &str) -> Result<u8, Problem> {
    let view = host.show(run).await?;
    match context.output {
        Output::Text => stdio::print(&text(&view, terminal::paint_output(context.color)))?,
        Output::Json | Output::Events => stdio::print_line(&json::line(&object(&view)))?,
    }
    Ok(0)
}

fn text(view: &RunView, paint: Paint) -> String {
    let ended = [view.outcome.as_deref(), view.exit.as_deref()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ");
    let ended = if ended.is_empty() {
        String::new()
    } else {
        format!(" · {}", fit(&ended, 60))
    };
    let mut out = format!(
        "{} · {}{ended}\n",
        paint.ink(Ink::Bold, &format!("run {}", view.run)),
        fit(&view.status, 20)
    );
    view.sessions.iter().for_each(|session| agent(&mut out, session, paint));
    out.push_str(&format!("{}\n", cost(&view.spent, view.refunded)));
    out
}

fn agent(out: &mut String, session: &SessionView, paint: Paint) {
    let indent = "  ".repeat(session.depth.min(16) + 1);
    let agent = &session.agent;
    let end = agent
        .outcome
        .as_deref()
        .or(agent.exit.as_deref())
        .unwrap_or(&agent.status);
    let model = session
        .model
        .as_deref()
        .map(|model| format!(" · {}", fit(model, 60)))
        .unwrap_or_default();
    out.push_str(&format!(
        "{indent}{} {}{model} · {} · {}\n",
        paint.ink(Ink::Bold, &fit(&agent.role, 40)),
        fit(&session.strategy, 40),
        fit(end, 40),
        cost(&agent.spent, session.refunded)
    ));
    out.push_str(&format!(
        "{indent}  {}\n",
        paint.ink(Ink::Dim, &fit(&session.task, WIDTH))
    ));
    if let Some(error) = &session.error {
        out.push_str(&format!("{indent}  {}\n", paint.ink(Ink::Bad, &fit(error, WIDTH))));
    }
    session
        .operations
        .iter()
        .for_each(|op| out.push_str(&format!("{indent}  {}\n", operation(op, paint))));
    for note in &session.notes {
        out.push_str(&format!(
            "{indent}  {} {}\n",
            paint.ink(Ink::Dim, &left(&note.kind, 10)),
            fit(&note.text, WIDTH)
        ));
    }
}

fn operation(op: &OpView, paint: Paint) -> String {
    let took = op
        .ms
        .map(|ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100))
        .unwrap_or_default();
    let charged = match (
        op.charged.get(Dimension::Tokens),
        op.charged.get(Dimension::CostMicroUsd),
    ) {
        (0, 0) => String::new(),
        (tokens, micro) => format!("{} tok {}", count(tokens), usd(micro)),
    };
    let line = format!(
        "{} {} {} {} {}  {charged}",
        right(&op.op, 5),
        left(&op.kind, 10),
        left(&op.name, 28),
        left(&op.status, 11),
        right(&took, 7)
    );
    match &op.error {
        Some(error) => format!("{}  {}", line.trim_end(), paint.ink(Ink::Bad, &fit(error, WIDTH))),
        None => line.trim_end().to_owned(),
    }
}

/// What was thought and what was done, apart: the one costs iterations, tokens and money, the other calls, computing and what it kept.
fn cost(spent: &Amounts, refunded: u64) -> String {
    let number = |n: u64, one: &str| {
        let ending = if n == 1 { "" } else { "s" };
        format!("{} {one}{ending}", count(n))
    };
    let given_back = match refunded {
        0 => String::new(),
        n => format!(" ({n} given back)"),
    };
    let thought = format!(
        "thought {}{given_back} · {} · {}",
        number(spent.get(Dimension::Iterations), "iteration"),
        number(spent.get(Dimension::Tokens), "token"),
        usd(spent.get(Dimension::CostMicroUsd)),
    );
    let mut acted = vec![
        number(spent.get(Dimension::ToolCalls), "tool call"),
        format!("{} fuel", count(spent.get(Dimension::Fuel))),
    ];
    for (dimension, one) in [(Dimension::Children, "child"), (Dimension::StoredBytes, "stored byte")] {
        match (dimension, spent.get(dimension)) {
            (_, 0) => {}
            (Dimension::Children, n) if n > 1 => acted.push(format!("{n} children")),
            (_, n) => acted.push(number(n, one)),
        }
    }
    format!("{thought} · acted {}", acted.join(" · "))
}

fn object(view: &RunView) -> Value {
    let sessions = view.sessions.iter().map(agent_object);
    json!({
        "run": view.run,
        "status": view.status,
        "outcome": view.outcome,
        "exit": view.exit,
        "spent": json::amounts(&view.spent),
        "refunded": view.refunded,
        "agents": sessions.collect::<Vec<_>>(),
    })
}

/// An agent as programs read it.
pub(super) fn agent_object(session: &SessionView) -> Value {
    let agent = &session.agent;
    let operations = session.operations.iter().map(|op| {
        json!({
            "op": op.op,
            "kind": op.kind,
            "name": op.name,
            "status": op.status,
            "charged": json::amounts(&op.charged),
            "ms": op.ms,
            "error": op.error,
        })
    });
    let notes = session
        .notes
        .iter()
        .map(|n| json!({ "at_ms": n.at_ms, "kind": n.kind, "text": n.text }));
    json!({
        "id": agent.id.to_string(),
        "parent": agent.parent.as_ref().map(ToString::to_string),
        "edge": session.edge,
        "role": agent.role,
        "strategy": session.strategy,
        "digest": session.digest.to_string(),
        "model": session.model,
        "toolsets": session.toolsets,
        "budget": json::limits(&session.budget),
        "task": session.task,
        "status": agent.status,
        "attempts": agent.attempts,
        "cancel_asked": session.cancel_asked,
        "outcome": agent.outcome,
        "exit": agent.exit,
        "error": session.error,
        "spent": json::amounts(&agent.spent),
        "refunded": session.refunded,
        "operations": operations.collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
    })
}
