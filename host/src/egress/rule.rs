//! Rules of the allow-list: `[METHOD,..@][http://]HOST[:PORT]`. What is not said is https, port 443 and every method.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::host::{HostPattern, RULE, TOO_LONG, canonical};
use crate::text;

/// Which requests may leave.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetRule {
    methods: Vec<String>,
    pub(super) scheme: Scheme,
    pub(super) host: HostPattern,
    pub(super) port: u16,
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// A rule that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("net:{text}: {}", reason(what))]
pub struct RuleError {
    text: String,
    what: &'static str,
}

impl RuleError {
    /// What is wrong, without the rule: where that stands before it already.
    pub fn reason(&self) -> String {
        reason(self.what)
    }
}

fn reason(what: &str) -> String {
    format!("{what}; a rule is net:[METHOD,..@][http://]HOST[:PORT], like net:GET@*.example.org")
}

/// Methods that by their meaning change nothing where they go.
const READING: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A method that rules can name, whatever the case in which it is written.
pub(super) fn named(method: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|named| named.eq_ignore_ascii_case(method))
}

impl FromStr for NetRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let bad = |what| RuleError {
            text: text::line(text, 120),
            what,
        };
        if text.len() > RULE {
            return Err(bad(TOO_LONG));
        }
        let (methods, rest) = match text.split_once('@') {
            Some((methods, rest)) => (methods.split(',').collect(), rest),
            None => (Vec::new(), text),
        };
        if methods.iter().any(|m| !METHODS.contains(m)) {
            return Err(bad("a method is one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        // In one order, so that equal rules are one rule.
        let methods = METHODS
            .iter()
            .filter(|m| methods.contains(m))
            .map(|m| (*m).to_owned())
            .collect();
        let (scheme, rest) = match rest.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some(_) => return Err(bad("the scheme is http or https")),
            None => (Scheme::Https, rest),
        };
        let (host, port) = HostPattern::parse(rest, scheme).map_err(bad)?;
        Ok(Self {
            methods,
            scheme,
            host,
            port,
        })
    }
}

impl Scheme {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(super) const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl NetRule {
    /// The narrowest rule that lets `method` go to `url`; none where the notation has none, as for a foreign scheme or a host that is no name and no address. A method that rules
    /// can't name needs a rule for all methods.
    pub fn for_request(method: &str, url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let method = METHODS.contains(&method).then(|| method.to_owned());
        Some(Self {
            methods: method.into_iter().collect(),
            scheme,
            host: HostPattern::of(url)?,
            port: url.port_or_known_default()?,
        })
    }

    /// Whether this rule lets `method` go to `url`.
    pub fn allows(&self, method: &str, url: &Url) -> bool {
        let Some(host) = canonical(url) else { return false };
        let methods = self.methods.is_empty() || self.methods.iter().any(|m| m == method);
        let host = self.host.allows(&host);
        methods && host && url.scheme() == self.scheme.name() && url.port_or_known_default() == Some(self.port)
    }

    /// Whether it names this host literally, and so allows an address that is not global.
    pub fn names(&self, url: &Url) -> bool {
        matches!((&self.host, canonical(url)), (HostPattern::Exact(name), Some(host)) if *name == host)
    }

    /// True for a rule that any host fits.
    pub fn is_everything(&self) -> bool {
        self.host == HostPattern::Any
    }

    /// True for a rule that any host fits, or any below a top-level domain: `*.com` is nearly as much.
    pub fn is_wide(&self) -> bool {
        match &self.host {
            HostPattern::Any => true,
            HostPattern::Below(name) => !name.contains('.'),
            HostPattern::Exact(_) => false,
        }
    }

