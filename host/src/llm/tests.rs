//! The way of a completion over real sockets: a server on this machine that plays given answers byte by byte.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::bindings::llm::{FinishReason, Part};
use crate::config::model::ModelsConfig;
use crate::limits::Limits;
use crate::llm::history::tests::user;
use crate::llm::request::tests::request;
use crate::scrub::Secrets;

/// One answer of the server, to one request on a connection of its own.
#[derive(Clone)]
enum Play {
    /// These bytes, then the end.
    Whole(Vec<u8>),
    /// These bytes one at a time, then the end.
    Bytewise(Vec<u8>),
    /// These bytes, then silence until the client goes away.
    Stall(Vec<u8>),
    /// These bytes, after a while those, then silence until the client goes away.
    Late(Vec<u8>, Duration, Vec<u8>),
    /// These bytes for ever.
    Flood(Vec<u8>),
}

/// What the server saw.
struct Server {
    base_url: String,
    requests: Arc<Mutex<Vec<String>>>,
    /// One message for each client that went away from a [`Play::Stall`].
    gone: mpsc::UnboundedReceiver<()>,
}

async fn serve(plays: Vec<Play>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (tell, gone) = mpsc::unbounded_channel();
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        for play in plays {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let request = read_request(&mut stream).await;
            seen.lock().expect("not poisoned").push(request);
            answer(&mut stream, play, &tell).await;
        }
    });
    Server {
        base_url,
        requests,
        gone,
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.expect("a request");
        assert!(n > 0, "the client went away");
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

async fn answer(stream: &mut TcpStream, play: Play, gone: &mpsc::UnboundedSender<()>) {
    match play {
        // A client that has heard enough may be gone before the end.
        Play::Whole(bytes) => drop(stream.write_all(&bytes).await),
        Play::Bytewise(bytes) => {
            stream.set_nodelay(true).expect("set");
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
        Play::Stall(bytes) => {
            stream.write_all(&bytes).await.expect("written");
            let _ = stream.read(&mut [0; 1]).await;
            let _ = gone.send(());
        }
        Play::Late(head, after, bytes) => {
            stream.write_all(&head).await.expect("written");
            tokio::time::sleep(after).await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.read(&mut [0; 1]).await;
        }
        Play::Flood(bytes) => while stream.write_all(&bytes).await.is_ok() {},
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}

fn stream(events: &[serde_json::Value]) -> Vec<u8> {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    response("200 OK", "content-type: text/event-stream\r\n", &body)
}

fn text(content: &str) -> serde_json::Value {
    json!({ "model": "m-1", "choices": [{ "index": 0, "delta": { "content": content } }] })
}

fn done() -> [serde_json::Value; 2] {
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 3 });
    [
        json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }),
        json!({ "choices": [], "usage": usage }),
    ]
}

fn good(content: &str) -> Vec<u8> {
    let mut bytes = stream(&[&[text(content)][..], &done()].concat());
    bytes.extend_from_slice(b"data: [DONE]\n\n");
    bytes
}

fn error(status: &str, headers: &str, code: &str, message: &str) -> Play {
    let body = json!({ "error": { "message": message, "type": code, "code": code } }).to_string();
    Play::Whole(response(
        status,
        &format!("content-type: application/json\r\n{headers}"),
        &body,
    ))
}

fn model(kind: &str, base_url: &str, limits: &Limits) -> Model {
    model_with_key(kind, base_url, "sk-secret", limits)
}

fn model_with_key(kind: &str, base_url: &str, key: &str, limits: &Limits) -> Model {
    let text = format!(
        "[providers.test]\nkind = '{kind}'\nbase_url = '{base_url}'\nkey_env = 'K'\n[models.'test/m']\nprice = {{ input_usd_per_mtok = 1.0, output_usd_per_mtok = 2.0 }}"
    );
    let config: ModelsConfig = toml::from_str(&text).expect("a configuration");
    let env = |name: &str| (name == "K").then(|| key.to_owned());
    Catalogue::new(&config, &env, limits)
        .expect("a catalogue")
        .resolve("test/m")
        .expect("a model")
}

