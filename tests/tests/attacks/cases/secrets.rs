//! Plugins that hand on a secret of the operator's, look for one where the host has it from, would have it sent elsewhere, or hear it from its own host.

use std::io::Write as _;

use hermes_tests::clean;
use hermes_tests::output::in_call;
use serde_json::{Value, json};

use super::network::get;
use super::{Case, Plugin};
use crate::hostile;
use crate::serves::{Serves, moved, page, path};

/// 32 random characters, which [`hostile::A34_TELLS`] has too, and the operator has set as the secret `x`.
pub(crate) const SECRET: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";
/// What people and plugins have in its place.
pub(crate) const HIDDEN: &str = "[secret x]";

/// A plugin that was made with the secret logs, emits and returns it.
pub(crate) fn tells() -> [Case; 4] {
    [("l0", "done"), ("e0", "done"), ("r0", HIDDEN), ("h0", HIDDEN)]
        .map(|(what, answer)| Case::run(hostile::A34_TELLS, what).answers(answer))
}

/// A tool that counts the variables and arguments that it was started with, and is told no folder either.
pub(crate) fn environment() -> Case {
    Case::measures(hostile::A34_ENVIRONMENT, "0")
}

/// Panics where the secret stands in this text, in whichever spelling.
#[track_caller]
pub(crate) fn is_without(what: &str, text: &str) {
    for (spelling, secret) in clean::spellings(SECRET) {
        assert!(!text.contains(&secret), "{what} holds the secret ({spelling}): {text}");
    }
}

/// A server that says all that it was sent.
pub(crate) fn echo() -> Serves {
    Serves::with(|request, stream| stream.write_all(&page(request)))
}

/// The secret's own host: it says all that it was sent, or sends on to a stranger, once with the secret in the address.
pub(crate) fn owner(stranger: &Serves) -> Serves {
    let to = format!("http://{}", stranger.address);
    Serves::with(move |request, stream| {
        let answer = match path(request) {
            "/away" => moved(307, &format!("{to}/there")),
            "/tells" => moved(307, &format!("{to}/?key={SECRET}")),
            _ => page(request),
        };
        stream.write_all(&answer)
    })
}

/// A tool does these, of an agent that was granted the network at both servers, and the secret for the first.
fn between(name: &str, [owner, stranger]: [&Serves; 2], steps: &[Value]) -> Case {
    let call = json!({ "do": "call", "name": "wasi", "arguments": { "steps": steps } });
    let case = Case::steps(name, [call]).tool(Plugin::Built("probe-wasi"));
    let case = case
        .allow(format!("net:http://{}", owner.address))
        .allow(format!("net:http://{}", stranger.address));
    case.allow(format!("secret:x@{}", owner.address))
}

/// Requests to the secret's host and to a stranger, and redirects from one to the other.
pub(crate) fn goes_to_its_host(owner: &Serves, stranger: &Serves) -> Case {
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
    let case = between("a secret and a stranger", [owner, stranger], &steps);
    let (owner, stranger) = (owner.clone(), stranger.clone());
    case.sees(move |seen| {
        let seen = in_call(&seen[0]);
        for (at, seen) in seen.iter().enumerate() {
            is_without(&format!("what step {at} was told"), &seen.to_string());
        }
        let text = |at: usize| {
            let text = seen[at]["ok"]["text"].as_str();
            text.unwrap_or_else(|| panic!("{}", seen[at]))
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
        let key = format!("Bearer {SECRET}");
        assert!(owner.iter().all(|request| request.contains(&key)));
        stranger.iter().for_each(|request| is_without("a stranger", request));
        // What is a plugin's own goes where it sends it, and not where a secret takes its place.
        assert!(stranger.iter().any(|request| request.contains("Bearer mine")));
        assert!(owner.iter().all(|request| !request.contains("mine")));
    })
}

/// Requests that are sent to a stranger, each of which looks like one to the secret's host to some parser.
pub(crate) fn notations(owner: &Serves, stranger: &Serves) -> Case {
    let (a, b) = (owner.address, stranger.address);
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
    let case = between("notations of a secret's host", [owner, stranger], &steps);
    let (owner, stranger) = (owner.clone(), stranger.clone());
    case.sees(move |seen| {
        let seen = in_call(&seen[0]);
        assert!(seen.iter().any(|seen| seen["ok"]["status"] == 200), "{seen:?}");
        assert_eq!(owner.connections(), 0);
        let requests = stranger.seen();
        requests.iter().for_each(|request| is_without("a stranger", request));
    })
}
