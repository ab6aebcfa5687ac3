//! One provider: where it is, how it is spoken to, and what all of its models share.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;
use url::Url;

use super::fault::{Blame, Fault};
use super::key::Key;
use super::limiter::Limiter;
use super::opaque::Owner;
use super::openai::OutputLimit;
use super::protocol::Decode;
use super::request::Request;
use super::scripted::Script;
use super::{anthropic, openai};
use crate::config::model::ProviderKind;
use crate::error::Refusal;
use crate::limits::Limits;

/// The host of the maker of chat completions.
const OPENAI_HOST: &str = "api.openai.com";
/// The host of the maker of Messages.
const ANTHROPIC_HOST: &str = "api.anthropic.com";

/// A provider by its name, and what is behind it.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) backend: Backend,
}

/// What answers.
#[derive(Debug)]
pub(super) enum Backend {
    Http(Box<Endpoint>),
    Script(Script),
}

/// A provider that is reached over HTTP.
pub(super) struct Endpoint {
    pub(super) owner: Owner,
    pub(super) base_url: Url,
    pub(super) key: Option<Key>,
    pub(super) limiter: Arc<Limiter>,
    pub(super) limits: Limits,
    /// Built at the first use: it reads the machine's certificates.
    client: Mutex<Option<reqwest::Client>>,
    /// Whether the server has asked for `max_completion_tokens`, or is known to want it.
    completion_tokens: AtomicBool,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("owner", &self.owner)
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Whether its server is one of this machine.
    pub(super) fn is_on_this_machine(&self) -> bool {
        match self.base_url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// A provider of protocol `owner.kind` at `base_url`.
    pub(super) fn new(owner: Owner, base_url: Url, key: Option<Key>, limits: &Limits) -> Self {
        let newest = base_url.host_str() == Some(OPENAI_HOST);
        Self {
            owner,
            base_url,
            key,
            limiter: Arc::new(Limiter::new(limits.llm_parallel)),
            limits: limits.clone(),
            client: Mutex::new(None),
            completion_tokens: AtomicBool::new(newest),
        }
    }

    /// True where this is the protocol's maker, whose prices are known.
    pub(super) fn is_maker(&self) -> bool {
        is_maker(self.owner.kind, &self.base_url)
    }

    /// The client for this provider alone.
    pub(super) fn client(&self) -> Result<reqwest::Client, Fault> {
        let mut slot = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client = crate::egress::provider_client(&self.base_url, &self.limits).map_err(|error| {
            Fault::Refused(Refusal::upstream(format!(
                "No client for the model provider {}: {error}.",
                self.owner.provider
            )))
        })?;
        Ok(slot.insert(client).clone())
    }

    /// Where completions are asked for.
    pub(super) fn completions_url(&self) -> Url {
        match self.owner.kind {
            ProviderKind::Anthropic if self.ends_in_v1() => self.url("messages"),
            ProviderKind::Anthropic => self.url("v1/messages"),
            ProviderKind::Openai | ProviderKind::Scripted => self.url("chat/completions"),
        }
    }

    /// Where models are listed.
    pub(super) fn models_url(&self) -> Url {
        match self.owner.kind {
            ProviderKind::Anthropic if !self.ends_in_v1() => self.url("v1/models"),
            _ => self.url("models"),
        }
    }

    /// True where the base URL may lack the `/v1` that the protocol's servers usually have.
    pub(super) fn wants_v1(&self) -> bool {
        self.owner.kind != ProviderKind::Anthropic && !self.ends_in_v1()
    }

    fn ends_in_v1(&self) -> bool {
        self.base_url.path().trim_end_matches('/').ends_with("/v1")
    }

    /// `path` below the base URL.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}/{path}", self.base_url.path().trim_end_matches('/')));
        url
    }

    /// The headers of every request, the key among them.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self.owner.kind {
            ProviderKind::Anthropic => {
                headers.insert("anthropic-version", HeaderValue::from_static(anthropic::VERSION));
                if let Some(key) = &self.key {
                    headers.insert(HeaderName::from_static("x-api-key"), key.header(""));
                }
            }
            ProviderKind::Openai | ProviderKind::Scripted => {
                if let Some(key) = &self.key {
                    headers.insert(header::AUTHORIZATION, key.header("Bearer "));
                }
            }
        }
        headers
    }

    /// The name that the output limit has here, as far as is known.
    pub(super) fn output_limit(&self) -> OutputLimit {
        if self.completion_tokens.load(Ordering::Relaxed) {
            OutputLimit::MaxCompletionTokens
        } else {
            OutputLimit::MaxTokens
        }
    }

    /// The request's body for `model`, the output limit under this name.
    pub(super) fn encode(&self, request: &Request, model: &str, output_limit: OutputLimit) -> Result<Value, Refusal> {
        match self.owner.kind {
            ProviderKind::Anthropic => anthropic::body(request, &self.owner, model),
            ProviderKind::Openai | ProviderKind::Scripted => openai::body(
                request,
                openai::Dialect {
                    owner: &self.owner,
                    model,
                    output_limit,
                },
            ),
        }
    }

    /// A reader for one answer.
    pub(super) fn decoder(&self) -> Box<dyn Decode> {
        match self.owner.kind {
            ProviderKind::Anthropic => Box::new(anthropic::Decoder::new(self.owner.clone(), &self.limits)),
            ProviderKind::Openai | ProviderKind::Scripted => {
                Box::new(openai::Decoder::new(self.owner.clone(), &self.limits))
            }
        }
    }

    /// True where `fault` says that the output limit has another name than the one `sent`, which is then used from now on.
    pub(super) fn learns_from(&self, fault: &Fault, sent: OutputLimit) -> bool {
        let Fault::Status(status) = fault else { return false };
        let learns = status.status == 400
            && self.owner.kind == ProviderKind::Openai
            && sent == OutputLimit::MaxTokens
            && status.message.contains("max_completion_tokens");
        if learns {
            self.completion_tokens.store(true, Ordering::Relaxed);
        }
        learns
    }

    /// Whose fault a failure is; `key` is [`Self::key_words`].
    pub(super) fn blame<'a>(&'a self, model: &'a str, key: &'a str) -> Blame<'a> {
        Blame {
            provider: &self.owner.provider,
            model,
            key,
        }
    }

    /// Where the key comes from, in words.
    pub(super) fn key_words(&self) -> String {
        match &self.key {
            Some(key) => format!("its key comes from {}", key.source()),
            None => format!(
                "it is asked without a key; set providers.{}.key_env or key_file",
                self.owner.provider
            ),
        }
    }

    /// `text` of the provider without the key.
    pub(super) fn redact(&self, text: &str) -> String {
        self.key
            .as_ref()
            .map_or_else(|| text.to_owned(), |key| key.redact(text))
    }
}

/// True where `url` is the maker's of protocol `kind`.
pub(super) fn is_maker(kind: ProviderKind, url: &Url) -> bool {
    let maker = match kind {
        ProviderKind::Openai => OPENAI_HOST,
        ProviderKind::Anthropic => ANTHROPIC_HOST,
        ProviderKind::Scripted => return false,
    };
    url.scheme() == "https" && url.host_str() == Some(maker)
}

/// The base URL of the maker of protocol `kind`.
pub(super) fn maker_url(kind: ProviderKind) -> String {
    match kind {
        ProviderKind::Anthropic => format!("https://{ANTHROPIC_HOST}"),
        ProviderKind::Openai | ProviderKind::Scripted => format!("https://{OPENAI_HOST}/v1"),
    }
}
