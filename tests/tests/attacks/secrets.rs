//! Secrets of the operator: plugins that would have one sent elsewhere, hear it from its own host, or hand on one that they found.

use std::fs;

use hermes_tests::{Output, clean};
use serde_json::{Value, json};

use crate::cases;
use crate::cases::secrets::{HIDDEN, SECRET};
use crate::hostile;
use crate::serves::{Serves, moved, page, path};
use crate::site::Site;
use crate::wasi::{agent, call, in_call};

/// A place whose operator has set the secret `x`.
fn site() -> Site {
    let site = Site::new();
    let value = site.home.folder().join("value");
    fs::write(&value, SECRET).unwrap();
    let output = site.host().args(["secret", "set", "x"]).reads(&value).output();
    fs::remove_file(value).unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    site
}

/// A server that says all that it was sent.
fn echo() -> Serves {
    Serves::with(|request, stream| std::io::Write::write_all(stream, &page(request)))
}

fn get(authority: &str, path: &str) -> Value {
    json!({ "do": "send", "authority": authority, "path": path })
}

/// Panics where the secret stands in this text, in whichever spelling.
#[track_caller]
fn is_without(what: &str, text: &str) {
    for (spelling, secret) in clean::spellings(SECRET) {
        assert!(!text.contains(&secret), "{what} holds the secret ({spelling}): {text}");
    }
}

/// Panics where the secret stands in what was printed, or in a file of the home but that of secrets.
#[track_caller]
fn is_kept(site: &Site, output: &Output) {
    is_without("standard output", &output.stdout);
    is_without("standard error", &output.stderr);
    for (file, bytes) in site.home.files() {
        if !file.ends_with("host/secrets.json") {
            is_without(&file.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

/// What each request told a tool of an agent that was granted the network at these servers, and the secret for the first.
#[track_caller]
fn told(site: &Site, servers: [&Serves; 2], steps: &[Value]) -> (Vec<Value>, Output) {
    let net = servers.map(|server| format!("net:http://{}", server.address));
    let secret = format!("secret:x@{}", servers[0].address);
    let host = agent(site.host()).args(["--allow", &net[0], "--allow", &net[1], "--allow", &secret]);
    let output = site.attack(host.probe(&json!({ "steps": [call(steps)] }))).output;
    assert_eq!(output.code, Some(0), "{output:?}");
    (in_call(&output.seen()[0]), output)
}

#[test]
fn a34_a_secret_goes_to_its_host_alone_and_comes_back_to_nobody() {
    let (site, stranger) = (site(), echo());
    let to = format!("http://{}", stranger.address);
    let owner = Serves::with(move |request, stream| {
        let answer = match path(request) {
            "/away" => moved(307, &format!("{to}/there")),
            "/tells" => moved(307, &format!("{to}/?key={SECRET}")),
            _ => page(request),
        };
        std::io::Write::write_all(stream, &answer)
    });
    let (a, b) = (owner.address.to_string(), stranger.address.to_string());
    let own = [["authorization", "Bearer mine"]];
    let steps = [
        get(&a, "/echo"),
        get(&b, "/"),
        get(&a, "/away"),
        get(&a, "/tells"),
        json!({ "do": "send", "authority": b, "headers": own }),
        json!({ "do": "send", "authority": a, "headers": own }),
    ];
    let (seen, output) = told(&site, [&owner, &stranger], &steps);
    for (at, seen) in seen.iter().enumerate() {
        is_without(&format!("what step {at} was told"), &seen.to_string());
    }
    let text = |at: usize| {
        seen[at]["ok"]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", seen[at]))
    };
    for at in [0, 5] {
        assert!(text(at).contains(&format!("Bearer {HIDDEN}")), "{}", text(at));
    }
    assert!(!text(5).contains("mine"), "{}", text(5));
    assert!(text(4).contains("Bearer [redacted authorization]"), "{}", text(4));
    assert!(text(2).starts_with("GET /there"), "{}", text(2));
    assert_eq!(seen[3]["error"], "HttpRequestDenied");
    // Its own host had it each time, and nobody else ever.
    let (owner, stranger) = (owner.seen(), stranger.seen());
    assert!(
        owner
            .iter()
            .all(|request| request.contains(&format!("Bearer {SECRET}")))
    );
    assert_eq!((owner.len(), stranger.len()), (4, 3));
    // What is a plugin's own goes where it sends it, and not where a secret takes its place.
    assert!(stranger[2].contains("Bearer mine") && owner.iter().all(|request| !request.contains("mine")));
    stranger.iter().for_each(|request| is_without("a stranger", request));
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let audit = site
        .home
        .host()
        .args(["show", &run, "--audit", "--output", "json"])
        .output();
    let audit = audit.expect(0).json();
    let rows = audit.as_array().unwrap().iter();
    let puts: Vec<_> = rows
        .filter(|row| row["way"] == "put")
        .map(|row| (&row["grant"], &row["target"], &row["count"]))
        .collect();
    let expected = (json!(format!("secret:x@{a}")), json!(format!("http://{a}")), json!(4));
    assert_eq!(puts, [(&expected.0, &expected.1, &expected.2)], "{audit}");
    is_kept(&site, &output);
    site.is_well();
}

#[test]
fn a34_no_notation_leads_a_secret_to_another_host() {
    let (site, owner, stranger) = (site(), echo(), echo());
    let (a, b) = (owner.address, stranger.address);
    // Each would be sent to the stranger, and looks like the owner's to some parser.
    let steps = [
        get(&format!("{a}@{b}"), "/"),
        get(&format!("x:y@{b}"), "/"),
        get(&b.to_string(), &format!("//{a}/")),
        get(&b.to_string(), &format!("/@{a}")),
        get(&b.to_string(), &format!("/?{a}#{a}")),
        get(&format!("2130706433:{}", b.port()), "/"),
        get(&format!("127.0.0.1.:{}", b.port()), "/"),
        json!({ "do": "send", "authority": b.to_string(), "headers": [["x-forwarded-host", a.to_string()]] }),
    ];
    let (seen, output) = told(&site, [&owner, &stranger], &steps);
    assert!(seen.iter().any(|seen| seen["ok"]["status"] == 200), "{seen:?}");
    assert!(owner.seen().is_empty());
    stranger
        .seen()
        .iter()
        .for_each(|request| is_without("a stranger", request));
    is_kept(&site, &output);
    site.is_well();
}

#[test]
fn a34_a_plugin_that_was_made_with_a_secret_tells_it_to_nobody() {
    let site = site();
    let file = hostile::A34_TELLS.file(&site.home);
    for case in cases::secrets::tells() {
        let attacked = site.tries(&case);
        is_kept(&site, &attacked.output);
        let run = attacked.output.json()["run"].as_str().unwrap().to_owned();
        for form in [&["show", &run, "--log"][..], &["export", &run], &["show", &run]] {
            let output = site.host().args(form).output();
            is_kept(&site, &output);
        }
    }
    // A half after the other, as they come.
    let host = site.host().args(["--output", "events", "--plugin"]);
    let events = site.attack(host.arg(&file).arg("e0")).output;
    assert!(events.stdout.contains(&format!("\"{HIDDEN}\"")), "{}", events.stdout);
    is_kept(&site, &events);
    site.is_well();
}
