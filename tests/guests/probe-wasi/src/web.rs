//! `wasi:http`: a request of any parts, which no library has looked at.

use serde::Deserialize;
use serde_json::{Value, json};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// Bytes read at once.
const PIECE: u64 = 64 << 10;
/// Bytes of a body that are told.
const TOLD: usize = 400;

/// One call.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Sends a request, and reads its answer to the end.
    Send {
        #[serde(default)]
        method: Option<String>,
        #[serde(default)]
        scheme: Option<String>,
        authority: String,
        #[serde(default)]
        path: Option<String>,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(default)]
        body: Option<String>,
        /// What it would wait for each part, in milliseconds.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// Makes so many requests, each with a method, a host and a body of so many bytes, and drops none before all are made: how many bytes the host took.
    Make {
        requests: usize,
        #[serde(default)]
        method: usize,
        #[serde(default)]
        authority: usize,
        #[serde(default)]
        body: usize,
    },
    /// Sends so many requests at once, of whose bodies so many bytes are written and no end: how many bytes the host took.
    SendUnended { requests: usize, body: usize },
    /// Makes an answer to a request that nobody sent.
    Respond,
    /// Sends so many requests at once, and reads no answer before each has one or none: what each was told.
    SendAll { requests: usize, authority: String },
}

/// Why there is no answer: the part of the request that is refused when it is set, or the code of its end.
type Why = String;

impl Step {
    /// Does it.
    ///
    /// # Errors
    /// What was refused.
    pub(crate) fn run(&self) -> Result<Value, Why> {
        match self {
            Self::Respond => {
                drop(OutgoingResponse::new(Fields::new()));
                Ok(Value::Null)
            }
            Self::Send {
                method,
                scheme,
                authority,
                path,
                headers,
                body,
                wait_ms,
            } => {
                let headers: Vec<_> = headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_bytes().to_vec()))
                    .collect();
                let fields = Fields::from_list(&headers).map_err(|e| format!("headers: {e:?}"))?;
                let request = OutgoingRequest::new(fields);
                let method = match method.as_deref().unwrap_or("GET") {
                    "GET" => Method::Get,
                    "POST" => Method::Post,
                    other => Method::Other(other.to_owned()),
                };
                request.set_method(&method).map_err(refused("the method"))?;
                let scheme = match scheme.as_deref().unwrap_or("http") {
                    "http" => Scheme::Http,
                    "https" => Scheme::Https,
                    other => Scheme::Other(other.to_owned()),
                };
                request.set_scheme(Some(&scheme)).map_err(refused("the scheme"))?;
                request
                    .set_authority(Some(authority))
                    .map_err(refused("the authority"))?;
                request
                    .set_path_with_query(Some(path.as_deref().unwrap_or("/")))
                    .map_err(refused("the path"))?;
                let outgoing = request.body().map_err(refused("the body"))?;
                let pending = outgoing_handler::handle(request, wait_ms.map(options).transpose()?).map_err(shown)?;
                write(outgoing, body.as_deref().unwrap_or_default())?;
                answered(&pending)
            }
            Self::Make {
                requests,
                method,
                authority,
                body,
            } => {
                let made: Result<Vec<_>, Why> = (0..*requests).map(|_| made(*method, *authority, *body)).collect();
                Ok(json!(made?.iter().map(|(_, taken)| taken).sum::<usize>()))
            }
            Self::SendUnended { requests, body } => {
                let sent: Result<Vec<_>, Why> = (0..*requests).map(|_| unended(*body)).collect();
                Ok(json!(sent?.iter().map(|(_, taken)| taken).sum::<usize>()))
            }
            Self::SendAll { requests, authority } => {
                let send = |_| outgoing_handler::handle(plain(authority)?, None).map_err(shown);
                let pending: Result<Vec<_>, Why> = (0..*requests).map(send).collect();
                let pending = pending?;
                pending.iter().for_each(|pending| pending.subscribe().block());
                let told: Vec<Value> = pending
                    .iter()
                    .map(|pending| answered(pending).unwrap_or_else(Value::String))
                    .collect();
                Ok(json!(told))
            }
        }
    }
}

/// In whose words a part of a request is refused.
fn refused(part: &str) -> impl Fn(()) -> Why {
    move |()| format!("{part} is refused")
}

/// A request's parts, each before the one that it comes from: so they are dropped.
type Made = (OutputStream, OutgoingBody, OutgoingRequest);

