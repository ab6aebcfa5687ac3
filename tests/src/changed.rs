//! Components that differ a little from those that are built: in their bytes alone, or in a text of theirs.

use std::path::{Path, PathBuf};

use crate::Home;

/// A copy of the component at `path` with a custom section more: other bytes, the same behaviour.
pub fn rebuilt(home: &Home, path: &Path) -> PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    let name = b"hermes-tests";
    let section = [&[u8::try_from(name.len()).unwrap()], &name[..], b"rebuilt"].concat();
    bytes.push(0);
    bytes.push(u8::try_from(section.len()).unwrap());
    bytes.extend(section);
    home.write(&named(path), bytes)
}

/// A copy in which `text` is `other` wherever it stands; both have the same length.
pub fn saying(home: &Home, path: &Path, text: &str, other: &str) -> PathBuf {
    assert_eq!(text.len(), other.len());
    let mut bytes = std::fs::read(path).unwrap();
    let mut found = 0;
    for at in 0..bytes.len() - text.len() {
        if bytes[at..].starts_with(text.as_bytes()) {
            bytes[at..at + text.len()].copy_from_slice(other.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{} does not say {text:?}", path.display());
    home.write(&named(path), bytes)
}

/// Below a folder of its own, so that it is called as it was.
fn named(path: &Path) -> String {
    format!("changed/{}", path.file_name().unwrap().to_string_lossy())
}
