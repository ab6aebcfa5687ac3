//! Model servers that stall, or garble their protocol.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hermes_tests::home::KEY_VARIABLE;
use hermes_tests::model::Format;
use hermes_tests::output::{message, refusal, slack};
use hermes_tests::{Host, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::serves::{Serves, drips, silent};
use crate::site::Site;

/// Makes the server a provider of OpenAI's protocol, by this name.
pub(crate) fn configure(site: &Site, name: &str, serves: &Serves) {
    configure_as(site, name, Format::OpenAi, serves);
}

fn configure_as(site: &Site, name: &str, format: Format, serves: &Serves) {
    let (kind, path) = match format {
        Format::OpenAi => ("openai", "/v1"),
        Format::Anthropic => ("anthropic", ""),
    };
    let url = format!("http://{}{path}", serves.address);
    site.home.configure(&format!(
        "\n[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{url}\"\nkey_env = \"{KEY_VARIABLE}\"\n\
         \n[models.\"{name}/test-model\"]\ncontext_tokens = 128000\nmax_output_tokens = 4096\n"
    ));
}

fn asks(n: usize) -> Value {
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }], "tools": "granted" });
    json!({ "steps": vec![ask; n] })
}

const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Sends the head of a stream, and these pieces of it, each in a chunk of its own.
fn stream(stream: &mut TcpStream, pieces: &[&[u8]]) -> std::io::Result<()> {
    stream.write_all(STREAM)?;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        stream.write_all(&chunk(piece))?;
    }
    stream.write_all(b"0\r\n\r\n")
}

#[test]
fn a38_a_model_that_drips_is_given_up_by_the_clock_of_what_it_owes() {
    const EVERY: Duration = Duration::from_millis(40);
    let text = br#"data: {"choices":[{"index":0,"delta":{"content":"x"}}]}"#;
    let text = [text.as_slice(), b"\n\n"].concat();
    type Answers = Box<dyn Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync>;
    let ways: [(&str, u64, Answers); 6] = [
        ("limits.llm.first_byte", 300, Box::new(silent)),
        (
            "limits.llm.first_byte",
            300,
            Box::new(|stream| drips(stream, b"H", EVERY)),
        ),
        (
            "limits.llm.first_byte",
            300,
            Box::new(|stream| drips(stream, b"HTTP/1.1 100 Continue\r\n\r\n", EVERY)),
        ),
        (
            "limits.llm.idle",
            400,
            Box::new(|stream| {
                stream.write_all(&[STREAM, &chunk(b": hello\n\n")].concat())?;
                silent(stream)
            }),
        ),
        // Neither comments nor words that never end put the end off.
        (
            "limits.llm.total",
            900,
            Box::new(|stream| {
                stream.write_all(STREAM)?;
                drips(stream, &chunk(b": still there\n\n"), EVERY)
            }),
        ),
        (
            "limits.llm.total",
            900,
            Box::new(move |stream| {
                stream.write_all(STREAM)?;
                drips(stream, &chunk(&text), EVERY)
            }),
        ),
    ];
    let site = Site::new();
    for (n, (key, limit, answers)) in ways.into_iter().enumerate() {
        let limit = Duration::from_millis(limit);
        let served = Serves::with(move |_, stream| answers(stream));
        let name = format!("slow{n}");
        configure(&site, &name, &served);
        let host = site.host().args(["--model", &format!("{name}/test-model")]);
        let host = host
            .set("limits.llm.first_byte", "300ms")
            .set("limits.llm.idle", "400ms");
        let host = host.set("limits.llm.total", "900ms").set("limits.llm.tries", 1);
        let attacked = site.attack(host.probe(&asks(1)));
        let seen = attacked.output.seen();
        assert_eq!(refusal(&seen[0]).as_deref(), Some("timed-out"), "{name}: {}", seen[0]);
        assert!(message(&seen[0]).contains(key), "{name}: {}", seen[0]);
        // As long as the host itself took for it.
        let run = attacked.output.json()["run"].as_str().unwrap().to_owned();
        let took = site.home.shown(&run)["agents"][0]["operations"][0]["ms"]
            .as_u64()
            .unwrap();
        let took = Duration::from_millis(took);
        assert!(limit <= took && took < limit + slack(), "{name}: {took:?}");
    }
    site.is_well();
}

