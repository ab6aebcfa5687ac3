//! A model that can be asked, with the facts that reservations and guests need.

use std::fmt;
use std::sync::Arc;

use super::estimate;
use super::price::{Price, cache_write};
use super::provider::{Backend, Provider};
use crate::bindings::{llm, types};
use crate::config::model::ProviderKind;

/// The fewest tokens of an answer that are worth a call.
pub const LEAST_OUTPUT: u64 = 256;

/// Tokens that few answers without much reasoning have more of.
pub const COMMON_OUTPUT: u64 = 4_096;

/// One model of one provider. Cheap to clone.
#[derive(Clone)]
pub struct Model {
    /// The name under which it was asked for: an alias or `provider/name`. Guests know it by this.
    pub name: String,
    /// Its name at the provider.
    pub id: String,
    /// Tokens of its window, input and output together.
    pub context_tokens: u32,
    /// The most tokens of one answer.
    pub max_output_tokens: u32,
    /// What it costs; none where nobody said.
    pub price: Option<Price>,
    pub(super) provider: Arc<Provider>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name)
            .field("full_name", &self.full_name())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.provider, &other.provider) && self.id == other.id
    }
}

impl Model {
    /// The same under the name by which an agent knows it, at the price that it was promised.
    #[must_use]
    pub fn known_as(self, name: &str, price: Option<Price>) -> Self {
        Self {
            name: name.to_owned(),
            price,
            ..self
        }
    }

    /// `provider/name`, whatever it was asked for by.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.provider.name, self.id)
    }

    /// The provider's name.
    pub fn provider(&self) -> &str {
        &self.provider.name
    }

    /// Whether what answers is on this machine: a server of one's own, or a script.
    pub fn is_on_this_machine(&self) -> bool {
        match &self.provider.backend {
            Backend::Http(endpoint) => endpoint.is_on_this_machine(),
            Backend::Script(_) => true,
        }
    }

    /// As guests see it.
    pub fn to_guest(&self) -> llm::Model {
        llm::Model {
            name: self.name.clone(),
            context_tokens: self.context_tokens,
            max_output_tokens: self.max_output_tokens,
        }
    }

    /// The most input tokens that these messages, tools and options will be taken to have, for a reservation. It errs on the
    /// high side for any common text: half a token for each ASCII byte, one for each other byte, and framing.
    pub fn input_bound(&self, messages: &[llm::Message], tools: &[types::ToolDef], options: &llm::Options) -> u64 {
        estimate::input_bound(messages, tools, options)
    }

    /// The longest answer that fits into the window besides these messages, tools and options, in tokens. The bound on the
    /// input is about twice what common text has: where it leaves less than [`COMMON_OUTPUT`], the likely count decides, up
    /// to that. Whether a request fits at all is the provider's to say, so it is never less than [`LEAST_OUTPUT`].
    pub fn output_in_window(&self, messages: &[llm::Message], tools: &[types::ToolDef], options: &llm::Options) -> u64 {
        let left = |input: u64| u64::from(self.context_tokens).saturating_sub(input);
        let surely = left(estimate::input_bound(messages, tools, options));
        let likely = left(estimate::input_likely(messages, tools, options));
        surely.max(likely.min(COMMON_OUTPUT)).max(LEAST_OUTPUT)
    }

    /// What it costs as three numbers, input, cached input and output, in micro-USD for each million tokens: the form in
    /// which a run's start is recorded.
    pub fn price_numbers(&self) -> Option<(u64, u64, u64)> {
        self.price.map(|price| (price.input, price.cached_input, price.output))
    }

    /// The same model at a recorded price ([`Self::price_numbers`]), whatever it costs by now.
    #[must_use]
    pub fn with_price_numbers(mut self, numbers: Option<(u64, u64, u64)>) -> Self {
        self.price = numbers.map(|(input, cached_input, output)| Price {
            input,
            cached_input,
            cache_write: cache_write(self.kind(), input),
            output,
        });
        self
    }

    fn kind(&self) -> ProviderKind {
        match &self.provider.backend {
            Backend::Http(endpoint) => endpoint.owner.kind,
            Backend::Script(_) => ProviderKind::Scripted,
        }
    }

    /// The most that so many tokens can cost, in micro-USD; 0 where the model is unpriced.
    pub fn cost_bound(&self, input: u64, output: u64) -> u64 {
        self.price.map_or(0, |price| price.at_most(input, output))
    }

    /// The most output tokens that `micro_usd` pays for besides `input`; without end where output costs nothing.
    pub fn output_for(&self, micro_usd: u64, input: u64) -> u64 {
        let Some(price) = self.price else { return u64::MAX };
        let Some(rest) = micro_usd.checked_sub(price.at_most(input, 0)) else {
            return 0;
        };
        if price.output == 0 {
            return u64::MAX;
        }
        let tokens = u128::from(rest) * 1_000_000 / u128::from(price.output);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::scripted::Script;

    fn model(price: Option<Price>) -> Model {
        let script = Script::parse("[[turn]]\nreply.text = 'x'").expect("a script");
        let provider = Arc::new(Provider {
            name: "p".into(),
            backend: Backend::Script(script),
        });
        Model {
            name: "m".into(),
            id: "m".into(),
            context_tokens: 1,
            max_output_tokens: 1,
            price,
            provider,
        }
    }

    #[test]
    fn an_answer_fits_into_the_window() {
        let in_window = |context_tokens: u32, bytes: usize| {
            let request = crate::llm::request::tests::request(vec![llm::Message::System("x".repeat(bytes))]);
            let model = Model {
                context_tokens,
                ..model(None)
            };
            let bound = model.input_bound(&request.messages, &[], &request.options);
            (model.output_in_window(&request.messages, &[], &request.options), bound)
        };
        let (output, bound) = in_window(100_000, 20_000);
        assert_eq!(output, 100_000 - bound);
        // By the bound the window is full, by the likely count half of it is free.
        assert_eq!(in_window(100_000, 200_000).0, COMMON_OUTPUT);
        let nearly_full = in_window(100_000, 396_000).0;
        assert!((LEAST_OUTPUT + 1..1_000).contains(&nearly_full), "{nearly_full}");
        assert_eq!(in_window(100_000, 4_000_000).0, LEAST_OUTPUT);
    }

    #[test]
    fn what_money_pays_for_is_never_more_than_it() {
        let price = Price {
            input: 1_000_000,
            cached_input: 100_000,
            cache_write: 1_250_000,
            output: 2_000_003,
        };
        let priced = model(Some(price));
        for (money, input) in [(1_000, 100), (126, 100), (125, 100), (124, 100), (0, 0), (7, 1)] {
            let output = priced.output_for(money, input);
            assert!(
                output == 0 || priced.cost_bound(input, output) <= money,
                "{money} {input} {output}"
            );
        }
        assert_eq!(priced.output_for(124, 100), 0);
        assert_eq!(model(None).output_for(0, 100), u64::MAX);
        assert_eq!(model(Some(Price::FREE)).output_for(0, 100), u64::MAX);
        assert_eq!(model(None).cost_bound(1_000, 1_000), 0);
    }
}
