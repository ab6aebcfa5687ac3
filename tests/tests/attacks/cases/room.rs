//! Guests that want more room than they may have: stack, memory, tables.

use hermes_tests::output::{in_call, message, refusal};
use serde_json::{Value, json};

use super::{Case, Plugin};
use crate::hostile;

/// A guest whose one function calls itself with frames of a thousand values: each has as many bytes as hundreds of others.
pub(crate) fn wide() -> Plugin {
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
    Plugin::made("wide", hostile::A08_WIDE.with("down", &down))
}

/// Stacks without end: the engine's, one with wide frames, and that which Rust keeps in its memory.
pub(crate) fn stacks() -> [Case; 3] {
    let names = ["stack overflow", "limits.wasm_stack"];
    [
        Case::run(Plugin::Built("deep"), "4000000000").fails("trapped", &names),
        Case::run(wide(), "go").fails("trapped", &names),
        Case::probe("it calls itself", &[json!({ "do": "recurse" })])
            .fails("trapped", &["out of bounds memory access"]),
    ]
}

/// A tool that calls itself is another instance, with a memory of its own.
pub(crate) fn calls_itself() -> Case {
    let call = |steps: &[Value]| json!({ "do": "call", "name": "probe", "arguments": { "steps": steps } });
    let size = json!({ "do": "allocate", "pages": 0 });
    let grow = json!({ "do": "allocate", "pages": 100 });
    let step = call(&[size.clone(), grow, size.clone(), call(&[size])]);
    let case = Case::steps("a tool that calls itself", [step]).tool(Plugin::Built("probe-tool"));
    case.sees(|seen| {
        let outer = in_call(&seen[0]);
        let pages = |seen: &Value| seen["ok"][1].as_u64().unwrap();
        let inner = in_call(&outer[3]);
        assert_eq!(pages(&outer[2]), pages(&outer[0]) + 100);
        assert_eq!(pages(&inner[0]), pages(&outer[0]), "it has a memory of its own");
    })
}

/// A tool that looks in its memory and its table for what the instance before it has left there, and leaves all that it may itself.
pub(crate) fn left() -> Case {
    let call = json!({ "do": "call", "name": "measure" });
    let case = Case::steps("what instances leave", vec![call; 3]).tool(hostile::A24_LEFT);
    case.sees(|seen| {
        for seen in seen {
            assert_eq!(seen["ok"]["output"]["content"][0]["Text"], "0", "{seen}");
        }
    })
}

/// Arguments that nest without end, one level too deep, and as deep as they may.
pub(crate) fn brackets() -> Case {
    let nested = |n: usize| format!("{{\"text\":\"x\",\"more\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let call = |arguments: String| json!({ "do": "call", "name": "echo", "arguments": arguments });
    // The object is one level itself. What nests as deep as it may does not fit the tool's schema.
    let steps = [call("[".repeat(50_000)), call(nested(64)), call(nested(63))];
    let case = Case::steps("brackets without end", steps).tool(Plugin::Built("probe-tool"));
    case.sees(|seen| {
        for refused in seen {
            assert_eq!(refusal(refused).as_deref(), Some("invalid-input"), "{refused}");
        }
        let said: Vec<_> = seen.iter().map(message).collect();
        let by_depth = said[..2].iter().all(|said| said.contains("64 (limits.json.depth)"));
        assert!(by_depth, "{said:?}");
        let by_schema = said[2].contains("schema") && !said[2].contains("limits.json.depth");
        assert!(by_schema, "{said:?}");
    })
}

/// Memory to the last page, and tables to the last element.
pub(crate) fn measured() -> [Case; 3] {
    [
        Case::measures(hostile::A10_MEMORIES, "1024"),
        Case::measures(hostile::A10_OWN_MAXIMUM, "1024"),
        Case::measures(hostile::A11_TABLES, "20000"),
    ]
}

/// Memory that is too much from the beginning, in one or in four.
pub(crate) fn initial_memory() -> [Case; 2] {
    let words = |name: &'static str, bytes: &'static str| [name, bytes, "limits.memory (67108864)"];
    let one = words("a10_initial", "4294967296 bytes of memory");
    let four = words("a10_initial_together", "83886080 bytes of memory");
    [
        Case::run(hostile::A10_INITIAL, "go").refused("load(too-large)", &one),
        Case::run(hostile::A10_INITIAL_TOGETHER, "go").refused("load(too-large)", &four),
    ]
}

/// Elements that are too many from the beginning: in one module, or with those of another one, which binds its imports and has a table for that.
pub(crate) fn initial_elements() -> [Case; 2] {
    let words = ["20001 table elements", "limits.table_elements (20000)"];
    [
        Case::run(hostile::A11_INITIAL_TOGETHER, "go").refused("load(too-large)", &words),
        Case::run(hostile::A11_BESIDE_IMPORTS, "go").fails("trapped", &["limits.table_elements"]),
    ]
}

/// As many tables as an instance may have, one more and many more; and one of 64 bits.
pub(crate) fn tables() -> [Case; 4] {
    // One is that of the functions that bind its imports.
    let with = |tables: usize| {
        let bytes = hostile::A11_MANY_TABLES.with("tables", &"(table 0 funcref)\n".repeat(tables));
        Case::run(Plugin::made("tables", bytes), "go")
    };
    let words = ["tables.wasm", "limits.tables"];
    [
        with(64),
        with(65).refused("load(too-large)", &words),
        with(100).refused("load(too-large)", &words),
        Case::run(hostile::A11_TABLE64, "go").refused("load(feature-off)", &["a11_table64", "64-bit memories"]),
    ]
}