#[test]
fn a38_a_model_that_drips_keeps_nobody_from_stopping() {
    let site = Site::new();
    let served = Serves::with(|_, stream| {
        stream.write_all(STREAM)?;
        drips(stream, &chunk(b": still there\n\n"), Duration::from_millis(40))
    });
    configure(&site, "slow", &served);
    let process = site.host().args(["--model", "slow/test-model"]).probe(&asks(1)).start();
    crate::eventually("the request", || (served.connections() > 0).then_some(()));
    let asked = Instant::now();
    process.signal(Signal::INT);
    let output = process.finish();
    assert_eq!(output.code, Some(130), "{output:?}");
    assert!(
        output.ended - asked < Duration::from_secs(2) + slack(),
        "{:?}",
        output.ended - asked
    );
    site.keep("the stopped run", &output);
    let run = site.home.newest_run();
    let cancelled = site.attack(site.host().args(["cancel", &run]));
    assert_eq!(cancelled.output.code, Some(0), "{:?}", cancelled.output);
    site.is_well();
}

/// One event of OpenAI's stream.
fn delta(delta: &Value) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": delta }] }))
}

fn finish(reason: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
    )
}

const DONE: &str = "data: [DONE]\n\n";

/// Part of a tool call.
fn part(index: i64, id: &str, name: &str, arguments: &str) -> String {
    let function = json!({ "name": name, "arguments": arguments });
    delta(&json!({ "tool_calls": [{ "index": index, "id": id, "function": function }] }))
}

/// A text with characters of two to four bytes, and a call whose arguments come in two parts.
fn openai() -> String {
    [
        delta(&json!({ "content": "né 東" })),
        delta(&json!({ "content": "京🌍" })),
        part(0, "c1", "echo", "{\"text\":"),
        part(0, "", "", "\"é\"}"),
        finish("tool_calls"),
        DONE.to_owned(),
    ]
    .concat()
}

/// The same of Anthropic's.
fn anthropic() -> String {
    let events = [
        json!({ "type": "message_start", "message": { "model": "m", "usage": { "input_tokens": 1, "output_tokens": 1 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "né 東" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "京🌍" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "tool_use", "id": "c1", "name": "echo", "input": {} } }),
        json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "input_json_delta", "partial_json": "{\"text\":" } }),
        json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "input_json_delta", "partial_json": "\"é\"}" } }),
        json!({ "type": "content_block_stop", "index": 1 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" }, "usage": { "output_tokens": 2 } }),
        json!({ "type": "message_stop" }),
    ];
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect()
}

/// What both say.
fn said() -> Value {
    let call = json!({ "id": "c1", "name": "echo", "arguments": "{\"text\":\"é\"}" });
    json!([{ "Text": "né 東京🌍" }, { "ToolCall": call }])
}

/// An agent with a tool, whose model is this provider's.
fn agent(site: &Site, name: &str) -> Host {
    let host = site.host().arg("--tool").arg(guests::built("pure-echo"));
    let host = host.args(["--model", &format!("{name}/test-model"), "--budget", "iterations=5000"]);
    host.set("limits.llm.tries", 1)
}

