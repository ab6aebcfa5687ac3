//! How many bytes of conversation a model and the host take.

use crate::ToolDef;
use crate::context::json_len;
use crate::llm::{Model, Usage};

/// The host's limit for a prompt is 4 MiB; a margin below it covers what the host counts differently.
const PROMPT_BYTES: usize = 7 * 512 * 1024;
/// For a host that names no model.
const UNKNOWN_TOKENS: u32 = 32_000;
/// Bytes in a token before anything was measured: low, for dense text.
const BYTES_PER_TOKEN: f64 = 2.5;

/// The bytes that a conversation without tools may take.
pub(crate) fn room(models: &[Model], alias: Option<&str>) -> usize {
    Window::new(models, alias, &[]).message_bytes()
}

/// The room for one conversation, better known after each answer.
#[derive(Debug)]
pub(super) struct Window {
    input_tokens: f64,
    tool_bytes: usize,
    bytes_per_token: f64,
    /// Lowered when the host refuses a prompt that should have fitted.
    cap: usize,
}

impl Window {
    pub(super) fn new(models: &[Model], alias: Option<&str>, tools: &[ToolDef]) -> Self {
        let model = alias
            .and_then(|alias| models.iter().find(|model| model.name == alias))
            .or(models.first());
        let context = model.map_or(UNKNOWN_TOKENS, |model| model.context_tokens).max(1);
        // Some models may answer with as much as their whole window, which would leave no room to ask.
        let output = model.map_or(0, |model| model.max_output_tokens).min(context / 2);
        Self {
            input_tokens: f64::from(context - output),
            tool_bytes: tools.iter().map(tool_size).sum(),
            bytes_per_token: BYTES_PER_TOKEN,
            cap: PROMPT_BYTES,
        }
    }

    /// The bytes that messages may take.
    pub(super) fn message_bytes(&self) -> usize {
        let by_tokens = (self.input_tokens * self.bytes_per_token) as usize;
        by_tokens.min(self.cap).saturating_sub(self.tool_bytes)
    }

    /// Learns from an answer how many bytes its model takes for a token.
    pub(super) fn learn(&mut self, message_bytes: usize, usage: &Usage) {
        // A short prompt is mostly the provider's own wrapping; what the host counted itself says nothing new.
        if usage.input_tokens >= 2_000 && !usage.estimated {
            let seen = (message_bytes + self.tool_bytes) as f64 / usage.input_tokens as f64;
            self.bytes_per_token = (seen * 0.9).clamp(1.0, 4.0);
        }
    }

    /// The host found a prompt of this size too large.
    pub(super) fn refused(&mut self, message_bytes: usize) {
        self.cap = (message_bytes + self.tool_bytes) / 2;
    }
}

fn tool_size(tool: &ToolDef) -> usize {
    200 + tool.name.len()
        + json_len(&tool.description)
        + json_len(&tool.input_schema)
        + tool.output_schema.as_deref().map_or(0, json_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(context_tokens: u32, max_output_tokens: u32) -> Model {
        Model {
            name: "default".into(),
            context_tokens,
            max_output_tokens,
        }
    }

    #[test]
    fn output_is_kept_free() {
        let window = Window::new(&[model(100_000, 20_000)], None, &[]);
        assert_eq!(window.message_bytes(), 200_000);
        let greedy = Window::new(&[model(8_000, 8_000)], None, &[]);
        assert_eq!(greedy.message_bytes(), 10_000);
    }

    #[test]
    fn the_prompt_limit_holds_for_any_model() {
        let mut window = Window::new(&[model(u32::MAX, 0)], None, &[]);
        assert_eq!(window.message_bytes(), PROMPT_BYTES);
        window.refused(1_000_000);
        assert_eq!(window.message_bytes(), 500_000);
    }

    #[test]
    fn it_learns_from_what_was_charged() {
        let mut window = Window::new(&[model(10_000, 0)], None, &[]);
        let mut usage = Usage {
            input_tokens: 5_000,
            cached_input_tokens: 0,
            output_tokens: 1,
            cost_micro_usd: 0,
            estimated: true,
        };
        window.learn(5_000, &usage);
        assert_eq!(window.message_bytes(), 25_000);
        usage.estimated = false;
        window.learn(10_000, &usage);
        assert_eq!(window.message_bytes(), 18_000);
    }
}
