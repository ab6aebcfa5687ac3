//! Holds what `docs/architecture.md` draws: a module uses lower layers only. Also holds what must never slip into the build:
//! features of the engine that are left out on purpose, a release that aborts on panic, and `unsafe` where nobody says why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The layers of `host/src`, lowest first.
const LAYERS: [&[&str]; 9] = [
    &[
        "limits",
        "text",
        "ids",
        "error",
        "amounts",
        "json",
        "base64",
        "own_file",
        "descriptors",
        "blocking",
    ],
    &["config", "store", "engine", "egress", "scrub", "secret"],
    &["ledger", "llm", "bindings", "event"],
    &["plugin"],
    &["session", "interfaces"],
    &["instance"],
    &["supervisor"],
    &["run"],
    &["cli", "main", "fuzzing"],
];

/// Uses between modules of one layer, `(who, whom)`. None may be the reverse of another: that would be a cycle.
const WITHIN_A_LAYER: [(&str, &str); 8] = [
    ("amounts", "error"),
    ("error", "text"),
    ("json", "text"),
    ("egress", "scrub"),
    ("secret", "egress"),
    ("llm", "bindings"),
    ("interfaces", "session"),
    ("main", "cli"),
];

/// Crates of the engine and the features of them that are compiled in. What is left out (threads, garbage collection,
/// exceptions, component async, the cache, profiling, debugging, sending by default) is code that no guest can reach.
const ENGINE_FEATURES: [(&str, &[&str]); 3] = [
    (
        "wasmtime",
        &[
            "async",
            "backtrace",
            "call-hook",
            "component-model",
            "cranelift",
            // Three names that `std` and `backtrace` bring with them.
            "once_cell",
            "parallel-compilation",
            "pooling-allocator",
            "runtime",
            "std",
            "wasmtime-jit-icache-coherence",
            "wasmtime-unwinder",
        ],
    ),
    ("wasmtime-wasi", &["p2"]),
    ("wasmtime-wasi-http", &["p2"]),
];

#[test]
fn each_module_has_a_layer() {
    for entry in fs::read_dir(root().join("host/src")).expect("the host has sources") {
        let path = entry.expect("a folder can be listed").path();
        let module = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_module = path.is_dir() || path.extension().is_some_and(|extension| extension == "rs");
        assert!(
            !is_module || module == "lib" || layer_of(&module).is_some(),
            "{} is in no layer: put `{module}` into LAYERS of {} and into docs/architecture.md",
            path.display(),
            file!()
        );
    }
}

#[test]
fn modules_use_lower_layers_only() {
    let mut wrong = String::new();
    for file in rust_files(&root().join("host/src")) {
        let shown = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        let inside = file
            .strip_prefix(root().join("host/src"))
            .expect("the file was found there");
        let module = module_of(inside);
        if module == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).expect("sources are text");
        for (line, used) in uses(&blank(&text), depth_of(inside)) {
            if let Some(rule) = broken_rule(&module, &used) {
                writeln!(wrong, "{shown}:{line} uses `{used}` in `{module}`, but {rule}.").expect("a String takes all");
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the layers of docs/architecture.md are broken:\n{wrong}"
    );
}

#[test]
fn the_exceptions_make_no_cycle() {
    for (from, to) in WITHIN_A_LAYER {
        assert_eq!(
            layer_of(from),
            layer_of(to),
            "({from}, {to}) is no exception within one layer"
        );
        assert!(
            !WITHIN_A_LAYER.contains(&(to, from)),
            "`{from}` and `{to}` use one another"
        );
    }
}

#[test]
fn the_engine_has_only_the_features_that_are_meant() {
    for (package, expected) in ENGINE_FEATURES {
        let found = features(package);
        for feature in &found {
            assert!(
                expected.contains(&feature.as_str()),
                "feature `{feature}` of {package} is compiled in, but left out on purpose; \
                 `cargo tree --edges features --invert {package}` shows which crate asks for it"
            );
        }
        assert_eq!(found, expected, "a feature of {package} that the host needs is missing");
    }
}

#[test]
fn a_panic_unwinds_in_every_profile() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    for (number, line) in manifest.lines().enumerate() {
        let setting: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        assert!(
            !setting.starts_with("panic=\"abort\""),
            "Cargo.toml:{} sets panic to abort, but a panic in a host function must end one session and not the process",
            number + 1
        );
    }
}

/// The page that says where `unsafe` is and why.
const UNSAFE: &str = "docs/security/unsafe.md";

