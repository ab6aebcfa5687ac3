//! A request as the server got it, with the questions that tests ask of it whichever provider's form it has.

use std::time::Instant;

use serde_json::Value;

/// Whose wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenAI chat completions.
    OpenAi,
    /// Anthropic Messages.
    Anthropic,
}

impl Format {
    /// The provider's kind in the configuration.
    pub fn kind(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose format its path is.
    pub format: Format,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The parsed body.
    pub body: Value,
    /// When its last byte was here.
    pub at: Instant,
}

impl Request {
    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Names of the tools that it offers.
    pub fn tools(&self) -> Vec<&str> {
        let tools = self.body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
        tools
            .iter()
            .filter_map(|tool| tool.pointer("/function/name").or(tool.get("name"))?.as_str())
            .collect()
    }

    /// Names of the tools that the model may call: those that are offered, unless every call is forbidden. A history with
    /// calls needs tools defined in some formats, so that a closing call names some.
    pub fn callable(&self) -> Vec<&str> {
        let choice = &self.body["tool_choice"];
        if choice == "none" || choice["type"] == "none" {
            return Vec::new();
        }
        self.tools()
    }

    /// Its messages.
    pub fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Its messages as the agent gave them: results of tools without their fences.
    pub fn unfenced_messages(&self) -> Vec<Value> {
        self.messages().iter().cloned().map(without_fences).collect()
    }

    /// The last message as JSON text.
    pub fn last(&self) -> String {
        self.messages().last().map(ToString::to_string).unwrap_or_default()
    }

    /// The results of tool calls that it holds: call id, and the text without its fence. None comes without one.
    pub fn results(&self) -> Vec<(String, String)> {
        let results = self.fenced_results().into_iter();
        results.map(|(id, text)| (id, unfenced(&text).to_owned())).collect()
    }

    /// The same with the fence in which each text came.
    pub fn fenced_results(&self) -> Vec<(String, String)> {
        let id = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut results = Vec::new();
        for message in self.messages() {
            if message["role"] == "tool" {
                results.push((id(&message["tool_call_id"]), text(&message["content"])));
            }
            for block in message["content"].as_array().into_iter().flatten() {
                if block["type"] == "tool_result" {
                    results.push((id(&block["tool_use_id"]), text(&block["content"])));
                }
            }
        }
        results
    }
}

/// What a message says: its text, or those of its blocks.
fn text(content: &Value) -> String {
    match content {
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}

/// What stands in the fence of a tool's result: `<MARK what="tool result" …>`, and the same mark at the end.
fn inside(text: &str) -> Option<&str> {
    let (mark, rest) = text.strip_prefix('<')?.split_once(" what=\"tool result\" ")?;
    let (_, rest) = rest.split_once(">\n")?;
    rest.strip_suffix(&format!("\n</{mark}>\n"))
}

/// The same of a result; only an empty one has none.
#[track_caller]
fn unfenced(text: &str) -> &str {
    if text.is_empty() {
        return text;
    }
    inside(text).unwrap_or_else(|| panic!("a result without a fence: {text:?}"))
}

/// A message whose texts are without their fences.
fn without_fences(message: Value) -> Value {
    match message {
        Value::Array(parts) => parts.into_iter().map(without_fences).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            Value::Object(fields.map(|(name, part)| (name, without_fences(part))).collect())
        }
        Value::String(text) => inside(&text).unwrap_or(&text).into(),
        other => other,
    }
}
