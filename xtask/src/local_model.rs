//! Finds a model server on its usual port of this machine.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a server on this machine may take to connect, and again to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is read of an answer, in bytes; a list of models is far shorter.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Server, port, path of its list of models, the list's key, a model's key: in the order in which they are tried.
const SERVERS: [(&str, u16, &str, &str, &str); 4] = [
    ("Ollama", 11_434, "/api/tags", "models", "name"),
    ("LM Studio", 1234, "/v1/models", "data", "id"),
    ("llama.cpp", 8080, "/v1/models", "data", "id"),
    ("vLLM", 8000, "/v1/models", "data", "id"),
];

/// A model that a local server offers.
pub(crate) struct LocalModel {
    pub(crate) server: &'static str,
    pub(crate) port: u16,
    pub(crate) name: String,
}

/// The first model of the first server that answers, as the host itself chooses where no model is named.
pub(crate) fn find() -> Option<LocalModel> {
    SERVERS.iter().find_map(|&(server, port, path, list, key)| {
        let answer = get(port, path)?;
        Some(LocalModel {
            server,
            port,
            name: first_name(&answer, list, key)?,
        })
    })
}

fn get(port: u16, path: &str) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    // HTTP 1.0: the answer ends with the connection, and comes in one piece.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n\r\n"
    )
    .ok()?;
    let mut answer = vec![];
    // A server that keeps the connection open has answered all the same.
    let _ = stream.take(LONGEST_ANSWER).read_to_end(&mut answer);
    String::from_utf8(answer).ok()
}

fn first_name(answer: &str, list: &str, key: &str) -> Option<String> {
    let (head, rest) = answer.split_once("\r\n\r\n")?;
    if head.split(' ').nth(1)? != "200" {
        return None;
    }
    // Round the object there may be the length of a chunk.
    let body = rest.get(rest.find('{')?..=rest.rfind('}')?)?;
    let body: Value = serde_json::from_str(body).ok()?;
    let mut names = body[list].as_array()?.iter().filter_map(|model| model[key].as_str());
    // A server may list models that only embed text.
    let name = names.find(|name| !name.is_empty() && !name.contains("embed"))?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_model_is_taken() {
        let ollama = "HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"models\":[{\"name\":\"qwen3:8b\"},{\"name\":\"x\"}]}";
        assert_eq!(first_name(ollama, "models", "name").as_deref(), Some("qwen3:8b"));
        let chunked = "HTTP/1.1 200 OK\r\n\r\n1f\r\n{\"data\":[{\"id\":\"m\"}]}\r\n0\r\n\r\n";
        assert_eq!(first_name(chunked, "data", "id").as_deref(), Some("m"));
    }

    #[test]
    fn a_model_that_only_embeds_text_is_none() {
        let list = |models: &str| format!("HTTP/1.1 200 OK\r\n\r\n{{\"data\":[{models}]}}");
        let both = list("{\"id\":\"nomic-embed-text\"},{\"id\":\"\"},{\"id\":\"qwen3\"}");
        assert_eq!(first_name(&both, "data", "id").as_deref(), Some("qwen3"));
        assert_eq!(first_name(&list("{\"id\":\"mxbai-embed-large\"}"), "data", "id"), None);
    }

    #[test]
    fn a_server_of_another_kind_or_without_models_is_none() {
        for answer in [
            "",
            "HTTP/1.1 404 Not Found\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\n\r\n<html>",
            "HTTP/1.1 200 OK\r\n\r\n} {",
            "HTTP/1.1 200 OK\r\n\r\n{\"data\":[]}",
        ] {
            assert_eq!(first_name(answer, "data", "id"), None, "{answer}");
        }
    }
}