#[test]
fn a39_an_answer_is_the_same_wherever_the_network_cuts_it() {
    let site = Site::new();
    for (format, text, name) in [
        (Format::OpenAi, openai(), "cut-openai"),
        (Format::Anthropic, anthropic(), "cut-anthropic"),
    ] {
        let (bytes, asked) = (text.len(), AtomicUsize::new(0));
        // The first answer is whole, the second in single bytes, and each other is cut once, further and further on.
        let served = Serves::with(move |_, socket| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => stream(socket, &[text.as_bytes()]),
            1 => stream(socket, &text.as_bytes().chunks(1).collect::<Vec<_>>()),
            n => stream(socket, &[&text.as_bytes()[..n - 1], &text.as_bytes()[n - 1..]]),
        });
        configure_as(&site, name, format, &served);
        let answers = bytes + 1;
        let attacked = site.attack(agent(&site, name).set("limits.report", "16MiB").probe(&asks(answers)));
        let seen = attacked.output.seen();
        assert_eq!((seen.len(), served.connections()), (answers, answers));
        for (n, seen) in seen.iter().enumerate() {
            assert_eq!(seen["ok"]["parts"], said(), "{name}, answer {n}: {seen}");
        }
    }
    site.is_well();
}

/// What becomes of an odd answer.
enum Becomes {
    /// The answer that the same stream gives when it is in order.
    Same,
    /// Another answer, with these parts.
    Parts(Value),
    /// An error of this kind, which holds these words.
    Error(&'static str, &'static str),
}

