//! Writes plugins for hermes-host in Rust: tools that agents call, and strategies, which are agents.
//!
//! A tool is a function with a doc comment; its arguments' JSON Schema comes from their types:
//!
//! ```
//! use hermes_sdk::{Error, args, tool, tools};
//!
//! #[args]
//! struct Roll {
//!     /// How many sides the die has.
//!     sides: u32,
//! }
//!
//! /// Tells the mean of a die's throws.
//! #[tool(read_only, idempotent, closed_world)]
//! fn mean_roll(args: Roll) -> Result<String, Error> {
//!     if args.sides == 0 {
//!         return Err(Error::invalid_input("`sides` must be at least 1"));
//!     }
//!     Ok(format!("{}", (f64::from(args.sides) + 1.0) / 2.0))
//! }
//!
//! tools! { manifest = "manifest.toml", tools = [mean_roll] }
//! ```
//!
//! A strategy is a function from a task to a report; [`Agent`] is the plain loop:
//!
//! ```
//! use hermes_sdk::{Agent, Error, Report, Task, session, strategy};
//!
//! #[strategy(manifest = "manifest.toml")]
//! fn run(task: Task) -> Result<Report, Error> {
//!     let report = Agent::new("Answer briefly. Name the file for each claim.").run(&task)?;
//!     session::emit(&report.summary);
//!     Ok(report)
//! }
//! ```
//!
//! Read on in this order: [`mod@tool`], [`agent`], [`llm`], [`tools`](mod@tools), [`delegation`], [`blackboard`], [`summary`],
//! [`session`], [`context`].
//!
//! A component imports only what its code uses: a tool that calls no host function ends up importing nothing but types.
//! Functions that call the host work in a component alone and panic anywhere else; everything else runs natively, so
//! that unit tests do.

// The macros write `::hermes_sdk::…`, in this crate's own tests too.
extern crate self as hermes_sdk;

pub mod agent;
mod bindings;
pub mod blackboard;
pub mod budget;
pub mod context;
pub mod delegation;
mod error;
pub mod lessons;
pub mod llm;
#[cfg(doctest)]
mod pages;
mod report;
mod schema;
pub mod session;
pub mod summary;
pub mod text;
pub mod tool;
pub mod tools;
mod words;

pub use agent::{Agent, Hooks, Review};
pub use bindings::types::{
    Amount, Content, Dimension, Error, ErrorKind, ExitReason, Lesson, LessonLayer, Media, Outcome, Report, RunResult,
    Task, ToolAnnotations as ToolHints, ToolCall, ToolDef, ToolOutput, ToolResult,
};
pub use hermes_sdk_macros::{args, strategy, tool, tools};
pub use summary::summarize;
pub use tool::{Json, NoArgs, Tool};

/// What the macros' output names. Not for authors, and not stable.
#[doc(hidden)]
pub mod __private {
    pub use crate::tool::{call, definition, output, output_schema};
    pub use schemars;
    pub use serde;
    pub use wit_bindgen;

    /// The generated modules, for the export macros.
    pub mod bindings {
        pub use crate::bindings::*;
    }
}
