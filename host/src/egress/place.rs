//! Where in a request a secret is put: a header, by a template, or a parameter of the query.

use std::fmt;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use crate::text;

/// What stands for the value in a template.
const VALUE: &str = "{}";
/// The longest template, in bytes.
const TEMPLATE_MAX: usize = 256;
/// The longest parameter's name, in bytes.
const PARAMETER_MAX: usize = 64;

/// What belongs to one connection (RFC 9110, 7.6.1), which the host makes and a guest has no say in.
pub(super) const OF_THE_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    header::EXPECT,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// By these many servers take a request for one of another method, host or path than it has: for one that nobody granted, or that the audit does not name.
const OF_ANOTHER: [HeaderName; 18] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-http-host-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-original-method"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-override-url"),
    HeaderName::from_static("x-forwarded-method"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-envoy-original-path"),
];

/// Whether a request may say this: not what is the connection's, nor what the host derives, nor that it is another one.
pub(super) fn is_for_requests(name: &HeaderName) -> bool {
    const DERIVED: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::ACCEPT_ENCODING];
    !is_one_of(name, &OF_THE_CONNECTION) && !is_one_of(name, &DERIVED) && !is_one_of(name, &OF_ANOTHER)
}

/// Takes these out of a request.
pub(super) fn take_out(headers: &mut HeaderMap, names: &[HeaderName]) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_one_of(name, names)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

fn is_one_of(name: &HeaderName, names: &[HeaderName]) -> bool {
    names.iter().any(|other| is_same(name, other))
}

/// Whether servers may take one name for the other. Those that hand headers on as variables (RFC 3875, 4.1.18) know a hyphen no more, which is an underscore
/// there, and in many of them so is each other sign.
fn is_same(a: &HeaderName, b: &HeaderName) -> bool {
    let (a, b) = (a.as_str().as_bytes(), b.as_str().as_bytes());
    let is_sign = |byte: &u8| !byte.is_ascii_alphanumeric();
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || (is_sign(a) && is_sign(b)))
}

/// Where a secret is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A header, whose value is `before`, the secret, `after`.
    Header {
        /// Its name.
        name: HeaderName,
        /// What stands before the secret.
        before: String,
        /// What stands after it.
        after: String,
    },
    /// A parameter of the query.
    Query {
        /// Its name.
        key: String,
    },
}

/// A place where no secret can be put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}: {what}")]
pub struct PlaceError {
    text: String,
    what: &'static str,
}

impl PlaceError {
    fn new(text: &str, what: &'static str) -> Self {
        Self {
            text: text::line(text, 120),
            what,
        }
    }
}

impl Default for Place {
    /// `Authorization: Bearer {}`.
    fn default() -> Self {
        Self::Header {
            name: header::AUTHORIZATION,
            before: "Bearer ".to_owned(),
            after: String::new(),
        }
    }
}