#[test]
fn unsafe_is_only_where_its_page_says() {
    let page = fs::read_to_string(root().join(UNSAFE)).expect("the page is there");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let file = cells.next()?.strip_suffix('`')?;
        Some((file.to_owned(), cells.next()?.parse::<usize>().ok()?))
    });
    let told: BTreeMap<String, usize> = rows.collect();
    let mut found = BTreeMap::new();
    for folder in ["host", "sdk", "plugins", "tests", "xtask"] {
        for file in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&file).expect("sources are text");
            let shown = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
            let places = unsafe_places(&text);
            if places > 0 {
                found.insert(shown, places);
            }
        }
    }
    assert_eq!(found, told, "{UNSAFE} says otherwise than the sources");
    assert!(found.keys().any(|file| file.starts_with("host/")), "nothing was read");
}

#[test]
fn each_unsafe_block_has_its_proof() {
    let mut blocks = 0;
    for folder in ["host", "sdk", "plugins", "tests", "xtask"] {
        for file in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&file).expect("sources are text");
            let lines: Vec<&str> = text.lines().collect();
            for (number, line) in blank(&text).lines().enumerate() {
                if !words(line).any(|(at, word)| word == "unsafe" && !line[..at].ends_with("#[")) {
                    continue;
                }
                blocks += 1;
                let above = lines[..number].iter().rev();
                let comment: Vec<_> = above.take_while(|line| line.trim_start().starts_with("//")).collect();
                assert!(
                    comment.iter().any(|line| line.trim_start().starts_with("// SAFETY: ")),
                    "{}:{} is unsafe, and no comment above it says `SAFETY: ` and why it is sound",
                    file.display(),
                    number + 1
                );
            }
        }
    }
    assert!(blocks > 0, "nothing was read");
}

#[test]
fn each_crate_has_the_lint_against_unsafe() {
    for workspace in ["Cargo.toml", "plugins/Cargo.toml"] {
        let manifest = fs::read_to_string(root().join(workspace)).expect("the workspace has a manifest");
        let denies = manifest.lines().any(|line| line == "unsafe_code = \"deny\"");
        assert!(denies, "{workspace} does not deny unsafe code");
    }
    let mut members = 0;
    for folder in ["host", "sdk", "plugins", "tests", "xtask"] {
        for file in named(&root().join(folder), "Cargo.toml") {
            let inside = file.strip_prefix(root()).unwrap_or(&file);
            // Guests that play strangers, what stands in for crates that nobody uses, and fuzzers: workspaces of their own.
            let is_apart = ["tests/guests", "plugins/script/unused", "tests/fuzz"];
            let manifest = fs::read_to_string(&file).expect("a manifest is text");
            if is_apart.iter().any(|folder| inside.starts_with(folder)) || !manifest.contains("[package]") {
                continue;
            }
            members += 1;
            let shown = inside.display();
            assert!(
                manifest.contains("[lints]\nworkspace = true\n"),
                "{shown} has not the workspace's lints"
            );
        }
    }
    assert!(members > 5, "{members} were found");
}

/// How often a source has `unsafe`, or lets generated code have it.
fn unsafe_places(text: &str) -> usize {
    let text = blank(text);
    let count = |wanted: &str| words(&text).filter(|(_, word)| *word == wanted).count();
    count("unsafe").max(count("unsafe_code"))
}

/// The words of a text without comments and strings, each with its place.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_sign = |c: char| !c.is_alphanumeric() && c != '_';
    let mut at = 0;
    text.split_inclusive(is_sign).filter_map(move |piece| {
        let start = at;
        at += piece.len();
        let word = piece.trim_end_matches(is_sign);
        (!word.is_empty()).then_some((start, word))
    })
}

/// The features of a package in the whole workspace, as cargo joins them.
fn features(package: &str) -> Vec<String> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(root())
        .args(["tree", "--workspace", "--edges", "features,no-dev", "--prefix", "none"]);
    let output = command.args(["--invert", package]).output().expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let start = format!("{package} feature \"");
    let tree = String::from_utf8_lossy(&output.stdout);
    let named = tree
        .lines()
        .filter_map(|line| line.strip_prefix(&start)?.split('"').next());
    let mut found: Vec<_> = named.map(str::to_owned).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Why one module may not use another, if it may not.
fn broken_rule(module: &str, used: &str) -> Option<String> {
    let (mine, other) = (layer_of(module)?, layer_of(used)?);
    if module == used || other < mine || WITHIN_A_LAYER.contains(&(module, used)) {
        None
    } else if other == mine {
        Some(format!(
            "both are in layer {mine}, and this use is not listed in WITHIN_A_LAYER"
        ))
    } else {
        Some(format!("layer {mine} may not use layer {other}, which is above it"))
    }
}