    /// Whether requests that change things are among those that it allows.
    pub fn may_change(&self) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|m| !READING.contains(&m.as_str()))
    }

    /// Where to, without methods: `*.x.org:8443`.
    pub fn place(&self) -> String {
        Self {
            methods: Vec::new(),
            ..self.clone()
        }
        .to_string()
    }

    /// Whether all that `self` allows is allowed by `other`.
    pub fn within(&self, other: &Self) -> bool {
        let methods = other.methods.is_empty()
            || (!self.methods.is_empty() && self.methods.iter().all(|m| other.methods.contains(m)));
        let host = self.host.within(&other.host);
        methods && host && self.scheme == other.scheme && self.port == other.port
    }

    /// What both allow, where that is a rule: the narrower host, the common methods.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if self.scheme != other.scheme || self.port != other.port {
            return None;
        }
        let methods: Vec<String> = match (self.methods.as_slice(), other.methods.as_slice()) {
            ([], some) | (some, []) => some.to_vec(),
            (mine, theirs) => {
                let common: Vec<String> = mine.iter().filter(|m| theirs.contains(m)).cloned().collect();
                if common.is_empty() {
                    return None;
                }
                common
            }
        };
        let host = self.host.meet(&other.host)?;
        Some(Self {
            methods,
            scheme: self.scheme,
            host,
            port: self.port,
        })
    }
}

