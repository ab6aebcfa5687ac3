//! `show`: who did what in a run, for how much.

use serde_json::{Map, Value, json};

use super::args::Output;
use super::errors::Problem;
use super::pasted::pasted;
use super::plain::named;
use super::run::print_text;
use super::style::{Ink, Paint, count, fit, hung, left, number, right, sent_again, size, usd, width, wrap};
use super::{Context, denied, json, stdio, terminal};
use crate::amounts::Amounts;
use crate::error::Dimension;
use crate::ids::RunId;
use crate::run::view::{NoteView, OpView, RunView, SessionView};
use crate::run::{Host, Titles, without_fences};

/// Columns where standard output is no terminal, and of a text at most.
const WIDTH: usize = 160;
/// Columns of a line of operations beside the name, without what was charged, and of a name.
const BESIDE: usize = 57;
const UNCHARGED: usize = 38;
const NAME: std::ops::RangeInclusive<usize> = 12..=28;

/// Prints the run's tree with each agent's operations and notes.
pub(super) async fn show(host: &Host, context: Context, run: &str) -> Result<u8, Problem> {
    let view = host.show(run).await?;
    let screen = Screen {
        paint: terminal::paint_output(context.color),
        columns: terminal::columns().unwrap_or(WIDTH),
    };
    match context.output {
        Output::Text => stdio::print(&screen.text(&view))?,
        Output::Json | Output::Events => stdio::print_line(&json::line(&object(&view)))?,
    }
    Ok(0)
}

/// Prints the run's answer alone.
pub(super) async fn answer(host: &Host, context: Context, run: &str) -> Result<u8, Problem> {
    let view = host.show(run).await?;
    match &view.answer {
        None => Err(without_answer(&view)),
        Some(answer) if context.output == Output::Text => print_text(answer).map(|()| 0),
        Some(_) => stdio::print_line(&json::line(&said(&view).into())).map(|()| 0),
    }
}

fn without_answer(view: &RunView) -> Problem {
    let run = &view.run;
    let mut help = Vec::new();
    if view.checkpoint.is_some() {
        help.push(format!("how far it got   hermes-host show {run}"));
    }
    if view.can_go_on {
        help.push(format!("go on with it    hermes-host resume {run}"));
    }
    Problem {
        code: 1,
        kind: "not-found",
        message: format!(
            "run {run} has no answer ({})",
            view.exit.as_deref().unwrap_or(&view.status)
        ),
        help,
        run: None,
    }
}

/// What the lines are made for.
struct Screen {
    paint: Paint,
    columns: usize,
}

impl Screen {
    fn text(&self, view: &RunView) -> String {
        let mut out = heading(self.paint, &view.run, &view.status, [&view.outcome, &view.exit]);
        out.push_str(&origin(view, self.columns, self.paint));
        view.sessions.iter().for_each(|session| self.agent(&mut out, session));
        if view.sessions.len() > 1 {
            out.push_str(&format!("{}\n", self.paint.ink(Ink::Bold, "all agents")));
            let spent = (&view.spent, "");
            self.spent(&mut out, "  ", spent, view.refunded, (view.resent, &view.lost));
        }
        if !view.denials.is_empty() {
            let often = number(view.denials.count(), "denial");
            let lead = self.paint.ink(Ink::Warn, &left(&often, 15));
            out.push_str(&pasted(&format!("{lead} hermes-host show {} --audit\n", view.run)));
        }
        if view.answer.is_some() {
            let way = format!("its answer      hermes-host show {} --answer\n", view.run);
            out.push_str(&pasted(&way));
        }
        if view.can_go_on {
            out.push_str(&pasted(&format!("go on with it   hermes-host resume {}\n", view.run)));
        }
        out
    }

