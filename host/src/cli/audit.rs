//! `show --audit` and `show --grants`: which rights the plugins of a run used and lacked, and which its agents and their tools have.

use serde_json::{Value, json};

use super::args::Output;
use super::errors::Problem;
use super::plain::named;
use super::style::{Ink, Paint, count, duration, fit, hung, left, size, usd, width, wrap};
use super::{Context, json, show, stdio, terminal};
use crate::error::Dimension;
use crate::run::{AgentGrants, AuditRow, AuditView, GrantsView, Host, Right, ToolGrants};
use crate::text::{Shape, clean};

/// Columns where standard output is no terminal.
const WIDTH: usize = 160;
/// Columns of a way, and of a grant where it is no longer.
const WAY: usize = 6;
const GRANT: usize = 24;
/// Columns of a plugin's tools by name, over as many lines as that takes.
const NAMES: usize = 400;

/// Prints what was used and denied.
pub(super) async fn audit(host: &Host, context: Context, run: &str) -> Result<u8, Problem> {
    let view = host.audit(run).await?;
    match context.output {
        Output::Text => stdio::print(&screen(context).audit(&view))?,
        Output::Json | Output::Events => {
            let rows: Vec<Value> = view.rows.iter().map(|used| row(used, view.imported)).collect();
            stdio::print_line(&json::line(&rows.into()))?;
        }
    }
    Ok(0)
}

/// Prints who may do what.
pub(super) async fn grants(host: &Host, context: Context, run: &str) -> Result<u8, Problem> {
    let view = host.grants(run).await?;
    match context.output {
        Output::Text => stdio::print(&screen(context).grants(&view))?,
        Output::Json | Output::Events => {
            let agents: Vec<Value> = view.agents.iter().map(|of| agent(of, view.imported)).collect();
            stdio::print_line(&json::line(&agents.into()))?;
        }
    }
    Ok(0)
}

fn screen(context: Context) -> Screen {
    Screen {
        paint: terminal::paint_output(context.color),
        columns: terminal::columns().unwrap_or(WIDTH),
        is_terminal: terminal::columns().is_some(),
    }
}

struct Screen {
    paint: Paint,
    columns: usize,
    is_terminal: bool,
}

impl Screen {
    /// Agent by agent and plugin by plugin, under each the rights with what they were used on.
    fn audit(&self, view: &AuditView) -> String {
        let mut out = show::heading(self.paint, &view.run, &view.status, [&view.outcome, &view.exit]);
        out.push_str(&self.origin(view.imported));
        if view.rows.is_empty() {
            out.push_str("  no right was used, and none was missing\n");
        }
        for of_agent in grouped(&view.rows, |row| row.session.number) {
            let Some(first) = of_agent.first() else { continue };
            let role = fit(&named(&first.role, &first.session), 40);
            out.push_str(&format!("  {}\n", self.paint.ink(Ink::Bold, &role)));
            for of_plugin in grouped(&of_agent, |row| (row.digest, row.plugin.clone())) {
                let Some(first) = of_plugin.first() else { continue };
                out.push_str(&self.plugin("    ", &first.plugin, &first.digest.short(), ""));
                // Denials stand together, under whatever would allow them, and so do calls whose uses may not all be known.
                for of_right in grouped(&of_plugin, |row| (heading(row), right(row))) {
                    self.right(&mut out, &of_right);
                }
            }
        }
        out
    }

    /// Of a run that came out of a file, whose word all else is.
    fn origin(&self, imported: bool) -> String {
        if !imported {
            return String::new();
        }
        let head = format!("  {} ", self.paint.ink(Ink::Dim, IMPORTED));
        format!("{}\n", hung(&head, width(IMPORTED) + 3, BY_A_FILE, self.columns))
    }

    fn right(&self, out: &mut String, rows: &[&AuditRow]) {
        let Some(first) = rows.first() else { return };
        let lead = heading(first);
        let ink = match lead {
            DENIED => Ink::Bad,
            UNFINISHED => Ink::Warn,
            _ => Ink::Dim,
        };
        let own = if first.own { "its own" } else { "" };
        let said = [lead, &right(first), own].map(str::to_owned);
        let said: Vec<String> = said.into_iter().filter(|part| !part.is_empty()).collect();
        let said = said.join(" · ");
        let line = clean(&said, Shape::Line);
        if !line.is_empty() {
            out.push_str(&format!("      {}\n", self.paint.ink(ink, &line)));
        }
        rows.iter().for_each(|row| out.push_str(&self.row(row)));
    }

