//! What a guest's requests go by: which may leave, the secrets that the host puts into them, and the search for secrets in what goes out and
//! comes back.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::sync::Semaphore;
use url::Url;
use zeroize::Zeroizing;

use super::client::shown;
use super::error::{EgressError, Fault};
use super::host::HostRule;
use super::place::{Place, take_out};
use super::rule::NetRule;
use crate::scrub::{Known, Secrets};

/// What asks for a part of an answer by an older name, which servers still know.
const REQUEST_RANGE: HeaderName = HeaderName::from_static("request-range");

/// A secret, and where it goes.
#[derive(Clone)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// To which hosts.
    pub hosts: HostRule,
    /// Where in a request.
    pub place: Place,
    /// What it is.
    pub value: Arc<Zeroizing<String>>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}@{}, {})", self.name, self.hosts, self.place)
    }
}

/// How a request came to where it is.
#[derive(Debug)]
pub(super) struct Way {
    /// Its address.
    pub(super) at: Url,
    /// Those that redirected it there.
    passed: Vec<Url>,
}

impl Way {
    /// Nobody redirected it.
    pub(super) fn to(at: Url) -> Self {
        Self { at, passed: Vec::new() }
    }

    /// It was redirected.
    pub(super) fn goes_on(&mut self, next: Url) {
        self.passed.push(std::mem::replace(&mut self.at, next));
    }

    /// What is wrong where its address is none that is fetched.
    pub(super) fn fault(&self) -> Fault {
        match self.passed.is_empty() {
            true => Fault::Address,
            false => Fault::Redirect,
        }
    }

    /// All servers that have a say in it.
    fn servers(&self) -> impl Iterator<Item = &Url> {
        self.passed.iter().chain([&self.at])
    }
}

/// What a guest's requests go by.
#[derive(Debug, Clone)]
pub struct Permit {
    /// Which may leave.
    pub rules: Vec<NetRule>,
    /// What is put into them.
    pub credentials: Vec<Credential>,
    /// What neither they nor the answers may hold: the operator's secrets, and the keys of providers.
    pub known: Secrets,
    /// Names that are looked up at once for all of the run.
    pub lookups: Arc<Semaphore>,
}

impl Default for Permit {
    /// Nothing leaves.
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            credentials: Vec::new(),
            known: Secrets::default(),
            lookups: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Permit {
    /// Requests by these rules alone.
    pub fn of(rules: Vec<NetRule>) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// What a request that came this way gets, each secret once: those that every server on it may have. Whoever redirects a request says what it asks
    /// for, and nobody may ask with a secret that is not theirs.
    pub(super) fn credentials_for<'a>(&'a self, way: &Way) -> impl Iterator<Item = &'a Credential> {
        let mut gets: Vec<&Credential> = Vec::new();
        for credential in self
            .credentials
            .iter()
            .filter(|credential| way.servers().all(|url| credential.hosts.allows(url)))
        {
            if gets.iter().all(|other| other.name != credential.name) {
                gets.push(credential);
            }
        }
        gets.into_iter()
    }

    /// Puts into a request what its host shall get: the last that is done to it. What a guest has put in the same place is gone.
    pub(super) fn fill(&self, way: &Way, url: &mut Url, headers: &mut HeaderMap) {
        for credential in self.credentials_for(way) {
            credential.place.put(&credential.value, url, headers);
            // An answer that repeats it comes in one piece, in which it is found.
            take_out(headers, &[RANGE, IF_RANGE, REQUEST_RANGE]);
        }
    }

    /// Whether a guest's request holds no secret beside its body: in its method, its address, in whichever spelling, or its headers.
    pub(super) fn lets_out(
        &self,
        method: &Method,
        written: &str,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<(), EgressError> {
        let known = &self.known;
        let header = || {
            headers
                .iter()
                .find_map(|(name, value)| found(known, value.as_bytes()).or_else(|| known.find_in_host(name.as_str())))
        };
        let held = known
            .find_in_host(method.as_str())
            .or_else(|| found(known, written.as_bytes()))
            .or_else(|| in_address(known, url))
            .or_else(header);
        held.map_or(Ok(()), |held| Err(self.holds(held, url)))
    }

    /// Whether the body of a guest's request to `url` holds no secret.
    pub(super) fn lets_body_out(&self, url: &Url, body: &[u8]) -> Result<(), EgressError> {
        found(&self.known, body).map_or(Ok(()), |held| Err(self.holds(held, url)))
    }

    fn holds(&self, held: Known<'_>, url: &Url) -> EgressError {
        EgressError::Secret {
            what: format!("a request holds {held}; {}", held.way()),
            name: held.to_string(),
            host: host_of(&self.known, url),
        }
    }

    /// Where a redirect leads, without what the host put into the request. One that repeats a secret elsewhere is not followed: it would be told, or
    /// sent to whoever the server likes.
    pub(super) fn lets_follow(&self, way: &Way, mut next: Url) -> Result<Url, EgressError> {
        for credential in self.credentials_for(way) {
            credential.place.take_from(&mut next);
        }
        match in_address(&self.known, &next) {
            None => Ok(next),
            Some(held) => Err(EgressError::Secret {
                what: format!("a redirect repeats {held}, and is not followed"),
                name: held.to_string(),
                host: host_of(&self.known, &next),
            }),
        }
    }

    /// The most bytes that a secret takes up: so many behind those of an answer that are shown tell whether one goes on there.
    pub(super) fn longest(&self) -> usize {
        self.known.longest()
    }

    /// An answer's headers without secrets and its body as far as it is settled, of which `most` bytes are shown, and whether more comes behind these.
    pub(super) fn conceal(
        &self,
        headers: &mut HeaderMap,
        mut body: Bytes,
        settled: usize,
        most: usize,
    ) -> (Bytes, bool) {
        let odd: Vec<_> = headers
            .keys()
            .filter(|name| self.known.find_in_host(name.as_str()).is_some())
            .cloned()
            .collect();
        odd.iter().for_each(|name| drop(headers.remove(name)));
        for value in headers.values_mut() {
            if let Cow::Owned(clean) = self.known.conceal(value.as_bytes()) {
                *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static(""));
            }
        }
        let first = self.known.conceal_first(&body, settled, most);
        let cut = first.cut;
        let clean = match first.bytes {
            Cow::Borrowed(_) => {
                body.truncate(settled.min(most));
                return (body, cut);
            }
            Cow::Owned(clean) => Bytes::from(clean),
        };
        // What it said of a body that is another now.
        if headers.contains_key(CONTENT_LENGTH) && !cut {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(clean.len()));
        }
        (clean, cut)
    }
}

