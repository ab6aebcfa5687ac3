//! What a completion used: what the provider reports where that can be believed, else the host's own count.

use serde_json::Value;

use super::price::{Price, Tokens};
use crate::bindings::llm::Usage;

/// More tokens than any answer has: a report beyond it is absurd.
const ABSURD: u64 = 1 << 40;

/// What a provider has reported so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) input: Option<u64>,
    pub(super) cached: u64,
    pub(super) cache_write: u64,
    pub(super) output: Option<u64>,
    /// Some number was negative, no whole number, or absurdly large.
    pub(super) absurd: bool,
}

/// Whether an answer came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Broken,
}

/// What is charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Charged {
    pub(super) tokens: Tokens,
    pub(super) estimated: bool,
}

impl Reported {
    /// The number at `key` of `object`; absent or null is none, and what no count can be is absurd.
    pub(super) fn number(&mut self, object: &Value, key: &str) -> Option<u64> {
        match object.get(key) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let number = value.as_u64().filter(|n| *n <= ABSURD);
                self.absurd |= number.is_none();
                number
            }
        }
    }

    /// What to charge, given the host's own counts: a whole and believable report as it is, else the larger of both.
    pub(super) fn settle(&self, counted_input: u64, counted_output: u64, end: End) -> Charged {
        let believed = !self.absurd && self.cached.saturating_add(self.cache_write) <= self.input.unwrap_or(0);
        match (self.input, self.output) {
            (Some(input), Some(output)) if believed && end == End::Whole && (output > 0 || counted_output == 0) => {
                Charged {
                    tokens: Tokens {
                        input,
                        cached: self.cached,
                        cache_write: self.cache_write,
                        output,
                    },
                    estimated: false,
                }
            }
            (input, output) => {
                let (cached, cache_write) = if believed {
                    (self.cached, self.cache_write)
                } else {
                    (0, 0)
                };
                let larger = |reported: Option<u64>, counted: u64| {
                    if self.absurd {
                        counted
                    } else {
                        counted.max(reported.unwrap_or(0))
                    }
                };
                let input = larger(input, counted_input);
                let tokens = Tokens {
                    input,
                    cached,
                    cache_write,
                    output: larger(output, counted_output),
                };
                Charged {
                    tokens,
                    estimated: true,
                }
            }
        }
    }
}

impl Charged {
    /// Both together; estimated if either is.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.plus(other.tokens),
            estimated: self.estimated || other.estimated,
        }
    }

    /// As the contract has it, priced by `price`.
    pub(super) fn usage(&self, price: Option<Price>) -> Usage {
        Usage {
            input_tokens: self.tokens.input,
            cached_input_tokens: self.tokens.cached.min(self.tokens.input),
            output_tokens: self.tokens.output,
            cost_micro_usd: price.map_or(0, |price| price.cost(&self.tokens)),
            estimated: self.estimated,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reported(input: &Value, output: &Value) -> Reported {
        let object = json!({ "i": input, "o": output });
        let mut reported = Reported::default();
        reported.input = reported.number(&object, "i");
        reported.output = reported.number(&object, "o");
        reported
    }

    fn settle(input: &Value, output: &Value, end: End) -> (u64, u64, bool) {
        let charged = reported(input, output).settle(50, 10, end);
        (charged.tokens.input, charged.tokens.output, charged.estimated)
    }

    #[test]
    fn a_whole_report_stands_and_anything_else_is_counted() {
        assert_eq!(settle(&json!(20), &json!(3), End::Whole), (20, 3, false));
        assert_eq!(settle(&json!(20), &json!(3), End::Broken), (50, 10, true));
        assert_eq!(settle(&json!(90), &json!(3), End::Broken), (90, 10, true));
        assert_eq!(settle(&Value::Null, &Value::Null, End::Whole), (50, 10, true));
        assert_eq!(settle(&json!(20), &json!(0), End::Whole), (50, 10, true));
        for absurd in [
            json!(-1),
            json!((1u64 << 40) + 1),
            json!(u64::MAX),
            json!(1.5),
            json!("7"),
        ] {
            assert_eq!(settle(&absurd, &json!(3), End::Whole), (50, 10, true), "{absurd}");
        }
        assert_eq!(settle(&json!(1u64 << 40), &json!(3), End::Whole), (1 << 40, 3, false));
    }

    #[test]
    fn more_cached_than_there_is_is_not_believed() {
        let report = Reported {
            input: Some(10),
            cached: 11,
            output: Some(1),
            ..Reported::default()
        };
        let charged = report.settle(5, 1, End::Whole);
        assert!(charged.estimated);
        assert_eq!(charged.tokens.cached, 0);
    }
}
