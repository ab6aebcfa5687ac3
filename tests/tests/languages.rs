//! Tools in Python and in JavaScript load under the same settings as any other, with and without their WASI imports; they
//! answer, and they are stopped at their limits of fuel, memory and time, after which the next call is answered.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use hermes_tests::{Home, ModelServer, Output, guests, model::Format, output::message, output::refusal};
use serde_json::{Value, json};

/// Fuel of one call in the tests of fuel: many times what `echo` burns, and burnt in a second or so.
const FUEL: u64 = 500_000_000;

/// A call of a guest's tool.
fn call(name: &str, arguments: &Value) -> Value {
    json!({ "do": "call", "name": name, "arguments": arguments })
}

fn echo(text: &str) -> Value {
    call("echo", &json!({ "text": text }))
}

/// Calls a guest's tools one after another, in one run with these settings.
fn calls(guest: &str, program: &[Value], settings: &[(&str, &str)]) -> Output {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_guest(&server, Format::OpenAi, guest);
    let host = home.host().arg("--tool").arg(guests::built(guest));
    let host = settings.iter().fold(host, |host, (key, value)| host.set(key, value));
    host.probe(&json!({ "steps": program })).output().expect(0)
}

/// What a tool said.
#[track_caller]
fn text(seen: &Value) -> &str {
    let text = seen["ok"]["output"]["content"][0]["Text"].as_str();
    text.filter(|_| refusal(seen).is_none())
        .unwrap_or_else(|| panic!("no answer: {seen}"))
}

/// Answers, refusals and the step's clock of one guest, with fuel that no clock lets it burn.
fn tools_of(guest: &str) {
    let program = [
        echo("Grüße, 世界"),
        call("ask", &json!({ "text": "who" })),
        call("fail", &json!({ "text": "my own words" })),
        call("grow", &json!({})),
        call("spin", &json!({})),
        echo("still here"),
    ];
    let settings = [("limits.fuel", "9000000000000000"), ("limits.step_wall", "2s")];
    let seen = calls(guest, &program, &settings).seen();
    assert_eq!(text(&seen[0]), "Grüße, 世界");
    assert!(text(&seen[1]).starts_with("who: "), "{}", seen[1]);
    assert_eq!(refusal(&seen[2]).as_deref(), Some("upstream"));
    assert!(message(&seen[2]).contains("my own words"), "{}", seen[2]);
    // Out of memory: the language may make an answer of it, or break; both are values, and no other refusal is.
    match refusal(&seen[3]).as_deref() {
        None => {
            let mebibytes: u64 = text(&seen[3]).parse().unwrap();
            assert!((8..64).contains(&mebibytes), "it got {mebibytes} MiB of 64");
        }
        Some(kind) => assert!(!["not-found", "invalid-input", "denied"].contains(&kind), "{}", seen[3]),
    }
    assert_eq!(refusal(&seen[4]).as_deref(), Some("timed-out"), "{}", seen[4]);
    assert!(message(&seen[4]).contains("limits.step_wall"), "{}", seen[4]);
    assert_eq!(text(&seen[5]), "still here", "each call has a fresh sandbox");
}

/// A loop without end burns what a call may burn, all of which is charged, and no more.
fn fuel_stops(guest: &str) {
    let program = [echo("before"), call("spin", &json!({})), echo("still here")];
    let fuel = FUEL.to_string();
    let output = calls(guest, &program, &[("limits.fuel", fuel.as_str())]);
    let seen = output.seen();
    assert_eq!(text(&seen[0]), "before");
    assert_eq!(refusal(&seen[1]).as_deref(), Some("exhausted(fuel)"), "{}", seen[1]);
    assert!(message(&seen[1]).contains("limits.fuel"), "{}", seen[1]);
    assert_eq!(text(&seen[2]), "still here", "each call has fuel of its own");
    let spent = output.spent("fuel");
    assert!((FUEL..2 * FUEL).contains(&spent), "{spent}");
}

/// A guest that never has enough gets what its limit has room for, and says so itself; a limit that is so much higher gives so
/// much more.
fn memory_stops(guest: &str) {
    let got = |limit: &str| {
        let program = [call("grow", &json!({})), echo("still here")];
        let seen = calls(guest, &program, &[("limits.memory", limit)]).seen();
        assert_eq!(text(&seen[1]), "still here", "each call has memory of its own");
        text(&seen[0]).parse::<u64>().unwrap()
    };
    let (less, more) = (got("32MiB"), got("64MiB"));
    assert!((8..32).contains(&less), "it got {less} MiB of 32");
    // Its allocator takes a little more than it is asked for.
    let got = format!("it got {less} MiB of 32, and {more} of 64");
    assert!((less + 30..=less + 34).contains(&more), "{got}");
}

#[test]
fn python() {
    tools_of("py-tool");
}

#[test]
fn python_with_its_wasi_imports() {
    tools_of("py-tool-wasi");
}

#[test]
fn javascript() {
    tools_of("js-tool");
}

#[test]
fn javascript_with_its_wasi_imports() {
    tools_of("js-tool-wasi");
}

#[test]
fn fuel_stops_python() {
    fuel_stops("py-tool");
}

#[test]
fn fuel_stops_javascript() {
    fuel_stops("js-tool");
}

#[test]
fn memory_stops_python() {
    memory_stops("py-tool");
}

#[test]
fn memory_stops_javascript() {
    memory_stops("js-tool");
}

#[test]
fn fuel_stops_a_call_from_the_terminal() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_guest(&server, Format::OpenAi, "js-tool");
    let host = home.host().set("limits.fuel", 50_000_000).arg("call");
    let output = host.arg(guests::built("js-tool")).arg("spin").output();
    output.expect(3).says(&["limits.fuel"]);
}

#[test]
fn one_place_is_enough_for_any_language() {
    let server = ModelServer::start(Vec::new());
    for guest in ["js-tool", "py-tool"] {
        let home = Home::with_guest(&server, Format::OpenAi, guest);
        let host = home
            .host()
            .set("limits.resident", 1)
            .arg("call")
            .arg(guests::built(guest));
        let output = host.args(["echo", r#"{"text":"hello"}"#]).output().expect(0);
        assert_eq!(output.stdout.trim(), "hello", "{guest}");
    }
}
