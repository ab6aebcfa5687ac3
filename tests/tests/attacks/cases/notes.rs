//! Floods of the notes that agents share.

use hermes_tests::output::{message, refusal};
use hermes_tests::program::open;
use serde_json::{Value, json};

use super::Case;

pub(crate) fn put(space: u64, key: &str) -> Value {
    json!({ "do": "put", "space": space, "key": key, "value": "x" })
}

pub(crate) fn put_bytes(space: u64, key: &str, bytes: usize) -> Value {
    json!({ "do": "put-bytes", "space": space, "key": key, "bytes": bytes })
}

/// Panics unless each was refused, or not, as it should be.
#[track_caller]
pub(crate) fn refused(seen: &[Value], expected: &[Option<&str>]) {
    let refused: Vec<_> = seen.iter().map(refusal).collect();
    let refused: Vec<_> = refused.iter().map(Option::as_deref).collect();
    assert_eq!(refused, expected, "{seen:?}");
}

/// Keys and values to the last byte.
pub(crate) fn to_the_last_byte() -> Case {
    const INVALID: Option<&str> = Some("invalid-input");
    let steps = [
        open(),
        put(0, &"k".repeat(256)),
        put(0, &"k".repeat(257)),
        put(0, &"é".repeat(128)),
        put(0, &format!("{}k", "é".repeat(128))),
        put(0, ""),
        put_bytes(0, "value", 256 << 10),
        put_bytes(0, "value", (256 << 10) + 1),
        json!({ "do": "get", "space": 0, "key": "k".repeat(256) }),
    ];
    Case::steps("keys and values", steps).sees(|seen| {
        let seen = &seen[1..];
        refused(seen, &[None, INVALID, None, INVALID, INVALID, None, INVALID, None]);
        let said = |n: usize, words: &str| assert!(message(&seen[n]).contains(words), "{}", seen[n]);
        said(1, "256 bytes (limits.blackboard.key)");
        said(6, "262144 bytes (limits.blackboard.value)");
        assert_eq!(seen[7]["ok"]["version"], 1, "what was refused left all as it was");
    })
}

/// Keys that would hide something.
pub(crate) fn that_hide_something() -> Case {
    let odd = ["a\0b", "a\nb", "a\rb", "a\tb", "\u{7f}", "\u{85}", "\u{1b}[2J"];
    let steps: Vec<_> = [open()].into_iter().chain(odd.map(|key| put(0, key))).collect();
    Case::steps("keys that hide something", steps).sees(|seen| {
        refused(&seen[1..], &[Some("invalid-input"); 7]);
        let is_told = |seen: &Value| message(seen).contains("control characters");
        assert!(seen[1..].iter().all(is_told), "{seen:?}");
    })
}

/// Names that mean something to a file system mean nothing here.
pub(crate) fn of_a_file_system() -> Case {
    const NAMES: [&str; 6] = [
        "..",
        "../../host/hermes.db",
        "/nowhere/passwd",
        "a/./b",
        "%00",
        "'; DROP TABLE entry; --",
    ];
    let mut steps: Vec<_> = [open()].into_iter().chain(NAMES.map(|key| put(0, key))).collect();
    steps.push(json!({ "do": "keys", "space": 0, "prefix": "", "limit": 100 }));
    Case::steps("keys of a file system", steps).sees(|seen| {
        refused(&seen[1..], &[None; 7]);
        let mut sorted = NAMES;
        sorted.sort_unstable();
        assert_eq!(seen[7]["ok"], json!(sorted));
    })
}