    fn row(&self, row: &AuditRow) -> String {
        let mut facts = Vec::new();
        if row.count > 1 {
            facts.push(format!("{} times", row.count));
        }
        if row.failed > 0 {
            facts.push(match row.failed {
                all if all == row.count => "failed".to_owned(),
                some => format!("{some} failed"),
            });
        }
        match (&row.call, row.observation) {
            (Some(call), _) => facts.push(format!("call {call}")),
            (None, Some(number)) => facts.push(format!("observation {number}")),
            (None, None) => {}
        }
        let facts = facts.join(", ");
        let way = if heading(row).is_empty() { row.way } else { "" };
        let what = match (row.way, &row.what, &row.message, &row.target) {
            (DENIED, Some(what), ..) => format!("may not {what}"),
            (DENIED, None, Some(message), _) => message.clone(),
            (_, _, Some(message), Some(target)) => format!("{target}: {message}"),
            (_, _, _, Some(target)) => target.clone(),
            (DENIED, _, _, None) => further(row.grant.as_deref()),
            (_, _, _, None) => FURTHER.to_owned(),
        };
        let lead = match way {
            "" => "        ".to_owned(),
            way => format!("        {} ", left(way, WAY)),
        };
        let room = self.columns.saturating_sub(width(&lead) + width(&facts) + 2);
        format!(
            "{lead}{}  {}\n",
            fit(&what, room.max(20)),
            self.paint.ink(Ink::Dim, &facts)
        )
    }

    /// A plugin, and what there is to say of it, below itself where that is long.
    fn plugin(&self, indent: &str, name: &str, digest: &str, about: &str) -> String {
        let name = fit(name, 40);
        let beside = width(indent) + width(&name) + 1 + width(digest) + 2;
        let (name, digest) = (self.paint.ink(Ink::Bold, &name), self.paint.ink(Ink::Dim, digest));
        let line = hung(&format!("{indent}{name} {digest}  "), beside, about, self.columns);
        format!("{line}\n")
    }

    fn grants(&self, view: &GrantsView) -> String {
        let mut out = show::heading(self.paint, &view.run, &view.status, [&view.outcome, &view.exit]);
        out.push_str(&self.origin(view.imported));
        for agent in &view.agents {
            let indent = "  ".repeat(usize::try_from(agent.depth).unwrap_or_default().min(16) + 1);
            let role = fit(&named(&agent.role, &agent.id), 40);
            let digest = agent.digest.short();
            let room = self
                .columns
                .saturating_sub(width(&indent) + width(&role) + width(&digest) + 2);
            let strategy = fit(&agent.strategy, room.min(40));
            let (role, digest) = (self.paint.ink(Ink::Bold, &role), self.paint.ink(Ink::Dim, &digest));
            out.push_str(&format!("{indent}{role} {strategy} {digest}\n"));
            self.rights(&mut out, &format!("{indent}  "), &agent.rights, "by its tools alone");
            if !agent.budget.is_empty() {
                let head = format!("{indent}  budget ");
                let lines = hung(&head, width(&head), &budget(agent), self.columns);
                lines
                    .lines()
                    .for_each(|line| out.push_str(&format!("{}\n", self.paint.ink(Ink::Dim, line))));
            }
            for tool in &agent.tools {
                let names = fit(&tool.names.join(", "), NAMES);
                out.push_str(&self.plugin(&format!("{indent}  "), &tool.plugin, &tool.digest.short(), &names));
                self.rights(&mut out, &format!("{indent}    "), &tool.rights, "");
            }
        }
        out
    }

    fn rights(&self, out: &mut String, indent: &str, rights: &[Right], by_tools: &str) {
        if rights.is_empty() {
            out.push_str(&format!("{indent}{}\n", self.paint.ink(Ink::Dim, "nothing")));
        }
        let columns = rights
            .iter()
            .map(|right| width(&right.grant))
            .filter(|columns| *columns <= GRANT);
        let columns = columns.max().unwrap_or_default();
        for right in rights {
            let own = if right.own { "its own" } else { "" };
            let by_tools = if right.by_tools { by_tools } else { "" };
            let about: Vec<&str> = [own, &right.about, by_tools]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect();
            let about = fit(&about.join(", "), 80);
            // A grant is no use in part.
            let grant = clean(&right.grant, Shape::Line);
            let pad = " ".repeat(columns.saturating_sub(width(&grant)));
            let room = self
                .columns
                .saturating_sub(width(indent) + width(&grant) + width(&pad) + 2);
            if width(&about) <= room || !self.is_terminal {
                let line = format!("{grant}{pad}  {}", self.paint.ink(Ink::Dim, &about));
                out.push_str(&format!("{indent}{}\n", line.trim_end()));
                continue;
            }
            out.push_str(&format!("{indent}{grant}\n"));
            for line in wrap(&about, self.columns.saturating_sub(width(indent) + 4)) {
                out.push_str(&format!("{indent}    {}\n", self.paint.ink(Ink::Dim, &line)));
            }
        }
    }
}

