//! One try of a completion over HTTP: send, watch the clocks, count what comes, and hand it to the decoder.

use std::time::{Duration, SystemTime};

use http::header;
use reqwest::Response;
use rustix::io::Errno;
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::draft::too_large;
use super::fault::{Fault, StatusFault};
use super::protocol::{Answer, Decode, Tell, error_in, parse};
use super::provider::Endpoint;
use super::request::Request;
use super::retry::retry_after;
use super::sse::{Parser, TooLong};
use super::usage::{Charged, End};
use crate::error::Refusal;
use crate::scrub::{BEHIND, Secrets};

/// Bytes of the stream for each byte that counts against `limits.reply`: an event of one token has about 200 bytes of
/// framing around 4 to 8 bytes of text.
const WIRE_FACTOR: u64 = 32;
/// The most of an error's body that is told of it.
const ERROR_MAX: usize = 64 * 1024;
/// The most that is read: more than a secret takes up that begins in what is told.
const ERROR_READ: usize = ERROR_MAX + 2 * BEHIND;
/// How long an answer that is over may take to close its body, so that the connection can be used again.
const DRAIN: Duration = Duration::from_millis(100);

/// What is known of a try, at whatever point it is dropped.
pub(super) struct Attempt {
    decoder: Box<dyn Decode>,
    /// Bytes of the answer's body.
    pub(super) wire_bytes: u64,
    stage: Stage,
    /// When the first byte of the answer's body must be here.
    first_byte: Instant,
}

/// How far a try has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has left the machine.
    Unsent,
    /// It may have reached the provider.
    Sent,
    /// The provider refused it, which costs nothing.
    Refused,
}

impl Attempt {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            decoder: endpoint.decoder(),
            wire_bytes: 0,
            stage: Stage::Unsent,
            first_byte: Instant::now() + Duration::from_millis(endpoint.limits.llm_first_byte),
        }
    }

    /// Whether it may have reached the provider.
    pub(super) fn was_sent(&self) -> bool {
        self.stage != Stage::Unsent
    }

    /// Whether people have seen any of it.
    pub(super) fn was_shown(&self) -> bool {
        !self.decoder.draft().is_empty()
    }

    /// What it used: nothing where it was not sent or was refused outright, else by report and count. A request that
    /// was sent and never answered may have been read, so its input counts.
    pub(super) fn charged(&self, counted_input: u64, end: End) -> Charged {
        if self.stage == Stage::Sent {
            self.decoder
                .reported()
                .settle(counted_input, self.decoder.draft().tokens(), end)
        } else {
            Charged::default()
        }
    }

    /// Sends `body` and reads the answer. What `tell` hears is as the provider says it; a fault is without the secrets of `request`. The clock of the first
    /// byte runs since [`Self::new`].
    pub(super) async fn run(
        &mut self,
        endpoint: &Endpoint,
        body: Vec<u8>,
        request: &Request,
        tell: &Tell<'_>,
    ) -> Result<(), Fault> {
        let ended = self.exchange(endpoint, body, request, tell).await;
        ended.map_err(|fault| redacted(fault, endpoint, &request.secrets))
    }

    async fn exchange(
        &mut self,
        endpoint: &Endpoint,
        body: Vec<u8>,
        request: &Request,
        tell: &Tell<'_>,
    ) -> Result<(), Fault> {
        let client = endpoint.client()?;
        let sent = client
            .post(endpoint.completions_url())
            .headers(endpoint.headers())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "text/event-stream")
            .header("idempotency-key", &*request.idempotency_key)
            .body(body);
        self.stage = Stage::Sent;
        let response = match timeout_at(self.first_byte, sent.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unanswered(error, endpoint)),
            Err(_) => return Err(too_slow(endpoint)),
        };
        if !response.status().is_success() {
            self.stage = Stage::Refused;
            return Err(error_of(response, endpoint, &request.secrets).await);
        }
        self.answer(response, endpoint, tell).await
    }

    /// The whole answer, once [`Self::run`] has read it.
    pub(super) fn finish(self) -> Result<Answer, Fault> {
        self.decoder.finish()
    }

    fn unanswered(&mut self, error: reqwest::Error, endpoint: &Endpoint) -> Fault {
        let limits = &endpoint.limits;
        if error.is_connect() {
            self.stage = Stage::Unsent;
            if error.is_timeout() {
                return Fault::TimedOut {
                    what: "took no connection",
                    key: "llm.connect",
                    limit: limits.llm_connect,
                };
            }
            return unreached(&error);
        }
        Fault::Broken(words(error))
    }

    async fn answer(&mut self, response: Response, endpoint: &Endpoint, tell: &Tell<'_>) -> Result<(), Fault> {
        let kind = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        if kind.starts_with("application/json") {
            return self.whole(response, endpoint, tell).await;
        }
        if kind.starts_with("text/html") {
            return Err(Fault::Refused(Refusal::upstream(format!(
                "The model provider {} answers with a web page; check providers.{}.base_url.",
                endpoint.owner.provider, endpoint.owner.provider
            ))));
        }
        self.stream(response, endpoint, tell).await
    }

    async fn stream(&mut self, mut response: Response, endpoint: &Endpoint, tell: &Tell<'_>) -> Result<(), Fault> {
        let cap = piece_cap(endpoint);
        let mut parser = Parser::new(usize::try_from(cap).unwrap_or(usize::MAX));
        while !self.decoder.is_over() {
            let chunk = self.chunk(&mut response, endpoint).await?;
            let fed = take(&mut parser, &mut *self.decoder, chunk.as_deref(), tell)?;
            fed.map_err(|_| too_large(endpoint.limits.reply))?;
            if chunk.is_none() {
                return Ok(());
            }
        }
        // A body read to its end leaves a connection that can be used again; one that goes on is cut off.
        let drain = async { while let Ok(Some(_)) = response.chunk().await {} };
        let _ = timeout(DRAIN, drain).await;
        Ok(())
    }

    async fn whole(&mut self, mut response: Response, endpoint: &Endpoint, tell: &Tell<'_>) -> Result<(), Fault> {
        let mut body = Vec::new();
        while let Some(bytes) = self.chunk(&mut response, endpoint).await? {
            if (body.len() + bytes.len()) as u64 > piece_cap(endpoint) {
                return Err(too_large(endpoint.limits.reply));
            }
            body.extend_from_slice(&bytes);
        }
        let body: Value = parse(&String::from_utf8_lossy(&body))?;
        self.decoder.body(&body, tell)
    }

    /// The next bytes, counted.
    async fn chunk(&mut self, response: &mut Response, endpoint: &Endpoint) -> Result<Option<Vec<u8>>, Fault> {
        let limits = &endpoint.limits;
        let begun = self.wire_bytes > 0;
        let deadline = if begun {
            Instant::now() + Duration::from_millis(limits.llm_idle)
        } else {
            self.first_byte
        };
        let bytes = match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(Fault::Broken(words(error))),
            Err(_) if !begun => return Err(too_slow(endpoint)),
            Err(_) => {
                return Err(Fault::TimedOut {
                    what: "sent nothing more",
                    key: "llm.idle",
                    limit: limits.llm_idle,
                });
            }
        };
        let Some(bytes) = bytes else { return Ok(None) };
        self.wire_bytes = self.wire_bytes.saturating_add(bytes.len() as u64);
        if self.wire_bytes > limits.reply.saturating_mul(WIRE_FACTOR) {
            return Err(too_large(limits.reply));
        }
        Ok(Some(bytes.into()))
    }
}

