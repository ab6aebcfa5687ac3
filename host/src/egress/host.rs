//! Hosts as grants name them: `HOST`, `*.HOST`, `*`; and with a port, where a secret may go.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::address::is_global;
use super::rule::{NetRule, Scheme};
use crate::text;

/// Bytes of a rule as it is written, and what is told of one with more. The longest that says something new has some 300.
pub(super) const RULE: usize = 1024;
pub(super) const TOO_LONG: &str = "it has more than 1024 bytes";

/// Bytes of a host's name (RFC 1035, 2.3.4).
const NAME: usize = 253;

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum HostPattern {
    /// Every host with a global address.
    Any,
    /// One or more labels before this, and not it alone.
    Below(String),
    /// This name or address, in its canonical form.
    Exact(String),
}

impl HostPattern {
    /// Reads `*`, `*.NAME`, a name or an address, each with `:PORT` where it is not `scheme`'s own.
    ///
    /// # Errors
    /// What a host is.
    pub(super) fn parse(text: &str, scheme: Scheme) -> Result<(Self, u16), &'static str> {
        match text.strip_prefix('*') {
            Some(rest) => wildcard(rest, scheme).ok_or("a wildcard is * alone, or *.NAME"),
            None => exact(text, scheme).ok_or("HOST is a name or an address, and PORT 1 to 65535"),
        }
    }

    /// The one that a URL names; none where it has no host that can be named, or where that would be read as another one.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let name = canonical(url)?;
        let again = Url::parse(&format!("https://{name}")).ok()?;
        (canonical(&again)? == name).then_some(Self::Exact(name))
    }

    /// Whether this host, in its canonical form, is one of them.
    pub(super) fn allows(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => *name == host,
            Self::Below(name) => is_below(host, name),
        }
    }

    /// Whether all of them are among `other`.
    pub(super) fn within(&self, other: &Self) -> bool {
        match (self, other) {
            (a, b) if a == b => true,
            // Naming a local address reaches it; a wildcard never does.
            (_, Self::Any) => !self.names_local(),
            (Self::Exact(name) | Self::Below(name), Self::Below(suffix)) => is_below(name, suffix),
            _ => false,
        }
    }

    /// Those that are in both, where these are a pattern.
    pub(super) fn meet(&self, other: &Self) -> Option<Self> {
        if self.within(other) {
            Some(self.clone())
        } else if other.within(self) {
            Some(other.clone())
        } else {
            None
        }
    }

    /// Whether it names `localhost` or an address that is not of the public internet: a wildcard never grants those.
    fn names_local(&self) -> bool {
        let Self::Exact(name) = self else { return false };
        let address = name.trim_start_matches('[').trim_end_matches(']').parse();
        name == "localhost" || address.is_ok_and(|address| !is_global(address))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// One or more labels before `name`.
fn is_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name)
        .is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
}

fn wildcard(rest: &str, scheme: Scheme) -> Option<(HostPattern, u16)> {
    if rest.is_empty() {
        return Some((HostPattern::Any, scheme.port()));
    }
    if let Some(port) = rest.strip_prefix(':') {
        let port = port.parse().ok().filter(|port| *port != 0)?;
        return Some((HostPattern::Any, port));
    }
    let (host, port) = exact(rest.strip_prefix('.')?, scheme)?;
    match host {
        HostPattern::Exact(name) if is_name(&name) => Some((HostPattern::Below(name), port)),
        _ => None,
    }
}

fn exact(text: &str, scheme: Scheme) -> Option<(HostPattern, u16)> {
    // What a URL's parser would take for another part of it, decode or leave out. What it makes of the rest is looked at when it has.
    let odd =
        text.contains(['/', '?', '#', '\\', '@', '%']) || text.chars().any(|c| c.is_whitespace() || c.is_control());
    if text.is_empty() || text.ends_with(':') || odd {
        return None;
    }
    let url = Url::parse(&format!("{}://{text}", scheme.name())).ok()?;
    let port = Some(url.port().unwrap_or(scheme.port())).filter(|port| *port != 0)?;
    Some((HostPattern::of(&url)?, port))
}

