//! A model's server that speaks no protocol but what a case writes: whoever asks it gets these bytes.

use std::io::{BufRead as _, BufReader, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hermes_tests::model::Format;

use crate::cases::replies::Replies;

/// A server that answers each request so. It lives as long as the test's process.
pub(crate) struct Raw {
    address: SocketAddr,
    format: Format,
    connections: Arc<AtomicUsize>,
    written: Arc<AtomicU64>,
}

/// Where an answer's bytes go. They are counted; an error says that the client has gone.
pub(crate) struct Answer {
    stream: TcpStream,
    written: Arc<AtomicU64>,
    /// The body of the request.
    pub(crate) asked: String,
}

impl Raw {
    /// Starts on a free port of loopback.
    pub(crate) fn start(replies: &Replies) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let raw = Self {
            address: listener.local_addr().unwrap(),
            format: replies.format,
            connections: Arc::default(),
            written: Arc::default(),
        };
        let (connections, count) = (raw.connections.clone(), raw.written.clone());
        let answer = replies.answer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::AcqRel);
                let (written, answer) = (count.clone(), answer.clone());
                std::thread::spawn(move || {
                    // What is said in pieces is sent in pieces.
                    let _ = stream.set_nodelay(true);
                    if let Some(asked) = request(&stream) {
                        let _ = answer(&mut Answer { stream, written, asked });
                    }
                });
            }
        });
        raw
    }

    /// The name of its model, `PROVIDER/model`; no other server's is called so.
    pub(crate) fn model(&self) -> String {
        format!("{}/model", self.provider())
    }

    fn provider(&self) -> String {
        format!("raw{}", self.address.port())
    }

    /// The configuration of its model, with a line that says where its key is.
    pub(crate) fn configuration(&self, key: &str) -> String {
        let (provider, model, kind) = (self.provider(), self.model(), self.format.kind());
        let path = match self.format {
            Format::OpenAi => "/v1",
            Format::Anthropic => "",
        };
        format!(
            "\n[providers.{provider}]\nkind = \"{kind}\"\nbase_url = \"http://{}{path}\"\n{key}\n\n[models.\"{model}\"]\ncontext_tokens = 128000\n\
             max_output_tokens = 4096\nprice = {{ input_usd_per_mtok = 1.0, output_usd_per_mtok = 2.0 }}\n",
            self.address,
        )
    }

    /// How many have connected, and how many bytes their answers had, since this was last asked.
    pub(crate) fn take(&self) -> (usize, u64) {
        let connections = self.connections.swap(0, Ordering::AcqRel);
        (connections, self.written.swap(0, Ordering::AcqRel))
    }
}

impl Answer {
    /// Writes bytes.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.write_all(bytes.as_ref())
    }

    /// The head of a stream of events, which ends with the connection.
    pub(crate) fn streams(&mut self) -> Result<()> {
        self.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    }

    /// One event: a change of the answer, as OpenAI has it.
    pub(crate) fn event(&mut self, delta: &serde_json::Value, finish: Option<&str>) -> Result<()> {
        let choice = serde_json::json!({ "index": 0, "delta": delta, "finish_reason": finish });
        let event =
            serde_json::json!({ "id": "x", "object": "chat.completion.chunk", "model": "model", "choices": [choice] });
        self.say(format!("data: {event}\n\n"))
    }
}

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let written = self.stream.write(bytes)?;
        self.written.fetch_add(written as u64, Ordering::AcqRel);
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.flush()
    }
}

impl Read for Answer {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        self.stream.read(bytes)
    }
}

/// Reads a request to its end: its body.
fn request(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(String::from_utf8_lossy(&body).into_owned())
}
