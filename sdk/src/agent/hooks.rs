//! Where a strategy has its say in the loop.

use crate::{Outcome, Report, ToolCall, ToolDef, ToolResult};

/// What a strategy does with the loop's turns. Each function has a default, which is the plain agent's.
pub trait Hooks {
    /// Tools that the strategy answers itself, offered besides the granted ones.
    fn own_tools(&mut self) -> Vec<ToolDef> {
        vec![]
    }

    /// The result of a call of one of [`Hooks::own_tools`]; none for any other, which then goes to the host.
    fn answer_call(&mut self, _call: &ToolCall) -> Option<ToolResult> {
        None
    }

    /// What people see while this call runs.
    fn describe(&mut self, call: &ToolCall) -> String {
        call.name.clone()
    }

    /// The model spoke besides calling tools.
    fn said(&mut self, _text: &str) {}

    /// A call has its result; whole, before it is ever shortened.
    fn result(&mut self, _call: &ToolCall, _result: &ToolResult) {}

    /// What is shown, in at most `bytes` bytes, of turns that were left out of a conversation that grew too long. Asked each
    /// time that more of them go; nothing by default.
    fn recall(&mut self, _bytes: usize) -> String {
        String::new()
    }

    /// The model answered without a call; never asked about an empty answer. Asked again after each [`Review::Revise`].
    fn review(&mut self, _answer: &str) -> Review {
        Review::Accept
    }

    /// What the model is told when its iterations are used up and it is asked, without tools, for the last time.
    fn closing(&mut self) -> String {
        "No more tool calls are possible. Answer now from what you have found, and say what is missing.".into()
    }

    /// The report, from how far the loop thinks it came and the answer.
    fn report(&mut self, outcome: Outcome, answer: &str) -> Report {
        Report::new(outcome, answer)
    }
}

/// What becomes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// It is the report's.
    Accept,
    /// The model is told this and goes on; if it can't, the answer stands.
    Revise(String),
}

/// The hooks of an agent that has none of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Hooks for Plain {}
