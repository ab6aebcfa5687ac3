//! Memory is bounded to the page over all memories of an instance, tables to the element; a refused growth is the guest's
//! to handle.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::output::refusal;
use hermes_tests::{Home, Output, guests};
use serde_json::{Value, json};

const PAGE: u64 = 65_536;

/// Calls a tool with this limit.
fn call(guest: &str, tool: &str, arguments: &Value, setting: &str) -> Output {
    let line = ["--set", setting, "call"];
    let home = Home::new();
    let host = home
        .host()
        .args(line)
        .arg(guests::built(guest))
        .args([tool, &arguments.to_string()]);
    host.output().expect(0)
}

#[test]
fn two_memories_share_one_limit() {
    for pages in [16_u64, 17, 1024] {
        let output = call(
            "two-memories",
            "measure",
            &json!({}),
            &format!("limits.memory={}", pages * PAGE),
        );
        assert_eq!(output.stdout.trim(), pages.to_string());
    }
}

#[test]
fn part_of_a_page_is_none() {
    let output = call(
        "two-memories",
        "measure",
        &json!({}),
        &format!("limits.memory={}", 17 * PAGE - 1),
    );
    assert_eq!(output.stdout.trim(), "16");
}

#[test]
fn a_table_ends_at_its_element() {
    let output = call("table", "measure", &json!({}), "limits.table_elements=500");
    assert_eq!(output.stdout.trim(), "500");
}

#[test]
fn a_memory_that_is_too_large_from_the_start() {
    let page = format!("limits.memory={PAGE}");
    let home = Home::new();
    let host = home
        .host()
        .args(["--set", &page, "call"])
        .arg(guests::built("two-memories"))
        .arg("measure");
    host.output().expect(2).says(&["limits.memory"]);
}

#[test]
fn what_a_call_took_is_given_back() {
    let home = Home::new();
    home.configure("model = \"scripted\"\n");
    let grow = json!({ "do": "call", "name": "grow", "arguments": { "n": 100_000 } });
    let program = json!({ "steps": [grow, grow] });
    let script = home.write("script.toml", "[[turn]]\n[turn.reply]\ntext = \"x\"\n");
    let host = home
        .host()
        .arg("--tool")
        .arg(guests::built("probe-tool"))
        .arg("--script")
        .arg(script);
    let seen = host
        .set("limits.memory", "8MiB")
        .probe(&program)
        .output()
        .expect(0)
        .seen();
    assert_eq!(refusal(&seen[0]), None);
    let given = |seen: &Value| seen["ok"]["output"]["content"][0]["Text"].as_str().unwrap().to_owned();
    assert_eq!(given(&seen[0]), given(&seen[1]), "each call has a fresh instance");
    let pages: Vec<u64> = serde_json::from_str(&given(&seen[0])).unwrap();
    assert_eq!(pages[1], 8 * (1 << 20) / PAGE, "it got all of its limit");
}

#[test]
fn a_refused_growth_is_told_once() {
    let home = Home::new();
    let grow = json!({ "do": "call", "name": "grow", "arguments": { "n": 100_000 } });
    let host = home.host().args(["--deny", "llm", "--output", "events", "--tool"]);
    let host = host.arg(guests::built("probe-tool")).set("limits.memory", "8MiB");
    let host = host.arg("--plugin").arg(guests::built("probe"));
    let events = host
        .arg(json!({ "steps": [grow] }).to_string())
        .output()
        .expect(0)
        .events();
    let met: Vec<_> = events.iter().filter(|event| event["event"] == "limit-hit").collect();
    assert_eq!(met.len(), 1, "{events:?}");
    assert_eq!(
        (&met[0]["limit"], &met[0]["value"]),
        (&json!("memory"), &json!(8 << 20))
    );
}

#[test]
fn one_memory_that_is_too_large_names_its_limit() {
    let home = Home::new();
    let tool = guests::built("pure-echo");
    let host = home.host().set("limits.memory", PAGE).arg("call").arg(&tool);
    let output = host.args(["echo", r#"{"text":"hello"}"#]).output().expect(2);
    assert!(output.stderr.contains("limits.memory"), "{}", output.stderr);
}
