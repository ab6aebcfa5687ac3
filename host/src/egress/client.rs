//! A guest's request on its way out: rule, addresses, connection to just those, redirects, caps.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

use super::address::{is_global, local_words};
use super::error::{EgressError, Fault, Part};
use super::permit::{Credential, Permit, Way};
use super::place::{OF_THE_CONNECTION, is_for_requests, take_out};
use super::provider::builder;
use super::rule::{self, NetRule};
use crate::limits::{self, Limits, Unit};
use crate::text;
use crate::{blocking, descriptors};

/// The way out for guests.
#[derive(Debug, Clone)]
pub struct Egress {
    limits: Limits,
    /// Names that are looked up at once. Each takes a thread of those that files are read by too, until the system's resolver gives up.
    lookups: Arc<Semaphore>,
}

/// A foreign server's answer, within the caps.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, those of the connection itself left out, without secrets.
    pub headers: HeaderMap,
    /// Its body as it was sent, nothing decompressed, without secrets: with their placeholders, the first `limits.http.body` of it at most.
    pub body: Bytes,
    /// The body goes on after that.
    pub cut: bool,
    /// Where it came from in the end, without what the host put there.
    pub url: Url,
}

/// What a guest is willing to wait; it can only shorten what the host waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// For a connection.
    pub connect: Option<Duration>,
    /// From there to the answer's head.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the answer's body.
    pub between_bytes: Option<Duration>,
}

/// A request that is about to leave.
#[derive(Debug)]
pub struct Leaving<'a> {
    /// The rule that lets it.
    pub rule: &'a NetRule,
    /// Method and address, without the query.
    pub place: String,
    /// Scheme, host and port.
    pub host: String,
    /// The secrets that were put into it.
    pub credentials: Vec<&'a Credential>,
}

/// What there is to hear of a request on its way.
#[derive(Debug)]
pub enum Heard<'a> {
    /// The name of its host is about to be looked up, which tells it to whoever serves that: it is as good as sent there, without secrets.
    LooksUp(&'a Leaving<'a>),
    /// It is about to leave.
    Leaves(&'a Leaving<'a>),
    /// It was answered, and goes on elsewhere.
    Redirected,
    /// So many bytes of its answer came.
    Came(usize),
}

/// Hears it. False of a request that is about to leave, or whose host is about to be looked up: it must not; of bytes that came: there is no room for them.
pub type Hears<'a> = dyn Fn(&Heard<'_>) -> bool + Send + Sync + 'a;

/// A request that may leave as far as its body is none that must not.
#[derive(Debug)]
pub struct Admitted(Hop);

/// A request that may have been redirected.
#[derive(Debug)]
struct Hop {
    method: Method,
    way: Way,
    headers: HeaderMap,
    body: Bytes,
}

/// What came of a request to one place.
enum Came {
    Answer(Box<Begun>),
    /// It is elsewhere.
    Redirect(StatusCode, Url),
}

/// An answer of whose body more may come.
struct Begun {
    response: reqwest::Response,
    headers: HeaderMap,
    url: Url,
    /// Whether a secret was put into the request that it answers.
    had_secret: bool,
    /// What of its body is here.
    body: BytesMut,
    /// So much of it is kept.
    most: usize,
    /// Whether that is all of it.
    is_whole: bool,
}

/// Bytes of the longest address that is asked for, before secrets are put into it. The HTTP client takes no more than 65,534 with them: by where that ends
/// it would be told how long they are. [`Fault`] has it in its words.
const ADDRESS_MAX: usize = 16 << 10;

/// What tells another host who asks.
const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// What describes a body, and goes with it.
const OF_THE_BODY: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
];