/// What an agent may spend, each limit by its key in a budget.
fn budget(agent: &AgentGrants) -> String {
    let limit = |&(dimension, most): &(Dimension, u64)| match dimension {
        Dimension::CostMicroUsd => usd(most),
        Dimension::WallClockMs => format!("wall {}", duration(most)),
        Dimension::StoredBytes | Dimension::JournalBytes => format!("{dimension} {}", size(most)),
        _ => format!("{dimension} {}", count(most)),
    };
    agent.budget.iter().map(limit).collect::<Vec<_>>().join(" · ")
}

/// The way of a denial.
const DENIED: &str = "denied";
/// The way of a call whose uses may not all be known.
const UNFINISHED: &str = "unfinished";
/// What stands above all that is told of an imported run.
const IMPORTED: &str = "imported";
const BY_A_FILE: &str = "from a file, and told as the run file says";
/// What stands for targets that are not named.
const FURTHER: &str = "and further ones";

/// What stands for denials that are not named, for lack of rights of this kind.
fn further(kind: Option<&str>) -> String {
    match kind {
        Some(kind) => format!("{FURTHER} for lack of {kind}"),
        None => FURTHER.to_owned(),
    }
}

/// The way of a row where it stands above it, in the heading of all rows with it.
fn heading(row: &AuditRow) -> &'static str {
    match row.way {
        DENIED => DENIED,
        UNFINISHED => UNFINISHED,
        _ => "",
    }
}

/// Of a use the right, of a denial what would allow it.
fn right(row: &AuditRow) -> String {
    if row.way != DENIED {
        return row.grant.clone().unwrap_or_default();
    }
    let mut parts = row.flags.clone();
    parts.extend(row.remedy.clone());
    parts.join(", ")
}

/// Rows with the same key beside one another, in the order in which they first come.
fn grouped<R: std::borrow::Borrow<AuditRow>, K: PartialEq>(
    rows: &[R],
    key: impl Fn(&AuditRow) -> K,
) -> Vec<Vec<&AuditRow>> {
    let mut groups: Vec<(K, Vec<&AuditRow>)> = Vec::new();
    for row in rows {
        let row = row.borrow();
        let of = key(row);
        match groups.iter_mut().find(|(key, _)| *key == of) {
            Some((_, group)) => group.push(row),
            None => groups.push((of, vec![row])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn row(row: &AuditRow, imported: bool) -> Value {
    json!({
        "imported": imported,
        "at_ms": row.at_ms,
        "session": row.session.to_string(),
        "role": row.role,
        "attempt": row.attempt,
        "plugin": row.plugin,
        "digest": row.digest.to_string(),
        "call": row.call,
        "observation": row.observation,
        "way": row.way,
        "grant": row.grant,
        "own": row.own,
        "target": row.target,
        "count": row.count,
        "failed": row.failed,
        "what": row.what,
        "message": row.message,
        "flags": row.flags,
        "remedy": row.remedy,
    })
}

fn agent(agent: &AgentGrants, imported: bool) -> Value {
    let tool = |tool: &ToolGrants| {
        json!({
            "plugin": tool.plugin,
            "digest": tool.digest.to_string(),
            "tools": tool.names,
            "grants": rights(&tool.rights),
        })
    };
    json!({
        "imported": imported,
        "id": agent.id.to_string(),
        "parent": agent.parent.as_ref().map(ToString::to_string),
        "role": agent.role,
        "strategy": agent.strategy,
        "digest": agent.digest.to_string(),
        "grants": rights(&agent.rights),
        "budget": json::limits(&agent.budget),
        "tools": agent.tools.iter().map(tool).collect::<Vec<_>>(),
    })
}

fn rights(rights: &[Right]) -> Vec<Value> {
    let right = |right: &Right| {
        json!({
            "grant": right.grant,
            "about": right.about,
            "own": right.own,
            "by_tools": right.by_tools,
        })
    };
    rights.iter().map(right).collect()
}
