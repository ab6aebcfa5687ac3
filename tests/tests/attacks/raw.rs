//! A model's server that speaks no protocol but what a test writes: whoever asks it gets these bytes.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A server that answers each request so. It lives as long as the test's process.
pub(crate) struct Raw {
    address: std::net::SocketAddr,
    written: Arc<AtomicU64>,
}

/// Where an answer's bytes go. They are counted; an error says that the client has gone.
pub(crate) struct Answer {
    stream: TcpStream,
    written: Arc<AtomicU64>,
}

impl Raw {
    /// Starts on a free port of loopback.
    pub(crate) fn start(answer: impl Fn(&mut Answer) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let written = Arc::new(AtomicU64::new(0));
        let (count, answer) = (written.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (written, answer) = (count.clone(), answer.clone());
                std::thread::spawn(move || {
                    if request(&stream).is_some() {
                        let _ = answer(&mut Answer { stream, written });
                    }
                });
            }
        });
        Self { address, written }
    }

    /// The configuration of the model `PROVIDER/model`, which is this server's, with a line that says where its key is.
    pub(crate) fn configuration(&self, provider: &str, key: &str) -> String {
        format!(
            "\n[providers.{provider}]\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\n{key}\n\n[models.\"{provider}/model\"]\ncontext_tokens = 128000\n\
             max_output_tokens = 4096\nprice = {{ input_usd_per_mtok = 1.0, output_usd_per_mtok = 2.0 }}\n",
            self.address,
        )
    }

    /// How many bytes its answers had since this was last asked.
    pub(crate) fn take_written(&self) -> u64 {
        self.written.swap(0, Ordering::AcqRel)
    }
}

impl Answer {
    /// Writes bytes.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.written.fetch_add(bytes.as_ref().len() as u64, Ordering::AcqRel);
        Ok(())
    }

    /// The head of a stream of events, which ends with the connection.
    pub(crate) fn streams(&mut self) -> std::io::Result<()> {
        self.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    }

    /// One event: a change of the answer, as OpenAI has it.
    pub(crate) fn event(&mut self, delta: &serde_json::Value, finish: Option<&str>) -> std::io::Result<()> {
        let choice = serde_json::json!({ "index": 0, "delta": delta, "finish_reason": finish });
        let event =
            serde_json::json!({ "id": "x", "object": "chat.completion.chunk", "model": "model", "choices": [choice] });
        self.say(format!("data: {event}\n\n"))
    }
}

/// Reads a request to its end.
fn request(stream: &TcpStream) -> Option<()> {
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
    reader.read_exact(&mut vec![0; length]).ok()
}