impl Egress {
    /// Under these limits.
    pub fn new(limits: &Limits) -> Self {
        let threads = usize::try_from(limits.threads / 4).unwrap_or(usize::MAX);
        Self {
            limits: limits.clone(),
            lookups: Arc::new(Semaphore::new(threads.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// The same way out under other limits: a run has those that it began with. How many names are looked up at once is the process's.
    pub fn under(&self, limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            lookups: self.lookups.clone(),
        }
    }

    /// Bytes of a body that may cross, either way.
    pub fn body_limit(&self) -> u64 {
        self.limits.http_body
    }

    /// What a request takes at most, from its first byte to the last of its answer.
    pub fn total(&self) -> Duration {
        Duration::from_millis(self.limits.http_total)
    }

    /// Admits a request that may leave by all that is known of it before its body is: its parts fit, none of them holds a secret, and `permit` allows it.
    ///
    /// # Errors
    /// As those of [`Egress::send`].
    pub fn admit(&self, permit: &Permit, parts: http::request::Parts) -> Result<Admitted, EgressError> {
        self.headers_fit(&parts.headers, Part::RequestHeaders, Part::RequestHeaderCount)?;
        let written = parts.uri.to_string();
        // As it is written: the parser takes other spellings too.
        let of_the_web = matches!(parts.uri.scheme_str(), Some("http" | "https"));
        let url = Url::parse(&written).map_err(|_| EgressError::Malformed {
            target: as_written(&parts.method, &written),
            fault: if of_the_web { Fault::Address } else { Fault::Scheme },
        })?;
        // First, as what else is wrong with it is told in words of its own.
        permit.lets_out(&parts.method, &written, &url, &parts.headers)?;
        let hop = Hop {
            method: parts.method,
            way: Way::to(url),
            headers: parts.headers,
            body: Bytes::new(),
        };
        if !of_the_web {
            return Err(hop.malformed(Fault::Scheme));
        }
        allowed(&permit.rules, &hop)?;
        Ok(Admitted(hop))
    }

    /// Sends a request with its body where `permit` allows it, with the secrets that its host shall get, follows its redirects, and reads the answer, of
    /// its body no more than may cross and what tells whether a secret goes on behind that. Everything together takes at most `limits.http.total`. `hears`
    /// hears of each request before it leaves, redirects included.
    ///
    /// # Errors
    /// A denial names the grant that would allow it; every cap names its key.
    pub async fn send(
        &self,
        permit: &Permit,
        request: Admitted,
        body: Bytes,
        waits: Waits,
        cancel: &CancellationToken,
        hears: &Hears<'_>,
    ) -> Result<Answer, EgressError> {
        let answer = async {
            let (asked, total) = (Instant::now(), self.total());
            let begun = timeout(total, self.follow(permit, request, body, waits, hears)).await;
            let mut begun = begun.unwrap_or(Err(EgressError::TimedOut(self.limits.http_total)))?;
            // All that crosses is here. Nobody who sends no more, or too late, keeps it from crossing.
            let left = total.saturating_sub(asked.elapsed());
            let rest = begun.read(begun.most, waits, hears);
            drop(timeout(left, rest).await);
            Ok(self.told(permit, begun))
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(EgressError::Cancelled),
            answer = answer => answer,
        }
    }

    /// The bytes of an answer's body that may cross.
    fn most(&self) -> usize {
        usize::try_from(self.limits.http_body).unwrap_or(usize::MAX)
    }

    /// What is told of an answer. Behind what came of one that broke off a secret may go on that begins in it: as much as one may take up is not told, whether
    /// or not one begins there, as its length would tell that.
    fn told(&self, permit: &Permit, begun: Begun) -> Answer {
        let (status, mut headers) = (begun.response.status(), begun.headers);
        let settled = match begun.is_whole {
            true => begun.body.len(),
            false => begun.body.len().saturating_sub(permit.longest()),
        };
        let (body, cut) = permit.conceal(&mut headers, begun.body.freeze(), settled, self.most());
        // How long a body is that repeats the secret, and of which that is not shown, would tell how long the secret is.
        if begun.had_secret && (cut || body.is_empty()) {
            headers.remove(header::CONTENT_LENGTH);
        }
        Answer {
            status,
            headers,
            body,
            cut,
            url: begun.url,
        }
    }

    async fn follow(
        &self,
        permit: &Permit,
        Admitted(mut hop): Admitted,
        body: Bytes,
        waits: Waits,
        hears: &Hears<'_>,
    ) -> Result<Begun, EgressError> {
        self.request_fits(&body)?;
        has_no_more_than_a_head(&hop, &body)?;
        permit.lets_body_out(&hop.way.at, &body)?;
        hop.body = body;
        for _ in 0..=self.limits.http_redirects {
            match self.hop(permit, &hop, waits, hears).await? {
                Came::Answer(begun) => return Ok(*begun),
                Came::Redirect(status, next) => {
                    hears(&Heard::Redirected);
                    let next = permit.lets_follow(&hop.way, next)?;
                    hop.redirect(status, next);
                }
            }
        }
        Err(EgressError::Redirects(self.limits.http_redirects))
    }

    /// One request to one place: checked, resolved once, connected to the addresses that were checked.
    async fn hop(&self, permit: &Permit, hop: &Hop, waits: Waits, hears: &Hears<'_>) -> Result<Came, EgressError> {
        let rule = allowed(&permit.rules, hop)?;
        let at = &hop.way.at;
        if at.as_str().len() > ADDRESS_MAX {
            return Err(hop.malformed(hop.way.fault()));
        }
        let addresses = self.addresses(permit, hop, rule, hears).await?;
        // One more than may be, so that it is told by the limit's name.
        let headers = self.limits.http_header_count.saturating_add(1);
        let mut client = builder(at)
            .http1_only()
            .http1_max_headers(usize::try_from(headers).unwrap_or(usize::MAX))
            .dns_resolver(Checked(addresses.into()));
        if let Some(connect) = waits.connect {
            client = client.connect_timeout(connect);
        }
        let client = client.build().map_err(EgressError::client)?;
        // Everything that leaves is put together here. What only the granted host may see comes last, and stays in here.
        let (mut url, mut headers) = (at.clone(), HeaderMap::new());
        for (name, value) in hop.headers.iter().filter(|(name, _)| is_for_requests(name)) {
            headers.append(name, value.clone());
        }
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // One request a connection, and the server is told: one that left its body unread would else take that for a next request, which nobody granted.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        permit.fill(&hop.way, &mut url, &mut headers);
        let mut request = client.request(hop.method.clone(), url).headers(headers);
        if !hop.body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(&hop.method) {
            request = request.body(hop.body.clone());
        }
        let leaving = Leaving {
            rule,
            place: place(hop),
            host: shown(at),
            credentials: permit.credentials_for(&hop.way).collect(),
        };
        let spare = self.limits.fds;
        if !descriptors::seem_left(spare.saturating_add(1)) {
            return Err(EgressError::NoDescriptor(spare));
        }
        if !hears(&Heard::Leaves(&leaving)) {
            return Err(EgressError::Cancelled);
        }
        let response = within(waits.first_byte, "the first byte", request.send()).await;
        let response = response.map_err(|error| self.of_the_head(error))?;
        let (status, mut headers) = (response.status(), response.headers().clone());
        self.headers_fit(&headers, Part::AnswerHeaders, Part::AnswerHeaderCount)?;
        OF_THE_CONNECTION.iter().for_each(|name| drop(headers.remove(name)));
        if let Some(next) = target(hop, status, &headers)? {
            // Nobody sees its body.
            return Ok(Came::Redirect(status, next));
        }
        // A byte more tells whether that is all.
        let enough = self.most().saturating_add(1);
        let mut begun = Begun {
            response,
            headers,
            url: at.clone(),
            had_secret: !leaving.credentials.is_empty(),
            body: BytesMut::new(),
            most: enough.max(self.most().saturating_add(permit.longest())),
            is_whole: false,
        };
        begun.read(enough, waits, hears).await?;
        Ok(Came::Answer(Box::new(begun)))
    }

    /// Where a request may connect to: every address of its host, if all of them are allowed.
    async fn addresses(
        &self,
        permit: &Permit,
        hop: &Hop,
        rule: &NetRule,
        hears: &Hears<'_>,
    ) -> Result<Vec<SocketAddr>, EgressError> {
        let url = &hop.way.at;
        let port = url.port_or_known_default().unwrap_or(443);
        match url.host() {
            None => Err(hop.malformed(hop.way.fault())),
            // An address is never resolved, so it is checked here or nowhere.
            Some(Host::Ipv4(v4)) => literal(hop, rule, v4.into()).map(|ip| vec![SocketAddr::new(ip, port)]),
            Some(Host::Ipv6(v6)) => literal(hop, rule, v6.into()).map(|ip| vec![SocketAddr::new(ip, port)]),
            Some(Host::Domain(name)) => {
                // Whoever serves the name's zone hears of it, and of what is in it.
                let leaving = Leaving {
                    rule,
                    place: place(hop),
                    host: shown(url),
                    credentials: Vec::new(),
                };
                if !hears(&Heard::LooksUp(&leaving)) {
                    return Err(EgressError::Cancelled);
                }
                let found = self.look_up(permit, name, port).await;
                let local = rule.names(url) && is_localhost(name);
                let fits = |ip: IpAddr| if local { ip.is_loopback() } else { is_global(ip) };
                match found.iter().find(|address| !fits(address.ip())) {
                    _ if found.is_empty() => Err(EgressError::NoAddress(shown(url))),
                    None => Ok(found),
                    Some(address) => Err(leads_inside(hop, rule, address.ip())),
                }
            }
        }
    }

    /// The addresses of a name; none where it has none. A look-up that nobody waits for any more goes on, and keeps its place until it ends: nothing can
    /// stop the system's resolver.
    async fn look_up(&self, permit: &Permit, name: &str, port: u16) -> Vec<SocketAddr> {
        let (own, all) = (permit.lookups.clone(), self.lookups.clone());
        let (Ok(own), Ok(all)) = (own.acquire_owned().await, all.acquire_owned().await) else {
            return Vec::new();
        };
        let name = name.to_owned();
        let found = blocking::apart(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
            drop((own, all));
            found.unwrap_or_default()
        });
        found.await.unwrap_or_default()
    }

    fn request_fits(&self, body: &[u8]) -> Result<(), EgressError> {
        if body.len() as u64 <= self.limits.http_body {
            return Ok(());
        }
        let (part, most) = (Part::RequestBody, limits::show(self.limits.http_body, Unit::Bytes));
        Err(EgressError::TooLarge { part, most })
    }

    /// An error that says of an answer's head only that it is too large, with the limits that it has.
    fn of_the_head(&self, error: EgressError) -> EgressError {
        if !error.is_of_the_head() {
            return error;
        }
        let (bytes, count) = (self.limits.http_headers, self.limits.http_header_count);
        EgressError::TooLarge {
            part: Part::AnswerHead,
            most: format!("{} or {count} headers", limits::show(bytes, Unit::Bytes)),
        }
    }

    fn headers_fit(&self, headers: &HeaderMap, size: Part, count: Part) -> Result<(), EgressError> {
        let bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if headers.len() as u64 > self.limits.http_header_count {
            let most = self.limits.http_header_count.to_string();
            return Err(EgressError::TooLarge { part: count, most });
        }
        if bytes as u64 > self.limits.http_headers {
            let most = limits::show(self.limits.http_headers, Unit::Bytes);
            return Err(EgressError::TooLarge { part: size, most });
        }
        Ok(())
    }
}

impl Hop {
    /// That it is never sent.
    fn malformed(&self, fault: Fault) -> EgressError {
        EgressError::Malformed {
            target: place(self),
            fault,
        }
    }

    /// Goes on at `next`, as browsers do (Fetch, "HTTP-redirect fetch"): a 303 always and a 301 or 302 after a POST as a GET without a
    /// body; nothing that says who asks to another origin.
    fn redirect(&mut self, status: StatusCode, next: Url) {
        let moved = matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND) && self.method == Method::POST;
        let other = status == StatusCode::SEE_OTHER && ![Method::GET, Method::HEAD].contains(&self.method);
        if moved || other {
            self.method = Method::GET;
            self.body = Bytes::new();
            take_out(&mut self.headers, &OF_THE_BODY);
        }
        if next.origin() != self.way.at.origin() {
            take_out(&mut self.headers, &CREDENTIALS);
        }
        self.way.goes_on(next);
    }
}

impl Begun {
    /// Reads on until so many bytes of the body are here, or all; what comes behind them is not waited for.
    async fn read(&mut self, enough: usize, waits: Waits, hears: &Hears<'_>) -> Result<(), EgressError> {
        while !self.is_whole && self.body.len() < enough {
            let Some(chunk) = within(waits.between_bytes, "the next byte", self.response.chunk()).await? else {
                self.is_whole = true;
                return Ok(());
            };
            let fits = chunk.len().min(self.most - self.body.len());
            if !hears(&Heard::Came(fits)) {
                return Err(EgressError::NoRoom);
            }
            self.body.extend_from_slice(&chunk[..fits]);
        }
        Ok(())
    }
}

/// Waits for the client, and no longer than the guest itself would.
async fn within<T>(
    wait: Option<Duration>,
    what: &'static str,
    work: impl Future<Output = Result<T, reqwest::Error>>,
) -> Result<T, EgressError> {
    let done = match wait {
        Some(wait) => timeout(wait, work).await.map_err(|_| EgressError::OwnTimeOut(what))?,
        None => work.await,
    };
    done.map_err(|error| {
        if error.is_timeout() && error.is_connect() {
            EgressError::OwnTimeOut("the connection")
        } else {
            EgressError::client(error)
        }
    })
}

/// Answers every question for a name with the addresses that were checked, so that no second answer is ever asked for.
struct Checked(Arc<[SocketAddr]>);

impl reqwest::dns::Resolve for Checked {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let addresses: reqwest::dns::Addrs = {
            let owned: Vec<SocketAddr> = self.0.iter().copied().collect();
            Box::new(owned.into_iter())
        };
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// Whether a request has no body where its method gives one no meaning (RFC 9110, 9.3). Servers leave such a body unread, and some take it for another request.
fn has_no_more_than_a_head(hop: &Hop, body: &[u8]) -> Result<(), EgressError> {
    match [Method::GET, Method::HEAD, Method::OPTIONS].contains(&hop.method) && !body.is_empty() {
        true => Err(hop.malformed(Fault::Body)),
        false => Ok(()),
    }
}

/// The rule that lets this request go, the one that names its host literally before a wildcard, because it allows more.
fn allowed<'a>(rules: &'a [NetRule], hop: &Hop) -> Result<&'a NetRule, EgressError> {
    let (method, url) = (&hop.method, &hop.way.at);
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(hop.malformed(hop.way.fault()));
    }
    let never = [Method::CONNECT, Method::TRACE];
    if never
        .iter()
        .any(|never| never.as_str().eq_ignore_ascii_case(method.as_str()))
    {
        return Err(hop.malformed(Fault::Method));
    }
    // Servers take it for the one that it looks like, and rules for none that they can name.
    if rule::named(method.as_str()).is_some_and(|named| named != method) {
        return Err(hop.malformed(Fault::Method));
    }
    let fitting = || rules.iter().filter(|rule| rule.allows(method.as_str(), url));
    fitting()
        .find(|rule| rule.names(url))
        .or_else(|| fitting().next())
        .ok_or_else(|| {
            let grant = flag(hop);
            let why = match grant {
                Some(_) => "",
                None => ": its host is no name and no address, and no grant has any other",
            };
            EgressError::Denied {
                what: format!("{} {} is not granted{why}", text::line(method.as_str(), 20), shown(url)),
                target: place(hop),
                grant,
                is: to_know(hop, is_local(&hop.way.at)),
            }
        })
}