/// A secret in an address: as it is written, decoded, or in the name of its host.
fn in_address<'a>(secrets: &'a Secrets, url: &Url) -> Option<Known<'a>> {
    found(secrets, url.as_str().as_bytes()).or_else(|| secrets.find_in_host(url.host_str()?))
}

/// Scheme, host and port as people may read them: without a secret that the host's name holds.
fn host_of(secrets: &Secrets, url: &Url) -> String {
    match url.host_str().and_then(|host| secrets.find_in_host(host)) {
        Some(held) => format!("{}://{}", url.scheme(), held.placeholder()),
        None => shown(url),
    }
}

/// A secret in bytes, as they are or with their percent signs decoded: an encoder may have left more as it is than any known one does.
fn found<'a>(secrets: &'a Secrets, bytes: &[u8]) -> Option<Known<'a>> {
    if secrets.is_empty() {
        return None;
    }
    secrets.find(bytes).or_else(|| {
        let decoded = decoded(bytes)?;
        secrets.find(&decoded)
    })
}

/// Each `%` and two digits as the byte that they stand for; none where there are none.
fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let byte = |at: usize| u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok();
    if !bytes.contains(&b'%') {
        return None;
    }
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(next) = bytes.get(at) {
        match byte(at + 1).filter(|_| *next == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(*next);
                at += 1;
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";

    fn permit(hosts: &str, place: Place) -> Permit {
        let secrets = Secrets::new([("x".to_owned(), VALUE.to_owned())]);
        Permit {
            credentials: vec![Credential {
                name: "x".to_owned(),
                hosts: hosts.parse().expect(hosts),
                place,
                value: Arc::new(Zeroizing::new(VALUE.to_owned())),
            }],
            known: secrets,
            ..Permit::default()
        }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    #[test]
    fn only_the_granted_host_gets_it() {
        let permit = permit("*.x.org", Place::default());
        for (to, gets) in [
            ("https://a.x.org/", true),
            ("https://x.org/", false),
            ("https://a.x.org.evil/", false),
        ] {
            let mut headers = HeaderMap::new();
            let odd = HeaderName::from_static("if_range");
            for name in [RANGE, IF_RANGE, REQUEST_RANGE, odd] {
                headers.insert(name, HeaderValue::from_static("bytes=0-9"));
            }
            permit.fill(&Way::to(url(to)), &mut url(to), &mut headers);
            assert_eq!(headers.contains_key("authorization"), gets, "{to}");
            assert_eq!(headers.len(), if gets { 1 } else { 4 }, "{to}: it comes in one piece");
        }
        for (way, gets) in [
            (["https://a.x.org/", "https://b.x.org/"], true),
            (["https://stranger.org/", "https://a.x.org/"], false),
        ] {
            let mut headers = HeaderMap::new();
            let mut redirected = Way::to(url(way[0]));
            redirected.goes_on(url(way[1]));
            permit.fill(&redirected, &mut url(way[1]), &mut headers);
            assert_eq!(headers.contains_key("authorization"), gets, "{way:?}");
        }
        assert!(!format!("{permit:?}").contains(VALUE));
    }

    #[test]
    fn a_request_that_holds_it_does_not_leave() {
        let permit = permit("x.org", Place::default());
        let out = |to: &str, header: &str, body: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-mine", HeaderValue::from_str(header).expect("a value"));
            let to = (to, url(to));
            permit
                .lets_out(&Method::PUT, to.0, &to.1, &headers)
                .and_then(|()| permit.lets_body_out(&to.1, body.as_bytes()))
        };
        assert_eq!(out("https://x.org/a?b=c%20d", "e", "f%"), Ok(()));
        let mixed: String = VALUE
            .chars()
            .enumerate()
            .map(|(at, c)| {
                if at % 5 == 0 {
                    format!("%{:02x}", c as u32)
                } else {
                    c.into()
                }
            })
            .collect();
        let hex: String = VALUE.bytes().map(|byte| format!("{byte:02X}")).collect();
        for (to, header, body) in [
            (&*format!("https://x.org/{VALUE}"), "", ""),
            (&format!("https://x.org/?q={mixed}"), "", ""),
            (&format!("https://x.org/#{hex}"), "", ""),
            (&format!("https://{VALUE}.x.org/"), "", ""),
            (&format!("https://{}.{}.x.org/", &VALUE[..7], &VALUE[7..]), "", ""),
            ("https://x.org/", &format!("k={VALUE}"), ""),
            ("https://x.org/", "", &format!("<{hex}>")),
            ("https://x.org/", "", &mixed),
        ] {
            let error = out(to, header, body).expect_err(to).to_string();
            assert!(
                error.contains("the secret x") && !error.to_lowercase().contains(&VALUE.to_lowercase()),
                "{error}"
            );
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_bytes(VALUE.as_bytes()).expect("a name"),
            HeaderValue::from_static(""),
        );
        let to = "https://x.org/";
        let held = permit.lets_out(&Method::GET, to, &url(to), &headers);
        assert!(held.is_err(), "a header's name");
        for (method, leaves) in [
            (VALUE, false),
            (&*VALUE.to_lowercase(), false),
            (&hex, false),
            ("PURGE", true),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let held = permit.lets_out(&method, to, &url(to), &HeaderMap::new());
            assert_eq!(held.is_ok(), leaves, "{method}");
        }
    }

    #[test]
    fn a_redirect_takes_no_secret_along() {
        let permit = permit("x.org", Place::query("key").expect("a parameter"));
        let follow = |next: &str| {
            permit
                .lets_follow(&Way::to(url("https://x.org/")), url(next))
                .map(String::from)
        };
        assert_eq!(
            follow(&format!("https://y.org/b?key={VALUE}&a=1")).as_deref(),
            Ok("https://y.org/b?a=1")
        );
        for next in [
            format!("https://x.org/?k={VALUE}"),
            format!("https://x.org/{VALUE}"),
            format!("https://{VALUE}.y.org/"),
        ] {
            assert!(follow(&next).is_err(), "{next}");
        }
    }

    #[test]
    fn an_answer_is_told_without_it() {
        let permit = permit("x.org", Place::default());
        let mut headers = HeaderMap::new();
        headers.append(
            "x-echo",
            HeaderValue::from_str(&format!("Bearer {VALUE}")).expect("a value"),
        );
        headers.append("x-plain", HeaderValue::from_static("plain"));
        headers.append("content-length", HeaderValue::from(VALUE.len() + 2));
        headers.append(
            HeaderName::from_bytes(VALUE.as_bytes()).expect("a name"),
            HeaderValue::from_static("1"),
        );
        let (body, cut) = permit.conceal(&mut headers, Bytes::from(format!("<{VALUE}>")), 99, 99);
        assert_eq!((&body[..], cut), (&b"<[secret x]>"[..], false));
        assert_eq!(
            (&headers["x-echo"], headers.len()),
            (&HeaderValue::from_static("Bearer [secret x]"), 3)
        );
        assert_eq!(headers["content-length"], body.len().to_string());
        let whole = Bytes::from(format!("<{VALUE}>"));
        let (body, cut) = permit.conceal(&mut headers, whole, 99, 20);
        assert_eq!((&body[..], cut), (&b"<[secret x]"[..], true));
        let guess = Bytes::from(format!("<{}-", &VALUE[..20]));
        let (body, cut) = permit.conceal(&mut headers, guess.clone(), 99, 21);
        assert_eq!((&body[..], cut), (&guess[..21], true));
        // One that broke off, and one whose placeholder is longer than all of it.
        let (body, cut) = permit.conceal(&mut headers, guess.clone(), 21, 99);
        assert_eq!((&body[..], cut), (&guess[..21], true));
        let (body, cut) = permit.conceal(&mut headers, Bytes::from_static(VALUE.as_bytes()), VALUE.len(), 99);
        assert_eq!((&body[..], cut), (&b"[secret x]"[..], false));
    }
}
