//! Guests that want more room than they may have: stack, memory, tables.

use hermes_tests::child::{ChildSpec, exit, join, words};
use hermes_tests::output::{message, refusal};
use hermes_tests::{Host, guests};
use serde_json::{Value, json};

use crate::hostile::{self, Guest};
use crate::site::Site;

const MEMORY: u64 = 64 << 20;

#[test]
fn a08_a_stack_without_end() {
    let site = Site::new();
    let names = ["stack overflow", "limits.wasm_stack"];
    site.attack(site.host().run(&guests::built("deep"), "4000000000"))
        .ends(1, "trapped", &names);
    // Rust keeps a stack of its own, in its memory.
    let memory = ["out of bounds memory access"];
    site.attack(site.host().probe(&json!({ "steps": [{ "do": "recurse" }] })))
        .ends(1, "trapped", &memory);
    // A thousand values live across each call: one frame has as many bytes as hundreds of others.
    let (declared, set): (String, String) = (0..1000)
        .map(|n| {
            let set = format!(
                "(local.set $l{n} (i64.mul (local.get $seed) (i64.const {})))",
                2 * n + 3
            );
            (format!("(local $l{n} i64)"), set)
        })
        .unzip();
    let sum: String = (0..1000).map(|n| format!("(local.get $l{n}) (i64.add)")).collect();
    let down = format!(
        "(func $down (param $seed i64) (result i64) {declared} {set}
            (call $down (i64.add (local.get $seed) (i64.const 1))) {sum})"
    );
    let file = site.home.write("wide.wasm", hostile::A08_WIDE.with("down", &down));
    site.attack(site.host().run(&file, "go"))
        .ends(1, "trapped", &names)
        .holding(1 << 20);
    let plugins = site.home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(&file, plugins.join("wide.wasm")).unwrap();
    let lived = site.lives(site.host(), &[ChildSpec::of("wide", "go").spawn(), join(0)]);
    assert_eq!(exit(&lived.seen[1]), "Trapped");
    assert!(words(&lived.seen[1]).contains("limits.wasm_stack"), "{}", lived.seen[1]);
    site.is_well();
}

#[test]
fn a08_a_tool_that_calls_itself_is_another_instance() {
    let site = Site::new();
    let call = |steps: &[Value]| json!({ "do": "call", "name": "probe", "arguments": { "steps": steps } });
    let size = json!({ "do": "allocate", "pages": 0 });
    let grow = json!({ "do": "allocate", "pages": 100 });
    let host = site.host().arg("--tool").arg(guests::built("probe-tool"));
    let lived = site.lives(host, &[call(&[size.clone(), grow, size.clone(), call(&[size])])]);
    let outer = structured(&lived.seen[0]);
    let pages = |seen: &Value| seen["ok"][1].as_u64().unwrap();
    let inner = structured(&outer[3]);
    assert_eq!(pages(&outer[2]), pages(&outer[0]) + 100);
    assert_eq!(pages(&inner[0]), pages(&outer[0]), "it has a memory of its own");
    site.is_well();
}

/// What the steps of a call of the tool `probe` saw.
fn structured(seen: &Value) -> Vec<Value> {
    let text = seen["ok"]["output"]["structured_content"].as_str().unwrap();
    let content: Value = serde_json::from_str(text).unwrap();
    content["seen"].as_array().unwrap().clone()
}

