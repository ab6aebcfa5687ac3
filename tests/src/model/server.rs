//! The server: a thread for each connection, the next turn for each request, and a record of all requests.

use std::collections::HashMap;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::connection::{After, Asked, play};
use super::http::{self, Incoming};
use super::request::{Format, Request};
use super::script::{Fault, Script, Turn};

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    over: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    script: Script,
    /// How many turns of each script are played, by its place among `when`; none for the main one.
    played: HashMap<Option<usize>, usize>,
    requests: Vec<Request>,
    /// Requests that the script had no turn for.
    surplus: usize,
    /// Answers that ended because the client went before they were sent whole.
    broken_off: usize,
}

impl ModelServer {
    /// Starts on a free port of loopback.
    pub fn start(script: impl Into<Script>) -> Self {
        Self::start_at("127.0.0.1:0", script)
    }

    /// Starts at `address`.
    pub fn start_at(address: &str, script: impl Into<Script>) -> Self {
        Self::start_on(TcpListener::bind(address).unwrap(), script)
    }

    /// Starts to take what comes to this listener.
    pub fn start_on(listener: TcpListener, script: impl Into<Script>) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.state().script = script.into();
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.over.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL as it stands in a provider's configuration.
    pub fn base_url(&self, format: Format) -> String {
        match format {
            Format::OpenAi => format!("http://{}/v1", self.address),
            Format::Anthropic => format!("http://{}", self.address),
        }
    }

    /// All completions asked for so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// How many completions were asked for so far.
    pub fn asked(&self) -> usize {
        self.shared.state().requests.len()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.state().requests = Vec::new();
    }

    /// How many requests came that the script had no turn for.
    pub fn surplus(&self) -> usize {
        self.shared.state().surplus
    }

    /// How many answers broke off because the client went.
    pub fn broken_off(&self) -> usize {
        self.shared.state().broken_off
    }

    /// Waits for the n-th request, counted from 1.
    pub fn wait_for(&self, n: usize, timeout: Duration) -> Request {
        let (state, result) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.state(), timeout, |state| state.requests.len() < n)
            .unwrap();
        assert!(
            !result.timed_out(),
            "only {} of {n} requests came within {timeout:?}",
            state.requests.len()
        );
        state.requests[n - 1].clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(reading) = stream.try_clone() else { return };
        let mut reading = BufReader::new(reading);
        while let Some(incoming) = http::read(&mut reading) {
            match self.answer(&mut stream, incoming) {
                Ok(After::Keep) => {}
                Ok(After::Close) => return,
                Err(_) => {
                    self.state().broken_off += 1;
                    return;
                }
            }
        }
    }

    fn answer(&self, stream: &mut TcpStream, incoming: Incoming) -> std::io::Result<After> {
        let format = match (incoming.method.as_str(), incoming.path.as_str()) {
            ("POST", "/v1/chat/completions") => Format::OpenAi,
            ("POST", "/v1/messages") => Format::Anthropic,
            ("GET", "/v1/models") => {
                let model =
                    json!({ "id": "test-model", "object": "model", "created": 1_700_000_000, "owned_by": "test" });
                http::json(stream, 200, &[], &json!({ "object": "list", "data": [model] }))?;
                return Ok(After::Keep);
            }
            _ => {
                http::json(
                    stream,
                    404,
                    &[],
                    &json!({ "error": { "message": "There is nothing here." } }),
                )?;
                return Ok(After::Keep);
            }
        };
        let body: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
        let request = Request {
            format,
            headers: incoming.headers,
            body,
            at: Instant::now(),
        };
        let turn = self.next(&request);
        let key = request
            .header("x-api-key")
            .or_else(|| request.header("authorization"))
            .unwrap_or_default();
        let key = key.trim_start_matches("Bearer ");
        play(
            stream,
            &turn,
            &Asked {
                format,
                body: &request.body,
                key,
            },
        )
    }

    /// Takes down the request, and what the script has for it.
    fn next(&self, request: &Request) -> Turn {
        let mut state = self.state();
        let text = request.body.to_string();
        let place = state.script.when.iter().position(|(marker, _)| text.contains(marker));
        let n = state.played.entry(place).or_default();
        let turn = *n;
        *n += 1;
        let script = place.map_or(&state.script, |place| &state.script.when[place].1);
        let turn = script.turns.get(turn).or(script.then.as_ref()).cloned();
        state.surplus += usize::from(turn.is_none());
        state.requests.push(request.clone());
        self.changed.notify_all();
        // Not one of the states that are tried again.
        turn.unwrap_or_else(|| {
            Turn::fault(Fault::Status {
                code: 418,
                retry_after: None,
            })
        })
    }
}
