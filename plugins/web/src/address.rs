//! Web addresses: taking one apart for a request, and resolving the links of a page.

use hermes_sdk::Error;

/// An address of a page, without a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) secure: bool,
    /// Host, with the port if it has one.
    pub(crate) authority: String,
    /// Path and query; begins with `/`.
    pub(crate) path: String,
}

impl Address {
    /// # Errors
    /// Anything but `http` and `https`, a user name in the address, a host that is not plain ASCII.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let url = url.trim();
        let fail =
            |why: &str| Error::invalid_input(format!("`{url}` {why}; write for example https://example.org/paper"));
        let (secure, rest) = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some(_) => return Err(fail("is not of http or https")),
            None => (true, url),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(fail("holds a user name or a password, which are not sent"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if authority.is_empty() || !authority.chars().all(plain) {
            return Err(fail(
                "has no host in plain ASCII (international names are written as xn--…)",
            ));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            secure,
            authority: authority.to_ascii_lowercase(),
            path: encode(&format!("{slash}{path}")),
        })
    }

    /// How it is shown.
    pub(crate) fn shown(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// The host alone, as a grant names it.
    pub(crate) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.authority,
        }
    }

    /// Where a link of this page leads; none for what is no page of its own.
    pub(crate) fn resolve(&self, link: &str) -> Option<String> {
        let link = link.trim();
        if link.is_empty() || link.starts_with('#') {
            return None;
        }
        if let Some((scheme, _)) = link.split_once(':')
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return ["http", "https", "mailto"]
                .contains(&scheme.to_ascii_lowercase().as_str())
                .then(|| encode(link));
        }
        if let Some(rest) = link.strip_prefix("//") {
            return Some(format!(
                "{}://{}",
                if self.secure { "https" } else { "http" },
                encode(rest)
            ));
        }
        let here = self.path.split('?').next().unwrap_or("/");
        let joined = if link.starts_with('/') {
            link.to_owned()
        } else if link.starts_with('?') {
            format!("{here}{link}")
        } else {
            format!("{}/{link}", here.rsplit_once('/').map_or("", |(folder, _)| folder))
        };
        Some(format!("{}{}", self.origin(), encode(&normal(&joined))))
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

/// The path without `.` and `..`; what follows `?` or `#` stays as it is.
fn normal(path: &str) -> String {
    let (path, tail) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}{tail}", parts.join("/"))
}

/// What may not stand in an address as it is, as `%XX`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>`{}|\\^".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let address = Address::parse("HTTPS://X.org:8443/a b?q=ä#part").unwrap();
        assert_eq!(
            (address.host(), address.shown().as_str()),
            ("x.org", "https://x.org:8443/a%20b?q=%C3%A4")
        );
        assert_eq!(Address::parse("x.org").unwrap().shown(), "https://x.org/");
        assert_eq!(Address::parse("http://x.org?a").unwrap().path, "/?a");
        for bad in ["ftp://x.org", "https://u:p@x.org", "https://", "https://ä.org"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_are_resolved() {
        let page = Address::parse("https://x.org/a/b.html?q").unwrap();
        for (link, to) in [
            ("c", "https://x.org/a/c"),
            ("../c#d", "https://x.org/c#d"),
            ("/c", "https://x.org/c"),
            ("?p=1", "https://x.org/a/b.html?p=1"),
            ("//y.org/z", "https://y.org/z"),
            ("http://y.org", "http://y.org"),
        ] {
            assert_eq!(page.resolve(link).as_deref(), Some(to));
        }
        for none in ["#top", "javascript:x()", "", "data:text/html,x"] {
            assert_eq!(page.resolve(none), None);
        }
    }
}
