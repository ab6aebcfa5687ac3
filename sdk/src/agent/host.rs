//! What the loop needs of the host, so that the loop itself runs natively in tests.

use crate::llm::{self, Completion, Message, Model, Options};
use crate::{Error, Report, ToolCall, ToolDef, ToolResult, session, tools};

/// The host's side of the loop.
pub(super) trait Host {
    fn models(&self) -> Vec<Model>;
    fn complete(&self, messages: &[Message], tools: &[ToolDef], options: &Options) -> Result<Completion, Error>;
    fn call_all(&self, calls: &[ToolCall]) -> Vec<ToolResult>;
    fn progress(&self, message: &str);
    fn checkpoint(&self, report: Report);
}

/// The host that this component runs in.
pub(super) struct Live;

impl Host for Live {
    fn models(&self) -> Vec<Model> {
        llm::models()
    }

    fn complete(&self, messages: &[Message], tools: &[ToolDef], options: &Options) -> Result<Completion, Error> {
        llm::complete(messages, tools, Some(options))
    }

    fn call_all(&self, calls: &[ToolCall]) -> Vec<ToolResult> {
        tools::call_all(calls)
    }

    fn progress(&self, message: &str) {
        session::progress(message);
    }

    fn checkpoint(&self, report: Report) {
        session::checkpoint(report);
    }
}