    fn agent(&self, out: &mut String, session: &SessionView) {
        let indent = "  ".repeat(session.depth.min(16) + 1);
        let below = format!("{indent}  ");
        let agent = &session.agent;
        let end = agent.outcome.as_deref().or(agent.exit.as_deref());
        let mut facts = vec![fit(&session.strategy, 40)];
        facts.extend(session.model.as_deref().map(|model| fit(model, 60)));
        facts.push(fit(end.unwrap_or(&agent.status), 40));
        let role = fit(&named(&agent.role, &agent.id), 40);
        let room = self.columns.saturating_sub(width(&indent) + width(&role) + 1);
        let facts = fit(&facts.join(" · "), room);
        out.push_str(&format!("{indent}{} {facts}\n", self.paint.ink(Ink::Bold, &role)));
        // All else that its sub-agents spent is in its figures.
        let whose = match agent.spent.get(Dimension::Children) {
            0 => "",
            _ => " of its own",
        };
        self.spent(
            out,
            &below,
            (&agent.spent, whose),
            session.refunded,
            (session.resent, &session.lost),
        );
        self.words(out, &below, Ink::Dim, &session.task);
        if let Some(error) = &session.error {
            self.words(out, &below, Ink::Bad, error);
        }
        for op in &session.operations {
            out.push_str(&format!("{below}{}\n", self.operation(op, &below)));
            if let Some(error) = &op.error {
                self.words(out, &format!("{below}      "), Ink::Bad, error);
            }
        }
        for note in told_once(&session.notes) {
            let kind = self.paint.ink(Ink::Dim, &left(&note.kind, 10));
            let room = self.columns.saturating_sub(width(&below) + 11);
            let lines = wrap(&fit(&without_fences(&note.text, Titles::Kept), WIDTH), room);
            let hang = format!("\n{below}{:11}", "");
            out.push_str(&format!("{below}{kind} {}\n", lines.join(&hang)));
        }
    }

    fn words(&self, out: &mut String, indent: &str, ink: Ink, text: &str) {
        let room = self.columns.saturating_sub(width(indent));
        for line in wrap(&fit(&without_fences(text, Titles::Kept), WIDTH), room) {
            out.push_str(&format!("{indent}{}\n", self.paint.ink(ink, &line)));
        }
    }

    /// What was charged stands in a line of its own where there is no room for it.
    fn operation(&self, op: &OpView, below: &str) -> String {
        let took = op.ms.map(|ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100));
        let charged = match (
            op.charged.get(Dimension::Tokens),
            op.charged.get(Dimension::CostMicroUsd),
        ) {
            (0, 0) => String::new(),
            (tokens, micro) => format!("{} tok {}", count(tokens), usd(micro)),
        };
        let indent = width(below);
        let name = self.columns.saturating_sub(indent + BESIDE);
        let least = self.columns.saturating_sub(indent + UNCHARGED).min(*NAME.start());
        let line = format!(
            "{} {} {} {} {}",
            right(&op.op, 5),
            left(&op.kind, 10),
            left(&op.name, name.clamp(least, *NAME.end())),
            left(&op.status, 11),
            right(&took.unwrap_or_default(), 7)
        );
        if indent + width(&line) + 2 + width(&charged) > self.columns && !charged.is_empty() {
            return format!("{}\n{below}      {charged}", line.trim_end());
        }
        format!("{line}  {charged}").trim_end().to_owned()
    }

    /// What was thought and what was done, apart: the one costs iterations, tokens and money, the other calls, computing and what it
    /// kept. `whose` stands behind the iterations.
    fn spent(
        &self,
        out: &mut String,
        indent: &str,
        (spent, whose): (&Amounts, &str),
        refunded: u64,
        (resent, lost): (u64, &Amounts),
    ) {
        let mut thought = vec![
            format!("{}{whose}", number(spent.get(Dimension::Iterations), "iteration")),
            number(spent.get(Dimension::Tokens), "token"),
            usd(spent.get(Dimension::CostMicroUsd)),
        ];
        if refunded > 0 {
            thought[0].push_str(&format!(" ({refunded} given back)"));
        }
        if resent > 0 {
            thought.push(sent_again(resent, lost));
        }
        let mut acted = vec![
            number(spent.get(Dimension::ToolCalls), "tool call"),
            format!("{} fuel", count(spent.get(Dimension::Fuel))),
        ];
        match spent.get(Dimension::Children) {
            0 => {}
            1 => acted.push("1 child".to_owned()),
            n => acted.push(format!("{n} children")),
        }
        match spent.get(Dimension::StoredBytes) {
            0 => {}
            n => acted.push(format!("{} stored", size(n))),
        }
        for (what, parts) in [("thought", thought), ("acted", acted)] {
            let what = self.paint.ink(Ink::Dim, &left(what, 7));
            let head = format!("{indent}{what} ");
            let line = hung(&head, width(indent) + 8, &parts.join(" · "), self.columns);
            out.push_str(&format!("{line}\n"));
        }
    }
}

