//! What was made of components, on disk: their compiled code, and what they answered when they were asked. Loading code trusts it with
//! everything, so each entry carries a MAC under a key that only this user can read; an entry that does not match is never loaded, and made
//! again.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::ids::Digest;

/// Bytes of the key and of a MAC.
const MAC: usize = 32;

/// The age at which no process writes a file any more.
const HALF_WRITTEN: Duration = Duration::from_secs(3600);

/// What an entry begins with.
const MAGIC: &[u8; 8] = b"hermesc1";

/// The cache of one home folder.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    most: u64,
    use_of: Use,
    key: Result<Option<[u8; MAC]>, String>,
}

/// What a cache is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Entries are read and made.
    Write,
    /// Entries are read; nothing in the folder changes.
    Read,
}

/// What the cache has for a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Code that this user's host compiled.
    Hit(Vec<u8>),
    /// Nothing.
    Miss,
    /// Something that must not be loaded, and why.
    Rejected(String),
    /// The cache can't be used at all, and why.
    Unavailable(String),
}

impl Cache {
    /// The cache in `dir` of at most `most` bytes. To be written, it is made where it is missing.
    pub fn open(dir: &Path, most: u64, use_of: Use) -> Self {
        Self {
            dir: dir.to_owned(),
            most,
            use_of,
            key: match use_of {
                Use::Write => key(dir).map(Some),
                Use::Read => read_key(&dir.join("key")),
            },
        }
    }

    /// What there is under `name`.
    pub fn load(&self, name: &Digest) -> Lookup {
        let key = match &self.key {
            Ok(Some(key)) => key,
            Ok(None) => return Lookup::Miss,
            Err(why) => return Lookup::Unavailable(why.clone()),
        };
        let path = self.path(name);
        let bytes = match read(&path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Lookup::Miss,
            Err(why) => return Lookup::Rejected(why),
        };
        match open_entry(bytes, key, name) {
            Some(code) if self.use_of == Use::Read => Lookup::Hit(code),
            Some(code) => {
                // The time of use decides what goes first when the cache is full.
                let _ = File::options()
                    .append(true)
                    .open(&path)
                    .and_then(|f| f.set_modified(SystemTime::now()));
                Lookup::Hit(code)
            }
            None => {
                if self.use_of == Use::Write {
                    let _ = fs::remove_file(&path);
                }
                Lookup::Rejected(format!("{} is damaged, or not ours", path.display()))
            }
        }
    }

    /// Keeps `code` under `name`: in a file of its own first, so that no half entry is ever seen.
    ///
    /// # Errors
    /// The cache can't be written, and why.
    pub fn store(&self, name: &Digest, code: &[u8]) -> Result<(), String> {
        let Some(key) = self.key.as_ref().map_err(Clone::clone)? else {
            return Ok(());
        };
        if self.use_of == Use::Read || code.len() as u64 > self.most {
            return Ok(());
        }
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(|e| e.to_string())?;
        let temporary = self
            .dir
            .join(format!("{}.{:016x}.tmp", name.short(), u64::from_le_bytes(random)));
        let written = write(&temporary, &[MAGIC, mac(key, name, code).as_bytes(), code])
            .and_then(|()| fs::rename(&temporary, self.path(name)));
        if let Err(e) = written {
            let _ = fs::remove_file(&temporary);
            return Err(format!("{}: {e}", self.dir.display()));
        }
        self.shrink();
        Ok(())
    }

    fn path(&self, name: &Digest) -> PathBuf {
        self.dir.join(format!("{name}.code"))
    }

    /// Removes what was not used for longest, until the rest fits, and what a process that was killed left half written.
    fn shrink(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let meta = entry.metadata().ok()?;
                let (path, modified) = (entry.path(), meta.modified().ok()?);
                let is = |extension: &str| path.extension().is_some_and(|e| e == extension);
                if is("tmp") && modified.elapsed().is_ok_and(|age| age > HALF_WRITTEN) {
                    let _ = fs::remove_file(&path);
                }
                is("code").then_some((modified, meta.len(), path))
            })
            .collect();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        files.sort();
        for (_, size, path) in files {
            if total <= self.most {
                return;
            }
            if fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
    }
}

fn mac(key: &[u8; MAC], name: &Digest, code: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(MAGIC).update(name.as_bytes()).update(code);
    hasher.finalize()
}

/// An entry's code, if its MAC is right. The comparison takes the same time wherever it fails.
fn open_entry(mut bytes: Vec<u8>, key: &[u8; MAC], name: &Digest) -> Option<Vec<u8>> {
    let head = MAGIC.len() + MAC;
    if bytes.len() < head || &bytes[..MAGIC.len()] != MAGIC {
        return None;
    }
    let code = bytes.split_off(head);
    let claimed: [u8; MAC] = bytes[MAGIC.len()..].try_into().ok()?;
    (mac(key, name, &code) == claimed).then_some(code)
}