/// A URL's host as grants compare it: lower case, punycode, addresses in one spelling, no final point. A name that is longer than any host's is none,
/// nor is one with an empty label or with another character than hosts have: a URL's parser lets `*` pass, and makes it of others.
pub(super) fn canonical(url: &Url) -> Option<String> {
    Some(match url.host()? {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            let good = name.len() <= NAME && name.split('.').all(is_label);
            good.then(|| name.to_owned())?
        }
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => format!("[{address}]"),
    })
}

/// Whether it may stand between the points of a name: letters, digits, hyphens, and the underscores that some names have.
fn is_label(label: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !label.is_empty() && label.bytes().all(is_plain)
}

fn is_name(host: &str) -> bool {
    !host.starts_with('[') && host.parse::<std::net::Ipv4Addr>().is_err()
}

/// The hosts that a secret may go to: `HOST[:PORT]`, a pattern as in a rule. Without a port it is the usual one of the request's scheme. That
/// scheme is the rule's to say which lets the request go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostRule {
    host: HostPattern,
    port: Option<u16>,
}

/// A host that can't be read, or that no secret goes to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}: {what}")]
pub struct HostRuleError {
    text: String,
    what: &'static str,
}

impl FromStr for HostRule {
    type Err = HostRuleError;

    fn from_str(text: &str) -> Result<Self, HostRuleError> {
        let bad = |what| HostRuleError {
            text: text::line(text, 120),
            what,
        };
        if text.len() > RULE {
            return Err(bad(TOO_LONG));
        }
        if text.contains("://") {
            return Err(bad(
                "https or http is for the grant of the network to say (net:http://HOST)",
            ));
        }
        let (host, port) = HostPattern::parse(text, Scheme::Https).map_err(bad)?;
        if host == HostPattern::Any {
            return Err(bad("a secret goes to hosts that are named: NAME, or *.NAME"));
        }
        let port = Some(port).filter(|port| *port != Scheme::Https.port());
        Ok(Self { host, port })
    }
}

