//! What the two wire protocols have in common: a request is encoded to JSON, and an answer comes as events of a stream
//! or, from servers that do not stream, as one JSON body.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::draft::Draft;
use super::fault::{Fault, StatusFault};
use super::request::Delta;
use super::special::as_text;
use super::sse::Event;
use super::usage::Reported;
use crate::bindings::llm::{FinishReason, Part};
use crate::bindings::types::ToolDef;
use crate::error::Refusal;
use crate::json;
use crate::scrub::BEHIND;

/// Who hears of text as it comes.
pub(super) type Tell<'a> = dyn Fn(Delta) + Send + Sync + 'a;

/// Reads one answer.
pub(super) trait Decode: Send {
    /// Takes the next event of a stream.
    fn event(&mut self, event: &Event, tell: &Tell<'_>) -> Result<(), Fault>;

    /// Takes a whole body instead of a stream.
    fn body(&mut self, body: &Value, tell: &Tell<'_>) -> Result<(), Fault>;

    /// True from the event on that ends the answer.
    fn is_over(&self) -> bool;

    /// What has come so far.
    fn draft(&self) -> &Draft;

    /// What the provider has reported so far.
    fn reported(&self) -> Reported;

    /// The whole answer.
    ///
    /// # Errors
    /// [`Fault::Broken`] where its end has not come.
    fn finish(self: Box<Self>) -> Result<Answer, Fault>;
}

/// A whole answer.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) parts: Vec<Part>,
    pub(super) finish_reason: FinishReason,
    /// The provider's name of the model; none where it does not say.
    pub(super) model: Option<String>,
}

/// The error in an answer of status 200, or in the body of an error: `{"error": {...}}`, `{"error": "words"}`.
pub(super) fn error_in(body: &Value, status: u16) -> Option<StatusFault> {
    let error = body.get("error").filter(|error| !error.is_null())?;
    let text = |key: &str| match error.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let message = error.as_str().map_or_else(|| text("message"), str::to_owned);
    let code = format!("{} {}", text("code"), text("type")).trim().to_owned();
    let status = if status == 200 { status_of(&code) } else { status };
    Some(StatusFault {
        status,
        code,
        message,
        retry_after: None,
    })
}

/// The HTTP status that an error within an answer stands for.
fn status_of(code: &str) -> u16 {
    for word in code.split(' ') {
        if let Some(status) = word.parse().ok().filter(|status| (400..=599).contains(status)) {
            return status;
        }
        match word {
            "rate_limit_exceeded" | "rate_limit_error" | "insufficient_quota" => return 429,
            "overloaded_error" => return 529,
            "server_error" | "api_error" | "internal_error" => return 500,
            "timeout_error" => return 408,
            "invalid_request_error" | "context_length_exceeded" | "exceed_context_size_error" => return 400,
            "authentication_error" => return 401,
            "permission_error" => return 403,
            "not_found_error" => return 404,
            _ => {}
        }
    }
    // Unknown trouble in the middle of an answer is most often the server's.
    500
}

/// Values, and keys, of one event or body at most: each takes far more memory than its text.
const VALUES: u64 = 100_000;

/// A name or a word that a provider says: so much of it that it can be cut where no secret is.
pub(super) fn word(text: &str) -> String {
    crate::text::prefix(text, 2 * BEHIND).to_owned()
}

/// The JSON of an event or body.
pub(super) fn parse(text: &str) -> Result<Value, Fault> {
    if json::values(text) > VALUES {
        return Err(Fault::Broken(format!("a piece of it has more than {VALUES} values")));
    }
    serde_json::from_str(text).map_err(|error| Fault::Broken(format!("a piece of it is no JSON ({error})")))
}

/// The longest name of a tool that providers take.
const NAME_MAX: usize = 64;

/// The name of a tool that was called, as a provider takes it: models invent names, and a history with one that does not
/// fit `^[a-zA-Z0-9_-]{1,64}$` is refused whole.
pub(super) fn tool_name(name: &str) -> Cow<'_, str> {
    if is_tool_name(name) {
        return name.into();
    }
    let fit = |c: char| if in_tool_name(c) { c } else { '_' };
    let name: String = name.chars().take(NAME_MAX).map(fit).collect();
    if name.is_empty() { "_".into() } else { name.into() }
}

fn is_tool_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(in_tool_name)
}

fn in_tool_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// The arguments of a tool that was called, as a provider takes them. What the model made need not be an object, but what is
/// sent must be.
pub(super) fn arguments(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_else(|_| Map::from_iter([("invalid".to_owned(), text.into())]))
}

/// [`arguments`] as text: the model's own to the letter where it is an object.
pub(super) fn arguments_text(text: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(_) => text.into(),
        Err(_) => Value::Object(arguments(text)).to_string().into(),
    }
}

/// A tool as a model is told of it. What its plugin wrote is a text of the prompt as any other.
#[derive(Debug)]
pub(super) struct Offered<'a> {
    pub(super) name: &'a str,
    pub(super) description: Cow<'a, str>,
    pub(super) schema: Value,
}

