//! `secret`: what the host puts into requests of tools. No screen shows what a secret is.

use serde_json::{Value, json};

use super::args::Output;
use super::errors::Problem;
use super::pasted::pasted;
use super::style::{Ink, Paint, age, fit, left, right, width};
use super::validated::Secret;
use super::{Context, json, stdio, terminal};
use crate::event::now_ms;
use crate::run::{Host, Place, SecretGranted, SecretRow, SecretSet};
use crate::text;

/// The longest name and place shown in full, in columns.
const COLUMNS: usize = 40;

/// Does what the command says.
pub(super) fn serve(host: &Host, context: Context, command: Secret) -> Result<u8, Problem> {
    match command {
        Secret::Set {
            name,
            value,
            place,
            guessable,
        } => {
            let set = host.set_secret(&name, value, place, guessable)?;
            told(context, &name, &set)?;
        }
        Secret::List => list(host, context)?,
        Secret::Remove { name } => {
            host.remove_secret(&name)?;
            match context.output {
                Output::Text => stdio::tell(&format!("{name} is removed\n")),
                Output::Json | Output::Events => stdio::print_line(&json::line(&json!({ "name": name })))?,
            }
        }
    }
    Ok(0)
}

fn told(context: Context, name: &str, set: &SecretSet) -> Result<(), Problem> {
    if context.output != Output::Text {
        let mut object = json!({ "name": name });
        place(&mut object, Some(&set.place));
        object["replaced"] = set.replaced.into();
        return stdio::print_line(&json::line(&object));
    }
    let how = if set.replaced { "set anew" } else { "set" };
    stdio::tell(&format!(
        "{name} is {how}; the host puts it into the {}\n  grant it with  --allow net:HOST --allow secret:{name}@HOST\n",
        text::line(&set.place.to_string(), 400)
    ));
    Ok(())
}

fn list(host: &Host, context: Context) -> Result<(), Problem> {
    let rows = host.secrets()?;
    if context.output != Output::Text {
        let rows: Vec<Value> = rows.iter().map(object).collect();
        return stdio::print_line(&json::line(&rows.into()));
    }
    if rows.is_empty() {
        stdio::tell(&pasted("no secrets yet; set one with  hermes-host secret set NAME\n"));
        return Ok(());
    }
    stdio::print(&table(&rows, terminal::paint_output(context.color)))
}

fn table(rows: &[SecretRow], paint: Paint) -> String {
    let goes = |row: &SecretRow| {
        let set = row.set.as_ref();
        set.map_or_else(|| "not set".to_owned(), |set| fit(&set.place.to_string(), COLUMNS))
    };
    let places: Vec<String> = rows.iter().map(goes).collect();
    let names = rows.iter().map(|row| width(&row.name)).max().unwrap_or_default();
    let (names, wide) = (
        names.clamp(4, COLUMNS),
        places.iter().map(|p| width(p)).max().unwrap_or_default().max(4),
    );
    let line = |name: &str, goes: &str, age: &str, granted: &str| {
        let line = format!(
            "{}  {}  {}  {granted}",
            left(name, names),
            left(goes, wide),
            right(age, 6)
        );
        format!("{}\n", line.trim_end())
    };
    let now = now_ms();
    let mut out = paint.ink(Ink::Dim, line("name", "goes", "age", "granted to").trim_end());
    out.push('\n');
    for (row, goes) in rows.iter().zip(&places) {
        let granted: Vec<String> = row.granted.iter().map(shown).collect();
        let age = row.set.as_ref().map(|set| age(set.ms, now)).unwrap_or_default();
        out.push_str(&line(&row.name, goes, &age, &granted.join(", ")));
    }
    out
}

/// `api.x.org (web)`.
fn shown(granted: &SecretGranted) -> String {
    let hosts = text::line(&granted.hosts, 200);
    match (&granted.plugin, granted.own) {
        (None, _) => hosts,
        (Some(plugin), false) => format!("{hosts} ({plugin})"),
        (Some(plugin), true) => format!("{hosts} ({plugin}'s own)"),
    }
}

fn object(row: &SecretRow) -> Value {
    let granted = row
        .granted
        .iter()
        .map(|granted| json!({ "hosts": granted.hosts, "plugin": granted.plugin, "own": granted.own }));
    let mut object = json!({ "name": row.name });
    place(&mut object, row.set.as_ref().map(|set| &set.place));
    object["set_ms"] = row.set.as_ref().map(|set| set.ms).into();
    object["granted"] = granted.collect();
    object
}

/// Says where a secret goes, in the words of the flags; nowhere while it is not set.
fn place(object: &mut Value, place: Option<&Place>) {
    let (header, query) = match place {
        Some(Place::Header { name, before, after }) => (Some(format!("{name}: {before}{{}}{after}")), None),
        Some(Place::Query { key }) => (None, Some(key.clone())),
        None => (None, None),
    };
    object["header"] = header.into();
    object["query"] = query.into();
}