/// Notes without those that say what the one before of their kind says: an agent that goes on says again what it said.
fn told_once(notes: &[NoteView]) -> Vec<&NoteView> {
    let mut told: Vec<&NoteView> = Vec::new();
    for note in notes {
        let before = told.iter().rev().find(|before| before.kind == note.kind);
        if note.kind != "checkpoint" || before.is_none_or(|before| before.text != note.text) {
            told.push(note);
        }
    }
    told
}

/// What a screen on a run begins with: which one it is, how it stands, and of one that ended its outcome and why.
pub(super) fn heading(paint: Paint, run: &RunId, status: &str, end: [&Option<String>; 2]) -> String {
    let end = end.into_iter().filter_map(|word| word.as_deref());
    let words: Vec<String> = std::iter::once(status).chain(end).map(|word| fit(word, 40)).collect();
    format!(
        "{} · {}\n",
        paint.ink(Ink::Bold, &format!("run {run}")),
        words.join(" · ")
    )
}

/// Where a run came from that did not begin here.
pub(super) fn origin(view: &RunView, columns: usize, paint: Paint) -> String {
    let mut out = String::new();
    let mut tell = |what: &str, text: &str| {
        let head = format!("  {} ", paint.ink(Ink::Dim, what));
        out.push_str(&hung(&head, width(what) + 3, text, columns));
        out.push('\n');
    };
    if let Some((run, observation)) = &view.forked {
        tell(
            "forked",
            &format!("goes on from observation {observation} of run {run}"),
        );
    }
    match view.imported.as_ref().map(|imported| imported.view_only) {
        Some(true) => tell(
            "imported",
            "without the secrets that were in it: it can be looked at, not replayed",
        ),
        Some(false) => tell("imported", "from a file"),
        None => {}
    }
    out
}

/// What the run said, with the keys of a run's object.
fn said(view: &RunView) -> Map<String, Value> {
    let said = [
        ("run", json!(view.run)),
        ("answer", json!(view.answer)),
        ("checkpoint", json!(view.checkpoint)),
        ("result", view.result.as_deref().map_or(Value::Null, json::parsed)),
        ("artifacts", json!(view.artifacts)),
    ];
    said.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn object(view: &RunView) -> Value {
    let sessions = view.sessions.iter().map(agent_object);
    let mut object = json!({
        "run": view.run,
        "status": view.status,
        "outcome": view.outcome,
        "exit": view.exit,
        "spent": json::amounts(&view.spent),
        "refunded": view.refunded,
        "resent": view.resent,
        "resent_tokens": view.lost.get(Dimension::Tokens),
        "resent_cost_micro_usd": view.lost.get(Dimension::CostMicroUsd),
        "imported": view.imported.as_ref().map(|i| json!({ "at_ms": i.at_ms, "view_only": i.view_only })),
        "denied": denied::array(&view.denials),
        "forked": view.forked.as_ref().map(|(run, observation)| json!({ "run": run, "observation": observation })),
    });
    for (key, value) in said(view) {
        object[key] = value;
    }
    object["agents"] = sessions.collect();
    object
}

/// An agent as programs read it.
pub(super) fn agent_object(session: &SessionView) -> Value {
    let agent = &session.agent;
    let operations = session.operations.iter().map(|op| {
        json!({
            "attempt": op.attempt,
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
        "closing": session.operations.iter().filter(|op| op.kind == "closing").count(),
        "refunded": session.refunded,
        "resent": session.resent,
        "resent_tokens": session.lost.get(Dimension::Tokens),
        "resent_cost_micro_usd": session.lost.get(Dimension::CostMicroUsd),
        "started_ms": session.started_ms,
        "ended_ms": session.ended_ms,
        "operations": operations.collect::<Vec<_>>(),
        "notes": notes.collect::<Vec<_>>(),
    })
}
