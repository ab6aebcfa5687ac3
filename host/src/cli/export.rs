//! `export`: the conversations of a run, as JSON Lines, or all of it as a file; `import`: such a file.

use std::path::Path;

use serde_json::json;

use super::args::Output;
use super::errors::{Problem, notices};
use super::pasted::pasted;
use super::style::size;
use super::validated::ExportRun;
use super::{Context, json, stdio};
use crate::run::{Host, ImportedRun, TrajectoryForm};
use crate::text;

/// Prints one line for each conversation; all of them as one list where JSON was asked for.
pub(super) async fn export(host: &Host, context: Context, run: &str, form: TrajectoryForm) -> Result<u8, Problem> {
    let conversations = host.trajectories(run, form).await?;
    if context.output != Output::Text {
        return stdio::print_line(&json::line(&conversations.into())).map(|()| 0);
    }
    for line in conversations {
        stdio::print_line(&json::line(&line))?;
    }
    Ok(0)
}

/// Writes all that is kept of a run to a file.
pub(super) async fn to_file(host: &Host, context: Context, export: &ExportRun) -> Result<u8, Problem> {
    let exported = host.export_run(&export.run, &export.file, export.plugins).await?;
    if exported.view_only {
        let what = "secrets were taken out, so that the run in the file can be looked at and not replayed";
        stdio::tell(&notices(context.paint, &[what.to_owned()]));
    }
    let file = exported.file.display().to_string();
    match context.output {
        Output::Text => stdio::tell(&format!(
            "run {} is in {}, {}\n",
            exported.run,
            text::line(&file, 200),
            size(exported.bytes)
        )),
        Output::Json | Output::Events => stdio::print_line(&json::line(&json!({
            "run": exported.run,
            "file": file,
            "bytes": exported.bytes,
            "view_only": exported.view_only,
        })))?,
    }
    Ok(0)
}

/// Brings a run here.
pub(super) async fn import(host: &Host, context: Context, file: &Path) -> Result<u8, Problem> {
    let imported = host.import_run(file).await?;
    let run = &imported.run;
    let mut told = Vec::new();
    if imported.view_only {
        told.push("secrets were taken out when it was exported: it can be looked at, not replayed".to_owned());
    }
    for (name, digest) in &imported.missing {
        let (name, digest) = (text::line(name, 64), text::prefix(digest, 12));
        told.push(format!(
            "its plugin {name} ({digest}) is neither in the file nor here; a replay needs it"
        ));
    }
    stdio::tell(&notices(context.paint, &told));
    match context.output {
        Output::Text => stdio::tell(&pasted(&ways(&imported))),
        Output::Json | Output::Events => {
            let missing = imported.missing.iter();
            let missing = missing.map(|(name, digest)| json!({ "name": name, "digest": digest }));
            stdio::print_line(&json::line(&json!({
                "run": run,
                "view_only": imported.view_only,
                "can_go_on": imported.can_go_on,
                "missing": missing.collect::<Vec<_>>(),
            })))?;
        }
    }
    Ok(0)
}

/// What can be done with it here.
fn ways(imported: &ImportedRun) -> String {
    let run = &imported.run;
    let mut text = format!("run {run} is here:\n  look at it      hermes-host show {run}\n");
    if !imported.view_only && imported.missing.is_empty() {
        text.push_str(&format!("  replay it       hermes-host replay {run}\n"));
    }
    if imported.can_go_on {
        text.push_str(&format!("  go on with it   hermes-host resume {run}\n"));
    }
    text
}
