//! What tokens cost, and the built-in facts of well-known models. Configuration overrides every number here.

use crate::config::known::KNOWN;
use crate::config::model::{PriceConfig, ProviderKind};

/// A model's price, in micro-USD for each million tokens (so $1 for a million tokens is 1,000,000).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Price {
    /// Input that is in no cache.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cached_input: u64,
    /// Input that the provider writes to its cache.
    pub cache_write: u64,
    /// Output, reasoning included.
    pub output: u64,
}

/// Tokens of one completion, as they are priced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All input, cached and written to the cache included.
    pub input: u64,
    /// The part of `input` that was read from the cache.
    pub cached: u64,
    /// The part of `input` that was written to the cache.
    pub cache_write: u64,
    /// Output, reasoning included.
    pub output: u64,
}

impl Tokens {
    /// The sum, each number held at the largest that 64 bits take.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            output: self.output.saturating_add(other.output),
        }
    }
}

impl Price {
    /// Costs nothing.
    pub const FREE: Self = Self {
        input: 0,
        cached_input: 0,
        cache_write: 0,
        output: 0,
    };

    /// From configuration; `None` where a number is negative, not finite or over a million dollars.
    pub fn from_config(config: &PriceConfig, kind: ProviderKind) -> Option<Self> {
        let input = micro(config.input_usd_per_mtok)?;
        Some(Self {
            input,
            cached_input: config.cached_input_usd_per_mtok.map_or(Some(input), micro)?,
            cache_write: config
                .cache_write_usd_per_mtok
                .map_or(Some(cache_write(kind, input)), micro)?,
            output: micro(config.output_usd_per_mtok)?,
        })
    }

    /// What `tokens` cost in micro-USD, rounded up.
    pub fn cost(&self, tokens: &Tokens) -> u64 {
        let cached = tokens.cached.min(tokens.input);
        let written = tokens.cache_write.min(tokens.input - cached);
        let fresh = tokens.input - cached - written;
        let sum = [
            (fresh, self.input),
            (cached, self.cached_input),
            (written, self.cache_write),
            (tokens.output, self.output),
        ]
        .into_iter()
        .map(|(count, price)| u128::from(count) * u128::from(price))
        .sum::<u128>();
        u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// The most that so many tokens can cost: all input at its dearest.
    pub fn at_most(&self, input: u64, output: u64) -> u64 {
        let dearest = self.input.max(self.cached_input).max(self.cache_write);
        Self {
            input: dearest,
            ..*self
        }
        .cost(&Tokens {
            input,
            output,
            ..Tokens::default()
        })
    }
}

/// What writing to the cache costs where nobody said: a quarter more than input at Anthropic, as input elsewhere.
pub(super) fn cache_write(kind: ProviderKind, input: u64) -> u64 {
    match kind {
        ProviderKind::Anthropic => input.saturating_add(input / 4),
        ProviderKind::Openai | ProviderKind::Scripted => input,
    }
}

/// Dollars as micro-USD.
fn micro(usd: f64) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the range was just checked
    (usd.is_finite() && (0.0..=1e6).contains(&usd)).then(|| (usd * 1e6).round() as u64)
}

/// Facts of a model that the host knows by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Tokens of its window.
    pub context_tokens: u32,
    /// The most tokens of one answer.
    pub max_output_tokens: u32,
    /// Its price at its maker, where known.
    pub price: Option<Price>,
}

/// What is assumed of a model that nothing is known of.
pub const UNKNOWN: Known = Known {
    context_tokens: 32_768,
    max_output_tokens: 4_096,
    price: None,
};

/// The facts of `model` of the maker of protocol `kind`, wherever it is asked; a dated name (`gpt-5-mini-2025-08-07`) is its
/// undated one.
pub fn known(kind: ProviderKind, model: &str) -> Option<Known> {
    let row = KNOWN
        .iter()
        .find(|row| row.kind == kind && is_dated_form(model, row.name));
    let price = |[input, cached, output]: [u64; 3]| {
        let input = input * 1_000;
        Price {
            input,
            cached_input: cached * 1_000,
            cache_write: cache_write(kind, input),
            output: output * 1_000,
        }
    };
    row.map(|row| Known {
        context_tokens: row.context_tokens,
        max_output_tokens: row.max_output_tokens,
        price: Some(price(row.price)),
    })
}

