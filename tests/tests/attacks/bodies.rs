//! Answers to a plugin's requests that never end, unfold into more than they are, or come too slowly to be waited for.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hermes_tests::output::{refusal, slack};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::LONG;
use crate::eventually;
use crate::serves::{Serves, drips, page, path, silent};
use crate::site::Site;
use crate::wasi::{self, agent, call, told, told_by};

/// The most of a body that crosses, by default.
const BODY: usize = 1 << 20;

/// Memory that an answer may take beside its body's part that crosses, which the host has once and the guest once more.
const BESIDE_KIB: u64 = 4 << 10;

fn get(authority: &str, path: &str) -> Value {
    json!({ "do": "send", "authority": authority, "path": path })
}

/// So many zeros, packed so many times over.
fn packed(mebibytes: u32, times: u32) -> Vec<u8> {
    let mut line = format!("head -c {mebibytes}M /dev/zero");
    for _ in 0..times {
        line.push_str(" | gzip -9");
    }
    let packed = Command::new("sh")
        .args(["-c", &line])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(packed.status.success() && packed.stdout.starts_with(b"\x1f\x8b"));
    packed.stdout
}

fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn a37_what_is_packed_is_not_unpacked() {
    let site = Site::new();
    let (once, twice) = (packed(100, 1), packed(100, 2));
    let sizes = [once.len(), twice.len()];
    let served = Serves::with(move |request, stream| {
        let answer = match path(request) {
            "/once" => encoded("gzip", &once),
            "/twice" => encoded("gzip, gzip", &twice),
            "/named-brotli" => encoded("br", &once),
            "/named-identity" => encoded("identity", &once),
            _ => page("little"),
        };
        stream.write_all(&answer)
    });
    let here = served.address.to_string();
    let grant = format!("net:http://{here}");
    let little = told(&site, &[&grant], &[get(&here, "/")]).1.peak_kib;
    let paths = ["/once", "/twice", "/named-brotli", "/named-identity"];
    let (seen, output) = told(&site, &[&grant], &paths.map(|path| get(&here, path)));
    let bytes: Vec<u64> = seen.iter().map(|seen| seen["ok"]["bytes"].as_u64().unwrap()).collect();
    assert_eq!(bytes, [sizes[0], sizes[1], sizes[0], sizes[0]].map(|size| size as u64));
    assert!(seen[0]["ok"]["headers"].to_string().contains("gzip"), "{}", seen[0]);
    assert!(
        output.peak_kib < little + BESIDE_KIB,
        "{} KiB, and {little} for a little",
        output.peak_kib
    );
    for request in served.seen() {
        assert!(
            request.to_ascii_lowercase().contains("accept-encoding: identity"),
            "{request}"
        );
    }
    site.is_well();
}

/// The end of what a tool was told of a body: its size, and what it ended with.
fn size_and_end(seen: &Value) -> (u64, bool) {
    let told = &seen["ok"];
    let bytes = told["bytes"].as_u64().unwrap_or_else(|| panic!("no answer: {seen}"));
    (bytes, told["broken"].is_string())
}

