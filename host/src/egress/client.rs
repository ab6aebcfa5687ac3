//! A guest's request on its way out: rule, addresses, connection to just those, redirects, caps.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, StatusCode};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::address::is_global;
use super::provider::builder;
use super::rule::NetRule;
use crate::limits::{self, Limits, Unit};
use crate::text;

/// The way out for guests.
#[derive(Debug, Clone)]
pub struct Egress {
    limits: Limits,
}

/// A foreign server's answer, within the caps.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    /// Where it came from in the end.
    pub url: Url,
}

/// A request that did not get its answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// No rule allows it, or its address is not of the public internet.
    #[error("{0}")]
    Denied(String),
    /// The request is not well-formed.
    #[error("{0}")]
    Malformed(String),
    /// A cap was met: which, and its key.
    #[error("{0}")]
    TooLarge(String),
    /// Too many redirects.
    #[error("more than {0} redirects (limits.http.redirects)")]
    Redirects(u64),
    /// It took too long.
    #[error("no whole answer within {} (limits.http.total)", limits::show(*.0, Unit::Millis))]
    TimedOut(u64),
    /// The name has no address.
    #[error("{0} has no address")]
    NoAddress(String),
    /// The connection or the protocol failed.
    #[error("{0}")]
    Failed(String),
    /// It was cancelled.
    #[error("it was cancelled")]
    Cancelled,
}

impl EgressError {
    #[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
    pub(super) fn client(error: reqwest::Error) -> Self {
        use std::error::Error as _;
        let source = error.source().map(|s| format!(": {s}")).unwrap_or_default();
        Self::Failed(text::line(&format!("{}{source}", error.without_url_text()), 300))
    }
}

/// An error's own words, without the URL, which may hold what is not to be shown.
trait WithoutUrl {
    fn without_url_text(&self) -> String;
}

impl WithoutUrl for reqwest::Error {
    fn without_url_text(&self) -> String {
        let kind = match () {
            () if self.is_connect() => "the connection failed",
            () if self.is_timeout() => "it took too long",
            () if self.is_body() || self.is_decode() => "the body broke off",
            () => "the request failed",
        };
        kind.to_owned()
    }
}