/// What a completion came to: its end, and what people saw.
struct Seen {
    end: Result<Reply, Failure>,
    deltas: Vec<Delta>,
    requests: Vec<String>,
}

async fn ask(kind: &str, plays: Vec<Play>, limits: &Limits) -> Seen {
    let server = serve(plays).await;
    let model = model(kind, &server.base_url, limits);
    let (end, deltas) = ask_model(&model, &CancellationToken::new()).await;
    let requests = server.requests.lock().expect("not poisoned").clone();
    Seen { end, deltas, requests }
}

async fn ask_model(model: &Model, cancel: &CancellationToken) -> (Result<Reply, Failure>, Vec<Delta>) {
    ask_for(model, &request(vec![user("hello")]), cancel).await
}

async fn ask_for(model: &Model, request: &Request, cancel: &CancellationToken) -> (Result<Reply, Failure>, Vec<Delta>) {
    let deltas = Mutex::new(Vec::new());
    let tell = |delta: Delta| deltas.lock().expect("not poisoned").push(delta);
    let deadline = Instant::now() + Duration::from_secs(60);
    let end = complete(model, request, &tell, &|_| Ok(()), cancel, deadline, deadline).await;
    (end, deltas.into_inner().expect("not poisoned"))
}

fn failure(seen: &Seen) -> &Failure {
    seen.end.as_ref().expect_err("it fails")
}

#[tokio::test]
async fn text_cut_at_every_byte_arrives_whole() {
    let seen = ask("openai", vec![Play::Bytewise(good("é€😀"))], &Limits::default()).await;
    let reply = seen.end.expect("answered");
    assert_eq!(reply.completion.parts, [Part::Text("é€😀".into())]);
    assert_eq!(reply.completion.model, "m-1");
    let usage = &reply.completion.usage;
    assert_eq!(
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.cost_micro_usd,
            usage.estimated
        ),
        (10, 3, 16, false)
    );
    assert_eq!(seen.deltas, [Delta::Text("é€😀".into())]);
    let head = seen.requests[0].to_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1"), "{head}");
    assert!(
        head.contains("authorization: bearer sk-secret") && head.contains("idempotency-key: key-1"),
        "{head}"
    );
}

#[tokio::test]
async fn failures_that_pass_are_tried_again_with_the_same_key() {
    let busy = error("500 Oops", "retry-after-ms: 1\r\n", "server_error", "busy");
    let seen = ask(
        "openai",
        vec![busy.clone(), busy, Play::Whole(good("ok"))],
        &Limits::default(),
    )
    .await;
    let reply = seen.end.as_ref().expect("answered");
    assert_eq!(reply.tries, 3);
    // Refused tries cost nothing.
    assert_eq!(reply.completion.usage.input_tokens, 10);
    assert!(
        seen.requests
            .iter()
            .all(|request| request.contains("idempotency-key: key-1"))
    );
    assert_eq!(seen.deltas, [Delta::Text("ok".into())]);
}

#[tokio::test]
async fn a_broken_stream_starts_again_and_is_charged() {
    let cut = Play::Whole(stream(&[text("half an ans")]));
    let limits = Limits::default();
    let seen = ask("openai", vec![cut, Play::Whole(good("whole"))], &limits).await;
    let reply = seen.end.as_ref().expect("answered");
    assert_eq!(reply.completion.parts, [Part::Text("whole".into())]);
    assert!(reply.completion.usage.input_tokens > 10 && reply.completion.usage.estimated);
    assert!(matches!(seen.deltas[1], Delta::Restarted { .. }), "{:?}", seen.deltas);
}