impl HostRule {
    /// Whether a request to `url` goes to one of them.
    pub fn allows(&self, url: &Url) -> bool {
        let port = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            None => url.port().is_none(),
        };
        port && canonical(url).is_some_and(|host| self.host.allows(&host))
    }

    /// Whether all of them are among `other`.
    pub fn within(&self, other: &Self) -> bool {
        self.port == other.port && self.host.within(&other.host)
    }

    /// Those that are in both, where these are a pattern.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let host = self.host.meet(&other.host).filter(|_| self.port == other.port)?;
        Some(Self { host, port: self.port })
    }

    /// Whether `rule` lets any request go to one of them.
    pub fn is_reached_by(&self, rule: &NetRule) -> bool {
        let port = self.port.unwrap_or(rule.scheme.port());
        port == rule.port && self.host.meet(&rule.host).is_some()
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for HostRule {
    type Error = HostRuleError;
    fn try_from(text: String) -> Result<Self, HostRuleError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostRule {
        text.parse().expect(text)
    }

    fn allows(text: &str, url: &str) -> bool {
        host(text).allows(&Url::parse(url).expect(url))
    }

    #[test]
    fn a_host_without_a_port_is_at_the_usual_one() {
        assert!(allows("x.org", "https://x.org/a") && allows("x.org", "http://X.ORG./"));
        assert!(!allows("x.org", "https://x.org:8443/") && !allows("x.org", "http://x.org:443/"));
        assert!(allows("x.org:8443", "https://x.org:8443/") && !allows("x.org:8443", "https://x.org/"));
        assert!(allows("x.org:80", "http://x.org/") && !allows("x.org:80", "https://x.org/"));
        assert_eq!(host("x.org:443"), host("X.org."));
        assert!(allows("*.x.org", "https://a.b.x.org/") && !allows("*.x.org", "https://x.org/"));
        assert!(allows("[::1]:81", "http://[0:0::1]:81/") && allows("127.0.0.1:81", "http://2130706433:81/"));
        assert!(!allows("x.org", "https://x.org.evil.com/") && !allows("x.org", "https://y.org/#x.org"));
    }

    #[test]
    fn hosts_print_what_they_read() {
        for text in ["x.org", "*.x.org:8443", "127.0.0.1:8080", "[::1]"] {
            assert_eq!(host(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (text, words) in [
            ("*", "hosts that are named"),
            ("*:8443", "hosts that are named"),
            ("http://x.org", "net:http://HOST"),
            ("GET@x.org", "HOST is"),
            ("x.org/path", "HOST is"),
            ("", "HOST is"),
            ("x.org:0", "HOST is"),
            ("*x.org", "a wildcard is"),
            ("\u{ff0a}", "HOST is"),
            ("\u{ff0a}.com", "HOST is"),
            ("*.\u{ff0a}.com", "a wildcard is"),
            ("x.org\u{1}", "HOST is"),
        ] {
            let error = text.parse::<HostRule>().expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_name_has_letters_digits_hyphens_and_underscores() {
        for sign in (' '..='~').filter(|c| !c.is_ascii_alphanumeric()) {
            let written = format!("a{sign}b.example").parse::<HostRule>();
            // A point ends a label.
            assert_eq!(written.is_ok(), "-_.".contains(sign), "{sign}");
            let sent = Url::parse(&format!("https://a{sign}b.example/")).ok();
            let is_one = sent.is_some_and(|url| host("*.example").allows(&url));
            // What stands before an @ is no part of the host, and some signs end it.
            let is_other = "/?#\\@:".contains(sign);
            assert!(is_other || is_one == "-_.".contains(sign), "{sign}");
        }
    }

    #[test]
    fn a_name_is_as_long_as_a_hosts_may_be_and_a_text_as_a_rule_may_be() {
        let name = |bytes: usize| "a.".repeat(bytes / 2) + &"a".repeat(bytes % 2);
        assert_eq!(host(&name(NAME)).to_string(), name(NAME));
        assert_eq!(host(&(name(NAME) + ".")), host(&name(NAME)));
        assert!(allows(&name(NAME), &format!("https://{}/", name(NAME))));
        let (long, anywhere) = (name(NAME + 2), "*".parse::<NetRule>().expect("a rule"));
        let url = Url::parse(&format!("https://{long}/")).expect("a URL");
        assert!(long.parse::<HostRule>().is_err() && !anywhere.allows("GET", &url));
        for (bytes, words) in [(RULE, "HOST is"), (RULE + 1, TOO_LONG)] {
            let error = "/".repeat(bytes).parse::<HostRule>().expect_err(words).to_string();
            assert!(error.contains(words) && error.len() < 300, "{error}");
        }
    }

    #[test]
    fn a_meeting_is_within_both() {
        assert_eq!(host("*.x.org").meet(&host("a.x.org")), Some(host("a.x.org")));
        assert_eq!(host("a.x.org").meet(&host("*.x.org")), Some(host("a.x.org")));
        assert_eq!(host("x.org").meet(&host("x.org:81")), None);
        assert_eq!(host("x.org").meet(&host("y.org")), None);
        assert!(host("a.x.org").within(&host("*.x.org")) && !host("*.x.org").within(&host("a.x.org")));
    }

    #[test]
    fn a_rule_of_the_network_reaches_a_host() {
        let reaches = |rule: &str, text: &str| host(text).is_reached_by(&rule.parse().expect(rule));
        assert!(reaches("GET@x.org", "x.org") && reaches("http://x.org", "x.org"));
        assert!(reaches("http://127.0.0.1:81", "127.0.0.1:81") && reaches("*", "x.org"));
        assert!(reaches("a.x.org", "*.x.org") && reaches("*.x.org", "a.x.org"));
        assert!(!reaches("x.org", "y.org") && !reaches("x.org:81", "x.org") && !reaches("*", "127.0.0.1"));
    }
}
