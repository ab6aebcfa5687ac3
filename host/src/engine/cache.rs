//! What was made of components, on disk: their compiled code, what they answered when they were asked, and for which reason they can't be
//! compiled. Loading code trusts it with everything, so each entry carries a MAC under a key that only this user can read; an entry that does not
//! match is never loaded, and made again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::ids::Digest;
use crate::own_file::{self, Trust};

/// Bytes of the key and of a MAC.
const MAC: usize = 32;

/// The age at which no process writes a file any more.
const HALF_WRITTEN: Duration = Duration::from_secs(3600);

/// What an entry begins with.
const MAGIC: &[u8; 8] = b"hermesc2";

/// What a file takes on a disk at least.
const BLOCK: u64 = 4096;

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

/// What an entry holds, which its file's name tells people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A component's compiled code, which is run as it is: what is kept as anything else never becomes it.
    Code,
    /// What a component answered.
    Answer,
    /// Why nothing can be made of it.
    Refusal,
}

impl Kind {
    fn extension(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Answer => "answer",
            Self::Refusal => "refused",
        }
    }
}

/// What the cache has for a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// What this user's host put there.
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

    /// Whether there is a file of this name: for what only saves work, as it may hold anything.
    pub fn has(&self, name: &Digest, kind: Kind) -> bool {
        self.path(name, kind).symlink_metadata().is_ok()
    }

    /// What there is under `name`.
    pub fn load(&self, name: &Digest, kind: Kind) -> Lookup {
        let key = match &self.key {
            Ok(Some(key)) => key,
            Ok(None) => return Lookup::Miss,
            Err(why) => return Lookup::Unavailable(why.clone()),
        };
        let path = self.path(name, kind);
        // What is longer was not kept by this host, or by one that was allowed more: it is read by neither.
        let most = self.most.saturating_add((MAGIC.len() + MAC) as u64);
        let (file, bytes) = match read(&path, most) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Lookup::Miss,
            Err(why) => return Lookup::Rejected(format!("{}: {why}", path.display())),
        };
        match open_entry(bytes, key, name, kind) {
            Some(code) => {
                // The time of use decides what goes first when the cache is full.
                if self.use_of == Use::Write {
                    let _ = file.set_modified(SystemTime::now());
                }
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

    /// Keeps `bytes` under `name`: in a file of its own first, so that no half entry is ever seen. What is kept as [`Kind::Code`] will be run as it
    /// is: only what compiles calls this.
    ///
    /// # Errors
    /// The cache can't be written, and why.
    pub(super) fn store(&self, name: &Digest, kind: Kind, bytes: &[u8]) -> Result<(), String> {
        let Some(key) = self.key.as_ref().map_err(Clone::clone)? else {
            return Ok(());
        };
        if self.use_of == Use::Read || bytes.len() as u64 > self.most {
            return Ok(());
        }
        let why = |e: io::Error| format!("{}: {e}", self.dir.display());
        let temporary = temporary(&self.dir, &name.short()).map_err(why)?;
        let written = write(&temporary, &[MAGIC, mac(key, name, kind, bytes).as_bytes(), bytes])
            .and_then(|()| fs::rename(&temporary, self.path(name, kind)));
        if let Err(e) = written {
            let _ = fs::remove_file(&temporary);
            return Err(why(e));
        }
        self.shrink();
        Ok(())
    }

    /// Where what is kept under `name` lies.
    pub fn path(&self, name: &Digest, kind: Kind) -> PathBuf {
        self.dir.join(format!("{name}.{}", kind.extension()))
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
                let ours = [Kind::Code, Kind::Answer, Kind::Refusal]
                    .iter()
                    .any(|kind| is(kind.extension()));
                ours.then_some((modified, meta.len().next_multiple_of(BLOCK), path))
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

fn mac(key: &[u8; MAC], name: &Digest, kind: Kind, bytes: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    // What comes before the bytes has one length for each kind, and no kind's name begins another's.
    hasher.update(MAGIC).update(kind.extension().as_bytes());
    hasher.update(name.as_bytes()).update(bytes);
    hasher.finalize()
}

/// What an entry holds, if its MAC is right. The comparison takes the same time wherever it fails.
fn open_entry(mut bytes: Vec<u8>, key: &[u8; MAC], name: &Digest, kind: Kind) -> Option<Vec<u8>> {
    let head = MAGIC.len() + MAC;
    if bytes.len() < head || &bytes[..MAGIC.len()] != MAGIC {
        return None;
    }
    let held = bytes.split_off(head);
    let claimed: [u8; MAC] = bytes[MAGIC.len()..].try_into().ok()?;
    (mac(key, name, kind, &held) == claimed).then_some(held)
}

/// The key, made at first use. Only this user may read it, and write the folder that it lies in.
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
    let temporary = temporary(dir, "key").map_err(|e| why(&e))?;
    write(&temporary, &[&key]).map_err(|e| why(&e))?;
    // A link fails where another process was faster: then its key is the one.
    let linked = fs::hard_link(&temporary, &path);
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => Ok(key),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => read_key(&path)?.ok_or_else(|| why(&"it is no key")),
        Err(e) => Err(why(&e)),
    }
}

/// The key at `path`, where there is one.
fn read_key(path: &Path) -> Result<Option<[u8; MAC]>, String> {
    let why = |e: String| format!("{}: {e}", path.display());
    if let Some(meta) = path.parent().and_then(|dir| fs::metadata(dir).ok())
        && (meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0)
    {
        return Err(why("other users may write the folder that it lies in".to_owned()));
    }
    let Some((_, bytes)) = read(path, MAC as u64).map_err(why)? else {
        return Ok(None);
    };
    let key = bytes.try_into();
    let key = key.map_err(|_| why("it is no key; remove it, and the cache begins anew".to_owned()))?;
    Ok(Some(key))
}

/// The file at `path` and its bytes, if it is one of this user's alone and has at most `most`; none where there is none.
fn read(path: &Path, most: u64) -> Result<Option<(File, Vec<u8>)>, String> {
    let file = match own_file::open(OpenOptions::new().read(true), path, Trust::Whole) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    if length > most {
        return Err(format!(
            "it has {length} bytes, more than it may (limits.compile.cache)"
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    (&file).take(most).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(Some((file, bytes)))
}

/// A name for a file in `dir` that no other process has.
fn temporary(dir: &Path, of: &str) -> io::Result<PathBuf> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(dir.join(format!("{of}.{:016x}.tmp", u64::from_le_bytes(random))))
}

fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
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
        assert_eq!(cache(dir.path()).load(&name, Kind::Code), Lookup::Miss);
        cache(dir.path()).store(&name, Kind::Code, b"code").expect("stored");
        assert_eq!(cache(dir.path()).load(&name, Kind::Code), Lookup::Hit(b"code".to_vec()));
        assert_eq!(cache(dir.path()).load(&Digest::of(b"b"), Kind::Code), Lookup::Miss);
    }

    #[test]
    fn one_that_is_read_alone_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("cache");
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let reader = || Cache::open(&folder, 1 << 20, Use::Read);
        assert_eq!(reader().load(&a, Kind::Code), Lookup::Miss);
        reader().store(&a, Kind::Code, b"code").expect("passed over");
        assert!(!folder.exists());
        cache(dir.path()).store(&a, Kind::Code, b"code").expect("stored");
        assert_eq!(reader().load(&a, Kind::Code), Lookup::Hit(b"code".to_vec()));
        fs::copy(
            cache(dir.path()).path(&a, Kind::Code),
            cache(dir.path()).path(&b, Kind::Code),
        )
        .expect("copied");
        assert!(matches!(reader().load(&b, Kind::Code), Lookup::Rejected(_)));
        assert!(
            cache(dir.path()).path(&b, Kind::Code).exists(),
            "it stays for whoever may remove it"
        );
    }

    #[test]
    fn a_damaged_swapped_or_foreign_entry_is_rejected() {
        let dir = tempfile::tempdir().expect("a folder");
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let cache = cache(dir.path());
        let flip = |at: usize| {
            cache.store(&a, Kind::Code, b"code").expect("stored");
            let mut bytes = fs::read(cache.path(&a, Kind::Code)).expect("an entry");
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1;
            fs::write(cache.path(&a, Kind::Code), bytes).expect("written");
            cache.load(&a, Kind::Code)
        };
        for at in [0, 8, 39, 40, 1000] {
            assert!(matches!(flip(at), Lookup::Rejected(_)), "byte {at}");
        }
        cache.store(&a, Kind::Code, b"code").expect("stored");
        fs::copy(cache.path(&a, Kind::Code), cache.path(&b, Kind::Code)).expect("copied");
        assert!(
            matches!(cache.load(&b, Kind::Code), Lookup::Rejected(_)),
            "another component's code"
        );
        fs::remove_file(cache.path(&a, Kind::Code)).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", cache.path(&a, Kind::Code)).expect("linked");
        assert!(matches!(cache.load(&a, Kind::Code), Lookup::Rejected(_)), "a link");
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let dir = tempfile::tempdir().expect("a folder");
        // Two files on a disk.
        let cache = Cache::open(dir.path(), 2 * BLOCK, Use::Write);
        let names = [Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3")];
        for (i, name) in names.iter().enumerate() {
            cache.store(name, Kind::Code, &[0; 80]).expect("stored");
            let age = Duration::from_secs(100 - 10 * i as u64);
            let file = File::options().append(true).open(cache.path(name, Kind::Code));
            if let Ok(file) = file {
                file.set_modified(SystemTime::now() - age).expect("aged");
            }
        }
        cache.shrink();
        assert_eq!(cache.load(&names[0], Kind::Code), Lookup::Miss);
        for name in &names[1..] {
            assert!(matches!(cache.load(name, Kind::Code), Lookup::Hit(_)), "two fit");
        }
    }

    #[test]
    fn what_else_is_kept_of_a_component_is_never_its_code() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = cache(dir.path());
        let name = Digest::of(b"a");
        for kind in [Kind::Answer, Kind::Refusal] {
            cache.store(&name, kind, b"words").expect("stored");
            assert_eq!(cache.load(&name, kind), Lookup::Hit(b"words".to_vec()));
            assert!(cache.has(&name, kind) && !cache.has(&name, Kind::Code));
            assert_eq!(cache.load(&name, Kind::Code), Lookup::Miss);
            // Nor is it where it lies in the code's place.
            fs::copy(cache.path(&name, kind), cache.path(&name, Kind::Code)).expect("copied");
            assert!(matches!(cache.load(&name, Kind::Code), Lookup::Rejected(_)), "{kind:?}");
        }
    }

    #[test]
    fn what_is_no_file_is_not_waited_for_and_what_is_too_long_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = cache(dir.path());
        let name = Digest::of(b"a");
        let path = cache.path(&name, Kind::Code);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).expect("made");
        assert!(matches!(cache.load(&name, Kind::Code), Lookup::Rejected(_)), "a pipe");
        fs::remove_file(&path).expect("removed");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
        assert!(
            matches!(cache.load(&name, Kind::Code), Lookup::Rejected(_)),
            "a terabyte"
        );
    }

    #[test]
    fn a_folder_that_others_may_write_is_not_used() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("cache");
        assert_eq!(cache(dir.path()).load(&Digest::of(b"a"), Kind::Code), Lookup::Miss);
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o770)).expect("set");
        let found = cache(dir.path()).load(&Digest::of(b"a"), Kind::Code);
        assert!(matches!(found, Lookup::Unavailable(_)), "{found:?}");
    }
}
