//! One GET request by `wasi:http`. Redirects, addresses and credentials are the host's affair.

use hermes_sdk::Error;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, IncomingResponse, Method, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

use crate::address::Address;

/// What is read of a body at most, in bytes.
pub(crate) const BODY_BYTES: usize = 1024 * 1024;
/// Bytes read at once.
const PIECE: u64 = 64 * 1024;
/// Where the host says which address answered, after redirects; no server can set it.
const FINAL_URL: &str = "hermes-final-url";
/// Where the host says that it cut the body, which then ends with an error; no server can set this either.
const BODY_CUT: &str = "hermes-body-cut";

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    /// What answered, which redirects may have led to.
    pub(crate) address: Address,
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
    /// The body went on after what is here.
    pub(crate) cut: bool,
}

/// # Errors
/// A refusal of the host, or a failure on the way.
pub(crate) fn get(address: &Address) -> Result<Response, Error> {
    let broken = || {
        Error::invalid_input(format!(
            "{} can't be requested: the address is malformed",
            address.shown()
        ))
    };
    let headers = [
        (
            "accept",
            "text/html, application/xhtml+xml, text/plain, application/json;q=0.9, */*;q=0.5",
        ),
        ("accept-encoding", "identity"),
        ("user-agent", concat!("hermes-web/", env!("CARGO_PKG_VERSION"))),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let request = OutgoingRequest::new(Fields::from_list(&headers).map_err(|_| broken())?);
    let scheme = if address.secure { Scheme::Https } else { Scheme::Http };
    request.set_method(&Method::Get).map_err(|()| broken())?;
    request.set_scheme(Some(&scheme)).map_err(|()| broken())?;
    request.set_authority(Some(&address.authority)).map_err(|()| broken())?;
    request
        .set_path_with_query(Some(&address.path))
        .map_err(|()| broken())?;
    let pending = outgoing_handler::handle(request, None).map_err(|code| failure(address, code))?;
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(response))) => read(address, &response),
        Some(Ok(Err(code))) => Err(failure(address, code)),
        _ => Err(Error::failed(format!("{}: no answer came", address.shown()))),
    }
}

fn read(address: &Address, response: &IncomingResponse) -> Result<Response, Error> {
    let unread = || Error::failed(format!("{}: the answer has no body that can be read", address.shown()));
    let headers = response.headers();
    let header = |name: &str| {
        let values = headers.get(name);
        values.first().map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let content_type = header("content-type").unwrap_or_default();
    let answered = header(FINAL_URL).and_then(|url| Address::parse(&url).ok());
    let ends_early = header(BODY_CUT).is_some();
    let content = response.consume().map_err(|()| unread())?;
    let stream = content.stream().map_err(|()| unread())?;
    let (mut body, mut cut) = (vec![], false);
    while !cut {
        match stream.blocking_read(PIECE) {
            Ok(piece) => {
                body.extend(piece);
                cut = body.len() > BODY_BYTES;
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) if ends_early => cut = true,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(Error::failed(format!(
                    "{}: {}",
                    address.shown(),
                    error.to_debug_string()
                )));
            }
        }
    }
    body.truncate(BODY_BYTES);
    Ok(Response {
        address: answered.unwrap_or_else(|| address.clone()),
        status: response.status(),
        content_type,
        body,
        cut,
    })
}

fn failure(address: &Address, code: ErrorCode) -> Error {
    let (shown, host) = (address.shown(), address.host());
    match code {
        // Which of the two it is, why, and the flag for it, only the host knows: it tells the operator.
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Error::denied(format!(
            "{shown} may not be fetched: it, or a page that it redirects to, is not granted; the operator is told why"
        )),
        ErrorCode::DnsError(_) | ErrorCode::DnsTimeout | ErrorCode::DestinationNotFound => {
            Error::failed(format!("{shown}: there is no host {host}; check the address"))
        }
        ErrorCode::ConnectionTimeout | ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            Error::timed_out(format!("{shown}: {host} did not answer in time"))
        }
        ErrorCode::ConnectionRefused | ErrorCode::ConnectionTerminated | ErrorCode::DestinationUnavailable => {
            Error::failed(format!(
                "{shown}: no connection to {} could be made or kept",
                address.authority
            ))
        }
        ErrorCode::LoopDetected => Error::failed(format!(
            "{shown} redirects more often than is followed; the operator's key for it is limits.http.redirects"
        )),
        ErrorCode::InternalError(Some(message)) => Error::failed(format!("{shown}: {message}")),
        other => Error::failed(format!("{shown}: {other:?}")),
    }
}
