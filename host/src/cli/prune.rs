//! `runs prune`: what went, how much that was, and how much is free now.

use serde_json::{Value, json};

use super::args::Output;
use super::errors::Problem;
use super::pasted::pasted;
use super::style::{Ink, Paint, age, fit, flow, left, number, right, size};
use super::{Context, json, stdio, terminal};
use crate::event::now_ms;
use crate::run::{Host, HostError, Missing, PruneSpec, Pruned, Standing, Stays};

/// Columns of a task.
const TASK: usize = 84;
/// Columns before it.
const HEAD: usize = 48;

/// Removes runs, and tells of them. Exit code 1 where damage kept something of them or the bytes of plugins, or would; that of what ended it, once a run was
/// gone.
pub(super) async fn prune(host: &Host, context: Context, spec: &PruneSpec) -> Result<u8, Problem> {
    let mut pruned = host.prune(spec).await?;
    let failed = pruned.failed.take().map(|error| Problem::from(HostError::from(error)));
    match context.output {
        Output::Text => stdio::print(&text(&pruned, spec, terminal::paint_output(context.color)))?,
        Output::Json | Output::Events => {
            let mut object = object(&pruned, spec);
            if let Some(problem) = &failed {
                object["error"] = json::failure(problem)["error"].take();
            }
            stdio::print_line(&json::line(&object))?;
        }
    }
    match failed {
        Some(problem) => {
            stdio::tell(&problem.render(context.paint));
            Ok(problem.code)
        }
        None => Ok(u8::from(pruned.damaged.is_some() || pruned.missing.is_some())),
    }
}

fn text(pruned: &Pruned, spec: &PruneSpec, paint: Paint) -> String {
    let mut out = String::new();
    let room = terminal::columns();
    let columns = room.map_or(TASK, |columns| columns.saturating_sub(HEAD).min(TASK));
    if !pruned.runs.is_empty() {
        let head = format!(
            "{}  {}  {}  {}  task\n",
            left("run", 10),
            left("status", 11),
            right("age", 7),
            right("size", 10)
        );
        out.push_str(&paint.ink(Ink::Dim, head.trim_end()));
        out.push('\n');
    }
    for run in &pruned.runs {
        let row = format!(
            "{}  {}  {}  {}  {}",
            paint.ink(Ink::Bold, run.run.as_str()),
            left(run.standing.name(), 11),
            right(&age(run.changed_ms, now_ms()), 7),
            right(&size(run.bytes), 10),
            fit(&run.task, columns),
        );
        out.push_str(&format!("{}\n", row.trim_end()));
    }
    let mut words = String::new();
    for run in &pruned.left {
        words.push_str(&format!("run {run} stays: a process took it meanwhile\n"));
    }
    words.push_str(&sum(pruned, spec));
    if let Some(missing) = &pruned.missing {
        words.push_str(&components_stay(missing, spec.dry_run));
    }
    if !pruned.without_anchor.is_empty() {
        words.push_str(&without_anchor(pruned.without_anchor.len() as u64, spec.dry_run));
    }
    if let (Some(stays), Some(keep)) = (&pruned.stays, spec.keep_bytes) {
        words.push_str(&too_much(stays, keep, spec.dry_run));
    }
    if let Some(damaged) = &pruned.damaged {
        let would = if spec.dry_run { "would be" } else { "could be" };
        words.push_str(&pasted(&format!("not all of it {would} removed: {damaged}\n")));
    }
    match room {
        Some(columns) => out.push_str(&flow(&words, columns)),
        None => out.push_str(&words),
    }
    out
}

/// That so many runs stay, as an anchor may be all that they lack.
fn without_anchor(runs: u64, dry_run: bool) -> String {
    let stay = match (dry_run, runs) {
        (true, _) => "would stay",
        (false, 1) => "stays",
        (false, _) => "stay",
    };
    let runs = number(runs, "run");
    format!("{runs} without an anchor {stay}: hermes-host resume RUN --accept-loss makes it again\n")
}

