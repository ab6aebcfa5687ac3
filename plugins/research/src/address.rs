//! Finding the addresses of pages in a text, and telling whether two of them are the same.

/// An address as it stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) url: String,
    /// Where it ends in the text, in bytes, with the bracket that closes a link.
    pub(crate) end: usize,
}

/// All addresses of a text, in order, without the marks of the sentence that they stand in.
pub(crate) fn find(text: &str) -> Vec<Address> {
    let (mut found, mut from) = (vec![], 0);
    while let Some(start) = text[from..].find("http").map(|at| from + at) {
        let rest = &text[start..];
        let scheme = ["https://", "http://"].iter().find(|scheme| rest.starts_with(**scheme));
        let inside_a_word = text[..start].ends_with(char::is_alphanumeric);
        let Some(scheme) = scheme.filter(|_| !inside_a_word) else {
            from = start + 4;
            continue;
        };
        let end = rest
            .find(|c: char| c.is_whitespace() || "<>\"`|{}[]“”«»".contains(c))
            .unwrap_or(rest.len());
        let url = bare(&rest[..end]);
        from = start + url.len();
        if url.len() == scheme.len() {
            continue;
        }
        // A mark after a link belongs behind its closing bracket, where it breaks nothing.
        let close = match &text[..start] {
            before if before.ends_with("](") => ")",
            before if before.ends_with('<') => ">",
            _ => "",
        };
        let closing = if text[from..].starts_with(close) {
            close.len()
        } else {
            0
        };
        found.push(Address {
            url: url.to_owned(),
            end: from + closing,
        });
    }
    found
}

/// What of an address is not the sentence's: no full stop at the end, and no bracket that was opened before it.
fn bare(mut url: &str) -> &str {
    loop {
        let shorter = url.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '’', '*', '…']);
        let shorter = match shorter.strip_suffix(')') {
            Some(inner) if inner.matches('(').count() < shorter.matches(')').count() => inner,
            _ => shorter,
        };
        if shorter.len() == url.len() {
            return url;
        }
        url = shorter;
    }
}

/// One spelling for all that lead to the same page: without a place in the page, a usual port, a last slash.
pub(crate) fn normal(url: &str) -> String {
    let url = url.trim().split('#').next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let scheme = scheme.to_ascii_lowercase();
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = host.to_ascii_lowercase();
    let usual = if scheme == "http" { ":80" } else { ":443" };
    let host = host.strip_suffix(usual).unwrap_or(&host);
    format!("{scheme}://{host}{}", decoded(path).trim_end_matches('/'))
}

/// `%41` as `A`: some write what others escape.
fn decoded(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> Vec<String> {
        find(text).into_iter().map(|address| address.url).collect()
    }

    #[test]
    fn addresses_are_found_in_prose() {
        assert_eq!(
            urls("(https://x.org/a), https://x.org/b, and **http://y.z**; <https://z.org/c?d=e,f>."),
            [
                "https://x.org/a",
                "https://x.org/b",
                "http://y.z",
                "https://z.org/c?d=e,f"
            ]
        );
        assert_eq!(
            urls("see https://w.org/D_(crystal) (or https://w.org/E_(x)), [t](https://x.org/a_(b))!"),
            [
                "https://w.org/D_(crystal)",
                "https://w.org/E_(x)",
                "https://x.org/a_(b)"
            ]
        );
        assert!(urls("http, https://, xhttps://a.b and http:/x").is_empty());
    }

    #[test]
    fn a_mark_after_a_link_breaks_nothing() {
        let text = "[t](https://x.org/a) <https://x.org/b> (https://x.org/c)";
        let ends: Vec<_> = find(text).iter().map(|address| &text[..address.end]).collect();
        assert!(
            ends[0].ends_with("/a)") && ends[1].ends_with("/b>") && ends[2].ends_with("/c"),
            "{ends:?}"
        );
    }

    #[test]
    fn spellings_of_one_page_are_one() {
        for same in [
            "https://x.org/a%20b",
            "HTTPS://X.org:443/a b",
            "x.org/a b/",
            "https://x.org/%61%20b#c",
        ] {
            assert_eq!(normal(same), "https://x.org/a b", "{same}");
        }
        assert_eq!(normal("http://x.org:80"), "http://x.org");
        assert_eq!(normal("https://x.org/100%"), "https://x.org/100%");
        assert_ne!(normal("https://x.org/a"), normal("https://x.org/A"));
    }
}
