use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::scrub::Secrets;

/// A server on loopback that answers each connection with the next text, and keeps what it was sent.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

/// What a server does when it has written an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Closes,
    Stalls,
}

impl Server {
    async fn start(answers: Vec<String>) -> Self {
        Self::start_and(answers, Then::Closes).await
    }

    async fn start_and(answers: Vec<String>, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let mut request = vec![0; 64 << 10];
                let length = socket.read(&mut request).await.expect("a request");
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                kept.lock().expect("unpoisoned").push(text);
                // The client hangs up where a cap is met.
                let _ = socket.write_all(answer.as_bytes()).await;
                if answer.is_empty() || then == Then::Stalls {
                    std::future::pending::<()>().await;
                }
            }
        });
        Self { port, seen }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn rule(&self) -> NetRule {
        self.url().parse().expect("a rule")
    }

    fn seen(&self) -> Vec<String> {
        self.seen
            .lock()
            .expect("unpoisoned")
            .iter()
            .map(|text| text.to_lowercase())
            .collect()
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn moved(status: u16, to: &str) -> String {
    format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

fn limits(set: &[(&str, u64)]) -> Limits {
    let mut limits = Limits::default();
    set.iter()
        .for_each(|(key, value)| limits.set(key, *value).expect("in range"));
    limits
}

async fn send(limits: &Limits, rules: &[NetRule], request: http::Request<Bytes>) -> Result<Answer, EgressError> {
    let permit = Permit::of(rules.to_vec());
    let (waits, cancel) = (Waits::default(), CancellationToken::new());
    sent(&Egress::new(limits), &permit, request, waits, &cancel, &|_| true).await
}

/// Admits a request, and sends it.
async fn sent(
    egress: &Egress,
    permit: &Permit,
    request: http::Request<Bytes>,
    waits: Waits,
    cancel: &CancellationToken,
    hears: &Hears<'_>,
) -> Result<Answer, EgressError> {
    let (parts, body) = request.into_parts();
    let admitted = egress.admit(permit, parts)?;
    egress.send(permit, admitted, body, waits, cancel, hears).await
}

async fn get(rules: &[NetRule], url: &str) -> Result<Answer, EgressError> {
    let request = http::Request::get(url).body(Bytes::new()).expect("a request");
    send(&Limits::default(), rules, request).await
}

fn rules(texts: &[&str]) -> Vec<NetRule> {
    texts.iter().map(|text| text.parse().expect("a rule")).collect()
}

#[tokio::test]
async fn a_granted_request_gets_its_answer() {
    let server = Server::start(vec![ok("hello")]).await;
    let request = http::Request::post(format!("{}/a?b=c", server.url()))
        .header("x-mine", "kept")
        .header("content-length", "9999")
        .header("transfer-encoding", "chunked")
        .header("connection", "upgrade, keep-alive")
        .header("host", "other.example")
        .header("accept-encoding", "gzip")
        .body(Bytes::from_static(b"body"))
        .expect("a request");
    let answer = send(&Limits::default(), &[server.rule()], request)
        .await
        .expect("an answer");
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"hello"[..]));
    let seen = server.seen().remove(0);
    assert!(
        seen.starts_with("post /a?b=c http/1.1\r\n") && seen.ends_with("\r\n\r\nbody"),
        "{seen}"
    );
    for line in [
        "x-mine: kept",
        "content-length: 4",
        "accept-encoding: identity",
        "connection: close",
        &format!("host: 127.0.0.1:{}", server.port),
    ] {
        assert_eq!(seen.matches(line).count(), 1, "{line} in {seen}");
    }
    for line in [
        "9999",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
        "other.example",
        "gzip",
    ] {
        assert!(!seen.contains(line), "{line} in {seen}");
    }
}

