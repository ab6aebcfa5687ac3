//! Files of the home that others have changed since the host took them for good: plugins that were approved, and compiled code. Alone such are tried in
//! `adding` and `compiling`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use hermes_tests::changed::rebuilt;
use hermes_tests::child::ChildSpec;
use hermes_tests::output::{message, refusal};
use hermes_tests::{Home, bomb, guests};
use serde_json::json;

use crate::cases::{Case, Plugin};

/// The name of a strategy that was approved.
const HELPER: &str = "helper";

/// A strategy and a tool that are replaced when they have been approved, each with its name, by which it is run or called.
pub(crate) fn replaced(home: &Home) -> [(&'static str, Case); 2] {
    let arguments = json!({ "text": "hello" });
    let tool = Case::call(
        "a tool that was replaced",
        Plugin::Built("probe-tool"),
        "echo",
        arguments,
    );
    let strategy = Case::probe("a strategy that was replaced", &[]);
    [(HELPER, "probe", strategy), ("weather", "probe-tool", tool)].map(|(name, guest, case)| {
        let file = guests::built(guest);
        let add = home.host().args(["plugin", "add"]).arg(&file);
        add.args(["--yes", "--name", name]).output().expect(0);
        let place = home.path().join(format!("plugins/{name}.wasm"));
        fs::copy(rebuilt(home, &file), place).unwrap();
        let words = format!("{name} is not what was approved");
        (name, case.refused("denied(digest-changed)", &[&words]))
    })
}

/// A child of that strategy.
pub(crate) fn child() -> Case {
    let child = ChildSpec::of(HELPER, "{}");
    Case::steps("a child that was replaced", [child.spawn()]).sees(|seen| {
        assert_eq!(refusal(&seen[0]).as_deref(), Some("denied"), "{}", seen[0]);
        let said = message(&seen[0]);
        assert!(said.contains("changed since it was approved"), "{said}");
    })
}

/// A tool whose compiled code is changed in the cache: it is compiled again.
pub(crate) fn code(home: &Home) -> Case {
    let echo = fs::read(guests::built("pure-echo")).unwrap();
    let plugin = Plugin::made("echo", bomb::with_module(&echo, "(module (func))"));
    let before = entries(home);
    let called = home.host().arg("call").arg(plugin.file(home, "changed"));
    called.args(["echo", r#"{"text":"hello"}"#]).output().expect(0);
    let after = entries(home);
    let entry = after.difference(&before).next().unwrap().clone();
    let mut bytes = fs::read(&entry).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&entry, &bytes).unwrap();
    let call = json!({ "do": "call", "name": "echo", "arguments": { "text": "hello" } });
    let case = Case::steps("compiled code that was changed", [call]).tool(plugin);
    case.sees(move |seen| {
        assert_eq!(seen[0]["ok"]["output"]["content"][0]["Text"], "hello", "{}", seen[0]);
        assert!(fs::read(&entry).unwrap() != bytes, "it is made again");
    })
}

/// The files of the cache with compiled code.
fn entries(home: &Home) -> BTreeSet<PathBuf> {
    let files = fs::read_dir(home.path().join("host/cache")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|end| end == "code"))
        .collect()
}