/// Windows of newer models of a known family, whose price nobody told us. Only what the maker of protocol `kind` serves is of
/// its families: elsewhere a name that begins alike (`gpt-oss`, `olmo`) says nothing.
pub fn family(kind: ProviderKind, model: &str) -> Option<Known> {
    let is_o = |model: &str| {
        model
            .strip_prefix('o')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let (context_tokens, max_output_tokens) = match kind {
        ProviderKind::Openai if model.starts_with("gpt-") || is_o(model) => (128_000, 16_384),
        ProviderKind::Anthropic if model.starts_with("claude-") => (200_000, 32_000),
        _ => return None,
    };
    Some(Known {
        context_tokens,
        max_output_tokens,
        price: None,
    })
}

fn is_dated_form(model: &str, name: &str) -> bool {
    let Some(rest) = model.strip_prefix(name) else {
        return false;
    };
    rest.is_empty() || rest == "-latest" || rest.strip_prefix('-').is_some_and(is_date)
}

fn is_date(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() == 8 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_rounded_up_and_parts_are_priced_apart() {
        let price = Price {
            input: 1_000_000,
            cached_input: 100_000,
            cache_write: 1_250_000,
            output: 2_000_000,
        };
        let tokens = |input, cached, cache_write, output| Tokens {
            input,
            cached,
            cache_write,
            output,
        };
        assert_eq!(price.cost(&tokens(100, 0, 0, 20)), 140);
        assert_eq!(price.cost(&tokens(100, 60, 0, 0)), 46);
        assert_eq!(price.cost(&tokens(100, 0, 100, 0)), 125);
        assert_eq!(price.cost(&tokens(1, 1, 0, 0)), 1);
        // More cached than there is: no underflow.
        assert_eq!(price.cost(&tokens(10, 99, 99, 0)), 1);
        assert_eq!(price.at_most(100, 20), 165);
        assert_eq!(
            Price {
                output: u64::MAX,
                ..price
            }
            .cost(&tokens(0, 0, 0, u64::MAX)),
            u64::MAX
        );
    }

    #[test]
    fn dated_names_are_known_and_neighbours_are_not() {
        let mini = known(ProviderKind::Openai, "gpt-5-mini-2025-08-07").and_then(|k| k.price);
        assert_eq!(mini.map(|p| p.input), Some(250_000));
        assert!(known(ProviderKind::Anthropic, "claude-sonnet-4-5-20250929").is_some_and(|k| k.price.is_some()));
        assert_eq!(known(ProviderKind::Openai, "gpt-5-pro"), None);
        assert_eq!(known(ProviderKind::Openai, "qwen3"), None);
        assert_eq!(known(ProviderKind::Openai, "claude-sonnet-4-5"), None);
    }

    #[test]
    fn families_have_windows_and_no_prices() {
        let window = |kind, model| family(kind, model).map(|k| (k.context_tokens, k.price));
        assert_eq!(window(ProviderKind::Openai, "gpt-6"), Some((128_000, None)));
        assert_eq!(window(ProviderKind::Openai, "o9-mini"), Some((128_000, None)));
        assert_eq!(window(ProviderKind::Anthropic, "claude-next"), Some((200_000, None)));
        for stranger in ["olmo-2", "orca-mini", "claude-next"] {
            assert_eq!(window(ProviderKind::Openai, stranger), None, "{stranger}");
        }
    }

    #[test]
    fn odd_prices_are_refused() {
        for usd in [-1.0, f64::NAN, f64::INFINITY, 1e7] {
            let config = PriceConfig {
                input_usd_per_mtok: usd,
                output_usd_per_mtok: 0.0,
                cached_input_usd_per_mtok: None,
                cache_write_usd_per_mtok: None,
            };
            assert_eq!(Price::from_config(&config, ProviderKind::Openai), None, "{usd}");
        }
    }
}
