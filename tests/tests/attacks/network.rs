//! Requests that would lead a plugin to hosts that it was not granted: by another notation, a redirect, or an answer of the name service.

use std::fs;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use hermes_tests::Host;
use hermes_tests::output::refusal;
use hermes_tests::program::ask;
use hermes_tests::shim::{Action, ECONNREFUSED, Shim, When};
use serde_json::{Value, json};

use crate::cases;
use crate::cases::wire::{DONE, delta, finish, whole};
use crate::hostile;
use crate::serves::{Serves, moved, page, path, silent};
use crate::site::Site;
use crate::wasi::{told, told_by};

fn get(authority: &str) -> Value {
    json!({ "do": "send", "authority": authority })
}

/// Why a request is never sent: its address, the address that a server redirected it to, its method, or its body.
const ADDRESS: &str = "only http and https URLs without a user name, of 16 KiB at most, are fetched";
const REDIRECT: &str =
    "a server redirected it there, and only http and https URLs without a user name, of 16 KiB at most, are fetched";
const METHOD: &str = "CONNECT and TRACE are never sent, and a method that a grant can name only in capital letters";
const BODY: &str =
    "a GET, HEAD or OPTIONS is sent without a body: servers leave it unread, and may take it for the next request";

/// Panics unless each of these requests is among the denials, for this reason, and no flag is offered for it.
#[track_caller]
fn are_told<'a>(denied: &[Value], targets: impl IntoIterator<Item = &'a String>, why: &str) {
    for target in targets {
        let row = denied.iter().find(|row| row["target"] == *target);
        let row = row.unwrap_or_else(|| panic!("{target} is missing: {denied:#?}"));
        let what = (&row["what"], &row["remedy"]);
        assert_eq!(what, (&json!(format!("send {target}")), &json!(why)), "{row}");
        assert_eq!(row["message"], format!("{target} can't be sent: {why}"));
        assert_eq!((&row["grant"], &row["flags"]), (&Value::Null, &json!([])), "{row}");
    }
}

#[test]
fn a35_no_notation_of_a_local_address_is_reached_by_a_wildcard() {
    let site = Site::new();
    let trap = Serves::always(page("trapped"));
    let (port, twin) = (trap.address.port(), trap.twin());
    let output = site.tries(&cases::network::notations(port)).output;
    assert_eq!(trap.connections() + twin.map_or(0, |twin| twin.connections()), 0);
    for words in [
        &format!(
            "http://127.0.0.1:{port} is no public address, and only a grant that names it reaches it. Allow it with --allow net:GET@http://127.0.0.1:{port}"
        ),
        "http://169.254.169.254:",
        "http://[::1]:",
        "http://localhost:",
        "which is no public address",
    ] {
        assert!(output.stderr.contains(words), "{words:?} is missing: {}", output.stderr);
    }
    site.is_well();
}

#[test]
fn a35_an_address_that_is_granted_has_one_spelling() {
    let site = Site::new();
    let trap = Serves::always(page("reached"));
    let port = trap.address.port();
    site.tries(&cases::network::one_spelling(&trap));
    assert_eq!(trap.connections(), cases::network::SPELLINGS.len());
    // A name that is granted is that name alone, and an address no name.
    for (grant, host, connections) in [
        (format!("net:http://localhost:{port}"), "localhost", 1),
        (format!("net:http://localhost:{port}"), "127.0.0.1", 0),
        (format!("net:http://127.0.0.1:{port}"), "localhost", 0),
        (format!("net:http://127.0.0.2:{port}"), "127.0.0.1", 0),
        (format!("net:127.0.0.1:{port}"), "127.0.0.1", 0),
        ("net:http://127.0.0.1".to_owned(), "127.0.0.1", 0),
    ] {
        let before = trap.connections();
        let (seen, _) = told(&site, &[&grant], &[get(&format!("{host}:{port}"))]);
        assert_eq!(trap.connections() - before, connections, "{grant}, {host}: {seen:?}");
        assert_eq!(
            seen[0]["error"].is_null(),
            connections == 1,
            "{grant}, {host}: {seen:?}"
        );
    }
    site.is_well();
}

