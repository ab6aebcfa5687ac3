//! Components that are hard on whoever checks or compiles them. Alone they are tried in `compiling`.

use std::fs;

use hermes_tests::{bomb, guests};
use serde_json::json;

use crate::cases::{Case, Plugin};

/// More of each part than a component may have, the tests' tool being in some of them; and one function that is too long. None of them is compiled.
pub(crate) fn too_many() -> [Case; 7] {
    let echo = fs::read(guests::built("pure-echo")).unwrap();
    let with = |module: &str| bomb::with_module(&echo, module);
    let times = |part: &str, times: usize| bomb::toolset(&part.repeat(times));
    [
        ("functions", with(&bomb::functions(100_001))),
        // Of 2 MiB and more.
        ("function_bytes", with(&bomb::function(500, 8_000))),
        ("locals", with(&bomb::function(10_002, 1))),
        ("modules", times("(core module)", 1_000)),
        ("components", times("(component)", 1_000)),
        ("definitions", times("(type string)", 100_001)),
        ("depth", bomb::with_nested(&echo, 100_000)),
    ]
    .map(|(part, bytes)| {
        let (file, key) = (format!("{part}.wasm"), format!("limits.parts.{part} ("));
        Case::run(Plugin::made(part, bytes), "go").refused("load(compile-limit)", &[&file, &key])
    })
}

/// A component that is instantiated more often than anybody can count.
pub(crate) fn endless() -> Case {
    let bytes = bomb::toolset(&bomb::instances(12));
    let case = Case::call(
        "a component without end",
        Plugin::made("endless", bytes),
        "echo",
        json!({}),
    );
    case.refused("load(compile-limit)", &["endless.wasm", "limits.compile."])
}
