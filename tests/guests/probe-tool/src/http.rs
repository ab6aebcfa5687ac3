//! One request by `wasi:http`, as a test spells it.

use serde::Serialize;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wasip2::io::streams::StreamError;

use crate::hermes::plugin::types::{Error, ErrorKind};

/// What came back.
#[derive(Serialize)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    /// Whether the body ended as its server meant it to.
    whole: bool,
}

/// Sends a request to an address that begins with `http://` or `https://`, its body piece by piece.
pub fn fetch(url: &str, method: &str, headers: &[(String, String)], body: &[String]) -> Result<Answer, Error> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| failed("no URL"))?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
        .collect();
    let headers = Fields::from_list(&headers).map_err(|_| failed("odd headers"))?;
    let request = OutgoingRequest::new(headers);
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        other => Method::Other(other.into()),
    };
    let parts = request
        .set_method(&method)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    parts.map_err(|()| failed("an odd request"))?;
    let outgoing = request.body().map_err(|()| failed("no body"))?;
    let pending = outgoing_handler::handle(request, None).map_err(|code| refused(&code))?;
    write(outgoing, body)?;
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(response))) => read(&response),
        Some(Ok(Err(code))) => Err(refused(&code)),
        _ => Err(failed("no answer")),
    }
}

fn write(outgoing: OutgoingBody, pieces: &[String]) -> Result<(), Error> {
    let stream = outgoing.write().map_err(|()| failed("no body"))?;
    for piece in pieces {
        // Who refuses a request may have closed it.
        if stream.blocking_write_and_flush(piece.as_bytes()).is_err() {
            break;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(outgoing, None);
    Ok(())
}

fn read(response: &IncomingResponse) -> Result<Answer, Error> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = response.headers().entries();
    let headers = headers.iter().map(|(name, value)| (name.clone(), text(value)));
    let incoming: IncomingBody = response.consume().map_err(|()| failed("no body"))?;
    let stream = incoming.stream().map_err(|()| failed("no body"))?;
    let mut bytes = Vec::new();
    let whole = loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => break true,
            Err(StreamError::LastOperationFailed(_)) => break false,
        }
    };
    Ok(Answer {
        status: response.status(),
        headers: headers.collect(),
        body: text(&bytes),
        whole,
    })
}

fn refused(code: &ErrorCode) -> Error {
    failed(&format!("{code:?}"))
}

fn failed(words: &str) -> Error {
    Error {
        kind: ErrorKind::Upstream,
        message: words.into(),
        retry_after_ms: None,
    }
}
