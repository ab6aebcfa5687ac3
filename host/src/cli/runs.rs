//! `runs` and `cancel`.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::Output;
use super::errors::Problem;
use super::pasted::pasted;
use super::style::{Ink, Paint, age, count, fit, left, number, right, usd, width};
use super::{Context, json, stdio, terminal};
use crate::error::Dimension;
use crate::event::now_ms;
use crate::run::{Host, HostError, RunEnd, RunList, RunRow, Standing};
use crate::text;

/// Columns of a task, with its strategy.
const TASK: usize = 84;
/// Columns of an end on a terminal; elsewhere it is never cut.
const ENDS: usize = 15;
/// Columns of age, iterations, tokens, cost and calls, each with the columns of a terminal from which on it is shown.
const NUMBERS: [(usize, usize); 5] = [(6, 48), (4, 100), (7, 76), (7, 68), (5, 100)];

/// Which runs to list.
pub(super) struct Which {
    /// How many, the newest first.
    pub(super) limit: u32,
    /// Those that stand so; none named: all.
    pub(super) standing: Vec<Standing>,
}

/// Lists runs, the newest first.
pub(super) async fn list(host: &Host, context: Context, which: &Which) -> Result<u8, Problem> {
    let RunList { rows, all } = host.runs(which.limit, &which.standing).await?;
    if context.output != Output::Text {
        let rows: Vec<Value> = rows.iter().map(object).collect();
        return stdio::print_line(&json::line(&rows.into())).map(|()| 0);
    }
    if rows.is_empty() {
        stdio::tell(&match which.standing.is_empty() {
            true => format!(
                "no runs in {}; start one with  {}\n",
                text::line(&host.config().home.display().to_string(), 200),
                pasted("hermes-host --plugin research \"a question\"")
            ),
            false => "no run has this status\n".to_owned(),
        });
        return Ok(0);
    }
    stdio::print(&table(&rows, terminal::paint_output(context.color)))?;
    let shown = rows.len() as u64;
    if shown < all {
        stdio::tell(&format!("{shown} of {}; --limit N shows more\n", number(all, "run")));
    }
    Ok(0)
}

fn table(rows: &[RunRow], paint: Paint) -> String {
    let columns = terminal::columns();
    let most = if columns.is_some() { ENDS } else { usize::MAX };
    let ends = rows.iter().map(|row| width(end(row))).max();
    let table = Table {
        ends: ends.unwrap_or_default().clamp(3, most),
        columns: columns.unwrap_or(usize::MAX),
    };
    let head = table.line("end", ["age", "it", "tokens", "cost", "calls"]);
    let head = format!("{}  {head}  task", left("run", 10));
    // The last column of a terminal stays free.
    let before = width(&head) - "task".len() + 1;
    let task = columns.map_or(TASK, |columns| columns.saturating_sub(before).min(TASK));
    let mut out = paint.ink(Ink::Dim, &head);
    out.push('\n');
    let now_ms = now_ms();
    for row in rows {
        let spent = |dimension| row.spent.get(dimension);
        let numbers = [
            age(row.changed_ms, now_ms),
            spent(Dimension::Iterations).to_string(),
            count(spent(Dimension::Tokens)),
            usd(spent(Dimension::CostMicroUsd)),
            count(spent(Dimension::ToolCalls)),
        ];
        let line = table.line(end(row), numbers.each_ref().map(String::as_str));
        let run = paint.ink(Ink::Bold, row.run.as_str());
        let row = format!("{run}  {line}  {}", fit(&about(row), task));
        out.push_str(&format!("{}\n", row.trim_end()));
    }
    out
}

/// What columns there is room for.
struct Table {
    ends: usize,
    /// Of the terminal.
    columns: usize,
}

impl Table {
    fn line(&self, end: &str, numbers: [&str; 5]) -> String {
        let mut line = left(end, self.ends);
        for (text, (columns, least)) in numbers.into_iter().zip(NUMBERS) {
            if self.columns >= least {
                line.push_str(&format!("  {}", right(text, columns)));
            }
        }
        line
    }
}

/// How it ended, or how it stands.
fn end(row: &RunRow) -> &str {
    match row.exit.as_deref() {
        Some("returned") => row.outcome.as_deref().unwrap_or("returned"),
        Some(exit) => exit,
        None => &row.status,
    }
}

fn object(row: &RunRow) -> Value {
    json!({
        "run": row.run,
        "status": row.status,
        "outcome": row.outcome,
        "exit": row.exit,
        "spent": json::amounts(&row.spent),
        "task": row.task,
        "strategy": row.strategy,
        "started_ms": row.started_ms,
        "ended_ms": row.ended_ms,
    })
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
    } = waited_for(host, context, run).await?;
    let is_cancelled = status == CANCELLED;
    match context.output {
        Output::Text if is_cancelled => stdio::tell(&pasted(&format!(
            "run {run} is cancelled; what it did stays:  hermes-host show {run}\n"
        ))),
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

/// Asks for a run's end. Where that takes longer, it is said who was asked.
async fn waited_for(host: &Host, context: Context, run: &str) -> Result<RunEnd, HostError> {
    let end = host.cancel(run);
    tokio::pin!(end);
    if let Ok(end) = tokio::time::timeout(PATIENCE, &mut end).await {
        return end;
    }
    if let Some(pid) = host.owner(run)?.filter(|_| context.output == Output::Text) {
        let owner = match pid {
            0 => "another process".to_owned(),
            pid => format!("process {pid}"),
        };
        stdio::tell(&format!("asked {owner}; waiting. Ctrl-C leaves the request standing\n"));
    }
    end.await
}

/// How long `cancel` is silent.
const PATIENCE: Duration = Duration::from_secs(1);

/// The status of a run that was cancelled.
const CANCELLED: &str = "cancelled";
