//! `wasi:http` for tools: every request leaves through the host's egress, under the tool's rules.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::egress::{Egress, EgressError, NetRule};
use crate::text;

/// Tells the session of a denial.
type Note = Arc<dyn Fn(String) + Send + Sync>;

/// Sends a guest's requests through the egress.
pub struct EgressHooks {
    egress: Arc<Egress>,
    rules: Arc<[NetRule]>,
    cancel: CancellationToken,
    note: Note,
    most: u64,
}

impl EgressHooks {
    /// Under these rules; none of them means that every request is denied.
    pub fn new(egress: Arc<Egress>, rules: Vec<NetRule>, cancel: CancellationToken, note: Note) -> Self {
        let most = egress.body_limit();
        Self {
            egress,
            rules: rules.into(),
            cancel,
            note,
            most,
        }
    }
}

type Trailers = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Trailers), Error>> + Send>;

impl WasiHttpHooks for EgressHooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        sent: Trailers,
    ) -> Sent {
        let (egress, rules, cancel) = (self.egress.clone(), self.rules.clone(), self.cancel.clone());
        let (note, most) = (self.note.clone(), self.most);
        Box::new(async move {
            let (parts, body) = request.into_parts();
            let body = collect(body, most).await?;
            let method = parts.method.clone();
            let host = parts
                .uri
                .authority()
                .map(|a| text::line(a.as_str(), 120))
                .unwrap_or_default();
            let plain = parts.uri.scheme_str() == Some("http");
            let request = http::Request::from_parts(parts, body);
            let answer = egress.send(&rules, request, wait(options), &cancel).await;
            let answer = answer.map_err(|error| {
                if let EgressError::Denied(why) = &error {
                    let scheme = if plain { "http://" } else { "" };
                    note(format!("{why}. Allow it with --allow net:{method}@{scheme}{host}"));
                }
                code(&error)
            })?;
            let body = Full::new(answer.body).map_err(|never| match never {}).boxed_unsync();
            let mut response = http::Response::new(body);
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            let done: Trailers = Box::new(async move { Box::into_pin(sent).await });
            Ok((response, done))
        })
    }
}

/// A guest may ask for less time than the host gives, and for no more.
fn wait(options: Option<RequestOptions>) -> Option<Duration> {
    let options = options?;
    let asked = [
        options.connect_timeout,
        options.first_byte_timeout,
        options.between_bytes_timeout,
    ];
    asked.into_iter().flatten().reduce(Duration::saturating_add)
}

async fn collect(body: WasiBody, most: u64) -> Result<Bytes, Error> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    match Limited::new(body, most).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(_) => Err(Error::HttpRequestBodySize(Some(most as u64))),
    }
}

/// An egress error in the words of wasi:http.
fn code(error: &EgressError) -> Error {
    match error {
        EgressError::Denied(_) => Error::HttpRequestDenied,
        EgressError::Malformed(_) => Error::HttpRequestUriInvalid,
        EgressError::TooLarge(_) => Error::HttpResponseBodySize(None),
        EgressError::Redirects(_) => Error::LoopDetected,
        EgressError::TimedOut(_) => Error::ConnectionReadTimeout,
        EgressError::NoAddress(_) => Error::DnsError {
            rcode: None,
            info_code: None,
        },
        EgressError::Failed(_) => Error::ConnectionTerminated,
        EgressError::Cancelled => Error::ConnectionTerminated,
    }
}
