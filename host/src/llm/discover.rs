//! Model servers on this machine, by the ports they usually listen on.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::catalogue::Env;
use super::provider::Endpoint;

/// How long a local server may take to list its models.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest list that is read, in bytes.
const LIST_MAX: usize = 1024 * 1024;

/// Servers by the name of their provider, in the order in which they are tried.
const USUAL: [(&str, u16); 4] = [
    ("ollama", 11_434),
    ("lmstudio", 1_234),
    ("llamacpp", 8_080),
    ("vllm", 8_000),
];

/// Where a local server may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Local {
    /// The provider's name.
    pub(super) name: &'static str,
    /// Its base URL.
    pub(super) url: Url,
}

/// The usual places, Ollama where `OLLAMA_HOST` says.
pub(super) fn locals(env: &Env<'_>) -> Vec<Local> {
    let at = |(name, port): (&'static str, u16)| {
        let host = if name == "ollama" { env("OLLAMA_HOST") } else { None };
        let url = host
            .and_then(|host| ollama_url(&host))
            .or_else(|| Url::parse(&format!("http://127.0.0.1:{port}/v1")).ok());
        url.map(|url| Local { name, url })
    };
    USUAL.into_iter().filter_map(at).collect()
}

/// What Ollama itself reads from `OLLAMA_HOST`: a host, `host:port`, or a URL. An address to listen on everywhere is this
/// machine for a client.
fn ollama_url(host: &str) -> Option<Url> {
    let host = host.trim().trim_end_matches('/');
    if host.is_empty() {
        return None;
    }
    let has_scheme = host.contains("://");
    let text = if has_scheme {
        host.to_owned()
    } else {
        format!("http://{host}")
    };
    let mut url = Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))?;
    // A URL has its scheme's port, a bare host Ollama's own.
    if url.port().is_none() && !has_scheme {
        url.set_port(Some(USUAL[0].1)).ok()?;
    }
    if matches!(url.host_str()?, "0.0.0.0" | "[::]") {
        url.set_host(Some("127.0.0.1")).ok()?;
    }
    url.set_path(&format!("{}/v1", url.path().trim_end_matches('/')));
    Some(url)
}

/// The first model that the server at `endpoint` lists; none where nothing answers in time.
pub(super) async fn first_model(endpoint: &Endpoint) -> Option<String> {
    let client = endpoint.client().ok()?;
    let ask = async {
        let mut response = client
            .get(endpoint.url("models"))
            .headers(endpoint.headers())
            .send()
            .await
            .ok()?;
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.ok()? {
            body.extend_from_slice(&bytes);
            if !response.status().is_success() || body.len() > LIST_MAX {
                return None;
            }
        }
        let list: Value = serde_json::from_slice(&body).ok()?;
        let models = list.get("data")?.as_array()?;
        let mut ids = models.iter().filter_map(|model| model.get("id")?.as_str());
        // A server may list models that only embed text.
        let id = ids.find(|id| !id.is_empty() && !id.contains("embed"))?;
        Some(id.to_owned())
    };
    tokio::time::timeout(PATIENCE, ask).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollama_is_where_its_variable_says() {
        let cases = [
            ("10.0.0.5", "http://10.0.0.5:11434/v1"),
            ("0.0.0.0:1234", "http://127.0.0.1:1234/v1"),
            ("https://ollama.example/", "https://ollama.example/v1"),
            ("http://h:80/x", "http://h/x/v1"),
        ];
        for (host, url) in cases {
            assert_eq!(ollama_url(host).map(String::from).as_deref(), Some(url), "{host}");
        }
        assert_eq!(ollama_url(" "), None);
        assert_eq!(ollama_url("ftp://x"), None);
    }

    #[test]
    fn the_usual_places_are_on_this_machine() {
        let all = locals(&|_| None);
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|local| local.url.host_str() == Some("127.0.0.1")));
    }
}