/// Takes the next piece of a stream, or its end. What follows the answer's end is nobody's, in the same piece too.
pub(super) fn take(
    parser: &mut Parser,
    decoder: &mut dyn Decode,
    piece: Option<&[u8]>,
    tell: &Tell<'_>,
) -> Result<Result<(), TooLong>, Fault> {
    let mut events = Vec::new();
    let fed = match piece {
        Some(bytes) => parser.feed(bytes, &mut events),
        None => parser.finish(&mut events),
    };
    for event in &events {
        decoder.event(event, tell)?;
        if decoder.is_over() {
            return Ok(Ok(()));
        }
    }
    Ok(fed)
}

/// The most bytes that are held undecoded: the reply in JSON, with its escapes, in one piece.
fn piece_cap(endpoint: &Endpoint) -> u64 {
    endpoint.limits.reply.saturating_mul(2).saturating_add(64 * 1024)
}

fn too_slow(endpoint: &Endpoint) -> Fault {
    Fault::TimedOut {
        what: "did not answer",
        key: "llm.first_byte",
        limit: endpoint.limits.llm_first_byte,
    }
}

/// Reads what an error response says, as far as it is worth reading.
async fn error_of(mut response: Response, endpoint: &Endpoint, secrets: &Secrets) -> Fault {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(bytes)) = response.chunk().await {
            body.extend_from_slice(&bytes[..bytes.len().min(ERROR_READ - body.len())]);
            if body.len() == ERROR_READ {
                break;
            }
        }
    };
    // The status alone says enough if the words don't come.
    let _ = timeout(Duration::from_millis(endpoint.limits.llm_idle.min(5_000)), read).await;
    let text = String::from_utf8_lossy(&body).into_owned();
    let fault = serde_json::from_str(&text)
        .ok()
        .and_then(|body| error_in(&body, status));
    let fault = match fault {
        Some(fault) => fault,
        // Not the protocol's words for an unknown model: nobody who speaks it is there.
        None if status == 404 => return nothing_there(endpoint),
        None => StatusFault {
            status,
            code: String::new(),
            message: secrets.beginning(&text, ERROR_MAX).0.into_owned(),
            retry_after: None,
        },
    };
    Fault::Status(StatusFault { retry_after, ..fault })
}

fn nothing_there(endpoint: &Endpoint) -> Fault {
    let provider = &endpoint.owner.provider;
    let question = if endpoint.wants_v1() {
        "does the base URL need /v1 at its end?"
    } else {
        "is the base URL right?"
    };
    Fault::Refused(Refusal::upstream(format!(
        "The model provider {provider} has nothing there (404); {question} (providers.{provider}.base_url)"
    )))
}

fn redacted(fault: Fault, endpoint: &Endpoint, secrets: &Secrets) -> Fault {
    let redacted = |text: &str| endpoint.redact(&secrets.redact(&secrets.conceal_text(text.to_owned())));
    match fault {
        Fault::Status(status) => Fault::Status(StatusFault {
            message: redacted(&status.message),
            code: redacted(&status.code),
            ..status
        }),
        Fault::Broken(why) => Fault::Broken(crate::text::line(&redacted(&why), 300)),
        other => other,
    }
}

/// Which address took no connection, and the cause behind all others: those before it only say that this one was met. Of the URL nothing else, as a path or
/// a query may hold a key.
fn unreached(error: &reqwest::Error) -> Fault {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let url = error.url();
    let host = url.and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    let at = host.map(|(host, port)| format!("{host}:{port}: ")).unwrap_or_default();
    let why = crate::text::line(&format!("{at}{cause}"), 300);
    let system = cause.downcast_ref::<std::io::Error>().and_then(Errno::from_io_error);
    match system {
        Some(Errno::MFILE | Errno::NFILE) => Fault::NoDescriptor(why),
        _ => Fault::Connect(why),
    }
}

/// An error of the client with its causes, without the URL.
pub(super) fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    crate::text::line(&text, 300)
}
