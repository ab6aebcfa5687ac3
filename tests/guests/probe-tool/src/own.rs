//! A tool has no calls that a strategy lacks.

use serde::Deserialize;
use serde_json::Value;

/// No step.
#[derive(Debug, Clone, Deserialize)]
pub enum Step {}

/// No handle.
#[derive(Default)]
pub struct Handles;

impl Handles {
    /// Never called: there is no step.
    pub fn step(&mut self, step: Step) -> Value {
        match step {}
    }
}