#[tokio::test]
async fn without_a_grant_nothing_is_sent_and_the_flag_is_named() {
    let server = Server::start(vec![ok("hello")]).await;
    for given in [
        vec![],
        rules(&["http://*", "*", "POST@http://127.0.0.1", "https://127.0.0.1"]),
    ] {
        let error = get(&given, &server.url()).await.expect_err("denied");
        let flag = format!("--allow net:GET@{}", server.url());
        assert!(
            matches!(error, EgressError::Denied { .. }) && error.to_string().contains(&flag),
            "{error}"
        );
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn no_spelling_of_a_local_address_gets_past_a_wildcard() {
    let server = Server::start(vec![ok("hello")]).await;
    let wild: NetRule = format!("http://*:{}", server.port).parse().expect("a rule");
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "localhost",
        "localhost.",
        "127.0.0.1.",
    ] {
        let url = format!("http://{host}:{}/", server.port);
        let Ok(request) = http::Request::get(&url).body(Bytes::new()) else {
            continue;
        };
        let error = send(&Limits::default(), std::slice::from_ref(&wild), request)
            .await
            .expect_err(host);
        assert!(
            matches!(error, EgressError::Denied { .. } | EgressError::NoAddress(_)),
            "{host}: {error:?}"
        );
    }
    for url in [
        format!("http://user@127.0.0.1:{}/", server.port),
        format!("ftp://127.0.0.1:{}/", server.port),
    ] {
        let error = get(&[wild.clone(), server.rule()], &url).await.expect_err(&url);
        assert!(matches!(error, EgressError::Malformed { .. }), "{url}: {error:?}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn localhost_is_reached_by_its_name_only() {
    let server = Server::start(vec![ok("hello")]).await;
    let url = format!("http://localhost:{}/", server.port);
    let named: NetRule = url.trim_end_matches('/').parse().expect("a rule");
    assert!(get(&[named], &url).await.is_ok());
    assert!(get(&[server.rule()], &url).await.is_err());
}

#[tokio::test]
async fn each_redirect_is_checked_and_takes_no_credentials_along() {
    let second = Server::start(vec![ok("there")]).await;
    let first = Server::start(vec![moved(302, &format!("{}/b", second.url()))]).await;
    let request = || {
        http::Request::post(first.url())
            .header("authorization", "Bearer x")
            .header("cookie", "a=b")
            .header("content-type", "text/plain")
            .header("content_type", "text/plain")
            .header("x-mine", "kept")
            .body(Bytes::from_static(b"body"))
            .expect("a request")
    };
    let answer = send(&Limits::default(), &[first.rule(), second.rule()], request())
        .await
        .expect("an answer");
    assert_eq!(answer.url.as_str(), format!("{}/b", second.url()));
    assert!(first.seen()[0].contains("authorization: bearer x"));
    let seen = second.seen().remove(0);
    assert!(seen.starts_with("get /b ") && seen.contains("x-mine: kept"), "{seen}");
    for gone in ["authorization", "cookie", "content-type", "content_type", "body"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    let first = Server::start(vec![moved(302, &format!("{}/b", second.url()))]).await;
    let error = get(&[first.rule()], &first.url())
        .await
        .expect_err("the second host is not granted");
    assert!(
        error.to_string().contains(&format!("--allow net:GET@{}", second.url())),
        "{error}"
    );
}

#[tokio::test]
async fn each_request_is_told_before_it_leaves_and_is_not_sent_where_that_is_refused() {
    let second = Server::start(vec![ok("there")]).await;
    let first = Server::start(vec![moved(302, &format!("{}/b?c=d", second.url()))]).await;
    let permit = Permit::of(vec![first.rule(), second.rule()]);
    let told = Mutex::new(Vec::new());
    let (egress, cancel) = (Egress::new(&Limits::default()), CancellationToken::new());
    let request = || {
        let request = http::Request::get(format!("{}/a?secret=1#part", first.url()));
        request.body(Bytes::new()).expect("a request")
    };
    let leaves = |heard: &Heard<'_>| {
        let Heard::Leaves(Leaving { rule, place, .. }) = heard else {
            return true;
        };
        told.lock().expect("unpoisoned").push((rule.to_string(), place.clone()));
        true
    };
    let answer = sent(&egress, &permit, request(), Waits::default(), &cancel, &leaves);
    answer.await.expect("an answer");
    let of = |server: &Server, path: &str| (server.rule().to_string(), format!("GET {}{path}", server.url()));
    assert_eq!(
        told.into_inner().expect("unpoisoned"),
        [of(&first, "/a"), of(&second, "/b")]
    );
    let unheard = Server::start(vec![ok("never")]).await;
    let request = http::Request::get(unheard.url()).body(Bytes::new()).expect("a request");
    let permit = Permit::of(vec![unheard.rule()]);
    let answer = sent(&egress, &permit, request, Waits::default(), &cancel, &|_| false);
    assert_eq!(answer.await.expect_err("refused"), EgressError::Cancelled);
    assert!(unheard.seen().is_empty());
}

#[tokio::test]
async fn a_307_keeps_method_and_body_and_a_redirect_within_the_host_its_credentials() {
    let server = Server::start(vec![moved(307, "/b"), ok("there")]).await;
    let request = http::Request::post(server.url()).header("authorization", "Bearer x");
    let request = request.body(Bytes::from_static(b"body")).expect("a request");
    send(&Limits::default(), &[server.rule()], request)
        .await
        .expect("an answer");
    let seen = server.seen().remove(1);
    assert!(
        seen.starts_with("post /b ") && seen.contains("bearer x") && seen.ends_with("body"),
        "{seen}"
    );
}

#[tokio::test]
async fn nobody_waits_for_the_body_of_a_redirect() {
    let server = Server::start(vec![
        moved(302, "/b").replace("content-length: 0", "content-length: 9"),
        ok("there"),
    ]);
    let server = server.await;
    let answer = get(&[server.rule()], &server.url()).await.expect("an answer");
    assert_eq!(answer.body, "there");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn redirects_are_counted_from_both_sides() {
    let most = Limits::default().http_redirects;
    let loops = |n: u64| (0..n).map(|_| moved(303, "/again")).collect::<Vec<_>>();
    let server = Server::start([loops(most), vec![ok("at last")]].concat()).await;
    assert_eq!(
        &get(&[server.rule()], &server.url()).await.expect("an answer").body[..],
        b"at last"
    );
    let server = Server::start(loops(most + 2)).await;
    let error = get(&[server.rule()], &server.url()).await.expect_err("too many");
    assert_eq!(error, EgressError::Redirects(most));
    assert_eq!(server.seen().len() as u64, most + 1);
}

#[tokio::test]
async fn a_redirect_to_what_is_no_page_is_malformed() {
    let long = format!("/{}", "a".repeat(ADDRESS_MAX));
    for (to, told) in [
        ("file:///etc/passwd", "file:/etc/passwd"),
        ("http://user:pass@x.org/a?b#c", "http://x.org/a"),
        ("http://", "http://"),
        ("http://u@v@[/a@b?c@d", "http://[/a@b"),
        ("data:text/plain,x", "data:text/plain,x"),
        (long.as_str(), long.as_str()),
    ] {
        let server = Server::start(vec![moved(302, to)]).await;
        let error = get(&[server.rule()], &server.url()).await.expect_err(to);
        let here = if told.starts_with('/') {
            server.url()
        } else {
            String::new()
        };
        let (target, fault) = (format!("GET {here}{told}"), Fault::Redirect);
        assert_eq!(error, EgressError::Malformed { target, fault }, "{to}");
    }
}

#[tokio::test]
async fn bodies_are_capped_from_both_sides() {
    let limits = limits(&[("http.body", 1024)]);
    let get = |server: &Server| http::Request::get(server.url()).body(Bytes::new()).expect("a request");
    let chunked = |n: usize| {
        let body = "x".repeat(n);
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{n:x}\r\n{body}\r\n0\r\n\r\n")
    };
    let unfinished = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{}",
        "x".repeat(1025)
    );
    for (answer, cut) in [
        (ok(&"x".repeat(1024)), false),
        (chunked(1024), false),
        (ok(&"x".repeat(1025)), true),
        (chunked(1025), true),
        (unfinished, true),
    ] {
        let server = Server::start(vec![answer]).await;
        let answer = send(&limits, &[server.rule()], get(&server)).await.expect("an answer");
        assert_eq!((answer.body.len(), answer.cut), (1024, cut));
        assert!(!answer.headers.contains_key("transfer-encoding"));
    }
    let server = Server::start(vec![ok("")]).await;
    let post = |bytes: usize| {
        let body = Bytes::from(vec![0; bytes]);
        http::Request::post(server.url()).body(body).expect("a request")
    };
    let answer = send(&limits, &[server.rule()], post(1024)).await.expect("an answer");
    assert_eq!(answer.status.as_u16(), 200);
    let error = send(&limits, &[server.rule()], post(1025))
        .await
        .expect_err("too large");
    assert!(
        matches!(
            error,
            EgressError::TooLarge {
                part: Part::RequestBody,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("1 KiB (limits.http.body)"), "{error}");
}

/// Asks a server that begins a body with this text, and sends no more of it.
async fn begun(text: &str, then: Then, limits: &Limits, waits: Waits, known: &Secrets) -> Result<Answer, EgressError> {
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{text}");
    let server = Server::start_and(vec![answer], then).await;
    let permit = Permit {
        rules: vec![server.rule()],
        known: known.clone(),
        ..Permit::default()
    };
    let request = http::Request::get(server.url()).body(Bytes::new()).expect("a request");
    let (egress, cancel) = (Egress::new(limits), CancellationToken::new());
    sent(&egress, &permit, request, waits, &cancel, &|_| true).await
}

#[tokio::test]
async fn a_body_is_cut_also_where_nothing_comes_behind_what_crosses() {
    const MOST: usize = 64 << 10;
    let value = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";
    let known = Secrets::new([("x".to_owned(), value.to_owned())]);
    let longest = known.longest();
    assert!(value.len() < longest && longest < MOST);
    let (short, usual) = (
        limits(&[("http.body", MOST as u64), ("http.total", 500)]),
        limits(&[("http.body", MOST as u64)]),
    );
    let own = Waits {
        between_bytes: Some(Duration::from_millis(500)),
        ..Waits::default()
    };
    let ways = [
        (Then::Stalls, &short, Waits::default()),
        (Then::Stalls, &usual, own),
        (Then::Closes, &usual, Waits::default()),
    ];
    for (then, limits, waits) in ways {
        for (behind, shown) in [(1, MOST + 1 - longest), (longest - 1, MOST - 1), (longest, MOST)] {
            let answer = begun(&"y".repeat(MOST + behind), then, limits, waits, &known).await;
            let answer = answer.expect("what came");
            assert_eq!((answer.body.len(), answer.cut), (shown, true), "{behind}");
        }
        // Neither what a secret begins with nor how far a guess is right is told.
        for end in [value.to_owned(), value.replace('K', "L")] {
            let text = "y".repeat(MOST - 9) + &end[..10];
            let answer = begun(&text, then, limits, waits, &known).await.expect("what came");
            assert_eq!(answer.body, "y".repeat(MOST + 1 - longest));
        }
        // Of one that ends where it would be cut nobody knows that it goes on.
        let answer = begun(&"y".repeat(MOST), then, limits, waits, &known).await;
        answer.expect_err("no whole answer");
    }
    // Where no secret is known, nothing behind it is waited for.
    for behind in [1, 2] {
        let none = Secrets::none();
        let answer = begun(
            &"y".repeat(MOST + behind),
            Then::Stalls,
            &usual,
            Waits::default(),
            &none,
        )
        .await;
        let answer = answer.expect("what came");
        assert_eq!((answer.body.len(), answer.cut), (MOST, true));
    }
}

#[tokio::test]
async fn headers_are_capped_and_a_head_has_no_body() {
    let limits = limits(&[("http.headers", 1024), ("http.header_count", 8)]);
    let get = |server: &Server| http::Request::get(server.url()).body(Bytes::new()).expect("a request");
    let large = format!(
        "HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n",
        "y".repeat(1024)
    );
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(8));
    let more = many.replacen("x: y", "x: y\r\nx: y", 1);
    for (answer, part) in [
        (large, Part::AnswerHeaders),
        (many, Part::AnswerHeaderCount),
        // Further ones are not even read.
        (more, Part::AnswerHead),
    ] {
        let server = Server::start(vec![answer]).await;
        let error = send(&limits, &[server.rule()], get(&server))
            .await
            .expect_err("too large");
        assert!(
            matches!(error, EgressError::TooLarge { part: found, .. } if found == part),
            "{error:?}"
        );
    }
    // As many as it says, also where that is more than the client takes by itself.
    for (most, fits) in [(8, true), (200, true), (200, false)] {
        let limits = self::limits(&[("http.header_count", most)]);
        let headers = "x: y\r\n".repeat(usize::try_from(most).expect("few") - usize::from(fits));
        let server = Server::start(vec![format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n")]).await;
        let answer = send(&limits, &[server.rule()], get(&server)).await;
        assert_eq!(answer.is_ok(), fits, "{most}: {:?}", answer.err());
    }
    let server = Server::start(vec!["HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_owned()]).await;
    let request = http::Request::head(server.url()).body(Bytes::new()).expect("a request");
    assert_eq!(
        send(&limits, &[server.rule()], request)
            .await
            .expect("an answer")
            .body
            .len(),
        0
    );
}

#[tokio::test]
async fn nothing_is_decompressed() {
    let server = Server::start(vec![
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nzzzz".to_owned(),
    ])
    .await;
    assert_eq!(
        &get(&[server.rule()], &server.url()).await.expect("an answer").body[..],
        b"zzzz"
    );
}

#[tokio::test]
async fn a_silent_server_a_broken_one_and_none_at_all() {
    let silent = Server::start(vec![String::new()]).await;
    let request = || http::Request::get(silent.url()).body(Bytes::new()).expect("a request");
    let error = send(&limits(&[("http.total", 50)]), &[silent.rule()], request()).await;
    assert_eq!(error.expect_err("it takes too long"), EgressError::TimedOut(50));

    let silent = Server::start(vec![String::new()]).await;
    let request = http::Request::get(silent.url()).body(Bytes::new()).expect("a request");
    let waits = Waits {
        first_byte: Some(Duration::from_millis(20)),
        ..Waits::default()
    };
    let (egress, permit) = (Egress::new(&Limits::default()), Permit::of(vec![silent.rule()]));
    let error = sent(&egress, &permit, request, waits, &CancellationToken::new(), &|_| true).await;
    assert_eq!(
        error.expect_err("its own wait"),
        EgressError::OwnTimeOut("the first byte")
    );

    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "no protocol that anybody knows\r\n\r\n",
    ] {
        let server = Server::start(vec![answer.to_owned()]).await;
        let error = get(&[server.rule()], &server.url()).await.expect_err("broken");
        assert!(matches!(error, EgressError::Protocol(_)), "{error:?}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = get(&rules(&[&url]), &url).await.expect_err("nobody");
    assert!(
        matches!(&error, EgressError::Unreachable(why) if why.contains("refused")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_cancelled_request_ends_at_once() {
    let silent = Server::start(vec![String::new()]).await;
    let request = http::Request::get(silent.url()).body(Bytes::new()).expect("a request");
    let (egress, cancel, permit) = (
        Egress::new(&Limits::default()),
        CancellationToken::new(),
        Permit::of(vec![silent.rule()]),
    );
    let sending = sent(&egress, &permit, request, Waits::default(), &cancel, &|_| true);
    let cancelling = async {
        while silent.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (answer, ()) = tokio::join!(sending, cancelling);
    assert_eq!(answer.expect_err("cancelled"), EgressError::Cancelled);
}

#[tokio::test]
async fn a_method_that_a_rule_can_name_has_one_spelling_and_any_other_takes_a_rule_for_all() {
    let server = Server::start(vec![ok("purged")]).await;
    let send_as = async |method: &str, rule: NetRule| {
        let request = http::Request::builder().method(method).uri(server.url());
        send(
            &Limits::default(),
            &[rule],
            request.body(Bytes::new()).expect("a request"),
        )
        .await
    };
    let reads: NetRule = format!("GET@{}", server.url()).parse().expect("a rule");
    for method in ["get", "Get", "pOST", "delete", "CONNECT", "connect", "Trace"] {
        for rule in [server.rule(), reads.clone()] {
            let error = send_as(method, rule).await.expect_err(method);
            let (target, fault) = (format!("{method} {}/", server.url()), Fault::Method);
            assert_eq!(error, EgressError::Malformed { target, fault });
        }
    }
    assert!(server.seen().is_empty());
    let denied = send_as("PURGE", reads).await.expect_err("a rule for GET").to_string();
    let flag = format!("Allow it with --allow net:{}", server.url());
    let words = "(it is an address of this machine itself, and only a grant of all methods allows this one)";
    assert!(denied.ends_with(&format!("{flag} {words}")), "{denied}");
    assert_eq!(send_as("PURGE", server.rule()).await.expect("an answer").body, "purged");
}

#[tokio::test]
async fn for_a_host_that_is_no_hosts_name_no_flag_is_offered() {
    let all = rules(&["http://*", "*"]);
    for host in [
        "*",
        "*.com",
        "*.evil.example",
        "x*.example",
        "a!b",
        "(x)",
        "a=b.example",
    ] {
        for scheme in ["http", "https"] {
            let error = get(&all, &format!("{scheme}://{host}/a")).await.expect_err(host);
            assert!(
                matches!(error, EgressError::Denied { grant: None, .. }),
                "{host}: {error:?}"
            );
            let words = error.to_string();
            let why = "is not granted: its host is no name and no address, and no grant has any other";
            assert!(words.ends_with(why), "{words}");
        }
    }
    // Nor where a server sends on to one.
    for to in [
        "https://*/",
        "https://%2A.com/",
        "https://\u{ff0a}.com/",
        "https://x\u{ff0a}.example/",
    ] {
        let server = Server::start(vec![moved(302, to)]).await;
        let rules = [&all[..], &[server.rule()]].concat();
        let error = get(&rules, &server.url()).await.expect_err(to);
        assert!(
            matches!(error, EgressError::Denied { grant: None, .. }),
            "{to}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_request_whose_method_gives_a_body_no_meaning_has_none() {
    let server = Server::start(vec![ok("one"), ok("two"), ok("three"), ok("four")]).await;
    let request = |method: &str, body: &'static str| {
        let request = http::Request::builder().method(method).uri(server.url());
        request.body(Bytes::from_static(body.as_bytes())).expect("a request")
    };
    for method in ["GET", "HEAD", "OPTIONS"] {
        let refused = send(&Limits::default(), &[server.rule()], request(method, "x")).await;
        let error = refused.expect_err(method);
        let (target, fault) = (format!("{method} {}/", server.url()), Fault::Body);
        assert_eq!(error, EgressError::Malformed { target, fault });
    }
    assert_eq!(server.seen().len(), 0);
    for (method, body) in [("GET", ""), ("HEAD", ""), ("OPTIONS", ""), ("DELETE", "x")] {
        let answered = send(&Limits::default(), &[server.rule()], request(method, body)).await;
        answered.expect(method);
    }
    for seen in server.seen() {
        assert_eq!(seen.matches("connection: close").count(), 1, "{seen}");
    }
}

#[tokio::test]
async fn no_header_makes_a_request_another_one() {
    let server = Server::start(vec![ok("read")]).await;
    let mut request = http::Request::get(server.url()).header("x-mine", "kept");
    for name in [
        "Forwarded",
        "X-Forwarded-Host",
        "x_forwarded_host",
        "X-Forwarded-Server",
        "X-Host",
        "X-HTTP-Host-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "x-http-method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "X-HTTP_Method",
        "X.Method.Override",
    ] {
        request = request.header(name, "DELETE");
    }
    let request = request.body(Bytes::new()).expect("a request");
    send(&Limits::default(), &[server.rule()], request)
        .await
        .expect("an answer");
    let seen = server.seen().remove(0);
    assert!(seen.contains("x-mine: kept") && !seen.contains("delete"), "{seen}");
}
