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

/// Links that lead out, wherever they begin, or nowhere; with what whoever reads through one is told.
const LINKS: [(&str, &str, &str); 6] = [
    ("links/up", "../secret.txt", "not-permitted"),
    ("links/folder", "..", "not-permitted"),
    ("links/absolute", "/etc/hostname", "not-permitted"),
    ("links/magic", "/proc/self/root", "not-permitted"),
    ("links/device", "/dev/zero", "not-permitted"),
    ("links/loop", "loop", "loop"),
];

/// All of them.
pub(crate) fn links() -> Case {
    let read = |path: &str| json!({ "do": "read", "root": "/links", "path": path });
    let names = LINKS.map(|(path, ..)| path.strip_prefix("links/").unwrap());
    let mut steps: Vec<Value> = names.iter().map(|name| read(name)).collect();
    steps.extend([read("folder/secret.txt"), read("magic/etc/hostname"), read("a.txt")]);
    let arguments = json!({ "steps": steps });
    let case = Case::call("links that lead out", Plugin::Built("probe-wasi"), "wasi", arguments);
    let case = case
        .file("secret.txt", "what is in no folder that is granted")
        .file("links/a.txt", "a paper")
        .allow("fs:{work}/links");
    let case = LINKS.iter().fold(case, |case, (path, to, _)| case.link(path, to));
    case.sees(|seen| {
        for ((path, _, code), told) in LINKS.iter().zip(seen) {
            assert_eq!(told["error"], *code, "{path}: {told}");
        }
        let [folder, magic, paper] = &seen[LINKS.len()..] else {
            panic!("{seen:?}")
        };
        assert_eq!(folder["error"], "not-permitted", "{folder}");
        assert_eq!(magic["error"], "not-permitted", "{magic}");
        assert_eq!(paper["ok"], "a paper", "{paper}");
    })
}
