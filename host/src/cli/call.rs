//! `call`: one tool, once, in a fresh sandbox.

use serde_json::json;

use super::args::Output;
use super::errors::{Problem, foreign, notices, with_kind};
use super::pasted::pasted;
use super::style::Ink;
use super::validated;
use super::{Context, denied, json, progress, run, stdio};
use crate::run::{Host, Titles, without_fences};
use crate::text::{Shape, clean};

/// Calls the tool and prints what it answered; exit code 4 where a right was missing, 3 where a limit was used up that a budget
/// counts too, 1 where the call failed otherwise.
pub(super) async fn call(host: &Host, context: Context, call: validated::Call) -> Result<u8, Problem> {
    // Nothing moves but the first compile; what the tool does it says by its answer.
    let tools = host.tools_of(&call.plugin, &call.allow);
    let tools = progress::until_ready(run::mode(context), tools).await?;
    stdio::tell(&notices(context.paint, tools.idle_flags()));
    if !context.quiet {
        stdio::tell(&notices(context.paint, tools.notices()));
    }
    let answer = tools.call(&call.tool, &call.arguments).await?;
    stdio::tell(&notices(context.paint, &host.notices()));
    let page = denied::page(context.paint, &answer.denials, None);
    let page = pasted(&page);
    if answer.error.is_none() || context.output != Output::Text {
        stdio::tell(&page);
    }
    if context.output == Output::Text {
        let text = answer.content.join("\n");
        let text = without_fences(&text, Titles::Dropped);
        let text = clean(&text, Shape::Block);
        match &answer.error {
            None if !text.is_empty() => stdio::print_line(text.trim_end_matches('\n'))?,
            None => {
                let structured = answer.structured.as_deref().map(json::parsed);
                stdio::print_line(&structured.map_or_else(String::new, |value| json::line(&value)))?;
            }
            Some((kind, message)) => {
                let message = without_fences(message, Titles::Dropped);
                let error = foreign(context.paint, "error", Ink::Bad, &with_kind(&message, kind));
                // What to do about it comes last.
                stdio::tell(&format!("{error}{page}"));
            }
        }
    } else {
        stdio::print_line(&json::line(&json!({
            "content": answer.content,
            "structured": answer.structured.as_deref().map(json::parsed),
            "error": answer.error.as_ref().map(|(kind, message)| json!({ "kind": kind, "message": message })),
            "denied": denied::array(&answer.denials),
        })))?;
    }
    Ok(match &answer.error {
        None => 0,
        Some((kind, _)) if kind == "denied" => 4,
        Some((kind, _)) if kind.starts_with("exhausted") => 3,
        Some(_) => 1,
    })
}
