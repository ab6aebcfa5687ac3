//! Components that differ a little from those that are built: in their bytes alone, in a text of theirs, or by a manifest.

use std::path::{Path, PathBuf};

use crate::Home;

/// A copy of the component at `path` with a custom section more: other bytes, the same behaviour.
pub fn rebuilt(home: &Home, path: &Path) -> PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    bytes.extend(section("hermes-tests", "rebuilt"));
    home.write(&named(path), bytes)
}

/// A copy of the component at `path`, which has no manifest, with this one inside, as `file` of the working folder.
pub fn wanting(home: &Home, path: &Path, file: &str, manifest: &str) -> PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    bytes.extend(section("hermes:manifest", manifest));
    home.write(file, bytes)
}

/// A custom section.
fn section(name: &str, text: &str) -> Vec<u8> {
    let content = [number(name.len()), name.into(), text.into()].concat();
    [vec![0], number(content.len()), content].concat()
}

/// LEB128.
fn number(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(n & 0x7f).unwrap();
        n >>= 7;
        if n == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
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
