//! Calling tools: the host's, other plugins', and what runs behind them.

use crate::bindings::tools as host;
use crate::{Content, Error, ToolCall, ToolDef, ToolOutput, ToolResult};

/// The tools that this session may call.
pub fn list() -> Vec<ToolDef> {
    host::list_tools()
}

/// Calls a tool and waits for it. Failures are in the result, in words and as [`ToolResult::error`].
pub fn call(call: &ToolCall) -> ToolResult {
    host::call(call)
}

/// Calls tools at once and waits for all; results stand in the order of the calls.
pub fn call_all(calls: &[ToolCall]) -> Vec<ToolResult> {
    let running: Vec<_> = calls.iter().map(host::start).collect();
    running.iter().map(host::PendingCall::wait).collect()
}

impl ToolResult {
    /// A result with this text.
    pub fn text(call: &ToolCall, text: impl Into<String>) -> Self {
        Self {
            call_id: call.id.clone(),
            output: ToolOutput::text(text),
            error: None,
        }
    }

    /// A failure, in words for the model and with its kind.
    pub fn failure(call: &ToolCall, error: Error) -> Self {
        Self {
            call_id: call.id.clone(),
            output: ToolOutput::text(error.message.clone()),
            error: Some(error),
        }
    }

    /// All its text blocks, one after the other.
    pub fn joined_text(&self) -> String {
        let texts = self.output.content.iter().filter_map(|block| match block {
            Content::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}

impl ToolOutput {
    /// An output of one text block.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            content: vec![Content::Text(text.into())],
            structured_content: None,
            meta: None,
        }
    }
}
