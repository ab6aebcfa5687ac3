//! The file of secrets: `secrets.json` in the home folder's `host`, of mode 0600, replaced whole at each change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use super::{Guessable, Secret, SecretError, check_guess, check_name, check_value};
use crate::egress::Place;
use crate::limits::Limits;
use crate::own_file::{self, Trust};

/// The file's format.
const FORMAT: u32 = 1;
/// The largest file, in bytes; what may be in it is less (`limits.secret.total`).
const MOST: u64 = 4 << 20;
/// Bytes of an entry beside its value and its place.
const ENTRY: usize = 256;

/// The file of secrets.
#[derive(Debug, Clone)]
pub struct SecretFile {
    dir: PathBuf,
}

/// What setting a secret came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Where it is put.
    pub place: Place,
    /// Whether there was one of this name, which is gone.
    pub replaced: bool,
}

/// The file's text as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    format: u32,
    secrets: Vec<Entry<Wiped>>,
}

/// The same as it is written.
#[derive(Serialize)]
struct Write<'a> {
    format: u32,
    secrets: Vec<Entry<&'a str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<T> {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    value: T,
    set_ms: u64,
}

/// A value as it is read, wiped also where the file is refused for what stands behind it.
struct Wiped(Zeroizing<String>);

impl<'de> Deserialize<'de> for Wiped {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|value| Self(Zeroizing::new(value)))
    }
}

impl SecretFile {
    /// The one in the home folder's `host`.
    pub fn in_dir(state_dir: &Path) -> Self {
        Self {
            dir: state_dir.to_owned(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.dir.join("secrets.json")
    }

    /// All secrets, by their names; none where there is no file.
    ///
    /// # Errors
    /// It can't be read, others may read it, or it is damaged.
    pub fn read(&self) -> Result<Vec<Secret>, SecretError> {
        let text = match own_file::read(&self.path(), MOST, Trust::Whole) {
            Err(error) if is_nowhere(&error) => return Ok(Vec::new()),
            text => text.map_err(|error| SecretError::Read {
                path: self.path(),
                error,
            })?,
        };
        let damaged = |what: String| SecretError::Damaged {
            path: self.path(),
            what,
        };
        // Where, and not what: the parser's words may hold what it found there.
        let read: Read =
            serde_json::from_str(&text).map_err(|e| damaged(format!("line {}, column {}", e.line(), e.column())))?;
        if read.format != FORMAT {
            return Err(damaged(format!(
                "it has format {}, and this host reads {FORMAT}",
                read.format
            )));
        }
        let mut secrets = Vec::with_capacity(read.secrets.len());
        for (at, entry) in read.secrets.into_iter().enumerate() {
            let secret = secret(entry).map_err(|what| damaged(format!("secret {}: {what}", at + 1)))?;
            secrets.push(secret);
        }
        secrets.sort_by(|a, b| a.name.cmp(&b.name));
        match secrets.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(damaged(format!("{} is in it twice", pair[0].name))),
            None => Ok(secrets),
        }
    }

    /// Sets a secret, in the place of one of that name. Without a place it goes where that one went, else into `Authorization: Bearer {}`.
    ///
    /// # Errors
    /// Name or value can't be used, all secrets together are too much, or the file can't be changed.
    pub fn set(
        &self,
        name: &str,
        value: Zeroizing<String>,
        place: Option<Place>,
        guessable: Guessable,
        at_ms: u64,
        limits: &Limits,
    ) -> Result<Set, SecretError> {
        check_name(name)?;
        check_value(&value, limits.secret_value)?;
        if guessable == Guessable::Refuse {
            check_guess(&value)?;
        }
        self.change(|secrets| {
            let before = secrets.iter().position(|secret| secret.name == name);
            let before = before.map(|at| secrets.remove(at));
            let replaced = before.is_some();
            let place = place.or(before.map(|secret| secret.place)).unwrap_or_default();
            secrets.push(Secret {
                name: name.to_owned(),
                place: place.clone(),
                set_ms: at_ms,
                value: Arc::new(value),
            });
            let total: u64 = secrets.iter().map(|secret| secret.value.len() as u64).sum();
            let most = limits.secret_total;
            match total <= most {
                true => Ok(Set { place, replaced }),
                false => Err(SecretError::Full { most }),
            }
        })
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// There is none, or the file can't be changed.
    pub fn remove(&self, name: &str) -> Result<(), SecretError> {
        self.change(|secrets| {
            let Some(at) = secrets.iter().position(|secret| secret.name == name) else {
                return Err(SecretError::missing(name, secrets.iter().map(|secret| &*secret.name)));
            };
            secrets.remove(at);
            Ok(())
        })
    }

    /// Reads, changes and writes, as no other process does meanwhile.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<Secret>) -> Result<T, SecretError>) -> Result<T, SecretError> {
        let lock = self.dir.join("secrets.lock");
        let _held = own_file::lock(&lock).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => SecretError::Busy { path: self.path() },
            _ => SecretError::Write { path: lock, error },
        })?;
        let mut secrets = self.read()?;
        let done = change(&mut secrets)?;
        secrets.sort_by(|a, b| a.name.cmp(&b.name));
        let path = self.path();
        own_file::replace(&path, &encoded(&secrets)).map_err(|error| SecretError::Write { path, error })?;
        Ok(done)
    }
}

