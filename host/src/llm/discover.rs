//! Which models a server has, by its own list; and servers on this machine, by the ports they usually listen on.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::catalogue::Env;
use super::provider::Endpoint;
use super::transport;
use crate::text;

/// How long a server on its usual port may take to list its models.
pub(super) const LOCAL: Duration = Duration::from_secs(2);
/// How long a server that the environment names may take to list its models.
pub(super) const NAMED: Duration = Duration::from_secs(5);
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

/// Characters of a model's id, which is a word or a path.
const ID: usize = 256;

/// The models that the server at `endpoint` lists, those left out that only embed text.
///
/// # Errors
/// Why there is no list, in words that hold no key.
pub(super) async fn models(endpoint: &Endpoint, patience: Duration) -> Result<Vec<String>, String> {
    match tokio::time::timeout(patience, list(endpoint)).await {
        Ok(Ok(mut models)) => {
            // What a model is called stands in events and in the journal.
            models.retain(|id| endpoint.redact(id) == *id);
            Ok(models)
        }
        Ok(Err(why)) => Err(text::line(&endpoint.redact(&why), 200)),
        Err(_) => Err(format!("it did not come within {} s", patience.as_secs())),
    }
}

async fn list(endpoint: &Endpoint) -> Result<Vec<String>, String> {
    let client = endpoint.client().map_err(|_| "there is no client for it".to_owned())?;
    let request = client.get(endpoint.models_url()).headers(endpoint.headers());
    let mut response = request.send().await.map_err(transport::words)?;
    if !response.status().is_success() {
        return Err(format!("the server answers {}", response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(transport::words)? {
        body.extend_from_slice(&bytes);
        if body.len() > LIST_MAX {
            return Err("it is too long".to_owned());
        }
    }
    listed(&body)
}

/// The models that a list names, those left out that only embed text, and those whose id is longer than any or no clean line.
pub(super) fn listed(body: &[u8]) -> Result<Vec<String>, String> {
    let list: Value = serde_json::from_slice(body).map_err(|_| "it is no JSON".to_owned())?;
    let models = list.get("data").and_then(Value::as_array).ok_or("it is no list")?;
    let ids = models.iter().filter_map(|model| model.get("id")?.as_str());
    Ok(ids
        .filter(|id| !id.is_empty() && !id.contains("embed") && text::line(id, ID) == *id)
        .map(str::to_owned)
        .collect())
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