impl Place {
    /// Reads `NAME: TEMPLATE`, where the template has `{}` once, for the secret.
    ///
    /// # Errors
    /// No such header can be sent, or none by a plugin.
    pub fn header(text: &str) -> Result<Self, PlaceError> {
        let bad = |what| PlaceError::new(text, what);
        let shape = "a header is NAME: TEMPLATE, with {} once where the secret goes, like Authorization: Bearer {}";
        let (name, template) = text.split_once(':').ok_or_else(|| bad(shape))?;
        let name: HeaderName = name.trim().parse().map_err(|_| bad(shape))?;
        if !is_for_requests(&name) {
            return Err(bad("the host sets this header itself, or drops it; choose another"));
        }
        let template = template.trim();
        let visible = template.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !visible || template.len() > TEMPLATE_MAX {
            return Err(bad("a template is up to 256 visible ASCII characters"));
        }
        let (before, after) = template.split_once(VALUE).ok_or_else(|| bad(shape))?;
        if after.contains(VALUE) {
            return Err(bad(shape));
        }
        Ok(Self::Header {
            name,
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// Reads the name of a parameter.
    ///
    /// # Errors
    /// It is none.
    pub fn query(key: &str) -> Result<Self, PlaceError> {
        let good = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~[]".contains(&b));
        if !good || !(1..=PARAMETER_MAX).contains(&key.len()) {
            let what = "a parameter is 1 to 64 letters, digits, and any of - . _ ~ [ ]";
            return Err(PlaceError::new(key, what));
        }
        Ok(Self::Query { key: key.to_owned() })
    }

    /// Whether two secrets can't both be put there.
    pub fn is_also(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header { name: a, .. }, Self::Header { name: b, .. }) => is_same(a, b),
            (Self::Query { key: a }, Self::Query { key: b }) => a == b,
            _ => false,
        }
    }

    /// What people call it, without a template.
    pub fn what(&self) -> String {
        match self {
            Self::Header { name, .. } => format!("the header {name}"),
            Self::Query { key } => format!("the parameter {key}"),
        }
    }

    /// Puts `value` into a request, in the place of what the guest may have put there.
    pub(super) fn put(&self, value: &str, url: &mut Url, headers: &mut HeaderMap) {
        match self {
            Self::Header { name, before, after } => {
                let text = Zeroizing::new(format!("{before}{value}{after}"));
                let text = HeaderValue::from_str(&text);
                let mut text = text.expect("template and value are visible ASCII, as checked when they were read");
                text.set_sensitive(true);
                take_out(headers, std::slice::from_ref(name));
                headers.insert(name, text);
            }
            Self::Query { key } => {
                self.take_from(url);
                let pair: String = form_urlencoded::Serializer::new(String::new())
                    .append_pair(key, value)
                    .finish();
                let query = match url.query() {
                    Some(rest) if !rest.is_empty() => format!("{rest}&{pair}"),
                    _ => pair,
                };
                url.set_query(Some(&query));
            }
        }
    }

    /// Takes what stands there out of an address; what a server answers may repeat the request's query.
    pub(super) fn take_from(&self, url: &mut Url) {
        let Self::Query { key } = self else { return };
        let Some(query) = url.query() else { return };
        let is_it = |pair: &str| form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| name == key.as_str());
        let rest: Vec<&str> = query.split('&').filter(|pair| !is_it(pair)).collect();
        let rest = rest.join("&");
        if rest != query {
            url.set_query(Some(rest.as_str()).filter(|rest| !rest.is_empty()));
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, before, after } => write!(f, "header {name}: {before}{VALUE}{after}"),
            Self::Query { key } => write!(f, "query parameter {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(place: &Place, url: &str) -> (String, HeaderMap) {
        let (mut url, mut headers) = (Url::parse(url).expect(url), HeaderMap::new());
        headers.append("authorization", HeaderValue::from_static("the guest's"));
        headers.append("authorization", HeaderValue::from_static("again"));
        headers.append("x_key", HeaderValue::from_static("the guest's"));
        place.put("a+b/c=&d", &mut url, &mut headers);
        (url.into(), headers)
    }

    #[test]
    fn a_headers_value_is_the_templates() {
        let (url, headers) = put(&Place::default(), "https://x.org/a?b");
        let all: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(all, ["Bearer a+b/c=&d"]);
        assert!(all[0].is_sensitive() && url == "https://x.org/a?b");
        let place = Place::header("X-Key:  k={};v=1 ").expect("a header");
        let (_, headers) = put(&place, "https://x.org/");
        assert_eq!(headers["x-key"], "k=a+b/c=&d;v=1");
        assert!(!headers.contains_key("x_key"), "a server may take it for the same");
        assert_eq!(place.to_string(), "header x-key: k={};v=1");
    }

    #[test]
    fn a_parameter_stands_once_and_last() {
        let place = Place::query("key").expect("a parameter");
        for (before, after) in [
            ("https://x.org/", "https://x.org/?key=a%2Bb%2Fc%3D%26d"),
            ("https://x.org/?", "https://x.org/?key=a%2Bb%2Fc%3D%26d"),
            (
                "https://x.org/?q=a%20b+c&key=mine&%6bey=2&keys=3#f",
                "https://x.org/?q=a%20b+c&keys=3&key=a%2Bb%2Fc%3D%26d#f",
            ),
        ] {
            let (url, headers) = put(&place, before);
            assert_eq!(url, after);
            assert_eq!(headers.get_all("authorization").iter().count(), 2, "left as they are");
        }
        let mut url = Url::parse("https://x.org/a?key=1").expect("a URL");
        place.take_from(&mut url);
        assert_eq!(url.as_str(), "https://x.org/a");
    }

    #[test]
    fn a_name_is_the_same_by_whichever_signs() {
        let name = |text: &str| text.parse::<HeaderName>().expect(text);
        for held in [
            "Proxy_Connection",
            "Transfer.Encoding",
            "CONTENT_LENGTH",
            "X_HTTP_Method_Override",
            "x-http.method~override",
            "Forwarded",
            "X_Forwarded_Host",
            "X-Original-URL",
            "x-original-uri",
            "X_Forwarded_Prefix",
        ] {
            assert!(!is_for_requests(&name(held)), "{held}");
        }
        for free in [
            "x-own",
            "content-type",
            "xhttpmethodoverride",
            "x-http-method-overrides",
            "x-forwarded-for",
        ] {
            assert!(is_for_requests(&name(free)), "{free}");
        }
        let mut headers = HeaderMap::new();
        for text in ["x-a-b", "x_a_b", "x-a'b", "x-ab", "x-a-c", "x-a-b-"] {
            headers.append(name(text), HeaderValue::from_static("1"));
            headers.append(name(text), HeaderValue::from_static("2"));
        }
        take_out(&mut headers, &[name("x-a-b"), name("x-none")]);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!((left.len(), headers.len()), (3, 6), "{left:?}");
        assert!(
            ["x-ab", "x-a-c", "x-a-b-"].iter().all(|text| left.contains(text)),
            "{left:?}"
        );
        let place = |text: &str| Place::header(text).expect(text);
        assert!(place("X-Key: {}").is_also(&place("x_key: a {}")) && !place("X-Key: {}").is_also(&place("X-Keys: {}")));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "Authorization",
            "Authorization: Bearer",
            "A: {} {}",
            "a b: {}",
            ": {}",
            "A: {}\n",
            "A: é{}",
            "Host: {}",
            "content-length: {}",
            "Connection: {}",
            "accept-encoding: {}",
            "Content_Length: {}",
            "X-HTTP_Method-Override: {}",
        ] {
            // A line's end is taken off as other space is.
            assert_eq!(Place::header(text).is_ok(), text == "A: {}\n", "{text}");
        }
        assert!(Place::header(&format!("A: {{}}{}", "x".repeat(254))).is_ok());
        assert!(Place::header(&format!("A: {{}}{}", "x".repeat(255))).is_err());
        for text in ["", "a=b", "a&b", "é", "a b"] {
            assert!(Place::query(text).is_err(), "{text}");
        }
        assert!(Place::query(&"k".repeat(64)).is_ok() && Place::query(&"k".repeat(65)).is_err());
    }
}