#[tokio::test]
async fn a_half_tool_call_is_never_an_answer() {
    let call = json!({ "choices": [{ "delta": { "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } }] } }] });
    let limits = Limits {
        llm_tries: 1,
        ..Limits::default()
    };
    let seen = ask("openai", vec![Play::Whole(stream(&[call]))], &limits).await;
    assert_eq!(failure(&seen).refusal.kind.name(), "upstream");
    assert!(failure(&seen).sent && failure(&seen).spent.estimated);
}

#[tokio::test]
async fn a_refused_key_is_final_and_never_shown() {
    let refused = error(
        "401 Unauthorized",
        "",
        "invalid_api_key",
        "Incorrect API key provided: sk-secret",
    );
    let seen = ask("openai", vec![refused], &Limits::default()).await;
    let failure = failure(&seen);
    assert_eq!((failure.refusal.kind.name(), failure.tries), ("llm-auth", 1));
    let message = &failure.refusal.message;
    assert!(
        message.contains("test") && message.contains("the environment variable K"),
        "{message}"
    );
    assert!(!message.contains("sk-secret"), "{message}");
    assert_eq!(failure.spent.input_tokens, 0);
}

#[tokio::test]
async fn a_long_retry_after_is_told_at_once() {
    let slow = error("429 Slow", "retry-after: 600\r\n", "rate_limit_exceeded", "slow");
    let seen = ask("openai", vec![slow], &Limits::default()).await;
    let failure = failure(&seen);
    assert_eq!(
        (
            failure.refusal.kind.name(),
            failure.refusal.retry_after_ms,
            failure.tries
        ),
        ("rate-limited", Some(600_000), 1)
    );
}

/// Asks a server that plays `play` and sees to it that the end comes at `limit`, in milliseconds, and not before.
async fn timed(play: Play, limits: &Limits, limit: u64) -> Seen {
    let factor = std::env::var("HERMES_TEST_SLACK")
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    let slack = Duration::from_millis(250) * factor.unwrap_or(1);
    let begun = Instant::now();
    let seen = ask("openai", vec![play], limits).await;
    let (took, limit) = (begun.elapsed(), Duration::from_millis(limit));
    assert!(
        limit <= took && took <= limit + slack,
        "{took:?} for a limit of {limit:?}"
    );
    assert_eq!(failure(&seen).refusal.kind.name(), "timed-out");
    seen
}

fn headers() -> Vec<u8> {
    response("200 OK", "content-type: text/event-stream\r\n", "")
}

#[tokio::test]
async fn a_stall_times_out_by_the_idle_limit() {
    let limits = Limits {
        llm_idle: 300,
        llm_tries: 1,
        ..Limits::default()
    };
    let seen = timed(Play::Stall(stream(&[text("abc")])), &limits, 300).await;
    let failure = failure(&seen);
    assert!(
        failure.refusal.message.contains("limits.llm.idle"),
        "{}",
        failure.refusal.message
    );
    assert!(failure.spent.output_tokens > 0 && failure.spent.estimated);
}

#[tokio::test]
async fn silence_times_out_by_the_first_byte_before_the_headers_and_after_them() {
    let limits = Limits {
        llm_first_byte: 300,
        llm_tries: 1,
        ..Limits::default()
    };
    for before in [Vec::new(), headers()] {
        let seen = timed(Play::Stall(before), &limits, 300).await;
        let message = &failure(&seen).refusal.message;
        assert!(message.contains("limits.llm.first_byte"), "{message}");
    }
    // Late headers and a body that is later still have one clock together.
    timed(
        Play::Late(Vec::new(), Duration::from_millis(200), headers()),
        &limits,
        300,
    )
    .await;
    // An answer that takes long to begin has more time than one that pauses.
    let patient = Limits {
        llm_first_byte: 60_000,
        llm_idle: 100,
        llm_tries: 1,
        ..Limits::default()
    };
    for head in [Vec::new(), headers()] {
        let rest = good("ok").split_off(head.len());
        let seen = ask(
            "openai",
            vec![Play::Late(head, Duration::from_millis(300), rest)],
            &patient,
        )
        .await;
        assert!(seen.end.is_ok(), "{:?}", seen.end);
    }
}

#[tokio::test]
async fn a_trickle_times_out_by_the_total() {
    let limits = Limits {
        llm_total: 300,
        ..Limits::default()
    };
    let mut trickle = headers();
    trickle.extend_from_slice(b": alive\n\n");
    let seen = timed(Play::Stall(trickle), &limits, 300).await;
    assert!(failure(&seen).refusal.message.contains("limits.llm.total"));
}

#[tokio::test]
async fn an_endless_reply_is_cut_off() {
    let limits = Limits {
        reply: 10_000,
        ..Limits::default()
    };
    let event = format!("data: {}\n\n", text(&"x".repeat(500)));
    let comments = ": keep-alive\n\n".repeat(100);
    for (start, more) in [
        (stream(&[]), event),
        (stream(&[]), comments),
        (stream(&[]), "x".repeat(1_000)),
    ] {
        let mut bytes = start;
        bytes.extend_from_slice(more.repeat(5_000).as_bytes());
        let seen = ask("openai", vec![Play::Flood(bytes)], &limits).await;
        let failure = failure(&seen);
        assert_eq!((failure.refusal.kind.name(), failure.tries), ("upstream", 1));
        assert!(
            failure.refusal.message.contains("limits.reply"),
            "{}",
            failure.refusal.message
        );
    }
}

#[tokio::test]
async fn a_cancel_closes_the_connection_and_charges_what_came() {
    let mut server = serve(vec![Play::Stall(stream(&[text("abc")]))]).await;
    let model = model("openai", &server.base_url, &Limits::default());
    let cancel = CancellationToken::new();
    let tell = |delta: Delta| {
        if matches!(delta, Delta::Text(_)) {
            cancel.cancel();
        }
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let failure = complete(
        &model,
        &request(vec![user("hello")]),
        &tell,
        &|_| Ok(()),
        &cancel,
        deadline,
        deadline,
    )
    .await
    .expect_err("cancelled");
    assert_eq!(failure.refusal.kind.name(), "cancelled");
    assert!(failure.sent && failure.spent.output_tokens > 0);
    server.gone.recv().await.expect("the server sees the client go");
}

#[tokio::test]
async fn a_dropped_completion_closes_the_connection() {
    let mut server = serve(vec![Play::Stall(Vec::new())]).await;
    let model = model("openai", &server.base_url, &Limits::default());
    let task = tokio::spawn(async move { ask_model(&model, &CancellationToken::new()).await });
    while server.requests.lock().expect("not poisoned").is_empty() {
        tokio::task::yield_now().await;
    }
    task.abort();
    server.gone.recv().await.expect("the server sees the client go");
}

#[tokio::test]
async fn nobody_there_means_nothing_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    drop(listener);
    let model = model(
        "openai",
        &base_url,
        &Limits {
            llm_tries: 1,
            ..Limits::default()
        },
    );
    let (end, _) = ask_model(&model, &CancellationToken::new()).await;
    let failure = end.expect_err("nobody there");
    assert_eq!(
        (failure.refusal.kind.name(), failure.sent, failure.spent.input_tokens),
        ("upstream", false, 0)
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let away = Play::Whole(response(
        "302 Found",
        "location: http://127.0.0.1:1/\r\ncontent-length: 0\r\n",
        "",
    ));
    let seen = ask("openai", vec![away], &Limits::default()).await;
    assert_eq!(
        (failure(&seen).refusal.kind.name(), failure(&seen).tries),
        ("upstream", 1)
    );
    assert!(failure(&seen).refusal.message.contains("redirect"));
}

#[tokio::test]
async fn the_output_limits_other_name_is_learned() {
    let refused = error(
        "400 Bad",
        "",
        "unsupported_parameter",
        "Use 'max_completion_tokens' instead of 'max_tokens'.",
    );
    let seen = ask("openai", vec![refused, Play::Whole(good("ok"))], &Limits::default()).await;
    assert!(seen.end.is_ok());
    assert!(seen.requests[0].contains("\"max_tokens\":100"));
    assert!(seen.requests[1].contains("\"max_completion_tokens\":100"));
}

#[tokio::test]
async fn a_name_that_another_try_learned_meanwhile_is_taken_too() {
    let server = serve(vec![
        error("400 Bad", "", "unsupported_parameter", "Use 'max_completion_tokens'."),
        Play::Whole(good("ok")),
    ])
    .await;
    let model = model("openai", &server.base_url, &Limits::default());
    let provider::Backend::Http(endpoint) = &model.provider.backend else {
        panic!("a script")
    };
    let fault = fault::Fault::Status(fault::StatusFault {
        status: 400,
        code: String::new(),
        message: "Use 'max_completion_tokens'.".into(),
        retry_after: None,
    });
    // Two tries were sent under the old name; each is told of the new one, and each is worth another.
    assert!(endpoint.learns_from(&fault, openai::OutputLimit::MaxTokens));
    assert!(endpoint.learns_from(&fault, openai::OutputLimit::MaxTokens));
    // One that was sent under the new name has learned nothing.
    assert!(!endpoint.learns_from(&fault, openai::OutputLimit::MaxCompletionTokens));
    let (end, _) = ask_model(&model, &CancellationToken::new()).await;
    assert_eq!(end.expect_err("refused").refusal.kind.name(), "invalid-input");
}

#[tokio::test]
async fn a_key_in_a_reply_reaches_nobody() {
    let key = "sk-secret-of-the-provider";
    let halves = key.split_at(9);
    let reasoning = |text: &str| json!({ "choices": [{ "delta": { "reasoning_content": text } }] });
    let function = json!({ "name": key, "arguments": json!({ "x": key }).to_string() });
    let call = json!({ "choices": [{ "delta": { "tool_calls": [{ "index": 0, "id": key, "function": function }] } }] });
    let named = json!({ "model": key, "choices": [] });
    let mut events = vec![
        named,
        reasoning(halves.0),
        reasoning(halves.1),
        text("it is "),
        text(halves.0),
        text(halves.1),
    ];
    events.extend([text("."), call]);
    events.extend(done());
    let server = serve(vec![Play::Whole(stream(&events))]).await;
    let model = model_with_key("openai", &server.base_url, key, &Limits::default());
    let request = Request {
        secrets: Secrets::and_keys([], [("maker".to_owned(), key.to_owned())]),
        ..request(vec![user("hello")])
    };
    let (end, _) = ask_for(&model, &request, &CancellationToken::new()).await;
    assert!(
        server.requests.lock().expect("not poisoned")[0].contains(key),
        "the provider gets it"
    );
    let completion = end.expect("answered").completion;
    assert!(!format!("{completion:?}").contains("sk-secret"), "{completion:?}");
    assert_eq!(completion.parts[0], Part::Reasoning("[secret maker]".into()));
    assert!(matches!(&completion.parts[3], Part::ToolCall(call) if call.arguments == r#"{"x":"[secret maker]"}"#));
    let words = error("400 Bad Request", "", "invalid_request", &format!("bad {key}"));
    let server = serve(vec![words]).await;
    let model = model_with_key("openai", &server.base_url, key, &Limits::default());
    let (end, _) = ask_for(&model, &request, &CancellationToken::new()).await;
    let message = end.expect_err("refused").refusal.message;
    assert!(
        message.contains("bad [secret maker]") && !message.contains(key),
        "{message}"
    );
}

#[tokio::test]
async fn no_try_is_waited_for_whose_answer_comes_too_late() {
    let (cancel, request) = (CancellationToken::new(), request(vec![user("hello")]));
    let limits = Limits::default();
    let deadline = Instant::now() + Duration::from_secs(60);
    let slow = |headers: &str| error("429 Slow", headers, "rate_limit_exceeded", "slow");
    let broken = error("500 Broken", "", "server_error", "broken");
    for (first, kind) in [(slow("retry-after: 20\r\n"), "rate-limited"), (broken, "upstream")] {
        let server = serve(vec![first, Play::Whole(good("ok"))]).await;
        let model = model("openai", &server.base_url, &limits);
        let now = Instant::now();
        let failure = complete(&model, &request, &|_| {}, &|_| Ok(()), &cancel, deadline, now)
            .await
            .expect_err("it is too late for another");
        assert_eq!((failure.refusal.kind.name(), failure.tries), (kind, 1));
    }
    // There is time for this one.
    let server = serve(vec![slow("retry-after-ms: 20\r\n"), Play::Whole(good("ok"))]).await;
    let endpoint = model("openai", &server.base_url, &limits);
    let reply = complete(&endpoint, &request, &|_| {}, &|_| Ok(()), &cancel, deadline, deadline).await;
    assert_eq!(reply.expect("answered").tries, 2);
    // What was sent in time is not broken off by that.
    let server = serve(vec![Play::Whole(good("ok"))]).await;
    let endpoint = model("openai", &server.base_url, &limits);
    let now = Instant::now();
    let reply = complete(&endpoint, &request, &|_| {}, &|_| Ok(()), &cancel, deadline, now).await;
    assert_eq!(reply.expect("answered").tries, 1);
}

#[tokio::test]
async fn a_try_that_was_lost_is_followed_by_another_only_where_there_is_room_for_it() {
    let cut = || Play::Whole(stream(&[text("half an answer")]));
    let limits = Limits::default();
    let server = serve(vec![cut(), Play::Whole(good("ok"))]).await;
    let model = model("openai", &server.base_url, &limits);
    let asked = Mutex::new(Vec::new());
    let spare = |lost: &crate::bindings::llm::Usage| {
        asked.lock().expect("not poisoned").push(*lost);
        Err(crate::error::Dimension::CostMicroUsd)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let cancel = CancellationToken::new();
    let request = request(vec![user("hello")]);
    let failure = complete(&model, &request, &|_| {}, &spare, &cancel, deadline, deadline)
        .await
        .expect_err("no room");
    let asked = asked.into_inner().expect("not poisoned");
    assert!(asked.len() == 1 && asked[0].cost_micro_usd > 0, "{asked:?}");
    assert_eq!((failure.refusal.kind.name(), failure.tries), ("upstream", 1));
    let message = &failure.refusal.message;
    assert!(
        message.contains("broke off") && message.contains("(--budget usd=N)"),
        "{message}"
    );
    assert_eq!(failure.spent, asked[0]);
}

#[tokio::test]
async fn an_address_without_the_protocol_is_told_from_an_unknown_model() {
    let page = || {
        Play::Whole(response(
            "404 Not Found",
            "content-type: text/plain\r\n",
            "404 page not found",
        ))
    };
    let detail = Play::Whole(response(
        "404 Not Found",
        "",
        &json!({ "detail": "Not Found" }).to_string(),
    ));
    let server = serve(vec![
        page(),
        detail,
        error("404 Not Found", "", "model_not_found", "no model m"),
    ])
    .await;
    let bare = model("openai", server.base_url.trim_end_matches("/v1"), &Limits::default());
    let refusal = |end: Result<Reply, Failure>| end.expect_err("refused").refusal;
    let first = refusal(ask_model(&bare, &CancellationToken::new()).await.0);
    assert!(
        first
            .message
            .contains("nothing there (404); does the base URL need /v1"),
        "{first}"
    );
    let whole = model("openai", &server.base_url, &Limits::default());
    let second = refusal(ask_model(&whole, &CancellationToken::new()).await.0);
    assert!(
        second.message.contains("is the base URL right") && second.message.contains("providers.test.base_url"),
        "{second}"
    );
    assert_eq!((first.kind.name(), second.kind.name()), ("upstream", "upstream"));
    let third = refusal(ask_model(&whole, &CancellationToken::new()).await.0);
    assert_eq!(third.kind.name(), "not-found");
    assert!(
        third.message.contains("does not know the model m: no model m"),
        "{third}"
    );
}

#[tokio::test]
async fn a_request_that_is_too_long_is_not_tried_again() {
    let refused = error("400 Bad", "", "context_length_exceeded", "too long");
    let seen = ask("openai", vec![refused], &Limits::default()).await;
    assert_eq!(
        (failure(&seen).refusal.kind.name(), failure(&seen).tries),
        ("invalid-input", 1)
    );
    assert!(failure(&seen).refusal.message.contains("longer than the window"));
}

#[tokio::test]
async fn a_whole_json_answer_is_taken_for_a_stream() {
    let body =
        json!({ "model": "m", "choices": [{ "message": { "content": "hi" }, "finish_reason": "stop" }] }).to_string();
    let play = Play::Whole(response("200 OK", "content-type: application/json\r\n", &body));
    let reply = ask("openai", vec![play], &Limits::default())
        .await
        .end
        .expect("answered");
    assert_eq!(reply.completion.parts, [Part::Text("hi".into())]);
    assert!(reply.completion.usage.estimated && reply.completion.usage.input_tokens > 0);
}

#[tokio::test]
async fn messages_are_spoken_too() {
    let usage = json!({ "input_tokens": 5, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 1, "output_tokens": 1 });
    let events = [
        json!({ "type": "message_start", "message": { "model": "c-1", "usage": usage } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "hé" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 7 } }),
        json!({ "type": "message_stop" }),
    ];
    let seen = ask("anthropic", vec![Play::Bytewise(stream(&events))], &Limits::default()).await;
    let completion = seen.end.expect("answered").completion;
    assert_eq!(
        (completion.parts, completion.finish_reason),
        (vec![Part::Text("hé".into())], FinishReason::Stop)
    );
    // 5 fresh, 4 written at 1.25, 1 cached as fresh, 7 out at 2: 5 + 5 + 1 + 14.
    let usage = completion.usage;
    assert_eq!(
        (
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.output_tokens,
            usage.cost_micro_usd
        ),
        (10, 1, 7, 25)
    );
    let head = &seen.requests[0];
    assert!(head.starts_with("POST /v1/messages HTTP/1.1"), "{head}");
    assert!(
        head.contains("x-api-key: sk-secret") && head.contains("anthropic-version: 2023-06-01"),
        "{head}"
    );
}

#[tokio::test]
async fn a_local_server_is_found_by_its_list() {
    let body = json!({ "data": [{ "id": "nomic-embed" }, { "id": "qwen3" }] }).to_string();
    let server = serve(vec![Play::Whole(response(
        "200 OK",
        "content-type: application/json\r\n",
        &body,
    ))])
    .await;
    let host = server.base_url.trim_end_matches("/v1").to_owned();
    let env = move |name: &str| (name == "OLLAMA_HOST").then(|| host.clone());
    let catalogue = Catalogue::new(&ModelsConfig::default(), &env, &Limits::default()).expect("a catalogue");
    let model = catalogue.choose(None).await.expect("a model");
    assert_eq!((model.full_name().as_str(), model.price), ("ollama/qwen3", None));
}

#[tokio::test]
async fn a_server_that_the_environment_names_is_asked_for_its_models() {
    let list = |ids: &[&str]| {
        let ids: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
        let body = json!({ "data": ids }).to_string();
        Play::Whole(response("200 OK", "content-type: application/json\r\n", &body))
    };
    let refused = error("401 No", "", "invalid_api_key", "bad key sk-1");
    for (kind, plays) in [
        (
            "OPENAI",
            vec![list(&["embed-1", "m-1", "m-2"]), list(&[]), refused.clone()],
        ),
        ("ANTHROPIC", vec![list(&["m-1"]), list(&[]), refused]),
    ] {
        let server = serve(plays).await;
        let url = match kind {
            "ANTHROPIC" => server.base_url.trim_end_matches("/v1").to_owned(),
            _ => server.base_url.clone(),
        };
        let (key, address) = (format!("{kind}_API_KEY"), format!("{kind}_BASE_URL"));
        let env = |name: &str| match name {
            _ if name == key => Some("sk-1".to_owned()),
            _ if name == address => Some(url.clone()),
            _ => None,
        };
        let catalogue = Catalogue::new(&ModelsConfig::default(), &env, &Limits::default()).expect("a catalogue");
        let provider = kind.to_lowercase();
        let model = catalogue.choose(None).await.expect("a model");
        assert_eq!(model.full_name(), format!("{provider}/m-1"));
        for words in ["lists no model", "answers 401"] {
            let error = catalogue.choose(None).await.expect_err("no list").to_string();
            let named = [words, &address, &format!("--model {provider}/NAME")];
            assert!(
                named.iter().all(|word| error.contains(word)) && !error.contains("sk-1"),
                "{error}"
            );
        }
        let requests = server.requests.lock().expect("not poisoned");
        assert!(
            requests
                .iter()
                .all(|request| request.starts_with("GET /v1/models ") && request.contains("sk-1"))
        );
    }
}

/// Reads `bytes` as a stream that ends after them.
fn read_stream(mut decoder: Box<dyn protocol::Decode>, bytes: &[u8]) -> Result<protocol::Answer, fault::Fault> {
    let mut parser = sse::Parser::new(10_000);
    let mut events = Vec::new();
    parser.feed(bytes, &mut events).expect("short lines");
    parser.finish(&mut events).expect("short lines");
    for event in events {
        decoder.event(&event, &|_| {})?;
    }
    decoder.finish()
}

#[test]
fn a_stream_cut_at_any_byte_is_the_whole_answer_or_none() {
    use crate::config::model::ProviderKind;
    let call = |arguments: &str| {
        json!({ "choices": [{ "delta": { "tool_calls": [
        { "index": 0, "id": "a", "function": { "name": "f", "arguments": arguments } } ] } }] })
    };
    let end = json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] });
    let chunks = vec![text("é"), call("{\"x\""), call(":1}"), end];
    let block = json!({ "type": "tool_use", "id": "a", "name": "f", "input": {} });
    let messages = vec![
        json!({ "type": "message_start", "message": { "model": "c" } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "input_json_delta", "partial_json": "{\"x\":1}" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use" } }),
        json!({ "type": "message_stop" }),
    ];
    for (kind, events) in [(ProviderKind::Openai, chunks), (ProviderKind::Anthropic, messages)] {
        let bytes: Vec<u8> = events
            .iter()
            .flat_map(|event| format!("data: {event}\r\n\r\n").into_bytes())
            .collect();
        let decoder = || -> Box<dyn protocol::Decode> {
            let owner = opaque::Owner {
                kind,
                provider: "p".into(),
            };
            match kind {
                ProviderKind::Anthropic => Box::new(anthropic::Decoder::new(owner, &Limits::default())),
                _ => Box::new(openai::Decoder::new(owner, &Limits::default())),
            }
        };
        let whole = read_stream(decoder(), &bytes).expect("whole");
        for cut in 0..bytes.len() {
            if let Ok(answer) = read_stream(decoder(), &bytes[..cut]) {
                assert_eq!(answer, whole, "{kind:?} {cut}");
                // Nothing but line ends is missing.
                assert!(bytes[cut..].iter().all(u8::is_ascii_whitespace), "{kind:?} {cut}");
            }
        }
    }
}
