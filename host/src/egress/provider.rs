//! The client of one configured provider. Its base URL is the operator's grant for this client alone, loopback included.

use std::sync::OnceLock;
use std::time::Duration;

use url::Url;

use super::EgressError;
use crate::limits::Limits;

/// A client for `base_url`: no redirects, no proxies, no decompression, TLS by rustls.
///
/// # Errors
/// The machine's certificates can't be read, or the URL is no http(s) one.
pub fn provider_client(base_url: &Url, limits: &Limits) -> Result<reqwest::Client, EgressError> {
    if !matches!(base_url.scheme(), "http" | "https") {
        return Err(EgressError::Unreachable(format!(
            "{} is no http or https URL",
            base_url.scheme()
        )));
    }
    builder(base_url)
        .connect_timeout(Duration::from_millis(limits.llm_connect))
        .build()
        .map_err(EgressError::client)
}

/// How long a connection is kept that nobody uses: it holds a file descriptor, for which agents may be waiting.
const IDLE: Duration = Duration::from_secs(10);

/// What every client of this host has in common. `url` is what it will be used for: without TLS it needs no certificates, and works on a
/// machine that has none.
pub(super) fn builder(url: &Url) -> reqwest::ClientBuilder {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // An error says that another part of the process chose one before, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = reqwest::Client::builder()
        .pool_idle_timeout(IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("hermes-host/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        builder.tls_certs_only([])
    } else {
        builder
    }
}
