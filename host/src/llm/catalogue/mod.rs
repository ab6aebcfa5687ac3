//! Which models there are: providers and aliases from the configuration, the makers and local servers by their usual
//! names, and the choice of a default where nobody named one.

mod error;
mod sources;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::discover;
use super::model::Model;
use super::price::{self, Price};
use super::provider::{Backend, Endpoint, Provider};
use crate::config::model::{ModelConfig, ModelsConfig, ProviderKind};
use crate::limits::Limits;
use crate::text;

pub use error::ModelError;
use error::again;
pub use sources::keys;

/// The default model where only a key of OpenAI is in the environment.
const OPENAI_DEFAULT: &str = "openai/gpt-5-mini";
/// The default model where only a key of Anthropic is in the environment.
const ANTHROPIC_DEFAULT: &str = "anthropic/claude-sonnet-4-5";
/// The provider of a script that a flag names.
pub const SCRIPTED: &str = "scripted";
/// How many models an error names of those that a server lists.
const NAMED_MODELS: usize = 5;
/// How many aliases may stand for one another.
const ALIAS_DEPTH: usize = 8;

/// Reads an environment variable.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// All models, and the keys of their providers. Cheap to clone; clones share connections and limiters.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    providers: BTreeMap<String, Arc<Provider>>,
    /// Providers that can't be used, by name: told only to whoever asks for them.
    broken: BTreeMap<String, Arc<ModelError>>,
    aliases: BTreeMap<String, String>,
    facts: BTreeMap<String, ModelConfig>,
    usual: Option<Usual>,
    local: Vec<discover::Local>,
    limits: Limits,
}

/// What is asked where nobody named a model.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Usual {
    /// This model, with the variable of the environment that makes it so; none where a flag does.
    Model(String, Option<&'static str>),
    /// The provider of this name, which the environment leads to by this variable: whichever model it lists.
    ListOf(&'static str, &'static str),
}

impl Catalogue {
    /// No models at all: for what never asks one.
    pub fn empty() -> Self {
        Self::default()
    }

    /// As [`Self::new`] with the process's environment and the script at `script`, which then is what is asked where nobody
    /// names a model.
    ///
    /// # Errors
    /// As [`Self::new`] and [`Self::add_script`].
    pub fn open(config: &ModelsConfig, limits: &Limits, script: Option<&Path>) -> Result<Self, ModelError> {
        let mut catalogue = Self::new(config, &|name| std::env::var(name).ok(), limits)?;
        if let Some(path) = script {
            catalogue.add_script(path)?;
            catalogue.usual = Some(Usual::Model(SCRIPTED.to_owned(), None));
        }
        Ok(catalogue)
    }

    /// The models of `config`, and those that the environment makes known. Touches no network.
    ///
    /// A key in the environment goes to its maker's URL, or to the URL that stands in the environment beside it
    /// (`OPENAI_BASE_URL`, `ANTHROPIC_BASE_URL`), never to a URL of the configuration, which names its own key.
    ///
    /// # Errors
    /// A price or a provider of the configuration that can't be right. A missing key is told by [`Self::resolve`].
    pub fn new(config: &ModelsConfig, env: &Env<'_>, limits: &Limits) -> Result<Self, ModelError> {
        let mut catalogue = Self {
            providers: BTreeMap::new(),
            broken: BTreeMap::new(),
            aliases: config.aliases.clone(),
            facts: config.models.clone(),
            usual: None,
            local: discover::locals(env),
            limits: limits.clone(),
        };
        for (name, facts) in &config.models {
            if facts
                .price
                .is_some_and(|price| Price::from_config(&price, ProviderKind::Openai).is_none())
            {
                return Err(ModelError::Price { model: name.clone() });
            }
        }
        for (name, provider) in &config.providers {
            catalogue.configured(name, provider, env)?;
        }
        for local in catalogue.local.clone() {
            let endpoint = || sources::endpoint(local.name, ProviderKind::Openai, local.url.clone(), None, limits);
            catalogue
                .providers
                .entry(local.name.to_owned())
                .or_insert_with(endpoint);
        }
        let found = [
            (ProviderKind::Openai, OPENAI_DEFAULT),
            (ProviderKind::Anthropic, ANTHROPIC_DEFAULT),
        ]
        .map(|(kind, default)| catalogue.add_from_environment(kind, default, env));
        // A server that has a key comes before one that merely has an address.
        catalogue.usual = found
            .into_iter()
            .flatten()
            .min_by_key(|found| found.rank)
            .map(|found| found.usual);
        Ok(catalogue)
    }

