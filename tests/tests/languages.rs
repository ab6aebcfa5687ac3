//! Tools in Python and in JavaScript load under the same settings as any other, with and without their WASI imports; they
//! answer, and they are stopped at their limits.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::{Home, ModelServer, guests, model::Format, output::message, output::refusal};
use serde_json::{Value, json};

/// Answers, refusals and stops of one guest in one run, so that it is compiled once.
fn tools_of(guest: &str, settings: &[(&str, &str)]) {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let call = |name: &str, arguments: Value| json!({ "do": "call", "name": name, "arguments": arguments });
    let program = json!({ "steps": [
        call("echo", json!({ "text": "Grüße, 世界" })),
        call("ask", json!({ "text": "who" })),
        call("fail", json!({ "text": "my own words" })),
        call("grow", json!({})),
        call("spin", json!({})),
        call("echo", json!({ "text": "still here" })),
    ] });
    let host = home.host().arg("--tool").arg(guests::built(guest));
    let host = host
        .set("limits.fuel", 9_000_000_000_000_000_u64)
        .set("limits.step_wall", "3s")
        // Python's first compile takes most of a minute on two cores that have nothing else to do.
        .set("limits.compile.wall", "2m");
    let host = settings.iter().fold(host, |host, (key, value)| host.set(key, value));
    let seen = host.probe(&program).output().expect(0).seen();
    let text = |n: usize| {
        seen[n]["ok"]["output"]["content"][0]["Text"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", seen[n]))
    };
    assert_eq!(text(0), "Grüße, 世界");
    assert_eq!(refusal(&seen[1]), None, "{}", seen[1]);
    assert!(text(1).starts_with("who: "), "{}", text(1));
    assert_eq!(refusal(&seen[2]).as_deref(), Some("upstream"));
    assert!(message(&seen[2]).contains("my own words"), "{}", seen[2]);
    // Out of memory: the language may make an answer of it, or break; both are values, and no other refusal is.
    match refusal(&seen[3]).as_deref() {
        None => {
            let mebibytes: u64 = text(3).parse().unwrap();
            assert!((8..64).contains(&mebibytes), "it got {mebibytes} MiB of 64");
        }
        Some(kind) => assert!(!["not-found", "invalid-input", "denied"].contains(&kind), "{}", seen[3]),
    }
    assert_eq!(refusal(&seen[4]).as_deref(), Some("timed-out"), "{}", seen[4]);
    assert_eq!(text(5), "still here", "each call has a fresh sandbox");
}

#[test]
fn python() {
    tools_of("py-tool", &[]);
}

#[test]
fn python_with_its_wasi_imports() {
    tools_of("py-tool-wasi", &[]);
}

#[test]
fn javascript() {
    tools_of("js-tool", &[]);
}

#[test]
fn javascript_with_its_wasi_imports() {
    tools_of("js-tool-wasi", &[]);
}

#[test]
fn fuel_stops_javascript() {
    let output = Home::new()
        .host()
        .set("limits.fuel", 50_000_000)
        .arg("call")
        .arg(guests::built("js-tool"))
        .arg("spin")
        .output();
    let output = output.expect(1);
    assert!(output.stderr.contains("limits.fuel"), "{}", output.stderr);
}