/// The narrowest grant for a request; none where its host is none that a grant can name.
fn flag(hop: &Hop) -> Option<String> {
    NetRule::for_request(hop.method.as_str(), &hop.way.at).map(|rule| format!("net:{rule}"))
}

/// What is to be known of a request before it is granted, whose address is this.
fn to_know(hop: &Hop, is_local: Option<&'static str>) -> Option<String> {
    let method = match rule::named(hop.method.as_str()) {
        Some(_) => None,
        None => Some("only a grant of all methods allows this one"),
    };
    let words: Vec<&str> = is_local.into_iter().chain(method).collect();
    (!words.is_empty()).then(|| words.join(", and "))
}

/// What the address of a request is by itself, where that is not of the public internet. A name's addresses are not looked up for it.
fn is_local(url: &Url) -> Option<&'static str> {
    match url.host()? {
        Host::Ipv4(v4) => local_words(v4.into()),
        Host::Ipv6(v6) => local_words(v6.into()),
        Host::Domain(name) if is_localhost(name) => local_words(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Host::Domain(_) => None,
    }
}

fn is_localhost(name: &str) -> bool {
    name.trim_end_matches('.') == "localhost"
}

fn literal(hop: &Hop, rule: &NetRule, address: IpAddr) -> Result<IpAddr, EgressError> {
    if rule.names(&hop.way.at) || is_global(address) {
        return Ok(address);
    }
    let shown = shown(&hop.way.at);
    Err(EgressError::Denied {
        what: format!("{shown} is no public address, and only a grant that names it reaches it"),
        target: place(hop),
        grant: flag(hop),
        is: to_know(hop, is_local(&hop.way.at)),
    })
}

