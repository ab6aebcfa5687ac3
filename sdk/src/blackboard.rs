//! Shared, persistent notes: named spaces that map keys to values with versions.

use crate::bindings::blackboard as host;
use crate::{Error, Media};

pub use host::{Change, Entry};

/// Keys that one call to the host answers at most.
const PAGE: u32 = 1000;

/// An open space.
#[derive(Debug)]
pub struct Space {
    handle: host::Space,
}

impl Space {
    /// Opens a space that this session was given, by its name.
    ///
    /// # Errors
    /// `denied` if it was not given, `rate-limited` with too many handles open.
    pub fn open(name: &str) -> Result<Self, Error> {
        Ok(Self {
            handle: host::open(name)?,
        })
    }

    /// The entry under `key`.
    ///
    /// # Errors
    /// A key outside the part of the space that was granted.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.handle.get(key)
    }

    /// The text under `key`; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// As for [`Space::get`].
    pub fn get_text(&self, key: &str) -> Result<Option<String>, Error> {
        Ok(self
            .get(key)?
            .map(|entry| String::from_utf8_lossy(&entry.value.data).into_owned()))
    }

    /// Writes an entry, whatever was there, and returns its version.
    ///
    /// # Errors
    /// `denied`, a value over the host's limit, or a full space.
    pub fn put(&self, key: &str, value: &Media) -> Result<u64, Error> {
        self.handle.put(key, value, None)
    }

    /// Writes a text, whatever was there.
    ///
    /// # Errors
    /// As for [`Space::put`].
    pub fn put_text(&self, key: &str, text: &str) -> Result<u64, Error> {
        self.put(key, &plain(text))
    }

    /// Writes an entry if its version is still `version`; 0 means that there is none.
    ///
    /// # Errors
    /// `conflict` if someone wrote it meanwhile: read it and try again.
    pub fn put_if(&self, key: &str, value: &Media, version: u64) -> Result<u64, Error> {
        self.handle.put(key, value, Some(version))
    }

    /// Writes a text under a new key, `prefix` and a suffix that sorts last, which it returns.
    ///
    /// # Errors
    /// As for [`Space::put`].
    pub fn append_text(&self, prefix: &str, text: &str) -> Result<String, Error> {
        self.handle.append(prefix, &plain(text))
    }

    /// Removes an entry, if it is there.
    ///
    /// # Errors
    /// `denied`.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        self.handle.delete(key, None)
    }

    /// All keys that start with `prefix`, at most `limit`, in byte order.
    ///
    /// # Errors
    /// `denied`.
    pub fn keys(&self, prefix: &str, limit: usize) -> Result<Vec<String>, Error> {
        let mut keys: Vec<String> = vec![];
        while keys.len() < limit {
            let wanted = u32::try_from(limit - keys.len()).unwrap_or(PAGE).min(PAGE);
            let page = self.handle.keys(prefix, keys.last().map(String::as_str), wanted)?;
            if page.is_empty() {
                break;
            }
            keys.extend(page);
        }
        Ok(keys)
    }

    /// What was written under `prefix` after version `since`, each key once, waiting up to `wait_ms` for a first change.
    ///
    /// # Errors
    /// `denied`, `cancelled`.
    pub fn changes(&self, prefix: &str, since: u64, wait_ms: u32) -> Result<Vec<Change>, Error> {
        self.handle.changes(prefix, since, wait_ms)
    }
}

fn plain(text: &str) -> Media {
    Media {
        media_type: "text/plain; charset=utf-8".into(),
        data: text.as_bytes().to_vec(),
    }
}
