//! Where providers come from: the configuration, the environment, a script; and which key goes to which URL.

use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::{Catalogue, Env, ModelError, Usual};
use crate::config::model::{ModelsConfig, ProviderConfig, ProviderKind, is_variable_name};
use crate::limits::Limits;
use crate::llm::key::Key;
use crate::llm::opaque::Owner;
use crate::llm::provider::{Backend, Endpoint, Provider, is_maker, maker_url};
use crate::llm::scripted::Script;

/// What the environment makes usual to ask.
pub(super) struct Found {
    pub(super) rank: Rank,
    pub(super) usual: Usual,
}

/// How much the environment says for it, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It has a key.
    Key,
    /// It has an address alone.
    Address,
}

impl Catalogue {
    /// Adds a provider of the configuration.
    pub(super) fn configured(&mut self, name: &str, config: &ProviderConfig, env: &Env<'_>) -> Result<(), ModelError> {
        let wrong = |what: String, key: &'static str| ModelError::Provider {
            provider: name.to_owned(),
            what,
            key,
        };
        if name.is_empty() || name.contains('/') {
            return Err(wrong(
                "a provider's name must not be empty or have a slash".to_owned(),
                "",
            ));
        }
        if config.kind == ProviderKind::Scripted {
            let path = config
                .file
                .as_deref()
                .ok_or_else(|| wrong("it needs the file of its script".to_owned(), ".file"))?;
            // A script that is broken harms only runs that want it.
            if let Err(error) = self.insert_script(name, path) {
                self.broken.insert(name.to_owned(), Arc::new(error));
            }
            return Ok(());
        }
        if config.file.is_some() {
            return Err(wrong("only a scripted provider has a file".to_owned(), ".file"));
        }
        if config.key_env.is_some() && config.key_file.is_some() {
            return Err(wrong("it names two keys, key_env and key_file".to_owned(), ".key_env"));
        }
        if config.key_env.as_deref().is_some_and(|name| !is_variable_name(name)) {
            // Not shown: it may be the key itself.
            let what = "key_env must be the name of an environment variable, of letters, digits and `_`, and never the key itself";
            return Err(wrong(what.to_owned(), ".key_env"));
        }
        let base_url = config.base_url.clone().unwrap_or_else(|| maker_url(config.kind));
        let url = base_url_of(&base_url).map_err(|what| wrong(what, ".base_url"))?;
        match key_of(name, config, &url, env) {
            Ok(key) => {
                let provider = endpoint(name, config.kind, url, key, &self.limits);
                self.providers.insert(name.to_owned(), provider);
            }
            Err(error) => {
                self.broken.insert(name.to_owned(), Arc::new(error));
            }
        }
        Ok(())
    }

    /// The maker's provider, at the URL and with the key that the environment has for it; and what it makes usual to ask.
    pub(super) fn add_from_environment(&mut self, kind: ProviderKind, default: &str, env: &Env<'_>) -> Option<Found> {
        let name = kind.name();
        if self.providers.contains_key(name) || self.broken.contains_key(name) {
            return None;
        }
        let set = |variable: &str| env(variable).filter(|value| !value.trim().is_empty());
        let (key_variable, url_variable) = (key_variable(kind), url_variable(kind));
        let url = base_url_of(&set(url_variable).unwrap_or_else(|| maker_url(kind)));
        let key = set(key_variable).map(|value| Key::from_env(key_variable, value));
        let (variable, error) = match (url, key.transpose()) {
            (Ok(url), Ok(key)) => {
                // Elsewhere than at the maker, the maker's models need not exist.
                let usual = if is_maker(kind, &url) {
                    key.is_some()
                        .then(|| Usual::Model(default.to_owned(), Some(key_variable)))
                } else {
                    Some(Usual::ListOf(name, url_variable))
                };
                let rank = if key.is_some() { Rank::Key } else { Rank::Address };
                self.providers
                    .insert(name.to_owned(), endpoint(name, kind, url, key, &self.limits));
                return usual.map(|usual| Found { rank, usual });
            }
            (Err(what), _) => {
                let variable = url_variable;
                (variable, ModelError::Variable { variable, what })
            }
            (_, Err(error)) => {
                let provider = name.to_owned();
                (key_variable, ModelError::Key { provider, error })
            }
        };
        self.broken.insert(name.to_owned(), Arc::new(error));
        // Asked for all the same, so that whoever set it hears what is wrong with it.
        Some(Found {
            rank: Rank::Key,
            usual: Usual::Model(default.to_owned(), Some(variable)),
        })
    }

    /// Adds a provider that plays the script at `path`.
    pub(super) fn insert_script(&mut self, name: &str, path: &Path) -> Result<(), ModelError> {
        let script = Script::read(path).map_err(|error| ModelError::Script {
            path: path.to_owned(),
            error,
        })?;
        let provider = Provider {
            name: name.to_owned(),
            backend: Backend::Script(script),
        };
        self.broken.remove(name);
        self.providers.insert(name.to_owned(), Arc::new(provider));
        Ok(())
    }
}

