//! `inspect`: what a plugin is, what it exports, what it wants, and what it would not get.

use serde_json::json;

use super::args::Output;
use super::errors::{Problem, notices};
use super::style::{Ink, Paint, fit, left};
use super::validated;
use super::{Context, json, stdio, terminal};
use crate::limits::{Unit, show};
use crate::run::{Host, Inspection};

/// The longest line, in columns.
const WIDTH: usize = 200;
/// Lines of one list at most; a component may have very many imports.
const ROWS: usize = 100;

/// Looks at a plugin.
pub(super) async fn inspect(host: &Host, context: Context, wanted: validated::Inspect) -> Result<u8, Problem> {
    let found = host.inspect(&wanted.plugin, wanted.ask, &wanted.allow).await?;
    stdio::tell(&notices(context.paint, &host.notices()));
    match context.output {
        Output::Text => stdio::print(&text(&found, terminal::paint_output(context.color)))?,
        Output::Json | Output::Events => stdio::print_line(&json::line(&object(&found)))?,
    }
    Ok(0)
}

fn text(found: &Inspection, paint: Paint) -> String {
    let title = format!(
        "{} {}",
        paint.ink(Ink::Bold, &fit(&found.name, 80)),
        fit(&found.version, 40)
    );
    let mut out = format!("{}\n", title.trim_end());
    if !found.description.is_empty() {
        out.push_str(&format!("  {}\n", fit(&found.description, WIDTH)));
    }
    let mut fact = |name: &str, value: &str| {
        out.push_str(&format!(
            "  {} {}\n",
            paint.ink(Ink::Dim, &left(name, 9)),
            fit(value, WIDTH)
        ));
    };
    fact("is", &found.kinds.join(", "));
    fact("digest", &found.digest.to_string());
    fact("size", &show(found.size, Unit::Bytes));
    fact("manifest", &found.manifest);
    if !found.toolsets.is_empty() {
        fact("toolsets", &found.toolsets.join(", "));
    }
    if !found.producers.is_empty() {
        fact("made by", &found.producers.join(", "));
    }
    list(&mut out, paint, "exports", &found.exports);
    list(&mut out, paint, "imports", &found.imports);
    wants(&mut out, paint, found);
    if let Some(tools) = &found.tools {
        let tools: Vec<String> = tools
            .iter()
            .map(|t| format!("{} {}", left(&t.name, 24), t.description))
            .collect();
        list(&mut out, paint, "tools", &tools);
    }
    out
}

fn list(out: &mut String, paint: Paint, name: &str, items: &[String]) {
    out.push_str(&format!("{}\n", paint.ink(Ink::Bold, name)));
    if items.is_empty() {
        out.push_str("  none\n");
    }
    items
        .iter()
        .take(ROWS)
        .for_each(|item| out.push_str(&format!("  {}\n", fit(item, WIDTH))));
    if items.len() > ROWS {
        out.push_str(&format!("  … and {} more\n", items.len() - ROWS));
    }
}

fn wants(out: &mut String, paint: Paint, found: &Inspection) {
    out.push_str(&format!("{}\n", paint.ink(Ink::Bold, "wants")));
    if found.wants.is_empty() {
        out.push_str("  nothing\n");
    }
    for want in found.wants.iter().take(ROWS) {
        let verdict = if want.granted {
            paint.ink(Ink::Good, "granted")
        } else {
            paint.ink(Ink::Warn, "denied ")
        };
        out.push_str(&format!(
            "  {verdict} {} {}\n",
            left(&want.grant, 16),
            fit(&want.reason, WIDTH)
        ));
        if !want.granted && !want.flag.is_empty() {
            out.push_str(&format!("          allow it with  {}\n", fit(&want.flag, WIDTH)));
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
