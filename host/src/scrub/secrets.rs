//! The secrets of a run, and redaction of short texts.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::clean::Cleaner;
use super::redact::{Redactor, Rules, WINDOW, placeholder};
use super::secret::SPAN;
use super::through;
use crate::text;

/// Bytes behind those that are kept of a text in which the end of a secret is looked for that begins before: no form of one takes up more.
pub const BEHIND: usize = SPAN;

/// What was found: how people call it, without what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'a> {
    /// The operator's secret of this name.
    Secret(&'a str),
    /// The key of the provider of this name.
    Key(&'a str),
}

impl Known<'_> {
    /// The name, as its placeholder `[secret NAME]` shows it too.
    pub fn name(&self) -> &str {
        match self {
            Self::Secret(name) | Self::Key(name) => name,
        }
    }

    /// What stands in its place.
    pub fn placeholder(&self) -> String {
        placeholder(self.name())
    }

    /// How it gets to where it belongs, in words for the plugin that would have sent it. No flag lets a plugin hand it on, and so none is offered.
    pub fn way(&self) -> &'static str {
        match self {
            Self::Secret(_) => "the host alone puts it into requests, where that is granted",
            Self::Key(_) => "the host alone sends it, and to that provider alone",
        }
    }

    /// The same for the operator, who can grant that.
    pub fn way_to_grant(&self) -> String {
        match self {
            Self::Secret(name) => format!("the host alone puts it into requests, with --allow secret:{name}@HOST"),
            Self::Key(_) => self.way().to_owned(),
        }
    }
}

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "the secret {name}"),
            Self::Key(name) => write!(f, "the key of the provider {name}"),
        }
    }
}

/// The secrets of a run, compiled once; a clone shares them.
///
/// A value is looked for as it is and in the encodings that tools and models produce: base64 in both alphabets and at
/// any offset, hex (also as `AB:CD`, `ab cd`, or broken into lines), percent-encoding, JSON escapes, and HTML's. White space
/// around a value is ignored. A value shorter than 8 bytes is looked for as it is only, one shorter than 4 bytes not at
/// all. Of a value longer than 16 KiB, only the first 16 KiB are looked for.
///
/// The values are wiped from memory once they are compiled. The compiled searches hold them in pieces and can't be wiped.
#[derive(Clone)]
pub struct Secrets {
    names: Arc<[String]>,
    /// How many of them are of the operator's secrets. The others are of providers, for their keys.
    operators: usize,
    rules: Arc<Rules>,
}

impl Secrets {
    /// Secrets, each with the name that its placeholder `[secret NAME]` shows and its value. Memory is about a kilobyte
    /// for each byte of a value.
    pub fn new(named: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::and_keys(named, [])
    }

    /// Secrets, and keys under the names of their providers, whose placeholders are the same. A value that is both is the secret.
    pub fn and_keys(
        secrets: impl IntoIterator<Item = (String, String)>,
        keys: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let wiped = |(name, value): (String, String)| (name, Zeroizing::new(value));
        let (mut names, mut values): (Vec<_>, Vec<_>) = secrets.into_iter().map(wiped).unzip();
        let operators = names.len();
        for (name, key) in keys.into_iter().map(wiped) {
            names.push(name);
            values.push(key);
        }
        Self {
            operators,
            rules: Arc::new(Rules::new(&names, &values)),
            names: names.into(),
        }
    }

    /// No secrets: only keys of known shapes are redacted.
    pub fn none() -> Self {
        Self::new([])
    }

    /// The whole of `text`, cleaned and redacted. Redacting twice changes nothing.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let (redacted, _) = self.redact_counted(text, WINDOW);
        if redacted == text {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(redacted)
        }
    }

    /// The first secret for which [`Self::redact`] puts something else.
    pub fn replaced_in(&self, text: &str) -> Option<Known<'_>> {
        if self.is_empty() {
            return None;
        }
        let (_, mut redactor) = self.redacted(text, WINDOW);
        redactor.take_secret().map(|owner| self.known(owner))
    }

    /// Whether [`Self::redact`] would change nothing.
    pub fn is_clean(&self, text: &str) -> bool {
        matches!(self.redact(text), Cow::Borrowed(_))
    }

    /// The text as it is where nothing in it is a secret, and as [`Self::redact`] gives it where something is. For texts that a person
    /// reads and that nobody steers by what can't be seen.
    pub fn without_secrets<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact_counted(text, WINDOW) {
            (_, 0) => Cow::Borrowed(text),
            (redacted, _) => Cow::Owned(redacted),
        }
    }

    /// The first `most` bytes of a text without secrets, and how many bytes are missing. Secrets are looked for before it is cut, in [`BEHIND`] more bytes and no
    /// others, so that nothing is left of one that goes on behind the cut. Nothing but a whole one changes what is left: a guest sees how long that is.
    pub fn beginning<'a>(&self, text: &'a str, most: usize) -> (Cow<'a, str>, usize) {
        let near = text::prefix(text, most.saturating_add(BEHIND));
        let behind = text.len() - near.len();
        // At the end of what is looked at there may be less than a whole one: with what can't be seen in it, it would be longer than any.
        let (clean, open) = match behind {
            0 => (self.without_secrets(near), 0),
            _ => (self.redact(near), BEHIND),
        };
        let known = clean.len().saturating_sub(open);
        let kept = text::prefix(&clean, known.min(most)).len();
        let missing = clean.len() - kept + behind;
        let clean = match clean {
            Cow::Borrowed(clean) => Cow::Borrowed(&clean[..kept]),
            Cow::Owned(mut clean) => {
                clean.truncate(kept);
                Cow::Owned(clean)
            }
        };
        (clean, missing)
    }

    /// One line of at most `max` characters, as `text::line` gives it, where secrets are looked for before it is cut.
    pub fn line(&self, text: &str, max: usize) -> String {
        // No character takes more than 4 bytes.
        let (near, missing) = self.beginning(text, max.saturating_add(1).saturating_mul(4));
        let end = if missing > 0 { "…" } else { "" };
        text::line(&format!("{near}{end}"), max)
    }

    /// As [`Self::redact`], through a window of so many bytes, with the number of replacements.
    pub(super) fn redact_counted(&self, text: &str, window: usize) -> (String, u64) {
        let (out, redactor) = self.redacted(text, window);
        (out, redactor.count())
    }

    fn redacted(&self, text: &str, window: usize) -> (String, Redactor) {
        let mut out = String::with_capacity(text.len());
        let mut keep = |piece: &str| out.push_str(piece);
        let redactor = through(text.len(), || {
            // A short text needs no large window.
            let mut redactor = Redactor::new(&self.rules, window.min(text.len()));
            Cleaner::default().push(text, &mut |piece| redactor.push(&self.rules, piece, &mut keep));
            redactor.finish(&self.rules, &mut keep);
            redactor
        });
        (out, redactor)
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The secret with this index.
    pub(super) fn known(&self, owner: u32) -> Known<'_> {
        let (at, name) = (owner as usize, &self.names[owner as usize]);
        if at < self.operators {
            Known::Secret(name)
        } else {
            Known::Key(name)
        }
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.names).finish()
    }
}
