//! What went wrong in a script, in words for the model that wrote it: the line, and what happened there.

use rhai::{EvalAltResult, ParseError, ParseErrorType, Position};

use crate::caps;

/// What is shown of a line, in bytes.
const LINE_BYTES: usize = 200;
/// What is told of a message, in bytes.
const MESSAGE_BYTES: usize = 600;

/// A script that can't be read.
pub(crate) fn unreadable(script: &str, error: &ParseError) -> String {
    let what = match error.err_type() {
        ParseErrorType::ExprTooDeep => "it nests too deep; put a part of it into a variable or a function".to_owned(),
        other => format!("syntax error: {other}"),
    };
    at(script, error.position(), &what)
}

/// A script that ended with an error.
pub(crate) fn failed(script: &str, error: &EvalAltResult) -> String {
    // The innermost error is what happened; those around it are the calls that led there.
    let mut inner = error;
    while let EvalAltResult::ErrorInFunctionCall(_, _, next, _) = inner {
        inner = next;
    }
    let what = match inner {
        EvalAltResult::ErrorTooManyOperations(_) => format!(
            "it took more than {} steps, the most of one call, and was stopped; is there a loop that does not end? Do less in one call",
            caps::OPERATIONS
        ),
        EvalAltResult::ErrorStackOverflow(_) => {
            format!("functions call one another more than {} deep; use a loop", caps::CALLS)
        }
        EvalAltResult::ErrorDataTooLarge(what, _) => format!(
            "{} is over the limit ({} elements with all that is inside, {} bytes of text)",
            what.to_lowercase(),
            caps::ELEMENTS,
            caps::STRING_BYTES
        ),
        EvalAltResult::ErrorRuntime(value, _) => format!("the script threw: {value}"),
        EvalAltResult::ErrorFunctionNotFound(name, _) => format!("there is no function {name}"),
        EvalAltResult::ErrorVariableNotFound(name, _) => {
            format!("there is no variable {name} (functions see their arguments alone; closures see more)")
        }
        other => without_place(other),
    };
    at(script, inner.position(), &what)
}

/// The message of an error without its position, which is told before it.
fn without_place(error: &EvalAltResult) -> String {
    let text = error.to_string();
    let place = format!(" ({})", error.position());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

fn at(script: &str, place: Position, what: &str) -> String {
    let what = hermes_sdk::text::shorten(what, MESSAGE_BYTES, "");
    let Some(number) = place.line() else {
        return format!("The script failed: {what}.");
    };
    let line = script.lines().nth(number - 1).unwrap_or_default().trim();
    format!(
        "The script failed at line {number}: {what}.\n  {number}: {}",
        hermes_sdk::text::prefix(line, LINE_BYTES)
    )
}
