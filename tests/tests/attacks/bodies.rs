//! Answers to a plugin's requests that never end, unfold into more than they are, or come too slowly to be waited for.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hermes_tests::output::{refusal, slack};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::LONG;
use crate::cases::{Case, bodies, slow};
use crate::eventually;
use crate::serves::Serves;
use crate::site::Site;
use crate::wasi::{self, agent, call, told};

/// Memory that an answer may take beside its body's part that crosses, which the host has once and the guest once more, and beside what the allocator keeps of
/// the pieces that came: two runs of one case have differed by 27 MiB. The bodies that are cut have 64 MiB, or never end, or unfold into as much.
const BESIDE_KIB: u64 = 40 << 10;

fn get(authority: &str, path: &str) -> Value {
    json!({ "do": "send", "authority": authority, "path": path })
}

/// Tries these, none of which takes much more memory than one answer of that server.
#[track_caller]
fn take_little(served: &Serves, path: &str, cases: &[Case]) {
    let site = Site::new();
    let here = served.address.to_string();
    let little = told(&site, &[&format!("net:http://{here}")], &[get(&here, path)])
        .1
        .peak_kib;
    for case in cases {
        let held = site.tries(case).output.peak_kib;
        assert!(
            held < little + BESIDE_KIB,
            "{}: {held} KiB, and {little} for a little",
            case.name
        );
    }
    site.is_well();
}

#[test]
fn a37_what_is_packed_is_not_unpacked() {
    let served = bodies::server();
    take_little(&served, "/", &[bodies::packed(&served)]);
}

#[test]
fn a37_a_body_is_cut_where_it_is_too_long_however_it_comes() {
    let served = bodies::server();
    let mut all = bodies::cut(&served, 200_000, usize::MAX);
    all.extend(bodies::broken(&served, usize::MAX));
    take_little(&served, "/at", &all);
}

#[test]
fn a37_headers_to_the_last_one_and_the_last_byte() {
    let served = bodies::server();
    take_little(&served, "/", &bodies::headed(&served));
    assert_eq!(served.connections(), 1 + 3 + 1, "what is too large is not sent");
}

/// When the last request was there.
fn last_at(served: &Serves) -> Instant {
    served.requests().pop().unwrap().0
}

#[test]
fn a38_a_plugin_waits_for_a_slow_server_no_longer_than_the_host() {
    let site = Site::new();
    let served = slow::server();
    let limit = Duration::from_millis(600);
    for case in slow::waits(&served) {
        let before = served.connections();
        let host = site.host().set("limits.http.total", "600ms");
        let output = site.tries_on(host, &case).output;
        // The deaf one hears of no request.
        let took = match served.connections() > before {
            true => output.ended - last_at(&served),
            false => output.took,
        };
        let is_in_time = took < limit + slack() && output.took >= limit;
        assert!(is_in_time, "{}: {took:?}", case.name);
    }
    // It may wait less.
    let output = site.tries(&slow::waits_less(&served)).output;
    let took = output.ended - last_at(&served);
    assert!(took < Duration::from_millis(200) + slack(), "{took:?}");
    site.is_well();
}

#[test]
fn a38_a_slow_answer_keeps_nobody_from_stopping() {
    let site = Site::new();
    let served = slow::server();
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
    assert_eq!((output.code, served.connections()), (Some(0), 20), "{output:?}");
    for seen in &output.seen()[..20] {
        assert_eq!(wasi::in_call(seen)[0]["ok"]["text"], "ok", "{seen}");
    }
    site.is_well();
}
