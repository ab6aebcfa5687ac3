//! A model whose replies have no end, no measure or no sense.

use std::time::Duration;

use hermes_tests::model::{Fault, Script, Turn};
use hermes_tests::output::{message, refusal};
use serde_json::{Value, json};

use crate::raw::{Answer, Raw};
use crate::site::Site;

/// `limits.reply` as it is where nobody set it.
const REPLY: u64 = 1 << 20;

/// What the host holds of a reply at most, beside what it reads of it.
const HELD: u64 = 8 << 20;

fn ask() -> Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] })
}

/// A run whose model is a server that answers so: what its completion saw, and the run's record of it.
#[track_caller]
fn asked(answer: impl Fn(&mut Answer) -> std::io::Result<()> + Send + Sync + 'static) -> (Value, Value, Raw) {
    let (site, raw) = (Site::new(), Raw::start(answer));
    site.home.configure(&raw.configuration());
    let program = json!({ "steps": [ask()], "summary": "done" });
    // What it saw is more than a report is let be otherwise.
    let host = site.host().set("limits.report", "8MiB");
    let host = host.set("limits.llm.tries", 1).args(["--model", "raw/model"]);
    let attacked = site.attack(host.probe(&program)).answers("done").holding(HELD);
    let seen = attacked.output.seen().remove(0);
    let shown = site.home.shown(attacked.output.json()["run"].as_str().unwrap());
    site.is_well();
    (seen, shown["agents"][0]["operations"][0].clone(), raw)
}

#[track_caller]
fn refused(seen: &Value, kind: &str, names: &[&str]) {
    assert_eq!(refusal(seen).as_deref(), Some(kind), "{seen}");
    for name in names {
        assert!(message(seen).contains(name), "{name:?} is missing: {seen}");
    }
}

#[test]
fn a13_a_text_to_the_last_byte_and_one_more() {
    let says = |bytes: u64| {
        asked(move |answer| {
            answer.streams()?;
            let text = "x".repeat(usize::try_from(bytes).unwrap());
            answer.event(&json!({ "role": "assistant", "content": text }), None)?;
            answer.event(&json!({}), Some("stop"))?;
            answer.say("data: [DONE]\n\n")
        })
    };
    let (seen, shown, _) = says(REPLY);
    assert_eq!(refusal(&seen), None, "{}", message(&seen));
    // It says nothing of what it used: so much is counted.
    assert!(shown["charged"]["tokens"].as_u64().unwrap() > REPLY / 8, "{shown}");
    let (seen, shown, _) = says(REPLY + 1);
    refused(&seen, "upstream", &["1048576 bytes", "limits.reply"]);
    assert!(shown["charged"]["tokens"].as_u64().unwrap() > 0, "{shown}");
}

#[test]
fn a13_a_gibibyte() {
    let (seen, shown, raw) = asked(|answer| {
        answer.streams()?;
        let text = "x".repeat(1 << 14);
        for _ in 0..1 << 16 {
            answer.event(&json!({ "content": text }), None)?;
        }
        Ok(())
    });
    refused(&seen, "upstream", &["limits.reply"]);
    assert!(
        raw.written() < 16 * REPLY,
        "the connection is closed: {} bytes",
        raw.written()
    );
    assert!(shown["charged"]["tokens"].as_u64().unwrap() > 0, "{shown}");
}

#[test]
fn a13_deltas_without_end() {
    // Not a word in any of them: what surrounds them is counted too.
    let (seen, _, raw) = asked(|answer| {
        answer.streams()?;
        loop {
            answer.event(&json!({ "content": "" }), None)?;
        }
    });
    refused(&seen, "upstream", &["limits.reply"]);
    assert!(raw.written() < 64 * REPLY, "{} bytes", raw.written());
}

#[test]
fn a13_a_million_calls_and_an_argument_of_a_hundred_megabytes() {
    let (seen, shown, _) = asked(|answer| {
        answer.streams()?;
        for n in 0..1_000_000 {
            let call = json!({ "index": n, "id": format!("c{n}"), "type": "function", "function": { "name": "x", "arguments": "{}" } });
            answer.event(&json!({ "tool_calls": [call] }), None)?;
        }
        answer.event(&json!({}), Some("tool_calls"))
    });
    assert!(
        ["limits.tool_calls", "limits.reply"]
            .iter()
            .any(|key| message(&seen).contains(key)),
        "{seen}"
    );
    assert_eq!(shown["charged"]["iterations"], 1, "{shown}");
    let (seen, _, raw) = asked(|answer| {
        answer.streams()?;
        let call =
            json!({ "index": 0, "id": "c", "type": "function", "function": { "name": "x", "arguments": "{\"a\":\"" } });
        answer.event(&json!({ "tool_calls": [call] }), None)?;
        let more = json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "x".repeat(1 << 16) } }] });
        for _ in 0..1600 {
            answer.event(&more, None)?;
        }
        Ok(())
    });
    refused(&seen, "upstream", &["limits.reply"]);
    assert!(raw.written() < 16 * REPLY, "{} bytes", raw.written());
}

#[test]
fn a13_headers_of_ten_megabytes() {
    let (seen, _, raw) = asked(|answer| {
        answer.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")?;
        for n in 0..10_000 {
            answer.say(format!("x-{n}: {}\r\n", "y".repeat(1000)))?;
        }
        answer.say("\r\n")
    });
    assert_eq!(refusal(&seen).as_deref(), Some("upstream"), "{seen}");
    assert!(raw.written() < 10_000_000, "{} bytes", raw.written());
}

#[test]
fn a13_usage_that_nobody_can_have_used() {
    for (used, least) in [
        (json!(-1), 2000),
        (json!(9_223_372_036_854_775_808_u64), 2000),
        (json!(1e300), 2000),
        (json!("many"), 2000),
    ] {
        let told = used.clone();
        let (seen, shown, _) = asked(move |answer| {
            answer.streams()?;
            answer.event(&json!({ "role": "assistant", "content": "word ".repeat(2000) }), None)?;
            answer.event(&json!({}), Some("stop"))?;
            let usage = json!({ "prompt_tokens": told, "completion_tokens": told, "total_tokens": told });
            let last = json!({ "id": "x", "object": "chat.completion.chunk", "model": "model", "choices": [], "usage": usage });
            answer.say(format!("data: {last}\n\ndata: [DONE]\n\n"))
        });
        assert_eq!(refusal(&seen), None, "{used}: {seen}");
        let tokens = shown["charged"]["tokens"].as_u64().unwrap();
        assert!(tokens >= least, "{used}: {tokens} tokens for what was counted");
    }
}

#[test]
fn a13_a_reply_that_never_ends_is_broken_off() {
    let site = Site::with(Script::always(Turn::fault(Fault::StallMidStream)));
    let host = site.host().set("limits.llm.total", "500ms").set("limits.llm.tries", 1);
    let attacked = site
        .attack(host.probe(&json!({ "steps": [ask()], "summary": "done" })))
        .answers("done");
    refused(&attacked.output.seen()[0], "timed-out", &["limits.llm.total"]);
    attacked.within(Duration::from_millis(500)).holding(HELD);
    site.is_well();
}
