//! What only a strategy may call: children and lessons.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::hermes::plugin::delegation::{self, ChildSpec};
use crate::hermes::plugin::lessons;
use crate::hermes::plugin::types::LessonLayer;
use crate::steps::{ok, seen};

/// One step.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Step {
    /// `delegation.spawn`.
    Spawn { spec: ChildSpec },
    /// `delegation.children`, as their ids.
    Children,
    /// `child.status`.
    Status { child: usize },
    /// `child.join`.
    Join { child: usize },
    /// `child.join` of the child that was spawned last.
    JoinLast,
    /// Takes over what `delegation.children` lists, and says how many.
    AdoptChildren,
    /// Drops every handle of a child.
    DropChildren,
    /// `child.cancel`.
    CancelChild { child: usize },
    /// `delegation.wait-any`.
    WaitAnyChild {
        children: Vec<usize>,
        timeout_ms: Option<u32>,
    },
    /// `lessons.recall`.
    Recall {
        layer: LessonLayer,
        query: String,
        limit: u32,
    },
    /// `lessons.propose`.
    Propose {
        layer: LessonLayer,
        text: String,
        evidence: String,
    },
}

/// Children by number.
#[derive(Default)]
pub struct Handles {
    children: Vec<delegation::Child>,
}

impl Handles {
    /// Does one step.
    pub fn step(&mut self, step: Step) -> Value {
        match step {
            Step::Spawn { spec } => match delegation::spawn(&spec) {
                Ok(child) => {
                    self.children.push(child);
                    ok(self.children.len() - 1)
                }
                Err(error) => json!({ "error": error }),
            },
            Step::Children => ok(delegation::children()
                .iter()
                .map(delegation::Child::id)
                .collect::<Vec<_>>()),
            Step::Status { child } => ok(self.children[child].status()),
            Step::Join { child } => ok(self.children[child].join()),
            Step::AdoptChildren => {
                self.children.extend(delegation::children());
                ok(self.children.len())
            }
            Step::DropChildren => {
                self.children.clear();
                ok(())
            }
            Step::JoinLast => match self.children.last() {
                Some(child) => ok(child.join()),
                None => Value::Null,
            },
            Step::CancelChild { child } => {
                self.children[child].cancel();
                ok(())
            }
            Step::WaitAnyChild { children, timeout_ms } => {
                let children: Vec<_> = children.iter().map(|n| &self.children[*n]).collect();
                ok(delegation::wait_any(&children, timeout_ms))
            }
            Step::Recall { layer, query, limit } => seen(lessons::recall(layer, &query, limit)),
            Step::Propose { layer, text, evidence } => seen(lessons::propose(layer, &text, &evidence)),
        }
    }
}
