//! Paths that would lead a tool out of the folder that it was granted.

use serde_json::{Value, json};

use super::{Case, Plugin};

/// Paths that lead out by their words alone, with what whoever reads one is told.
const OUT: [(&str, &str); 9] = [
    ("../secret.txt", "not-permitted"),
    ("./././../secret.txt", "not-permitted"),
    ("sub/../../secret.txt", "not-permitted"),
    ("..", "not-permitted"),
    ("/etc/hostname", "not-permitted"),
    ("//etc/hostname", "not-permitted"),
    ("a\0/../../secret.txt", "not-permitted"),
    ("a\0/secret.txt", "invalid"),
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

/// What a tool does with a path of one folder.
pub(crate) fn on(root: &str, what: &str, path: &str) -> Value {
    let mut step = json!({ "do": what, "root": root, "path": path });
    match what {
        "write" => step["text"] = json!("overwritten"),
        "set-size" => step["bytes"] = json!(0),
        _ => {}
    }
    step
}

/// A folder that may be read, `papers`, and one that may be written, `desk`.
fn both(case: Case) -> Case {
    let case = case
        .file("papers/a.txt", "a paper")
        .file("papers/sub/b.txt", "a paper below");
    let case = case.file("desk/note.txt", "a note");
    case.allow("fs:{work}/papers").allow("fs:{work}/desk:rw")
}

/// A path that is as good as without an end, in parts that are there, that are not, and that lead out.
pub(crate) fn endless() -> Case {
    let stat = |part: &str, times: usize, end: &str| json!({ "do": "stat-far", "root": "/papers", "part": part, "times": times, "end": end });
    let steps = [
        stat("./", 1_000, "a.txt"),
        stat("./", 2_048, "a.txt"),
        stat("a/", 8_000_000, ""),
        stat("../", 5_000_000, "outside/canary.txt"),
        stat("a", 16_000_000, ""),
    ];
    both(Case::wasi("a path without an end", &steps)).sees(|seen| {
        assert_eq!(seen[0], json!({ "ok": "a paper".len() }));
        for seen in &seen[1..] {
            assert_eq!(*seen, json!({ "error": "name-too-long" }));
        }
    })
}

/// Writing what may only be read, by its own name, by a second one in the other folder, and the other way about.
pub(crate) fn read_only() -> Case {
    let kinds = ["write", "open-writable", "set-size", "set-times", "unlink"];
    let mut steps: Vec<Value> = kinds.iter().map(|kind| on("/papers", kind, "a.txt")).collect();
    steps.extend([
        on("/papers", "write", "new.txt"),
        on("/papers", "make-folder", "new"),
        on("/papers", "remove-folder", "sub"),
        json!({ "do": "symlink", "root": "/papers", "target": "a.txt", "path": "new" }),
    ]);
    for (what, root, path, to_root, to) in [
        ("link", "/papers", "a.txt", "/desk", "stolen.txt"),
        ("link", "/papers", "a.txt", "/papers", "twice.txt"),
        ("link", "/desk", "note.txt", "/papers", "planted.txt"),
        ("rename", "/papers", "a.txt", "/desk", "stolen.txt"),
        ("rename", "/papers", "sub", "/desk", "stolen"),
        ("rename", "/papers", "a.txt", "/papers", "moved.txt"),
        ("rename", "/desk", "note.txt", "/papers", "a.txt"),
        ("rename", "/desk", "note.txt", "/papers", "planted.txt"),
    ] {
        steps.push(json!({ "do": what, "root": root, "path": path, "to_root": to_root, "to": to }));
    }
    let case = both(Case::wasi("what is granted to be read", &steps));
    case.sees(move |seen| {
        for (step, seen) in steps.iter().zip(seen) {
            assert_eq!(seen["error"], "not-permitted", "{step}: {seen}");
        }
    })
}

/// Links that a tool makes in a folder that it may write, which it takes away again in the end.
pub(crate) fn own_links() -> Case {
    let made = |target: &str, path: &str| json!({ "do": "symlink", "root": "/desk", "target": target, "path": path });
    let steps = [
        made("/nowhere/at/all", "absolute"),
        made("../../outside/canary.txt", "relative"),
        on("/desk", "read", "relative"),
        on("/desk", "write", "relative"),
        made("../../outside", "folder"),
        on("/desk", "read", "folder/canary.txt"),
        on("/desk", "write", "folder/new.txt"),
        on("/desk", "unlink", "folder/canary.txt"),
        json!({ "do": "link", "root": "/desk", "path": "folder/canary.txt", "to_root": "/desk", "to": "mine" }),
        json!({ "do": "rename", "root": "/desk", "path": "folder/canary.txt", "to_root": "/desk", "to": "mine" }),
        // Where somebody else's link leads to is none of its business.
        json!({ "do": "readlink", "root": "/desk", "path": "theirs" }),
        // Within the folder links are links.
        made("note.txt", "near"),
        on("/desk", "read", "near"),
        on("/desk", "unlink", "relative"),
        on("/desk", "unlink", "folder"),
        on("/desk", "unlink", "near"),
    ];
    let case = both(Case::wasi("links that a tool made", &steps)).link("desk/theirs", "/nowhere/at/all");
    case.sees(move |seen| {
        let allowed = [1, 4, 11, 12, 13, 14, 15];
        for (n, (step, seen)) in steps.iter().zip(seen).enumerate() {
            match allowed.contains(&n) {
                true => assert!(seen["error"].is_null(), "{step}: {seen}"),
                false => assert_eq!(seen["error"], "not-permitted", "{step}: {seen}"),
            }
        }
        assert_eq!(seen[12]["ok"], "a note");
    })
}
