//! The part of the configuration that names model providers, models and aliases: plain data, read from TOML by whoever
//! layers the configuration. `llm::Catalogue` turns it into models.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Providers, aliases and facts of models, as the operator wrote them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelsConfig {
    /// Providers by the name that `provider/name` starts with.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Other names of models: alias to `provider/name`.
    pub aliases: BTreeMap<String, String>,
    /// Facts of models by `provider/name`; they win over the built-in table.
    pub models: BTreeMap<String, ModelConfig>,
}

/// Which protocol a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// Chat completions, as OpenAI and most local servers have them.
    Openai,
    /// Anthropic's Messages.
    Anthropic,
    /// Turns from a file; nothing leaves the machine.
    Scripted,
}

impl ProviderKind {
    /// The name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Scripted => "scripted",
        }
    }
}

/// One provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its protocol.
    pub kind: ProviderKind,
    /// Where it answers, without the protocol's own path (`https://api.openai.com/v1`). Default: the protocol's maker.
    #[serde(default)]
    pub base_url: Option<String>,
    /// The environment variable that holds its key.
    #[serde(default)]
    pub key_env: Option<String>,
    /// The file, readable by its owner alone, that holds its key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The script of a scripted provider.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

/// True for what an environment variable can be called; a key in its place is not.
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Facts of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Tokens of its window, input and output together.
    pub context_tokens: Option<u32>,
    /// The most tokens that it writes in one answer.
    pub max_output_tokens: Option<u32>,
    /// What it costs.
    pub price: Option<PriceConfig>,
}

/// A model's price, in US dollars for each million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceConfig {
    /// Input.
    pub input_usd_per_mtok: f64,
    /// Output, reasoning included.
    pub output_usd_per_mtok: f64,
    /// Input that the provider had in its cache. Default: as input.
    #[serde(default)]
    pub cached_input_usd_per_mtok: Option<f64>,
    /// Input that the provider writes to its cache. Default: 1.25 times the input for `anthropic`, else as input.
    #[serde(default)]
    pub cache_write_usd_per_mtok: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_form_reads() {
        let text = r#"
            [providers.test]
            kind = "openai"
            base_url = "http://127.0.0.1:1/v1"
            key_env = "TEST_KEY"
            [aliases]
            fast = "test/gpt-test"
            [models."test/gpt-test"]
            context_tokens = 128000
            max_output_tokens = 4096
            price = { input_usd_per_mtok = 1.0, output_usd_per_mtok = 2.0, cached_input_usd_per_mtok = 0.1 }
        "#;
        let config: ModelsConfig = toml::from_str(text).expect("it reads");
        assert_eq!(config.providers["test"].kind, ProviderKind::Openai);
        assert_eq!(config.models["test/gpt-test"].context_tokens, Some(128_000));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        for text in [
            "modle = 1",
            "[providers.x]\nkind = \"openai\"\nkey = \"sk\"",
            "[models.x]\nprice = { input = 1 }",
        ] {
            assert!(toml::from_str::<ModelsConfig>(text).is_err(), "{text}");
        }
    }
}