#[test]
fn a35_what_is_no_plain_host_is_never_sent() {
    let site = Site::new();
    let trap = Serves::always(page("trapped"));
    let local = trap.address;
    let output = site.tries(&cases::network::no_plain_hosts(local.port())).output;
    assert_eq!(trap.connections(), 0);
    for flag in [
        "--allow net:GET@http://127.0.0.1:22",
        &format!("--allow net:GET@{local}"),
        &format!("--allow net:POST@http://{local}"),
    ] {
        assert!(output.stderr.contains(flag), "{flag:?} is missing: {}", output.stderr);
    }
    let denied = output.json()["denied"].as_array().unwrap().clone();
    let mut addresses = cases::network::SCHEMES
        .map(|scheme| format!("GET {scheme}://{local}/"))
        .to_vec();
    addresses.extend([
        format!("GET http://{local}/"),
        "GET http://example.org/".to_owned(),
        format!("GET http://[::1%25lo]:{}/", local.port()),
        "GET http://127.0.0.1:99999/".to_owned(),
    ]);
    are_told(&denied, &addresses, ADDRESS);
    let methods = cases::network::METHODS.map(|method| format!("{method} http://{local}/"));
    are_told(&denied, &methods, METHOD);
    site.is_well();
}

/// In a run that is told as it happens, in its audit, and on the page at its end: what the tool did by its name, and what a server did as that.
#[test]
fn a35_a_run_tells_of_requests_that_are_never_sent() {
    let site = Site::new();
    let served = Serves::always(moved(302, "file:///etc/hostname"));
    let local = served.address.to_string();
    let never = [
        (
            json!({ "do": "send", "authority": format!("user:password@{local}"), "path": "/a?b" }),
            format!("GET http://{local}/a"),
            ADDRESS,
        ),
        (
            json!({ "do": "send", "scheme": "ftp", "authority": local }),
            format!("GET ftp://{local}/"),
            ADDRESS,
        ),
        (
            json!({ "do": "send", "method": "TRACE", "authority": local }),
            format!("TRACE http://{local}/"),
            METHOD,
        ),
        (
            json!({ "do": "send", "authority": local, "body": "hidden" }),
            format!("GET http://{local}/"),
            BODY,
        ),
        (get(&local), "GET file:/etc/hostname".to_owned(), REDIRECT),
    ];
    let steps = never.each_ref().map(|(step, ..)| step.clone());
    let program = json!({ "steps": [crate::wasi::call(&steps)] });
    let host = crate::wasi::agent(site.host()).args(["--allow", &format!("net:http://{local}")]);
    let output = site.attack(host.probe_events(&program)).output;
    assert_eq!(output.code, Some(0), "{output:?}");
    let run = site.home.newest_run();
    let audit = site.home.host().args(["show", &run, "--audit", "--output", "json"]);
    let mut rows = audit.output().expect(0).json().as_array().unwrap().clone();
    rows.retain(|row| row["way"] == "denied");
    assert_eq!(rows.len(), never.len(), "{rows:#?}");
    let events = output.events();
    for (_, target, why) in &never {
        are_told(&rows, [target], why);
        let is_it = |event: &&Value| event["event"] == "denied" && event["target"] == *target;
        let event = events
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{target}: {events:#?}"));
        let told = (&event["plugin"], &event["flags"], &event["message"]);
        let message = format!("{target} can't be sent: {why}");
        assert_eq!(told, (&json!("probe-wasi"), &json!([]), &json!(message)), "{event}");
        for words in [&format!("probe-wasi may not send {target}\n"), &format!("    {why}\n")] {
            assert!(output.stderr.contains(words), "{words:?} is missing: {}", output.stderr);
        }
    }
    assert_eq!(served.connections(), 1);
    site.is_well();
}

/// A name with an asterisk would be a pattern in a grant: nobody is sent to one, and no grant is offered for it.
#[test]
fn a35_a_host_that_a_tool_made_up_is_no_pattern_of_a_grant() {
    let site = Site::new();
    let hosts = ["*", "*.com", "*.evil.example", "x*.example", "a!b.example"];
    let steps = hosts.map(|host| json!({ "do": "send", "scheme": "https", "authority": host }));
    let all: [&[&str]; 3] = [&[], &["net:*"], &["net:*.example"]];
    for grants in all {
        let (seen, output) = told(&site, grants, &steps);
        for (host, seen) in hosts.iter().zip(&seen) {
            assert_eq!(seen["error"], "HttpRequestDenied", "{host}: {seen}");
            let words = format!("GET https://{host} is not granted: its host is no name and no address");
            assert!(
                output.stderr.contains(&words),
                "{words:?} is missing: {}",
                output.stderr
            );
        }
        assert!(!output.stderr.contains("--allow"), "{}", output.stderr);
        let denied = output.json()["denied"].clone();
        let denied = denied.as_array().unwrap();
        assert_eq!(denied.len(), hosts.len(), "{denied:?}");
        for row in denied {
            assert_eq!((&row["grant"], &row["flags"]), (&Value::Null, &json!([])), "{row}");
        }
    }
    site.is_well();
}

/// Servers that make variables of headers know no hyphen from an underscore, nor many of them from another sign.
#[test]
fn a35_no_header_makes_a_request_another_one() {
    let site = Site::new();
    let served = Serves::always(page("posted"));
    let authority = served.address.to_string();
    let headers = json!([
        ["X-HTTP-Method-Override", "DELETE"],
        ["X_HTTP_Method_Override", "DELETE"],
        ["x-http_method", "DELETE"],
        ["X.Method.Override", "DELETE"],
        ["Forwarded", "host=delete.example"],
        ["X-Forwarded-Host", "delete.example"],
        ["X_Forwarded_Host", "delete.example"],
        ["X-Original-URL", "/delete"],
        ["X-Rewrite-URL", "/delete"],
        ["x_own", "kept"],
    ]);
    let step = json!({ "do": "send", "method": "POST", "authority": authority, "headers": headers });
    let (seen, _) = told(&site, &[&format!("net:POST@http://{authority}")], &[step]);
    assert_eq!(seen[0]["ok"]["text"], "posted", "{}", seen[0]);
    let sent = served.seen().remove(0).to_ascii_lowercase();
    assert!(sent.contains("x_own: kept") && !sent.contains("delete"), "{sent}");
    site.is_well();
}

/// A server that leaves a body unread, and its connection open, finds no second request in it.
#[test]
fn a35_no_request_is_hidden_in_the_body_of_another() {
    let site = Site::new();
    let served = Serves::always(page("there"));
    let authority = served.address.to_string();
    let hidden = format!("DELETE /everything HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    let send =
        |method: &str, body: &str| json!({ "do": "send", "method": method, "authority": authority, "body": body });
    let grant = format!("net:GET,HEAD,OPTIONS,DELETE@http://{authority}");
    let methods = ["GET", "HEAD", "OPTIONS"];
    let bodies = methods.map(|method| send(method, &hidden));
    let (seen, output) = told(&site, &[&grant], &bodies);
    for seen in &seen {
        let error = seen["error"].as_str().unwrap();
        assert!(error.starts_with("HttpRequestBodySize"), "{seen}");
    }
    assert_eq!(served.connections(), 0);
    let denied = output.json()["denied"].as_array().unwrap().clone();
    are_told(
        &denied,
        &methods.map(|method| format!("{method} http://{authority}/")),
        BODY,
    );
    // Where a method may have a body, its server is told that no other request comes.
    let sent = ["GET", "HEAD", "OPTIONS"].map(|method| send(method, ""));
    let steps = [&sent[..], &[send("DELETE", &hidden)]].concat();
    let (seen, _) = told(&site, &[&grant], &steps);
    assert!(seen.iter().all(|seen| seen["ok"]["status"] == 200), "{seen:?}");
    let requests = served.seen();
    assert_eq!((requests.len(), served.connections()), (4, 4));
    for request in requests {
        let request = request.to_ascii_lowercase();
        assert_eq!(request.matches("connection: close").count(), 1, "{request}");
    }
    site.is_well();
}

#[test]
fn a35_no_socket_leads_around_the_egress() {
    let site = Site::new();
    let trap = Serves::always(page("trapped"));
    let attacked = site.tries(&cases::network::sockets(&trap));
    assert_eq!(trap.connections(), 0);
    let run = attacked.output.json()["run"].as_str().unwrap().to_owned();
    let file = hostile::A35_SOCKETS.file(&site.home);
    let inspected = site.host().args(["inspect", "--output", "json"]).arg(&file).output();
    let digest = inspected.expect(0).json()["digest"].clone();
    // Each is told as any other denial is: who it was, for whom, what it wanted, and that no right allows it.
    let words = "no plugin has sockets, and tools reach the network by wasi:http alone";
    let mut denied = attacked.denied();
    denied.sort_by_key(|row| row["target"].as_str().unwrap().to_owned());
    let expected = [
        ("TCP over IPv4", "open a socket for TCP over IPv4"),
        ("UDP over IPv6", "open a socket for UDP over IPv6"),
        ("localhost", "look up localhost"),
    ];
    assert_eq!(denied.len(), expected.len(), "{denied:?}");
    for (row, (target, what)) in denied.iter().zip(expected) {
        assert_eq!((&row["target"], &row["what"]), (&json!(target), &json!(what)));
        let message = format!("a35_sockets may not {what}: {words}");
        assert_eq!((&row["message"], &row["remedy"]), (&json!(message), &json!(words)));
        assert_eq!((&row["plugin"], &row["digest"]), (&json!("a35_sockets"), &digest));
        assert_eq!(
            (&row["session"], &row["count"]),
            (&json!(format!("{run}.0")), &json!(1))
        );
        assert_eq!((&row["grant"], &row["flags"]), (&Value::Null, &json!([])), "{row}");
    }
    site.is_well();
}

/// Connections of a tool take no more of the process's file descriptors than its files may.
#[test]
fn a14_connections_that_nobody_answers() {
    let site = Site::new();
    let served = Serves::with(|_, stream| silent(stream));
    let authority = served.address.to_string();
    let all = json!({ "do": "send-all", "requests": 100, "authority": authority });
    let connected = |reserve: u64| {
        let host = site.host().by("ulimit -n 128 && exec \"$0\" \"$@\"");
        let host = host.set("limits.fds", reserve).set("limits.http.total", "2s");
        let (seen, _) = told_by(
            &site,
            host,
            &[&format!("net:http://{authority}")],
            std::slice::from_ref(&all),
        );
        let told: Vec<&str> = seen[0]["ok"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let refused = told
            .iter()
            .filter(|told| told.contains("(limits.fds, ulimit -n)"))
            .count();
        let late = told.iter().filter(|told| **told == "HttpResponseTimeout").count();
        assert_eq!((told.len(), refused + late), (100, 100), "{told:?}");
        late
    };
    // Each thread may be between its look and its connection once.
    let more = connected(16) - connected(48);
    assert!((20..=44).contains(&more), "{more} more where 32 fewer are kept free");
    site.is_well();
}

#[test]
fn a35_a_proxy_of_the_environment_sees_nobody() {
    let site = Site::new();
    let (proxy, server) = (Serves::always(page("proxied")), Serves::always(page("direct")));
    let mut host = site.host();
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        host = host.env(name, format!("http://{}", proxy.address));
    }
    let authority = server.address.to_string();
    let request = json!({ "steps": [
        { "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] },
        crate::wasi::call(&[get(&authority)]),
    ] });
    let host = crate::wasi::agent(host).args(["--allow", &format!("net:http://{authority}")]);
    let attacked = site.attack(host.probe(&request));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen();
    assert_eq!(seen[0]["ok"]["parts"][0]["Text"], "yes");
    assert_eq!(crate::wasi::in_call(&seen[1])[0]["ok"]["text"], "direct");
    assert_eq!(proxy.connections(), 0);
    site.is_well();
}

#[test]
fn a35_the_server_of_a_model_is_reached_by_no_tool() {
    let site = Site::new();
    let said = [delta(&json!({ "content": "yes" })), finish("stop"), DONE.to_owned()].concat();
    let provider = Serves::always(whole("text/event-stream", &said));
    crate::providers::configure(&site, "own", &provider);
    let there = provider.address.to_string();
    let posts = json!({
        "do": "send", "method": "POST", "authority": there, "path": "/v1/chat/completions", "body": "{}",
    });
    let page = json!({ "url": format!("http://{there}/v1/models") });
    let steps = [
        ask("hi"),
        crate::wasi::call(&[get(&there), posts]),
        json!({ "do": "call", "name": "fetch_page", "arguments": page }),
        ask("hi"),
    ];
    // The operator's word for the provider's client is none for them, nor is a wildcard.
    let grant = format!("net:http://*:{}", provider.address.port());
    let host = crate::wasi::agent(site.host()).args(["--model", "own/test-model", "--allow", &grant]);
    let attacked = site.attack(host.probe(&json!({ "steps": steps })));
    let seen = attacked.output.seen();
    for asked in [&seen[0], &seen[3]] {
        assert_eq!(asked["ok"]["parts"][0]["Text"], "yes", "{asked}");
    }
    for told in crate::wasi::in_call(&seen[1]) {
        assert_eq!(told["error"], "HttpRequestDenied", "{told}");
    }
    assert_eq!(refusal(&seen[2]).as_deref(), Some("denied"), "{}", seen[2]);
    for method in ["GET", "POST"] {
        let flag = format!("--allow net:{method}@http://{there}");
        let stderr = &attacked.output.stderr;
        assert!(stderr.contains(&flag), "{flag:?} is missing: {stderr}");
    }
    let asked = provider.seen();
    assert_eq!((asked.len(), provider.connections()), (2, 2));
    assert!(asked.iter().all(|asked| asked.contains("hi")), "{asked:?}");
    site.is_well();
}

/// The name service's answers to `name`, and what became of them: how often it was asked, and how often each address was connected to.
struct Names {
    shim: Shim,
    addresses: Vec<String>,
}

impl Names {
    /// Whoever connects to an address that is not of this machine finds nobody there.
    fn new(name: &str, answers: &[&[&str]], port: u16) -> Self {
        let mut addresses: Vec<&str> = answers.concat();
        addresses.sort_unstable();
        addresses.dedup();
        let mut shim = Shim::new()
            .host(name, answers)
            .rule("resolve", name, When::Always, &Action::Count);
        let named = |address: &str| match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        };
        for address in &addresses {
            shim = shim.rule("connect", &named(address), When::Always, &Action::Errno(ECONNREFUSED));
        }
        Self {
            shim,
            addresses: addresses.into_iter().map(str::to_owned).collect(),
        }
    }

    fn asked(&self) -> u64 {
        self.shim.count(0)
    }

    /// How often these were connected to.
    fn connected(&self, address: &str) -> u64 {
        let at = self.addresses.iter().position(|known| known == address).unwrap();
        self.shim.count(at + 1)
    }
}

/// A name that nobody answers for takes few of the threads that all share, however many ask for it: as many as a run may look up at once, and a quarter of
/// them where that is less.
#[test]
fn a36_a_name_that_is_never_answered_is_asked_for_by_few_at_once() {
    let site = Site::new();
    let steps = [json!({ "do": "send-all", "requests": 100, "authority": "stalls.example" })];
    for (threads, lookups) in [(64, 4), (12, 3), (11, 2)] {
        let shim = Shim::new().host("stalls.example", &[&["8.8.8.8"]]).rule(
            "resolve",
            "stalls.example",
            When::Always,
            &Action::Delay(Duration::from_secs(3)),
        );
        let host = site
            .host()
            .set("limits.http.total", "1s")
            .set("limits.threads", threads);
        let (seen, _) = told_by(&site, shim.on(host), &["net:http://stalls.example"], &steps);
        let told = seen[0]["ok"].as_array().unwrap();
        assert_eq!(told.len(), 100);
        assert!(told.iter().all(|told| told == "HttpResponseTimeout"), "{told:?}");
        assert_eq!(shim.count(0), lookups, "limits.http.lookups, limits.threads {threads}");
    }
    site.is_well();
}

#[test]
fn a36_a_name_is_asked_for_once_and_all_its_addresses_are_checked() {
    let site = Site::new();
    let trap = Serves::always(page("trapped"));
    let port = trap.address.port();
    let grant = format!("net:http://rebind.example:{port}");
    let many: Vec<String> = (1..=12).map(|n| format!("8.8.8.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let hidden = [&many[..11], &["127.0.0.1"]].concat();
    let (unreachable, denied) = ("DestinationUnavailable", "HttpRequestDenied");
    let cases: [(&[&[&str]], &str); 9] = [
        // What the second question is answered with, nobody asks for.
        (&[&["8.8.8.8"], &["127.0.0.1"]], unreachable),
        (&[&["8.8.8.8"], &["169.254.169.254"]], unreachable),
        (&[&["127.0.0.1"], &["8.8.8.8"]], denied),
        (&[&["8.8.8.8", "127.0.0.1"]], denied),
        (&[&["127.0.0.1", "8.8.8.8"]], denied),
        (&[&["::1"]], denied),
        (&[&["8.8.8.8", "::ffff:127.0.0.1"]], denied),
        (&[&many], unreachable),
        (&[&hidden], denied),
    ];
    for (answers, told) in cases {
        let names = Names::new("rebind.example", answers, port);
        let steps = [get(&format!("rebind.example:{port}"))];
        let (seen, output) = told_by(&site, names.shim.on(site.host()), &[&grant], &steps);
        assert_eq!(seen[0]["error"], told, "{answers:?}: {seen:?}");
        assert_eq!(names.asked(), 1, "{answers:?}");
        for address in answers.concat() {
            let is_first = answers[0].contains(&address);
            let most = u64::from(is_first && told == unreachable);
            assert_eq!(names.connected(address), most, "{answers:?}: {address}");
        }
        if told == denied {
            let words = format!("http://rebind.example:{port} leads to ");
            let is_said = output.stderr.contains(&words) && !output.stderr.contains("Allow it with");
            assert!(is_said, "{answers:?}: {}", output.stderr);
        }
    }
    assert_eq!(trap.connections(), 0);
    site.is_well();
}

#[test]
fn a36_a_redirect_is_checked_as_its_first_request_was() {
    let site = Site::new();
    let trap = Serves::always(page("trapped"));
    let port = trap.address.port();
    let output = site.tries(&cases::network::redirects(&trap)).output;
    for words in [
        "--allow net:GET@http://169.254.169.254",
        &format!("--allow net:GET@http://127.0.0.1:{port}"),
        &format!("--allow net:GET@127.0.0.1:{port}"),
    ] {
        assert!(output.stderr.contains(words), "{words:?} is missing: {}", output.stderr);
    }
    let denied = output.json()["denied"].as_array().unwrap().clone();
    let local = format!("http://127.0.0.1:{port}/");
    let never = [
        // Its user is not told.
        format!("GET {local}"),
        "GET file:/etc/hostname".to_owned(),
        "GET data:text/plain,trapped".to_owned(),
        "GET http://[".to_owned(),
    ];
    let redirected: Vec<Value> = denied.iter().filter(|row| row["remedy"] == REDIRECT).cloned().collect();
    assert_eq!(redirected.len(), never.len(), "{redirected:#?}");
    are_told(&redirected, &never, REDIRECT);

    // A name that was granted leads inside.
    let to = format!("http://rebind.example:{port}/");
    let served = Serves::with(move |_, stream| stream.write_all(&moved(302, &to)));
    let here = served.address.to_string();
    let grants = [
        format!("net:http://{here}"),
        format!("net:http://rebind.example:{port}"),
    ];
    let grants = grants.each_ref().map(String::as_str);
    let names = Names::new("rebind.example", &[&["169.254.169.254"], &["8.8.8.8"]], port);
    let (seen, output) = told_by(&site, names.shim.on(site.host()), &grants, &[get(&here)]);
    assert_eq!(seen[0]["error"], "HttpRequestDenied", "{}", seen[0]);
    let words = "leads to 169.254.169.254, which is no public address";
    assert!(output.stderr.contains(words), "{}", output.stderr);
    assert_eq!((names.asked(), names.connected("169.254.169.254")), (1, 0));
    assert_eq!(trap.connections(), 0);

    // Three are followed, and a fourth is not.
    let served = cases::network::hopping();
    site.tries(&cases::network::hops(&served));
    assert_eq!(served.connections(), 4 + 4);
    site.is_well();
}

#[test]
fn a36_no_credential_goes_to_another_host() {
    let site = Site::new();
    site.tries(&cases::network::credentials());

    // A model's provider that redirects is not followed at all: its key is for it alone.
    let trap = Serves::always(page("trapped"));
    let to = trap.address;
    let provider =
        Serves::with(move |_, stream| stream.write_all(&moved(307, &format!("http://{to}/v1/chat/completions"))));
    crate::providers::configure(&site, "moved", &provider);
    let ask = json!({ "steps": [{ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] }] });
    let host = site.host().args(["--model", "moved/test-model"]);
    let attacked = site.attack(host.set("limits.llm.tries", 1).probe(&ask));
    let seen = attacked.output.seen();
    assert_eq!(refusal(&seen[0]).as_deref(), Some("upstream"), "{}", seen[0]);
    assert_eq!((provider.connections(), trap.connections()), (1, 0));
    site.is_well();
}

/// A server that sends one body after the other, however many are asked for at once.
fn in_turn(body: impl Fn(&str) -> String + Send + Sync + 'static) -> Serves {
    let turn = Mutex::new(());
    Serves::with(move |request, stream| {
        let _turn = turn.lock().unwrap();
        stream.write_all(&page(&body(path(request))))?;
        silent(stream)
    })
}

/// How many of 30 answers, none of which is read before all are there, a tool gets; each other one is refused for want of room.
#[track_caller]
fn held(site: &Site, host: Host, server: &Serves) -> usize {
    let authority = server.address.to_string();
    let steps = [json!({ "do": "send-all", "requests": 30, "authority": authority })];
    let (seen, _) = told_by(site, host, &[&format!("net:http://{authority}")], &steps);
    let told = seen[0]["ok"].as_array().unwrap();
    let refused = |told: &Value| told.as_str().is_some_and(|told| told.contains("limits.in_flight"));
    let yes: Vec<_> = told.iter().filter(|told| !refused(told)).collect();
    assert!(told.len() == 30 && yes.iter().all(|told| told.is_object()), "{told:?}");
    yes.len()
}

/// Answers that nobody reads yet are held to what the calls of an agent may hold, however many there are.
#[test]
fn a12_answers_that_nobody_reads() {
    let site = Site::new();
    // Beside them the tool's own call is in flight, with 4 KiB and what was asked of it.
    let host = || site.host().set("limits.in_flight", "2MiB");
    for (bytes, fit) in [(690_000, 3), (700_000, 2), (900_000, 2), (1_040_000, 2)] {
        let server = in_turn(move |_| "x".repeat(bytes));
        assert_eq!(held(&site, host(), &server), fit, "{bytes}");
    }
    // What was let go leaves room.
    let server = Serves::always(page(&"x".repeat(900_000)));
    let authority = server.address.to_string();
    let one_by_one: Vec<Value> = (0..6).map(|_| get(&authority)).collect();
    let (seen, _) = told_by(&site, host(), &[&format!("net:http://{authority}")], &one_by_one);
    assert!(seen.iter().all(|seen| seen["ok"].is_object()), "{seen:?}");
    site.is_well();
}

/// A server repeats a secret over and over, whose placeholder is much longer: what comes of its answers is as much as any other may be, and counts as much.
#[test]
fn a12_a_body_that_grows_as_its_secrets_are_hidden() {
    const VALUE: &str = "Kq7zT0pW4nXv";
    const BODY: usize = 64 << 10;
    let site = Site::new();
    let (name, value) = ("n".repeat(64), site.home.folder().join("value"));
    fs::write(&value, VALUE).unwrap();
    let output = site.host().args(["secret", "set", &name]).reads(&value).output();
    fs::remove_file(value).unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    let placeholder = format!("[secret {name}]").len();
    let most = BODY / placeholder;
    // The path says how often it is repeated.
    let server = in_turn(move |path| VALUE.repeat(path[1..].parse().unwrap_or(most)));
    let authority = server.address.to_string();
    let repeated = |times: usize| json!({ "do": "send", "authority": authority, "path": format!("/{times}") });
    let host = || site.host().set("limits.http.body", "64KiB");
    let steps = [
        repeated(1),
        repeated(most),
        repeated(most + 1),
        repeated(BODY / VALUE.len()),
    ];
    let (seen, _) = told_by(&site, host(), &[&format!("net:http://{authority}")], &steps);
    for (seen, (times, is_cut)) in seen.iter().zip([(1, false), (most, false), (most, true), (most, true)]) {
        let answer = &seen["ok"];
        assert_eq!(answer["bytes"], times * placeholder, "{answer}");
        let is_said = answer["headers"].to_string().contains("hermes-body-cut");
        assert_eq!((answer["broken"].is_string(), is_said), (is_cut, is_cut), "{answer}");
    }
    // Each of them is 65,481 bytes long, and was a sixth of that.
    assert_eq!((most, placeholder), (897, 73));
    for (in_flight, fit) in [("1000KiB", 15), ("1040KiB", 16)] {
        assert_eq!(held(&site, host().set("limits.in_flight", in_flight), &server), fit);
    }
    site.is_well();
}
