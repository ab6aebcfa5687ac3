//! `inspect`: what a plugin is, what it exports, what it wants, and what it would not get.

use serde_json::json;

use super::args::Output;
use super::errors::{Problem, notices};
use super::pasted::pasted;
use super::style::{Ink, Paint, fit, left, size, width, wrap};
use super::validated;
use super::{Context, json, progress, run, stdio, terminal};
use crate::run::{Approved, ArgumentInfo, DefaultRight, Host, Inspection, ToolInfo, Want};

/// Columns where standard output is no terminal, and of a text at most.
pub(super) const WIDTH: usize = 200;
/// Lines of one list at most; a component may have very many imports.
const ROWS: usize = 100;
/// Columns of a tool's name.
const TOOL: usize = 24;
/// What is said of a want whose plugin does not say why.
pub(super) const NO_REASON: &str = "gives no reason";
/// Arguments of a tool that are shown.
const ARGUMENTS: usize = 32;

/// Looks at a plugin.
pub(super) async fn inspect(host: &Host, context: Context, wanted: validated::Inspect) -> Result<u8, Problem> {
    let found = host.inspect(&wanted.plugin, wanted.ask, &wanted.allow);
    let found = progress::until_ready(run::mode(context), found).await?;
    stdio::tell(&notices(context.paint, &host.notices()));
    match context.output {
        Output::Text => {
            let screen = Screen {
                paint: terminal::paint_output(context.color),
                columns: terminal::columns().unwrap_or(WIDTH),
            };
            stdio::print(&screen.text(&found))?;
        }
        Output::Json | Output::Events => stdio::print_line(&json::line(&object(&found)))?,
    }
    Ok(0)
}

/// What the lines are made for.
pub(super) struct Screen {
    pub(super) paint: Paint,
    pub(super) columns: usize,
}

impl Screen {
    fn text(&self, found: &Inspection) -> String {
        let name = self.paint.ink(Ink::Bold, &fit(&found.name, 80));
        let title = format!("{name} {}", fit(&found.version, 40));
        let mut out = format!("{}\n", title.trim_end());
        self.item(&mut out, "", 0, &found.description);
        let (kinds, digest) = (found.kinds.join(", "), found.digest.to_string());
        let (toolsets, producers) = (found.toolsets.join(", "), found.producers.join(", "));
        let (size, approved) = (size(found.size), pasted(approved(found.approved)).into_owned());
        for (name, value) in [
            ("is", &kinds),
            ("digest", &digest),
            ("approved", &approved),
            ("size", &size),
            ("manifest", &found.manifest),
            ("toolsets", &toolsets),
            ("made by", &producers),
        ] {
            if !value.is_empty() {
                let name = self.paint.ink(Ink::Dim, &left(name, 9));
                self.item(&mut out, &format!("{name} "), 10, value);
            }
        }
        let name = |out: &mut String, name: &String| self.item(out, "", 0, name);
        self.list(&mut out, "exports", "none", &found.exports, name);
        self.list(&mut out, "imports", "none", &found.imports, name);
        self.list(&mut out, "wants", "nothing", &found.wants, |out, want| {
            self.want(out, want);
        });
        self.by_default(&mut out, "has as every agent", &found.has);
        if let Some(tools) = &found.tools {
            self.list(&mut out, "tools", "none", tools, |out, tool| {
                self.offered(out, tool);
            });
        }
        out
    }

    /// What an agent has that nobody grants; no words where that is nothing.
    pub(super) fn by_default(&self, out: &mut String, heading: &str, has: &[DefaultRight]) {
        if !has.is_empty() {
            self.list(out, heading, "nothing", has, |out, has| {
                self.item(out, &format!("{} ", left(&has.right, 16)), 17, &has.about);
                self.said(out, "at worst", &has.at_worst);
            });
        }
    }

    /// A tool, with what it takes and says of itself below it.
    fn offered(&self, out: &mut String, tool: &ToolInfo) {
        let below = " ".repeat(TOOL + 1);
        let mut item = |head: &str, text: &str| self.item(out, head, TOOL + 1, text);
        item(&format!("{} ", left(&tool.name, TOOL)), &tool.description);
        for argument in tool.arguments.iter().take(ARGUMENTS) {
            item(&below, &taken(argument));
        }
        if tool.arguments.len() > ARGUMENTS {
            item(
                &below,
                &format!("… and {} more arguments", tool.arguments.len() - ARGUMENTS),
            );
        }
        let hints = tool.hints.join(", ");
        if !hints.is_empty() {
            item(&below, &format!("({hints}, it says)"));
        }
    }

