//! Why a model can't be had, in words that name what to set.

use std::path::PathBuf;

use crate::llm::key::KeyError;
use crate::llm::scripted::ScriptError;
use crate::text;

/// A model that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Nothing was named and nothing found.
    #[error(
        "no model: name one with --model provider/name or the key `model`; or set OPENAI_API_KEY or ANTHROPIC_API_KEY; or start a local server \
         (Ollama on port 11434, LM Studio 1234, llama.cpp 8080, vLLM 8000); or play one with --script FILE"
    )]
    NoModel,
    /// The environment leads to a server, and which of its models to ask is not known.
    #[error(
        "no model: {variable} leads to a server, but {what}; name one with --model {provider}/NAME or the key `model`"
    )]
    NoList {
        /// The provider's name.
        provider: String,
        /// The variable.
        variable: &'static str,
        /// What is the matter with the server's list.
        what: String,
    },
    /// A variable of the environment that holds no address.
    #[error("{variable}: {what}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it, without its value.
        what: String,
    },
    /// The name is neither an alias nor `provider/name`.
    #[error("{} is neither an alias nor provider/name; {hint}", quoted(name))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name, or all.
        hint: String,
    },
    /// It names a provider that is not configured.
    #[error("no provider {} is configured, for the model {name}; {hint}", quoted(provider))]
    NoProvider {
        /// The provider.
        provider: String,
        /// What was asked for.
        name: String,
        /// The nearest name, or all.
        hint: String,
    },
    /// Aliases that lead back to themselves.
    #[error(
        "the alias {} leads to no model, only to further aliases (aliases.{name})",
        quoted(name)
    )]
    AliasLoop {
        /// The alias.
        name: String,
    },
    /// A provider that can't be used as it is configured.
    #[error("provider {provider}: {what} (providers.{provider}{key})")]
    Provider {
        /// Its name.
        provider: String,
        /// What is wrong.
        what: String,
        /// The key below it, with its point; empty for the whole.
        key: &'static str,
    },
    /// Its key is missing.
    #[error("provider {provider} needs a key: {what}")]
    NoKey {
        /// Its name.
        provider: String,
        /// Where the key was looked for, and where it could be.
        what: String,
    },
    /// Its key can't be used.
    #[error("provider {provider}: {error}")]
    Key {
        /// Its name.
        provider: String,
        /// Why.
        error: KeyError,
    },
    /// Its script can't be used.
    #[error("the script {}: {error}", text::path(path))]
    Script {
        /// The file.
        path: PathBuf,
        /// Why.
        error: ScriptError,
    },
    /// A price that is no price.
    #[error("the price of {model} must be finite, not negative and below $1,000,000 (models.{model:?}.price)")]
    Price {
        /// `provider/name`.
        model: String,
    },
}

/// The same error once more: most of its parts can't be cloned.
pub(super) fn again(error: &ModelError) -> ModelError {
    match error {
        ModelError::NoKey { provider, what } => ModelError::NoKey {
            provider: provider.clone(),
            what: what.clone(),
        },
        ModelError::Script { path, error } => ModelError::Script {
            path: path.clone(),
            error: error.clone(),
        },
        ModelError::Key { provider, error } => ModelError::Provider {
            provider: provider.clone(),
            what: error.to_string(),
            key: "",
        },
        ModelError::Provider { provider, what, key } => ModelError::Provider {
            provider: provider.clone(),
            what: what.clone(),
            key,
        },
        ModelError::Variable { variable, what } => ModelError::Variable {
            variable,
            what: what.clone(),
        },
        other => ModelError::Provider {
            provider: String::new(),
            what: other.to_string(),
            key: "",
        },
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", text::line(name, 200))
}