/// A flag is offered for `localhost` alone, where a wildcard let it go this far: that name stands for this machine. Any other name that leads inside may be
/// an attack, and granting the name would not help.
fn leads_inside(hop: &Hop, rule: &NetRule, address: IpAddr) -> EgressError {
    let url = &hop.way.at;
    let helps = url.domain().is_some_and(is_localhost) && address.is_loopback() && !rule.names(url);
    let (by, grant) = match helps {
        true => ("it is only reached by a grant that names it", flag(hop)),
        false => (
            "such an address is only reached by a request and a grant that name it",
            None,
        ),
    };
    EgressError::Denied {
        what: format!("{} leads to {address}, which is no public address; {by}", shown(url)),
        target: place(hop),
        is: grant.as_ref().and_then(|_| to_know(hop, local_words(address))),
        grant,
    }
}

/// Where the answer to a request redirects it to.
fn target(hop: &Hop, status: StatusCode, headers: &HeaderMap) -> Result<Option<Url>, EgressError> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = headers.get(header::LOCATION) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(location.as_bytes()).ok();
    let next = text.and_then(|text| hop.way.at.join(text).ok());
    next.map(Some).ok_or_else(|| EgressError::Malformed {
        target: as_written(&hop.method, &String::from_utf8_lossy(location.as_bytes())),
        fault: Fault::Redirect,
    })
}

/// A URL as people read it: scheme, host and port.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    let host = url.host_str().unwrap_or("?");
    text::line(&format!("{}://{host}{port}", url.scheme()), 120)
}

/// Method and address of a request, without its query, as the audit names it.
fn place(hop: &Hop) -> String {
    let (method, url) = (&hop.method, &hop.way.at);
    let Some(host) = url.host_str() else {
        return format!("{method} {}:{}", url.scheme(), url.path());
    };
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{method} {}://{host}{port}{}", url.scheme(), url.path())
}

/// The same where the address is no URL: as it is written, without user, query and fragment.
fn as_written(method: &Method, address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = address.split_once("//") else {
        return format!("{method} {address}");
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{method} {scheme}//{host}{path}")
}

#[cfg(test)]
mod tests;
