//! Paths that would lead a tool out of the folder that it was granted.

use serde_json::{Value, json};

use super::{Case, Plugin};

/// Paths that lead out by their words alone, with what whoever reads one is told.
const OUT: [(&str, &str); 8] = [
    ("../secret.txt", "not-permitted"),
    ("./././../secret.txt", "not-permitted"),
    ("sub/../../secret.txt", "not-permitted"),
    ("..", "not-permitted"),
    ("/etc/hostname", "not-permitted"),
    ("//etc/hostname", "not-permitted"),
    ("a\0/../../secret.txt", "invalid"),
    ("", "no-entry"),
];

/// All of them.
pub(crate) fn lead_out() -> Case {
    let read = |(path, _): &(&str, &str)| json!({ "do": "read", "root": "/paths", "path": path });
    let steps: Vec<Value> = OUT.iter().map(read).collect();
    let arguments = json!({ "steps": steps });
    let case = Case::call("paths that lead out", Plugin::Built("probe-wasi"), "wasi", arguments);
    let case = case
        .file("secret.txt", "what is in no folder that is granted")
        .file("paths/sub/a.txt", "a paper")
        .allow("fs:{work}/paths");
    case.sees(|seen| {
        assert_eq!(seen.len(), OUT.len());
        for ((path, code), told) in OUT.iter().zip(seen) {
            assert_eq!(told["error"], *code, "{path:?}: {told}");
        }
    })
}
