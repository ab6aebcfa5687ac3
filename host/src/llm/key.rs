//! Keys of providers: read from a variable or from a private file, wiped when dropped, and never shown: a message says
//! where a key comes from, not what it is.

use std::fmt;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::own_file::{self, Trust};
use crate::text;

/// The longest key file that is read, in bytes.
const KEY_MAX: u64 = 16 * 1024;
/// The shortest key that is taken out of replies, in bytes. Servers without keys are given words like `none` and
/// `lm-studio`, which replies may well have in them.
const SECRET_MIN: usize = 12;
/// What stands in a key's place.
const HIDDEN: &str = "[key]";

/// A provider's key.
pub struct Key {
    value: Zeroizing<String>,
    source: KeySource,
}

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// This environment variable.
    Env(String),
    /// This file.
    File(PathBuf),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", text::path(path)),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(from {})", self.source)
    }
}

/// A key that can't be used. No variant holds any of its bytes.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read, or others may read it too.
    #[error("{} can't be read: {error}", text::path(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There is no key in it, or something that no header can carry.
    #[error("{source_} holds no usable key: it must be one line of visible ASCII characters")]
    Malformed {
        /// Where it came from.
        source_: KeySource,
    },
}

impl Key {
    /// The key in `value`, read from the environment variable `name`.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] where no header could carry it.
    pub fn from_env(name: &str, value: String) -> Result<Self, KeyError> {
        let value = Zeroizing::new(value);
        Self::new(&value, KeySource::Env(name.to_owned()))
    }

    /// The key in the file at `path`, which must be a regular file of ours with no rights for others.
    ///
    /// # Errors
    /// [`KeyError`], for each of these that doesn't hold.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let value = own_file::read(path, KEY_MAX, Trust::Linked).map_err(|error| KeyError::Read {
            path: path.to_owned(),
            error,
        })?;
        Self::new(&value, KeySource::File(path.to_owned()))
    }

    fn new(value: &str, source: KeySource) -> Result<Self, KeyError> {
        let trimmed = value.trim();
        if trimmed.is_empty() || !trimmed.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(KeyError::Malformed { source_: source });
        }
        Ok(Self {
            value: Zeroizing::new(trimmed.to_owned()),
            source,
        })
    }

    /// Where it comes from.
    pub fn source(&self) -> &KeySource {
        &self.source
    }

    /// A header value of `prefix` and the key, marked as sensitive so that nothing prints it.
    pub(super) fn header(&self, prefix: &str) -> HeaderValue {
        let text = Zeroizing::new(format!("{prefix}{}", self.value.as_str()));
        let mut value = HeaderValue::from_str(&text).expect("a key is visible ASCII, as checked when it was read");
        value.set_sensitive(true);
        value
    }

    /// `text` with each occurrence of the key replaced: providers repeat keys in their errors.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.value.as_str(), HIDDEN)
    }

    /// The key as it may be repeated, for whoever keeps it out of everything else; none where it is too short to be one.
    pub(super) fn secret(&self) -> Option<&str> {
        Some(self.value.as_str()).filter(|value| value.len() >= SECRET_MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_read_from_a_private_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        std::fs::write(&path, "sk-secret\n").expect("written");
        for (mode, good) in [(0o600, true), (0o644, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
            assert_eq!(Key::from_file(&path).is_ok(), good, "{mode:o}");
        }
        let none = Key::from_file(&dir.path().join("none"));
        assert!(matches!(none, Err(KeyError::Read { .. })));
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = Key::from_env("K", " sk-secret \n".to_owned()).expect("a key");
        assert!(!format!("{key:?} {:?} {}", key.header("Bearer "), key.source()).contains("secret"));
        assert_eq!(key.redact("bad sk-secret!"), "bad [key]!");
        assert_eq!(key.header("Bearer ").as_bytes(), b"Bearer sk-secret");
        for bad in ["", "  ", "a b", "a\u{e9}", "a\nb"] {
            assert!(Key::from_env("K", bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