/// A request that is not sent, with all that it has, and how many bytes of its body were taken.
fn made(method: usize, authority: usize, body: usize) -> Result<(Made, usize), Why> {
    let request = OutgoingRequest::new(Fields::new());
    if method > 0 {
        let method = Method::Other("M".repeat(method));
        request.set_method(&method).map_err(refused("the method"))?;
    }
    if authority > 0 {
        request
            .set_authority(Some(&"a".repeat(authority)))
            .map_err(refused("the authority"))?;
    }
    let outgoing = request.body().map_err(refused("the body"))?;
    let stream = outgoing.write().map_err(refused("the body"))?;
    let (bytes, mut taken) = (vec![0; body], 0);
    while taken < body {
        let room = usize::try_from(stream.check_write().unwrap_or(0))
            .unwrap_or(0)
            .min(body - taken);
        if room == 0 || stream.write(&bytes[taken..taken + room]).is_err() {
            break;
        }
        taken += room;
    }
    Ok(((stream, outgoing, request), taken))
}

/// A request to a host, of which nothing else is said.
fn plain(authority: &str) -> Result<OutgoingRequest, Why> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(refused("the scheme"))?;
    request
        .set_authority(Some(authority))
        .map_err(refused("the authority"))?;
    request.set_path_with_query(Some("/")).map_err(refused("the path"))?;
    Ok(request)
}

/// What is left of a request that was sent.
type Sent = (OutputStream, OutgoingBody, FutureIncomingResponse);

/// A request that is sent, whose body never ends, and how many bytes of it were taken.
fn unended(body: usize) -> Result<(Sent, usize), Why> {
    let request = plain("x.example")?;
    let outgoing = request.body().map_err(refused("the body"))?;
    let stream = outgoing.write().map_err(refused("the body"))?;
    let pending = outgoing_handler::handle(request, None).map_err(shown)?;
    let (bytes, mut taken) = (vec![0; body], 0);
    while taken < body {
        let Ok(room) = stream.check_write() else { break };
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let room = usize::try_from(room).unwrap_or(0).min(body - taken);
        if stream.write(&bytes[taken..taken + room]).is_err() {
            break;
        }
        taken += room;
    }
    Ok(((stream, outgoing, pending), taken))
}

fn answered(pending: &FutureIncomingResponse) -> Result<Value, Why> {
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(response))) => answer(&response),
        Some(Ok(Err(code))) => Err(shown(code)),
        _ => Err("no answer".into()),
    }
}

fn options(wait_ms: u64) -> Result<RequestOptions, Why> {
    let (options, wait) = (RequestOptions::new(), Some(wait_ms * 1_000_000));
    let set = options
        .set_connect_timeout(wait)
        .and_then(|()| options.set_first_byte_timeout(wait))
        .and_then(|()| options.set_between_bytes_timeout(wait));
    set.map(|()| options).map_err(|()| "the wait is refused".into())
}

fn write(outgoing: OutgoingBody, text: &str) -> Result<(), Why> {
    let stream = outgoing.write().map_err(|()| "the body is refused".to_owned())?;
    for piece in text.as_bytes().chunks(4096) {
        // Whoever answers before it has read all tells more than this.
        let _ = stream.blocking_write_and_flush(piece);
    }
    drop(stream);
    let _ = OutgoingBody::finish(outgoing, None);
    Ok(())
}

fn answer(response: &IncomingResponse) -> Result<Value, Why> {
    let headers: Vec<_> = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let unread = |()| "the answer can't be read".to_owned();
    let content = response.consume().map_err(unread)?;
    let stream = content.stream().map_err(unread)?;
    let (mut bytes, mut told) = (0, Vec::new());
    let end = loop {
        match stream.blocking_read(PIECE) {
            Ok(piece) => {
                bytes += piece.len();
                let room = TOLD - told.len();
                told.extend(piece.into_iter().take(room));
            }
            Err(StreamError::Closed) => break None,
            Err(StreamError::LastOperationFailed(error)) => break Some(error.to_debug_string()),
        }
    };
    let text = String::from_utf8_lossy(&told);
    Ok(json!({ "status": response.status(), "headers": headers, "bytes": bytes, "text": text, "broken": end }))
}

fn shown(code: ErrorCode) -> Why {
    format!("{code:?}").replace("ErrorCode::", "")
}
