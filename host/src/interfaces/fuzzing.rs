//! A guest's path of any bytes.

use super::folders::{inside, joined};

/// What is read of a path by its text lies below where it starts, and is the same when it is read again.
pub fn path(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(path) = inside(&text) else { return };
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    assert!(path.is_empty() || path.split('/').all(is_plain), "{path}");
    assert_eq!(inside(&path).as_deref(), Some(path.as_str()));
    let below = joined("folder", &path);
    assert!(
        below == "folder" || below.strip_prefix("folder/") == Some(path.as_str()),
        "{below}"
    );
}
