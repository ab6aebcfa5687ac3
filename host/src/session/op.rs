//! An operation under way: a task of the session does it, whoever waits for it; its outcome is kept, so that it can be asked
//! for again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bindings::{llm, types};
use crate::error::Refusal;
use crate::session::in_flight::Flying;
use crate::store::OutcomeStatus;

/// How an operation ended, as its guest is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum OpBody {
    /// A completion.
    Completion(Result<llm::Completion, types::Error>),
    /// A tool call.
    Tool(types::ToolResult),
    /// A child.
    Child(types::RunResult),
}

impl OpBody {
    /// The refusal that it is, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Completion(Err(error)) => Some(error.clone().into()),
            Self::Tool(result) => result.error.clone().map(Into::into),
            Self::Completion(Ok(_)) | Self::Child(_) => None,
        }
    }
}

/// A refusal as a tool's result: the error in words for the model, and typed.
pub fn failed_call(call_id: &str, refusal: &Refusal) -> types::ToolResult {
    let words = types::Content::Text(format!("Error ({}): {}", refusal.kind, refusal.message));
    let output = types::ToolOutput {
        content: vec![words],
        structured_content: None,
        meta: None,
    };
    types::ToolResult {
        call_id: call_id.to_owned(),
        output,
        error: Some(refusal.clone().into()),
    }
}

/// How a child's operation ended, by the child's exit.
pub fn child_status(exit: &types::ExitReason) -> OutcomeStatus {
    match exit {
        types::ExitReason::Returned => OutcomeStatus::Done,
        types::ExitReason::Cancelled => OutcomeStatus::Cancelled,
        _ => OutcomeStatus::Failed,
    }
}

/// An operation's end.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How.
    pub status: OutcomeStatus,
    /// What the guest is told.
    pub body: OpBody,
}

/// An operation that a guest started, or was refused.
#[derive(Debug, Clone)]
pub struct Op {
    /// Its number in its stream.
    pub number: u32,
    /// True when it was refused before anything began: there is no record of it but the refusal.
    pub refused: bool,
    /// Asks it to stop.
    pub cancel: CancellationToken,
    ended: watch::Receiver<Option<Arc<Ended>>>,
}

/// The task's end of an operation.
#[derive(Debug)]
pub struct OpEnd {
    ended: watch::Sender<Option<Arc<Ended>>>,
    /// Its part of what its session's calls in flight hold.
    flying: Option<Flying>,
}

impl Op {
    /// An operation whose outcome will come through the second half.
    pub fn open(number: u32, cancel: CancellationToken, flying: Option<Flying>) -> (Self, OpEnd) {
        let (sender, ended) = watch::channel(None);
        let end = OpEnd { ended: sender, flying };
        (
            Self {
                number,
                refused: false,
                cancel,
                ended,
            },
            end,
        )
    }

    /// An operation that has ended already.
    pub fn done(number: u32, refused: bool, ended: Ended) -> Self {
        let (_, ended) = watch::channel(Some(Arc::new(ended)));
        Self {
            number,
            refused,
            cancel: CancellationToken::new(),
            ended,
        }
    }

    /// Its outcome, when there is one.
    pub fn ended(&self) -> Option<Arc<Ended>> {
        self.ended.borrow().clone()
    }

    /// Its task is gone without an outcome.
    pub fn is_lost(&self) -> bool {
        self.ended.has_changed().is_err() && self.ended.borrow().is_none()
    }

    /// Waits for its outcome. None when its task is gone without one: the run is being suspended.
    pub async fn wait(&self) -> Option<Arc<Ended>> {
        let mut ended = self.ended.clone();
        let outcome = ended.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }
}

impl OpEnd {
    /// Tells whoever waits.
    pub fn end(self, ended: Ended) {
        // First: whoever is told may ask for as much again.
        drop(self.flying);
        self.ended.send_replace(Some(Arc::new(ended)));
    }
}