    /// Adds the provider `scripted`, which plays the script at `path`; `--model scripted` then names its model.
    ///
    /// # Errors
    /// [`ModelError::Script`].
    pub fn add_script(&mut self, path: &Path) -> Result<(), ModelError> {
        self.insert_script(SCRIPTED, path)
    }

    /// The model that `name` means: an alias, `provider/name`, or the name of a scripted provider alone.
    ///
    /// # Errors
    /// No such model, or its provider lacks something; the message says what to set.
    pub fn resolve(&self, name: &str) -> Result<Model, ModelError> {
        self.model(name, self.meant(name)?)
    }

    /// Whether `name` means a model of the script that a flag names. Whether it can be used is not asked.
    ///
    /// # Errors
    /// Its aliases lead in a circle.
    pub fn is_scripted(&self, name: &str) -> Result<bool, ModelError> {
        let full = self.meant(name)?;
        Ok(full.split_once('/').map_or(full, |(provider, _)| provider) == SCRIPTED)
    }

    /// What a name stands for, its aliases followed.
    fn meant<'n>(&'n self, name: &'n str) -> Result<&'n str, ModelError> {
        let mut full = name;
        for _ in 0..ALIAS_DEPTH {
            match self.aliases.get(full) {
                Some(target) => full = target,
                None => return Ok(full),
            }
        }
        Err(ModelError::AliasLoop { name: name.to_owned() })
    }

    /// What the environment makes usual to ask, as far as it is known without asking anybody: the variable that does, and the model where a server need
    /// not be asked for it.
    pub fn usual(&self) -> Option<(&'static str, Option<&str>)> {
        match self.usual.as_ref()? {
            Usual::Model(name, variable) => Some(((*variable)?, Some(name.as_str()))),
            Usual::ListOf(_, variable) => Some((*variable, None)),
        }
    }

    /// The model to use where a person named `wanted`, or nothing: then the first that the environment has a key or an
    /// address for, else one of a local server that answers. What the environment has is used or refused, never passed over.
    ///
    /// # Errors
    /// As [`Self::resolve`]; [`ModelError::NoList`] where the environment leads to a server that does not say which model to
    /// use; [`ModelError::NoModel`] where there is nothing.
    pub async fn choose(&self, wanted: Option<&str>) -> Result<Model, ModelError> {
        match (wanted, &self.usual) {
            (Some(name), _) => self.resolve(name),
            (None, Some(Usual::Model(name, _))) => self.resolve(name),
            (None, Some(Usual::ListOf(provider, variable))) => self.listed(provider, variable).await,
            (None, None) => self.find_local().await.ok_or(ModelError::NoModel),
        }
    }

    /// The model that a server elsewhere than at the maker lists.
    async fn listed(&self, provider: &str, variable: &'static str) -> Result<Model, ModelError> {
        let no_list = |what: String| ModelError::NoList {
            provider: provider.to_owned(),
            variable,
            what,
        };
        let Some(Backend::Http(endpoint)) = self.providers.get(provider).map(|provider| &provider.backend) else {
            return Err(ModelError::NoModel);
        };
        let models = discover::models(endpoint, discover::NAMED).await;
        let models = models.map_err(|why| no_list(format!("its list of models can't be had ({why})")))?;
        let id = the_one(&models, endpoint.is_on_this_machine()).map_err(no_list)?;
        self.resolve(&format!("{provider}/{id}"))
    }

    /// A model of the first local server that answers, by its own list.
    pub async fn find_local(&self) -> Option<Model> {
        let found = futures_util::future::join_all(self.local.iter().map(|local| async {
            match &self.providers.get(local.name)?.backend {
                Backend::Http(endpoint) => {
                    let models = discover::models(endpoint, discover::LOCAL).await.ok()?;
                    models.first().map(|id| format!("{}/{id}", local.name))
                }
                Backend::Script(_) => None,
            }
        }));
        let name = found.await.into_iter().flatten().next()?;
        self.resolve(&name).ok()
    }