#[test]
fn a37_a_body_is_cut_where_it_is_too_long_however_it_comes() {
    let site = Site::new();
    let served = Serves::with(|request, stream| {
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        let block = vec![b'x'; 64 << 10];
        match path(request) {
            "/at" => stream.write_all(&page(&"x".repeat(BODY))),
            "/past" => stream.write_all(&page(&"x".repeat(BODY + 1))),
            "/chunks-without-end" => {
                stream.write_all(chunked)?;
                let chunk = [format!("{:x}\r\n", block.len()).as_bytes(), &block, b"\r\n"].concat();
                drips(stream, &chunk, Duration::ZERO)
            }
            "/without-length" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                drips(stream, &block, Duration::ZERO)
            }
            "/chunks-of-a-byte" => {
                stream.write_all(chunked)?;
                stream.write_all("1\r\nx\r\n".repeat(200_000).as_bytes())?;
                stream.write_all(b"0\r\n\r\n")
            }
            "/longer-than-said" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n")?;
                stream.write_all(&block)
            }
            "/shorter-than-said" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\nhalf")
            }
            "/lengths-that-differ" => stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 40\r\nconnection: close\r\n\r\nhalf",
            ),
            "/length-of-a-giant" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n")?;
                drips(stream, &block, Duration::ZERO)
            }
            "/length-below-nothing" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\nconnection: close\r\n\r\nhalf")
            }
            "/chunk-of-a-giant" => {
                stream.write_all(chunked)?;
                stream.write_all(b"ffffffffffffffff\r\n")?;
                drips(stream, &block, Duration::ZERO)
            }
            "/many-headers" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                drips(stream, "x: y\r\n".repeat(1_000).as_bytes(), Duration::ZERO)
            }
            "/a-header-without-end" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
                drips(stream, &block, Duration::ZERO)
            }
            _ => stream.write_all(b"no protocol that anybody knows\r\n\r\n"),
        }
    });
    let here = served.address.to_string();
    let grant = format!("net:http://{here}");
    let little = told(&site, &[&grant], &[get(&here, "/at")]).1.peak_kib;
    let bodies = [
        ("/at", BODY, false),
        ("/past", BODY, true),
        ("/chunks-without-end", BODY, true),
        ("/without-length", BODY, true),
        ("/chunks-of-a-byte", 200_000, false),
        ("/longer-than-said", 5, false),
        ("/chunk-of-a-giant", BODY, true),
    ];
    let (seen, output) = told(&site, &[&grant], &bodies.map(|(path, ..)| get(&here, path)));
    for ((path, bytes, is_cut), seen) in bodies.iter().zip(&seen) {
        assert_eq!(size_and_end(seen), (*bytes as u64, *is_cut), "{path}: {seen}");
        let is_said = seen["ok"]["headers"].to_string().contains("hermes-body-cut");
        assert_eq!(is_said, *is_cut, "{path}: {seen}");
    }
    assert!(
        output.peak_kib < little + BESIDE_KIB,
        "{} KiB, and {little} for one",
        output.peak_kib
    );
    let errors = [
        ("/shorter-than-said", "HttpProtocolError"),
        ("/lengths-that-differ", "HttpProtocolError"),
        ("/length-of-a-giant", "HttpProtocolError"),
        ("/length-below-nothing", "HttpProtocolError"),
        ("/many-headers", "HttpProtocolError"),
        ("/a-header-without-end", "HttpProtocolError"),
        ("/no-protocol", "HttpProtocolError"),
    ];
    let (seen, output) = told(&site, &[&grant], &errors.map(|(path, _)| get(&here, path)));
    for ((path, code), seen) in errors.iter().zip(&seen) {
        assert_eq!(seen["error"], *code, "{path}: {seen}");
    }
    assert!(
        output.peak_kib < little + BESIDE_KIB,
        "{} KiB, and {little} for one",
        output.peak_kib
    );
    site.is_well();
}