/// Has a provider give each of these answers in turn, and asserts what becomes of them.
#[track_caller]
fn odd(format: Format, name: &str, answers: &[(&str, Vec<u8>, Becomes)]) {
    let site = Site::new();
    let bytes: Vec<Vec<u8>> = answers.iter().map(|(_, bytes, _)| bytes.clone()).collect();
    let (asked, bytes) = (AtomicUsize::new(0), Arc::new(bytes));
    let served = Serves::with(move |_, socket| {
        let answer = &bytes[asked.fetch_add(1, Ordering::SeqCst)];
        match answer.starts_with(b"HTTP/1.1") {
            true => socket.write_all(answer),
            false => stream(socket, &[answer]),
        }
    });
    configure_as(&site, name, format, &served);
    let attacked = site.attack(agent(&site, name).probe(&asks(answers.len())));
    let seen = attacked.output.seen();
    let mut wrong = Vec::new();
    for ((what, _, becomes), seen) in answers.iter().zip(&seen) {
        let parts = &seen["ok"]["parts"];
        let is_so = match becomes {
            Becomes::Same => *parts == said(),
            Becomes::Parts(expected) => parts == expected,
            Becomes::Error(kind, words) => refusal(seen).as_deref() == Some(*kind) && message(seen).contains(words),
        };
        if !is_so {
            wrong.push(format!("{what}: {seen}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(served.connections(), answers.len(), "none is asked for twice");
    site.is_well();
}

fn whole(kind: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes()
}

/// The head of an answer that ends with its connection.
fn head(fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\nconnection: close\r\n\r\n").into_bytes()
}

/// What every packed body begins with.
const PACKED: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";

#[test]
fn a39_an_odd_stream_of_openais_is_an_answer_or_one_error() {
    use Becomes::{Error, Parts, Same};
    let good = openai();
    let text = |text: &str| json!([{ "Text": text }]);
    let call = |id: &str, arguments: &str| json!({ "ToolCall": { "id": id, "name": "echo", "arguments": arguments } });
    let begins = delta(&json!({ "content": "a" }));
    let stop = finish("stop") + DONE;
    let broke = "broke off";
    let answers = vec![
        ("in order", good.clone(), Same),
        ("ended twice", good.clone() + DONE, Same),
        ("junk after its end", good.clone() + "data: {junk\n\n", Same),
        (
            "more after its end",
            good.clone() + &begins + &part(3, "c9", "echo", "{}"),
            Same,
        ),
        ("lines ended by CR LF", good.replace('\n', "\r\n"), Same),
        ("lines ended by CR", good.replace('\n', "\r"), Same),
        (
            "lines ended by each in turn",
            good.replacen("\n\n", "\r\n\r", 2).replacen("\n\n", "\r\r\n", 1),
            Same,
        ),
        ("a byte-order mark", format!("\u{feff}{good}"), Same),
        (
            "comments, ids and hints",
            format!(": hi\n\nid: 1\nretry: 5\n\n{}", good.replace("data: ", "data:")),
            Same,
        ),
        ("an event cut off by its end", good.trim_end().to_owned(), Same),
        ("no mark of its end", good.replace(DONE, ""), Same),
        (
            "another choice between",
            format!(
                "data: {}\n\n{good}",
                json!({ "choices": [{ "index": 1, "delta": { "content": "z" } }] })
            ),
            Same,
        ),
        (
            "events without choices",
            format!("data: {{}}\n\ndata: {{\"choices\":null}}\n\n{good}"),
            Same,
        ),
        (
            "calls in another order",
            part(1, "c2", "echo", "{\"text\":\"2\"}")
                + &part(0, "c1", "echo", "{\"text\":\"1\"}")
                + &finish("tool_calls")
                + DONE,
            Parts(json!([call("c2", "{\"text\":\"2\"}"), call("c1", "{\"text\":\"1\"}")])),
        ),
        (
            "an index of a giant",
            part(i64::MAX, "c1", "echo", "{}") + &finish("tool_calls") + DONE,
            Parts(json!([call("c1", "{}")])),
        ),
        (
            "one id for two calls",
            part(0, "c1", "echo", "{}") + &part(1, "c1", "echo", "{}") + &finish("tool_calls") + DONE,
            Parts(json!([call("c1", "{}"), call("call-2", "{}")])),
        ),
        ("bytes that are no text", String::new(), Parts(text("a\u{fffd}b"))),
        ("no end", begins.clone(), Error("upstream", broke)),
        ("an end and nothing else", DONE.to_owned(), Error("upstream", broke)),
        ("nothing", ": \n\n".to_owned(), Error("upstream", broke)),
        (
            "half a JSON text",
            begins.clone() + "data: {\"choices\":[{\"ind\n\n" + &stop,
            Error("upstream", broke),
        ),
        (
            "two JSON texts in one",
            begins.clone() + "data: {} {}\n\n" + &stop,
            Error("upstream", broke),
        ),
        (
            "half a character",
            begins.clone() + r#"data: {"choices":[{"delta":{"content":"\ud83d"}}]}"# + "\n\n" + &stop,
            Error("upstream", broke),
        ),
        (
            "too deep",
            format!("data: {}\n\n{stop}", "[".repeat(100_000)),
            Error("upstream", broke),
        ),
        (
            "a call without a name",
            part(0, "c1", "", "{}") + &finish("tool_calls") + DONE,
            Error("upstream", "without a name"),
        ),
        (
            "arguments of a call that never began",
            part(0, "c1", "echo", "{}") + &part(5, "", "", "{}") + &finish("tool_calls") + DONE,
            Error("upstream", "without a name"),
        ),
        (
            "a line without end",
            format!("data: {}", "x".repeat(10 << 20)),
            Error("upstream", "limits.reply"),
        ),
        (
            "an error within",
            begins.clone() + "data: {\"error\":{\"message\":\"no more\"}}\n\n",
            Error("upstream", "no more"),
        ),
    ];
    let mut answers: Vec<_> = answers
        .into_iter()
        .map(|(what, text, becomes)| (what, text.into_bytes(), becomes))
        .collect();
    for (what, bytes, _) in &mut answers {
        if *what == "bytes that are no text" {
            let head = br#"data: {"choices":[{"index":0,"delta":{"content":"a"#;
            *bytes = [head.as_slice(), b"\xff", br#"b"}}]}"#, b"\n\n", stop.as_bytes()].concat();
        }
    }
    answers.extend([
        (
            "an error at status 200",
            whole("application/json", r#"{"error":{"message":"no more"}}"#),
            Error("upstream", "no more"),
        ),
        (
            "an error in words",
            whole("application/json", r#"{"error":"no more"}"#),
            Error("upstream", "no more"),
        ),
        ("a list", whole("application/json", "[]"), Error("upstream", broke)),
        ("no JSON", whole("application/json", "ok"), Error("upstream", broke)),
        (
            "a web page",
            whole("text/html", "<h1>Sign in</h1>"),
            Error("upstream", "base_url"),
        ),
        ("no body", head("x: y"), Error("upstream", broke)),
        (
            "no content",
            b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec(),
            Error("upstream", broke),
        ),
        ("no HTTP", b"HTTP/1.1 what?\r\n\r\n".to_vec(), Error("upstream", broke)),
        (
            "packed",
            [
                head("content-type: text/event-stream\r\ncontent-encoding: gzip"),
                PACKED.to_vec(),
            ]
            .concat(),
            Error("upstream", broke),
        ),
    ]);
    odd(Format::OpenAi, "odd-openai", &answers);
}

#[test]
fn a39_an_odd_stream_of_anthropics_is_an_answer_or_one_error() {
    use Becomes::{Error, Same};
    let good = anthropic();
    let event = |value: &Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap());
    let late =
        event(&json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "text_delta", "text": "late" } }));
    let without = |kind: &str| {
        let events = good.split_inclusive("\n\n");
        events
            .filter(|event| !event.starts_with(&format!("event: {kind}\n")))
            .collect::<String>()
    };
    let broke = "broke off";
    let nameless = good.lines().filter(|line| !line.starts_with("event:"));
    let before = |place: &str, what: &str, times: usize| good.replacen(place, &format!("{what}{place}"), times);
    let stop = "event: content_block_stop";
    let weather = event(&json!({ "type": "weather" }));
    let half = json!({ "type": "input_json_delta", "partial_json": "{" });
    let half = event(&json!({ "type": "content_block_delta", "index": 0, "delta": half }));
    let error = event(&json!({ "type": "error", "error": { "type": "api_error", "message": "no more" } }));
    let answers = [
        ("in order", good.clone(), Same),
        ("lines ended by CR LF", good.replace('\n', "\r\n"), Same),
        (
            "events without names",
            nameless.map(|line| format!("{line}\n")).collect(),
            Same,
        ),
        (
            "names that say otherwise",
            good.replace("event: content_block_delta", "event: message_stop"),
            Same,
        ),
        ("events of the future", before(stop, &weather, 2), Same),
        ("a delta of another kind", before(stop, &half, 1), Same),
        ("more after its end", good.clone() + &late, Same),
        ("no mark of its end", without("message_stop"), Error("upstream", broke)),
        (
            "no reason for its end",
            without("message_delta"),
            Error("upstream", broke),
        ),
        (
            "a block without its end",
            without("content_block_stop"),
            Error("upstream", broke),
        ),
        (
            "a block without its beginning",
            without("content_block_start"),
            Error("upstream", "never began"),
        ),
        (
            "a block that goes on after its end",
            before("event: message_delta", &late, 1),
            Error("upstream", "never began"),
        ),
        (
            "a block of another index",
            good.replacen("\"index\":1", "\"index\":7", 1),
            Error("upstream", "never began"),
        ),
        (
            "a call without a name",
            good.replace("\"name\":\"echo\"", "\"name\":\"\""),
            Error("upstream", "without a name"),
        ),
        (
            "pings",
            event(&json!({ "type": "ping" })).repeat(1_000),
            Error("upstream", broke),
        ),
        (
            "an error within",
            good[..good.find(stop).unwrap()].to_owned() + &error,
            Error("upstream", "no more"),
        ),
        ("OpenAI's", openai(), Error("upstream", broke)),
    ];
    let answers = answers
        .into_iter()
        .map(|(what, text, becomes)| (what, text.into_bytes(), becomes));
    odd(Format::Anthropic, "odd-anthropic", &answers.collect::<Vec<_>>());
}
