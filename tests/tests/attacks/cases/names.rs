//! Names that could be taken for others: of spaces, keys and tools.

use hermes_tests::output::refusal;
use serde_json::{Value, json};

use super::lists::{BAD, Listed, component};
use super::{Case, Plugin};

/// Two of a run have one name.
pub(crate) const CLASH: &str = "load(name-clash)";

pub(crate) fn open(name: &str) -> Value {
    json!({ "do": "open", "name": name })
}

pub(crate) fn put(space: usize, key: &str, value: &str) -> Value {
    json!({ "do": "put", "space": space, "key": key, "value": value })
}

pub(crate) fn get(space: usize, key: &str) -> Value {
    json!({ "do": "get", "space": space, "key": key })
}

/// The text of an entry that a guest saw; none where there is no entry.
pub(crate) fn text(seen: &Value) -> Option<String> {
    let data: Vec<u8> = serde_json::from_value(seen.pointer("/ok/value/data")?.clone()).unwrap();
    Some(String::from_utf8(data).unwrap())
}

/// Pairs of space and key that some reading takes for one another.
const ALIKE: [(&str, &str); 26] = [
    ("a", "b/c"),
    ("a/b", "c"),
    ("a", "b"),
    ("A", "b"),
    ("a", "B"),
    ("a ", "b"),
    ("a", "b "),
    ("a/", "b"),
    ("a", "/b"),
    ("a//b", "c"),
    ("a", "./b"),
    ("a", "../a/b"),
    ("a", "b%"),
    ("a", "b_"),
    ("a%", "b"),
    ("a", "b'"),
    ("a'--", "b"),
    // Composed and decomposed, of another alphabet, wide, without width.
    ("caf\u{e9}", "b"),
    ("cafe\u{301}", "b"),
    ("\u{430}", "b"),
    ("\u{ff41}", "b"),
    ("a", "\u{200b}b"),
    ("a", "\u{feff}b"),
    ("a", "b\u{202e}"),
    ("K", "k"),
    ("\u{212a}", "k"),
];

/// Names are bytes, and no two are one.
pub(crate) fn alike() -> Case {
    let mut program = Vec::new();
    for (n, (space, key)) in ALIKE.iter().enumerate() {
        program.push(open(space));
        program.push(put(n, key, &format!("value {n}")));
    }
    program.extend(ALIKE.iter().enumerate().map(|(n, (_, key))| get(n, key)));
    // In lists they are what they are too: a prefix is no pattern.
    let keys = |space: usize, prefix: &str| json!({ "do": "keys", "space": space, "prefix": prefix, "limit": 100 });
    program.extend([keys(0, "b%"), keys(0, "%"), keys(0, "b_"), keys(0, "b/")]);
    Case::steps("names that are alike", program).sees(|seen| {
        let read = &seen[2 * ALIKE.len()..];
        for (n, pair) in ALIKE.iter().enumerate() {
            assert_eq!(refusal(&seen[2 * n + 1]), None, "{pair:?}");
            assert_eq!(text(&read[n]), Some(format!("value {n}")), "{pair:?}");
        }
        let lists: Vec<&Value> = read[ALIKE.len()..].iter().map(|seen| &seen["ok"]).collect();
        assert_eq!(lists, [&json!(["b%"]), &json!([]), &json!(["b_"]), &json!(["b/c"])]);
    })
}

/// A plugin that lists one tool.
fn lists(plugin: &str, tool: &str) -> Plugin {
    Plugin::made(plugin, component(&[Listed::named(tool)], plugin))
}

/// Two tools of one name, in either order; a tool that is called as one of the binary's, and one that only looks so.
pub(crate) fn tools() -> [Case; 4] {
    let with = |plugins: &[Plugin]| {
        let case = Case::steps("two tools of one name", [json!({ "do": "list-tools" })]);
        plugins.iter().cloned().fold(case, Case::tool)
    };
    let (one, other) = (lists("search", "search"), lists("finder", "search"));
    let both = [
        "two tools are called search",
        "one of search",
        "one of finder",
        "--tool PREFIX=PATH",
    ];
    [
        with(&[one.clone(), other.clone()]).refused(CLASH, &both),
        with(&[other, one.clone()]).refused(CLASH, &["two tools are called search"]),
        with(&[lists("fetcher", "run_script")]).refused(
            CLASH,
            &["two tools are called run_script", "one of script", "one of fetcher"],
        ),
        with(&[one, lists("alike", "se\u{430}rch")]).refused(BAD, &["is no tool name"]),
    ]
}
