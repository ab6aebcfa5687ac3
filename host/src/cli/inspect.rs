//! `inspect`: what a plugin is, what it exports, what it wants, and what it would not get.

use serde_json::json;

use super::args::Output;
use super::errors::{Problem, notices};
use super::style::{Ink, Paint, fit, left, wrap};
use super::validated;
use super::{Context, json, progress, run, stdio, terminal};
use crate::limits::{Unit, show};
use crate::run::{Host, Inspection, Want};

/// Columns where standard output is no terminal, and of a text at most.
const WIDTH: usize = 200;
/// Lines of one list at most; a component may have very many imports.
const ROWS: usize = 100;

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
struct Screen {
    paint: Paint,
    columns: usize,
}

impl Screen {
    fn text(&self, found: &Inspection) -> String {
        let name = self.paint.ink(Ink::Bold, &fit(&found.name, 80));
        let title = format!("{name} {}", fit(&found.version, 40));
        let mut out = format!("{}\n", title.trim_end());
        self.item(&mut out, "", 0, &found.description);
        let (kinds, digest) = (found.kinds.join(", "), found.digest.to_string());
        let (toolsets, producers) = (found.toolsets.join(", "), found.producers.join(", "));
        let size = show(found.size, Unit::Bytes);
        for (name, value) in [
            ("is", &kinds),
            ("digest", &digest),
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
        let plain = |items: &[String]| {
            items
                .iter()
                .map(|item| (String::new(), item.clone()))
                .collect::<Vec<_>>()
        };
        self.list(&mut out, "exports", "none", &plain(&found.exports));
        self.list(&mut out, "imports", "none", &plain(&found.imports));
        self.wants(&mut out, &found.wants);
        if let Some(tools) = &found.tools {
            let tools = tools
                .iter()
                .map(|t| (format!("{} ", left(&t.name, 24)), t.description.clone()));
            self.list(&mut out, "tools", "none", &tools.collect::<Vec<_>>());
        }
        out
    }

    fn list(&self, out: &mut String, name: &str, none: &str, items: &[(String, String)]) {
        out.push_str(&format!("{}\n", self.paint.ink(Ink::Bold, name)));
        if items.is_empty() {
            out.push_str(&format!("  {none}\n"));
        }
        for (head, text) in items.iter().take(ROWS) {
            self.item(out, head, if head.is_empty() { 0 } else { 25 }, text);
        }
        if items.len() > ROWS {
            out.push_str(&format!("  … and {} more\n", items.len() - ROWS));
        }
    }

    /// `head`, which has so many columns, and `text` behind it, all its lines below each other.
    fn item(&self, out: &mut String, head: &str, columns: usize, text: &str) {
        let lines = wrap(&fit(text, WIDTH), self.columns.saturating_sub(2 + columns));
        let hang = format!("\n{:1$}", "", 2 + columns);
        if !lines.is_empty() || !head.is_empty() {
            let line = format!("  {head}{}", lines.join(&hang));
            out.push_str(&format!("{}\n", line.trim_end()));
        }
    }

    /// What it wants, each with the flag that allows it: in a line of its own, as the reason is the plugin's words.
    fn wants(&self, out: &mut String, wants: &[Want]) {
        out.push_str(&format!("{}\n", self.paint.ink(Ink::Bold, "wants")));
        if wants.is_empty() {
            out.push_str("  nothing\n");
        }
        for want in wants.iter().take(ROWS) {
            let verdict = if want.granted {
                self.paint.ink(Ink::Good, "granted")
            } else {
                self.paint.ink(Ink::Warn, "denied ")
            };
            let grant = left(&want.grant, 16);
            let flag = if want.granted { "" } else { &want.flag };
            let line = format!("  {verdict} {grant} {}", fit(flag, WIDTH));
            out.push_str(&format!("{}\n", line.trim_end()));
            self.item(out, &" ".repeat(8), 8, &want.reason);
        }
        if wants.len() > ROWS {
            out.push_str(&format!("  … and {} more\n", wants.len() - ROWS));
        }
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
            .map(|t| json!({ "name": t.name, "description": t.description }))
            .collect::<Vec<_>>()
    });
    json!({
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "digest": found.digest.to_string(),
        "size": found.size,
        "kinds": found.kinds,
        "manifest": found.manifest,
        "toolsets": found.toolsets,
        "producers": found.producers,
        "exports": found.exports,
        "imports": found.imports,
        "wants": wants.collect::<Vec<_>>(),
        "tools": tools,
    })
}