    /// The models that have an alias, under it; those that can't be used now are left out.
    pub fn aliases(&self) -> Vec<Model> {
        self.aliases
            .keys()
            .filter_map(|alias| self.resolve(alias).ok())
            .collect()
    }

    fn model(&self, name: &str, full: &str) -> Result<Model, ModelError> {
        let (provider_name, id) = full.split_once('/').unwrap_or((full, ""));
        if let Some(error) = self.broken.get(provider_name) {
            return Err(again(error));
        }
        let Some(provider) = self.providers.get(provider_name) else {
            return Err(match id {
                "" => self.unknown(name),
                _ => ModelError::NoProvider {
                    provider: provider_name.to_owned(),
                    name: text::line(full, 200),
                    hint: self.hint(full),
                },
            });
        };
        let (id, known) = match &provider.backend {
            Backend::Script(script) => {
                let known = price::Known {
                    context_tokens: script.context_tokens.unwrap_or(128_000),
                    max_output_tokens: script.max_output_tokens.unwrap_or(4_096),
                    price: Some(Price::FREE),
                };
                (if id.is_empty() { script.model.as_str() } else { id }, known)
            }
            Backend::Http(_) if id.is_empty() => return Err(self.unknown(name)),
            Backend::Http(endpoint) => {
                self.needs_key(endpoint)?;
                let (kind, at_maker) = (endpoint.owner.kind, endpoint.is_maker());
                let family = || price::family(kind, id).filter(|_| at_maker);
                let known = price::known(kind, id).or_else(family).unwrap_or(price::UNKNOWN);
                (
                    id,
                    price::Known {
                        price: known.price.filter(|_| at_maker),
                        ..known
                    },
                )
            }
        };
        let kind = match &provider.backend {
            Backend::Script(_) => ProviderKind::Scripted,
            Backend::Http(endpoint) => endpoint.owner.kind,
        };
        let facts = [full.to_owned(), format!("{provider_name}/{id}")]
            .iter()
            .find_map(|key| self.facts.get(key).cloned());
        let facts = facts.unwrap_or_default();
        Ok(Model {
            name: name.to_owned(),
            id: id.to_owned(),
            context_tokens: facts.context_tokens.unwrap_or(known.context_tokens),
            max_output_tokens: facts.max_output_tokens.unwrap_or(known.max_output_tokens),
            price: facts
                .price
                .and_then(|price| Price::from_config(&price, kind))
                .or(known.price),
            provider: Arc::clone(provider),
        })
    }

    fn unknown(&self, name: &str) -> ModelError {
        ModelError::Unknown {
            name: name.to_owned(),
            hint: self.hint(name),
        }
    }

    /// The nearest name that there is, or all.
    fn hint(&self, name: &str) -> String {
        let providers = self.providers.keys().map(|provider| format!("{provider}/…"));
        let all: Vec<String> = self.aliases.keys().cloned().chain(providers).collect();
        let nearest = text::nearest(
            name,
            self.aliases.keys().chain(self.providers.keys()).map(String::as_str),
        );
        match nearest {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("there are {}", all.join(", ")),
        }
    }

    fn needs_key(&self, endpoint: &Endpoint) -> Result<(), ModelError> {
        if endpoint.key.is_some() || !endpoint.is_maker() {
            return Ok(());
        }
        let provider = endpoint.owner.provider.clone();
        let variable = sources::key_variable(endpoint.owner.kind);
        Err(ModelError::NoKey {
            what: format!("set {variable}, or providers.{provider}.key_env or key_file"),
            provider,
        })
    }
}

/// The one model of a list, or the first where `local`: elsewhere, which of many costs what is not ours to guess.
fn the_one(models: &[String], local: bool) -> Result<&str, String> {
    match models {
        [] => Err("it lists no model".to_owned()),
        [first, rest @ ..] if rest.is_empty() || local => Ok(first),
        many => {
            let names = many.iter().take(NAMED_MODELS).map(|name| text::line(name, 60));
            let names = names.collect::<Vec<_>>().join(", ");
            let more = if many.len() > NAMED_MODELS { ", …" } else { "" };
            Err(format!("it lists {} models ({names}{more})", many.len()))
        }
    }
}

#[cfg(test)]
mod tests;
