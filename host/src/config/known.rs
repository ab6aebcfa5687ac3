//! Models whose sizes and prices the host knows by itself. `llm::price` reckons with them, and the reference lists them.

use super::model::ProviderKind;

/// The month in which the prices were last compared with the makers' price lists.
pub const PRICES_AS_OF: &str = "2025-11";

/// A model of a maker.
#[derive(Debug, Clone, Copy)]
pub struct KnownModel {
    /// The maker's protocol.
    pub kind: ProviderKind,
    /// Its name, without a date.
    pub name: &'static str,
    /// Tokens of its window.
    pub context_tokens: u32,
    /// The most tokens of one answer.
    pub max_output_tokens: u32,
    /// Thousandths of a dollar for a million tokens of input, cached input and output.
    pub price: [u64; 3],
}

/// All of them.
pub const KNOWN: &[KnownModel] = &[
    openai("gpt-5", 400_000, 128_000, [1_250, 125, 10_000]),
    openai("gpt-5-mini", 400_000, 128_000, [250, 25, 2_000]),
    openai("gpt-5-nano", 400_000, 128_000, [50, 5, 400]),
    openai("gpt-5.1", 400_000, 128_000, [1_250, 125, 10_000]),
    openai("gpt-4.1", 1_047_576, 32_768, [2_000, 500, 8_000]),
    openai("gpt-4.1-mini", 1_047_576, 32_768, [400, 100, 1_600]),
    openai("gpt-4.1-nano", 1_047_576, 32_768, [100, 25, 400]),
    openai("gpt-4o", 128_000, 16_384, [2_500, 1_250, 10_000]),
    openai("gpt-4o-mini", 128_000, 16_384, [150, 75, 600]),
    openai("o3", 200_000, 100_000, [2_000, 500, 8_000]),
    openai("o4-mini", 200_000, 100_000, [1_100, 275, 4_400]),
    anthropic("claude-opus-4-5", 200_000, 64_000, [5_000, 500, 25_000]),
    anthropic("claude-opus-4-1", 200_000, 32_000, [15_000, 1_500, 75_000]),
    anthropic("claude-sonnet-4-5", 200_000, 64_000, [3_000, 300, 15_000]),
    anthropic("claude-sonnet-4", 200_000, 64_000, [3_000, 300, 15_000]),
    anthropic("claude-haiku-4-5", 200_000, 64_000, [1_000, 100, 5_000]),
    anthropic("claude-3-5-haiku", 200_000, 8_192, [800, 80, 4_000]),
];

const fn openai(name: &'static str, context_tokens: u32, max_output_tokens: u32, price: [u64; 3]) -> KnownModel {
    KnownModel {
        kind: ProviderKind::Openai,
        name,
        context_tokens,
        max_output_tokens,
        price,
    }
}

const fn anthropic(name: &'static str, context_tokens: u32, max_output_tokens: u32, price: [u64; 3]) -> KnownModel {
    KnownModel {
        kind: ProviderKind::Anthropic,
        ..openai(name, context_tokens, max_output_tokens, price)
    }
}
