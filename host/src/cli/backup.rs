//! `backup`: a copy of all that is kept, while it is in use.

use std::path::{Path, PathBuf};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::Output;
use super::errors::Problem;
use super::run::listen;
use super::style::{number, size};
use super::{Context, json, stdio};
use crate::run::Host;
use crate::text::{Shape, clean, shell_word};

/// Copies, and says how much that was. A signal gives the copy up, and nothing of it is left.
pub(super) async fn backup(host: &Host, context: Context, to: &Path) -> Result<u8, Problem> {
    let mut stop = listen()?;
    let given_up = CancellationToken::new();
    let copying = host.backup(to, given_up.clone());
    tokio::pin!(copying);
    let copied = tokio::select! {
        copied = &mut copying => copied?,
        () = stop.next() => {
            given_up.cancel();
            // It may have been whole just before.
            match copying.await {
                Ok(copied) => copied,
                Err(_) => return Err(Problem::stopped("the backup was given up: nothing of it is left")),
            }
        }
    };
    // As `mv` takes it.
    let shown = to.components().collect::<PathBuf>().display().to_string();
    match context.output {
        Output::Text => stdio::tell(&format!(
            "{} with {} are in {}, {} in all\nto use it, while nothing else does:\n{}",
            number(copied.runs, "run"),
            number(copied.components, "component"),
            clean(&shown, Shape::Line),
            size(copied.bytes),
            commands(&shown, &host.config().state_dir)
        )),
        Output::Json | Output::Events => stdio::print_line(&json::line(&json!({
            "folder": shown,
            "runs": copied.runs,
            "components": copied.components,
            "bytes": copied.bytes,
        })))?,
    }
    Ok(0)
}

/// What puts a backup in the place of what is in use, which is kept beside it.
fn commands(backup: &str, in_use: &Path) -> String {
    let in_use = in_use.display().to_string();
    let before = shell_word(&format!("{in_use}.before"));
    let (backup, in_use) = (shell_word(backup), shell_word(&in_use));
    let commands = [format!("mv {in_use} {before}"), format!("mv {backup} {in_use}")];
    let lines = commands.iter().map(|line| format!("  {}\n", clean(line, Shape::Line)));
    lines.collect()
}