/// A server that is slow in the way that its path says.
fn slow() -> Serves {
    const EVERY: Duration = Duration::from_millis(40);
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

#[test]
fn a38_a_plugin_waits_for_a_slow_server_no_longer_than_the_host() {
    let site = Site::new();
    let served = slow();
    let here = served.address.to_string();
    let limit = Duration::from_millis(600);
    // It takes connections and never a word, so that there is no TLS session.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = deaf.local_addr().unwrap().to_string();
    let grants = [format!("net:http://{here}"), format!("net:{there}")];
    let grants = grants.each_ref().map(String::as_str);
    for (path, scheme) in [
        ("/", "http"),
        ("/headers", "http"),
        ("/body", "http"),
        ("/continue", "http"),
        ("/", "https"),
    ] {
        // The guest would wait for ten minutes.
        for wait_ms in [Value::Null, json!(600_000)] {
            let authority = if scheme == "https" { &there } else { &here };
            let mut step = get(authority, path);
            step["scheme"] = json!(scheme);
            step["wait_ms"] = wait_ms;
            let host = site.host().set("limits.http.total", "600ms");
            let (seen, output) = told_by(&site, host, &grants, &[step]);
            assert_eq!(seen[0]["error"], "HttpResponseTimeout", "{scheme} {path}: {seen:?}");
            // The deaf one hears of no request.
            let took = match scheme {
                "http" => output.ended - served.last_at(),
                _ => output.took,
            };
            let is_in_time = took < limit + slack() && output.took >= limit;
            assert!(is_in_time, "{scheme} {path}: {took:?}");
        }
    }
    // It may wait less.
    let mut step = get(&here, "/headers");
    step["wait_ms"] = json!(200);
    let (seen, output) = told(&site, &grants, &[step]);
    assert_eq!(seen[0]["error"], "ConnectionReadTimeout", "{seen:?}");
    let took = output.ended - served.last_at();
    assert!(took < Duration::from_millis(200) + slack(), "{took:?}");
    site.is_well();
}

#[test]
fn a38_a_slow_answer_keeps_nobody_from_stopping() {
    let site = Site::new();
    let served = slow();
    let here = served.address.to_string();
    let run = |steps: &[Value]| {
        let host = agent(site.host()).args(["--allow", &format!("net:http://{here}")]);
        host.probe(&json!({ "steps": steps }))
    };
    let slowly = json!({ "steps": [get(&here, "/body")] });
    // The agent gives the call up.
    let steps = [
        json!({ "do": "start-call", "name": "wasi", "arguments": slowly }),
        json!({ "do": "wait-any-call", "calls": [0], "timeout_ms": 200 }),
        json!({ "do": "cancel-call", "call": 0 }),
        json!({ "do": "wait-call", "call": 0 }),
    ];
    let attacked = site.attack(run(&steps));
    let seen = attacked.output.seen();
    assert_eq!(seen[1]["ok"], Value::Null);
    assert_eq!(refusal(&seen[3]).as_deref(), Some("cancelled"), "{}", seen[3]);
    attacked.within(Duration::from_secs(5));
    // A person stops the run.
    let before = served.connections();
    let process = run(&[call(&[get(&here, "/body")])]).start();
    eventually("the request", || (served.connections() > before).then_some(()));
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

#[test]
fn a38_servers_that_keep_their_connections_open_leave_none_with_the_host() {
    let site = Site::new();
    // It answers, keeps the connection, and counts those that are closed by the other side.
    let closed = Arc::new(AtomicUsize::new(0));
    let counted = closed.clone();
    let served = Serves::with(move |_, stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok")?;
        while stream.read(&mut [0; 64])? > 0 {}
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let here = served.address.to_string();
    let host = agent(site.host()).args(["--allow", &format!("net:http://{here}")]);
    let hold = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "HOLD STILL" }] }] });
    let all = [vec![call(&[get(&here, "/")]); 20], vec![hold]].concat();
    let mut process = host.probe(&json!({ "steps": all })).start();
    site.server.wait_for(1, LONG);
    eventually("the end of each connection", || {
        (closed.load(Ordering::SeqCst) == 20).then_some(())
    });
    assert!(!process.has_ended(), "they ended before it did");
    fs::write(site.gate(), "").unwrap();
    let output = process.finish();
    fs::remove_file(site.gate()).unwrap();
    site.keep("the attack", &output);
    assert_eq!((output.code, served.connections()), (Some(0), 20), "{output:?}");
    for seen in &output.seen()[..20] {
        assert_eq!(wasi::in_call(seen)[0]["ok"]["text"], "ok", "{seen}");
    }
    site.is_well();
}
