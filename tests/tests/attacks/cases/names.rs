//! Names that could be taken for others: of spaces, keys and tools.

use hermes_tests::child::{ChildSpec, inside, join};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::steps;
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

/// Spaces and keys that a child was not given. Of each kind some may be there and some are not.
const NOT_GIVEN: [&str; 5] = ["secret", "nowhere", "shared", "nobodys", "notes2"];
const NOT_READ: [&str; 6] = ["theirs/1", "theirs/2", "mine2", "mines", "MINE/1", "mine\u{0}/1"];

/// A child is told alike of what it was not given, be it there or not.
pub(crate) fn not_given() -> Case {
    let shares = json!([{ "space": "notes", "prefix": "mine", "access": "ReadOnly" }]);
    let mut looks: Vec<Value> = NOT_GIVEN.iter().map(|space| open(space)).collect();
    looks.push(open("notes"));
    looks.extend(NOT_READ.map(|key| get(0, key)));
    looks.extend([get(0, "mine/1"), get(0, "mine/2"), put(0, "mine/1", "x")]);
    let next = |after: Value| json!({ "do": "keys", "space": 0, "prefix": "", "after": after, "limit": 1 });
    looks.extend([next(Value::Null), next(json!("mine/1"))]);
    let child = ChildSpec::probe(&steps(&looks)).with("spaces", shares);
    let program = [
        open("notes"),
        put(0, "theirs/1", "a canary of its parent"),
        put(0, "mine2", "a canary of its parent"),
        put(0, "mine/1", "the child's"),
        open("secret"),
        put(1, "k", "a canary of its parent"),
        child.spawn(),
        join(0),
    ];
    Case::steps("what a child was not given", program).sees(|seen| {
        let seen = inside(&seen[7]);
        let words = |seen: &Value, name: &str| message(seen).replace(name, "NAME");
        for (n, space) in NOT_GIVEN.iter().enumerate() {
            assert_eq!(refusal(&seen[n]).as_deref(), Some("denied"), "{space}: {}", seen[n]);
            assert_eq!(words(&seen[n], space), words(&seen[0], NOT_GIVEN[0]), "{space}");
        }
        let (keys, own) = seen[NOT_GIVEN.len() + 1..].split_at(NOT_READ.len());
        for (key, told) in NOT_READ.iter().zip(keys) {
            assert_eq!(refusal(told).as_deref(), Some("denied"), "{key}: {told}");
        }
        // What can't be printed is not in the words of the last.
        for (key, told) in NOT_READ.iter().zip(&keys[..5]) {
            assert_eq!(words(told, key), words(&keys[0], NOT_READ[0]), "{key}");
        }
        let read = (text(&own[0]), &own[1]["ok"]);
        assert_eq!(read, (Some("the child's".to_owned()), &Value::Null));
        assert_eq!(refusal(&own[2]).as_deref(), Some("denied"), "it may read alone");
        // One by one, what it may not see is passed over.
        assert_eq!((&own[3]["ok"], &own[4]["ok"]), (&json!(["mine/1"]), &json!([])));
    })
}

/// A plugin that lists one tool.
pub(super) fn lists(plugin: &str, tool: &str) -> Plugin {
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

/// Plugins of one name, one that is called as its agent, and those that are called as what is the host's own, which gives them nothing.
pub(crate) fn plugins() -> Vec<Case> {
    let list = || [json!({ "do": "list-tools" })];
    let twice = Case::steps("two plugins of one name", list())
        .tool(lists("twin", "one"))
        .tool(lists("twin", "other"));
    let probe = Case::steps("a tool that is called as its agent", list()).tool(lists("probe", "one"));
    let mut cases = vec![
        twice.refused(CLASH, &["both called twin"]),
        probe.refused(CLASH, &["both called probe"]),
    ];
    cases.extend(["host", "run", "root", "hermes", "filesystem", "llm"].map(|name| {
        let case = Case::steps(&format!("a plugin called {name}"), list()).tool(lists(name, name));
        case.sees(move |seen| {
            let mut tools = seen[0]["ok"].as_array().unwrap().iter();
            assert!(tools.any(|tool| tool["name"] == name), "{}", seen[0]);
        })
    }));
    cases
}
