//! `runs` and `cancel`.

use serde_json::{Value, json};

use super::args::Output;
use super::errors::Problem;
use super::style::{Ink, count, fit, left, right, usd};
use super::{Context, json, stdio, terminal};
use crate::error::Dimension;
use crate::run::{Host, RunEnd, RunRow};

/// Columns of a task, with its strategy.
const TASK: usize = 84;
/// Columns before it.
const HEAD: usize = 58;

/// Lists runs, the newest first.
pub(super) async fn list(host: &Host, context: Context, limit: u32) -> Result<u8, Problem> {
    let rows = host.runs(limit).await?;
    if context.output != Output::Text {
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({
                    "run": row.run,
                    "status": row.status,
                    "outcome": row.outcome,
                    "exit": row.exit,
                    "spent": json::amounts(&row.spent),
                })
            })
            .collect();
        return stdio::print_line(&json::line(&rows.into())).map(|()| 0);
    }
    if rows.is_empty() {
        stdio::tell("no runs yet; start one with  hermes-host --plugin research \"a question\"\n");
        return Ok(0);
    }
    let paint = terminal::paint_output(context.color);
    let head = format!(
        "{}  {}  {}  {}  {}  {}  task\n",
        left("run", 10),
        left("end", 12),
        right("it", 4),
        right("tokens", 7),
        right("cost", 7),
        right("calls", 5)
    );
    let task = terminal::columns().map_or(TASK, |columns| columns.saturating_sub(HEAD).clamp(TASK / 4, TASK));
    let mut out = paint.ink(Ink::Dim, head.trim_end());
    out.push('\n');
    for row in &rows {
        let end = match row.exit.as_deref() {
            Some("returned") => row.outcome.as_deref().unwrap_or("returned"),
            Some(exit) => exit,
            None => &row.status,
        };
        out.push_str(&format!(
            "{}  {}  {}  {}  {}  {}  {}\n",
            paint.ink(Ink::Bold, row.run.as_str()),
            left(end, 12),
            right(&row.spent.get(Dimension::Iterations).to_string(), 4),
            right(&count(row.spent.get(Dimension::Tokens)), 7),
            right(&usd(row.spent.get(Dimension::CostMicroUsd)), 7),
            right(&count(row.spent.get(Dimension::ToolCalls)), 5),
            fit(&about(row), task),
        ));
    }
    stdio::print(&out).map(|()| 0)
}

/// Its strategy and its task, or what is wrong with it.
fn about(row: &RunRow) -> String {
    if row.strategy.is_empty() {
        return row.task.clone();
    }
    format!("{}: {}", fit(&row.strategy, 24), row.task)
}

/// Ends a run for good, and tells how it ended: an end that came before stands.
pub(super) async fn cancel(host: &Host, context: Context, run: &str) -> Result<u8, Problem> {
    let RunEnd {
        run,
        status,
        exit,
        outcome,
    } = host.cancel(run).await?;
    let is_cancelled = status == CANCELLED;
    match context.output {
        Output::Text if is_cancelled => stdio::tell(&format!(
            "run {run} is cancelled; what it did stays:  hermes-host show {run}\n"
        )),
        Output::Text => {
            let how = [exit, outcome].into_iter().flatten().collect::<Vec<_>>().join(", ");
            stdio::tell(&format!("run {run} ended before it could be cancelled: {how}\n"));
        }
        Output::Json | Output::Events => stdio::print_line(&json::line(
            &json!({ "run": run, "status": status, "exit": exit, "outcome": outcome }),
        ))?,
    }
    Ok(u8::from(!is_cancelled))
}

/// The status of a run that was cancelled.
const CANCELLED: &str = "cancelled";
