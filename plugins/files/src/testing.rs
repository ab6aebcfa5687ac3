//! Real files in a folder of their own, for tests.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::disk::{Disk, Entry, Fault, Kind, Listing};

/// Granted folders below one that is removed when dropped.
pub(crate) struct Folder {
    base: PathBuf,
    roots: Vec<String>,
}

impl Folder {
    pub(crate) fn new(roots: &[&str], files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = std::env::temp_dir().join(format!("files-plugin-{}-{number}", std::process::id()));
        for root in roots {
            fs::create_dir_all(base.join(root)).unwrap();
        }
        for (path, text) in files {
            let path = base.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self {
            base,
            roots: roots.iter().map(|root| (*root).to_owned()).collect(),
        }
    }

    /// Where a file or folder is on the machine.
    pub(crate) fn on_disk(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    fn at(&self, root: usize, path: &str) -> PathBuf {
        self.base.join(&self.roots[root]).join(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.base));
    }
}

impl Disk for Folder {
    type File = File;

    fn roots(&self) -> &[String] {
        &self.roots
    }

    fn entries(&self, root: usize, path: &str, most: usize) -> Result<Listing, Fault> {
        let mut entries = fs::read_dir(self.at(root, path)).map_err(|_| Fault::Missing)?;
        Ok(Listing::collect(most, || {
            let Some(entry) = entries.next() else { return Ok(None) };
            let entry = entry.unwrap();
            let kind = match entry.file_type().unwrap() {
                kind if kind.is_dir() => Kind::Folder,
                kind if kind.is_symlink() => Kind::Link,
                _ => Kind::File,
            };
            let name = entry.file_name().into_string();
            let name = name.map_err(|name| Fault::Failed(format!("{name:?} is no text")))?;
            Ok(Some(Entry { name, kind }))
        }))
    }

    fn open(&self, root: usize, path: &str) -> Result<File, Fault> {
        let path = self.at(root, path);
        if path.is_dir() {
            return Err(Fault::Folder);
        }
        File::open(path).map_err(|_| Fault::Missing)
    }

    fn read(&self, file: &File, offset: u64, length: usize) -> Result<(Vec<u8>, bool), Fault> {
        let mut bytes = vec![0; length];
        let count = file
            .read_at(&mut bytes, offset)
            .map_err(|error| Fault::Failed(error.to_string()))?;
        bytes.truncate(count);
        Ok((bytes, count == 0))
    }
}
