//! The plain agent: ask, run the tools asked for, all at once, until none are.

mod hooks;
mod host;
mod prompt;
mod turns;
mod window;

pub use hooks::{Hooks, Plain, Review};
pub(crate) use window::room;

use crate::{Error, Report, Task, ToolDef, tools};
use turns::Turns;

/// An agent's loop, with what it is told and what it may use.
///
/// It keeps within the model's window and the host's prompt limit, gives a checkpoint after each turn, offers its tools in
/// all its iterations, and when these are used up asks once more without tools for a sum of what was found. Refusals end it
/// with what there is: a report that never says `achieved`.
#[derive(Debug, Clone)]
pub struct Agent {
    system: String,
    model: Option<String>,
    tools: Option<Vec<ToolDef>>,
    turns: Option<usize>,
}

impl Agent {
    /// An agent with these instructions, the session's model, and all tools granted to the session.
    pub fn new(system: impl Into<String>) -> Self {
        Self {
            system: system.into(),
            model: None,
            tools: None,
            turns: None,
        }
    }

    /// Asks another of the session's models, by its alias.
    #[must_use]
    pub fn model(mut self, alias: impl Into<String>) -> Self {
        self.model = Some(alias.into());
        self
    }

    /// Offers these tools and no others.
    #[must_use]
    pub fn tools(mut self, tools: Vec<ToolDef>) -> Self {
        self.tools = Some(tools);
        self
    }

    /// Offers its tools for this many turns at most and then asks for a sum, as it does when its iterations are used up:
    /// for a strategy that has other work to do with the rest of them.
    #[must_use]
    pub fn turns(mut self, most: usize) -> Self {
        self.turns = Some(most);
        self
    }

    /// Works on the task until there is an answer, and reports it.
    ///
    /// # Errors
    /// The model's refusal or failure, when it came before there was anything to report.
    pub fn run(self, task: &Task) -> Result<Report, Error> {
        self.run_with(task, &mut Plain)
    }

    /// The same, with a say in what is offered, what is answered, and when the answer is good.
    ///
    /// # Errors
    /// As for [`Agent::run`].
    pub fn run_with(self, task: &Task, hooks: &mut impl Hooks) -> Result<Report, Error> {
        let granted = self.tools.unwrap_or_else(tools::list);
        Turns::new(&host::Live, &self.system, self.model, granted, task)
            .most(self.turns)
            .run(hooks)
    }
}
