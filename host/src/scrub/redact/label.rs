//! Placeholders: what a redaction leaves in the text. One that stands in a text already is an atom: nothing is looked
//! for in it or across it, so that redacting twice changes nothing.

use std::collections::HashSet;
use std::ops::Range;

/// The longest placeholder, in bytes.
pub(super) const LABEL_MAX: usize = 80;
/// The longest part of a secret's name that a placeholder shows, in characters, which are ASCII.
const NAME_MAX: usize = LABEL_MAX - "[secret ]".len();

/// What a redacted stretch was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::scrub) enum Kind {
    Anthropic,
    Authorization,
    Aws,
    Credentials,
    GitHub,
    GitLab,
    Google,
    HuggingFace,
    Jwt,
    Npm,
    OpenAi,
    PrivateKey,
    PyPi,
    Slack,
    Stripe,
}

impl Kind {
    /// The text that takes its place.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Anthropic => "[redacted anthropic key]",
            Self::Authorization => "[redacted authorization]",
            Self::Aws => "[redacted aws key id]",
            Self::Credentials => "[redacted credentials]",
            Self::GitHub => "[redacted github token]",
            Self::GitLab => "[redacted gitlab token]",
            Self::Google => "[redacted google key]",
            Self::HuggingFace => "[redacted hugging face token]",
            Self::Jwt => "[redacted jwt]",
            Self::Npm => "[redacted npm token]",
            Self::OpenAi => "[redacted openai key]",
            Self::PrivateKey => "[redacted private key]",
            Self::PyPi => "[redacted pypi token]",
            Self::Slack => "[redacted slack token]",
            Self::Stripe => "[redacted stripe key]",
        }
    }

    const ALL: [Self; 15] = [
        Self::Anthropic,
        Self::Authorization,
        Self::Aws,
        Self::Credentials,
        Self::GitHub,
        Self::GitLab,
        Self::Google,
        Self::HuggingFace,
        Self::Jwt,
        Self::Npm,
        Self::OpenAi,
        Self::PrivateKey,
        Self::PyPi,
        Self::Slack,
        Self::Stripe,
    ];
}

/// The placeholder of the secret called `name`. Of a name it shows ASCII letters, digits, `_`, `-` and `.`; anything
/// else becomes `_`.
pub(in crate::scrub) fn secret(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "_-.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = name.chars().map(plain).take(NAME_MAX).collect();
    format!("[secret {name}]")
}

/// All placeholders of a run.
pub(in crate::scrub) struct Atoms {
    known: HashSet<Box<str>>,
}

impl Atoms {
    pub(in crate::scrub) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let kinds = Kind::ALL.iter().map(|kind| kind.label());
        Self {
            known: secrets.into_iter().chain(kinds).map(Box::from).collect(),
        }
    }

    /// Where placeholders stand in `text`, in order.
    pub(super) fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        memchr::memchr_iter(b'[', text.as_bytes()).filter_map(|start| {
            let rest = text.get(start..)?;
            if !rest.starts_with("[secret ") && !rest.starts_with("[redacted ") {
                return None;
            }
            let end = memchr::memchr(b']', crate::text::prefix(rest, LABEL_MAX).as_bytes())? + 1;
            self.known.contains(&rest[..end]).then_some(start..start + end)
        })
    }

    /// The longest prefix of `text` with at most `max` characters that ends in no placeholder.
    pub(in crate::scrub) fn prefix<'a>(&self, text: &'a str, max: usize) -> &'a str {
        let end = text.char_indices().nth(max).map_or(text.len(), |(at, _)| at);
        let cut = self.find(text).take_while(|atom| atom.start < end).last();
        let end = cut.filter(|atom| atom.end > end).map_or(end, |atom| atom.start);
        &text[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_placeholders_are_atoms() {
        let label = secret("A\u{e9}] b");
        assert_eq!(label, "[secret A___b]");
        let atoms = Atoms::new([label.as_str()]);
        let text = "[secret A___b][secret C][[redacted jwt] [redacted x] [secret [secret A___b]";
        let found: Vec<&str> = atoms.find(text).map(|range| &text[range]).collect();
        assert_eq!(found, ["[secret A___b]", "[redacted jwt]", "[secret A___b]"]);
    }

    #[test]
    fn no_placeholder_is_longer_than_the_limit() {
        assert_eq!(secret(&"é".repeat(200)).len(), LABEL_MAX);
        assert!(Kind::ALL.iter().all(|kind| kind.label().len() <= LABEL_MAX));
    }

    #[test]
    fn a_prefix_ends_in_no_placeholder() {
        let atoms = Atoms::new([]);
        let text = "éa[redacted jwt]b";
        assert_eq!(atoms.prefix(text, 2), "éa");
        assert_eq!(atoms.prefix(text, 15), "éa");
        assert_eq!(atoms.prefix(text, 16), "éa[redacted jwt]");
        assert_eq!(atoms.prefix(text, 99), text);
    }
}
