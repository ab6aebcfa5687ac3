//! HTML as a stream of tags and texts. It takes what browsers take, and never fails.

/// A piece of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Text as it stands, references included.
    Text(&'a str),
    /// A tag that opens, its name in lower case, its attributes as they stand.
    Open(String, &'a str),
    /// A tag that closes.
    Close(String),
}

/// Elements whose content is no markup; it is passed by, but for a title's.
const RAW: [&str; 7] = ["script", "style", "noscript", "template", "svg", "iframe", "textarea"];

/// The pieces of a page, one after the other.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(page: &'a str) -> Self {
        Self { rest: page }
    }

    /// The tag at the beginning of the rest; none where `<` is only text.
    fn tag(&mut self) -> Option<Token<'a>> {
        let inner = self.rest.strip_prefix('<')?;
        let (closing, inner) = inner.strip_prefix('/').map_or((false, inner), |inner| (true, inner));
        if !inner.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let end = tag_end(inner);
        let (tag, after) = (&inner[..end], inner.get(end + 1..).unwrap_or_default());
        let name_end = tag.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(tag.len());
        let (name, attributes) = (tag[..name_end].to_ascii_lowercase(), &tag[name_end..]);
        self.rest = after;
        if closing {
            return Some(Token::Close(name));
        }
        if RAW.contains(&name.as_str()) && !attributes.trim_end().ends_with('/') {
            self.skip_past_close(&name);
        }
        Some(Token::Open(name, attributes))
    }

    fn skip_past_close(&mut self, name: &str) {
        let mut from = 0;
        while let Some(at) = self.rest[from..].find("</").map(|at| at + from) {
            let after = &self.rest[at + 2..];
            let is_it = after
                .get(..name.len())
                .is_some_and(|found| found.eq_ignore_ascii_case(name));
            if is_it {
                self.rest = after.find('>').map_or("", |end| &after[end + 1..]);
                return;
            }
            from = at + 2;
        }
        self.rest = "";
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            if let Some(comment) = self.rest.strip_prefix("<!--") {
                self.rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            } else if self.rest.starts_with("<!") || self.rest.starts_with("<?") {
                self.rest = self.rest.find('>').map_or("", |end| &self.rest[end + 1..]);
            } else if let Some(tag) = self.tag() {
                return Some(tag);
            } else {
                // A `<` that begins no tag is text, with what follows it.
                let begin = usize::from(self.rest.starts_with('<'));
                let end = self.rest[begin..].find('<').map_or(self.rest.len(), |end| begin + end);
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Some(Token::Text(text));
            }
        }
    }
}

/// Where a tag ends: the first `>` outside of quotation marks.
fn tag_end(tag: &str) -> usize {
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (None, '>') => return at,
            (None, '"' | '\'') if tag[..at].trim_end().ends_with('=') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    // A quotation mark that never closes ends with the tag, not with the page.
    tag.find('>').unwrap_or(tag.len())
}

/// The value of an attribute, references replaced.
pub(crate) fn attribute(attributes: &str, name: &str) -> Option<String> {
    let mut rest = attributes.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '=' || c == '/')
            .unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let (value, after) = match after.trim_start().strip_prefix('=') {
            None => ("", after),
            Some(after) => value(after.trim_start()),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(crate::entity::decode(value));
        }
        let skipped = after.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        // What is neither name nor separator is passed by, so that this always ends.
        rest = if skipped.len() == rest.len() {
            &rest[rest.ceil_char_boundary(1)..]
        } else {
            skipped
        };
    }
    None
}

fn value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.split_once(quote).unwrap_or((inner, ""));
        }
    }
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_become_tokens() {
        let page = "<!doctype html><!-- <b> --><P class='a>b'>x < y<br/>é</P><script>if (a<b) '</p>'</script>z";
        let tokens: Vec<_> = Tokens::new(page).collect();
        let open = |name: &str, attributes| Token::Open(name.to_owned(), attributes);
        assert_eq!(
            tokens,
            [
                open("p", " class='a>b'"),
                Token::Text("x "),
                Token::Text("< y"),
                open("br", "/"),
                Token::Text("é"),
                Token::Close("p".into()),
                open("script", ""),
                Token::Text("z"),
            ]
        );
    }

    #[test]
    fn broken_pages_end() {
        for page in [
            "<",
            "<a",
            "<a href=\"x>y",
            "<!--",
            "</",
            "<script>",
            "<é",
            "<a ===>",
            "x<",
            "<a \"\"\"b>",
        ] {
            assert!(Tokens::new(page).count() < 10, "{page}");
        }
        for attributes in ["=", "a = = b", "\"", "'é", "é=", "= =", "/ /"] {
            assert_eq!(attribute(attributes, "href"), None);
        }
    }

    #[test]
    fn attributes_are_found() {
        let attributes = " id=x HREF = \"/a?b&amp;c\" checked title='t u'";
        assert_eq!(attribute(attributes, "href").as_deref(), Some("/a?b&c"));
        assert_eq!(attribute(attributes, "title").as_deref(), Some("t u"));
        assert_eq!(attribute(attributes, "checked").as_deref(), Some(""));
        assert_eq!(attribute(attributes, "id").as_deref(), Some("x"));
    }
}