#[test]
fn a08_brackets_without_end() {
    let site = Site::new();
    let nested = |n: usize| format!("{{\"text\":\"x\",\"more\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let call = |arguments: String| json!({ "do": "call", "name": "echo", "arguments": arguments });
    let host = site.host().arg("--tool").arg(guests::built("probe-tool"));
    // The object is one level itself. What nests as deep as it may does not fit the tool's schema.
    let lived = site.lives(host, &[call("[".repeat(50_000)), call(nested(64)), call(nested(63))]);
    for refused in &lived.seen {
        assert_eq!(refusal(refused).as_deref(), Some("invalid-input"), "{refused}");
    }
    let said: Vec<_> = lived.seen.iter().map(message).collect();
    assert!(
        said[..2].iter().all(|said| said.contains("64 (limits.json.depth)")),
        "{said:?}"
    );
    assert!(
        said[2].contains("schema") && !said[2].contains("limits.json.depth"),
        "{said:?}"
    );
    site.is_well();
}

/// What the tool `measure` of a guest answers in a run, and how much the run may hold.
#[track_caller]
fn measured(site: &Site, host: Host, guest: Guest, bytes: u64) -> String {
    let host = host.arg("--tool").arg(guest.file(&site.home));
    let lived = site.lives(host, &[json!({ "do": "call", "name": "measure" })]);
    site.holds(&lived.output, bytes);
    lived.seen[0]["ok"]["output"]["content"][0]["Text"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a10_memory_to_the_last_page() {
    let site = Site::new();
    let pages = MEMORY / 65_536;
    assert_eq!(
        measured(&site, site.host(), hostile::A10_MEMORIES, MEMORY),
        pages.to_string()
    );
    assert_eq!(
        measured(&site, site.host(), hostile::A10_OWN_MAXIMUM, MEMORY),
        pages.to_string()
    );
    for bytes in [40 * 65_536, 41 * 65_536 - 1] {
        let host = site.host().set("limits.memory", bytes);
        assert_eq!(measured(&site, host, hostile::A10_OWN_MAXIMUM, MEMORY), "40");
    }
    site.is_well();
}

#[test]
fn a10_memory_that_is_too_much_from_the_beginning() {
    let site = Site::new();
    let file = hostile::A10_INITIAL.file(&site.home);
    let attacked = site.attack(site.host().run(&file, "go"));
    attacked
        .refused(&["a10_initial", "4294967296 bytes of memory", "limits.memory"])
        .holding(0);
    let file = hostile::A10_INITIAL_TOGETHER.file(&site.home);
    let attacked = site.attack(site.host().run(&file, "go"));
    attacked.ends(1, "trapped", &["limits.memory"]).holding(MEMORY);
    site.attack(site.host().set("limits.memory", "80MiB").run(&file, "go"))
        .answers("done");
    let less = site.host().set("limits.memory", (80 << 20) - 1).run(&file, "go");
    site.attack(less).ends(1, "trapped", &["limits.memory"]);
    site.is_well();
}

#[test]
fn a11_tables_to_the_last_element() {
    let site = Site::new();
    assert_eq!(measured(&site, site.host(), hostile::A11_TABLES, 1 << 20), "20000");
    let file = hostile::A11_INITIAL_TOGETHER.file(&site.home);
    site.attack(site.host().run(&file, "go"))
        .ends(1, "trapped", &["limits.table_elements"]);
    site.attack(site.host().set("limits.table_elements", 20_001).run(&file, "go"))
        .answers("done");
    let host = site.host().set("limits.table_elements", 19_999).run(&file, "go");
    site.attack(host)
        .refused(&["20000 table elements", "limits.table_elements (19999)"]);
    site.is_well();
}

#[test]
fn a11_as_many_tables_as_an_instance_may_have() {
    let site = Site::new();
    // One is that of the functions that bind its imports.
    let with = |tables: usize| {
        let bytes = hostile::A11_MANY_TABLES.with("tables", &"(table 0 funcref)\n".repeat(tables));
        site.attack(site.host().run(&site.home.write("tables.wasm", bytes), "go"))
    };
    with(64).answers("done");
    for tables in [65, 100] {
        with(tables).refused(&["tables.wasm", "limits.tables"]);
    }
    let file = hostile::A11_TABLE64.file(&site.home);
    site.attack(site.host().run(&file, "go"))
        .refused(&["a11_table64", "64-bit memories"]);
    site.is_well();
}