/// From 1, the lowest.
fn layer_of(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .map(|index| index + 1)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    named(folder, ".rs")
}

/// The files below a folder whose names end so, but for what was built.
fn named(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut files = vec![];
    for entry in fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !matches!(&*name, "target" | "node_modules") {
            files.extend(named(&path, end));
        } else if path.is_file() && name.ends_with(end) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The top-level module that a file of `host/src` belongs to.
fn module_of(inside: &Path) -> String {
    let first = inside
        .components()
        .next()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    first.unwrap_or_default().trim_end_matches(".rs").to_owned()
}

/// How many `super` lead from a file to the crate's root.
fn depth_of(inside: &Path) -> usize {
    inside.components().count() - usize::from(inside.ends_with("mod.rs"))
}

/// The top-level modules that a text names, each with its line. The text has neither comments nor strings.
fn uses(text: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = vec![];
    let to_root = format!("{}super", "super::".repeat(depth.saturating_sub(1)));
    for name in ["crate", "hermes_host", &to_root] {
        for (at, _) in text.match_indices(name) {
            let rest = &text[at + name.len()..];
            let Some(path) = rest.trim_start().strip_prefix("::") else {
                continue;
            };
            let is_whole = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            // In an inline module, which is indented, `super` is the file's own module.
            let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let is_indented = text[line_start..].starts_with(' ');
            if is_whole && !(name.starts_with("super") && is_indented) {
                let offset = text.len() - path.len();
                found.extend(
                    first_names(path)
                        .into_iter()
                        .map(|(i, name)| (line_of(text, offset + i), name)),
                );
            }
        }
    }
    found.sort();
    found
}

/// The first name of a path, or those of a braced list of paths, each with its place.
fn first_names(path: &str) -> Vec<(usize, String)> {
    let start = path.len() - path.trim_start().len();
    if !path[start..].starts_with('{') {
        return name_at(path, start).into_iter().collect();
    }
    let mut names = vec![];
    let mut depth = 0;
    for (at, c) in path.char_indices().skip_while(|(at, _)| *at < start) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(c, '{' | ',') {
            names.extend(name_at(path, at + 1));
        }
    }
    names
}

fn name_at(text: &str, from: usize) -> Option<(usize, String)> {
    let start = from + text[from..].len() - text[from..].trim_start().len();
    let name: String = text[start..]
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some((start, name))
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Replaces comments, strings and characters by spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let mut blanked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_name = blanked.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = match comment_or_literal(rest, after_name) {
            0 => {
                blanked.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            length => length,
        };
        blanked.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    blanked
}

/// The length of the comment or literal that a text starts with; 0 if it starts with something else.
fn comment_or_literal(text: &str, after_name: bool) -> usize {
    let until = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until("*/", 2);
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    if text.starts_with('r') && !after_name {
        let hashes = text[1..].len() - text[1..].trim_start_matches('#').len();
        if text[1 + hashes..].starts_with('"') {
            return until(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
        }
    }
    let mut characters = text.chars();
    match (characters.next(), characters.next(), characters.next()) {
        (Some('\''), Some('\\'), _) => quoted(text, '\''),
        (Some('\''), Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

/// The length of a literal in quotes, in which a backslash takes the next character with it.
fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

#[test]
fn uses_are_found_wherever_they_stand() {
    let text = blank(
        "//! Not crate::comment.\nuse crate::{error::{self, A}, limits::B,\n    text};\nuse super::config::C;\n\
         fn f<'a>(x: &'a str) { crate::store::open('\"', \"crate::string\", r#\"crate::\"raw\"#); my_crate::other(); }\n\
         mod tests {\n    use super::own;\n}\n",
    );
    let found = uses(&text, 1);
    let expected = [(2, "error"), (2, "limits"), (3, "text"), (4, "config"), (5, "store")];
    assert_eq!(found, expected.map(|(line, name)| (line, name.to_owned())));
}

#[test]
fn places_of_unsafe_are_counted_in_code_alone() {
    let code = "// unsafe\n#[expect(unsafe_code, reason = \"unsafe\")]\nfn f() { unsafe { g() } }\n";
    assert_eq!(unsafe_places(code), 1);
    assert_eq!(
        unsafe_places("#[unsafe(no_mangle)] unsafe fn f() { unsafe { g() } }"),
        3
    );
    assert_eq!(unsafe_places("#![allow(unsafe_code)] mod generated;"), 1);
    assert_eq!(unsafe_places("fn unsafe_name() { let r = \"unsafe\"; }"), 0);
}