/// What stays where that is more than was to be kept.
fn too_much(stays: &Stays, keep: u64, dry_run: bool) -> String {
    let mut parts = Vec::new();
    if stays.components > 0 {
        parts.push(format!("{} of components", size(stays.components)));
    }
    let runs = |n: u64, which: &str| format!("{} {which}", number(n, "run"));
    parts.extend(stays.runs.iter().map(|(standing, n)| match standing {
        Standing::Interrupted => runs(*n, "that can go on"),
        other => runs(*n, other.name()),
    }));
    if stays.owned > 0 {
        parts.push(runs(stays.owned, "under way"));
    }
    if parts.is_empty() {
        parts.push("the database itself".to_owned());
    }
    let stay = if dry_run { "would stay" } else { "stay" };
    let (bytes, keep) = (size(stays.bytes), size(keep));
    format!("{bytes} {stay}, more than {keep}: {}\n", parts.join(", "))
}

/// The last line: what went in all, and what is free.
fn sum(pruned: &Pruned, spec: &PruneSpec) -> String {
    let (before, after) = (pruned.before, pruned.after);
    let runs = number(pruned.runs.len() as u64, "run");
    if spec.dry_run {
        let bytes: u64 = pruned.runs.iter().map(|run| run.bytes).sum();
        return format!("{runs} would be removed, about {} beside components\n", size(bytes));
    }
    let mut out = format!(
        "{runs} removed, {} of {}",
        size(before.used.saturating_sub(after.used)),
        size(before.used)
    );
    if pruned.components > 0 {
        let components = number(pruned.components, "component");
        out.push_str(&format!(", {components} among them"));
    }
    out.push_str(&format!(
        "; {} are the file system's again, {} are free inside the database\n",
        size(pruned.returned),
        size(after.free)
    ));
    if pruned.backup {
        out.push_str("components stay until the next prune: a backup is under way\n");
    }
    out
}

/// Why the bytes of no plugin go.
fn components_stay(missing: &Missing, dry_run: bool) -> String {
    let stay = if dry_run { "would stay" } else { "stay" };
    let why = match missing {
        Missing::Component(digest) => format!("{}, which a run uses, is not there; which run:", digest.short()),
        Missing::Page(what) => format!("the database's structure is damaged ({what}); more:"),
        Missing::Rows(run) => format!("a row that says which of them the run {run} uses is missing; more:"),
    };
    pasted(&format!("components {stay}: {why}  hermes-host doctor\n")).into_owned()
}

fn object(pruned: &Pruned, spec: &PruneSpec) -> Value {
    let runs: Vec<Value> = pruned
        .runs
        .iter()
        .map(|run| {
            json!({
                "run": run.run,
                "status": run.standing.name(),
                "changed_ms": run.changed_ms,
                "bytes": run.bytes,
            })
        })
        .collect();
    let bytes = |size: crate::run::StoreSize| json!({ "files": size.files, "used": size.used, "free": size.free });
    json!({
        "dry_run": spec.dry_run,
        "runs": runs,
        "left": pruned.left,
        "without_anchor": pruned.without_anchor,
        "components": pruned.components,
        "returned": pruned.returned,
        "missing": match &pruned.missing {
            Some(Missing::Component(digest)) => Some(digest.to_string()),
            _ => None,
        },
        "without_components": match &pruned.missing {
            Some(Missing::Rows(run)) => Some(run),
            _ => None,
        },
        "structure": match &pruned.missing {
            Some(Missing::Page(what)) => Some(what),
            _ => None,
        },
        "before": bytes(pruned.before),
        "after": bytes(pruned.after),
        "stays": pruned.stays.as_ref().map(stays),
        "damaged": pruned.damaged,
    })
}

fn stays(stays: &Stays) -> Value {
    let runs = stays
        .runs
        .iter()
        .map(|(standing, n)| (standing.name().to_owned(), json!(n)));
    json!({
        "bytes": stays.bytes,
        "components": stays.components,
        "runs": runs.collect::<serde_json::Map<_, _>>(),
        "owned": stays.owned,
    })
}