/// Whether it is not there: where the home can't be, something else says so.
fn is_nowhere(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn secret(entry: Entry<Wiped>) -> Result<Secret, String> {
    let Wiped(value) = entry.value;
    check_name(&entry.name).map_err(|e| e.to_string())?;
    check_value(&value, u64::MAX).map_err(|e| e.to_string())?;
    let place = match (entry.header, entry.query) {
        (Some(header), None) => Place::header(&header).map_err(|e| e.to_string())?,
        (None, Some(key)) => Place::query(&key).map_err(|e| e.to_string())?,
        _ => return Err("it needs `header` or `query`, and one of them".to_owned()),
    };
    Ok(Secret {
        name: entry.name,
        place,
        set_ms: entry.set_ms,
        value: Arc::new(value),
    })
}

fn entry(secret: &Secret) -> Entry<&str> {
    let (header, query) = match &secret.place {
        Place::Header { name, before, after } => (Some(format!("{name}: {before}{{}}{after}")), None),
        Place::Query { key } => (None, Some(key.clone())),
    };
    Entry {
        name: secret.name.clone(),
        header,
        query,
        value: &secret.value,
        set_ms: secret.set_ms,
    }
}

/// The file's bytes, in memory that is wiped, and that has room for all of them from the beginning.
fn encoded(secrets: &[Secret]) -> Zeroizing<Vec<u8>> {
    let written = Write {
        format: FORMAT,
        secrets: secrets.iter().map(entry).collect(),
    };
    let places = |secret: &Secret| secret.place.to_string().len();
    // A value's quotes and backslashes are two bytes each.
    let room = secrets.iter().map(|s| ENTRY + 2 * (s.value.len() + places(s)));
    let mut bytes = Zeroizing::new(Vec::with_capacity(ENTRY + room.sum::<usize>()));
    serde_json::to_writer_pretty(&mut *bytes, &written).expect("names, texts and numbers are JSON");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const AT: u64 = 1_700_000_000_000;

    fn place() -> (tempfile::TempDir, SecretFile) {
        let dir = tempfile::tempdir().expect("a folder");
        let file = SecretFile::in_dir(&dir.path().join("home/host"));
        (dir, file)
    }

    fn set(file: &SecretFile, name: &str, value: &str, place: Option<Place>) -> Result<Set, SecretError> {
        let value = Zeroizing::new(value.to_owned());
        file.set(name, value, place, Guessable::Accept, AT, &Limits::default())
    }

    #[test]
    fn what_is_set_is_read_again() {
        let (_dir, file) = place();
        assert_eq!(file.read().expect("none yet"), []);
        let odd = r#"a "quoted" \value"#;
        assert!(!set(&file, "weather", odd, None).expect("set").replaced);
        let query = Place::query("key").expect("a parameter");
        set(&file, "maps", "0123456789", Some(query.clone())).expect("set");
        let secrets = file.read().expect("secrets");
        let seen: Vec<_> = secrets
            .iter()
            .map(|s| (&*s.name, s.value().as_str(), &s.place))
            .collect();
        assert_eq!(
            seen,
            [("maps", "0123456789", &query), ("weather", odd, &Place::default())]
        );
        assert!(!format!("{secrets:?}").contains("0123"));
        let mode = fs::metadata(file.path()).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Rotated, it goes where it went.
        let rotated = set(&file, "maps", "9876543210", None).expect("set");
        assert_eq!((rotated.place, rotated.replaced), (query, true));
        file.remove("weather").expect("removed");
        let left = file.read().expect("secrets");
        assert_eq!((left.len(), left[0].value().as_str()), (1, "9876543210"));
        let gone = file.remove("map").expect_err("none").to_string();
        assert!(gone.contains("did you mean maps?"), "{gone}");
    }

    #[test]
    fn all_together_have_a_cap() {
        let (_dir, file) = place();
        let mut limits = Limits::default();
        limits.set("secret.total", 24).expect("in range");
        let set = |name: &str, value: &str| {
            let value = Zeroizing::new(value.to_owned());
            file.set(name, value, None, Guessable::Accept, AT, &limits)
        };
        set("a", "0123456789abcdef").expect("set");
        set("b", "01234567").expect("at the cap");
        assert!(matches!(set("c", "01234567"), Err(SecretError::Full { most: 24 })));
        assert!(matches!(set("b", "012345678"), Err(SecretError::Full { most: 24 })));
        assert_eq!(file.read().expect("secrets").len(), 2);
    }

    #[test]
    fn what_others_could_read_or_have_put_there_is_refused() {
        let (dir, file) = place();
        set(&file, "a", "0123456789", None).expect("set");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).expect("set");
        for error in [file.read().map(drop), set(&file, "b", "0123456789", None).map(drop)] {
            let error = error.expect_err("exposed").to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        let other = dir.path().join("other");
        fs::rename(file.path(), &other).expect("moved");
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).expect("set");
        symlink(&other, file.path()).expect("linked");
        assert!(file.read().is_err());
    }

    #[test]
    fn a_damaged_file_is_told_without_what_is_in_it() {
        let (_dir, file) = place();
        set(&file, "a", "0123456789", None).expect("set");
        let good = fs::read_to_string(file.path()).expect("text");
        for bad in [
            &good[..good.len() / 2],
            "",
            &good.replace("\"format\": 1", "\"format\": 2"),
            &good.replace("\"name\": \"a\"", "\"name\": \"a b\""),
            &good.replace("0123456789", "01\\n3456789"),
            &good.replace(&AT.to_string(), "\"0123456789\""),
            &good.replace("\"header\"", "\"query\""),
            &good.replace("\"header\"", "\"value\""),
        ] {
            fs::write(file.path(), bad).expect("written");
            let error = file.read().expect_err(bad).to_string();
            assert!(error.contains("damaged") && !error.contains("3456789"), "{error}");
        }
    }

    /// Memory that was given back can't be looked at without `unsafe`; that the type of a value wipes it can be told.
    #[test]
    fn a_value_is_wiped_from_when_it_is_read() {
        fn is_wiped(_: &impl zeroize::ZeroizeOnDrop) {}
        let (_dir, file) = place();
        set(&file, "a", "0123456789", None).expect("set");
        let good = fs::read_to_string(file.path()).expect("text");
        let read: Read = serde_json::from_str(&good).expect("a file");
        let Wiped(value) = &read.secrets[0].value;
        is_wiped(value);
        assert_eq!(value.as_str(), "0123456789");
        is_wiped(&**file.read().expect("secrets")[0].value());
        is_wiped(&encoded(&file.read().expect("secrets")));
    }

    #[test]
    fn a_draft_that_was_left_is_in_nobodys_way() {
        let (_dir, file) = place();
        set(&file, "a", "0123456789", None).expect("set");
        fs::write(file.dir.join("secrets.json.draft"), "half").expect("written");
        set(&file, "b", "0123456789", None).expect("set");
        assert_eq!(file.read().expect("secrets").len(), 2);
        assert!(!file.dir.join("secrets.json.draft").exists());
    }

    #[test]
    fn changes_of_several_at_once_are_all_kept() {
        let (_dir, file) = place();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let file = &file;
                scope.spawn(move || set(file, &format!("s{n}"), "0123456789", None).expect("set"));
            }
        });
        assert_eq!(file.read().expect("secrets").len(), 8);
    }
}
