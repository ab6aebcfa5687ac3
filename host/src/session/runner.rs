//! What the layer of instances hands down, so that the interface `tools` can have a tool run without knowing how.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::bindings::types;
use crate::error::Refusal;
use crate::plugin::toolbox::Tool;
use crate::session::guest::Guest;

/// A future of a tool's answer.
pub type ToolFuture = Pin<Box<dyn Future<Output = Result<types::ToolOutput, Refusal>> + Send>>;

/// Runs one tool call in a fresh instance.
pub trait ToolRunner: Send + Sync {
    /// Runs `call` of `caller`, who holds the tool, as operation `op` of its stream. `cancel` asks the tool to stop.
    fn run(
        &self,
        caller: Arc<Guest>,
        op: u32,
        tool: Arc<Tool>,
        call: types::ToolCall,
        cancel: CancellationToken,
    ) -> ToolFuture;
}
