//! `fetch_page` against real servers on loopback: through the plugin, `wasi:http` and the egress.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use hermes_tests::child::{ChildSpec, inside, join};
use hermes_tests::model::{Fault, Format, ModelServer, Turn};
use hermes_tests::output::{refusal, slack};
use hermes_tests::program::{ask, steps};
use hermes_tests::{Home, Output};
use rustix::process::Signal;
use serde_json::json;

/// The path of a page that never ends.
const ENDLESS: &str = "/endless";

/// Answers each GET with the page under its path, for as long as the test runs.
fn site(pages: Vec<(&'static str, String)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes early is the client's affair.
            let _ = answer(stream, &pages);
        }
    });
    address
}

fn answer(mut stream: TcpStream, pages: &[(&str, String)]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let page = pages.iter().find(|(known, _)| *known == path);
    let answer = page.map_or("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", |(_, page)| page);
    stream.write_all(answer.as_bytes())?;
    if path == ENDLESS {
        loop {
            stream.write_all(b"on and ")?;
        }
    }
    Ok(())
}

fn html(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\
         hermes-final-url: https://trusted.example/\r\n\r\n{body}"
    )
}

fn moved(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

/// Fetches a page with `granted` alone allowed.
fn fetch(url: &str, granted: SocketAddr, settings: &[(&str, &str)]) -> Output {
    fetch_in(&Home::new(), url, granted, settings)
}

/// The same in a home that may have compiled the plugin before.
fn fetch_in(home: &Home, url: &str, granted: SocketAddr, settings: &[(&str, &str)]) -> Output {
    let arguments = json!({ "url": url }).to_string();
    let grant = format!("net:http://{granted}");
    let host = home
        .host()
        .args(["call", "web", "fetch_page", &arguments, "--allow", &grant]);
    let host = settings.iter().fold(host, |host, (key, value)| host.set(key, value));
    host.output()
}

#[test]
fn a_page_comes_as_text_with_its_links() {
    let page = html("<title>Dendrites</title><h1>Growth</h1><p>They <a href='sub/more'>grow</a>.</p>");
    let site = site(vec![("/a/page", page)]);
    let output = fetch(&format!("http://{site}/a/page"), site, &[]).expect(0);
    assert_eq!(
        output.stdout.trim_end(),
        format!(
            "[http://{site}/a/page \"Dendrites\", characters 0-{} of {0}]\n# Growth\n\nThey [grow](http://{site}/a/sub/more).",
            10 + "They [grow](http:///a/sub/more).".len() + site.to_string().len()
        )
    );
}

#[test]
fn a_redirected_page_is_the_one_that_answered() {
    let pages = vec![
        ("/old", moved("/new/page")),
        ("/new/page", html("<p><a href=next>on</a></p>")),
    ];
    let site = site(pages);
    let output = fetch(&format!("http://{site}/old"), site, &[]).expect(0);
    assert!(
        output.stdout.starts_with(&format!("[http://{site}/new/page,")),
        "{}",
        output.stdout
    );
    assert!(
        output.stdout.contains(&format!("[on](http://{site}/new/next)")),
        "{}",
        output.stdout
    );
}

#[test]
fn a_redirect_to_what_is_not_granted_names_that() {
    let other = site(vec![("/", html("secret"))]);
    let site = site(vec![("/out", moved(&format!("http://{other}/")))]);
    let output = fetch(&format!("http://{site}/out"), site, &[]).expect(4);
    let flag = format!("--allow net:GET@http://{other}");
    let is_only_flag = output.stderr.contains(&flag) && output.stderr.matches("--allow").count() == 1;
    assert!(is_only_flag, "{}", output.stderr);
    assert!(
        output.stderr.contains("a page that it redirects to"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_page_is_whole_at_the_limit_and_cut_a_byte_past_it() {
    const MIB: usize = 1024 * 1024;
    let home = Home::new();
    let key = "; the operator's key for it is limits.http.body";
    let own = "; fetch_page never reads more of one";
    // The host cuts, both would, the plugin does.
    for (limit, body, key) in [(1024, "1KiB", key), (MIB, "1MiB", own), (MIB, "2MiB", own)] {
        // Three bytes each; of all of them one is missing to the limit.
        let words = "ä ".repeat(limit / 3);
        let pages = vec![
            ("/at", html(&format!("{words}z"))),
            ("/past", html(&format!("{words}ä"))),
        ];
        let site = site(pages);
        let fetch = |path: &str| {
            let settings = [("limits.http.body", body)];
            let url = format!("http://{site}{path}");
            fetch_in(&home, &url, site, &settings).expect(0).stdout
        };
        let (whole, cut) = (fetch("/at"), fetch("/past"));
        let characters = limit / 3 * 2 + 1;
        assert!(whole.contains(&format!(" of {characters}]\n")), "{whole}");
        assert!(!whole.contains("was cut"), "{whole}");
        // Neither the character that was cut in two nor the blank before it.
        assert!(cut.contains(&format!(" of {}]\n", characters - 2)), "{cut}");
        let note = format!("\n[the page was cut after {limit} bytes, the rest of it was not read{key}]");
        assert!(cut.trim_end().ends_with(&note), "{cut}");
    }
}

#[test]
fn of_a_page_that_never_ends_the_first_part_comes_at_once() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n";
    let site = site(vec![(ENDLESS, head.to_owned())]);
    // Were its end waited for, this would be over before.
    let total = format!("{}ms", slack().as_millis());
    let settings = [("limits.http.body", "1KiB"), ("limits.http.total", total.as_str())];
    let output = fetch(&format!("http://{site}{ENDLESS}"), site, &settings).expect(0);
    assert!(
        output.stdout.contains("characters 0-1024 of 1024]\non and on and ")
            && output.stdout.contains("[the page was cut after 1024 bytes,"),
        "{}",
        output.stdout
    );
}

#[test]
fn a_page_that_breaks_off_is_an_error() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10\r\nconnection: close\r\n\r\n";
    let site = site(vec![("/", format!("{head}half"))]);
    fetch(&format!("http://{site}/"), site, &[])
        .expect(1)
        .says(&["HttpProtocolError"]);
}

#[test]
fn what_a_tool_has_as_its_own_serves_whoever_holds_the_tool() {
    let site = site(vec![("/page", html("Dendrites grow."))]);
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let fetch = json!({ "do": "call", "name": "fetch_page", "arguments": { "url": format!("http://{site}/page") } });
    let child = ChildSpec::probe(&json!({ "steps": [fetch.clone()] }));
    let without = child.clone().spawn();
    let program = json!({ "steps": [
        fetch.clone(),
        child.with("toolsets", json!(["web"])).spawn(), join(0),
        without, join(1),
    ] });
    let own = format!("web=net:GET@http://{site}");
    // Its callers have no network: neither the root nor its children.
    let seen = home
        .host()
        .args(["--own", &own])
        .probe(&program)
        .output()
        .expect(0)
        .seen();
    assert!(seen[0].to_string().contains("Dendrites grow."), "{}", seen[0]);
    let fetched = inside(&seen[2])[0].to_string();
    assert!(fetched.contains("Dendrites grow."), "{fetched}");
    assert_eq!(
        refusal(&inside(&seen[4])[0]).as_deref(),
        Some("not-found"),
        "{}",
        seen[4]
    );
    let set = home.host().set("own", format!("[\"{own}\"]"));
    let seen = set.probe(&program).output().expect(0).seen();
    assert!(seen[0].to_string().contains("Dendrites grow."), "{}", seen[0]);
    // As a grant to the tool alone it is cut by what its caller has: nothing.
    let once = json!({ "steps": [fetch] });
    let output = home.host().args(["--allow", &own]).probe(&once).output().expect(0);
    assert_eq!(refusal(&output.seen()[0]).as_deref(), Some("not-found"));
}

#[test]
fn a_run_that_goes_on_fetches_under_the_limits_that_it_began_with() {
    const REFUSED: &str = "redirects more often than is followed; the operator's key for it is limits.http.redirects";
    let pages = vec![
        ("/one", moved("/two")),
        ("/two", moved("/three")),
        ("/three", html("Dendrites grow.")),
    ];
    let site = site(pages);
    let fetch = json!({ "do": "call", "name": "fetch_page", "arguments": { "url": format!("http://{site}/one") } });
    let program = steps(&[ask("Go on."), fetch]);
    let own = format!("web=net:GET@http://{site}");
    // Two redirects are followed where the run began with that, whatever is so when it goes on.
    for (recorded, today, told) in [(1, 2, REFUSED), (2, 1, "Dendrites grow.")] {
        let server = ModelServer::start([Turn::fault(Fault::StallMidStream), Turn::text("on")]);
        let home = Home::with_model(&server, Format::OpenAi);
        let host = home.host().args(["--own", &own]).set("limits.http.redirects", recorded);
        let process = host.probe(&program).start();
        server.wait_for(1, Duration::from_secs(60));
        process.signal(Signal::KILL);
        assert_eq!(process.finish().code, None);
        let run = home.newest_run();
        let host = home.host().args(["resume", &run, "--output", "json"]);
        let seen = host.set("limits.http.redirects", today).output().expect(0).seen();
        let fetched = seen[1].to_string();
        assert!(fetched.contains(told), "{recorded}, then {today}: {fetched}");
    }
}