/// A provider that is reached over HTTP.
pub(super) fn endpoint(name: &str, kind: ProviderKind, url: Url, key: Option<Key>, limits: &Limits) -> Arc<Provider> {
    let owner = Owner {
        kind,
        provider: name.to_owned(),
    };
    let endpoint = Box::new(Endpoint::new(owner, url, key, limits));
    Arc::new(Provider {
        name: name.to_owned(),
        backend: Backend::Http(endpoint),
    })
}

/// The key that the configuration names; none named: the maker's own variable at the maker's own URL, else none.
fn key_of(name: &str, config: &ProviderConfig, url: &Url, env: &Env<'_>) -> Result<Option<Key>, ModelError> {
    let failed = |error| ModelError::Key {
        provider: name.to_owned(),
        error,
    };
    let from = |variable: &str| env(variable).filter(|value| !value.trim().is_empty());
    if let Some(path) = &config.key_file {
        return Key::from_file(path).map(Some).map_err(failed);
    }
    if let Some(variable) = &config.key_env {
        let Some(value) = from(variable) else {
            let what = format!("the environment variable {variable} is not set (providers.{name}.key_env)");
            return Err(ModelError::NoKey {
                provider: name.to_owned(),
                what,
            });
        };
        return Key::from_env(variable, value).map(Some).map_err(failed);
    }
    let variable = key_variable(config.kind);
    let own = from(variable).filter(|_| is_maker(config.kind, url));
    own.map(|value| Key::from_env(variable, value))
        .transpose()
        .map_err(failed)
}

/// The keys that the configuration and the environment have, each once, with the name of its provider: that of a provider that can't be used is one as well, where it can be
/// read.
pub fn keys(config: &ModelsConfig, env: &Env<'_>) -> Vec<(String, String)> {
    let in_env = |variable: &str| Key::from_env(variable, env(variable)?).ok();
    let configured = config.providers.iter().flat_map(|(name, provider)| {
        let in_file = provider.key_file.as_deref().and_then(|path| Key::from_file(path).ok());
        let named = provider.key_env.as_deref().and_then(in_env);
        in_file.into_iter().chain(named).map(move |key| (name.clone(), key))
    });
    let makers = [ProviderKind::Openai, ProviderKind::Anthropic];
    let makers = makers
        .into_iter()
        .filter_map(|kind| Some((kind.name().to_owned(), in_env(key_variable(kind))?)));
    let mut keys: Vec<(String, String)> = Vec::new();
    for (name, key) in configured.chain(makers) {
        let value = key
            .secret()
            .filter(|value| keys.iter().all(|(_, known)| known != value));
        keys.extend(value.map(|value| (name, value.to_owned())));
    }
    keys
}

/// The ecosystem's variable for the maker's key.
pub(super) const fn key_variable(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Anthropic => "ANTHROPIC_API_KEY",
        ProviderKind::Openai | ProviderKind::Scripted => "OPENAI_API_KEY",
    }
}

const fn url_variable(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Anthropic => "ANTHROPIC_BASE_URL",
        ProviderKind::Openai | ProviderKind::Scripted => "OPENAI_BASE_URL",
    }
}

/// A base URL, or what is wrong with it.
fn base_url_of(text: &str) -> Result<Url, String> {
    // Not shown: it may be a key that was put into the wrong place, or have a password in it.
    let url = Url::parse(text.trim()).map_err(|error| format!("it is no URL ({error})"))?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain {
        return Err(
            "its URL must be http:// or https://, a host and a path, with no user, query or fragment".to_owned(),
        );
    }
    Ok(url)
}
