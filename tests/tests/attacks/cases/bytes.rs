//! Files that are no component, or not one that this host runs.

use hermes_tests::guests;

use super::{Case, Plugin};
use crate::hostile;

/// What the bytes are is nothing that this host can read.
const BAD: &str = "load(bad-bytes)";
/// They are a component of no world of this host's.
const OTHER: &str = "load(other-world)";
/// They import what this host does not have.
const UNKNOWN: &str = "load(unknown-import)";

fn refused(name: &str, bytes: impl Into<Vec<u8>>, kind: &'static str, words: &[&str]) -> Case {
    let words = [&[name], words].concat();
    Case::run(Plugin::made(name, bytes), "a task").refused(kind, &words)
}

/// What is no component at all.
pub(crate) fn no_components() -> [Case; 7] {
    [
        refused("empty", b"", BAD, &["empty"]),
        refused("magic", b"\0asm", BAD, &["header"]),
        refused(
            "core",
            b"\0asm\x01\0\0\0",
            BAD,
            &["core module", "wasm-tools component new"],
        ),
        refused("later", b"\0asm\x0e\0\x01\0", BAD, &["version"]),
        refused("text", b"(component)", BAD, &["text form"]),
        refused("words", b"This is no WebAssembly.", BAD, &["first bytes"]),
        refused("nothing", b"\0asm\x0d\0\x01\0", OTHER, &["another world"]),
    ]
}

/// A component, cut.
pub(crate) fn cut() -> impl Iterator<Item = Case> {
    let whole = std::fs::read(guests::built("probe")).unwrap();
    (1..16).map(move |part| refused("cut", &whole[..whole.len() * part / 16], BAD, &["byte"]))
}

/// Types that nest as deep as they may, and deeper.
pub(crate) fn types() -> [Case; 6] {
    let assembled = |parts: &str| guests::assemble(&format!("(component {parts})"), &[]);
    let lists = |n: usize| {
        let types: String = (1..n)
            .map(|at| format!("(type $t{at} (list $t{}))\n", at - 1))
            .collect();
        assembled(&format!("(type $t0 (list u8)) {types}"))
    };
    let components = |n: usize| assembled(&format!("{}{}", "(type (component ".repeat(n), "))".repeat(n)));
    // Ten of ten of ten …
    let records = |n: usize| {
        let fields = |of: &str| -> String { (0..10).map(|field| format!("(field \"f{field}\" {of})")).collect() };
        let types: String = (1..n)
            .map(|at| format!("(type $t{at} (record {}))\n", fields(&format!("$t{}", at - 1))))
            .collect();
        assembled(&format!("(type $t0 (record {})) {types}", fields("u8")))
    };
    // A type that is refused names its place; one that is allowed leaves a component that exports nothing.
    [
        // With the byte in the innermost a hundred levels, and one more.
        refused("shallow", lists(99), OTHER, &["another world"]),
        refused("deep", lists(100), BAD, &["byte", "nesting is too deep"]),
        refused("deeper", lists(1000), BAD, &["byte", "nesting is too deep"]),
        refused("nested-little", components(20), OTHER, &["another world"]),
        refused("records", records(5), OTHER, &["another world"]),
        refused("too-many-records", records(7), BAD, &["byte", "size"]),
    ]
}

/// Names that fill a screen: each of its imports has one of 60,000 letters.
pub(crate) fn names() -> Case {
    let name = |n: usize| format!("n{n}-{}", "a".repeat(60_000));
    let imports: String = (0..20).map(|n| format!("(import \"{}\" (func))\n", name(n))).collect();
    let bytes = guests::assemble(
        &format!("(component {imports} (instance $agent) (export \"hermes:plugin/agent@0.1.0\" (instance $agent)))"),
        &[],
    );
    refused("names", bytes, UNKNOWN, &["imports n0-aaaa"])
}

/// Imports that nobody has.
pub(crate) fn imports() -> Vec<Case> {
    let importing = |interface: &str| {
        let (package, rest) = interface.split_once('/').unwrap();
        let (name, version) = rest.split_once('@').unwrap();
        guests::importing(
            &format!("package {package}@{version};\ninterface {name} {{ f: func(); }}\n"),
            interface,
        )
    };
    let near = "the nearest is hermes:plugin/llm";
    let unknown = [
        ("acme:rockets/launch@1.0.0", vec![]),
        ("hermes:host/llm@0.1.0", vec![near]),
        ("hermes:plugins/llm@0.1.0", vec![near]),
        ("hermes-host:plugin/llm@0.1.0", vec![near]),
        ("hermes:plugin/lllm@0.1.1", vec![near]),
        ("hermes:plugin/llm@0.2.0", vec!["0.1.0"]),
        ("hermes:plugin/llm@1.0.0", vec!["0.1.0"]),
        ("wasi:io/poll@0.3.0", vec!["of WASI it has version 0.2"]),
        ("wasi:io/streems@0.2.0", vec!["the nearest is wasi:io/streams"]),
        (
            "wasi:http/outgoing-handlr@0.2.0",
            vec!["the nearest is wasi:http/outgoing-handler"],
        ),
        ("wasi:nn/tensor@0.2.0", vec![]),
        ("wasi-nn:io/poll@0.2.0", vec!["the nearest is wasi:io/poll"]),
    ];
    let cases = unknown.into_iter().map(|(interface, mut words)| {
        words.push(interface);
        refused("odd", importing(interface), UNKNOWN, &words)
    });
    cases.collect()
}

/// An import of another type.
pub(crate) fn import_of_another_type() -> Case {
    let words = [
        "a22_wrong_type",
        "its import hermes:plugin/session@0.1.0 has another type than this host's",
        "`log`",
    ];
    Case::run(hostile::A22_WRONG_TYPE, "go").refused(UNKNOWN, &words)
}

/// Features that are off.
pub(crate) fn features() -> [Case; 9] {
    [
        (hostile::A23_THREADS, "threads"),
        (hostile::A23_COLLECTION, "garbage collection"),
        (hostile::A23_REFERENCES, "typed function references"),
        (hostile::A23_EXCEPTIONS, "exceptions"),
        (hostile::A23_MEMORY64, "64-bit memories"),
        (hostile::A23_ASYNC, "component-model async"),
        (hostile::A23_STACKS, "stack switching"),
        (hostile::A23_PAGES, "custom page sizes"),
        (hostile::A23_RELAXED, "relaxed SIMD"),
    ]
    .map(|(guest, feature)| {
        let words = ["needs", feature, "leaves off"];
        refused(guest.name, guest.bytes(), "load(feature-off)", &words)
    })
}