/// The key, made at first use. Only this user may read it.
fn key(dir: &Path) -> Result<[u8; MAC], String> {
    let path = dir.join("key");
    let why = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| why(&e))?;
    if let Some(key) = read_key(&path)? {
        return Ok(key);
    }
    let mut key = [0u8; MAC];
    getrandom::fill(&mut key).map_err(|e| why(&e))?;
    let temporary = dir.join(format!("key.{}.tmp", std::process::id()));
    write(&temporary, &[&key]).map_err(|e| why(&e))?;
    // A link fails where another process was faster: then its key is the one.
    let linked = fs::hard_link(&temporary, &path);
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => Ok(key),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => read_key(&path)?.ok_or_else(|| why(&"it is no key")),
        Err(e) => Err(why(&e)),
    }
}

/// The key at `path`, where there is one.
fn read_key(path: &Path) -> Result<Option<[u8; MAC]>, String> {
    let what = "it is no key; remove it, and the cache begins anew";
    let no_key = |_| format!("{}: {what}", path.display());
    read(path)?.map(|bytes| bytes.try_into().map_err(no_key)).transpose()
}

/// A file's bytes, if it is a regular file of this user that no other may write; none where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let why = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = match OpenOptions::new().read(true).custom_flags(no_follow).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(why(&e)),
    };
    let meta = file.metadata().map_err(|e| why(&e))?;
    if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        return Err(why(&"it is not a file of this user alone"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default());
    file.read_to_end(&mut bytes).map_err(|e| why(&e))?;
    Ok(Some(bytes))
}

fn write(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(dir: &Path) -> Cache {
        Cache::open(&dir.join("cache"), 1 << 20, Use::Write)
    }

    #[test]
    fn what_was_kept_is_found_by_another_process_of_the_user() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = Digest::of(b"a");
        assert_eq!(cache(dir.path()).load(&name), Lookup::Miss);
        cache(dir.path()).store(&name, b"code").expect("stored");
        assert_eq!(cache(dir.path()).load(&name), Lookup::Hit(b"code".to_vec()));
        assert_eq!(cache(dir.path()).load(&Digest::of(b"b")), Lookup::Miss);
    }

    #[test]
    fn one_that_is_read_alone_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("cache");
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let reader = || Cache::open(&folder, 1 << 20, Use::Read);
        assert_eq!(reader().load(&a), Lookup::Miss);
        reader().store(&a, b"code").expect("passed over");
        assert!(!folder.exists());
        cache(dir.path()).store(&a, b"code").expect("stored");
        assert_eq!(reader().load(&a), Lookup::Hit(b"code".to_vec()));
        fs::copy(cache(dir.path()).path(&a), cache(dir.path()).path(&b)).expect("copied");
        assert!(matches!(reader().load(&b), Lookup::Rejected(_)));
        assert!(
            cache(dir.path()).path(&b).exists(),
            "it stays for whoever may remove it"
        );
    }

    #[test]
    fn a_damaged_swapped_or_foreign_entry_is_rejected() {
        let dir = tempfile::tempdir().expect("a folder");
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let cache = cache(dir.path());
        let flip = |at: usize| {
            cache.store(&a, b"code").expect("stored");
            let mut bytes = fs::read(cache.path(&a)).expect("an entry");
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1;
            fs::write(cache.path(&a), bytes).expect("written");
            cache.load(&a)
        };
        for at in [0, 8, 39, 40, 1000] {
            assert!(matches!(flip(at), Lookup::Rejected(_)), "byte {at}");
        }
        cache.store(&a, b"code").expect("stored");
        fs::copy(cache.path(&a), cache.path(&b)).expect("copied");
        assert!(
            matches!(cache.load(&b), Lookup::Rejected(_)),
            "another component's code"
        );
        fs::remove_file(cache.path(&a)).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", cache.path(&a)).expect("linked");
        assert!(matches!(cache.load(&a), Lookup::Rejected(_)), "a link");
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(dir.path(), 250, Use::Write);
        let names = [Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3")];
        for (i, name) in names.iter().enumerate() {
            cache.store(name, &[0; 80]).expect("stored");
            let age = Duration::from_secs(100 - 10 * i as u64);
            let file = File::options().append(true).open(cache.path(name));
            if let Ok(file) = file {
                file.set_modified(SystemTime::now() - age).expect("aged");
            }
        }
        cache.shrink();
        assert_eq!(cache.load(&names[0]), Lookup::Miss);
        assert!(matches!(cache.load(&names[2]), Lookup::Hit(_)));
    }
}