    pub(super) fn list<T>(&self, out: &mut String, name: &str, none: &str, items: &[T], row: impl Fn(&mut String, &T)) {
        out.push_str(&format!("{}\n", self.paint.ink(Ink::Bold, name)));
        if items.is_empty() {
            out.push_str(&format!("  {none}\n"));
        }
        items.iter().take(ROWS).for_each(|item| row(out, item));
        if items.len() > ROWS {
            out.push_str(&format!("  … and {} more\n", items.len() - ROWS));
        }
    }

    /// `head`, which has so many columns, and `text` behind it, all its lines below each other.
    pub(super) fn item(&self, out: &mut String, head: &str, columns: usize, text: &str) {
        let lines = wrap(&fit(text, WIDTH), self.columns.saturating_sub(2 + columns));
        let hang = format!("\n{:1$}", "", 2 + columns);
        if !lines.is_empty() || !head.is_empty() {
            let line = format!("  {head}{}", lines.join(&hang));
            out.push_str(&format!("{}\n", line.trim_end()));
        }
    }

    /// A text behind who says it, all its lines below each other, so that none of it stands where the host speaks.
    pub(super) fn said(&self, out: &mut String, who: &str, text: &str) {
        self.item(out, &format!("  {} ", left(who, 8)), 11, text);
    }

    /// What it wants, with the flag that allows it: in a line of its own, as the reason may be the plugin's words.
    fn want(&self, out: &mut String, want: &Want) {
        let (verdict, flag) = if want.granted {
            (self.paint.ink(Ink::Good, "granted"), "")
        } else {
            (self.paint.ink(Ink::Warn, "denied "), want.flag.as_str())
        };
        let (grant, flag) = (at_least(&want.grant, 16), fit(flag, WIDTH));
        let fits = 11 + width(&grant) + width(&flag) <= self.columns;
        let between = if fits || flag.is_empty() { " " } else { "\n          " };
        out.push_str(&format!(
            "  {verdict} {}\n",
            format!("{grant}{between}{flag}").trim_end()
        ));
        let reason = match want.reason.trim() {
            "" => NO_REASON,
            reason => reason,
        };
        self.item(out, &" ".repeat(8), 8, reason);
    }
}

/// `path (string, required): The file.`
fn taken(argument: &ArgumentInfo) -> String {
    let ArgumentInfo {
        name,
        kind,
        required,
        description,
    } = argument;
    let required = if *required { ", required" } else { "" };
    let colon = if description.is_empty() { "" } else { ": " };
    format!("{name} ({kind}{required}){colon}{description}")
}

/// `text` in at least so many columns: what is asked for is never cut where somebody decides on it.
pub(super) fn at_least(text: &str, columns: usize) -> String {
    let text = fit(text, WIDTH);
    let space = columns.saturating_sub(width(&text));
    format!("{text}{:space$}", "")
}

/// Whether it was approved; nothing where a path was named.
fn approved(approved: Approved) -> &'static str {
    match approved {
        Approved::Yes => "as it is",
        Approved::Changed => "no: it has changed since; see hermes-host plugin list",
        Approved::Never | Approved::BuiltIn => "",
    }
}

fn object(found: &Inspection) -> serde_json::Value {
    let wants = found
        .wants
        .iter()
        .map(|want| json!({ "grant": want.grant, "reason": want.reason, "granted": want.granted, "flag": want.flag }));
    let tools = found.tools.as_ref().map(|tools| {
        tools
            .iter()
            .map(|t| json!({ "name": t.name, "description": t.description, "hints": t.hints, "schema": t.schema }))
            .collect::<Vec<_>>()
    });
    json!({
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "digest": found.digest.to_string(),
        "approved": match found.approved {
            Approved::Yes => "yes",
            Approved::Changed => "changed",
            Approved::Never => "never",
            Approved::BuiltIn => "built-in",
        },
        "size": found.size,
        "kinds": found.kinds,
        "manifest": found.manifest,
        "toolsets": found.toolsets,
        "producers": found.producers,
        "exports": found.exports,
        "imports": found.imports,
        "wants": wants.collect::<Vec<_>>(),
        "has": found.has.iter().map(|has| &has.right).collect::<Vec<_>>(),
        "tools": tools,
    })
}