impl fmt::Display for NetRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{}@", self.methods.join(","))?;
        }
        if self.scheme == Scheme::Http {
            f.write_str("http://")?;
        }
        write!(f, "{}", self.host)?;
        if self.port != self.scheme.port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl From<NetRule> for String {
    fn from(rule: NetRule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for NetRule {
    type Error = RuleError;
    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::egress::HostRule;

    /// What parsers of hosts take for something else, between lines: signs, numbers, and what is left out; a point, a hyphen, an asterisk, a colon, a slash,
    /// an at, a percent sign and a bracket that are wide or small; letters and digits that become others, or several.
    const ODD: &str = "*|.|:|-|_|@|%|/|[|]|x|com|org|localhost|xn--|xn--p1ai|0x7f|0177|1|127|256|443|80|::|ffff|8.8.8.8|%2a|%2e|%41|\t| |\0|\u{7f}|\u{ad}|\
        \u{200b}|\u{200d}|\u{202e}|\u{feff}|\u{3002}|\u{ff0e}|\u{ff61}|\u{2024}|\u{ff0d}|\u{ff0a}|\u{fe61}|\u{ff1a}|\u{ff0f}|\u{ff20}|\u{ff05}|\u{ff3b}|\
        \u{fb03}|\u{df}|\u{1e9e}|\u{130}|\u{2488}|\u{1d7d9}";

    /// A rule that was read is the one that is read of what it prints, as narrow as it was, and so is the host of a secret.
    fn is_read_back(text: &str) {
        if let Ok(rule) = text.parse::<NetRule>() {
            let again = rule.to_string().parse::<NetRule>();
            assert_eq!(again.as_ref(), Ok(&rule), "{text:?} is {rule}");
            assert_eq!(
                again.map(|again| again.is_wide()),
                Ok(rule.is_wide()),
                "{text:?} is {rule}"
            );
            assert!(!rule.is_everything() || text.contains('*'), "{text:?} is {rule}");
        }
        if let Ok(hosts) = text.parse::<HostRule>() {
            assert_eq!(hosts.to_string().parse(), Ok(hosts.clone()), "{text:?} is {hosts}");
        }
        if let Ok(url) = Url::parse(&format!("https://{text}/a"))
            && let Some(narrowest) = NetRule::for_request("GET", &url)
        {
            assert_eq!(
                narrowest.to_string().parse(),
                Ok(narrowest.clone()),
                "{url} is {narrowest}"
            );
            assert!(
                narrowest.allows("GET", &url) && !narrowest.is_wide(),
                "{url} is {narrowest}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_read_back_whatever_stands_in_it(
            wild in prop::sample::select(vec!["", "GET@", "*.", "http://", "POST,GET@http://*."]),
            parts in prop::collection::vec(prop::sample::select(ODD.split('|').collect::<Vec<_>>()), 0..6),
            other in any::<char>(),
            at in 0usize..6,
        ) {
            let mut parts: Vec<String> = parts.into_iter().map(str::to_owned).collect();
            let host = parts.concat();
            is_read_back(&format!("{wild}{host}"));
            is_read_back(&format!("{wild}{host}.example:8443"));
            parts.insert(at.min(parts.len()), other.into());
            is_read_back(&format!("{wild}{}", parts.concat()));
        }
    }

    #[test]
    fn every_sign_is_read_back_as_what_it_is() {
        for c in ('\0'..='\u{ffff}').filter(|c| !c.is_alphabetic()) {
            is_read_back(&format!("{c}.com"));
            is_read_back(&format!("*.a{c}b.example"));
        }
    }

    #[test]
    fn no_other_character_is_an_asterisk() {
        for text in [
            "\u{ff0a}",
            "\u{ff0a}.com",
            "GET@http://\u{ff0a}:8080",
            "*.\u{ff0a}",
            "x.\u{fe61}",
            "%2a",
            "a\u{ff0a}.org",
        ] {
            assert!(text.parse::<NetRule>().is_err(), "{text}");
        }
        for host in ["*", "\u{ff0a}", "%2A", "*.com", "\u{ff0a}.com", "a*b.org"] {
            let url = Url::parse(&format!("https://{host}/")).expect(host);
            assert_eq!(NetRule::for_request("GET", &url), None, "{host}");
            for all in ["*", "*.com", "*.org"] {
                assert!(
                    !rule(all).allows("GET", &url) && !rule(all).names(&url),
                    "{host}, {all}"
                );
            }
        }
    }

    fn rule(text: &str) -> NetRule {
        text.parse().expect(text)
    }

    fn allows(text: &str, method: &str, url: &str) -> bool {
        rule(text).allows(method, &Url::parse(url).expect(url))
    }

    #[test]
    fn what_is_not_said_is_https_443_and_every_method() {
        assert!(allows("x.org", "DELETE", "https://x.org/a"));
        assert!(allows("X.ORG.", "GET", "https://x.org./a"));
        assert!(!allows("x.org", "GET", "http://x.org/"));
        assert!(!allows("x.org", "GET", "https://x.org:8443/"));
        assert!(!allows("x.org", "GET", "https://y.x.org/"));
        assert!(allows("GET,HEAD@http://x.org:8080", "HEAD", "http://x.org:8080/"));
        assert!(!allows("GET@x.org", "POST", "https://x.org/"));
    }

    #[test]
    fn a_wildcard_is_one_or_more_labels() {
        assert!(allows("*.x.org", "GET", "https://a.x.org/"));
        assert!(allows("*.x.org", "GET", "https://a.b.x.org/"));
        for url in [
            "https://x.org/",
            "https://ax.org/",
            "https://x.org.evil.com/",
            "https://.x.org/",
        ] {
            assert!(
                !Url::parse(url).is_ok_and(|url| rule("*.x.org").allows("GET", &url)),
                "{url}"
            );
        }
        assert!(allows("*", "GET", "https://anything.example/"));
    }

    #[test]
    fn names_are_compared_in_one_spelling() {
        assert!(allows("HTTP://Bücher.example", "GET", "http://xn--bcher-kva.example/"));
        assert!(allows("xn--bcher-kva.example", "GET", "https://bücher。example/"));
        assert_eq!(rule("HTTPS://X.ORG.:443"), rule("x.org"));
        assert_eq!(rule("POST,GET,POST@x.org"), rule("GET,POST@x.org"));
        assert!(!allows("x.org", "GET", "https://user@y.org/x.org"));
        assert!(!allows("x.org", "GET", "https://y.org/#@x.org"));
        assert!(!allows("x.org", "GET", "ftp://x.org:443/"));
    }

    #[test]
    fn the_narrowest_rule_allows_its_request_and_no_other() {
        for (method, url, text) in [
            ("GET", "https://x.org/a?b", "GET@x.org"),
            ("POST", "http://x.org.:8080/", "POST@http://x.org:8080"),
            ("GET", "http://[::1]/", "GET@http://[::1]"),
            ("PROPFIND", "https://x.org/", "x.org"),
        ] {
            let url = Url::parse(url).expect(url);
            let narrowest = NetRule::for_request(method, &url).expect(text);
            assert_eq!(narrowest, rule(text));
            assert!(narrowest.allows(method, &url));
        }
        assert_eq!(
            NetRule::for_request("GET", &Url::parse("file:///etc/passwd").expect("a URL")),
            None
        );
    }

    #[test]
    fn addresses_have_one_spelling() {
        for url in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
        ] {
            assert!(allows("http://127.0.0.1", "GET", url), "{url}");
        }
        assert!(allows("http://[::1]:80", "GET", "http://[0:0:0:0:0:0:0:1]/"));
    }

    #[test]
    fn a_rule_for_a_whole_top_level_domain_is_wide() {
        for (text, wide) in [
            ("*", true),
            ("GET@http://*:8080", true),
            ("*.com", true),
            ("GET@*.COM.:8443", true),
            ("*.xn--p1ai", true),
            ("*.x.com", false),
            ("com", false),
            ("x.com", false),
            ("1.1.1.1", false),
            ("[::1]", false),
        ] {
            assert_eq!(rule(text).is_wide(), wide, "{text}");
        }
    }

    #[test]
    fn odd_rules_are_refused() {
        for text in [
            "",
            "*x.org",
            "a*.org",
            "x.org/path",
            "ftp://x.org",
            "get@x.org",
            "u@h@x",
            "*.1.2.3.4",
            "x org",
            "*.",
            "x.org:",
            "x.org:0",
            "*:0",
            "x.org:65536",
            "x%2eorg",
            "GET,@x.org",
            "@x.org",
            "*.*",
            ".",
            "*..",
            ".x.org",
            "x..org",
            "x.org..",
            "http://",
            "user:password@x.org",
        ] {
            assert!(text.parse::<NetRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_is_no_longer_than_it_need_be() {
        let fits = "GET,".repeat(253) + "GET@wx.x.org";
        assert_eq!((fits.len(), rule(&fits)), (RULE, rule("GET@wx.x.org")));
        assert!(TOO_LONG.contains(&RULE.to_string()));
        for long in [fits + ".", ",".repeat(1 << 20) + "@x.org"] {
            let error = long.parse::<NetRule>().expect_err("too long").to_string();
            assert!(error.contains(TOO_LONG) && error.len() < 400, "{error}");
        }
        let nowhere = Url::parse(&format!("https://{}/", "a.".repeat(200))).expect("a URL");
        assert_eq!(NetRule::for_request("GET", &nowhere), None);
    }

    #[test]
    fn rules_print_what_they_read() {
        for text in [
            "x.org",
            "GET,POST@*.x.org:8443",
            "http://127.0.0.1:8080",
            "*",
            "http://[::1]",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
    }

    #[test]
    fn a_meeting_is_within_both() {
        assert_eq!(
            rule("GET,POST@*.x.org").meet(&rule("GET@a.x.org")),
            Some(rule("GET@a.x.org"))
        );
        assert_eq!(rule("*").meet(&rule("a.x.org")), Some(rule("a.x.org")));
        assert_eq!(rule("GET@x.org").meet(&rule("POST@x.org")), None);
        assert_eq!(
            rule("http://*").meet(&rule("http://127.0.0.1")),
            None,
            "a wildcard grants no local address"
        );
        assert_eq!(rule("x.org").meet(&rule("y.org")), None);
        assert_eq!(
            rule("*").meet(&rule("1.1.1.1")),
            Some(rule("1.1.1.1")),
            "a public address"
        );
        assert_eq!(rule("*").meet(&rule("localhost")), None);
        assert!(rule("GET@*.x.org").within(&rule("*")) && !rule("*").within(&rule("*.x.org")));
    }
}