impl Egress {
    /// Under these limits.
    pub fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone() }
    }

    /// Bytes of a body that may cross, either way.
    pub fn body_limit(&self) -> u64 {
        self.limits.http_body
    }

    /// Sends a request where `rules` allow it, follows its redirects, and reads the answer whole.
    ///
    /// # Errors
    /// A denial names the rule that would allow it; every cap names its key.
    pub async fn send(
        &self,
        rules: &[NetRule],
        request: http::Request<Bytes>,
        wait: Option<Duration>,
        cancel: &CancellationToken,
    ) -> Result<Answer, EgressError> {
        let total = Duration::from_millis(self.limits.http_total);
        let wait = wait.map_or(total, |wait| wait.min(total));
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(EgressError::Cancelled),
            answer = tokio::time::timeout(wait, self.follow(rules, request)) => {
                answer.unwrap_or(Err(EgressError::TimedOut(self.limits.http_total)))
            }
        }
    }

    async fn follow(&self, rules: &[NetRule], request: http::Request<Bytes>) -> Result<Answer, EgressError> {
        let (parts, mut body) = request.into_parts();
        let mut url =
            Url::parse(&parts.uri.to_string()).map_err(|e| EgressError::Malformed(format!("the URL: {e}")))?;
        let (mut method, mut headers) = (parts.method, parts.headers);
        self.headers_fit(&headers)?;
        self.body_fits(body.len() as u64)?;
        for _ in 0..=self.limits.http_redirects {
            let answer = self.hop(rules, &method, &url, &headers, body.clone()).await?;
            let Some(next) = redirect(&answer, &url)? else {
                return Ok(answer);
            };
            if next.origin() != url.origin() {
                for secret in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
                    headers.remove(secret);
                }
            }
            // As browsers do (Fetch, HTTP-redirect fetch): 303 always, 301 and 302 after a POST, go on as a GET without a body.
            let post = method == Method::POST;
            let moved = matches!(answer.status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND);
            if answer.status == StatusCode::SEE_OTHER && method != Method::HEAD || moved && post {
                method = Method::GET;
                body = Bytes::new();
                headers.remove(http::header::CONTENT_TYPE);
                headers.remove(http::header::CONTENT_LENGTH);
            }
            url = next;
        }
        Err(EgressError::Redirects(self.limits.http_redirects))
    }

    /// One request to one place: checked, resolved once, connected to the addresses that were checked.
    async fn hop(
        &self,
        rules: &[NetRule],
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, EgressError> {
        let rule = allowed(rules, method, url)?;
        let addresses = addresses(url, rule).await?;
        let mut client = builder().http1_only();
        if let Some(host) = url.domain() {
            client = client.resolve_to_addrs(host, &addresses);
        }
        let client = client.build().map_err(EgressError::client)?;
        let mut request = client.request(method.clone(), url.clone()).body(body);
        for (name, value) in headers
            .iter()
            .filter(|(name, _)| **name != HOST && **name != ACCEPT_ENCODING)
        {
            request = request.header(name, value);
        }
        let response = request
            .header(ACCEPT_ENCODING, "identity")
            .send()
            .await
            .map_err(EgressError::client)?;
        let (status, headers) = (response.status(), response.headers().clone());
        self.headers_fit(&headers)?;
        let body = self.read(response).await?;
        Ok(Answer {
            status,
            headers,
            body,
            url: url.clone(),
        })
    }

    async fn read(&self, response: reqwest::Response) -> Result<Bytes, EgressError> {
        if let Some(length) = response.content_length() {
            self.body_fits(length)?;
        }
        let mut body = BytesMut::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(EgressError::client)?;
            self.body_fits((body.len() + chunk.len()) as u64)?;
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn body_fits(&self, bytes: u64) -> Result<(), EgressError> {
        if bytes <= self.limits.http_body {
            return Ok(());
        }
        let most = limits::show(self.limits.http_body, Unit::Bytes);
        Err(EgressError::TooLarge(format!(
            "the body is larger than {most} (limits.http.body)"
        )))
    }

    fn headers_fit(&self, headers: &HeaderMap) -> Result<(), EgressError> {
        let bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if headers.len() as u64 > self.limits.http_header_count {
            let most = self.limits.http_header_count;
            return Err(EgressError::TooLarge(format!(
                "there are more than {most} headers (limits.http.header_count)"
            )));
        }
        if bytes as u64 > self.limits.http_headers {
            let most = limits::show(self.limits.http_headers, Unit::Bytes);
            return Err(EgressError::TooLarge(format!(
                "the headers are larger than {most} (limits.http.headers)"
            )));
        }
        Ok(())
    }
}

fn allowed<'a>(rules: &'a [NetRule], method: &Method, url: &Url) -> Result<&'a NetRule, EgressError> {
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(EgressError::Malformed(
            "only http and https URLs without a user name can be fetched".to_owned(),
        ));
    }
    let mut fitting = rules.iter().filter(|rule| rule.allows(method.as_str(), url));
    // A rule that names the host literally allows more than a wildcard: prefer it.
    let first = fitting.next();
    let literal = first
        .filter(|rule| rule.names(url))
        .or_else(|| fitting.find(|rule| rule.names(url)));
    literal
        .or(first)
        .ok_or_else(|| EgressError::Denied(format!("{method} {} is not granted", shown(url))))
}

async fn addresses(url: &Url, rule: &NetRule) -> Result<Vec<SocketAddr>, EgressError> {
    let port = url.port_or_known_default().unwrap_or(443);
    let literal: Option<IpAddr> = match url.host() {
        Some(url::Host::Ipv4(v4)) => Some(v4.into()),
        Some(url::Host::Ipv6(v6)) => Some(v6.into()),
        _ => None,
    };
    let found: Vec<SocketAddr> = match (literal, url.domain()) {
        (Some(address), _) => vec![SocketAddr::new(address, port)],
        (None, Some(name)) => tokio::net::lookup_host((name, port))
            .await
            .map_err(|_| EgressError::NoAddress(text::line(name, 120)))?
            .collect(),
        (None, None) => return Err(EgressError::Malformed("the URL has no host".to_owned())),
    };
    if found.is_empty() {
        return Err(EgressError::NoAddress(shown(url)));
    }
    // `localhost` and a literal address are granted by being named; any other name only leads to public addresses.
    let named = rule.names(url) && (literal.is_some() || url.domain() == Some("localhost"));
    match found.iter().find(|a| !named && !is_global(a.ip())) {
        None => Ok(found),
        Some(local) => Err(EgressError::Denied(format!(
            "{} leads to {}, which is no public address; only a grant that names the address allows that",
            shown(url),
            local.ip(),
        ))),
    }
}

fn redirect(answer: &Answer, from: &Url) -> Result<Option<Url>, EgressError> {
    if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = answer.headers.get(LOCATION) else {
        return Ok(None);
    };
    let text = location
        .to_str()
        .map_err(|_| EgressError::Malformed("a redirect's target is no text".to_owned()))?;
    let next = from
        .join(text)
        .map_err(|e| EgressError::Malformed(format!("a redirect's target: {e}")))?;
    Ok(Some(next))
}

/// A URL as people read it: scheme, host and port.
fn shown(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    text::line(
        &format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or("?")),
        120,
    )
}
