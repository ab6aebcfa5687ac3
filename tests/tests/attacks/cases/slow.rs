//! Servers that answer by the drop, or never.

use std::io::{Result, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hermes_tests::model::Format;
use hermes_tests::output::{message, refusal};
use hermes_tests::program::ask;
use serde_json::{Value, json};

use super::Case;
use super::network::get;
use super::replies::REPLY;
use super::wire::{STREAM, chunk};
use crate::raw::Answer;
use crate::serves::{Serves, drips, path, silent};

/// The time between two drops.
const EVERY: Duration = Duration::from_millis(40);

/// A server that is slow in the way that its path says.
pub(crate) fn server() -> Serves {
    Serves::with(|request, stream| match path(request) {
        "/headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
            drips(stream, b"y", EVERY)
        }
        "/body" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
            drips(stream, b"z", EVERY)
        }
        "/continue" => drips(stream, b"HTTP/1.1 100 Continue\r\n\r\n", EVERY),
        _ => silent(stream),
    })
}

/// Requests to it, and to one that never says a word, which the host gives up. In each way there is a plugin that says nothing of how long it would wait, and
/// one that would wait for ten minutes.
pub(crate) fn waits(served: &Serves) -> Vec<Case> {
    let here = served.address.to_string();
    // It takes connections, so that there is no TLS session.
    let deaf = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let there = deaf.local_addr().unwrap().to_string();
    let mut cases = Vec::new();
    for (path, scheme) in [
        ("/", "http"),
        ("/headers", "http"),
        ("/body", "http"),
        ("/continue", "http"),
        ("/", "https"),
    ] {
        let (authority, grant) = match scheme {
            "https" => (&there, format!("net:{there}")),
            _ => (&here, format!("net:http://{here}")),
        };
        for wait_ms in [Value::Null, json!(600_000)] {
            let name = format!("a slow answer of {scheme}, {path}, {wait_ms} ms");
            let mut step = get(authority, path);
            step["scheme"] = json!(scheme);
            step["wait_ms"] = wait_ms;
            let case = Case::wasi(&name, &[step]).allow(grant.clone());
            // It listens for as long as there is this case.
            let deaf = deaf.clone();
            cases.push(case.sees(move |seen| {
                assert_eq!(seen[0]["error"], "HttpResponseTimeout", "{deaf:?}: {}", seen[0]);
            }));
        }
    }
    cases
}

/// A plugin that waits for less.
pub(crate) fn waits_less(served: &Serves) -> Case {
    let here = served.address.to_string();
    let mut step = get(&here, "/headers");
    step["wait_ms"] = json!(200);
    let case = Case::wasi("a slow answer that the plugin gives up", &[step]);
    case.allow(format!("net:http://{here}"))
        .sees(|seen| assert_eq!(seen[0]["error"], "ConnectionReadTimeout", "{}", seen[0]))
}

/// A model's server that answers so, and the clock that gives it up.
fn model(
    name: &str,
    key: &'static str,
    answer: impl Fn(&mut Answer) -> Result<()> + Send + Sync + 'static,
) -> (&'static str, Case) {
    let case = Case::steps(name, [ask("hi")]).answered(Format::OpenAi, REPLY, answer);
    let case = case.sees(move |seen| {
        assert_eq!(refusal(&seen[0]).as_deref(), Some("timed-out"), "{}", seen[0]);
        assert!(message(&seen[0]).contains(key), "{}", seen[0]);
    });
    (key, case)
}

/// Models' servers that drip, each with the clock of what it owes. Neither comments nor words that never end put the end off.
pub(crate) fn models() -> [(&'static str, Case); 6] {
    let (first, idle, total) = ("limits.llm.first_byte", "limits.llm.idle", "limits.llm.total");
    let word = br#"data: {"choices":[{"index":0,"delta":{"content":"x"}}]}"#;
    let word = chunk(&[word.as_slice(), b"\n\n"].concat());
    let (hello, still) = (chunk(b": hello\n\n"), chunk(b": still there\n\n"));
    [
        model("a model that says nothing", first, silent),
        model("a model that drips its head", first, |to| {
            to.say("HTTP/1.1 200 OK\r\nx: ")?;
            drips(to, b"y", EVERY)
        }),
        model("a model that asks for patience", first, |to| {
            drips(to, b"HTTP/1.1 100 Continue\r\n\r\n", EVERY)
        }),
        model("a model that falls silent", idle, move |to| {
            to.say([STREAM, &hello].concat())?;
            silent(to)
        }),
        model("a model that only comments", total, move |to| {
            to.say(STREAM)?;
            drips(to, &still, EVERY)
        }),
        model("a model that drips words", total, move |to| {
            to.say(STREAM)?;
            drips(to, &word, EVERY)
        }),
    ]
}