/// Checks `tools` and gives each as it is offered.
pub(super) fn tools(tools: &[ToolDef]) -> Result<Vec<Offered<'_>>, Refusal> {
    let mut names = std::collections::HashSet::new();
    tools
        .iter()
        .map(|tool| {
            let name = tool.name.as_str();
            if !is_tool_name(name) {
                return Err(Refusal::invalid(format!(
                    "The tool name {:?} must be 1 to {NAME_MAX} letters, digits, `_` or `-`.",
                    crate::text::line(name, NAME_MAX)
                )));
            }
            if !names.insert(name) {
                return Err(Refusal::invalid(format!("Two of the offered tools are called {name}.")));
            }
            let schema = json(&tool.input_schema, &format!("The input schema of the tool {name}"))?;
            let schema = in_text(schema);
            if !schema.is_object() {
                return Err(Refusal::invalid(format!(
                    "The input schema of the tool {name} must be a JSON object."
                )));
            }
            Ok(Offered {
                name,
                description: as_text(&tool.description),
                schema,
            })
        })
        .collect()
}

/// JSON that a guest wrote, `what` for the message.
pub(super) fn json(text: &str, what: &str) -> Result<Value, Refusal> {
    serde_json::from_str(text).map_err(|error| Refusal::invalid(format!("{what} is no JSON: {error}.")))
}

/// A value with [`as_text`] of each of its texts, however these were escaped.
fn in_text(value: Value) -> Value {
    match value {
        Value::String(text) => as_text(&text).into_owned().into(),
        Value::Array(all) => all.into_iter().map(in_text).collect(),
        Value::Object(all) => {
            let all = all.into_iter();
            Value::Object(
                all.map(|(key, value)| (as_text(&key).into_owned(), in_text(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

/// Merges the guest's `provider-options` into `body`; only the keys in `allowed` may be set.
pub(super) fn merge_options(
    body: &mut Map<String, Value>,
    options: Option<&str>,
    provider: &str,
    allowed: &[&str],
) -> Result<(), Refusal> {
    let Some(text) = options else { return Ok(()) };
    let Value::Object(options) = json(text, "provider-options")? else {
        return Err(Refusal::invalid("provider-options must be a JSON object."));
    };
    for (key, value) in options {
        if !allowed.contains(&key.as_str()) {
            return Err(Refusal::invalid(format!(
                "provider-options may not set {:?} for the provider {provider}; it may set {}.",
                crate::text::line(&key, 64),
                allowed.join(", ")
            )));
        }
        body.insert(key, value);
    }
    Ok(())
}

/// A temperature as JSON, without the digits that widening a 32-bit number makes up.
pub(super) fn temperature(value: f32) -> Result<Value, Refusal> {
    let refused = || Refusal::invalid("The temperature must be a finite number from 0 to 2.");
    if !(0.0..=2.0).contains(&value) {
        return Err(refused());
    }
    value
        .to_string()
        .parse::<f64>()
        .ok()
        .and_then(serde_json::Number::from_f64)
        .map(Value::Number)
        .ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_within_an_answer_are_found() {
        let status = |body: Value| error_in(&body, 200).map(|fault| fault.status);
        assert_eq!(status(json!({"error": {"type": "overloaded_error"}})), Some(529));
        assert_eq!(status(json!({"error": {"code": 503, "message": "x"}})), Some(503));
        assert_eq!(status(json!({"error": "words"})), Some(500));
        assert_eq!(status(json!({"error": null, "choices": []})), None);
        assert_eq!(
            error_in(&json!({"error": {"message": "no"}}), 401).map(|f| (f.status, f.message)),
            Some((401, "no".into()))
        );
    }

    #[test]
    fn invented_names_are_made_to_fit() {
        let long = "x".repeat(65);
        for (name, fit) in [
            ("read_file-2", "read_file-2"),
            ("", "_"),
            ("functions.read file", "functions_read_file"),
            ("länge", "l_nge"),
            (&long[..64], &long[..64]),
            (&long, &long[..64]),
        ] {
            assert_eq!(tool_name(name), fit);
        }
    }

    #[test]
    fn options_off_the_list_are_refused_by_name() {
        let mut body = Map::new();
        assert_eq!(merge_options(&mut body, Some(r#"{"seed": 7}"#), "p", &["seed"]), Ok(()));
        assert_eq!(body["seed"], 7);
        for (options, word) in [(r#"{"n": 100}"#, "\"n\""), ("[]", "object"), ("{", "JSON")] {
            let error = merge_options(&mut body, Some(options), "p", &["seed"]).expect_err("refused");
            assert!(error.message.contains(word), "{error}");
        }
    }

    #[test]
    fn temperatures_are_finite_and_short() {
        assert_eq!(temperature(0.7).map(|t| t.to_string()), Ok("0.7".to_owned()));
        for bad in [f32::NAN, f32::INFINITY, -0.1, 2.1] {
            assert!(temperature(bad).is_err());
        }
    }
}
